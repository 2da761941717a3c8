#include "fs/replay.h"
#include "conf/log.h"
#include "fs/replay_impl.h"
#include "fs/spooling.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOBS_MOST 256u
#define BYTES_MOST (16u << 20)

static void pump(struct replay *replay);
static uint64_t next_of(const struct replay *replay, uint64_t from);

static void on_idle(uv_idle_t *idle)
{
	uv_idle_stop(idle);
	pump(idle->data);
}

static void soon(struct replay *replay)
{
	uv_idle_start(&replay->idle, on_idle);
}

bool replay_below(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	return !strncmp(path, folder, len) && (!path[len] || path[len] == '/' || len == 1);
}

char *replay_conflict_path(const char *path, unsigned n)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	time_t now = time(NULL);
	char date[64], count[16] = "", *out;
	struct tm tm;
	size_t keep = strlen(name);

	localtime_r(&now, &tm);
	strftime(date, sizeof(date), ".vastfs-conflict-%Y%m%d-%H%M%S", &tm);
	if (n)
		snprintf(count, sizeof(count), "-%u", n);
	if (keep + strlen(date) + strlen(count) > 255)
		keep = 255 - strlen(date) - strlen(count);
	if (asprintf(&out, "%.*s%.*s%s%s", (int)(name - path), path, (int)keep, name, date, count) <
	    0)
		return NULL;
	return out;
}

void replay_conflict(struct replay *replay, const char *path, const char *place)
{
	replay->figures.conflicts++;
	log_warning("%s was changed on the instance meanwhile; your version is %s", path, place);
	spooling_note_conflict(replay->fs, path, place);
}

/* --- which may go at once --- */

static bool is_data(const struct job *job)
{
	return job->record.type == SPOOL_WRITE;
}

/* The second path that it changes, or looks at. */
static const char *other_path(const struct spool_record *record)
{
	return record->type == SPOOL_RENAME || record->type == SPOOL_LINK ? record->to : NULL;
}

static bool touches(const char *a, const char *b)
{
	return a && b && (replay_below(a, b) || replay_below(b, a));
}

static bool in_each_others_way(const struct job *a, const struct job *b)
{
	const struct spool_record *x = &a->record, *y = &b->record;
	const char *x_to = other_path(x), *y_to = other_path(y);

	if (is_data(a) && is_data(b) && !strcmp(x->path, y->path))
		return x->offset < y->offset + y->len && y->offset < x->offset + x->len;
	return touches(x->path, y->path) || touches(x_to, y->path) || touches(x->path, y_to) ||
	       touches(x_to, y_to);
}

/* The first from `from` on, of those before the job, that it has to wait for. */
static struct job *find_blocker(struct job *from, const struct job *job)
{
	for (; from != job; from = TAILQ_NEXT(from, link)) {
		if (in_each_others_way(from, job))
			return from;
	}
	return NULL;
}

/* --- what could not be done takes along what needs it --- */

static void note_failed(struct replay *replay, const char *path, int err, bool stays)
{
	size_t room = replay->broken_room ? replay->broken_room * 2 : 64;
	struct broken *grown;

	if (replay->n_broken == replay->broken_room) {
		grown = realloc(replay->broken, room * sizeof(*grown));
		if (!grown)
			return;
		replay->broken = grown;
		replay->broken_room = room;
	}
	replay->broken[replay->n_broken] =
	    (struct broken){.path = strdup(path), .err = err, .stays = stays};
	replay->n_broken += replay->broken[replay->n_broken].path != NULL;
}

/* An earlier change of its path, of a folder above it or of what it moves could not be done: why,
 * else 0. */
static int is_broken(const struct replay *replay, const struct spool_record *record)
{
	bool moves = record->type == SPOOL_RENAME || record->type == SPOOL_RMDIR;
	const char *to = other_path(record);
	size_t i;

	if (record->renamed)
		return 0;
	for (i = 0; i < replay->n_broken; i++) {
		const struct broken *broken = &replay->broken[i];

		if (broken->stays) {
			if ((record->type == SPOOL_UNLINK && !strcmp(record->path, broken->path)) ||
			    (record->type == SPOOL_RENAME && !strcmp(record->to, broken->path)))
				return broken->err;
			continue;
		}
		if (replay_below(record->path, broken->path) ||
		    (to && replay_below(to, broken->path)) ||
		    (moves && replay_below(broken->path, record->path)))
			return broken->err;
	}
	return 0;
}

/* --- jobs --- */

static bool is_link_error(int err)
{
	return err == -ENOTCONN || err == -ETIMEDOUT;
}

static void start(struct job *job)
{
	job->started = true;
	switch (job->record.type) {
	case SPOOL_WRITE:
	case SPOOL_APPEND:
	case SPOOL_TRUNCATE:
		replay_data(job);
		break;
	default:
		replay_name(job);
	}
}

void replay_job_end(struct job *job, int err)
{
	struct replay *replay = job->replay;
	const struct spool_record *record = &job->record;
	struct job *later;

	if (err && job->target && job->target->state == TARGET_READY && !job->target->conflict)
		spool_failed_anew(replay->fs->spool, record->sequence);
	if (err && record->type == SPOOL_CREATE && job->target) {
		job->target->state = TARGET_NEW;
		job->target->err = err;
	}
	if (!err) {
		spool_done(replay->fs->spool, record->sequence, 1);
		replay->figures.done++;
		replay->figures.done_bytes += record->len;
	} else if (is_link_error(err)) {
		replay->err = err;
		if (replay->chosen)
			spool_failed(replay->fs->spool, record->sequence, 1, err, record->path);
	} else {
		replay->figures.failed++;
		log_error("change %d of %s that an earlier mount left can't be done: %s",
		    (int)record->type, record->path, strerror(-err));
		spool_failed(replay->fs->spool, record->sequence, 1, err, record->path);
		if (record->type != SPOOL_SETATTR) {
			/* What has no second name keeps the one that it has. */
			note_failed(replay, record->path, err, record->type == SPOOL_LINK);
			if (other_path(record))
				note_failed(replay, record->to, err, false);
		}
	}
	for (later = TAILQ_NEXT(job, link); later; later = TAILQ_NEXT(later, link)) {
		if (later->blocker == job)
			later->blocker = find_blocker(TAILQ_NEXT(job, link), later);
	}
	TAILQ_REMOVE(&replay->jobs, job, link);
	replay->n_jobs--;
	replay->job_bytes -= record->len;
	if (job->target)
		target_put(job->target);
	free(job->buf.at);
	free(job);
	soon(replay);
}

/* The next change as a job; false: there is none, or it can't be read. */
static bool load(struct replay *replay)
{
	struct job *job = calloc(1, sizeof(*job));
	uint64_t sequence = next_of(replay, replay->next);
	int err;

	if (!job || !sequence || sequence >= replay->to) {
		replay->next = replay->to;
		free(job);
		return false;
	}
	replay->next = sequence + 1;
	err = spool_read(replay->fs->spool, sequence, &job->buf, &job->record);
	if (err || job->record.type == SPOOL_CHECKED) {
		if (err && err != -ENOENT)
			log_error("a change in the spool can't be read back: %s", strerror(-err));
		spool_done(replay->fs->spool, sequence, 1);
		free(job->buf.at);
		free(job);
		return true;
	}
	job->replay = replay;
	TAILQ_INSERT_TAIL(&replay->jobs, job, link);
	job->blocker = find_blocker(TAILQ_FIRST(&replay->jobs), job);
	replay->n_jobs++;
	replay->job_bytes += job->record.len;
	return true;
}

static void on_idle_closed(uv_handle_t *handle)
{
	free(handle->data);
}

/* What was not even begun has failed as before. */
static void fail_rest(struct replay *replay)
{
	struct spool *spool = replay->fs->spool;
	struct spool_record record;
	struct spool_buf buf = {0};
	uint64_t sequence = replay->next;

	for (; (sequence = next_of(replay, sequence)) && sequence < replay->to; sequence++) {
		if (!spool_read(spool, sequence, &buf, &record))
			spool_failed(spool, sequence, 1, replay->err, record.path);
	}
	free(buf.at);
}

static void end(struct replay *replay)
{
	struct target *target;
	size_t i;

	if (replay->err && replay->chosen)
		fail_rest(replay);
	replay->ended = true;
	while ((target = TAILQ_FIRST(&replay->targets)))
		target_free(target);
	for (i = 0; i < replay->n_notes; i++) {
		free(replay->notes[i].path);
		free(replay->notes[i].to);
	}
	for (i = 0; i < replay->n_broken; i++)
		free(replay->broken[i].path);
	free(replay->notes);
	free(replay->broken);
	free(replay->chosen);
	replay->finished(replay->arg, replay->err, &replay->figures);
	uv_close((uv_handle_t *)&replay->idle, on_idle_closed);
}

static void pump(struct replay *replay)
{
	struct job *job, *next;
	int err;

	while (!replay->err && replay->next < replay->to && replay->n_jobs < JOBS_MOST &&
	       replay->job_bytes < BYTES_MOST && load(replay))
		;
	for (job = TAILQ_FIRST(&replay->jobs); job; job = next) {
		next = TAILQ_NEXT(job, link);
		if (job->started)
			continue;
		if (replay->err)
			replay_job_end(job, replay->err);
		else if (!job->blocker && (err = is_broken(replay, &job->record)))
			replay_job_end(job, err);
		else if (!job->blocker)
			start(job);
	}
	if (replay->n_jobs || (!replay->err && replay->next < replay->to)) {
		if (!replay->n_jobs)
			soon(replay);
	} else if (!replay->ended) {
		end(replay);
	}
}

/* --- what has to be known beforehand --- */

static int note(struct replay *replay, const struct spool_record *record)
{
	size_t room = replay->notes_room ? replay->notes_room * 2 : 64;
	struct note *grown, *at;

	if (replay->n_notes == replay->notes_room) {
		grown = realloc(replay->notes, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		replay->notes = grown;
		replay->notes_room = room;
	}
	at = &replay->notes[replay->n_notes];
	*at = (struct note){.sequence = record->sequence,
	    .type = record->type,
	    .alive = record->alive,
	    .mtime = record->attr.mtime,
	    .path = strdup(record->path),
	    .to = record->to ? strdup(record->to) : NULL};
	if (!at->path || (record->to && !at->to)) {
		free(at->path);
		free(at->to);
		return -ENOMEM;
	}
	replay->n_notes++;
	return 0;
}

/* The sequences to do, in order: while it runs, others may fail and be added. */
static int choose_failed(struct replay *replay)
{
	struct spool *spool = replay->fs->spool;
	uint64_t sequence = replay->next;
	size_t room = 0;
	uint64_t *grown;

	for (; (sequence = spool_next(spool, sequence)) && sequence < replay->to; sequence++) {
		if (!spool_has_failed(spool, sequence))
			continue;
		if (replay->n_chosen == room) {
			room = room ? room * 2 : 64;
			grown = realloc(replay->chosen, room * sizeof(*grown));
			if (!grown) {
				free(replay->chosen);
				return -ENOMEM;
			}
			replay->chosen = grown;
		}
		replay->chosen[replay->n_chosen++] = sequence;
	}
	spool_forget_failed(spool);
	return 0;
}

/* The next sequence from `from` on that is to be done; 0: none. */
static uint64_t next_of(const struct replay *replay, uint64_t from)
{
	size_t low = 0, high = replay->n_chosen, mid;

	if (!replay->chosen)
		return spool_next(replay->fs->spool, from);
	while (low < high) {
		mid = (low + high) / 2;
		if (replay->chosen[mid] < from)
			low = mid + 1;
		else
			high = mid;
	}
	return low < replay->n_chosen ? replay->chosen[low] : 0;
}

static bool is_noted(enum spool_type type)
{
	return type == SPOOL_RENAME || type == SPOOL_UNLINK || type == SPOOL_SETATTR ||
	       type == SPOOL_CHECKED;
}

static int survey(struct replay *replay)
{
	struct spool *spool = replay->fs->spool;
	uint64_t sequence = replay->next;
	struct spool_record record;
	struct spool_buf buf = {0};
	enum spool_type type;
	int err = 0;

	for (; !err && (sequence = next_of(replay, sequence)) && sequence < replay->to;
	     sequence++) {
		type = spool_type_of(spool, sequence);
		if (type != SPOOL_CHECKED)
			replay->figures.changes++;
		if (type == SPOOL_WRITE || type == SPOOL_APPEND) {
			replay->figures.bytes += spool_length(spool, sequence);
			continue;
		}
		if (is_noted(type) && !spool_read(spool, sequence, &buf, &record) &&
		    (type != SPOOL_SETATTR ||
			(record.sent && (record.attr.flags & SPOOL_ATTR_TIMES))))
			err = note(replay, &record);
	}
	free(buf.at);
	return err;
}

struct replay *replay_start(struct fs *fs, uint64_t from, uint64_t to, bool failed,
    void (*finished)(void *arg, int err, const struct replay_figures *figures), void *arg)
{
	struct replay *replay = calloc(1, sizeof(*replay));

	if (!replay)
		return NULL;
	replay->fs = fs;
	replay->next = from ? from : 1;
	replay->to = to;
	replay->finished = finished;
	replay->arg = arg;
	TAILQ_INIT(&replay->jobs);
	TAILQ_INIT(&replay->targets);
	if (failed && choose_failed(replay)) {
		free(replay);
		return NULL;
	}
	if (survey(replay)) {
		free(replay->chosen);
		free(replay);
		return NULL;
	}
	uv_idle_init(fs->loop, &replay->idle);
	replay->idle.data = replay;
	soon(replay);
	return replay;
}

void replay_figures(const struct replay *replay, struct replay_figures *out)
{
	*out = replay->figures;
}

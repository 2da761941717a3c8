/* Where the changes of a file's contents go: into it, if nobody else has changed it. */
#include "conf/log.h"
#include "fs/openfile.h"
#include "fs/replay_impl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

/* --- the targets --- */

static unsigned bucket_of(const char *path)
{
	return (unsigned)(XXH3_64bits(path, strlen(path)) % TARGET_BUCKETS);
}

struct target *target_find(struct replay *replay, const char *path)
{
	struct target *target;

	LIST_FOREACH (target, &replay->buckets[bucket_of(path)], bucket) {
		if (!strcmp(target->path, path))
			return target;
	}
	return NULL;
}

static void set_path(struct target *target, const char *path)
{
	char *copy = strdup(path), *place = target->conflict ? NULL : strdup(path);

	if (!copy || (!place && !target->conflict)) {
		free(copy);
		free(place);
		return;
	}
	LIST_REMOVE(target, bucket);
	free(target->path);
	target->path = copy;
	if (place) {
		free(target->place);
		target->place = place;
	}
	LIST_INSERT_HEAD(&target->replay->buckets[bucket_of(path)], target, bucket);
}

struct target *target_of(struct replay *replay, const char *path)
{
	struct target *target = target_find(replay, path);

	if (!target) {
		target = calloc(1, sizeof(*target));
		if (!target)
			return NULL;
		target->replay = replay;
		target->path = strdup(path);
		target->place = strdup(path);
		if (!target->path || !target->place) {
			free(target->path);
			free(target->place);
			free(target);
			return NULL;
		}
		TAILQ_INIT(&target->waits);
		TAILQ_INSERT_TAIL(&replay->targets, target, link);
		LIST_INSERT_HEAD(&replay->buckets[bucket_of(path)], target, bucket);
	}
	target->users++;
	return target;
}

static void close_file(struct target *target)
{
	if (target->file)
		rfile_put(target->file);
	target->file = NULL;
}

void target_free(struct target *target)
{
	struct replay *replay = target->replay;

	close_file(target);
	/* A later replay of what failed has to know until when we changed it. */
	if (target->checked && !target->err && !replay->err)
		spool_done(replay->fs->spool, target->checked, 1);
	TAILQ_REMOVE(&replay->targets, target, link);
	LIST_REMOVE(target, bucket);
	free(target->tail);
	free(target->path);
	free(target->place);
	free(target);
}

/* Does a change that is loaded already want the file next? */
static bool wanted(const struct target *target)
{
	const struct job *job;

	TAILQ_FOREACH (job, &target->replay->jobs, link) {
		if (!strcmp(job->record.path, target->path))
			return true;
	}
	return false;
}

void target_put(struct target *target)
{
	if (--target->users || wanted(target))
		return;
	close_file(target);
	free(target->tail);
	target->tail = NULL;
	target->tail_known = false;
}

static bool target_path(void *arg, char *buf, size_t size)
{
	const struct target *target = arg;

	return (size_t)snprintf(buf, size, "%s", target->place) < size;
}

static struct rfile_owner owner_of(struct target *target)
{
	return (struct rfile_owner){.path = target_path, .arg = target};
}

/* Others wait for it no longer. */
static void wake(struct target *target, int err)
{
	struct waits waits = TAILQ_HEAD_INITIALIZER(waits);
	struct wait *wait;

	/* They may wait for the next thing. */
	TAILQ_CONCAT(&waits, &target->waits, link);
	while ((wait = TAILQ_FIRST(&waits))) {
		TAILQ_REMOVE(&waits, wait, link);
		wait->go(wait->job, err);
		free(wait);
	}
}

static void wait_for(struct job *job, void (*go)(struct job *job, int err))
{
	struct wait *wait = malloc(sizeof(*wait));

	if (!wait) {
		go(job, -ENOMEM);
		return;
	}
	*wait = (struct wait){.go = go, .job = job};
	TAILQ_INSERT_TAIL(&job->target->waits, wait, link);
}

void target_made(struct target *target, char *place, struct rfile *file)
{
	struct rfile_owner owner = owner_of(target);

	if (place) {
		free(target->place);
		target->place = place;
	}
	target->state = TARGET_READY;
	close_file(target);
	target->file = file;
	if (file)
		rfile_set_owner(file, &owner);
}

void targets_renamed(struct replay *replay, const char *path, const char *to)
{
	struct target *target, *next;
	char moved[2 * PATH_MAX];

	targets_removed(replay, to);
	for (target = TAILQ_FIRST(&replay->targets); target; target = next) {
		next = TAILQ_NEXT(target, link);
		if (!replay_below(target->path, path))
			continue;
		close_file(target);
		if (!strcmp(target->path, path)) /* what was beside it is it now */
			target->conflict = false;
		if (target->conflict)
			conflict_moved(target, path, to);
		snprintf(moved, sizeof(moved), "%s%s", to, target->path + strlen(path));
		set_path(target, moved);
	}
}

void targets_removed(struct replay *replay, const char *path)
{
	struct target *target = target_find(replay, path);

	if (!target)
		return;
	close_file(target);
	target->state = TARGET_NEW;
	target->conflict = false;
	target->err = 0;
	set_path(target, path);
}

/* --- looking whether it is ours --- */

static void gone_ahead(struct job *job, int err)
{
	struct target *target = job->target;
	struct spool_record checked = {.type = SPOOL_CHECKED, .path = target->path};
	int64_t sequence;

	if (!err && target->state != TARGET_GONE) {
		target->state = TARGET_READY;
		sequence = spool_append(job->replay->fs->spool, &checked);
		target->checked = sequence > 0 ? (uint64_t)sequence : 0;
	} else if (err) {
		target->state = TARGET_NEW;
	}
	/* The first in line is the one that looked. */
	wake(target, target->state == TARGET_GONE ? -ENOENT : err);
}

static void judge(struct job *job, int err)
{
	if (err)
		gone_ahead(job, err);
	else if (replay_is_ours(job->replay, &job->record, &job->target->there))
		gone_ahead(job, 0);
	else
		conflict_make(job, true, gone_ahead);
}

/* A later change in the spool that may have been done: where did it take the file? */
static const struct note *moved(const struct job *job, char *to, size_t size)
{
	const struct replay *replay = job->replay;
	const char *path = job->target->path;
	size_t i;

	for (i = 0; i < replay->n_notes; i++) {
		const struct note *note = &replay->notes[i];

		if (note->sequence < job->record.sequence)
			continue;
		if (note->type == SPOOL_UNLINK && !strcmp(note->path, path))
			return note;
		if (note->type == SPOOL_RENAME && replay_below(path, note->path)) {
			snprintf(to, size, "%s%s", note->to, path + strlen(note->path));
			return note;
		}
	}
	return NULL;
}

static void look_again(void *arg, int err, const struct sftp_attr *attr)
{
	struct job *job = arg;

	if (err == -ENOENT) {
		free(job->target->place);
		job->target->place = strdup(job->target->path);
		conflict_make(job, false, gone_ahead);
	} else if (err) {
		gone_ahead(job, err);
	} else {
		job->target->there = *attr;
		replay_clock(job, job->target->place, judge);
	}
}

static void vanished(struct job *job)
{
	struct target *target = job->target;
	char to[2 * PATH_MAX];
	const struct note *note = moved(job, to, sizeof(to));

	if (note && note->type == SPOOL_RENAME) {
		free(target->place);
		target->place = strdup(to);
		remote_lstat(job->replay->fs->remote, to, look_again, job);
	} else if (note) {
		target->state = TARGET_GONE;
		gone_ahead(job, 0);
	} else {
		conflict_make(job, false, gone_ahead);
	}
}

static void on_look(void *arg, int err, const struct sftp_attr *attr)
{
	struct job *job = arg;

	if (err == -ENOENT) {
		vanished(job);
	} else if (err || (attr->mode & S_IFMT) != S_IFREG) {
		gone_ahead(job, err ? err : -ESTALE);
	} else {
		job->target->there = *attr;
		if (job->record.type == SPOOL_APPEND) /* others may append as well */
			gone_ahead(job, 0);
		else if (attr->mtime == job->record.base_mtime)
			judge(job, 0);
		else
			replay_clock(job, job->target->place, judge);
	}
}

void target_ready(struct job *job, void (*go)(struct job *job, int err))
{
	struct target *target = job->target;

	if (target->state == TARGET_READY) {
		go(job, 0);
	} else if (target->state == TARGET_GONE) {
		go(job, -ENOENT);
	} else {
		wait_for(job, go);
		if (target->state == TARGET_LOOKING)
			return;
		target->state = TARGET_LOOKING;
		remote_lstat(job->replay->fs->remote, target->place, on_look, job);
	}
}

/* --- opening --- */

static void opened(struct target *target, int err)
{
	target->opening = false;
	wake(target, err);
}

static void open_it(struct job *job);

static void on_lent(void *arg, int err)
{
	struct job *job = arg;

	if (err)
		opened(job->target, -EACCES);
	else
		open_it(job);
}

static void on_given_back(void *arg, int err)
{
	(void)arg;
	if (err)
		log_debug("a file's mode could not be set again: %s", strerror(-err));
}

/* Who made a file without the right to write had it open; now the right is lent. */
static void on_open(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	struct job *job = arg;
	struct target *target = job->target;
	struct sftp_attr mode = {.flags = SSH_FILEXFER_ATTR_PERMISSIONS};

	(void)attr;
	if (err == -EACCES && !target->mode_lent && target->there.flags) {
		target->mode_lent = true;
		mode.mode = (target->there.mode & 07777) | 0600;
		remote_setstat(job->replay->fs->remote, target->place, &mode, true, on_lent, job);
		return;
	}
	if (!err) {
		target->file = file;
		mode.mode = target->there.mode & 07777;
		if (target->mode_lent)
			rfile_fsetstat(file, &mode, on_given_back, NULL);
	}
	target->mode_lent = false;
	opened(target, err);
}

static void open_it(struct job *job)
{
	struct target *target = job->target;
	struct rfile_owner owner = owner_of(target);
	uint32_t flags = SSH_FXF_READ | SSH_FXF_WRITE;

	if (job->record.type == SPOOL_APPEND)
		flags |= SSH_FXF_APPEND;
	rfile_open(job->replay->fs->remote, target->place, flags, 0, &owner, on_open, job);
}

static void now_open(struct job *job, int err)
{
	struct target *target = job->target;
	void (*go)(struct job * job, int err) = job->go;
	bool append = job->record.type == SPOOL_APPEND;

	if (err) {
		go(job, err);
		return;
	}
	if (target->file && !target->opening && rfile_append(target->file) != append)
		close_file(target);
	if (target->file) {
		go(job, 0);
		return;
	}
	wait_for(job, go);
	if (target->opening)
		return;
	target->opening = true;
	open_it(job);
}

void target_open(struct job *job, void (*go)(struct job *job, int err))
{
	job->go = go;
	target_ready(job, now_open);
}

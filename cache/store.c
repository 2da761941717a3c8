#include "cache/store_impl.h"
#include "conf/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define IDS_PASSED_OVER 65536u
#define OPS_MAX 512   /* in one transaction */
#define CHECKPOINT 64 /* commits between checkpoints */
#define FULL_MS 30000 /* for how long nothing is written after the disk was full */

/* --- stepping aside -------------------------------------------------------------- */

static void lose_all(struct store *store)
{
	struct store_file *file;

	LIST_FOREACH (file, &store->attached, link)
		store_file_lost(file);
}

void store_fail(struct store *store, int err, const char *what)
{
	bool full = err == -ENOSPC || err == -EDQUOT;

	store->full_until = uv_now(store->loop) + FULL_MS;
	if (store->state == STORE_OFF || (store->state == STORE_FULL && full))
		return;
	store->state = full ? STORE_FULL : STORE_OFF;
	snprintf(store->why, sizeof(store->why), "%s: %s", what, strerror(-err));
	log_warning("disk cache %s: %s; %s", store->dir, store->why,
	    full ? "nothing is added to it for now" : "it is not used any more");
	if (!full)
		lose_all(store);
}

bool store_takes(const struct store *store)
{
	return store->state != STORE_OFF && !store->leaving &&
	       (store->state == STORE_ON || uv_now(store->loop) >= store->full_until);
}

/* --- jobs ------------------------------------------------------------------------------ */

int store_job(struct store *store, uv_work_t *work, uv_work_cb run, uv_after_work_cb done)
{
	int err = uv_queue_work(store->loop, work, run, done);

	if (!err)
		store->jobs++;
	return err;
}

void store_job_done(struct store *store)
{
	store->jobs--;
}

/* Unlinks block files; a large one takes its time. */
struct unlink_job {
	uv_work_t work;
	struct store *store;
	struct store_ids ids;
};

static void unlink_run(uv_work_t *work)
{
	struct unlink_job *job = work->data;
	size_t i;

	for (i = 0; i < job->ids.n; i++)
		store_files_unlink(job->store->files, job->ids.ids[i]);
}

static void unlink_done(uv_work_t *work, int status)
{
	struct unlink_job *job = work->data;

	store_job_done(job->store);
	free(job->ids.ids);
	free(job);
}

/* Takes the ids. */
static void unlink_all(struct store *store, struct store_ids *ids)
{
	struct unlink_job *job = ids->n ? calloc(1, sizeof(*job)) : NULL;

	if (job) {
		job->work.data = job;
		job->store = store;
		job->ids = *ids;
		if (!store_job(store, &job->work, unlink_run, unlink_done))
			return;
		free(job);
	}
	free(ids->ids);
}

void store_unlink(struct store *store, uint64_t id)
{
	struct store_ids ids = {NULL, 0, 0};

	store_ids_add(&ids, id);
	unlink_all(store, &ids);
}

/* --- the index -------------------------------------------------------------------------- */

void *store_op_new(struct store *store, size_t size,
    void (*run)(struct store_index *index, struct store_op *op),
    void (*done)(struct store_op *op, int err))
{
	struct store_op *op = calloc(1, size);

	if (!op)
		return NULL;
	op->store = store;
	op->run = run;
	op->done = done;
	return op;
}

void store_op_free(struct store_op *op)
{
	free(op->gone.ids);
	free(op);
}

static void index_run(uv_work_t *work)
{
	struct store *store = work->data;
	struct store_op *op;
	bool must = false;
	int err;

	store->restarted = false;
	err = store_index_begin(store->index);
	TAILQ_FOREACH (op, &store->running, link) {
		must |= op->must;
		if (!err)
			op->run(store->index, op);
	}
	if (!err)
		err = store_index_commit(store->index);
	/* Rather nothing than what is not true. */
	if (err && (must || err != -ENOSPC))
		store->restarted = !store_index_restart(store->index);
	store->index_err = err;
}

static void checkpoint_run(uv_work_t *work)
{
	struct store *store = work->data;

	store_index_checkpoint(store->index_path);
}

static void checkpoint_done(uv_work_t *work, int status)
{
	struct store *store = work->data;

	store_job_done(store);
	free(work);
}

static void checkpoint(struct store *store)
{
	uv_work_t *work = malloc(sizeof(*work));

	if (!work)
		return;
	work->data = store;
	if (store_job(store, work, checkpoint_run, checkpoint_done))
		free(work);
}

int store_ids_order(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The files that ops of one transaction removed: those that are attached begin anew. One look at
 * them for all. */
static void note_gone(struct store *store, const struct store_ids *gone)
{
	struct store_file *file;

	if (!gone->n)
		return;
	qsort(gone->ids, gone->n, sizeof(*gone->ids), store_ids_order);
	LIST_FOREACH (file, &store->attached, link)
		if (file->id &&
		    bsearch(&file->id, gone->ids, gone->n, sizeof(*gone->ids), store_ids_order))
			store_file_lost(file);
}

/* Into all; what that has no room for is done now. */
static void collect_gone(struct store *store, struct store_ids *all, struct store_ids *gone)
{
	size_t i;

	for (i = 0; i < gone->n && !store_ids_add(all, gone->ids[i]); i++)
		;
	if (i < gone->n) {
		note_gone(store, gone);
		unlink_all(store, gone);
	} else {
		free(gone->ids);
	}
	*gone = (struct store_ids){NULL, 0, 0};
}

/* The index began afresh: what lies in the folder means nothing. */
struct clear_job {
	uv_work_t work;
	struct store *store;
	uint64_t below;
};

static void clear_one(void *arg, int dir, uint64_t id)
{
	const struct clear_job *job = arg;

	if (id < job->below)
		store_files_unlink(dir, id);
}

static void clear_run(uv_work_t *work)
{
	struct clear_job *job = work->data;

	store_files_each(job->store->files, clear_one, job);
}

static void clear_done(uv_work_t *work, int status)
{
	struct clear_job *job = work->data;

	store_job_done(job->store);
	free(job);
}

static void clear_files(struct store *store)
{
	struct clear_job *job = calloc(1, sizeof(*job));

	if (!job)
		return;
	job->work.data = job;
	job->store = store;
	job->below = store->next_id;
	if (store_job(store, &job->work, clear_run, clear_done))
		free(job);
}

static void index_start(struct store *store);

static void index_done(uv_work_t *work, int status)
{
	struct store *store = work->data;
	struct store_ops done = TAILQ_HEAD_INITIALIZER(done);
	struct store_ids gone = {NULL, 0, 0};
	int err = store->index_err;
	struct store_op *op;

	store->index_busy = false;
	store_job_done(store);
	store->figures.bytes = store_index_bytes(store->index);
	store->figures.files = store_index_files(store->index);
	TAILQ_CONCAT(&done, &store->running, link);
	if (store->restarted) {
		lose_all(store);
		clear_files(store);
	}
	if (err && store->restarted && err != -ENOSPC)
		log_warning("disk cache %s: its index is damaged (%s); it begins afresh",
		    store->dir, strerror(-err));
	else if (err)
		store_fail(store, err, "its index");
	while ((op = TAILQ_FIRST(&done))) {
		TAILQ_REMOVE(&done, op, link);
		if (!err)
			collect_gone(store, &gone, &op->gone);
		op->done(op, err);
	}
	/* Behind all of them: what one has found a later one may have removed. */
	note_gone(store, &gone);
	unlink_all(store, &gone);
	if (++store->commits % CHECKPOINT == 0)
		checkpoint(store);
	index_start(store);
}

static void index_start(struct store *store)
{
	struct store_op *op;
	int i;

	if (store->index_busy)
		return;
	for (i = 0; i < OPS_MAX && (op = TAILQ_FIRST(&store->ops)); i++) {
		TAILQ_REMOVE(&store->ops, op, link);
		TAILQ_INSERT_TAIL(&store->running, op, link);
		store->n_ops--;
	}
	if (!i)
		return;
	store->index_job.data = store;
	store->index_busy = !store_job(store, &store->index_job, index_run, index_done);
}

void store_op_send(struct store_op *op)
{
	struct store *store = op->store;

	TAILQ_INSERT_TAIL(&store->ops, op, link);
	store->n_ops++;
	index_start(store);
}

/* --- life ------------------------------------------------------------------------------------ */

static int make_dirs(char *dir)
{
	char *at;

	for (at = dir + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		if (mkdir(dir, 0700) && errno != EEXIST) {
			int err = -errno;

			*at = '/';
			return err;
		}
		*at = '/';
	}
	return mkdir(dir, 0700) && errno != EEXIST ? -errno : 0;
}

static int take_lock(struct store *store, const char *dir, struct conf_error *error)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/lock", dir);
	store->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (store->lock < 0)
		return conf_fail(error, errno, "%s: %s", path, strerror(errno));
	if (flock(store->lock, LOCK_EX | LOCK_NB))
		return conf_fail(
		    error, EBUSY, "%s is in use by another mount of this instance", dir);
	return 0;
}

static int open_files(struct store *store, const char *dir)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/files", dir);
	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	store->files = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return store->files < 0 ? -errno : 0;
}

static uint64_t default_limit(const struct store *store)
{
	uint64_t limit = STORE_DEFAULT_BYTES, room;
	struct statvfs st;

	if (fstatvfs(store->files, &st))
		return limit;
	room = (uint64_t)st.f_bavail * st.f_frsize + store->figures.bytes;
	return room / 10 < limit ? room / 10 : limit;
}

/* Private, ours, and with all its parts. */
static int open_dir(struct store *store, struct conf_error *error)
{
	struct stat st;
	int rc = make_dirs(store->dir);

	if (!rc && lstat(store->dir, &st))
		rc = -errno;
	if (!rc && (!S_ISDIR(st.st_mode) || st.st_uid != geteuid()))
		rc = -EPERM;
	if (!rc && st.st_mode & 077 && chmod(store->dir, 0700))
		rc = -errno;
	if (rc)
		return conf_fail(error, -rc, "%s: %s", store->dir, strerror(-rc));
	rc = take_lock(store, store->dir, error);
	if (rc)
		return rc;
	rc = open_files(store, store->dir);
	if (!rc)
		rc = store_index_open(&store->index, store->index_path);
	if (rc < 0)
		return conf_fail(error, -rc, "%s: %s", store->dir, strerror(-rc));
	if (rc == 1)
		store_files_clear(store->files);
	return 0;
}

int store_open(
    struct store **out, uv_loop_t *loop, const char *dir, uint64_t limit, struct conf_error *error)
{
	struct store *store = calloc(1, sizeof(*store));
	int rc;

	*out = NULL;
	if (!store)
		return conf_fail(error, ENOMEM, "out of memory");
	store->loop = loop;
	store->files = store->lock = -1;
	TAILQ_INIT(&store->ops);
	TAILQ_INIT(&store->running);
	LIST_INIT(&store->attached);
	for (unsigned i = 0; i < STORE_BUCKETS; i++)
		LIST_INIT(&store->by_path[i]);
	TAILQ_INIT(&store->open);
	store->dir = strdup(dir);
	if (!store->dir || asprintf(&store->index_path, "%s/index", dir) < 0) {
		store->index_path = NULL;
		rc = conf_fail(error, ENOMEM, "out of memory");
	} else {
		rc = open_dir(store, error);
	}
	if (rc) {
		store_free(store);
		return rc;
	}
	store->figures.bytes = store_index_bytes(store->index);
	store->figures.files = store_index_files(store->index);
	/* Files that a killed daemon did not get into the index have the next ids. */
	store->next_id = store_index_next_id(store->index) + IDS_PASSED_OVER;
	store_index_find_note(store->index, STORE_NOTE, &store->note);
	store->limit = limit == UINT64_MAX ? default_limit(store) : limit;
	*out = store;
	store_evict(store);
	store_sweep(store);
	return 0;
}

void store_leave(struct store *store)
{
	store->leaving = true;
}

bool store_busy(const struct store *store)
{
	return store->jobs != 0;
}

void store_free(struct store *store)
{
	if (!store)
		return;
	store_index_close(store->index);
	store_batches_free(store);
	if (store->files >= 0)
		close(store->files);
	if (store->lock >= 0)
		close(store->lock);
	free(store->dir);
	free(store->note);
	free(store->index_path);
	free(store);
}

void store_on_room(struct store *store, void (*room)(void *arg), void *arg)
{
	store->room = room;
	store->room_arg = arg;
}

void store_note_miss(struct store *store, uint64_t bytes)
{
	store->figures.miss_bytes += bytes;
}

void store_figures(const struct store *store, struct store_figures *out)
{
	static const char *const states[] = {"on", "full", "off"};

	*out = store->figures;
	out->limit_bytes = store->limit;
	out->state = states[store->state];
	out->why = store->state == STORE_ON ? "" : store->why;
}

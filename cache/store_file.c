/*
 * Files of the store that somebody uses: what is kept of them, and reading it.
 *
 * Descriptors are few: the least recently used one is closed when there are too many, and opened
 * again by the next read that goes to the thread pool.
 */
#include "cache/store_impl.h"
#include "conf/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define OPEN_MAX 128

/* --- descriptors ------------------------------------------------------------------- */

static void close_fd(struct store_file *file)
{
	if (file->fd < 0)
		return;
	TAILQ_REMOVE(&file->store->open, file, open_link);
	file->store->n_open--;
	close(file->fd);
	file->fd = -1;
}

/* The descriptor, if it is of what is kept now: after store_file_lost an old one stays as long as
 * jobs read from it. */
static int fd_of(const struct store_file *file)
{
	return file->id && file->fd_id == file->id ? file->fd : -1;
}

/* Takes a descriptor that a job has opened. */
static void take_fd(struct store_file *file, int fd)
{
	struct store *store = file->store;
	struct store_file *coldest;

	if (fd < 0)
		return;
	if (file->fd >= 0 || !file->id) {
		close(fd);
		return;
	}
	if (store->n_open >= OPEN_MAX) {
		coldest = TAILQ_FIRST(&store->open);
		if (!coldest->reading)
			close_fd(coldest);
	}
	file->fd = fd;
	file->fd_id = file->id;
	store->n_open++;
	TAILQ_INSERT_TAIL(&store->open, file, open_link);
}

static void use_fd(struct store_file *file)
{
	struct store *store = file->store;

	if (file->fd >= 0 && TAILQ_NEXT(file, open_link)) {
		TAILQ_REMOVE(&store->open, file, open_link);
		TAILQ_INSERT_TAIL(&store->open, file, open_link);
	}
}

/* --- life ---------------------------------------------------------------------------- */

struct find_op {
	struct store_op op;
	struct store_file *file; /* counted */
	struct store_block *blocks;
	size_t n;
	uint64_t id;
	int64_t used;
	int fd;
	struct store_version version; /* path: owned */
};

static void find_run(struct store_index *index, struct store_op *op)
{
	struct find_op *find = (struct find_op *)op;

	store_index_find(
	    index, &find->version, find->used, &find->id, &find->blocks, &find->n, &op->gone);
	if (find->n)
		find->fd = store_files_open(op->store->files, find->id, false, false);
}

static void take_blocks(struct store_file *file, const struct find_op *find)
{
	size_t i;

	file->id = find->id;
	for (i = 0; i < find->n; i++)
		store_map_set(&file->map, &find->blocks[i]);
}

static void find_done(struct store_op *op, int err)
{
	struct find_op *find = (struct find_op *)op;
	struct store_file *file = find->file;
	bool ours = !err && !file->over && op->store->state != STORE_OFF;

	if (ours && find->id)
		take_blocks(file, find);
	if (ours && find->fd >= 0)
		take_fd(file, find->fd);
	else if (find->fd >= 0)
		close(find->fd);
	file->loading = false;
	if (file->loaded)
		file->loaded(file->arg);
	store_file_put(file);
	free(find->blocks);
	free((char *)find->version.path);
	store_op_free(op);
}

unsigned store_bucket(const char *path)
{
	return (unsigned)(XXH3_64bits(path, strlen(path)) % STORE_BUCKETS);
}

void store_file_place(struct store_file *file)
{
	LIST_INSERT_HEAD(&file->store->by_path[store_bucket(file->path)], file, path_link);
}

struct store_file *store_file_new(struct store *store, const char *path, uint32_t mtime,
    uint64_t size, void (*loaded)(void *arg), void *arg)
{
	struct store_file *file = store->state == STORE_OFF ? NULL : calloc(1, sizeof(*file));
	struct find_op *find =
	    file ? store_op_new(store, sizeof(*find), find_run, find_done) : NULL;

	if (!find || !(find->version.path = strdup(path)) || !(file->path = strdup(path))) {
		if (find) {
			free((char *)find->version.path);
			store_op_free(&find->op);
		}
		free(file);
		return NULL;
	}
	file->store = store;
	file->refs = 2;
	file->fd = -1;
	file->mtime = mtime;
	file->size = size;
	file->loading = true;
	file->loaded = loaded;
	file->arg = arg;
	LIST_INSERT_HEAD(&store->attached, file, link);
	store_file_place(file);
	find->file = file;
	find->fd = -1;
	find->used = time(NULL);
	find->version.mtime = mtime;
	find->version.size = size;
	store_op_send(&find->op);
	return file;
}

struct store_file *store_file_get(struct store_file *file)
{
	file->refs++;
	return file;
}

static void unref(struct store_file *file)
{
	if (--file->refs)
		return;
	LIST_REMOVE(file, link);
	LIST_REMOVE(file, path_link);
	close_fd(file);
	store_map_fini(&file->map);
	free(file->path);
	free(file);
}

void store_file_put(struct store_file *file)
{
	/* Only the op that looks for it is left. */
	if (file->refs == 2 && file->loading)
		file->loaded = NULL;
	unref(file);
}

void store_file_lost(struct store_file *file)
{
	file->id = 0;
	if (!file->reading)
		close_fd(file);
	store_map_fini(&file->map);
}

struct drop_op {
	struct store_op op;
	uint64_t id;
	char *path;
};

static void drop_run(struct store_index *index, struct store_op *op)
{
	const struct drop_op *drop = (struct drop_op *)op;

	if (drop->path)
		store_index_forget(index, drop->path, &op->gone);
	else if (!store_index_drop(index, drop->id))
		store_ids_add(&op->gone, drop->id);
}

static void drop_done(struct store_op *op, int err)
{
	struct drop_op *drop = (struct drop_op *)op;

	free(drop->path);
	store_op_free(op);
}

void store_file_drop(struct store_file *file)
{
	struct store *store = file->store;
	struct drop_op *drop = NULL;

	/* Looked for and not found yet: whatever is known of the path. */
	if ((file->id || file->loading) && store->state != STORE_OFF) {
		drop = store_op_new(store, sizeof(*drop), drop_run, drop_done);
		if (drop && file->loading && !(drop->path = strdup(file->path))) {
			store_op_free(&drop->op);
			drop = NULL;
		}
		if (!drop)
			store_fail(store, -ENOMEM, "memory is out");
	}
	if (drop) {
		drop->op.must = true;
		drop->id = file->id;
		store_op_send(&drop->op);
	}
	file->over = true;
	file->loaded = NULL;
	store_file_lost(file);
	store_file_put(file);
}

uint32_t store_file_pages(const struct store_file *file, uint64_t number)
{
	const struct store_block *block = store_map_find(&file->map, number);

	return block ? block->pages : 0;
}

/* --- reading --------------------------------------------------------------------------- */

struct bad_op {
	struct store_op op;
	uint64_t id, number;
};

static void bad_run(struct store_index *index, struct store_op *op)
{
	const struct bad_op *bad = (struct bad_op *)op;

	store_index_drop_block(index, bad->id, bad->number);
}

static void bad_done(struct store_op *op, int err)
{
	store_op_free(op);
}

/* A block could not be read: it is not kept any more. */
static void note_bad(struct store_file *file, const struct store_block *block, int err)
{
	struct store *store = file->store;
	const struct store_block *now = store_map_find(&file->map, block->number);
	struct store_block none = {.number = block->number};
	struct bad_op *bad;

	if (!now || now->pages != block->pages || now->sum != block->sum)
		return; /* gone, or written anew meanwhile */
	if (err == -EBADMSG) {
		store->figures.checksum_failures++;
		log_verbose(
		    "disk cache: a block of %s is damaged; it is fetched again", file->path);
	}
	store_map_set(&file->map, &none);
	bad = store_op_new(store, sizeof(*bad), bad_run, bad_done);
	if (bad) {
		bad->id = file->id;
		bad->number = block->number;
		store_op_send(&bad->op);
	}
	if (err == -EIO)
		store_fail(store, err, "reading it");
}

static void note_hit(struct store *store, const struct store_block *block)
{
	store->figures.hit_bytes += (uint64_t)__builtin_popcount(block->pages) * BLOCKS_PAGE;
}

int store_file_read_now(struct store_file *file, uint64_t number, uint8_t *buf)
{
	const struct store_block *found = store_map_find(&file->map, number);
	struct store_block block;
	int err;

	if (!found)
		return -ENOENT;
	if (fd_of(file) < 0)
		return -EAGAIN;
	block = *found;
	use_fd(file);
	err = store_files_read(file->fd, file->id, &block, buf, true);
	if (!err)
		note_hit(file->store, &block);
	else if (err != -EAGAIN)
		note_bad(file, &block, err);
	return err;
}

struct read_job {
	uv_work_t work;
	struct store_file *file; /* counted */
	uint64_t id;
	struct store_block block;
	uint8_t *data;
	int fd;
	bool borrows; /* fd is the file's, else the job opens its own */
	int err;
	store_read_done *done;
	void *arg;
};

static void read_run(uv_work_t *work)
{
	struct read_job *job = work->data;

	if (!job->borrows) {
		job->fd = store_files_open(job->file->store->files, job->id, false, false);
		job->err = job->fd < 0 ? job->fd : 0;
	}
	if (!job->err)
		job->err = store_files_read(job->fd, job->id, &job->block, job->data, false);
}

static void read_ended(uv_work_t *work, int status)
{
	struct read_job *job = work->data;
	struct store_file *file = job->file;
	struct store *store = file->store;

	store_job_done(store);
	if (job->borrows && !--file->reading && fd_of(file) < 0)
		close_fd(file);
	if (!job->borrows && file->id == job->id)
		take_fd(file, job->fd);
	else if (!job->borrows && job->fd >= 0)
		close(job->fd);
	if (!job->err)
		note_hit(store, &job->block);
	else if (file->id == job->id)
		note_bad(file, &job->block, job->err);
	if (job->err) {
		free(job->data);
		job->data = NULL;
	}
	job->done(job->arg, job->err, job->data, job->block.pages);
	store_file_put(file);
	free(job);
}

int store_file_read(struct store_file *file, uint64_t number, store_read_done *done, void *arg)
{
	const struct store_block *block = store_map_find(&file->map, number);
	struct read_job *job = block ? calloc(1, sizeof(*job)) : NULL;

	if (!job)
		return -ENOMEM;
	job->data = malloc(BLOCKS_SIZE);
	job->work.data = job;
	job->file = store_file_get(file);
	job->id = file->id;
	job->block = *block;
	job->fd = fd_of(file);
	job->borrows = job->fd >= 0;
	job->done = done;
	job->arg = arg;
	if (!job->data || store_job(file->store, &job->work, read_run, read_ended)) {
		free(job->data);
		free(job);
		store_file_put(file);
		return -ENOMEM;
	}
	use_fd(file);
	if (job->borrows)
		file->reading++;
	return 0;
}

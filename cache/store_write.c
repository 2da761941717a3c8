/*
 * Batches of blocks on their way to the disk.
 *
 *	copied from memory (core) --> written, checksums (thread) --> found by reads (core)
 *	                                                          --> rows in the index (store_op)
 *
 * Full blocks that follow each other are one write past the page cache: writing through it would
 * cost a core that is busy decrypting more than all the rest of a read does.
 */
#include "cache/store_impl.h"
#include "conf/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* One file may take this much of the cache, so that reading through a larger one does not empty it.
 */
#define FILE_MOST 3 / 4

/* A block whose first 16 pages, at least, are written goes past the page cache, as full ones do. */
#define DIRECT_PAGES 0xffffu

#define HUGE_PAGE (2u << 20)

struct item {
	struct store_file *file; /* counted */
	uint64_t id;
	struct store_block block; /* to be written; then, what is kept */
	struct store_block old;	  /* what was kept of it before */
	int err;
};

struct store_batch {
	uv_work_t work;
	struct store *store;
	uint8_t *data; /* STORE_BATCH blocks, aligned for writing past the page cache */
	uint8_t *old;  /* a block */
	struct item items[STORE_BATCH];
	unsigned n;
};

static void batch_free(struct store_batch *batch)
{
	free(batch->data);
	free(batch->old);
	free(batch);
}

void store_batches_free(struct store *store)
{
	unsigned i;

	for (i = 0; i < STORE_BATCHES; i++)
		if (store->spare[i])
			batch_free(store->spare[i]);
}

static struct store_batch *batch_make(void)
{
	struct store_batch *batch = calloc(1, sizeof(*batch));
	size_t size = (size_t)STORE_BATCH * BLOCKS_SIZE;

	if (!batch)
		return NULL;
	batch->old = malloc(BLOCKS_SIZE);
	batch->data = aligned_alloc(HUGE_PAGE, size);
	if (!batch->old || !batch->data) {
		batch_free(batch);
		return NULL;
	}
	madvise(batch->data, size, MADV_HUGEPAGE); /* fewer pages to pin for each write */
	return batch;
}

/* Where it stands among those that are being written; NULL: in a free place. */
static struct store_batch **place_of(struct store *store, const struct store_batch *batch)
{
	struct store_batch **at = store->sent;

	while (*at != batch)
		at++;
	return at;
}

static void put_back(struct store_batch *batch)
{
	struct store *store = batch->store;

	batch->n = 0;
	store->batches--;
	store->spare[store->batches] = batch;
}

struct store_batch *store_batch_new(struct store *store)
{
	struct store_batch *batch;

	if (store->batches == STORE_BATCHES || !store_takes(store))
		return NULL;
	batch = store->spare[store->batches];
	store->spare[store->batches] = NULL;
	if (!batch) {
		batch = batch_make();
		if (!batch)
			return NULL;
		batch->store = store;
	}
	store->batches++;
	return batch;
}

bool store_batch_full(const struct store_batch *batch)
{
	return batch->n == STORE_BATCH;
}

/* What is being written of it becomes known, and its checksum can cover more, when that is done. */
static bool is_being_written(const struct store_file *file, uint64_t number)
{
	const struct store_batch *batch;
	unsigned i, k;

	for (i = 0; i < STORE_BATCHES; i++) {
		batch = file->store->sent[i];
		for (k = 0; batch && k < batch->n; k++)
			if (batch->items[k].file == file && batch->items[k].id == file->id &&
			    batch->items[k].block.number == number)
				return true;
	}
	return false;
}

int store_batch_add(struct store_batch *batch, struct store_file *file, uint64_t number,
    uint32_t pages, const uint8_t *block)
{
	struct store *store = batch->store;
	const struct store_block *old = store_map_find(&file->map, number);
	struct item *item = &batch->items[batch->n];
	uint8_t *data = batch->data + (size_t)batch->n * BLOCKS_SIZE;
	unsigned page;

	if (file->loading || file->over || file->map.bytes + BLOCKS_SIZE > store->limit * FILE_MOST)
		return 0;
	if (is_being_written(file, number))
		return -EAGAIN;
	if (!file->id)
		file->id = store->next_id++;
	*item = (struct item){.file = store_file_get(file), .id = file->id};
	item->block = (struct store_block){.number = number, .pages = pages};
	if (old)
		item->old = *old;
	if (pages == UINT32_MAX) {
		memcpy(data, block, BLOCKS_SIZE);
	} else {
		for (page = 0; page < BLOCKS_PAGES; page++)
			if (pages & UINT32_C(1) << page)
				memcpy(data + page * BLOCKS_PAGE, block + page * BLOCKS_PAGE,
				    BLOCKS_PAGE);
	}
	batch->n++;
	return 1;
}

/* --- on the thread ------------------------------------------------------------------ */

/* Pages kept before and not written now stay, if they are still what they were. */
static void merge(struct store_batch *batch, struct item *item, int fd, uint8_t *data)
{
	uint8_t *old = batch->old;
	uint32_t more = item->old.pages & ~item->block.pages;
	unsigned page;

	if (!more || store_files_read(fd, item->id, &item->old, old, false))
		return;
	for (page = 0; page < BLOCKS_PAGES; page++)
		if (more & UINT32_C(1) << page)
			memcpy(data + page * BLOCKS_PAGE, old + page * BLOCKS_PAGE, BLOCKS_PAGE);
	item->block.pages |= more;
}

static uint8_t *data_of(const struct store_batch *batch, const struct item *item)
{
	return batch->data + (size_t)(item - batch->items) * BLOCKS_SIZE;
}

static void write_small(struct store_batch *batch, struct item *item)
{
	uint8_t *data = data_of(batch, item);
	uint32_t pages = item->block.pages;
	bool direct = pages >= DIRECT_PAGES && !(pages & (pages + 1)) && !item->old.pages;
	int fd = store_files_open(batch->store->files, item->id, true, direct);

	if (fd < 0) {
		item->err = fd;
		return;
	}
	merge(batch, item, fd, data);
	item->block.sum = store_files_sum(item->id, item->block.number, item->block.pages, data);
	item->err = store_files_write(fd, item->block.number, pages, data);
	close(fd);
}

/* Full blocks that follow each other in their file. */
static void write_run(struct store_batch *batch, struct item *const *items, unsigned n)
{
	const struct item *first = items[0];
	int fd = store_files_open(batch->store->files, first->id, true, true), err = fd;
	uint64_t at = first->block.number * BLOCKS_SIZE;
	struct iovec iov[STORE_BATCH];
	ssize_t put = 0;
	unsigned i;

	for (i = 0; i < n; i++) {
		struct item *item = items[i];

		iov[i] = (struct iovec){data_of(batch, item), BLOCKS_SIZE};
		item->block.sum =
		    store_files_sum(item->id, item->block.number, UINT32_MAX, iov[i].iov_base);
	}
	for (i = 0; fd >= 0 && i < n; i += (unsigned)(put / BLOCKS_SIZE)) {
		put = pwritev(fd, iov + i, (int)(n - i), (off_t)(at + (uint64_t)i * BLOCKS_SIZE));
		if (put < 0 && errno == EINTR)
			put = 0;
		err = put < 0 ? -errno : 0;
		if (!err && put && put < BLOCKS_SIZE) /* the disk is about to be full */
			err = -ENOSPC;
		if (err)
			break;
	}
	for (i = 0; i < n; i++)
		items[i]->err = err < 0 ? err : 0;
	if (fd >= 0)
		close(fd);
}

static int in_order(const void *a, const void *b)
{
	const struct item *x = *(const struct item *const *)a, *y = *(const struct item *const *)b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->block.number < y->block.number ? -1 : x->block.number > y->block.number;
}

static void batch_run(uv_work_t *work)
{
	struct store_batch *batch = work->data;
	struct item *items[STORE_BATCH];
	unsigned i, n;

	for (i = 0; i < batch->n; i++)
		items[i] = &batch->items[i];
	qsort(items, batch->n, sizeof(*items), in_order);
	for (i = 0; i < batch->n; i += n) {
		const struct item *first = items[i];

		for (n = 0; i + n < batch->n && items[i + n]->block.pages == UINT32_MAX &&
			    items[i + n]->id == first->id &&
			    items[i + n]->block.number == first->block.number + n;
		     n++)
			;
		if (n) {
			write_run(batch, items + i, n);
		} else {
			write_small(batch, items[i]);
			n = 1;
		}
	}
}

/* --- into the index ------------------------------------------------------------------ */

struct add_op {
	struct store_op op;
	struct store_file *file; /* counted */
	uint64_t id;
	int64_t used;
	struct store_version version; /* path: owned */
	unsigned n;
	struct store_block blocks[STORE_BATCH];
};

static void add_run(struct store_index *index, struct store_op *op)
{
	struct add_op *add = (struct add_op *)op;

	store_index_add(index, add->id, &add->version, add->used, add->blocks, add->n, &op->gone);
}

static uint64_t bytes_of(const struct store_block *blocks, unsigned n)
{
	uint64_t bytes = 0;

	while (n--)
		bytes += (uint64_t)__builtin_popcount(blocks[n].pages) * BLOCKS_PAGE;
	return bytes;
}

static void add_done(struct store_op *op, int err)
{
	struct add_op *add = (struct add_op *)op;
	struct store *store = op->store;

	store->pending -= bytes_of(add->blocks, add->n);
	if (err) { /* on disk, and nobody will know it */
		if (add->file->id == add->id)
			store_file_lost(add->file);
		store_unlink(store, add->id);
	}
	store_evict(store);
	store_file_put(add->file);
	free((char *)add->version.path);
	store_op_free(op);
}

/* The blocks of one file that were written. */
static void add(struct store *store, const struct item *items, unsigned n)
{
	struct store_file *file = items->file;
	struct add_op *op = store_op_new(store, sizeof(*op), add_run, add_done);
	unsigned i;

	if (!op || !(op->version.path = strdup(file->path))) {
		free(op);
		return;
	}
	for (i = 0; i < n; i++) {
		if (items[i].err || store_map_set(&file->map, &items[i].block))
			continue;
		op->blocks[op->n++] = items[i].block;
	}
	if (!op->n) {
		free((char *)op->version.path);
		store_op_free(&op->op);
		return;
	}
	op->file = store_file_get(file);
	op->id = items->id;
	op->used = time(NULL);
	op->version.mtime = file->mtime;
	op->version.size = file->size;
	store->pending += bytes_of(op->blocks, op->n);
	store->figures.written_bytes += bytes_of(op->blocks, op->n);
	store_op_send(&op->op);
}

static void batch_done(uv_work_t *work, int status)
{
	struct store_batch *batch = work->data;
	struct store *store = batch->store;
	unsigned i, n;
	int err = 0;

	store_job_done(store);
	*place_of(store, batch) = NULL;
	for (i = 0; i < batch->n; i += n) {
		const struct item *item = &batch->items[i];

		for (n = 0; i + n < batch->n && item[n].id == item->id; n++)
			if (item[n].err && item[n].err != -EFBIG)
				err = item[n].err;
		if (item->file->id == item->id)
			add(store, item, n);
		else /* dropped meanwhile; and made again, perhaps */
			store_unlink(store, item->id);
	}
	for (i = 0; i < batch->n; i++)
		store_file_put(batch->items[i].file);
	put_back(batch);
	if (err) {
		store_fail(store, err, "writing to it");
	} else if (store->state == STORE_FULL) {
		store->state = STORE_ON;
		log_info("disk cache %s: there is room again", store->dir);
	}
	if (store->room)
		store->room(store->room_arg);
}

void store_batch_send(struct store_batch *batch)
{
	unsigned i;

	batch->work.data = batch;
	if (batch->n && !store_job(batch->store, &batch->work, batch_run, batch_done)) {
		*place_of(batch->store, NULL) = batch;
		return;
	}
	for (i = 0; i < batch->n; i++)
		store_file_put(batch->items[i].file);
	put_back(batch);
}

#include "cache/content.h"
#include "cache/content_impl.h"
#include "cache/readahead.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_READ (1u << 20)
/* Files up to this size, and requests of at most this size, go beside other small operations. */
#define SMALL (256u << 10)
#define SMALL_READ (64u << 10)
/* A write of at least this length does not bring its blocks into memory: the kernel keeps what is
 * written by large requests, and holding it here too would cost a second copy of every byte that is
 * uploaded. */
#define LARGE_WRITE (64u << 10)

struct content *content_new(struct content_pool *pool, uint64_t size)
{
	struct content *content = calloc(1, sizeof(*content));

	if (!content)
		return NULL;
	content->pool = pool;
	content->size = size;
	blocks_init(&content->blocks, &pool->blocks);
	LIST_INIT(&content->fetches);
	TAILQ_INIT(&content->readers);
	TAILQ_INIT(&content->refused);
	writer_init(&content->writer, size);
	LIST_INSERT_HEAD(&pool->contents, content, link);
	return content;
}

void content_stays(struct content *content)
{
	content->blocks.stays = true;
}

uint64_t content_size(const struct content *content)
{
	return content->size;
}

/* --- reading --- */

/* A stream has passed this block. What is so far behind that no request that was overtaken wants it
 * any more is in the kernel's cache, and goes first. */
static void drop_behind(const struct block *block)
{
	struct block *behind = NULL;

	if (block->number >= READAHEAD_SLACK / BLOCKS_SIZE)
		behind = blocks_find(block->set, block->number - READAHEAD_SLACK / BLOCKS_SIZE);
	if (behind)
		blocks_touch(behind, true);
}

/* Fills the view with [offset, end), whose pages are present, but for a reader's own tail. */
static void fill(struct content_view *view, struct block *const *blocks, uint64_t offset,
    uint64_t end, bool streaming, const struct reader *reader)
{
	uint64_t to, start, limit = end;
	struct block *block;
	int i;

	view->n = 0;
	view->len = 0;
	if (reader && reader->tail && reader->tail_at < end && end <= reader->tail_at + BLOCKS_PAGE)
		limit = reader->tail_at > offset ? reader->tail_at : offset;
	for (i = 0; offset < limit; i++, offset = to) {
		block = blocks[i];
		start = blocks_start(block);
		to = start + BLOCKS_SIZE < limit ? start + BLOCKS_SIZE : limit;
		view->iov[view->n].iov_base = block->data + (offset - start);
		view->iov[view->n++].iov_len = to - offset;
		view->len += to - offset;
		block->fresh &= ~blocks_mask(block->number, offset, to);
		blocks_touch(block, false);
		if (streaming && to == start + BLOCKS_SIZE)
			drop_behind(block);
	}
	if (offset < end) {
		view->iov[view->n].iov_base = reader->tail + (offset - reader->tail_at);
		view->iov[view->n++].iov_len = end - offset;
		view->len += end - offset;
	}
}

/* 1: all there; 0: on its way, or will be asked for after an acknowledgement; -ENOMEM. */
static int ready(struct reader *reader)
{
	struct content *content = reader->content;
	uint64_t number = reader->offset / BLOCKS_SIZE, end = reader->end;
	bool all = true, held = false;
	uint32_t missing;
	int i, err;

	if (end > content->size)
		end = reader->end = content->size;
	for (i = 0; i < reader->n; i++) {
		missing = blocks_mask(number + (unsigned)i, reader->offset, end);
		missing &= ~reader->blocks[i]->present;
		if (reader->tail && end > reader->tail_at)
			missing &= ~blocks_mask(number + (unsigned)i, reader->tail_at, end);
		if (!missing)
			continue;
		all = false;
		err = fetch_pages(content, reader->file, reader->blocks[i], missing, reader->bulk);
		if (err < 0)
			return err;
		held |= err > 0;
	}
	if (held) {
		reader->blocked++;
		writer_push(content);
	}
	return all;
}

static void unpin(struct reader *reader)
{
	while (reader->n)
		blocks_unpin(reader->blocks[--reader->n]);
}

static void reader_free(struct content_pool *pool, struct reader *reader)
{
	pool->source->put(reader->file);
	free(reader->tail);
	free(reader);
}

static void reader_run(struct content_pool *pool, struct call *call)
{
	struct reader *reader = (struct reader *)call;
	struct content *content = reader->content;
	struct content_view view = {.n = 0};
	int err = reader->err;

	if (content) {
		if (!err)
			err = ready(reader);
		if (!err)
			return;
		if (err > 0) {
			err = 0;
			fill(&view, reader->blocks, reader->offset, reader->end, reader->streaming,
			    reader);
		}
		TAILQ_REMOVE(&content->readers, reader, link);
		unpin(reader);
		if (reader->blocked)
			writer_kick(content);
	}
	reader->done(reader->arg, err, err ? NULL : &view);
	reader_free(pool, reader);
}

static struct reader *reader_new(struct content *content, void *file, uint64_t offset, uint64_t end,
    content_read_done *done, void *arg)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	uint64_t number;

	if (!reader)
		return NULL;
	for (number = offset / BLOCKS_SIZE; number * BLOCKS_SIZE < end; number++) {
		struct block *block = blocks_make(&content->blocks, number);

		if (!block) {
			unpin(reader);
			free(reader);
			return NULL;
		}
		blocks_pin(block);
		reader->blocks[reader->n++] = block;
	}
	reader->call.run = reader_run;
	reader->content = content;
	reader->file = file;
	content->pool->source->get(file);
	reader->offset = offset;
	reader->end = end;
	reader->done = done;
	reader->arg = arg;
	TAILQ_INSERT_TAIL(&content->readers, reader, link);
	return reader;
}

/* What [offset, end) finds; the blocks when it is a hit. Counts for the figures. */
static enum readahead_found look(
    struct content *content, uint64_t offset, uint64_t end, struct block **blocks)
{
	enum readahead_found found = READAHEAD_HIT;
	uint64_t number = offset / BLOCKS_SIZE, miss = 0;
	uint32_t mask, missing;

	for (; number * BLOCKS_SIZE < end; number++) {
		struct block *block = blocks_find(&content->blocks, number);

		mask = blocks_mask(number, offset, end);
		missing = block ? mask & ~block->present : mask;
		*blocks++ = block;
		if (!missing)
			continue;
		miss += (uint64_t)__builtin_popcount(missing) * BLOCKS_PAGE;
		if (!block || missing & ~block->underway)
			found = READAHEAD_ABSENT;
		else if (found == READAHEAD_HIT)
			found = READAHEAD_UNDERWAY;
	}
	if (miss > end - offset)
		miss = end - offset;
	content->pool->miss_bytes += miss;
	content->pool->hit_bytes += end - offset - miss;
	return found;
}

int content_read(struct content *content, void *file, struct readahead *ra, uint64_t offset,
    size_t len, struct content_view *view, content_read_done *done, void *arg)
{
	struct block *blocks[READER_BLOCKS];
	struct readahead_plan plan = {.from = 0};
	enum readahead_found found;
	struct reader *reader = NULL;
	uint64_t end, from;
	bool large;
	int err;

	view->n = 0;
	view->len = 0;
	if (offset >= content->size)
		return 1;
	if (len > MAX_READ)
		return -EINVAL;
	end = content->size - offset < len ? content->size : offset + len;
	if (offset == end)
		return 1;
	if (content->kept)
		kept_read_now(content, offset, end);
	found = look(content, offset, end, blocks);
	if (ra)
		readahead_plan(ra, offset, (uint32_t)(end - offset), content->size, found,
		    fetch_window(content->pool, file), &plan);
	if (found == READAHEAD_HIT) {
		fill(view, blocks, offset, end, plan.streaming, NULL);
	} else {
		reader = reader_new(content, file, offset, end, done, arg);
		if (!reader)
			return -ENOMEM;
		reader->streaming = plan.streaming;
	}
	large = content->size > SMALL;
	if (plan.from < plan.to) {
		/* What is asked for now and what follows it are one request where they meet. */
		from = reader && plan.from == end ? offset : plan.from;
		from = fetch_ahead(content, file, from, plan.to, large);
		if (plan.stream && !plan.more)
			plan.stream->ahead = from;
		for (; plan.more; plan.more--) {
			plan.from += (uint64_t)plan.step;
			plan.to += (uint64_t)plan.step;
			fetch_ahead(content, file, plan.from, plan.to, large);
		}
	}
	if (!reader)
		return 1;
	reader->bulk = large && (plan.streaming || end - offset > SMALL_READ);
	err = ready(reader);
	if (err < 0) {
		TAILQ_REMOVE(&content->readers, reader, link);
		unpin(reader);
		reader_free(content->pool, reader);
		return err;
	}
	return 0;
}

static void wake_readers(struct content *content, bool blocked)
{
	struct reader *reader;

	TAILQ_FOREACH (reader, &content->readers, link)
		if (!blocked || reader->blocked)
			pool_call(content->pool, &reader->call);
}

/* --- changes --- */

static void forget(struct content *content, struct block *block, uint32_t mask)
{
	fetch_forget(content, block, mask);
	blocks_forget(block, mask);
}

struct range {
	struct content *content;
	uint64_t from, to;
};

static void forget_block(struct block *block, void *arg)
{
	struct range *range = arg;

	forget(range->content, block, blocks_mask(block->number, range->from, range->to));
	blocks_release(block);
}

static void forget_range(struct content *content, uint64_t from, uint64_t to)
{
	struct range range = {content, from, to};
	struct block *block;

	if (to > from && (to - from) / BLOCKS_SIZE < 16) {
		for (; from < to; from = (from / BLOCKS_SIZE + 1) * BLOCKS_SIZE) {
			block = blocks_find(&content->blocks, from / BLOCKS_SIZE);
			if (block)
				forget_block(block, &range);
		}
		return;
	}
	blocks_each(&content->blocks, forget_block, &range);
}

void content_invalidate(struct content *content)
{
	forget_range(content, 0, UINT64_MAX);
	wake_readers(content, false);
}

/* The file now ends inside a page: what is present of it beyond is zeros. */
static void cut(struct content *content, uint64_t size)
{
	struct block *block = blocks_find(&content->blocks, size / BLOCKS_SIZE);
	uint32_t at = (uint32_t)(size % BLOCKS_SIZE);

	if (!block || !(size % BLOCKS_PAGE))
		return;
	fetch_forget(content, block, UINT32_C(1) << at / BLOCKS_PAGE);
	if (block->present & UINT32_C(1) << at / BLOCKS_PAGE)
		memset(block->data + at, 0, BLOCKS_PAGE - at % BLOCKS_PAGE);
	blocks_release(block);
}

void content_resize(struct content *content, uint64_t size)
{
	uint64_t dirty = writer_end(content), old = content->size;

	content->writer.remote_size = size;
	if (size < dirty)
		size = dirty;
	if (size == old)
		return;
	content_unkeep(content);
	content->size = size;
	if (size < old) {
		cut(content, size);
		forget_range(
		    content, (size + BLOCKS_PAGE - 1) / BLOCKS_PAGE * BLOCKS_PAGE, UINT64_MAX);
	} else if (old % BLOCKS_PAGE) {
		/* What the grower has put behind our last bytes is not known. */
		forget_range(content, old, old + 1);
	}
	wake_readers(content, false);
}

/* A write goes into the pages of one block that are present, and makes those present that it knows
 * all of. */
static void update(struct content *content, struct block *block, uint64_t offset, uint64_t end,
    const uint8_t *data, uint64_t old_size)
{
	uint64_t start = blocks_start(block), at;
	uint32_t touched = blocks_mask(block->number, offset, end), mask = 0, bit, from, to;
	unsigned page;

	fetch_forget(content, block, touched);
	for (page = 0; page < BLOCKS_PAGES; page++) {
		bit = UINT32_C(1) << page;
		at = start + page * BLOCKS_PAGE;
		/* Whole: from its begin to its end or the file's; or all of it behind the old end,
		 * where there are zeros besides. */
		if (touched & bit &&
		    (block->present & bit || at >= old_size ||
			(offset <= at && (end >= at + BLOCKS_PAGE || end == content->size))))
			mask |= bit;
	}
	if (!mask)
		return;
	if (blocks_reserve(block, (32 - (unsigned)__builtin_clz(mask)) * BLOCKS_PAGE) < 0) {
		blocks_forget(block, touched);
		return;
	}
	for (page = 0; page < BLOCKS_PAGES; page++) {
		bit = UINT32_C(1) << page;
		if (!(mask & bit))
			continue;
		at = start + page * BLOCKS_PAGE;
		from = offset > at ? (uint32_t)(offset - at) : 0;
		to = end < at + BLOCKS_PAGE ? (uint32_t)(end - at) : BLOCKS_PAGE;
		if (!(block->present & bit)) {
			memset(block->data + (at - start), 0, from);
			memset(block->data + (at - start) + to, 0, BLOCKS_PAGE - to);
		}
		memcpy(block->data + (at - start) + from, data + (at + from - offset), to - from);
	}
	block->present |= mask;
	block->fresh &= ~mask;
	blocks_touch(block, end == start + BLOCKS_SIZE);
}

void content_accepted(struct content *content, uint64_t offset, const uint8_t *data, size_t len)
{
	uint64_t old = content->size, end = offset + len, to, number;
	struct block *block;

	content_unkeep(content);
	refused_cut(content, offset, end);
	if (end > content->size)
		content->size = end;
	for (; offset < end; data += to - offset, offset = to) {
		number = offset / BLOCKS_SIZE;
		to = (number + 1) * BLOCKS_SIZE < end ? (number + 1) * BLOCKS_SIZE : end;
		block = len >= LARGE_WRITE ? blocks_find(&content->blocks, number)
					   : blocks_make(&content->blocks, number);
		if (block) {
			update(content, block, offset, to, data, old);
			blocks_release(block);
		}
	}
	blocks_trim(&content->pool->blocks);
}

void content_acked(struct content *content, uint64_t offset, uint32_t len, int err)
{
	/* What a failed write left in memory is nowhere else. */
	if (err)
		forget_range(content, offset, offset + len);
	wake_readers(content, true);
}

bool content_starves(const struct content *content, uint64_t offset, uint64_t len)
{
	const struct reader *reader;

	/* Its first wait is for what was accepted before it. If it has to wait again, it is for
	 * later writes. */
	TAILQ_FOREACH (reader, &content->readers, link)
		if (reader->blocked >= 2 && offset < reader->end + BLOCKS_PAGE &&
		    offset + len + BLOCKS_PAGE > reader->offset)
			return true;
	return false;
}

int content_write(struct content *content, void *file, uint64_t offset, const void *data,
    size_t len, void (*done)(void *arg, int err), void *arg)
{
	if (offset > INT64_MAX || len > INT64_MAX - offset)
		return -EFBIG;
	return writer_write(content, file, offset, data, len, done, arg);
}

bool content_dirty(const struct content *content)
{
	return !TAILQ_EMPTY(&content->writer.unacked);
}

uint64_t content_dirty_bytes(const struct content *content)
{
	return content->writer.dirty;
}

void content_flush(struct content *content, void (*done)(void *arg, int err), void *arg)
{
	writer_flush(content, done, arg);
}

void content_free(struct content *content)
{
	struct content_pool *pool = content->pool;
	struct reader *reader;

	fetch_abandon(content);
	kept_free(content);
	while ((reader = TAILQ_FIRST(&content->readers))) {
		TAILQ_REMOVE(&content->readers, reader, link);
		unpin(reader);
		reader->content = NULL;
		reader->err = -ECANCELED;
		pool_call(pool, &reader->call);
	}
	writer_fini(content);
	refused_clear(content);
	blocks_fini(&content->blocks);
	LIST_REMOVE(content, link);
	free(content);
}

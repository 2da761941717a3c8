#include "cache/content_impl.h"
#include "cache/readahead.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What nobody waits for yet may take this much of the link and of memory. */
#define AHEAD_IN_FLIGHT (48u << 20)
#define WINDOW_LEAST (4u << 20)
#define WINDOW_MOST (32u << 20)
/* A measured rate is believed this long; then a quarter less, so that what an earlier transfer
 * found out helps the next one to a deep window at once. */
#define RATE_NS UINT64_C(5000000000)

static void detach(struct fetch *fetch)
{
	LIST_REMOVE(fetch, link);
	fetch->content = NULL;
	fetch->block = NULL;
	fetch->pages = 0;
}

void fetch_forget(struct content *content, struct block *block, uint32_t mask)
{
	struct fetch *fetch, *next;
	struct reader *reader;

	mask &= block->underway;
	if (!mask)
		return;
	for (fetch = LIST_FIRST(&content->fetches); fetch; fetch = next) {
		next = LIST_NEXT(fetch, link);
		if (fetch->block != block)
			continue;
		fetch->pages &= ~mask;
		if (!fetch->pages)
			detach(fetch);
	}
	block->underway &= ~mask;
	TAILQ_FOREACH (reader, &content->readers, link)
		pool_call(content->pool, &reader->call);
}

void fetch_abandon(struct content *content)
{
	struct fetch *fetch;

	while ((fetch = LIST_FIRST(&content->fetches))) {
		fetch->block->underway = 0;
		detach(fetch);
	}
}

/* Best of the last seconds: the samples below it are of times when the program, not the link, was
 * slow. */
static void note_rate(struct content_pool *pool, const struct fetch *fetch)
{
	uint64_t now = pool->now(), took = now - fetch->sent_at;
	uint64_t rate;

	if (!took)
		took = 1;
	rate = (uint64_t)((double)(pool->delivered - fetch->delivered) * 1e9 / (double)took);
	if (rate < pool->rate) {
		if (now - pool->rate_at <= RATE_NS)
			return;
		if (rate < pool->rate / 4 * 3)
			rate = pool->rate / 4 * 3;
		if (rate < pool->rate_before)
			pool->rate_before = rate;
	}
	if (rate > pool->rate_before / 4 * 5) {
		pool->rate_before = rate;
		pool->rose_at = now;
	}
	pool->rate = rate;
	pool->rate_at = now;
}

uint32_t fetch_window(const struct content_pool *pool, void *file)
{
	uint32_t rtt = pool->source->rtt_us(file);
	uint64_t window = WINDOW_LEAST, memory = pool->blocks.limit / 4;
	bool rising;

	/* Nearby, a deep window is only work. */
	if (rtt >= 1000) {
		/* While each round trip brings more, the link is not full yet. */
		rising = pool->now() - pool->rose_at < 2000ull * rtt;
		window = (uint64_t)((rising ? 4.0 : 2.0) * (double)pool->rate * rtt / 1e6);
		if (window < WINDOW_LEAST)
			window = WINDOW_LEAST;
		if (window > WINDOW_MOST)
			window = WINDOW_MOST;
	}
	if (window > memory)
		window = memory;
	return window < BLOCKS_SIZE ? BLOCKS_SIZE : (uint32_t)window;
}

/* The pages of the answer that are still wanted become present, where it covers them: those go to
 * came. */
static int store(struct fetch *fetch, const uint8_t *data, uint32_t len, uint32_t *came)
{
	struct block *block = fetch->block;
	uint32_t at = (uint32_t)(fetch->offset - blocks_start(block)), page, n, covered = 0,
		 high = 0;

	for (page = at / BLOCKS_PAGE; page < BLOCKS_PAGES; page++) {
		n = page * BLOCKS_PAGE - at; /* where it begins in the answer */
		n = fetch->len - n < BLOCKS_PAGE ? fetch->len : n + BLOCKS_PAGE;
		if (fetch->pages & UINT32_C(1) << page && n <= len) {
			covered |= UINT32_C(1) << page;
			high = page + 1;
		}
		if (n == fetch->len)
			break;
	}
	if (!covered)
		return 0;
	if (blocks_reserve(block, high * BLOCKS_PAGE) < 0)
		return -ENOMEM;
	for (page = at / BLOCKS_PAGE; page < high; page++) {
		if (!(covered & UINT32_C(1) << page))
			continue;
		n = fetch->len - (page * BLOCKS_PAGE - at);
		if (n > BLOCKS_PAGE)
			n = BLOCKS_PAGE;
		memcpy(block->data + page * BLOCKS_PAGE, data + (page * BLOCKS_PAGE - at), n);
		memset(block->data + page * BLOCKS_PAGE + n, 0, BLOCKS_PAGE - n);
	}
	block->present |= covered;
	block->fresh |= covered;
	blocks_touch(block, false);
	*came = covered;
	return 0;
}

/* The file ends at the answer's end, for this reader: it keeps the bytes of the last page, which
 * does not become present, since the size says that there is more. */
static void cut_short(
    struct reader *reader, const struct fetch *fetch, const uint8_t *data, uint32_t len)
{
	uint64_t end = fetch->offset + len, page = end / BLOCKS_PAGE * BLOCKS_PAGE;

	if (page >= reader->end)
		return;
	if (end < reader->end)
		reader->end = end;
	free(reader->tail);
	reader->tail = NULL;
	if (end == page || reader->end <= reader->offset)
		return;
	reader->tail = malloc(BLOCKS_PAGE);
	if (!reader->tail) {
		reader->err = -ENOMEM;
		return;
	}
	memcpy(reader->tail, data + (page - fetch->offset), end - page);
	reader->tail_at = page;
}

static void tell_readers(
    struct fetch *fetch, uint32_t pages, int err, const uint8_t *data, uint32_t len)
{
	struct reader *reader;

	TAILQ_FOREACH (reader, &fetch->content->readers, link) {
		if (!(blocks_mask(fetch->block->number, reader->offset, reader->end) & pages))
			continue;
		if (err && (reader->file == fetch->file || reader->retried))
			reader->err = err;
		else if (err)
			reader->retried = true;
		else if (len < fetch->len)
			cut_short(reader, fetch, data, len);
		pool_call(fetch->pool, &reader->call);
	}
}

static void land(struct fetch *fetch, int err, const uint8_t *data, uint32_t len)
{
	struct block *block = fetch->block;
	uint32_t missing, came = 0;
	uint8_t *patched = NULL;

	block->underway &= ~fetch->pages;
	if (!err)
		err =
		    refused_patch(fetch->content, fetch->offset, fetch->len, data, &len, &patched);
	if (patched) {
		data = patched;
		fetch->kept_count = 0;
	}
	if (!err)
		err = store(fetch, data, len, &came);
	if (came && fetch->kept_count && fetch->kept_count == fetch->content->kept_count)
		kept_came(fetch->content, block, came);
	missing = fetch->pages & ~block->present;
	/* Only a reader that wants what did not come hears of an error or an end. */
	if (missing)
		tell_readers(fetch, missing, err, data, len);
	if (fetch->pages & ~missing)
		tell_readers(fetch, fetch->pages & ~missing, 0, data, fetch->len);
	detach(fetch);
	blocks_release(block);
	free(patched);
}

/* It is over, and was detached. */
static void discard(struct fetch *fetch)
{
	struct content_pool *pool = fetch->pool;

	pool->reading -= fetch->len;
	pool->reads--;
	pool->source->put(fetch->file);
	free(fetch);
	pool_release(pool);
}

static void finish(struct fetch *fetch)
{
	struct content_pool *pool = fetch->pool;

	pool_hold(pool);
	discard(fetch);
	pool_settle(pool);
	blocks_trim(&pool->blocks);
	pool_release(pool);
}

static void fetch_done(void *arg, int err, const uint8_t *data, uint32_t len)
{
	struct fetch *fetch = arg;
	struct content_pool *pool = fetch->pool;

	if (len > fetch->len)
		len = fetch->len;
	if (!err) {
		pool->delivered += len;
		note_rate(pool, fetch);
	}
	if (fetch->content)
		land(fetch, err, data, len);
	else if (!err)
		pool->blocks.wasted += len;
	finish(fetch);
}

static void ask_instance(struct fetch *fetch)
{
	struct content_pool *pool = fetch->pool;

	fetch->sent_at = pool->now();
	fetch->delivered = pool->delivered;
	fetch->kept_count = kept_count(fetch->content);
	kept_note_miss(fetch->content, fetch->len);
	pool->source->read(fetch->file, fetch->offset, fetch->len, fetch->bulk, fetch_done, fetch);
}

/* pages: from its first to its last one are asked for. NULL: memory is out. */
static struct fetch *fetch_new(
    struct content *content, void *file, struct block *block, uint32_t pages, bool bulk)
{
	struct content_pool *pool = content->pool;
	struct fetch *fetch = calloc(1, sizeof(*fetch));
	unsigned first = (unsigned)__builtin_ctz(pages), last = 31 - (unsigned)__builtin_clz(pages);
	uint64_t left;

	if (!fetch)
		return NULL;
	fetch->pool = pool;
	fetch->content = content;
	fetch->block = block;
	fetch->file = file;
	fetch->bulk = bulk;
	fetch->offset = blocks_start(block) + first * BLOCKS_PAGE;
	left = content->size - fetch->offset;
	fetch->len = (last + 1 - first) * BLOCKS_PAGE;
	if (fetch->len > left)
		fetch->len = (uint32_t)left;
	fetch->pages = pages;
	block->underway |= pages;
	LIST_INSERT_HEAD(&content->fetches, fetch, link);
	pool->reading += fetch->len;
	pool->reads++;
	pool_hold(pool);
	pool->source->get(file);
	return fetch;
}

/* One READ for count pages from page on. */
static int start(struct content *content, void *file, struct block *block, unsigned page,
    unsigned count, bool bulk)
{
	struct fetch *fetch =
	    fetch_new(content, file, block, UINT32_MAX >> (BLOCKS_PAGES - count) << page, bulk);

	if (!fetch)
		return -ENOMEM;
	if (!kept_defers(content, fetch))
		ask_instance(fetch);
	return 0;
}

/* --- from the disk cache --- */

/* What could not be had there is asked of the instance. */
static void ask_again(struct fetch *fetch)
{
	struct content *content = fetch->content;
	struct block *block = fetch->block;
	uint32_t pages = fetch->pages;
	int err;

	block->underway &= ~pages;
	err = fetch_pages(content, fetch->file, block, pages, fetch->bulk);
	if (err < 0)
		tell_readers(fetch, pages & ~block->underway, err, NULL, 0);
	else if (err > 0) /* the writer has them: readers look again */
		tell_readers(fetch, pages & ~block->underway, 0, NULL, fetch->len);
	detach(fetch);
	blocks_release(block);
}

static void kept_done(void *arg, int err, uint8_t *data, uint32_t pages)
{
	struct fetch *fetch = arg;
	uint32_t at;

	if (fetch->content && !err) {
		at = (uint32_t)(fetch->offset - blocks_start(fetch->block));
		land(fetch, 0, data + at, fetch->len);
	} else if (fetch->content) {
		ask_again(fetch);
	}
	free(data);
	finish(fetch);
}

static int start_kept(
    struct content *content, void *file, struct block *block, uint32_t pages, bool bulk)
{
	struct fetch *fetch = fetch_new(content, file, block, pages, bulk);

	if (!fetch)
		return -ENOMEM;
	if (!kept_read(content, fetch, kept_done))
		return 0;
	block->underway &= ~pages;
	detach(fetch);
	discard(fetch);
	return -ENOMEM;
}

void fetch_go(struct fetch *fetch)
{
	struct content *content = fetch->content;

	if (!content)
		discard(fetch);
	else if (fetch->pages & ~kept_pages(content, fetch->block->number) ||
		 kept_read(content, fetch, kept_done))
		ask_instance(fetch);
}

/* The pages of want that the instance does not have in their latest form. */
static uint32_t held(const struct content *content, const struct block *block, uint32_t want)
{
	uint64_t from = blocks_start(block), to;
	uint32_t mask = 0;
	unsigned page;

	if (!want || TAILQ_EMPTY(&content->writer.unacked))
		return 0;
	for (page = 0; page < BLOCKS_PAGES; page++, from += BLOCKS_PAGE) {
		to = from + BLOCKS_PAGE < content->size ? from + BLOCKS_PAGE : content->size;
		if (want & UINT32_C(1) << page && writer_holds(content, from, to))
			mask |= UINT32_C(1) << page;
	}
	return mask;
}

int fetch_pages(struct content *content, void *file, struct block *block, uint32_t mask, bool bulk)
{
	uint32_t want = mask & ~(block->present | block->underway), keep, kept;
	unsigned most = content->pool->source->max_read(file) / BLOCKS_PAGE, page, count;

	keep = held(content, block, want);
	want &= ~keep;
	kept = want & kept_pages(content, block->number);
	if (kept && start_kept(content, file, block, kept, bulk) < 0)
		return -ENOMEM;
	want &= ~kept;
	if (!most)
		most = 1;
	while (want) {
		page = (unsigned)__builtin_ctz(want);
		for (count = 1; count < most && page + count < BLOCKS_PAGES &&
				want & UINT32_C(1) << (page + count);
		     count++)
			;
		if (start(content, file, block, page, count, bulk) < 0)
			return -ENOMEM;
		want &= ~block->underway;
	}
	return keep ? 1 : 0;
}

uint64_t fetch_ahead(struct content *content, void *file, uint64_t from, uint64_t to, bool bulk)
{
	struct content_pool *pool = content->pool;
	uint64_t budget = pool->blocks.limit / 2, number;
	struct block *block;
	int err;

	if (budget > AHEAD_IN_FLIGHT)
		budget = AHEAD_IN_FLIGHT;
	if (to > content->size)
		to = content->size;
	while (from < to) {
		if (pool->reading + BLOCKS_SIZE > budget && pool->reading)
			return from;
		number = from / BLOCKS_SIZE;
		block = blocks_make(&content->blocks, number);
		if (!block)
			return from;
		err = fetch_pages(content, file, block, blocks_mask(number, from, to), bulk);
		blocks_release(block);
		if (err < 0)
			return from;
		from = (number + 1) * BLOCKS_SIZE;
	}
	return to;
}

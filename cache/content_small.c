/* Small files as a whole: is all of it here, and what was read ahead of any open(2). */
#include "cache/content.h"
#include "cache/content_impl.h"
#include "cache/store.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* More than that is a large file's, which goes over the channels for those. */
#define SMALL_MOST (2 * BLOCKS_SIZE)

void content_prefetch(struct content *content, void *file, uint64_t offset, size_t len)
{
	if (offset < content->size)
		fetch_ahead(content, file, offset,
		    content->size - offset < len ? content->size : offset + len, len > SMALL_MOST);
}

bool content_whole(const struct content *content)
{
	const struct block *block;
	uint64_t number;

	for (number = 0; number * BLOCKS_SIZE < content->size; number++) {
		block = blocks_find(&content->blocks, number);
		if (!block || blocks_mask(number, 0, content->size) & ~block->present)
			return false;
	}
	return true;
}

/* --- from the disk cache ---------------------------------------------------------- */

/*
 *	wait until it is known what is on disk --> all of it: read each block --> done
 *	                                       --> else done
 */
struct load {
	struct call call;
	struct content *content;
	unsigned kept_count;
	unsigned pending; /* blocks being read */
	bool reading;	  /* or read */
	void (*done)(void *arg);
	void *arg;
};

struct piece {
	struct load *load;
	uint64_t number;
};

/* What was read of a block and is not in memory. */
static void put_block(struct content *content, uint64_t number, const uint8_t *data, uint32_t pages)
{
	struct block *block = blocks_make(&content->blocks, number);
	unsigned page;

	if (!block)
		return;
	pages &= ~(block->present | block->underway);
	if (pages && !blocks_reserve(block, (32 - (unsigned)__builtin_clz(pages)) * BLOCKS_PAGE)) {
		for (page = 0; page < BLOCKS_PAGES; page++)
			if (pages & UINT32_C(1) << page)
				memcpy(block->data + page * BLOCKS_PAGE, data + page * BLOCKS_PAGE,
				    BLOCKS_PAGE);
		block->present |= pages;
		block->fresh |= pages;
		blocks_touch(block, false);
	}
	blocks_release(block);
}

static void on_block(void *arg, int err, uint8_t *data, uint32_t pages)
{
	struct piece *piece = arg;
	struct load *load = piece->load;
	struct content *content = load->content;
	struct content_pool *pool = content->pool;

	if (!err && content->kept && content->kept_count == load->kept_count)
		put_block(content, piece->number, data, pages);
	free(data);
	free(piece);
	if (--load->pending)
		return;
	pool_call(pool, &load->call);
	pool_settle(pool);
	blocks_trim(&pool->blocks);
}

static bool is_on_disk(const struct content *content)
{
	uint64_t number;

	for (number = 0; number * BLOCKS_SIZE < content->size; number++)
		if (blocks_mask(number, 0, content->size) & ~kept_pages(content, number))
			return false;
	return content->size > 0;
}

static void read_all(struct load *load)
{
	struct content *content = load->content;
	uint64_t number;

	for (number = 0; number * BLOCKS_SIZE < content->size; number++) {
		struct piece *piece = malloc(sizeof(*piece));

		if (!piece)
			return;
		*piece = (struct piece){load, number};
		if (store_file_read(kept_file(content), number, on_block, piece)) {
			free(piece);
			return;
		}
		load->pending++;
	}
}

static void load_run(struct content_pool *pool, struct call *call)
{
	struct load *load = (struct load *)call;
	struct content *content = load->content;

	if (!load->reading && kept_is_known(content) && content->kept_count == load->kept_count &&
	    is_on_disk(content)) {
		load->reading = true;
		kept_read_now(content, 0, content->size);
		if (!content_whole(content))
			read_all(load);
		if (load->pending)
			return;
	}
	load->done(load->arg);
	free(load);
}

bool content_load(struct content *content, void (*done)(void *arg), void *arg)
{
	struct load *load;

	if (!content->kept || (kept_is_known(content) && !is_on_disk(content)))
		return false;
	load = calloc(1, sizeof(*load));
	if (!load)
		return false;
	*load = (struct load){.call = {.run = load_run},
	    .content = content,
	    .kept_count = content->kept_count,
	    .done = done,
	    .arg = arg};
	if (kept_is_known(content))
		pool_call(content->pool, &load->call);
	else
		kept_wait(content, &load->call);
	return true;
}

struct look {
	struct call call;
	struct content *content;
	void (*done)(void *arg, bool whole);
	void *arg;
};

static void look_run(struct content_pool *pool, struct call *call)
{
	struct look *look = (struct look *)call;
	const struct content *content = look->content;

	look->done(look->arg,
	    content->kept && kept_is_known(content) && (!content->size || is_on_disk(content)));
	free(look);
}

bool content_look_kept(struct content *content, void (*done)(void *arg, bool whole), void *arg)
{
	struct look *look = content->kept ? calloc(1, sizeof(*look)) : NULL;

	if (!look)
		return false;
	*look =
	    (struct look){.call = {.run = look_run}, .content = content, .done = done, .arg = arg};
	if (kept_is_known(content))
		pool_call(content->pool, &look->call);
	else
		kept_wait(content, &look->call);
	return true;
}

/* --- read ahead of any open(2) -------------------------------------------------------- */

static int fill_block(
    struct content *content, struct block *block, const uint8_t *data, size_t len, bool settled)
{
	uint32_t mask = blocks_mask(0, 0, len) & ~(block->present | block->underway), from, n;
	unsigned page;

	if (!mask)
		return 0;
	if (blocks_reserve(block, (uint32_t)len) < 0)
		return -ENOMEM;
	for (page = 0; page < BLOCKS_PAGES; page++) {
		if (!(mask & UINT32_C(1) << page))
			continue;
		from = page * BLOCKS_PAGE;
		n = len - from < BLOCKS_PAGE ? (uint32_t)len - from : BLOCKS_PAGE;
		memcpy(block->data + from, data + from, n);
		memset(block->data + from + n, 0, BLOCKS_PAGE - n);
	}
	block->present |= mask;
	block->fresh |= mask;
	blocks_touch(block, false);
	if (content->kept && settled)
		kept_came(content, block, mask);
	return 0;
}

int content_fill(struct content *content, const uint8_t *data, size_t len, bool settled)
{
	struct content_pool *pool = content->pool;
	uint64_t number;
	size_t at, n;
	int err = 0;

	if (len != content->size || content_dirty(content) || content_refused(content))
		return -ESTALE;
	for (number = 0, at = 0; at < len && !err; number++, at += n) {
		struct block *block = blocks_make(&content->blocks, number);

		n = len - at < BLOCKS_SIZE ? len - at : BLOCKS_SIZE;
		if (!block)
			return -ENOMEM;
		err = fill_block(content, block, data + at, n, settled);
		blocks_release(block);
	}
	pool->delivered += len;
	blocks_trim(&pool->blocks);
	return err;
}

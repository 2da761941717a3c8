/* Small files as a whole: is all of it here, and what was read ahead of any open(2). */
#include "cache/content.h"
#include "cache/content_impl.h"
#include <errno.h>
#include <string.h>

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

static int fill_block(struct block *block, const uint8_t *data, size_t len)
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
	return 0;
}

int content_fill(struct content *content, const uint8_t *data, size_t len)
{
	struct content_pool *pool = content->pool;
	uint64_t number;
	size_t at, n;
	int err = 0;

	if (len != content->size || content_dirty(content))
		return -ESTALE;
	for (number = 0, at = 0; at < len && !err; number++, at += n) {
		struct block *block = blocks_make(&content->blocks, number);

		n = len - at < BLOCKS_SIZE ? len - at : BLOCKS_SIZE;
		if (!block)
			return -ENOMEM;
		err = fill_block(block, data + at, n);
		blocks_release(block);
	}
	pool->delivered += len;
	blocks_trim(&pool->blocks);
	return err;
}

/* Extents: their memory, and their places in the lists. */
#include "cache/content_impl.h"
#include "cache/writer_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Small ones grow fourfold, then take the whole chunk at once. */
int extent_reserve(struct extent *extent, uint32_t len)
{
	uint32_t room = extent->room ? extent->room * 4 : 4096;
	uint8_t *data;
	void *buffer;

	if (len <= extent->room)
		return 0;
	while (room < len)
		room *= 4;
	if (room > extent->chunk / 4)
		room = extent->chunk;
	buffer = extent->pool->source->data_new(room, &data);
	if (!buffer)
		return -ENOMEM;
	if (extent->data)
		memcpy(data, extent->data, extent->len);
	extent_drop_data(extent);
	extent->pool->writer.memory += room;
	extent->buffer = buffer;
	extent->data = data;
	extent->room = room;
	return 0;
}

static uint32_t chunk_of(const struct content_pool *pool, void *file)
{
	uint32_t chunk = pool->source->max_write(file);

	/* Whole pages there too, as far as the writer's own offsets allow. */
	return chunk > BLOCKS_PAGE ? chunk - chunk % BLOCKS_PAGE : BLOCKS_PAGE;
}

struct extent *extent_new(struct content *content, void *file, uint64_t offset)
{
	struct content_pool *pool = content->pool;
	struct writer *w = &content->writer;
	struct extent *extent = calloc(1, sizeof(*extent));

	if (!extent)
		return NULL;
	if (TAILQ_EMPTY(&w->unacked)) {
		w->appending = pool->source->appends(file);
		w->append_from = offset;
		w->append_end = 0;
		w->append_to = w->remote_size;
		TAILQ_INSERT_TAIL(&pool->writer.dirty_contents, content, writer.dirty_link);
		pool->writer.dirty_files++;
	} else if (w->appending) {
		/* One file for all, so that the source keeps them in order. */
		file = TAILQ_FIRST(&w->unacked)->file;
		if (offset < w->append_from)
			w->append_from = offset;
	}
	extent->pool = pool;
	extent->content = content;
	extent->file = file;
	extent->id = pool->writer.next_id++;
	extent->offset = offset;
	extent->chunk = chunk_of(pool, file);
	pool->source->get(file);
	TAILQ_INSERT_TAIL(&w->unacked, extent, link);
	TAILQ_INSERT_TAIL(&pool->writer.unacked, extent, pool_link);
	return extent;
}

void *extent_give_data(struct extent *extent)
{
	void *buffer = extent->buffer;

	extent->pool->writer.memory -= extent->room;
	extent->buffer = extent->data = NULL;
	extent->room = 0;
	return buffer;
}

void extent_drop_data(struct extent *extent)
{
	if (extent->buffer)
		extent->pool->source->data_free(extent_give_data(extent));
}

void extent_no_more(struct content *content)
{
	struct writer_pool *writer = &content->pool->writer;

	TAILQ_REMOVE(&writer->dirty_contents, content, writer.dirty_link);
	writer->dirty_files--;
}

void extent_end_of(struct extent *extent)
{
	struct content_pool *pool = extent->pool;
	struct content *content = extent->content;

	TAILQ_REMOVE(&pool->writer.unacked, extent, pool_link);
	pool->writer.dirty -= extent->len;
	if (content) {
		TAILQ_REMOVE(&content->writer.unacked, extent, link);
		content->writer.dirty -= extent->len;
		if (TAILQ_EMPTY(&content->writer.unacked))
			extent_no_more(content);
	}
	extent_drop_data(extent);
}

void extent_free(struct extent *extent)
{
	extent->pool->source->put(extent->file);
	free(extent->more);
	free(extent);
}

void extent_grew(struct extent *extent, uint32_t n)
{
	extent->len += n;
	extent->content->writer.dirty += n;
	extent->content->writer.append_to += n;
	extent->pool->writer.dirty += n;
}

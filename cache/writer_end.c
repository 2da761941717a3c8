/* How a writer begins and ends, and what becomes of what it has not sent. */
#include "cache/content_impl.h"
#include "cache/writer_impl.h"
#include "conf/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- the file has no name any more --- */

static void unspool(struct extent *extent, bool under_way)
{
	if (!extent->n_refs || (!under_way && writer_spool_load(extent) < 0))
		return;
	writer_spool_done(extent);
	extent->unspooled = true;
}

void writer_unspool(struct content *content)
{
	struct writer *w = &content->writer;
	size_t i;

	for (i = 0; i < w->pending.n; i++)
		unspool(w->pending.at[i], false);
	for (i = 0; i < w->sent.n; i++)
		unspool(w->sent.at[i], !w->sent.at[i]->stalled);
}

/* Those in the list that are not under way end; err 0: as if they were done. */
static void drop(struct content *content, struct extents *extents, int err)
{
	struct extent *extent;
	size_t i, kept = 0;

	for (i = 0; i < extents->n; i++) {
		extent = extents->at[i];
		if (extents == &content->writer.sent && !extent->stalled) {
			extents->at[kept++] = extent;
			continue;
		}
		content->writer.stalled -= extent->stalled;
		writer_ended(extent, err);
	}
	extents->n = kept;
	if (!kept)
		extents_fini(extents);
}

void content_drop(struct content *content)
{
	struct writer *w = &content->writer;

	w->dropped = true;
	drop(content, &w->pending, 0);
	drop(content, &w->sent, 0);
	w->error = 0;
	refused_clear(content);
	writer_spool_told(content);
}

void content_fail(struct content *content, int err)
{
	drop(content, &content->writer.pending, err);
}

void content_hold(struct content *content, bool on)
{
	if (on)
		content->writer.held++;
	else if (!--content->writer.held)
		writer_push(content);
}

/* --- life --- */

void writer_pool_init(struct writer_pool *pool)
{
	memset(pool, 0, sizeof(*pool));
	TAILQ_INIT(&pool->unacked);
	TAILQ_INIT(&pool->ring);
	TAILQ_INIT(&pool->dirty_contents);
	TAILQ_INIT(&pool->syncs);
	pool->limit = WRITER_LIMIT_FIRST;
}

void writer_init(struct writer *writer, uint64_t size)
{
	memset(writer, 0, sizeof(*writer));
	TAILQ_INIT(&writer->unacked);
	TAILQ_INIT(&writer->waiting);
	TAILQ_INIT(&writer->flushes);
	writer->remote_size = size;
}

/* What is neither sent nor under way; the spool keeps it. */
static uint64_t drop_unsent(struct content *content, struct extents *extents)
{
	struct extent *extent;
	uint64_t dropped = 0;
	size_t i;

	for (i = 0; i < extents->n; i++) {
		extent = extents->at[i];
		if (extents == &content->writer.sent && !extent->stalled)
			continue;
		if (!writer_spool_has(extent))
			dropped += extent->len;
		writer_wait_failed(content->pool, content, extent->id, -EIO);
		extent_end_of(extent);
		extent_free(extent);
	}
	extents_fini(extents);
	return dropped;
}

void writer_fini(struct content *content)
{
	struct content_pool *pool = content->pool;
	struct writer *w = &content->writer;
	struct extent *extent;
	uint64_t dropped;

	writer_wait_cancel(content);
	dropped = drop_unsent(content, &w->pending) + drop_unsent(content, &w->sent);
	if (dropped)
		log_error("%llu bytes that were written had to be dropped unsent",
		    (unsigned long long)dropped);
	if (w->error) {
		pool->writer.lost_files++;
		if (!pool->writer.lost_error)
			pool->writer.lost_error = w->error;
	}
	if (!TAILQ_EMPTY(&w->unacked))
		extent_no_more(content);
	TAILQ_FOREACH (extent, &w->unacked, link)
		extent->content = NULL;
	free(w->failed_path);
	writer_wait_syncs(pool);
	pool_call(pool, &pool->admit);
}

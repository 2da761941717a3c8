/* What of the writer lies in the spool. */
#include "cache/content_impl.h"
#include "cache/spool.h"
#include "cache/writer_impl.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Unsent data held in memory while the link is down. */
#define MEMORY_MOST (64u << 20)

static struct extent_ref *ref_at(const struct extent *extent, uint32_t i)
{
	return i ? &extent->more[i - 1] : (struct extent_ref *)(uintptr_t)&extent->ref;
}

static bool add_ref(struct extent *extent, uint64_t sequence)
{
	uint32_t room = extent->more_room ? extent->more_room * 2 : 4;
	struct extent_ref *last = extent->n_refs ? ref_at(extent, extent->n_refs - 1) : NULL, *more;

	if (last && last->first + last->n == sequence) {
		last->n++;
		return true;
	}
	if (extent->n_refs > extent->more_room) {
		more = realloc(extent->more, room * sizeof(*more));
		if (!more)
			return false;
		extent->more = more;
		extent->more_room = room;
	}
	*ref_at(extent, extent->n_refs++) = (struct extent_ref){.first = sequence, .n = 1};
	return true;
}

void writer_spool_take(struct extent *extent, uint64_t offset, const uint8_t *data, uint32_t len)
{
	struct content_pool *pool = extent->pool;
	const struct writer *w = &extent->content->writer;
	char path[PATH_MAX];
	struct spool_record record = {
	    .type = w->appending ? SPOOL_APPEND : SPOOL_WRITE,
	    .path = path,
	    .offset = w->appending ? w->append_to : offset,
	    .data = data,
	    .len = len,
	};
	int64_t sequence;

	if (!pool->spool)
		return;
	if (!pool->source->place(extent->file, path, sizeof(path), &record)) {
		/* Without a name, nobody will find it after this mount. */
		extent->unspooled = true;
		return;
	}
	if (w->own)
		record.flags |= SPOOL_OWN;
	sequence = spool_append(pool->spool, &record);
	if (sequence > 0 && add_ref(extent, (uint64_t)sequence))
		return;
	if (sequence > 0)
		spool_done(pool->spool, (uint64_t)sequence, 1);
	extent->unspooled = true;
	pool->writer.must_wait = true;
}

void writer_spool_sent(const struct extent *extent)
{
	uint32_t i;

	for (i = 0; i < extent->n_refs; i++)
		spool_sent(extent->pool->spool, ref_at(extent, i)->first, ref_at(extent, i)->n);
}

void writer_spool_own(struct content *content)
{
	const struct extents *pending = &content->writer.pending;
	size_t i;

	content->writer.own = true;
	for (i = 0; i < pending->n; i++)
		writer_spool_sent(pending->at[i]);
}

void writer_spool_done(struct extent *extent)
{
	uint32_t i;

	for (i = 0; i < extent->n_refs; i++)
		spool_done(extent->pool->spool, ref_at(extent, i)->first, ref_at(extent, i)->n);
	extent->n_refs = 0;
}

/* Under which name programs know the file; it may have lost it by a failure before this one (it
 * could not be made): then the name that it had when it was written to. */
static bool failed_path(const struct extent *extent, char *path, size_t size)
{
	struct content_pool *pool = extent->pool;
	struct spool_buf buf = {0};
	struct spool_record record;
	bool known = pool->source->place(extent->file, path, size, &record);

	if (!known && !spool_read(pool->spool, extent->ref.first, &buf, &record))
		known = (size_t)snprintf(path, size, "%s", record.path) < size;
	free(buf.at);
	return known;
}

void writer_spool_failed(struct extent *extent, int err)
{
	struct content_pool *pool = extent->pool;
	char path[PATH_MAX], *copy;
	uint32_t i;

	if (!extent->n_refs || !failed_path(extent, path, sizeof(path)))
		return; /* the next mount tries it */
	for (i = 0; i < extent->n_refs; i++)
		spool_failed(
		    pool->spool, ref_at(extent, i)->first, ref_at(extent, i)->n, err, path);
	extent->n_refs = 0;
	copy = extent->content && !extent->content->writer.failed_path ? strdup(path) : NULL;
	if (copy)
		extent->content->writer.failed_path = copy;
}

void writer_spool_told(struct content *content)
{
	if (!content->writer.failed_path)
		return;
	spool_discard(content->pool->spool, content->writer.failed_path);
	free(content->writer.failed_path);
	content->writer.failed_path = NULL;
}

bool writer_spool_has(const struct extent *extent)
{
	return extent->n_refs && !extent->unspooled;
}

bool writer_spooled(const struct content *content)
{
	const struct extent *extent;

	if (!TAILQ_EMPTY(&content->writer.waiting))
		return false;
	TAILQ_FOREACH (extent, &content->writer.unacked, link) {
		if (!writer_spool_has(extent))
			return false;
	}
	return true;
}

int writer_spool_load(struct extent *extent)
{
	bool appending = extent->content->writer.appending;
	struct spool_buf buf = {0};
	struct spool_record record;
	uint32_t i, k, len = extent->len;
	uint64_t at, behind = 0;
	int err = 0;

	if (extent->data)
		return 0;
	if (!writer_spool_has(extent))
		return -EIO;
	err = extent_reserve(extent, len);
	for (i = 0; !err && i < extent->n_refs; i++) {
		for (k = 0; !err && k < ref_at(extent, i)->n; k++) {
			err = spool_read(
			    extent->pool->spool, ref_at(extent, i)->first + k, &buf, &record);
			/* An append's place there may be another than here. */
			at = appending ? extent->offset + behind : record.offset;
			if (!err && (at < extent->offset || at + record.len > extent_end(extent)))
				err = -EIO;
			if (!err)
				memcpy(
				    extent->data + (at - extent->offset), record.data, record.len);
			behind += err ? 0 : record.len;
		}
	}
	free(buf.at);
	if (err)
		extent_drop_data(extent);
	return err;
}

bool writer_spool_retries(const struct extent *extent, int err)
{
	return extent->content && (err == -ETIMEDOUT || err == -ENOTCONN) &&
	       writer_spool_has(extent);
}

void writer_spool_shed(struct content_pool *pool)
{
	struct writer_pool *w = &pool->writer;
	struct extent *extent;

	if (!w->down || w->memory <= MEMORY_MOST)
		return;
	TAILQ_FOREACH (extent, &w->unacked, pool_link) {
		if (w->memory <= MEMORY_MOST / 2)
			break;
		if (extent->data && writer_spool_has(extent))
			extent_drop_data(extent);
	}
}

uint64_t content_end_there(const struct content *content, uint64_t end)
{
	return content->writer.appending ? content->writer.append_to : end;
}

bool content_spooled(const struct content *content)
{
	return !content->writer.error && writer_spooled(content);
}

void content_told(struct content *content)
{
	content_forget_refused(content);
	writer_spool_told(content);
}

void content_overwritten(struct content *content)
{
	struct writer *w = &content->writer;

	if (!w->failed_path)
		return;
	spool_discard_data(content->pool->spool, w->failed_path);
	free(w->failed_path);
	w->failed_path = NULL;
}

void content_based(struct content *content)
{
	content->writer.own = false;
}

void content_unbased(struct content *content)
{
	content->writer.own = true;
}

bool content_is_changed(const struct content *content)
{
	return content->writer.own;
}

void content_unspool(struct content *content)
{
	writer_unspool(content);
}

#include "cache/writer.h"
#include "cache/content_impl.h"
#include "conf/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A content with more unsent extents than this is written at random: nothing is gained by waiting.
 */
#define MAX_PENDING 64
/* What goes beside other small operations: a short request of a content that has not much more. */
#define SMALL_WRITE (64u << 10)
#define SMALL_DIRTY (256u << 10)
/* The limit holds what is acknowledged in this time. */
#define LIMIT_SECONDS 2
#define RATE_NS UINT64_C(200000000)
/* The first look at the rate comes early, so that a fast link is filled from the start. */
#define FIRST_RATE_NS UINT64_C(20000000)

/* --- extents and their memory --- */

static void data_free(struct writer_pool *pool, uint8_t *data, uint32_t room)
{
	if (data && room == pool->spare_room &&
	    pool->spares < sizeof(pool->spare) / sizeof(*pool->spare))
		pool->spare[pool->spares++] = data;
	else
		free(data);
}

/* Room for len bytes, at most a chunk. Small ones grow fourfold, then take the whole chunk at once.
 */
static int reserve(struct extent *extent, uint32_t len)
{
	struct writer_pool *pool = &extent->pool->writer;
	uint32_t room = extent->room ? extent->room * 4 : 4096;
	uint8_t *data;

	if (len <= extent->room)
		return 0;
	while (room < len)
		room *= 4;
	if (room > extent->chunk / 4)
		room = extent->chunk;
	if (room == extent->chunk && !pool->spare_room)
		pool->spare_room = room;
	if (room == pool->spare_room && pool->spares) {
		data = pool->spare[--pool->spares];
		if (extent->len)
			memcpy(data, extent->data, extent->len);
		data_free(pool, extent->data, extent->room);
	} else {
		data = realloc(extent->data, room);
		if (!data)
			return -ENOMEM;
	}
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

static struct extent *extent_new(struct content *content, void *file, uint64_t offset)
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
		TAILQ_INSERT_TAIL(&pool->writer.dirty_contents, content, writer.dirty_link);
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

/* It leaves the lists, except those of pending and sent. */
static void extent_end_of(struct extent *extent)
{
	struct content_pool *pool = extent->pool;
	struct content *content = extent->content;

	TAILQ_REMOVE(&pool->writer.unacked, extent, pool_link);
	pool->writer.dirty -= extent->len;
	if (content) {
		TAILQ_REMOVE(&content->writer.unacked, extent, link);
		content->writer.dirty -= extent->len;
		if (TAILQ_EMPTY(&content->writer.unacked))
			TAILQ_REMOVE(&pool->writer.dirty_contents, content, writer.dirty_link);
	}
	data_free(&pool->writer, extent->data, extent->room);
	extent->data = NULL;
}

static void extent_free(struct extent *extent)
{
	extent->pool->source->put(extent->file);
	free(extent);
}

static void grew(struct extent *extent, uint32_t n)
{
	extent->len += n;
	extent->content->writer.dirty += n;
	extent->pool->writer.dirty += n;
}

/* --- sending --- */

static void note_rate(struct writer_pool *w, uint64_t now, uint32_t rtt_us)
{
	uint64_t took = now - w->rate_since, sample;
	double limit;

	if (took < (w->rate ? RATE_NS : FIRST_RATE_NS))
		return;
	sample = (uint64_t)((double)w->rate_bytes * 1e9 / (double)took);
	w->rate_since = now;
	w->rate_bytes = 0;
	/* A sample taken while no write had to wait says what the programs wrote, not what the link
	 * can do. */
	if (w->rate_limited || sample > w->rate)
		w->rate = w->rate ? (w->rate + 3 * sample) / 4 : sample;
	w->rate_limited = !TAILQ_EMPTY(&w->ring);
	limit = (double)w->rate * (LIMIT_SECONDS + 2 * (double)rtt_us / 1e6);
	w->limit = limit < WRITER_LIMIT_LEAST  ? WRITER_LIMIT_LEAST
		   : limit > WRITER_LIMIT_MOST ? WRITER_LIMIT_MOST
					       : (uint64_t)limit;
}

static bool can_send(const struct writer *w, uint64_t from, uint64_t to)
{
	if (w->appending)
		return !w->sent.n || from >= w->append_end;
	return !extents_overlap(&w->sent, from, to);
}

static void acked(void *arg, int err);

/* Into sent, where there is room for it, and out. */
static void send_out(struct extent *extent, const uint8_t *data)
{
	struct content_pool *pool = extent->pool;
	struct writer *w = &extent->content->writer;
	bool bulk = extent->len > SMALL_WRITE || w->dirty > SMALL_DIRTY;

	if (w->appending)
		extents_append(&w->sent, extent);
	else
		extents_insert(&w->sent, extent);
	w->append_end = extent_end(extent);
	if (!pool->writer.in_flight++) {
		pool->writer.rate_since = pool->now();
		pool->writer.rate_bytes = 0;
	}
	pool->writer.sent += extent->len;
	pool_hold(pool);
	pool->source->write(extent->file, extent->offset, data, extent->len, bulk, acked, extent);
	data_free(&pool->writer, extent->data, extent->room);
	extent->data = NULL;
	extent->room = 0;
}

/* Sends those of pending that touch [from, to), are ready (or all of them are: force) and may go.
 */
static void send_pending(struct content *content, uint64_t from, uint64_t to, bool force)
{
	struct writer *w = &content->writer;
	size_t i = w->appending ? 0 : extents_first(&w->pending, from), kept = i, n = w->pending.n;
	bool stop = false;

	for (; i < n; i++) {
		struct extent *extent = w->pending.at[i];

		if (!w->appending && extent->offset >= to)
			break;
		extent->ready |= force;
		stop = stop || (w->appending && !extent->ready);
		if (!stop && extent->ready && can_send(w, extent->offset, extent_end(extent))) {
			if (!extents_reserve(&w->sent)) {
				send_out(extent, extent->data);
				continue;
			}
			pool_start_timer(content->pool);
		}
		stop = w->appending; /* the order is kept */
		w->pending.at[kept++] = extent;
	}
	if (kept != i)
		memmove(&w->pending.at[kept], &w->pending.at[i], (n - i) * sizeof(*w->pending.at));
	w->pending.n = n - (i - kept);
	if (!w->pending.n)
		extents_fini(&w->pending);
}

void writer_push(struct content *content)
{
	send_pending(content, 0, UINT64_MAX, true);
}

void writer_pool_push(struct content_pool *pool)
{
	struct content *content;

	TAILQ_FOREACH (content, &pool->writer.dirty_contents, writer.dirty_link)
		writer_push(content);
}

static void acked(void *arg, int err)
{
	struct extent *extent = arg;
	struct content_pool *pool = extent->pool;
	struct content *content = extent->content;
	struct writer_pool *wp = &pool->writer;
	uint64_t from = extent->offset, to = extent_end(extent);

	wp->in_flight--;
	wp->sent -= extent->len;
	wp->rate_bytes += err ? 0 : extent->len;
	wp->acked += err ? 0 : extent->len;
	note_rate(wp, pool->now(), pool->source->rtt_us(extent->file));
	if (content)
		extents_remove(&content->writer.sent, extent);
	extent_end_of(extent);
	if (err)
		writer_wait_failed(pool, content, extent->id, err);
	if (content) {
		if (!err && to > content->writer.remote_size)
			content->writer.remote_size = to;
		send_pending(content, from, to, false);
		content_acked(content, from, extent->len, err);
		writer_wait_ended(content);
	}
	extent_free(extent);
	writer_wait_syncs(pool);
	writer_pool_admit(pool);
	pool_settle(pool);
	pool_release(pool);
}

/* --- accepting --- */

static size_t prolong(struct extent *extent, const uint8_t *data, size_t len)
{
	struct content *content = extent->content;
	uint32_t n = extent->chunk - extent->len;

	if (n > len)
		n = (uint32_t)len;
	if (reserve(extent, extent->len + n) < 0)
		return 0;
	memcpy(extent->data + extent->len, data, n);
	grew(extent, n);
	if (extent->len == extent->chunk) {
		extent->ready = true;
		send_pending(content, extent->offset, extent_end(extent), false);
	}
	return n;
}

/* A new extent; sent from here when it is a whole chunk and nothing is in its way. */
static size_t add(
    struct content *content, void *file, uint64_t offset, const uint8_t *data, size_t len)
{
	struct writer *w = &content->writer;
	struct extent *extent = extent_new(content, file, offset);
	int err;

	if (!extent)
		return 0;
	if (len >= extent->chunk && !(w->appending && w->pending.n) &&
	    can_send(w, offset, offset + extent->chunk) && !extents_reserve(&w->sent)) {
		len = extent->chunk;
		grew(extent, extent->chunk);
		send_out(extent, data);
		return len;
	}
	if (len > extent->chunk)
		len = extent->chunk;
	err = reserve(extent, (uint32_t)len);
	if (!err)
		err = w->appending ? extents_append(&w->pending, extent)
				   : extents_insert(&w->pending, extent);
	if (err) {
		extent_end_of(extent);
		extent_free(extent);
		return 0;
	}
	return prolong(extent, data, len);
}

static size_t append(
    struct content *content, void *file, uint64_t offset, const uint8_t *data, size_t len)
{
	struct writer *w = &content->writer;
	struct extent *last = w->pending.n ? w->pending.at[w->pending.n - 1] : NULL;

	if (last && extent_end(last) == offset && last->len < last->chunk)
		return prolong(last, data, len);
	/* What does not continue it closes it. */
	if (last)
		writer_push(content);
	return add(content, file, offset, data, len);
}

static size_t put(
    struct content *content, void *file, uint64_t offset, const uint8_t *data, size_t len)
{
	struct extents *pending = &content->writer.pending;
	size_t i = extents_first(pending, offset);
	struct extent *extent = i < pending->n ? pending->at[i] : NULL;

	if (extent && extent->offset <= offset) {
		if (len > extent_end(extent) - offset)
			len = extent_end(extent) - offset;
		memcpy(extent->data + (offset - extent->offset), data, len);
		return len;
	}
	if (extent && len > extent->offset - offset)
		len = extent->offset - offset;
	extent = i ? pending->at[i - 1] : NULL;
	if (extent && extent_end(extent) == offset && extent->len < extent->chunk)
		return prolong(extent, data, len);
	return add(content, file, offset, data, len);
}

size_t writer_accept(
    struct content *content, void *file, uint64_t offset, const uint8_t *data, size_t len)
{
	struct writer *w = &content->writer;
	bool appends = content->pool->source->appends(file);
	size_t taken = 0, n;

	while (taken < len) {
		n = (appends ? append : put)(
		    content, file, offset + taken, data + taken, len - taken);
		if (!n)
			break;
		taken += n;
	}
	if (w->pending.n > MAX_PENDING)
		writer_push(content);
	else if (w->pending.n)
		pool_start_timer(content->pool);
	return taken;
}

bool writer_holds(const struct content *content, uint64_t from, uint64_t to)
{
	const struct writer *w = &content->writer;

	if (TAILQ_EMPTY(&w->unacked))
		return false;
	if (to > w->remote_size || (w->appending && to > w->append_from))
		return true;
	return !w->appending &&
	       (extents_overlap(&w->pending, from, to) || extents_overlap(&w->sent, from, to));
}

uint64_t writer_end(const struct content *content)
{
	const struct writer *w = &content->writer;
	const struct extent *extent;
	uint64_t end = 0;

	TAILQ_FOREACH (extent, &w->unacked, link)
		if (extent_end(extent) > end)
			end = extent_end(extent);
	return end;
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

void writer_pool_fini(struct writer_pool *pool)
{
	while (pool->spares)
		free(pool->spare[--pool->spares]);
}

void writer_init(struct writer *writer, uint64_t size)
{
	memset(writer, 0, sizeof(*writer));
	TAILQ_INIT(&writer->unacked);
	TAILQ_INIT(&writer->waiting);
	TAILQ_INIT(&writer->flushes);
	writer->remote_size = size;
}

void writer_fini(struct content *content)
{
	struct content_pool *pool = content->pool;
	struct writer *w = &content->writer;
	struct extent *extent;
	uint64_t dropped = 0;
	size_t i;

	writer_wait_cancel(content);
	for (i = 0; i < w->pending.n; i++) {
		extent = w->pending.at[i];
		dropped += extent->len;
		writer_wait_failed(pool, content, extent->id, -EIO);
		extent_end_of(extent);
		extent_free(extent);
	}
	if (dropped)
		log_error("%llu bytes that were written had to be dropped unsent",
		    (unsigned long long)dropped);
	if (w->error) {
		pool->writer.lost_files++;
		if (!pool->writer.lost_error)
			pool->writer.lost_error = w->error;
	}
	if (!TAILQ_EMPTY(&w->unacked))
		TAILQ_REMOVE(&pool->writer.dirty_contents, content, writer.dirty_link);
	TAILQ_FOREACH (extent, &w->unacked, link)
		extent->content = NULL;
	extents_fini(&w->pending);
	extents_fini(&w->sent);
	writer_wait_syncs(pool);
	pool_call(pool, &pool->admit);
}

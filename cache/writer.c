#include "cache/writer.h"
#include "cache/content_impl.h"
#include "cache/writer_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A content with more unsent extents than this is written at random: nothing is gained by waiting.
 */
#define MAX_PENDING 64
/* What goes beside other small operations: a short request of a content that has not much more. */
#define SMALL_WRITE (64u << 10)
#define SMALL_DIRTY (256u << 10)
/* The limit holds what is acknowledged in this time, and no more than so many round trips of it and
 * WRITER_LIMIT_FIRST, for a link that waits for no program. */
#define LIMIT_SECONDS 2
#define LIMIT_RTTS 3
/* Under way for each microsecond of the round trip: all of WRITER_LIMIT_MOST from 20 ms on. */
#define SENT_US 2940
/* Up to this, the round trip is mostly what a busy machine makes of a short one; what may be under
 * way for each microsecond of it is a link of 5 Gbit/s. */
#define NEAR_US 2000
#define SENT_NEAR_US 640
#define RATE_NS UINT64_C(200000000)
/* Bytes a second, until it is known: a third of 1 Gbit/s fills such a link with LIMIT_RTTS. */
#define FIRST_RATE 40e6
/* The first look at it comes early, so that a fast link is filled from the start. */
#define FIRST_RATE_NS UINT64_C(20000000)

/* --- sending --- */

/*
 * So many bytes are under way at once. Near the instance a few WRITEs keep the server busy, and
 * what is behind them costs its processor: sshd keeps it in a buffer that grows by one packet at a
 * time, copied each time to new memory. 1 GiB over loopback took its sshd 2.6 s of processor time
 * with 1 MiB under way, 4.2 s with 2 MiB and 6 s with all that may be dirty (sshfs's: 4.6 s).
 */
static uint64_t sent_most(const struct extent *extent)
{
	uint64_t rtt_us = extent->pool->source->rtt_us(extent->file);
	uint64_t near_us = rtt_us < NEAR_US ? rtt_us : NEAR_US;
	uint64_t most = WRITER_SENT_NEAR + near_us * SENT_NEAR_US + (rtt_us - near_us) * SENT_US;

	return most < WRITER_LIMIT_MOST ? most : WRITER_LIMIT_MOST;
}

/* What is farther ahead of the link is copied to and from memory that is in no processor cache, and
 * at the start of a transfer to pages that are touched for the first time, just when the processor
 * is needed for the link. 384 MiB at 50 ms and 1 Gbit/s took 4.3 s with up to 64 MiB ahead, 4.1 s
 * so. */
static uint64_t limit_at(double rate, uint32_t rtt_us)
{
	double rtt = (double)rtt_us / 1e6;
	double limit = rate * (LIMIT_SECONDS + 2 * rtt);

	if (limit > WRITER_LIMIT_FIRST + rate * LIMIT_RTTS * rtt)
		limit = WRITER_LIMIT_FIRST + rate * LIMIT_RTTS * rtt;
	if (limit < WRITER_LIMIT_LEAST)
		return WRITER_LIMIT_LEAST;
	return limit > WRITER_LIMIT_MOST ? WRITER_LIMIT_MOST : (uint64_t)limit;
}

/* A sample may begin: nothing of what goes out now is answered sooner than a round trip later, and
 * that time says nothing of the link's rate. */
static void begin_rate(struct writer_pool *w, uint64_t now, uint32_t rtt_us)
{
	w->rate_since = now + UINT64_C(1000) * rtt_us;
	w->rate_bytes = 0;
	if (!w->rate)
		w->limit = limit_at(FIRST_RATE, rtt_us);
	w->rate_limited = !TAILQ_EMPTY(&w->ring);
}

static void note_rate(struct writer_pool *w, uint64_t now, uint32_t rtt_us, uint32_t acked)
{
	uint64_t sample, limit;

	if (now < w->rate_since)
		return;
	w->rate_bytes += acked;
	if (now - w->rate_since < (w->rate ? RATE_NS : FIRST_RATE_NS))
		return;
	sample = (uint64_t)((double)w->rate_bytes * 1e9 / (double)(now - w->rate_since));
	/* A sample taken while no write had to wait says what the programs wrote, not what the link
	 * can do. */
	if (w->rate_limited || sample > w->rate) {
		w->rate = w->rate ? (w->rate + 3 * sample) / 4 : sample;
		limit = limit_at((double)w->rate, rtt_us);
		if (w->rate_limited || limit > w->limit)
			w->limit = limit;
	}
	begin_rate(w, now, 0);
}

static bool can_send(const struct writer *w, uint64_t from, uint64_t to)
{
	if (w->appending) /* what is sent again goes before the next ones */
		return !w->stalled && !w->again && (!w->sent.n || from >= w->append_end);
	return !extents_overlap(&w->sent, from, to);
}

static bool is_bulk(const struct extent *extent)
{
	return extent->len > SMALL_WRITE || extent->content->writer.dirty > SMALL_DIRTY;
}

static void acked(void *arg, int err);

static void go(struct extent *extent)
{
	struct content_pool *pool = extent->pool;

	if (!pool->writer.in_flight++)
		begin_rate(&pool->writer, pool->now(), pool->source->rtt_us(extent->file));
	pool->writer.sent += extent->len;
	if (!extent->content->writer.own)
		writer_spool_own(extent->content);
	writer_spool_sent(extent);
	pool_hold(pool);
	if (extent->content->writer.appending && writer_spool_has(extent))
		pool->source->append(extent->file, extent_give_data(extent), extent->len,
		    is_bulk(extent), extent->again, acked, extent);
	else
		pool->source->write(extent->file, extent->offset, extent_give_data(extent),
		    extent->len, is_bulk(extent), acked, extent);
}

/* Into sent, where there is room for it, and out. */
static void send_out(struct extent *extent)
{
	struct writer *w = &extent->content->writer;

	if (w->appending)
		extents_append(&w->sent, extent);
	else
		extents_insert(&w->sent, extent);
	w->append_end = extent_end(extent);
	go(extent);
}

/* Do the link and what is in flight allow it? */
static bool may_go(struct writer_pool *wp, const struct extent *extent)
{
	if (extent->content->writer.held || (wp->down && writer_spool_has(extent)))
		return false;
	if (wp->in_flight &&
	    wp->sent + extent->len > (is_bulk(extent) ? sent_most(extent) : WRITER_LIMIT_MOST)) {
		wp->throttled = true;
		return false;
	}
	return true;
}

/* What failed of appends is no part of the file that the next ones come behind, or a part of it is.
 */
static void grew_there(struct writer *w, const struct extent *extent, int err)
{
	uint64_t end = extent_end(extent), there;

	if (w->appending) {
		if (err)
			w->append_to -= extent->len;
		else if (extent->pool->source->append_end(extent->file, &there))
			w->append_to = there + w->dirty;
		end = w->append_to - w->dirty;
	}
	if (!err && end > w->remote_size)
		w->remote_size = end;
}

void writer_ended(struct extent *extent, int err)
{
	struct content_pool *pool = extent->pool;
	struct content *content = extent->content;
	uint64_t from = extent->offset;
	bool seen = err && content && refused_add(content, extent);

	if (err)
		writer_spool_failed(extent, err);
	else
		writer_spool_done(extent);
	extent_end_of(extent);
	if (err)
		writer_wait_failed(pool, content, extent->id, err);
	if (content) {
		grew_there(&content->writer, extent, err);
		content_acked(content, from, extent->len, seen ? 0 : err);
		writer_wait_ended(content);
	}
	extent_free(extent);
	writer_wait_syncs(pool);
}

/* Sends those of pending that touch [from, to), are ready (or all of them are: force) and may go.
 */
static void send_pending(struct content *content, uint64_t from, uint64_t to, bool force)
{
	struct writer *w = &content->writer;
	size_t i = w->appending ? 0 : extents_first(&w->pending, from), kept = i, n = w->pending.n;
	bool stop = false;
	int err;

	for (; i < n; i++) {
		struct extent *extent = w->pending.at[i];

		if (!w->appending && extent->offset >= to)
			break;
		extent->ready |= force;
		stop = stop || (w->appending && !extent->ready);
		if (!stop && extent->ready && can_send(w, extent->offset, extent_end(extent)) &&
		    may_go(&content->pool->writer, extent)) {
			err = extents_reserve(&w->sent);
			if (!err)
				err = writer_spool_load(extent);
			if (!err) {
				send_out(extent);
				continue;
			}
			if (err != -ENOMEM) { /* the spool can't be read */
				writer_ended(extent, err);
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

/* What the link was lost for goes again. */
static void send_stalled(struct content *content)
{
	struct writer *w = &content->writer;
	struct extents *sent = &w->sent;
	struct extent *extent;
	bool stop = false;
	size_t i;

	for (i = 0; i < sent->n && !stop; i++) {
		extent = sent->at[i];
		if (!extent->stalled)
			continue;
		stop = w->appending; /* the order is kept */
		if (!may_go(&content->pool->writer, extent))
			continue;
		if (writer_spool_load(extent) < 0) {
			pool_start_timer(content->pool);
			continue;
		}
		extent->stalled = stop = false;
		w->stalled--;
		extent->again = w->appending;
		w->again += extent->again;
		go(extent);
	}
}

static void push(struct content *content, bool force)
{
	if (content->writer.stalled)
		send_stalled(content);
	send_pending(content, 0, UINT64_MAX, force);
}

/* Contents in turn, so that what is written to one file does not wait for all of another. Bulk data
 * may find that enough is under way; small data behind it may go all the same. */
static void pool_push(struct content_pool *pool, bool force)
{
	struct writer_pool *wp = &pool->writer;
	struct content *last = TAILQ_LAST(&wp->dirty_contents, writer_contents), *content = NULL;

	wp->throttled = false;
	while ((force || !wp->throttled) && content != last) {
		content = TAILQ_FIRST(&wp->dirty_contents);
		TAILQ_REMOVE(&wp->dirty_contents, content, writer.dirty_link);
		TAILQ_INSERT_TAIL(&wp->dirty_contents, content, writer.dirty_link);
		push(content, force);
	}
}

void writer_push(struct content *content)
{
	push(content, true);
}

void writer_pool_push(struct content_pool *pool)
{
	pool_push(pool, true);
}

void writer_pool_link(struct content_pool *pool, bool up)
{
	struct writer_pool *w = &pool->writer;

	if (w->down == !up)
		return;
	w->down = !up;
	w->backlog = up && pool->spool ? w->dirty : 0;
	if (up)
		writer_pool_push(pool);
	pool_call(pool, &pool->admit);
}

static void stall(struct extent *extent)
{
	extent->stalled = true;
	extent->content->writer.stalled++;
	pool_start_timer(extent->pool);
}

static void acked(void *arg, int err)
{
	struct extent *extent = arg;
	struct content_pool *pool = extent->pool;
	struct content *content = extent->content;
	struct writer_pool *wp = &pool->writer;
	uint64_t from = extent->offset, to = extent_end(extent), most = sent_most(extent);

	wp->in_flight--;
	wp->sent -= extent->len;
	wp->acked += err ? 0 : extent->len;
	wp->backlog -= wp->backlog < extent->len / 2 ? wp->backlog : extent->len / 2;
	note_rate(wp, pool->now(), pool->source->rtt_us(extent->file), err ? 0 : extent->len);
	if (content)
		content->writer.again -= extent->again;
	extent->again = false;
	if (content && content->writer.dropped)
		err = 0;
	if (writer_spool_retries(extent, err)) {
		stall(extent);
	} else {
		if (content)
			extents_remove(&content->writer.sent, extent);
		/* What waited for it goes before anybody is told. */
		pool_hold(pool);
		writer_ended(extent, err);
		if (content)
			send_pending(content, from, to, false);
		pool_release(pool);
	}
	if (wp->throttled && wp->sent < most / 4 * 3)
		pool_push(pool, false);
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
	if (extent->len && writer_spool_load(extent) < 0)
		return 0;
	if (extent_reserve(extent, extent->len + n) < 0)
		return 0;
	memcpy(extent->data + extent->len, data, n);
	writer_spool_take(extent, extent_end(extent), data, n);
	extent_grew(extent, n);
	if (extent->len == extent->chunk) {
		extent->ready = true;
		send_pending(content, extent->offset, extent_end(extent), false);
	}
	return n;
}

static size_t add(
    struct content *content, void *file, uint64_t offset, const uint8_t *data, size_t len)
{
	struct writer *w = &content->writer;
	struct extent *extent = extent_new(content, file, offset);
	int err;

	if (!extent)
		return 0;
	if (len > extent->chunk)
		len = extent->chunk;
	err = extent_reserve(extent, (uint32_t)len);
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
		if (writer_spool_load(extent) < 0)
			return 0;
		if (len > extent_end(extent) - offset)
			len = extent_end(extent) - offset;
		memcpy(extent->data + (offset - extent->offset), data, len);
		writer_spool_take(extent, offset, data, (uint32_t)len);
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
	writer_spool_shed(content->pool);
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
	uint64_t end = refused_end(content);

	TAILQ_FOREACH (extent, &w->unacked, link)
		if (extent_end(extent) > end)
			end = extent_end(extent);
	return end;
}

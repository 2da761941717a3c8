#include "cache/content_impl.h"
#include "cache/spool.h"
#include "cache/writer_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Files up to this size are written beside other small operations, in turn. */
#define SENT_SMALL (64u << 10)

/* Those that wait for the writer; each begins with its call, so that one is the other. */

struct write_wait {
	struct call call;
	TAILQ_ENTRY(write_wait) link;
	void *file;
	uint64_t offset;
	size_t len;
	int err;
	bool write_back;
	void (*done)(void *arg, int err);
	void *arg;
	uint8_t data[];
};

/* content_flush; ended when every extent with an id below upto is. */
struct flush_wait {
	struct call call;
	TAILQ_ENTRY(flush_wait) link;
	uint64_t upto;
	int err;
	void (*done)(void *arg, int err);
	void *arg;
};

struct sync_wait {
	struct call call;
	TAILQ_ENTRY(sync_wait) link;
	uint64_t upto;
	int err;
	void (*done)(void *arg, int err);
	void *arg;
};

static int take_error(struct content *content)
{
	int err = content->writer.error;

	content->writer.error = 0;
	return err;
}

/* --- writes that wait for room, or for their turn --- */

/* What a record needs beside its data, generously. */
#define RECORD_ROOM (64u << 10)

static bool room(const struct content_pool *pool, size_t len)
{
	const struct writer_pool *w = &pool->writer;

	if (!w->dirty)
		return true;
	if (pool->spool && spool_room(pool->spool) < len + RECORD_ROOM)
		return false;
	/* What it does not take would wait behind all that waits for the link. */
	if (pool->spool && w->down)
		return !spool_error(pool->spool);
	return w->dirty + len <= w->limit + w->backlog;
}

/* Must it wait for something other than room? */
static bool barred(const struct content *content, void *file, uint64_t offset, size_t len)
{
	const struct writer *w = &content->writer;

	if (!TAILQ_EMPTY(&w->unacked) && w->appending != content->pool->source->appends(file))
		return true;
	return content_starves(content, offset, len);
}

static void into_ring(struct content *content)
{
	if (content->writer.in_ring)
		return;
	content->writer.in_ring = true;
	TAILQ_INSERT_TAIL(&content->pool->writer.ring, content, writer.ring);
}

static void out_of_ring(struct content *content)
{
	if (!content->writer.in_ring)
		return;
	content->writer.in_ring = false;
	TAILQ_REMOVE(&content->pool->writer.ring, content, writer.ring);
}

/* Room comes from acknowledgements only: see to it that enough is in flight. */
static void unstall(struct content_pool *pool)
{
	struct writer_pool *w = &pool->writer;

	if (!TAILQ_EMPTY(&w->ring) &&
	    (!w->in_flight || (!w->throttled && w->dirty - w->sent > w->limit / 2)))
		writer_pool_push(pool);
}

static int accept_all(
    struct content *content, void *file, uint64_t offset, const uint8_t *data, size_t len)
{
	size_t taken;

	if (content->writer.error && !content->pool->write_back)
		return take_error(content);
	content->pool->writer.must_wait = false;
	taken = writer_accept(content, file, offset, data, len);
	if (taken)
		content_accepted(content, offset, data, taken);
	return taken < len ? -ENOMEM : 1;
}

static int until_acked(struct content *content, void (*done)(void *arg, int err), void *arg);

/* Accepts now, or when the instance has it if the spool did not take it. As content_write. */
static int accept_or_wait(struct content *content, void *file, uint64_t offset, const uint8_t *data,
    size_t len, void (*done)(void *arg, int err), void *arg)
{
	int accepted = accept_all(content, file, offset, data, len);

	if (accepted > 0 && content->pool->writer.must_wait)
		return until_acked(content, done, arg);
	return accepted;
}

static void write_run(struct content_pool *pool, struct call *call)
{
	struct write_wait *wait = (struct write_wait *)call;

	if (wait->done) /* else it waits for the instance */
		wait->done(wait->arg, wait->err);
	pool->source->put(wait->file);
	free(wait);
}

int writer_write(struct content *content, void *file, uint64_t offset, const void *data, size_t len,
    void (*done)(void *arg, int err), void *arg)
{
	struct content_pool *pool = content->pool;
	struct writer *w = &content->writer;
	struct write_wait *wait;
	bool bar, first = TAILQ_EMPTY(&w->waiting);

	if (w->error && !pool->write_back)
		return take_error(content);
	bar = barred(content, file, offset, len);
	if (first && !bar && TAILQ_EMPTY(&pool->writer.ring) && room(pool, len))
		return accept_or_wait(content, file, offset, data, len, done, arg);
	wait = malloc(sizeof(*wait) + len);
	if (!wait)
		return -ENOMEM;
	memset(wait, 0, sizeof(*wait));
	wait->call.run = write_run;
	wait->file = file;
	pool->source->get(file);
	wait->offset = offset;
	wait->len = len;
	wait->write_back = pool->write_back;
	wait->done = done;
	wait->arg = arg;
	memcpy(wait->data, data, len);
	TAILQ_INSERT_TAIL(&w->waiting, wait, link);
	if (first && bar)
		writer_push(content);
	else if (first)
		into_ring(content);
	pool->writer.rate_limited = true;
	unstall(pool);
	return 0;
}

bool writer_withdraw(struct content *content, const void *arg)
{
	struct writer *w = &content->writer;
	struct write_wait *wait;

	TAILQ_FOREACH (wait, &w->waiting, link) {
		if (wait->arg == arg)
			break;
	}
	if (!wait)
		return false;
	TAILQ_REMOVE(&w->waiting, wait, link);
	wait->err = -ECANCELED;
	pool_call(content->pool, &wait->call);
	writer_kick(content); /* what waited behind it may have room */
	return true;
}

void writer_pool_admit(struct content_pool *pool)
{
	struct content *content;
	struct write_wait *wait;
	int err;

	while ((content = TAILQ_FIRST(&pool->writer.ring))) {
		wait = TAILQ_FIRST(&content->writer.waiting);
		if (wait && barred(content, wait->file, wait->offset, wait->len)) {
			writer_push(content);
			wait = NULL;
		} else if (wait && !room(pool, wait->len)) {
			break;
		}
		out_of_ring(content);
		if (!wait)
			continue;
		TAILQ_REMOVE(&content->writer.waiting, wait, link);
		pool->write_back = wait->write_back;
		err = accept_or_wait(content, wait->file, wait->offset, wait->data, wait->len,
		    wait->done, wait->arg);
		pool->write_back = false;
		wait->err = err > 0 ? 0 : err;
		if (!err)
			wait->done = NULL;
		pool_call(pool, &wait->call);
		if (!TAILQ_EMPTY(&content->writer.waiting))
			into_ring(content);
	}
	unstall(pool);
}

void writer_kick(struct content *content)
{
	if (TAILQ_EMPTY(&content->writer.waiting))
		return;
	into_ring(content);
	pool_call(content->pool, &content->pool->admit);
}

/* --- flushes --- */

static void flush_run(struct content_pool *pool, struct call *call)
{
	struct flush_wait *wait = (struct flush_wait *)call;

	wait->done(wait->arg, wait->err);
	free(wait);
}

static int until_acked(struct content *content, void (*done)(void *arg, int err), void *arg)
{
	struct flush_wait *wait = calloc(1, sizeof(*wait));

	if (!wait)
		return -ENOMEM;
	wait->call.run = flush_run;
	wait->upto = content->pool->writer.next_id;
	wait->done = done;
	wait->arg = arg;
	TAILQ_INSERT_TAIL(&content->writer.flushes, wait, link);
	writer_push(content);
	if (TAILQ_EMPTY(&content->writer.unacked))
		writer_wait_ended(content);
	return 0;
}

void writer_flush(struct content *content, void (*done)(void *arg, int err), void *arg)
{
	if (until_acked(content, done, arg) < 0)
		done(arg, -ENOMEM);
}

void writer_wait_ended(struct content *content)
{
	struct writer *w = &content->writer;
	struct extent *oldest = TAILQ_FIRST(&w->unacked);
	struct flush_wait *wait;

	while ((wait = TAILQ_FIRST(&w->flushes)) && (!oldest || wait->upto <= oldest->id)) {
		TAILQ_REMOVE(&w->flushes, wait, link);
		wait->err = take_error(content);
		pool_call(content->pool, &wait->call);
	}
	writer_kick(content);
}

void writer_wait_cancel(struct content *content)
{
	struct writer *w = &content->writer;
	struct write_wait *write;
	struct flush_wait *flush;

	while ((write = TAILQ_FIRST(&w->waiting))) {
		TAILQ_REMOVE(&w->waiting, write, link);
		write->err = -ECANCELED;
		pool_call(content->pool, &write->call);
	}
	while ((flush = TAILQ_FIRST(&w->flushes))) {
		TAILQ_REMOVE(&w->flushes, flush, link);
		flush->err = -ECANCELED;
		pool_call(content->pool, &flush->call);
	}
	out_of_ring(content);
}

/* --- syncs --- */

static void sync_run(struct content_pool *pool, struct call *call)
{
	struct sync_wait *wait = (struct sync_wait *)call;

	wait->done(wait->arg, wait->err);
	free(wait);
}

void writer_pool_sync(struct content_pool *pool, void (*done)(void *arg, int err), void *arg)
{
	struct sync_wait *wait = calloc(1, sizeof(*wait));
	struct content *content;

	if (!wait) {
		done(arg, -ENOMEM);
		return;
	}
	wait->call.run = sync_run;
	wait->upto = pool->writer.next_id;
	wait->done = done;
	wait->arg = arg;
	/* What failed before and nobody was told of. */
	wait->err = pool->writer.lost_error;
	pool->writer.lost_error = 0;
	LIST_FOREACH (content, &pool->contents, link)
		if (!wait->err)
			wait->err = content->writer.error;
	TAILQ_INSERT_TAIL(&pool->writer.syncs, wait, link);
	writer_pool_push(pool);
	writer_wait_syncs(pool);
}

void writer_wait_syncs(struct content_pool *pool)
{
	struct extent *oldest = TAILQ_FIRST(&pool->writer.unacked);
	struct sync_wait *wait;

	while ((wait = TAILQ_FIRST(&pool->writer.syncs)) && (!oldest || wait->upto <= oldest->id)) {
		TAILQ_REMOVE(&pool->writer.syncs, wait, link);
		pool_call(pool, &wait->call);
	}
}

void writer_wait_failed(struct content_pool *pool, struct content *content, uint64_t id, int err)
{
	struct sync_wait *wait;
	bool told = false;

	TAILQ_FOREACH (wait, &pool->writer.syncs, link) {
		if (id >= wait->upto)
			continue;
		told = true;
		if (!wait->err)
			wait->err = err;
	}
	if (content) {
		if (!content->writer.error)
			content->writer.error = err;
		return;
	}
	/* Its content was given up before the answer came. */
	pool->writer.lost_files++;
	if (!told && !pool->writer.lost_error)
		pool->writer.lost_error = err;
}

static struct flush_wait *flush_of(const struct content *content, const void *arg)
{
	struct flush_wait *wait;

	TAILQ_FOREACH (wait, &content->writer.flushes, link) {
		if (wait->arg == arg)
			break;
	}
	return wait;
}

/* What is pending may still grow. */
bool content_flush_covers(const struct content *content, const void *arg)
{
	const struct writer *w = &content->writer;
	const struct flush_wait *wait = flush_of(content, arg);
	const struct extent *last = TAILQ_LAST(&w->unacked, writer_unacked);

	return wait && last && last->id < wait->upto && !w->pending.n && TAILQ_EMPTY(&w->waiting);
}

bool content_leave(struct content *content, const void *arg)
{
	struct writer *w = &content->writer;
	struct flush_wait *wait = flush_of(content, arg);

	if (!wait)
		return false;
	TAILQ_REMOVE(&w->flushes, wait, link);
	wait->err = -ECANCELED;
	pool_call(content->pool, &wait->call);
	return true;
}

bool content_withdraw(struct content *content, const void *arg)
{
	return writer_withdraw(content, arg);
}

/* Other files of the same name are on other channels, with an order of their own. */
static bool is_all_through(const struct writer *w, const void *file)
{
	const struct extent *extent;

	TAILQ_FOREACH (extent, &w->unacked, link) {
		if (extent->file != file)
			return false;
	}
	return true;
}

bool content_is_sent(const struct content *content, const void *file)
{
	const struct writer *w = &content->writer;

	return content->size <= SENT_SMALL && !w->pending.n && TAILQ_EMPTY(&w->waiting) &&
	       is_all_through(w, file);
}

bool content_is_sent_through(const struct content *content, const void *file)
{
	const struct writer *w = &content->writer;

	return w->sent.n && !w->pending.n && !w->stalled && TAILQ_EMPTY(&w->waiting) &&
	       is_all_through(w, file);
}

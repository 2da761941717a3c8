#include "cache/content.h"
#include "cache/content_impl.h"
#include <stdlib.h>
#include <string.h>

#define SEND_MS 1000

/* --- completions --- */

static void idle_run(uv_idle_t *idle);

static void wake(struct content_pool *pool)
{
	if (!pool->settling && !pool->closing)
		uv_idle_start(&pool->idle, idle_run);
}

void pool_call(struct content_pool *pool, struct call *call)
{
	if (call->queued)
		return;
	call->queued = true;
	TAILQ_INSERT_TAIL(&pool->calls, call, link);
	pool->queued++;
	wake(pool);
}

/* Runs as many as are queued now: what they start that ends at once has to wait for the next turn,
 * or the loop could be kept from turning. */
void pool_settle(struct content_pool *pool)
{
	unsigned n = pool->queued;
	struct call *call;

	if (pool->settling)
		return;
	pool_hold(pool);
	pool->settling = true;
	while ((n-- || pool->closing) && (call = TAILQ_FIRST(&pool->calls))) {
		TAILQ_REMOVE(&pool->calls, call, link);
		call->queued = false;
		pool->queued--;
		call->run(pool, call);
	}
	pool->settling = false;
	if (pool->queued)
		wake(pool);
	else if (!pool->closing)
		uv_idle_stop(&pool->idle);
	pool_release(pool);
}

static void idle_run(uv_idle_t *idle)
{
	pool_settle(idle->data);
}

static void admit_run(struct content_pool *pool, struct call *call)
{
	writer_pool_admit(pool);
}

/* --- life --- */

static void timer_run(uv_timer_t *timer)
{
	struct content_pool *pool = timer->data;

	pool->timer_on = false;
	writer_pool_push(pool);
}

void pool_start_timer(struct content_pool *pool)
{
	if (pool->timer_on || pool->closing)
		return;
	pool->timer_on = true;
	uv_timer_start(&pool->timer, timer_run, SEND_MS, 0);
}

void pool_hold(struct content_pool *pool)
{
	pool->holds++;
}

void pool_release(struct content_pool *pool)
{
	if (--pool->holds)
		return;
	blocks_pool_fini(&pool->blocks);
	free(pool);
}

static bool keep_unsaved(const struct block *block)
{
	const struct content *content =
	    (const struct content *)((const char *)block->set - offsetof(struct content, blocks));

	return block->keep ||
	       writer_holds(content, blocks_start(block), blocks_start(block) + BLOCKS_SIZE);
}

struct content_pool *content_pool_new(
    uv_loop_t *loop, const struct content_source *source, uint64_t limit_bytes)
{
	struct content_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	if (uv_idle_init(loop, &pool->idle) < 0 || uv_timer_init(loop, &pool->timer) < 0) {
		free(pool);
		return NULL;
	}
	uv_timer_init(loop, &pool->keep_timer);
	pool->keep_timer.data = pool;
	pool->idle.data = pool;
	pool->timer.data = pool;
	pool->loop = loop;
	pool->source = source;
	pool->now = uv_hrtime;
	LIST_INIT(&pool->contents);
	TAILQ_INIT(&pool->calls);
	pool->admit.run = admit_run;
	pool->holds = 3;
	blocks_pool_init(&pool->blocks, limit_bytes);
	pool->blocks.keep = keep_unsaved;
	writer_pool_init(&pool->writer);
	return pool;
}

static void closed(uv_handle_t *handle)
{
	pool_release(handle->data);
}

void content_pool_free(struct content_pool *pool)
{
	/* No more turns of the loop: what is queued now is run here, what completes later is run at
	 * once. */
	pool->closing = true;
	pool_settle(pool);
	uv_close((uv_handle_t *)&pool->idle, closed);
	uv_close((uv_handle_t *)&pool->timer, closed);
	uv_close((uv_handle_t *)&pool->keep_timer, closed);
}

void content_pool_each_dirty(const struct content_pool *pool,
    bool (*each)(void *arg, void *file, uint64_t dirty, uint64_t size), void *arg)
{
	const struct content *content;

	TAILQ_FOREACH (content, &pool->writer.dirty_contents, writer.dirty_link) {
		if (!each(arg, TAILQ_FIRST(&content->writer.unacked)->file, content->writer.dirty,
			content->size))
			return;
	}
}

void content_pool_figures(const struct content_pool *pool, struct content_figures *out)
{
	memset(out, 0, sizeof(*out));
	out->dirty_files = pool->writer.dirty_files;
	out->hit_bytes = pool->hit_bytes;
	out->miss_bytes = pool->miss_bytes;
	out->fetched_bytes = pool->delivered;
	out->wasted_bytes = pool->blocks.wasted;
	out->present_bytes = pool->blocks.bytes;
	out->limit_bytes = pool->blocks.limit;
	out->dirty_bytes = pool->writer.dirty;
	out->dirty_limit_bytes = pool->writer.limit;
	out->acked_bytes = pool->writer.acked;
	out->reads_in_flight = pool->reads;
	out->writes_in_flight = pool->writer.in_flight;
	out->skipped_bytes = pool->blocks.skipped;
	out->lost_files = pool->writer.lost_files;
}

void content_pool_set_spool(struct content_pool *pool, struct spool *spool)
{
	pool->spool = spool;
}

void content_pool_write_back(struct content_pool *pool, bool on)
{
	pool->write_back = on;
}

void content_pool_link(struct content_pool *pool, bool up)
{
	writer_pool_link(pool, up);
}

void content_pool_sync(struct content_pool *pool, void (*done)(void *arg, int err), void *arg)
{
	writer_pool_sync(pool, done, arg);
}

void content_pool_drop(struct content_pool *pool)
{
	blocks_drop_all(&pool->blocks);
}

#include "cache/kept.h"
#include "cache/content_impl.h"
#include "cache/store.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How long blocks wait for others to be written with them. */
#define WAIT_MS 20

struct kept {
	struct content *content;
	struct store_file *file;
	uint32_t mtime;
	uint64_t settled_ns;
	bool loading;
	TAILQ_HEAD(, fetch) deferred;
	TAILQ_HEAD(kept_calls, call) waiting;
};

/* --- writing ----------------------------------------------------------------------- */

static struct content *content_of(const struct block *block)
{
	return (struct content *)((const char *)block->set - offsetof(struct content, blocks));
}

static void skip_all(struct content_pool *pool)
{
	struct block *block;

	while ((block = TAILQ_FIRST(&pool->blocks.keeping))) {
		pool->blocks.skipped += (uint64_t)__builtin_popcount(block->keep) * BLOCKS_PAGE;
		blocks_unkeep(block, UINT32_MAX);
	}
}

static void push(struct content_pool *pool)
{
	struct store_batch *batch = NULL;
	struct block *block, *next;
	struct kept *kept;

	if (!store_takes(pool->store))
		skip_all(pool);
	for (block = TAILQ_FIRST(&pool->blocks.keeping); block; block = next) {
		next = TAILQ_NEXT(block, keeping);
		kept = content_of(block)->kept;
		if (kept->loading) /* later */
			continue;
		if (batch && store_batch_full(batch)) {
			store_batch_send(batch);
			batch = NULL;
		}
		if (!batch && !(batch = store_batch_new(pool->store)))
			break;
		if (store_batch_add(batch, kept->file, block->number, block->keep, block->data) !=
		    -EAGAIN)
			blocks_unkeep(block, UINT32_MAX);
	}
	if (batch)
		store_batch_send(batch);
}

static void on_timer(uv_timer_t *timer)
{
	push(timer->data);
}

static void push_soon(struct content_pool *pool)
{
	if (pool->blocks.n_keeping >= STORE_BATCH || pool->closing)
		push(pool);
	if (pool->blocks.n_keeping && !pool->closing &&
	    !uv_is_active((uv_handle_t *)&pool->keep_timer))
		uv_timer_start(&pool->keep_timer, on_timer, WAIT_MS, 0);
}

static void on_room(void *arg)
{
	push_soon(arg);
}

void content_pool_set_store(struct content_pool *pool, struct store *store)
{
	pool->store = store;
	store_on_room(store, on_room, pool);
}

void content_pool_keep_now(struct content_pool *pool)
{
	if (pool->store)
		push(pool);
}

void kept_came(struct content *content, struct block *block, uint32_t pages)
{
	blocks_keep(block, pages);
	push_soon(content->pool);
}

/* --- life ------------------------------------------------------------------------------ */

static void go(struct content_pool *pool, struct kept *kept)
{
	struct fetch *fetch;
	struct call *call;

	while ((fetch = TAILQ_FIRST(&kept->deferred))) {
		TAILQ_REMOVE(&kept->deferred, fetch, deferred);
		fetch_go(fetch);
	}
	while ((call = TAILQ_FIRST(&kept->waiting))) {
		TAILQ_REMOVE(&kept->waiting, call, link);
		pool_call(pool, call);
	}
}

static void on_loaded(void *arg)
{
	struct kept *kept = arg;
	struct content_pool *pool = kept->content->pool;

	pool_hold(pool);
	kept->loading = false;
	go(pool, kept);
	if (pool->blocks.n_keeping)
		push_soon(pool);
	pool_settle(pool);
	pool_release(pool);
}

static void forget_block(struct block *block, void *arg)
{
	blocks_unkeep(block, UINT32_MAX);
}

static void end(struct content *content, void (*leave)(struct store_file *file))
{
	struct kept *kept = content->kept;

	if (!kept)
		return;
	content->kept = NULL;
	content->kept_count++;
	blocks_each(&content->blocks, forget_block, NULL);
	leave(kept->file);
	go(content->pool, kept);
	free(kept);
}

void content_keep(struct content *content, const char *path, uint32_t mtime, uint64_t settled_ns)
{
	struct kept *kept = content->kept;
	struct store *store = content->pool->store;

	if (!store || (kept && kept->mtime == mtime) || content_refused(content))
		return;
	content_unkeep(content);
	kept = calloc(1, sizeof(*kept));
	if (!kept)
		return;
	kept->content = content;
	kept->mtime = mtime;
	kept->settled_ns = settled_ns;
	kept->loading = true;
	TAILQ_INIT(&kept->deferred);
	TAILQ_INIT(&kept->waiting);
	kept->file = store_file_new(store, path, mtime, content->size, on_loaded, kept);
	if (!kept->file) {
		free(kept);
		return;
	}
	if (!++content->kept_count)
		content->kept_count++;
	content->kept = kept;
}

bool content_is_kept(const struct content *content)
{
	return content->kept != NULL;
}

bool content_keeps(const struct content *content, uint32_t mtime)
{
	return content->kept && content->kept->mtime == mtime;
}

void content_unkeep(struct content *content)
{
	end(content, store_file_drop);
}

void kept_free(struct content *content)
{
	end(content, store_file_put);
}

/* --- reading ----------------------------------------------------------------------------- */

bool kept_defers(struct content *content, struct fetch *fetch)
{
	struct kept *kept = content->kept;

	if (!kept || !kept->loading)
		return false;
	TAILQ_INSERT_TAIL(&kept->deferred, fetch, deferred);
	return true;
}

uint32_t kept_pages(const struct content *content, uint64_t number)
{
	return content->kept ? store_file_pages(content->kept->file, number) : 0;
}

unsigned kept_count(const struct content *content)
{
	const struct kept *kept = content->kept;

	return kept && content->pool->now() >= kept->settled_ns ? content->kept_count : 0;
}

bool kept_is_known(const struct content *content)
{
	return content->kept && !content->kept->loading;
}

void kept_wait(struct content *content, struct call *call)
{
	TAILQ_INSERT_TAIL(&content->kept->waiting, call, link);
}

struct store_file *kept_file(const struct content *content)
{
	return content->kept->file;
}

void kept_note_miss(struct content *content, uint32_t bytes)
{
	if (content->kept)
		store_note_miss(content->pool->store, bytes);
}

int kept_read(struct content *content, struct fetch *fetch,
    void (*done)(void *arg, int err, uint8_t *data, uint32_t pages))
{
	return store_file_read(content->kept->file, fetch->block->number, done, fetch);
}

/* One block, all of whose kept pages are read. */
static void read_block(struct content *content, uint64_t number, uint32_t pages)
{
	static uint8_t other[BLOCKS_SIZE];
	struct store_file *file = content->kept->file;
	struct block *block = blocks_make(&content->blocks, number);
	uint32_t size = (32 - (unsigned)__builtin_clz(pages)) * BLOCKS_PAGE, page;
	bool fresh;

	if (!block)
		return;
	fresh = !block->room;
	if (!blocks_reserve(block, size) &&
	    !store_file_read_now(file, number, fresh ? block->data : other)) {
		pages &= ~(block->present | block->underway);
		for (page = 0; page < BLOCKS_PAGES && !fresh; page++)
			if (pages & UINT32_C(1) << page)
				memcpy(block->data + page * BLOCKS_PAGE, other + page * BLOCKS_PAGE,
				    BLOCKS_PAGE);
		block->present |= pages;
		block->fresh |= pages;
		blocks_touch(block, false);
	}
	blocks_forget(block, 0); /* its memory, if nothing came */
	blocks_release(block);
}

void kept_read_now(struct content *content, uint64_t offset, uint64_t end)
{
	uint64_t number = offset / BLOCKS_SIZE;
	bool read = false;

	if (content->kept->loading)
		return;
	for (; number * BLOCKS_SIZE < end; number++) {
		struct block *block = blocks_find(&content->blocks, number);
		uint32_t missing = blocks_mask(number, offset, end);
		uint32_t pages = store_file_pages(content->kept->file, number);

		if (block)
			missing &= ~(block->present | block->underway);
		if (!missing || missing & ~pages)
			continue;
		read_block(content, number, pages);
		read = true;
	}
	if (read)
		blocks_trim(&content->pool->blocks);
}

#include "cache/blocks.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How many blocks that keep wants are passed over before it is overruled: eviction must stay cheap.
 */
#define KEEP_SCAN 64
/* Bytes of blocks that are spent. Their memory serves the next blocks of a stream while it is still
 * in the processor's caches; fresh memory costs as much as the copy into it. */
#define SPENT_MOST (4u << 20)

void blocks_pool_init(struct blocks_pool *pool, uint64_t limit)
{
	memset(pool, 0, sizeof(*pool));
	TAILQ_INIT(&pool->lru);
	TAILQ_INIT(&pool->keeping);
	pool->limit = limit;
}

void blocks_pool_fini(struct blocks_pool *pool)
{
	while (pool->spares)
		free(pool->spare[--pool->spares]);
}

/* For one with data. */
static void set_spent(struct block *block, bool spent)
{
	if (spent && !block->spent)
		block->set->pool->spent += block->room;
	else if (!spent && block->spent)
		block->set->pool->spent -= block->room;
	block->spent = spent;
}

static void data_free(struct block *block)
{
	struct blocks_pool *pool = block->set->pool;

	if (!block->room)
		return;
	TAILQ_REMOVE(&pool->lru, block, lru);
	pool->bytes -= block->room;
	set_spent(block, false);
	if (block->room == BLOCKS_SIZE && pool->spares < sizeof(pool->spare) / sizeof(*pool->spare))
		pool->spare[pool->spares++] = block->data;
	else
		free(block->data);
	block->data = NULL;
	block->room = 0;
}

int blocks_reserve(struct block *block, uint32_t len)
{
	struct blocks_pool *pool = block->set->pool;
	uint32_t room = (len + BLOCKS_PAGE - 1) / BLOCKS_PAGE * BLOCKS_PAGE;
	uint8_t *data;

	if (room <= block->room)
		return 0;
	if (room == BLOCKS_SIZE && pool->spares) {
		data = pool->spare[--pool->spares];
		if (block->room)
			memcpy(data, block->data, block->room);
		free(block->data);
	} else {
		data = realloc(block->data, room);
		if (!data)
			return -ENOMEM;
	}
	if (!block->room)
		TAILQ_INSERT_TAIL(&pool->lru, block, lru);
	pool->bytes += room - block->room;
	set_spent(block, false);
	block->data = data;
	block->room = room;
	return 0;
}

void blocks_forget(struct block *block, uint32_t mask)
{
	struct blocks_pool *pool = block->set->pool;

	pool->wasted += (uint64_t)__builtin_popcount(block->fresh & mask) * BLOCKS_PAGE;
	blocks_unkeep(block, mask);
	block->fresh &= ~mask;
	block->present &= ~mask;
	if (!block->present)
		data_free(block);
}

void blocks_keep(struct block *block, uint32_t mask)
{
	struct blocks_pool *pool = block->set->pool;

	if (!block->keep && mask) {
		TAILQ_INSERT_TAIL(&pool->keeping, block, keeping);
		pool->n_keeping++;
	}
	block->keep |= mask;
}

void blocks_unkeep(struct block *block, uint32_t mask)
{
	struct blocks_pool *pool = block->set->pool;

	if (!(block->keep & mask))
		return;
	block->keep &= ~mask;
	if (!block->keep) {
		TAILQ_REMOVE(&pool->keeping, block, keeping);
		pool->n_keeping--;
	}
}

static struct block **bucket(const struct blocks *set, uint64_t number)
{
	/* Neighbours must spread, and so must blocks at a power-of-two stride. */
	uint64_t hash = number * UINT64_C(0x9e3779b97f4a7c15);

	return &((struct blocks *)set)->buckets[set->bits ? hash >> (64 - set->bits) : 0];
}

void blocks_release(struct block *block)
{
	struct blocks *set = block->set;
	struct block **at;

	if (block->present || block->underway || block->pins)
		return;
	data_free(block);
	for (at = bucket(set, block->number); *at != block; at = &(*at)->chain)
		;
	*at = block->chain;
	set->count--;
	free(block);
}

void blocks_touch(struct block *block, bool cold)
{
	struct blocks_pool *pool = block->set->pool;

	if (!block->room)
		return;
	TAILQ_REMOVE(&pool->lru, block, lru);
	if (cold)
		TAILQ_INSERT_HEAD(&pool->lru, block, lru);
	else
		TAILQ_INSERT_TAIL(&pool->lru, block, lru);
	set_spent(block, cold);
}

void blocks_pin(struct block *block)
{
	block->pins++;
}

void blocks_unpin(struct block *block)
{
	block->pins--;
	blocks_release(block);
}

static void evict(struct block *block)
{
	block->set->pool->skipped += (uint64_t)__builtin_popcount(block->keep) * BLOCKS_PAGE;
	blocks_forget(block, UINT32_MAX);
	blocks_release(block);
}

static bool may_evict(const struct block *block)
{
	return !block->pins && !block->underway && !block->set->stays;
}

/* The spent ones are the first of the list. */
static void trim_spent(struct blocks_pool *pool)
{
	struct block *block = TAILQ_FIRST(&pool->lru), *next;
	unsigned left = 2 * KEEP_SCAN;

	for (; block && block->spent && left-- && pool->spent > SPENT_MOST; block = next) {
		next = TAILQ_NEXT(block, lru);
		if (may_evict(block) && !(pool->keep && pool->keep(block)))
			evict(block);
	}
}

void blocks_trim(struct blocks_pool *pool)
{
	struct block *block, *next, *second = NULL;
	unsigned kept = 0;

	if (pool->spent > SPENT_MOST)
		trim_spent(pool);
	block = TAILQ_FIRST(&pool->lru);

	for (; block && pool->bytes > pool->limit; block = next) {
		next = TAILQ_NEXT(block, lru);
		if (!may_evict(block))
			continue;
		if (!pool->keep || !pool->keep(block)) {
			evict(block);
			continue;
		}
		if (!second)
			second = block;
		if (++kept < KEEP_SCAN && next)
			continue;
		next = TAILQ_NEXT(second, lru);
		evict(second);
		second = NULL;
		kept = 0;
	}
}

void blocks_drop_all(struct blocks_pool *pool)
{
	struct block *block, *next;

	for (block = TAILQ_FIRST(&pool->lru); block; block = next) {
		next = TAILQ_NEXT(block, lru);
		if (may_evict(block) && !(pool->keep && pool->keep(block)))
			evict(block);
	}
}

void blocks_init(struct blocks *set, struct blocks_pool *pool)
{
	set->pool = pool;
	set->one = NULL;
	set->buckets = &set->one;
	set->bits = 0;
	set->count = 0;
	set->stays = false;
}

static void drop(struct block *block, void *arg)
{
	block->underway = 0;
	evict(block);
}

void blocks_fini(struct blocks *set)
{
	blocks_each(set, drop, NULL);
	if (set->buckets != &set->one)
		free(set->buckets);
	blocks_init(set, set->pool);
}

struct block *blocks_find(const struct blocks *set, uint64_t number)
{
	struct block *block = *bucket(set, number);

	while (block && block->number != number)
		block = block->chain;
	return block;
}

/* Four times the buckets. Without memory for them, the chains get longer. */
static void grow(struct blocks *set)
{
	struct blocks old = *set;
	struct block **buckets = calloc((size_t)1 << (old.bits + 2), sizeof(*buckets));
	struct block *block, *next, **at;
	size_t i;

	if (!buckets)
		return;
	set->buckets = buckets;
	set->bits += 2;
	if (old.buckets == &set->one)
		old.buckets = &old.one;
	for (i = 0; i < (size_t)1 << old.bits; i++) {
		for (block = old.buckets[i]; block; block = next) {
			next = block->chain;
			at = bucket(set, block->number);
			block->chain = *at;
			*at = block;
		}
	}
	if (old.buckets != &old.one)
		free(old.buckets);
}

struct block *blocks_make(struct blocks *set, uint64_t number)
{
	struct block *block = blocks_find(set, number), **at;

	if (block)
		return block;
	block = calloc(1, sizeof(*block));
	if (!block)
		return NULL;
	if (set->count >= (size_t)1 << set->bits)
		grow(set);
	block->number = number;
	block->set = set;
	at = bucket(set, number);
	block->chain = *at;
	*at = block;
	set->count++;
	return block;
}

void blocks_each(struct blocks *set, void (*each)(struct block *block, void *arg), void *arg)
{
	struct block *block, *next;
	size_t i;

	for (i = 0; i < (size_t)1 << set->bits && set->count; i++) {
		for (block = set->buckets[i]; block; block = next) {
			next = block->chain;
			each(block, arg);
		}
	}
}

uint32_t blocks_mask(uint64_t number, uint64_t from, uint64_t to)
{
	uint64_t start = number * BLOCKS_SIZE, end = start + BLOCKS_SIZE;
	uint32_t first, last;

	if (from < start)
		from = start;
	if (to > end)
		to = end;
	if (from >= to)
		return 0;
	first = (uint32_t)(from - start) / BLOCKS_PAGE;
	last = (uint32_t)(to - 1 - start) / BLOCKS_PAGE;
	return UINT32_MAX << first & UINT32_MAX >> (BLOCKS_PAGES - 1 - last);
}

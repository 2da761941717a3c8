/*
 * The bytes of files held in memory: blocks of 128 KiB, each with a map of the 4 KiB pages that are
 * present and of those being fetched.
 *
 * A set (struct blocks) belongs to one file and finds its blocks by number; all sets share a pool
 * with a limit on memory, which it takes from the least recently used block; of those that a stream
 * has passed (spent) only a few MiB stay. Nothing outside blocks.c knows where the bytes lie.
 *
 *	page:	absent --fetch--> under way --arrives--> present --dropped, evicted--> absent
 *
 * Data is as large as the highest page needs (a small file's only block is as large as the file),
 * so a block without present pages costs its struct only. The bytes of a present page beyond the
 * file's end are zeros. Full-size data goes to a list of at most 64 spare ones, so that streaming
 * does not map and unmap memory all the time.
 *
 * A block exists while it has a present page, a page under way or a pin. blocks_release ends one
 * that has none of them; every function that takes one of them away says whether it does so itself.
 *
 * Core only. Errors: -ENOMEM.
 */
#ifndef VASTFS_CACHE_BLOCKS_H
#define VASTFS_CACHE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define BLOCKS_SIZE (128u << 10)
#define BLOCKS_PAGE 4096u
#define BLOCKS_PAGES (BLOCKS_SIZE / BLOCKS_PAGE)

struct blocks;

struct block {
	uint64_t number; /* offset in the file / BLOCKS_SIZE */
	struct blocks *set;
	struct block *chain; /* in the same bucket */
	TAILQ_ENTRY(block) lru;
	uint8_t *data; /* NULL while room is 0 */
	uint32_t room; /* bytes at data, a multiple of a page */
	uint32_t pins; /* somebody holds a pointer */
	bool spent;    /* has data, not needed again soon */
	uint32_t present;
	uint32_t underway;
	uint32_t fresh; /* present, fetched, and never asked for */
	uint32_t keep;	/* present, and to be kept on disk (kept.h) */
	TAILQ_ENTRY(block) keeping;
};

struct blocks_pool {
	TAILQ_HEAD(blocks_lru, block) lru; /* with data; the coldest first */
	uint64_t bytes;			   /* of data */
	uint64_t spent;			   /* of them, in blocks that are */
	uint64_t limit;
	uint64_t wasted; /* bytes fetched and dropped without having been asked for */
	TAILQ_HEAD(blocks_keeping, block) keeping; /* with keep */
	unsigned n_keeping;
	uint64_t skipped; /* bytes evicted that were to be kept */
	/* Would dropping it cost more than another one? NULL: never. */
	bool (*keep)(const struct block *block);
	uint8_t *spare[64];
	unsigned spares;
};

struct blocks {
	struct blocks_pool *pool;
	struct block **buckets;
	struct block *one; /* the only bucket of a small file */
	unsigned bits;	   /* 2^bits buckets */
	size_t count;
	bool stays; /* nothing of it is evicted: it can't be fetched again */
};

void blocks_pool_init(struct blocks_pool *pool, uint64_t limit);
void blocks_pool_fini(struct blocks_pool *pool);
/* Evicts until the limit is kept; blocks that are pinned, have pages under way or are of a set that
 * stays are passed over. */
void blocks_trim(struct blocks_pool *pool);
/* Evicts all that blocks_trim could, except what keep wants to stay. */
void blocks_drop_all(struct blocks_pool *pool);

void blocks_init(struct blocks *set, struct blocks_pool *pool);
/* Drops every block; none may be pinned. */
void blocks_fini(struct blocks *set);
struct block *blocks_find(const struct blocks *set, uint64_t number);
/* Finds or makes it; NULL when memory is out. One without pages and pins is the caller's to
 * release. */
struct block *blocks_make(struct blocks *set, uint64_t number);
/* Calls each once for every block; each may drop pages of it and release it. */
void blocks_each(struct blocks *set, void (*each)(struct block *block, void *arg), void *arg);

/* The pages that [from, to) of the file touches in this block. */
uint32_t blocks_mask(uint64_t number, uint64_t from, uint64_t to);
/* Room for the first len bytes; pages present stay. */
int blocks_reserve(struct block *block, uint32_t len);
/* Forgets present pages; their memory goes with the last of them. Does not release. */
void blocks_forget(struct block *block, uint32_t mask);
/* These present pages are to be kept on disk; or none of them any more. */
void blocks_keep(struct block *block, uint32_t mask);
void blocks_unkeep(struct block *block, uint32_t mask);
/* Frees it when nothing keeps it. */
void blocks_release(struct block *block);
/* Just used; cold: spent, not needed again soon, as the kernel keeps it too. */
void blocks_touch(struct block *block, bool cold);
void blocks_pin(struct block *block);
/* Releases. */
void blocks_unpin(struct block *block);

static inline uint64_t blocks_start(const struct block *block)
{
	return block->number * BLOCKS_SIZE;
}

#endif

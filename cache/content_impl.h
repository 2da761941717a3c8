/*
 * What content.c, content_pool.c, fetch.c and writer.c share; nobody else includes it, except the
 * unit tests.
 *
 * Completions. A program's callback may do anything: read, write, or free the content. So none is
 * called from the middle of the work: it is queued (pool_call) and run when a completion of the
 * source has been dealt with (pool_settle), or by the loop's next turn. What runs takes care to
 * touch nothing after it has called back.
 */
#ifndef VASTFS_CACHE_CONTENT_IMPL_H
#define VASTFS_CACHE_CONTENT_IMPL_H

#include "cache/blocks.h"
#include "cache/content.h"
#include "cache/kept.h"
#include "cache/refused.h"
#include "cache/writer.h"

struct call {
	TAILQ_ENTRY(call) link;
	void (*run)(struct content_pool *pool, struct call *call);
	bool queued;
};

struct content_pool {
	uv_loop_t *loop;
	const struct content_source *source;
	struct spool *spool; /* borrowed; NULL: what was accepted is in memory only */
	bool write_back;     /* the write being taken is the kernel's: no program hears of errors */
	uint64_t (*now)(void); /* ns; tests set their own */
	LIST_HEAD(, content) contents;
	struct blocks_pool blocks;
	struct writer_pool writer;

	TAILQ_HEAD(, call) calls;
	unsigned queued;
	bool settling, closing;
	struct call admit; /* writer_pool_admit, later */
	uv_idle_t idle;
	uv_timer_t timer; /* pending data is sent after a second */
	bool timer_on;
	unsigned holds; /* handles, and operations of the source that will call back */

	uint64_t reading; /* bytes */
	uint64_t reads;
	uint64_t delivered; /* bytes, ever */
	uint64_t rate,
	    rate_at; /* bytes a second, the best of the last seconds; when measured, ns */
	/* When it last grew by a quarter, and to what. */
	uint64_t rate_before, rose_at;
	uint64_t hit_bytes, miss_bytes;

	struct store *store; /* the disk cache, or NULL */
	uv_timer_t keep_timer;
};

struct reader;

/* One READ, or one block read from the disk cache; fetch.c. pages are those that the answer will
 * still be used for. */
struct fetch {
	LIST_ENTRY(fetch) link;
	TAILQ_ENTRY(fetch) deferred; /* until it is known what the disk cache has */
	struct content_pool *pool;
	struct content *content; /* NULL when pages is 0 */
	struct block *block;	 /* likewise; it has pages under way, so it stays */
	void *file;
	uint64_t offset;
	uint32_t len;
	uint32_t pages;
	bool bulk;
	uint64_t sent_at, delivered; /* when it was sent, and the pool's count then */
	unsigned kept_count;	     /* of the content, when it was sent; 0: not to be kept */
};

struct content {
	struct content_pool *pool;
	LIST_ENTRY(content) link;
	uint64_t size;
	struct blocks blocks;
	LIST_HEAD(, fetch) fetches; /* that still have pages */
	TAILQ_HEAD(, reader) readers;
	struct writer writer;
	struct refused_list refused;
	struct kept *kept;   /* what the disk cache has of it, or NULL */
	unsigned kept_count; /* counts the changes of kept */
};

/* A read that waits; fetch.c tells it what arrived. 1 MiB spans at most 9 blocks. */
#define READER_BLOCKS 9
struct reader {
	struct call call;
	TAILQ_ENTRY(reader) link;
	struct content *content; /* NULL: freed meanwhile */
	void *file;
	uint64_t offset, end;		     /* end is lowered by a short answer */
	struct block *blocks[READER_BLOCKS]; /* pinned */
	int n;
	int err;
	bool bulk, streaming;
	bool retried;	  /* another file's fetch failed for it: once more through its own */
	unsigned blocked; /* how often it found bytes that are not on the instance yet */
	uint8_t *tail;	  /* a short answer's last, partial page */
	uint64_t tail_at;
	content_read_done *done;
	void *arg;
};

/* --- content_pool.c --- */
/* Runs it soon, not from here. */
void pool_call(struct content_pool *pool, struct call *call);
/* Runs what is queued; called last by what the source calls. */
void pool_settle(struct content_pool *pool);
void pool_hold(struct content_pool *pool);
void pool_release(struct content_pool *pool);
/* In a second at most, writer_pool_push. */
void pool_start_timer(struct content_pool *pool);

/* --- content.c --- */
/* A write of these bytes was answered. */
void content_acked(struct content *content, uint64_t offset, uint32_t len, int err);
/* These bytes were accepted: the size, and the pages present, follow. */
void content_accepted(struct content *content, uint64_t offset, const uint8_t *data, size_t len);
/* A write that would make a waiting reader wait for ever. */
bool content_starves(const struct content *content, uint64_t offset, uint64_t len);

/* --- fetch.c --- */
/* Asks for the pages of mask that are neither present nor under way nor held by the writer. 1 when
 * some are held (they were not asked for), 0, -ENOMEM. */
int fetch_pages(struct content *content, void *file, struct block *block, uint32_t mask, bool bulk);
/* The same for [from, to) within the budget for what nobody waits for; where it stopped. */
uint64_t fetch_ahead(struct content *content, void *file, uint64_t from, uint64_t to, bool bulk);
/* What is under way for these pages will not be used; readers that wait look again. Does not
 * release the block. */
void fetch_forget(struct content *content, struct block *block, uint32_t mask);
/* For a content that goes away. */
void fetch_abandon(struct content *content);
/* What the disk cache has is known now: sends it. */
void fetch_go(struct fetch *fetch);
uint32_t fetch_window(const struct content_pool *pool, void *file);

#endif

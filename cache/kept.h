/*
 * Between a content and the disk cache (store.h): which blocks come from there, which go there.
 *
 *	fetch ──> kept.c knows: from the store? ──> fetch.c reads it there, or from the instance
 *	what the instance answered ──> block->keep ──> batches, a few milliseconds later ──> store
 *
 * A content that is kept has one version; whatever makes it another one ends that (content_unkeep).
 * Until the store has said what it has of a file, its fetches wait. Part of content
 * (content_impl.h).
 */
#ifndef VASTFS_CACHE_KEPT_H
#define VASTFS_CACHE_KEPT_H

#include <stdbool.h>
#include <stdint.h>

struct content;
struct content_pool;
struct block;
struct fetch;
struct call;
struct store_file;
struct kept;

/* For a content that goes away: what is on disk stays. */
void kept_free(struct content *content);
/* Must this fetch wait? Then it is passed to fetch_go later. */
bool kept_defers(struct content *content, struct fetch *fetch);
/* The pages of the block that are on disk. */
uint32_t kept_pages(const struct content *content, uint64_t number);
/* What a fetch sent to the instance now may count on: content->kept_count, or 0 when its answer
 * must not be kept. */
unsigned kept_count(const struct content *content);
/* These pages came from the instance with an answer that may be kept. */
void kept_came(struct content *content, struct block *block, uint32_t pages);
/* Reads what [offset, end) lacks, where the disk need not be waited for. */
void kept_read_now(struct content *content, uint64_t offset, uint64_t end);
/* Reads pages of the block for the fetch; done is called later. 0 or -ENOMEM. */
int kept_read(struct content *content, struct fetch *fetch,
    void (*done)(void *arg, int err, uint8_t *data, uint32_t pages));
/* Is it known yet what is on disk? The call is run (pool_call) when it is, or when the content is
 * not kept any more. */
bool kept_is_known(const struct content *content);
void kept_wait(struct content *content, struct call *call);
/* The store's file, for reading. */
struct store_file *kept_file(const struct content *content);
void kept_note_miss(struct content *content, uint32_t bytes);

#endif

/*
 * What the writer's files share: writer.c (accepting, sending), writer_wait.c (waiting),
 * writer_extent.c (extents and their memory), writer_spool.c (what of them lies in the spool),
 * writer_end.c (giving up).
 */
#ifndef VASTFS_CACHE_WRITER_IMPL_H
#define VASTFS_CACHE_WRITER_IMPL_H

#include "cache/writer.h"

/* --- writer.c --- */
/* It is gone, acknowledged or not; out of pending or sent, which the caller sees to. */
void writer_ended(struct extent *extent, int err);

/* --- writer_extent.c --- */
struct extent *extent_new(struct content *content, void *file, uint64_t offset);
/* It leaves the lists, except those of pending and sent. */
void extent_end_of(struct extent *extent);
/* Nothing of the content is to be sent any more. */
void extent_no_more(struct content *content);
void extent_free(struct extent *extent);
/* Room for len bytes, at most a chunk. -ENOMEM. */
int extent_reserve(struct extent *extent, uint32_t len);
void extent_grew(struct extent *extent, uint32_t n);
void extent_drop_data(struct extent *extent);
/* Its data's buffer, which is the caller's now. */
void *extent_give_data(struct extent *extent);

/* --- writer_spool.c --- */
/* These bytes of the extent go into the spool. When it does not take them, the program has to wait
 * for the instance (writer_pool.must_wait). */
void writer_spool_take(struct extent *extent, uint64_t offset, const uint8_t *data, uint32_t len);
/* The first since the base goes out. */
void writer_spool_own(struct content *content);
void writer_spool_sent(const struct extent *extent);
void writer_spool_done(struct extent *extent);
/* err: why it could not be written; nobody may be left to be told, so the spool keeps it. */
void writer_spool_failed(struct extent *extent, int err);
/* A program was told: what failed is not kept any longer. */
void writer_spool_told(struct content *content);
/* All of it can be read back. */
bool writer_spool_has(const struct extent *extent);
/* Its data from the spool, if it is not in memory. */
int writer_spool_load(struct extent *extent);
/* Is it to be sent again rather than given up? */
bool writer_spool_retries(const struct extent *extent, int err);
/* Leaves data to the spool when there is too much in memory. */
void writer_spool_shed(struct content_pool *pool);

#endif

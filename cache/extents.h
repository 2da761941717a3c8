/*
 * Runs of dirty bytes, and sorted arrays of them. An array borrows its extents, which do not
 * overlap each other (except in an array of appends, which is in order of calls: only insertion at
 * the end, extents_index and removal are for it).
 *
 * Core only. Errors: -ENOMEM.
 */
#ifndef VASTFS_CACHE_EXTENTS_H
#define VASTFS_CACHE_EXTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct content;
struct content_pool;

/* Records of the spool, in a row. */
struct extent_ref {
	uint64_t first;
	uint32_t n;
};

struct extent {
	TAILQ_ENTRY(extent) link;      /* in the content's list of what is not acknowledged */
	TAILQ_ENTRY(extent) pool_link; /* in the pool's */
	struct content_pool *pool;
	struct content *content; /* NULL: freed meanwhile */
	void *file;		 /* a reference */
	uint64_t id;		 /* grows with the time of creation, within the pool */
	uint64_t offset;
	uint32_t len;
	uint32_t chunk; /* it grows to this */
	uint32_t room;	/* bytes at data */
	uint8_t *data;	/* in buffer; NULL once sent, or when the spool alone has it */
	void *buffer;	/* owned, of the source's data_new */
	bool ready;	/* to be sent as soon as nothing overlapping is in flight */
	bool unspooled; /* some of it is not in the spool */
	bool stalled;	/* among the sent ones, but the link was lost: to be sent again */
	bool again;	/* that was done, of an append */
	uint32_t n_refs, more_room;
	struct extent_ref ref;	 /* the first; n_refs - 1 more */
	struct extent_ref *more; /* owned */
};

struct extents {
	struct extent **at;
	size_t n, room;
};

/* The first that ends beyond offset; n when there is none. */
size_t extents_first(const struct extents *extents, uint64_t offset);
bool extents_overlap(const struct extents *extents, uint64_t from, uint64_t to);
/* Makes the next insertion succeed. */
int extents_reserve(struct extents *extents);
/* At its place by offset; at the end. */
int extents_insert(struct extents *extents, struct extent *extent);
int extents_append(struct extents *extents, struct extent *extent);
void extents_remove(struct extents *extents, const struct extent *extent);
void extents_fini(struct extents *extents);

static inline uint64_t extent_end(const struct extent *extent)
{
	return extent->offset + extent->len;
}

#endif

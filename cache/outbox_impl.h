/*
 * What outbox.c (order, sending) and outbox_index.c (who touches which path) share.
 *
 * The index is a hash table of paths: a node for each path that a change in the outbox names, and
 * for each folder above one.
 */
#ifndef VASTFS_CACHE_OUTBOX_IMPL_H
#define VASTFS_CACHE_OUTBOX_IMPL_H

#include "cache/outbox.h"

/* Requests without an answer; files open on the instance at once (beyond that it gets slow). */
#define OUTBOX_SENT_MOST 512
#define OUTBOX_FILES_MOST 256
#define OUTBOX_BUCKETS 4096

struct outbox_node {
	struct outbox_node *next;
	TAILQ_HEAD(, outbox_touch) touches; /* of changes that name it, by sequence */
	unsigned beneath;		    /* touches beneath it */
	uint64_t hash;
	size_t len;
	char path[];
};

struct outbox {
	struct outbox_items items;	/* changes, by sequence */
	struct outbox_items ready;	/* that may be sent when there is room, by sequence */
	const struct outbox_item *deep; /* the last of the longest row of waiters, or NULL */
	const struct outbox_sink *sink;
	void *arg;
	uint64_t sequence;
	size_t count;
	unsigned sent, files; /* on their way; of these, OUTBOX_CREATE, _OPEN and _FILE */
	unsigned ordered;     /* of these, all but OUTBOX_FILE: a lost link ends them */
	unsigned doubts;      /* changes in doubt */
	bool lost;	      /* waits for the link */
	bool closed;
	struct outbox_node *nodes[OUTBOX_BUCKETS];
};

/* The change's paths into the index, and out of it. */
int outbox_index_add(struct outbox *outbox, struct outbox_item *item);
void outbox_index_remove(struct outbox *outbox, struct outbox_item *item);
/* The latest earlier change that stands in its way, or NULL. */
struct outbox_item *outbox_index_blocker(
    const struct outbox *outbox, const struct outbox_item *item);
/* Does it wait for the earlier one's answer (else only until that is sent)? */
bool outbox_needs_answer(const struct outbox_item *item, const struct outbox_item *earlier);
/* Is it of no use without the earlier one? */
bool outbox_depends(const struct outbox_item *item, const struct outbox_item *earlier);
bool outbox_is_beneath(const char *path, const char *folder);

#endif

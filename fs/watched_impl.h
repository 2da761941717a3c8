/* What fs/watched*.c share; nobody else includes this. Core only. */
#ifndef VASTFS_FS_WATCHED_IMPL_H
#define VASTFS_FS_WATCHED_IMPL_H

#include "fs/watched.h"
#include "transport/watcher.h"

#define WATCH_BUCKETS 16384u
#define AGAIN_MS 1000 /* before a folder is asked for again that was lost or on its way */

/* Somebody waits for the digest (watched_recall). */
struct recall {
	TAILQ_ENTRY(recall) link;
	struct watch *watch; /* NULL: it is gone */
	uint64_t since_ms;
	watched_recalled *done;
	void *arg;
};

struct watch {
	TAILQ_ENTRY(watch) lru;
	struct watch *next; /* in its bucket, by number */
	struct inode *folder;
	uint32_t number;
	enum { WATCH_ASKED, WATCH_ON, WATCH_REFUSED } state;
	uint64_t asked_ms; /* of the ADD; and its tick of names */
	uint64_t asked_tick;
	uint64_t rest_ms; /* refused: before the instance is asked again */
	uint64_t used_ms;
	uint64_t since_ms; /* what was seen later is vouched for */
	uint64_t names_ms; /* the same of listings */
	bool digested;	   /* the digest has not been compared yet */
	uint64_t n, digest;
	bool unchanged;	       /* there is a digest, and nothing was told since */
	struct recall *recall; /* or NULL */
};

struct watched {
	struct watcher *watcher;
	uv_timer_t timer;
	bool closed;		 /* the timer */
	TAILQ_HEAD(, watch) lru; /* the least recently wanted first */
	struct watch *buckets[WATCH_BUCKETS];
	TAILQ_HEAD(, recall) recalls; /* the oldest first */
	unsigned n, on, most;
	uint32_t last_number;

	/* Pings. */
	uint32_t ping; /* the last sent; whether it is still on its way */
	bool flying;
	uint64_t ping_ms, ping_tick;   /* of the one on its way */
	uint64_t proof_ms, proof_tick; /* of the last one answered; 0: none has been */
	uint64_t used_ms;	       /* when somebody last profited */
	uint64_t lag_ms;	       /* how long the last ADD took that was answered */
	uint64_t again_ms; /* when to look for what is known and not watched; 0: never */

	uint64_t events, aside; /* told; put aside because of changes made here */
};

/* watched.c */
struct watch *watched_find(struct watched *watched, uint32_t number);
/* Takes it off its folder and frees it. */
void watched_remove(struct watched *watched, struct watch *watch);

/* Somebody waits, or nobody does: it holds, or not. */
void watched_end_recall(struct fs *fs, struct watch *watch, bool holds);
/* Is what is known what the digest says? Then that is vouched for. */
bool watched_holds(struct watch *watch);

/* All folders whose listing is known are to be watched: now, or in ms at the latest. Else a watch
 * that was lost would come back only when somebody asks, which long timeouts put off. */
void watched_want_known(struct fs *fs);
void watched_want_again(struct fs *fs, uint64_t ms);

/* watched_events.c: the watcher has told something. */
void watched_message(struct fs *fs, const struct watcher_message *message);
/* Compares the digest with what is known. */
void watched_verify(struct fs *fs, struct watch *watch);

#endif

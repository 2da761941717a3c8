/*
 * The watcher: a small program of ours on the instance (watcher.py, handed to python3 there;
 * nothing is installed) that tells what changes in the folders that it is asked to watch, by
 * inotify.
 *
 * Where there is no python3, watcher.sh does the same by inotifywait: without digests, more slowly
 * (half a second until a folder is watched), and without the second look below.
 *
 * It runs on a channel beside those of the pool's first session, and goes when that does; it is
 * started again when the link is back. Its absence (no programs for this login, neither of
 * these, no inotify) is no error: watcher_why says what it is. What it says is untrusted, and
 * bounded.
 *
 * What inotify does not see: changes made by another machine (network and FUSE file systems are
 * refused, by statfs; so is every kind that is not known to be local), or below an overlay; what is
 * mounted over a watched folder later; writes through mmap until the file is closed; that a file
 * gets another name elsewhere, and writes under it; folders above the mounted one that are renamed.
 * Such folders are found by looking at all of them again, in turn, a few with each ping (about 500
 * names a second while somebody profits), and are then not watched any more.
 *
 * Core only. Events come from the loop, never from inside a call.
 */
#ifndef VASTFS_TRANSPORT_WATCHER_H
#define VASTFS_TRANSPORT_WATCHER_H

#include "transport/pool.h"
#include "transport/watcher_codec.h"

struct watcher;

struct watcher_events {
	/* It runs; nothing is watched yet. limit: how many watches the instance allows. */
	void (*up)(void *arg, uint32_t limit);
	/* It has ended, or what it said makes no sense: nothing is watched any more. Only after up.
	 */
	void (*down)(void *arg);
	/* ADDED, CHANGED, GONE, LOST or PING (borrowed). */
	void (*message)(void *arg, const struct watcher_message *message);
};

enum watcher_state { WATCHER_OFF, WATCHER_STARTING, WATCHER_UP };

/* Starts it when the pool's first session stands. 0 or -ENOMEM. */
int watcher_new(struct watcher **out, uv_loop_t *loop, struct pool *pool,
    const struct watcher_events *events, void *arg);
/* NULL is allowed. No events come afterwards. */
void watcher_free(struct watcher *watcher);

/* Every half a second or so: starts it again where that has a chance, and passes on what was added.
 */
void watcher_tick(struct watcher *watcher);

/* These three of NULL as well: it was ended, and the mount ends. */
enum watcher_state watcher_state(const struct watcher *watcher);
/* "python3" or "inotifywait": who does it, or is asked to. */
const char *watcher_by(const struct watcher *watcher);
/* Why it does not run, for people; "" while it does. */
const char *watcher_why(const struct watcher *watcher);
/* Does it tell digests? */
bool watcher_digests(const struct watcher *watcher);

/* Only while it is up; else they do nothing. Numbers are the caller's, each used once. An ADD is
 * answered by ADDED, a PING by PING. */
void watcher_add(struct watcher *watcher, uint32_t number, bool digest, const char *path);
void watcher_drop(struct watcher *watcher, uint32_t number);
void watcher_ping(struct watcher *watcher, uint32_t number);

#endif

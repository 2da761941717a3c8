/*
 * Sending what lies in the spool: what an earlier mount left, before the mount is announced, and
 * what failed, when the user asks for it.
 *
 * The changes are done in their order, as many at once as do not touch each other's paths. One that
 * may have been done already (it was sent, and its answer was not seen) is first looked up. A file
 * is written to only if nobody else has changed it: it still is the version that the change was
 * based on, or its time lies where only our own changes can have put it,
 *
 *	base ── our changes were sent ── who sent them was last alive ── foreign changes ──> now
 *
 * on the server's clock. If somebody has, the local version goes beside it, as
 * `name.vastfs-conflict-YYYYMMDD-HHMMSS`: our changes upon a copy of what is there. What can't be
 * done stays in the spool (spool_failed), with all that follows it on the same path.
 *
 * Core only. fs->remote must be ready; fs->names need not exist.
 */
#ifndef VASTFS_FS_REPLAY_H
#define VASTFS_FS_REPLAY_H

#include "cache/spool.h"
#include "fs/fs.h"

struct replay;

struct replay_figures {
	uint64_t changes, bytes;   /* to do in all */
	uint64_t done, done_bytes; /* of these */
	uint64_t failed;
	unsigned conflicts;
};

/* Sends what is not done of [from, to), failed: only what failed; finished is called once, later.
 * err: 0, or why it could not go on (-ENOTCONN, -ETIMEDOUT: the link); single changes that fail are
 * not an error. NULL when memory is out. */
struct replay *replay_start(struct fs *fs, uint64_t from, uint64_t to, bool failed,
    void (*finished)(void *arg, int err, const struct replay_figures *figures), void *arg);
void replay_figures(const struct replay *replay, struct replay_figures *out);

#endif

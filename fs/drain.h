/*
 * Waiting until all that was accepted is on the instance, but not for ever: for `vastfs sync` and
 * the end of a mount. It goes on as long as something moves; when nothing has for the profile's
 * timeout it ends with -ETIMEDOUT, and sooner where others have waited in vain for the link already
 * (request_patience_ms). What was not sent goes on being sent, and lies in the spool.
 *
 * Core only; fs->outbox and fs->contents must be there.
 */
#ifndef VASTFS_FS_DRAIN_H
#define VASTFS_FS_DRAIN_H

#include "fs/fs.h"

/* done: once, later; err as of behind_sync, or -ETIMEDOUT. -ENOMEM: it is not called. */
int drain_start(struct fs *fs, void (*done)(void *arg, int err), void *arg);

#endif

/*
 * The FUSE session on the core's loop: mounts, receives requests without blocking, hands them to
 * the handlers, notices the unmount. Core only.
 */
#ifndef VASTFS_FS_FUSE_LOOP_H
#define VASTFS_FS_FUSE_LOOP_H

#include "fs/fs.h"

/* ended: the file system was unmounted (or the kernel ended the connection); called once, later. */
int fuse_loop_mount(struct fs *fs, void (*ended)(struct fs *fs));
/* Takes the mount away (lazily, so that it always works); ended is called then. */
void fuse_loop_unmount(struct fs *fs);
/* After ended: refuses what waits and what the kernel still asks, so that nobody is stuck in it. */
void fuse_loop_refuse(struct fs *fs);
/* After ended: refuses what waits, frees the session. */
void fuse_loop_destroy(struct fs *fs);

#endif

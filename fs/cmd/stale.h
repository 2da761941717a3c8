/*
 * A mount whose daemon is gone: killed, or crashed. Its folder answers "Transport endpoint is not
 * connected" until it is unmounted.
 *
 * Called by the programs, on their only thread; may wait for fusermount3.
 */
#ifndef VASTFS_FS_CMD_STALE_H
#define VASTFS_FS_CMD_STALE_H

/* Takes a dead mount of vastfs away from the folder (as the user wrote it), also while programs are
 * still in it. 1: done; 0: there is none; else a negative errno. */
int stale_remove(const char *mountpoint);

#endif

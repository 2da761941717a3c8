/*
 * Symlinks that local programs made during this mount, whose targets are not shown as they are when
 * the instance has such a link (S2): a virtual environment's python, say, leads to /usr/bin. A
 * program here may lead itself out of the mount; the instance may not. So the target is shown as it
 * was made, as long as the instance tells just that target for just that inode.
 *
 * In memory, at most OWNLINKS_MAX of them, and in the disk cache for later mounts, by path: beyond
 * that, and without a disk cache, such a link is as any other. Core only.
 */
#ifndef VASTFS_FS_OWNLINKS_H
#define VASTFS_FS_OWNLINKS_H

#include "fs/fs.h"

#define OWNLINKS_MAX 100000u

/* A local program made this link. What can't be noted (memory, disk) is shown as any other link. */
void ownlinks_note(struct fs *fs, const struct inode *inode, const char *target);
/* Did a local program make the link with this very target? */
bool ownlinks_made(const struct fs *fs, const struct inode *inode, const char *target);
/* Did one during an earlier mount? If so, it is noted. done is called once, later; the caller keeps
 * the inode until then. 0, or a negative errno: it will not be called, and none did. */
typedef void ownlinks_done(void *arg);
int ownlinks_recall(
    struct fs *fs, struct inode *inode, const char *target, ownlinks_done *done, void *arg);
/* The inode is going away. */
void ownlinks_forget(struct fs *fs, const struct inode *inode);

#endif

/*
 * Targets of symbolic links that the instance has told, so that each is asked for once: in memory,
 * and in the disk cache for later mounts and for when there is no link (R5).
 *
 * A target belongs to a version of its link (mtime), and is kept only when that was old enough, as
 * it was asked for, to be told from the next one. Whether the link is still that version is its
 * attributes' business. Links cannot be changed, only replaced.
 *
 * A program that reads the second link of a folder (ls -l, cp -r, tar) gets all the others' targets
 * asked for together.
 *
 * Core only. In memory at most TARGETS_MAX; an inode that is asked for is pinned.
 */
#ifndef VASTFS_FS_TARGETS_H
#define VASTFS_FS_TARGETS_H

#include "fs/fs.h"

#define TARGETS_MAX 100000u

/* As the instance told it for the version that is known now; valid until the core's next turn.
 * NULL: not known. */
const char *targets_known(struct fs *fs, const struct inode *inode);

/* Finds it out. done is called once, later: 0 and the target (borrowed), or a negative errno. The
 * caller keeps the inode until then. path: where it may be asked for now. */
typedef void targets_done(void *arg, int err, const char *target);
void targets_ask(
    struct fs *fs, struct inode *inode, const char *path, targets_done *done, void *arg);
/* The same of the disk cache: -ENOENT when that has none. 0: done will be called; or -ENOMEM. */
int targets_load(struct fs *fs, struct inode *inode, targets_done *done, void *arg);
/* Is it being asked for already? Then done is called with the answer, and it is to be asked for
 * again if that is an error. */
bool targets_join(struct fs *fs, struct inode *inode, targets_done *done, void *arg);
/* A program has asked for the inode's target, and it was not known: perhaps it will ask for those
 * beside it. */
void targets_ahead(struct fs *fs, struct inode *inode);

/* The inode is going away. */
void targets_forget(struct fs *fs, const struct inode *inode);
/* When names are gone. */
void targets_free(struct fs *fs);

#endif

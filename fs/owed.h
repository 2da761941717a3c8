/*
 * Files that were promised another name, by a link or a rename that was answered and then failed,
 * while nobody was told of that (W5). Who made it may now do what he would do then: take away the
 * name that he takes for the second one, or put something new under the one that he takes for free.
 * The data would be gone. So the first who tries is told instead, with the error of what failed,
 * and the file stays as it is.
 *
 *	link or rename fails ──> owed ──removed, replaced, emptied: refused once──> told
 *	                             \──a sync, or fsync of a folder, fails───────> told
 *
 * After a link the file is owed for, whatever its name; after a rename the file under the old name.
 * Core only.
 */
#ifndef VASTFS_FS_OWED_H
#define VASTFS_FS_OWED_H

#include "fs/fs.h"

/* What failed with err, a negative errno. The inodes are pinned until somebody is told. */
void owed_link(struct fs *fs, struct inode *inode, int err);
void owed_rename(struct fs *fs, struct inode *folder, const char *name, int err);

/* What leads from the name is about to lose it: the error that is owed for it, which counts as told
 * then, or 0. */
int owed_claim(struct fs *fs, struct inode *folder, const char *name);
/* It is about to be emptied: a link has lost nothing by that. */
int owed_claim_emptied(struct fs *fs, const struct inode *inode);

/* What the name led to has another name now, or none, or there was nothing. */
void owed_anew(struct fs *fs, const struct inode *folder, const char *name);
/* Somebody was told of all. */
void owed_told(struct fs *fs);

#endif

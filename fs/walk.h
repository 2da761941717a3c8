/*
 * Walks: a program that opens folder after folder of a tree (find, cp -r, git status, an IDE's
 * indexer) finds them listed before it asks.
 *
 * A walk is recognised when a folder is opened whose parent was opened a moment ago. From then on
 * the folders found are listed ahead in the order found, which is breadth first: a few at a time to
 * begin with, twice as many with each one that the program really opens, at most 64 (more of those
 * that an earlier mount has seen, fs/listing.c). It stops when
 * the program does (two seconds without an opening), and when too many listed ahead have not been
 * looked at.
 *
 * A program that looks at names which it knows from elsewhere, in folder after folder (git status:
 * from its index), opens none. Its walk is recognised by the second folder of a place that is
 * listed because of look-ups, begins with fewer folders ahead, and waits until half of them were
 * of use. Core only.
 */
#ifndef VASTFS_FS_WALK_H
#define VASTFS_FS_WALK_H

#include "fs/fs.h"

void walk_init(struct fs *fs);
/* A program opens the folder. */
void walk_opened(struct fs *fs, struct inode *folder);
/* Files of folder after folder are read, the last one in `from`: that is a walk too, whose openings
 * the kernel may have answered from what it keeps (held.h). */
void walk_read(struct fs *fs, const struct inode *from, struct inode *folder);
/* So many names in the folder are looked up that it is listed, or one where it was listed ahead. */
void walk_looked(struct fs *fs, struct inode *folder);
/* Does such a walk go through the folder, by all appearances? */
bool walk_looks(const struct fs *fs, const struct inode *folder);
/* Is a walk going on? */
bool walk_active(const struct fs *fs);
/* A listing named this folder. */
void walk_found(struct fs *fs, struct inode *folder);
/* A listing has ended: was it one of ours, and is its folder now listed ahead and not yet looked
 * at? */
void walk_listed(struct fs *fs, bool ours, bool unread);
/* One of ours (or not) waits for the instance to say whether what was saved of it holds, and then
 * does not any more: that is one short message, however many names there are. */
void walk_recalls(struct fs *fs, bool ours);
void walk_recalled(struct fs *fs, bool ours);
/* The inode is going away. */
void walk_forget(struct fs *fs, struct inode *folder);

#endif

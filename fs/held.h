/*
 * Folders whose listing the kernel keeps.
 *
 * The kernel reads a folder again from its own pages, without a word to us and without a limit of
 * time: so `ls` and find cost nothing the second time. It looks anew when it changed the folder
 * itself, and when it is told to. Told it is here: as soon as the names are seen to have changed,
 * and when the listing may not be believed any longer (R1). A program may
 * be putting an answer of ours into those pages at that moment, hence once more a second later.
 *
 * Reading the folder anew has a good side: it brings the attributes of all names along, where the
 * kernel would ask for each that it does not know any more. So it is told to do that, too, once the
 * attributes that came with a listing are past their time, and once many of the folder's files have
 * been read (of a file that it reads the kernel forgets the times).
 * Core only.
 */
#ifndef VASTFS_FS_HELD_H
#define VASTFS_FS_HELD_H

#include "fs/fs.h"

struct held;

struct held *held_new(struct fs *fs);
void held_free(struct held *held);
/* The folder's names are given to the kernel. */
void held_given(struct held *held, struct inode *folder);
/* The kernel begins to read a file. */
void held_read(struct held *held, const struct inode *inode);
/* For names_events: names came or went; the inode is going away. */
void held_changed(struct held *held, struct inode *folder);
void held_forget(struct held *held, struct inode *inode);
/* Every so often while there are any; false when there is none. */
#define HELD_TICK_MS 250
bool held_tick(struct held *held);
bool held_any(const struct held *held);

#endif

/*
 * Folders brought up to date: one listing of the instance for all who wait for the same folder.
 *
 * Core only. A listing under way pins its folder; it goes on when those who wait are gone.
 */
#ifndef VASTFS_FS_LISTING_H
#define VASTFS_FS_LISTING_H

#include "fs/fs.h"

typedef void listing_done(void *arg, int err);

/* Joins the listing under way, or starts one. 0: done is called once, later; or a negative errno.
 */
int listing_wait(struct fs *fs, struct inode *folder, listing_done *done, void *arg);
/* The same where there is no link (disk_answers), but when the disk cache has none either, done is
 * called with -ENODATA, instead of waiting for the link. */
int listing_wait_here(struct fs *fs, struct inode *folder, listing_done *done, void *arg);
/* Starts a listing that nobody waits for (walk.c, ahead.c). False when one is under way already or
 * none could be started. */
bool listing_ahead(struct fs *fs, struct inode *folder);
/* May what is known of the folder's names be answered without asking? */
bool listing_is_fresh(struct fs *fs, const struct inode *folder);

#endif

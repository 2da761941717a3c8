/*
 * Names and attributes brought up to date: by one LSTAT, or, when a folder sees a burst of
 * look-ups, by one listing that answers them all. Core only.
 */
#ifndef VASTFS_FS_REFRESH_H
#define VASTFS_FS_REFRESH_H

#include "fs/fs.h"

/* err 0: names now holds what the instance said (the name may be found missing: a negative dentry,
 * or none after a listing). Called once, later. */
typedef void refresh_done(void *arg, int err);

/* 0: done is called later; or a negative errno. The caller pins folder or inode until done. */
int refresh_name(
    struct fs *fs, struct inode *folder, const char *name, refresh_done *done, void *arg);
int refresh_inode(struct fs *fs, struct inode *inode, refresh_done *done, void *arg);

/* Somebody was told of an inode whose attributes may be believed: asks behind his back before they
 * may not any more, so that who uses a file all the time never waits. Only where that time is as
 * short as REFRESH_LIFE_MS: what lives longer costs little. */
#define REFRESH_LIFE_MS 1000
void refresh_soon(struct fs *fs, struct inode *inode);

#endif

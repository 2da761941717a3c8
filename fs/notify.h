/*
 * Tells the kernel what changed behind it: pages and names that it must not believe any more.
 *
 * The kernel answers such a notice only when nobody holds the page or the folder, which may wait
 * for an answer of ours; so notices are written by a thread of their own and the core never waits.
 * Those about names wait here until the requests in their folder have been answered.
 * Core only.
 */
#ifndef VASTFS_FS_NOTIFY_H
#define VASTFS_FS_NOTIFY_H

#include "fs/fs.h"

/* 0 or a negative errno. */
int notifier_start(struct fs *fs);
/* Drops what is queued; waits for the thread. Nobody serves the mount any more: a program that
 * holds what the thread's notice needs is refused its request, so that both can go on. */
void notifier_stop(struct fs *fs);

/* Writes {"ok": true} and a newline to fd when all before it has been told; fd is taken. */
void notify_done(struct fs *fs, int fd);
/* A request has been answered. */
void notify_answered(struct fs *fs);
/* Attributes alone. */
void notify_attr(struct fs *fs, const struct inode *inode);
void notify_content(struct fs *fs, const struct inode *inode);
/* Calls done, later, when the kernel has been told what was to be told of the inode lately; at the
 * latest when the notifier stops. False: it has been, and done is not called. */
bool notify_after(struct fs *fs, const struct inode *inode, void (*done)(void *arg), void *arg);
/* What the kernel keeps of a folder's names. */
void notify_listing(struct fs *fs, const struct inode *folder);
/* The name may lead elsewhere now; or it is gone, with what the kernel keeps below it. */
void notify_name(struct fs *fs, const struct inode *folder, const char *name);
/* The kernel may forget the name of a file, which is right; it is not said when there is much else
 * to say. */
void notify_forget(struct fs *fs, const struct inode *folder, const char *name);
void notify_gone(struct fs *fs, const struct inode *folder, const char *name);

#endif

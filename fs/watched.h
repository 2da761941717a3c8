/*
 * Folders that the watcher on the instance (transport/watcher.h) reports changes of: what is known
 * of their names and attributes stays valid without asking again, and is dropped, here and in the
 * kernel, when it is told to have changed.
 *
 *	listing begins ──> ADD ──> ADDED: from now on changes are told
 *	    the digest of what is there is that of what is known: it holds
 *	    as of the ADD; else what is asked for from now on does
 *	CHANGED ──> names follow it, the kernel is told
 *	GONE, LOST, the watcher's end ──> the time bounds alone (R1)
 *
 * What the watcher vouches for. Attributes are valid if they were seen after the folder was watched
 * (or the digest matched), all folders above it are watched too (else nobody would tell of a folder
 * that was replaced), no report about it had to be put aside since, and a PING that was sent at
 * most LINK_MS ago has been answered: all that had happened before it was told before. For an
 * open(2), that must be at most the second of R2. Pings go out every 400 ms while somebody
 * profits, at once when somebody would have, else every 5 s. Whatever it says, nothing is believed
 * for longer than ten minutes, because inotify does not see all (watcher.h): files with several
 * links are left to the time bounds, and so are the kernel's own timeouts, which begin anew with
 * each answer; without the watcher all is as old as R1 allows, at once.
 *
 * Reports race with changes made here as the instance's answers do (cache/names.h): a report counts
 * as sent when the last PING was that has been answered. Our own changes are told too: they find
 * what is known already.
 *
 * Core only. Owns struct watch in folder->watch; at most 8192, and half of what the instance allows
 * a user, the least recently listed ones give way after a minute.
 */
#ifndef VASTFS_FS_WATCHED_H
#define VASTFS_FS_WATCHED_H

#include "fs/fs.h"
#include <jansson.h>

/* Starts the watcher unless the profile says no. 0 or a negative errno. */
int watched_start(struct fs *fs);
/* Before the loop ends. */
void watched_stop(struct fs *fs);
/* When names are gone. */
void watched_free(struct fs *fs);

/* The folder's names are about to be asked for, or looked at: it, and those above it, had better be
 * watched. */
void watched_want(struct fs *fs, struct inode *folder);
/* A complete listing of it was taken over. */
void watched_listed(struct fs *fs, struct inode *folder);
/* What is known of the folder's names and attributes is from an earlier mount: does it still hold?
 * Then it counts as listed when it was asked for. 1: it does. 0: done is called once, later.
 * Negative: it does not, or that can't be asked. */
typedef void watched_recalled(void *arg, bool holds);
int watched_recall(struct fs *fs, struct inode *folder, watched_recalled *done, void *arg);
/* The inode is going away. */
void watched_forget(struct fs *fs, struct inode *inode);

/* May the attributes be answered whatever their age? */
bool watched_attr(struct fs *fs, const struct inode *inode);
/* And are they known to have been so at most ms ago? */
bool watched_now(struct fs *fs, const struct inode *inode, uint64_t ms);
/* Are all names of the folder known, whatever the age of its listing? */
bool watched_names(struct fs *fs, const struct inode *folder);

/* For `vastfs status`; owned by the caller. */
json_t *watched_json(struct fs *fs);

#endif

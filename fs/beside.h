/*
 * The file that a lock is about, asked for together with the lock.
 *
 * Who makes "config.lock" reads "config" next, and of that nothing counts which was seen before the
 * lock was taken (openfile_note_lock). So the small file is opened and read right behind the lock's
 * create, on the channel that answers in turn: what comes is from after it, and costs no round trip
 * of its own.
 *
 *	create of the lock ──> beside_ask ──> answer ──┐
 *	           |                                   ├──> what was read counts; a handle keeps it
 *	           └──> made: beside_locked ───────────┘    open for a second, for who opens it then
 *
 * Of no use, and dropped: when the lock could not be had, when another one was taken in the folder
 * meanwhile, and when a program here changes the file. Core only.
 */
#ifndef VASTFS_FS_BESIDE_H
#define VASTFS_FS_BESIDE_H

#include "fs/openfile.h"

struct pool_channel;

/* Is there a small file in the folder that a lock of that name is about? */
bool beside_wants(struct fs *fs, struct inode *folder, const char *lock);
/* The lock's create was just sent through the channel. Its number for beside_locked, or 0. */
uint64_t beside_ask(
    struct fs *fs, struct inode *folder, const char *lock, struct pool_channel *channel);
/* That one request has made the lock, and openfile_note_lock was called; or it has not. */
void beside_locked(struct fs *fs, uint64_t serial, bool made);
/* A program here is about to change the file, or takes its name away. */
void beside_changed(struct openfile *open);
/* Every second: drops what nobody came for. */
void beside_tick(struct fs *fs);
/* Drops all. */
void beside_stop(struct fs *fs);

#endif

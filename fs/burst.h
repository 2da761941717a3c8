/*
 * When a change may be answered before the instance has it (contract W3): in a burst, on firm
 * ground.
 *
 * A burst is what one thread of one program does in a row: from its BURST_FROM-th change of names,
 * or file opened to be written to, on, each at most a second behind the one before (or what it
 * wrote meanwhile). So `cp -r`, `tar x` and `rm -r` are in one after three files; an editor that
 * saves a file is not. `chmod -R` and `chown -R` are, after as many files. An fsync ends it: who
 * asks for that wants to know. Names that look like locks are never made here: they are taken to
 * exclude somebody, who may be on the instance. They may be given back behind the caller, when all
 * that he did before is there.
 *
 * Firm ground: the change will be done there as far as anybody can tell: the folder's names are all
 * known and fresh, or the folder was made here; the login user may write in it; there is room. And
 * neither the backlog nor the age of its oldest change (`lag`) are over their bounds. Where any of
 * this does not hold the change waits for its own answer, which also slows a program down that is
 * faster than the link. Core only.
 */
#ifndef VASTFS_FS_BURST_H
#define VASTFS_FS_BURST_H

#include "fs/request.h"

/* A program changes names, or opens a file to write to it (names false: a file is closed or
 * attributes are set: that keeps a burst alive, but does not make one). */
void burst_note(struct fs *fs, pid_t pid, bool names);
/* It sets attributes of that: of one file after another, without a change of names in between,
 * makes a burst too. */
void burst_sets(struct fs *fs, pid_t pid, const struct inode *inode);
/* It wrote. */
void burst_wrote(struct fs *fs, pid_t pid);
/* It was answered, and what it had asked for at started_ms kept it waiting. */
void burst_waited(struct fs *fs, pid_t pid, uint64_t started_ms);
/* It called fsync. */
void burst_over(struct fs *fs, pid_t pid);

/* It made that, exclusively, under a name that looks like a lock. */
void burst_locked(struct fs *fs, pid_t pid, const struct inode *inode);
/* Does it give back such a lock, which it made just now? Nobody else has it, so that it can be
 * removed behind the program as in a burst (git status, which changes nothing else). */
bool burst_unlocks(struct fs *fs, pid_t pid, const struct inode *inode);

/* Is the program in a burst, and the backlog within its bounds? */
bool burst_on(struct fs *fs, pid_t pid);
/* May a name in the folder be made? */
bool burst_ground(struct fs *fs, struct inode *folder, const char *name);
/* May it be removed? */
bool burst_ground_removed(struct fs *fs, struct inode *folder);
/* Is there room for more names and data? Asks for the state of the disk behind the caller's back
 * when what is known of it is old. */
bool burst_room(struct fs *fs);
/* Are all names in the folder known, and new enough for that? */
bool burst_knows(struct fs *fs, const struct inode *folder);
bool burst_is_lock(const char *name);
/* The length of the name of the file that a lock of that name is about ("config" of "config.lock");
 * 0: of none. */
size_t burst_locked_name(const char *lock);

#endif

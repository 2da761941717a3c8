/*
 * Write-behind: changes that are answered at once (fs/burst.h says when), kept in the outbox
 * (cache/outbox.h) and sent through one channel that answers in turn.
 *
 *	handler ── behind_mkdir… ──> names changed here, pending ──> outbox ──> remote_*, rfile_*
 *	   |                                                                         |
 *	   +── the caller is answered      names settled, failures noted <── answer ─+
 *
 * A new file is an rfile that is yet to be created; what is written to it waits there. What a
 * file's data and attributes have to catch up with is one change (behind_file), amended while it is
 * not sent: with the create they cost two round trips together, whatever a program does to a new
 * file.
 *
 * Core only. The behind_* below that make a change: 0 when it was taken over, else a negative errno
 * and nothing was done.
 */
#ifndef VASTFS_FS_BEHIND_H
#define VASTFS_FS_BEHIND_H

#include "cache/outbox.h"
#include "fs/openfile.h"
#include "fs/request.h"

/* Will the spool take another change? */
bool behind_spool_takes(const struct fs *fs);
int behind_start(struct fs *fs);
/* What is left is given up, with errors. */
void behind_stop(struct fs *fs);

/* uid, gid: of the caller, as in the request. inode: the new one. */
int behind_mkdir(struct request *request, struct inode *folder, const char *name, mode_t mode,
    struct inode **out);
int behind_symlink(struct request *request, struct inode *folder, const char *name,
    const char *target, struct inode **out);
/* The name must lead to an inode. */
int behind_remove(struct fs *fs, struct inode *folder, const char *name, bool rmdir);
/* Over nothing; of what is no folder: or over a file. */
int behind_rename(struct fs *fs, struct inode *folder, const char *name, struct inode *to_folder,
    const char *to_name, bool replace);
/* The handle is the caller's. */
int behind_create(struct request *request, struct inode *folder, const char *name, mode_t mode,
    int flags, struct handle **out);
/* The handle is the caller's. The file that is there is opened for writing (without O_TRUNC). */
bool behind_may_open(struct fs *fs, const struct inode *inode, int flags);
int behind_open(struct request *request, struct inode *inode, int flags, struct handle **out);
/* What was written through the handle's file so far is sent, if it is not on its way already, then
 * attr is set (NULL: nothing). */
int behind_file(struct handle *handle, const struct sftp_attr *attr);
/* More was written, up to end: times and size that were set before are out of date. */
void behind_wrote(struct openfile *open, uint64_t end);
/* What a file's data is to be sent with: its path is the file's name then, whatever it is here by
 * now (it may have been renamed, or removed); NULL: no data is. */
const struct outbox_item *behind_of_data(const struct openfile *open);
/* May a file be given another size, or be opened with O_TRUNC, behind the caller? (He is in a
 * burst.) */
bool behind_may_truncate(struct fs *fs, const struct inode *inode, uint64_t size);
bool behind_may_empty(struct fs *fs, const struct inode *inode);
/* It is given the size that it has by what was written and is not sent; through this handle. */
int behind_same_size(struct handle *handle, uint64_t size);
int behind_truncate(struct fs *fs, struct inode *inode, uint64_t size);
/* The handle is the caller's. */
int behind_empty(struct request *request, struct inode *inode, int flags, struct handle **out);
/* Another name of a file; what was written to it is in the outbox by now. */
int behind_link(struct fs *fs, struct inode *inode, struct inode *folder, const char *name);
/* Attributes by path. */
int behind_setattr(struct fs *fs, struct inode *inode, const struct sftp_attr *attr);

/*
 * Waits until the instance may be asked about inode or the name in it (name NULL: itself), or until
 * a change that is not in the outbox may be sent: kind as for outbox_wait. 1: now; 0: done will be
 * called, and the caller asks again; a negative errno, as names_path.
 */
int behind_wait(struct fs *fs, enum outbox_kind kind, struct inode *inode, const char *name,
    void (*done)(void *arg, int err), void *arg);

/* The same until the open file's last name is gone there (open->leaving): who has it open has a
 * file there then. */
int behind_wait_leaving(const struct openfile *open, void (*done)(void *arg, int err), void *arg);

/* Files of which the instance does not have all yet. */
uint64_t behind_files(const struct fs *fs);

/* Waits for all that was accepted before, data too. err: the first that failed since the last time
 * somebody was told, or now. */
void behind_sync(struct fs *fs, void (*done)(void *arg, int err), void *arg);

/* --- the instance's handles (behind_scarce.c) --- */
/* Tries again to create what was put off; every second. */
void behind_take_up(struct fs *fs, unsigned most);
/* An open of a program's failed. True: perhaps for want of handles that what is in the outbox has,
 * and done(arg, err) will be called when that is empty; once (*waited). */
bool behind_wait_for_handles(
    struct fs *fs, int err, bool *waited, void (*done)(void *arg, int err), void *arg);
/* May a file be created behind its caller, and be open until its data has followed? */
bool behind_has_handles(struct fs *fs);

#endif

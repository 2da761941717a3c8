/* OPEN. */
#include "conf/log.h"
#include "fs/ahead.h"
#include "fs/behind.h"
#include "fs/beside.h"
#include "fs/burst.h"
#include "fs/disk.h"
#include "fs/notify.h"
#include "fs/openfile.h"
#include "fs/owed.h"
#include "fs/replaced.h"
#include "fs/turn.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Read together with the open: at most what a program's first read would ask for. */
#define EARLY_MOST (64u << 10)

struct open {
	struct request request;
	struct inode *inode; /* pinned */
	struct fuse_file_info fi;
	struct rfile *file;
	struct sftp_attr attr;
	bool waited;
	bool nameless; /* file is another open's */
	bool absent;   /* from the disk cache */
	struct turn turn;
};

/* Something that was asked after the open was answered before it, and says otherwise: on another
 * channel, so nobody knows what was done first. */
static bool is_crossed(const struct open *open, const struct sftp_attr *attr)
{
	const struct inode *inode = open->inode;
	struct attr_report report = fs_report(attr, 0);

	return !inode->pending && inode->changed_tick <= open->request.tick &&
	       !openfile_dirty(inode) && S_ISREG(inode->attr.mode) && S_ISREG(report.mode) &&
	       attr_is_other(&inode->attr, &report);
}

static void take_opened(struct open *open, const struct sftp_attr *attr)
{
	struct fs *fs = open->request.fs;
	struct inode *inode = open->inode;
	struct attr_report report = fs_report(attr, 0);

	if (!attr->flags)
		return;
	if (!(open->fi.flags & O_TRUNC)) {
		if (attr->flags == SFTP_ATTR_KNOWN)
			openfile_seen(fs, inode, attr, open->request.tick, open->request.sent_ms);
		fs_take_report(fs, inode, attr, open->request.tick, open->request.sent_ms);
		if (!is_crossed(open, attr))
			return;
		/* The program gets this file, so its size holds until somebody looks again. */
		fs_take_report(fs, inode, attr, UINT64_MAX, fs_now_ms(fs));
		inode->checked_ms = 0;
		return;
	}
	openfile_truncated(fs, inode, &report, open->request.sent_ms);
	names_changed(fs->names, inode);
}

static void on_told(void *arg)
{
	struct open *open = arg;
	struct handle *handle = (struct handle *)(uintptr_t)open->fi.fh;

	if (!request_end_open(&open->request, &open->fi))
		handle_put(handle);
}

/* Of another version than the kernel knows it is told first. It would give the program the old
 * length, with zeros: a read that comes shorter sets it right only if no notice comes in between.
 */
static void answer(struct open *open, struct handle *handle)
{
	open->fi.fh = (uint64_t)(uintptr_t)handle;
	if (!notify_after(open->request.fs, open->inode, on_told, open))
		on_told(open);
}

/* Its bytes may have come with it. */
static void take_early(struct open *open)
{
	struct inode *inode = open->inode;
	uint32_t len;
	uint8_t *early = rfile_take_early(open->file, &len);

	if (early && (open->attr.flags & SSH_FILEXFER_ATTR_SIZE) && open->attr.size == len &&
	    !is_crossed(open, &open->attr))
		openfile_came(open->request.fs, inode, early, &open->attr, open->request.tick,
		    open->request.sent_ms);
	free(early);
}

static void end_open(struct open *open)
{
	struct fs *fs = open->request.fs;
	struct handle *handle;

	take_opened(open, &open->attr);
	/* It is another file than the one that is open here: the kernel looks the name up again. */
	if (LIST_EMPTY(&open->inode->names) && !open->nameless) {
		rfile_put(open->file);
		request_end(&open->request, -ESTALE);
		return;
	}
	handle = handle_new(fs, open->inode, open->file, open->fi.flags);
	if (!handle) {
		request_end(&open->request, -ENOMEM);
		return;
	}
	handle_tell_version(handle);
	if (open->attr.flags && rfile_readable(open->file))
		openfile_opened(open->inode);
	open->fi.keep_cache = openfile_keeps_cache(fs, open->inode);
	if (!handle->writable) {
		disk_keep(fs, open->inode);
		take_early(open);
	}
	answer(open, handle);
}

/* What truncation takes away unless root does it: setuid, and setgid where it says whose group a
 * program runs as. Who does it is known here only: the server may see root. (At each other change
 * the kernel asks for it.) */
static uint32_t lost_privileges(const struct open *open, uint32_t mode)
{
	if (!(open->fi.flags & O_TRUNC) || !open->request.uid)
		return 0;
	return mode & (S_ISUID | (mode & S_IXGRP ? S_ISGID : 0));
}

static void on_unprivileged(void *arg, int err)
{
	struct open *open = arg;

	if (err)
		log_debug("clearing setuid and setgid at a truncating open: %s", strerror(-err));
	else
		open->attr.mode &= ~lost_privileges(open, open->attr.mode);
	end_open(open);
}

static void on_handles(void *arg, int err);

static void on_opened(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	struct open *open = arg;
	struct sftp_attr mode = {.flags = SSH_FILEXFER_ATTR_PERMISSIONS};

	if (err && behind_wait_for_handles(open->request.fs, err, &open->waited, on_handles, open))
		return;
	if (err) {
		open->inode->checked_ms = 0;
		/* Gone since it was looked up: the kernel looks again, for O_CREAT to make it. */
		request_end(&open->request, err == -ENOENT && !open->nameless ? -ESTALE : err);
		return;
	}
	open->file = file;
	open->attr = *attr;
	if (!(attr->flags & SSH_FILEXFER_ATTR_PERMISSIONS) || !lost_privileges(open, attr->mode)) {
		end_open(open);
		return;
	}
	mode.mode = attr->mode & 07777 & ~lost_privileges(open, attr->mode);
	rfile_fsetstat(file, &mode, on_unprivileged, open);
}

/* After what was changed here of the path; what truncates comes after the data too. */
static void on_turn(struct request *request, int err);

static void take_turn(struct open *open)
{
	/* Modes and owners that were set, of it or of a folder above, decide on an open of all but
	 * root. */
	bool after_all = (open->fi.flags & O_TRUNC) || remote_uid(open->request.fs->remote);

	open->turn = (struct turn){.request = &open->request,
	    .kind = after_all ? OUTBOX_ALONE : OUTBOX_READ,
	    .inode = open->inode,
	    .go = on_turn};
	turn_take(&open->turn);
}

/* How much to read together with the open: all of a small file that is surely read from there. */
static uint32_t early_bytes(const struct open *open)
{
	const struct inode *inode = open->inode;
	bool here = openfile_is_whole(inode) || (open->request.fs->store && !open->absent);
	bool stays = here && fs_settled(open->request.fs, inode);

	return inode->attr.size <= EARLY_MOST && !stays ? (uint32_t)inode->attr.size : 0;
}

static void send_open(struct open *open)
{
	struct fs *fs = open->request.fs;
	uint32_t flags = openfile_sftp_flags(open->fi.flags);
	struct rfile_owner owner = openfile_owner(fs, open->inode);

	if (!owner.arg) {
		request_end(&open->request, -ENOMEM);
		return;
	}
	request_sent(&open->request);
	open->request.sent_ms = openfile_sent_behind_lock(open->inode, open->request.sent_ms);
	if (flags == SSH_FXF_READ)
		rfile_open_to_read(
		    fs->remote, open->turn.path, early_bytes(open), &owner, on_opened, open);
	else
		rfile_open(fs->remote, open->turn.path, flags, 0, &owner, on_opened, open);
}

static void on_handles(void *arg, int err)
{
	struct open *open = arg;

	if (err)
		request_end(&open->request, err);
	else
		send_open(open);
}

static void on_nameless_seen(void *arg, int err, const struct sftp_attr *attr)
{
	struct open *open = arg;

	if (err)
		rfile_put(open->file);
	on_opened(open, err, open->file, attr);
}

static void on_nameless_emptied(void *arg, int err)
{
	struct open *open = arg;

	if (err)
		on_nameless_seen(open, err, NULL);
	else
		rfile_fstat(open->file, on_nameless_seen, open);
}

static void empty_nameless(struct open *open)
{
	const struct sftp_attr empty = {.flags = SSH_FILEXFER_ATTR_SIZE};

	openfile_expect(open->inode, &empty);
	request_sent(&open->request);
	rfile_fsetstat(open->file, &empty, on_nameless_emptied, open);
}

static void on_ready_to_truncate(void *arg, int err)
{
	struct open *open = arg;

	if (err)
		log_debug("data written before a truncating open was lost: %s", strerror(-err));
	if (open->nameless)
		empty_nameless(open);
	else
		send_open(open);
}

static void truncate_behind_data(struct open *open)
{
	struct openfile *openfile = open->inode->open;

	if (openfile && content_dirty(openfile->content))
		content_flush(openfile->content, on_ready_to_truncate, open);
	else
		on_ready_to_truncate(open, 0);
}

/*
 * Without asking: what is known stands for the open, and the instance's file is opened when
 * something is read that is not here. So small files fetched ahead cost no round trip; and with the
 * link down what is cached can be read (R5), what is not waits for the link.
 */
static void open_unasked(struct open *open, bool keep_cache)
{
	struct fs *fs = open->request.fs;
	const struct attr *attr = &open->inode->attr;
	struct rfile_owner owner = openfile_owner(fs, open->inode);
	struct sftp_attr known = {
	    .flags = SSH_FILEXFER_ATTR_SIZE | SSH_FILEXFER_ATTR_UIDGID |
		     SSH_FILEXFER_ATTR_PERMISSIONS | SSH_FILEXFER_ATTR_ACMODTIME,
	    .size = attr->size,
	    .uid = attr->uid,
	    .gid = attr->gid,
	    .mode = attr->mode,
	    .atime = attr->atime_there,
	    .mtime = attr->mtime_there,
	};
	struct rfile *file = owner.arg ? rfile_open_later(fs->remote, &known, &owner) : NULL;
	struct handle *handle = file ? handle_new(fs, open->inode, file, open->fi.flags) : NULL;

	if (!handle) {
		request_end(&open->request, -ENOMEM);
		return;
	}
	open->fi.keep_cache = keep_cache;
	handle_is_unasked(handle);
	handle->early = open->inode->pending;
	if (handle->early || openfile_dirty(open->inode))
		rfile_mark_changed(file);
	else
		disk_keep(fs, open->inode);
	answer(open, handle);
}

/* What was written here just now, as it is here. */
static void open_ours(struct open *open)
{
	struct openfile *openfile = open->inode->open;

	openfile_used(open->request.fs, openfile);
	open_unasked(open, openfile_keeps_ours(openfile));
}

/* In a burst, a file that may surely be written to, or emptied. */
static bool may_go_behind(const struct open *open)
{
	struct fs *fs = open->request.fs;
	int flags = open->fi.flags;

	if ((flags & O_ACCMODE) == O_RDONLY || !burst_on(fs, open->request.pid))
		return false;
	return flags & O_TRUNC ? behind_may_empty(fs, open->inode) &&
				     !lost_privileges(open, open->inode->attr.mode)
			       : behind_may_open(fs, open->inode, flags);
}

static void open_behind(struct open *open,
    int (*make)(struct request *request, struct inode *inode, int flags, struct handle **out))
{
	struct handle *handle;
	int err = make(&open->request, open->inode, open->fi.flags, &handle);

	if (err) {
		request_end(&open->request, err);
		return;
	}
	open->fi.fh = (uint64_t)(uintptr_t)handle;
	if (!request_end_open(&open->request, &open->fi))
		handle_put(handle);
}

static void open_here(struct open *open)
{
	open_unasked(open, openfile_keeps_cache(open->request.fs, open->inode));
}

static void on_turn(struct request *request, int err)
{
	struct open *open = (struct open *)request;

	if (err)
		request_end(request, err);
	else if (open->fi.flags & O_TRUNC)
		truncate_behind_data(open);
	else
		send_open(open);
}

static void on_fetched(void *arg)
{
	struct open *open = arg;

	if (openfile_is_current(open->request.fs, open->inode, OPENFILE_CHECKED_MS))
		open_here(open);
	else
		take_turn(open);
}

static void on_looked(void *arg, bool whole)
{
	struct open *open = arg;

	open->absent = !whole;
	take_turn(open);
}

static void open_to_read(struct open *open)
{
	struct inode *inode = open->inode;

	switch (ahead_opened(open->request.fs, inode, open->request.pid)) {
	case AHEAD_HERE:
		open_here(open);
		break;
	case AHEAD_UNDERWAY:
		if (ahead_wait(inode, on_fetched, open))
			break;
		/* fall through */
	case AHEAD_ABSENT:
		if (inode->attr.size > EARLY_MOST || openfile_is_whole(inode) ||
		    !disk_look(open->request.fs, inode, on_looked, open))
			take_turn(open);
		break;
	}
}

/* The instance can't open it again: its file there is the one that is open. */
static void open_nameless(struct open *open, const struct handle *other)
{
	struct handle *handle =
	    handle_new(open->request.fs, open->inode, rfile_get(other->file), open->fi.flags);

	if (!handle) {
		request_end(&open->request, -ENOMEM);
		return;
	}
	open->fi.fh = (uint64_t)(uintptr_t)handle;
	open->fi.keep_cache = true;
	on_told(open);
}

/* Nor can it empty it by an open. */
static void open_nameless_empty(struct open *open, const struct handle *other)
{
	open->nameless = true;
	open->file = rfile_get(other->file);
	truncate_behind_data(open);
}

/* The same file, as it came to another open a moment ago. */
static void open_beside(struct open *open, const struct handle *other)
{
	struct handle *handle =
	    handle_new(open->request.fs, open->inode, rfile_get(other->file), open->fi.flags);

	if (!handle) {
		request_end(&open->request, -ENOMEM);
		return;
	}
	handle->mtime = other->mtime;
	handle->size = other->size;
	open->fi.keep_cache = openfile_keeps_ours(open->inode->open);
	answer(open, handle);
}

static void begin_open(void *arg)
{
	struct open *open = arg;
	struct fs *fs = open->request.fs;
	bool reads = (open->fi.flags & (O_ACCMODE | O_TRUNC)) == O_RDONLY;
	/* Its name may be about to go: then it has to be opened there before that. */
	bool asks = open->inode->flying;
	const struct handle *other = openfile_nameless(open->inode, open->fi.flags);
	int err = open->fi.flags & O_TRUNC ? owed_claim_emptied(fs, open->inode) : 0;

	if (other && (open->fi.flags & O_TRUNC))
		open_nameless_empty(open, other);
	else if (other)
		open_nameless(open, other);
	else if (err)
		request_end(&open->request, err);
	else if (reads && fs_offline(fs))
		open_unasked(open, true);
	else if (reads && !asks &&
		 openfile_is_ours(fs, open->inode, burst_on(fs, open->request.pid)))
		open_ours(open);
	else if (reads && !asks && (other = openfile_just_came(fs, open->inode)))
		open_beside(open, other);
	else if (reads && !asks)
		open_to_read(open);
	else if (may_go_behind(open))
		open_behind(open, open->fi.flags & O_TRUNC ? behind_empty : behind_open);
	else
		take_turn(open);
}

/* While it is not settled which file the open handles are on, a new one could be on the other. */
void fs_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct open *open = request_new(req, sizeof(*open), "open");

	if (!open)
		return;
	open->inode = fs_inode(fs, node);
	open->fi = *fi;
	open->fi.noflush = (fi->flags & (O_ACCMODE | O_TRUNC)) == O_RDONLY;
	request_pin(&open->request, open->inode);
	open->request.sends = open->inode->open != NULL;
	if (!open->fi.noflush && open->inode->open)
		beside_changed(open->inode->open);
	/* Who opens file after file for writing is about to write them. */
	if (!open->fi.noflush)
		burst_note(fs, open->request.pid, true);
	if (!replaced_wait(open->inode, begin_open, open))
		begin_open(open);
}

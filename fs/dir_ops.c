/* OPENDIR, READDIR, READDIRPLUS, RELEASEDIR, FSYNCDIR. */
#include "cache/names_order.h"
#include "fs/behind.h"
#include "fs/burst.h"
#include "fs/held.h"
#include "fs/listing.h"
#include "fs/replaced.h"
#include "fs/request.h"
#include "fs/walk.h"
#include "fs/watched.h"
#include <errno.h>
#include <stdlib.h>

/*
 * A folder is read by places that hold without an open folder behind them (cache/names_order.h), so
 * that the kernel need not tell us of openings and closings (fs->no_opendir), and may keep what it
 * read (held.h). Places: 0 ".", 1 "..", then those of the names; each entry carries the place
 * behind it.
 */
struct folder_request {
	struct request request;
	struct inode *folder; /* pinned */
	struct fuse_file_info fi;
	size_t size;
	off_t offset;
	bool plus;
};

static struct folder_request *folder_request_new(
    fuse_req_t req, struct inode *folder, const char *operation)
{
	struct folder_request *reading = request_new(req, sizeof(*reading), operation);

	if (reading) {
		reading->folder = folder;
		request_pin(&reading->request, folder);
	}
	return reading;
}

/* It has no name any more: empty, or soon to be. */
static bool is_gone(struct fs *fs, const struct inode *folder)
{
	return LIST_EMPTY(&folder->names) && folder != names_root(fs->names);
}

/* --- opening: only of who may be refused, and where each opening looks anew --- */

static void end_opendir(struct folder_request *opendir)
{
	opendir->fi.cache_readdir = opendir->fi.keep_cache =
	    opendir->request.fs->profile->attr_timeout != 0;
	request_end_open(&opendir->request, &opendir->fi);
}

static void on_listed(void *arg, int err)
{
	struct folder_request *opendir = arg;

	if (err)
		request_end(&opendir->request, err);
	else
		end_opendir(opendir);
}

/* The instance has to say whether the login may list it, when its mode does not say yes for sure.
 */
static bool may_be_refused(const struct fs *fs, const struct inode *folder)
{
	const struct attr *attr = &folder->attr;
	uint32_t uid = remote_uid(fs->remote), bits = attr->uid == uid ? 0400 : 0044;

	return uid && (attr->mode & bits) != bits && !fs_offline(fs);
}

void fs_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct inode *folder = fs_inode(fs, node);
	struct folder_request *opendir;
	int err;

	if (fs->no_opendir || !folder->folder) {
		fuse_reply_err(req, fs->no_opendir ? ENOSYS : ENOTDIR);
		return;
	}
	walk_opened(fs, folder);
	watched_want(fs, folder);
	opendir = folder_request_new(req, folder, "opendir");
	if (!opendir)
		return;
	opendir->fi = *fi;
	if ((listing_is_fresh(fs, folder) && !may_be_refused(fs, folder)) || is_gone(fs, folder)) {
		end_opendir(opendir);
		return;
	}
	err = listing_wait(fs, folder, on_listed, opendir);
	if (err)
		request_end(&opendir->request, err);
}

void fs_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	(void)fi;
	fuse_reply_err(req, 0);
}

/* --- reading --- */

struct filler {
	struct fs *fs;
	fuse_req_t req;
	char *buf;
	size_t size, used;
	bool plus;
};

/* Adds one entry; false when it does not fit. counted: the kernel takes a reference. */
static bool add(
    struct filler *filler, const char *name, struct inode *inode, off_t next, bool counted)
{
	struct fuse_entry_param entry = {0};
	char *at = filler->buf + filler->used;
	size_t room = filler->size - filler->used, len;

	if (!filler->plus) {
		fs_stat(filler->fs, inode, &entry.attr);
		len = fuse_add_direntry(filler->req, at, room, name, &entry.attr, next);
	} else {
		entry = fs_entry(filler->fs, inode);
		if (!counted)
			entry.ino = 0;
		len = fuse_add_direntry_plus(filler->req, at, room, name, &entry, next);
	}
	if (len > room)
		return false;
	filler->used += len;
	if (filler->plus && counted)
		inode->lookups++;
	return true;
}

static void fill(struct filler *filler, struct inode *folder, off_t offset)
{
	struct inode *parent = names_parent(folder);
	uint64_t place = (uint64_t)offset;
	struct dentry *dentry;

	if (offset == 0 && !add(filler, ".", folder, 1, false))
		return;
	if (offset <= 1 && !add(filler, "..", parent ? parent : folder, 2, false))
		return;
	while ((dentry = names_order_next(folder, &place))) {
		/* what can't be believed is looked up */
		if (!add(filler, dentry->name, dentry->inode, (off_t)place,
			fs_name_believed(filler->fs, dentry) && !replaced_asking(dentry->inode)))
			return;
	}
	if (!filler->used) /* the end was reached before */
		names_order_drop(folder);
}

/* What is known of the names is what there is. */
static void give(
    struct fs *fs, fuse_req_t req, struct inode *folder, struct filler *filler, off_t offset)
{
	filler->fs = fs;
	filler->req = req;
	fill(filler, folder, offset);
	held_given(fs->held, folder);
}

static int prepare(struct filler *filler, struct inode *folder, off_t offset)
{
	int err = names_order_begin(folder, offset == 0);

	filler->buf = err ? NULL : malloc(filler->size);
	return err || filler->buf ? err : -ENOMEM;
}

static void on_readable(void *arg, int err)
{
	struct folder_request *reading = arg;
	struct filler filler = {.size = reading->size, .plus = reading->plus};

	if (!err)
		err = prepare(&filler, reading->folder, reading->offset);
	if (err || !reading->request.fuse) {
		request_end(&reading->request, err);
		free(filler.buf);
		return;
	}
	give(reading->request.fs, reading->request.fuse, reading->folder, &filler, reading->offset);
	/* A reply that fails (the mount is going away) leaves references behind that nobody needs.
	 */
	request_end_buf(&reading->request, filler.buf, filler.used);
	free(filler.buf);
}

/* May what is known be given? A reader on his way goes on with what there was, unless some of it
 * was forgotten meanwhile. */
static bool is_known(struct fs *fs, struct inode *folder, off_t offset)
{
	return is_gone(fs, folder) || (offset || !fs->no_opendir ? folder->folder->complete
								 : listing_is_fresh(fs, folder));
}

static void readdir_common(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, bool plus)
{
	struct fs *fs = fuse_req_userdata(req);
	struct inode *folder = fs_inode(fs, node);
	struct filler filler = {.size = size, .plus = plus};
	struct folder_request *reading;
	int err;

	if (!folder->folder) {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	if (offset == 0 && fs->no_opendir) {
		walk_opened(fs, folder);
		watched_want(fs, folder);
	}
	if (is_known(fs, folder, offset)) {
		err = prepare(&filler, folder, offset);
		if (err) {
			fuse_reply_err(req, -err);
			return;
		}
		give(fs, req, folder, &filler, offset);
		fuse_reply_buf(req, filler.buf, filler.used);
		free(filler.buf);
		return;
	}
	reading = folder_request_new(req, folder, "readdir");
	if (!reading)
		return;
	reading->size = size;
	reading->offset = offset;
	reading->plus = plus;
	err = listing_wait(fs, folder, on_readable, reading);
	if (err)
		request_end(&reading->request, err);
}

void fs_readdir(
    fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)fi;
	readdir_common(req, node, size, offset, false);
}

void fs_readdirplus(
    fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)fi;
	readdir_common(req, node, size, offset, true);
}

/* All that was accepted before is there: names and data. */
static void on_synced(void *arg, int err)
{
	request_end(arg, err);
}

void fs_fsyncdir(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct request *request = request_new(req, sizeof(*request), "fsyncdir");

	(void)node;
	(void)datasync;
	(void)fi;
	if (!request)
		return;
	burst_over(fs, request->pid);
	behind_sync(fs, on_synced, request);
}

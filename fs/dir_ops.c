/* OPENDIR, READDIR, READDIRPLUS, RELEASEDIR, FSYNCDIR. */
#include "conf/log.h"
#include "fs/behind.h"
#include "fs/burst.h"
#include "fs/listing.h"
#include "fs/request.h"
#include "fs/walk.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SORT_MAX 100000u /* names: more are taken as they were listed */

/*
 * An open folder. Its names are noted when reading begins (and again after rewinddir), so that
 * offsets mean the same names however the folder changes meanwhile: offset n is what follows the
 * nth name.
 */
struct folder_handle {
	struct inode *folder;
	char *names;	  /* one after the other, each with its NUL */
	uint32_t *starts; /* offset of each name */
	size_t n;
	bool noted;
};

struct opendir {
	struct request request;
	struct folder_handle *handle;
	struct fuse_file_info fi;
};

static void folder_handle_clear(struct folder_handle *handle)
{
	free(handle->names);
	free(handle->starts);
	handle->names = NULL;
	handle->starts = NULL;
	handle->n = 0;
	handle->noted = false;
}

static void folder_handle_free(struct fs *fs, struct folder_handle *handle)
{
	folder_handle_clear(handle);
	names_unpin(fs->names, handle->folder);
	free(handle);
}

static int by_number(const void *left, const void *right)
{
	const struct dentry *a = *(const struct dentry *const *)left;
	const struct dentry *b = *(const struct dentry *const *)right;

	return a->inode->ino < b->inode->ino ? -1 : a->inode->ino > b->inode->ino;
}

/* The names by inode number: cp and tar sort them so, the others take them as they come, and what
 * is read ahead (ahead_order.c) is what all of them want next. */
static int note_names(struct folder_handle *handle)
{
	struct folder *folder = handle->folder->folder;
	struct dentry **sorted = calloc(folder->n_children + 1, sizeof(*sorted)), *dentry;
	size_t len = 0, n = 0, i;

	folder_handle_clear(handle);
	TAILQ_FOREACH (dentry, &folder->children, sibling) {
		if (sorted && dentry->inode) {
			len += strlen(dentry->name) + 1;
			sorted[n++] = dentry;
		}
	}
	handle->names = malloc(len + 1);
	handle->starts = calloc(n + 1, sizeof(*handle->starts));
	if (!sorted || !handle->names || !handle->starts) {
		folder_handle_clear(handle);
		free(sorted);
		return -ENOMEM;
	}
	if (n <= SORT_MAX)
		qsort(sorted, n, sizeof(*sorted), by_number);
	for (i = 0, len = 0; i < n; i++) {
		handle->starts[i] = (uint32_t)len;
		strcpy(handle->names + len, sorted[i]->name);
		len += strlen(sorted[i]->name) + 1;
	}
	handle->n = n;
	handle->noted = true;
	free(sorted);
	return 0;
}

static void end_opendir(struct opendir *opendir, int err)
{
	struct fs *fs = opendir->request.fs;
	struct folder_handle *handle = opendir->handle;
	struct fuse_file_info fi = opendir->fi;

	if (!err)
		err = note_names(handle);
	if (err) {
		folder_handle_free(fs, handle);
		request_end(&opendir->request, err);
		return;
	}
	fi.fh = (uint64_t)(uintptr_t)handle;
	if (!request_end_open(&opendir->request, &fi))
		folder_handle_free(fs, handle);
}

static void on_listed(void *arg, int err)
{
	end_opendir(arg, err);
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
	struct folder_handle *handle;
	struct opendir *opendir;
	int err;

	if (!folder->folder) {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	walk_opened(fs, folder);
	handle = calloc(1, sizeof(*handle));
	opendir = handle ? request_new(req, sizeof(*opendir), "opendir") : NULL;
	if (!opendir) {
		if (!handle)
			fuse_reply_err(req, ENOMEM);
		free(handle);
		return;
	}
	handle->folder = folder;
	names_pin(folder);
	opendir->handle = handle;
	opendir->fi = *fi;
	if ((listing_is_fresh(fs, folder) && !may_be_refused(fs, folder)) ||
	    (LIST_EMPTY(&folder->names) && folder != names_root(fs->names))) {
		end_opendir(opendir, 0);
		return;
	}
	err = listing_wait(fs, folder, on_listed, opendir);
	if (err)
		end_opendir(opendir, err);
}

/* --- reading --- */

struct filler {
	struct fs *fs;
	fuse_req_t req;
	struct folder_handle *handle;
	char *buf;
	size_t size, used;
	bool plus;
};

/* Adds one entry; false when it does not fit. inode NULL: a name that is gone meanwhile is left out
 * by the caller. */
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
			entry.ino = 0; /* "." and "..": the kernel takes no reference */
		len = fuse_add_direntry_plus(filler->req, at, room, name, &entry, next);
	}
	if (len > room)
		return false;
	filler->used += len;
	if (filler->plus && counted)
		inode->lookups++;
	return true;
}

/* Offsets: 0 ".", 1 "..", n + 2 the nth name; each entry carries the offset of what follows it. */
static void fill(struct filler *filler, off_t offset)
{
	struct folder_handle *handle = filler->handle;
	struct inode *parent = names_parent(handle->folder);
	size_t i = (size_t)offset;

	if (i == 0 && !add(filler, ".", handle->folder, 1, false))
		return;
	if (i <= 1 && !add(filler, "..", parent ? parent : handle->folder, 2, false))
		return;
	for (i = i < 2 ? 0 : i - 2; i < handle->n; i++) {
		const char *name = handle->names + handle->starts[i];
		struct dentry *dentry = names_find(filler->fs->names, handle->folder, name);

		if (dentry && dentry->inode &&
		    !add(filler, name, dentry->inode, (off_t)(i + 3), true))
			return;
	}
}

static void readdir_common(
    fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi, bool plus)
{
	struct fs *fs = fuse_req_userdata(req);
	struct folder_handle *handle = (struct folder_handle *)(uintptr_t)fi->fh;
	struct filler filler = {.fs = fs, .req = req, .handle = handle, .size = size, .plus = plus};
	int err = 0;

	if (offset == 0 || !handle->noted)
		err = note_names(handle);
	if (!err && !(filler.buf = malloc(size)))
		err = -ENOMEM;
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	fill(&filler, offset);
	/* A reply that fails here (the mount is going away) leaves references behind that nobody
	 * needs. */
	fuse_reply_buf(req, filler.buf, filler.used);
	free(filler.buf);
}

void fs_readdir(
    fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)node;
	readdir_common(req, size, offset, fi, false);
}

void fs_readdirplus(
    fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)node;
	readdir_common(req, size, offset, fi, true);
}

void fs_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);

	(void)node;
	folder_handle_free(fs, (struct folder_handle *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
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

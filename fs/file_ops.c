/* CREATE, RELEASE, FLUSH, FSYNC. */
#include "conf/log.h"
#include "fs/openfile.h"
#include "fs/request.h"
#include <errno.h>
#include <limits.h>
#include <string.h>

/* --- create --- */

struct create {
	struct request request;
	struct inode *folder; /* pinned */
	struct fuse_file_info fi;
	struct rfile *file;
	struct sftp_attr attr;
	mode_t mode;
	bool existed;
	char name[256];
	char path[PATH_MAX];
};

static const struct rfile_owner nobody_yet = {.path = openfile_no_path};

static void end_create(struct create *create)
{
	struct fs *fs = create->request.fs;
	struct attr_report report = fs_report(&create->attr, 0);
	struct inode *inode = create->existed
				  ? names_report(fs->names, create->folder, create->name, &report,
					create->request.tick, create->request.sent_ms)
				  : names_created(fs->names, create->folder, create->name, &report,
					create->request.sent_ms);
	struct rfile_owner owner;
	struct handle *handle;

	if (!inode || !S_ISREG(inode->attr.mode)) {
		rfile_put(create->file);
		/* a folder or a link: the kernel looks again and goes by that */
		request_end(&create->request, inode ? -ESTALE : -ENOMEM);
		return;
	}
	if (!create->attr.flags) /* the server would not say */
		inode->checked_ms = 0;
	handle = handle_new(fs, inode, create->file, create->fi.flags);
	if (!handle) {
		request_end(&create->request, -ENOMEM);
		return;
	}
	owner = openfile_owner(fs, inode);
	rfile_set_owner(handle->file, &owner);
	handle_tell_version(handle);
	openfile_used(fs, handle->open);
	create->fi.fh = (uint64_t)(uintptr_t)handle;
	if (!request_end_create(&create->request, inode, &create->fi))
		handle_put(handle);
}

static void on_fixed(void *arg, int err)
{
	struct create *create = arg;

	if (err)
		log_debug("setting mode or owner of %s: %s", create->path, strerror(-err));
	end_create(create);
}

/* The server's umask and login decided on mode and owner: mends what the caller is due. */
static void fix_created(struct create *create)
{
	struct fs *fs = create->request.fs;
	struct sftp_attr fix = {0};
	uint32_t want = create->mode & 07777;

	if ((create->attr.mode & 07777) != want) {
		fix.flags |= SSH_FILEXFER_ATTR_PERMISSIONS;
		fix.mode = want;
		create->attr.mode = (create->attr.mode & S_IFMT) | want;
	}
	if (fs_gives_away(fs, create->request.uid)) {
		fix.flags |= SSH_FILEXFER_ATTR_UIDGID;
		fix.uid = create->attr.uid = fs_uid_there(fs, create->request.uid);
		fix.gid = create->attr.gid = fs_gid_there(fs, create->request.gid);
	}
	if (fix.flags)
		rfile_fsetstat(create->file, &fix, on_fixed, create);
	else
		end_create(create);
}

static void on_created(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	struct create *create = arg;
	struct fs *fs = create->request.fs;

	if (err == -EEXIST && !create->existed && !(create->fi.flags & O_EXCL)) {
		/* Somebody there was faster; without O_EXCL that file is meant. */
		create->existed = true;
		request_sent(&create->request);
		rfile_open(fs->remote, create->path, openfile_sftp_flags(create->fi.flags), 0,
		    &nobody_yet, on_created, create);
		return;
	}
	if (err) {
		create->folder->folder->complete = false;
		request_end(&create->request, err);
		return;
	}
	create->file = file;
	create->attr = *attr;
	if (create->existed)
		end_create(create);
	else
		fix_created(create);
}

/* The name is always taken exclusively first, so that it is known whether the file was made here.
 */
void fs_create(
    fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct create *create;
	int err;

	if (strlen(name) > 255) {
		fuse_reply_err(req, ENAMETOOLONG);
		return;
	}
	create = request_new(req, sizeof(*create), "create");
	if (!create)
		return;
	create->folder = fs_inode(fs, parent);
	create->fi = *fi;
	create->mode = mode;
	strcpy(create->name, name);
	request_pin(&create->request, create->folder);
	err = names_child_path(fs->names, create->folder, name, create->path, sizeof(create->path));
	if (err) {
		request_end(&create->request, err == -ESTALE ? -ENOENT : err);
		return;
	}
	request_sent(&create->request);
	rfile_open(fs->remote, create->path,
	    (openfile_sftp_flags(fi->flags) & ~(uint32_t)SSH_FXF_TRUNC) | SSH_FXF_CREAT |
		SSH_FXF_EXCL,
	    mode & 07777, &nobody_yet, on_created, create);
}

void fs_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	handle_put((struct handle *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

/* --- flush (each close) and fsync --- */

struct flush {
	struct request request;
	struct handle *handle; /* counted */
	bool sync;
};

/*
 * W5: a child that inherited the file and closes it must not take the error away from the program
 * that wrote. So each close tells it; an fsync, or the end of the last handle, ends it.
 */
static int due_error(struct flush *flush, int err)
{
	struct openfile *open = flush->handle->open;

	if (err)
		open->error = err;
	err = open->error;
	if (flush->sync)
		open->error = 0;
	return err;
}

static void end_flush(struct flush *flush, int err)
{
	err = due_error(flush, err);
	openfile_refresh_after_write(flush->handle->open, flush->handle->file);
	handle_put(flush->handle);
	request_end(&flush->request, err);
}

static void on_synced(void *arg, int err)
{
	end_flush(arg, err);
}

static void on_flushed(void *arg, int err)
{
	struct flush *flush = arg;

	if (!err && flush->sync)
		rfile_fsync(flush->handle->file, on_synced, flush);
	else
		end_flush(flush, err);
}

static void flush_file(fuse_req_t req, struct fuse_file_info *fi, bool sync, const char *operation)
{
	struct handle *handle = (struct handle *)(uintptr_t)fi->fh;
	struct flush *flush;

	if (!handle->writable && !sync) {
		fuse_reply_err(req, 0);
		return;
	}
	flush = request_new(req, sizeof(*flush), operation);
	if (!flush)
		return;
	flush->handle = handle_get(handle);
	flush->sync = sync;
	flush->request.sends = true;
	content_flush(handle->open->content, on_flushed, flush);
}

void fs_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	flush_file(req, fi, false, "close");
}

void fs_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	(void)node;
	(void)datasync;
	flush_file(req, fi, true, "fsync");
}

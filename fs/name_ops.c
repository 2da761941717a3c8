/* MKDIR, MKNOD, SYMLINK, LINK, UNLINK, RMDIR, RENAME, READLINK: changes of names wait for the
 * instance's answer (W3). */
#include "conf/log.h"
#include "fs/openfile.h"
#include "fs/ownlinks.h"
#include "fs/request.h"
#include "fs/symlink.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One change of names. */
struct change {
	struct request request;
	struct inode *folder, *to_folder, *inode; /* pinned */
	struct sftp_attr attr;			  /* of what was made */
	mode_t mode;
	bool has_mode; /* mode is to be set exactly */
	int pending;   /* answers to wait for */
	int err, attr_err;
	unsigned flags;
	char name[256], to_name[256];
	char path[PATH_MAX], to_path[PATH_MAX];
};

/* NULL: answered already. */
static struct change *change_new(
    fuse_req_t req, fuse_ino_t parent, const char *name, const char *operation)
{
	struct fs *fs = fuse_req_userdata(req);
	struct change *change;
	int err;

	if (strlen(name) > 255) {
		fuse_reply_err(req, ENAMETOOLONG);
		return NULL;
	}
	change = request_new(req, sizeof(*change), operation);
	if (!change)
		return NULL;
	strcpy(change->name, name);
	change->folder = fs_inode(fs, parent);
	request_pin(&change->request, change->folder);
	err = names_child_path(fs->names, change->folder, name, change->path, sizeof(change->path));
	if (err) {
		request_end(&change->request, err == -ESTALE ? -ENOENT : err);
		return NULL;
	}
	request_sent(&change->request);
	return change;
}

/* How deep the folder of a link lies; a link with several names may be met by any of them. */
static int link_depth(const struct names *names, const struct inode *inode)
{
	const struct dentry *dentry;
	int depth, least = -ESTALE;

	LIST_FOREACH (dentry, &inode->names, same) {
		depth = names_depth(names, dentry->parent);
		if (depth < 0)
			return depth;
		if (least < 0 || depth < least)
			least = depth;
	}
	return least;
}

/* S2: what of a link's target programs here may see. */
static int contain(const struct fs *fs, const struct inode *inode, const char *target, char *buf)
{
	int depth = link_depth(fs->names, inode);

	if (depth < 0)
		return depth;
	if (!symlink_enter(target, fs->mountpoint, buf, PATH_MAX))
		return 0;
	return symlink_contain(target, remote_root(fs->remote), depth, buf, PATH_MAX);
}

/* A link made here, which would be shown otherwise than it was made. */
static void note_target(struct change *change, const struct inode *inode)
{
	struct fs *fs = change->request.fs;
	char inside[PATH_MAX];

	if (fs->profile->symlinks != SYMLINKS_RAW &&
	    (contain(fs, inode, change->to_path, inside) || strcmp(inside, change->to_path)))
		ownlinks_note(fs, inode, change->to_path);
}

static void end_made(struct change *change)
{
	struct fs *fs = change->request.fs;
	struct attr_report report = fs_report(&change->attr, 0);
	struct inode *inode = names_created(
	    fs->names, change->folder, change->name, &report, change->request.sent_ms);

	if (inode && S_ISLNK(inode->attr.mode))
		note_target(change, inode);
	if (inode)
		request_end_entry(&change->request, inode);
	else
		request_end(&change->request, -ENOMEM);
}

static void on_owned(void *arg, int err)
{
	struct change *change = arg;

	if (err)
		log_debug("setting mode or owner of %s: %s", change->path, strerror(-err));
	change->request.sent_ms = fs_now_ms(change->request.fs);
	end_made(change);
}

/* What was made is there, with its attributes as the server's umask left them: mends mode and owner
 * where needed. */
static void finish_made(struct change *change)
{
	struct fs *fs = change->request.fs;
	struct sftp_attr fix = {0};
	uint32_t want =
	    (uint32_t)(change->mode & 01777) | (change->attr.mode & (S_ISGID | S_ISUID));

	if (change->has_mode && (change->attr.mode & 07777) != want) {
		fix.flags |= SSH_FILEXFER_ATTR_PERMISSIONS;
		fix.mode = want;
		change->attr.mode = (change->attr.mode & S_IFMT) | want;
	}
	if (fs_gives_away(fs, change->request.uid)) {
		fix.flags |= SSH_FILEXFER_ATTR_UIDGID;
		fix.uid = fs_uid_there(fs, change->request.uid);
		fix.gid = fs_gid_there(fs, change->request.gid);
		change->attr.uid = fix.uid;
		change->attr.gid = fix.gid;
	}
	if (fix.flags)
		remote_setstat(fs->remote, change->path, &fix, true, on_owned, change);
	else
		end_made(change);
}

static void on_second_look(void *arg, int err, const struct sftp_attr *attr)
{
	struct change *change = arg;

	if (err) {
		request_end(&change->request, err);
		return;
	}
	change->attr = *attr;
	finish_made(change);
}

/* The change and the look at what it made go out together: one round trip. */
static void join_made(struct change *change)
{
	if (--change->pending)
		return;
	if (change->err) {
		if (change->err ==
		    -EEXIST) /* somebody there was faster: what was known is out of date */
			change->folder->folder->complete = false;
		request_end(&change->request, change->err);
	} else if (change->attr_err) { /* the change was repeated after a lost link, say */
		remote_lstat(change->request.fs->remote, change->path, on_second_look, change);
	} else {
		finish_made(change);
	}
}

static void on_made(void *arg, int err)
{
	struct change *change = arg;

	change->err = err;
	join_made(change);
}

static void on_made_attr(void *arg, int err, const struct sftp_attr *attr)
{
	struct change *change = arg;

	change->attr_err = err;
	if (!err)
		change->attr = *attr;
	join_made(change);
}

static void look_at_made(struct change *change)
{
	change->pending = 2;
	remote_lstat(change->request.fs->remote, change->path, on_made_attr, change);
}

void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fs *fs = fuse_req_userdata(req);
	struct change *change = change_new(req, parent, name, "mkdir");

	if (!change)
		return;
	change->mode = mode;
	change->has_mode = true;
	remote_mkdir(fs->remote, change->path, mode & 01777, on_made, change);
	look_at_made(change);
}

void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fuse_req_userdata(req);
	struct change *change = change_new(req, parent, name, "symlink");

	if (!change)
		return;
	if (strlen(target) < sizeof(change->to_path))
		strcpy(change->to_path, target);
	remote_symlink(fs->remote, target, change->path, on_made, change);
	look_at_made(change);
}

/* --- link --- */

static void on_linked(void *arg, int err)
{
	struct change *change = arg;
	struct fs *fs = change->request.fs;

	if (err) /* link(2) says EPERM where a file system has no hard links */
		err = err == -EOPNOTSUPP ? -EPERM : err;
	if (err) {
		request_end(&change->request, err);
		return;
	}
	names_linked(fs->names, change->inode, change->folder, change->name);
	attr_touch_change(&change->inode->attr, request_clock());
	request_end_entry(&change->request, change->inode);
}

/* W2: a file's data is there before another name of it is. */
static void on_data_to_link(void *arg, int err)
{
	struct change *change = arg;

	if (err)
		request_end(&change->request, err);
	else
		remote_link(
		    change->request.fs->remote, change->to_path, change->path, on_linked, change);
}

void fs_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fuse_req_userdata(req);
	struct inode *inode = fs_inode(fs, node);
	struct change *change = change_new(req, parent, name, "link");
	struct openfile *open = inode->open;
	int err;

	if (!change)
		return;
	change->inode = inode;
	request_pin(&change->request, inode);
	change->request.sends = open != NULL;
	err = names_path(fs->names, inode, change->to_path, sizeof(change->to_path));
	if (err)
		request_end(&change->request, err == -ESTALE ? -ENOENT : err);
	else if (open && content_dirty(open->content))
		content_flush(open->content, on_data_to_link, change);
	else
		on_data_to_link(change, 0);
}

/* --- unlink, rmdir --- */

static void on_removed(void *arg, int err)
{
	struct change *change = arg;
	struct fs *fs = change->request.fs;
	struct dentry *dentry;

	if (!err || err == -ENOENT) {
		dentry = names_find(fs->names, change->folder, change->name);
		if (!err && dentry && dentry->inode)
			attr_touch_change(&dentry->inode->attr, request_clock());
		names_removed(fs->names, change->folder, change->name, fs_now_ms(fs));
	}
	request_end(&change->request, err);
}

void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fuse_req_userdata(req);
	struct change *change = change_new(req, parent, name, "unlink");

	if (change)
		remote_unlink(fs->remote, change->path, on_removed, change);
}

void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fuse_req_userdata(req);
	struct change *change = change_new(req, parent, name, "rmdir");

	if (change)
		remote_rmdir(fs->remote, change->path, on_removed, change);
}

/* --- rename --- */

static void on_renamed(void *arg, int err)
{
	struct change *change = arg;
	struct fs *fs = change->request.fs;

	if (!err) {
		names_renamed(fs->names, change->folder, change->name, change->to_folder,
		    change->to_name, fs_now_ms(fs));
		if (change->inode)
			attr_touch_change(&change->inode->attr, request_clock());
	}
	request_end(&change->request, err);
}

/* W2: a file's data is there before its new name is. */
static void on_data_there(void *arg, int err)
{
	struct change *change = arg;

	if (err)
		request_end(&change->request, err);
	else
		remote_rename(change->request.fs->remote, change->path, change->to_path,
		    !(change->flags & RENAME_NOREPLACE), on_renamed, change);
}

void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
    const char *to_name, unsigned flags)
{
	struct fs *fs = fuse_req_userdata(req);
	struct change *change;
	struct dentry *dentry;
	int err;

	if (flags & ~(unsigned)RENAME_NOREPLACE) { /* SFTP can't exchange two names */
		fuse_reply_err(req, EINVAL);
		return;
	}
	change = change_new(req, parent, name, "rename");
	if (!change)
		return;
	change->flags = flags;
	change->to_folder = fs_inode(fs, to_parent);
	request_pin(&change->request, change->to_folder);
	err = names_child_path(
	    fs->names, change->to_folder, to_name, change->to_path, sizeof(change->to_path));
	if (err) {
		request_end(&change->request, err == -ESTALE ? -ENOENT : err);
		return;
	}
	strcpy(change->to_name, to_name);
	dentry = names_find(fs->names, change->folder, name);
	change->inode = dentry ? dentry->inode : NULL;
	if (change->inode)
		request_pin(&change->request, change->inode);
	change->request.sends = true;
	if (change->inode && change->inode->open &&
	    content_dirty(((struct openfile *)change->inode->open)->content))
		content_flush(
		    ((struct openfile *)change->inode->open)->content, on_data_there, change);
	else
		on_data_there(change, 0);
}

/* --- mknod: regular files only --- */

static void on_node_made(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	struct change *change = arg;

	if (!err) {
		rfile_put(file);
		change->attr = *attr;
		finish_made(change);
	} else {
		request_end(&change->request, err);
	}
}

void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
	static const struct rfile_owner nobody = {.path = openfile_no_path};
	struct fs *fs = fuse_req_userdata(req);
	struct change *change;

	(void)dev;
	if (!S_ISREG(mode)) { /* SFTP has no devices, FIFOs and sockets */
		fuse_reply_err(req, EPERM);
		return;
	}
	change = change_new(req, parent, name, "mknod");
	if (!change)
		return;
	change->mode = mode;
	change->has_mode = true;
	rfile_open(fs->remote, change->path, SSH_FXF_WRITE | SSH_FXF_CREAT | SSH_FXF_EXCL,
	    mode & 01777, &nobody, on_node_made, change);
}

/* --- readlink --- */

static void on_target(void *arg, int err, const char *target)
{
	struct request *request = arg;
	struct fs *fs = request->fs;
	const struct inode *inode = request->pinned[0];
	char inside[PATH_MAX];

	if (!err && (fs->profile->symlinks == SYMLINKS_RAW || ownlinks_made(fs, inode, target))) {
		request_end_readlink(request, target);
		return;
	}
	if (!err)
		err = contain(fs, inode, target, inside);
	if (err)
		request_end(request, err);
	else
		request_end_readlink(request, inside);
}

void fs_readlink(fuse_req_t req, fuse_ino_t node)
{
	struct fs *fs = fuse_req_userdata(req);
	struct inode *inode = fs_inode(fs, node);
	struct request *request = request_new(req, sizeof(*request), "readlink");
	char path[PATH_MAX];
	int err;

	if (!request)
		return;
	request_pin(request, inode);
	err = names_path(fs->names, inode, path, sizeof(path));
	if (err)
		request_end(request, err);
	else
		remote_readlink(fs->remote, path, on_target, request);
}

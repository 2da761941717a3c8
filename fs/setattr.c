/* SETATTR: mode, owner, times and size. */
#include "fs/burst.h"
#include "fs/disk.h"
#include "fs/setattr_impl.h"
#include <errno.h>

void setattr_end(struct setattr *setattr, int err)
{
	if (setattr->handle)
		handle_put(setattr->handle);
	if (err)
		request_end(&setattr->request, err);
	else
		request_end_attr(&setattr->request, setattr->inode);
}

/* The times as they were set, with their nanoseconds, if the instance took their seconds. */
static void keep_times(struct setattr *setattr)
{
	struct attr *attr = &setattr->inode->attr;

	if (setattr->attr.flags & SSH_FILEXFER_ATTR_ACMODTIME) {
		if (attr->mtime_there == setattr->attr.mtime)
			attr->mtime = attr_time(setattr->mtime);
		if (attr->atime_there == setattr->attr.atime)
			attr->atime = attr_time(setattr->atime);
	}
}

static void take_over(struct setattr *setattr)
{
	struct fs *fs = setattr->request.fs;
	struct inode *inode = setattr->inode;
	struct attr_report report = fs_report(&setattr->seen, 0);

	inode->checked_ms = 0; /* whatever was seen before the change was made */
	if (setattr->to_set & FUSE_SET_ATTR_SIZE) {
		openfile_truncated(fs, inode, &report, setattr->request.sent_ms);
	} else if (setattr->attr.flags & SSH_FILEXFER_ATTR_ACMODTIME) {
		disk_changed(fs, inode);
		inode->attr.mtime_there = setattr->attr.mtime;
		inode->attr.atime_there = setattr->attr.atime;
		fs_take_report(fs, inode, &setattr->seen, UINT64_MAX, setattr->request.sent_ms);
		openfile_take_own(fs, inode, &report, setattr->request.sent_ms);
	} else {
		fs_take_report(
		    fs, inode, &setattr->seen, setattr->request.tick, setattr->request.sent_ms);
	}
	fs_take_mode_and_owner(inode, &setattr->seen);
	keep_times(setattr);
	openfile_identity_changed(inode, &setattr->attr);
	attr_touch_change(&inode->attr, request_clock());
	names_changed(fs->names, inode);
}

/* Some servers say yes to a mode and leave it (ProFTPD to 0). */
static bool is_set(const struct setattr *setattr)
{
	uint32_t both = setattr->attr.flags & setattr->seen.flags;

	return !(both & SSH_FILEXFER_ATTR_PERMISSIONS) ||
	       !((setattr->attr.mode ^ setattr->seen.mode) & 0777);
}

static void join(struct setattr *setattr)
{
	if (--setattr->pending)
		return;
	if (!setattr->err && setattr->seen_err)
		setattr->err = setattr->seen_err;
	if (!setattr->err && !is_set(setattr))
		setattr->err = -EPERM;
	if (!setattr->err)
		take_over(setattr);
	else
		setattr->inode->checked_ms = 0; /* a part of it may have been done */
	setattr_end(setattr, setattr->err);
}

static void on_set(void *arg, int err)
{
	struct setattr *setattr = arg;

	if (err && !setattr->err)
		setattr->err = err;
	join(setattr);
}

static void on_seen(void *arg, int err, const struct sftp_attr *attr)
{
	struct setattr *setattr = arg;

	setattr->seen_err = err;
	if (!err)
		setattr->seen = *attr;
	join(setattr);
}

static void send_by_handle(struct setattr *setattr, const struct sftp_attr *size)
{
	struct rfile *file = setattr->handle->file;

	if (size->flags)
		rfile_fsetstat(file, size, on_set, setattr);
	if (setattr->attr.flags)
		rfile_fsetstat(file, &setattr->attr, on_set, setattr);
	rfile_fstat(file, on_seen, setattr);
}

static void send_by_path(struct setattr *setattr, const struct sftp_attr *size)
{
	struct remote *remote = setattr->request.fs->remote;
	bool nofollow = S_ISLNK(setattr->inode->attr.mode);

	if (size->flags)
		remote_setstat(remote, setattr->turn.path, size, nofollow, on_set, setattr);
	if (setattr->attr.flags)
		remote_setstat(
		    remote, setattr->turn.path, &setattr->attr, nofollow, on_set, setattr);
	remote_lstat(remote, setattr->turn.path, on_seen, setattr);
}

static void send_all(struct setattr *setattr)
{
	struct sftp_attr size = {.size = setattr->size};

	if (setattr->to_set & FUSE_SET_ATTR_SIZE)
		size.flags = SSH_FILEXFER_ATTR_SIZE;
	setattr->pending = 1 + (size.flags != 0) + (setattr->attr.flags != 0);
	openfile_expect(setattr->inode, &size);
	openfile_expect(setattr->inode, &setattr->attr);
	request_sent(&setattr->request);
	if (setattr->handle)
		send_by_handle(setattr, &size);
	else
		send_by_path(setattr, &size);
}

/* SFTP sets owner and group, and both times, only together: the other one stays what it is. */
void setattr_fill_in(struct setattr *setattr)
{
	const struct stat *st = &setattr->wanted;
	const struct fs *fs = setattr->request.fs;
	const struct attr *now = &setattr->inode->attr;
	struct sftp_attr *attr = &setattr->attr;
	int to_set = setattr->to_set;

	if (to_set & FUSE_SET_ATTR_MODE) {
		attr->flags |= SSH_FILEXFER_ATTR_PERMISSIONS;
		/* The kernel clears setuid with the owner, and knows of no sticky files. */
		attr->mode = st->st_mode & 07777;
		attr->mode |= to_set & OWNER_BITS ? now->mode & S_ISVTX : 0;
	}
	if (to_set & OWNER_BITS) {
		attr->flags |= SSH_FILEXFER_ATTR_UIDGID;
		attr->uid = to_set & FUSE_SET_ATTR_UID ? fs_uid_there(fs, st->st_uid) : now->uid;
		attr->gid = to_set & FUSE_SET_ATTR_GID ? fs_gid_there(fs, st->st_gid) : now->gid;
	}
	if ((to_set & TIME_BITS) && !(to_set & FUSE_SET_ATTR_SIZE)) {
		setattr->atime = attr_timespec(now->atime);
		setattr->mtime = attr_timespec(now->mtime);
		if (to_set & FUSE_SET_ATTR_ATIME_NOW)
			setattr->atime = request_clock();
		else if (to_set & FUSE_SET_ATTR_ATIME)
			setattr->atime = st->st_atim;
		if (to_set & FUSE_SET_ATTR_MTIME_NOW)
			setattr->mtime = request_clock();
		else if (to_set & FUSE_SET_ATTR_MTIME)
			setattr->mtime = st->st_mtim;
		attr->flags |= SSH_FILEXFER_ATTR_ACMODTIME;
		attr->atime = attr_clamp_time(setattr->atime.tv_sec);
		attr->mtime = attr_clamp_time(setattr->mtime.tv_sec);
		if (attr->atime != setattr->atime.tv_sec)
			setattr->atime = (struct timespec){.tv_sec = attr->atime};
		if (attr->mtime != setattr->mtime.tv_sec)
			setattr->mtime = (struct timespec){.tv_sec = attr->mtime};
	}
}

/* The time that is not to be set stays what the instance says, whatever else is known of the file.
 */
static void keep_other_time(struct setattr *setattr, const struct sftp_attr *seen)
{
	struct sftp_attr *attr = &setattr->attr;

	if (!(seen->flags & SSH_FILEXFER_ATTR_ACMODTIME))
		return;
	if (!(setattr->to_set & FUSE_SET_ATTR_ATIME) && attr->atime != seen->atime)
		setattr->atime = (struct timespec){.tv_sec = attr->atime = seen->atime};
	if (!(setattr->to_set & FUSE_SET_ATTR_MTIME) && attr->mtime != seen->mtime)
		setattr->mtime = (struct timespec){.tv_sec = attr->mtime = seen->mtime};
}

static void on_other_time(void *arg, int err, const struct sftp_attr *attr)
{
	struct setattr *setattr = arg;

	if (err) {
		setattr_end(setattr, err);
		return;
	}
	fs_take_report(setattr->request.fs, setattr->inode, attr, setattr->request.tick,
	    setattr->request.sent_ms);
	setattr_fill_in(setattr);
	keep_other_time(setattr, attr);
	send_all(setattr);
}

static void look_first(struct setattr *setattr)
{
	int times = setattr->to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME);

	if ((times != FUSE_SET_ATTR_ATIME && times != FUSE_SET_ATTR_MTIME) ||
	    (setattr->to_set & FUSE_SET_ATTR_SIZE) || openfile_dirty(setattr->inode)) {
		setattr_fill_in(setattr);
		send_all(setattr);
		return;
	}
	request_sent(&setattr->request);
	if (setattr->handle)
		rfile_fstat(setattr->handle->file, on_other_time, setattr);
	else
		remote_lstat(
		    setattr->request.fs->remote, setattr->turn.path, on_other_time, setattr);
}

static void on_flushed(void *arg, int err)
{
	struct setattr *setattr = arg;

	openfile_owes(setattr->inode->open, err);
	if (err)
		setattr_end(setattr, err);
	else
		look_first(setattr);
}

/* By the caller's open file, by any open one when the name is gone, else by path. */
static int choose_target(struct setattr *setattr, const struct fuse_file_info *fi)
{
	struct fs *fs = setattr->request.fs;
	struct inode *inode = setattr->inode;
	struct openfile *open = inode->open;
	struct handle *handle = fi ? (struct handle *)(uintptr_t)fi->fh : NULL;
	int err = names_path(fs->names, inode, setattr->turn.path, sizeof(setattr->turn.path));

	if (!handle && err == -ESTALE && open) {
		LIST_FOREACH (handle, &open->handles, link) {
			if (handle->writable || !(setattr->to_set & FUSE_SET_ATTR_SIZE))
				break;
		}
	}
	if (handle)
		setattr->handle = handle_get(handle);
	return handle ? 0 : err;
}

/* By a handle that leads to the instance's file: without its name, not every one does. false: none
 * does, and what the file is here is all that anybody will see of it. */
static bool choose_nameless(struct setattr *setattr)
{
	const struct openfile *open = setattr->inode->open;
	struct handle *handle;

	if (!open || !open->unnamed || handle_is_there(setattr->handle) ||
	    (setattr->to_set & FUSE_SET_ATTR_SIZE))
		return true;
	LIST_FOREACH (handle, &open->handles, link) {
		if (handle_is_there(handle)) {
			handle_put(setattr->handle);
			setattr->handle = handle_get(handle);
			return true;
		}
	}
	return false;
}

/* A folder that was removed here, and is still open: the instance has none any more. */
static bool is_gone(const struct inode *inode)
{
	return inode->folder && inode->folder->removed && LIST_EMPTY(&inode->names);
}

static void end_here(struct setattr *setattr)
{
	setattr_fill_in(setattr);
	setattr_set_here(setattr);
	setattr_end(setattr, 0);
}

static void go_setattr(struct request *request, int err)
{
	struct setattr *setattr = (struct setattr *)request;
	struct openfile *open = setattr->inode->open;
	int late = FUSE_SET_ATTR_SIZE | TIME_BITS;

	if (err)
		setattr_end(setattr, err);
	else if (open && (setattr->to_set & late) && content_dirty(open->content))
		content_flush(open->content, on_flushed, setattr);
	else
		look_first(setattr);
}

void fs_setattr(
    fuse_req_t req, fuse_ino_t node, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct setattr *setattr = request_new(req, sizeof(*setattr), "setattr");
	int err;

	if (!setattr)
		return;
	setattr->inode = fs_inode(fs, node);
	request_pin(&setattr->request, setattr->inode);
	setattr->to_set = to_set;
	setattr->wanted = *st;
	setattr->size = (uint64_t)st->st_size;
	if (is_gone(setattr->inode)) {
		end_here(setattr);
		return;
	}
	err = choose_target(setattr, fi);
	if (!err && (to_set & FUSE_SET_ATTR_SIZE) && st->st_size < 0)
		err = -EINVAL;
	if (err) {
		setattr_end(setattr, err);
		return;
	}
	if (to_set & FUSE_SET_ATTR_SIZE)
		burst_note(fs, setattr->request.pid, false);
	else
		burst_sets(fs, setattr->request.pid, setattr->inode);
	if (setattr_at_once(setattr))
		return;
	setattr->request.sends = setattr->inode->open != NULL;
	if (setattr->handle && LIST_EMPTY(&setattr->inode->names)) {
		if (choose_nameless(setattr))
			go_setattr(&setattr->request, 0);
		else
			end_here(setattr);
		return;
	}
	setattr->turn = (struct turn){.request = &setattr->request,
	    .kind = setattr->inode->folder ? OUTBOX_BENEATH : OUTBOX_ALONE,
	    .inode = setattr->inode,
	    .go = go_setattr};
	turn_take(&setattr->turn);
}

/* New files, and what a file's data and attributes have to catch up with. */
#include "conf/log.h"
#include "fs/behind_impl.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* --- creating --- */

int behind_create(struct request *request, struct inode *folder, const char *name, mode_t mode,
    int flags, struct handle **out)
{
	struct fs *fs = request->fs;
	static const struct rfile_owner nobody = {.path = openfile_no_path};
	uint32_t now = attr_clamp_time(request_clock().tv_sec);
	struct attr_report report = {.mode = S_IFREG | (mode & 07777),
	    .uid = remote_uid(fs->remote),
	    .gid = folder->attr.mode & S_ISGID ? folder->attr.gid : remote_gid(fs->remote),
	    .atime = now,
	    .mtime = now};
	struct behind *behind = behind_new(fs, folder, name, NULL, "", NULL);
	struct rfile_owner owner;
	struct handle *handle;
	struct rfile *file;
	char path[PATH_MAX];
	int err = -ENOMEM;

	if (!behind)
		return -ENOMEM;
	behind->exclusive = flags & O_EXCL;
	behind->attr.mode = mode & 07777;
	behind->give = fs_gives_away(fs, request->uid);
	if (behind->give) {
		report.uid = behind->attr.uid = fs_uid_there(fs, request->uid);
		report.gid = behind->attr.gid = fs_gid_given(fs, folder, request->gid);
	}
	file = rfile_new_later(fs->remote, openfile_sftp_flags(flags), &nobody);
	if (file)
		err = names_child_path(fs->names, folder, name, path, sizeof(path));
	if (!err) {
		behind_spool_take(behind, OUTBOX_CREATE, path, NULL, NULL);
		behind->inode = names_created(fs->names, folder, name, &report, fs_now_ms(fs));
		err = behind->inode ? 0 : -ENOMEM;
	}
	if (err) {
		if (file)
			rfile_put(file);
		behind_free(behind);
		return err;
	}
	names_pin(behind->inode);
	attr_touch_content(&behind->inode->attr, request_clock());
	handle = handle_new(fs, behind->inode, file, flags);
	if (!handle) { /* made here and not there: as if it had failed */
		names_doubt(fs->names, folder, name);
		behind_free(behind);
		return -ENOMEM;
	}
	owner = openfile_owner(fs, behind->inode);
	rfile_set_owner(file, &owner);
	handle->open->own = true;
	behind->handle = handle_get(handle);
	err = behind_add(behind, OUTBOX_CREATE, path, NULL);
	if (err) {
		names_doubt(fs->names, folder, name);
		handle_put(handle);
		return err;
	}
	*out = handle;
	return 0;
}

static void merge(struct sftp_attr *into, const struct sftp_attr *attr)
{
	if (attr->flags & SSH_FILEXFER_ATTR_PERMISSIONS)
		into->mode = attr->mode;
	if (attr->flags & SSH_FILEXFER_ATTR_UIDGID) {
		into->uid = attr->uid;
		into->gid = attr->gid;
	}
	if (attr->flags & SSH_FILEXFER_ATTR_ACMODTIME) {
		into->atime = attr->atime;
		into->mtime = attr->mtime;
	}
	if (attr->flags & SSH_FILEXFER_ATTR_SIZE)
		into->size = attr->size;
	into->flags |= attr->flags;
}

/* It is there, with mode and owner as the server's umask and login made them. */
static void mend(struct behind *behind)
{
	struct openfile *open = behind->handle->open;
	struct sftp_attr fix = {0};

	if (behind->seen.flags && !behind->existed &&
	    (behind->seen.mode & 07777) != behind->attr.mode) {
		fix.flags |= SSH_FILEXFER_ATTR_PERMISSIONS;
		fix.mode = behind->attr.mode;
	}
	if (behind->give && !behind->existed) {
		fix.flags |= SSH_FILEXFER_ATTR_UIDGID;
		fix.uid = behind->attr.uid;
		fix.gid = behind->attr.gid;
	}
	/* What is sent behind it anyway takes that along, but for what was set since. */
	if (fix.flags && open->unsent) {
		struct sftp_attr *later = &((struct behind *)open->unsent)->attr;

		fix.flags &= ~later->flags;
		merge(later, &fix);
		fix.flags = 0;
	}
	if (fix.flags)
		rfile_fsetstat(behind->handle->file, &fix, behind_mended, behind);
	else
		behind_answered(behind, 0);
}

static void on_created(void *arg, int err, const struct sftp_attr *attr)
{
	struct behind *behind = arg;

	/* Somebody there was faster; without O_EXCL that file is meant, with what is in it unless
	 * the caller said O_TRUNC. */
	if (err == -EEXIST && !behind->exclusive && !behind->existed) {
		behind->existed = true;
		behind_send_create(behind, false);
		return;
	}
	if (err && behind_put_off(behind, err))
		return;
	if (err) {
		if (err != -ENOTCONN)
			rfile_give_up(behind->handle->file, err);
		behind_answered(behind, err);
		return;
	}
	behind->seen = *attr;
	mend(behind);
}

void behind_send_create(struct behind *behind, bool exclusive)
{
	behind->existed = !exclusive;
	rfile_create(behind->handle->file, behind->fs->outbox_channel, behind->item.doubt,
	    exclusive, behind->item.path, behind->attr.mode & 0777, on_created, behind);
}

static void on_told(void *arg, int err)
{
	(void)err;
	handle_put(arg);
}

void behind_fail_file(struct behind *behind, int err)
{
	struct openfile *open = behind->handle->open;

	if (rfile_is_later(behind->handle->file))
		rfile_give_up(behind->handle->file, err);
	if (!open->error)
		open->error = err;
	content_flush(open->content, on_told, handle_get(behind->handle));
}

void behind_ended_create(struct behind *behind, int err)
{
	struct fs *fs = behind->fs;
	struct inode *inode = behind->inode;
	struct attr_report report = fs_report(&behind->seen, 0);
	uint64_t size = inode->attr.size;
	bool other;

	if (err) {
		behind_fail_file(behind, err);
		return;
	}
	if (behind->existed && !behind->empties)
		behind->handle->open->own = false;
	if (!behind->seen.flags || inode->pending)
		return;
	if (!behind->existed)
		report.mode = inode->attr.mode;
	if (behind->give && !behind->existed) {
		report.uid = behind->attr.uid;
		report.gid = behind->attr.gid;
	}
	if (openfile_dirty(inode)) {
		inode->attr.mode = report.mode;
		inode->attr.uid = report.uid;
		inode->attr.gid = report.gid;
	} else {
		other = openfile_is_other(inode->open, report.size, size);
		openfile_take_own(fs, inode, &report, behind->sent_ms);
		if (other)
			openfile_version_changed(inode);
		else if (!report.size)
			openfile_confirmed(fs, inode->open, behind->sent_ms, false);
	}
}

/* --- data and attributes --- */

const struct outbox_item *behind_of_data(const struct openfile *open)
{
	const struct behind *behind = open->sending ? open->sending : open->unsent;

	return behind ? &behind->item : NULL;
}

int behind_file(struct handle *handle, const struct sftp_attr *attr)
{
	struct openfile *open = handle->open;
	struct behind *behind = open->unsent;
	struct fs *fs = open->fs;
	char path[PATH_MAX];
	int err;

	if (behind) {
		if (!attr)
			return 0;
		merge(&behind->attr, attr);
		return behind_spool_attr(behind);
	}
	if (!attr && open->sending && content_flush_covers(open->content, open->sending))
		return 0;
	err = names_path(fs->names, open->inode, path, sizeof(path));
	if (err)
		return err;
	behind = behind_new(fs, NULL, "", NULL, "", open->inode);
	if (!behind)
		return -ENOMEM;
	behind->handle = handle_get(handle);
	if (attr)
		behind->attr = *attr;
	open->unsent = behind;
	behind_spool_take(behind, OUTBOX_FILE, path, NULL, NULL);
	err = behind_add(behind, OUTBOX_FILE, path, NULL);
	if (err)
		open->unsent = NULL;
	return err;
}

void behind_wrote(struct openfile *open, uint64_t end)
{
	struct sftp_attr *attr = open->unsent ? &open->unsent->attr : NULL;

	if (!attr)
		return;
	attr->flags &= ~(uint32_t)SSH_FILEXFER_ATTR_ACMODTIME;
	if (end > attr->size)
		attr->flags &= ~(uint32_t)SSH_FILEXFER_ATTR_SIZE;
}

static void join_file(struct behind *behind)
{
	if (--behind->replies)
		return;
	if (behind->set_err)
		failures_add(behind->fs, "setattr", behind->item.path, behind->set_err);
	behind_answered(behind, behind->err);
}

static void on_set(void *arg, int err)
{
	struct behind *behind = arg;

	behind->set_err = err;
	join_file(behind);
}

static void on_seen(void *arg, int err, const struct sftp_attr *attr)
{
	struct behind *behind = arg;

	behind->attr_err = err;
	if (!err)
		behind->seen = *attr;
	join_file(behind);
}

static void send_attributes(struct behind *behind)
{
	struct rfile *file = behind->handle->file;

	behind->replies += 1 + (behind->attr.flags != 0);
	openfile_expect(behind->inode, &behind->attr);
	if (behind->attr.flags)
		rfile_fsetstat(file, &behind->attr, on_set, behind);
	rfile_fstat(file, on_seen, behind);
}

static void on_data(void *arg, int err)
{
	struct behind *behind = arg;

	if (!err && !behind->pipelined)
		send_attributes(behind);
	behind->err = err;
	join_file(behind);
}

/* With little data the attributes go out right behind it. */
void behind_send_file(struct behind *behind)
{
	struct handle *handle = behind->handle;
	struct openfile *open = handle->open;

	open->unsent = NULL;
	open->sending = behind;
	behind->replies = 1;
	behind->attr_err = -ENODATA;
	behind->pipelined = false;
	content_flush(open->content, on_data, behind);
	behind->pipelined =
	    content_is_sent(open->content, handle) && rfile_follows_appends(handle->file);
	if (behind->pipelined)
		send_attributes(behind);
}

void behind_ended_file(struct behind *behind, int err)
{
	struct openfile *open = behind->handle->open;
	struct inode *inode = behind->inode;
	struct fs *fs = behind->fs;
	struct attr_report report = fs_report(&behind->seen, 0);
	struct attr_time atime = inode->attr.atime, mtime = inode->attr.mtime;

	if (open->unsent == behind) /* it was never sent */
		open->unsent = NULL;
	if (open->sending == behind)
		open->sending = NULL;
	if (err) {
		behind_fail_file(behind, err);
		return;
	}
	if (behind->attr.flags && !behind->set_err)
		openfile_identity_changed(inode, &behind->attr);
	/* Somebody there writes too? The look at the end of the file says. */
	if (behind->attr_err || !behind->seen.flags || content_dirty(open->content) ||
	    open->unsent || report.size != inode->attr.size)
		return;
	if (!inode->pending && behind->current) {
		open->wrote = false;
		openfile_take_own(fs, inode, &report, behind->sent_ms);
	}
	if (behind->pipelined)
		openfile_confirmed(fs, open, behind->sent_ms,
		    (behind->attr.flags & SSH_FILEXFER_ATTR_ACMODTIME) && !behind->set_err);
	if (open->wrote)
		return;
	/* As they were set here, with their nanoseconds, if the instance took the seconds. */
	if (behind->attr.flags & SSH_FILEXFER_ATTR_ACMODTIME) {
		if (report.mtime == mtime.tv_sec)
			inode->attr.mtime = mtime;
		if (report.atime == atime.tv_sec)
			inode->attr.atime = atime;
	}
}

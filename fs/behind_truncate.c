/* Truncations: of a file that is opened to be written anew, and of one that is there. */
#include "fs/behind_impl.h"
#include <errno.h>
#include <limits.h>

/* Nothing of it is on its way that would come behind the truncation, or that the truncation would
 * have to follow. */
static bool is_at_rest(const struct inode *inode)
{
	const struct openfile *open = inode->open;

	return !open || (!open->unsent && !open->sending && !open->error && !open->strayed &&
			    !content_dirty(open->content));
}

/* It has one name, which is no lock, and the login may write it. */
static bool may_write(struct fs *fs, const struct inode *inode)
{
	const struct dentry *name = LIST_FIRST(&inode->names);
	uint32_t uid = remote_uid(fs->remote);

	return S_ISREG(inode->attr.mode) && name && !names_shared(inode) &&
	       inode->attr.nlink <= 1 && burst_ground(fs, name->parent, name->name) &&
	       (!uid || (inode->attr.uid == uid && (inode->attr.mode & 0200)));
}

bool behind_may_truncate(struct fs *fs, const struct inode *inode, uint64_t size)
{
	return size <= inode->attr.size + (1u << 20) && is_at_rest(inode) && may_write(fs, inode) &&
	       burst_room(fs);
}

bool behind_may_empty(struct fs *fs, const struct inode *inode)
{
	const struct openfile *open = inode->open;

	return !inode->pending && (!open || LIST_EMPTY(&open->handles)) &&
	       behind_may_truncate(fs, inode, 0) && behind_has_handles(fs);
}

/* Here it has that size from now on. What the instance had is what our changes are based on. */
static int cut_here(struct behind *behind, enum outbox_kind kind, uint64_t size)
{
	struct inode *inode = behind->inode;
	struct openfile *open = openfile_of(behind->fs, inode);
	char path[PATH_MAX];
	int err = open ? names_path(behind->fs->names, inode, path, sizeof(path)) : -ENOMEM;

	if (err) {
		behind_free(behind);
		return err;
	}
	openfile_will_write(open);
	behind_spool_truncate(behind, path, size, open);
	content_unbased(open->content);
	content_resize(open->content, size);
	inode->attr.size = size;
	openfile_wrote(behind->fs, open, size);
	open->own |= !size;
	return behind_add(behind, kind, path, NULL);
}

/* --- opened to be written anew --- */

int behind_empty(struct request *request, struct inode *inode, int flags, struct handle **out)
{
	struct fs *fs = request->fs;
	struct rfile_owner owner = openfile_owner(fs, inode);
	struct behind *behind = owner.arg ? behind_new(fs, NULL, "", NULL, "", inode) : NULL;
	struct rfile *file = NULL;
	struct handle *handle;
	int err;

	if (behind)
		file = rfile_new_later(fs->remote, openfile_sftp_flags(flags), &owner);
	if (!file) {
		if (behind)
			behind_free(behind);
		return -ENOMEM;
	}
	handle = handle_new(fs, inode, file, flags);
	if (!handle) {
		behind_free(behind);
		return -ENOMEM;
	}
	behind->empties = true;
	behind->attr.mode = inode->attr.mode & 07777;
	behind->handle = handle_get(handle);
	err = cut_here(behind, OUTBOX_CREATE, 0);
	if (err)
		handle_put(handle);
	else
		*out = handle;
	return err;
}

/* --- one that is there --- */

int behind_truncate(struct fs *fs, struct inode *inode, uint64_t size)
{
	struct behind *behind = behind_new(fs, NULL, "", NULL, "", inode);
	struct openfile *open = openfile_of(fs, inode);
	struct handle *handle;
	int err;

	if (!behind || !open) {
		if (behind)
			behind_free(behind);
		return -ENOMEM;
	}
	behind->attr = (struct sftp_attr){.flags = SSH_FILEXFER_ATTR_SIZE, .size = size};
	/* What is written from now on comes after it, and so does what is read. */
	content_hold(open->content, true);
	LIST_FOREACH (handle, &open->handles, link)
		handle->early = true;
	err = cut_here(behind, OUTBOX_TRUNCATE, size);
	if (err)
		content_hold(open->content, false);
	return err;
}

static void join(struct behind *behind)
{
	if (!--behind->replies)
		behind_answered(behind, behind->err);
}

static void on_truncated(void *arg, int err)
{
	struct behind *behind = arg;

	behind->err = err;
	join(behind);
}

static void on_seen(void *arg, int err, const struct sftp_attr *attr)
{
	struct behind *behind = arg;

	behind->attr_err = err;
	if (!err)
		behind->seen = *attr;
	join(behind);
}

void behind_send_truncate(struct behind *behind)
{
	struct remote *remote = behind->fs->remote;
	struct openfile *open = behind->inode->open;
	struct handle *handle;

	openfile_expect(behind->inode, &behind->attr);
	LIST_FOREACH (handle, &open->handles, link)
		rfile_mark_changed(handle->file);
	behind->replies = 2;
	remote_begin_ordered(remote, behind->fs->outbox_channel, behind->item.doubt);
	remote_setstat(remote, behind->item.path, &behind->attr, false, on_truncated, behind);
	remote_lstat(remote, behind->item.path, on_seen, behind);
	remote_end_ordered(remote);
}

void behind_ended_truncate(struct behind *behind, int err)
{
	struct inode *inode = behind->inode;
	struct openfile *open = inode->open;
	struct attr_report report = fs_report(&behind->seen, 0);
	struct handle *handle;

	if (!err) {
		LIST_FOREACH (handle, &open->handles, link)
			rfile_truncated(handle->file, behind->attr.size);
	}
	if (!err && !behind->attr_err && behind->seen.flags && !inode->pending && behind->current &&
	    !content_dirty(open->content) && report.size == inode->attr.size) {
		open->wrote = false;
		openfile_take_own(behind->fs, inode, &report, behind->sent_ms);
	}
	/* What was written behind it needs it; who has the file open is told. */
	if (err && err != -ENOTCONN) {
		if (!LIST_EMPTY(&open->handles) && !open->error)
			open->error = err;
		content_fail(open->content, err);
	}
	content_hold(open->content, false);
}

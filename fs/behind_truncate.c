/* Files that are there: opened to be written to, opened to be written anew, and given another size.
 */
#include "fs/behind_impl.h"
#include "fs/watched.h"
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
	if (!size && behind->n_sequences) /* whatever becomes of it, that comes first */
		openfile_overwritten(behind->fs, inode);
	content_unbased(open->content);
	content_replaced(open->content, size, UINT64_MAX);
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

/* --- opened to be written to --- */

/* What a program may read has to be as new as for any open; what it writes goes into the file that
 * has the name. */
static bool is_known(struct fs *fs, const struct inode *inode, int flags)
{
	if ((flags & O_ACCMODE) == O_WRONLY)
		return fs_attr_believed(fs, inode);
	return openfile_is_known(fs, inode, OPENFILE_CHECKED_MS);
}

static bool is_written_to(const struct openfile *open)
{
	const struct handle *handle;

	LIST_FOREACH (handle, &open->handles, link) {
		if (handle->writable)
			return true;
	}
	return false;
}

bool behind_may_open(struct fs *fs, const struct inode *inode, int flags)
{
	return !inode->pending && is_at_rest(inode) &&
	       (!inode->open || !is_written_to(inode->open)) && is_known(fs, inode, flags) &&
	       may_write(fs, inode) && burst_room(fs) && behind_has_handles(fs);
}

int behind_open(struct request *request, struct inode *inode, int flags, struct handle **out)
{
	struct fs *fs = request->fs;
	struct rfile_owner owner = openfile_owner(fs, inode);
	struct behind *behind = owner.arg ? behind_new(fs, NULL, "", NULL, "", inode) : NULL;
	struct rfile *file;
	struct handle *handle;
	char path[PATH_MAX];
	int err;

	if (!behind)
		return -ENOMEM;
	file = rfile_new_later(fs->remote, openfile_sftp_flags(flags), &owner);
	handle = file ? handle_new(fs, inode, file, flags) : NULL;
	err = handle ? names_path(fs->names, inode, path, sizeof(path)) : -ENOMEM;
	if (err) {
		behind_free(behind);
		if (handle)
			handle_put(handle);
		return err;
	}
	behind->opens = true;
	behind->handle = handle_get(handle);
	err = behind_add(behind, OUTBOX_OPEN, path, NULL);
	if (err)
		handle_put(handle);
	else
		*out = handle;
	return err;
}

static void on_opened(void *arg, int err, const struct sftp_attr *attr)
{
	struct behind *behind = arg;

	if (err && behind_put_off(behind, err))
		return;
	if (err && err != -ENOTCONN)
		rfile_give_up(behind->handle->file, err);
	if (!err)
		behind->seen = *attr;
	behind_answered(behind, err);
}

void behind_send_open(struct behind *behind)
{
	rfile_open_into(
	    behind->handle->file, behind->fs->outbox_channel, behind->item.path, on_opened, behind);
}

/* Only what is written to it needs it. */
void behind_ended_open(struct behind *behind, int err)
{
	if (err) {
		behind_fail_file(behind, err);
		return;
	}
	fs_take_report(behind->fs, behind->inode, &behind->seen, behind->tick, behind->sent_ms);
	handle_tell_version(behind->handle);
}

/* --- given another size --- */

int behind_same_size(struct handle *handle, uint64_t size)
{
	struct openfile *open = handle->open;
	struct sftp_attr attr = {.flags = SSH_FILEXFER_ATTR_SIZE, .size = size};
	struct fs *fs = open->fs;
	char path[PATH_MAX];
	int err = names_path(fs->names, open->inode, path, sizeof(path));

	if (!err)
		err = behind_file(handle, &attr);
	if (err)
		return err;
	/* Behind the data; it may be sent already. */
	if (open->unsent)
		behind_spool_truncate(open->unsent, path, size, open);
	attr_touch_content(&open->inode->attr, request_clock());
	names_changed(fs->names, open->inode);
	return 0;
}

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

#include "fs/openfile.h"
#include "fs/ahead.h"
#include "fs/behind.h"
#include "fs/beside.h"
#include "fs/disk.h"
#include "fs/notify.h"
#include "fs/request.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

struct openfile *openfile_of(struct fs *fs, struct inode *inode)
{
	struct openfile *open = inode->open;

	if (open)
		return open;
	open = calloc(1, sizeof(*open));
	if (!open)
		return NULL;
	open->fs = fs;
	open->inode = inode;
	open->content = content_new(fs->contents, inode->attr.size);
	if (!open->content) {
		free(open);
		return NULL;
	}
	LIST_INIT(&open->handles);
	STAILQ_INIT(&open->doubters);
	inode->open = open;
	if (fs_settled(fs, inode))
		disk_keep(fs, inode);
	return open;
}

void openfile_free(struct inode *inode)
{
	struct openfile *open = inode->open;

	if (!open)
		return;
	inode->open = NULL;
	ahead_own_remove(open->fs, open);
	content_free(open->content);
	free(open);
}

/* Is there anything of it that the instance does not have? */
static bool is_newer_here(const struct openfile *open)
{
	return content_dirty(open->content) || content_refused(open->content);
}

bool openfile_dirty(const struct inode *inode)
{
	const struct openfile *open = inode->open;

	return open && (open->wrote || is_newer_here(open));
}

bool openfile_goes_first(const struct inode *inode)
{
	const struct openfile *open = inode->open;

	return open && content_dirty(open->content) && names_shared(inode);
}

bool openfile_goes_before_removal(const struct inode *inode)
{
	const struct openfile *open = inode->open;

	return openfile_goes_first(inode) &&
	       (!open->linking || LIST_NEXT(LIST_NEXT(LIST_FIRST(&inode->names), same), same));
}

bool openfile_no_path(void *arg, char *buf, size_t size)
{
	(void)arg;
	(void)buf;
	(void)size;
	return false;
}

uint32_t openfile_sftp_flags(int flags)
{
	uint32_t out = SSH_FXF_READ;

	if ((flags & O_ACCMODE) == O_WRONLY)
		out = SSH_FXF_WRITE;
	else if ((flags & O_ACCMODE) == O_RDWR)
		out = SSH_FXF_READ | SSH_FXF_WRITE;
	if ((flags & O_APPEND) && (out & SSH_FXF_WRITE))
		out |= SSH_FXF_APPEND;
	if (flags & O_TRUNC)
		out |= SSH_FXF_TRUNC;
	return out;
}

struct handle *handle_new(struct fs *fs, struct inode *inode, struct rfile *file, int flags)
{
	struct openfile *open = openfile_of(fs, inode);
	struct handle *handle = open ? calloc(1, sizeof(*handle)) : NULL;

	if (!handle) {
		rfile_put(file);
		return NULL;
	}
	handle->open = open;
	handle->file = file;
	handle->refs = 1;
	handle->append = flags & O_APPEND;
	handle->writable = (flags & O_ACCMODE) != O_RDONLY;
	LIST_INSERT_HEAD(&open->handles, handle, link);
	if (open->strayed)
		rfile_may_stray(file);
	names_pin(inode);
	fs->open_files++;
	return handle;
}

void openfile_name_goes(struct fs *fs, struct inode *parent, const char *name)
{
	const struct dentry *dentry = names_find(fs->names, parent, name);
	const struct inode *inode = dentry ? dentry->inode : NULL;
	struct openfile *open = inode ? inode->open : NULL;
	const struct handle *handle;

	if (!open)
		return;
	beside_changed(open);
	open->unnamed = !names_shared(inode);
	LIST_FOREACH (handle, &open->handles, link) {
		if (open->unnamed && !handle_is_there(handle))
			content_stays(open->content);
	}
}

struct handle *openfile_nameless(const struct inode *inode, int flags)
{
	const struct openfile *open = inode->open;
	uint32_t wanted = openfile_sftp_flags(flags);
	struct handle *handle;

	if (!open || !open->unnamed || !LIST_EMPTY(&inode->names))
		return NULL;
	if (flags & O_TRUNC)
		wanted |= SSH_FXF_WRITE;
	LIST_FOREACH (handle, &open->handles, link) {
		const struct rfile *file = handle->file;

		if (!handle->closed && (!(wanted & SSH_FXF_READ) || rfile_readable(file)) &&
		    (!(wanted & SSH_FXF_WRITE) ||
			(rfile_writable(file) && (!rfile_append(file) || (flags & O_APPEND)))))
			return handle;
	}
	return NULL;
}

bool handle_is_there(const struct handle *handle)
{
	return handle->writable || rfile_is_asked(handle->file) || rfile_is_later(handle->file);
}

void handle_is_unasked(struct handle *handle)
{
	struct fs *fs = handle->open->fs;

	handle->is_unasked = true;
	handle->opened_ms = fs_now_ms(fs);
	handle->unseen = fs_offline(fs);
	LIST_INSERT_HEAD(&fs->unasked, handle, unasked);
}

void handles_unseen(struct fs *fs)
{
	struct handle *handle;

	LIST_FOREACH (handle, &fs->unasked, unasked)
		handle->unseen = true;
}

static void asked(struct handle *handle)
{
	if (handle->is_unasked)
		LIST_REMOVE(handle, unasked);
	handle->is_unasked = false;
}

static void on_asked_late(void *arg, int err, const struct sftp_attr *attr)
{
	struct handle *handle = arg;

	(void)err; /* it is told to who reads what is not here */
	(void)attr;
	handle_put(handle);
}

void handles_ask_late(struct fs *fs)
{
	struct handle *handle, *next;

	for (handle = LIST_FIRST(&fs->unasked); handle && !fs_offline(fs); handle = next) {
		next = LIST_NEXT(handle, unasked);
		if (fs_now_ms(fs) - handle->opened_ms < 1000 || handle->open->inode->pending ||
		    handle->open->leaving)
			continue;
		asked(handle);
		rfile_fstat(handle->file, on_asked_late, handle_get(handle));
	}
}

void openfile_owes(struct openfile *open, int err)
{
	if (err && err != -ECANCELED && !open->error && !LIST_EMPTY(&open->handles))
		open->error = err;
}

void openfile_told(struct openfile *open, bool told)
{
	bool refused = content_refused(open->content);

	if (told)
		content_told(open->content);
	else
		content_forget_refused(open->content);
	if (!refused)
		return;
	/* The kernel's pages, and its size, are of what the instance does not have. */
	open->kernel_stale = true;
	open->own = false;
	open->wrote = true;
	open->inode->checked_ms = 0;
	notify_content(open->fs, open->inode);
	openfile_looked_at(open->inode);
}

struct handle *handle_get(struct handle *handle)
{
	handle->refs++;
	return handle;
}

void handle_put(struct handle *handle)
{
	struct openfile *open = handle->open;
	struct fs *fs = open->fs;
	struct handle *placing;

	if (--handle->refs)
		return;
	asked(handle);
	LIST_REMOVE(handle, link);
	if (LIST_EMPTY(&open->handles)) {
		open->error = 0;
		openfile_told(open, false);
	}
	/* Mapped pages are written back after the last close(2), with no flush behind them. */
	if (LIST_EMPTY(&open->handles) && !open->refreshing)
		openfile_refresh_after_write(open, handle->file);
	placing = handle->placing;
	rfile_put(handle->file);
	free(handle);
	fs->open_files--;
	if (placing)
		handle_put(placing);
	names_unpin(fs->names, open->inode);
}

/* --- writes at their place beside an appending handle --- */

struct handle *handle_placing(struct handle *handle)
{
	struct handle *other;

	LIST_FOREACH (other, &handle->open->handles, link) {
		if (other->writable && !other->append)
			return other;
	}
	return NULL;
}

struct placing {
	struct handle *handle;
	void (*done)(void *arg, int err);
	void *arg;
};

static void on_placing_open(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	struct placing *placing = arg;
	struct handle *handle = placing->handle;

	(void)attr;
	if (!err && handle->placing) { /* two asked for it */
		rfile_put(file);
	} else if (!err) {
		handle->placing = handle_new(handle->open->fs, handle->open->inode, file, O_WRONLY);
		if (handle->placing) {
			handle->placing->closed = true;
			handle_tell_version(handle->placing);
		} else {
			err = -ENOMEM;
		}
	}
	placing->done(placing->arg, err);
	free(placing);
}

static void on_placing_turn(void *arg, int err);

/* The file may have been made, or renamed, by what the instance does not have yet. 0: one of the
 * completions comes. */
static int open_placing(struct placing *placing)
{
	struct openfile *open = placing->handle->open;
	struct fs *fs = open->fs;
	struct rfile_owner owner = openfile_owner(fs, open->inode);
	char path[PATH_MAX];
	int err = names_path(fs->names, open->inode, path, sizeof(path));

	if (!err)
		err = behind_wait(fs, OUTBOX_READ, open->inode, NULL, on_placing_turn, placing);
	if (err <= 0)
		return err;
	rfile_open(fs->remote, path, SSH_FXF_WRITE, 0, &owner, on_placing_open, placing);
	return 0;
}

static void on_placing_turn(void *arg, int err)
{
	struct placing *placing = arg;

	if (!err)
		err = open_placing(placing);
	if (!err)
		return;
	placing->done(placing->arg, err);
	free(placing);
}

int handle_open_placing(struct handle *handle, void (*done)(void *arg, int err), void *arg)
{
	struct placing *placing = malloc(sizeof(*placing));
	int err;

	if (!placing)
		return -ENOMEM;
	*placing = (struct placing){.handle = handle, .done = done, .arg = arg};
	err = open_placing(placing);
	if (err)
		free(placing);
	return err;
}

/* --- what is cached of it --- */

bool openfile_keeps_cache(struct fs *fs, struct inode *inode)
{
	struct openfile *open = openfile_of(fs, inode);
	bool keeps = open && !open->kernel_stale && !open->suspect;

	if (!open)
		return false;
	open->kernel_stale = false;
	if (open->suspect && !openfile_dirty(inode)) { /* else it stays suspect */
		content_invalidate(open->content);
		open->suspect = false;
	}
	return keeps;
}

void openfile_opened(struct inode *inode)
{
	struct openfile *open = inode->open;

	open->mode = inode->attr.mode;
	open->uid = inode->attr.uid;
	open->gid = inode->attr.gid;
}

void openfile_used(struct fs *fs, struct openfile *open)
{
	const struct inode *inode = open->inode;

	if (!open->suspect && !fs_settled(fs, inode))
		open->suspect = true;
}

void openfile_will_write(struct openfile *open)
{
	const struct inode *inode = open->inode;

	if (openfile_dirty(inode))
		return;
	open->base_size = inode->attr.size;
	open->base_mtime = inode->attr.mtime_there;
	open->based = !inode->pending; /* else it is not known what the instance will have */
	content_based(open->content);
}

void openfile_wrote(struct fs *fs, struct openfile *open, uint64_t end)
{
	struct inode *inode = open->inode;

	beside_changed(open);
	behind_wrote(open, end);
	if (!open->wrote)
		disk_changed(fs, inode);
	if (end > inode->attr.size)
		inode->attr.size = end;
	attr_touch_content(&inode->attr, request_clock());
	names_changed(fs->names, inode);
	open->wrote = true;
	open->linking = NULL;
	open->suspect = true;
	open->own_ms = 0;
}

struct refresh {
	struct fs *fs;
	struct openfile *open;
	struct rfile *file;
	uint64_t tick, sent_ms;
};

static void on_fstat(void *arg, int err, const struct sftp_attr *attr)
{
	struct refresh *refresh = arg;
	struct openfile *open = refresh->open;
	struct inode *inode = open->inode;
	struct attr_report report;
	uint64_t expected = inode->attr.size;

	open->refreshing = false;
	if ((inode->changed_tick > refresh->tick || inode->pending) && !err) {
		/* Asks again: a mode or a time that was set here may not be there yet. */
		openfile_refresh_after_write(open, refresh->file);
	} else if (!is_newer_here(open)) {
		open->wrote = false;
		inode->checked_ms = 0;
		if (!err && attr->flags) {
			bool suspect = open->suspect || attr->mtime != inode->attr.mtime_there;
			bool other;

			report = fs_report(attr, 0);
			other = openfile_is_other(open, report.size, expected);
			openfile_take_own(refresh->fs, inode, &report, refresh->sent_ms);
			inode->changed_tick = refresh->tick; /* what was asked later is no older */
			open->suspect = suspect;
			if (other) /* somebody there wrote too */
				openfile_version_changed(inode);
			else
				openfile_confirmed(refresh->fs, open, refresh->sent_ms, false);
		}
	}
	rfile_put(refresh->file);
	names_unpin(refresh->fs->names, inode);
	free(refresh);
}

void openfile_refresh_after_write(struct openfile *open, struct rfile *file)
{
	struct refresh *refresh;

	if (!open->wrote || is_newer_here(open))
		return;
	refresh = malloc(sizeof(*refresh));
	if (!refresh)
		return;
	*refresh = (struct refresh){.fs = open->fs, .open = open, .file = rfile_get(file)};
	open->refreshing = true;
	names_pin(open->inode);
	refresh->tick = names_tick(open->fs->names);
	refresh->sent_ms = fs_now_ms(open->fs);
	rfile_fstat(file, on_fstat, refresh);
}

void openfile_looked_at(struct inode *inode)
{
	struct openfile *open = inode->open;
	struct handle *handle = open ? LIST_FIRST(&open->handles) : NULL;

	if (handle && !open->refreshing)
		openfile_refresh_after_write(open, handle->file);
}

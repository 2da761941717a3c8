/* What the open files of an inode know of it: by that they are known again after a lost link. */
#include "cache/spool.h"
#include "fs/behind.h"
#include "fs/beside.h"
#include "fs/disk.h"
#include "fs/notify.h"
#include "fs/openfile.h"
#include "fs/replaced.h"
#include "fs/request.h"
#include <limits.h>
#include <stdio.h>

/* --- where it is --- */

static bool owner_path(void *arg, char *buf, size_t size)
{
	struct openfile *open = arg;
	struct fs *fs = open->fs;
	const struct outbox_item *sent = behind_of_data(open);
	char here[PATH_MAX];

	if (!sent && names_path(fs->names, open->inode, here, sizeof(here)))
		return false;
	if (!fs->outbox || (sent && open->sending)) {
		snprintf(buf, size, "%s", sent ? sent->path : here);
		return true;
	}
	return outbox_path_there(fs->outbox, sent ? sent->path : here, sent, buf, size);
}

/* An open file that lost its handle is compared with the version that was told last; what another
 * one has been changing since, having found that it still is the file, must not make it another. */
static void owner_changes(void *arg, bool lost)
{
	struct openfile *open = arg;
	struct handle *handle;

	open->strayed = open->strayed || lost;
	LIST_FOREACH (handle, &open->handles, link) {
		if (lost)
			rfile_may_stray(handle->file);
		else
			rfile_mark_changed(handle->file);
	}
}

struct rfile_owner openfile_owner(struct fs *fs, struct inode *inode)
{
	return (struct rfile_owner){
	    .path = owner_path, .changes = owner_changes, .arg = openfile_of(fs, inode)};
}

/* --- versions --- */

static bool is_changing(const struct openfile *open)
{
	const struct handle *handle;

	if (openfile_dirty(open->inode))
		return true;
	LIST_FOREACH (handle, &open->handles, link) {
		if (rfile_is_changing(handle->file))
			return true;
	}
	return false;
}

void handle_tell_version(struct handle *handle)
{
	const struct inode *inode = handle->open->inode;

	if (is_changing(handle->open))
		rfile_mark_changed(handle->file);
	else
		rfile_set_version(handle->file, inode->attr.mtime_there, inode->attr.size);
	handle->mtime = inode->attr.mtime_there;
	handle->size = inode->attr.size;
}

/* Whoever has lost his handle on the instance can't tell the file from another one that took its
 * name meanwhile; but another handle here may. */
static bool is_held(const struct openfile *open)
{
	const struct handle *handle;

	LIST_FOREACH (handle, &open->handles, link) {
		if (rfile_is_held(handle->file))
			return true;
	}
	return false;
}

/* own: it is what a change of ours has made. */
static void tell_version(struct openfile *open, bool own)
{
	const struct inode *inode = open->inode;
	bool sure = own || is_held(open);
	struct handle *handle;

	LIST_FOREACH (handle, &open->handles, link) {
		if (sure)
			handle_tell_version(handle);
		else
			rfile_offer_version(
			    handle->file, inode->attr.mtime_there, inode->attr.size);
	}
}

void openfile_version_changed(struct inode *inode)
{
	struct openfile *open = inode->open;
	struct handle *handle;

	if (!open)
		return;
	LIST_FOREACH (handle, &open->handles, link) {
		if (!LIST_EMPTY(&inode->names))
			replaced_doubt(handle);
	}
	content_unkeep(open->content);
	content_invalidate(open->content);
	content_resize(open->content, inode->attr.size);
	tell_version(open, false);
	open->kernel_stale = true;
	open->own = false;
	notify_content(open->fs, inode);
}

bool openfile_is_other(const struct openfile *open, uint64_t size, uint64_t expected)
{
	/* Appends may have gone elsewhere than where they are here. */
	return size != expected || size != content_size(open->content);
}

void openfile_take_own(
    struct fs *fs, struct inode *inode, const struct attr_report *report, uint64_t sent_ms)
{
	struct openfile *open = inode->open;

	names_changed(fs->names, inode); /* what was seen before this does not count */
	attr_update_after_write(&inode->attr, report);
	inode->version_ms = inode->checked_ms = sent_ms;
	if (open) {
		open->suspect = true;
		tell_version(open, true);
	}
	if (open && !content_dirty(open->content))
		content_resize(open->content, report->size);
	if (open && content_refused(open->content))
		inode->attr.size = content_size(open->content);
}

void openfile_seen(struct fs *fs, struct inode *inode, const struct sftp_attr *attr, uint64_t tick,
    uint64_t sent_ms)
{
	struct openfile *open = inode->open;
	struct attr_report report = fs_report(attr, 0);
	const struct handle *handle;
	bool other;

	if (!open || !open->wrote || inode->pending || inode->changed_tick > tick ||
	    content_dirty(open->content) || content_refused(open->content) || !S_ISREG(report.mode))
		return;
	LIST_FOREACH (handle, &open->handles, link) {
		if (handle->writable) /* that will tell, and which file it is too */
			return;
	}
	other = openfile_is_other(open, report.size, inode->attr.size);
	open->wrote = false;
	openfile_take_own(fs, inode, &report, sent_ms);
	inode->changed_tick = tick; /* the open is to bring what was read of it, too */
	if (other)
		openfile_version_changed(inode);
}

void openfile_overwritten(struct fs *fs, struct inode *inode)
{
	struct openfile *open = inode->open;
	char path[PATH_MAX];

	if (open)
		content_overwritten(open->content);
	/* what an earlier mount, or an earlier opening, left */
	if (fs->spool && !names_path(fs->names, inode, path, sizeof(path)))
		spool_discard_data(fs->spool, path);
}

void openfile_truncated(
    struct fs *fs, struct inode *inode, const struct attr_report *report, uint64_t sent_ms)
{
	struct openfile *open = inode->open;
	struct handle *handle;

	disk_changed(fs, inode);
	attr_touch_content(&inode->attr, request_clock());
	if (open) {
		beside_changed(open);
		content_replaced(open->content, report->size, UINT64_MAX);
	}
	if (open && !content_dirty(open->content)) {
		content_resize(open->content, report->size);
		LIST_FOREACH (handle, &open->handles, link)
			rfile_truncated(handle->file, report->size);
		open->wrote = false;
		open->own |= !report->size;
		open->own_ms = 0;
	}
	if (!report->size && (!open || !content_dirty(open->content)))
		openfile_overwritten(fs, inode);
	openfile_take_own(fs, inode, report, sent_ms);
	if (openfile_dirty(inode)) /* written to again meanwhile, or refused */
		inode->attr.size = content_size(open->content);
}

void openfile_expect(struct inode *inode, const struct sftp_attr *attr)
{
	struct openfile *open = inode->open;
	struct handle *handle;

	if (!open)
		return;
	LIST_FOREACH (handle, &open->handles, link)
		rfile_expect(handle->file, attr);
}

void openfile_identity_changed(struct inode *inode, const struct sftp_attr *attr)
{
	struct openfile *open = inode->open;
	struct handle *handle;

	if (!open)
		return;
	LIST_FOREACH (handle, &open->handles, link)
		rfile_set_identity(handle->file, attr);
}

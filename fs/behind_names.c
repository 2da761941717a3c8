/* Changes of names that are answered before the instance has them. */
#include "conf/log.h"
#include "fs/behind_impl.h"
#include "fs/burst.h"
#include "fs/symlink.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* --- making --- */

/* What the instance will make of it, as far as that is known. */
static struct attr_report report_of_new(
    const struct request *request, const struct inode *folder, struct behind *behind, mode_t mode)
{
	struct fs *fs = request->fs;
	uint32_t now = attr_clamp_time(request_clock().tv_sec);
	struct attr_report report = {.mode = mode,
	    .uid = remote_uid(fs->remote),
	    .gid = remote_gid(fs->remote),
	    .atime = now,
	    .mtime = now};

	if (folder->attr.mode & S_ISGID) {
		report.gid = folder->attr.gid;
		if (S_ISDIR(mode))
			report.mode |= S_ISGID;
	}
	behind->give = fs_gives_away(fs, request->uid);
	if (behind->give) {
		report.uid = behind->attr.uid = fs_uid_there(fs, request->uid);
		report.gid = behind->attr.gid = fs_gid_given(fs, folder, request->gid);
	}
	return report;
}

static int add_new(struct behind *behind, enum outbox_kind kind, const struct attr_report *report,
    struct inode **out)
{
	struct fs *fs = behind->fs;
	char path[PATH_MAX];
	int err = names_child_path(fs->names, behind->folder, behind->name, path, sizeof(path));
	struct inode *inode = NULL;

	if (!err) {
		behind_spool_take(behind, kind, path, NULL, NULL);
		inode =
		    names_created(fs->names, behind->folder, behind->name, report, fs_now_ms(fs));
	}
	if (!inode) {
		behind_free(behind);
		return err ? err : -ENOMEM;
	}
	attr_touch_content(&inode->attr, request_clock());
	inode->attr.atime = inode->attr.mtime;
	behind->inode = inode;
	names_pin(inode);
	*out = inode;
	return behind_add(behind, kind, path, NULL);
}

int behind_mkdir(struct request *request, struct inode *folder, const char *name, mode_t mode,
    struct inode **out)
{
	struct behind *behind = behind_new(request->fs, folder, name, NULL, "", NULL);
	struct attr_report report;

	if (!behind)
		return -ENOMEM;
	behind->attr.mode = mode & 01777;
	report = report_of_new(request, folder, behind, S_IFDIR | (mode & 01777));
	report.size = 4096;
	return add_new(behind, OUTBOX_MKDIR, &report, out);
}

int behind_symlink(struct request *request, struct inode *folder, const char *name,
    const char *target, struct inode **out)
{
	struct behind *behind = behind_new(request->fs, folder, name, NULL, "", NULL);
	struct attr_report report;

	if (!behind)
		return -ENOMEM;
	behind->target = strdup(target);
	if (!behind->target) {
		behind_free(behind);
		return -ENOMEM;
	}
	report = report_of_new(request, folder, behind, S_IFLNK | 0777);
	report.size = strlen(target);
	return add_new(behind, OUTBOX_SYMLINK, &report, out);
}

static void loses_name(struct behind *behind, struct inode *inode)
{
	struct openfile *open = inode->open;

	behind->there = inode;
	names_pin(inode);
	if (open && !names_shared(inode))
		open->leaving = behind;
}

int behind_remove(struct fs *fs, struct inode *folder, const char *name, bool rmdir)
{
	struct inode *inode = names_find(fs->names, folder, name)->inode;
	struct behind *behind = behind_new(fs, folder, name, NULL, "", inode);
	char path[PATH_MAX];
	int err = behind ? names_child_path(fs->names, folder, name, path, sizeof(path)) : -ENOMEM;

	if (err) {
		if (behind)
			behind_free(behind);
		return err;
	}
	if (!rmdir)
		loses_name(behind, inode);
	behind->item.after_all = burst_is_lock(name);
	behind_spool_take(behind, rmdir ? OUTBOX_RMDIR : OUTBOX_UNLINK, path, NULL, inode);
	attr_touch_change(&inode->attr, request_clock());
	names_removed(fs->names, folder, name, fs_now_ms(fs));
	return behind_add(behind, rmdir ? OUTBOX_RMDIR : OUTBOX_UNLINK, path, NULL);
}

int behind_rename(struct fs *fs, struct inode *folder, const char *name, struct inode *to_folder,
    const char *to_name, bool replace)
{
	struct inode *inode = names_find(fs->names, folder, name)->inode;
	struct behind *behind = behind_new(fs, folder, name, to_folder, to_name, inode);
	struct dentry *replaced;
	char path[PATH_MAX], to[PATH_MAX];
	int err = behind ? names_child_path(fs->names, folder, name, path, sizeof(path)) : -ENOMEM;

	if (!err)
		err = names_child_path(fs->names, to_folder, to_name, to, sizeof(to));
	if (err) {
		if (behind)
			behind_free(behind);
		return err;
	}
	behind->item.after_all = burst_is_lock(name);
	behind->item.moves_folder = inode->folder != NULL;
	behind->attr.size = S_ISREG(inode->attr.mode) ? inode->attr.size : 0;
	behind->item.distinct = replace && behind->attr.size;
	behind->keeps = !replace;
	replaced = names_find(fs->names, to_folder, to_name);
	if (replaced && replaced->inode)
		loses_name(behind, replaced->inode);
	behind_spool_take(behind, OUTBOX_RENAME, path, to, behind->there);
	names_renamed(fs->names, folder, name, to_folder, to_name, fs_now_ms(fs));
	attr_touch_change(&inode->attr, request_clock());
	return behind_add(behind, OUTBOX_RENAME, path, to);
}

int behind_link(struct fs *fs, struct inode *inode, struct inode *folder, const char *name)
{
	struct behind *behind = behind_new(fs, folder, name, NULL, "", inode);
	char path[PATH_MAX], to[PATH_MAX];
	int err = behind ? names_path(fs->names, inode, path, sizeof(path)) : -ENOMEM;

	if (!err)
		err = names_child_path(fs->names, folder, name, to, sizeof(to));
	if (err) {
		if (behind)
			behind_free(behind);
		return err;
	}
	behind_spool_take(behind, OUTBOX_LINK, path, to, NULL);
	names_linked(fs->names, inode, folder, name);
	attr_touch_change(&inode->attr, request_clock());
	err = behind_add(behind, OUTBOX_LINK, path, to);
	if (err)
		names_doubt(fs->names, folder, name);
	else if (inode->open)
		((struct openfile *)inode->open)->linking = behind;
	return err;
}

int behind_setattr(struct fs *fs, struct inode *inode, const struct sftp_attr *attr)
{
	struct behind *behind = behind_new(fs, NULL, "", NULL, "", inode);
	char path[PATH_MAX];
	int err = behind ? names_path(fs->names, inode, path, sizeof(path)) : -ENOMEM;

	if (err) {
		if (behind)
			behind_free(behind);
		return err;
	}
	behind->attr = *attr;
	behind_spool_take(behind, OUTBOX_SETATTR, path, NULL, NULL);
	return behind_add(behind, OUTBOX_SETATTR, path, NULL);
}

/* --- sending --- */

static void on_answered(void *arg, int err)
{
	struct behind *behind = arg;

	/* Somebody there has removed it too. */
	if (err == -ENOENT &&
	    (behind->item.kind == OUTBOX_UNLINK || behind->item.kind == OUTBOX_RMDIR))
		err = 0;
	behind_answered(behind, err);
}

/* Made, and its attributes seen. */
static void join_made(struct behind *behind)
{
	struct sftp_attr fix = {0};
	uint32_t want = behind->attr.mode | (behind->seen.mode & (S_ISGID | S_ISUID));
	bool folder = behind->item.kind == OUTBOX_MKDIR;

	if (--behind->replies)
		return;
	/* Made there meanwhile: it does as well, with whatever is in it. */
	if (folder && behind->err == -EEXIST && !behind->attr_err && S_ISDIR(behind->seen.mode)) {
		behind->err = 0;
		behind->existed = !behind->item.doubt;
		behind->inode->folder->ours = false;
		names_incomplete(behind->fs->names, behind->inode);
	}
	if (behind->err || behind->attr_err == -ENOTCONN) {
		behind_answered(behind, behind->err ? behind->err : -ENOTCONN);
		return;
	}
	if (folder && !behind->existed && !behind->attr_err &&
	    (behind->seen.mode & 07777) != want) {
		fix.flags |= SSH_FILEXFER_ATTR_PERMISSIONS;
		fix.mode = behind->seen.mode = want;
	}
	if (behind->give && !behind->existed) {
		fix.flags |= SSH_FILEXFER_ATTR_UIDGID;
		fix.uid = behind->attr.uid;
		fix.gid = behind->attr.gid;
	}
	if (fix.flags)
		remote_setstat(
		    behind->fs->remote, behind->item.path, &fix, true, behind_mended, behind);
	else
		behind_answered(behind, 0);
}

static void on_made(void *arg, int err)
{
	struct behind *behind = arg;

	behind->err = err;
	join_made(behind);
}

static void on_seen(void *arg, int err, const struct sftp_attr *attr)
{
	struct behind *behind = arg;

	behind->attr_err = err;
	if (!err)
		behind->seen = *attr;
	join_made(behind);
}

void behind_send_names(struct behind *behind)
{
	struct remote *remote = behind->fs->remote;
	const char *path = behind->item.path;
	bool link = behind->inode && S_ISLNK(behind->inode->attr.mode);

	remote_begin_ordered(remote, behind->fs->outbox_channel, behind->item.doubt);
	switch (behind->item.kind) {
	case OUTBOX_MKDIR:
	case OUTBOX_SYMLINK:
		behind->replies = 2;
		if (behind->item.kind == OUTBOX_MKDIR)
			remote_mkdir(remote, path, behind->attr.mode, on_made, behind);
		else
			remote_symlink(remote, behind->target, path, on_made, behind);
		remote_lstat(remote, path, on_seen, behind);
		break;
	case OUTBOX_RMDIR:
		remote_rmdir(remote, path, on_answered, behind);
		break;
	case OUTBOX_UNLINK:
		remote_unlink(remote, path, on_answered, behind);
		break;
	case OUTBOX_LINK:
		remote_link(remote, path, behind->item.to, on_answered, behind);
		break;
	case OUTBOX_RENAME:
		if (behind->keeps)
			remote_rename_free(remote, path, behind->item.to, on_answered, behind);
		else
			remote_rename_sized(
			    remote, path, behind->item.to, behind->attr.size, on_answered, behind);
		break;
	default:
		openfile_expect(behind->inode, &behind->attr);
		remote_setstat(remote, path, &behind->attr, link, on_answered, behind);
		break;
	}
	remote_end_ordered(remote);
}

/* The instance has what was set; nobody changed it here since, or those changes are on their way.
 */
static void ended_setattr(struct behind *behind)
{
	struct inode *inode = behind->inode;
	const struct attr *attr = &inode->attr;
	struct attr_report report = {.size = attr->size,
	    .mode = attr->mode,
	    .uid = attr->uid,
	    .gid = attr->gid,
	    .atime = attr->atime_there,
	    .mtime = attr->mtime_there};

	openfile_identity_changed(inode, &behind->attr);
	if (!inode->pending && !openfile_dirty(inode) && !inode->folder)
		openfile_take_own(behind->fs, inode, &report, behind->sent_ms);
}

static void ended_link(struct behind *behind, int err)
{
	struct openfile *open = behind->inode->open;

	if (open && open->linking == behind)
		open->linking = NULL;
	if (err && behind->inode->attr.nlink > 1)
		behind->inode->attr.nlink--;
}

/* A file with other names that did not lose this one. */
static void kept_name(struct inode *there)
{
	if (!LIST_EMPTY(&there->names) && there->attr.nlink)
		there->attr.nlink++;
}

/* Done: what was guessed of a new one gives way to what it is. */
void behind_ended_names(struct behind *behind, int err)
{
	struct inode *inode = behind->inode;

	if (behind->item.kind == OUTBOX_LINK)
		ended_link(behind, err);
	if (err && behind->there)
		kept_name(behind->there);
	if (err)
		return;
	if (behind->item.kind == OUTBOX_SETATTR) {
		ended_setattr(behind);
		return;
	}
	if ((behind->item.kind != OUTBOX_MKDIR && behind->item.kind != OUTBOX_SYMLINK) ||
	    behind->attr_err || inode->pending)
		return;
	inode->attr.mode = (inode->attr.mode & S_IFMT) | (behind->seen.mode & 07777);
	if (!behind->give || behind->existed) {
		inode->attr.uid = behind->seen.uid;
		inode->attr.gid = behind->seen.gid;
	}
	attr_made(&inode->attr, behind->seen.atime, behind->seen.mtime);
	inode->checked_ms = behind->sent_ms;
}

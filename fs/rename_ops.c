/* LINK, RENAME. */
#include "cache/spool.h"
#include "fs/change.h"
#include "fs/nameless.h"
#include "fs/owed.h"
#include "fs/ownlinks.h"
#include "fs/symlink.h"
#include <errno.h>
#include <string.h>

/* The smallest that a usual file system allows is some 32,000. */
#define LINKS_MOST 30000u

/* The data that was written so far goes into the outbox, before what follows. */
static int data_first(struct inode *inode)
{
	struct openfile *open = inode->open;
	struct handle *handle;

	if (!open || !content_dirty(open->content) || open->unsent)
		return 0;
	LIST_FOREACH (handle, &open->handles, link) {
		if (handle->writable)
			return behind_file(handle, NULL);
	}
	return -EIO;
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
	openfile_note_lock(fs, change->folder, change->name);
	request_end_entry(&change->request, change->inode);
}

/* W2: a file's data is there before another name of it is. */
static void on_data_to_link(void *arg, int err)
{
	struct change *change = arg;
	struct turn *turn = &change->turn;

	if (err) {
		openfile_owes(change->inode->open, err);
		request_end(&change->request, err);
		return;
	}
	remote_link(change->request.fs->remote, turn->to_path, turn->path, on_linked, change);
}

static void go_link(struct change *change)
{
	struct openfile *open = change->inode->open;

	if (open && content_dirty(open->content))
		content_flush(open->content, on_data_to_link, change);
	else
		on_data_to_link(change, 0);
}

/* Another name of a file on the same file system there, as far as anybody can tell. Who is not root
 * there may be kept from linking what others own (fs.protected_hardlinks). */
static bool may_link(const struct change *change)
{
	struct fs *fs = change->request.fs;
	struct inode *inode = change->inode, *parent = names_parent(inode);
	const struct dentry *to = names_find(fs->names, change->folder, change->name);
	uint32_t uid = remote_uid(fs->remote);

	return (!to || !to->inode) && S_ISREG(inode->attr.mode) && parent &&
	       remote_features(fs->remote)->hardlink && (!uid || uid == inode->attr.uid) &&
	       inode->attr.nlink < LINKS_MOST && burst_on(fs, change->request.pid) &&
	       names_on_same_disk(parent, change->folder) && burst_knows(fs, parent) &&
	       burst_ground(fs, change->folder, change->name) && burst_room(fs) &&
	       !openfile_goes_first(inode);
}

static int link_behind(struct change *change)
{
	int err = data_first(change->inode);

	return err ? err
		   : behind_link(change->request.fs, change->inode, change->folder, change->name);
}

void fs_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fuse_req_userdata(req);
	struct change *change = change_new(req, parent, name, "link");
	int err;

	if (!change)
		return;
	change->inode = fs_inode(fs, node);
	request_pin(&change->request, change->inode);
	if (may_link(change)) {
		err = link_behind(change);
		if (err)
			request_end(&change->request, err);
		else
			request_end_entry(&change->request, change->inode);
		return;
	}
	change->request.sends = change->inode->open != NULL;
	change->turn.to_inode = change->inode;
	change_alone(change, go_link, false);
}

/* --- rename --- */

/* What is not sent of the files in a folder is found there again under its new name. */
static void note_move(struct change *change)
{
	struct spool *spool = change->request.fs->spool;
	struct spool_record record = {
	    .type = SPOOL_RENAME,
	    .path = change->turn.path,
	    .to = change->turn.to_path,
	    .flags = SPOOL_NOREPLACE,
	};
	int64_t sequence;

	if (!spool || !change->inode || !change->inode->folder || !spool_next(spool, 0))
		return;
	sequence = spool_append(spool, &record);
	if (sequence <= 0)
		return;
	change->moves = (uint64_t)sequence;
	spool_sent(spool, change->moves, 1);
}

static void moved(struct change *change, int err)
{
	struct spool *spool = change->request.fs->spool;

	if (change->moves && !err)
		spool_done(spool, change->moves, 1);
	else if (change->moves && err != -ENOTCONN)
		spool_drop(spool, change->moves);
}

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
	moved(change, err);
	if (change->there && change->there != change->inode)
		nameless_ended(change->there, change->held, err);
	request_end(&change->request, err);
}

/* As far as is known here. */
static bool is_free(const struct change *change)
{
	struct fs *fs = change->request.fs;
	const struct dentry *to = names_find(fs->names, change->to_folder, change->to_name);

	return to ? !to->inode : burst_knows(fs, change->to_folder);
}

/* What remote_rename_free is for. */
static bool may_move_free(const struct change *change)
{
	return change->inode && !S_ISLNK(change->inode->attr.mode) && is_free(change);
}

static void on_both_there(struct change *change)
{
	struct remote *remote = change->request.fs->remote;
	bool replace = !(change->flags & RENAME_NOREPLACE);

	note_move(change);
	if (!replace && may_move_free(change))
		remote_rename_free(
		    remote, change->turn.path, change->turn.to_path, on_renamed, change);
	else
		remote_rename(
		    remote, change->turn.path, change->turn.to_path, replace, on_renamed, change);
}

/* W2: a file's data is there before its new name is. */
static void on_data_there(void *arg, int err)
{
	struct change *change = arg;

	if (err) {
		openfile_owes(change->inode->open, err);
		request_end(&change->request, err);
		return;
	}
	change_pin_there(change, change->to_folder, change->to_name);
	change_there_first(change, on_both_there);
}

static void go_rename(struct change *change)
{
	struct openfile *open = change->inode ? change->inode->open : NULL;
	int err = owed_claim(change->request.fs, change->to_folder, change->to_name);

	if (err)
		request_end(&change->request, err);
	else if (open && content_dirty(open->content))
		content_flush(open->content, on_data_there, change);
	else
		on_data_there(change, 0);
}

/* A folder is written to when it gets another parent. */
static bool may_move(const struct change *change)
{
	const struct fs *fs = change->request.fs;

	return !change->inode->folder || change->folder == change->to_folder ||
	       fs_login_may(fs, change->inode, 2);
}

static bool may_replace(const struct inode *inode, const struct inode *there)
{
	return !inode->folder && !there->folder && there != inode && !openfile_goes_first(there);
}

/* One request is enough, so that it keeps its place among the others. */
static bool is_one_request(const struct change *change)
{
	const struct sftp_features *features = remote_features(change->request.fs->remote);

	if (change->flags & RENAME_NOREPLACE)
		return features->expand_path && may_move_free(change);
	return features->posix_rename;
}

/* What is no folder, over nothing or over another such; a folder, over nothing. Where a rename
 * takes several steps, it waits. */
static bool may_rename(const struct change *change)
{
	struct fs *fs = change->request.fs;
	const struct dentry *to = names_find(fs->names, change->to_folder, change->to_name);

	return change->inode && is_one_request(change) && burst_on(fs, change->request.pid) &&
	       burst_ground_removed(fs, change->folder) &&
	       burst_ground(fs, change->to_folder, change->to_name) &&
	       !openfile_goes_first(change->inode) && may_move(change) &&
	       (!to || !to->inode || may_replace(change->inode, to->inode));
}

static int rename_behind(struct change *change)
{
	int err = owed_claim(change->request.fs, change->to_folder, change->to_name);

	if (!err)
		err = data_first(change->inode);

	return err ? err
		   : behind_rename(change->request.fs, change->folder, change->name,
			 change->to_folder, change->to_name, !(change->flags & RENAME_NOREPLACE));
}

void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
    const char *to_name, unsigned flags)
{
	struct fs *fs = fuse_req_userdata(req);
	struct change *change;
	struct dentry *dentry;

	if (flags & ~(unsigned)RENAME_NOREPLACE) { /* SFTP can't exchange two names */
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (strlen(to_name) > 255) {
		fuse_reply_err(req, ENAMETOOLONG);
		return;
	}
	change = change_new(req, parent, name, "rename");
	if (!change)
		return;
	change->flags = flags;
	change->to_folder = fs_inode(fs, to_parent);
	request_pin(&change->request, change->to_folder);
	strcpy(change->to_name, to_name);
	dentry = names_find(fs->names, change->folder, name);
	change->inode = dentry ? dentry->inode : NULL;
	if (change->inode)
		request_pin(&change->request, change->inode);
	if (change->inode && dentry->pending)
		change->turn.unsettled = change->inode;
	if (may_rename(change)) {
		request_end(&change->request, rename_behind(change));
		return;
	}
	change->request.sends = true;
	change->turn.to_inode = change->to_folder;
	change->turn.to_name = change->to_name;
	change_alone(change, go_rename, true);
}

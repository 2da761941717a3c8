/* MKDIR, MKNOD, SYMLINK, UNLINK, RMDIR. */
#include "conf/log.h"
#include "fs/change.h"
#include "fs/nameless.h"
#include "fs/owed.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct change *change_new(
    fuse_req_t req, fuse_ino_t parent, const char *name, const char *operation)
{
	struct fs *fs = fuse_req_userdata(req);
	struct change *change;

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
	burst_note(fs, change->request.pid, true);
	return change;
}

void change_pin_there(struct change *change, struct inode *folder, const char *name)
{
	const struct dentry *dentry = names_find(change->request.fs->names, folder, name);

	change->there = dentry ? dentry->inode : NULL;
	if (!change->there)
		return;
	request_pin(&change->request, change->there);
	change->held = nameless_hold(change->there, false);
}

static void on_there_flushed(void *arg, int err)
{
	struct change *change = arg;
	struct openfile *open = change->there->open;

	openfile_owes(open, err);
	change->go(change);
}

static void on_there_asked(void *arg)
{
	struct change *change = arg;

	change->go(change);
}

/* What has another name needs no file on the instance for who has it open. */
void change_there_first(struct change *change, void (*go)(struct change *change))
{
	struct openfile *open = change->there ? change->there->open : NULL;

	change->go = go;
	if (open && openfile_goes_first(change->there))
		content_flush(open->content, on_there_flushed, change);
	else if (!open || !nameless_ask(change->there, on_there_asked, change))
		go(change);
}

static void fail(struct change *change, int err)
{
	free(change->target);
	request_end(&change->request, err);
}

static void on_turn(struct request *request, int err)
{
	struct change *change = (struct change *)request;

	if (err)
		fail(change, err == -ESTALE ? -ENOENT : err);
	else
		change->go(change);
}

void change_alone(struct change *change, void (*go)(struct change *change), bool beneath)
{
	struct turn *turn = &change->turn;

	change->go = go;
	turn->request = &change->request;
	turn->kind = beneath ? OUTBOX_BENEATH : OUTBOX_ALONE;
	turn->inode = change->folder;
	turn->name = change->name;
	turn->go = on_turn;
	turn_take(turn);
}

/* In a burst, under a name that is surely free. */
static bool may_make(const struct change *change)
{
	struct fs *fs = change->request.fs;
	const struct dentry *dentry = names_find(fs->names, change->folder, change->name);

	return (!dentry || !dentry->inode) && burst_on(fs, change->request.pid) &&
	       burst_ground(fs, change->folder, change->name) && burst_room(fs);
}

static void end_new(struct change *change, int err, struct inode *inode)
{
	if (err)
		request_end(&change->request, err);
	else
		request_end_entry(&change->request, inode);
}

static void end_made(struct change *change)
{
	struct fs *fs = change->request.fs;
	struct attr_report report = fs_report(&change->attr, 0);
	struct inode *inode = names_created(
	    fs->names, change->folder, change->name, &report, change->request.sent_ms);

	if (inode)
		attr_made_at(&inode->attr, request_clock());
	openfile_note_lock(fs, change->folder, change->name);
	if (inode && change->target)
		change_note_target(fs, inode, change->target);
	free(change->target);
	if (inode)
		request_end_entry(&change->request, inode);
	else
		request_end(&change->request, -ENOMEM);
}

static void on_owned(void *arg, int err)
{
	struct change *change = arg;

	if (err)
		log_debug("setting mode or owner of %s: %s", change->turn.path, strerror(-err));
	change->request.sent_ms = fs_now_ms(change->request.fs);
	end_made(change);
}

/* What was made is there, with its attributes as the server's umask left them: mends mode and owner
 * where needed. */
static void finish_made(struct change *change)
{
	struct fs *fs = change->request.fs;
	struct sftp_attr fix;
	uint32_t now = change->attr.mode & 07777;
	uint32_t want = (uint32_t)(change->mode & 01777) | (now & (S_ISGID | S_ISUID));

	fs_mend(
	    &change->request, change->folder, change->has_mode ? want : now, &change->attr, &fix);
	if (fix.flags)
		remote_setstat(fs->remote, change->turn.path, &fix, true, on_owned, change);
	else
		end_made(change);
}

static void on_second_look(void *arg, int err, const struct sftp_attr *attr)
{
	struct change *change = arg;

	if (err) {
		fail(change, err);
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
			names_incomplete(change->request.fs->names, change->folder);
		fail(change, change->err);
	} else if (change->attr_err) { /* the change was repeated after a lost link, say */
		remote_lstat(change->request.fs->remote, change->turn.path, on_second_look, change);
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
	struct remote *remote = change->request.fs->remote;

	change->pending = 2;
	if (change->target) /* the kernel asked for a link, whatever is seen of it later */
		remote_lstat_itself(remote, change->turn.path, on_made_attr, change);
	else
		remote_lstat(remote, change->turn.path, on_made_attr, change);
}

static void go_mkdir(struct change *change)
{
	remote_mkdir(
	    change->request.fs->remote, change->turn.path, change->mode & 01777, on_made, change);
	look_at_made(change);
}

void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct change *change = change_new(req, parent, name, "mkdir");
	struct inode *inode;
	int err;

	if (!change)
		return;
	change->mode = mode;
	change->has_mode = true;
	if (may_make(change)) {
		err = behind_mkdir(&change->request, change->folder, name, mode, &inode);
		end_new(change, err, inode);
	} else {
		change_alone(change, go_mkdir, false);
	}
}

static void go_symlink(struct change *change)
{
	remote_symlink(
	    change->request.fs->remote, change->target, change->turn.path, on_made, change);
	look_at_made(change);
}

void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct change *change = change_new(req, parent, name, "symlink");
	struct inode *inode;
	int err;

	if (!change)
		return;
	if (*target && strlen(target) < PATH_MAX && may_make(change)) {
		err = behind_symlink(&change->request, change->folder, name, target, &inode);
		if (!err)
			change_note_target(change->request.fs, inode, target);
		end_new(change, err, inode);
		return;
	}
	change->target = strdup(target);
	if (change->target)
		change_alone(change, go_symlink, false);
	else
		request_end(&change->request, -ENOMEM);
}

/* --- unlink, rmdir --- */

static void on_removed(void *arg, int err)
{
	struct change *change = arg;
	struct fs *fs = change->request.fs;

	if (!err || err == -ENOENT) {
		if (!err && change->there)
			attr_touch_change(&change->there->attr, request_clock());
		names_removed(fs->names, change->folder, change->name, fs_now_ms(fs));
	}
	if (change->there)
		nameless_ended(change->there, change->held, err == -ENOENT ? 0 : err);
	request_end(&change->request, err);
}

static void on_data_there(struct change *change)
{
	struct remote *remote = change->request.fs->remote;

	if (change->rmdir)
		remote_rmdir(remote, change->turn.path, on_removed, change);
	else
		remote_unlink(remote, change->turn.path, on_removed, change);
}

static void go_remove(struct change *change)
{
	int err = change->rmdir ? 0 : owed_claim(change->request.fs, change->folder, change->name);

	if (err) {
		fail(change, err);
		return;
	}
	change_pin_there(change, change->folder, change->name);
	change_there_first(change, on_data_there);
}

/* Are all names in it known, and is there none? */
static bool is_empty(struct fs *fs, const struct inode *folder)
{
	const struct dentry *dentry;

	if (!burst_knows(fs, folder))
		return false;
	TAILQ_FOREACH (dentry, &folder->folder->children, sibling) {
		if (dentry->inode)
			return false;
	}
	return true;
}

static bool may_remove(const struct change *change)
{
	struct fs *fs = change->request.fs;
	const struct dentry *dentry = names_find(fs->names, change->folder, change->name);

	if (!dentry || !dentry->inode ||
	    (!burst_on(fs, change->request.pid) &&
		!burst_unlocks(fs, change->request.pid, dentry->inode)) ||
	    !burst_ground_removed(fs, change->folder))
		return false;
	return change->rmdir
		   ? dentry->inode->folder && is_empty(fs, dentry->inode)
		   : !dentry->inode->folder && !openfile_goes_before_removal(dentry->inode);
}

/* What is removed must still be what programs saw here. */
static void note_unsettled(struct change *change)
{
	const struct dentry *dentry =
	    names_find(change->request.fs->names, change->folder, change->name);

	if (!dentry || !dentry->inode || !dentry->pending)
		return;
	change->turn.unsettled = dentry->inode;
	request_pin(&change->request, dentry->inode);
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name, bool rmdir)
{
	struct change *change = change_new(req, parent, name, rmdir ? "rmdir" : "unlink");
	int err;

	if (!change)
		return;
	change->rmdir = rmdir;
	err = rmdir ? 0 : owed_claim(change->request.fs, change->folder, name);
	if (err) {
		fail(change, err);
	} else if (may_remove(change)) {
		request_end(&change->request,
		    behind_remove(change->request.fs, change->folder, name, rmdir));
	} else {
		note_unsettled(change);
		change_alone(change, go_remove, rmdir);
	}
}

void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, false);
}

void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, true);
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

static void go_mknod(struct change *change)
{
	static const struct rfile_owner nobody = {.path = openfile_no_path};

	rfile_open(change->request.fs->remote, change->turn.path,
	    SSH_FXF_WRITE | SSH_FXF_CREAT | SSH_FXF_EXCL, change->mode & 01777, &nobody,
	    on_node_made, change);
}

void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
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
	change_alone(change, go_mknod, false);
}

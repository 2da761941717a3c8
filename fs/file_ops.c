/* CREATE, RELEASE, FLUSH, FSYNC. */
#include "conf/log.h"
#include "fs/beside.h"
#include "fs/burst.h"
#include "fs/nameless.h"
#include "fs/openfile.h"
#include "fs/owed.h"
#include "fs/turn.h"
#include "transport/pool.h"
#include <errno.h>
#include <string.h>

/* --- create --- */

struct create {
	struct request request;
	struct inode *folder; /* pinned */
	struct fuse_file_info fi;
	struct rfile *file;
	struct sftp_attr attr;
	mode_t mode;
	bool existed, waited;
	bool once;  /* it was sent only once, on a channel that answers in turn, and that failed */
	bool doubt; /* the same, and the link was lost */
	uint64_t beside; /* fs/beside.h: what was asked for with it; or 0 */
	char name[256];
	struct turn turn;
};

static const struct rfile_owner nobody_yet = {.path = openfile_no_path};

static void end_create(struct create *create)
{
	struct fs *fs = create->request.fs;
	struct attr_report report = fs_report(&create->attr, 0);
	struct inode *inode = create->existed
				  ? names_report(fs->names, create->folder, create->name, &report,
					create->request.tick, create->request.sent_ms)
				  : names_created(fs->names, create->folder, create->name, &report,
					create->request.sent_ms);
	struct rfile_owner owner;
	struct handle *handle;

	if (!inode || !S_ISREG(inode->attr.mode)) {
		rfile_put(create->file);
		/* a folder or a link, or gone since: the kernel looks again and goes by that */
		request_end(&create->request, inode || create->existed ? -ESTALE : -ENOMEM);
		return;
	}
	if (!create->existed)
		attr_made_at(&inode->attr, request_clock());
	if (!create->attr.flags) /* the server would not say */
		inode->checked_ms = 0;
	handle = handle_new(fs, inode, create->file, create->fi.flags);
	if (!handle) {
		request_end(&create->request, -ENOMEM);
		return;
	}
	owner = openfile_owner(fs, inode);
	rfile_set_owner(handle->file, &owner);
	handle_tell_version(handle);
	openfile_used(fs, handle->open);
	handle->open->own = !create->existed;
	if (handle->open->own && burst_is_lock(create->name))
		burst_locked(fs, create->request.pid, inode);
	if (handle->open->own) {
		openfile_note_lock(fs, create->folder, create->name);
		beside_locked(fs, create->beside, true);
	}
	create->fi.fh = (uint64_t)(uintptr_t)handle;
	if (!request_end_create(&create->request, inode, &create->fi))
		handle_put(handle);
}

static void on_fixed(void *arg, int err)
{
	struct create *create = arg;

	if (err)
		log_debug("setting mode or owner of %s: %s", create->turn.path, strerror(-err));
	end_create(create);
}

/* The server's umask and login decided on mode and owner: mends what the caller is due. */
static void fix_created(struct create *create)
{
	struct sftp_attr fix;

	owed_anew(create->request.fs, create->folder, create->name);
	fs_mend(&create->request, create->folder, create->mode & 07777, &create->attr, &fix);
	if (fix.flags)
		rfile_fsetstat(create->file, &fix, on_fixed, create);
	else
		end_create(create);
}

static void go_create(struct request *request, int err);

static void on_handles(void *arg, int err)
{
	go_create(arg, err);
}

static void on_created(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	struct create *create = arg;
	struct fs *fs = create->request.fs;

	if (err == -EEXIST && !create->existed && !(create->fi.flags & O_EXCL)) {
		/* Somebody there was faster; without O_EXCL that file is meant. */
		err = create->fi.flags & O_TRUNC ? owed_claim(fs, create->folder, create->name) : 0;
		if (err) {
			request_end(&create->request, err);
			return;
		}
		create->existed = true;
		turn_land(&create->turn); /* nothing was changed: what is told of the name counts */
		request_sent(&create->request);
		rfile_open(fs->remote, create->turn.path, openfile_sftp_flags(create->fi.flags), 0,
		    &nobody_yet, on_created, create);
		return;
	}
	if (err && behind_wait_for_handles(fs, err, &create->waited, on_handles, create))
		return;
	if (err) {
		names_incomplete(fs->names, create->folder);
		request_end(&create->request, err);
		return;
	}
	create->file = file;
	create->attr = *attr;
	if (create->existed)
		end_create(create);
	else
		fix_created(create);
}

/* Whether it can be had at all is asked again, with all that may stand in the way. */
static void on_once(void *arg, int err, const struct sftp_attr *attr)
{
	struct create *create = arg;

	if (!err) {
		on_created(create, 0, create->file, attr);
		return;
	}
	beside_locked(create->request.fs, create->beside, false);
	rfile_give_up(create->file, err);
	rfile_put(create->file);
	create->once = true;
	create->doubt = err == -ENOTCONN;
	if (!create->turn.joined && err != -ENOTCONN && err != -EIO) {
		on_created(create, err, NULL, attr);
		return;
	}
	create->turn.joins = create->turn.waited = false;
	turn_take(&create->turn);
}

/* The channel that it has to go through, so that what is asked for behind it is from after it:
 * behind the outbox, or in front of the file that the lock is about. NULL: any. */
static struct pool_channel *one_channel(const struct create *create)
{
	struct fs *fs = create->request.fs;

	if (create->turn.joined)
		return fs->outbox_channel;
	return !create->once && beside_wants(fs, create->folder, create->name)
		   ? pool_channel(remote_pool(fs->remote), LANE_FILES, false)
		   : NULL;
}

static void create_once(struct create *create, struct pool_channel *channel, uint32_t flags)
{
	struct fs *fs = create->request.fs;

	create->file = rfile_new_later(fs->remote, flags, &nobody_yet);
	if (!create->file) {
		request_end(&create->request, -ENOMEM);
		return;
	}
	rfile_create(create->file, channel, false, true, create->turn.path, create->mode & 07777,
	    on_once, create);
	create->beside = beside_ask(fs, create->folder, create->name, channel);
}

/* The name is always taken exclusively first, so that it is known whether the file was made here.
 */
static void go_create(struct request *request, int err)
{
	struct create *create = (struct create *)request;
	uint32_t flags = openfile_sftp_flags(create->fi.flags) & ~(uint32_t)SSH_FXF_TRUNC;
	struct pool_channel *channel = err ? NULL : one_channel(create);

	if (err)
		request_end(request, err == -ESTALE ? -ENOENT : err);
	else if (channel)
		create_once(create, channel, flags);
	else
		rfile_open(request->fs->remote, create->turn.path,
		    flags | SSH_FXF_CREAT | SSH_FXF_EXCL | (create->doubt ? RFILE_IN_DOUBT : 0),
		    create->mode & 07777, &nobody_yet, on_created, create);
}

/* In a burst, under a name that is surely free. */
static bool may_create_behind(const struct create *create)
{
	struct fs *fs = create->request.fs;
	const struct dentry *dentry = names_find(fs->names, create->folder, create->name);

	return (!dentry || !dentry->inode) && burst_on(fs, create->request.pid) &&
	       burst_ground(fs, create->folder, create->name) && burst_room(fs) &&
	       behind_has_handles(fs);
}

static void create_behind(struct create *create)
{
	struct handle *handle;
	int err = behind_create(&create->request, create->folder, create->name, create->mode,
	    create->fi.flags, &handle);

	if (err) {
		request_end(&create->request, err);
		return;
	}
	owed_anew(create->request.fs, create->folder, create->name);
	openfile_used(create->request.fs, handle->open);
	create->fi.fh = (uint64_t)(uintptr_t)handle;
	if (!request_end_create(&create->request, handle->open->inode, &create->fi))
		handle_put(handle);
}

void fs_create(
    fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct create *create;

	if (strlen(name) > 255) {
		fuse_reply_err(req, ENAMETOOLONG);
		return;
	}
	create = request_new(req, sizeof(*create), "create");
	if (!create)
		return;
	create->folder = fs_inode(fs, parent);
	create->fi = *fi;
	create->mode = mode;
	strcpy(create->name, name);
	request_pin(&create->request, create->folder);
	burst_note(fs, create->request.pid, true);
	if (may_create_behind(create)) {
		create_behind(create);
		return;
	}
	create->turn = (struct turn){.request = &create->request,
	    .kind = OUTBOX_ALONE,
	    .inode = create->folder,
	    .name = create->name,
	    .joins = true,
	    .go = go_create};
	turn_take(&create->turn);
}

void fs_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct handle *handle = (struct handle *)(uintptr_t)fi->fh;

	(void)node;
	nameless_closed(handle);
	if (handle->told)
		openfile_told(handle->open, true);
	handle_put(handle);
	fuse_reply_err(req, 0);
}

/* --- flush (each close) and fsync --- */

/* So many bytes on their way are worth one more fsync. */
#define SYNC_AHEAD_MIN (8u * 1024 * 1024)

struct flush {
	struct request request;
	struct handle *handle; /* counted */
	bool sync;
	unsigned parts; /* of an fsync, not answered yet: the data, the fsyncs behind and ahead */
	int err, sync_err;
};

/*
 * W5: a child that inherited the file and closes it must not take the error away from the program
 * that wrote. So each close tells it; an fsync, or the end of the last handle, ends it. Who was
 * answered before it was known (the time was over) has not heard it, unless it says the same.
 */
static int due_error(struct flush *flush, int err)
{
	struct openfile *open = flush->handle->open;
	bool heard = flush->request.fuse;

	if (err && (heard || err != -ETIMEDOUT))
		open->error = err;
	err = open->error;
	if (!heard)
		return err;
	/* A close may be that of a child, and its parent goes on. */
	flush->handle->told |= err && flush->handle->writable;
	if (err && flush->sync)
		openfile_told(open, true);
	if (flush->sync)
		open->error = 0;
	return err;
}

static void end_flush(struct flush *flush, int err)
{
	err = due_error(flush, err);
	openfile_refresh_after_write(flush->handle->open, flush->handle->file);
	handle_put(flush->handle);
	request_end(&flush->request, err);
}

/* A file that was read only, and lost its name, has nothing to be put on the disk. */
static void on_synced(void *arg, int err)
{
	const struct flush *flush = arg;

	if (err == -ESTALE && flush->handle->open->unnamed && !handle_is_there(flush->handle))
		err = 0;
	end_flush(arg, err);
}

static void on_flushed(void *arg, int err)
{
	end_flush(arg, err);
}

static void join_sync(struct flush *flush)
{
	if (--flush->parts)
		return;
	if (!flush->err && flush->sync_err == -EAGAIN)
		rfile_fsync(flush->handle->file, on_synced, flush);
	else
		end_flush(flush, flush->err ? flush->err : flush->sync_err);
}

static void on_data(void *arg, int err)
{
	struct flush *flush = arg;

	if (err)
		flush->err = err;
	join_sync(flush);
}

/* What it tells of the disk there is not told again by an fsync through the same handle. */
static void on_synced_ahead(void *arg, int err)
{
	struct flush *flush = arg;

	if (err && err != -ESTALE && !flush->err)
		flush->err = err;
	join_sync(flush);
}

static void on_synced_behind(void *arg, int err)
{
	struct flush *flush = arg;

	flush->sync_err = err;
	join_sync(flush);
}

/* Is most of the file there, and does the rest take a while? */
static bool is_mostly_sent(const struct content *content)
{
	uint64_t dirty = content_dirty_bytes(content);

	return dirty >= SYNC_AHEAD_MIN && content_size(content) / 4 >= dirty;
}

/* The fsync goes out right behind the data where it may: one round trip for both. While much data
 * is on its way the disk there begins with what has come. */
static void send_sync(struct flush *flush)
{
	struct handle *handle = flush->handle;
	struct content *content = handle->open->content;
	bool ahead = is_mostly_sent(content);

	flush->parts = 2 + ahead;
	if (ahead)
		rfile_fsync(handle->file, on_synced_ahead, flush);
	content_flush(content, on_data, flush);
	if (!content_is_sent_through(content, handle) ||
	    !rfile_fsync_behind(handle->file, on_synced_behind, flush))
		on_synced_behind(flush, -EAGAIN);
}

/* W4: all that was accepted before is there before an fsync returns. */
static void on_all_before(void *arg, int err)
{
	struct flush *flush = arg;

	if (err)
		end_flush(flush, err);
	else
		send_sync(flush);
}

static struct flush *flush_new(
    fuse_req_t req, const struct fuse_file_info *fi, bool sync, const char *operation)
{
	struct flush *flush = request_new(req, sizeof(*flush), operation);

	if (!flush)
		return NULL;
	flush->handle = handle_get((struct handle *)(uintptr_t)fi->fh);
	flush->sync = sync;
	flush->request.sends = true;
	return flush;
}

/* In a burst the data follows the caller; not when it is due an error, or the file has no name. */
static bool close_behind(struct flush *flush)
{
	struct fs *fs = flush->request.fs;
	struct handle *handle = flush->handle;
	const struct inode *inode = handle->open->inode;

	return !handle->open->error && burst_on(fs, flush->request.pid) && burst_room(fs) &&
	       !LIST_EMPTY(&inode->names) && !behind_file(handle, NULL);
}

void fs_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct handle *handle = (struct handle *)(uintptr_t)fi->fh;
	struct openfile *open = handle->open;
	struct flush *flush;

	(void)node;
	if (!handle->writable) {
		fuse_reply_err(req, 0);
		return;
	}
	flush = flush_new(req, fi, false, "close");
	if (!flush)
		return;
	burst_note(open->fs, flush->request.pid, false);
	if (!content_dirty(open->content) && open->unsent)
		end_flush(flush, 0);
	/* Without a link a close does not wait for what outlives the daemon. */
	else if (fs_offline(open->fs) && content_spooled(open->content))
		end_flush(flush, 0);
	else if (content_dirty(open->content) && close_behind(flush))
		end_flush(flush, 0);
	else
		content_flush(open->content, on_flushed, flush);
}

void fs_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	struct flush *flush = flush_new(req, fi, true, "fsync");
	int waits;

	(void)node;
	(void)datasync;
	if (!flush)
		return;
	burst_over(flush->request.fs, flush->request.pid);
	waits =
	    outbox_wait(flush->request.fs->outbox, OUTBOX_ALL, NULL, NULL, on_all_before, flush);
	if (waits)
		on_all_before(flush, waits < 0 ? waits : 0);
}

/* FALLOCATE: the size is set. SFTP can't reserve, so the free space is checked. */
#include "fs/openfile.h"
#include "fs/turn.h"
#include <errno.h>

struct allocate {
	struct request request;
	struct handle *handle; /* counted */
	uint64_t end;
	struct turn turn;
};

static void end_allocate(struct allocate *allocate, int err)
{
	handle_put(allocate->handle);
	request_end(&allocate->request, err);
}

static void on_grown(void *arg, int err)
{
	struct allocate *allocate = arg;
	struct openfile *open = allocate->handle->open;

	if (!err) {
		content_resize(open->content, allocate->end);
		openfile_wrote(allocate->request.fs, open, allocate->end);
		openfile_refresh_after_write(open, allocate->handle->file);
	}
	end_allocate(allocate, err);
}

static void on_space(void *arg, int err, const struct statvfs *st)
{
	struct allocate *allocate = arg;
	struct inode *inode = allocate->handle->open->inode;
	struct sftp_attr attr = {.flags = SSH_FILEXFER_ATTR_SIZE, .size = allocate->end};

	if (allocate->end <= inode->attr.size) { /* grown meanwhile */
		end_allocate(allocate, 0);
		return;
	}
	if (!err && st->f_frsize &&
	    (allocate->end - inode->attr.size) / st->f_frsize > st->f_bavail) {
		end_allocate(allocate, -ENOSPC);
		return;
	}
	openfile_expect(inode, &attr);
	rfile_fsetstat(allocate->handle->file, &attr, on_grown, allocate);
}

static void on_allocate_flushed(void *arg, int err)
{
	struct allocate *allocate = arg;
	struct fs *fs = allocate->request.fs;

	openfile_owes(allocate->handle->open, err);
	if (err)
		end_allocate(allocate, err);
	else
		remote_statvfs(fs->remote, remote_root(fs->remote), on_space, allocate);
}

/* Behind a size that was set in a burst, which else would come after this one. */
static void go_allocate(struct request *request, int err)
{
	struct allocate *allocate = (struct allocate *)request;

	if (err && err != -ESTALE) /* of an open file without a name */
		end_allocate(allocate, err);
	else
		content_flush(allocate->handle->open->content, on_allocate_flushed, allocate);
}

void fs_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t length,
    struct fuse_file_info *fi)
{
	struct handle *handle = (struct handle *)(uintptr_t)fi->fh;
	struct allocate *allocate;

	(void)node;
	if (mode) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	if (offset < 0 || length <= 0 || offset > INT64_MAX - length) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if ((uint64_t)(offset + length) <= handle->open->inode->attr.size) {
		fuse_reply_err(req, 0);
		return;
	}
	allocate = request_new(req, sizeof(*allocate), "fallocate");
	if (!allocate)
		return;
	request_pin(&allocate->request, handle->open->inode);
	allocate->handle = handle_get(handle);
	allocate->end = (uint64_t)(offset + length);
	allocate->request.sends = true;
	allocate->turn = (struct turn){.request = &allocate->request,
	    .kind = OUTBOX_ALONE,
	    .inode = handle->open->inode,
	    .go = go_allocate};
	turn_take(&allocate->turn);
}

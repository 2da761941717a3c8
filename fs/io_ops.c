/* WRITE, COPY_FILE_RANGE. */
#include "fs/burst.h"
#include "fs/openfile.h"
#include "fs/turn.h"
#include <errno.h>
#include <string.h>

static struct handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

/* --- write --- */

struct write {
	struct request request;
	struct handle *handle; /* counted */
	uint64_t offset;
	size_t size;
	bool write_back; /* by the kernel: no program hears of errors */
	char data[];	 /* while a handle that can take it is being opened */
};

static uint64_t end_there(const struct write *write, const struct handle *handle)
{
	return content_end_there(handle->open->content, write->offset + write->size);
}

static void on_written(void *arg, int err)
{
	struct write *write = arg;
	struct handle *handle = write->handle;

	if (!err)
		openfile_wrote(write->request.fs, handle->open, end_there(write, handle));
	else if (err != -ECANCELED && !write->write_back && write->request.fuse)
		openfile_told(handle->open, true);
	else if (!write->write_back)
		openfile_owes(handle->open, err);
	if (err)
		request_end(&write->request, err);
	else
		request_end_count(&write->request, write->size);
	handle_put(handle);
}

/* A program that is told EINTR writes the same again: what still waits must not be written too.
 * What was accepted and waits for the instance, as the spool did not take it, may be at an offset:
 * it is the same then. */
static bool withdraw_write(struct request *request, bool over)
{
	struct write *write = (struct write *)request;
	struct content *content = write->handle->open->content;

	return content_withdraw(content, write) ||
	       ((over || !write->handle->append) && content_leave(content, write));
}

static void take_bytes(struct write *write, struct handle *handle, const char *data)
{
	struct openfile *open = handle->open;
	struct content_pool *pool = write->request.fs->contents;
	int accepted;

	content_pool_write_back(pool, write->write_back);
	accepted = content_write(
	    open->content, handle, write->offset, data, write->size, on_written, write);
	content_pool_write_back(pool, false);

	if (accepted < 0) {
		if (!write->write_back)
			openfile_told(open, true);
		request_end(&write->request, accepted);
		return;
	}
	/* What waits is no part of the file yet. */
	openfile_wrote(write->request.fs, open, accepted ? end_there(write, handle) : 0);
	if (accepted) {
		request_end_count(&write->request, write->size);
		return;
	}
	write->handle = handle_get(handle);
	write->request.withdraw = withdraw_write;
}

static void on_placed(void *arg, int err)
{
	struct write *write = arg;
	struct handle *handle = write->handle;

	write->handle = NULL;
	if (err || !write->request.fuse) /* NULL: interrupted meanwhile */
		request_end(&write->request, err);
	else
		take_bytes(write, handle_placing(handle), write->data);
	handle_put(handle);
}

/* The data is libfuse's until this returns. */
static void keep_data(struct write *write, struct handle *handle, const char *data)
{
	int err = handle_open_placing(handle, on_placed, write);

	if (err) {
		request_end(&write->request, err);
		return;
	}
	memcpy(write->data, data, write->size);
	write->handle = handle_get(handle);
}

/*
 * The server puts what comes through an appending handle at the end. But the kernel writes mapped
 * pages back through any open file it likes, and fcntl(2) can take O_APPEND away: those bytes have
 * their place.
 */
void fs_write(fuse_req_t req, fuse_ino_t node, const char *data, size_t size, off_t offset,
    struct fuse_file_info *fi)
{
	struct handle *handle = handle_of(fi);
	bool placed = handle->append && (fi->writepage || !(fi->flags & O_APPEND));
	bool keep = placed && !handle_placing(handle);
	struct write *write = request_new(req, sizeof(*write) + (keep ? size : 0), "write");

	(void)node;
	if (!write)
		return;
	burst_wrote(write->request.fs, write->request.pid);
	write->size = size;
	write->offset = (uint64_t)offset;
	openfile_will_write(handle->open);
	write->request.sends = true;
	write->write_back = fi->writepage;
	if (keep)
		keep_data(write, handle, data);
	else
		take_bytes(write, placed ? handle_placing(handle) : handle, data);
}

/* --- copy_file_range: on the instance, a piece for each call, so that Ctrl-C works in between ---
 */

#define PIECE_MIN (1u << 20)
/* The server does not stop in the middle of a piece, and a disk that took GiB a second while they
 * fitted in its memory takes tens of MiB when they don't. */
#define PIECE_MAX (128u << 20)
#define COPIED_HERE (64u << 10)

struct copy {
	struct request request;
	struct handle *from, *to; /* counted */
	uint64_t from_offset, to_offset, len;
	uint64_t began_ms;
	struct turn turn;
};

/* How much a piece may be, so that it takes about a second. */
static uint64_t piece = 16u << 20;

static bool nameless(const struct handle *handle)
{
	return LIST_EMPTY(&handle->open->inode->names);
}

/* The copying channel opens both files by their names, and may not find them, or not know them
 * again. The handles that stand do: the kernel reads and writes, which has the true error. */
static void end_copy(struct copy *copy, int err)
{
	if (err == -ESTALE)
		err = -EOPNOTSUPP;
	handle_put(copy->from);
	handle_put(copy->to);
	if (err < 0)
		request_end(&copy->request, err);
	else
		request_end_count(&copy->request, (size_t)err);
}

static void on_copied(void *arg, int copied)
{
	struct copy *copy = arg;
	struct fs *fs = copy->request.fs;
	struct openfile *to = copy->to->open;
	uint64_t took = fs_now_ms(fs) - copy->began_ms;

	if (copied > 0) {
		uint64_t end = copy->to_offset + (uint64_t)copied;

		if ((uint64_t)copied == piece && took < 500 && piece < PIECE_MAX)
			piece *= 2;
		else if (took > 2000 && piece > PIECE_MIN)
			piece /= 2;
		content_replaced(to->content, copy->to_offset, end);
		content_invalidate(to->content);
		if (end > content_size(to->content))
			content_resize(to->content, end);
		openfile_wrote(fs, to, end);
		openfile_refresh_after_write(to, copy->to->file);
	}
	names_land_inode(fs->names, to->inode);
	end_copy(copy, copied);
}

static void go_copy(struct copy *copy)
{
	copy->began_ms = fs_now_ms(copy->request.fs);
	names_fly_inode(copy->to->open->inode);
	rfile_copy(copy->from->file, copy->from_offset, copy->to->file, copy->to_offset, copy->len,
	    on_copied, copy);
}

static void when_open(struct copy *copy);

static void on_open(void *arg, int err, const struct sftp_attr *attr)
{
	struct copy *copy = arg;

	(void)attr;
	if (err)
		end_copy(copy, err);
	else
		when_open(copy);
}

/* What was opened in a burst is known there only when that is answered: till then the copying
 * channel has nothing to know the file by. An FSTAT waits for it. */
static void when_open(struct copy *copy)
{
	if (rfile_is_later(copy->from->file))
		rfile_fstat(copy->from->file, on_open, copy);
	else if (rfile_is_later(copy->to->file))
		rfile_fstat(copy->to->file, on_open, copy);
	else
		go_copy(copy);
}

static void on_target_flushed(void *arg, int err)
{
	struct copy *copy = arg;

	if (err) {
		openfile_owes(copy->to->open, err);
		end_copy(copy, err);
		return;
	}
	when_open(copy);
}

static void on_source_flushed(void *arg, int err)
{
	struct copy *copy = arg;

	openfile_owes(copy->from->open, err);
	if (err)
		end_copy(copy, err);
	else
		content_flush(copy->to->open->content, on_target_flushed, copy);
}

/* Both files are there, under their names. */
static void on_target_turn(struct request *request, int err)
{
	struct copy *copy = (struct copy *)request;

	if (err && err != -ESTALE)
		end_copy(copy, err);
	else
		content_flush(copy->from->open->content, on_source_flushed, copy);
}

static void on_source_turn(struct request *request, int err)
{
	struct copy *copy = (struct copy *)request;

	if (err && err != -ESTALE) {
		end_copy(copy, err);
		return;
	}
	copy->turn.inode = copy->to->open->inode;
	copy->turn.go = on_target_turn;
	turn_take(&copy->turn);
}

/* A small file that is part of a burst is copied sooner through here, where nobody waits. */
static bool is_copied_here(const struct handle *from, const struct handle *to)
{
	return rfile_is_later(to->file) && content_size(from->open->content) <= COPIED_HERE;
}

void fs_copy_file_range(fuse_req_t req, fuse_ino_t node_in, off_t offset_in,
    struct fuse_file_info *fi_in, fuse_ino_t node_out, off_t offset_out,
    struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct fs *fs = fuse_req_userdata(req);
	struct copy *copy;

	if (flags) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (node_in == node_out || is_copied_here(handle_of(fi_in), handle_of(fi_out)) ||
	    !remote_features(fs->remote)->copy_data || nameless(handle_of(fi_in)) ||
	    nameless(handle_of(fi_out))) {
		fuse_reply_err(req, EOPNOTSUPP); /* the kernel copies through read and write then */
		return;
	}
	copy = request_new(req, sizeof(*copy), "copy_file_range");
	if (!copy)
		return;
	copy->from = handle_get(handle_of(fi_in));
	copy->to = handle_get(handle_of(fi_out));
	copy->from_offset = (uint64_t)offset_in;
	copy->to_offset = (uint64_t)offset_out;
	copy->len = len < piece ? len : piece;
	copy->request.sends = true;
	copy->turn = (struct turn){.request = &copy->request,
	    .kind = OUTBOX_READ,
	    .inode = copy->from->open->inode,
	    .go = on_source_turn};
	turn_take(&copy->turn);
}

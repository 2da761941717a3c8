/* READ. */
#include "fs/held.h"
#include "fs/openfile.h"
#include "fs/regain.h"
#include "fs/replaced.h"
#include "fs/request.h"
#include <errno.h>

#define READ_AGAIN 8
#define KERNEL_PAGE 4096

struct read {
	struct request request;
	struct handle *handle; /* counted while it waits */
	uint64_t offset;
	size_t size;
	unsigned doubts; /* of the handle, when it was begun */
	unsigned again;
	bool asked; /* which file the handle is on */
};

/* Less than the size promised: the file has become shorter there, so that the size must be asked
 * again. */
static void check_short(struct inode *inode, uint64_t offset, size_t asked, size_t got)
{
	if (got < asked && offset + got < inode->attr.size)
		inode->checked_ms = 0;
}

static void on_asked(void *arg, int err);

/* While it waited the file was found to be another one than that of its name, whose length the
 * kernel may have by now. As it was told since, it would not take this length from the answer, but
 * fill up with zeros. A failed read of several pages it does again, page by page. */
static bool is_length_unsure(const struct read *read, size_t got)
{
	return read->asked && got < read->size && read->size > KERNEL_PAGE &&
	       LIST_EMPTY(&read->handle->open->inode->names);
}

static void end_read(struct read *read, const struct content_view *view)
{
	if (is_length_unsure(read, view->len)) {
		request_end(&read->request, -ESTALE);
		return;
	}
	check_short(read->handle->open->inode, read->offset, read->size, view->len);
	request_end_view(&read->request, view);
}

/* It ends before the size that the kernel knows, and which file it was, and so of what size, came
 * into doubt meanwhile: the kernel would take the rest for zeros. */
static bool is_cut_in_doubt(struct read *read, size_t got)
{
	return got < read->size && read->doubts != read->handle->doubts &&
	       read->again < READ_AGAIN && read->request.fuse;
}

/*
 * When a read of several pages fails, the kernel asks for the one that it needs by itself, at once
 * and within the same read(2), which would then wait twice as long as anything may. The second one
 * has no more time than the first had.
 */
#define KERNEL_AGAIN_MS 200

static void note_late(struct read *read)
{
	struct handle *handle = read->handle;

	handle->late_ms = fs_now_ms(read->request.fs);
	handle->late_from = read->offset;
	handle->late_to = read->offset + read->size;
}

static bool note_withdrawn(struct request *request, bool over)
{
	if (over)
		note_late((struct read *)request);
	return true;
}

static bool is_again(const struct read *read)
{
	const struct handle *handle = read->handle;

	return handle->late_ms && read->size <= KERNEL_PAGE && read->offset >= handle->late_from &&
	       read->offset < handle->late_to &&
	       fs_now_ms(read->request.fs) - handle->late_ms < KERNEL_AGAIN_MS;
}

static void on_read(void *arg, int err, const struct content_view *view)
{
	struct read *read = arg;
	struct handle *handle = read->handle;

	if (err == -ETIMEDOUT && read->request.fuse)
		note_late(read);
	if (err) {
		request_end(&read->request, err);
	} else if (is_cut_in_doubt(read, view->len)) {
		read->again++;
		read->asked = true;
		replaced_ask(handle, on_asked, read);
		return;
	} else {
		end_read(read, view);
	}
	handle_put(handle);
}

/* read->handle is counted, which ends with the request. */
static void begin_read(struct read *read)
{
	struct handle *handle = read->handle;
	struct content_view view;
	int got;

	read->doubts = handle->doubts;
	got = content_read(handle->open->content, handle, &handle->ahead, read->offset, read->size,
	    &view, on_read, read);
	if (!got) {
		regain_more(handle);
		return;
	}
	if (got > 0)
		end_read(read, &view);
	else
		request_end(&read->request, got);
	handle_put(handle);
}

/* What could not be learnt the read itself will meet. */
static void on_asked(void *arg, int err)
{
	(void)err;
	begin_read(arg);
}

void fs_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct handle *handle = (struct handle *)(uintptr_t)fi->fh;
	struct read *read;

	(void)node;
	openfile_used(fs, handle->open);
	read = request_new(req, sizeof(*read), "read");
	if (!read)
		return;
	read->offset = (uint64_t)offset;
	read->size = size;
	read->handle = handle_get(handle);
	read->request.withdraw = note_withdrawn;
	if (is_again(read))
		read->request.started_ms -= fs->profile->timeout * 1000ull;
	if (!handle->read) {
		handle->read = true;
		held_read(fs->held, handle->open->inode);
	}
	read->asked = handle->doubt;
	if (handle->doubt)
		replaced_ask(handle, on_asked, read);
	else
		begin_read(read);
}

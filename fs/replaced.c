#include "fs/replaced.h"
#include <errno.h>
#include <stdlib.h>

static void lose_name(struct handle *handle, const struct sftp_attr *attr)
{
	struct openfile *open = handle->open;
	struct handle *other;

	names_replaced(open->fs->names, open->inode);
	fs_take_report(open->fs, open->inode, attr, UINT64_MAX, fs_now_ms(open->fs));
	LIST_FOREACH (other, &open->handles, link)
		other->doubt = false;
}

static void judge(struct handle *handle, int err, const struct sftp_attr *attr)
{
	const struct attr *now = &handle->open->inode->attr;

	if (err || !attr->flags || !handle->doubt)
		return;
	handle->doubt = false;
	if ((attr->size != now->size || attr->mtime != now->mtime_there) &&
	    attr->size == handle->old_size && attr->mtime == handle->old_mtime &&
	    !openfile_dirty(handle->open->inode))
		lose_name(handle, attr);
}

static void on_doubt(void *arg, int err, const struct sftp_attr *attr)
{
	struct handle *handle = arg;

	judge(handle, err, attr);
	handle_put(handle);
}

void replaced_doubt(struct handle *handle)
{
	if (handle->doubt)
		return;
	handle->doubt = true;
	handle->old_mtime = handle->mtime;
	handle->old_size = handle->size;
	rfile_fstat(handle->file, on_doubt, handle_get(handle));
}

static void on_checked(void *arg, int err, const struct sftp_attr *attr)
{
	struct handle_read *read = arg;

	/* If it turns out to be the old file, the cache forgets this read and asks anew. */
	judge(read->handle, err, attr);
	handle_read_go(read, err);
}

void replaced_read(struct handle *handle, uint64_t offset, uint32_t len, bool bulk,
    handle_read_done *done, void *arg)
{
	struct handle_read *read = handle_read_new(handle, offset, len, bulk, done, arg);

	if (read)
		rfile_fstat(handle->file, on_checked, read);
	else /* nothing is left to remember it with */
		done(arg, -ENOMEM, NULL, 0);
}

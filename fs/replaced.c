#include "fs/replaced.h"
#include <errno.h>
#include <stdlib.h>

/* Has the handle outlasted a link, with nothing on the instance that shows its file? */
static bool is_lost(const struct handle *handle)
{
	return !rfile_is_held(handle->file) && (handle->unseen || rfile_was_held(handle->file));
}

bool replaced_keeps(const struct inode *inode)
{
	const struct openfile *open = inode->open;
	const struct handle *handle;

	if (!open || LIST_EMPTY(&open->handles) || openfile_dirty(inode))
		return false;
	LIST_FOREACH (handle, &open->handles, link) {
		if (!handle->is_unasked || rfile_is_asked(handle->file))
			return false;
	}
	return content_size(open->content) == inode->attr.size && content_whole(open->content);
}

bool replaced_meanwhile(struct inode *inode, const struct attr_report *report)
{
	const struct attr *attr = &inode->attr;
	bool grown = report->size >= attr->size && report->mtime >= attr->mtime_there;
	struct openfile *open = inode->open;
	struct handle *handle;
	bool lost = false;

	if (openfile_dirty(inode))
		return false;
	if (!grown && replaced_keeps(inode))
		return true;
	LIST_FOREACH (handle, &open->handles, link) {
		if (handle->writable || rfile_is_held(handle->file))
			return false;
		lost |= is_lost(handle) && !(grown && rfile_was_held(handle->file));
	}
	open->outgrown = lost && grown;
	return lost;
}

static void end_doubt(struct handle *handle)
{
	handle->doubt = false;
	rfile_doubt(handle->file, false);
}

static void lose_name(struct handle *handle, const struct sftp_attr *attr)
{
	struct openfile *open = handle->open;
	struct handle *other;

	names_replaced(open->fs->names, open->inode);
	fs_take_report(open->fs, open->inode, attr, UINT64_MAX, fs_now_ms(open->fs));
	LIST_FOREACH (other, &open->handles, link)
		end_doubt(other);
}

static void judge(struct handle *handle, int err, const struct sftp_attr *attr)
{
	const struct attr *now = &handle->open->inode->attr;

	if (err || !attr->flags || !handle->doubt)
		return;
	end_doubt(handle);
	if ((attr->size != now->size || attr->mtime != now->mtime_there) &&
	    attr->size == handle->old_size && attr->mtime == handle->old_mtime &&
	    !openfile_dirty(handle->open->inode))
		lose_name(handle, attr);
}

struct doubt_wait {
	STAILQ_ENTRY(doubt_wait) link;
	void (*go)(void *arg);
	void *arg;
};

/* Those who come while it is told wait for the next answer. */
static void settle(struct openfile *open)
{
	STAILQ_HEAD(, doubt_wait) waiting = STAILQ_HEAD_INITIALIZER(waiting);
	struct doubt_wait *wait;

	if (--open->asking)
		return;
	STAILQ_CONCAT(&waiting, &open->doubters);
	while ((wait = STAILQ_FIRST(&waiting))) {
		STAILQ_REMOVE_HEAD(&waiting, link);
		wait->go(wait->arg);
		free(wait);
	}
}

static void on_doubt(void *arg, int err, const struct sftp_attr *attr)
{
	struct handle *handle = arg;

	judge(handle, err, attr);
	settle(handle->open);
	handle_put(handle);
}

void replaced_doubt(struct handle *handle)
{
	if (handle->doubt)
		return;
	handle->doubt = true;
	handle->doubts++;
	handle->old_mtime = handle->mtime;
	handle->old_size = handle->size;
	handle->open->asking++;
	rfile_doubt(handle->file, true);
	rfile_fstat(handle->file, on_doubt, handle_get(handle));
}

bool replaced_asking(const struct inode *inode)
{
	const struct openfile *open = inode->open;

	return open && open->asking;
}

bool replaced_wait(struct inode *inode, void (*go)(void *arg), void *arg)
{
	struct openfile *open = inode->open;
	struct doubt_wait *wait = open && open->asking ? malloc(sizeof(*wait)) : NULL;

	if (!wait)
		return false;
	*wait = (struct doubt_wait){.go = go, .arg = arg};
	STAILQ_INSERT_TAIL(&open->doubters, wait, link);
	return true;
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

struct question {
	struct handle *handle; /* counted */
	void (*done)(void *arg, int err);
	void *arg;
};

static void on_answer(void *arg, int err, const struct sftp_attr *attr)
{
	struct question *question = arg;

	judge(question->handle, err, attr);
	question->done(question->arg, err);
	handle_put(question->handle);
	free(question);
}

void replaced_ask(struct handle *handle, void (*done)(void *arg, int err), void *arg)
{
	struct question *question = malloc(sizeof(*question));

	if (!question) {
		done(arg, -ENOMEM);
		return;
	}
	*question = (struct question){handle_get(handle), done, arg};
	rfile_fstat(handle->file, on_answer, question);
}

#include "fs/nameless.h"
#include <stdlib.h>

static bool is_open(const struct openfile *open)
{
	const struct handle *handle;

	LIST_FOREACH (handle, &open->handles, link) {
		if (!handle->closed)
			return true;
	}
	return false;
}

bool nameless_hold(struct inode *inode, bool gone)
{
	struct openfile *open = inode->open;

	if (!open || !content_dirty(open->content) || is_open(open) ||
	    (gone ? !LIST_EMPTY(&inode->names) : names_shared(inode)))
		return false;
	content_hold(open->content, true);
	return true;
}

void nameless_ended(struct inode *inode, bool held, int err)
{
	struct openfile *open = inode->open;

	if (!open)
		return;
	if (!err && LIST_EMPTY(&inode->names)) {
		open->removed = true;
		content_unspool(open->content);
		if (!is_open(open))
			content_drop(open->content);
	}
	if (held)
		content_hold(open->content, false);
}

void nameless_closed(struct handle *handle)
{
	struct openfile *open = handle->open;

	handle->closed = true;
	if (open->removed && LIST_EMPTY(&open->inode->names) && !is_open(open))
		content_drop(open->content);
}

/* --- a file on the instance for who has it open --- */

static bool is_unseen(const struct handle *handle)
{
	return !handle->closed && !handle_is_there(handle);
}

struct asking {
	unsigned handles; /* to be answered */
	void (*go)(void *arg);
	void *arg;
};

struct asked {
	struct asking *asking;
	struct handle *handle; /* counted */
};

static void answered(struct asking *asking)
{
	if (--asking->handles)
		return;
	asking->go(asking->arg);
	free(asking);
}

static void on_asked(void *arg, int err, const struct sftp_attr *attr)
{
	struct asked *asked = arg;

	(void)err; /* it is told to who reads what is not here */
	(void)attr;
	handle_put(asked->handle);
	answered(asked->asking);
	free(asked);
}

static void ask(struct asking *asking, struct handle *handle)
{
	struct asked *asked = malloc(sizeof(*asked));

	if (!asked)
		return;
	*asked = (struct asked){asking, handle_get(handle)};
	asking->handles++;
	rfile_fstat(handle->file, on_asked, asked);
}

bool nameless_ask(struct inode *inode, void (*go)(void *arg), void *arg)
{
	struct openfile *open = inode->open;
	struct asking *asking = open && !names_shared(inode) ? malloc(sizeof(*asking)) : NULL;
	struct handle *handle;

	if (!asking)
		return false;
	*asking = (struct asking){1, go, arg}; /* one until all are asked */
	LIST_FOREACH (handle, &open->handles, link) {
		if (is_unseen(handle))
			ask(asking, handle);
	}
	if (--asking->handles)
		return true;
	free(asking);
	return false;
}

void nameless_open(struct inode *inode, struct pool_channel *channel, const char *path)
{
	const struct openfile *open = inode->open;
	const struct handle *handle;

	if (!open || !LIST_EMPTY(&inode->names))
		return;
	LIST_FOREACH (handle, &open->handles, link) {
		if (is_unseen(handle))
			rfile_open_through(handle->file, channel, path);
	}
}

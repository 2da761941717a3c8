#include "fs/nameless.h"

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

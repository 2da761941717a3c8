/* Which files can be opened for reading without asking the instance. */
#include "fs/ahead.h"
#include "fs/burst.h"
#include "fs/openfile.h"
#include "fs/watched.h"

/* Larger files are opened on the instance, whoever has written them. */
#define OWN_MOST (8u << 20)

void openfile_drop_suspect(struct openfile *open)
{
	if (!open->suspect)
		return;
	content_invalidate(open->content);
	open->suspect = false;
	open->kernel_stale = true;
}

/* It may be suspect. */
static bool is_here(const struct inode *inode)
{
	const struct openfile *open = inode->open;
	const struct attr *attr = &inode->attr;

	return open && open->mode == attr->mode && open->uid == attr->uid &&
	       open->gid == attr->gid && attr->size <= AHEAD_FILE_MAX && !openfile_dirty(inode) &&
	       content_size(open->content) == attr->size && content_whole(open->content);
}

bool openfile_is_whole(const struct inode *inode)
{
	return is_here(inode) && !((const struct openfile *)inode->open)->suspect;
}

void openfile_note_lock(struct fs *fs, struct inode *folder, const char *name)
{
	struct folder *dir = folder->folder;
	uint64_t now = fs_now_ms(fs);

	if (dir && burst_is_lock(name)) /* each later than the one before */
		dir->locked_ms = now > dir->locked_ms ? now : dir->locked_ms + 1;
}

static bool is_behind_lock(const struct inode *inode, uint64_t seen_ms)
{
	const struct inode *folder = names_parent(inode);

	return !folder || seen_ms > folder->folder->locked_ms;
}

uint64_t openfile_sent_behind_lock(const struct inode *inode, uint64_t sent_ms)
{
	return is_behind_lock(inode, sent_ms) ? sent_ms
					      : names_parent(inode)->folder->locked_ms + 1;
}

bool openfile_is_known(struct fs *fs, const struct inode *inode, uint64_t checked_ms)
{
	return inode->checked_ms && is_behind_lock(inode, inode->checked_ms) &&
	       (fs_age_ms(fs, inode->checked_ms) < checked_ms ||
		   watched_now(fs, inode, checked_ms));
}

bool openfile_is_current(struct fs *fs, const struct inode *inode, uint64_t checked_ms)
{
	return !LIST_EMPTY(&inode->names) && openfile_is_whole(inode) &&
	       openfile_is_known(fs, inode, checked_ms);
}

struct handle *openfile_just_came(struct fs *fs, const struct inode *inode)
{
	const struct openfile *open = inode->open;
	struct handle *handle;

	if (!open || !open->suspect || !open->read_ms || !inode->checked_ms || inode->flying ||
	    LIST_EMPTY(&inode->names) || fs_age_ms(fs, open->read_ms) >= OPENFILE_CHECKED_MS ||
	    !is_behind_lock(inode, open->read_ms) || !is_here(inode))
		return NULL;
	LIST_FOREACH (handle, &open->handles, link) {
		if (!handle->writable && !handle->doubt && rfile_is_held(handle->file))
			return handle;
	}
	return NULL;
}

void openfile_came(struct fs *fs, struct inode *inode, const uint8_t *data,
    const struct sftp_attr *attr, uint64_t tick, uint64_t sent_ms)
{
	struct openfile *open = inode->open;
	bool settled = fs_settled_at(fs, inode, sent_ms);

	/* While it is not clear which file the handles are on, this may be the other one. */
	if (open->asking || inode->pending || inode->changed_tick > tick || openfile_dirty(inode) ||
	    inode->attr.size != attr->size || inode->attr.mtime_there != attr->mtime ||
	    content_fill(open->content, data, attr->size, settled))
		return;
	if (!settled)
		open->suspect = true;
	open->read_ms = sent_ms;
}

/* May the login user read it, without asking? (Root may. The folders above have to let others
 * through.) */
static bool may_read(const struct fs *fs, const struct inode *inode)
{
	uint32_t uid = remote_uid(fs->remote);

	if (!uid)
		return true;
	return fs_login_may(fs, names_parent(inode), 1) && inode->attr.uid == uid &&
	       (inode->attr.mode & 0400);
}

bool openfile_is_ours(struct fs *fs, const struct inode *inode, bool in_burst)
{
	const struct openfile *open = inode->open;
	bool sure;

	if (!open || !open->own || open->error || LIST_EMPTY(&inode->names))
		return false;
	if (open->own_ms)
		sure = in_burst && fs_age_ms(fs, open->own_ms) < OPENFILE_CHECKED_MS &&
		       is_behind_lock(inode, open->own_ms);
	else
		sure = inode->pending || content_dirty(open->content);
	return sure && inode->attr.size <= OWN_MOST && may_read(fs, inode) &&
	       content_size(open->content) == inode->attr.size && content_whole(open->content);
}

bool openfile_keeps_ours(struct openfile *open)
{
	bool keeps = !open->kernel_stale;

	open->kernel_stale = false;
	return keeps;
}

void openfile_confirmed(struct fs *fs, struct openfile *open, uint64_t sent_ms, bool dated)
{
	struct inode *inode = open->inode;

	if (!open->own)
		return;
	open->own_ms = sent_ms;
	ahead_own_add(fs, open);
	if (!dated || !fs_settled(fs, inode))
		return;
	open->suspect = false;
	if (may_read(fs, inode))
		openfile_opened(inode);
}

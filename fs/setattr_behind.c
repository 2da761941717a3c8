/* SETATTR in a burst, and of what is so already. */
#include "fs/burst.h"
#include "fs/setattr_impl.h"

/* R1: attributes may be that old. */
#define KNOWN_MS 1000

static bool both_times(int to_set)
{
	return (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)) &&
	       (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW));
}

/* Will the instance do it, as far as anybody can tell? Both times are set together: the other one
 * has to be known. */
static bool may_set_behind(const struct setattr *setattr)
{
	struct fs *fs = setattr->request.fs;
	const struct inode *inode = setattr->inode, *folder = names_parent(inode);
	int to_set = setattr->to_set;
	bool link = S_ISLNK(inode->attr.mode);
	bool root = remote_uid(fs->remote) == 0;

	/* The outbox goes by names: what is done by another one of the file would not wait. */
	if (!burst_on(fs, setattr->request.pid) || LIST_EMPTY(&inode->names) ||
	    names_shared(inode) || (to_set & FUSE_SET_ATTR_SIZE) ||
	    !(to_set & (FUSE_SET_ATTR_MODE | OWNER_BITS | TIME_BITS)))
		return false;
	if (link && ((to_set & FUSE_SET_ATTR_MODE) || !remote_features(fs->remote)->lsetstat))
		return false;
	if ((to_set & TIME_BITS) && !both_times(to_set) && !fs_attr_believed(fs, inode) &&
	    !(inode->folder && inode->folder->ours))
		return false;
	return root || (inode->attr.uid == remote_uid(fs->remote) && !(to_set & OWNER_BITS) &&
			   fs_login_may(fs, folder, 1));
}

/* Does it have the mode already, as has been seen through a file of ours that is open? (git gives
 * its new configuration the mode of the old one.) Who else asks for a mode shall hear what the
 * instance says. */
static bool has_mode(const struct setattr *setattr)
{
	const struct openfile *open = setattr->inode->open;

	return open && open->own && !LIST_EMPTY(&open->handles) &&
	       !((setattr->wanted.st_mode ^ setattr->inode->attr.mode) & 07777);
}

/* The owner, or mode, is to be what it is, as the instance said just now (sqlite gives its journal
 * to whom the database belongs to). */
static bool has_already(const struct setattr *setattr)
{
	struct fs *fs = setattr->request.fs;
	const struct inode *inode = setattr->inode;
	const struct attr *attr = &inode->attr;
	const struct stat *st = &setattr->wanted;
	int to_set = setattr->to_set;
	uint32_t login = remote_uid(fs->remote);

	return (to_set & (OWNER_BITS | FUSE_SET_ATTR_MODE)) &&
	       !(to_set & (FUSE_SET_ATTR_SIZE | TIME_BITS)) && inode->checked_ms &&
	       fs_age_ms(fs, inode->checked_ms) <= KNOWN_MS &&
	       !(attr->mode & (S_ISUID | S_ISGID)) && (!login || login == attr->uid) &&
	       (!(to_set & FUSE_SET_ATTR_UID) || fs_uid_there(fs, st->st_uid) == attr->uid) &&
	       (!(to_set & FUSE_SET_ATTR_GID) || fs_gid_there(fs, st->st_gid) == attr->gid) &&
	       (!(to_set & FUSE_SET_ATTR_MODE) || has_mode(setattr));
}

static bool sets_size_alone(const struct setattr *setattr)
{
	return (setattr->to_set & SETS) == FUSE_SET_ATTR_SIZE;
}

static bool may_truncate_behind(const struct setattr *setattr)
{
	struct fs *fs = setattr->request.fs;

	return sets_size_alone(setattr) && burst_on(fs, setattr->request.pid) &&
	       behind_may_truncate(fs, setattr->inode, setattr->size);
}

/* It stays what it is by what was written just now, as rsync --inplace and others say at the end.
 */
static bool keeps_size(const struct setattr *setattr)
{
	const struct inode *inode = setattr->inode;
	const struct openfile *open = inode->open;

	return sets_size_alone(setattr) && setattr->handle && setattr->handle->writable &&
	       !LIST_EMPTY(&inode->names) && setattr->size == inode->attr.size &&
	       content_dirty(open->content) && content_size(open->content) == setattr->size &&
	       !open->error && burst_on(setattr->request.fs, setattr->request.pid);
}

/* Here it is done. */
void setattr_set_here(struct setattr *setattr)
{
	struct attr *attr = &setattr->inode->attr;
	const struct sftp_attr *set = &setattr->attr;

	fs_take_mode_and_owner(setattr->inode, set);
	if (set->flags & SSH_FILEXFER_ATTR_ACMODTIME) {
		attr->mtime_there = set->mtime;
		attr->atime_there = set->atime;
		attr->mtime = attr_time(setattr->mtime);
		attr->atime = attr_time(setattr->atime);
	}
	attr_touch_change(attr, request_clock());
	names_changed(setattr->request.fs->names, setattr->inode);
}

/* With the data of a file that is open (here, or because it is on its way), else by path. */
static void set_behind(struct setattr *setattr)
{
	struct openfile *open = setattr->inode->open;
	struct handle *handle = setattr->handle;
	int err;

	setattr_fill_in(setattr);
	if (!handle && open)
		handle = LIST_FIRST(&open->handles);
	err = handle ? behind_file(handle, &setattr->attr)
		     : behind_setattr(setattr->request.fs, setattr->inode, &setattr->attr);
	if (!err)
		setattr_set_here(setattr);
	setattr_end(setattr, err);
}

bool setattr_at_once(struct setattr *setattr)
{
	struct fs *fs = setattr->request.fs;

	if (has_already(setattr)) {
		attr_touch_change(&setattr->inode->attr, request_clock());
		setattr_end(setattr, 0);
	} else if (may_set_behind(setattr)) {
		set_behind(setattr);
	} else if (keeps_size(setattr)) {
		setattr_end(setattr, behind_same_size(setattr->handle, setattr->size));
	} else if (may_truncate_behind(setattr)) {
		setattr_end(setattr, behind_truncate(fs, setattr->inode, setattr->size));
	} else {
		return false;
	}
	return true;
}

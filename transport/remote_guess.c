/*
 * Judging what was seen after a failure. Pure.
 */
#include "transport/remote_internal.h"
#include <errno.h>
#include <limits.h>
#include <string.h>

/* A WRITE that finds less room than this may have been the one that filled the disk. */
#define FULL_BYTES (512u * 1024)

bool remote_errno_is_vague(enum remote_asked asked, int err)
{
	switch (err) {
	case -EIO:
		return asked != ASKED_LOOKUP && asked != ASKED_LIST;
	case -ENOENT:
		return asked != ASKED_LOOKUP && asked != ASKED_WRITE;
	case -EACCES:
		return asked == ASKED_UNLINK || asked == ASKED_RMDIR || asked == ASKED_RENAME ||
		       asked == ASKED_RENAME_NEW || asked == ASKED_LINK || asked == ASKED_SETSTAT ||
		       asked == ASKED_LSETSTAT;
	default:
		return false;
	}
}

/* The largest file of ext4 and of overlays on it; XFS goes beyond, and then does not fail. */
#define LARGEST_FILE (((uint64_t)1 << 44) - 4096)

int remote_errno_of_size(int err, uint64_t end)
{
	return (err == -EIO || err == -EINVAL) && end > LARGEST_FILE ? -EFBIG : err;
}

int remote_check_path(const char *path)
{
	const char *at = path;

	if (*path != '/')
		return -EINVAL;
	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	while (*at) {
		size_t len = strcspn(at, "/");

		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		at += len;
		at += strspn(at, "/");
	}
	return 0;
}

static bool exists(const struct remote_look *look)
{
	return look->asked && !look->err;
}

static bool is_folder(const struct remote_look *look)
{
	return exists(look) && remote_is_folder(&look->attr);
}

/* There, and surely no folder. */
static bool is_other(const struct remote_look *look)
{
	return exists(look) && (look->attr.flags & SSH_FILEXFER_ATTR_PERMISSIONS) &&
	       !remote_is_folder(&look->attr);
}

static bool fs_known(const struct remote_look_fs *fs)
{
	return fs->asked && !fs->err;
}

static bool fs_read_only(const struct remote_look_fs *fs)
{
	return fs_known(fs) && (fs->st.f_flag & ST_RDONLY);
}

static bool fs_full(const struct remote_look_fs *fs, bool write)
{
	const struct statvfs *st = &fs->st;
	unsigned long block = st->f_frsize ? st->f_frsize : 512;

	if (!fs_known(fs))
		return false;
	if (st->f_blocks && (!st->f_bavail || (write && st->f_bavail < FULL_BYTES / block)))
		return true;
	return !write && st->f_files && !st->f_favail;
}

static bool fs_differ(const struct remote_looks *l)
{
	return fs_known(&l->fs) && fs_known(&l->fs2) &&
	       (l->fs.st.f_fsid != l->fs2.st.f_fsid || l->fs.st.f_blocks != l->fs2.st.f_blocks ||
		   l->fs.st.f_frsize != l->fs2.st.f_frsize);
}

/* What no file system would do, whatever its state; 0: nothing of that kind. */
static int failure_by_kind(enum remote_asked asked, const struct remote_looks *l)
{
	switch (asked) {
	case ASKED_MKDIR:
	case ASKED_SYMLINK:
	case ASKED_CREATE_NEW:
		return exists(&l->path) ? -EEXIST : 0;
	case ASKED_CREATE:
	case ASKED_OPEN_WRITE:
	case ASKED_TRUNCATE:
	case ASKED_UNLINK:
		return is_folder(&l->path) ? -EISDIR : 0;
	case ASKED_RMDIR:
		if (is_other(&l->path))
			return -ENOTDIR;
		return l->path_not_empty ? -ENOTEMPTY : 0;
	case ASKED_LINK:
		if (exists(&l->path2))
			return -EEXIST;
		return is_folder(&l->path) ? -EPERM : 0;
	case ASKED_RENAME_NEW:
		return exists(&l->path2) ? -EEXIST : 0;
	case ASKED_RENAME:
		if (is_folder(&l->path) && is_other(&l->path2))
			return -ENOTDIR;
		if (is_other(&l->path) && is_folder(&l->path2))
			return -EISDIR;
		return l->path2_not_empty ? -ENOTEMPTY : 0;
	case ASKED_LSETSTAT:
		return exists(&l->path) && remote_is_link(&l->path.attr) ? -EOPNOTSUPP : 0;
	default:
		return 0;
	}
}

static bool needs_room(enum remote_asked asked)
{
	return asked != ASKED_UNLINK && asked != ASKED_RMDIR && asked != ASKED_OPEN_READ &&
	       asked != ASKED_SETSTAT && asked != ASKED_LSETSTAT;
}

static int guess_failure(enum remote_asked asked, const struct remote_looks *l)
{
	bool two = asked == ASKED_RENAME || asked == ASKED_RENAME_NEW || asked == ASKED_LINK;
	bool write = asked == ASKED_WRITE || asked == ASKED_TRUNCATE;
	int err = failure_by_kind(asked, l);

	if (err)
		return err;
	if (two && fs_differ(l))
		return -EXDEV;
	if (fs_read_only(&l->fs) || (two && fs_read_only(&l->fs2)))
		return -EROFS;
	if (needs_room(asked) && fs_full(two ? &l->fs2 : &l->fs, write))
		return -ENOSPC;
	/* Two mounts of one file system look alike; across them programs copy when told so. */
	if (two && !l->same_parent && exists(&l->path) && exists(&l->parent2))
		return -EXDEV;
	/* An empty folder on a writable file system: something is mounted there. */
	if (asked == ASKED_RMDIR && is_folder(&l->path))
		return -EBUSY;
	return -EIO;
}

static int guess_missing(enum remote_asked asked, const struct remote_looks *l)
{
	if (is_other(&l->parent) || is_other(&l->parent2))
		return -ENOTDIR;
	if (l->loop)
		return -ELOOP;
	/* OPENDIR follows a symlink: that one may well lead nowhere. */
	if (asked == ASKED_LIST && is_other(&l->path) && !remote_is_link(&l->path.attr))
		return -ENOTDIR;
	if (asked == ASKED_RMDIR && is_other(&l->path))
		return -ENOTDIR;
	if (asked == ASKED_RENAME && is_folder(&l->path) && is_other(&l->path2))
		return -ENOTDIR;
	return -ENOENT;
}

/* In a sticky folder only the owners of the file and of the folder may remove or rename it. */
static bool sticky_forbids(
    const struct remote_look *folder, const struct remote_look *file, uint32_t login)
{
	const uint32_t need = SSH_FILEXFER_ATTR_PERMISSIONS | SSH_FILEXFER_ATTR_UIDGID;

	return exists(folder) && exists(file) && (folder->attr.flags & need) == need &&
	       (file->attr.flags & need) == need && (folder->attr.mode & 01000) &&
	       folder->attr.uid != login && file->attr.uid != login;
}

static int guess_denied(enum remote_asked asked, const struct remote_looks *l, uint32_t login)
{
	switch (asked) {
	case ASKED_SETSTAT:
	case ASKED_LSETSTAT:
		/* It can be reached: so not the way there is closed, but the change is not ours to
		 * make. */
		return exists(&l->path) ? -EPERM : -EACCES;
	case ASKED_LINK:
		return is_folder(&l->path) ? -EPERM : -EACCES;
	case ASKED_UNLINK:
	case ASKED_RMDIR:
	case ASKED_RENAME:
	case ASKED_RENAME_NEW:
		/* Nothing is denied to root but what is immutable. */
		if (!login && exists(&l->path))
			return -EPERM;
		return sticky_forbids(&l->parent, &l->path, login) ||
			       sticky_forbids(&l->parent2, &l->path2, login)
			   ? -EPERM
			   : -EACCES;
	default:
		return -EACCES;
	}
}

int remote_errno_guess(
    enum remote_asked asked, int err, const struct remote_looks *looks, uint32_t login)
{
	switch (err) {
	case -EIO:
		return guess_failure(asked, looks);
	case -ENOENT:
		return guess_missing(asked, looks);
	case -EACCES:
		return guess_denied(asked, looks, login);
	default:
		return err;
	}
}

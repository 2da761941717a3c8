#include "fs/frozen.h"
#include "fs/statfs.h"
#include <errno.h>

/* True: it was answered. */
static bool refused(fuse_req_t req)
{
	struct fs *fs = fuse_req_userdata(req);

	statfs_forget(fs);
	if (fs->frozen)
		fuse_reply_err(req, EROFS);
	return fs->frozen;
}

void frozen_setattr(
    fuse_req_t req, fuse_ino_t node, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	if (!refused(req))
		fs_setattr(req, node, st, to_set, fi);
}

void frozen_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
	if (!refused(req))
		fs_mknod(req, parent, name, mode, dev);
}

void frozen_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	if (!refused(req))
		fs_mkdir(req, parent, name, mode);
}

void frozen_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	if (!refused(req))
		fs_symlink(req, target, parent, name);
}

void frozen_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char *name)
{
	if (!refused(req))
		fs_link(req, node, parent, name);
}

void frozen_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (!refused(req))
		fs_unlink(req, parent, name);
}

void frozen_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (!refused(req))
		fs_rmdir(req, parent, name);
}

void frozen_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
    const char *to_name, unsigned flags)
{
	if (!refused(req))
		fs_rename(req, parent, name, to_parent, to_name, flags);
}

void frozen_create(
    fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	if (!refused(req))
		fs_create(req, parent, name, mode, fi);
}

void frozen_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	bool reads = (fi->flags & (O_ACCMODE | O_TRUNC)) == O_RDONLY;

	if (reads || !refused(req))
		fs_open(req, node, fi);
}

void frozen_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t length,
    struct fuse_file_info *fi)
{
	if (!refused(req))
		fs_fallocate(req, node, mode, offset, length, fi);
}

void frozen_copy_file_range(fuse_req_t req, fuse_ino_t node_in, off_t offset_in,
    struct fuse_file_info *fi_in, fuse_ino_t node_out, off_t offset_out,
    struct fuse_file_info *fi_out, size_t len, int flags)
{
	if (!refused(req))
		fs_copy_file_range(
		    req, node_in, offset_in, fi_in, node_out, offset_out, fi_out, len, flags);
}

/*
 * The handlers of changes, as FUSE calls them: a mount that came up without the instance (-o
 * offline) answers them with EROFS until the instance has answered. Core only.
 */
#ifndef VASTFS_FS_FROZEN_H
#define VASTFS_FS_FROZEN_H

#include "fs/fs.h"

void frozen_setattr(
    fuse_req_t req, fuse_ino_t node, struct stat *st, int to_set, struct fuse_file_info *fi);
void frozen_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev);
void frozen_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void frozen_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void frozen_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char *name);
void frozen_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void frozen_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void frozen_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
    const char *to_name, unsigned flags);
void frozen_create(
    fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void frozen_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void frozen_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t length,
    struct fuse_file_info *fi);
void frozen_copy_file_range(fuse_req_t req, fuse_ino_t node_in, off_t offset_in,
    struct fuse_file_info *fi_in, fuse_ino_t node_out, off_t offset_out,
    struct fuse_file_info *fi_out, size_t len, int flags);

#endif

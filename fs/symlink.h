/*
 * Where a symlink may lead (S2): the instance is not trusted, so a link on it must not lead a local
 * program out of the mount. Pure functions.
 */
#ifndef VASTFS_FS_SYMLINK_H
#define VASTFS_FS_SYMLINK_H

#include <stddef.h>

/*
 * The target that programs here may see, into buf.
 *
 * target: as the instance says. root: the mounted folder's absolute path there, without a trailing
 * slash ("" or "/" for the root). depth: how deep below root the folder of the link lies (0: in
 * root itself).
 *
 * A relative target that stays inside is passed on as it is; ".." behind a name is resolved by its
 * text, since the name may be a link itself. An absolute target below root is rewritten to a
 * relative one. Anything else: -EACCES. 0, -EACCES, or -ENAMETOOLONG.
 */
int symlink_contain(const char *target, const char *root, int depth, char *buf, size_t size);

/*
 * The same for an absolute target that leads into the mount by the mountpoint's own path, as `ln -s
 * ~/gpu/a ~/gpu/b` makes it: passed on as it is, with ".." behind a name resolved. 0, -EACCES when
 * it lies elsewhere, or -ENAMETOOLONG.
 */
int symlink_enter(const char *target, const char *mountpoint, char *buf, size_t size);

#endif

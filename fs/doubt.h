/*
 * A program has run on the instance for `vastfs run`: what is known of files and names may be
 * outdated in any place, and the user will look at what came of it at once, not up to
 * attr_timeout later. Core only.
 */
#ifndef VASTFS_FS_DOUBT_H
#define VASTFS_FS_DOUBT_H

#include "fs/fs.h"

/* Nothing that was asked for until now is believed without asking again. When the kernel has been
 * told, {"ok": true} is written to fd, which is taken. */
void doubt_all(struct fs *fs, int fd);

/* The link was lost and is there again: files that are open may have grown meanwhile, and who only
 * reads on would not hear of it before what the kernel knows of them is too old. */
void doubt_open(struct fs *fs);

#endif

/*
 * What follows when cache/names finds that something has changed, here or on the instance: the
 * kernel is told, and whoever keeps something of the inode or the name. Core only.
 */
#ifndef VASTFS_FS_FOLLOW_H
#define VASTFS_FS_FOLLOW_H

#include "fs/fs.h"

/* Their arg is the struct fs. */
extern const struct names_events fs_names_events;

#endif

/*
 * STATFS: the space on the instance. fts(3), so find and grep -r, asks at the beginning of each
 * walk; a round trip for that would be all that a second walk waits for. What the instance said is
 * told again for attr_timeout (30 s at most), unless something was changed here since; what is
 * older than a second is asked again behind the caller. Core only.
 */
#ifndef VASTFS_FS_STATFS_H
#define VASTFS_FS_STATFS_H

#include "fs/fs.h"

/* A change is made here. */
void statfs_forget(struct fs *fs);

#endif

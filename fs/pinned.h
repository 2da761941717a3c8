/*
 * Pinned paths (`vastfs cache pin`) are kept fresh: every half minute, and a second after the
 * watcher has told of a change, what lies below them is gone through, and files that the disk cache
 * does not have whole, in the version that the instance has now, are read into it.
 *
 *	round: the pins ──> for each, folder by folder: listed unless that is fresh
 *	       ──> files whose version has not been seen to be kept: does the disk cache have all
 *	       of it? else OPEN, read to the end; a few at a time
 *
 * Where folders are watched (fs/watched.h) a round in which nothing has changed asks the instance
 * nothing. A file that is being changed waits for the next round. Core only.
 */
#ifndef VASTFS_FS_PINNED_H
#define VASTFS_FS_PINNED_H

#include "fs/fs.h"

/* Every second. */
void pinned_tick(struct fs *fs);
/* Something has changed there. */
void pinned_soon(struct fs *fs);
/* What was kept is no more. */
void pinned_anew(struct fs *fs);
/* The mount is going away: nothing more is asked. */
void pinned_stop(struct fs *fs);
/* When nothing of it is under way any more, and before names are gone. */
void pinned_free(struct fs *fs);

#endif

/*
 * Small files ahead: a program that reads file after file (cp -r, grep -r, tar c, md5sum *, the
 * workers of a data loader) finds the next ones in memory, so that opening and reading them takes
 * no round trip.
 *
 *	ahead.c        who reads what: streams of opens, how far to go ahead of each
 *	ahead_order.c  which file comes next: a place in the tree, and the order of a folder's names
 *	ahead_scatter.c  files opened here and there in a tree
 *	ahead_shelf.c  the same where each folder has a few files
 *	ahead_own.c    files that were written here
 *	ahead_fetch.c  one file: OPEN and LSTAT, then READs, FSTAT and CLOSE; two round trips,
 *	               hundreds under way together, on the bulk channels (N3)
 *
 * Opening without asking (R2): the last check of the file's attributes was asked for less than a
 * second ago, all of the file is here, and it was read of this version when that was old enough to
 * be told from the next one (attr_settled). What is here but was checked longer ago gets an LSTAT
 * ahead.
 *
 * A stream starts with the second file that is opened in a folder, or the first one during a walk.
 * It keeps a window of files that were fetched and not yet opened; it grows when a program finds
 * its file still under way, and shrinks when the check of a file has become too old. Only opens
 * move a stream on: when the program stops, so does the fetching. A stream whose guesses are wrong
 * stands still, as its window is full of files that nobody opens.
 *
 * Core only. Owns what is under way; inodes that it knows of are pinned.
 */
#ifndef VASTFS_FS_AHEAD_H
#define VASTFS_FS_AHEAD_H

#include "fs/fs.h"

/* Larger files are read by their own read-ahead (cache/readahead.h). */
#define AHEAD_FILE_MAX (1u << 20)

struct ahead;
struct ahead_figures {
	uint64_t files;	   /* fetched or checked ahead */
	uint64_t used;	   /* of these, opened without asking */
	unsigned underway; /* now */
};

/* NULL: memory is out. */
struct ahead *ahead_new(struct fs *fs);
/* Nothing may be under way any more. NULL is allowed. */
void ahead_free(struct ahead *ahead);
void ahead_figures(const struct ahead *ahead, struct ahead_figures *out);

enum ahead_found {
	AHEAD_HERE,	/* the open can be answered now, without asking */
	AHEAD_UNDERWAY, /* it is being fetched: ahead_wait tells when that has ended */
	AHEAD_ABSENT,	/* the instance must be asked */
};
/* A program (its thread's id) opens a file for reading only. */
enum ahead_found ahead_opened(struct fs *fs, struct inode *inode, pid_t pid);
/* After AHEAD_UNDERWAY: done is called once, later, whether or not it came to something. False:
 * memory is out. */
bool ahead_wait(struct inode *inode, void (*done)(void *arg), void *arg);
/* A file that was written here is on the instance. Programs read such files back in any order (git
 * its objects): when a few opens had to ask, all of them are checked, and checked again, as long as
 * they are wanted. remove: it is going away. */
struct openfile;
void ahead_own_add(struct fs *fs, struct openfile *open);
void ahead_own_remove(struct fs *fs, struct openfile *open);
/* A program has to wait for a look at the inode. */
void ahead_own_missed(struct fs *fs, struct inode *inode);
/* A folder has been listed: streams that waited for it go on. */
void ahead_listed(struct fs *fs);

#endif

/*
 * What the files of SETATTR share: setattr.c (asking the instance), setattr_behind.c (what is
 * answered without that).
 */
#ifndef VASTFS_FS_SETATTR_IMPL_H
#define VASTFS_FS_SETATTR_IMPL_H

#include "fs/openfile.h"
#include "fs/request.h"
#include "fs/turn.h"

#define OWNER_BITS (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)
#define SETS (FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_MODE | OWNER_BITS | TIME_BITS)
#define TIME_BITS                                                                                  \
	(FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |                     \
	    FUSE_SET_ATTR_MTIME_NOW)

/*
 * Bytes still on their way are sent first when size or times are set: they would change both
 * afterwards. SFTP sets both times together: when one is set, a look first tells the other. Then
 * size (a request of its own), the rest, and a look at the outcome, all in one round trip.
 */
struct setattr {
	struct request request;
	struct inode *inode;   /* pinned */
	struct handle *handle; /* counted, or NULL: by path */
	int to_set;
	struct stat wanted;
	uint64_t size;
	struct sftp_attr attr; /* all but size */
	struct timespec atime, mtime;
	struct sftp_attr seen;
	int pending, err, seen_err;
	struct turn turn;
};

/* --- setattr.c --- */
/* Answers, and gives the handle back. */
void setattr_end(struct setattr *setattr, int err);
/* Its attr, from what is wanted and what is known. */
void setattr_fill_in(struct setattr *setattr);

/* --- setattr_behind.c --- */
/* Answers what changes nothing, or can be sent behind the program; false: the instance has to be
 * asked. */
bool setattr_at_once(struct setattr *setattr);
/* What is filled in counts here from now on. */
void setattr_set_here(struct setattr *setattr);

#endif

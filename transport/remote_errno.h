/*
 * What really went wrong: SFTP's status codes hide most errnos (OpenSSH sends FAILURE for EEXIST,
 * ENOTEMPTY, EISDIR, ENOSPC, EXDEV and EROFS, NO_SUCH_FILE for ENOTDIR and ELOOP too,
 * PERMISSION_DENIED for EPERM too), so a failed request is followed by a look at the state it met,
 * in one round trip as a rule.
 *
 * Core only. remote_errno_guess is pure.
 */
#ifndef VASTFS_TRANSPORT_REMOTE_ERRNO_H
#define VASTFS_TRANSPORT_REMOTE_ERRNO_H

#include "transport/remote.h"

/* What was asked, with the meaning of path and path2. */
enum remote_asked {
	ASKED_LOOKUP,	  /* LSTAT, STAT, READLINK, statvfs of path */
	ASKED_LIST,	  /* OPENDIR path */
	ASKED_MKDIR,	  /* path: the new folder */
	ASKED_RMDIR,	  /* path */
	ASKED_UNLINK,	  /* path */
	ASKED_SYMLINK,	  /* path: the new link */
	ASKED_LINK,	  /* path: what exists; path2: the new name */
	ASKED_RENAME,	  /* path: from; path2: to, which may be replaced */
	ASKED_RENAME_NEW, /* path: from; path2: to, which must not exist */
	ASKED_SETSTAT,	  /* path: owner, mode or times */
	ASKED_LSETSTAT,	  /* the same of a symlink itself */
	ASKED_TRUNCATE,	  /* path: size, by path or by handle */
	ASKED_OPEN_READ,  /* OPEN of path without CREAT and WRITE */
	ASKED_OPEN_WRITE, /* OPEN with WRITE, without CREAT */
	ASKED_CREATE,	  /* OPEN with CREAT, without EXCL */
	ASKED_CREATE_NEW, /* OPEN with CREAT and EXCL */
	ASKED_WRITE, /* WRITE, FSYNC or FSETSTAT through a handle; path may be NULL: then there is
			nothing to look at */
};

/* How often what was refused for no reason that can be seen is sent again: what stood in the way
 * may have gone before the look, as a lock that somebody else had does. */
#define REMOTE_RETRIES 4

/* What a size or a write's end beyond every file system's files was refused with: -EFBIG; else err.
 */
int remote_errno_of_size(int err, uint64_t end);
/* Whether a look could tell more than err already does (err as in sftp_reply.err). */
bool remote_errno_is_vague(enum remote_asked asked, int err);

/*
 * Finds the errno behind err (negative, as sftp_reply.err gave it) and calls done once, later: with
 * the errno that the looks explain, else with err itself (-EIO for FAILURE). Takes at most ten
 * seconds and never more than the profile's timeout; when the link is lost meanwhile, done gets
 * err. Paths are borrowed for the call only.
 */
void remote_true_errno(struct remote *remote, enum remote_asked asked, const char *path,
    const char *path2, int err, remote_done *done, void *arg);

/* 0, or -ENAMETOOLONG when a component is over 255 bytes or the path is PATH_MAX or longer; -EINVAL
 * for a path that is not absolute. Checked before sending: servers say BAD_MESSAGE at best. */
int remote_check_path(const char *path);

/* One thing that was looked at: err 0 and attr, or a negative errno; asked false when it was not
 * looked at. */
struct remote_look {
	bool asked;
	int err;
	struct sftp_attr attr;
};
struct remote_look_fs {
	bool asked;
	int err;
	struct statvfs st;
};
struct remote_looks {
	struct remote_look path, parent, path2,
	    parent2;			      /* LSTAT of the paths, STAT of their folders */
	struct remote_look_fs fs, fs2;	      /* of the folders */
	bool path_not_empty, path2_not_empty; /* a listing found names */
	bool loop;			      /* following path's symlinks came back */
	bool same_parent;		      /* both paths lie in one folder */
};
/* The negative errno that err and the looks together mean. login: the login user's uid. */
int remote_errno_guess(
    enum remote_asked asked, int err, const struct remote_looks *looks, uint32_t login);

#endif

/*
 * The mounted file system: FUSE requests in, answers out; glues the caches to the instance.
 *
 * Everything in fs/ runs on the core, one libuv loop; a handler answers from the cache or sends a
 * request to the instance and returns. struct fs is the root object; it owns the modules below it.
 *
 *	fuse_loop.c    the FUSE session on the loop: receives requests, calls the handlers
 *	request.c      a waiting request: exactly one reply, interrupts, the timeout
 *	*_ops.c lookup.c open.c statfs.c    the handlers
 *	listing.c refresh.c walk.c    folders and attributes, up to date and ahead
 *	held.c         listings that the kernel keeps
 *	readlink.c targets.c    where links lead
 *	ahead*.c       small files fetched before they are opened
 *	burst.c behind*.c failures.c owed.c   write-behind: what is answered early, sent, failed
 *	turn.c         changes that wait behind what was answered early
 *	openfile*.c replaced.c    open files: handles, content, versions
 *	watched*.c     what is valid because the instance tells of changes
 *	pinned.c       pinned paths, kept fresh
 *	notify.c       tells the kernel what changed behind it
 *	control.c status.c    the control socket of `vastfs`
 */
#ifndef VASTFS_FS_FS_H
#define VASTFS_FS_FS_H

#define FUSE_USE_VERSION 314
#include "cache/content.h"
#include "cache/names.h"
#include "conf/profile.h"
#include "transport/forwards.h"
#include "transport/locate.h"
#include "transport/remote.h"
#include <fuse_lowlevel.h>
#include <sys/queue.h>
#include <uv.h>

struct request;
TAILQ_HEAD(request_list, request);
TAILQ_HEAD(folder_list, folder);

/* A thread that changes names (fs/burst.c). */
struct burst {
	pid_t pid;
	unsigned changes;
	unsigned sets; /* of attributes of one file after another, since the last change of names */
	uint64_t set_ino;  /* the last of them */
	uint64_t lock_ino; /* of a lock that it has made, the last one */
	uint64_t last_ms;
};

/* The free space on the instance, as last heard (fs/burst.c). */
struct room {
	uint64_t asked_ms, known_ms; /* 0: never */
	uint64_t bytes, files;
	bool asking, read_only;
};

/* The same for programs (fs/statfs.c). */
struct space {
	struct statvfs st;
	uint64_t known_ms; /* 0: never */
	uint64_t changes, known_changes, known_acked;
	bool asking;
};

/* A change that was answered and then failed (fs/failures.c). */
struct failure;
TAILQ_HEAD(failure_list, failure);
/* A file that was promised another name (fs/owed.c). */
struct owed;
TAILQ_HEAD(owed_list, owed);

struct fs {
	uv_loop_t *loop;
	const struct profile *profile;
	struct fuse_session *session;
	struct remote *remote;
	struct locator *locator; /* where the instance is */
	struct content_pool *contents;
	struct store *store;	    /* the disk cache, or NULL */
	const char *store_off;	    /* why there is none */
	struct folder_list unsaved; /* whose listing there is out of date */
	struct spool *spool;	    /* or NULL */
	struct spooling *spooling;
	struct names *names;	   /* NULL until the remote is ready */
	struct forwards *forwards; /* or NULL */
	struct commands *commands; /* programs run on the instance */
	struct notifier *notifier;
	struct control *control;
	struct ownlinks *ownlinks; /* NULL: none */
	struct targets *targets;   /* NULL: none yet */
	struct pinned *pinned;	   /* NULL: nothing to do yet */
	struct watched *watched;   /* NULL: nobody tells of changes there (fs/watched.h) */
	char *mountpoint;
	uid_t local_uid; /* whose the login user's files are here */
	gid_t local_gid;
	time_t started;
	/* What was asked for until then may be outdated (fs/doubt.c); loop ms, 0: never. */
	uint64_t doubt_ms;

	struct request_list waiting;	 /* the oldest first: the timeout */
	struct request_list interrupted; /* to be looked at when the batch of requests is done */
	struct request_list signalled;	 /* interrupted by a signal that does not end them */
	unsigned requests_waiting;
	unsigned requests_alive;    /* waiting, or answered and not yet at their end */
	uint64_t requests_received; /* from the kernel */
	uint64_t requests_answered, requests_waited, requests_timed_out, requests_interrupted;
	uint64_t changes_ended;	  /* of those in the outbox, so far */
	uint64_t acked, moved_ms; /* these and bytes of written data; when that last grew */
	uint64_t absent_ms; /* since when a name that no listing has counts as missing: the link was
			     * waited for in vain; 0: it does not */
	uint64_t given_up_ms; /* since when requests have waited in vain for a link; 0: none has */

	TAILQ_HEAD(, folder) walk_queue; /* folders that a walk will want, in the order found */
	size_t recalled_names;		 /* that the watcher is being asked about (fs/listing.c) */
	unsigned walk_queued, walk_window, walk_flying, walk_recalls, walk_unread;
	bool walk_by_names;	 /* it began with names looked up, not with folders opened */
	uint64_t walk_looked_ms; /* when a program last did that */
	uint64_t walk_active_ms; /* when a program last opened a folder in a walk */
	uint64_t listed_ahead, listed_ahead_used;

	struct ahead *ahead;	     /* fs/ahead.h */
	struct held *held;	     /* fs/held.h */
	bool no_opendir;	     /* the kernel does not ask for each opening of a folder */
	LIST_HEAD(, beside) beside;  /* fs/beside.h */
	uint64_t besides;	     /* so far */
	LIST_HEAD(, handle) unasked; /* opened without the instance, the latest first */
	struct outbox *outbox; /* changes that were answered and are not there yet (fs/behind.c) */
	struct pool_channel *outbox_channel; /* that they go through; counted; or NULL */
	bool outbox_link;		     /* a link is being waited for */
	TAILQ_HEAD(, behind) put_off;	     /* creates that the instance had no handles for */
	uint64_t scarce_ms;		     /* when it last had none; 0: never */
	struct burst bursts[64];
	struct room room;
	struct space space;
	struct failure_list failures; /* the latest first */
	unsigned n_failures, failures_untold;
	int failure;	 /* the first of those untold; 0: none */
	uint64_t failed; /* so far */
	struct owed_list owed;
	unsigned n_owed;

	unsigned open_files;
	bool frozen; /* mounted without the instance, which has not answered yet: fs/frozen.c */
};

/* The loop's clock in ms. */
uint64_t fs_now_ms(const struct fs *fs);
/* How long that is past; 0 for what counts as a millisecond ahead (openfile_sent_behind_lock). */
uint64_t fs_age_ms(const struct fs *fs, uint64_t since_ms);
uint32_t fs_attr_max_ms(const struct fs *fs);
/* The second that the instance's clock has reached at least (transport/remote_clock.h). */
int64_t fs_clock_there(const struct fs *fs);
/* Can another version of the file be told from the one that is known, by its whole-second mtime?
 */
bool fs_settled(const struct fs *fs, const struct inode *inode);
/* The same at a time of the loop's clock that may be past, as what was asked for then has it. */
bool fs_settled_at(const struct fs *fs, const struct inode *inode, uint64_t ms);

/* Is there no link to the instance? What is cached is then believed whatever its age (R5). */
bool fs_offline(const struct fs *fs);
/* May the login user surely do this (of 7: read, write, pass) with the folder, and pass those
 * above, as SFTP goes by paths? Root may; the owner by his bits; others only where group's and
 * everybody's both say so, as the login's further groups are not known. NULL: there is none. */
bool fs_login_may(const struct fs *fs, const struct inode *folder, unsigned what);
/* May the inode's attributes be answered without asking? */
bool fs_attr_believed(struct fs *fs, const struct inode *inode);
/* And that the name leads to the inode (not NULL)? Where it has several, for a moment only. */
#define SHARED_MS 1000
bool fs_name_believed(struct fs *fs, const struct dentry *dentry);

/* The handlers' inode for a FUSE node id, and back. */
struct inode *fs_inode(struct fs *fs, fuse_ino_t node);
fuse_ino_t fs_node(struct fs *fs, const struct inode *inode);

/* Attributes of SFTP and of the cache: missing ones (flags) count as 0. */
struct attr_report fs_report(const struct sftp_attr *attr, uint32_t links);
/* What was set counts, even when bytes written here since made the rest of the report out of date.
 */
void fs_take_mode_and_owner(struct inode *inode, const struct sftp_attr *seen);
void fs_stat(struct fs *fs, const struct inode *inode, struct stat *st);
/* For how many seconds the kernel may believe the inode's attributes and name from now on. */
double fs_lifetime(struct fs *fs, const struct inode *inode);
struct fuse_entry_param fs_entry(struct fs *fs, const struct inode *inode);

/* Bytes written here and not yet there make the report's size and time out of date: ours stay. */
void fs_keep_unsent(const struct inode *inode, struct attr_report *report);
/* Takes over what the instance said of an inode at sent_tick; knows that bytes written here and not
 * yet there make its size and time out of date. */
void fs_take_report(struct fs *fs, struct inode *inode, const struct sftp_attr *attr,
    uint64_t sent_tick, uint64_t sent_ms);

/* Numbers of users and groups, there and here (idmap). */
uid_t fs_uid_here(const struct fs *fs, uint32_t uid);
gid_t fs_gid_here(const struct fs *fs, uint32_t gid);
uint32_t fs_uid_there(const struct fs *fs, uid_t uid);
uint32_t fs_gid_there(const struct fs *fs, gid_t gid);
/* Should what `caller` makes be given to him? (allow_other, a root login, another local user) */
bool fs_gives_away(const struct fs *fs, uid_t caller);
/* The group that it gets then: the caller's, or that of a setgid folder. */
uint32_t fs_gid_given(const struct fs *fs, const struct inode *folder, gid_t caller);

/* Something was just made in the folder and attr was seen: what has to be set so that it has this
 * mode, and is the caller's where he is due that. Into fix (flags 0: nothing), and into attr as if
 * it were done. */
void fs_mend(const struct request *request, const struct inode *folder, uint32_t mode,
    struct sftp_attr *attr, struct sftp_attr *fix);

extern const struct fuse_lowlevel_ops fs_ops;

/* The handlers, by file. */
void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_forget(fuse_req_t req, fuse_ino_t node, uint64_t lookups);
void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void fs_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void fs_setattr(
    fuse_req_t req, fuse_ino_t node, struct stat *st, int to_set, struct fuse_file_info *fi);
void fs_access(fuse_req_t req, fuse_ino_t node, int mask);
void fs_statfs(fuse_req_t req, fuse_ino_t node);
void fs_readlink(fuse_req_t req, fuse_ino_t node);
void fs_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void fs_readdir(
    fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi);
void fs_readdirplus(
    fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi);
void fs_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void fs_fsyncdir(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi);
void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev);
void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void fs_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char *name);
void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
    const char *to_name, unsigned flags);
void fs_create(
    fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void fs_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void fs_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void fs_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void fs_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi);
void fs_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi);
void fs_write(fuse_req_t req, fuse_ino_t node, const char *data, size_t size, off_t offset,
    struct fuse_file_info *fi);
void fs_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t length,
    struct fuse_file_info *fi);
void fs_copy_file_range(fuse_req_t req, fuse_ino_t node_in, off_t offset_in,
    struct fuse_file_info *fi_in, fuse_ino_t node_out, off_t offset_out,
    struct fuse_file_info *fi_out, size_t len, int flags);

#endif

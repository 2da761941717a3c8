/*
 * Open files: what belongs to an inode while, and after, programs have it open.
 *
 *	inode->open ──> struct openfile: its content (cache/content.h), and
 *	                struct handle for each open(2): its file on the instance, its read-ahead
 *
 * Versions (R2): the kernel's pages and our blocks belong to one version (mtime, size) of the
 * remote file. Another version drops both. Data read while the version was younger than two seconds
 * is dropped at the next open, because a second change in the same second would not show. Core
 * only.
 */
#ifndef VASTFS_FS_OPENFILE_H
#define VASTFS_FS_OPENFILE_H

#include "fs/fs.h"
#include "transport/rfile.h"

struct openfile {
	struct fs *fs;
	struct inode *inode;
	struct content *content;
	LIST_HEAD(, handle) handles;
	int error; /* of write-behind, told at each close until an fsync or the last close */
	struct behind
	    *sending; /* the same on its way: its path is where the instance has the file */
	struct behind
	    *linking; /* another name of it on its way, and nothing was written since; or NULL */
	struct behind *leaving; /* takes its last name away, and is not answered; or NULL */
	struct behind *unsent;	/* what its data has to catch up with, not sent yet (behind.h) */
	bool refreshing;	/* the question for the attributes is under way */
	bool wrote;	  /* something was written since the instance last told the attributes */
	bool unnamed;	  /* while it has no name: the last one was removed or replaced here */
	bool removed;	  /* and there */
	bool strayed;	  /* a link was lost with bytes for the file on their way */
	bool suspect;	  /* data was read or written while the version was too young */
	uint64_t read_ms; /* when all of it was asked for last, together with an open; or 0 */
	struct beside *beside;	      /* fs/beside.h: asked for together with its lock; or NULL */
	struct ahead_fetch *fetching; /* fs/ahead_fetch.c: on its way; or NULL */
	/* It was opened for reading when it had these; else mode is 0. */
	uint32_t mode, uid, gid;
	/* What the instance had before our changes that it may not have yet. */
	uint64_t base_size;
	uint32_t base_mtime;
	bool based;
	bool outgrown;			/* fs/replaced.h: its name leads to a longer file */
	bool kernel_stale;		/* the kernel may hold pages of another version */
	bool own;			/* all that is in it was written here */
	uint64_t own_ms;		/* when the instance had just that; 0: that is not known */
	TAILQ_ENTRY(openfile) own_link; /* fs/ahead_own.c, while own_listed */
	bool own_listed;
	unsigned own_unwanted;
	/* fs/replaced.h: handles that were asked which file they are on, and who waits for that. */
	unsigned asking;
	STAILQ_HEAD(, doubt_wait) doubters;
};

struct handle {
	LIST_ENTRY(handle) link;
	struct openfile *open;
	struct rfile *file;
	struct readahead ahead;
	unsigned refs; /* one for the open(2), one for each transfer of the content cache */
	bool append, writable;
	bool told;		   /* a close of it returned an error */
	bool read;		   /* the kernel has begun to */
	bool closed;		   /* no program has it (any more) */
	bool doubt;		   /* fs/replaced.h: it may not be the file of that name any more */
	unsigned doubts;	   /* so far */
	uint32_t mtime, old_mtime; /* the version last told; before the doubt */
	uint64_t size, old_size;
	LIST_ENTRY(handle) unasked; /* while is_unasked: fs->unasked */
	bool is_unasked;
	bool unseen; /* no link has been there since it was opened without asking, or it was lost */
	bool early;  /* opened for reading when the instance may not have had it yet */
	uint64_t opened_ms;
	/* The last read that got no answer in time: when that was, and of which bytes. */
	uint64_t late_ms, late_from, late_to;
	uint64_t regained;	/* fs/regain.h: asked for so far */
	struct handle *placing; /* of an appending one: opened without O_APPEND for it, or NULL */
};

/* What was asked for its written data took an error that its writers are to be told. */
void openfile_owes(struct openfile *open, int err);
/* What the instance has refused is no longer seen: its writer was told, so that it is not kept
 * either, or (told: false) nobody has it open. */
void openfile_told(struct openfile *open, bool told);

/* The inode's openfile, made when missing. NULL: memory is out. */
struct openfile *openfile_of(struct fs *fs, struct inode *inode);
/* For names_events: the inode is going away. */
void openfile_free(struct inode *inode);
bool openfile_dirty(const struct inode *inode);
/* The files that are so, the one for longest first: path on the instance, bytes to go, and size.
 * false of each: enough. */
void openfile_each_dirty(const struct fs *fs,
    bool (*each)(void *arg, const char *path, uint64_t dirty, uint64_t size), void *arg);
/* It has several names, and data that is not sent. The outbox and a replay go by names: before one
 * of them changes the data has to be there, or what is written later by another name could be
 * overtaken. */
bool openfile_goes_first(const struct inode *inode);
/* The same before one of its names is removed: not while the other one is in the outbox, behind all
 * that was written (link(2), then unlink(2), as git names its objects). */
bool openfile_goes_before_removal(const struct inode *inode);
/* A handle for a file just opened; takes file. Counted, and pins the inode while it lives, so that
 * the file can be opened again by the inode's path after a lost link. NULL: memory is out, file was
 * put. */
struct handle *handle_new(struct fs *fs, struct inode *inode, struct rfile *file, int flags);
/* It was opened without asking the instance. If it stays open for a second, the file is opened
 * there too, so that it goes on with it whatever becomes of the name. */
void handle_is_unasked(struct handle *handle);
void handles_ask_late(struct fs *fs); /* every second */
/* The link was lost: what was not asked for until now may be of another file when it is back. */
void handles_unseen(struct fs *fs);
struct handle *handle_get(struct handle *handle);
void handle_put(struct handle *handle);
/* For a write at an offset that came through an appending handle: another writable handle of the
 * file that does not append, or NULL. */
struct handle *handle_placing(struct handle *handle);
/* Opens one, which lives as long as `handle`, which the caller holds. 0: done(err) will be called,
 * later; -ESTALE when the file has no name any more, or -ENOMEM. */
int handle_open_placing(struct handle *handle, void (*done)(void *arg, int err), void *arg);
/* How the content cache reaches the instance; its `file` is a struct handle. */
extern const struct content_source openfile_source;

/* A read of the content cache that waits for something else first. new: NULL: memory is out. go:
 * sends it, or with err answers it; it is gone then. */
typedef void handle_read_done(void *arg, int err, const uint8_t *data, uint32_t len);
struct handle_read {
	struct handle *handle; /* counted */
	uint64_t offset;
	uint32_t len;
	bool bulk;
	handle_read_done *done;
	void *arg;
};
struct handle_read *handle_read_new(struct handle *handle, uint64_t offset, uint32_t len, bool bulk,
    handle_read_done *done, void *arg);
void handle_read_go(struct handle_read *read, int err);

/* A name is about to be removed or given to another file by a program here. */
void openfile_name_goes(struct fs *fs, struct inode *parent, const char *name);
/* The file has no name any more, as a program here took it away: one of the handles that it is
 * still open by and that serves an open(2) with those flags too (/proc/self/fd leads to it), or
 * NULL. */
struct handle *openfile_nameless(const struct inode *inode, int flags);

/* Is it open on the instance, or about to be? Else it was opened for reading without asking, and
 * without a name the instance's file is not to be found any more. */
bool handle_is_there(const struct handle *handle);

/* The file was just opened: what is known of its version is told to it. */
void handle_tell_version(struct handle *handle);
/* Who gives rfile the inode's path. */
struct rfile_owner openfile_owner(struct fs *fs, struct inode *inode);

/* open(2)'s flags as SFTP's (SSH_FXF_*), without those that create. */
uint32_t openfile_sftp_flags(int flags);

/* A path function for files that have no inode (yet). */
bool openfile_no_path(void *arg, char *buf, size_t size);

/* Another version of the file was seen: drops what is held of the old one. */
void openfile_version_changed(struct inode *inode);
/* At open: may the kernel keep its pages? Drops what may not be trusted. */
bool openfile_keeps_cache(struct fs *fs, struct inode *inode);
/* The instance let us open the file for reading. */
void openfile_opened(struct inode *inode);
/* What was read of the file while it was too young may not be mixed with what is read from now on.
 */
void openfile_drop_suspect(struct openfile *open);
/* Is all of a small file here that an open for reading would bring: permitted, of the version that
 * is known, and trusted? */
bool openfile_is_whole(const struct inode *inode);
/* And is that version known to be the instance's, not longer than that ago? R2 allows a second.
 * Nothing counts that was seen before a lock was taken in the folder. */
#define OPENFILE_CHECKED_MS 1000
bool openfile_is_current(struct fs *fs, const struct inode *inode, uint64_t checked_ms);
/* All of the file (attr->size bytes) came together with its open, which gave attr; tick and sent_ms
 * are that request's. */
void openfile_came(struct fs *fs, struct inode *inode, const uint8_t *data,
    const struct sftp_attr *attr, uint64_t tick, uint64_t sent_ms);
/* It did less than a second ago, and the handle that it came with is open: another open for reading
 * would not be told more, however young the version is, and shares that one's file. Or NULL. */
struct handle *openfile_just_came(struct fs *fs, const struct inode *inode);
/* The same of what is known of it alone. */
bool openfile_is_known(struct fs *fs, const struct inode *inode, uint64_t checked_ms);
/* A program made the name in the folder, which nobody else has made: when it is a lock, whoever had
 * it before may have changed the files beside it just before that. */
void openfile_note_lock(struct fs *fs, struct inode *folder, const char *name);
/* The time of a request that is sent now, perhaps in the same millisecond as that: behind it. */
uint64_t openfile_sent_behind_lock(const struct inode *inode, uint64_t sent_ms);
/*
 * The same of a file that was written here: what the instance does not have yet nobody there can
 * have changed. When it has it, its content is known without a look at its version, but only that
 * long; and only a program in a burst goes by that (in_burst).
 */
bool openfile_is_ours(struct fs *fs, const struct inode *inode, bool in_burst);
/* May the kernel keep its pages of such a file, or of one that came a moment ago? */
bool openfile_keeps_ours(struct openfile *open);
/* Data of the present version is being read or written. */
void openfile_used(struct fs *fs, struct openfile *open);
/* The instance had what was written here, and nothing else, at sent_ms, and reported a version.
 * dated: its time was set here, so that another version can be told from it. */
void openfile_confirmed(struct fs *fs, struct openfile *open, uint64_t sent_ms, bool dated);
/* The instance reports a size: is it another one than that which is expected, or than what is here?
 */
bool openfile_is_other(const struct openfile *open, uint64_t size, uint64_t expected);
/* We changed the file ourselves and the instance then reported this: what is cached of it stays
 * good. */
void openfile_take_own(
    struct fs *fs, struct inode *inode, const struct attr_report *report, uint64_t sent_ms);
/* Bytes are about to be accepted: notes what the instance has before them. */
void openfile_will_write(struct openfile *open);
/* Bytes were accepted from a program: the file's size and times are now ours to tell. */
void openfile_wrote(struct fs *fs, struct openfile *open, uint64_t end);
/* An open told attr: if all that was written is there by then, and nobody writes any more, that is
 * what it has become. */
void openfile_seen(struct fs *fs, struct inode *inode, const struct sftp_attr *attr, uint64_t tick,
    uint64_t sent_ms);
/* It was cut to nothing: what could not be written to it before is not wanted any more. */
void openfile_overwritten(struct fs *fs, struct inode *inode);
/* We set the file's size, to what the instance then reported. */
void openfile_truncated(
    struct fs *fs, struct inode *inode, const struct attr_report *report, uint64_t sent_ms);
/* The instance is about to be asked to set those (by attr->flags). */
void openfile_expect(struct inode *inode, const struct sftp_attr *attr);
/* Owner, group or mode were set (those that attr->flags names). */
void openfile_identity_changed(struct inode *inode, const struct sftp_attr *attr);
/* Everything written is there: asks the instance for the attributes it now has, behind the caller's
 * back. */
void openfile_refresh_after_write(struct openfile *open, struct rfile *file);
/* Somebody looks at an inode that is dirty by openfile_dirty: when all was sent, asks as above. */
void openfile_looked_at(struct inode *inode);

#endif

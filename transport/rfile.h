/*
 * An open file on the instance: a handle on one channel, on several when it is large and striped
 * over the bulk lane, opened again on a new connection when one is lost.
 *
 * Core only. Each call completes exactly once, later, never from inside the call. An rfile is
 * counted: the opener holds one reference, every operation under way holds one; the last rfile_put
 * closes all handles behind the caller's back.
 *
 * The same file: a further handle (stripe, or after a lost link) is used only when FSTAT through it
 * agrees with the version the caller last confirmed (rfile_set_version), and once bytes were sent
 * with size and kind; else the operation fails with -ESTALE, never with another file's data. What
 * was asked for and not answered yet (rfile_expect, rfile_may_stray) counts as done or as not done.
 *
 * Errors: 0 or a negative errno, the true one (remote_errno.h). -ESTALE: the file that this was is
 * not to be found any more. -ETIMEDOUT after the profile's timeout, lost links included.
 *
 * Paths: further handles are opened by the file's present path, which the owner gives through
 * `path`. NULL from it means the file has no name any more (unlinked): no further handles, a lost
 * handle is -ESTALE. path is not called any more once the last rfile_get is put.
 */
#ifndef VASTFS_TRANSPORT_RFILE_H
#define VASTFS_TRANSPORT_RFILE_H

#include "transport/remote.h"

struct packet;
struct rfile;

struct rfile_owner {
	/* The file's present absolute path into buf (size PATH_MAX), or false when it has none. */
	bool (*path)(void *arg, char *buf, size_t size);
	void *arg;
	/* The file is being changed through this rfile, which was just found to be the file still:
	 * the owner's other rfiles of it are to be told (rfile_mark_changed). lost: such a change
	 * was under way when its link was lost (rfile_may_stray). NULL: there are no others. From
	 * inside calls and completions; not once the last rfile_get is put. */
	void (*changes)(void *arg, bool lost);
};

/* The file, and its attributes as they were right after the open (an LSTAT or FSTAT sent behind the
 * OPEN on the same channel); attr->flags is 0 when the server would not say. file is owned by the
 * callee on success. */
typedef void rfile_open_done(void *arg, int err, struct rfile *file, const struct sftp_attr *attr);

/* With SSH_FXF_EXCL: a try before this one, over a link that was lost, may have made it. */
#define RFILE_IN_DOUBT (UINT32_C(1) << 31)
/* flags: SSH_FXF_*; mode for SSH_FXF_CREAT (permission bits; the server's umask applies to it). One
 * round trip. */
void rfile_open(struct remote *remote, const char *path, uint32_t flags, uint32_t mode,
    const struct rfile_owner *owner, rfile_open_done *done, void *arg);
/* The same for reading only a small file: its first `early` bytes (at most max_read; 0: none) are
 * read in the same round trip where the server's handles can be foreseen. */
void rfile_open_to_read(struct remote *remote, const char *path, uint32_t early,
    const struct rfile_owner *owner, rfile_open_done *done, void *arg);
/* What was read so, if there were as many bytes: *len of them, owned by the caller. It is younger
 * than the attributes that the open gave. Or NULL. */
uint8_t *rfile_take_early(struct rfile *file, uint32_t *len);
/* The same without asking, for reading while the link is down: what is known of the file (version
 * and identity) stands for the open; it is opened, and checked to be that file, once the link is
 * back. NULL when memory is out. */
struct rfile *rfile_open_later(
    struct remote *remote, const struct sftp_attr *known, const struct rfile_owner *owner);
/* rfile_open for reading a small file that nobody waits for: on a bulk channel, where it and what
 * is read through it delay no small operation. A lost link ends it: -ESTALE. */
void rfile_open_ahead(struct remote *remote, const char *path, rfile_open_done *done, void *arg);
/*
 * A file that is yet to be created, behind the caller's back: what is done with it waits for that.
 * rfile_create asks for it, exclusively, on this one channel and only once (remote_begin_ordered);
 * after done with -ENOTCONN it is called again, with doubt, on another one. exclusive false: what
 * stands there is opened instead, and truncated if flags have SSH_FXF_TRUNC. After any other error
 * the caller gives it up: what waits and all that comes later fails with err. The rfile must be
 * held until done is called.
 */
struct rfile *rfile_new_later(
    struct remote *remote, uint32_t flags, const struct rfile_owner *owner);
void rfile_create(struct rfile *file, struct pool_channel *channel, bool doubt, bool exclusive,
    const char *path, uint32_t mode, remote_attr_done *done, void *arg);
/* The same with the file that is there, as it is. */
void rfile_open_into(struct rfile *file, struct pool_channel *channel, const char *path,
    remote_attr_done *done, void *arg);
/* For rfile_open_into, before it: the same as `early` of rfile_open_to_read. */
void rfile_want_early(struct rfile *file, uint32_t early);
void rfile_give_up(struct rfile *file, int err);
bool rfile_is_later(const struct rfile *file);
/* Opens it on the instance, if it is not, by that path and through that channel: in front of what
 * is sent there next, which may take the path away. Whether it is still the same file is seen
 * then, as with any further handle. */
void rfile_open_through(struct rfile *file, struct pool_channel *channel, const char *path);

struct rfile *rfile_get(struct rfile *file);
void rfile_put(struct rfile *file);

/* For a file that was created before its owner could exist: from now on this owner is asked for the
 * path. */
void rfile_set_owner(struct rfile *file, const struct rfile_owner *owner);

bool rfile_readable(const struct rfile *file);
bool rfile_writable(const struct rfile *file);
bool rfile_append(const struct rfile *file);

/* What the caller knows the file to be (mtime in seconds since 1970, size in bytes). While changes
 * of this rfile are under way, it goes on as changed. */
void rfile_set_version(struct rfile *file, uint32_t mtime, uint64_t size);

/* Is there a handle on the instance that shows which file this is, or is it one that was being
 * changed, whose version is not compared? */
bool rfile_is_held(const struct rfile *file);
/* Was there ever such a handle? */
bool rfile_was_held(const struct rfile *file);
/* Was there, or is one being opened? */
bool rfile_is_asked(const struct rfile *file);
/*
 * What was found under the file's name when nothing shows that it is still this file. An rfile
 * whose handles are lost then takes it for another one: its operations fail with -ESTALE. But a log
 * that has grown may still be read.
 */
void rfile_offer_version(struct rfile *file, uint32_t mtime, uint64_t size);

/* The version was found under the file's name, and a handle that stands is being asked whether it
 * shows the same: until then it may be another file's, and no further handle, opened by that name,
 * is taken for one of this file. */
void rfile_doubt(struct rfile *file, bool doubt);

/* The file is being changed by this mount, through this or another rfile: until the next
 * rfile_set_version its time and size are not compared. Writes and copies of the rfile itself imply
 * it when they are sent, truncates when they are done. */
void rfile_mark_changed(struct rfile *file);
/* Are any of those of this rfile under way? */
bool rfile_is_changing(const struct rfile *file);

/* The link was lost with writes under way that may still reach the file: for some time a later
 * mtime than that of the version is no sign of another file. */
void rfile_may_stray(struct rfile *file);

/* The instance is about to be asked, by path or through another rfile, to set those attributes of
 * the file that attr->flags names. Forgotten with the rfile_set_version and rfile_set_identity that
 * tell what came of it. rfile_fsetstat notes its own. */
void rfile_expect(struct rfile *file, const struct sftp_attr *attr);

/* It was truncated through another rfile or by path: a further handle may show this size. */
void rfile_truncated(struct rfile *file, uint64_t size);

/* The owner, group or permissions were changed by path (those that attr->flags names): a further
 * handle is expected to show the new ones. rfile_fsetstat notes its own. */
void rfile_set_identity(struct rfile *file, const struct sftp_attr *attr);

enum rfile_lane {
	RFILE_SMALL, /* someone waits for a few KiB: beside other small operations */
	RFILE_BULK,  /* streaming: striped over the bulk lane once the file is large */
};

/* One read of 1 to max_read bytes. Fewer bytes than asked come only at the end of the file as FSTAT
 * confirms it: a short READ reply is asked again (R4). data borrowed. */
typedef void rfile_read_done(void *arg, int err, const uint8_t *data, uint32_t len);
void rfile_read(struct rfile *file, uint64_t offset, uint32_t len, enum rfile_lane lane,
    rfile_read_done *done, void *arg);

/* Room for size bytes of a write at *data, which the caller fills and hands over, so that they are
 * copied once; else packet_free. NULL: memory is out. */
struct packet *rfile_data_new(uint32_t size, uint8_t **data);
/* One write of the first len bytes of data, 1 to max_write; data is taken (NULL: -ENOMEM). Repeated
 * after a lost link, except with SSH_FXF_APPEND (there the size is looked up first). Writes of one
 * rfile go out in the order of the calls on each channel, but complete in any order; appending
 * files use one channel only. So the caller waits for a write before it starts another one, a read
 * or a truncate of the same bytes. */
void rfile_write_data(struct rfile *file, uint64_t offset, struct packet *data, uint32_t len,
    enum rfile_lane lane, remote_done *done, void *arg);
/* The same with a copy of data. */
void rfile_write(struct rfile *file, uint64_t offset, const void *data, uint32_t len,
    enum rfile_lane lane, remote_done *done, void *arg);
/*
 * One write to an appending file, of which it is never left unknown what is there: when it ends
 * with -ETIMEDOUT or -ENOTCONN it may be given again, with the same bytes (again), each in the
 * order of the first calls and before any other append. Then what arrived of it is not sent a
 * second time; -EIO where that can't be told, as somebody else appends.
 */
void rfile_append_lasting(struct rfile *file, struct packet *data, uint32_t len,
    enum rfile_lane lane, bool again, remote_done *done, void *arg);
/* Where the last append that was acknowledged ends, as far as the instance has told the size in
 * front of it; false: it has not, or a part of one that failed may be there. */
bool rfile_append_end(const struct rfile *file, uint64_t *end);

/* Everything that was completed before is on the disk there (fsync@openssh.com on each handle
 * written through; 0 where it is not offered, once per mount with a log_warning). Callers wait for
 * their writes first. */
void rfile_fsync(struct rfile *file, remote_done *done, void *arg);
/* The same together with the writes under way: it goes behind them, when one handle has them all
 * and nothing else changes the file. false: that is not so (or there are none), and done is not
 * called. Its success counts once those writes have succeeded too; -EAGAIN: the link was lost, so
 * that they may be sent again, and an fsync has to follow them. */
bool rfile_fsync_behind(struct rfile *file, remote_done *done, void *arg);
/* Would a small operation that is asked for now come behind all appends, on the same channel? Yes
 * where there are none. */
bool rfile_follows_appends(const struct rfile *file);
void rfile_fstat(struct rfile *file, remote_attr_done *done, void *arg);
/* As remote_setstat, through the handle; may carry size (truncate). */
void rfile_fsetstat(struct rfile *file, const struct sftp_attr *attr, remote_done *done, void *arg);

/* Bytes copied on the instance by copy-data between two open files, in one piece of at most len (a
 * channel of its own holds handles of both). done's err: bytes copied (> 0; 0 at the end of the
 * source), or -EOPNOTSUPP without the extension. len at most 1 GiB. */
void rfile_copy(struct rfile *from, uint64_t from_offset, struct rfile *to, uint64_t to_offset,
    uint64_t len, remote_done *done, void *arg);

#endif

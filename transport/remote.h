/*
 * The instance, as the rest of vastfs sees it: file system operations by path, asynchronous, with
 * true errnos.
 *
 * Core only. Owns the pool: the SSH sessions, their lanes and channels (pool.h), redials lost
 * sessions, and mends what SFTP leaves vague. Every call completes exactly once, later, never from
 * inside the call, within `timeout` seconds of the profile. Paths are absolute on the instance,
 * borrowed for the call only.
 *
 * A lost link: what can be repeated (look-ups, listings) is sent again on another connection until
 * the timeout; for mkdir, rename, remove, symlink, link and exclusive create it is first looked up
 * whether it was done. err is 0 or a negative errno: -ETIMEDOUT after the timeout, -EIO and -EPROTO
 * for a server that makes no sense.
 */
#ifndef VASTFS_TRANSPORT_REMOTE_H
#define VASTFS_TRANSPORT_REMOTE_H

#include "transport/pool.h"
#include "transport/sftp_codec.h"

struct remote;

struct remote_events {
	/* The first session stands, its SFTP answers and the folder to mount is known: the mount
	 * may be announced. Or the first connection failed for good (error borrowed). Once. */
	void (*ready)(void *arg, const struct ssh_error *error);
	/* The link came (error NULL) or went: no session serves any more, or one does again. */
	void (*link)(void *arg, const struct ssh_error *error);
	/* As the pool's: there is no instance to be reached yet, and the profile says offline. */
	void (*unreachable)(void *arg, const struct ssh_error *error);
};

/* Starts dialling: the first session at once, the others behind it, staggered. While the first
 * fails in a way that time heals (SSH_DENIED_TRANSIENT, SSH_REFUSED just after a start), it is
 * tried again every few seconds for up to a minute, with a line of log_warning saying so; then
 * ready(error). */
int remote_new(struct remote **out, uv_loop_t *loop, const struct ssh_target *target,
    const struct remote_events *events, void *arg);
/* Completes what is in flight with -ENOTCONN (later, from the loop), closes all sessions. No events
 * come afterwards. The struct stays while someone holds a reference (open files do); calls on it
 * then complete with -ENOTCONN. */
void remote_free(struct remote *remote);
struct remote *remote_get(struct remote *remote);
void remote_put(struct remote *remote);

/* Before ready: goes on with what was known of the instance. Operations wait for it. 0 or -ENOMEM.
 */
int remote_assume(struct remote *remote, const char *root, uint32_t uid, uint32_t gid);

struct pool *remote_pool(struct remote *remote);
/* After ready: the absolute path mounted, the login user's numeric ids on the instance (owner of
 * the login folder). */
const char *remote_root(const struct remote *remote);
uint32_t remote_uid(const struct remote *remote);
bool remote_follows_links(const struct remote *remote); /* symlinks=follow */
uint32_t remote_gid(const struct remote *remote);
/* Bits that the server's umask was seen to clear at creates are mended by who creates; this is the
 * features of the first session. */
const struct sftp_features *remote_features(const struct remote *remote);

/*
 * Changes that belong together, in order (cache/outbox.h): the calls between these two go out on
 * this one channel, which answers in turn, and only once: a lost link ends them with -ENOTCONN, and
 * whether they were done is not known. Without that they have no timeout, as a server that is late
 * may do them yet. doubt: an earlier try ended so; it is looked up first
 * whether it was done. Not for renames on a server without posix-rename@.
 */
void remote_begin_ordered(struct remote *remote, struct pool_channel *channel, bool doubt);
void remote_end_ordered(struct remote *remote);

typedef void remote_done(void *arg, int err);
typedef void remote_attr_done(void *arg, int err, const struct sftp_attr *attr);
typedef void remote_text_done(void *arg, int err, const char *text);

/*
 * The small-operations lane answers these in the order sent, as far as one connection lives.
 *
 * With symlinks=follow remote_lstat and listings tell of what a symlink leads to
 * (SFTP_ATTR_FOLLOWED), and of the link only where that leads nowhere; remote_lstat_itself and the
 * looks behind changes of names never do.
 */
void remote_lstat_itself(
    struct remote *remote, const char *path, remote_attr_done *done, void *arg);
void remote_lstat(struct remote *remote, const char *path, remote_attr_done *done, void *arg);
void remote_stat(struct remote *remote, const char *path, remote_attr_done *done, void *arg);
void remote_readlink(struct remote *remote, const char *path, remote_text_done *done, void *arg);
void remote_mkdir(
    struct remote *remote, const char *path, uint32_t mode, remote_done *done, void *arg);
void remote_rmdir(struct remote *remote, const char *path, remote_done *done, void *arg);
void remote_unlink(struct remote *remote, const char *path, remote_done *done, void *arg);
void remote_symlink(
    struct remote *remote, const char *target, const char *path, remote_done *done, void *arg);
void remote_link(
    struct remote *remote, const char *from, const char *to, remote_done *done, void *arg);
/* replace: what stands at `to` is replaced atomically (posix-rename@). Without it -EEXIST when
 * something stands there (RENAME_NOREPLACE). Servers without posix-rename@ get a plain RENAME, and
 * when `to` exists a rename aside, a RENAME and a REMOVE, put back on failure. */
void remote_rename(struct remote *remote, const char *from, const char *to, bool replace,
    remote_done *done, void *arg);
/* The same, replacing, of a file of that size (0: it is not known, or is no file). After a lost
 * link a file of another size at `from`, and one of that size at `to`, show that it was done. */
void remote_rename_sized(struct remote *remote, const char *from, const char *to, uint64_t size,
    remote_done *done, void *arg);
/* The same without replacing, where nothing stood at `to` a moment ago, of what is a file or a
 * folder: one request with OpenSSH, which still finds out what has come there since. */
void remote_rename_free(
    struct remote *remote, const char *from, const char *to, remote_done *done, void *arg);
/* Sets what attr->flags names. nofollow: of a symlink itself (lsetstat@; -EOPNOTSUPP without it
 * when path is a link). Mode is sent in a request of its own behind uid/gid, since chown clears
 * setuid. size must not be set here together with others. */
void remote_setstat(struct remote *remote, const char *path, const struct sftp_attr *attr,
    bool nofollow, remote_done *done, void *arg);
void remote_statvfs(struct remote *remote, const char *path,
    void (*done)(void *arg, int err, const struct statvfs *st), void *arg);

/*
 * Lists a folder: OPENDIR, then READDIRs pipelined, CLOSE. entry() for each valid name but "." and
 * ".." (duplicates are dropped); links is 0 when longname did not say. Then done once; on an error
 * the entries given before are void. self: the attributes of the folder itself where "." had them,
 * else NULL.
 */
struct remote_listing {
	void (*entry)(void *arg, const char *name, const struct sftp_attr *attr, uint32_t links);
	void (*done)(void *arg, int err, const struct sftp_attr *self);
};
void remote_list(struct remote *remote, const char *path, uint64_t look_up,
    const struct remote_listing *listing, void *arg);
/* What a rename here has put aside (remote_rename.c) is gone in a moment: a program that removes
 * all that is listed would not find it any more, so it is in no listing. */
bool remote_is_aside(const struct remote *remote, const void *name, size_t len);
/* A guess that the folder is listed next, as what is there at path is being looked up: sends its
 * OPENDIR already, from which a remote_list of the path with the same number of the look-up (not 0)
 * goes on, a round trip ahead. Closed again when none has come a moment after the answer. At most
 * four at a time; seldom after eight wrong guesses in a row. */
void remote_list_expect(struct remote *remote, const char *path, uint64_t look_up);

#endif

/*
 * What the rfile_*.c files share: the open file, its handles and its operations. Nobody else
 * includes this.
 *
 *	rfile.c          references, what is known of the file
 *	rfile_open.c     the open itself
 *	rfile_early.c    what is read together with it
 *	rfile_handles.c  handles: open, check, choose, lose, open again
 *	rfile_op.c       operations: submit, wait, complete
 *	rfile_io.c       read, write, fstat, fsetstat
 *	rfile_window.c   how much a stripe may have in flight to write
 *	rfile_fsync.c    fsync, alone or behind the writes under way
 *	rfile_append.c   writes to files open with SSH_FXF_APPEND
 *	rfile_copy.c     copy-data
 *
 * Core only. Two counts keep a struct rfile: `users` (rfile_get and rfile_put) and `holds`
 * (operations under way, handles being opened, waits). The owner's path() is called only while
 * there are users, since the owner may be gone afterwards. Whoever may be the last to drop a hold
 * does not touch the file behind it.
 *
 * An operation's way:
 *
 *	submit --> a usable handle? --yes--> sent --reply--> done
 *	   ^              | no                 | -ENOTCONN
 *	   |              v                    v
 *	   +-- pump <-- waiting <---------- handle lost
 *
 * pump runs when a handle became ready or was given up, when a reply made room, and when a lane
 * came up.
 */
#ifndef VASTFS_TRANSPORT_RFILE_INTERNAL_H
#define VASTFS_TRANSPORT_RFILE_INTERNAL_H

#include "transport/rfile.h"
#include <sys/queue.h>

#define RFILE_STRIPES_MAX 16
/* Bulk bytes of one file before it gets a handle on the bulk lane: two round trips do not pay for
 * less. */
#define RFILE_STREAM_MIN (256u * 1024)
/* Bulk bytes in flight on the FILES lane, so that a small operation waits behind little (N3); twice
 * as many to write where the link is seen to take them at once. */
#define RFILE_PRIMARY_CAP (512u * 1024)
/* Reads there while the bulk lane is still being dialled, which far away takes a dozen round trips:
 * within what the channel's receive window lets in at once. */
#define RFILE_PRIMARY_READ (24u * 1024 * 1024)
/* In flight on one bulk channel before the next one is taken: sshd's upload window is 2 MiB;
 * downloads are held back by our own receive window only. */
#define RFILE_STRIPE_WRITE (2u * 1024 * 1024)
/* What a stripe may have in flight to begin with, and the least (rfile_window.c). */
#define RFILE_STRIPE_FIRST (1024u * 1024)
#define RFILE_STRIPE_LEAST (256u * 1024)
#define RFILE_STRIPE_READ (6u * 1024 * 1024)
/* Nearby the processors are what bounds a transfer: two sessions share them better than one. */
#define RFILE_STRIPE_READ_NEAR (1u * 1024 * 1024)
/* After the server refused a further handle, or it disagreed with the version. */
#define RFILE_STRIPE_PAUSE_MS 1000
/* How long what was sent over a lost link may still be done: what lies in the server's and a
 * proxy's buffers. */
#define RFILE_STRAY_MS 120000

enum rfile_handle_state {
	RFILE_HANDLE_OPENING,
	RFILE_HANDLE_CHECKING, /* FSTAT is under way; reads may be sent, their data waits for its
				  answer */
	RFILE_HANDLE_READY,
	RFILE_HANDLE_GONE, /* lost, refused or closed: in no slot any more */
};

struct rfile_copy;
TAILQ_HEAD(rfile_copies, rfile_copy);

/* A handle on one channel. Counted: the file's slot holds one reference, each request through it
 * one. */
struct rfile_handle {
	struct rfile *file;
	struct pool_channel *channel; /* counted */
	enum lane lane; /* which slot: FILES the primary, BULK a stripe, COPY the copies' */
	enum rfile_handle_state state;
	unsigned refs;
	size_t in_flight;	    /* data bytes of this file on it */
	unsigned writes;	    /* of this file on it */
	size_t window;		    /* bytes to write that may be in flight there */
	size_t opening;		    /* bytes of its first window, not acknowledged yet */
	bool braked;		    /* it was too much once */
	struct rfile_copies copies; /* that wait for it to open */
	struct sftp_handle name;
	struct sftp_handle foreseen; /* whose FSTAT went right behind the OPEN; len 0: none did */
	bool foreseen_right;	     /* that is the check */
};

enum rfile_kind { RFILE_READ, RFILE_WRITE, RFILE_FSYNC, RFILE_FSTAT, RFILE_FSETSTAT };

struct rfile_op {
	TAILQ_ENTRY(rfile_op) link;
	struct rfile *file;	     /* held */
	struct rfile_handle *handle; /* while sent; counted */
	enum rfile_kind kind;
	bool bulk, confirming; /* confirming: the FSTAT behind an end of file */
	bool changes;	       /* counted in rfile.changing */
	bool behind;	       /* rfile_fsync_behind: never sent again */
	bool queued;	       /* in rfile.waiting */
	bool lost;	       /* a part of it met a lost link: send all of it again */
	bool lasting, again;   /* rfile_append_lasting */
	unsigned replies;      /* still to come */
	unsigned tries;	       /* reads that ended early though FSTAT says that there is more */
	int err;
	uint32_t len, got;
	uint32_t cost; /* data bytes counted as in flight */
	uint64_t offset;
	uint64_t deadline;   /* monotonic ms */
	uint8_t *buf;	     /* a read put together from pieces */
	struct packet *data; /* a write's; shared with the request while that is on its way */
	struct sftp_attr attr;
	union {
		rfile_read_done *read;
		remote_attr_done *attr;
		remote_done *plain;
	} done;
	void *arg;
};
TAILQ_HEAD(rfile_ops, rfile_op);

/* The first bytes of a file, read behind its OPEN through the handle that is foreseen. */
struct rfile_early {
	struct sftp_handle foreseen;
	uint32_t len;  /* bytes wanted; 0: none are */
	uint8_t *data; /* those; owned; or NULL */
};

struct rfile {
	struct remote *remote; /* counted */
	struct pool *pool;     /* of remote */
	unsigned users, holds;
	uint32_t flags; /* SSH_FXF_* of the open */
	struct rfile_owner owner;

	/* What is known of the file. changed: written through this rfile since the version was set,
	 * so that mtime and size are not comparable; end: then the largest end that the instance
	 * acknowledged. */
	struct sftp_attr attr;
	struct sftp_attr asked; /* what it may have become instead, by flags: sent, not answered */
	uint64_t stray_until;	/* lost writes may still be done until then; monotonic ms */
	bool later;		/* not created yet (rfile_create) */
	int given_up;		/* it never will be, for this reason */
	struct rfile_early early; /* its data, until it is taken */
	bool version_known, changed;
	bool was_held;	   /* there was a handle */
	bool doubted;	   /* rfile_doubt */
	unsigned changing; /* writes, copies and truncates under way */
	uint32_t mtime;
	uint64_t size, end;

	struct rfile_handle *primary, *copy, *stripes[RFILE_STRIPES_MAX];
	unsigned n_stripes;
	bool stripes_refused; /* for good */
	uint64_t stripe_pause;
	uint64_t streamed; /* bulk bytes asked for so far */
	size_t bulk_in_flight, bulk_waiting;

	struct rfile_ops waiting[2]; /* for a handle or, bulk ones [1], for room */
	struct rfile_ops finished;   /* completed with an error, done to be called from the loop */
	bool finishing;		     /* that is under way */
	bool lane_wait;		     /* pool_wait for the FILES lane is under way */

	/* Appending writes in the order of the calls: those that are sent, or were when the link
	 * was lost (uncertain), then those that wait. */
	struct rfile_ops appends_sent, appends;
	unsigned appends_unsized;      /* sent since the size was asked for */
	unsigned appends_out;	       /* of appends_sent, how many replies are still to come */
	size_t append_bytes;	       /* of those */
	struct rfile_handle *appender; /* that they go through; counted; NULL: none yet */
	bool append_uncertain, append_looking;
	bool append_end_known;
	uint64_t
	    append_end; /* the file's size in front of the first append that is not acknowledged */
	/* While it is uncertain: bytes of lasting ones that ended without an answer and were not
	 * given again yet; and of those that were acknowledged behind them. */
	uint64_t append_lost, append_behind;

	struct rfile_ops free_ops;
	unsigned n_free_ops;
};

uint64_t rfile_now_ms(void);

/* --- rfile.c --- */
/* NULL when memory is out. users is 1. */
struct rfile *rfile_new(struct remote *remote, uint32_t flags, const struct rfile_owner *owner,
    const struct sftp_attr *attr);
/* What the instance says it is. */
void rfile_take_attr(struct rfile *file, const struct sftp_attr *attr);
void rfile_hold(struct rfile *file);
void rfile_drop(struct rfile *file);
/* The file's path now: 0, or -ESTALE when it has none. */
int rfile_path(struct rfile *file, char *buf, size_t size);
/* The errno behind a WRITE, FSYNC, FSETSTAT or copy-data that failed, as remote_true_errno. */
void rfile_true_errno(struct rfile *file, int err, remote_done *done, void *arg);
bool rfile_same(const struct rfile *file, const struct sftp_attr *attr);
/* Is there a handle on the instance, other than one for copies, that was found to be this file? */
bool rfile_stands(const struct rfile *file);
/* Bytes of the file are being changed; lost: they were when their link was lost. */
void rfile_changes(struct rfile *file, bool lost);

/* --- rfile_early.c --- */
/* The READ to be sent behind an OPEN that is sent next; NULL: none is. */
struct packet *rfile_early_read(struct rfile_early *early, const struct sftp *sftp);
void rfile_early_came(struct rfile_early *early, const struct sftp_reply *reply);
/* The file was opened, by that handle: what came is the file's if it is the one foreseen. */
void rfile_early_give(
    struct rfile_early *early, const struct sftp_handle *name, struct rfile *file);

/* --- rfile_handles.c --- */
/* Opens a further handle for the slot of that lane; 0, or why not. The file's handle count must
 * allow it. */
int rfile_handle_open(struct rfile *file, enum lane lane, struct pool_channel *channel);
struct rfile_handle *rfile_handle_new(
    struct rfile *file, enum lane lane, struct pool_channel *channel);
struct rfile_handle *rfile_handle_get(struct rfile_handle *handle);
void rfile_handle_put(struct rfile_handle *handle);
/* Its link is lost: takes it out of its slot. */
void rfile_handle_lost(struct rfile_handle *handle);
/* Takes it out of its slot and closes it on the instance. */
void rfile_handle_close(struct rfile_handle *handle);
bool rfile_handle_usable(const struct rfile_handle *handle, enum rfile_kind kind);
struct sftp *rfile_handle_sftp(struct rfile_handle *handle);
/* A usable handle for the operation, or NULL: it has to wait, and what it waits for has been set
 * going. */
struct rfile_handle *rfile_choose(struct rfile *file, const struct rfile_op *op);
/* Sets the opening of a new primary going when there is none. */
void rfile_want_primary(struct rfile *file);
/* A ready stripe, the one with the least in flight on its channel, or NULL. */
struct rfile_handle *rfile_best_stripe(struct rfile *file, enum rfile_kind kind);
void rfile_want_stripe(struct rfile *file, const struct rfile_handle *best, enum rfile_kind kind);
/* A write of len bytes through it was acknowledged. */
void rfile_window_written(struct rfile_handle *handle, uint32_t len);
/* Is what was written there lately answered in little more than a round trip? */
bool rfile_window_wide(const struct sftp *sftp);
/* Closes a handle that belongs to no file. */
void rfile_close_remote(struct pool_channel *channel, const struct sftp_handle *name);

/* --- rfile_op.c --- */
/* With a hold on the file and a deadline; NULL when memory is out. */
struct rfile_op *rfile_op_new(struct rfile *file, enum rfile_kind kind, void *arg);
/* Frees it and drops its hold, when done has been called. */
void rfile_op_free(struct rfile_op *op);
/* It changes the file; counted until it is freed. */
void rfile_op_changes(struct rfile_op *op);
/* Completes it now: only from the loop. */
void rfile_op_finish(struct rfile_op *op, int err);
/* Completes it with err from the loop. It is in no list and not sent. */
void rfile_op_fail(struct rfile_op *op, int err);
/* From the loop: a request of it was answered with err; finds the true errno. */
void rfile_op_error(struct rfile_op *op, int err);
/* Sends it or lets it wait. */
void rfile_op_submit(struct rfile_op *op);
/* From the loop: the same after a lost link, while there is time. */
void rfile_op_again(struct rfile_op *op);
/* It goes out through the handle with that many data bytes. */
void rfile_op_bind(struct rfile_op *op, struct rfile_handle *handle, uint32_t cost);
/* The reply is in: lets go of the handle; true when it has to be sent again. */
bool rfile_op_release(struct rfile_op *op, const struct sftp_reply *reply);
/* Sends what waits, as far as there are handles. */
void rfile_pump(struct rfile *file);
/* All that waits for a handle can't get one: completes it (those whose time is over) with err from
 * the loop. */
void rfile_fail_waiting(struct rfile *file, int err, bool only_expired);
/* How long the first of those that wait can still wait, in ms. */
unsigned rfile_patience(const struct rfile *file);

/* --- rfile_io.c --- */
void rfile_op_send(struct rfile_op *op, struct rfile_handle *handle);
/* Sends the write of op from byte `got` on; 0 or -ENOMEM. */
int rfile_send_write(struct rfile_op *op, struct rfile_handle *handle, sftp_done *done);

/* A request without data; NULL: memory is out. */
void rfile_send_plain(
    struct rfile_op *op, struct rfile_handle *handle, struct packet *message, sftp_done *done);

/* --- rfile_fsync.c --- */
void rfile_fsync_send(struct rfile_op *op, struct rfile_handle *handle);

/* --- rfile_append.c --- */
void rfile_append_submit(struct rfile_op *op);
void rfile_append_pump(struct rfile *file);
void rfile_append_fail_waiting(struct rfile *file, int err, bool only_expired);

/* --- rfile_copy.c --- */
/* The handle that these waited for is ready, or is not to be had (err). */
void rfile_copies_wake(struct rfile_copies *copies, int err);

#endif

/*
 * What the parts of remote*.c share. Nobody else includes this. Core only.
 *
 *	remote.c          life; the way from the first connection to `ready`
 *	remote_op.c       the machine under all operations
 *	remote_names.c    look-ups and changes of names
 *	remote_rename.c   renames, also without posix-rename@
 *	remote_setstat.c  owner, mode and times
 *	remote_list.c     listings
 *	remote_errno.c    looking for the errno behind a FAILURE
 *	remote_guess.c    judging what was seen
 *
 * An operation's way:
 *
 *	submit ──> a channel? ──yes──> go: asks ──> replies ──> finish
 *	                │ no             ^            │ -ENOTCONN, once all replies of
 *	                v                │            v this try are in
 *	             waiting ────────────┴──────── waiting
 *
 * An ordered operation (op->only) ends with -ENOTCONN instead of waiting.
 *
 * go is called again after a lost link and must see from op->sent whether the first try may have
 * been done. finish tells the caller; the struct stays until the last callback that was promised to
 * it has come (holds).
 */
#ifndef VASTFS_TRANSPORT_REMOTE_INTERNAL_H
#define VASTFS_TRANSPORT_REMOTE_INTERNAL_H

#include "transport/remote.h"
#include "transport/remote_clock.h"
#include "transport/remote_errno.h"

#define REMOTE_SLOTS 16
#define REMOTE_RESERVE 16

struct remote_op;
struct list_op;
TAILQ_HEAD(remote_ops, remote_op);

/* How the names of things renamed aside begin; and the process id. */
#define REMOTE_ASIDE ".vastfs-replaced-%d-"

struct remote {
	unsigned refs;
	uv_loop_t *loop;
	struct pool *pool; /* counted, beside what pool_free takes */
	const struct ssh_target *target;
	struct remote_events events;
	void *arg;
	uv_timer_t timer;
	struct remote_ops ops;	/* by deadline */
	struct remote_ops late; /* finished inside the call that started them: told by the timer */
	struct remote_ops reserve; /* so that there is always someone to say -ENOMEM */
	bool closed, told;
	bool chmod_follows; /* the server can't set a mode by lsetstat@ (glibc before 2.32) */
	uint32_t uid, gid;
	struct remote_clock clock;
	char *login, *root;
	unsigned names;			/* for the names of things renamed aside */
	bool aside_left;		/* one of them could not be removed */
	struct pool_channel *ordered;	/* between remote_begin_ordered and _end_; borrowed */
	bool doubt;			/* the same */
	TAILQ_HEAD(, list_op) expected; /* remote_list_expect */
	unsigned n_expected, in_vain;	/* in_vain: in a row, never listed */
};

/* reply is never one of a lost link. */
typedef void remote_then(struct remote_op *op, unsigned tag, const struct sftp_reply *reply);

struct remote_slot {
	struct remote_op *op;
	remote_then *then;
	unsigned tag;
};

struct remote_op {
	TAILQ_ENTRY(remote_op) link;
	struct remote *remote; /* counted */
	uint64_t deadline;     /* loop ms */
	unsigned holds;	       /* callbacks still to come */
	bool starting;	       /* inside the call that started it */
	bool done;	       /* finished */
	bool hollow;	       /* of the reserve: good only for finishing */
	bool lost;	       /* this try met a lost link */
	bool sent;	  /* a request that changes something went out in this or an earlier try */
	bool patient;	  /* waits for its answers as long as the link lives */
	bool late_too;	  /* then wants replies after the end too */
	unsigned retried; /* how often it was refused for no reason that was seen, and sent again */
	int err;	  /* told by the timer when starting */
	int at_deadline;  /* the error then: -ETIMEDOUT, or what is known so far */
	enum remote_asked asked;
	struct pool_channel *channel; /* counted; of this try */
	struct pool_channel *only;    /* counted: there is one try, on this channel; or NULL */
	void (*go)(struct remote_op *op);
	void (*complete)(struct remote_op *op, int err); /* calls user with arg */
	void (*fini)(struct remote_op *op);		 /* may be NULL; of a hollow one too */
	char *path, *path2;
	union {
		remote_done *plain;
		remote_attr_done *attr;
		remote_text_done *text;
		void (*statvfs)(void *arg, int err, const struct statvfs *st);
		struct remote_listing listing;
	} user;
	void *arg;
	/* Results and arguments of the small ones. */
	struct sftp_attr attr;
	const char *text; /* borrowed */
	struct statvfs st;
	uint8_t type;  /* SSH_FXP_ of the request */
	unsigned left; /* requests of a burst still to be answered */
	int errs[4];   /* of a burst, by tag */
	struct sftp_attr looks[2];
	struct remote_slot slots[REMOTE_SLOTS];
};

/* --- remote_op.c --- */
/* size: of the struct that begins with a remote_op. NULL only when even the reserve is used up. */
struct remote_op *remote_op_new(
    struct remote *remote, size_t size, void (*complete)(struct remote_op *op, int err), void *arg);
/* Copies and checks the paths (path2 may be NULL). Then starts it: with go, or with the error. */
void remote_submit(
    struct remote_op *op, const char *path, const char *path2, void (*go)(struct remote_op *op));
/* Goes on with what waits for no answer: calls go, as remote_submit does. */
void remote_go_on(struct remote_op *op, void (*go)(struct remote_op *op));
/* From now on. */
void remote_set_deadline(struct remote_op *op, unsigned ms);
/* Sends a message (takes it; NULL: memory is out, and the operation ends). then is called with the
 * reply, unless the link is lost: then go is called again. */
void remote_ask(struct remote_op *op, struct packet *message, remote_then *then, unsigned tag);
/* Ends the operation. Nothing happens if it has ended. */
void remote_finish(struct remote_op *op, int err);
/* The same, after a look for the true errno. */
void remote_settle(struct remote_op *op, int err);
void remote_hold(struct remote_op *op);
void remote_release(struct remote_op *op);
/* Milliseconds that the operation has left, at least 1. */
unsigned remote_left_ms(const struct remote_op *op);
int remote_ops_init(struct remote *remote);
/* The remote goes: nothing is under way any more. */
void remote_ops_fini(struct remote *remote);
/* Completions that call user.plain. */
void remote_complete_plain(struct remote_op *op, int err);

/* --- remote_list.c --- */
/* A folder is renamed or removed: handles opened by its name may be of another one. */
void remote_expect_nothing(struct remote *remote);

/* --- remote_names.c --- */
/* REALPATH: the text is what the server makes of the path, which need not be absolute. */
void remote_realpath(struct remote *remote, const char *path, remote_text_done *done, void *arg);

static inline bool remote_is_folder(const struct sftp_attr *attr)
{
	return (attr->flags & SSH_FILEXFER_ATTR_PERMISSIONS) && (attr->mode & 0170000) == 0040000;
}
static inline bool remote_is_link(const struct sftp_attr *attr)
{
	return (attr->flags & SSH_FILEXFER_ATTR_PERMISSIONS) && (attr->mode & 0170000) == 0120000;
}
/* A statvfs@'s reply: its errno. */
static inline int remote_take_statvfs(const struct sftp_reply *reply, struct statvfs *st)
{
	struct sftp_reader reader;

	if (reply->err)
		return reply->err;
	reader =
	    (struct sftp_reader){reply->extended.data, reply->extended.data + reply->extended.len};
	return sftp_read_statvfs(&reader, st);
}

#endif

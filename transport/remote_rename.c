/*
 * Renames.
 *
 * With posix-rename@ one request does it. After a lost link the second try looks first: when `from`
 * is gone and `to` is there, it was done; or when another file is at `from`.
 *
 * Without replacing, a look comes first, as OpenSSH's RENAME would replace a dangling symlink (by
 * what is no file, or without hard links: others it makes by link and unlink). Not where the caller
 * knows that nothing stood there.
 *
 * Plain RENAME never replaces. To replace with it, what stands at `to` is renamed aside first.
 * Each step starts with a look at the three names, and what is seen alone says what to do next; so
 * a step may fail or get lost with the link anywhere in between:
 *
 *	from  to   aside
 *	 x    -    -      RENAME from to
 *	 x    x    -      a folder: RMDIR to; else RENAME to aside
 *	 x    -    x      RENAME from to; when that is refused: RENAME aside to, and report it
 *	 -    x    x      REMOVE aside: done
 *	 -    x    -      done, if anything was sent; else from does not exist
 */
#include "conf/log.h"
#include "transport/remote_internal.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS_MAX 20

struct rename_op {
	struct remote_op op;
	char *aside;
	struct sftp_attr from, to;
	int from_err, to_err, aside_err;
	int refused;	      /* the errno of the RENAME of from; then all is put back */
	bool moved;	      /* `to` was renamed aside */
	bool free;	      /* nothing stood at `to` a moment ago */
	uint64_t size;	      /* of from, when that is known to be a file with so much in it */
	bool replaced_folder; /* RMDIR of to was done: made again when the RENAME is refused */
	unsigned steps;
};

static struct rename_op *rename_of(struct remote_op *op)
{
	return (struct rename_op *)op;
}

static bool is_below(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	return !strncmp(path, folder, len) && (path[len] == '/' || (len == 1 && path[len]));
}

static void rename_fini(struct remote_op *op)
{
	if (!op->hollow)
		free(rename_of(op)->aside);
}

/* --- in one request ------------------------------------------------------ */

static void renamed(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	remote_settle(op, reply->err);
}

static void send_rename(struct remote_op *op)
{
	op->sent = true;
	if (op->asked == ASKED_RENAME)
		remote_ask(op, sftp_msg_posix_rename(op->path, op->path2), renamed, 0);
	else
		remote_ask(op, sftp_msg_rename(op->path, op->path2), renamed, 0);
}

/* What is at from now was made since. */
static bool was_done(const struct remote_op *op, const struct rename_op *rename)
{
	if (!op->sent || op->errs[1])
		return false;
	return op->errs[0] == -ENOENT ||
	       (rename->size && !op->errs[0] && op->looks[0].size != rename->size &&
		   op->looks[1].size == rename->size);
}

/* tag 0: from, 1: to. For the second try, and before a rename that must not replace: OpenSSH's
 * RENAME would do that to a dangling symlink. */
static void take_look(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	op->errs[tag] = sftp_take_attr(reply, &op->looks[tag]);
	if (--op->left)
		return;
	if (was_done(op, rename_of(op)))
		remote_finish(op, 0);
	else if (op->errs[0])
		remote_finish(op, op->errs[0]);
	else if (op->asked == ASKED_RENAME_NEW && !op->errs[1])
		remote_finish(op, -EEXIST);
	else
		send_rename(op);
}

static void go_simple(struct remote_op *op)
{
	if (!op->sent && (op->asked == ASKED_RENAME || rename_of(op)->free)) {
		send_rename(op);
		return;
	}
	op->left = 2;
	remote_ask(op, sftp_msg_path(SSH_FXP_LSTAT, op->path), take_look, 0);
	remote_ask(op, sftp_msg_path(SSH_FXP_LSTAT, op->path2), take_look, 1);
}

/* --- in steps ------------------------------------------------------------- */

static void look_again(struct remote_op *op);

/* Most steps are judged by the next look. */
static void stepped(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	if (reply->err == -ETIMEDOUT || reply->err == -EPROTO)
		remote_finish(op, reply->err);
	else
		look_again(op);
}

static void from_renamed(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	struct rename_op *rename = rename_of(op);

	if (reply->err && reply->err != -ETIMEDOUT)
		rename->refused = reply->err;
	stepped(op, tag, reply);
}

/* What stands at `to` would not go: nothing has changed. */
static void to_moved(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	struct rename_op *rename = rename_of(op);

	if (!reply->err) {
		rename->replaced_folder = remote_is_folder(&rename->to);
		rename->moved = !rename->replaced_folder;
	}
	if (reply->err)
		remote_settle(op, reply->err);
	else
		look_again(op);
}

static void rename_from(struct remote_op *op)
{
	op->sent = true;
	remote_ask(op, sftp_msg_rename(op->path, op->path2), from_renamed, 0);
}

static void move_to(struct remote_op *op)
{
	struct rename_op *rename = rename_of(op);
	bool from_folder = remote_is_folder(&rename->from),
	     to_folder = remote_is_folder(&rename->to);

	if (from_folder != to_folder)
		remote_finish(op, from_folder ? -ENOTDIR : -EISDIR);
	else if (to_folder)
		remote_ask(op, sftp_msg_path(SSH_FXP_RMDIR, op->path2), to_moved, 0);
	else
		remote_ask(op, sftp_msg_rename(op->path2, rename->aside), to_moved, 0);
}

static void removed_aside(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	char text[256];

	op->remote->aside_left |= reply->err != 0;
	if (reply->err)
		log_warning("%s is what a rename replaced, and could not be removed: %s",
		    log_printable(
			text, sizeof(text), rename_of(op)->aside, strlen(rename_of(op)->aside)),
		    strerror(-reply->err));
	remote_finish(op, 0);
}

static void complete_rename(struct remote_op *op, int err)
{
	struct rename_op *rename = op->hollow ? NULL : rename_of(op);
	char text[256];

	if (rename && rename->moved && (err == -ETIMEDOUT || err == -ENOTCONN)) {
		op->remote->aside_left = true;
		log_warning(
		    "a rename could not be finished: what it was to replace may be left as %s",
		    log_printable(text, sizeof(text), rename->aside, strlen(rename->aside)));
	}
	remote_complete_plain(op, err);
}

static void put_back(struct remote_op *op)
{
	struct rename_op *rename = rename_of(op);

	if (!rename->aside_err) {
		remote_ask(op, sftp_msg_rename(rename->aside, op->path2), stepped, 0);
	} else if (rename->replaced_folder) {
		struct sftp_attr attr = {
		    .flags = SSH_FILEXFER_ATTR_PERMISSIONS, .mode = rename->to.mode & 07777};

		remote_ask(op, sftp_msg_mkdir(op->path2, &attr), stepped, 0);
	} else {
		remote_settle(op, rename->refused);
	}
}

static void step(struct remote_op *op)
{
	struct rename_op *rename = rename_of(op);
	bool from = !rename->from_err, to = !rename->to_err, aside = !rename->aside_err;

	if (++rename->steps > STEPS_MAX) {
		remote_finish(op, -EIO);
	} else if (!from && to && aside) {
		remote_ask(op, sftp_msg_path(SSH_FXP_REMOVE, rename->aside), removed_aside, 0);
	} else if (!from && to && op->sent) {
		remote_finish(op, rename->refused);
	} else if (!from && !aside) {
		remote_finish(op, rename->from_err);
	} else if (to && rename->refused) {
		remote_settle(op, rename->refused);
	} else if (!to && (rename->refused || !from)) {
		/* Somebody else took `from` away meanwhile. */
		if (!rename->refused)
			rename->refused = rename->from_err;
		put_back(op);
	} else if (to) {
		move_to(op);
	} else {
		rename_from(op);
	}
}

static void take_three(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	struct rename_op *rename = rename_of(op);
	struct sftp_attr aside;

	if (tag == 0)
		rename->from_err = sftp_take_attr(reply, &rename->from);
	else if (tag == 1)
		rename->to_err = reply->err;
	else
		rename->aside_err = sftp_take_attr(reply, &aside);
	/* What stood there first is what may have to be made again. */
	if (tag == 1 && !reply->err)
		rename->to = reply->attr;
	if (--op->left == 0)
		step(op);
}

static void look_again(struct remote_op *op)
{
	op->left = 3;
	remote_ask(op, sftp_msg_path(SSH_FXP_LSTAT, op->path), take_three, 0);
	remote_ask(op, sftp_msg_path(SSH_FXP_LSTAT, op->path2), take_three, 1);
	remote_ask(op, sftp_msg_path(SSH_FXP_LSTAT, rename_of(op)->aside), take_three, 2);
}

static void tried_plain(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	if (reply->err == -EIO || reply->err == -EEXIST)
		look_again(op);
	else
		remote_settle(op, reply->err);
}

/* Most renames meet nothing at `to`. */
static void go_steps(struct remote_op *op)
{
	if (op->sent) {
		look_again(op);
		return;
	}
	op->sent = true;
	remote_ask(op, sftp_msg_rename(op->path, op->path2), tried_plain, 0);
}

/* --- the call --------------------------------------------------------------- */

/* A name beside `to` that nobody else uses. */
static int name_aside(struct remote *remote, const char *to, char **out)
{
	const char *slash = strrchr(to, '/');

	if (asprintf(out, "%.*s/" REMOTE_ASIDE "%llx-%u", slash ? (int)(slash - to) : 0, to,
		(int)getpid(), (unsigned long long)uv_hrtime(), ++remote->names) < 0) {
		*out = NULL;
		return -ENOMEM;
	}
	return strlen(*out) >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* To its own name: nothing to do, if it is there. */
static void is_there(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	remote_finish(op, reply->err);
}

/* One lies in the other: it can't be done, but not everybody's server says so, and why depends on
 * what is there. */
static void nested(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	if (reply->err)
		remote_finish(op, reply->err);
	else if (is_below(op->path, op->path2))
		remote_finish(op, op->asked == ASKED_RENAME_NEW ? -EEXIST : -ENOTEMPTY);
	else
		remote_finish(op, remote_is_folder(&reply->attr) ? -EINVAL : -ENOTDIR);
}

static void go_rename(struct remote_op *op)
{
	struct rename_op *rename = rename_of(op);
	bool posix = pool_features(op->remote->pool)->posix_rename;

	if (is_below(op->path2, op->path) || is_below(op->path, op->path2))
		remote_ask(op, sftp_msg_path(SSH_FXP_LSTAT, op->path), nested, 0);
	else if (op->asked == ASKED_RENAME_NEW || posix)
		go_simple(op);
	else if (!strcmp(op->path, op->path2))
		remote_ask(op, sftp_msg_path(SSH_FXP_LSTAT, op->path), is_there, 0);
	else if (!rename->aside && (op->err = name_aside(op->remote, op->path2, &rename->aside)))
		remote_finish(op, op->err);
	else
		go_steps(op);
}

static void submit_rename(struct remote *remote, const char *from, const char *to,
    enum remote_asked asked, bool free, uint64_t size, remote_done *done, void *arg)
{
	struct remote_op *op =
	    remote_op_new(remote, sizeof(struct rename_op), complete_rename, arg);

	if (!op) {
		done(arg, -ENOMEM);
		return;
	}
	op->user.plain = done;
	op->asked = asked;
	op->fini = rename_fini;
	if (!op->hollow) {
		rename_of(op)->free = free;
		rename_of(op)->size = size;
	}
	remote_submit(op, from, to, go_rename);
}

void remote_rename(struct remote *remote, const char *from, const char *to, bool replace,
    remote_done *done, void *arg)
{
	submit_rename(
	    remote, from, to, replace ? ASKED_RENAME : ASKED_RENAME_NEW, false, 0, done, arg);
}

void remote_rename_free(
    struct remote *remote, const char *from, const char *to, remote_done *done, void *arg)
{
	/* Whose plain RENAME replaces nothing is known of OpenSSH, which alone has that. */
	bool free = pool_features(remote->pool)->expand_path;

	submit_rename(remote, from, to, ASKED_RENAME_NEW, free, 0, done, arg);
}

void remote_rename_sized(struct remote *remote, const char *from, const char *to, uint64_t size,
    remote_done *done, void *arg)
{
	submit_rename(remote, from, to, ASKED_RENAME, false, size, done, arg);
}

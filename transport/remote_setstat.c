/*
 * Owner, then mode, then times: chown clears setuid, and OpenSSH does it last within one request;
 * the times come last since nothing may touch them afterwards. The requests go out together on one
 * channel, which answers in turn.
 *
 * lsetstat@ takes a symlink itself. Its mode part fails on every file where the server's C library
 * is older than glibc 2.32 (Ubuntu 20.04): then the path is looked at, and what is no symlink gets
 * a plain SETSTAT.
 */
#include "transport/remote_internal.h"
#include <errno.h>

enum { PART_SIZE, PART_OWNER, PART_MODE, PART_TIMES, PARTS };

static const uint32_t part_flags[PARTS] = {SSH_FILEXFER_ATTR_SIZE, SSH_FILEXFER_ATTR_UIDGID,
    SSH_FILEXFER_ATTR_PERMISSIONS, SSH_FILEXFER_ATTR_ACMODTIME};

static void send_parts(struct remote_op *op, bool follow);

static void all_set(struct remote_op *op)
{
	for (unsigned i = 0; i < PARTS; i++)
		if (op->errs[i]) {
			if (i == PART_SIZE)
				op->errs[i] = remote_errno_of_size(op->errs[i], op->attr.size);
			remote_settle(op, op->errs[i]);
			return;
		}
	remote_finish(op, 0);
}

static void mode_set(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	op->errs[PART_MODE] = reply->err;
	all_set(op);
}

/* The mode was refused by lsetstat@: is it a symlink? */
static void looked_for_mode(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	struct sftp_attr mode = op->attr;

	if (reply->err || remote_is_link(&reply->attr)) {
		remote_finish(op, reply->err ? reply->err : -EOPNOTSUPP);
		return;
	}
	op->remote->chmod_follows = true;
	mode.flags = SSH_FILEXFER_ATTR_PERMISSIONS;
	remote_ask(op, sftp_msg_setstat(op->path, &mode), mode_set, 0);
}

static void part_set(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	int err = reply->err;

	op->errs[tag] = err;
	if (--op->left)
		return;
	err = op->errs[PART_MODE];
	if (op->asked == ASKED_LSETSTAT && (err == -EIO || err == -EOPNOTSUPP))
		remote_ask(op, sftp_msg_path(SSH_FXP_LSTAT, op->path), looked_for_mode, 0);
	else
		all_set(op);
}

static void send_parts(struct remote_op *op, bool follow)
{
	struct sftp_attr part = op->attr;

	op->left = 0;
	for (unsigned i = 0; i < PARTS; i++) {
		op->errs[i] = 0;
		op->left += (op->attr.flags & part_flags[i]) != 0;
	}
	if (!op->left)
		remote_finish(op, 0);
	for (unsigned i = 0; i < PARTS; i++) {
		part.flags = op->attr.flags & part_flags[i];
		if (!part.flags)
			continue;
		remote_ask(op,
		    follow || (i == PART_MODE && op->remote->chmod_follows)
			? sftp_msg_setstat(op->path, &part)
			: sftp_msg_lsetstat(op->path, &part),
		    part_set, i);
	}
}

static void looked(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	if (reply->err)
		remote_finish(op, reply->err);
	else if (remote_is_link(&reply->attr))
		remote_finish(op, -EOPNOTSUPP);
	else
		send_parts(op, true);
}

static void go_setstat(struct remote_op *op)
{
	bool lsetstat = pool_features(op->remote->pool)->lsetstat;

	if (op->asked == ASKED_LSETSTAT && !lsetstat)
		remote_ask(op, sftp_msg_path(SSH_FXP_LSTAT, op->path), looked, 0);
	else
		send_parts(op, op->asked != ASKED_LSETSTAT);
}

void remote_setstat(struct remote *remote, const char *path, const struct sftp_attr *attr,
    bool nofollow, remote_done *done, void *arg)
{
	struct remote_op *op = remote_op_new(remote, sizeof(*op), remote_complete_plain, arg);

	if (!op) {
		done(arg, -ENOMEM);
		return;
	}
	op->user.plain = done;
	op->attr = *attr;
	op->attr.mode &= 07777;
	/* A size is of what a symlink leads to: links have none that could be set. */
	if (attr->flags & SSH_FILEXFER_ATTR_SIZE)
		op->asked = ASKED_TRUNCATE;
	else
		op->asked = nofollow ? ASKED_LSETSTAT : ASKED_SETSTAT;
	remote_submit(op, path, NULL, go_setstat);
}

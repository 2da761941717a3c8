/*
 * Look-ups, and the changes of names that can't be repeated blindly: when the link was lost with
 * the answer outstanding, what was asked may have been done. So the second try looks first:
 *
 *	mkdir      a folder of ours stands there    → done     nothing there → again    else -EEXIST
 *	rmdir      nothing there any more           → done     still there   → again
 *	unlink     nothing there any more           → done     still there   → again
 *	symlink    a link with that target          → done     nothing there → again    else -EEXIST
 *	link       a file like the other            → done     nothing there → again    else -EEXIST
 */
#include "transport/remote_internal.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* --- look-ups ------------------------------------------------------------ */

static void complete_attr(struct remote_op *op, int err)
{
	op->user.attr(op->arg, err, err ? NULL : &op->attr);
}

static void take_attr(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	remote_finish(op, sftp_take_attr(reply, &op->attr));
}

static void go_attr(struct remote_op *op)
{
	remote_ask(op, sftp_msg_path(op->type, op->path), take_attr, 0);
}

static void look_up(struct remote *remote, uint8_t type, const char *path,
    void (*go)(struct remote_op *op), remote_attr_done *done, void *arg)
{
	struct remote_op *op = remote_op_new(remote, sizeof(*op), complete_attr, arg);

	if (!op) {
		done(arg, -ENOMEM, NULL);
		return;
	}
	op->user.attr = done;
	op->type = type;
	remote_submit(op, path, NULL, go);
}

void remote_lstat_itself(struct remote *remote, const char *path, remote_attr_done *done, void *arg)
{
	look_up(remote, SSH_FXP_LSTAT, path, go_attr, done, arg);
}

static void take_both(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	op->errs[tag] = sftp_take_attr(reply, &op->looks[tag]);
	if (--op->left)
		return;
	op->attr = op->looks[0];
	if (!op->errs[0] && !op->errs[1] && S_ISLNK(op->attr.mode)) {
		op->attr = op->looks[1];
		op->attr.flags |= SFTP_ATTR_FOLLOWED;
	}
	remote_finish(op, op->errs[0]);
}

static void go_both(struct remote_op *op)
{
	op->left = 2;
	remote_ask(op, sftp_msg_path(SSH_FXP_LSTAT, op->path), take_both, 0);
	remote_ask(op, sftp_msg_path(SSH_FXP_STAT, op->path), take_both, 1);
}

void remote_lstat(struct remote *remote, const char *path, remote_attr_done *done, void *arg)
{
	look_up(remote, SSH_FXP_LSTAT, path, remote_follows_links(remote) ? go_both : go_attr, done,
	    arg);
}

void remote_stat(struct remote *remote, const char *path, remote_attr_done *done, void *arg)
{
	look_up(remote, SSH_FXP_STAT, path, go_attr, done, arg);
}

static void complete_text(struct remote_op *op, int err)
{
	op->user.text(op->arg, err, err ? NULL : op->text);
}

/* The one name of a NAME reply into buf (PATH_MAX). */
static int take_name(const struct sftp_reply *reply, char *buf)
{
	struct sftp_names names = reply->names;
	struct sftp_name name;

	if (reply->err)
		return reply->err;
	if (!sftp_names_next(&names, &name) || memchr(name.name.data, 0, name.name.len))
		return -EPROTO;
	if (name.name.len >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(buf, name.name.data, name.name.len);
	buf[name.name.len] = '\0';
	return 0;
}

static void take_text(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	char text[PATH_MAX];
	int err = take_name(reply, text);

	op->text = text;
	remote_finish(op, err);
	op->text = NULL;
}

static void go_text(struct remote_op *op)
{
	remote_ask(op, sftp_msg_path(op->type, op->path ? op->path : "."), take_text, 0);
}

static void ask_text(
    struct remote *remote, uint8_t type, const char *path, remote_text_done *done, void *arg)
{
	struct remote_op *op = remote_op_new(remote, sizeof(*op), complete_text, arg);

	if (!op) {
		done(arg, -ENOMEM, NULL);
		return;
	}
	op->user.text = done;
	op->type = type;
	remote_submit(op, path, NULL, go_text);
}

void remote_readlink(struct remote *remote, const char *path, remote_text_done *done, void *arg)
{
	ask_text(remote, SSH_FXP_READLINK, path, done, arg);
}

void remote_realpath(struct remote *remote, const char *path, remote_text_done *done, void *arg)
{
	ask_text(remote, SSH_FXP_REALPATH, path, done, arg);
}

static void complete_statvfs(struct remote_op *op, int err)
{
	op->user.statvfs(op->arg, err, err ? NULL : &op->st);
}

static void take_statvfs(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	remote_finish(op, remote_take_statvfs(reply, &op->st));
}

static void go_statvfs(struct remote_op *op)
{
	if (pool_features(op->remote->pool)->statvfs)
		remote_ask(op, sftp_msg_statvfs(op->path), take_statvfs, 0);
	else
		remote_finish(op, -EOPNOTSUPP);
}

void remote_statvfs(struct remote *remote, const char *path,
    void (*done)(void *arg, int err, const struct statvfs *st), void *arg)
{
	struct remote_op *op = remote_op_new(remote, sizeof(*op), complete_statvfs, arg);

	if (!op) {
		done(arg, -ENOMEM, NULL);
		return;
	}
	op->user.statvfs = done;
	remote_submit(op, path, NULL, go_statvfs);
}

/* --- changes ------------------------------------------------------------- */

static struct remote_op *change_new(
    struct remote *remote, enum remote_asked asked, remote_done *done, void *arg)
{
	struct remote_op *op = remote_op_new(remote, sizeof(*op), remote_complete_plain, arg);

	if (!op) {
		done(arg, -ENOMEM);
		return NULL;
	}
	op->user.plain = done;
	op->asked = asked;
	return op;
}

static void changed(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	remote_settle(op, reply->err);
}

/* OpenSSH has SYMLINK's arguments the other way round than the draft, and so has nearly every
 * server since, for its clients' sake. These went by the draft. */
static struct packet *symlink_message(struct remote_op *op)
{
	static const char *const by_draft[] = {"Tectia", "SSH Secure Shell", "WinSSHD", "Bitvise"};
	const char *peer = pool_peer(op->remote->pool), *target = (const char *)op->text;

	for (size_t i = 0; i < sizeof(by_draft) / sizeof(by_draft[0]); i++) {
		if (strstr(peer, by_draft[i]))
			return sftp_msg_symlink(op->path, target);
	}
	return sftp_msg_symlink(target, op->path);
}

static void send_change(struct remote_op *op)
{
	struct packet *message = NULL;

	op->sent = true;
	switch (op->asked) {
	case ASKED_MKDIR:
		message = sftp_msg_mkdir(op->path, &op->attr);
		break;
	case ASKED_RMDIR:
		message = sftp_msg_path(SSH_FXP_RMDIR, op->path);
		break;
	case ASKED_UNLINK:
		message = sftp_msg_path(SSH_FXP_REMOVE, op->path);
		break;
	case ASKED_SYMLINK:
		message = symlink_message(op);
		break;
	case ASKED_LINK:
		message = sftp_msg_hardlink(op->path, op->path2);
		break;
	default:
		break;
	}
	remote_ask(op, message, changed, 0);
}

static void compare_target(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	char text[PATH_MAX];
	int err = take_name(reply, text);

	remote_finish(op, !err && !strcmp(text, op->text) ? 0 : -EEXIST);
}

/* Something stands where the first try should have made something. */
static void judge_existing(struct remote_op *op)
{
	const struct sftp_attr *there = &op->looks[0];
	bool ours = !(there->flags & SSH_FILEXFER_ATTR_UIDGID) || there->uid == op->remote->uid;

	if (op->asked == ASKED_MKDIR)
		remote_finish(op, remote_is_folder(there) && ours ? 0 : -EEXIST);
	else if (op->asked == ASKED_SYMLINK && remote_is_link(there))
		remote_ask(op, sftp_msg_path(SSH_FXP_READLINK, op->path), compare_target, 0);
	else if (op->asked == ASKED_LINK)
		remote_finish(
		    op, !op->errs[1] && sftp_attr_alike(there, &op->looks[1]) ? 0 : -EEXIST);
	else
		remote_finish(op, -EEXIST);
}

/* tag 0: what is made or removed; 1: a link's other name. */
static void take_look(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	bool removes = op->asked == ASKED_RMDIR || op->asked == ASKED_UNLINK;

	op->errs[tag] = sftp_take_attr(reply, &op->looks[tag]);
	if (--op->left)
		return;
	if (op->errs[0] == -ENOENT && removes)
		remote_finish(op, 0);
	else if (op->errs[0] == -ENOENT || (!op->errs[0] && removes))
		send_change(op);
	else if (op->errs[0])
		remote_finish(op, op->errs[0]);
	else
		judge_existing(op);
}

static void go_change(struct remote_op *op)
{
	bool link = op->asked == ASKED_LINK;

	if (!op->sent) {
		send_change(op);
		return;
	}
	op->left = link ? 2 : 1;
	remote_ask(op, sftp_msg_path(SSH_FXP_LSTAT, link ? op->path2 : op->path), take_look, 0);
	if (link)
		remote_ask(op, sftp_msg_path(SSH_FXP_LSTAT, op->path), take_look, 1);
}

void remote_mkdir(
    struct remote *remote, const char *path, uint32_t mode, remote_done *done, void *arg)
{
	struct remote_op *op = change_new(remote, ASKED_MKDIR, done, arg);

	if (!op)
		return;
	op->attr.flags = SSH_FILEXFER_ATTR_PERMISSIONS;
	op->attr.mode = mode & 07777;
	remote_submit(op, path, NULL, go_change);
}

void remote_rmdir(struct remote *remote, const char *path, remote_done *done, void *arg)
{
	struct remote_op *op = change_new(remote, ASKED_RMDIR, done, arg);

	if (op)
		remote_submit(op, path, NULL, go_change);
}

void remote_unlink(struct remote *remote, const char *path, remote_done *done, void *arg)
{
	struct remote_op *op = change_new(remote, ASKED_UNLINK, done, arg);

	if (op)
		remote_submit(op, path, NULL, go_change);
}

static void free_target(struct remote_op *op)
{
	free((char *)op->text);
}

static void go_refused(struct remote_op *op)
{
	remote_finish(op, op->err);
}

void remote_symlink(
    struct remote *remote, const char *target, const char *path, remote_done *done, void *arg)
{
	struct remote_op *op = change_new(remote, ASKED_SYMLINK, done, arg);

	if (!op)
		return;
	op->fini = free_target;
	op->text = strdup(target);
	if (!op->text)
		op->err = -ENOMEM;
	else if (strlen(target) >= PATH_MAX)
		op->err = -ENAMETOOLONG;
	else if (!*target)
		op->err = -ENOENT;
	remote_submit(op, path, NULL, op->err ? go_refused : go_change);
}

static void go_link(struct remote_op *op)
{
	/* What link(2) says of a file system without hard links. */
	if (pool_features(op->remote->pool)->hardlink)
		go_change(op);
	else
		remote_finish(op, -EPERM);
}

void remote_link(
    struct remote *remote, const char *from, const char *to, remote_done *done, void *arg)
{
	struct remote_op *op = change_new(remote, ASKED_LINK, done, arg);

	if (op)
		remote_submit(op, from, to, go_link);
}

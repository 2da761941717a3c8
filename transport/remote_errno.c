/*
 * Looking. One burst of LSTATs, STATs and statvfs on the paths and their folders, whose answers
 * come in one round trip; then, only where it matters, whether a folder has names in it (OPENDIR,
 * READDIR, CLOSE) or where symlinks lead (READLINKs). Any look may fail: then there is less to
 * judge by.
 */
#include "transport/remote_internal.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 10000u
#define LINKS_MAX 40

enum { LOOK_PATH, LOOK_PARENT, LOOK_PATH2, LOOK_PARENT2, LOOK_FS, LOOK_FS2 };

struct look_op {
	struct remote_op op;
	int err; /* to explain */
	struct remote_looks looks;
	char *parent, *parent2;
	struct sftp_handle handle;
	bool *not_empty; /* which of looks' is being found out */
	char *link;	 /* where following the symlinks stands */
	unsigned links;
};

static struct look_op *look_of(struct remote_op *op)
{
	return (struct look_op *)op;
}

static void look_fini(struct remote_op *op)
{
	struct look_op *look = look_of(op);

	if (op->hollow)
		return;
	free(look->parent);
	free(look->parent2);
	free(look->link);
}

/* Whatever stopped it: what was seen until then counts, or what was known before. */
static void complete_look(struct remote_op *op, int err)
{
	struct look_op *look = op->hollow ? NULL : look_of(op);

	if (!look)
		op->user.plain(op->arg, op->at_deadline);
	else
		op->user.plain(op->arg,
		    err ? look->err
			: remote_errno_guess(op->asked, look->err, &look->looks, op->remote->uid));
}

/* --- what symlinks lead to -------------------------------------------------- */

static void follow(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	struct look_op *look = look_of(op);
	struct sftp_names names = reply->names;
	struct sftp_name name;
	const char *slash = strrchr(look->link, '/');
	char *next = NULL;
	int folder = slash ? (int)(slash - look->link) : 0;

	/* The first that is no symlink, or is not there, ends the chain: no loop. */
	if (reply->err || !sftp_names_next(&names, &name) || name.name.len >= PATH_MAX) {
		remote_finish(op, 0);
		return;
	}
	if (++look->links > LINKS_MAX) {
		look->looks.loop = true;
		remote_finish(op, 0);
		return;
	}
	if (name.name.len && name.name.data[0] == '/')
		folder = 0;
	if (asprintf(&next, "%.*s%s%.*s", folder, look->link,
		name.name.len && name.name.data[0] == '/' ? "" : "/", (int)name.name.len,
		(const char *)name.name.data) < 0) {
		remote_finish(op, -ENOMEM);
		return;
	}
	/* The commonest loop: a link to itself. */
	look->looks.loop = !strcmp(next, look->link);
	free(look->link);
	look->link = next;
	if (look->looks.loop || strlen(next) >= PATH_MAX)
		remote_finish(op, 0);
	else
		remote_ask(op, sftp_msg_path(SSH_FXP_READLINK, next), follow, 0);
}

/* --- whether a folder is empty ------------------------------------------------ */

static void take_some(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	struct look_op *look = look_of(op);
	struct sftp_names names = reply->names;
	struct sftp_name name;

	while (!reply->err && sftp_names_next(&names, &name))
		if (sftp_name_is_valid(name.name))
			*look->not_empty = true;
	if (--op->left == 0)
		remote_finish(op, 0);
}

static void ignore(void *arg, const struct sftp_reply *reply)
{
}

static void folder_opened(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	struct look_op *look = look_of(op);
	struct packet *message;

	if (reply->err) {
		if (!op->done)
			remote_finish(op, 0);
		return;
	}
	look->handle.len = reply->handle.len;
	memcpy(look->handle.data, reply->handle.data, reply->handle.len);
	/* A folder of several replies shows "." and ".." in the first, as a rule. */
	op->left = 2;
	for (unsigned i = 0; i < 2 && !op->done; i++)
		remote_ask(op, sftp_msg_handle(SSH_FXP_READDIR, &look->handle), take_some, 0);
	message = sftp_msg_handle(SSH_FXP_CLOSE, &look->handle);
	if (message && pool_channel_alive(op->channel))
		sftp_send(pool_channel_sftp(op->channel), message, 0, ignore, NULL);
	else
		packet_free(message);
}

/* --- the first burst ----------------------------------------------------------- */

static bool opens(enum remote_asked asked)
{
	return asked == ASKED_OPEN_READ || asked == ASKED_OPEN_WRITE || asked == ASKED_CREATE ||
	       asked == ASKED_TRUNCATE || asked == ASKED_SETSTAT || asked == ASKED_LIST;
}

/* One that the login may not list, or whose names it may not look at, so that the server leaves
 * them out, holds something. (Or something is mounted there, which is rare.) */
static bool is_closed(const struct remote *remote, const struct sftp_attr *attr)
{
	unsigned bits = attr->uid == remote_uid(remote) ? 0500 : 0005;

	return remote_uid(remote) && (attr->flags & SSH_FILEXFER_ATTR_UIDGID) &&
	       (attr->mode & bits) != bits;
}

/* The one thing that the burst leaves open, if any. */
static void look_closer(struct remote_op *op)
{
	struct look_op *look = look_of(op);
	struct remote_looks *l = &look->looks;
	const char *folder = NULL;

	if (look->err == -EIO && op->asked == ASKED_RMDIR && !l->path.err &&
	    remote_is_folder(&l->path.attr)) {
		folder = op->path;
		look->not_empty = &l->path_not_empty;
		l->path_not_empty = is_closed(op->remote, &l->path.attr);
	} else if (look->err == -EIO && op->asked == ASKED_RENAME && !l->path.err &&
		   !l->path2.err && remote_is_folder(&l->path.attr) &&
		   remote_is_folder(&l->path2.attr)) {
		folder = op->path2;
		look->not_empty = &l->path2_not_empty;
		l->path2_not_empty = is_closed(op->remote, &l->path2.attr);
	} else if (look->err == -ENOENT && opens(op->asked) && !l->path.err &&
		   remote_is_link(&l->path.attr)) {
		free(look->link); /* of a try whose connection was lost */
		look->link = strdup(op->path);
		if (look->link)
			remote_ask(op, sftp_msg_path(SSH_FXP_READLINK, look->link), follow, 0);
		else
			remote_finish(op, -ENOMEM);
		return;
	}
	if (folder)
		remote_ask(op, sftp_msg_path(SSH_FXP_OPENDIR, folder), folder_opened, 0);
	else
		remote_finish(op, 0);
}

static void seen(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	struct look_op *look = look_of(op);
	struct remote_looks *l = &look->looks;
	struct remote_look *looks[] = {&l->path, &l->parent, &l->path2, &l->parent2};

	if (op->done)
		return;
	if (tag >= LOOK_FS) {
		struct remote_look_fs *fs = tag == LOOK_FS ? &l->fs : &l->fs2;

		fs->asked = true;
		fs->err = remote_take_statvfs(reply, &fs->st);
	} else {
		looks[tag]->asked = true;
		looks[tag]->err = sftp_take_attr(reply, &looks[tag]->attr);
	}
	if (--op->left == 0)
		look_closer(op);
}

static void ask_path(struct remote_op *op, const char *path, const char *parent, unsigned tag)
{
	if (!path)
		return;
	op->left += 2;
	remote_ask(op, sftp_msg_path(SSH_FXP_LSTAT, path), seen, tag);
	remote_ask(op, sftp_msg_path(SSH_FXP_STAT, parent), seen, tag + 1);
}

static void ask_fs(struct remote_op *op, const char *folder, unsigned tag)
{
	if (!folder || look_of(op)->err != -EIO || !pool_features(op->remote->pool)->statvfs)
		return;
	op->left++;
	remote_ask(op, sftp_msg_statvfs(folder), seen, tag);
}

static void go_look(struct remote_op *op)
{
	struct look_op *look = look_of(op);

	memset(&look->looks, 0, sizeof(look->looks));
	look->looks.same_parent =
	    look->parent && look->parent2 && !strcmp(look->parent, look->parent2);
	op->left = 0;
	ask_path(op, op->path, look->parent, LOOK_PATH);
	ask_path(op, op->path2, look->parent2, LOOK_PATH2);
	ask_fs(op, look->parent ? look->parent : op->remote->root, LOOK_FS);
	ask_fs(op, look->parent2, LOOK_FS2);
	if (!op->left)
		remote_finish(op, -ENOTSUP);
}

/* "/a/b" to "/a", "/a" to "/". */
static char *parent_of(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	if (!slash)
		return NULL;
	return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

void remote_true_errno(struct remote *remote, enum remote_asked asked, const char *path,
    const char *path2, int err, remote_done *done, void *arg)
{
	struct remote_op *op = remote_op_new(remote, sizeof(struct look_op), complete_look, arg);
	uint64_t soonest = uv_now(remote->loop) + LOOK_MS;

	if (!op) {
		done(arg, err);
		return;
	}
	op->user.plain = done;
	op->asked = asked;
	op->at_deadline = err;
	op->fini = look_fini;
	op->late_too = true; /* for a handle that comes late */
	if (soonest < op->deadline)
		op->deadline = soonest;
	if (!op->hollow) {
		look_of(op)->err = err;
		look_of(op)->parent = parent_of(path);
		look_of(op)->parent2 = parent_of(path2);
	}
	remote_submit(op, path, path2, go_look);
}

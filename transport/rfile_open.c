/*
 * Opening a file: LSTAT of the path, OPEN, LSTAT again; one round trip for all. Only when nothing
 * has happened to the path between the two LSTATs do they tell about the file that was opened: it
 * may be replaced at any moment. Of a file that is made or emptied one LSTAT tells enough.
 *
 *	start -----> LSTAT, OPEN, LSTAT --all in--> a regular answer --> done
 *	  ^          (and a READ through the handle that is foreseen, sftp_foresee.h)
 *	  ^             |     |
 *	  |             |     +-- opened, but the LSTATs failed, differ or name a symlink:
 *	  |             |         FSTAT --> done
 *	  +-- link lost +-- refused: the true errno --> done
 *
 * When the link is lost, a plain open is sent again. After an exclusive create the path is looked
 * up first: a young, empty, regular file of the login user is the one that the lost request made,
 * and is opened as it stands.
 */
#include "transport/rfile_internal.h"

#include "transport/remote_clock.h"
#include "transport/remote_errno.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* How old the file of an exclusive create may be that was sent by another call before. */
#define FRESH_MS 300000

struct opening {
	struct remote *remote; /* counted */
	struct rfile *into;    /* held: the rfile that waits for it (rfile_create); or NULL */
	struct pool *pool;
	struct pool_channel *channel; /* counted, while requests are out */
	char *path;
	enum lane lane;
	uint32_t flags, mode;
	uint32_t file_flags; /* as the caller gave them */
	struct rfile_owner owner;
	rfile_open_done *done;
	remote_attr_done *created; /* with into: instead of done */
	void *arg;
	uint64_t deadline;
	unsigned replies;
	uint64_t sent_ms; /* when the OPEN was: loop ms */
	bool uncertain;	  /* an exclusive create may have been done */
	unsigned retried; /* how often refused for no reason that was seen, and sent again */
	int err;	  /* how it ends, when it fails from the loop */

	int open_err, before_err, stat_err;
	bool opened;
	struct sftp_handle name;
	struct sftp_attr before, attr;
	struct rfile_early early; /* to be read with it */
};

static void opening_start(struct opening *opening);

static void opening_free(struct opening *opening)
{
	if (opening->channel)
		pool_channel_put(opening->channel);
	remote_put(opening->remote);
	free(opening->early.data);
	free(opening->path);
	free(opening);
}

static void opening_finish(struct opening *opening, int err, struct rfile *file)
{
	rfile_open_done *done = opening->done;
	remote_attr_done *created = opening->created;
	struct rfile *into = opening->into;
	void *arg = opening->arg;
	struct sftp_attr attr = opening->attr;

	opening_free(opening);
	if (!into) {
		done(arg, err, file, &attr);
		return;
	}
	/* What waits goes before what the caller may send now. */
	if (!err)
		rfile_pump(into);
	created(arg, err, &attr);
	rfile_drop(into);
}

/* remote_done */
static void opening_failed(void *arg, int err)
{
	struct opening *opening = arg;
	memset(&opening->attr, 0, sizeof(opening->attr));
	opening_finish(opening, err, NULL);
}

static void opening_fail_later_done(void *arg, int err)
{
	struct opening *opening = arg;
	opening_failed(opening, opening->err);
}

static void opening_fail_later(struct opening *opening, int err)
{
	opening->err = err;
	pool_wait(opening->pool, opening->lane, 0, opening_fail_later_done, opening);
}

static void opening_waited(void *arg, int err)
{
	struct opening *opening = arg;
	if (err)
		opening_failed(opening, err);
	else
		opening_start(opening);
}

/* From the loop: the link was lost, or there is none. */
static void opening_again(struct opening *opening)
{
	if (opening->channel)
		pool_channel_put(opening->channel);
	opening->channel = NULL;
	opening->opened = false;
	if (opening->into) {
		opening_failed(opening, -ENOTCONN);
		return;
	}
	if (opening->flags & SSH_FXF_EXCL)
		opening->uncertain = true;
	if (rfile_now_ms() >= opening->deadline)
		opening_failed(opening, -ETIMEDOUT);
	else
		opening_start(opening);
}

static void opening_succeed(struct opening *opening)
{
	struct rfile *into = opening->into;
	struct rfile *file =
	    into ? into
		 : rfile_new(opening->remote, opening->file_flags, &opening->owner, &opening->attr);
	struct rfile_handle *handle =
	    file ? rfile_handle_new(file, LANE_FILES, opening->channel) : NULL;
	if (!handle) {
		rfile_close_remote(opening->channel, &opening->name);
		if (file && !into)
			rfile_put(file);
		opening_failed(opening, -ENOMEM);
		return;
	}
	handle->name = opening->name;
	handle->state = RFILE_HANDLE_READY;
	file->was_held = true;
	rfile_early_give(&opening->early, &opening->name, file);
	if (into) {
		rfile_take_attr(into, &opening->attr);
		into->later = false;
	}
	opening_finish(opening, 0, file);
}

static void opening_fstat_replied(void *arg, const struct sftp_reply *reply)
{
	struct opening *opening = arg;
	if (reply->err == -ENOTCONN) {
		opening_again(opening);
		return;
	}
	memset(&opening->attr, 0, sizeof(opening->attr));
	sftp_take_attr(reply, &opening->attr);
	opening_succeed(opening);
}

static enum remote_asked opening_asked(const struct opening *opening)
{
	if (opening->flags & SSH_FXF_CREAT)
		return opening->flags & SSH_FXF_EXCL ? ASKED_CREATE_NEW : ASKED_CREATE;
	return opening->flags & SSH_FXF_WRITE ? ASKED_OPEN_WRITE : ASKED_OPEN_READ;
}

/* Nothing explains it: what stood in the way may have gone before the look, as a lock does. */
static void opening_explained(void *arg, int err)
{
	struct opening *opening = arg;

	if (err == -EIO && opening->flags & SSH_FXF_EXCL && !opening->into &&
	    opening->retried < REMOTE_RETRIES) {
		opening->retried++;
		opening_start(opening);
	} else {
		opening_failed(opening, err);
	}
}

static void opening_refused(struct opening *opening)
{
	enum remote_asked asked = opening_asked(opening);
	int err = opening->open_err;

	/* The LSTAT that went along knows the commonest reason. */
	if (asked == ASKED_CREATE_NEW && err == -EIO && !opening->stat_err)
		opening_failed(opening, -EEXIST);
	else if (remote_errno_is_vague(asked, err))
		remote_true_errno(
		    opening->remote, asked, opening->path, NULL, err, opening_explained, opening);
	else
		opening_failed(opening, err);
}

static bool opening_makes_empty(const struct opening *opening)
{
	return (opening->flags & (SSH_FXF_EXCL | SSH_FXF_TRUNC)) ||
	       ((opening->flags & SSH_FXF_CREAT) && opening->before_err == -ENOENT);
}

/* Is what the path shows the file that was opened? */
static bool opening_is_sure(const struct opening *opening)
{
	const struct sftp_attr *attr = &opening->attr;

	if (opening->stat_err || !(attr->flags & SSH_FILEXFER_ATTR_PERMISSIONS) ||
	    S_ISLNK(attr->mode))
		return false;
	if (opening_makes_empty(opening))
		return attr->size == 0;
	return !opening->before_err && sftp_attr_alike(&opening->before, attr);
}

/* All replies are in. */
static void opening_judge(struct opening *opening)
{
	if (opening->open_err == -ENOTCONN || opening->stat_err == -ENOTCONN ||
	    opening->before_err == -ENOTCONN) {
		opening_again(opening);
	} else if (!opening->opened) {
		opening_refused(opening);
	} else if (opening->stat_err == -ETIMEDOUT) {
		rfile_close_remote(opening->channel, &opening->name);
		opening_failed(opening, -ETIMEDOUT);
	} else if (!opening_is_sure(opening)) {
		struct packet *message = pool_channel_alive(opening->channel)
					     ? sftp_msg_handle(SSH_FXP_FSTAT, &opening->name)
					     : NULL;
		if (message) {
			message->patient = opening->into != NULL;
			sftp_send(pool_channel_sftp(opening->channel), message, 0,
			    opening_fstat_replied, opening);
			return;
		}
		memset(&opening->attr, 0, sizeof(opening->attr));
		opening_succeed(opening);
	} else {
		opening_succeed(opening);
	}
}

static void opening_opened(void *arg, const struct sftp_reply *reply)
{
	struct opening *opening = arg;
	opening->open_err = reply->err;
	if (!reply->err && reply->type == SSH_FXP_HANDLE) {
		opening->opened = true;
		opening->name.len = reply->handle.len;
		memcpy(opening->name.data, reply->handle.data, reply->handle.len);
	} else if (!reply->err) {
		opening->open_err = -EPROTO;
	}
	if (--opening->replies == 0)
		opening_judge(opening);
}

static void opening_before_replied(void *arg, const struct sftp_reply *reply)
{
	struct opening *opening = arg;
	opening->before_err = sftp_take_attr(reply, &opening->before);
	if (--opening->replies == 0)
		opening_judge(opening);
}

static void opening_stat_replied(void *arg, const struct sftp_reply *reply)
{
	struct opening *opening = arg;
	opening->stat_err = sftp_take_attr(reply, &opening->attr);
	if (--opening->replies == 0)
		opening_judge(opening);
}

static void opening_early_replied(void *arg, const struct sftp_reply *reply)
{
	struct opening *opening = arg;
	rfile_early_came(&opening->early, reply);
	if (--opening->replies == 0)
		opening_judge(opening);
}

static bool opening_is_fresh(const struct opening *opening, const struct sftp_attr *attr)
{
	const uint32_t needed =
	    SSH_FILEXFER_ATTR_SIZE | SSH_FILEXFER_ATTR_PERMISSIONS | SSH_FILEXFER_ATTR_ACMODTIME;

	return (attr->flags & needed) == needed && S_ISREG(attr->mode) && attr->size == 0 &&
	       remote_clock_since(remote_clock(opening->remote), attr->mtime, opening->sent_ms) &&
	       (!(attr->flags & SSH_FILEXFER_ATTR_UIDGID) ||
		   attr->uid == remote_uid(opening->remote));
}

static void opening_looked_up(void *arg, const struct sftp_reply *reply)
{
	struct opening *opening = arg;
	if (reply->err == -ENOTCONN) {
		opening_again(opening);
	} else if (reply->err == -ENOENT) {
		opening->uncertain = false;
		opening_start(opening);
	} else if (reply->err) {
		opening_failed(opening, reply->err);
	} else if (reply->type != SSH_FXP_ATTRS || !opening_is_fresh(opening, &reply->attr)) {
		opening_failed(opening, -EEXIST);
	} else {
		opening->uncertain = false;
		opening->flags &= ~(uint32_t)(SSH_FXF_CREAT | SSH_FXF_EXCL | SSH_FXF_TRUNC);
		opening_start(opening);
	}
}

static void opening_send(struct opening *opening, struct sftp *sftp)
{
	const uint8_t look = remote_follows_links(opening->remote) ? SSH_FXP_STAT : SSH_FXP_LSTAT;
	struct packet *message = sftp_msg_path(look, opening->path);
	if (!message) {
		opening_fail_later(opening, -ENOMEM);
		return;
	}
	message->patient = opening->into != NULL;
	if (opening->uncertain) {
		sftp_send(sftp, message, 0, opening_looked_up, opening);
		return;
	}
	struct sftp_attr attr = {0};
	if (opening->flags & SSH_FXF_CREAT) {
		attr.flags = SSH_FILEXFER_ATTR_PERMISSIONS;
		attr.mode = opening->mode & 07777;
	}
	struct packet *open_message = sftp_msg_open(opening->path, opening->flags, &attr);
	bool looks_before = !(opening->flags & (SSH_FXF_EXCL | SSH_FXF_TRUNC));
	struct packet *before = looks_before ? sftp_msg_path(look, opening->path) : NULL;
	if (!open_message || (looks_before && !before)) {
		packet_free(message);
		packet_free(open_message);
		packet_free(before);
		opening_fail_later(opening, -ENOMEM);
		return;
	}
	opening->replies = 2 + looks_before;
	open_message->patient = message->patient;
	if (looks_before)
		before->patient = message->patient;
	opening->before_err = 0;
	opening->opened = false;
	opening->sent_ms = rfile_now_ms();
	struct packet *early = rfile_early_read(&opening->early, sftp);
	opening->replies += early != NULL;
	if (looks_before)
		sftp_send(sftp, before, 0, opening_before_replied, opening);
	sftp_send(sftp, open_message, 0, opening_opened, opening);
	sftp_send(sftp, message, 0, opening_stat_replied, opening);
	if (early)
		sftp_send(sftp, early, opening->early.len, opening_early_replied, opening);
}

static void opening_start(struct opening *opening)
{
	uint64_t now = rfile_now_ms();
	struct pool_channel *channel;

	if (opening->into) {
		if (pool_channel_alive(opening->channel))
			opening_send(opening, pool_channel_sftp(opening->channel));
		else
			opening_fail_later(opening, -ENOTCONN);
		return;
	}
	channel = pool_channel(opening->pool, opening->lane, false);

	if (!channel) {
		unsigned left = now < opening->deadline ? (unsigned)(opening->deadline - now) : 0;
		pool_wait(opening->pool, opening->lane, left, opening_waited, opening);
		return;
	}
	if (opening->channel)
		pool_channel_put(opening->channel);
	opening->channel = pool_channel_get(channel);
	opening_send(opening, pool_channel_sftp(channel));
}

static struct opening *opening_new(struct remote *remote, enum lane lane, const char *path,
    uint32_t flags, uint32_t mode, void *arg)
{
	struct opening *opening = calloc(1, sizeof(*opening));
	char *copy = opening ? strdup(path) : NULL;
	if (!copy) {
		free(opening);
		return NULL;
	}
	opening->remote = remote_get(remote);
	opening->pool = remote_pool(remote);
	opening->path = copy;
	opening->lane = lane;
	opening->flags = flags;
	opening->file_flags = flags;
	opening->mode = mode;
	opening->arg = arg;
	opening->sent_ms = rfile_now_ms() - FRESH_MS;
	opening->deadline = rfile_now_ms() + pool_timeout_ms(opening->pool);
	return opening;
}

static void opening_check_and_start(struct opening *opening)
{
	int err = remote_check_path(opening->path);
	if (err)
		opening_fail_later(opening, err);
	else
		opening_start(opening);
}

static void open_on(struct remote *remote, enum lane lane, const char *path, uint32_t flags,
    uint32_t mode, uint32_t early, const struct rfile_owner *owner, rfile_open_done *done,
    void *arg)
{
	struct opening *opening =
	    opening_new(remote, lane, path, flags & ~RFILE_IN_DOUBT, mode, arg);
	if (!opening) {
		/* Nothing is left to remember the call with. */
		struct sftp_attr none = {0};
		done(arg, -ENOMEM, NULL, &none);
		return;
	}
	opening->owner = *owner;
	opening->done = done;
	opening->early.len = early;
	opening->uncertain = flags & RFILE_IN_DOUBT;
	opening_check_and_start(opening);
}

void rfile_open(struct remote *remote, const char *path, uint32_t flags, uint32_t mode,
    const struct rfile_owner *owner, rfile_open_done *done, void *arg)
{
	open_on(remote, LANE_FILES, path, flags, mode, 0, owner, done, arg);
}

void rfile_open_to_read(struct remote *remote, const char *path, uint32_t early,
    const struct rfile_owner *owner, rfile_open_done *done, void *arg)
{
	open_on(remote, LANE_FILES, path, SSH_FXF_READ, 0, early, owner, done, arg);
}

void rfile_open_ahead(struct remote *remote, const char *path, rfile_open_done *done, void *arg)
{
	static const struct rfile_owner nobody = {.path = NULL};

	open_on(remote, LANE_BULK, path, SSH_FXF_READ, 0, 0, &nobody, done, arg);
}

static void open_into(struct rfile *file, struct pool_channel *channel, bool uncertain,
    const char *path, uint32_t flags, uint32_t mode, remote_attr_done *done, void *arg)
{
	struct opening *opening = opening_new(file->remote, LANE_FILES, path, flags, mode, arg);
	if (!opening) {
		struct sftp_attr none = {0};
		done(arg, -ENOMEM, &none);
		return;
	}
	rfile_hold(file);
	opening->into = file;
	opening->created = done;
	opening->channel = pool_channel_get(channel);
	opening->uncertain = uncertain;
	opening->early.len = file->early.len;
	opening_check_and_start(opening);
}

void rfile_create(struct rfile *file, struct pool_channel *channel, bool doubt, bool exclusive,
    const char *path, uint32_t mode, remote_attr_done *done, void *arg)
{
	uint32_t flags = file->flags | SSH_FXF_CREAT;

	if (exclusive)
		flags = (flags & ~(uint32_t)SSH_FXF_TRUNC) | SSH_FXF_EXCL;
	open_into(file, channel, doubt && exclusive, path, flags, mode, done, arg);
}

void rfile_open_into(struct rfile *file, struct pool_channel *channel, const char *path,
    remote_attr_done *done, void *arg)
{
	open_into(file, channel, false, path, file->flags, 0, done, arg);
}

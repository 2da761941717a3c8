/*
 * copy-data between two open files. The COPY lane is one channel, and a handle belongs to one
 * channel: both files get a handle there, kept for the next piece. The server says nothing of how
 * much it copied, so an FSTAT of the source in front of the request, without waiting, tells where
 * it ends, and one of the target behind it whether that much can have arrived. What fails for no
 * reason that is seen ends with EOPNOTSUPP: the bytes can still be read and written, which has the
 * true error if there is one.
 */
#include "transport/rfile_internal.h"

#include "transport/remote_errno.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define COPY_MAX (1024u * 1024 * 1024)

struct rfile_copy {
	TAILQ_ENTRY(rfile_copy) link; /* in rfile_handle.copies */
	struct rfile *from, *to;      /* held */
	uint64_t from_offset, to_offset, len;
	uint64_t deadline;
	remote_done *done;
	void *arg;
	struct rfile_handle *from_handle, *to_handle; /* while sent; counted */
	unsigned replies;
	bool sized, lost;
	uint64_t from_size, to_size;
	int err;
};

static void copy_step(struct rfile_copy *copy);

static void copy_finish(struct rfile_copy *copy, int err)
{
	struct rfile *from = copy->from, *to = copy->to;

	copy->done(copy->arg, err);
	free(copy);
	to->changing--;
	rfile_drop(from);
	rfile_drop(to);
}

static void copy_true_errno(void *arg, int err)
{
	copy_finish(arg, err == -EIO ? -EOPNOTSUPP : err);
}

static void copy_fail_later_done(void *arg, int err)
{
	struct rfile_copy *copy = arg;
	copy_finish(copy, copy->err);
}

static void copy_fail_later(struct rfile_copy *copy, int err)
{
	copy->err = err;
	pool_wait(copy->from->pool, LANE_COPY, 0, copy_fail_later_done, copy);
}

/* --- the request --- */

static void copy_judge(struct rfile_copy *copy)
{
	if (copy->lost) {
		rfile_changes(copy->to, true);
		rfile_handle_lost(copy->from_handle);
		rfile_handle_lost(copy->to_handle);
	}
	rfile_handle_put(copy->from_handle);
	rfile_handle_put(copy->to_handle);
	copy->from_handle = copy->to_handle = NULL;
	if (copy->lost) {
		copy_step(copy);
		return;
	}
	if (!copy->err && !copy->sized)
		copy->err = -EPROTO;
	if (copy->err == -ENOENT)
		copy->err = -ESTALE;
	if (copy->err && remote_errno_is_vague(ASKED_WRITE, copy->err)) {
		rfile_true_errno(copy->to, copy->err, copy_true_errno, copy);
		return;
	}
	if (copy->err) {
		copy_finish(copy, copy->err);
		return;
	}
	uint64_t left =
	    copy->from_size > copy->from_offset ? copy->from_size - copy->from_offset : 0;
	uint64_t copied = left < copy->len ? left : copy->len;
	struct rfile *to = copy->to;
	if (copied && copy->to_size < copy->to_offset + copied) {
		copy_finish(copy, -EOPNOTSUPP);
		return;
	}
	if (to->changed && copied && copy->to_offset + copied > to->end)
		to->end = copy->to_offset + copied;
	copy_finish(copy, (int)copied);
}

static void copy_reply(struct rfile_copy *copy, const struct sftp_reply *reply)
{
	if (reply->err == -ENOTCONN)
		copy->lost = true;
	else if (reply->err && !copy->err)
		copy->err = reply->err;
	if (--copy->replies == 0)
		copy_judge(copy);
}

static void copy_sized(void *arg, const struct sftp_reply *reply)
{
	struct rfile_copy *copy = arg;

	if (!reply->err && reply->type == SSH_FXP_ATTRS &&
	    (reply->attr.flags & SSH_FILEXFER_ATTR_SIZE)) {
		copy->sized = true;
		copy->from_size = reply->attr.size;
	}
	copy_reply(copy, reply);
}

static void copy_arrived(void *arg, const struct sftp_reply *reply)
{
	struct rfile_copy *copy = arg;

	if (!reply->err && reply->type == SSH_FXP_ATTRS &&
	    (reply->attr.flags & SSH_FILEXFER_ATTR_SIZE))
		copy->to_size = reply->attr.size;
	copy_reply(copy, reply);
}

static void copy_replied(void *arg, const struct sftp_reply *reply)
{
	struct sftp_reply done = {0};

	/* Asked for more than there is, OpenSSH copies what there is and says so. */
	copy_reply(arg, reply->status == SSH_FX_EOF ? &done : reply);
}

static void copy_send(struct rfile_copy *copy, struct rfile_handle *from, struct rfile_handle *to)
{
	struct packet *stat = sftp_msg_handle(SSH_FXP_FSTAT, &from->name);
	struct packet *message = sftp_msg_copy_data(
	    &from->name, copy->from_offset, copy->len, &to->name, copy->to_offset);
	struct packet *look = sftp_msg_handle(SSH_FXP_FSTAT, &to->name);
	if (!stat || !message || !look) {
		packet_free(stat);
		packet_free(message);
		packet_free(look);
		copy_fail_later(copy, -ENOMEM);
		return;
	}
	rfile_changes(copy->to, false);
	copy->sized = copy->lost = false;
	copy->err = 0;
	copy->to_size = 0;
	copy->replies = 3;
	copy->from_handle = rfile_handle_get(from);
	copy->to_handle = rfile_handle_get(to);
	sftp_send(rfile_handle_sftp(from), stat, 0, copy_sized, copy);
	sftp_send(rfile_handle_sftp(to), message, 0, copy_replied, copy);
	sftp_send(rfile_handle_sftp(to), look, 0, copy_arrived, copy);
}

/* --- the handles --- */

/* The file's handle on that channel, ready or on its way; NULL and *err when there can't be one. */
static struct rfile_handle *copy_handle(struct rfile *file, struct pool_channel *channel, int *err)
{
	if (file->copy && file->copy->channel != channel)
		rfile_handle_close(file->copy);
	*err = file->copy ? 0 : rfile_handle_open(file, LANE_COPY, channel);
	return *err ? NULL : file->copy;
}

static void copy_waited(void *arg, int err)
{
	struct rfile_copy *copy = arg;
	if (err)
		copy_finish(copy, err);
	else
		copy_step(copy);
}

static void copy_step(struct rfile_copy *copy)
{
	struct pool *pool = copy->from->pool;
	uint64_t now = rfile_now_ms();
	int err;

	if (now >= copy->deadline) {
		copy_fail_later(copy, -ETIMEDOUT);
		return;
	}
	/* The lane may lie on changing bulk channels: stay where handles are. */
	struct rfile_handle *there = copy->from->copy ? copy->from->copy : copy->to->copy;
	struct pool_channel *channel = there && pool_channel_alive(there->channel)
					   ? there->channel
					   : pool_channel(pool, LANE_COPY, false);
	if (!channel) {
		pool_wait(pool, LANE_COPY, (unsigned)(copy->deadline - now), copy_waited, copy);
		return;
	}
	struct rfile_handle *from = copy_handle(copy->from, channel, &err);
	struct rfile_handle *to = from ? copy_handle(copy->to, channel, &err) : NULL;
	if (!to)
		copy_fail_later(copy, err);
	else if (from->state != RFILE_HANDLE_READY)
		TAILQ_INSERT_TAIL(&from->copies, copy, link);
	else if (to->state != RFILE_HANDLE_READY)
		TAILQ_INSERT_TAIL(&to->copies, copy, link);
	else
		copy_send(copy, from, to);
}

void rfile_copies_wake(struct rfile_copies *copies, int err)
{
	struct rfile_copy *copy;

	/* None comes back to this list: its handle is ready, or in no slot any more. */
	while ((copy = TAILQ_FIRST(copies))) {
		TAILQ_REMOVE(copies, copy, link);
		if (err && err != -ENOTCONN)
			copy_finish(copy, err);
		else
			copy_step(copy);
	}
}

/* OpenSSH refuses to copy within a file, and knows it by its handle or its path. */
static bool copy_within(struct rfile *from, struct rfile *to)
{
	char from_path[PATH_MAX], to_path[PATH_MAX];

	return from == to || (!rfile_path(from, from_path, PATH_MAX) &&
				 !rfile_path(to, to_path, PATH_MAX) && !strcmp(from_path, to_path));
}

void rfile_copy(struct rfile *from, uint64_t from_offset, struct rfile *to, uint64_t to_offset,
    uint64_t len, remote_done *done, void *arg)
{
	struct rfile_copy *copy = calloc(1, sizeof(*copy));
	if (!copy) {
		done(arg, -ENOMEM);
		return;
	}
	copy->from = from;
	copy->to = to;
	copy->from_offset = from_offset;
	copy->to_offset = to_offset;
	copy->len = len < COPY_MAX ? len : COPY_MAX;
	copy->deadline = rfile_now_ms() + pool_timeout_ms(from->pool);
	copy->done = done;
	copy->arg = arg;
	rfile_hold(from);
	rfile_hold(to);
	to->changing++;

	if (!rfile_readable(from) || !rfile_writable(to))
		copy_fail_later(copy, -EBADF);
	else if (!len)
		copy_fail_later(copy, 0);
	else if (!pool_features(from->pool)->copy_data || copy_within(from, to))
		copy_fail_later(copy, -EOPNOTSUPP);
	else
		copy_step(copy);
}

/*
 * Writes to a file that is open with SSH_FXF_APPEND: the server puts each at the end, whatever its
 * offset says, so that order matters and none may be sent twice.
 *
 * They go through one handle at a time, in order. In front of the first one after a pause, and now
 * and then in a stream, goes an FSTAT (no round trip more), so that the size before them is known.
 * When the link is lost, those in flight are uncertain: the size through a new handle tells how
 * many bytes of them arrived, since one sftp-server works in turn:
 *
 *	append_end     size now
 *	    |--A--|--B-- |           A is done, of B the rest is sent, C is sent
 *
 * When the file grew by more than all of them, somebody else appends too and nobody can tell: -EIO
 * for them.
 *
 * Those whose caller keeps them (lasting) end when their time is over, but what they may have added
 * stays known by its length (append_lost), until they are given again: then it is told as above.
 */
#include "transport/rfile_internal.h"

#include "conf/log.h"
#include <errno.h>

/* Others may append too: after that many appends in a stream the size is asked again. */
#define SIZE_EVERY 16

static void sized(void *arg, const struct sftp_reply *reply)
{
	struct rfile *file = arg;

	if (!reply->err && reply->type == SSH_FXP_ATTRS && !file->append_uncertain &&
	    (reply->attr.flags & SSH_FILEXFER_ATTR_SIZE)) {
		file->append_end_known = true;
		file->append_end = reply->attr.size;
	}
	rfile_drop(file);
}

static void ask_size(struct rfile *file, struct rfile_handle *handle, sftp_done *done)
{
	struct packet *message = sftp_msg_handle(SSH_FXP_FSTAT, &handle->name);
	if (!message)
		return;
	rfile_hold(file);
	sftp_send(rfile_handle_sftp(handle), message, 0, done, file);
}

static void note_appended(struct rfile *file, uint32_t len)
{
	if (file->append_uncertain) {
		file->append_behind += len;
		return;
	}
	file->append_end += len;
	if (file->append_end_known && file->append_end > file->end)
		file->end = file->append_end;
}

/* It ends without an answer, `most` bytes of it may be there: that is remembered, or nobody can
 * tell any more. A beginning that is known to be there (got) counts as one that may be. */
static void lose(struct rfile *file, struct rfile_op *op, uint32_t most, int err)
{
	bool link = err == -ETIMEDOUT || err == -ENOTCONN;

	if (op->lasting && link) {
		file->append_lost += most;
		file->append_end -= op->got;
	} else {
		file->append_end_known = false;
	}
	file->append_uncertain = true;
	rfile_op_fail(op, link ? -ETIMEDOUT : err);
}

static void lose_sent(struct rfile *file, struct rfile_op *op, int err)
{
	TAILQ_REMOVE(&file->appends_sent, op, link);
	lose(file, op, op->len, err);
}

static void append_replied(void *arg, const struct sftp_reply *reply)
{
	struct rfile_op *op = arg;
	struct rfile *file = op->file;
	uint32_t sent = op->cost;
	bool unanswered;

	rfile_hold(file);
	file->appends_out--;
	file->append_bytes -= sent;
	rfile_op_release(op, reply);
	unanswered = reply->err == -ENOTCONN || (op->lasting && reply->err == -ETIMEDOUT);
	if (unanswered && (file->append_lost || reply->err == -ETIMEDOUT)) {
		lose_sent(file, op, reply->err);
	} else if (unanswered) {
		file->append_uncertain = true;
	} else {
		TAILQ_REMOVE(&file->appends_sent, op, link);
		if (reply->err) {
			file->append_end_known = false; /* a part of it may be there */
			rfile_op_error(op, reply->err);
		} else {
			note_appended(file, sent);
			rfile_op_finish(op, 0);
		}
	}
	rfile_pump(file);
	rfile_drop(file);
}

/* --- after a lost link --- */

/* The first of them is there, whole (it is completed) or its beginning, as far as grown goes: how
 * many bytes of it. */
static uint32_t take_there(struct rfile *file, struct rfile_ops *ops, uint64_t grown)
{
	struct rfile_op *op = TAILQ_FIRST(ops);
	uint32_t left = op->len - op->got, there = grown < left ? (uint32_t)grown : left;

	file->append_end += there;
	op->got += there;
	if (op->got == op->len) {
		TAILQ_REMOVE(ops, op, link);
		rfile_op_fail(op, 0);
	}
	return there;
}

static void unknown(struct rfile *file)
{
	struct rfile_op *op;

	log_warning("an append was interrupted by a lost connection, and the file grew "
		    "otherwise too: whether it was done is not known");
	while ((op = TAILQ_FIRST(&file->appends_sent))) {
		TAILQ_REMOVE(&file->appends_sent, op, link);
		rfile_op_fail(op, -EIO);
	}
	while ((op = TAILQ_FIRST(&file->appends)) && op->again) {
		TAILQ_REMOVE(&file->appends, op, link);
		rfile_op_fail(op, -EIO);
	}
}

/* Those that were sent go in front of what waits, in their order. */
static void send_again(struct rfile *file)
{
	TAILQ_CONCAT(&file->appends_sent, &file->appends, link);
	TAILQ_CONCAT(&file->appends, &file->appends_sent, link);
}

static void certain(struct rfile *file, uint64_t size)
{
	struct rfile_op *op;

	file->append_lost = file->append_behind = 0;
	file->append_uncertain = false;
	file->append_end_known = true;
	file->append_end = size;
	if (size > file->end)
		file->end = size;
	TAILQ_FOREACH (op, &file->appends, link)
		op->again = false;
}

/* The file has that size now: completes what is done, puts the rest in front of what waits. What
 * was lost comes first; of that not all may have been given again yet. */
static void resolve(struct rfile *file, uint64_t size)
{
	uint64_t end = file->append_end + file->append_behind, sent = file->append_lost, grown;
	struct rfile_op *op;

	TAILQ_FOREACH (op, &file->appends_sent, link)
		sent += op->len - op->got;
	grown = size - end;
	if (!file->append_end_known || size < end || grown > sent) {
		unknown(file);
		grown = 0;
	}
	while (grown && (op = TAILQ_FIRST(&file->appends)) && op->again && file->append_lost) {
		uint32_t there = take_there(file, &file->appends, grown);

		grown -= there;
		file->append_lost -= there;
	}
	if (grown && file->append_lost && TAILQ_EMPTY(&file->appends))
		return; /* the rest comes */
	while (grown && !TAILQ_EMPTY(&file->appends_sent))
		grown -= take_there(file, &file->appends_sent, grown);
	send_again(file);
	certain(file, size);
}

static void looked(void *arg, const struct sftp_reply *reply)
{
	struct rfile *file = arg;

	file->append_looking = false;
	if (!reply->err && reply->type == SSH_FXP_ATTRS && file->append_uncertain &&
	    (reply->attr.flags & SSH_FILEXFER_ATTR_SIZE))
		resolve(file, reply->attr.size);
	else if (reply->err == -ENOTCONN || reply->err == -ETIMEDOUT)
		rfile_append_fail_waiting(file, -ETIMEDOUT, true);
	else
		rfile_append_fail_waiting(file, reply->err ? reply->err : -EPROTO, false);
	rfile_pump(file);
	rfile_drop(file);
}

/* Behind what was sent, if that may still be done there. */
static void look(struct rfile *file)
{
	struct rfile_handle *handle = file->appender;

	if (file->append_looking || file->appends_out ||
	    (TAILQ_EMPTY(&file->appends_sent) && TAILQ_EMPTY(&file->appends)))
		return;
	if (!rfile_handle_usable(handle, RFILE_WRITE))
		handle = file->primary;
	if (!rfile_handle_usable(handle, RFILE_WRITE)) {
		rfile_want_primary(file);
		return;
	}
	file->append_looking = true;
	ask_size(file, handle, looked);
}

/* --- sending --- */

static void set_appender(struct rfile *file, struct rfile_handle *handle)
{
	if (file->appender == handle)
		return;
	if (file->appender)
		rfile_handle_put(file->appender);
	file->appender = handle ? rfile_handle_get(handle) : NULL;
}

/* The handle for the next one, or NULL: it waits. A stream moves to the bulk lane when nothing is
 * in flight. */
static struct rfile_handle *pick(struct rfile *file, const struct rfile_op *op)
{
	struct rfile_handle *now = file->appender, *best = NULL;

	if (op->bulk && file->streamed > RFILE_STREAM_MIN) {
		best = rfile_best_stripe(file, RFILE_WRITE);
		if (!best && !file->n_stripes)
			rfile_want_stripe(file, NULL, RFILE_WRITE);
	}
	if (file->appends_out) {
		if (!rfile_handle_usable(now, RFILE_WRITE) || (best && now->lane != LANE_BULK))
			return NULL;
		if (op->bulk && now->lane != LANE_BULK &&
		    file->append_bytes + op->len > RFILE_PRIMARY_CAP)
			return NULL;
		return now;
	}
	if (!best && rfile_handle_usable(file->primary, RFILE_WRITE))
		best = file->primary;
	if (!best)
		rfile_want_primary(file);
	set_appender(file, best);
	return best;
}

void rfile_append_pump(struct rfile *file)
{
	struct rfile_op *op;

	if (file->append_uncertain) {
		look(file);
		return;
	}
	while ((op = TAILQ_FIRST(&file->appends))) {
		struct rfile_handle *handle = pick(file, op);
		if (op != TAILQ_FIRST(&file->appends))
			continue; /* it was given up */
		if (!handle)
			break;
		if (!file->appends_out || ++file->appends_unsized == SIZE_EVERY) {
			file->appends_unsized = 0;
			ask_size(file, handle, sized);
		}
		TAILQ_REMOVE(&file->appends, op, link);
		if (rfile_send_write(op, handle, append_replied)) {
			rfile_op_fail(op, -ENOMEM);
			continue;
		}
		TAILQ_INSERT_TAIL(&file->appends_sent, op, link);
		file->appends_out++;
		file->append_bytes += op->cost;
	}
}

bool rfile_append_end(const struct rfile *file, uint64_t *end)
{
	const struct rfile_op *next = TAILQ_FIRST(&file->appends_sent);

	if (!next)
		next = TAILQ_FIRST(&file->appends);
	*end = file->append_end - (next ? next->got : 0);
	return file->append_end_known && !file->append_uncertain;
}

bool rfile_follows_appends(const struct rfile *file)
{
	return TAILQ_EMPTY(&file->appends) && !file->append_uncertain &&
	       (!file->appends_out || (file->appender == file->primary &&
					  rfile_handle_usable(file->primary, RFILE_FSTAT)));
}

void rfile_append_submit(struct rfile_op *op)
{
	TAILQ_INSERT_TAIL(&op->file->appends, op, link);
	rfile_append_pump(op->file);
}

static bool is_over(const struct rfile_op *op, uint64_t now, bool lasting)
{
	return now >= op->deadline || (op->lasting && lasting);
}

static bool any_expired(const struct rfile_ops *ops, uint64_t now)
{
	const struct rfile_op *op;

	TAILQ_FOREACH (op, ops, link)
		if (op->lasting && !op->handle && now >= op->deadline)
			return true;
	return false;
}

void rfile_append_fail_waiting(struct rfile *file, int err, bool only_expired)
{
	uint64_t now = rfile_now_ms();
	/* All lasting ones at once, so that they are given again in their order. */
	bool lasting = any_expired(&file->appends_sent, now) || any_expired(&file->appends, now);
	bool left = false;
	struct rfile_op *op, *next;

	for (op = TAILQ_FIRST(&file->appends_sent); op; op = next) {
		next = TAILQ_NEXT(op, link);
		if (op->handle || (only_expired && !is_over(op, now, lasting)))
			left = true;
		else
			lose_sent(file, op, err);
	}
	for (op = TAILQ_FIRST(&file->appends); op; op = next) {
		next = TAILQ_NEXT(op, link);
		if (only_expired && !is_over(op, now, lasting))
			continue;
		TAILQ_REMOVE(&file->appends, op, link);
		if (op->got)
			lose(file, op, op->got, err);
		else
			rfile_op_fail(op, err);
	}
	if (err != -ETIMEDOUT && err != -ENOTCONN)
		file->append_lost = 0;
	if (file->append_uncertain)
		file->append_uncertain = left || file->append_lost;
}

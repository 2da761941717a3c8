#include "transport/rfile_internal.h"

#include "conf/log.h"
#include <errno.h>

static void warn_no_fsync(void)
{
	static bool warned;

	if (!warned)
		log_warning(
		    "the server has no fsync@openssh.com: what is written is on the instance, "
		    "but may not be on its disk yet when fsync returns");
	warned = true;
}

static void fsync_replied(void *arg, const struct sftp_reply *reply)
{
	struct rfile_op *op = arg;

	if (rfile_op_release(op, reply)) {
		if (op->behind)
			rfile_op_finish(op, -EAGAIN);
		else
			rfile_op_again(op);
	} else if (reply->status == SSH_FX_OP_UNSUPPORTED) {
		warn_no_fsync();
		rfile_op_finish(op, 0);
	} else if (reply->err) {
		rfile_op_error(op, reply->err);
	} else {
		rfile_op_finish(op, 0);
	}
}

/* --- behind the writes under way --- */

static void behind_part_done(void *arg, int err)
{
	struct rfile_op *op = arg;

	if (err && (!op->err || op->err == -EAGAIN))
		op->err = err;
	if (!--op->replies)
		rfile_op_finish(op, op->err);
}

static void behind_part(struct rfile_op *op, struct rfile_handle *handle)
{
	struct rfile_op *part = rfile_op_new(op->file, RFILE_FSYNC, op);
	struct packet *message = part ? sftp_msg_fsync(&handle->name) : NULL;

	if (!message) {
		if (part)
			rfile_op_free(part);
		op->err = -EAGAIN;
		return;
	}
	part->done.plain = behind_part_done;
	part->behind = true;
	op->replies++;
	rfile_send_plain(part, handle, message, fsync_replied);
}

static unsigned primary_writes(const struct rfile *file)
{
	return rfile_handle_usable(file->primary, RFILE_FSYNC) ? file->primary->writes : 0;
}

/* Of what changes the file, how much is a write that is sent. */
static unsigned writes_sent(const struct rfile *file)
{
	unsigned n = primary_writes(file);

	for (unsigned i = 0; i < file->n_stripes; i++)
		if (rfile_handle_usable(file->stripes[i], RFILE_FSYNC))
			n += file->stripes[i]->writes;
	return n;
}

static unsigned writes_waiting(const struct rfile *file)
{
	const struct rfile_op *op;
	unsigned n = 0;

	TAILQ_FOREACH (op, &file->waiting[1], link)
		n += op->kind == RFILE_WRITE;
	return n;
}

/* Through each handle that writes went through, as each channel is served in turn. */
static void behind_send(struct rfile_op *op, struct rfile_handle *handle)
{
	struct rfile *file = op->file;

	/* One came back, its link lost, or another one came meanwhile. And a slow fsync of a large
	 * file is not for the channel of the small operations. */
	if (writes_sent(file) != file->changing || (file->n_stripes && primary_writes(file))) {
		rfile_op_fail(op, -EAGAIN);
		return;
	}
	if (!file->changing)
		behind_part(op, handle);
	else if (primary_writes(file))
		behind_part(op, file->primary);
	for (unsigned i = 0; i < file->n_stripes; i++)
		if (file->stripes[i]->writes)
			behind_part(op, file->stripes[i]);
	if (!op->replies)
		rfile_op_fail(op, -EAGAIN);
}

bool rfile_fsync_behind(struct rfile *file, remote_done *done, void *arg)
{
	struct rfile_op *op;

	if (!file->changing || !pool_features(file->pool)->fsync ||
	    writes_sent(file) + writes_waiting(file) != file->changing)
		return false;
	op = rfile_op_new(file, RFILE_FSYNC, arg);
	if (!op)
		return false;
	op->done.plain = done;
	op->behind = op->bulk = true;
	rfile_op_submit(op);
	return true;
}

/* --- alone --- */

void rfile_fsync_send(struct rfile_op *op, struct rfile_handle *handle)
{
	if (op->behind)
		behind_send(op, handle);
	else
		rfile_send_plain(op, handle, sftp_msg_fsync(&handle->name), fsync_replied);
}

void rfile_fsync(struct rfile *file, remote_done *done, void *arg)
{
	struct rfile_op *op = rfile_op_new(file, RFILE_FSYNC, arg);
	if (!op) {
		done(arg, -ENOMEM);
		return;
	}
	op->done.plain = done;
	if (pool_features(file->pool)->fsync) {
		rfile_op_submit(op);
		return;
	}
	warn_no_fsync();
	rfile_op_fail(op, 0);
}

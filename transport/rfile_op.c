#include "transport/rfile_internal.h"

#include "transport/remote_errno.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FREE_OPS_MAX 32

struct rfile_op *rfile_op_new(struct rfile *file, enum rfile_kind kind, void *arg)
{
	struct rfile_op *op = TAILQ_FIRST(&file->free_ops);
	if (op) {
		TAILQ_REMOVE(&file->free_ops, op, link);
		file->n_free_ops--;
	} else {
		op = malloc(sizeof(*op));
		if (!op)
			return NULL;
	}
	memset(op, 0, sizeof(*op));
	op->file = file;
	op->kind = kind;
	op->arg = arg;
	op->deadline = rfile_now_ms() + pool_timeout_ms(file->pool);
	rfile_hold(file);
	return op;
}

void rfile_op_free(struct rfile_op *op)
{
	struct rfile *file = op->file;

	free(op->buf);
	packet_free(op->data);
	file->changing -= op->changes;
	if (file->n_free_ops < FREE_OPS_MAX) {
		TAILQ_INSERT_HEAD(&file->free_ops, op, link);
		file->n_free_ops++;
	} else {
		free(op);
	}
	rfile_drop(file);
}

void rfile_op_finish(struct rfile_op *op, int err)
{
	switch (op->kind) {
	case RFILE_READ:
		op->done.read(op->arg, err, err ? NULL : op->buf, err ? 0 : op->got);
		break;
	case RFILE_FSTAT:
		op->done.attr(op->arg, err, &op->attr);
		break;
	default:
		op->done.plain(op->arg, err);
		break;
	}
	rfile_op_free(op);
}

static void finish_failed(void *arg, int err)
{
	struct rfile *file = arg;
	struct rfile_ops ops = TAILQ_HEAD_INITIALIZER(ops);
	struct rfile_op *op;

	TAILQ_CONCAT(&ops, &file->finished, link);
	file->finishing = false;
	while ((op = TAILQ_FIRST(&ops))) {
		TAILQ_REMOVE(&ops, op, link);
		rfile_op_finish(op, op->err);
	}
	rfile_drop(file);
}

void rfile_op_fail(struct rfile_op *op, int err)
{
	struct rfile *file = op->file;

	op->err = err;
	TAILQ_INSERT_TAIL(&file->finished, op, link);
	if (file->finishing)
		return;
	file->finishing = true;
	rfile_hold(file);
	pool_wait(file->pool, LANE_FILES, 0, finish_failed, file);
}

static void true_errno_found(void *arg, int err)
{
	rfile_op_finish(arg, err);
}

void rfile_op_error(struct rfile_op *op, int err)
{
	if (err == -ENOENT)
		err = -ESTALE; /* what EBADF looks like: the server does not know the handle */
	if (op->kind == RFILE_WRITE)
		err = remote_errno_of_size(err, op->offset + op->len);
	else if (op->kind == RFILE_FSETSTAT && (op->attr.flags & SSH_FILEXFER_ATTR_SIZE))
		err = remote_errno_of_size(err, op->attr.size);
	if (op->kind == RFILE_FSETSTAT && err == -EACCES)
		err = -EPERM; /* only open(2) and path look-ups say EACCES */
	if (op->kind != RFILE_READ && op->kind != RFILE_FSTAT &&
	    remote_errno_is_vague(ASKED_WRITE, err))
		rfile_true_errno(op->file, err, true_errno_found, op);
	else
		rfile_op_finish(op, err);
}

void rfile_op_changes(struct rfile_op *op)
{
	op->changes = true;
	op->file->changing++;
}

/* --- on the wire --- */

void rfile_op_bind(struct rfile_op *op, struct rfile_handle *handle, uint32_t cost)
{
	op->handle = rfile_handle_get(handle);
	op->cost = cost;
	handle->in_flight += cost;
	handle->writes += op->kind == RFILE_WRITE;
	if (op->bulk)
		op->file->bulk_in_flight += cost;
}

bool rfile_op_release(struct rfile_op *op, const struct sftp_reply *reply)
{
	struct rfile_handle *handle = op->handle;
	/* What came through a handle that turned out to be another file's, or is not checked yet,
	 * is void. */
	bool again = handle->state != RFILE_HANDLE_READY;

	handle->in_flight -= op->cost;
	handle->writes -= op->kind == RFILE_WRITE;
	if (op->kind == RFILE_WRITE && !reply->err)
		rfile_window_written(handle, op->cost);
	if (op->bulk)
		op->file->bulk_in_flight -= op->cost;
	op->handle = NULL;
	op->cost = 0;
	if (reply->err == -ENOTCONN) {
		if (op->kind == RFILE_WRITE)
			rfile_changes(op->file, true);
		rfile_handle_lost(handle);
		again = true;
	} else if (reply->err == -ETIMEDOUT) {
		again = false;
	}
	rfile_handle_put(handle);
	return again;
}

/* --- waiting --- */

static void unqueue(struct rfile_op *op)
{
	struct rfile *file = op->file;

	TAILQ_REMOVE(&file->waiting[op->bulk], op, link);
	op->queued = false;
	if (op->bulk)
		file->bulk_waiting -= op->len;
}

/* False when it goes on waiting. */
static bool try_send(struct rfile_op *op)
{
	struct rfile *file = op->file;
	enum rfile_kind kind = op->kind;
	bool bulk = op->bulk;
	struct rfile_handle *handle = rfile_choose(file, op);

	if (!op->queued)
		return true; /* the choice found that it can never be sent */
	if (!handle)
		return false;
	unqueue(op);
	rfile_op_send(op, handle);
	/* A stripe helped out; behind its bulk is no place for small operations to stay. */
	if (!bulk && handle->lane == LANE_BULK && kind != RFILE_FSYNC)
		rfile_want_primary(file);
	return true;
}

void rfile_op_submit(struct rfile_op *op)
{
	struct rfile *file = op->file;
	bool first = TAILQ_EMPTY(&file->waiting[op->bulk]);

	TAILQ_INSERT_TAIL(&file->waiting[op->bulk], op, link);
	op->queued = true;
	if (op->bulk)
		file->bulk_waiting += op->len;
	if (first || !op->bulk)
		try_send(op);
	else
		rfile_pump(file);
}

void rfile_op_again(struct rfile_op *op)
{
	if (rfile_now_ms() >= op->deadline)
		rfile_op_finish(op, -ETIMEDOUT);
	else
		rfile_op_submit(op);
}

void rfile_pump(struct rfile *file)
{
	struct rfile_op *op;

	for (int bulk = 0; bulk < 2; bulk++) {
		while ((op = TAILQ_FIRST(&file->waiting[bulk])) && try_send(op))
			;
	}
	rfile_append_pump(file);
}

void rfile_fail_waiting(struct rfile *file, int err, bool only_expired)
{
	uint64_t now = rfile_now_ms();
	struct rfile_op *op, *next;

	for (int bulk = 0; bulk < 2; bulk++) {
		for (op = TAILQ_FIRST(&file->waiting[bulk]); op; op = next) {
			next = TAILQ_NEXT(op, link);
			if (only_expired && now < op->deadline)
				continue;
			if (!only_expired && bulk && file->n_stripes)
				continue; /* the stripes serve those, or fail themselves */
			unqueue(op);
			rfile_op_fail(op, err);
		}
	}
	rfile_append_fail_waiting(file, err, only_expired);
}

unsigned rfile_patience(const struct rfile *file)
{
	uint64_t now = rfile_now_ms(), first = now + pool_timeout_ms(file->pool);
	const struct rfile_op *op;

	for (int bulk = 0; bulk < 2; bulk++) {
		TAILQ_FOREACH (op, &file->waiting[bulk], link) {
			if (op->deadline < first)
				first = op->deadline;
		}
	}
	op = TAILQ_FIRST(&file->appends_sent);
	if (!op)
		op = TAILQ_FIRST(&file->appends);
	if (op && op->deadline < first)
		first = op->deadline;
	return first > now ? (unsigned)(first - now) : 0;
}

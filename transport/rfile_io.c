#include "transport/rfile_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* A server that says "end of file" and, by FSTAT, that there is more, gets that many chances. */
#define EARLY_END_TRIES 3

static void op_no_memory(struct rfile_op *op)
{
	rfile_op_fail(op, -ENOMEM);
}

/* --- reading --- */

static void read_replied(void *arg, const struct sftp_reply *reply);
static void read_end_confirmed(void *arg, const struct sftp_reply *reply);

static void read_send(struct rfile_op *op, struct rfile_handle *handle)
{
	struct packet *message;

	if (op->confirming)
		message = sftp_msg_handle(SSH_FXP_FSTAT, &handle->name);
	else
		message = sftp_msg_read(&handle->name, op->offset + op->got, op->len - op->got);
	if (!message) {
		op_no_memory(op);
		return;
	}
	uint32_t cost = op->confirming ? 0 : op->len - op->got;
	rfile_op_bind(op, handle, cost);
	sftp_send(rfile_handle_sftp(handle), message, cost,
	    op->confirming ? read_end_confirmed : read_replied, op);
}

static uint64_t known_size(const struct rfile *file)
{
	if (!file->version_known && !file->changed)
		return 0;
	return file->changed && file->end > file->size ? file->end : file->size;
}

static void read_rest(struct rfile_op *op, struct rfile_handle *handle)
{
	if (rfile_handle_usable(handle, RFILE_READ))
		read_send(op, handle);
	else
		rfile_op_again(op);
	rfile_handle_put(handle);
}

/* R4: the file ends here only when the size says so. Takes the reference on the handle. */
static void read_ended(struct rfile_op *op, struct rfile_handle *handle)
{
	if (!op->file->changed && op->offset + op->got >= known_size(op->file)) {
		rfile_handle_put(handle);
		rfile_op_finish(op, 0);
		return;
	}
	op->confirming = true;
	read_rest(op, handle);
}

/* Behind an end that is none. ProFTPD knows of the file through a handle what it was when the
 * handle was opened: another one sees what was written since. Takes the reference on the handle. */
static void read_on(struct rfile_op *op, struct rfile_handle *handle)
{
	char path[PATH_MAX];

	if (op->tries == EARLY_END_TRIES - 1 && !rfile_path(op->file, path, sizeof(path)))
		rfile_handle_close(handle);
	read_rest(op, handle);
}

static void read_end_confirmed(void *arg, const struct sftp_reply *reply)
{
	struct rfile_op *op = arg;
	struct rfile_handle *handle = rfile_handle_get(op->handle);

	if (rfile_op_release(op, reply)) {
		rfile_handle_put(handle);
		rfile_op_again(op);
		return;
	}
	op->confirming = false;
	bool sized = reply->type == SSH_FXP_ATTRS && (reply->attr.flags & SSH_FILEXFER_ATTR_SIZE);
	if (!reply->err && sized && reply->attr.size > op->offset + op->got &&
	    ++op->tries < EARLY_END_TRIES) {
		read_on(op, handle);
		return;
	}
	rfile_handle_put(handle);
	if (reply->err)
		rfile_op_error(op, reply->err);
	else
		rfile_op_finish(op, sized && reply->attr.size <= op->offset + op->got ? 0 : -EIO);
}

/* A part of what was asked for. Takes the reference on the handle. */
static void read_part(struct rfile_op *op, struct rfile_handle *handle, struct sftp_string data)
{
	if (!op->buf)
		op->buf = malloc(op->len);
	if (!op->buf) {
		rfile_handle_put(handle);
		rfile_op_finish(op, -ENOMEM);
		return;
	}
	memcpy(op->buf + op->got, data.data, data.len);
	op->got += data.len;
	/* The end by the version needs no asking; one that moves does. */
	if (op->got == op->len ||
	    (!op->file->changed && op->offset + op->got == known_size(op->file))) {
		rfile_handle_put(handle);
		rfile_op_finish(op, 0);
		return;
	}
	read_rest(op, handle);
}

static void read_replied(void *arg, const struct sftp_reply *reply)
{
	struct rfile_op *op = arg;
	struct rfile *file = op->file;
	struct rfile_handle *handle = rfile_handle_get(op->handle);

	rfile_hold(file);
	if (rfile_op_release(op, reply)) {
		rfile_handle_put(handle);
		rfile_op_again(op);
	} else if (reply->status == SSH_FX_EOF) {
		read_ended(op, handle);
	} else if (reply->err || reply->type != SSH_FXP_DATA ||
		   reply->data.len > op->len - op->got) {
		rfile_handle_put(handle);
		rfile_op_error(op, reply->err ? reply->err : -EPROTO);
	} else if (!op->got && reply->data.len == op->len) {
		rfile_handle_put(handle);
		op->done.read(op->arg, 0, reply->data.data, reply->data.len);
		rfile_op_free(op);
	} else {
		read_part(op, handle, reply->data);
	}
	rfile_pump(file);
	rfile_drop(file);
}

void rfile_read(struct rfile *file, uint64_t offset, uint32_t len, enum rfile_lane lane,
    rfile_read_done *done, void *arg)
{
	struct rfile_op *op = rfile_op_new(file, RFILE_READ, arg);
	if (!op) {
		done(arg, -ENOMEM, NULL, 0);
		return;
	}
	op->done.read = done;
	op->offset = offset;
	op->len = len;
	op->bulk = lane == RFILE_BULK;
	if (op->bulk)
		file->streamed += len;
	if (!rfile_readable(file))
		rfile_op_fail(op, -EBADF);
	else if (!len)
		rfile_op_fail(op, 0);
	else
		rfile_op_submit(op);
}

/* --- writing --- */

static void write_replied(void *arg, const struct sftp_reply *reply)
{
	struct rfile_op *op = arg;
	struct rfile *file = op->file;

	rfile_hold(file);
	if (rfile_op_release(op, reply)) {
		rfile_op_again(op);
	} else if (reply->err) {
		rfile_op_error(op, reply->err);
	} else {
		if (file->changed && op->offset + op->len > file->end)
			file->end = op->offset + op->len;
		rfile_op_finish(op, 0);
	}
	rfile_pump(file);
	rfile_drop(file);
}

int rfile_send_write(struct rfile_op *op, struct rfile_handle *handle, sftp_done *done)
{
	uint32_t len = op->len - op->got;
	struct packet *message =
	    sftp_msg_write(op->data, op->got, len, &handle->name, op->offset + op->got);

	if (!message)
		return -ENOMEM;
	rfile_changes(op->file, false);
	rfile_op_bind(op, handle, len);
	sftp_send(rfile_handle_sftp(handle), message, len, done, op);
	return 0;
}

struct packet *rfile_data_new(uint32_t size, uint8_t **data)
{
	return sftp_msg_write_data(size, data);
}

/* NULL: memory is out, and done was called. */
static struct rfile_op *new_write(struct rfile *file, struct packet *data, uint32_t len,
    enum rfile_lane lane, remote_done *done, void *arg)
{
	struct rfile_op *op = rfile_op_new(file, RFILE_WRITE, arg);

	if (!op) {
		packet_free(data);
		done(arg, -ENOMEM);
		return NULL;
	}
	op->done.plain = done;
	op->data = data;
	op->len = len;
	op->bulk = lane == RFILE_BULK;
	if (op->bulk)
		file->streamed += len;
	rfile_op_changes(op);
	return op;
}

static void submit_write(struct rfile_op *op)
{
	struct rfile *file = op->file;
	uint32_t len = op->len;

	if (!rfile_writable(file) || !len || len > pool_features(file->pool)->max_write)
		rfile_op_fail(op, !rfile_writable(file) ? -EBADF : len ? -EINVAL : 0);
	else if (!op->data)
		op_no_memory(op);
	else if (rfile_append(file))
		rfile_append_submit(op);
	else
		rfile_op_submit(op);
}

void rfile_write_data(struct rfile *file, uint64_t offset, struct packet *data, uint32_t len,
    enum rfile_lane lane, remote_done *done, void *arg)
{
	struct rfile_op *op = new_write(file, data, len, lane, done, arg);

	if (!op)
		return;
	op->offset = offset;
	submit_write(op);
}

void rfile_append_lasting(struct rfile *file, struct packet *data, uint32_t len,
    enum rfile_lane lane, bool again, remote_done *done, void *arg)
{
	struct rfile_op *op = new_write(file, data, len, lane, done, arg);

	if (!op)
		return;
	op->lasting = true;
	op->again = again;
	submit_write(op);
}

void rfile_write(struct rfile *file, uint64_t offset, const void *data, uint32_t len,
    enum rfile_lane lane, remote_done *done, void *arg)
{
	uint8_t *to;
	struct packet *copy = rfile_data_new(len, &to);

	if (copy)
		memcpy(to, data, len);
	rfile_write_data(file, offset, copy, len, lane, done, arg);
}

/* --- the others --- */

static void fstat_replied(void *arg, const struct sftp_reply *reply)
{
	struct rfile_op *op = arg;

	if (rfile_op_release(op, reply)) {
		rfile_op_again(op);
	} else if (reply->err || reply->type != SSH_FXP_ATTRS) {
		rfile_op_error(op, reply->err ? reply->err : -EPROTO);
	} else {
		op->attr = reply->attr;
		rfile_op_finish(op, 0);
	}
}

void rfile_send_plain(
    struct rfile_op *op, struct rfile_handle *handle, struct packet *message, sftp_done *done)
{
	if (!message) {
		op_no_memory(op);
		return;
	}
	rfile_op_bind(op, handle, 0);
	sftp_send(rfile_handle_sftp(handle), message, 0, done, op);
}

void rfile_fstat(struct rfile *file, remote_attr_done *done, void *arg)
{
	struct rfile_op *op = rfile_op_new(file, RFILE_FSTAT, arg);
	if (!op) {
		struct sftp_attr none = {0};
		done(arg, -ENOMEM, &none);
		return;
	}
	op->done.attr = done;
	rfile_op_submit(op);
}

/* --- fsetstat --- */

static void fsetstat_done(struct rfile_op *op)
{
	struct rfile *file = op->file;
	const struct sftp_attr *attr = &op->attr;

	rfile_set_identity(file, attr);
	if (attr->flags & SSH_FILEXFER_ATTR_SIZE) {
		rfile_changes(file, false);
		file->size = file->end = attr->size;
	}
	if (attr->flags & SSH_FILEXFER_ATTR_ACMODTIME)
		file->mtime = attr->mtime;
	rfile_op_finish(op, 0);
}

static void fsetstat_replied(void *arg, const struct sftp_reply *reply)
{
	struct rfile_op *op = arg;
	struct rfile_handle *handle = op->handle;

	if (reply->err == -ENOTCONN)
		op->lost = true;
	else if (reply->err && !op->err)
		op->err = reply->err;
	if (--op->replies)
		return;
	op->handle = NULL;
	if (op->lost)
		rfile_handle_lost(handle);
	rfile_handle_put(handle);
	if (op->err)
		rfile_op_error(op, op->err);
	else if (op->lost)
		rfile_op_again(op);
	else
		fsetstat_done(op);
}

/*
 * A request for each kind of attribute, in this order: chown clears the set-id bits that chmod
 * sets, truncation sets the times.
 */
static void fsetstat_send(struct rfile_op *op, struct rfile_handle *handle)
{
	static const uint32_t order[] = {SSH_FILEXFER_ATTR_UIDGID, SSH_FILEXFER_ATTR_PERMISSIONS,
	    SSH_FILEXFER_ATTR_SIZE, SSH_FILEXFER_ATTR_ACMODTIME};
	struct packet *messages[4];
	unsigned n = 0;

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (!(op->attr.flags & order[i]))
			continue;
		struct sftp_attr one = op->attr;
		one.flags = order[i];
		messages[n] = sftp_msg_fsetstat(&handle->name, &one);
		if (!messages[n]) {
			while (n)
				packet_free(messages[--n]);
			op_no_memory(op);
			return;
		}
		n++;
	}
	op->lost = false;
	op->err = 0;
	op->replies = n;
	op->handle = rfile_handle_get(handle);
	for (unsigned i = 0; i < n; i++)
		sftp_send(rfile_handle_sftp(handle), messages[i], 0, fsetstat_replied, op);
}

void rfile_fsetstat(struct rfile *file, const struct sftp_attr *attr, remote_done *done, void *arg)
{
	struct rfile_op *op = rfile_op_new(file, RFILE_FSETSTAT, arg);
	if (!op) {
		done(arg, -ENOMEM);
		return;
	}
	op->done.plain = done;
	op->attr = *attr;
	if (!(attr->flags & (SSH_FILEXFER_ATTR_UIDGID | SSH_FILEXFER_ATTR_PERMISSIONS |
				SSH_FILEXFER_ATTR_SIZE | SSH_FILEXFER_ATTR_ACMODTIME))) {
		rfile_op_fail(op, 0);
		return;
	}
	rfile_expect(file, attr);
	/* A truncated file is not the version that was known. */
	if (attr->flags & SSH_FILEXFER_ATTR_SIZE)
		rfile_op_changes(op);
	rfile_op_submit(op);
}

void rfile_op_send(struct rfile_op *op, struct rfile_handle *handle)
{
	switch (op->kind) {
	case RFILE_READ:
		read_send(op, handle);
		break;
	case RFILE_WRITE:
		if (rfile_send_write(op, handle, write_replied))
			op_no_memory(op);
		break;
	case RFILE_FSYNC:
		rfile_fsync_send(op, handle);
		break;
	case RFILE_FSTAT:
		rfile_send_plain(
		    op, handle, sftp_msg_handle(SSH_FXP_FSTAT, &handle->name), fstat_replied);
		break;
	case RFILE_FSETSTAT:
		fsetstat_send(op, handle);
		break;
	}
}

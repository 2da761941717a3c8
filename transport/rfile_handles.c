#include "transport/rfile_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void close_replied(void *arg, const struct sftp_reply *reply)
{
}

void rfile_close_remote(struct pool_channel *channel, const struct sftp_handle *name)
{
	if (!pool_channel_alive(channel))
		return; /* the server closed it itself */
	struct packet *message = sftp_msg_handle(SSH_FXP_CLOSE, name);
	if (message)
		sftp_send(pool_channel_sftp(channel), message, 0, close_replied, NULL);
}

/* --- slots --- */

static bool slot_put(struct rfile *file, struct rfile_handle *handle)
{
	switch (handle->lane) {
	case LANE_BULK:
		if (file->n_stripes == RFILE_STRIPES_MAX)
			return false;
		file->stripes[file->n_stripes++] = handle;
		return true;
	case LANE_COPY:
		if (file->copy)
			return false;
		file->copy = handle;
		return true;
	default:
		if (file->primary)
			return false;
		file->primary = handle;
		return true;
	}
}

/* Takes the handle out of its slot; false when it is in none. */
static bool slot_clear(struct rfile_handle *handle)
{
	struct rfile *file = handle->file;

	if (file->primary == handle) {
		file->primary = NULL;
		return true;
	}
	if (file->copy == handle) {
		file->copy = NULL;
		return true;
	}
	for (unsigned i = 0; i < file->n_stripes; i++) {
		if (file->stripes[i] != handle)
			continue;
		file->stripes[i] = file->stripes[--file->n_stripes];
		return true;
	}
	return false;
}

struct rfile_handle *rfile_handle_new(
    struct rfile *file, enum lane lane, struct pool_channel *channel)
{
	struct rfile_handle *handle = calloc(1, sizeof(*handle));
	if (!handle)
		return NULL;
	handle->file = file;
	handle->lane = lane;
	handle->refs = 1;
	handle->window = handle->opening = RFILE_STRIPE_FIRST;
	TAILQ_INIT(&handle->copies);
	if (!slot_put(file, handle)) {
		free(handle);
		return NULL;
	}
	handle->channel = pool_channel_get(channel);
	return handle;
}

struct rfile_handle *rfile_handle_get(struct rfile_handle *handle)
{
	handle->refs++;
	return handle;
}

void rfile_handle_put(struct rfile_handle *handle)
{
	if (--handle->refs)
		return;
	pool_channel_put(handle->channel);
	free(handle);
}

void rfile_handle_lost(struct rfile_handle *handle)
{
	handle->state = RFILE_HANDLE_GONE;
	if (slot_clear(handle))
		rfile_handle_put(handle);
}

void rfile_handle_close(struct rfile_handle *handle)
{
	if (handle->state == RFILE_HANDLE_CHECKING || handle->state == RFILE_HANDLE_READY)
		rfile_close_remote(handle->channel, &handle->name);
	rfile_handle_lost(handle);
}

bool rfile_handle_usable(const struct rfile_handle *handle, enum rfile_kind kind)
{
	if (!handle || !pool_channel_alive(handle->channel))
		return false;
	/* Not the primary: when that turns out to be another file, what waits for it has to fail.
	 */
	return handle->state == RFILE_HANDLE_READY ||
	       (handle->state == RFILE_HANDLE_CHECKING && handle->lane == LANE_BULK &&
		   kind == RFILE_READ);
}

struct sftp *rfile_handle_sftp(struct rfile_handle *handle)
{
	return pool_channel_sftp(handle->channel);
}

/* --- opening --- */

/* From the loop: it did not open, or is another file. */
static void handle_failed(struct rfile_handle *handle, int err)
{
	struct rfile *file = handle->file;
	enum lane lane = handle->lane;

	rfile_handle_close(handle);
	if (err == -ENOENT)
		err = -ESTALE;
	if (lane == LANE_BULK && err != -ENOTCONN) {
		file->stripe_pause = rfile_now_ms() + RFILE_STRIPE_PAUSE_MS;
		if (err == -EACCES || err == -EPERM)
			file->stripes_refused = true;
	} else if (lane == LANE_FILES) {
		bool again = err == -ENOTCONN;
		rfile_fail_waiting(file, again ? -ETIMEDOUT : err, again);
	}
	rfile_copies_wake(&handle->copies, err);
	rfile_pump(file);
}

static void handle_checked(void *arg, const struct sftp_reply *reply)
{
	struct rfile_handle *handle = arg;
	struct rfile *file = handle->file;

	if (handle->state == RFILE_HANDLE_GONE || reply->err) {
		handle_failed(handle, reply->err ? reply->err : -ENOTCONN);
	} else if (reply->type != SSH_FXP_ATTRS) {
		handle_failed(handle, -EPROTO);
	} else if (file->doubted && rfile_stands(file)) {
		/* The version may be that of this handle's file alone: it is asked for again. */
		handle_failed(handle, handle->lane == LANE_BULK ? -ESTALE : -ENOTCONN);
	} else if (!rfile_same(file, &reply->attr)) {
		handle_failed(handle, -ESTALE);
	} else {
		handle->state = RFILE_HANDLE_READY;
		file->was_held = true;
		rfile_copies_wake(&handle->copies, 0);
		rfile_pump(file);
	}
	rfile_handle_put(handle);
	rfile_drop(file);
}

/* Passes a reference and a hold on to the check. */
static int send_check(struct rfile_handle *handle, const struct sftp_handle *name, sftp_done *done)
{
	struct packet *message = sftp_msg_handle(SSH_FXP_FSTAT, name);

	if (!message)
		return -ENOMEM;
	rfile_hold(handle->file);
	sftp_send(rfile_handle_sftp(handle), message, 0, done, rfile_handle_get(handle));
	return 0;
}

/* Its OPEN's answer tells whether it is of use (sftp_foresee.h). A server that does not do what it
 * is asked in turn may not have known the handle yet: it is asked again. */
static void handle_checked_early(void *arg, const struct sftp_reply *reply)
{
	struct rfile_handle *handle = arg;
	struct rfile *file = handle->file;
	bool again = reply->err && reply->err != -ENOTCONN &&
		     handle->state == RFILE_HANDLE_CHECKING && pool_channel_alive(handle->channel);

	handle->foreseen.len = 0;
	if (handle->foreseen_right &&
	    (!again || send_check(handle, &handle->name, handle_checked))) {
		handle_checked(handle, reply);
		return;
	}
	rfile_handle_put(handle);
	rfile_drop(file);
}

/* From the loop. */
static int handle_check(struct rfile_handle *handle, const struct sftp_reply *reply)
{
	if (reply->err)
		return reply->err;
	if (reply->type != SSH_FXP_HANDLE)
		return -EPROTO;
	handle->name.len = reply->handle.len;
	memcpy(handle->name.data, reply->handle.data, reply->handle.len);
	if (handle->state == RFILE_HANDLE_GONE) {
		rfile_close_remote(handle->channel, &handle->name);
		return -ENOTCONN;
	}
	handle->state = RFILE_HANDLE_CHECKING;
	if (!pool_channel_alive(handle->channel))
		return -ENOTCONN;
	handle->foreseen_right = sftp_handle_same(&handle->foreseen, &handle->name);
	return handle->foreseen_right ? 0 : send_check(handle, &handle->name, handle_checked);
}

static void handle_opened(void *arg, const struct sftp_reply *reply)
{
	struct rfile_handle *handle = arg;
	struct rfile *file = handle->file;
	int err = handle_check(handle, reply);

	if (err)
		handle_failed(handle, err);
	else
		rfile_pump(file); /* reads may go behind the check */
	rfile_handle_put(handle);
	rfile_drop(file);
}

static int handle_open(
    struct rfile *file, enum lane lane, struct pool_channel *channel, const char *path)
{
	/* Never CREAT, TRUNC or EXCL: the file is there, or it is not the same one. */
	uint32_t flags = file->flags & (SSH_FXF_READ | SSH_FXF_WRITE | SSH_FXF_APPEND);
	if (lane == LANE_COPY)
		flags &= ~(uint32_t)SSH_FXF_APPEND; /* copy-data has offsets of its own */
	struct sftp_attr none = {0};
	struct packet *message = sftp_msg_open(path, flags, &none);
	struct rfile_handle *handle = message ? rfile_handle_new(file, lane, channel) : NULL;
	if (!handle) {
		packet_free(message);
		return -ENOMEM;
	}
	if (!sftp_foresee(rfile_handle_sftp(handle), &handle->foreseen))
		handle->foreseen.len = 0;
	rfile_hold(file);
	/* One byte in flight makes the pool name another channel for the next stripe. */
	sftp_send(rfile_handle_sftp(handle), message, lane == LANE_BULK, handle_opened,
	    rfile_handle_get(handle));
	if (handle->foreseen.len && send_check(handle, &handle->foreseen, handle_checked_early))
		handle->foreseen.len = 0;
	return 0;
}

int rfile_handle_open(struct rfile *file, enum lane lane, struct pool_channel *channel)
{
	char path[PATH_MAX];
	int err = rfile_path(file, path, sizeof(path));

	return err ? err : handle_open(file, lane, channel, path);
}

void rfile_open_through(struct rfile *file, struct pool_channel *channel, const char *path)
{
	if (file->primary && !pool_channel_alive(file->primary->channel))
		rfile_handle_lost(file->primary);
	if (!file->primary && !file->later && !file->given_up && pool_channel_alive(channel))
		handle_open(file, LANE_FILES, channel, path);
}

/* --- the primary --- */

static void lane_waited(void *arg, int err)
{
	struct rfile *file = arg;

	file->lane_wait = false;
	bool again = !err || err == -ETIMEDOUT;
	rfile_fail_waiting(file, again ? -ETIMEDOUT : err, again);
	rfile_pump(file);
	/* Stripes may have done meanwhile what it was wanted for: the next operation will want it.
	 */
	if (!err && file->users)
		rfile_want_primary(file);
	rfile_drop(file);
}

void rfile_want_primary(struct rfile *file)
{
	if (file->later)
		return;
	if (file->given_up) {
		rfile_fail_waiting(file, file->given_up, false);
		return;
	}
	if (file->primary && !pool_channel_alive(file->primary->channel))
		rfile_handle_lost(file->primary);
	if (file->primary || file->lane_wait)
		return;
	struct pool_channel *channel = pool_channel(file->pool, LANE_FILES, false);
	if (channel) {
		int err = rfile_handle_open(file, LANE_FILES, channel);
		if (err)
			rfile_fail_waiting(file, err, false);
		return;
	}
	file->lane_wait = true;
	rfile_hold(file);
	pool_wait(file->pool, LANE_FILES, rfile_patience(file), lane_waited, file);
}

/* --- stripes --- */

struct rfile_handle *rfile_best_stripe(struct rfile *file, enum rfile_kind kind)
{
	struct rfile_handle *best = NULL;
	size_t least = SIZE_MAX;

	for (unsigned i = file->n_stripes; i-- > 0;) {
		struct rfile_handle *stripe = file->stripes[i];
		if (!pool_channel_alive(stripe->channel)) {
			rfile_handle_lost(stripe);
			continue;
		}
		if (!rfile_handle_usable(stripe, kind))
			continue;
		size_t load = sftp_bytes_in_flight(rfile_handle_sftp(stripe));
		if (load < least) {
			least = load;
			best = stripe;
		}
	}
	return best;
}

static size_t stripe_full(const struct rfile *file, enum rfile_kind kind)
{
	if (kind == RFILE_WRITE)
		return RFILE_STRIPE_WRITE;
	return pool_near(file->pool) ? RFILE_STRIPE_READ_NEAR : RFILE_STRIPE_READ;
}

/*
 * As many stripes as what is in flight and waiting fills, and one more when even the least loaded
 * of them is full with other files' bytes.
 */
void rfile_want_stripe(struct rfile *file, const struct rfile_handle *best, enum rfile_kind kind)
{
	size_t full = stripe_full(file, kind);
	size_t wanted = 1 + (file->bulk_in_flight + file->bulk_waiting) / full;

	if (best && sftp_bytes_in_flight(pool_channel_sftp(best->channel)) >= full)
		wanted = file->n_stripes + 1u;
	if (file->n_stripes >= wanted || file->n_stripes == RFILE_STRIPES_MAX ||
	    file->stripes_refused || file->users == 0 || file->later || file->given_up)
		return;
	if (file->stripe_pause && rfile_now_ms() < file->stripe_pause)
		return;

	struct pool_channel *channel = pool_channel(file->pool, LANE_BULK, file->n_stripes > 0);
	/* Without a bulk channel the pool names the small one. */
	if (!channel || (file->primary && file->primary->channel == channel))
		return;
	for (unsigned i = 0; i < file->n_stripes; i++) {
		if (file->stripes[i]->channel == channel)
			return;
	}
	if (rfile_handle_open(file, LANE_BULK, channel))
		file->stripe_pause = rfile_now_ms() + RFILE_STRIPE_PAUSE_MS;
}

/* --- the choice --- */

/* Whether a bulk operation may go in front of the small ones. */
static bool primary_has_room(struct rfile_handle *primary, const struct rfile_op *op)
{
	struct rfile *file = primary->file;
	struct sftp *sftp = rfile_handle_sftp(primary);
	size_t cap = RFILE_PRIMARY_CAP;

	/* A file that may not be opened again (created read-only, say) has only this way. So has
	 * any, as long as there is no bulk channel: then it may take what the link takes. */
	if (file->stripes_refused ||
	    (!file->n_stripes && !sftp_rtt(sftp)->crowded &&
		pool_channel(file->pool, LANE_BULK, false) == primary->channel))
		cap = op->kind == RFILE_READ && !pool_near(file->pool) ? RFILE_PRIMARY_READ
								       : RFILE_STRIPE_WRITE;
	else if (op->kind == RFILE_WRITE && rfile_window_wide(sftp))
		cap *= 2;
	return primary->in_flight == 0 || sftp_bytes_in_flight(sftp) + op->len <= cap;
}

/*
 * Whether another bulk operation should be bound to the stripe already. Those that wait can still
 * go to a stripe that is opening, or that empties sooner. Only its own replies wake this file, so
 * with none to come it always may.
 */
static bool stripe_has_room(struct rfile *file, struct rfile_handle *stripe, enum rfile_kind kind)
{
	size_t full = stripe_full(file, kind);
	bool opening = false;

	for (unsigned i = 0; i < file->n_stripes; i++)
		opening = opening || file->stripes[i]->state < RFILE_HANDLE_READY;
	if (!opening)
		full *= 2;
	if (kind == RFILE_WRITE && full > stripe->window)
		full = stripe->window;
	return stripe->in_flight == 0 || sftp_bytes_in_flight(rfile_handle_sftp(stripe)) < full;
}

static struct rfile_handle *choose_small(struct rfile *file, const struct rfile_op *op)
{
	struct rfile_handle *stripe = NULL;

	/* A slow fsync holds up its channel; through any one handle it is for the whole file. */
	if (op->kind == RFILE_FSYNC)
		stripe = rfile_best_stripe(file, op->kind);
	if (stripe)
		return stripe;
	if (rfile_handle_usable(file->primary, op->kind))
		return file->primary;
	stripe = rfile_best_stripe(file, op->kind);
	if (!stripe)
		rfile_want_primary(file);
	return stripe;
}

struct rfile_handle *rfile_choose(struct rfile *file, const struct rfile_op *op)
{
	if (!op->bulk || op->kind == RFILE_FSYNC)
		return choose_small(file, op);

	struct rfile_handle *primary =
	    rfile_handle_usable(file->primary, op->kind) ? file->primary : NULL;
	bool room = primary && primary_has_room(primary, op);
	if (!file->n_stripes && room && file->streamed <= RFILE_STREAM_MIN)
		return primary;

	struct rfile_handle *best = rfile_best_stripe(file, op->kind);
	rfile_want_stripe(file, best, op->kind);
	if (best)
		return stripe_has_room(file, best, op->kind) ? best : NULL;
	if (!primary && !file->n_stripes)
		rfile_want_primary(file);
	return room ? primary : NULL;
}

#include "transport/remote_internal.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void on_timer(uv_timer_t *timer);
static void start(struct remote_op *op);

/* --- making and unmaking ------------------------------------------------ */

static void schedule(struct remote *remote)
{
	struct remote_op *first = TAILQ_FIRST(&remote->ops);
	uint64_t now = uv_now(remote->loop);

	if (!TAILQ_EMPTY(&remote->late))
		uv_timer_start(&remote->timer, on_timer, 0, 0);
	else if (first)
		uv_timer_start(
		    &remote->timer, on_timer, first->deadline > now ? first->deadline - now : 0, 0);
	else
		uv_timer_stop(&remote->timer);
}

struct remote_op *remote_op_new(
    struct remote *remote, size_t size, void (*complete)(struct remote_op *op, int err), void *arg)
{
	struct remote_op *op = calloc(1, size);

	if (!op) {
		op = TAILQ_FIRST(&remote->reserve);
		if (!op)
			return NULL;
		TAILQ_REMOVE(&remote->reserve, op, link);
		memset(op, 0, sizeof(*op));
		op->hollow = true;
	}
	op->remote = remote_get(remote);
	op->complete = complete;
	op->arg = arg;
	op->at_deadline = -ETIMEDOUT;
	op->deadline = uv_now(remote->loop) + pool_timeout_ms(remote->pool);
	if (remote->ordered) {
		op->only = pool_channel_get(remote->ordered);
		op->sent = remote->doubt;
		op->patient = true;
		op->deadline = UINT64_MAX;
	}
	return op;
}

static void op_free(struct remote_op *op)
{
	struct remote *remote = op->remote;

	if (op->fini)
		op->fini(op);
	pool_channel_put(op->channel);
	pool_channel_put(op->only);
	free(op->path);
	free(op->path2);
	if (op->hollow)
		TAILQ_INSERT_TAIL(&remote->reserve, op, link);
	else
		free(op);
	remote_put(remote);
}

int remote_ops_init(struct remote *remote)
{
	TAILQ_INIT(&remote->ops);
	TAILQ_INIT(&remote->late);
	TAILQ_INIT(&remote->reserve);
	TAILQ_INIT(&remote->expected);
	for (unsigned i = 0; i < REMOTE_RESERVE; i++) {
		struct remote_op *op = calloc(1, sizeof(*op));

		if (!op)
			return -ENOMEM;
		TAILQ_INSERT_TAIL(&remote->reserve, op, link);
	}
	return 0;
}

void remote_ops_fini(struct remote *remote)
{
	struct remote_op *op;

	while ((op = TAILQ_FIRST(&remote->reserve))) {
		TAILQ_REMOVE(&remote->reserve, op, link);
		free(op);
	}
}

void remote_hold(struct remote_op *op)
{
	op->holds++;
}

static void on_up(void *arg, int err)
{
	struct remote_op *op = arg;

	if (err)
		remote_finish(op, err);
	else if (!op->done)
		start(op);
	remote_release(op);
}

unsigned remote_left_ms(const struct remote_op *op)
{
	uint64_t now = uv_now(op->remote->loop);

	return op->deadline > now ? (unsigned)(op->deadline - now) : 1;
}

/* The last callback of a try is in: the next try, or the end. */
void remote_release(struct remote_op *op)
{
	if (--op->holds)
		return;
	if (op->done) {
		op_free(op);
	} else if (op->lost && op->only) {
		remote_finish(op, -ENOTCONN);
	} else if (op->lost) {
		op->lost = false;
		pool_channel_put(op->channel);
		op->channel = NULL;
		remote_hold(op);
		pool_wait(op->remote->pool, LANE_NAMES, remote_left_ms(op), on_up, op);
	}
}

/* --- the course --------------------------------------------------------- */

static void start(struct remote_op *op)
{
	struct pool_channel *channel = op->only;

	if (!channel)
		channel = pool_channel(op->remote->pool, LANE_NAMES, false);
	if (!channel || !pool_channel_alive(channel)) {
		op->lost = true;
		return;
	}
	op->channel = pool_channel_get(channel);
	op->go(op);
}

static int copy_path(const char *path, char **out)
{
	int err = path ? remote_check_path(path) : 0;

	if (err || !path)
		return err;
	*out = strdup(path);
	return *out ? 0 : -ENOMEM;
}

/* By deadline; nearly always the last. */
static void insert(struct remote_op *op)
{
	struct remote_op *before = TAILQ_LAST(&op->remote->ops, remote_ops);

	while (before && before->deadline > op->deadline)
		before = TAILQ_PREV(before, remote_ops, link);
	if (before)
		TAILQ_INSERT_AFTER(&op->remote->ops, before, op, link);
	else
		TAILQ_INSERT_HEAD(&op->remote->ops, op, link);
}

static bool moves_folders(const struct remote_op *op)
{
	return op->asked == ASKED_RENAME || op->asked == ASKED_RENAME_NEW ||
	       op->asked == ASKED_RMDIR;
}

/* Something may end within the call: that is told later. */
static void begin(struct remote_op *op, void (*go)(struct remote_op *op), int err)
{
	op->starting = true;
	remote_hold(op);
	if (err)
		remote_finish(op, err);
	else
		go(op);
	op->starting = false;
	if (!uv_is_active((uv_handle_t *)&op->remote->timer) || TAILQ_FIRST(&op->remote->ops) == op)
		schedule(op->remote);
	remote_release(op);
}

void remote_submit(
    struct remote_op *op, const char *path, const char *path2, void (*go)(struct remote_op *op))
{
	int err = op->hollow ? -ENOMEM : copy_path(path, &op->path);

	if (!err)
		err = copy_path(path2, &op->path2);
	op->go = go;
	insert(op);
	if (moves_folders(op))
		remote_expect_nothing(op->remote);
	begin(op, start, err);
}

void remote_go_on(struct remote_op *op, void (*go)(struct remote_op *op))
{
	begin(op, go, 0);
}

void remote_set_deadline(struct remote_op *op, unsigned ms)
{
	TAILQ_REMOVE(&op->remote->ops, op, link);
	op->deadline = uv_now(op->remote->loop) + ms;
	insert(op);
	schedule(op->remote);
}

static void on_reply(void *arg, const struct sftp_reply *reply)
{
	struct remote_slot *slot = arg;
	struct remote_op *op = slot->op;

	slot->op = NULL;
	/* An answer after the link was declared lost would mix two tries. */
	if (reply->err == -ENOTCONN)
		op->lost = true;
	else if (op->done ? op->late_too : !op->lost)
		slot->then(op, slot->tag, reply);
	remote_release(op);
}

void remote_ask(struct remote_op *op, struct packet *message, remote_then *then, unsigned tag)
{
	struct remote_slot *slot = op->slots;

	while (slot->op && slot < &op->slots[REMOTE_SLOTS - 1])
		slot++;
	if (!message || op->done || op->lost || slot->op || !op->channel ||
	    !pool_channel_alive(op->channel)) {
		packet_free(message);
		if (!message || slot->op)
			remote_finish(op, -ENOMEM);
		op->lost = true;
		return;
	}
	message->patient = op->patient;
	slot->op = op;
	slot->then = then;
	slot->tag = tag;
	remote_hold(op);
	sftp_send(pool_channel_sftp(op->channel), message, 0, on_reply, slot);
}

/* --- the end ------------------------------------------------------------ */

void remote_finish(struct remote_op *op, int err)
{
	struct remote *remote = op->remote;

	if (op->done)
		return;
	op->done = true;
	TAILQ_REMOVE(&remote->ops, op, link);
	if (moves_folders(op))
		remote_expect_nothing(remote);
	if (op->starting) {
		op->err = err;
		remote_hold(op);
		TAILQ_INSERT_TAIL(&remote->late, op, link);
		schedule(remote);
		return;
	}
	remote_hold(op);
	op->complete(op, err);
	remote_release(op);
}

/* Nothing that is there explains why it was refused: then what did may have gone before the look,
 * as a lock that somebody else had does. In a row of changes that may not overtake each other it is
 * too late for another try. */
static bool stood_in_the_way(const struct remote_op *op, int err)
{
	if (op->done || op->retried == REMOTE_RETRIES || op->only || op->at_deadline != -EIO)
		return false;
	switch (op->asked) {
	case ASKED_MKDIR:
	case ASKED_SYMLINK:
	case ASKED_LINK:
	case ASKED_UNLINK:
		return err == -EIO;
	case ASKED_RMDIR:
		return err == -EIO || err == -EBUSY;
	default:
		return false;
	}
}

static void on_mended(void *arg, int err)
{
	struct remote_op *op = arg;

	if (stood_in_the_way(op, err)) {
		op->retried++;
		op->sent = false; /* it was not done: that is known */
		remote_go_on(op, op->go);
	} else {
		remote_finish(op, err);
	}
	remote_release(op);
}

void remote_settle(struct remote_op *op, int err)
{
	if (!err || !remote_errno_is_vague(op->asked, err)) {
		remote_finish(op, err);
		return;
	}
	op->at_deadline = err;
	remote_hold(op);
	remote_true_errno(op->remote, op->asked, op->path, op->path2, err, on_mended, op);
}

static void tell_late(struct remote *remote)
{
	struct remote_ops late = TAILQ_HEAD_INITIALIZER(late);
	struct remote_op *op;

	TAILQ_CONCAT(&late, &remote->late, link);
	while ((op = TAILQ_FIRST(&late))) {
		TAILQ_REMOVE(&late, op, link);
		op->complete(op, op->err);
		remote_release(op);
	}
}

static void on_timer(uv_timer_t *timer)
{
	struct remote *remote = remote_get(timer->data);
	struct remote_op *op;

	tell_late(remote);
	while ((op = TAILQ_FIRST(&remote->ops)) && op->deadline <= uv_now(remote->loop))
		remote_finish(op, op->at_deadline);
	schedule(remote);
	remote_put(remote);
}

void remote_begin_ordered(struct remote *remote, struct pool_channel *channel, bool doubt)
{
	remote->ordered = channel;
	remote->doubt = doubt;
}

void remote_end_ordered(struct remote *remote)
{
	remote->ordered = NULL;
	remote->doubt = false;
}

void remote_complete_plain(struct remote_op *op, int err)
{
	op->user.plain(op->arg, err);
}

#include "transport/pool_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the lanes ---------------------------------------------------------- */

static bool is_ready(const struct pool_channel *channel)
{
	return channel && channel->ready;
}

static bool serves(const struct pool_channel *channel, bool doubtful)
{
	return is_ready(channel) && (doubtful || !pool_hang_doubts(channel));
}

static struct pool_channel *any_channel(struct pool *pool, bool doubtful)
{
	for (unsigned i = 0; i < pool->n_sessions; i++)
		for (unsigned j = 0; j < pool->sessions[i].n_channels; j++)
			if (serves(pool->sessions[i].channels[j], doubtful))
				return pool->sessions[i].channels[j];
	return NULL;
}

/* NAMES and FILES stand in for each other (an sshd may refuse the second channel), and while the
 * first session is being dialled again any channel serves. */
static struct pool_channel *serving_channel(struct pool *pool, enum lane lane, bool doubtful)
{
	enum lane other = lane == LANE_NAMES ? LANE_FILES : LANE_NAMES;
	struct pool_channel *channel = pool_session_find(&pool->sessions[0], lane);

	if (!serves(channel, doubtful))
		channel = pool_session_find(&pool->sessions[0], other);
	return serves(channel, doubtful) ? channel : any_channel(pool, doubtful);
}

/* Will the first session have a new one at once? */
static bool opens_small(struct pool *pool)
{
	struct pool_session *session = &pool->sessions[0];

	return session->state == POOL_UP && session->reopen_at <= uv_now(pool->loop) &&
	       !(is_ready(pool_session_find(session, LANE_NAMES)) &&
		   is_ready(pool_session_find(session, LANE_FILES)));
}

static struct pool_channel *small_channel(struct pool *pool, enum lane lane)
{
	struct pool_channel *channel = serving_channel(pool, lane, false);

	return channel || opens_small(pool) ? channel : serving_channel(pool, lane, true);
}

static unsigned first_bulk(const struct pool *pool)
{
	return pool->n_sessions > 1 ? 1 : 0;
}

bool pool_near(const struct pool *pool)
{
	uint32_t rtt = pool_min_rtt_us(pool);

	return rtt && rtt < POOL_NEAR_US;
}

/* What a request weighs beside the bytes in flight: many small ones are spread too. */
#define REQUEST_COSTS 4096u

struct bulk_view {
	struct pool_channel *best; /* ready, with the least in flight */
	size_t least;
	unsigned open, opening;
};

static void view_session(struct pool_session *session, bool only_one, struct bulk_view *view)
{
	bool seen = false;

	for (unsigned i = 0; i < session->n_channels; i++) {
		struct pool_channel *channel = session->channels[i];
		size_t load;

		if (channel->lane != LANE_BULK)
			continue;
		view->open++;
		if (!channel->ready) {
			view->opening++;
			continue;
		}
		if (pool_hang_doubts(channel))
			continue;
		if (only_one && seen)
			continue;
		seen = true;
		load = sftp_bytes_in_flight(channel->sftp) +
		       sftp_requests_in_flight(channel->sftp) * REQUEST_COSTS;
		if (!view->best || load < view->least) {
			view->best = channel;
			view->least = load;
		}
	}
}

/* Another bulk channel on each of the sessions that have the fewest. */
static void open_bulk(struct pool *pool, unsigned open)
{
	unsigned fewest = POOL_BULK_PER_SESSION;

	for (unsigned i = first_bulk(pool); i < pool->n_sessions; i++) {
		unsigned count = pool_session_count(&pool->sessions[i], LANE_BULK);

		if (pool->sessions[i].state == POOL_UP && count < fewest)
			fewest = count;
	}
	for (unsigned i = first_bulk(pool); i < pool->n_sessions && open < POOL_BULK_MAX; i++) {
		struct pool_session *session = &pool->sessions[i];

		if (session->state == POOL_UP && session->reopen_at <= uv_now(pool->loop) &&
		    pool_session_count(session, LANE_BULK) == fewest &&
		    fewest < POOL_BULK_PER_SESSION && pool_channel_open(session, LANE_BULK))
			open++;
	}
}

static struct pool_channel *bulk_channel(struct pool *pool, bool want_more)
{
	struct bulk_view view = {0};
	bool near = pool_near(pool);
	unsigned up = 0;

	for (unsigned i = first_bulk(pool); i < pool->n_sessions; i++) {
		if (pool->sessions[i].state != POOL_UP)
			continue;
		if (near && ++up > 2)
			break;
		view_session(&pool->sessions[i], near, &view);
	}
	if (!view.open)
		open_bulk(pool, view.open);
	else if (want_more && !view.opening && view.open < POOL_BULK_MAX && view.best &&
		 view.least >= POOL_CROWDED && pool_min_rtt_us(pool) > POOL_NEAR_US)
		open_bulk(pool, view.open);
	return view.best ? view.best : small_channel(pool, LANE_FILES);
}

/* copy-data holds up its whole channel: it gets one of its own, on the last session that is up, and
 * only where the server refuses that it goes with the bulk data. */
static struct pool_channel *copy_channel(struct pool *pool)
{
	struct pool_channel *channel;

	for (unsigned i = pool->n_sessions; i-- > 0;) {
		channel = pool_session_find(&pool->sessions[i], LANE_COPY);
		if (channel)
			return channel->ready ? channel : NULL;
	}
	if (uv_now(pool->loop) >= pool->copy_after)
		for (unsigned i = pool->n_sessions; i-- > 0;)
			if (pool->sessions[i].state == POOL_UP)
				return pool_channel_open(&pool->sessions[i], LANE_COPY)
					   ? NULL
					   : bulk_channel(pool, false);
	return bulk_channel(pool, false);
}

struct pool_channel *pool_channel(struct pool *pool, enum lane lane, bool want_more)
{
	if (pool->closed)
		return NULL;
	switch (lane) {
	case LANE_NAMES:
	case LANE_FILES:
		return small_channel(pool, lane);
	case LANE_BULK:
		return bulk_channel(pool, want_more);
	case LANE_COPY:
		return copy_channel(pool);
	}
	return NULL;
}

/* --- waiting ------------------------------------------------------------ */

void pool_wait(struct pool *pool, enum lane lane, unsigned timeout_ms,
    void (*done)(void *arg, int err), void *arg)
{
	struct pool_waiter *waiter = calloc(1, sizeof(*waiter));

	/* Without memory even for this the caller can only be told at once. */
	if (!waiter) {
		done(arg, -ENOMEM);
		return;
	}
	waiter->lane = lane;
	waiter->deadline = uv_now(pool->loop) + timeout_ms;
	waiter->done = done;
	waiter->arg = arg;
	TAILQ_INSERT_TAIL(&pool->waiters, waiter, link);
	if (timeout_ms && !pool->closed)
		pool_session_hurry(&pool->sessions[0]);
	pool_kick(pool);
}

/* 1 while it must wait on. */
static int waiter_state(struct pool *pool, const struct pool_waiter *waiter)
{
	if (pool->closed)
		return -ENOTCONN;
	if (pool_channel(pool, waiter->lane, false))
		return 0;
	return uv_now(pool->loop) >= waiter->deadline ? -ETIMEDOUT : 1;
}

/* Those that done adds meanwhile wait for the next turn. */
static void serve_waiters(struct pool *pool)
{
	TAILQ_HEAD(, pool_waiter) ripe = TAILQ_HEAD_INITIALIZER(ripe);
	struct pool_waiter *waiter, *next;

	for (waiter = TAILQ_FIRST(&pool->waiters); waiter; waiter = next) {
		next = TAILQ_NEXT(waiter, link);
		if (waiter_state(pool, waiter) > 0)
			continue;
		TAILQ_REMOVE(&pool->waiters, waiter, link);
		TAILQ_INSERT_TAIL(&ripe, waiter, link);
	}
	while ((waiter = TAILQ_FIRST(&ripe))) {
		int err = waiter_state(pool, waiter);

		TAILQ_REMOVE(&ripe, waiter, link);
		/* The channel went away between the two loops. */
		if (err > 0) {
			TAILQ_INSERT_HEAD(&pool->waiters, waiter, link);
			continue;
		}
		waiter->done(waiter->arg, err);
		free(waiter);
	}
}

/* --- the due timer ------------------------------------------------------ */

/* The others are dialled only while the first session serves, so that a server in trouble is asked
 * once at a time. */
static bool may_dial(struct pool *pool, unsigned index)
{
	return index == 0 || is_ready(pool_session_find(&pool->sessions[0], LANE_NAMES)) ||
	       is_ready(pool_session_find(&pool->sessions[0], LANE_FILES));
}

static void on_due(uv_timer_t *timer)
{
	struct pool *pool = pool_get(timer->data);

	for (unsigned i = 0; i < pool->n_sessions && !pool->closed && !pool->failed; i++) {
		struct pool_session *session = &pool->sessions[i];

		if (session->state == POOL_WAITING && may_dial(pool, i) &&
		    pool_session_is_due(session))
			pool_session_dial(session);
		else if (session->state == POOL_UP)
			pool_session_fill(session);
	}
	serve_waiters(pool);
	pool_schedule(pool);
	pool_put(pool);
}

void pool_kick(struct pool *pool)
{
	uv_timer_start(&pool->due, on_due, 0, 0);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void pool_schedule(struct pool *pool)
{
	uint64_t next = POOL_NEVER, now = uv_now(pool->loop);
	struct pool_waiter *waiter;

	TAILQ_FOREACH (waiter, &pool->waiters, link) {
		next = sooner(next, pool->closed ? now : waiter->deadline);
	}
	for (unsigned i = 0; i < pool->n_sessions && !pool->closed && !pool->failed; i++) {
		struct pool_session *session = &pool->sessions[i];

		if (session->state == POOL_WAITING && may_dial(pool, i))
			next = sooner(next, session->next_try);
		else if (session->state == POOL_UP && session->reopen_at > now)
			next = sooner(next, session->reopen_at);
	}
	if (next == POOL_NEVER)
		uv_timer_stop(&pool->due);
	else
		uv_timer_start(&pool->due, on_due, next > now ? next - now : 0, 0);
}

/* --- events ------------------------------------------------------------- */

void pool_link_changed(struct pool *pool, const struct ssh_error *error)
{
	bool up = pool_up(pool);

	if (!pool->told || pool->failed || pool->closed || up == pool->was_up)
		return;
	pool->was_up = up;
	if (pool->events.link)
		pool->events.link(pool->arg, up ? NULL : error);
}

/* --- life --------------------------------------------------------------- */

static const struct pool_maker ssh_maker = {
    session_new, session_open_sftp, session_figures, session_ping, session_free, session_open_exec};
const struct pool_maker *pool_maker = &ssh_maker;

int pool_new(struct pool **out, uv_loop_t *loop, const struct ssh_target *target,
    const struct pool_events *events, void *arg)
{
	unsigned n = target->profile->connections ? target->profile->connections : 1;
	struct pool *pool = calloc(1, sizeof(*pool) + n * sizeof(pool->sessions[0]));
	int err;

	if (!pool)
		return -ENOMEM;
	err = mailbox_new(&pool->mailbox, loop);
	if (err) {
		free(pool);
		return err;
	}
	pool->refs = 1;
	pool->loop = loop;
	pool->maker = pool_maker;
	pool->target = target;
	pool->events = *events;
	pool->arg = arg;
	pool->started = uv_now(loop);
	pool->features.max_read = pool->features.max_write = 32768;
	TAILQ_INIT(&pool->waiters);
	pool->n_sessions = n;
	for (unsigned i = 0; i < n; i++) {
		pool->sessions[i].pool = pool;
		pool->sessions[i].index = i;
		pool->sessions[i].next_try = i ? POOL_NEVER : 0;
	}
	uv_timer_init(loop, &pool->due);
	uv_timer_init(loop, &pool->tick);
	pool->due.data = pool->tick.data = pool;
	pool->handles = 2;
	pool_watch_start(pool);
	pool_kick(pool);
	*out = pool;
	return 0;
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	pool->closed = true;
	uv_timer_stop(&pool->tick);
	for (unsigned i = 0; i < pool->n_sessions; i++)
		pool_session_drop(&pool->sessions[i], NULL);
	mailbox_close(pool->mailbox);
	pool->mailbox = NULL;
	pool_schedule(pool);
	pool_put(pool);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct pool *pool = handle->data;

	if (--pool->handles == 0)
		free(pool);
}

struct pool *pool_get(struct pool *pool)
{
	pool->refs++;
	return pool;
}

void pool_put(struct pool *pool)
{
	/* A waiter holds it too: on_due must still tell him. */
	if (!pool || --pool->refs || !TAILQ_EMPTY(&pool->waiters))
		return;
	uv_close((uv_handle_t *)&pool->due, on_handle_closed);
	uv_close((uv_handle_t *)&pool->tick, on_handle_closed);
}

/* --- what is known ------------------------------------------------------ */

const struct sftp_features *pool_features(const struct pool *pool)
{
	return &pool->features;
}

static uint32_t session_min_rtt_us(const struct pool_session *session)
{
	uint32_t least = 0, rtt;

	for (unsigned i = 0; i < session->n_channels; i++) {
		rtt = sftp_min_rtt_us(session->channels[i]->sftp);
		if (rtt && (!least || rtt < least))
			least = rtt;
	}
	return least;
}

/* The first session has the small operations, and so knows best; the others may not have heard for
 * long. */
uint32_t pool_min_rtt_us(const struct pool *pool)
{
	uint32_t least = 0;

	for (unsigned i = 0; i < pool->n_sessions && !least; i++)
		least = session_min_rtt_us(&pool->sessions[i]);
	return least ? least : pool->min_rtt_us;
}

bool pool_up(const struct pool *pool)
{
	return any_channel((struct pool *)pool, true) != NULL;
}

unsigned pool_sessions(const struct pool *pool)
{
	return pool->n_sessions;
}

const char *pool_peer(const struct pool *pool)
{
	return pool->peer;
}

unsigned pool_timeout_ms(const struct pool *pool)
{
	return pool->target->profile->timeout * 1000;
}

static const char *state_text(const struct pool_session *session)
{
	switch (session->state) {
	case POOL_UP:
		return "up";
	case POOL_DIALLING:
		return "connecting";
	case POOL_WAITING:
		break;
	}
	return session->refused ? "refused" : "waiting";
}

static void channel_figures(const struct pool_session *session, struct pool_figures_session *out)
{
	for (unsigned i = 0; i < session->n_channels; i++) {
		struct sftp *sftp = session->channels[i]->sftp;
		uint32_t least = sftp_min_rtt_us(sftp);

		out->requests += sftp_requests_in_flight(sftp);
		out->bytes_in_flight += sftp_bytes_in_flight(sftp);
		if (!out->rtt_us)
			out->rtt_us = sftp_rtt_us(sftp);
		if (least && (!out->min_rtt_us || least < out->min_rtt_us))
			out->min_rtt_us = least;
	}
}

void pool_figures(struct pool *pool, unsigned index, struct pool_figures_session *out)
{
	struct pool_session *session = &pool->sessions[index];
	struct session_figures figures = {0};

	memset(out, 0, sizeof(*out));
	out->index = index;
	out->state = state_text(session);
	snprintf(out->last_error, sizeof(out->last_error), "%s", session->error.text);
	out->channels = session->n_channels;
	out->reconnects = session->ups > 1 ? session->ups - 1 : 0;
	channel_figures(session, out);
	if (session->session)
		pool->maker->figures(session->session, &figures);
	out->bytes_in = session->past_in + figures.bytes_in;
	out->bytes_out = session->past_out + figures.bytes_out;
	memcpy(out->cipher, figures.cipher, sizeof(out->cipher));
	memcpy(out->peer, figures.peer, sizeof(out->peer));
}

/*
 * Dead links. A link that died says nothing, for ever; so a session that is silent is asked for a
 * sign of life:
 *
 *	silent for 5 s                    → a ping, on an SFTP channel; it may be that which
 *	                                    hangs: after 3 s the SSH server is asked too
 *	ping unanswered for 10 s, or silent for 15 s with something asked → the session is dropped
 *	after a clock jump (suspend, SIGSTOP) → a ping at once, which has 3 s
 *
 * Only time in which our loop ran counts: after a stop the session's thread must first get the
 * chance to read what came meanwhile. So each tick counts for at most TICK_CREDIT_MS.
 */
#include "conf/log.h"
#include "transport/pool_internal.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TICK_CREDIT_MS 1500
#define ASK_MS 5000
#define ASK_SSH_MS 3000
#define DEAD_ASKED_MS 15000
#define DEAD_PING_MS 10000
#define DEAD_URGENT_MS 3000
#define JUMP_ASLEEP_MS 5000
#define JUMP_LATE_MS 10000

static uint64_t clock_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void pool_watch_reset(struct pool_session *session)
{
	memset(&session->watch, 0, sizeof(session->watch));
}

/* A channel with nothing to do; if all are busy with slow requests the SSH layer answers. */
static void ping(struct pool_session *session)
{
	session->watch.pinged = true;
	session->watch.ping_wait = 0;
	for (unsigned i = 0; i < session->n_channels; i++)
		if (pool_channel_ask(session->channels[i]))
			return;
	session->pool->maker->ping(session->session);
}

static bool is_busy(const struct pool_session *session)
{
	for (unsigned i = 0; i < session->n_channels; i++)
		if (!session->channels[i]->ready ||
		    sftp_requests_in_flight(session->channels[i]->sftp))
			return true;
	return session->watch.pinged;
}

/* Bytes came, or a full socket took more, which needs the far kernel's acknowledgement. */
static bool shows_life(struct pool_session *session)
{
	struct pool_watch *watch = &session->watch;
	struct session_figures figures;
	bool life;

	session->pool->maker->figures(session->session, &figures);
	life = figures.heard_ms != watch->heard ||
	       (watch->queued && figures.queued && figures.bytes_out != watch->bytes_out);
	watch->heard = figures.heard_ms;
	watch->queued = figures.queued;
	watch->bytes_out = figures.bytes_out;
	return life;
}

static void drop_silent(struct pool_session *session, unsigned seconds)
{
	struct pool *pool = session->pool;
	struct ssh_error error = {.kind = SSH_TIMEOUT, .err = ETIMEDOUT};

	snprintf(error.text, sizeof(error.text),
	    "the link to %s is dead: nothing heard for %u s; connecting again",
	    pool->target->profile->host, seconds);
	log_info("connection %u: %s", session->index, error.text);
	if (!pool->told && session->index == 0) {
		pool_first_failed(session, &error);
		return;
	}
	pool_session_drop(session, &error);
	pool_link_changed(pool, &error);
}

/* Milliseconds of silence after which it counts as dead now, or 0. */
static unsigned dead_after(const struct pool_watch *watch)
{
	if (watch->asked >= DEAD_ASKED_MS)
		return watch->asked;
	return watch->pinged && watch->ping_wait >= DEAD_PING_MS ? watch->silent : 0;
}

static void watch_session(struct pool_session *session, unsigned credit, bool jumped)
{
	struct pool_watch *watch = &session->watch;
	bool life = shows_life(session);

	if (life || jumped) {
		watch->silent = watch->asked = watch->ping_wait = watch->urgent = 0;
		watch->pinged = false;
	}
	if (jumped) {
		watch->urgent = DEAD_URGENT_MS;
		ping(session);
		return;
	}
	if (life)
		return;
	watch->silent += credit;
	if (is_busy(session))
		watch->asked += credit;
	if (watch->pinged)
		watch->ping_wait += credit;
	if (watch->pinged && watch->ping_wait >= ASK_SSH_MS)
		session->pool->maker->ping(session->session);
	if (watch->urgent) {
		if (watch->urgent <= credit) {
			drop_silent(session, DEAD_URGENT_MS / 1000);
			return;
		}
		watch->urgent -= credit;
	}
	if (dead_after(watch))
		drop_silent(session, dead_after(watch) / 1000);
	else if (!watch->pinged && watch->silent >= ASK_MS)
		ping(session);
}

/* The machine slept, or we were stopped. */
static bool clock_jumped(struct pool *pool, uint64_t now)
{
	int64_t asleep = (int64_t)(clock_ms(CLOCK_BOOTTIME) - now);
	bool jumped =
	    asleep - pool->asleep > JUMP_ASLEEP_MS || now - pool->last_tick > JUMP_LATE_MS;

	pool->asleep = asleep;
	return jumped;
}

static void on_tick(uv_timer_t *timer)
{
	struct pool *pool = pool_get(timer->data);
	uint64_t now = clock_ms(CLOCK_MONOTONIC), passed = now - pool->last_tick;
	unsigned credit = passed < TICK_CREDIT_MS ? (unsigned)passed : TICK_CREDIT_MS;
	bool jumped = clock_jumped(pool, now);

	pool->last_tick = now;
	if (jumped)
		log_info("the clock jumped: looking whether the link still stands");
	for (unsigned i = 0; i < pool->n_sessions && !pool->closed; i++) {
		struct pool_session *session = &pool->sessions[i];

		if (session->state == POOL_UP)
			watch_session(session, credit, jumped);
		else if (session->state == POOL_DIALLING)
			pool_session_doubt_dial(session, jumped);
		else if (jumped && session->state == POOL_WAITING && !session->refused &&
			 pool->told && !pool->failed && session->next_try != POOL_NEVER)
			session->next_try = uv_now(pool->loop);
		if (session->state == POOL_UP && !pool->closed)
			pool_hang_look(session);
	}
	if (jumped && !pool->closed)
		pool_kick(pool);
	pool_put(pool);
}

void pool_watch_start(struct pool *pool)
{
	pool->last_tick = clock_ms(CLOCK_MONOTONIC);
	pool->asleep = (int64_t)(clock_ms(CLOCK_BOOTTIME) - pool->last_tick);
	uv_timer_start(&pool->tick, on_tick, POOL_TICK_MS, POOL_TICK_MS);
}

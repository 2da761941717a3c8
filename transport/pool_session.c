/*
 * Dialling. The first connection has patience of its own (pool_first_failed); after it every lost
 * session is dialled again for ever, with backoff, the others only while the first one stands.
 */
#include "conf/log.h"
#include "transport/pool_internal.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FIRST_PATIENCE_MS 60000
#define FIRST_PAUSE_MS 5000
#define FIRST_TRIES_LOST 4
/* With --wait; sshd holds refused keys against the address they come from. */
#define WAIT_PAUSE_MS 3000
#define WAIT_DENIED_MS 10000
#define STAGGER_MS 100
#define STAGGER_NEAR_MS 1500
/* Of a bulk transfer, in flight; and how often the others' first dials are put off for it: a long
 * one may gain from them. */
#define BUSY_BYTES (256u * 1024)
#define PUT_OFF_MAX 6
#define BACKOFF_MAX_MS 30000
#define REFUSED_PAUSE_MS 60000
/* While a program waits for the link: where nobody answers nobody minds; an sshd that turns us away
 * counts the dials. */
#define WAITED_MAX_MS 2500
#define WAITED_TURNED_AWAY_MAX_MS 10000
/* A dial that nothing was heard of may have been made into a link that is back since. */
#define WAITED_DIAL_MS 8000
/* A session that lived that long was a good one: its loss is not the fault of our dialling. */
#define LASTED_MS 10000

/* A pseudo-random number of milliseconds below limit, so that many mounts do not dial in step. */
static uint64_t jitter(struct pool *pool, uint64_t limit)
{
	uint64_t x = uv_hrtime() ^ (uintptr_t)pool;

	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	return limit ? x % limit : 0;
}

/* An sshd that has had too many connections: MaxStartups, PerSourcePenalties. */
static bool said_no(const struct ssh_error *error)
{
	return strstr(error->text, "Exceeded MaxStartups") ||
	       strstr(error->text, "Not allowed at this time");
}

/* The longest pause between two dials now. */
static uint64_t longest_pause(const struct pool_session *session)
{
	if (TAILQ_EMPTY(&session->pool->waiters))
		return BACKOFF_MAX_MS;
	switch (session->error.kind) {
	case SSH_DENIED:
	case SSH_DENIED_TRANSIENT:
		return WAITED_TURNED_AWAY_MAX_MS;
	case SSH_NOT_SSH:
		return said_no(&session->error) ? WAITED_TURNED_AWAY_MAX_MS : WAITED_MAX_MS;
	default:
		return WAITED_MAX_MS;
	}
}

static uint64_t backoff(const struct pool_session *session)
{
	uint64_t pause = BACKOFF_MAX_MS, most = longest_pause(session);

	if (session->refused)
		return REFUSED_PAUSE_MS;
	if (!session->failures)
		return session->index * STAGGER_MS;
	if (session->failures < 6)
		pause = 1000ull << (session->failures - 1);
	if (pause > most)
		pause = most;
	return pause * 3 / 4 + jitter(session->pool, pause / 2);
}

/* Counts the bytes of the session that ends, and lets go of it. */
static void let_go(struct pool_session *session)
{
	const struct pool_maker *maker = session->pool->maker;
	struct session_figures figures = {0};

	pool_hang_stop(session);
	while (session->n_channels)
		pool_channel_kill(session->channels[session->n_channels - 1]);
	if (!session->index)
		pool_program_lost(session->pool, &session->error);
	if (!session->session)
		return;
	maker->figures(session->session, &figures);
	session->past_in += figures.bytes_in;
	session->past_out += figures.bytes_out;
	maker->end(session->session);
	session->session = NULL;
}

void pool_session_drop(struct pool_session *session, const struct ssh_error *error)
{
	struct pool *pool = session->pool;
	uint64_t now = uv_now(pool->loop);

	if (error)
		session->error = *error;
	if (session->state == POOL_UP && now - session->up_since >= LASTED_MS)
		session->failures = 0;
	else if (session->state != POOL_WAITING)
		session->failures++;
	session->refused = error && error->kind == SSH_HOST_KEY_CHANGED;
	let_go(session);
	session->state = POOL_WAITING;
	session->dropped = now;
	session->next_try = now + backoff(session);
	if (!pool->closed)
		pool_kick(pool);
}

void pool_session_hurry(struct pool_session *session)
{
	uint64_t now = uv_now(session->pool->loop);
	uint64_t latest = session->dropped + longest_pause(session);

	if (session->state != POOL_WAITING || session->refused || session->next_try == POOL_NEVER)
		return;
	if (session->next_try > latest)
		session->next_try = latest > now ? latest : now;
}

void pool_session_doubt_dial(struct pool_session *session, bool jumped)
{
	struct pool *pool = session->pool;
	struct ssh_error error = {.kind = SSH_TIMEOUT, .err = ETIMEDOUT};
	bool hangs = !TAILQ_EMPTY(&pool->waiters) && !session->patient &&
		     uv_now(pool->loop) - session->dialled >= WAITED_DIAL_MS;

	if (session->state != POOL_DIALLING || !pool->told || !(hangs || jumped))
		return;
	/* A slow server: the next one has all its time. */
	session->patient = hangs;
	snprintf(error.text, sizeof(error.text), "%s does not answer; connecting again",
	    pool->target->profile->host);
	log_info("connection %u: %s", session->index, error.text);
	pool_session_drop(session, &error);
	session->next_try = uv_now(pool->loop);
}

/* --- the first connection ------------------------------------------------ */

#define OFFLINE_PAUSE_MS 5000

/* Turned away before SSH's first line: MaxStartups, PerSourcePenalties, or an instance that is
 * booting. */
static bool turned_away(const struct ssh_error *error)
{
	return error->err == ECONNRESET || said_no(error);
}

/* --wait: what an instance that is starting answers, until its sshd runs and has the key. */
static bool is_starting(const struct ssh_error *error)
{
	return error->kind == SSH_REFUSED || error->kind == SSH_UNREACHABLE ||
	       error->kind == SSH_NOT_SSH || error->kind == SSH_LOST ||
	       error->kind == SSH_TIMEOUT || error->kind == SSH_DENIED ||
	       error->kind == SSH_DENIED_TRANSIENT;
}

/* Whether time may heal it: an instance that is starting refuses keys that are not copied yet,
 * closes connections early, restarts its sshd. */
static bool may_heal(struct pool *pool, const struct ssh_error *error)
{
	if (pool->target->profile->wait && is_starting(error))
		return true;
	switch (error->kind) {
	case SSH_DENIED_TRANSIENT:
		pool->saw_sshd = true;
		return true;
	case SSH_LOST:
	case SSH_TIMEOUT:
		pool->saw_sshd = true;
		return ++pool->first_tries < FIRST_TRIES_LOST;
	case SSH_NOT_SSH:
		if (turned_away(error))
			return ++pool->first_tries < FIRST_TRIES_LOST;
		return pool->saw_sshd;
	case SSH_REFUSED:
	case SSH_UNREACHABLE:
		return pool->saw_sshd;
	default:
		return false;
	}
}

static bool was_denied(const struct ssh_error *error)
{
	return error->kind == SSH_DENIED || error->kind == SSH_DENIED_TRANSIENT;
}

static void say_wait(struct pool *pool, const struct ssh_error *error, uint64_t pause)
{
	const struct ssh_target *target = pool->target;
	char line[128];

	if (!target->profile->wait || !target->progress) {
		log_warning("%s; trying again in %u s", error->text, (unsigned)(pause / 1000));
		return;
	}
	snprintf(
	    line, sizeof(line), "%s: %s…", target->profile->id, was_denied(error) ? "key" : "sshd");
	target->progress(target->progress_arg, line);
}

void pool_first_failed(struct pool_session *session, const struct ssh_error *error)
{
	struct pool *pool = session->pool;
	uint64_t now = uv_now(pool->loop);
	struct ssh_error copy = *error;
	uint64_t patience = pool->target->profile->wait * 1000ull, pause = FIRST_PAUSE_MS;

	pool_session_drop(session, &copy);
	if (patience < FIRST_PATIENCE_MS)
		patience = FIRST_PATIENCE_MS;
	if (pool->target->profile->wait)
		pause = was_denied(&copy) ? WAIT_DENIED_MS : WAIT_PAUSE_MS;
	if (may_heal(pool, &copy) && now + pause - pool->started <= patience) {
		session->next_try = now + pause;
		say_wait(pool, &copy, pause);
		return;
	}
	if (pool->target->profile->offline && pool->events.unreachable && is_starting(&copy) &&
	    !was_denied(&copy)) {
		session->next_try = now + OFFLINE_PAUSE_MS;
		pool->events.unreachable(pool->arg, &copy);
		return;
	}
	session->refused = true;
	pool->failed = pool->told = true;
	if (pool->events.ready)
		pool->events.ready(pool->arg, &copy);
}

/* --- transport=auto ------------------------------------------------------- */

/*
 * libssh2, but for two cases. What it can't do (an RSA key before 1.11, a host key algorithm, no
 * key at all) is tried by an ssh process, which may know better. And near the instance, where the
 * processor is what bounds, bulk data goes through ssh processes: AES-GCM, which libssh2 has not or
 * does slowly, costs half. Far away libssh2's larger receive window counts for more. Where ssh
 * fails, libssh2 goes on without a word.
 */
#define PROCESS_TRIES 2

static bool wants_process(const struct pool_session *session)
{
	const struct pool *pool = session->pool;

	if (pool->process_only || ssh_needs_process(pool->target->profile))
		return true;
	return pool->target->profile->transport == TRANSPORT_AUTO && session->index &&
	       pool->process_failures < PROCESS_TRIES && !pool->target->profile->putty_keys &&
	       pool_near(pool);
}

/* The dial failed: is there another way to be tried at once? */
static bool other_way(struct pool_session *session, const struct ssh_error *error)
{
	struct pool *pool = session->pool;

	if (pool->target->profile->transport != TRANSPORT_AUTO || error->kind == SSH_CANCELLED)
		return false;
	if (!pool->told) {
		if (pool->process_only || !ssh_is_beyond_library(error->kind))
			return false;
		log_verbose("%s; trying the ssh command", error->text);
		pool->library_error = *error;
		return pool->process_only = true;
	}
	if (!session->by_process || pool->process_only)
		return false;
	/* A link that is down is not the process' fault; two in a row are. */
	pool->process_failures++;
	log_verbose("connection %u: the ssh command can't: %s", session->index, error->text);
	return pool->process_failures >= PROCESS_TRIES;
}

/* Both ways failed: the library's words say more about keys, unless these are ssh's. */
static const struct ssh_error *choose_error(const struct pool *pool, const struct ssh_error *error)
{
	if (!pool->library_error.kind || pool->library_error.kind == SSH_NO_ALGORITHM ||
	    pool->library_error.kind == SSH_KEY_BEYOND ||
	    (error->kind != SSH_DENIED && error->kind != SSH_NO_KEY &&
		error->kind != SSH_KEY_UNUSABLE && error->kind != SSH_CONFIG))
		return error;
	return &pool->library_error;
}

static void redial(struct pool_session *session)
{
	let_go(session);
	session->state = POOL_WAITING;
	session->next_try = uv_now(session->pool->loop);
}

/* --- dialling ------------------------------------------------------------ */

static void on_connected(void *arg, const struct ssh_error *error)
{
	struct pool_session *session = arg;
	struct pool *pool = pool_get(session->pool);
	struct session_figures figures;

	if (error && other_way(session, error)) {
		redial(session);
	} else if (error && !pool->told) {
		pool_first_failed(session, choose_error(pool, error));
	} else if (error) {
		log_info("connection %u: %s", session->index, error->text);
		session->patient = false;
		pool_session_drop(session, error);
	} else {
		session->state = POOL_UP;
		session->patient = false;
		if (session->by_process)
			pool->process_failures = 0;
		session->up_since = uv_now(pool->loop);
		session->ups++;
		session->reopen_at = 0;
		session->reopen_fails = 0;
		pool->saw_sshd = true;
		pool_watch_reset(session);
		pool->maker->figures(session->session, &figures);
		memcpy(pool->peer, figures.peer, sizeof(pool->peer));
		log_info(
		    "connection %u is up (%s, %s)", session->index, figures.peer, figures.cipher);
		pool_session_fill(session);
	}
	if (!pool->closed)
		pool_kick(pool);
	pool_put(pool);
}

static void on_lost(void *arg, const struct ssh_error *error)
{
	struct pool_session *session = arg;
	struct pool *pool = pool_get(session->pool);

	if (!pool->told) {
		pool_first_failed(session, error);
	} else {
		log_info("connection %u: %s", session->index, error->text);
		pool_session_drop(session, error);
		pool_link_changed(pool, error);
	}
	pool_put(pool);
}

static const struct session_events session_events = {.connected = on_connected, .lost = on_lost};

/* Who makes the connection, and may it ask? Once the mount is live nobody sits there to answer. */
static unsigned session_flags(struct pool_session *session)
{
	session->by_process = wants_process(session);
	return (session->by_process ? SESSION_BY_PROCESS : 0) |
	       (session->pool->told ? 0 : SESSION_MAY_ASK);
}

void pool_session_dial(struct pool_session *session)
{
	struct pool *pool = session->pool;
	struct ssh_error error = {.kind = SSH_LOST};
	int err = pool->maker->start(&session->session, pool->mailbox, pool->target,
	    session_flags(session), &session_events, session);

	if (!err) {
		session->state = POOL_DIALLING;
		session->dialled = uv_now(pool->loop);
		return;
	}
	session->session = NULL;
	snprintf(error.text, sizeof(error.text), "cannot start a connection: %s", strerror(-err));
	if (!pool->told) {
		pool_first_failed(session, &error);
		return;
	}
	session->error = error;
	session->failures++;
	session->next_try = uv_now(pool->loop) + backoff(session);
}

/* Near the instance the processor is what bounds, and a login takes a tenth of a second of it. A
 * copy often begins right after the mount: its connection comes at once, and no other login takes
 * from it meanwhile. */
static uint64_t stagger(const struct pool *pool, unsigned index)
{
	return (uint64_t)(index - 1) * (pool_near(pool) ? STAGGER_NEAR_MS : STAGGER_MS);
}

static bool is_busy(const struct pool *pool)
{
	const struct pool_session *session = &pool->sessions[1];
	size_t bytes = 0;

	for (unsigned i = 0; i < session->n_channels; i++)
		bytes += sftp_bytes_in_flight(session->channels[i]->sftp);
	return bytes >= BUSY_BYTES;
}

bool pool_session_is_due(struct pool_session *session)
{
	struct pool *pool = session->pool;
	uint64_t now = uv_now(pool->loop);

	if (session->next_try > now)
		return false;
	if (session->index < 2 || session->put_off >= PUT_OFF_MAX || !pool_near(pool) ||
	    !is_busy(pool))
		return true;
	session->put_off++;
	session->next_try = now + STAGGER_NEAR_MS;
	return false;
}

void pool_dial_others(struct pool *pool)
{
	uint64_t now = uv_now(pool->loop);

	for (unsigned i = 1; i < pool->n_sessions; i++) {
		struct pool_session *session = &pool->sessions[i];
		uint64_t soonest = now + stagger(pool, i);

		if (session->state == POOL_WAITING &&
		    (session->next_try < soonest || session->next_try == POOL_NEVER))
			session->next_try = soonest;
	}
}

/*
 * SFTP servers that hang. The server process of a channel may be stuck (its disk hangs, it was
 * stopped) while the connection is in the best of health. Its calls would end by their timeout, one
 * by one, and all that come after them too. So:
 *
 *	owes answers for half of the timeout (fsync, copy-data: three quarters), nothing moves on
 *	the channel, and the connection answers   → it hangs
 *	a command there ends the SFTP servers of this connection, so that none wakes later and does
 *	what was done again since                 → their channels end, and are opened anew
 *	that can't be run, or changes nothing     → the channel is given up, with its requests lost:
 *	                                            they may be done yet, as after a lost link
 *
 * What hangs one server often hangs them all, and a call must not meet one after the other: its
 * time would end. So from the first seconds of silence on, channels with nothing to do are asked
 * something, and what stays silent is in doubt: it gets nothing that can go elsewhere.
 *
 * Whatever waits goes on through the channels that are left, or the new ones. When those hang too
 * it is the instance that hangs: the pauses between further ones and the time that each has to
 * greet grow, so that no heap of stuck processes is made there; the first that greets serves.
 */
#include "conf/log.h"
#include "transport/pool_internal.h"
#include <errno.h>
#include <stdio.h>

/* Silence that is called a hang, in ms: half of the timeout within these. */
#define QUIET_MIN_MS 5000
#define QUIET_MAX_MS 30000
/* ssh(1) vouches for its link until it has asked in vain for this long (sshproc_args.c). */
#define QUIET_PROCESS_MS 20000
/* The connection is asked each tick. Ticks in a row, the last of the silence, in which it was heard
 * lately and the channel was not, enough that one of its answers is younger than the first
 * question. */
#define PROOFS 3
#define LATELY_MS 2500
#define KILL_TICKS 3
/* Silence, and ticks in which nothing moved, that make a server doubtful. */
#define DOUBT_MS 2000
#define DOUBT_TICKS 2
#define WINDOW (64u * 1024)
/* Replaced at once so many times in a row; then after pauses. */
#define AT_ONCE 2
#define PAUSE_MAX_MS 300000
#define PATIENCE_MAX_MS 600000

/*
 * The children of the process that serves this connection, as far as they serve SFTP. The login
 * shell is any; it runs sh, in which $PPID is that process; /proc must be of the same mind about
 * that (it may be another namespace's). No name of the user's or the server's is in it.
 */
static const char kill_command[] =
    "exec sh -c 'read -r p c x q r </proc/$$/stat && [ \"$q\" = \"$PPID\" ] || exit; "
    "for s in /proc/[0-9]*/stat; do "
    "read -r p c x q r <\"$s\" || continue; "
    "[ \"$q\" = \"$PPID\" ] || continue; "
    "case $c in \"(sftp-server)\" | \"(sshd\"*) kill -9 \"$p\" ;; esac; done' 2>/dev/null";

/* --- the command ---------------------------------------------------------- */

static void on_opened(void *arg, const struct ssh_error *error)
{
	struct pool_session *session = arg;

	if (error && error->kind != SSH_OK) {
		log_verbose(
		    "connection %u: no command to end them: %s", session->index, error->text);
		session->hang.killer_left = 0;
		session->hang.killed = false;
	}
}

static void on_packet(void *arg, struct packet *packet)
{
	packet_free(packet);
}

static void on_closed(void *arg, const struct ssh_error *error)
{
}

static const struct stream_events killer_events = {
    .opened = on_opened, .packet = on_packet, .closed = on_closed};

static void stop_killer(struct pool_hang *hang)
{
	if (hang->killer)
		stream_close(hang->killer);
	hang->killer = NULL;
	hang->killer_left = 0;
	hang->killed = false;
}

/* The connection is ours alone, also where ssh makes it (sshproc_args.c). */
static bool start_killer(struct pool_session *session)
{
	struct pool_hang *hang = &session->hang;

	hang->killer = session->pool->maker->open_exec(
	    session->session, kill_command, WINDOW, &killer_events, session);
	if (!hang->killer)
		return false;
	hang->killer_left = KILL_TICKS;
	return hang->killed = true;
}

/* --- looking -------------------------------------------------------------- */

/* Which connection must be heard? ssh(1) does not tell what it hears. */
static struct pool_session *witness(struct pool_session *session)
{
	struct pool_session *first = &session->pool->sessions[0];

	return session->by_process && first->state == POOL_UP && !first->by_process ? first
										    : session;
}

static uint64_t limit_ms(const struct pool_channel *channel, bool slow)
{
	struct pool_session *session = channel->session;
	uint64_t timeout = pool_timeout_ms(session->pool), limit = timeout / 2;

	if (limit > QUIET_MAX_MS)
		limit = QUIET_MAX_MS;
	if (limit < QUIET_MIN_MS)
		limit = QUIET_MIN_MS;
	if (slow)
		limit = timeout / 4 * 3;
	if (limit > timeout)
		limit = timeout;
	return witness(session)->by_process && limit < QUIET_PROCESS_MS ? QUIET_PROCESS_MS : limit;
}

/* Counts the ticks of silence, and says whether this is one. What moves may be no more than what
 * was sent into it just now. */
static bool rests(struct pool_channel *channel, const struct sftp_quiet *quiet)
{
	bool moved = quiet->moves != channel->moves, more = quiet->sent != channel->sent;

	channel->moves = quiet->moves;
	channel->sent = quiet->sent;
	if (quiet->ms < DOUBT_MS || (moved && !more))
		channel->still = channel->proofs = 0;
	else if (!moved)
		channel->still++;
	return channel->still && !moved;
}

static void ask_idle_ones(struct pool *pool)
{
	for (unsigned i = 0; i < pool->n_sessions; i++)
		for (unsigned j = 0; j < pool->sessions[i].n_channels; j++)
			pool_channel_ask(pool->sessions[i].channels[j]);
}

bool pool_hang_doubts(const struct pool_channel *channel)
{
	const struct pool *pool = channel->session->pool;

	return channel->still >= DOUBT_TICKS && pool->hang_seen &&
	       uv_now(pool->loop) - pool->hang_seen < pool_timeout_ms(pool) &&
	       sftp_quiet(channel->sftp).ms >= DOUBT_MS;
}

/* Is the connection well? The other channels' answers may have been on their way already: it is
 * asked itself. */
static bool is_heard(struct pool_session *session)
{
	session->pool->maker->ping(session->session);
	return session->watch.silent < LATELY_MS && !session->watch.urgent;
}

static bool hangs(struct pool_channel *channel)
{
	struct pool_session *session = witness(channel->session);
	struct sftp_quiet quiet = sftp_quiet(channel->sftp);
	uint64_t limit;

	if (!channel->ready || !rests(channel, &quiet))
		return false;
	if (!is_heard(session)) {
		channel->proofs = 0;
		return false;
	}
	if (channel->still >= DOUBT_TICKS) {
		session->pool->hang_seen = uv_now(session->pool->loop);
		ask_idle_ones(session->pool);
	}
	limit = limit_ms(channel, quiet.slow);
	channel->proofs += quiet.ms + PROOFS * POOL_TICK_MS >= limit;
	return channel->proofs > PROOFS && quiet.ms >= limit;
}

static void say(const struct pool_channel *channel, struct ssh_error *error)
{
	*error = (struct ssh_error){.kind = SSH_TIMEOUT, .err = ETIMEDOUT};
	snprintf(error->text, sizeof(error->text),
	    "an SFTP server on %s hangs: no answer for %u s, though the connection works; using "
	    "another",
	    channel->session->pool->target->profile->host,
	    (unsigned)(sftp_quiet(channel->sftp).ms / 1000));
}

/* Several channels that hang at once are one time. */
void pool_hang_note(struct pool_session *session)
{
	struct pool_hang *hang = &session->hang;
	uint64_t now = uv_now(session->pool->loop);

	if (!hang->times || now - hang->last > pool_timeout_ms(session->pool) / 4)
		hang->times++;
	hang->last = now;
}

static void give_up(struct pool_channel *channel, const struct ssh_error *error)
{
	struct pool_session *session = channel->session;
	struct pool *pool = session->pool;
	uint64_t reopen_at = uv_now(pool->loop) + pool_hang_pause(session);

	if (session->reopen_at < reopen_at)
		session->reopen_at = reopen_at;
	pool_channel_kill(channel);
	pool_link_changed(pool, error);
	if (!pool->closed)
		pool_kick(pool);
}

static void found(struct pool_channel *channel)
{
	struct pool_session *session = channel->session;
	struct pool_hang *hang = &session->hang;
	struct ssh_error error;

	if (hang->killer_left)
		return;
	say(channel, &error);
	session->error = error;
	if (!hang->killer) {
		log_warning("connection %u: %s", session->index, error.text);
		pool_hang_note(session);
		/* One that the last command left as it was: another would change nothing. */
		if (channel->ready_at > hang->in_vain && start_killer(session))
			return;
	} else {
		hang->in_vain = hang->last;
	}
	give_up(channel, &error);
}

/* A good time without: the next is the first again. */
static void forget(struct pool_session *session)
{
	struct pool_hang *hang = &session->hang;
	uint64_t good = 5 * (uint64_t)pool_timeout_ms(session->pool) + pool_hang_patience(session);

	if (hang->times && uv_now(session->pool->loop) - hang->last > good)
		hang->times = 0;
}

void pool_hang_look(struct pool_session *session)
{
	struct pool *pool = session->pool;
	bool any = false;

	if (!pool->told)
		return;
	if (session->hang.killer_left)
		session->hang.killer_left--;
	for (unsigned i = session->n_channels; i-- > 0 && !pool->closed;) {
		if (i >= session->n_channels || !hangs(session->channels[i]))
			continue;
		any = true;
		found(session->channels[i]);
	}
	if (!any && !session->hang.killer_left)
		stop_killer(&session->hang);
	forget(session);
	/* One that was in doubt may have answered. */
	if (!pool->closed && !TAILQ_EMPTY(&pool->waiters))
		pool_kick(pool);
}

/* --- what follows --------------------------------------------------------- */

static uint64_t doubled(uint64_t ms, unsigned times, uint64_t most)
{
	while (times-- && ms < most)
		ms *= 2;
	return ms < most ? ms : most;
}

uint64_t pool_hang_patience(const struct pool_session *session)
{
	return doubled(pool_timeout_ms(session->pool), session->hang.times, PATIENCE_MAX_MS);
}

uint64_t pool_hang_pause(const struct pool_session *session)
{
	if (session->hang.times <= AT_ONCE)
		return 0;
	return doubled(
	    pool_timeout_ms(session->pool) / 4, session->hang.times - AT_ONCE - 1, PAUSE_MAX_MS);
}

void pool_hang_stop(struct pool_session *session)
{
	stop_killer(&session->hang);
}

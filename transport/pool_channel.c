/*
 * The channels of a session. NAMES and FILES (session 0) and BULK (the others; how many, the round
 * trip says) are opened when the session is up and again when their sftp-server dies; further BULK
 * channels and COPY are opened when they are asked for.
 *
 * An sshd that refuses further channels (MaxSessions) leaves a session with the channels it has:
 * pool.c lets the lanes share them, and the refused ones are asked for again only after a while.
 */
#include "conf/log.h"
#include "transport/pool_internal.h"
#include <stdlib.h>
#include <string.h>

#define WINDOW_SMALL (2u * 1024 * 1024)
#define WINDOW_BULK (32u * 1024 * 1024)
#define REOPEN_MIN_MS 100
#define REOPEN_MAX_MS 60000
#define REFUSED_REOPEN_MS 60000
#define LASTED_MS 10000

struct pool_channel *pool_channel_get(struct pool_channel *channel)
{
	channel->refs++;
	return channel;
}

void pool_channel_put(struct pool_channel *channel)
{
	if (channel && --channel->refs == 0)
		free(channel);
}

bool pool_channel_alive(const struct pool_channel *channel)
{
	return channel->sftp != NULL;
}

uint32_t pool_channel_rtt_us(const struct pool_channel *channel)
{
	return channel->sftp ? sftp_rtt_us(channel->sftp) : 0;
}

struct sftp *pool_channel_sftp(struct pool_channel *channel)
{
	return channel->sftp;
}

static void on_answer(void *arg, const struct sftp_reply *reply)
{
	/* Whatever it says: it was heard. */
}

bool pool_channel_ask(struct pool_channel *channel)
{
	struct packet *message;

	if (!channel->ready || sftp_requests_in_flight(channel->sftp))
		return false;
	message = sftp_msg_path(SSH_FXP_REALPATH, ".");
	if (message)
		sftp_send(channel->sftp, message, 0, on_answer, NULL);
	return message;
}

unsigned pool_session_count(const struct pool_session *session, enum lane lane)
{
	unsigned count = 0;

	for (unsigned i = 0; i < session->n_channels; i++)
		count += session->channels[i]->lane == lane;
	return count;
}

struct pool_channel *pool_session_find(struct pool_session *session, enum lane lane)
{
	for (unsigned i = 0; i < session->n_channels; i++)
		if (session->channels[i]->lane == lane)
			return session->channels[i];
	return NULL;
}

void pool_channel_kill(struct pool_channel *channel)
{
	struct pool_session *session = channel->session;
	struct sftp *sftp = channel->sftp;
	uint32_t rtt = sftp_min_rtt_us(sftp);
	unsigned i = 0;

	if (rtt)
		session->pool->min_rtt_us = rtt;
	while (session->channels[i] != channel)
		i++;
	/* The order stays: the oldest bulk channel is the one that is used on a near server. */
	for (session->n_channels--; i < session->n_channels; i++)
		session->channels[i] = session->channels[i + 1];
	channel->session = NULL;
	channel->sftp = NULL;
	channel->ready = false;
	sftp_free(sftp);
	pool_channel_put(channel);
}

/* The server would not have this channel. The session lives on with what it has, or ends when that
 * is nothing. */
static void open_failed(struct pool_session *session, enum lane lane, const struct ssh_error *error)
{
	struct pool *pool = session->pool;

	if (!session->n_channels || lane == LANE_NAMES) {
		if (!pool->told && session->index == 0) {
			pool_first_failed(session, error);
			return;
		}
		if (!session->n_channels) {
			log_info("connection %u: %s", session->index, error->text);
			pool_session_drop(session, error);
			return;
		}
	}
	log_info("connection %u: no further channel, sharing what is there: %s", session->index,
	    error->text);
	if (lane == LANE_COPY)
		pool->copy_after = uv_now(pool->loop) + REFUSED_REOPEN_MS;
	else
		session->reopen_at = uv_now(pool->loop) + REFUSED_REOPEN_MS;
}

static void greeted(struct pool_channel *channel)
{
	struct pool_session *session = channel->session;
	struct pool *pool = session->pool;

	channel->ready = true;
	channel->ready_at = uv_now(pool->loop);
	if (session->index == 0 && channel->lane == LANE_NAMES) {
		pool->features = *sftp_features(channel->sftp);
		pool_dial_others(pool);
	}
	if (!pool->told && channel->lane == LANE_NAMES) {
		pool->told = pool->was_up = true;
		if (pool->events.ready)
			pool->events.ready(pool->arg, NULL);
	}
	pool_link_changed(pool, NULL);
}

static void on_ready(void *arg, const struct ssh_error *error)
{
	struct pool_channel *channel = arg;
	struct pool_session *session = channel->session;
	struct pool *pool = pool_get(session->pool);
	enum lane lane = channel->lane;

	if (error) {
		struct ssh_error copy = *error;

		if (copy.kind == SSH_TIMEOUT && pool->told)
			pool_hang_note(session);
		pool_channel_kill(channel);
		open_failed(session, lane, &copy);
	} else {
		greeted(channel);
	}
	if (!pool->closed)
		pool_kick(pool);
	pool_put(pool);
}

/* The sftp-server died, or the whole session did: then `lost` comes behind this, before the
 * reopening. */
static void on_ended(void *arg, const struct ssh_error *error)
{
	struct pool_channel *channel = arg;
	struct pool_session *session = channel->session;
	struct pool *pool = pool_get(session->pool);
	struct ssh_error copy = *error;
	uint64_t now = uv_now(pool->loop), pause;

	if (now - channel->ready_at >= LASTED_MS)
		session->reopen_fails = 0;
	pause = session->reopen_fails < 10 ? (uint64_t)REOPEN_MIN_MS << session->reopen_fails
					   : REOPEN_MAX_MS;
	session->reopen_fails++;
	session->reopen_at = now + (pause < REOPEN_MAX_MS ? pause : REOPEN_MAX_MS);
	if (session->hang.killed) {
		copy = session->error;
		session->reopen_at += pool_hang_pause(session);
	}
	session->error = copy;
	log_info("connection %u: a channel ended: %s", session->index, copy.text);
	pool_channel_kill(channel);
	pool_link_changed(pool, &copy);
	if (!pool->closed)
		pool_kick(pool);
	pool_put(pool);
}

static const struct sftp_events sftp_events = {.ready = on_ready, .ended = on_ended};

static struct stream *open_stream(void *opener, const struct stream_events *events, void *arg)
{
	struct pool_channel *channel = opener;
	struct pool_session *session = channel->session;

	return session->pool->maker->open_sftp(session->session,
	    channel->lane == LANE_NAMES ? WINDOW_SMALL : WINDOW_BULK, events, arg);
}

/* ProFTPD's mod_sftp (1.3.8 of Debian 12) takes requests of several channels that arrive in pieces
 * for one another's: data is damaged, and acknowledged. So it gets one channel in each session. */
static unsigned most_channels(const struct pool *pool)
{
	return strstr(pool->peer, "mod_sftp") ? 1 : POOL_CHANNELS_MAX;
}

struct pool_channel *pool_channel_open(struct pool_session *session, enum lane lane)
{
	struct pool *pool = session->pool;
	struct pool_channel *channel;

	if (session->n_channels >= most_channels(pool))
		return NULL;
	channel = calloc(1, sizeof(*channel));
	if (!channel)
		return NULL;
	channel->refs = 1;
	channel->session = session;
	channel->lane = lane;
	channel->sftp = sftp_new_on(pool->loop, open_stream, channel,
	    pool->target->profile->timeout, &sftp_events, channel);
	if (!channel->sftp) {
		free(channel);
		return NULL;
	}
	sftp_greet_within(channel->sftp, pool_hang_patience(session));
	session->channels[session->n_channels++] = channel;
	return channel;
}

/*
 * A further channel takes five round trips, and an upload wants it at once: what fills a link of
 * 1 Gbit/s, as sshd lets 2 MiB into each channel in a round trip. There are three such sessions.
 */
static unsigned bulk_wanted(uint32_t rtt_us)
{
	unsigned wanted = rtt_us > POOL_NEAR_US ? 2 + rtt_us / POOL_BULK_US : 1;

	return wanted < POOL_BULK_PER_SESSION ? wanted : POOL_BULK_PER_SESSION;
}

void pool_session_fill(struct pool_session *session)
{
	struct pool *pool = session->pool;

	if (session->reopen_at > uv_now(pool->loop))
		return;
	session->reopen_at = 0;
	if (session->index) {
		unsigned wanted = bulk_wanted(pool_min_rtt_us(pool));

		while (pool_session_count(session, LANE_BULK) < wanted)
			if (!pool_channel_open(session, LANE_BULK))
				break;
		return;
	}
	if (!pool_session_find(session, LANE_NAMES))
		pool_channel_open(session, LANE_NAMES);
	if (!pool_session_find(session, LANE_FILES))
		pool_channel_open(session, LANE_FILES);
}

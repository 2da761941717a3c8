/* What a session's thread does at each turn, whatever carries its bytes. */
#include "transport/session_internal.h"
#include <errno.h>

/* With the lock held. */
static void publish_locked(struct session *session, const struct session_figures *figures)
{
	session->out_bytes -= session->written;
	session->written = 0;
	session->figures.bytes_in = figures->bytes_in;
	session->figures.bytes_out = figures->bytes_out;
	session->figures.heard_ms = figures->heard_ms;
	session->figures.queued = figures->queued;
}

bool session_take(struct session *session, const struct session_figures *figures)
{
	struct channel *channel;
	bool ping;

	pthread_mutex_lock(&session->lock);
	session->kicked = session->sleeping = false;
	ping = session->ping;
	session->ping = false;
	publish_locked(session, figures);
	while ((channel = TAILQ_FIRST(&session->incoming))) {
		TAILQ_REMOVE(&session->incoming, channel, link);
		channel->deadline = ssh_deadline(session->target);
		TAILQ_INSERT_TAIL(&session->channels, channel, link);
	}
	TAILQ_FOREACH (channel, &session->channels, link) {
		STAILQ_CONCAT(&channel->sending, &channel->outbox);
		channel->closing = channel->close_asked;
	}
	pthread_mutex_unlock(&session->lock);
	return ping;
}

bool session_may_sleep(struct session *session, const struct session_figures *figures)
{
	bool work;

	pthread_mutex_lock(&session->lock);
	/* What came last may have been nobody's data: the answer to a ping. */
	publish_locked(session, figures);
	work = session->kicked;
	session->sleeping = !work;
	pthread_mutex_unlock(&session->lock);
	return !work;
}

bool session_forget(struct session *session, struct channel *channel)
{
	if (channel->state >= CHANNEL_FREEING)
		channel_drop_unsent(channel);
	if (channel->state != CHANNEL_DEAD || !channel->closing)
		return false;
	TAILQ_REMOVE(&session->channels, channel, link);
	channel_put(channel);
	return true;
}

void session_rotate(struct session *session)
{
	struct channel *channel = TAILQ_FIRST(&session->channels);

	if (channel && TAILQ_NEXT(channel, link)) {
		TAILQ_REMOVE(&session->channels, channel, link);
		TAILQ_INSERT_TAIL(&session->channels, channel, link);
	}
}

void session_look_at_pause(struct session *session)
{
	if (atomic_load(&session->paused) && atomic_load(&session->posted) < SESSION_POSTED_MAX)
		atomic_store(&session->paused, false);
}

void session_finish(struct session *session)
{
	struct channel *channel;

	pthread_mutex_lock(&session->lock);
	session->ended = true;
	session->why = session->error;
	session->out_bytes = session->written = 0;
	session->figures.queued = 0;
	TAILQ_CONCAT(&session->channels, &session->incoming, link);
	pthread_mutex_unlock(&session->lock);
	TAILQ_FOREACH (channel, &session->channels, link)
		channel_end(channel, &session->error);
}

/* --- one channel --------------------------------------------------------------------------- */

void channel_end(struct channel *channel, const struct ssh_error *error)
{
	if (!channel->reported) {
		channel->reported = true;
		if (channel->is_open)
			channel_post_closed(channel, error);
		else
			channel_post_opened(channel, error);
	}
	channel->state = channel->raw ? CHANNEL_FREEING : CHANNEL_DEAD;
}

bool channel_fail_late(struct channel *channel)
{
	struct ssh_error error;

	if (channel->reported || ssh_now() < channel->deadline)
		return false;
	channel->reported = true;
	ssh_fail(&error, SSH_TIMEOUT, ETIMEDOUT,
	    "%s: the server did not open an SFTP channel within the time. It may be overloaded, or "
	    "the link hangs",
	    channel->session->where);
	channel_post_opened(channel, &error);
	return true;
}

void channel_drop_unsent(struct channel *channel)
{
	struct packet *packet;

	channel->session->written += channel->stage_len - channel->stage_at;
	channel->stage_at = channel->stage_len = 0;
	while ((packet = STAILQ_FIRST(&channel->sending))) {
		channel->session->written += packet->len - channel->sent;
		channel->sent = 0;
		STAILQ_REMOVE_HEAD(&channel->sending, link);
		packet_free(packet);
	}
}

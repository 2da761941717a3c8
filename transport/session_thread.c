/*
 * The session's thread: connects, then sleeps in poll(socket, eventfd) and at each waking serves
 * all channels until nothing moves any more.
 */
#include "conf/log.h"
#include "transport/session_internal.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void session_break(struct session *session, int rc, const char *step)
{
	struct ssh_connection *c = session->connection;
	char *why = NULL;

	if (session->broken)
		return;
	session->broken = true;
	if (c->err || c->eof) {
		ssh_fail_wait(
		    c, c->err ? -c->err : -ECONNRESET, "while it was in use", &session->error);
	} else if (rc == LIBSSH2_ERROR_SOCKET_DISCONNECT || c->said_bye) {
		ssh_fail(&session->error, SSH_LOST, ECONNRESET,
		    "%s: the server ended the connection%s%s", c->where, c->bye[0] ? ": " : "",
		    c->bye);
	} else {
		libssh2_session_last_error(c->session, &why, NULL, 0);
		ssh_fail(&session->error, SSH_LOST, EPROTO,
		    "%s: the connection broke: libssh2 said %d%s%s (%s)", c->where, rc,
		    why && *why ? " " : "", why ? why : "", step);
	}
	log_verbose("%s", session->error.text);
}

static struct session_figures figures_now(const struct session *session)
{
	const struct ssh_connection *c = session->connection;
	struct session_figures figures = {.bytes_in = ssh_bytes_in(c),
	    .bytes_out = ssh_bytes_out(c),
	    .heard_ms = ssh_last_heard(c),
	    .queued = ssh_queued(c)};

	return figures;
}

static void exchange(struct session *session)
{
	struct session_figures figures = figures_now(session);

	if (session_take(session, &figures)) {
		int next;

		libssh2_keepalive_config(session->connection->session, 1, 2);
		if (libssh2_keepalive_send(session->connection->session, &next) ==
		    LIBSSH2_ERROR_SOCKET_SEND)
			session_break(session, LIBSSH2_ERROR_SOCKET_SEND, "keepalive");
	}
}

/* One turn over all channels, beginning with another one each time. Whether anything moved. */
static bool serve(struct session *session)
{
	struct channel *channel, *next;
	bool moved = false;

	/* With no channel at all there may still be a ping to send. */
	if (ssh_flush(session->connection))
		session_break(session, LIBSSH2_ERROR_SOCKET_SEND, "write");
	for (channel = TAILQ_FIRST(&session->channels); channel && !session->broken;
	     channel = next) {
		next = TAILQ_NEXT(channel, link);
		moved |= channel_serve(channel);
		channel_post_delivery(channel);
		session_forget(session, channel);
		/* Keep the wire busy while the next channel's bytes are encrypted. */
		if (ssh_flush(session->connection))
			session_break(session, LIBSSH2_ERROR_SOCKET_SEND, "write");
	}
	session_rotate(session);
	return moved;
}

/* The events to sleep for, and until when (-1: for ever). */
static short sleep_terms(struct session *session, int *timeout)
{
	struct ssh_connection *c = session->connection;
	struct channel *channel;
	uint64_t now = ssh_now(), until = UINT64_MAX;
	bool reads = false;

	TAILQ_FOREACH (channel, &session->channels, link) {
		if (channel->state != CHANNEL_DEAD)
			reads = true;
		if ((channel->state == CHANNEL_OPENING || channel->state == CHANNEL_STARTING) &&
		    !channel->reported && channel->deadline < until)
			until = channel->deadline;
	}
	*timeout = until == UINT64_MAX ? -1 : until > now ? (int)(until - now) : 0;
	/* A reader that waits for the core wants nothing of the socket, not even its end. */
	if (atomic_load(&session->paused))
		return ssh_queued(c) ? POLLOUT : 0;
	/* Without a channel no call takes packets from libssh2: of interest are the end, and signs
	 * of life as far as there is room for them. */
	if (!reads)
		return (
		    short)(POLLRDHUP | (ssh_hear(c) ? POLLIN : 0) | (ssh_queued(c) ? POLLOUT : 0));
	return ssh_poll_events(c);
}

static void wait_for_work(struct session *session)
{
	struct ssh_connection *c = session->connection;
	struct pollfd fds[2] = {
	    {.fd = ssh_socket(c)}, {.fd = session->cancel.event_fd, .events = POLLIN}};
	struct session_figures figures = figures_now(session);
	uint64_t count;
	int timeout;

	fds[0].events = sleep_terms(session, &timeout);
	if (!fds[0].events)
		fds[0].fd = -1;
	if (!session_may_sleep(session, &figures))
		return;
	if (poll(fds, 2, timeout) < 0 && errno != EINTR)
		session_break(session, LIBSSH2_ERROR_SOCKET_RECV, "poll");
	if (fds[1].revents && read(session->cancel.event_fd, &count, sizeof(count)) < 0 &&
	    errno != EAGAIN)
		session_break(session, LIBSSH2_ERROR_SOCKET_RECV, "eventfd");
	/* With channels the end is found by reading, after what came before it. */
	if (fds[0].events & POLLRDHUP && fds[0].revents & (POLLRDHUP | POLLHUP | POLLERR)) {
		c->eof = true;
		session_break(session, LIBSSH2_ERROR_SOCKET_DISCONNECT, "poll");
	}
	ssh_readable(c);
}

static void loop(struct session *session)
{
	while (!session->broken && !atomic_load(&session->cancel.cancelled)) {
		session_look_at_pause(session);
		exchange(session);
		if (!serve(session)) {
			if (!session->broken)
				wait_for_work(session);
		} else if (session->written) {
			/* An upload may go on for long without a sleep; answers come meanwhile. */
			ssh_readable(session->connection);
		}
	}
	if (!session->broken) {
		/* A courtesy that must not wait: what the socket doesn't take now is not sent. */
		libssh2_session_disconnect(ssh_session(session->connection), "unmounted");
		(void)ssh_flush(session->connection);
		ssh_fail(&session->error, SSH_CANCELLED, ECANCELED, "%s: the session was ended",
		    session->connection->where);
	}
}

static void publish_peer(struct session *session)
{
	LIBSSH2_SESSION *ssh = ssh_session(session->connection);
	const char *cipher = libssh2_session_methods(ssh, LIBSSH2_METHOD_CRYPT_SC);
	const char *peer = libssh2_session_banner_get(ssh);
	struct session_figures *figures = &session->figures;

	pthread_mutex_lock(&session->lock);
	snprintf(figures->cipher, sizeof(figures->cipher), "%s", cipher ? cipher : "");
	log_printable(
	    figures->peer, sizeof(figures->peer), peer ? peer : "", peer ? strlen(peer) : 0);
	figures->heard_ms = ssh_last_heard(session->connection);
	pthread_mutex_unlock(&session->lock);
}

static void finish(struct session *session)
{
	struct channel *channel;

	session_finish(session);
	/* Frees libssh2's side of the channels too. */
	ssh_close(session->connection);
	session->connection = NULL;
	while ((channel = TAILQ_FIRST(&session->channels))) {
		TAILQ_REMOVE(&session->channels, channel, link);
		channel_put(channel);
	}
}

void *session_main(void *arg)
{
	struct session *session = arg;
	int err =
	    ssh_connect(session->target, &session->cancel, &session->connection, &session->error);

	if (err) {
		finish(session);
		session_post(session, &session->connected, &session->error);
	} else {
		session->connection->batched = true;
		session->connection->cancels = true;
		session->connection->memory_max = SESSION_MEMORY_MAX;
		memcpy(session->where, session->connection->where, sizeof(session->where));
		publish_peer(session);
		session_post(session, &session->connected, NULL);
		loop(session);
		finish(session);
		session_post(session, &session->lost, &session->error);
	}
	session_put(session);
	return NULL;
}

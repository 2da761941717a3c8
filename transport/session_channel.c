/*
 * A channel with the sftp subsystem, or a program, on its session's thread.
 *
 *	OPENING ──► STARTING ──► RUNNING ──► FREEING ──► DEAD ──► (stream_close) forgotten
 *	    └───────────┴── refused, late, closed ──┘
 *
 * libssh2 opens one channel at a time (session->opening), and starts one (session->starting): when
 * it reads the answer to another's request it gives up on the one it waits for. What was begun must
 * be carried to its end even if nobody wants the channel any more.
 */
#include "transport/session_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* libssh2 cuts a write to this; more than 32768 in a channel packet breaks it under backlog. */
#define WRITE_MAX 32700
#define CHANNEL_PACKET 32768
/* Packets up to this size are put together into one write. */
#define SMALL_PACKET (WRITE_MAX / 2)
/* A channel's share of one turn. */
#define TURN_WRITE (256u * 1024)

/* --- the beginning ------------------------------------------------------------------------ */

static bool serve_opening(struct channel *channel)
{
	struct session *session = channel->session;
	struct ssh_connection *c = session->connection;
	struct ssh_error error;
	int rc;

	if (session->opening != channel) {
		if (channel->closing || channel->reported) {
			channel->state = CHANNEL_DEAD;
			return false;
		}
		if (session->opening)
			return channel_fail_late(channel);
		session->opening = channel;
	}
	channel->raw = libssh2_channel_open_ex(c->session, "session", sizeof("session") - 1,
	    CHANNEL_WINDOW_FIRST, CHANNEL_PACKET, NULL, 0);
	rc = channel->raw ? 0 : libssh2_session_last_errno(c->session);
	if (rc == LIBSSH2_ERROR_EAGAIN)
		return channel_fail_late(channel);
	session->opening = NULL;
	if (channel->raw) {
		channel->state =
		    channel->closing || channel->reported ? CHANNEL_FREEING : CHANNEL_STARTING;
		return true;
	}
	if (rc != LIBSSH2_ERROR_CHANNEL_FAILURE) {
		session_break(session, rc, "channel open");
		return true;
	}
	ssh_fail(&error, SSH_NO_SFTP, EAGAIN,
	    "%s: the server does not open another channel (MaxSessions in its sshd_config; 10 is "
	    "usual)",
	    c->where);
	channel_end(channel, &error);
	return true;
}

static void refuse(struct channel *channel)
{
	struct ssh_error error;

	if (channel->command)
		ssh_fail(&error, SSH_NO_SFTP, EACCES,
		    "%s: the server runs no programs for this login", channel->session->where);
	else
		ssh_fail(&error, SSH_NO_SFTP, EPROTO,
		    "%s: the server has no SFTP: it refuses the subsystem. Add the line "
		    "\"Subsystem sftp internal-sftp\" to /etc/ssh/sshd_config on the instance and "
		    "restart sshd",
		    channel->session->where);
	channel_end(channel, &error);
}

static bool serve_starting(struct channel *channel)
{
	struct session *session = channel->session;
	int rc;

	if (session->starting != channel) {
		if (channel->closing || channel->reported) {
			channel->state = CHANNEL_FREEING;
			return true;
		}
		if (session->starting)
			return channel_fail_late(channel);
		session->starting = channel;
	}
	rc = channel->command ? libssh2_channel_exec(channel->raw, channel->command)
			      : libssh2_channel_subsystem(channel->raw, "sftp");
	if (rc == LIBSSH2_ERROR_EAGAIN)
		return channel_fail_late(channel);
	session->starting = NULL;
	if (!rc && (channel->closing || channel->reported)) {
		channel->state = CHANNEL_FREEING;
		return true;
	}
	if (!rc) {
		channel->state = CHANNEL_RUNNING;
		channel->is_open = true;
		channel_post_opened(channel, NULL);
		return true;
	}
	if (rc != LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED && rc != LIBSSH2_ERROR_CHANNEL_FAILURE) {
		channel_fail(channel, rc, "subsystem");
		return true;
	}
	refuse(channel);
	return true;
}

/* --- writing ------------------------------------------------------------------------------- */

/* Puts small packets together, because each write becomes an SSH packet of its own. */
static void fill_stage(struct channel *channel)
{
	struct packet *packet = STAILQ_FIRST(&channel->sending);

	channel->stage_at = channel->stage_len = 0;
	if (!packet || channel->sent || packet->len > SMALL_PACKET || !STAILQ_NEXT(packet, link))
		return;
	if (!channel->stage)
		channel->stage = malloc(WRITE_MAX);
	if (!channel->stage)
		return; /* they go one by one then */
	while (packet && packet->len <= SMALL_PACKET &&
	       packet->len <= WRITE_MAX - channel->stage_len) {
		memcpy(channel->stage + channel->stage_len, packet->data, packet->len);
		channel->stage_len += packet->len;
		STAILQ_REMOVE_HEAD(&channel->sending, link);
		packet_free(packet);
		packet = STAILQ_FIRST(&channel->sending);
	}
}

/* The next bytes for libssh2, the same ones until it takes them. 0 when there are none. */
static size_t next_bytes(struct channel *channel, const uint8_t **out)
{
	struct packet *packet;

	if (channel->stage_at == channel->stage_len)
		fill_stage(channel);
	if (channel->stage_at < channel->stage_len) {
		*out = channel->stage + channel->stage_at;
		return channel->stage_len - channel->stage_at;
	}
	packet = STAILQ_FIRST(&channel->sending);
	if (!packet)
		return 0;
	*out = packet->data + channel->sent;
	return packet->len - channel->sent;
}

static void bytes_taken(struct channel *channel, size_t n)
{
	struct packet *packet;

	channel->session->written += n;
	if (channel->stage_at < channel->stage_len) {
		channel->stage_at += n;
		return;
	}
	packet = STAILQ_FIRST(&channel->sending);
	channel->sent += n;
	if (channel->sent < packet->len)
		return;
	channel->sent = 0;
	STAILQ_REMOVE_HEAD(&channel->sending, link);
	packet_free(packet);
}

static bool write_some(struct channel *channel)
{
	struct ssh_connection *c = channel->session->connection;
	const uint8_t *bytes;
	size_t total = 0, len;

	while (total < TURN_WRITE && ssh_queued(c) < SESSION_QUEUED_MAX &&
	       (len = next_bytes(channel, &bytes)) > 0) {
		ssize_t n = libssh2_channel_write(
		    channel->raw, (const char *)bytes, len < WRITE_MAX ? len : WRITE_MAX);

		if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
			break; /* the server's window is full; other channels go on */
		if (n < 0) {
			channel_fail(channel, (int)n, "write");
			return true;
		}
		bytes_taken(channel, (size_t)n);
		total += (size_t)n;
	}
	if (total && next_bytes(channel, &bytes))
		stream_moves(&channel->stream);
	return total > 0;
}

/* --- a turn --------------------------------------------------------------------------------- */

static bool serve_running(struct channel *channel)
{
	bool moved;

	if (channel->closing) {
		channel->state = CHANNEL_FREEING;
		return true;
	}
	moved = write_some(channel);
	if (channel->state == CHANNEL_RUNNING && !channel->session->broken &&
	    !atomic_load(&channel->session->paused))
		moved |= channel_read_some(channel);
	return moved;
}

static bool serve_freeing(struct channel *channel)
{
	int rc = channel->raw ? libssh2_channel_free(channel->raw) : 0;

	if (rc == LIBSSH2_ERROR_EAGAIN)
		return false;
	channel->raw = NULL;
	channel->state = CHANNEL_DEAD;
	if (rc < 0)
		session_break(channel->session, rc, "channel close");
	return true;
}

bool channel_serve(struct channel *channel)
{
	switch (channel->state) {
	case CHANNEL_OPENING:
		return serve_opening(channel);
	case CHANNEL_STARTING:
		return serve_starting(channel);
	case CHANNEL_RUNNING:
		return serve_running(channel);
	case CHANNEL_FREEING:
		return serve_freeing(channel);
	case CHANNEL_DEAD:
		break;
	}
	return false;
}

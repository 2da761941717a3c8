/*
 * A channel with the sftp subsystem, on its session's thread.
 *
 *	OPENING ──► STARTING ──► RUNNING ──► FREEING ──► DEAD ──► (stream_close) forgotten
 *	    └───────────┴── refused, late, closed ──┘
 *
 * libssh2 opens one channel at a time (session->opening), and an opening that was begun must be
 * carried to its end even if nobody wants the channel any more.
 */
#include "conf/log.h"
#include "transport/session_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libssh2 cuts a write to this; more than 32768 in a channel packet breaks it under backlog. */
#define WRITE_MAX 32700
#define CHANNEL_PACKET 32768
/* Packets up to this size are put together into one write. */
#define SMALL_PACKET 4096
/* A channel's share of one turn. */
#define TURN_WRITE (256u * 1024)
#define TURN_READ (512u * 1024)

#define SSH_FXP_VERSION_TYPE 2

/* --- the end ------------------------------------------------------------------------------ */

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

/* What the server told about its sftp program's end, " (exit status 127)" or "". */
static const char *exit_words(struct channel *channel, char *buf, size_t size)
{
	int status = libssh2_channel_get_exit_status(channel->raw);
	char *name = NULL, shown[32];
	size_t len = 0;

	buf[0] = '\0';
	libssh2_channel_get_exit_signal(channel->raw, &name, &len, NULL, NULL, NULL, NULL);
	if (name && len)
		snprintf(buf, size, " (signal %s)", log_printable(shown, sizeof(shown), name, len));
	else if (status)
		snprintf(buf, size, " (exit status %d)", status);
	if (name)
		libssh2_free(ssh_session(channel->session->connection), name);
	return buf;
}

/* The stream ended. Before the first packet that means that there is no SFTP server. */
static void end_of_stream(struct channel *channel)
{
	const char *where = channel->session->connection->where;
	struct ssh_error error;
	char words[80];

	exit_words(channel, words, sizeof(words));
	if (channel->greeted)
		ssh_fail(&error, SSH_LOST, ECONNRESET,
		    "%s: the SFTP server on the instance ended%s", where, words);
	else
		ssh_fail(&error, SSH_NO_SFTP, EPROTO,
		    "%s: the server's SFTP program ended at once%s. Install it there (apt-get "
		    "install "
		    "openssh-sftp-server) and check the line \"Subsystem sftp\" in "
		    "/etc/ssh/sshd_config: "
		    "\"Subsystem sftp internal-sftp\" needs no program",
		    where, words);
	channel_end(channel, &error);
}

/* The first bytes are no SFTP packet: a login shell that prints. Shows its first line. */
static void end_noisy(struct channel *channel, const uint8_t *bytes, size_t len)
{
	char noise[256], shown[160];
	struct ssh_error error;
	size_t from = 0, to;
	ssize_t n;

	if (len > sizeof(noise) / 2)
		len = sizeof(noise) / 2;
	memcpy(noise, bytes, len);
	n = libssh2_channel_read(channel->raw, noise + len, sizeof(noise) - len);
	if (n > 0)
		len += (size_t)n;
	while (from < len && (noise[from] == '\n' || noise[from] == '\r' || noise[from] == '\0'))
		from++;
	for (to = from; to < len && noise[to] != '\n' && noise[to] != '\r';)
		to++;
	log_printable(shown, sizeof(shown), noise + from, to - from);
	ssh_fail(&error, SSH_NOISY_SHELL, EPROTO,
	    "%s: the login shell there prints \"%s\" into the SFTP stream (\"Received message too "
	    "long\"). Put what "
	    "prints in ~/.bashrc (or ~/.profile, ~/.zshenv) on the instance behind a check: [[ $- "
	    "== *i* ]] || "
	    "return",
	    channel->session->connection->where, shown);
	channel_end(channel, &error);
}

static void end_garbled(struct channel *channel, uint32_t len)
{
	struct ssh_error error;

	ssh_fail(&error, SSH_LOST, EPROTO,
	    "%s: the server sent an SFTP packet of %u bytes, which can't be",
	    channel->session->connection->where, len);
	channel_end(channel, &error);
}

/* A call on the channel failed for good: is it the channel alone, or the connection? */
static void fail(struct channel *channel, int rc, const char *step)
{
	if (rc == LIBSSH2_ERROR_CHANNEL_CLOSED || rc == LIBSSH2_ERROR_CHANNEL_EOF_SENT)
		end_of_stream(channel);
	else
		session_break(channel->session, rc, step);
}

/* --- the beginning ------------------------------------------------------------------------ */

static bool fail_late(struct channel *channel)
{
	struct ssh_error error;

	if (channel->reported || ssh_now() < channel->deadline)
		return false;
	channel->reported = true;
	ssh_fail(&error, SSH_TIMEOUT, ETIMEDOUT,
	    "%s: the server did not open an SFTP channel within the time. It may be overloaded, or "
	    "the link hangs",
	    channel->session->connection->where);
	channel_post_opened(channel, &error);
	return true;
}

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
			return fail_late(channel);
		session->opening = channel;
	}
	channel->raw = libssh2_channel_open_ex(
	    c->session, "session", sizeof("session") - 1, channel->window, CHANNEL_PACKET, NULL, 0);
	rc = channel->raw ? 0 : libssh2_session_last_errno(c->session);
	if (rc == LIBSSH2_ERROR_EAGAIN)
		return fail_late(channel);
	session->opening = NULL;
	if (channel->raw) {
		/* sftp-server's stderr would use up the window if nobody read it. */
		libssh2_channel_handle_extended_data2(
		    channel->raw, LIBSSH2_CHANNEL_EXTENDED_DATA_IGNORE);
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

static bool serve_starting(struct channel *channel)
{
	struct ssh_error error;
	int rc;

	if (channel->closing || channel->reported) {
		channel->state = CHANNEL_FREEING;
		return true;
	}
	rc = libssh2_channel_subsystem(channel->raw, "sftp");
	if (rc == LIBSSH2_ERROR_EAGAIN)
		return fail_late(channel);
	if (!rc) {
		channel->state = CHANNEL_RUNNING;
		channel->is_open = true;
		channel_post_opened(channel, NULL);
		return true;
	}
	if (rc != LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED && rc != LIBSSH2_ERROR_CHANNEL_FAILURE) {
		fail(channel, rc, "subsystem");
		return true;
	}
	ssh_fail(&error, SSH_NO_SFTP, EPROTO,
	    "%s: the server has no SFTP: it refuses the subsystem. Add the line \"Subsystem sftp "
	    "internal-sftp\" to "
	    "/etc/ssh/sshd_config on the instance and restart sshd",
	    channel->session->connection->where);
	channel_end(channel, &error);
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
			fail(channel, (int)n, "write");
			return true;
		}
		bytes_taken(channel, (size_t)n);
		total += (size_t)n;
	}
	return total > 0;
}

/* --- reading ------------------------------------------------------------------------------- */

/* The length field is there: makes the packet. False when the channel ended over it. */
static bool begin_packet(struct channel *channel)
{
	const uint8_t *header = channel->header;
	uint32_t len = (uint32_t)header[0] << 24 | (uint32_t)header[1] << 16 |
		       (uint32_t)header[2] << 8 | header[3];

	if (len < 5 || len > PACKET_MAX) {
		if (channel->greeted)
			end_garbled(channel, len);
		else
			end_noisy(channel, header, sizeof(channel->header));
		return false;
	}
	/* Room for the next length field too, so that each packet costs one read instead of two. */
	channel->reading = packet_new(4 + (size_t)len + 4);
	if (!channel->reading) {
		struct ssh_error error;

		ssh_fail(&error, SSH_LOST, ENOMEM, "%s: out of memory",
		    channel->session->connection->where);
		channel_end(channel, &error);
		return false;
	}
	memcpy(channel->reading->data, header, 4);
	channel->reading->len = 4;
	channel->reading_len = 4 + (size_t)len;
	channel->header_len = 0;
	return true;
}

/* The packet is whole, perhaps with some of the next length field behind it. False when the channel
 * ended over it. */
static bool end_packet(struct channel *channel)
{
	struct packet *packet = channel->reading;

	channel->reading = NULL;
	channel->header_len = packet->len - channel->reading_len;
	memcpy(channel->header, packet->data + channel->reading_len, channel->header_len);
	packet->len = channel->reading_len;
	if (!channel->greeted && packet->data[4] != SSH_FXP_VERSION_TYPE) {
		end_noisy(channel, packet->data, packet->len);
		packet_free(packet);
		return false;
	}
	channel->greeted = true;
	if (channel_deliver(channel, packet)) {
		struct ssh_error error;

		ssh_fail(&error, SSH_LOST, ENOMEM, "%s: out of memory",
		    channel->session->connection->where);
		channel_end(channel, &error);
		return false;
	}
	return true;
}

/* Reads once. The number of bytes, 0 when there is nothing now, -1 when the channel or session
 * ended. */
static ssize_t read_once(struct channel *channel)
{
	struct packet *packet = channel->reading;
	uint8_t *to = packet ? packet->data + packet->len : channel->header + channel->header_len;
	size_t room = packet ? packet->size - packet->len : 4 - channel->header_len;
	ssize_t n = libssh2_channel_read(channel->raw, (char *)to, room);

	if (n == LIBSSH2_ERROR_EAGAIN)
		return 0;
	if (n < 0) {
		fail(channel, (int)n, "read");
		return -1;
	}
	if (n == 0) {
		if (!libssh2_channel_eof(channel->raw))
			return 0;
		end_of_stream(channel);
		return -1;
	}
	if (packet)
		packet->len += (size_t)n;
	else
		channel->header_len += (size_t)n;
	return n;
}

static bool read_some(struct channel *channel)
{
	struct session *session = channel->session;
	size_t total = 0;

	while (total < TURN_READ) {
		ssize_t n = read_once(channel);

		if (n < 0)
			return true;
		total += (size_t)n;
		if (n == 0)
			break;
		if (channel->reading && channel->reading->len >= channel->reading_len &&
		    !end_packet(channel))
			return true;
		if (!channel->reading && channel->header_len == 4 && !begin_packet(channel))
			return true;
	}
	if (total && atomic_load(&session->posted) >= SESSION_POSTED_MAX)
		atomic_store(&session->paused, true);
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
		moved |= read_some(channel);
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

/*
 * What comes in on a channel: its window, splitting the bytes into SFTP packets, and the words for
 * a channel that ends over what came.
 */
#include "conf/log.h"
#include "transport/session_internal.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A channel's share of one turn. */
#define TURN_READ (512u * 1024)
#define WINDOW_MIN (1024u * 1024)

#define SSH_FXP_VERSION_TYPE 2

/* --- the end ------------------------------------------------------------------------------ */

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
void channel_fail(struct channel *channel, int rc, const char *step)
{
	if (rc == LIBSSH2_ERROR_CHANNEL_CLOSED || rc == LIBSSH2_ERROR_CHANNEL_EOF_SENT)
		end_of_stream(channel);
	else
		session_break(channel->session, rc, step);
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

/*
 * Keeps the receive window open. libssh2 would do so by itself within its read, but when keys are
 * being exchanged it puts its adjustment off and computes it anew afterwards: what another
 * channel's read brought in between is then counted twice, and the two sides' ideas of the window
 * part, until the server waits for ever. So the window never falls to where libssh2's own
 * adjustment begins (three quarters of its first window and the bytes wanted), and one of ours that
 * was put off is repeated as it was. 0, or libssh2's error.
 */
static int keep_window(struct channel *channel)
{
	uint32_t window = channel->window > WINDOW_MIN ? channel->window : WINDOW_MIN;
	unsigned now;
	int rc;

	if (!channel->adjusting) {
		unsigned long left = libssh2_channel_window_read_ex(channel->raw, NULL, NULL);

		if (left >= window / 4 * 3)
			return 0;
		channel->adjusting = window - (uint32_t)left;
	}
	rc = libssh2_channel_receive_window_adjust2(channel->raw, channel->adjusting, 1, &now);
	if (!rc)
		channel->adjusting = 0;
	return rc;
}

/* libssh2's read from a stream of the channel, with its window kept. */
static ssize_t read_stream(struct channel *channel, int stream, void *to, size_t room)
{
	int rc = keep_window(channel);

	return rc ? rc : libssh2_channel_read_ex(channel->raw, stream, to, room);
}

/* What sftp-server says on stderr uses up the window if nobody reads it. (libssh2's mode that
 * ignores it does not get on with a key exchange.) Whether there was anything. */
static bool drain_stderr(struct channel *channel)
{
	char text[4096], shown[200];
	ssize_t n = read_stream(channel, SSH_EXTENDED_DATA_STDERR, text, sizeof(text));

	if (n <= 0)
		return false; /* an error shows in the next read */
	log_verbose("%s: the SFTP server says: %s", channel->session->connection->where,
	    log_printable(shown, sizeof(shown), text, (size_t)n));
	return true;
}

/* Reads once. The number of bytes, 0 when there is nothing now, -1 when the channel or session
 * ended. */
static ssize_t read_once(struct channel *channel)
{
	struct packet *packet = channel->reading;
	uint8_t *to = packet ? packet->data + packet->len : channel->header + channel->header_len;
	size_t room = packet ? packet->size - packet->len : 4 - channel->header_len;
	ssize_t n = read_stream(channel, 0, to, room);

	if (n == LIBSSH2_ERROR_EAGAIN)
		return 0;
	if (n < 0) {
		channel_fail(channel, (int)n, "read");
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

bool channel_read_some(struct channel *channel)
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
	return drain_stderr(channel) || total > 0;
}

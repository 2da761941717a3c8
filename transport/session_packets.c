/*
 * Cuts what comes in on a channel into SFTP packets, and has the words for a channel that ends over
 * what came.
 */
#include "conf/log.h"
#include "transport/session_internal.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A channel's share of one turn. */
#define TURN_READ (512u * 1024)

/* Printed before a program greets. */
#define NOISE_MAX (64u * 1024)

#define SSH_FXP_VERSION_TYPE 2

/* --- the end ------------------------------------------------------------------------------ */

void session_fail_no_sftp(const struct session *session, const char *words, struct ssh_error *error)
{
	ssh_fail(error, SSH_NO_SFTP, EPROTO,
	    "%s: the server's SFTP program ended at once%s. Install it there (apt-get install "
	    "openssh-sftp-server) and check the line \"Subsystem sftp\" in /etc/ssh/sshd_config: "
	    "\"Subsystem sftp internal-sftp\" needs no program",
	    session->where, words);
}

/* Before the first packet an end means that there is no SFTP server. */
void channel_end_of_stream(struct channel *channel, const char *words)
{
	struct ssh_error error;

	if (channel->command)
		ssh_fail(&error, SSH_LOST, ECONNRESET, "%s: the program on the instance ended%s",
		    channel->session->where, words);
	else if (channel->greeted)
		ssh_fail(&error, SSH_LOST, ECONNRESET,
		    "%s: the SFTP server on the instance ended%s", channel->session->where, words);
	else
		session_fail_no_sftp(channel->session, words, &error);
	channel_end(channel, &error);
}

/* Shows the first line that was printed. */
void session_fail_noisy(
    const struct session *session, const void *bytes, size_t len, struct ssh_error *error)
{
	const char *noise = bytes;
	size_t from = 0, to;
	char shown[160];

	while (from < len && (noise[from] == '\n' || noise[from] == '\r' || noise[from] == '\0'))
		from++;
	for (to = from; to < len && noise[to] != '\n' && noise[to] != '\r';)
		to++;
	log_printable(shown, sizeof(shown), noise + from, to - from);
	ssh_fail(error, SSH_NOISY_SHELL, EPROTO,
	    "%s: the login shell there prints \"%s\" into the SFTP stream (\"Received message too "
	    "long\"). Put what "
	    "prints in ~/.bashrc (or ~/.profile, ~/.zshenv) on the instance behind a check: [[ $- "
	    "== *i* ]] || "
	    "return",
	    session->where, shown);
}

/* The first bytes are no SFTP packet: a login shell that prints. */
static void end_noisy(
    struct channel *channel, channel_reader *reader, const uint8_t *bytes, size_t len)
{
	struct ssh_error error;
	char noise[256];
	ssize_t n;

	if (len > sizeof(noise) / 2)
		len = sizeof(noise) / 2;
	memcpy(noise, bytes, len);
	n = reader(channel, noise + len, sizeof(noise) - len);
	if (n > 0)
		len += (size_t)n;
	session_fail_noisy(channel->session, noise, len, &error);
	channel_end(channel, &error);
}

static void end_garbled(struct channel *channel, uint32_t len)
{
	struct ssh_error error;

	ssh_fail(&error, SSH_LOST, EPROTO,
	    "%s: the server sent an SFTP packet of %u bytes, which can't be",
	    channel->session->where, len);
	channel_end(channel, &error);
}

static void end_no_memory(struct channel *channel)
{
	struct ssh_error error;

	ssh_fail(&error, SSH_LOST, ENOMEM, "%s: out of memory", channel->session->where);
	channel_end(channel, &error);
}

/* --- cutting ------------------------------------------------------------------------------- */

/* What a login shell prints before a program's greeting: passes one byte over. Whether it does. */
static bool pass_over(struct channel *channel, uint32_t len)
{
	if (!channel->command || channel->greeted || len == SESSION_GREETING ||
	    channel->noise++ >= NOISE_MAX)
		return false;
	memmove(channel->header, channel->header + 1, 3);
	channel->header_len = 3;
	return true;
}

/* The length field is there: makes the packet. False when the channel ended over it. */
static bool begin_packet(struct channel *channel, channel_reader *reader)
{
	const uint8_t *header = channel->header;
	uint32_t len = (uint32_t)header[0] << 24 | (uint32_t)header[1] << 16 |
		       (uint32_t)header[2] << 8 | header[3];

	if (pass_over(channel, len))
		return true;
	if (len < 5 || len > PACKET_MAX) {
		if (channel->greeted)
			end_garbled(channel, len);
		else
			end_noisy(channel, reader, header, sizeof(channel->header));
		return false;
	}
	/* Room for the next length field too, so that each packet costs one read instead of two. */
	channel->reading = packet_new(4 + (size_t)len + 4);
	if (!channel->reading) {
		end_no_memory(channel);
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
static bool end_packet(struct channel *channel, channel_reader *reader)
{
	struct packet *packet = channel->reading;

	channel->reading = NULL;
	channel->header_len = packet->len - channel->reading_len;
	memcpy(channel->header, packet->data + channel->reading_len, channel->header_len);
	packet->len = channel->reading_len;
	if (!channel->greeted && packet->data[4] != SSH_FXP_VERSION_TYPE) {
		end_noisy(channel, reader, packet->data, packet->len);
		packet_free(packet);
		return false;
	}
	channel->greeted = true;
	if (channel_deliver(channel, packet)) {
		end_no_memory(channel);
		return false;
	}
	return true;
}

/* As reader. */
static ssize_t read_once(struct channel *channel, channel_reader *reader)
{
	struct packet *packet = channel->reading;
	uint8_t *to = packet ? packet->data + packet->len : channel->header + channel->header_len;
	size_t room = packet ? packet->size - packet->len : 4 - channel->header_len;
	ssize_t n = reader(channel, to, room);

	if (n > 0)
		stream_moves(&channel->stream);
	if (n > 0 && packet)
		packet->len += (size_t)n;
	else if (n > 0)
		channel->header_len += (size_t)n;
	return n;
}

size_t channel_split(struct channel *channel, channel_reader *reader, bool *ended)
{
	struct session *session = channel->session;
	size_t total = 0;

	*ended = true;
	while (total < TURN_READ) {
		ssize_t n = read_once(channel, reader);

		if (n < 0)
			return total;
		total += (size_t)n;
		if (n == 0)
			break;
		if (channel->reading && channel->reading->len >= channel->reading_len &&
		    !end_packet(channel, reader))
			return total;
		if (!channel->reading && channel->header_len == 4 && !begin_packet(channel, reader))
			return total;
	}
	*ended = false;
	if (total && atomic_load(&session->posted) >= SESSION_POSTED_MAX)
		atomic_store(&session->paused, true);
	return total;
}

/* What comes in on a libssh2 channel: its window and its end. */
#include "conf/log.h"
#include "transport/session_internal.h"
#include <stdio.h>

#define WINDOW_MIN (1024u * 1024)

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

static void end_of_stream(struct channel *channel)
{
	char words[80];

	channel_end_of_stream(channel, exit_words(channel, words, sizeof(words)));
}

/* A call on the channel failed for good: is it the channel alone, or the connection? */
void channel_fail(struct channel *channel, int rc, const char *step)
{
	if (rc == LIBSSH2_ERROR_CHANNEL_CLOSED || rc == LIBSSH2_ERROR_CHANNEL_EOF_SENT)
		end_of_stream(channel);
	else
		session_break(channel->session, rc, step);
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
	log_verbose("%s: the %s says: %s", channel->session->connection->where,
	    channel->command ? "watcher" : "SFTP server",
	    log_printable(shown, sizeof(shown), text, (size_t)n));
	return true;
}

/* A channel_reader. */
static ssize_t read_channel(struct channel *channel, void *to, size_t room)
{
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
	return n;
}

bool channel_read_some(struct channel *channel)
{
	bool ended;
	size_t total = channel_split(channel, read_channel, &ended);

	return ended || drain_stderr(channel) || total > 0;
}

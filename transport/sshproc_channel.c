/*
 * A channel over pipes. The session's first channel takes the process' own pipes, which have
 * greeted already; the others are asked for over its control socket.
 *
 *	OPENING ──► STARTING ──► RUNNING ──► DEAD ──► (stream_close) forgotten
 *	    └── the first: at once ───┘
 */
#include "transport/sshproc.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define SSH_FXP_INIT_TYPE 1
/* A channel's share of one turn. */
#define TURN_WRITE (512u * 1024)
#define PACKETS_AT_ONCE 32
/* ssh takes 32 KiB at a time, and each time poll would wake us for them: a full pipe (512 KiB) is
 * left alone for a while first, in which ssh does not empty it. A fifth of the processor time of an
 * upload over loopback. */
#define REST_MS 1

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void pipe_channel_close(struct channel *channel)
{
	close_fd(&channel->to);
	close_fd(&channel->from);
	close_fd(&channel->mux);
}

/* --- the beginning ------------------------------------------------------------------------ */

static void run(struct channel *channel)
{
	channel->state = CHANNEL_RUNNING;
	channel->is_open = true;
	channel->readable = true;
	channel_post_opened(channel, NULL);
}

static void adopt_first(struct channel *channel)
{
	struct sshproc *process = channel->session->process;

	channel->to = process->first_to;
	channel->from = process->first_from;
	channel->version = process->version;
	process->first_to = process->first_from = -1;
	process->version = NULL;
	channel->greeted = true;
	run(channel);
}

static void fail_open(struct channel *channel)
{
	struct ssh_error error;

	ssh_fail(&error, SSH_NO_SFTP, EAGAIN,
	    "%s: the server does not open another channel (MaxSessions in its sshd_config; 10 is "
	    "usual)",
	    channel->session->where);
	channel_end(channel, &error);
}

static bool serve_opening(struct channel *channel)
{
	struct pipe_pair pair;
	int err;

	if (channel->closing || channel->reported) {
		channel->state = CHANNEL_DEAD;
		return false;
	}
	if (channel->session->process->first_to >= 0 && !channel->command) {
		adopt_first(channel);
		return true;
	}
	err = pipe_pair_make(&pair);
	if (!err)
		err = mux_ask(channel, &pair);
	if (!err) {
		channel->to = pair.to;
		channel->from = pair.from;
		pair.to = pair.from = -1;
		channel->state = CHANNEL_STARTING;
	}
	pipe_pair_close(&pair);
	/* EAGAIN: the socket's queue is full for now. */
	if (err == -EAGAIN)
		return channel_fail_late(channel);
	if (err)
		fail_open(channel);
	return true;
}

static bool serve_starting(struct channel *channel)
{
	char words[40];
	int answer;

	if (channel->closing || channel->reported) {
		channel->state = CHANNEL_DEAD;
		return true;
	}
	answer = mux_answer(channel, words, sizeof(words));
	if (answer > 0) {
		run(channel);
		return true;
	}
	if (answer < 0) {
		fail_open(channel);
		return true;
	}
	return channel_fail_late(channel);
}

/* --- writing ------------------------------------------------------------------------------- */

static void drop_head(struct channel *channel)
{
	struct packet *packet = STAILQ_FIRST(&channel->sending);

	STAILQ_REMOVE_HEAD(&channel->sending, link);
	channel->sent = 0;
	packet_free(packet);
}

/* The core's INIT was sent and answered before it was asked for. Whether this was it. */
static bool answer_init(struct channel *channel)
{
	struct packet *packet = STAILQ_FIRST(&channel->sending);
	struct packet *version = channel->version;

	if (!version || !packet)
		return false;
	channel->version = NULL;
	if (packet->len > 4 && packet->data[4] == SSH_FXP_INIT_TYPE) {
		channel->session->written += packet->len;
		drop_head(channel);
	}
	/* Out of memory: the engine gives up on a greeting that does not come. */
	(void)channel_deliver(channel, version);
	return true;
}

static void taken(struct channel *channel, size_t n)
{
	channel->session->written += n;
	channel->session->process->bytes_out += n;
	while (n) {
		struct packet *packet = STAILQ_FIRST(&channel->sending);
		size_t left = packet->len - channel->sent;

		if (n < left) {
			channel->sent += n;
			return;
		}
		n -= left;
		drop_head(channel);
	}
}

/* As much as the pipe takes. The number of bytes. */
static size_t write_once(struct channel *channel)
{
	struct iovec parts[PACKETS_AT_ONCE];
	size_t offset = channel->sent, wanted = 0;
	struct packet *packet;
	ssize_t n;
	int count = 0;

	STAILQ_FOREACH (packet, &channel->sending, link) {
		if (count == PACKETS_AT_ONCE)
			break;
		parts[count].iov_base = packet->data + offset;
		parts[count].iov_len = packet->len - offset;
		wanted += parts[count++].iov_len;
		offset = 0;
	}
	if (!count)
		return 0;
	n = writev(channel->to, parts, count);
	if (n < 0) {
		/* EPIPE: nobody reads any more, as the end of what is read will tell. */
		channel->stuffed = errno == EAGAIN;
		channel->rest_until = 0;
		if (errno != EAGAIN && errno != EINTR)
			close_fd(&channel->to);
		return 0;
	}
	channel->stuffed = (size_t)n < wanted;
	if (channel->stuffed && n > 0)
		stream_moves(&channel->stream);
	channel->rest_until = ssh_now() + REST_MS;
	taken(channel, (size_t)n);
	return (size_t)n;
}

static bool write_some(struct channel *channel)
{
	bool moved = answer_init(channel);
	size_t total = 0, n;

	if (channel->to < 0)
		channel_drop_unsent(channel);
	while (channel->to >= 0 && !channel->stuffed && total < TURN_WRITE &&
	       (n = write_once(channel)) > 0)
		total += n;
	return moved || total;
}

/* --- reading ------------------------------------------------------------------------------- */

static void end_of_stream(struct channel *channel)
{
	char words[40] = "";

	if (channel->mux >= 0)
		(void)mux_answer(channel, words, sizeof(words));
	channel_end_of_stream(channel, words);
}

/* A channel_reader. A pipe that gave less than it was asked for is empty. */
static ssize_t read_pipe(struct channel *channel, void *to, size_t room)
{
	struct sshproc *process = channel->session->process;
	ssize_t n;

	if (!channel->readable)
		return 0;
	n = read(channel->from, to, room);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		channel->readable = false;
		return 0;
	}
	if (n <= 0) {
		end_of_stream(channel);
		return -1;
	}
	channel->readable = (size_t)n == room;
	process->bytes_in += (size_t)n;
	process->heard_ms = ssh_now();
	return n;
}

/* --- a turn --------------------------------------------------------------------------------- */

static bool serve_running(struct channel *channel)
{
	bool moved, ended = false;

	if (channel->closing) {
		channel->state = CHANNEL_DEAD;
		return true;
	}
	moved = write_some(channel);
	if (channel->readable && !atomic_load(&channel->session->paused))
		moved |= channel_split(channel, read_pipe, &ended) > 0;
	return moved || ended;
}

bool pipe_channel_serve(struct channel *channel)
{
	switch (channel->state) {
	case CHANNEL_OPENING:
		return serve_opening(channel);
	case CHANNEL_STARTING:
		return serve_starting(channel);
	case CHANNEL_RUNNING:
		return serve_running(channel);
	case CHANNEL_FREEING:
	case CHANNEL_DEAD:
		break;
	}
	return false;
}

#include "transport/probe_line.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What may be queued for a connection: as much as a line of 2 s holds, not as much as memory. */
#define QUEUED_MAX (1024 * 1024)
#define CLOSE_MS 3000

/* --- the library's channels ----------------------------------------------------------------- */

/* After libssh2 said rc: waits for its EAGAIN; else an error. */
static int go_on(struct probe_line *line, int rc)
{
	if (rc == LIBSSH2_ERROR_EAGAIN)
		return ssh_wait(line->way->connection, line->deadline);
	if (rc == LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED || rc == LIBSSH2_ERROR_CHANNEL_FAILURE)
		return -ENOSYS;
	return -EIO;
}

static int channel_open(struct probe_line *line, const char *command)
{
	LIBSSH2_SESSION *session = line->way->connection->session;
	const char *what = command ? "exec" : "subsystem", *text = command ? command : "sftp";
	int rc, err = 0;

	/* or reading stderr would bring what was just looked for in vain, and be waited for */
	line->way->connection->batched = true;
	while (!(line->channel = libssh2_channel_open_session(session)) && !err)
		err = go_on(line, libssh2_session_last_errno(session));
	while (!err && (rc = libssh2_channel_process_startup(line->channel, what,
			    (unsigned)strlen(what), text, (unsigned)strlen(text))) != 0)
		err = go_on(line, rc);
	return err;
}

/* libssh2 tells of no end while something of stderr is unread. Whether there was any. */
static bool drain_errors(struct probe_line *line)
{
	char text[1024];

	return libssh2_channel_read_stderr(line->channel, text, sizeof(text)) > 0;
}

static ssize_t channel_read(struct probe_line *line, void *to, size_t room)
{
	for (;;) {
		ssize_t n = libssh2_channel_read(line->channel, to, room);
		int err = 0;

		if (n > 0 || (n == 0 && libssh2_channel_eof(line->channel)))
			return n;
		if (!drain_errors(line))
			err = go_on(line, n ? (int)n : LIBSSH2_ERROR_EAGAIN);
		if (err)
			return err;
	}
}

static int channel_write(struct probe_line *line, const char *at, size_t len)
{
	struct ssh_connection *c = line->way->connection;
	int err = 0;

	while (!err && len > 0) {
		ssize_t n = libssh2_channel_write(line->channel, at, len);

		if (n < 0)
			err = go_on(line, (int)n);
		else
			at += n, len -= (size_t)n;
	}
	if (!err)
		err = ssh_flush(c);
	while (!err && ssh_queued(c) > QUEUED_MAX)
		err = ssh_wait(c, line->deadline);
	return err;
}

static int channel_eof(struct probe_line *line)
{
	int err = 0;

	while (!err && libssh2_channel_send_eof(line->channel) == LIBSSH2_ERROR_EAGAIN)
		err = ssh_wait(line->way->connection, line->deadline);
	return err;
}

static int channel_status(struct probe_line *line)
{
	int rc, err = 0;

	while (!err && (rc = libssh2_channel_wait_closed(line->channel)) != 0)
		err = go_on(line, rc);
	return err ? err : libssh2_channel_get_exit_status(line->channel);
}

static void channel_close(struct probe_line *line)
{
	uint64_t deadline = ssh_now() + CLOSE_MS;

	while (line->channel && libssh2_channel_free(line->channel) == LIBSSH2_ERROR_EAGAIN) {
		if (ssh_wait(line->way->connection, deadline))
			break;
	}
}

/* --- sessions of an ssh process --------------------------------------------------------------- */

static void look_at_answer(struct probe_line *line)
{
	char words[160] = "";
	int rc = mux_read(line->mux, line->answer, words, sizeof(words));

	line->said |= rc > 0;
	if (rc < 0 && !line->said)
		line->refused = true;
	/* it says no more: it is not to be polled for that */
	if (rc < 0) {
		close(line->mux);
		line->mux = -1;
	}
}

/* Waits once, for one of our pipes (or fd -1) or a word of ssh's. 1: the pipe is ready. */
static int process_turn(struct probe_line *line, int fd, short events)
{
	struct sshproc *process = line->way->process;
	struct pollfd fds[5] = {{.fd = fd, .events = events}, {.fd = line->mux, .events = POLLIN},
	    {.fd = process->said_fd, .events = POLLIN}, {.fd = process->pid_fd, .events = POLLIN},
	    {.fd = line->way->cancel->event_fd, .events = POLLIN}};
	uint64_t now = ssh_now();

	if (now >= line->deadline)
		return -ETIMEDOUT;
	if (poll(fds, 5, (int)(line->deadline - now)) < 0)
		return errno == EINTR ? 0 : -errno;
	if (fds[2].revents)
		sshsays_read(process);
	if (fds[1].revents)
		look_at_answer(line);
	if (line->refused)
		return -ENOSYS;
	if (fds[0].revents)
		return 1;
	if (fds[3].revents)
		return -EPIPE;
	return fds[4].revents ? -ECANCELED : 0;
}

static int process_wait(struct probe_line *line, int fd, short events)
{
	int rc;

	do
		rc = process_turn(line, fd, events);
	while (!rc);
	return rc < 0 ? rc : 0;
}

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int process_open(struct probe_line *line, const char *command)
{
	int err = pipe_pair_make(&line->pair), mux;

	line->answer = mux_answer_new();
	if (!line->answer || err)
		return err ? err : -ENOMEM;
	mux = mux_ask_program(line->way->process, command, NULL,
	    (const int[3]){line->pair.in, line->pair.out, line->way->process->said_end});
	close_end(&line->pair.in);
	close_end(&line->pair.out);
	if (mux < 0)
		return mux;
	line->mux = mux;
	while (!err && !line->said)
		err = process_turn(line, -1, 0);
	return err;
}

static ssize_t process_read(struct probe_line *line, void *to, size_t room)
{
	for (;;) {
		ssize_t n = read(line->pair.from, to, room);
		int err;

		if (n >= 0)
			return n;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		err = process_wait(line, line->pair.from, POLLIN);
		if (err)
			return err;
	}
}

static int process_write(struct probe_line *line, const char *at, size_t len)
{
	int err = 0;

	while (!err && len > 0) {
		ssize_t n = write(line->pair.to, at, len);

		if (n >= 0)
			at += n, len -= (size_t)n;
		else if (errno == EAGAIN || errno == EINTR)
			err = process_wait(line, line->pair.to, POLLOUT);
		else /* EPIPE: it has ended, before this was written or after */
			err = errno == EPIPE ? -ENOSYS : -errno;
	}
	return err;
}

static int process_status(struct probe_line *line)
{
	uint32_t status;
	int err = 0;

	while (!err && line->mux >= 0 && !mux_exit_status(line->answer, &status))
		err = process_turn(line, -1, 0);
	if (err)
		return err;
	return mux_exit_status(line->answer, &status) ? (int)(status & 0xff) : -EIO;
}

/* --- either ------------------------------------------------------------------------------------
 */

int probe_line_open(
    struct probe_line *line, const struct probe_way *way, const char *command, uint64_t deadline)
{
	*line = (struct probe_line){
	    .way = way, .deadline = deadline, .pair = {-1, -1, -1, -1}, .mux = -1};
	return way->connection ? channel_open(line, command) : process_open(line, command);
}

ssize_t probe_line_read(struct probe_line *line, void *to, size_t room)
{
	return line->channel ? channel_read(line, to, room) : process_read(line, to, room);
}

ssize_t probe_line_peek(struct probe_line *line, void *to, size_t room)
{
	ssize_t n = line->channel ? libssh2_channel_read(line->channel, to, room)
				  : read(line->pair.from, to, room);

	return n > 0 ? n : 0;
}

int probe_line_write(struct probe_line *line, const void *bytes, size_t len)
{
	return line->channel ? channel_write(line, bytes, len) : process_write(line, bytes, len);
}

int probe_line_eof(struct probe_line *line)
{
	if (line->channel)
		return channel_eof(line);
	close_end(&line->pair.to);
	return 0;
}

int probe_line_status(struct probe_line *line)
{
	return line->channel ? channel_status(line) : process_status(line);
}

void probe_line_close(struct probe_line *line)
{
	if (line->way->connection) {
		channel_close(line);
		return;
	}
	pipe_pair_close(&line->pair);
	close_end(&line->mux);
	free(line->answer);
}

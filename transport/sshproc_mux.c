/*
 * Asking the ssh process for another session, over its control socket (PROTOCOL.mux of OpenSSH).
 * All numbers are 32 bits, big-endian; each message has its length before it.
 *
 *	we                                    ssh
 *	HELLO version 4                       HELLO version 4
 *	NEW_SESSION subsystem "sftp", or a command, with a terminal or without
 *	a byte with stdin, one with stdout,
 *	one with stderr (SCM_RIGHTS)          SESSION_OPENED, or FAILURE reason
 *	                                      EXIT_MESSAGE status
 *
 * The connection stays open: closing it ends the session.
 */
#include "transport/sshproc.h"
#include "transport/sshwire.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MUX_VERSION 4
#define MUX_HELLO 0x00000001u
#define MUX_NEW_SESSION 0x10000002u
#define MUX_OPEN_FORWARD 0x10000006u
#define MUX_CLOSE_FORWARD 0x10000007u
#define MUX_NEW_CONNECTION 0x10000008u
#define MUX_OK 0x80000001u
#define MUX_DENIED 0x80000002u
#define MUX_FAILURE 0x80000003u
#define MUX_EXIT 0x80000004u
#define MUX_OPENED 0x80000006u

#define ANSWER_MAX 1024

struct mux_answer {
	uint8_t bytes[ANSWER_MAX];
	size_t len;
	bool ended;
	uint32_t exit_status;
};

struct message {
	struct wire wire;
	uint8_t bytes[34 * 1024]; /* a command is the longest that is asked for */
};

#define FORWARD_LOCAL_TYPE 1u
#define FORWARD_REMOTE_TYPE 2u
#define UNIX_SOCKET_PORT 0xfffffffeu /* in place of a port: the host is a path */

static void add_u32(struct message *message, uint32_t value)
{
	wire_put_u32(&message->wire, value);
}

static void add_string(struct message *message, const char *text)
{
	wire_put_string(&message->wire, text, strlen(text));
}

/* Fills in the length of the message that begins at `at`. */
static void seal(struct message *message, size_t at)
{
	struct wire place = {.bytes = message->bytes + at, .size = 4};

	wire_put_u32(&place, (uint32_t)(message->wire.len - at - 4));
}

/* HELLO, and the head of the request behind it; the place of its length. */
static size_t begin(struct message *message, uint32_t type)
{
	size_t at;

	message->wire = (struct wire){.bytes = message->bytes, .size = sizeof(message->bytes)};
	add_u32(message, 0);
	add_u32(message, MUX_HELLO);
	add_u32(message, MUX_VERSION);
	seal(message, 0);
	at = message->wire.len;
	add_u32(message, 0);
	add_u32(message, type);
	add_u32(message, 1); /* request id */
	return at;
}

/* term NULL: no terminal. */
static void compose(struct message *message, const char *command, const char *term)
{
	size_t at = begin(message, MUX_NEW_SESSION);

	add_string(message, ""); /* reserved */
	add_u32(message, term != NULL);
	add_u32(message, 0);	      /* no X11 */
	add_u32(message, 0);	      /* no agent */
	add_u32(message, !command);   /* a subsystem */
	add_u32(message, 0xffffffff); /* no escape character */
	add_string(message, term ? term : "");
	add_string(message, command ? command : "sftp");
	seal(message, at);
}

static int send_fd(int to, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec byte = {.iov_base = (char[]){0}, .iov_len = 1};
	struct msghdr message = {.msg_iov = &byte,
	    .msg_iovlen = 1,
	    .msg_control = control.space,
	    .msg_controllen = sizeof(control.space)};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	return sendmsg(to, &message, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

/* Sends the message and the descriptors over a new connection to the control socket. That, or a
 * negative errno. */
static int ask(const struct sshproc *process, const struct message *message, const int *fds, int n)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, err = 0;

	if (!process->control[0])
		return -ENOTSUP;
	if (message->wire.full)
		return -ENAMETOOLONG;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", process->control);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		err = -errno;
	/* A fresh socket takes as little as this at once. */
	if (!err &&
	    send(fd, message->bytes, message->wire.len, MSG_NOSIGNAL) != (ssize_t)message->wire.len)
		err = errno ? -errno : -EIO;
	for (int i = 0; !err && i < n; i++)
		err = send_fd(fd, fds[i]);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int mux_ask(struct channel *channel, struct pipe_pair *pair)
{
	struct sshproc *process = channel->session->process;
	const int fds[3] = {pair->in, pair->out, process->said_end};
	struct message message;
	int fd;

	channel->answer = mux_answer_new();
	if (!channel->answer)
		return -ENOMEM;
	compose(&message, channel->command, NULL);
	fd = ask(process, &message, fds, 3);
	if (fd < 0)
		return fd;
	channel->mux = fd;
	return 0;
}

int mux_ask_program(
    const struct sshproc *process, const char *command, const char *term, const int fds[3])
{
	struct message message;

	compose(&message, command, term);
	return ask(process, &message, fds, 3);
}

int mux_ask_connection(
    const struct sshproc *process, const char *host, unsigned port, const struct pipe_pair *pair)
{
	const int fds[2] = {pair->in, pair->out};
	struct message message;
	size_t at = begin(&message, MUX_NEW_CONNECTION);

	add_string(&message, ""); /* reserved */
	add_string(&message, host);
	add_u32(&message, port);
	seal(&message, at);
	return ask(process, &message, fds, 2);
}

static int ask_forward(const struct sshproc *process, bool opens, uint32_t type, const char *host,
    uint32_t port, const char *path)
{
	struct message message;
	size_t at = begin(&message, opens ? MUX_OPEN_FORWARD : MUX_CLOSE_FORWARD);

	add_u32(&message, type);
	add_string(&message, host);
	add_u32(&message, port);
	add_string(&message, path);
	add_u32(&message, UNIX_SOCKET_PORT);
	seal(&message, at);
	return ask(process, &message, NULL, 0);
}

int mux_ask_listener(
    const struct sshproc *process, bool listens, const char *host, unsigned port, const char *path)
{
	return ask_forward(process, listens, FORWARD_REMOTE_TYPE, host, port, path);
}

int mux_ask_socket(const struct sshproc *process, bool listens, const char *path, const char *far)
{
	return ask_forward(process, listens, FORWARD_LOCAL_TYPE, path, UNIX_SOCKET_PORT, far);
}

struct mux_answer *mux_answer_new(void)
{
	return calloc(1, sizeof(struct mux_answer));
}

bool mux_exit_status(const struct mux_answer *answer, uint32_t *status)
{
	*status = answer->exit_status;
	return answer->ended;
}

/* One whole message. As mux_answer. */
static int understand(struct mux_answer *to, struct span answer, char *words, size_t size)
{
	uint32_t type, request, status;
	struct span text;

	if (!wire_get_u32(&answer, &type))
		return 0;
	switch (type) {
	case MUX_OPENED:
	case MUX_OK:
		return 1;
	case MUX_DENIED:
	case MUX_FAILURE:
		if (wire_get_u32(&answer, &request) && wire_get_string(&answer, &text))
			snprintf(words, size, "%.*s", (int)text.len, (const char *)text.data);
		return -EACCES;
	case MUX_EXIT:
		if (!wire_get_u32(&answer, &request) || !wire_get_u32(&answer, &status))
			return 0;
		to->ended = true;
		to->exit_status = status;
		if (status)
			snprintf(words, size, " (exit status %u)", status);
		return 0;
	default:
		return 0;
	}
}

int mux_answer(struct channel *channel, char *words, size_t size)
{
	return mux_read(channel->mux, channel->answer, words, size);
}

int mux_read(int fd, struct mux_answer *answer, char *words, size_t size)
{
	ssize_t n = recv(fd, answer->bytes + answer->len, ANSWER_MAX - answer->len, 0);
	int result = 0;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -EPIPE;
	answer->len += (size_t)n;
	for (;;) {
		struct span rest = {answer->bytes, answer->len};
		uint32_t len;
		int one;

		if (!wire_get_u32(&rest, &len))
			break;
		if (len > ANSWER_MAX - 4)
			return -EPROTO;
		if (rest.len < len)
			break;
		one = understand(answer, (struct span){rest.data, len}, words, size);
		if (one)
			result = one;
		answer->len = rest.len - len;
		memmove(answer->bytes, rest.data + len, answer->len);
	}
	return result;
}

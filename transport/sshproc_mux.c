/*
 * Asking the ssh process for another session, over its control socket (PROTOCOL.mux of OpenSSH).
 * All numbers are 32 bits, big-endian; each message has its length before it.
 *
 *	we                                    ssh
 *	HELLO version 4                       HELLO version 4
 *	NEW_SESSION subsystem "sftp"
 *	a byte with stdin, one with stdout,
 *	one with stderr (SCM_RIGHTS)          SESSION_OPENED, or FAILURE reason
 *	                                      EXIT_MESSAGE status
 *
 * The connection stays open: closing it ends the session.
 */
#include "transport/sshproc.h"
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
#define MUX_DENIED 0x80000002u
#define MUX_FAILURE 0x80000003u
#define MUX_EXIT 0x80000004u
#define MUX_OPENED 0x80000006u

#define ANSWER_MAX 1024

struct mux_answer {
	uint8_t bytes[ANSWER_MAX];
	size_t len;
};

struct message {
	uint8_t bytes[256];
	size_t len;
};

static void put_u32(uint8_t *to, uint32_t value)
{
	to[0] = (uint8_t)(value >> 24);
	to[1] = (uint8_t)(value >> 16);
	to[2] = (uint8_t)(value >> 8);
	to[3] = (uint8_t)value;
}

static uint32_t get_u32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void add_u32(struct message *message, uint32_t value)
{
	put_u32(message->bytes + message->len, value);
	message->len += 4;
}

static void add_string(struct message *message, const char *text)
{
	size_t len = strlen(text);

	add_u32(message, (uint32_t)len);
	memcpy(message->bytes + message->len, text, len);
	message->len += len;
}

/* Fills in the length of the message that begins at `at`. */
static void seal(struct message *message, size_t at)
{
	put_u32(message->bytes + at, (uint32_t)(message->len - at - 4));
}

static void compose(struct message *message)
{
	size_t at;

	message->len = 0;
	add_u32(message, 0);
	add_u32(message, MUX_HELLO);
	add_u32(message, MUX_VERSION);
	seal(message, 0);
	at = message->len;
	add_u32(message, 0);
	add_u32(message, MUX_NEW_SESSION);
	add_u32(message, 1);	      /* request id */
	add_string(message, "");      /* reserved */
	add_u32(message, 0);	      /* no terminal */
	add_u32(message, 0);	      /* no X11 */
	add_u32(message, 0);	      /* no agent */
	add_u32(message, 1);	      /* a subsystem */
	add_u32(message, 0xffffffff); /* no escape character */
	add_string(message, "");      /* no terminal type */
	add_string(message, "sftp");
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

static int send_all(int fd, const struct sshproc *process, const struct pipe_pair *pair)
{
	struct message message;
	int err;

	compose(&message);
	/* A fresh socket takes as little as this at once. */
	if (send(fd, message.bytes, message.len, MSG_NOSIGNAL) != (ssize_t)message.len)
		return errno ? -errno : -EIO;
	err = send_fd(fd, pair->in);
	if (!err)
		err = send_fd(fd, pair->out);
	if (!err)
		err = send_fd(fd, process->said_end);
	return err;
}

int mux_ask(struct channel *channel, struct pipe_pair *pair)
{
	struct sshproc *process = channel->session->process;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, err = 0;

	if (!process->control[0])
		return -ENOTSUP;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", process->control);
	channel->answer = calloc(1, sizeof(*channel->answer));
	if (!channel->answer)
		return -ENOMEM;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		err = -errno;
	if (!err)
		err = send_all(fd, process, pair);
	if (err) {
		close(fd);
		return err;
	}
	channel->mux = fd;
	return 0;
}

/* One whole message. As mux_answer. */
static int understand(const uint8_t *at, size_t len, char *words, size_t size)
{
	switch (len >= 4 ? get_u32(at) : 0) {
	case MUX_OPENED:
		return 1;
	case MUX_DENIED:
	case MUX_FAILURE:
		return -EACCES;
	case MUX_EXIT:
		if (len >= 12 && get_u32(at + 8))
			snprintf(words, size, " (exit status %u)", get_u32(at + 8));
		return 0;
	default:
		return 0;
	}
}

int mux_answer(struct channel *channel, char *words, size_t size)
{
	struct mux_answer *answer = channel->answer;
	ssize_t n = recv(channel->mux, answer->bytes + answer->len, ANSWER_MAX - answer->len, 0);
	int result = 0;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -EPIPE;
	answer->len += (size_t)n;
	while (answer->len >= 4) {
		size_t len = get_u32(answer->bytes), whole = 4 + len;
		int one;

		if (len > ANSWER_MAX - 4)
			return -EPROTO;
		if (answer->len < whole)
			break;
		one = understand(answer->bytes + 4, len, words, size);
		if (one)
			result = one;
		answer->len -= whole;
		memmove(answer->bytes, answer->bytes + whole, answer->len);
	}
	return result;
}

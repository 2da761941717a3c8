#include "transport/forward_pipe.h"
#include "conf/log.h"
#include "transport/sshproc.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One descriptor, watched once at a time: poll would tell of bytes that nobody reads again and
 * again. */
struct end {
	int fd; /* -1 when there is none, or no more */
	uv_poll_t poll;
	bool inited, armed;
	struct forward_pipe *pipe;
};

struct forward_pipe {
	struct forward_link *link; /* NULL once freed */
	struct end to, from, mux;
	unsigned handles; /* of libuv, not yet closed */
	struct mux_answer *answer;
	bool answered, gone;
};

/* --- watching ------------------------------------------------------------------------ */

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct end *end = poll->data;

	uv_poll_stop(poll);
	end->armed = false;
	if (end->pipe->link)
		end->pipe->link->dirty = true;
}

static void arm(struct end *end, int events)
{
	if (end->fd < 0 || end->armed)
		return;
	if (!uv_poll_start(&end->poll, events, on_poll))
		end->armed = true;
	else
		end->pipe->link->dirty = true;
}

/* Takes fd in any case. */
static int end_init(struct forward_pipe *pipe, struct end *end, int fd)
{
	end->fd = fd;
	end->pipe = pipe;
	if (fcntl(fd, F_SETFL, O_NONBLOCK))
		return -errno;
	if (uv_poll_init(&pipe->link->owner->loop, &end->poll, fd))
		return -EINVAL;
	end->poll.data = end;
	end->inited = true;
	pipe->handles++;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct end *end = handle->data;

	if (--end->pipe->handles == 0 && !end->pipe->link) {
		free(end->pipe->answer);
		free(end->pipe);
	}
}

static void end_close(struct end *end)
{
	int fd = end->fd;

	end->fd = -1;
	if (end->inited) {
		uv_poll_stop(&end->poll);
		uv_close((uv_handle_t *)&end->poll, on_closed);
		end->inited = false;
	}
	if (fd >= 0)
		close(fd);
}

/* --- making -------------------------------------------------------------------------- */

static struct forward_pipe *make(struct forward_link *link)
{
	struct forward_pipe *pipe = calloc(1, sizeof(*pipe));

	if (!pipe)
		return NULL;
	pipe->link = link;
	pipe->to.fd = pipe->from.fd = pipe->mux.fd = -1;
	pipe->to.pipe = pipe->from.pipe = pipe->mux.pipe = pipe;
	return pipe;
}

void forward_pipe_free(struct forward_pipe *pipe)
{
	if (!pipe)
		return;
	end_close(&pipe->to);
	end_close(&pipe->from);
	end_close(&pipe->mux);
	pipe->link = NULL;
	if (!pipe->handles) {
		free(pipe->answer);
		free(pipe);
	}
}

struct forward_pipe *forward_pipe_ask(
    struct forward_link *link, struct forward_conn *conn, int *err)
{
	struct forward_pipe *pipe = make(link);
	struct pipe_pair pair = {-1, -1, -1, -1};
	int mux = -1;

	*err = pipe ? pipe_pair_make(&pair) : -ENOMEM;
	if (!*err && !(pipe->answer = mux_answer_new()))
		*err = -ENOMEM;
	if (!*err) {
		mux = mux_ask_connection(
		    link->process, forward_conn_host(conn), forward_conn_port(conn), &pair);
		*err = mux < 0 ? mux : end_init(pipe, &pipe->mux, mux);
	}
	if (!*err) {
		*err = end_init(pipe, &pipe->to, pair.to);
		pair.to = -1;
	}
	if (!*err) {
		*err = end_init(pipe, &pipe->from, pair.from);
		pair.from = -1;
	}
	pipe_pair_close(&pair);
	if (*err) {
		forward_pipe_free(pipe);
		return NULL;
	}
	arm(&pipe->mux, UV_READABLE);
	return pipe;
}

struct forward_pipe *forward_pipe_of_socket(struct forward_link *link, int fd)
{
	struct forward_pipe *pipe = make(link);
	/* libuv watches a descriptor for one at a time */
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (!pipe || copy < 0) {
		close(fd);
		if (copy >= 0)
			close(copy);
		forward_pipe_free(pipe);
		return NULL;
	}
	pipe->answered = true;
	if (end_init(pipe, &pipe->from, fd) | end_init(pipe, &pipe->to, copy)) {
		forward_pipe_free(pipe);
		return NULL;
	}
	return pipe;
}

struct forward_pipe *forward_pipe_of_request(struct forward_link *link, int mux)
{
	struct forward_pipe *pipe = make(link);

	if (!pipe) {
		close(mux);
		return NULL;
	}
	pipe->answer = mux_answer_new();
	if (end_init(pipe, &pipe->mux, mux) || !pipe->answer) {
		forward_pipe_free(pipe);
		return NULL;
	}
	arm(&pipe->mux, UV_READABLE);
	return pipe;
}

/* --- using --------------------------------------------------------------------------- */

int forward_pipe_answer(struct forward_pipe *pipe)
{
	char words[160] = "";
	int rc;

	if (pipe->mux.fd < 0)
		return -1;
	rc = mux_read(pipe->mux.fd, pipe->answer, words, sizeof(words));
	if (rc > 0) {
		pipe->answered = true;
		arm(&pipe->mux, UV_READABLE);
	} else if (rc == 0) {
		arm(&pipe->mux, UV_READABLE);
	} else {
		end_close(&pipe->mux);
	}
	return rc > 0 ? 1 : rc < 0 ? -1 : 0;
}

/* What a read or write came to, in libssh2's words; how: to wait for. */
static ssize_t moved(struct end *end, ssize_t n, int how)
{
	if (n >= 0)
		return n;
	if (errno != EAGAIN)
		return LIBSSH2_ERROR_CHANNEL_CLOSED;
	arm(end, how);
	return LIBSSH2_ERROR_EAGAIN;
}

ssize_t forward_pipe_write(struct forward_pipe *pipe, const void *data, size_t len)
{
	ssize_t n;

	if (pipe->to.fd < 0)
		return LIBSSH2_ERROR_CHANNEL_CLOSED;
	do
		n = write(pipe->to.fd, data, len);
	while (n < 0 && errno == EINTR);
	return moved(&pipe->to, n, UV_WRITABLE);
}

ssize_t forward_pipe_read(struct forward_pipe *pipe, void *data, size_t size)
{
	ssize_t n;

	if (pipe->from.fd < 0)
		return LIBSSH2_ERROR_CHANNEL_CLOSED;
	do
		n = read(pipe->from.fd, data, size);
	while (n < 0 && errno == EINTR);
	return moved(&pipe->from, n, UV_READABLE);
}

void forward_pipe_end(struct forward_pipe *pipe)
{
	/* a pipe is not a socket: closing ends it */
	if (pipe->to.fd >= 0 && shutdown(pipe->to.fd, SHUT_WR) && errno != ENOTSOCK)
		log_debug("shutdown: %s", strerror(errno));
	end_close(&pipe->to);
}

bool forward_pipe_gone(struct forward_pipe *pipe)
{
	/* ssh closes its side of the control connection when the channel is closed both ways */
	if (pipe->mux.fd >= 0 && pipe->answered && !pipe->mux.armed)
		pipe->gone |= forward_pipe_answer(pipe) < 0;
	return pipe->gone;
}

bool forward_pipe_ends_empty(const struct forward_pipe *pipe)
{
	char byte;

	return pipe->from.fd >= 0 && recv(pipe->from.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

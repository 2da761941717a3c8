/*
 * One forwarded connection.
 *
 *	local program  --read-->  up[]  --channel_write-->  instance
 *	local program  <--write-- down[] <--channel_read--  instance
 *
 * Back-pressure: while up[] holds something, the local socket is not read; while down[] does, the
 * channel is not, and the instance stops when the channel's window is used up. Half-close: the end
 * of one direction is passed on when all before it has been, and the other direction goes on. When
 * both have ended, so does the connection.
 */
#include "conf/log.h"
#include "transport/forward_pipe.h"
#include <stdlib.h>
#include <string.h>

static void on_tcp_closed(uv_handle_t *handle)
{
	struct forward_conn *conn = handle->data;

	conn->tcp_closed = true;
	forward_conn_release(conn);
}

void forward_conn_release(struct forward_conn *conn)
{
	if (conn->state != CONN_CLOSING || !conn->tcp_closed || conn->channel)
		return;
	conn->forward->owner->n_conns--;
	free(conn->target_host);
	free(conn->up);
	free(conn->down);
	free(conn);
}

void forward_conn_close(struct forward_conn *conn, bool reset)
{
	struct forwards *owner = conn->forward->owner;
	enum forward_conn_state state = conn->state;

	if (state == CONN_CLOSING)
		return;
	conn->state = CONN_CLOSING;
	atomic_fetch_sub(&conn->forward->connections, 1);
	if (state == CONN_WAITING) {
		TAILQ_REMOVE(&owner->waiting, conn, entry);
	} else if (state == CONN_OPEN) {
		TAILQ_REMOVE(&conn->link->conns, conn, entry);
		conn->link->n_conns--;
		if (conn->channel) {
			TAILQ_INSERT_TAIL(&conn->link->closing, conn, entry);
			conn->link->dirty = true;
			owner->again = true;
		}
	}
	if (state == CONN_OPENING && conn->link && conn->link->process)
		TAILQ_REMOVE(&conn->link->asked, conn, entry);
	forward_pipe_free(conn->pipe);
	conn->pipe = NULL;
	uv_read_stop((uv_stream_t *)&conn->tcp);
	/* libuv refuses the reset while its shutdown is under way. */
	if (!reset || conn->shutting || uv_tcp_close_reset(&conn->tcp, on_tcp_closed))
		uv_close((uv_handle_t *)&conn->tcp, on_tcp_closed);
}

void forward_conn_accept(struct forward *forward, uv_stream_t *listener)
{
	struct forwards *owner = forward->owner;
	struct forward_conn *conn = calloc(1, sizeof(*conn));
	int err;

	if (!conn) {
		forward_warn(forward, TROUBLE_LIMIT, "out of memory");
		return; /* libuv gives this listener no more connections */
	}
	conn->forward = forward;
	conn->accepted_ms = forwards_now();
	err = uv_tcp_init(&owner->loop, &conn->tcp);
	if (err) {
		free(conn);
		return;
	}
	conn->tcp.data = conn;
	owner->n_conns++;
	atomic_fetch_add(&forward->connections, 1);
	TAILQ_INSERT_TAIL(&owner->waiting, conn, entry);
	err = uv_accept(listener, (uv_stream_t *)&conn->tcp);
	if (err) {
		forward_conn_close(conn, false);
		return;
	}
	uv_tcp_nodelay(&conn->tcp, 1);
	atomic_fetch_add(&forward->accepted, 1);
	conn->asking = forward->spec->kind == FORWARD_SOCKS;
	if (owner->n_conns > FORWARD_CONNS_MAX) {
		forward_warn(forward, TROUBLE_LIMIT, "more than %d connections at once; closed one",
		    FORWARD_CONNS_MAX);
		forward_conn_close(conn, false);
	} else if (!atomic_load(&owner->up) && owner->failures) {
		forward_warn(forward, TROUBLE_DOWN,
		    "closed a connection: there is no link to the instance (%s)", owner->dial_text);
		forward_conn_close(conn, false);
	} else if (conn->asking) {
		forward_socks_begin(conn);
	}
	forwards_hurry(owner);
}

/* --- up ---------------------------------------------------------------------- */

/* 0, or libssh2's error when the session is lost. */
static int push(struct forward_conn *conn)
{
	struct forward_link *link = conn->link;

	while (conn->up_len) {
		ssize_t n;

		if (conn->pipe)
			n = forward_pipe_write(conn->pipe, conn->up + conn->up_at, conn->up_len);
		else if (ssh_queued(link->connection) >= FORWARD_QUEUE_MAX)
			return 0;
		else
			n = libssh2_channel_write(
			    conn->channel, (char *)conn->up + conn->up_at, conn->up_len);
		if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
			return 0;
		if (n < 0 && forward_link_fatal((int)n))
			return (int)n;
		if (n < 0 && conn->pipe) {
			/* It takes no more, but may have said something. */
			conn->up_len = 0;
			conn->up_eof = conn->eof_sent = true;
			uv_read_stop((uv_stream_t *)&conn->tcp);
			conn->reading = false;
			return 0;
		}
		if (n < 0) {
			conn->broken = true;
			return 0;
		}
		conn->up_at += (size_t)n;
		conn->up_len -= (size_t)n;
		atomic_fetch_add(&conn->forward->bytes_out, (uint64_t)n);
	}
	if (conn->up_eof && !conn->eof_sent && conn->pipe) {
		forward_pipe_end(conn->pipe);
		conn->eof_sent = true;
	} else if (conn->up_eof && !conn->eof_sent) {
		int rc = libssh2_channel_send_eof(conn->channel);

		if (rc == LIBSSH2_ERROR_EAGAIN)
			return 0;
		if (rc && forward_link_fatal(rc))
			return rc;
		conn->eof_sent = true;
	}
	return 0;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct forward_conn *conn = handle->data;

	if (!conn->up)
		conn->up = malloc(FORWARD_BUFFER);
	*buf = uv_buf_init((char *)conn->up, conn->up ? FORWARD_BUFFER : 0);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct forward_conn *conn = stream->data;

	if (n == 0 || conn->state != CONN_OPEN)
		return;
	conn->link->dirty = true;
	if (n < 0) {
		uv_read_stop(stream);
		conn->reading = false;
		if (n == UV_EOF)
			conn->up_eof = true;
		else
			conn->broken = true;
		return;
	}
	conn->up_at = 0;
	conn->up_len = (size_t)n;
	/* An error comes again in forwards_work. */
	if (push(conn) || conn->up_len) {
		uv_read_stop(stream);
		conn->reading = false;
	}
}

static void read_on(struct forward_conn *conn)
{
	if (conn->reading || conn->up_eof || conn->up_len || conn->broken)
		return;
	if (uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read))
		conn->broken = true;
	else
		conn->reading = true;
}

/* --- down -------------------------------------------------------------------- */

static void on_written(uv_write_t *write, int status)
{
	struct forward_conn *conn = write->data;

	if (conn->state != CONN_OPEN)
		return;
	conn->writing = false;
	conn->link->dirty = true;
	if (status < 0)
		conn->broken = true;
}

/* Brings n bytes of the scratch buffer to the local program. */
static void deliver(struct forward_conn *conn, size_t n)
{
	struct forwards *owner = conn->forward->owner;
	uv_buf_t buf = uv_buf_init(owner->scratch, (unsigned)n);
	int took = uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1);

	conn->moved += n;
	atomic_fetch_add(&conn->forward->bytes_in, n);
	if (took == UV_EAGAIN)
		took = 0;
	if (took < 0) {
		conn->broken = true;
		return;
	}
	if ((size_t)took == n)
		return;
	if (!conn->down)
		conn->down = malloc(FORWARD_BUFFER);
	if (!conn->down) {
		conn->broken = true;
		return;
	}
	memcpy(conn->down, owner->scratch + took, n - (size_t)took);
	buf = uv_buf_init((char *)conn->down, (unsigned)(n - (size_t)took));
	conn->write.data = conn;
	if (uv_write(&conn->write, (uv_stream_t *)&conn->tcp, &buf, 1, on_written))
		conn->broken = true;
	else
		conn->writing = true;
}

/*
 * Keeps the window open; a program that has read megabytes (more than the kernel's buffers hold)
 * gets a wider one.
 *
 * libssh2_channel_read would do the same by itself, in a way that must not meet ours: when keys are
 * being exchanged its adjustment is put off, then computed anew without a look at what came in
 * between, and may come out negative. So the window is never let fall to where it would begin
 * (three quarters of the first window, and the bytes wanted), and an adjustment of ours that was
 * put off is repeated as it was. 0, or libssh2's error.
 */
static int widen(struct forward_conn *conn)
{
	uint64_t want = conn->moved / 8;
	unsigned long left;
	unsigned now;
	int rc;

	/* libssh2 made this channel, with a wide window that it keeps by itself */
	if (conn->forward->spec->kind == FORWARD_REMOTE || conn->pipe)
		return 0;
	if (!conn->adjusting) {
		if (want < FORWARD_WINDOW_MIN)
			want = FORWARD_WINDOW_MIN;
		if (want > FORWARD_WINDOW_MAX)
			want = FORWARD_WINDOW_MAX;
		left = libssh2_channel_window_read_ex(conn->channel, NULL, NULL);
		if (left >= want / 4 * 3)
			return 0;
		conn->adjusting = (uint32_t)(want - left);
	}
	rc = libssh2_channel_receive_window_adjust2(conn->channel, conn->adjusting, 1, &now);
	if (!rc)
		conn->adjusting = 0;
	return rc;
}

/* 0, or libssh2's error when the session is lost. */
static int pull(struct forward_conn *conn)
{
	struct forwards *owner = conn->forward->owner;
	int steps = 0;

	while (!conn->writing && !conn->down_eof && !conn->broken) {
		ssize_t n;
		int rc;

		if (steps++ == FORWARD_STEPS) {
			owner->again = conn->link->dirty = true;
			return 0;
		}
		rc = widen(conn);
		if (rc == LIBSSH2_ERROR_EAGAIN)
			return 0;
		if (rc)
			return rc;
		n = conn->pipe
			? forward_pipe_read(conn->pipe, owner->scratch, sizeof(owner->scratch))
			: libssh2_channel_read(
			      conn->channel, owner->scratch, sizeof(owner->scratch));
		if (n > 0)
			deliver(conn, (size_t)n);
		else if (n == LIBSSH2_ERROR_EAGAIN)
			return 0;
		else if (n < 0 && forward_link_fatal((int)n))
			return (int)n;
		else if (n < 0)
			conn->broken = true;
		else if (conn->pipe || libssh2_channel_eof(conn->channel))
			conn->down_eof = true;
		/* 0 without an end: libssh2 was busy with something else; once more. */
	}
	return 0;
}

/* --- both -------------------------------------------------------------------- */

static void on_shut(uv_shutdown_t *request, int status)
{
	struct forward_conn *conn = request->data;

	conn->shutting = false;
	conn->shut = true;
	if (conn->state != CONN_OPEN)
		return;
	conn->link->dirty = true;
}

/* Passes the instance's end of data on. */
static void shut_local(struct forward_conn *conn)
{
	if (!conn->down_eof || conn->writing || conn->shutting || conn->shut)
		return;
	conn->shutdown.data = conn;
	if (uv_shutdown(&conn->shutdown, (uv_stream_t *)&conn->tcp, on_shut))
		conn->shut = true; /* the local program is gone already */
	else
		conn->shutting = true;
}

void forward_conn_opened(struct forward_conn *conn)
{
	struct forward_link *link = conn->link;

	conn->state = CONN_OPEN;
	TAILQ_INSERT_TAIL(&link->conns, conn, entry);
	link->n_conns++;
	link->used_ms = forwards_now();
	read_on(conn);
}

int forward_conn_serve(struct forward_conn *conn, char *text, size_t size)
{
	if (push(conn) || pull(conn))
		return forward_link_error(conn->link, text, size);
	if (conn->broken) {
		forward_conn_close(conn, true);
		return 0;
	}
	shut_local(conn);
	if (conn->shut && !conn->eof_sent) {
		/* The instance wants no more either (its program is gone): so much for what is
		 * still on the way up. */
		int rc = !conn->pipe ? libssh2_channel_wait_closed(conn->channel)
			 : forward_pipe_gone(conn->pipe) ? 0
							 : LIBSSH2_ERROR_EAGAIN;

		if (!rc) {
			forward_conn_close(conn, conn->up_len > 0);
			return 0;
		}
		if (rc != LIBSSH2_ERROR_EAGAIN && forward_link_fatal(rc))
			return forward_link_error(conn->link, text, size);
	}
	if (conn->shut && conn->eof_sent)
		forward_conn_close(conn, false);
	else
		read_on(conn);
	return 0;
}

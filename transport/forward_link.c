/*
 * An SSH session of the forwards: dialled by a helper thread, then served on the loop.
 *
 *	DIALLING --> UP --> ENDED (out of the list; freed when libuv has closed the poll handle)
 *	    \_________________^
 *
 * There is one, as a rule. Others are made while opens are slow (forward_open.c), and closed when
 * they idle.
 */
#include "conf/log.h"
#include "transport/forward_pipe.h"
#include "transport/sshproc.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool forward_link_fatal(int error)
{
	switch (error) {
	case LIBSSH2_ERROR_NONE:
	case LIBSSH2_ERROR_EAGAIN:
	case LIBSSH2_ERROR_ALLOC:
	case LIBSSH2_ERROR_INVAL:
	case LIBSSH2_ERROR_BAD_USE:
	case LIBSSH2_ERROR_REQUEST_DENIED:
	case LIBSSH2_ERROR_CHANNEL_CLOSED:
	case LIBSSH2_ERROR_CHANNEL_EOF_SENT:
	case LIBSSH2_ERROR_CHANNEL_FAILURE:
	case LIBSSH2_ERROR_CHANNEL_PACKET_EXCEEDED:
	case LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED:
	case LIBSSH2_ERROR_CHANNEL_UNKNOWN:
	case LIBSSH2_ERROR_CHANNEL_WINDOW_EXCEEDED:
		return false;
	default:
		return true;
	}
}

int forward_link_error(struct forward_link *link, char *text, size_t size)
{
	char *why = NULL;
	int rc = libssh2_session_last_error(ssh_session(link->connection), &why, NULL, 0);

	switch (rc) {
	case LIBSSH2_ERROR_SOCKET_SEND:
	case LIBSSH2_ERROR_SOCKET_RECV:
	case LIBSSH2_ERROR_SOCKET_DISCONNECT:
		snprintf(text, size, "the instance's sshd, or the network, closed it");
		break;
	default:
		snprintf(text, size, "%s (%d)", why ? why : "", rc);
		break;
	}
	return -1;
}

/* --- the end -------------------------------------------------------------------- */

static void link_free(struct forward_link *link)
{
	ssh_cancel_fini(&link->cancel);
	free(link);
}

static void on_poll_closed(uv_handle_t *handle)
{
	struct forward_link *link = handle->data;

	if (--link->n_handles == 0)
		link_free(link);
}

/* Frees it once libuv has let go. */
static void close_handles(struct forward_link *link)
{
	unsigned n = link->n_handles;

	uv_poll_stop(&link->poll);
	if (n > 1)
		uv_poll_stop(&link->end_poll);
	if (n > 1)
		uv_close((uv_handle_t *)&link->end_poll, on_poll_closed);
	uv_close((uv_handle_t *)&link->poll, on_poll_closed);
}

static void remove_link(struct forward_link *link)
{
	TAILQ_REMOVE(&link->owner->links, link, entry);
	link->owner->n_links--;
	link->state = LINK_ENDED;
}

void forward_link_drop(struct forward_link *link)
{
	remove_link(link);
	if (link->n_handles)
		close_handles(link);
	else
		link_free(link);
}

void forward_link_join(struct forward_link *link)
{
	if (!link->joined)
		pthread_join(link->dial_thread, NULL);
	link->joined = true;
}

void forward_link_hang_up(struct forward_link *link)
{
	ssh_close(link->connection);
	sshproc_master_free(link->process);
	link->connection = NULL;
	link->process = NULL;
	/* its thread has waited for this */
	ssh_cancel_set(&link->cancel);
	forward_link_join(link);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct forward_link *link = poll->data;

	link->dirty = true;
	if (status < 0) {
		link->lost = true;
		link->poll_events = 0;
	}
}

/* The session is up no more; its libssh2 channels die with it. */
static void drop_connections(struct forward_link *link)
{
	struct forwards *forwards = link->owner;
	struct forward_conn *conn;

	while ((conn = TAILQ_FIRST(&link->conns))) {
		conn->channel = NULL;
		forward_conn_close(conn, true);
		conn->link = NULL;
	}
	while ((conn = TAILQ_FIRST(&link->closing))) {
		TAILQ_REMOVE(&link->closing, conn, entry);
		conn->channel = NULL;
		conn->link = NULL;
		forward_conn_release(conn);
	}
	while ((conn = TAILQ_FIRST(&link->asked))) {
		TAILQ_REMOVE(&link->asked, conn, entry);
		forward_pipe_free(conn->pipe);
		conn->pipe = NULL;
		conn->link = NULL;
		conn->state = CONN_WAITING;
		TAILQ_INSERT_HEAD(&forwards->waiting, conn, entry);
	}
	conn = link->opening;
	if (conn) {
		link->opening = NULL;
		conn->forward->opening = false;
		conn->link = NULL;
		conn->state = CONN_WAITING;
		TAILQ_INSERT_HEAD(&forwards->waiting, conn, entry);
	}
}

void forward_link_end(struct forward_link *link, const char *why)
{
	struct forwards *forwards = link->owner;
	struct forward_link *each;
	bool up = false;
	uint64_t now = forwards_now();

	if (link->state == LINK_DIALLING) {
		ssh_cancel_set(&link->cancel);
		forward_link_join(link);
		ssh_close(link->dialled);
		sshproc_master_free(link->dialled_process);
		forward_link_drop(link);
		return;
	}
	remove_link(link);
	TAILQ_FOREACH (each, &forwards->links, entry)
		up = up || each->state == LINK_UP;
	atomic_store(&forwards->up, up);
	forward_remote_end(forwards, link);
	drop_connections(link);
	close_handles(link);
	forward_link_hang_up(link);
	if (!why)
		return;
	log_warning("forwards: lost the connection: %s", why);
	forward_redial(forwards, now - link->up_ms >= 10000);
}

/* --- serving -------------------------------------------------------------------- */

/* Takes all that the socket has into libssh2, whether or not a connection may be read. */
static int read_socket(struct forward_link *link, char *text, size_t size)
{
	LIBSSH2_CHANNEL *channel = link->base;
	struct forward_conn *conn;
	int rc;

	if (!channel) {
		TAILQ_FOREACH (conn, &link->conns, entry) {
			if (!conn->down_eof) {
				channel = conn->channel;
				break;
			}
		}
	}
	if (!channel)
		return 0;
	rc = libssh2_channel_wait_eof(channel);
	if (rc && rc != LIBSSH2_ERROR_EAGAIN)
		return forward_link_error(link, text, size);
	if (!rc && link->base) {
		/* The server ended it; libssh2 frees it with the session. */
		log_verbose("forwards: the server closed the session channel");
		link->base = NULL;
		link->ping_pending = false;
	}
	return 0;
}

static int ping_step(struct forward_link *link)
{
	int rc;

	if (!link->ping_pending)
		return 0;
	rc = libssh2_channel_setenv_ex(link->base, "VASTFS_PING", 11, "1", 1);
	if (rc != LIBSSH2_ERROR_EAGAIN)
		link->ping_pending = false;
	/* libssh2 gives up on the answer after a minute; whether the link is dead is decided
	 * elsewhere. */
	return rc != LIBSSH2_ERROR_TIMEOUT && forward_link_fatal(rc) ? -1 : 0;
}

static int serve_connections(struct forward_link *link, char *text, size_t size)
{
	struct forward_conn *conn, *next;

	for (conn = TAILQ_FIRST(&link->conns); conn; conn = next) {
		next = TAILQ_NEXT(conn, entry);
		if (forward_conn_serve(conn, text, size))
			return -1;
	}
	/* Another one is first next time. */
	conn = TAILQ_FIRST(&link->conns);
	if (conn) {
		TAILQ_REMOVE(&link->conns, conn, entry);
		TAILQ_INSERT_TAIL(&link->conns, conn, entry);
	}
	for (conn = TAILQ_FIRST(&link->closing); conn; conn = next) {
		int rc = libssh2_channel_free(conn->channel);

		next = TAILQ_NEXT(conn, entry);
		if (rc == LIBSSH2_ERROR_EAGAIN)
			continue; /* until the server has closed it too */
		TAILQ_REMOVE(&link->closing, conn, entry);
		conn->channel = NULL;
		conn->link = NULL;
		link->used_ms = forwards_now();
		forward_conn_release(conn);
	}
	return 0;
}

static bool has_channels(const struct forward_link *link)
{
	return link->opening_base || link->opening || !TAILQ_EMPTY(&link->conns) ||
	       !TAILQ_EMPTY(&link->closing);
}

static int watch(struct forward_link *link, char *text, size_t size)
{
	short wanted = ssh_poll_events(link->connection);
	int events = UV_DISCONNECT;

	/* Without a channel nothing would take the bytes, and poll would not let the loop sleep. */
	if (link->base || has_channels(link))
		events = UV_READABLE;
	if (wanted & POLLOUT)
		events |= UV_WRITABLE;
	if (events == link->poll_events)
		return 0;
	if (uv_poll_start(&link->poll, events, on_poll)) {
		snprintf(text, size, "the socket can't be watched");
		return -1;
	}
	link->poll_events = events;
	return 0;
}

/*
 * Any call that reads may bring bytes for a channel whose turn is already over; the socket is empty
 * then, and nobody would look at that channel again. Hence rounds, until one has brought nothing.
 */
int forward_link_serve(struct forward_link *link, char *text, size_t size)
{
	if (link->process)
		return forward_process_serve(link, text, size);
	for (int round = 0;; round++) {
		uint64_t before;
		int err;

		if (link->lost) {
			snprintf(text, size, "the connection broke");
			return -1;
		}
		if (read_socket(link, text, size))
			return -1;
		before = ssh_bytes_in(link->connection);
		if (forward_open_step(link, text, size) || forward_remote_step(link, text, size) ||
		    serve_connections(link, text, size))
			return -1;
		if (ping_step(link))
			return forward_link_error(link, text, size);
		err = ssh_flush(link->connection);
		if (err) {
			snprintf(text, size, "%s", strerror(-err));
			return -1;
		}
		if (ssh_bytes_in(link->connection) == before)
			break;
		if (round == 3) {
			link->owner->again = link->dirty = true;
			break;
		}
	}
	return watch(link, text, size);
}

/* --- silence ---------------------------------------------------------------------- */

static void ping(struct forward_link *link, unsigned timeout)
{
	link->pinging = true;
	link->ping_ms = forwards_now();
	link->ping_timeout = timeout;
	link->ping_bytes = ssh_bytes_in(link->connection);
	link->dirty = true;
	if (link->base && !link->ping_pending) {
		link->ping_pending = true;
	} else {
		int next;

		libssh2_keepalive_config(ssh_session(link->connection), 1, 1);
		libssh2_keepalive_send(ssh_session(link->connection), &next);
	}
}

int forward_link_tick(struct forward_link *link, bool resumed, char *text, size_t size)
{
	uint64_t now = forwards_now(), silent;
	bool active = has_channels(link);

	link->dirty = true; /* a look more than needed, in case libssh2 put something off */
	/* ssh asks for signs of life itself, and ends without them */
	if (link->process)
		return 0;
	silent = now - ssh_last_heard(link->connection);
	if (!active && link->owner->n_links > 1 && now - link->used_ms >= FORWARD_SPARE_IDLE) {
		forward_link_end(link, NULL);
		return 0;
	}
	if (link->pinging && ssh_bytes_in(link->connection) != link->ping_bytes)
		link->pinging = false;
	if (link->pinging && !resumed && now - link->ping_ms >= link->ping_timeout) {
		snprintf(text, size, "nothing heard for %u seconds", (unsigned)(silent / 1000));
		return -1;
	}
	if (resumed)
		ping(link, FORWARD_PING_RESUMED);
	else if (!link->pinging && silent >= (active ? FORWARD_PING_ACTIVE : FORWARD_PING_IDLE))
		ping(link, FORWARD_PING_TIMEOUT);
	return 0;
}

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
#include "transport/forwards_internal.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

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

/* --- dialling ------------------------------------------------------------------ */

static void *dial_main(void *arg)
{
	struct forward_link *link = arg;

	if (ssh_connect(&link->owner->target, &link->cancel, &link->dialled, &link->dial_error))
		link->dialled = NULL;
	atomic_store(&link->dial_done, true);
	/* The loop joins this thread before it closes the handle. */
	uv_async_send(&link->owner->wake);
	return NULL;
}

int forward_link_dial(struct forwards *forwards)
{
	struct forward_link *link = calloc(1, sizeof(*link));
	int err;

	if (!link)
		return -ENOMEM;
	link->owner = forwards;
	TAILQ_INIT(&link->conns);
	TAILQ_INIT(&link->closing);
	err = ssh_cancel_init(&link->cancel);
	if (err) {
		free(link);
		return err;
	}
	err = pthread_create(&link->dial_thread, NULL, dial_main, link);
	if (err) {
		ssh_cancel_fini(&link->cancel);
		free(link);
		return -err;
	}
	TAILQ_INSERT_TAIL(&forwards->links, link, entry);
	forwards->n_links++;
	return 0;
}

/* value ± a quarter. */
static uint64_t jitter(uint64_t value)
{
	uint16_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = 1 << 15;
	return value * 3 / 4 + value * random / (2u << 16);
}

/* The next dial comes after a pause that doubles. Failures that time does not heal get longer ones.
 */
static void back_off(struct forwards *forwards, enum ssh_failure kind)
{
	unsigned max = FORWARD_BACKOFF_MAX;

	switch (kind) {
	case SSH_HOST_KEY_CHANGED:
	case SSH_NO_KEY:
	case SSH_KEY_UNUSABLE:
	case SSH_DENIED:
	case SSH_NO_ALGORITHM:
		max = 10 * FORWARD_BACKOFF_MAX;
		if (forwards->backoff_ms < FORWARD_BACKOFF_MAX)
			forwards->backoff_ms = FORWARD_BACKOFF_MAX;
		break;
	default:
		break;
	}
	forwards->dial_at_ms = forwards_now() + jitter(forwards->backoff_ms);
	forwards->backoff_ms = forwards->backoff_ms < max / 2 ? forwards->backoff_ms * 2 : max;
}

static void dial_failed(struct forwards *forwards, const struct ssh_error *error)
{
	uint64_t now = forwards_now();
	const char *end;
	size_t len;

	forwards->failures++;
	back_off(forwards, error->kind);
	/* What happened without the advice, which the warning has. */
	end = strstr(error->text, ". ");
	len = end ? (size_t)(end - error->text) : strlen(error->text);
	if (len >= sizeof(forwards->dial_text))
		len = sizeof(forwards->dial_text) - 1;
	memcpy(forwards->dial_text, error->text, len);
	forwards->dial_text[len] = '\0';
	for (unsigned i = 0; i < forwards->count; i++)
		forward_set_error(forwards->forwards[i], forwards->dial_text);
	/* Each new kind of failure once, the same one again after ten minutes. */
	if (error->kind == SSH_HOST_KEY_UNKNOWN && forwards->asked_elsewhere) {
		log_verbose("forwards: waiting for the host key to be accepted");
	} else if (error->kind != forwards->dial_warned ||
		   now - forwards->dial_warned_ms >= 10 * FORWARD_WARN_EVERY) {
		forwards->dial_warned = error->kind;
		forwards->dial_warned_ms = now;
		log_warning("forwards: no connection yet, trying again: %s", error->text);
	} else {
		log_verbose("forwards: %s", error->text);
	}
	if (!atomic_load(&forwards->up))
		forward_waiting_expire(forwards, forwards->dial_text);
}

static void link_free(struct forward_link *link)
{
	ssh_cancel_fini(&link->cancel);
	free(link);
}

static void on_poll_closed(uv_handle_t *handle)
{
	link_free(handle->data);
}

static void remove_link(struct forward_link *link)
{
	TAILQ_REMOVE(&link->owner->links, link, entry);
	link->owner->n_links--;
	link->state = LINK_ENDED;
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

/* A dial has given a session, or not. */
static void dialled(struct forward_link *link)
{
	struct forwards *forwards = link->owner;
	int err = 0;

	pthread_join(link->dial_thread, NULL);
	if (link->dialled) {
		err = uv_poll_init(&forwards->loop, &link->poll, ssh_socket(link->dialled));
		if (err) {
			ssh_close(link->dialled);
			link->dialled = NULL;
			link->dial_error.kind = SSH_LOST;
			snprintf(link->dial_error.text, sizeof(link->dial_error.text), "%s",
			    uv_strerror(err));
		}
	}
	if (!link->dialled) {
		struct ssh_error error = link->dial_error;

		remove_link(link);
		link_free(link);
		dial_failed(forwards, &error);
		return;
	}
	link->connection = link->dialled;
	link->poll.data = link;
	link->state = LINK_UP;
	link->up_ms = link->used_ms = forwards_now();
	if (!atomic_load(&forwards->up))
		log_info("forwards: connected");
	atomic_store(&forwards->up, true);
	forwards->failures = 0;
	forwards->dial_warned = SSH_OK;
	forward_open_base(link);
}

void forward_links_dialled(struct forwards *forwards)
{
	struct forward_link *link, *next;

	for (link = TAILQ_FIRST(&forwards->links); link; link = next) {
		next = TAILQ_NEXT(link, entry);
		if (link->state == LINK_DIALLING && atomic_load(&link->dial_done))
			dialled(link);
	}
}

/* --- the end -------------------------------------------------------------------- */

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
		pthread_join(link->dial_thread, NULL);
		ssh_close(link->dialled);
		remove_link(link);
		link_free(link);
		return;
	}
	remove_link(link);
	TAILQ_FOREACH (each, &forwards->links, entry)
		up = up || each->state == LINK_UP;
	atomic_store(&forwards->up, up);
	forward_remote_end(forwards, link);
	drop_connections(link);
	uv_poll_stop(&link->poll);
	uv_close((uv_handle_t *)&link->poll, on_poll_closed);
	ssh_close(link->connection);
	link->connection = NULL;
	if (!why)
		return;
	log_warning("forwards: lost the connection: %s", why);
	/* At once after a session that was good; one that dies young is no better than a failed
	 * dial. */
	if (now - link->up_ms >= 10000) {
		forwards->backoff_ms = FORWARD_BACKOFF_MIN;
		forwards->dial_at_ms = now + jitter(200);
	} else {
		back_off(forwards, SSH_LOST);
	}
	forwards_hurry(forwards);
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
	uint64_t now = forwards_now(), silent = now - ssh_last_heard(link->connection);
	bool active = has_channels(link);

	link->dirty = true; /* a look more than needed, in case libssh2 put something off */
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

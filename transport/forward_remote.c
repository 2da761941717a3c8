/*
 * Remote forwards (-R): sshd on the instance listens, and each connection that it takes comes as a
 * channel; we connect it to a port or Unix socket here. libssh2 asks for one listener at a time.
 * They belong to a session and are asked for again on the next one.
 */
#include "conf/log.h"
#include "transport/forward_pipe.h"
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void warn_nobody(struct forward *forward, int status)
{
	const struct forward_spec *spec = forward->spec;

	if (spec->socket_path)
		forward_warn(forward, TROUBLE_FAR,
		    "closed a connection: nobody listens on %s here: %s", spec->socket_path,
		    uv_strerror(status));
	else
		forward_warn(forward, TROUBLE_FAR,
		    "closed a connection: nobody listens on %s:%u here: %s", spec->host, spec->port,
		    uv_strerror(status));
}

static void on_connected(uv_connect_t *connect, int status)
{
	struct forward_conn *conn = connect->data;

	if (status == 0 || conn->state != CONN_OPEN)
		return;
	warn_nobody(conn->forward, status);
	conn->broken = true;
	conn->link->dirty = true;
}

/* To a socket it is made at once, or not: one whose queue is full counts as not listening. */
static int reach_socket(struct forward_conn *conn)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = conn->forward->spec->socket_path;
	int fd, err = 0;

	if (strlen(path) >= sizeof(address.sun_path))
		return UV_ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		err = -errno;
	/* to libuv one stream is as the other */
	if (!err)
		err = uv_tcp_open(&conn->tcp, fd);
	if (err)
		close(fd);
	return err;
}

/* Connects to the port here; bytes may be given to libuv at once. 0 or a negative errno. */
static int reach(struct forward_conn *conn)
{
	const struct forward_spec *spec = conn->forward->spec;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	char port[8];
	int err = UV_EADDRNOTAVAIL;

	if (spec->socket_path)
		return reach_socket(conn);
	snprintf(port, sizeof(port), "%u", spec->port);
	if (getaddrinfo(spec->host, port, &hints, &list))
		return err;
	conn->connect.data = conn;
	/* localhost is 127.0.0.1 for most programs that listen */
	for (struct addrinfo *each = list; each && err; each = each->ai_next) {
		if (each->ai_family == AF_INET || !each->ai_next)
			err =
			    uv_tcp_connect(&conn->connect, &conn->tcp, each->ai_addr, on_connected);
	}
	freeaddrinfo(list);
	return err;
}

void forward_remote_take(
    struct forward_link *link, struct forward *forward, LIBSSH2_CHANNEL *channel, int fd)
{
	struct forwards *owner = forward->owner;
	struct forward_conn *conn = calloc(1, sizeof(*conn));
	int err;

	if (conn && !channel)
		conn->pipe = forward_pipe_of_socket(link, fd);
	else if (!channel)
		close(fd);
	if (!conn || (!channel && !conn->pipe) || uv_tcp_init(&owner->loop, &conn->tcp)) {
		if (channel)
			libssh2_channel_free(channel); /* the rest dies with the session */
		if (conn)
			forward_pipe_free(conn->pipe);
		free(conn);
		return;
	}
	conn->forward = forward;
	conn->accepted_ms = forwards_now();
	conn->channel = channel;
	conn->link = link;
	conn->tcp.data = conn;
	owner->n_conns++;
	atomic_fetch_add(&forward->connections, 1);
	atomic_fetch_add(&forward->accepted, 1);
	err = reach(conn);
	forward_conn_opened(conn);
	if (err) {
		conn->broken = true;
		warn_nobody(forward, err);
	}
	link->dirty = owner->again = true;
}

static int accept_all(struct forward_link *link, struct forward *forward, char *text, size_t size)
{
	for (;;) {
		LIBSSH2_CHANNEL *channel = libssh2_channel_forward_accept(forward->listener);
		int error;

		if (channel) {
			forward_remote_take(link, forward, channel, -1);
			continue;
		}
		error = libssh2_session_last_errno(ssh_session(link->connection));
		if (error && error != LIBSSH2_ERROR_EAGAIN && forward_link_fatal(error) &&
		    error != LIBSSH2_ERROR_CHANNEL_UNKNOWN)
			return forward_link_error(link, text, size);
		return 0;
	}
}

void forward_remote_refused(struct forward *forward)
{
	forward_warn(forward, TROUBLE_FAR,
	    "the instance's sshd does not listen on port %u: it is taken there, or "
	    "AllowTcpForwarding forbids it",
	    forward->spec->listen_port);
}

static int ask(struct forward_link *link, struct forward *forward, char *text, size_t size)
{
	const char *host = forward->spec->listen_host;
	int bound, error;

	link->listening = forward;
	forward->listener = libssh2_channel_forward_listen_ex(ssh_session(link->connection),
	    strcmp(host, "*") ? host : "0.0.0.0", forward->spec->listen_port, &bound, 16);
	error = forward->listener ? 0 : libssh2_session_last_errno(ssh_session(link->connection));
	if (error == LIBSSH2_ERROR_EAGAIN)
		return 0;
	link->listening = NULL;
	link->dirty = link->owner->again = true;
	if (!error) {
		forward->listener_link = link;
		atomic_store(&forward->listening, true);
		forward_set_error(forward, "");
		log_info("forward %s: the instance listens", forward->text);
		return 0;
	}
	if (forward_link_fatal(error))
		return forward_link_error(link, text, size);
	forward->refused_link = link;
	forward_remote_refused(forward);
	return 0;
}

int forward_remote_step(struct forward_link *link, char *text, size_t size)
{
	struct forwards *forwards = link->owner;

	/* libssh2 has one open, and one listen, under way at a time; the base channel comes first
	 */
	for (unsigned i = 0; i < forwards->count; i++) {
		struct forward *forward = forwards->forwards[i];
		int rc = 0;

		if (forward->spec->kind != FORWARD_REMOTE)
			continue;
		if (forward->listener_link == link && forward->gone) {
			if (libssh2_channel_forward_cancel(forward->listener) !=
			    LIBSSH2_ERROR_EAGAIN) {
				forward->listener = NULL;
				forward->listener_link = NULL;
			}
		} else if (forward->listener_link == link) {
			rc = accept_all(link, forward, text, size);
		} else if (!forward->gone && !forward->listener_link &&
			   forward->refused_link != link && !link->opening_base &&
			   (!link->listening || link->listening == forward)) {
			rc = ask(link, forward, text, size);
		}
		if (rc)
			return rc;
	}
	return 0;
}

void forward_remote_end(struct forwards *forwards, struct forward_link *link)
{
	for (unsigned i = 0; i < forwards->count; i++) {
		struct forward *forward = forwards->forwards[i];

		if (forward->refused_link == link)
			forward->refused_link = NULL;
		if (forward->listener_link != link)
			continue;
		if (link && link->process) {
			forward_process_end_listener(forward);
			continue;
		}
		forward->listener = NULL; /* libssh2 frees it with the session */
		forward->listener_link = NULL;
		atomic_store(&forward->listening, false);
	}
}

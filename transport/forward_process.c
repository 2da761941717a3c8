/*
 * A session of the forwards by way of ssh(1), where libssh2 can't do what the key, the server or
 * ~/.ssh/config needs, or the user says transport=ssh: a process for connections alone
 * (sshproc_master.c). Each connection is a request of its own to it, so that none waits for
 * another's slow opening.
 *
 * Through sockets in the runtime folder go a remote forward's connections, which come to ours, and
 * those to a Unix socket there, for which ssh listens on one (its request for one connection knows
 * ports only).
 */
#include "conf/log.h"
#include "conf/paths.h"
#include "transport/forward_pipe.h"
#include "transport/sshproc.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16

static bool is_remote(const struct forward *forward)
{
	return forward->spec->kind == FORWARD_REMOTE;
}

bool forward_by_process(const struct forwards *forwards)
{
	return forwards->process_only || ssh_needs_process(forwards->target.profile);
}

bool forward_needs_process(struct forwards *forwards, enum ssh_failure kind)
{
	if (forwards->target.profile->transport != TRANSPORT_AUTO || forward_by_process(forwards) ||
	    !ssh_is_beyond_library(kind))
		return false;
	forwards->process_only = true;
	return true;
}

/* --- its life ------------------------------------------------------------------------ */

static void on_event(uv_poll_t *poll, int status, int events)
{
	struct forward_link *link = poll->data;

	link->dirty = true;
	/* its end; once told is enough */
	if (poll == &link->end_poll || status < 0) {
		uv_poll_stop(poll);
		link->lost = true;
	}
}

int forward_process_watch(struct forward_link *link)
{
	uv_loop_t *loop = &link->owner->loop;
	int err = uv_poll_init(loop, &link->poll, link->process->said_fd);

	if (err)
		return err;
	link->poll.data = link->end_poll.data = link;
	link->n_handles = 1;
	err = uv_poll_init(loop, &link->end_poll, link->process->pid_fd);
	if (!err)
		link->n_handles = 2;
	if (!err)
		err = uv_poll_start(&link->poll, UV_READABLE, on_event);
	if (!err)
		err = uv_poll_start(&link->end_poll, UV_READABLE, on_event);
	return err;
}

static void explain_end(struct forward_link *link, char *text, size_t size)
{
	struct ssh_error error = {.text = ""};

	sshproc_reap(link->process);
	sshsays_read(link->process);
	sshsays_error(link->process, &error);
	snprintf(text, size, "%s", error.text);
}

/* --- connections --------------------------------------------------------------------- */

static void fail_open(struct forward_conn *conn, const char *why)
{
	forward_pipe_free(conn->pipe);
	conn->pipe = NULL;
	conn->link = NULL;
	forward_far_failed(conn, 0, why);
	forward_conn_close(conn, false);
}

void forward_process_open(struct forward_link *link, struct forward_conn *conn)
{
	int err = 0;

	if (!conn->forward->spec->socket_path)
		conn->pipe = forward_pipe_ask(link, conn, &err);
	if (err)
		fail_open(conn, strerror(-err));
	else
		TAILQ_INSERT_TAIL(&link->asked, conn, entry);
}

/* To the socket on which ssh listens for one there. As forward_pipe_answer. */
static int try_socket(struct forward_link *link, struct forward_conn *conn)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct forward *forward = conn->forward;
	int fd;

	if (forward->refused_link == link)
		return -1;
	if (forward->listener_link != link || forward->request)
		return 0;
	strcpy(address.sun_path, forward->listener_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		fd = -1;
	}
	if (fd >= 0)
		conn->pipe = forward_pipe_of_socket(link, fd);
	return conn->pipe ? 1 : -1;
}

/* ssh takes such a connection before it knows whether there is anybody there. */
static bool socket_failed(struct forward_link *link, struct forward_conn *conn)
{
	char *why = link->process->says.open_failed;

	if (is_remote(conn->forward) || !conn->forward->spec->socket_path || conn->moved ||
	    !conn->pipe || !forward_pipe_ends_empty(conn->pipe))
		return false;
	sshsays_read(link->process);
	if (!why[0])
		return false;
	forward_far_failed(conn, 0, why);
	why[0] = '\0';
	forward_conn_close(conn, true);
	return true;
}

static void look_at_asked(struct forward_link *link)
{
	struct sshproc *process = link->process;
	struct forward_conn *conn, *next;

	for (conn = TAILQ_FIRST(&link->asked); conn; conn = next) {
		int answer = conn->pipe ? forward_pipe_answer(conn->pipe) : try_socket(link, conn);

		next = TAILQ_NEXT(conn, entry);
		if (!answer)
			continue;
		TAILQ_REMOVE(&link->asked, conn, entry);
		link->used_ms = forwards_now();
		if (answer > 0) {
			log_debug("forward %s: connection opened", conn->forward->text);
			forward_conn_opened(conn);
			continue;
		}
		/* ssh says why before it answers */
		sshsays_read(process);
		fail_open(conn,
		    process->says.open_failed[0] ? process->says.open_failed : "ssh can't open it");
		process->says.open_failed[0] = '\0';
	}
}

/* --- remote forwards ----------------------------------------------------------------- */

static void on_listener_closed(uv_handle_t *handle)
{
	free(handle);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
	struct forward *forward = poll->data;
	struct forward_link *link = forward->listener_link;
	int fd;

	while (link && (fd = accept4(forward->listener_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		forward_remote_take(link, forward, NULL, fd);
}

/* A socket's name in the runtime folder. 0 or a negative errno. */
static int name_socket(struct forward *forward)
{
	static unsigned count;
	struct conf_error why = {.text = ""};
	char *folder = NULL;
	int len, err = paths_runtime_dir(&folder, &why);

	if (err)
		return err;
	len = snprintf(forward->listener_path, sizeof(forward->listener_path), "%s/forward-%d-%u",
	    folder, (int)getpid(), count++);
	free(folder);
	if (len < 0 || (size_t)len >= sizeof(forward->listener_path)) {
		forward->listener_path[0] = '\0';
		return -ENAMETOOLONG;
	}
	unlink(forward->listener_path);
	return 0;
}

/* The socket that ssh is to connect to. 0 or a negative errno. */
static int listen_here(struct forward_link *link, struct forward *forward)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, err;

	strcpy(address.sun_path, forward->listener_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	forward->listener_poll = calloc(1, sizeof(*forward->listener_poll));
	if (!forward->listener_poll || bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(fd, BACKLOG) || uv_poll_init(&link->owner->loop, forward->listener_poll, fd)) {
		err = errno ? -errno : -ENOMEM;
		free(forward->listener_poll);
		forward->listener_poll = NULL;
		close(fd);
		return err;
	}
	forward->listener_poll->data = forward;
	uv_poll_start(forward->listener_poll, UV_READABLE, on_connection);
	forward->listener_fd = fd;
	return 0;
}

/* That it listens, or no more. The request's connection, or a negative errno. */
static int tell(struct forward_link *link, struct forward *forward, bool listens)
{
	const struct forward_spec *spec = forward->spec;
	const char *host = spec->listen_host;

	if (!is_remote(forward))
		return mux_ask_socket(
		    link->process, listens, forward->listener_path, spec->socket_path);
	return mux_ask_listener(link->process, listens, strcmp(host, "*") ? host : "0.0.0.0",
	    spec->listen_port, forward->listener_path);
}

static void close_listener(struct forward *forward)
{
	if (forward->listener_poll) {
		uv_poll_stop(forward->listener_poll);
		uv_close((uv_handle_t *)forward->listener_poll, on_listener_closed);
		close(forward->listener_fd);
	}
	if (forward->listener_path[0])
		unlink(forward->listener_path);
	forward->listener_poll = NULL;
	forward_pipe_free(forward->request);
	forward->request = NULL;
	if (is_remote(forward))
		atomic_store(&forward->listening, false);
}

void forward_process_end_listener(struct forward *forward)
{
	close_listener(forward);
	forward->listener_path[0] = '\0';
	forward->listener_link = NULL;
	forward->leaving = false;
}

/* The forward was removed; the socket's name is a part of what is told. */
static void leave(struct forward_link *link, struct forward *forward)
{
	int fd = tell(link, forward, false);

	close_listener(forward);
	forward->leaving = true;
	if (fd >= 0)
		forward->request = forward_pipe_of_request(link, fd);
	if (!forward->request)
		forward_process_end_listener(forward);
}

static void ask_listener(struct forward_link *link, struct forward *forward)
{
	int err = name_socket(forward), fd = -1;

	forward->listener_link = link;
	if (!err && is_remote(forward))
		err = listen_here(link, forward);
	if (!err) {
		fd = tell(link, forward, true);
		err = fd < 0 ? fd : 0;
	}
	if (!err && !(forward->request = forward_pipe_of_request(link, fd)))
		err = -ENOMEM;
	if (!err)
		return;
	forward_process_end_listener(forward);
	forward->refused_link = link;
	forward_warn(forward, TROUBLE_FAR, "can't ask ssh for it: %s", strerror(-err));
}

static void look_at_request(struct forward_link *link, struct forward *forward)
{
	int rc = forward_pipe_answer(forward->request);

	if (!rc)
		return;
	forward_pipe_free(forward->request);
	forward->request = NULL;
	if (forward->leaving) {
		forward_process_end_listener(forward);
	} else if (rc < 0) {
		forward_process_end_listener(forward);
		forward->refused_link = link;
		if (is_remote(forward))
			forward_remote_refused(forward);
	} else if (is_remote(forward)) {
		atomic_store(&forward->listening, true);
		forward_set_error(forward, "");
		log_info("forward %s: the instance listens", forward->text);
	}
}

static void listeners_step(struct forward_link *link)
{
	struct forwards *forwards = link->owner;

	for (unsigned i = 0; i < forwards->count; i++) {
		struct forward *forward = forwards->forwards[i];

		if (!is_remote(forward) && !forward->spec->socket_path)
			continue;
		if (forward->listener_link == link && forward->gone && !forward->leaving)
			leave(link, forward);
		else if (forward->listener_link == link && forward->request)
			look_at_request(link, forward);
		else if (!forward->listener_link && !forward->gone && forward->refused_link != link)
			ask_listener(link, forward);
	}
}

/* --- a turn -------------------------------------------------------------------------- */

int forward_process_serve(struct forward_link *link, char *text, size_t size)
{
	struct forward_conn *conn, *next;

	sshsays_read(link->process);
	if (link->lost) {
		explain_end(link, text, size);
		return -1;
	}
	listeners_step(link);
	look_at_asked(link);
	for (conn = TAILQ_FIRST(&link->conns); conn; conn = next) {
		next = TAILQ_NEXT(conn, entry);
		/* errors of pipes are the connection's alone */
		if (!socket_failed(link, conn))
			(void)forward_conn_serve(conn, text, size);
	}
	return 0;
}

/*
 * Opening channels. libssh2 has room for one open at a time in a session, and a far host that
 * swallows packets keeps sshd silent about it for minutes. So connections wait in one queue, a
 * forward opens one at a time, and when an open is slow, the others go to another session.
 */
#include "conf/log.h"
#include "transport/forwards_internal.h"
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *forward_conn_host(const struct forward_conn *conn)
{
	return conn->target_host ? conn->target_host : conn->forward->spec->host;
}

uint16_t forward_conn_port(const struct forward_conn *conn)
{
	return conn->target_host ? conn->target_port : conn->forward->spec->port;
}

/* --- the message -------------------------------------------------------------- */

static void put_u32(struct forward_link *link, uint32_t value)
{
	uint8_t *at = link->message + link->message_len;

	at[0] = (uint8_t)(value >> 24);
	at[1] = (uint8_t)(value >> 16);
	at[2] = (uint8_t)(value >> 8);
	at[3] = (uint8_t)value;
	link->message_len += 4;
}

/* False when it would not fit with what may follow it. */
static bool put_string(struct forward_link *link, const char *text)
{
	size_t len = strlen(text);

	if (len > sizeof(link->message) - 128 - link->message_len)
		return false;
	put_u32(link, (uint32_t)len);
	memcpy(link->message + link->message_len, text, len);
	link->message_len += len;
	return true;
}

/*
 * What follows the common fields of SSH_MSG_CHANNEL_OPEN:
 *
 *	direct-tcpip (RFC 4254, 7.2)		string host, uint32 port, string originator, uint32
 * its port direct-streamlocal@openssh.com		string path, string reserved, uint32
 * reserved (PROTOCOL of OpenSSH, 2.4)
 */
static bool make_message(struct forward_link *link, struct forward_conn *conn)
{
	const struct forward_spec *spec = conn->forward->spec;
	struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
	char host[64], port[8];
	int len = sizeof(from);

	link->message_len = 0;
	if (spec->socket_path) {
		if (!put_string(link, spec->socket_path) || !put_string(link, ""))
			return false;
		put_u32(link, 0);
		return true;
	}
	if (uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&from, &len) ||
	    getnameinfo((struct sockaddr *)&from, (socklen_t)len, host, sizeof(host), port,
		sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV)) {
		strcpy(host, "127.0.0.1");
		strcpy(port, "0");
	}
	if (!put_string(link, forward_conn_host(conn)))
		return false;
	put_u32(link, forward_conn_port(conn));
	if (!put_string(link, host))
		return false;
	put_u32(link, (uint32_t)strtoul(port, NULL, 10));
	return true;
}

/* --- one open ------------------------------------------------------------------ */

/* The server's words do not tell a name without an address from a port without a program. */
static bool is_name(const struct forward_spec *spec, const char *host)
{
	return !spec->socket_path && host[strspn(host, "0123456789abcdefABCDEF:.")];
}

void forward_far_failed(struct forward_conn *conn, int error, const char *why)
{
	struct forward *forward = conn->forward;
	const struct forward_spec *spec = forward->spec;
	char target[320];

	if (spec->socket_path)
		snprintf(target, sizeof(target), "%s", spec->socket_path);
	else
		snprintf(target, sizeof(target),
		    strchr(forward_conn_host(conn), ':') ? "[%s]:%u" : "%s:%u",
		    forward_conn_host(conn), forward_conn_port(conn));
	if (error == LIBSSH2_ERROR_TIMEOUT)
		forward_warn(forward, TROUBLE_FAR,
		    "closed a connection: no answer from %s on the instance's side", target);
	else if (strstr(why, "prohibited"))
		forward_warn(forward, TROUBLE_FAR,
		    "closed a connection: the instance's sshd does not allow forwarding to %s "
		    "(AllowTcpForwarding, AllowStreamLocalForwarding, PermitOpen in its "
		    "sshd_config)",
		    target);
	else if (strstr(why, "connect failed"))
		forward_warn(forward, TROUBLE_FAR,
		    "closed a connection: nobody listens on %s on the instance%s; start the "
		    "program there, or correct the forward",
		    target,
		    is_name(spec, forward_conn_host(conn)) ? ", or it knows no such name" : "");
	else
		forward_warn(forward, TROUBLE_FAR, "closed a connection to %s: %s", target, why);
}

/* The connection being opened is no longer; it is in no list. */
static struct forward_conn *take_opening(struct forward_link *link)
{
	struct forward_conn *conn = link->opening;

	link->opening = NULL;
	conn->forward->opening = false;
	link->used_ms = forwards_now();
	return conn;
}

static void start(struct forward_link *link, struct forward_conn *conn)
{
	struct forwards *owner = link->owner;

	TAILQ_REMOVE(&owner->waiting, conn, entry);
	conn->state = CONN_OPENING;
	conn->link = link;
	if (link->process) {
		forward_process_open(link, conn);
		return;
	}
	conn->forward->opening = true;
	link->opening = conn;
	link->opening_ms = forwards_now();
	link->dirty = true;
	if (!make_message(link, conn)) {
		take_opening(link);
		forward_far_failed(conn, LIBSSH2_ERROR_INVAL, "the name is too long");
		conn->link = NULL;
		forward_conn_close(conn, false);
	}
}

void forward_open_base(struct forward_link *link)
{
	link->opening_base = link->base_tried = true;
	link->opening_ms = forwards_now();
	link->dirty = true;
}

static int base_step(struct forward_link *link, char *text, size_t size)
{
	int error;

	link->base = libssh2_channel_open_ex(
	    ssh_session(link->connection), "session", 7, FORWARD_BUFFER, FORWARD_PACKET, NULL, 0);
	error = link->base ? 0 : libssh2_session_last_errno(ssh_session(link->connection));
	if (error == LIBSSH2_ERROR_EAGAIN)
		return 0;
	link->opening_base = false;
	link->owner->again = link->dirty = true;
	if (error && forward_link_fatal(error))
		return forward_link_error(link, text, size);
	if (error)
		log_verbose("forwards: no session channel for signs of life (%d)", error);
	return 0;
}

int forward_open_step(struct forward_link *link, char *text, size_t size)
{
	struct forward_conn *conn = link->opening;
	const char *type = "direct-tcpip";
	char *why = NULL;
	int error;

	if (link->opening_base)
		return base_step(link, text, size);
	if (!conn)
		return 0;
	if (conn->forward->spec->socket_path)
		type = "direct-streamlocal@openssh.com";
	conn->channel = libssh2_channel_open_ex(ssh_session(link->connection), type,
	    (unsigned)strlen(type), FORWARD_WINDOW_FIRST, FORWARD_PACKET, (char *)link->message,
	    (unsigned)link->message_len);
	if (conn->channel) {
		take_opening(link);
		log_debug("forward %s: connection opened", conn->forward->text);
		forward_conn_opened(conn);
		/* Others wait for their turn to open. */
		link->owner->again = link->dirty = true;
		return 0;
	}
	error = libssh2_session_last_errno(ssh_session(link->connection));
	if (error == LIBSSH2_ERROR_EAGAIN)
		return 0;
	if (forward_link_fatal(error) && error != LIBSSH2_ERROR_TIMEOUT)
		return forward_link_error(link, text, size);
	libssh2_session_last_error(ssh_session(link->connection), &why, NULL, 0);
	take_opening(link);
	link->owner->again = true;
	forward_far_failed(conn, error, why ? why : "");
	conn->link = NULL;
	forward_conn_close(conn, false);
	return 0;
}

/* --- who is next ---------------------------------------------------------------- */

/* *slow: no session is free, and each has been at one open for long. */
static struct forward_link *free_link(struct forwards *forwards, bool *slow)
{
	struct forward_link *link;
	uint64_t now = forwards_now();

	*slow = true;
	TAILQ_FOREACH (link, &forwards->links, entry) {
		if (link->state != LINK_UP || link->opening_base) {
			*slow = false; /* it comes soon */
			continue;
		}
		if (link->process || !link->opening)
			return link;
		if (now - link->opening_ms < FORWARD_SLOW_OPEN)
			*slow = false;
	}
	return NULL;
}

void forward_dispatch(struct forwards *forwards)
{
	struct forward_conn *conn, *next;
	bool slow;

	for (conn = TAILQ_FIRST(&forwards->waiting); conn; conn = next) {
		struct forward_link *link;

		next = TAILQ_NEXT(conn, entry);
		if (conn->asking ||
		    (conn->forward->opening && conn->forward->spec->kind != FORWARD_SOCKS))
			continue;
		link = free_link(forwards, &slow);
		if (link) {
			start(link, conn);
			continue;
		}
		if (slow && atomic_load(&forwards->up) && forwards->n_links < FORWARD_LINKS_MAX &&
		    forwards_now() >= forwards->dial_at_ms && !forward_link_dial(forwards))
			log_verbose(
			    "forwards: an open is slow; dialling another session for the others");
		return;
	}
}

void forward_waiting_expire(struct forwards *forwards, const char *why)
{
	struct forward_conn *conn, *next;
	bool up = atomic_load(&forwards->up);
	uint64_t now = forwards_now();

	for (conn = TAILQ_FIRST(&forwards->waiting); conn; conn = next) {
		next = TAILQ_NEXT(conn, entry);
		if (why) {
			forward_warn(conn->forward, TROUBLE_DOWN,
			    "closed a connection: there is no link to the instance (%s)", why);
		} else if (!up && now - conn->accepted_ms >= FORWARD_HOLD) {
			forward_warn(conn->forward, TROUBLE_DOWN,
			    "closed a connection: the link to the instance is not there yet");
		} else if (up && now - conn->accepted_ms >= FORWARD_HOLD_UP) {
			forward_warn(conn->forward, TROUBLE_SLOW,
			    "closed a connection: earlier ones still wait for the far side");
		} else {
			continue;
		}
		forward_conn_close(conn, false);
	}
}

/*
 * Local ports of the forwards.
 */
#include "conf/log.h"
#include "transport/forwards_internal.h"
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG 128

static void on_connection(uv_stream_t *listener, int status)
{
	struct forward *forward = listener->data;

	if (status < 0) {
		forward_warn(
		    forward, TROUBLE_LIMIT, "can't accept a connection: %s", uv_strerror(status));
		return;
	}
	forward_conn_accept(forward, listener);
}

static void on_closed(uv_handle_t *handle)
{
}

/* 0 or a negative errno. The handle counts as the forward's in both cases (libuv must close it). */
static int listen_on(struct forward *forward, const struct sockaddr *address, unsigned flags)
{
	uv_tcp_t *tcp;
	int err;

	if (forward->n_listeners == FORWARD_LISTENERS_MAX)
		return -ENOSPC;
	tcp = &forward->listeners[forward->n_listeners];
	err = uv_tcp_init(&forward->owner->loop, tcp);
	if (err)
		return err;
	tcp->data = forward;
	err = uv_tcp_bind(tcp, address, flags);
	if (!err)
		err = uv_listen((uv_stream_t *)tcp, BACKLOG, on_connection);
	forward->n_listeners++;
	if (err)
		uv_close((uv_handle_t *)tcp, on_closed);
	return err;
}

static void failed(struct forward *forward, const char *why, bool taken)
{
	const struct forward_spec *spec = forward->spec;
	char line[256];

	snprintf(line, sizeof(line), strchr(spec->listen_host, ':') ? "[%s]:%u: %s" : "%s:%u: %s",
	    spec->listen_host, spec->listen_port, why);
	forward_set_error(forward, line);
	log_warning("forward %s: can't listen on %s%s", forward->text, line,
	    taken
		? ". Another program has that port: end it, or choose another port for this forward"
		: "");
}

/* "*": one socket for IPv4 and IPv6, or IPv4 alone on a machine without the other. */
static int listen_any(struct forward *forward)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr = {.s_addr = INADDR_ANY}};
	int err;

	six.sin6_port = four.sin_port = htons(forward->spec->listen_port);
	err = listen_on(forward, (struct sockaddr *)&six, 0);
	if (err == UV_EAFNOSUPPORT || err == UV_EADDRNOTAVAIL || err == UV_EINVAL)
		err = listen_on(forward, (struct sockaddr *)&four, 0);
	return err;
}

void forward_listen(struct forward *forward)
{
	const struct forward_spec *spec = forward->spec;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *list = NULL;
	char port[8];
	int err = UV_EADDRNOTAVAIL;
	bool any = false;

	snprintf(port, sizeof(port), "%u", spec->listen_port);
	if (!strcmp(spec->listen_host, "*")) {
		err = listen_any(forward);
		any = !err;
	} else {
		int rc = getaddrinfo(spec->listen_host, port, &hints, &list);

		if (rc) {
			failed(forward, gai_strerror(rc), false);
			return;
		}
		/* A name such as localhost may have an address of each family. One of them taken by
		 * somebody else is trouble even when the other is free: a browser may try the wrong
		 * one first. */
		for (struct addrinfo *each = list; each; each = each->ai_next) {
			int rc2 = listen_on(forward, each->ai_addr,
			    each->ai_family == AF_INET6 ? UV_TCP_IPV6ONLY : 0);

			if (!rc2)
				any = true;
			else if (err != UV_EADDRINUSE)
				err = rc2;
		}
		freeaddrinfo(list);
	}
	if (!any || err == UV_EADDRINUSE)
		failed(forward, uv_strerror(err), err == UV_EADDRINUSE);
	atomic_store(&forward->listening, any);
	if (any)
		log_info("forward %s: listening", forward->text);
}

/*
 * Port-forward specifications, as after ssh's -L, -R and -D.
 *
 *	8080                            127.0.0.1:8080 to localhost:8080 on the instance
 *	8080:localhost:8080             the same, in ssh's words
 *	127.0.0.1:6006:localhost:6006   listening on a named address
 *	[::1]:6006:[fe80::1]:6006       IPv6 in brackets
 *	8080:/run/jupyter.sock          to a Unix socket on the instance
 *	*:8080:localhost:8080           listening on all addresses (never the default)
 *	-R 9000:localhost:9000          port 9000 of the instance to port 9000 here
 *	-R 9000:/run/app.sock           to a Unix socket here
 *	-D 1080                         a SOCKS server here, through which the instance connects
 *
 * Leaf; any thread. A parsed forward owns its strings.
 */
#ifndef VASTFS_CONF_FORWARD_H
#define VASTFS_CONF_FORWARD_H

#include "conf/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum forward_kind { FORWARD_LOCAL, FORWARD_REMOTE, FORWARD_SOCKS };

struct forward_spec {
	enum forward_kind kind;
	/* "127.0.0.1" (FORWARD_REMOTE, where it is the instance's: "localhost") unless told
	 * otherwise; "*" for all addresses */
	char *listen_host;
	uint16_t listen_port; /* 1 to 65535 */
	char *host;	      /* NULL when socket_path is set, and with FORWARD_SOCKS */
	uint16_t port;	      /* 1 to 65535; 0 where host is NULL */
	char *socket_path;    /* absolute path of a Unix socket, on the side of host, or NULL */
};

/* Parses text into *out (owned by the caller, forward_spec_fini). 0 or -EINVAL with the reason. */
int forward_spec_parse(const char *text, struct forward_spec *out, struct conf_error *error);
void forward_spec_fini(struct forward_spec *spec);

/* "127.0.0.1:8080 -> localhost:8080": at most size bytes with the NUL; returns buf. */
const char *forward_spec_print(const struct forward_spec *spec, char *buf, size_t size);

/* Does the text say that forward: in any words that mean the same, or as it is printed? */
bool forward_spec_is(const struct forward_spec *spec, const char *text);

/* Or does the port that it listens on, alone ("9000") or with its letter ("-R 9000"), mean it? */
bool forward_spec_is_meant(const struct forward_spec *spec, const char *text);

#endif

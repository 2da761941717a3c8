/*
 * SOCKS for -D: the local program says where it wants to go, and is told "yes" at once, as ssh
 * does; what becomes of it shows in the connection itself.
 *
 *	5 (RFC 1928)	05 n methods…  ──►   ◄── 05 00
 *			05 01 00 type address port  ──►   ◄── 05 00 00 01 0.0.0.0 0
 *	4, 4a		04 01 port address user 00 [name 00, if the address is 0.0.0.x]  ──►
 *			◄── 00 5a and six bytes
 */
#include "conf/log.h"
#include "transport/forwards_internal.h"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define ASK_MAX 1024 /* longer than any request */

static void on_answered(uv_write_t *write, int status)
{
	free(write);
}

/* Writes a short answer; what the kernel does not take at once is on its way with the request. */
static void answer(struct forward_conn *conn, const void *bytes, size_t len)
{
	struct {
		uv_write_t write;
		char bytes[16];
	} *request = malloc(sizeof(*request));
	uv_buf_t buf;

	if (!request)
		return;
	memcpy(request->bytes, bytes, len);
	buf = uv_buf_init(request->bytes, (unsigned)len);
	if (uv_write(&request->write, (uv_stream_t *)&conn->tcp, &buf, 1, on_answered))
		free(request);
}

static bool set_target(struct forward_conn *conn, const uint8_t *name, size_t len, unsigned port)
{
	if (!len || memchr(name, 0, len) || !port)
		return false;
	conn->target_host = strndup((const char *)name, len);
	conn->target_port = (uint16_t)port;
	return conn->target_host != NULL;
}

static bool set_address(
    struct forward_conn *conn, int family, const uint8_t *address, unsigned port)
{
	char text[INET6_ADDRSTRLEN];

	return inet_ntop(family, address, text, sizeof(text)) &&
	       set_target(conn, (uint8_t *)text, strlen(text), port);
}

/* Each returns how many bytes it used, 0 when there are too few yet, -1 when it is refused. */
static int take_greeting(struct forward_conn *conn, const uint8_t *p, size_t len)
{
	static const uint8_t good[] = {5, 0}, bad[] = {5, 0xff};
	size_t need = len < 2 ? 2 : 2 + (size_t)p[1];

	if (len < need)
		return 0;
	if (!memchr(p + 2, 0, p[1])) { /* it insists on a password */
		answer(conn, bad, sizeof(bad));
		return -1;
	}
	answer(conn, good, sizeof(good));
	conn->adjusting = 1; /* greeted; no use for it before the channel is open */
	return (int)need;
}

static int take_5(struct forward_conn *conn, const uint8_t *p, size_t len)
{
	static const uint8_t good[10] = {5, 0, 0, 1};
	uint8_t bad[10] = {5, 7, 0, 1};
	size_t address, need;
	unsigned port;
	bool ok;

	if (len < 5)
		return 0;
	address = p[3] == 1 ? 4 : p[3] == 4 ? 16 : p[3] == 3 ? 1 + (size_t)p[4] : 0;
	if (p[1] != 1 || !address) { /* BIND, UDP, or an unknown address */
		bad[1] = p[1] != 1 ? 7 : 8;
		answer(conn, bad, sizeof(bad));
		return -1;
	}
	need = 4 + address + 2;
	if (len < need)
		return 0;
	port = (unsigned)p[need - 2] << 8 | p[need - 1];
	if (p[3] == 3)
		ok = set_target(conn, p + 5, p[4], port);
	else
		ok = set_address(conn, p[3] == 1 ? AF_INET : AF_INET6, p + 4, port);
	if (!ok)
		return -1;
	answer(conn, good, sizeof(good));
	return (int)need;
}

static int take_4(struct forward_conn *conn, const uint8_t *p, size_t len)
{
	static const uint8_t good[8] = {0, 0x5a};
	const uint8_t *user_end, *name_end;
	unsigned port;
	bool named, ok;

	if (len < 9)
		return 0;
	user_end = memchr(p + 8, 0, len - 8);
	if (p[1] != 1)
		return -1;
	if (!user_end)
		return 0;
	port = (unsigned)p[2] << 8 | p[3];
	named = !p[4] && !p[5] && !p[6] && p[7];
	name_end = named ? memchr(user_end + 1, 0, len - (size_t)(user_end + 1 - p)) : user_end;
	if (!name_end)
		return 0;
	if (named)
		ok = set_target(conn, user_end + 1, (size_t)(name_end - user_end - 1), port);
	else
		ok = set_address(conn, AF_INET, p + 4, port);
	if (!ok)
		return -1;
	answer(conn, good, sizeof(good));
	return (int)(name_end + 1 - p);
}

static int take(struct forward_conn *conn)
{
	const uint8_t *p = conn->up + conn->up_at;

	if (!conn->up_len)
		return 0;
	if (p[0] == 4 && !conn->adjusting)
		return take_4(conn, p, conn->up_len);
	if (p[0] != 5)
		return -1;
	return conn->adjusting ? take_5(conn, p, conn->up_len)
			       : take_greeting(conn, p, conn->up_len);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct forward_conn *conn = handle->data;
	size_t used = conn->up_at + conn->up_len;

	if (!conn->up)
		conn->up = malloc(FORWARD_BUFFER);
	*buf = uv_buf_init((char *)conn->up + (conn->up ? used : 0),
	    conn->up && used < ASK_MAX ? (unsigned)(ASK_MAX - used) : 0);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct forward_conn *conn = stream->data;
	int used = 0;

	if (n == 0 || conn->state != CONN_WAITING || !conn->asking)
		return;
	if (n > 0)
		conn->up_len += (size_t)n;
	while (n > 0 && !conn->target_host && (used = take(conn)) > 0) {
		conn->up_at += (size_t)used;
		conn->up_len -= (size_t)used;
	}
	if (n < 0 || used < 0) {
		forward_conn_close(conn, false);
		return;
	}
	if (!conn->target_host)
		return;
	/* What came behind the request waits in up[] for the channel. */
	uv_read_stop(stream);
	conn->asking = false;
	conn->adjusting = 0;
	forwards_hurry(conn->forward->owner);
}

void forward_socks_begin(struct forward_conn *conn)
{
	if (uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read))
		forward_conn_close(conn, false);
}

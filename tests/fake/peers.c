#include "tests/fake/peers.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define STREAM (1u << 20) /* the stream repeats after an odd number of bytes less than this */
#define PERIOD (STREAM - 17)
#define PIECE (64u * 1024)

static uint8_t stream[STREAM + PIECE];
static pthread_once_t stream_once = PTHREAD_ONCE_INIT;

static void make_stream(void)
{
	uint64_t x = 88172645463325252ull;

	for (size_t i = 0; i < PERIOD; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		stream[i] = (uint8_t)(x >> 32);
	}
	memcpy(stream + PERIOD, stream, sizeof(stream) - PERIOD);
}

static const uint8_t *stream_at(uint64_t offset)
{
	pthread_once(&stream_once, make_stream);
	return stream + offset % PERIOD;
}

void peer_fill(uint8_t *buf, size_t n, uint64_t offset)
{
	while (n) {
		size_t take = n < PIECE ? n : PIECE;

		memcpy(buf, stream_at(offset), take);
		buf += take;
		offset += take;
		n -= take;
	}
}

uint64_t peer_hash(uint64_t hash, const uint8_t *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		hash = (hash ^ buf[i]) * 1099511628211ull;
	return hash;
}

static bool send_all(int fd, const void *buf, size_t n)
{
	const uint8_t *at = buf;

	while (n) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		at += sent;
		n -= (size_t)sent;
	}
	return true;
}

bool peer_send(int fd, uint64_t bytes)
{
	for (uint64_t done = 0; done < bytes;) {
		size_t n = bytes - done < PIECE ? (size_t)(bytes - done) : PIECE;

		if (!send_all(fd, stream_at(done), n))
			return false;
		done += n;
	}
	return true;
}

ssize_t peer_recv(int fd, void *buf, size_t size, int flags)
{
	size_t got = 0;

	for (;;) {
		ssize_t n = recv(fd, (uint8_t *)buf + got, size - got, flags);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return got ? (ssize_t)got : n;
		got += (size_t)n;
		if (got == size || !(flags & MSG_WAITALL))
			return (ssize_t)got;
	}
}

int64_t peer_receive(int fd)
{
	static _Thread_local uint8_t buf[PIECE];
	int64_t total = 0;

	for (;;) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			return total;
		if (memcmp(buf, stream_at((uint64_t)total), (size_t)n))
			return -1;
		total += n;
	}
}

int peer_connect(unsigned port, bool v6)
{
	struct timeval timeout = {.tv_sec = 30};
	struct sockaddr_in four = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6,
	    .sin6_port = htons((uint16_t)port),
	    .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, v6 ? (struct sockaddr *)&six : (struct sockaddr *)&four,
		v6 ? sizeof(six) : sizeof(four))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* --- servers ------------------------------------------------------------------- */

struct visit {
	struct peer *peer;
	int fd;
};

/* Waits until fd can be read; false when the server stops. */
static bool readable(struct visit *visit)
{
	struct pollfd fds[2] = {{.fd = visit->fd, .events = POLLIN},
	    {.fd = visit->peer->stop_pipe[0], .events = POLLIN}};

	while (poll(fds, 2, -1) < 0)
		;
	return !fds[1].revents;
}

static ssize_t take(struct visit *visit, uint8_t *buf, size_t size)
{
	return readable(visit) ? recv(visit->fd, buf, size, 0) : -1;
}

static void serve_echo(struct visit *visit, uint8_t *buf)
{
	ssize_t n;

	while ((n = take(visit, buf, PIECE)) > 0) {
		if (!send_all(visit->fd, buf, (size_t)n))
			return;
	}
	shutdown(visit->fd, SHUT_WR);
}

static void serve_source(struct visit *visit, uint8_t *buf)
{
	ssize_t n;

	if (!peer_send(visit->fd, visit->peer->bytes))
		return;
	shutdown(visit->fd, SHUT_WR);
	while ((n = take(visit, buf, PIECE)) > 0)
		atomic_fetch_add(&visit->peer->read, (uint64_t)n);
}

static void serve_sink(struct visit *visit, uint8_t *buf)
{
	uint64_t answer[2] = {0, 0};
	ssize_t n;

	while ((n = take(visit, buf, PIECE)) > 0) {
		answer[1] = peer_hash(answer[1], buf, (size_t)n);
		answer[0] += (uint64_t)n;
	}
	if (n == 0)
		send_all(visit->fd, answer, sizeof(answer));
}

static void serve_http(struct visit *visit, uint8_t *buf)
{
	static const char page[] = "HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

	if (take(visit, buf, PIECE) > 0)
		send_all(visit->fd, page, sizeof(page) - 1);
}

static void *visit_main(void *arg)
{
	struct visit *visit = arg;
	struct pollfd stop = {.fd = visit->peer->stop_pipe[0], .events = POLLIN};
	uint8_t *buf = malloc(PIECE);

	switch (buf ? visit->peer->role : PEER_DEAF) {
	case PEER_ECHO:
		serve_echo(visit, buf);
		break;
	case PEER_SOURCE:
		serve_source(visit, buf);
		break;
	case PEER_SINK:
		serve_sink(visit, buf);
		break;
	case PEER_HTTP:
		serve_http(visit, buf);
		break;
	case PEER_DEAF:
		while (poll(&stop, 1, -1) < 0)
			;
		break;
	}
	close(visit->fd);
	atomic_fetch_add(&visit->peer->served, 1);
	free(buf);
	free(visit);
	return NULL;
}

static void *peer_main(void *arg)
{
	struct peer *peer = arg;
	pthread_t threads[256];
	unsigned n = 0;

	for (;;) {
		struct pollfd fds[2] = {{.fd = peer->fd, .events = POLLIN},
		    {.fd = peer->stop_pipe[0], .events = POLLIN}};
		struct visit *visit;
		int fd;

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents || n == 256)
			break;
		fd = accept4(peer->fd, NULL, NULL, SOCK_CLOEXEC);
		visit = fd < 0 ? NULL : malloc(sizeof(*visit));
		if (!visit)
			continue;
		*visit = (struct visit){peer, fd};
		if (!pthread_create(&threads[n], NULL, visit_main, visit))
			n++;
	}
	while (n--)
		pthread_join(threads[n], NULL);
	return NULL;
}

void peer_start(struct peer *peer, enum peer_role role, uint64_t bytes, const char *path)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(in);

	memset(peer, 0, sizeof(*peer));
	peer->role = role;
	peer->bytes = bytes;
	peer->fd = socket(path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(peer->fd >= 0);
	assert_int_equal(pipe2(peer->stop_pipe, O_CLOEXEC), 0);
	if (path) {
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
		assert_int_equal(bind(peer->fd, (struct sockaddr *)&un, sizeof(un)), 0);
	} else {
		assert_int_equal(bind(peer->fd, (struct sockaddr *)&in, sizeof(in)), 0);
		assert_int_equal(getsockname(peer->fd, (struct sockaddr *)&in, &len), 0);
		peer->port = ntohs(in.sin_port);
	}
	assert_int_equal(listen(peer->fd, 128), 0);
	assert_int_equal(pthread_create(&peer->thread, NULL, peer_main, peer), 0);
}

void peer_stop(struct peer *peer)
{
	close(peer->stop_pipe[1]);
	pthread_join(peer->thread, NULL);
	close(peer->stop_pipe[0]);
	close(peer->fd);
}

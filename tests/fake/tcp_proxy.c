#include "tests/fake/tcp_proxy.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PAIRS 16
#define BUFFER 65536

/* One direction of a connection: bytes read from one socket and not yet taken by the other. */
struct way {
	int from, to;
	char bytes[BUFFER];
	size_t at, len;
	bool ended;
};

struct pair {
	struct way ways[2]; /* client to server, server to client */
	bool used;
};

static void set_buffers(int fd)
{
	int size = 8192, segment = 1000, one = 1;

	/* Loopback's segments of 64 KiB would wait 200 ms each time for a window that is never so
	 * large. */
	setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

static int connect_to(unsigned port, bool tiny)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (tiny)
		set_buffers(fd);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		close(fd);
		return -1;
	}
	return fd;
}

static void pair_close(struct pair *pair, bool reset)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	for (int i = 0; i < 2; i++) {
		if (reset)
			setsockopt(pair->ways[i].from, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(pair->ways[i].from);
	}
	pair->used = false;
}

static void pair_open(struct tcp_proxy *proxy, struct pair *pairs)
{
	int client = accept4(proxy->listen_fd, NULL, NULL, SOCK_CLOEXEC), server;

	if (client < 0)
		return;
	server = connect_to(proxy->to_port, proxy->tiny);
	for (int i = 0; server >= 0 && i < PAIRS; i++) {
		if (pairs[i].used)
			continue;
		memset(&pairs[i], 0, sizeof(pairs[i]));
		pairs[i].ways[0].from = pairs[i].ways[1].to = client;
		pairs[i].ways[0].to = pairs[i].ways[1].from = server;
		pairs[i].used = true;
		return;
	}
	close(client);
	if (server >= 0)
		close(server);
}

/* Moves what can be moved. False when the connection is over. */
static bool way_move(struct tcp_proxy *proxy, struct way *way)
{
	size_t most = proxy->tiny ? 3000 : BUFFER;
	ssize_t n;

	if (!way->len && !way->ended) {
		n = recv(way->from, way->bytes, most, MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN;
		way->at = 0;
		way->len = (size_t)n;
		way->ended = n == 0;
		if (way->ended)
			shutdown(way->to, SHUT_WR);
	}
	if (way->len) {
		n = send(way->to, way->bytes + way->at, way->len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN;
		way->at += (size_t)n;
		way->len -= (size_t)n;
	}
	return true;
}

static void serve_pairs(struct tcp_proxy *proxy, struct pair *pairs)
{
	for (int i = 0; i < PAIRS; i++) {
		struct pair *pair = &pairs[i];

		if (!pair->used)
			continue;
		if (atomic_load(&proxy->reset)) {
			pair_close(pair, true);
		} else if (!way_move(proxy, &pair->ways[0]) || !way_move(proxy, &pair->ways[1]) ||
			   (pair->ways[0].ended && pair->ways[1].ended)) {
			pair_close(pair, false);
		}
	}
}

static void wait_for_work(struct tcp_proxy *proxy, struct pair *pairs)
{
	struct pollfd fds[2 + 2 * PAIRS] = {
	    {.fd = proxy->listen_fd, .events = POLLIN}, {.fd = proxy->wake_fd, .events = POLLIN}};
	nfds_t n = 2;
	uint64_t count;

	for (int i = 0; i < PAIRS && !atomic_load(&proxy->silent); i++) {
		if (!pairs[i].used)
			continue;
		for (int k = 0; k < 2; k++) {
			struct way *way = &pairs[i].ways[k];

			if (way->len)
				fds[n++] = (struct pollfd){.fd = way->to, .events = POLLOUT};
			else if (!way->ended)
				fds[n++] = (struct pollfd){.fd = way->from, .events = POLLIN};
		}
	}
	poll(fds, n, -1);
	if (fds[1].revents && read(proxy->wake_fd, &count, sizeof(count)) < 0)
		return;
	if (fds[0].revents)
		pair_open(proxy, pairs);
}

static void *proxy_main(void *arg)
{
	static struct pair pairs[PAIRS]; /* one proxy at a time */
	struct tcp_proxy *proxy = arg;

	memset(pairs, 0, sizeof(pairs));
	while (!atomic_load(&proxy->stop)) {
		wait_for_work(proxy, pairs);
		if (!atomic_load(&proxy->silent) || atomic_load(&proxy->reset))
			serve_pairs(proxy, pairs);
	}
	for (int i = 0; i < PAIRS; i++) {
		if (pairs[i].used)
			pair_close(&pairs[i], false);
	}
	return NULL;
}

void tcp_proxy_start(struct tcp_proxy *proxy, unsigned to_port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);

	proxy->to_port = to_port;
	proxy->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	proxy->wake_fd = eventfd(0, EFD_CLOEXEC);
	/* Inherited by what is accepted, in time for the window of the first segment. */
	if (proxy->tiny)
		set_buffers(proxy->listen_fd);
	assert_int_equal(bind(proxy->listen_fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(proxy->listen_fd, PAIRS), 0);
	assert_int_equal(getsockname(proxy->listen_fd, (struct sockaddr *)&at, &len), 0);
	proxy->port = ntohs(at.sin_port);
	assert_int_equal(pthread_create(&proxy->thread, NULL, proxy_main, proxy), 0);
}

void tcp_proxy_wake(struct tcp_proxy *proxy)
{
	uint64_t one = 1;

	assert_int_equal(write(proxy->wake_fd, &one, sizeof(one)), sizeof(one));
}

void tcp_proxy_stop(struct tcp_proxy *proxy)
{
	atomic_store(&proxy->stop, true);
	tcp_proxy_wake(proxy);
	pthread_join(proxy->thread, NULL);
	close(proxy->listen_fd);
	close(proxy->wake_fd);
}

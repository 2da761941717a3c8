/*
 * Small TCP and Unix-socket servers for tests of port forwards ("programs on the instance"), each
 * on threads of its own, and a client with deadlines. The bytes that flow are a fixed pseudo-random
 * stream, so that both ends can check all of it. Any thread; asserts by cmocka on the test's thread
 * only.
 */
#ifndef VASTFS_TESTS_FAKE_PEERS_H
#define VASTFS_TESTS_FAKE_PEERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum peer_role {
	PEER_ECHO,   /* sends back what comes, then its end */
	PEER_SOURCE, /* sends `bytes` of the stream and its end, then reads to the end */
	PEER_SINK,   /* reads to the end, then answers 16 bytes: count and peer_hash as they lie in
			memory */
	PEER_HTTP,   /* one small page */
	PEER_DEAF,   /* accepts and never reads; closes with the server */
};

struct peer {
	enum peer_role role;
	uint64_t bytes; /* PEER_SOURCE */
	unsigned port;	/* of 127.0.0.1; 0: a Unix socket */
	int fd, stop_pipe[2];
	pthread_t thread;
	_Atomic unsigned served; /* connections that have ended */
	_Atomic uint64_t read;	 /* by PEER_SOURCE, after its end */
};

/* path: of the Unix socket, or NULL for TCP on a free port. */
void peer_start(struct peer *peer, enum peer_role role, uint64_t bytes, const char *path);
void peer_stop(struct peer *peer);

/* The stream: fills n bytes as they are at that offset. */
void peer_fill(uint8_t *buf, size_t n, uint64_t offset);
/* A hash that goes on: begin with 0. */
uint64_t peer_hash(uint64_t hash, const uint8_t *buf, size_t n);

/* A connected socket with timeouts of 30 s on each call; -1 when refused. v6: [::1]. */
int peer_connect(unsigned port, bool v6);
/* False on an error. */
bool peer_send(int fd, uint64_t bytes);
/* Reads to the end and compares with the stream from its start: the number of bytes, or -1 on an
 * error, timeout or difference. */
int64_t peer_receive(int fd);
/* recv(2) that no signal cuts short. (With a time-out on the socket it is not restarted; and the
 * kernel interrupts it, without a signal handler, for what a loop made by this thread asked through
 * io_uring.) */
ssize_t peer_recv(int fd, void *buf, size_t size, int flags);

#endif

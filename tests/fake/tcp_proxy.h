/*
 * A TCP proxy on loopback that can be bad: tiny buffers (so that writes are partial), silence, a
 * reset. One thread; many connections. The knobs may be turned by any thread at any time.
 */
#ifndef VASTFS_TESTS_FAKE_TCP_PROXY_H
#define VASTFS_TESTS_FAKE_TCP_PROXY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct tcp_proxy {
	unsigned port;	    /* to connect to */
	unsigned to_port;   /* on 127.0.0.1 */
	bool tiny;	    /* set before start: socket buffers of 8 KiB, 3,000 bytes at a time */
	atomic_bool silent; /* nothing is read or passed on, in either direction */
	atomic_bool reset;  /* every connection is cut with a RST */
	atomic_bool stop;
	int listen_fd, wake_fd;
	pthread_t thread;
};

void tcp_proxy_start(struct tcp_proxy *proxy, unsigned to_port);
/* After turning a knob. */
void tcp_proxy_wake(struct tcp_proxy *proxy);
void tcp_proxy_stop(struct tcp_proxy *proxy);

#endif

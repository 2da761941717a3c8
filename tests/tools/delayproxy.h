/*
 * What the two halves of delayproxy share: delayproxy_link.c moves the bytes, delayproxy.c starts
 * it and takes the commands. One thread; everything is in P, which lives as long as the process.
 */
#ifndef VASTFS_TESTS_DELAYPROXY_H
#define VASTFS_TESTS_DELAYPROXY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <uv.h>

#define READ_SIZE (256 * 1024)
#define MS 1000000ull
#define NEVER UINT64_MAX

enum chunk_kind { CHUNK_DATA, CHUNK_FIN, CHUNK_RST };

struct chunk {
	STAILQ_ENTRY(chunk) link;
	uint64_t due; /* uv_hrtime() when it leaves */
	enum chunk_kind kind;
	size_t len, off;
	char data[];
};

/* One direction of one connection: from end[i] to end[1 - i]. */
struct pipe_queue {
	STAILQ_HEAD(, chunk) chunks;
	size_t bytes;
	uint64_t last_due; /* dues never go back, even when the delay is lowered */
	bool ended;	   /* FIN or RST was read */
	bool full;	   /* not read because of PIPE_LIMIT */
	bool blocked;	   /* the destination's socket is full */
	bool lost;	   /* data was dropped by blackhole */
};

struct end {
	struct connection *connection;
	uv_poll_t poll;
	int fd, events;
	bool open; /* poll is initialised */
};

struct connection {
	LIST_ENTRY(connection) link;
	struct end end[2]; /* 0: the client, 1: the target */
	struct pipe_queue pipe[2];
	bool connected, closing;
	unsigned handles; /* libuv handles that are not closed yet */
	uv_timer_t dial;
};

/* The shared link of each direction: when it is done with what it was given. */
struct direction {
	uint64_t free_at;
	bool throttled;
	uint64_t bytes;
};

struct proxy {
	uv_loop_t loop;
	uint64_t delay; /* ns, one way */
	double rate;	/* bytes a second; 0: none */
	size_t dribble;
	bool stalled, blackhole, refuse;
	struct sockaddr_storage target;
	socklen_t target_len;
	int listen_fd, timer_fd;
	uv_poll_t listen_poll, timer_poll;
	uint64_t armed; /* what timer_fd is set to; NEVER: not */
	struct direction direction[2];
	LIST_HEAD(, connection) connections;
	unsigned open;
	uint64_t total;
	char buffer[READ_SIZE];
};

extern struct proxy P;

/* Ends the process with a line. */
void die(const char *what, int err) __attribute__((noreturn));

/* Starts or stops taking connections from P.listen_fd. */
void link_listen(bool on);
/* What a timer_fd event calls, once uv_poll_start'ed. */
void link_on_timer(uv_poll_t *poll, int status, int events);
/* Ends all connections (or only those from which blackhole dropped data), with RST when reset, else
 * FIN. */
void link_close_all(bool reset, bool only_lost);
/* Sends what is due and reads what may be read, after P was changed. */
void link_kick(void);

#endif

/*
 * What the parts of ssh_*.c share: the connection, waiting with a deadline, and words for failures.
 * Nobody else includes this. Everything runs on the thread that owns the connection.
 */
#ifndef VASTFS_TRANSPORT_SSH_INTERNAL_H
#define VASTFS_TRANSPORT_SSH_INTERNAL_H

#include "transport/ssh.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Bytes on their way to the socket: a ring whose capacity is a power of two.
 *
 *	bytes[head & (capacity - 1)] … bytes[(tail - 1) & (capacity - 1)]
 */
struct ssh_ring {
	uint8_t *bytes;
	size_t capacity, head, tail;
};

/* Bytes that the socket gave and libssh2 has not taken: bytes[at] … bytes[at + left - 1]. Filled
 * only when empty, but for ssh_hear. */
struct ssh_inbox {
	uint8_t *bytes;
	size_t at, left;
};

#define SSH_INBOX_SIZE (256u * 1024)
/* libssh2 keeps each packet that nobody has asked it for yet, however many a server sends. Until
 * somebody is logged in that is next to nothing, then at most what the channels' windows let in. */
#define SSH_MEMORY_FIRST (8u * 1024 * 1024)
#define SSH_MEMORY_MAX (1024u * 1024 * 1024)
#define SSH_BANNER_MAX 512

/* The caller's target, with the address that a connection is made to. */
struct ssh_view {
	struct ssh_target target;
	struct profile profile;
	char host[256];
	char where[320]; /* "host:port" or "[v6]:port", for people */
};

struct ssh_connection {
	int fd; /* -1 before the dial */
	LIBSSH2_SESSION *session;
	const struct ssh_target *target; /* view's */
	struct ssh_view view;
	struct ssh_cancel *cancel;
	char where[320];  /* view's */
	char address[80]; /* the numeric address that answered */
	pid_t proxy_pid;  /* of ssh_proxy.c, or 0 */
	int proxy_fd;
	struct ssh_ring out;
	struct ssh_inbox in;
	bool batched;  /* the owner calls ssh_readable after each poll, so that an empty socket is
			  asked once, and nothing comes in behind a look at it */
	bool drained;  /* the socket had no more when last asked; cleared by ssh_readable */
	bool cancels;  /* nothing is read once cancel is set: while connecting, and in a session
			  (session_thread.c); the others have to tell their programs of the end */
	bool eof;      /* the far end closed */
	char bye[160]; /* what the server said as it ended the connection (printable), or "" */
	bool said_bye; /* it did (SSH_MSG_DISCONNECT) */
	int err;       /* the first errno of the socket, or 0 */
	size_t memory, memory_max; /* bytes that libssh2 holds, and may */
	uint64_t heard_ms, bytes_in, bytes_out;

	/* Only while connecting. */
	bool watching;		     /* look for the server's banner among libssh2's packets */
	char banner[SSH_BANNER_MAX]; /* what the server says before authentication; printable */
	uint8_t first[256];	     /* the first bytes that came, to tell what answers there */
	size_t first_len;
	uint64_t deadline; /* for I/O on the agent's socket within libssh2 */
	uint64_t until;	   /* of the step that goes on (ssh_step), or 0 */
};

/* ssh.c. endpoint may be NULL: the profile's address. */
struct endpoint;
void ssh_view_set(
    struct ssh_view *view, const struct ssh_target *target, const struct endpoint *endpoint);

/* ssh_connect.c: calls try for one place after the other where the instance may be, with NULL for
 * the profile's, until it returns 0. As try. */
typedef int ssh_try(void *arg, const struct endpoint *endpoint, struct ssh_error *error);
int ssh_try_places(const struct ssh_target *target, struct ssh_cancel *cancel, ssh_try *try,
    void *arg, struct ssh_error *error);

/* ssh.c: connects to that address. endpoint may be NULL: to the profile's. */
int ssh_connect_to(const struct ssh_target *target, const struct endpoint *endpoint,
    struct ssh_cancel *cancel, struct ssh_connection **out, struct ssh_error *error);

/* CLOCK_MONOTONIC in milliseconds. */
uint64_t ssh_now(void);

/* Fills *error and returns -err (err positive). */
int ssh_fail(struct ssh_error *error, enum ssh_failure kind, int err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The kinds that need no words of their own: cancelled, silent, lost; phase as in "during the
 * handshake". */
int ssh_fail_wait(struct ssh_connection *c, int err, const char *phase, struct ssh_error *error);

/* Waits until fd has one of the events, at most until deadline (ssh_now). 0, -ETIMEDOUT, -ECANCELED
 * or a negative errno. */
int ssh_wait_fd(struct ssh_cancel *cancel, int fd, short events, uint64_t deadline);

/* After a libssh2 call said EAGAIN: sends what is queued and waits for the socket. As ssh_wait_fd;
 * -ECONNRESET and so on when the connection is lost. */
int ssh_wait(struct ssh_connection *c, uint64_t deadline);

/* The deadline of a step that begins now. */
uint64_t ssh_deadline(const struct ssh_target *target);

/*
 * Begins a step of connecting that has more_ms beside the usual time, and returns its deadline. A
 * libssh2 call does not return while the server goes on sending what it passes over, so that
 * ssh_wait does not come to look at the clock: RECV looks too.
 */
uint64_t ssh_step(struct ssh_connection *c, uint64_t more_ms);

/* Frees the LIBSSH2_SESSION without sending or awaiting anything more. */
void ssh_session_end(struct ssh_connection *c);

/* ssh_dial.c: resolves and connects; sets c->fd and c->address. 0 or a negative errno with *error.
 */
int ssh_dial(struct ssh_connection *c, struct ssh_error *error);

/* ssh_proxy.c: the same through the profile's jump hosts. */
int ssh_proxy_dial(struct ssh_connection *c, struct ssh_error *error);

/* ssh_auth.c: tries the keys and the agent. 0 or a negative errno with *error. */
int ssh_authenticate(struct ssh_connection *c, struct ssh_error *error);

/* ssh_io.c: the queues. */
int ssh_io_init(struct ssh_connection *c);
void ssh_io_fini(struct ssh_connection *c);
/* The socket may have bytes again (poll said so). */
void ssh_readable(struct ssh_connection *c);
/* While nobody calls libssh2: fetches bytes as far as there is room for them, so that
 * ssh_last_heard stays true. Whether there is room left. */
bool ssh_hear(struct ssh_connection *c);
void ssh_io_install(struct ssh_connection *c);
/* libssh2's memory, so that a banner can be seen (ssh_io.c says why). */
void *ssh_mem_alloc(size_t count, void **abstract);
void *ssh_mem_realloc(void *ptr, size_t count, void **abstract);
void ssh_mem_free(void *ptr, void **abstract);

#endif

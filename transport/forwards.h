/*
 * Port forwards alongside the mount (-L): a thread with a libuv loop and an SSH session of its own,
 * so that forwarded traffic never waits behind, or delays, the file system's. (More sessions, at
 * most four, while the far side is slow to answer the opening of a connection.)
 *
 * forwards_start returns once the local ports are bound (or failed, each with a log_warning naming
 * address, port and cause); the session is dialled in the background and redialled with backoff.
 * Local connections made before the first dial has failed wait for it, at most ten seconds; those
 * made while the link is down are accepted and closed with a log_warning, those open when it is
 * lost are reset. A far port where nobody listens is named in a log_warning (once a minute each).
 * Half-close and back-pressure work both ways. target->ask is never called: the file system's
 * session asks about an unknown host key, and until it is known the dials fail and are repeated.
 *
 * Where transport=ssh says so, or libssh2 can't do what the key, the server or ~/.ssh/config needs,
 * the session is a process of ssh(1).
 *
 * SOCKS (-D): versions 4, 4a and 5 without authentication, CONNECT alone. Remote forwards (-R): the
 * instance's sshd is asked to listen, anew with each session.
 *
 * Any thread may call; the handle belongs to the caller.
 */
#ifndef VASTFS_TRANSPORT_FORWARDS_H
#define VASTFS_TRANSPORT_FORWARDS_H

#include "transport/ssh.h"

struct forwards;

struct forward_figures {
	char text[256]; /* forward_spec_print */
	bool listening;
	char last_error[256];	      /* "" when there was none */
	unsigned connections;	      /* open now */
	uint64_t accepted;	      /* since the start */
	uint64_t bytes_in, bytes_out; /* from and to the instance */
};

/* Uses target->profile->forwards; the target is borrowed until forwards_free returns. Without any,
 * nothing is started until one is added. 0 or a negative errno. */
int forwards_start(struct forwards **out, const struct ssh_target *target);
/* Adds the forward that text describes, or removes one (its port, or its text as in the figures)
 * with its connections. The answer, a line of JSON {"ok": …, "error": …}, goes to fd, which is
 * taken in any case. 0 or a negative errno. */
int forwards_order(struct forwards *forwards, int fd, bool add, const char *text);
/* Number of forwards, and a snapshot of one; "up" tells whether the session stands. */
unsigned forwards_count(struct forwards *forwards);
void forwards_figures(struct forwards *forwards, unsigned index, struct forward_figures *out);
bool forwards_up(struct forwards *forwards);
/* Closes all, ends the thread, waits for it, at most two seconds. False: it goes on, in a look-up
 * of a name that nobody answers for example, and still uses the target's profile. NULL is allowed.
 */
bool forwards_free(struct forwards *forwards);

#endif

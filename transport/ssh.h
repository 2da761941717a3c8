/*
 * Making an SSH connection with libssh2: resolve, connect, handshake, check the host key (S1), then
 * authenticate. Blocking with deadlines, on the calling thread (a session's or the forwards' own);
 * every wait is a poll on the socket and on a wake-up descriptor, so that ssh_cancel from another
 * thread ends it at once.
 *
 * After success the session is non-blocking and does its I/O through queues in user space
 * (LIBSSH2_CALLBACK_SEND and _RECV), so that libssh2 never meets a partial write: with one
 * pending, 1.10 fails other channels with -39 or -7, and a rekey kills or hangs the session.
 *
 * Errors come back as a kind, for the caller to decide whether to try again, and text for the user:
 * what happened, with the host and port, and what to do about it.
 */
#ifndef VASTFS_TRANSPORT_SSH_H
#define VASTFS_TRANSPORT_SSH_H

#include "conf/profile.h"
#include <libssh2.h>
#include <stdatomic.h>
#include <stdbool.h>

enum ssh_failure {
	SSH_OK,
	SSH_UNRESOLVED,	      /* no such host name */
	SSH_UNREACHABLE,      /* no route, timed out on connect */
	SSH_REFUSED,	      /* nobody listens on that port */
	SSH_NOT_SSH,	      /* something else answers there, or it closed before its banner */
	SSH_NO_ALGORITHM,     /* nothing in common (RSA-only host keys with libssh2 1.10) */
	SSH_HOST_KEY_UNKNOWN, /* strict, or the user said no */
	SSH_HOST_KEY_CHANGED, /* refused for good */
	SSH_NO_KEY,	      /* no usable private key and no agent: nothing was tried */
	SSH_KEY_UNUSABLE,     /* encrypted, unreadable by others' right, unknown format, RSA on
				 libssh2 1.10 */
	SSH_KEY_BEYOND,	      /* of a kind that libssh2 can't use, and ssh(1) can: on a security
				 key, a certificate */
	SSH_DENIED,	      /* each key was refused */
	SSH_DENIED_TRANSIENT, /* refused, and the server's banner says to try again in a few seconds
			       */
	SSH_NO_SFTP,	      /* the sftp subsystem was refused, or ended at once */
	SSH_NOISY_SHELL,      /* a login shell prints into the SFTP stream */
	SSH_TIMEOUT,	      /* silent for too long */
	SSH_LOST,	      /* the connection broke */
	SSH_CANCELLED,
	SSH_CONFIG,	 /* ssh(1) is not there, or its configuration is wrong */
	SSH_NOT_RUNNING, /* the provider says that the instance is not up, or is no more */
	SSH_NO_PATH,	 /* the folder to mount is not there, or is no folder */
};

struct ssh_error {
	enum ssh_failure kind;
	int err; /* the errno behind it, positive, or 0 */
	char text[1024];
};

/* Asks the user to accept an unknown host key: question is OpenSSH's text (authenticity,
 * fingerprint, "Are you sure…"). Returns true for yes. Called on the connecting thread. */
typedef bool ssh_ask(void *arg, const char *question, const char *fingerprint);

struct locator;

struct ssh_target {
	const struct profile *profile; /* borrowed; immutable while anything uses the target */
	ssh_ask *ask;		       /* NULL: no terminal: HOST_KEY_ASK means strict */
	void *ask_arg;
	/* Where to dial instead of the profile's host and port (locate.h); or NULL. */
	struct locator *locator;
	bool
	    vouched; /* the provider has named the profile's host and port for this very instance */
	/* A word (NULL: none any more) on what is being waited for, for the terminal; from any
	 * thread. NULL: nobody looks. */
	void (*progress)(void *arg, const char *text);
	void *progress_arg;
	unsigned connect_timeout; /* seconds for each of: connect, handshake, authentication */
};

/* Another thread's way to end a wait; embedded by the owner. */
struct ssh_cancel {
	int event_fd; /* eventfd(2), polled beside the socket */
	_Atomic bool cancelled;
};
int ssh_cancel_init(struct ssh_cancel *cancel); /* 0 or a negative errno */
void ssh_cancel_set(struct ssh_cancel *cancel);
void ssh_cancel_fini(struct ssh_cancel *cancel);

struct ssh_connection; /* socket, LIBSSH2_SESSION and the two I/O queues; one thread's */

/* Do the profile's sessions have to be made by ssh(1)? */
static inline bool ssh_needs_process(const struct profile *profile)
{
	return profile->transport == TRANSPORT_SSH ||
	       (profile->transport == TRANSPORT_AUTO &&
		   (profile->n_ssh_options || profile->needs_ssh));
}
/* Such a failure is none of ssh(1)'s. */
static inline bool ssh_is_beyond_library(enum ssh_failure kind)
{
	return kind == SSH_NO_ALGORITHM || kind == SSH_KEY_UNUSABLE || kind == SSH_KEY_BEYOND ||
	       kind == SSH_NO_KEY;
}

/* 0, or a negative errno with *error filled in. The connection is owned by the caller. */
int ssh_connect(const struct ssh_target *target, struct ssh_cancel *cancel,
    struct ssh_connection **out, struct ssh_error *error);
/* Shuts the socket down first, so that nothing of libssh2's can wait. */
void ssh_close(struct ssh_connection *connection);
/* What the other side of a socket has not acknowledged when that is closed is thrown away: always,
 * also when we are killed, or only what there is now (nothing: it ends quietly). */
void ssh_discard_unsent(int fd, bool always);

LIBSSH2_SESSION *ssh_session(struct ssh_connection *connection);
int ssh_socket(const struct ssh_connection *connection);
/* Sends what is queued, as far as the socket takes it. 0, or a negative errno when the connection
 * is lost. */
int ssh_flush(struct ssh_connection *connection);
/* Bytes queued and not yet taken by the socket; above a MiB or two, stop calling
 * libssh2_channel_write. */
size_t ssh_queued(const struct ssh_connection *connection);
/* poll(2) events to wait for: POLLIN always, POLLOUT while something is queued. */
short ssh_poll_events(const struct ssh_connection *connection);
/* CLOCK_MONOTONIC milliseconds at which the socket last gave bytes; totals since the start. */
uint64_t ssh_last_heard(const struct ssh_connection *connection);
uint64_t ssh_bytes_in(const struct ssh_connection *connection);
uint64_t ssh_bytes_out(const struct ssh_connection *connection);

#endif

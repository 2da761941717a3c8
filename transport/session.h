/*
 * An SSH session and its thread.
 *
 * The thread owns the LIBSSH2_SESSION, the socket and the channels: it connects, encrypts,
 * decrypts, splits the channels' bytes into SFTP packets and exchanges those with the core
 * (stream.h). With SESSION_BY_PROCESS an ssh(1) process does the SSH part, and the thread owns that
 * process and its pipes (sshproc.h). The core owns the struct session handle and calls everything
 * here on its loop. Events come through the mailbox.
 */
#ifndef VASTFS_TRANSPORT_SESSION_H
#define VASTFS_TRANSPORT_SESSION_H

#include "transport/mailbox.h"
#include "transport/stream.h"

struct session;

struct session_events {
	/* Authenticated (error NULL), or the attempt failed (error borrowed); once. */
	void (*connected)(void *arg, const struct ssh_error *error);
	/* The established session is gone; its streams get closed first. Once, only after
	 * connected(NULL). */
	void (*lost)(void *arg, const struct ssh_error *error);
};

struct session_figures {
	uint64_t bytes_in, bytes_out; /* on the socket */
	uint64_t heard_ms;	      /* CLOCK_MONOTONIC ms when bytes last came */
	size_t queued;		      /* bytes waiting to be sent: packets and ciphertext */
	char cipher[48], peer[80];    /* "aes128-ctr", "SSH-2.0-OpenSSH_9.2p1"; printable */
};

enum session_flags {
	SESSION_BY_PROCESS = 1, /* ssh(1) makes the connection */
	SESSION_MAY_ASK = 2,	/* ssh(1) may ask on the terminal (target->ask asks for libssh2) */
};

/* Starts the thread, which dials at once. The target is borrowed until the session has ended. 0 or
 * a negative errno. */
int session_new(struct session **out, struct mailbox *mailbox, const struct ssh_target *target,
    unsigned flags, const struct session_events *events, void *arg);

/*
 * Opens a channel with the sftp subsystem. window: receive window in bytes (2 MiB for small
 * operations, 32 MiB for bulk). May be called before connected. The INIT packet is the caller's to
 * send, after opened. NULL only when memory is out.
 */
struct stream *session_open_sftp(
    struct session *session, uint32_t window, const struct stream_events *events, void *arg);

/*
 * Opens a channel on which the login shell there runs a command (borrowed while the stream is open)
 * that speaks in packets too. Its first one has SESSION_GREETING bytes behind the length field and
 * SFTP's type VERSION; what a login shell prints before that is passed over. After opened the
 * caller may send the program's input, not yet in packets.
 */
#define SESSION_GREETING 21
struct stream *session_open_exec(struct session *session, const char *command, uint32_t window,
    const struct stream_events *events, void *arg);

/* A snapshot of the thread's counters. */
void session_figures(struct session *session, struct session_figures *out);

/* Asks the SSH server for a sign of life (keepalive@openssh.com with want_reply), for the rare case
 * where all channels are busy with slow requests. The answer shows in heard_ms only. */
void session_ping(struct session *session);

/* Ends it: shuts the socket down, tells the thread, gives up the handle; never waits. No events
 * come afterwards. The thread frees the rest. Streams still open get no events either and must
 * still be stream_close()d, before or after. */
void session_free(struct session *session);

/* Waits for all session threads of the process to end, at most timeout_ms; for a clean exit.
 * Returns how many are left. */
int session_join_all(unsigned timeout_ms);

#endif

/*
 * SFTP version 3 over one stream: the codec's messages, and the table of the requests in flight.
 *
 * Core only. A struct sftp is one conversation with one sftp-server process: it sends requests
 * without waiting, matches replies by id, checks all that the server says (S2), and completes each
 * request exactly once, never from inside the call that sent it: with the reply, with -ETIMEDOUT
 * when its time is over (counted from the sending, or from the last reply to what was sent before
 * it; a late reply is then dropped, a handle in it closed), or with -ENOTCONN when
 * the stream is gone.
 *
 *     opening --opened--> hello --VERSION--> limits --reply--> ready --> ended
 *                           +-------- no limits@ ----------------^
 *
 * ended is reached from everywhere: the stream broke, the server makes no sense (an unknown id, a
 * second answer), INIT or limits@ stays unanswered, or more than 1000 requests that timed out are
 * still without an answer.
 */
#ifndef VASTFS_TRANSPORT_SFTP_H
#define VASTFS_TRANSPORT_SFTP_H

#include "transport/session.h"
#include "transport/sftp_codec.h"
#include "transport/sftp_rtt.h"
#include "transport/stream.h"
#include <uv.h>

struct sftp;

/* What the server offers, known after VERSION (and limits@openssh.com where there is one). */
struct sftp_features {
	bool posix_rename, hardlink, statvfs, fsync, lsetstat, copy_data, expand_path;
	bool fstatvfs, home_directory;
	uint32_t max_read, max_write; /* data bytes of one READ or WRITE; 32768 without limits@ */
	uint64_t max_handles;	      /* 0: not said */
};

struct sftp_events {
	/* VERSION 3 (and limits) came, or the conversation failed before (error borrowed); once. */
	void (*ready)(void *arg, const struct ssh_error *error);
	/* It ended after ready: every request in flight has been completed with -ENOTCONN before;
	 * once. */
	void (*ended)(void *arg, const struct ssh_error *error);
};

/*
 * A reply; all pointers are borrowed for the time of the callback.
 *
 * The end of a file or listing (SSH_FX_EOF, an empty DATA or NAME) is err -ENODATA with status
 * SSH_FX_EOF.
 *
 * A reply that its request can't have (another type, a body that does not fit) is -EPROTO and ends
 * the conversation. Just -EPROTO: STATUS OK where something was asked for, more DATA than asked
 * for, REALPATH or READLINK with other than one name.
 */
struct sftp_reply {
	/* 0, or a negative errno: of the STATUS, -ETIMEDOUT, -ENOTCONN (lost link), -EPROTO */
	int err;
	uint32_t status; /* the SSH_FX_ code when a STATUS came, else 0 */
	uint8_t type;	 /* SSH_FXP_ type of the reply, 0 when none came */
	union {
		struct sftp_string handle; /* HANDLE: 1 to 256 bytes */
		struct sftp_string data;   /* DATA */
		struct sftp_attr attr;	   /* ATTRS */
		struct sftp_names names;   /* NAME: already checked; read with sftp_names_next */
		struct sftp_string extended;
	};
};
/* An LSTAT's, STAT's or FSTAT's reply: its errno. */
static inline int sftp_take_attr(const struct sftp_reply *reply, struct sftp_attr *attr)
{
	if (!reply->err)
		*attr = reply->attr;
	return reply->err;
}

typedef void sftp_done(void *arg, const struct sftp_reply *reply);

/* Makes the stream that the conversation is to be on; called once, from inside sftp_new_on. NULL
 * when memory is out. */
typedef struct stream *sftp_open_stream(
    void *opener, const struct stream_events *events, void *arg);

/* sftp_new on whatever stream: for other makers than a session, and for tests. */
struct sftp *sftp_new_on(uv_loop_t *loop, sftp_open_stream *open, void *opener, unsigned timeout,
    const struct sftp_events *events, void *arg);

/* The greeting may take that long, in place of timeout. Before the stream is open. */
void sftp_greet_within(struct sftp *sftp, uint64_t ms);

/* Opens a stream on the session and greets. NULL when memory is out. timeout: seconds for each
 * request and for the greeting (the session has its own for opening the channel). */
struct sftp *sftp_new(uv_loop_t *loop, struct session *session, uint32_t window, unsigned timeout,
    const struct sftp_events *events, void *arg);

/*
 * Sends a message made by sftp_codec.h (takes it; the id is filled in here). done is called exactly
 * once, later: with -ENOTCONN also before ready and after the end, with -ENOMEM when memory is out.
 * cost: bytes that count as in flight until the reply (data asked for or sent; 0 for small
 * operations). A message that is patient has no timeout while nothing that was sent later is
 * answered: who gives up what a server did not get to yet can't know what will come of it.
 */
void sftp_send(struct sftp *sftp, struct packet *message, size_t cost, sftp_done *done, void *arg);

/* The handle that the next OPEN will be answered, as far as can be told (sftp_foresee.h). */
bool sftp_foresee(const struct sftp *sftp, struct sftp_handle *out);

const struct sftp_features *sftp_features(const struct sftp *sftp);
size_t sftp_bytes_in_flight(const struct sftp *sftp);
unsigned sftp_requests_in_flight(const struct sftp *sftp);
struct sftp_quiet {
	uint64_t ms;	/* the server has owed answers without giving any; 0 when it owes none */
	bool slow;	/* it may be at something that takes its time (fsync, copy-data) */
	unsigned moves; /* the stream's */
	uint32_t sent;	/* counts requests */
};
struct sftp_quiet sftp_quiet(const struct sftp *sftp);
/* Of requests with cost 0; of the others only whether they are crowded. */
const struct sftp_rtt *sftp_rtt(const struct sftp *sftp);

/* Smoothed, in microseconds; 0 before the first. min: the least seen lately. */
static inline uint32_t sftp_rtt_us(const struct sftp *sftp)
{
	return sftp_rtt(sftp)->smooth;
}

static inline uint32_t sftp_min_rtt_us(const struct sftp *sftp)
{
	return sftp_rtt_least(sftp_rtt(sftp));
}

/* Completes what is in flight with -ENOTCONN (later, from the loop), closes the stream, frees. No
 * more events. May be called from inside any callback of this conversation; nothing else may be
 * called on it afterwards. The loop must run on until the completions are done and its handles
 * closed (two rounds). NULL is allowed. */
void sftp_free(struct sftp *sftp);

#endif

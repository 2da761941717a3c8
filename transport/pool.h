/*
 * The pool: the SSH sessions of one mount and the SFTP channels on them, by lane.
 *
 *	session 0    NAMES  channel: look-ups, listings, changes of names
 *	             FILES  channel: opens, small reads and writes, fsync, so that a slow
 *	                    fsync does not hold up `ls`
 *	session 1…   BULK   channels, the more the farther away (an sshd takes at most 2 MiB
 *	                    per channel and round trip), and others as transfers need
 *	                    them; with connections=1 they lie on session 0
 *
 * Core only. Owns the sessions; redials lost ones with backoff (1 s doubled up to 30 s, with
 * jitter; while someone waits up to 3 s, or 10 s when an sshd turns us away),
 * staggered so that MaxStartups and PerSourcePenalties are not provoked; notices dead
 * links (nothing heard for 15 s with something asked; a ping after 5 s of silence) and clock
 * jumps (suspend), which are checked at once.
 */
#ifndef VASTFS_TRANSPORT_POOL_H
#define VASTFS_TRANSPORT_POOL_H

#include "transport/sftp.h"

enum lane { LANE_NAMES, LANE_FILES, LANE_BULK, LANE_COPY };

struct pool;

/* One SFTP channel of the pool. It is counted: a handle on it keeps the struct (not the link)
 * alive, so that "is this channel still the one my handle is on?" is channel->alive. */
struct pool_channel;

struct pool_figures_session {
	unsigned index;
	const char *state; /* "connecting", "up", "waiting" (for the next try), "refused" */
	char last_error[sizeof(((struct ssh_error *)0)->text)]; /* "" when there was none */
	uint32_t rtt_us, min_rtt_us;
	unsigned channels, requests;
	size_t bytes_in_flight;
	uint64_t bytes_in, bytes_out;
	char cipher[48], peer[80];
	unsigned reconnects;
};

struct pool_events {
	/* The first session's NAMES channel is up (error NULL), or could not be had for good; once.
	 */
	void (*ready)(void *arg, const struct ssh_error *error);
	void (*link)(void *arg, const struct ssh_error *error); /* NULL: up again */
	/* With the profile's offline: the instance can't be reached; it is tried for ever, and
	 * ready comes when that succeeds (or fails for a reason that time will not heal). May be
	 * called again. NULL: ready is told. */
	void (*unreachable)(void *arg, const struct ssh_error *error);
};

int pool_new(struct pool **out, uv_loop_t *loop, const struct ssh_target *target,
    const struct pool_events *events, void *arg);
/* Ends it: closes all sessions; what waits gets -ENOTCONN, later, from the loop. No events come
 * afterwards. The struct stays while someone holds a reference: pool_channel then gives NULL and
 * pool_wait -ENOTCONN. */
void pool_free(struct pool *pool);
struct pool *pool_get(struct pool *pool);
void pool_put(struct pool *pool);

/*
 * A channel for the next request. NULL when none of that lane is up now: wait with pool_wait. For
 * LANE_BULK: the one with the fewest bytes in flight; want_more hints that the caller has more to
 * send than the channels take (another is opened).
 */
struct pool_channel *pool_channel(struct pool *pool, enum lane lane, bool want_more);
/* Calls done once, later: err 0 when a channel of that lane is up, -ETIMEDOUT after timeout_ms,
 * -ENOTCONN when the pool is closed. */
void pool_wait(struct pool *pool, enum lane lane, unsigned timeout_ms,
    void (*done)(void *arg, int err), void *arg);

struct pool_channel *pool_channel_get(struct pool_channel *channel);
void pool_channel_put(struct pool_channel *channel);
bool pool_channel_alive(const struct pool_channel *channel);
/* Smoothed; 0 before its first answer. */
uint32_t pool_channel_rtt_us(const struct pool_channel *channel);
/* The SFTP conversation; only while alive. */
struct sftp *pool_channel_sftp(struct pool_channel *channel);

/*
 * Runs a program on session 0, on a channel of its own beside the others (session_open_exec, which
 * says how it speaks). One at a time. NULL: that session is not up, or memory is out. closed comes
 * too, from the loop, when the session is given up.
 */
struct stream *pool_run(
    struct pool *pool, const char *command, const struct stream_events *events, void *arg);

const struct sftp_features *pool_features(const struct pool *pool);
uint32_t pool_min_rtt_us(const struct pool *pool);
/* Is the instance so near (below 2 ms) that round trips cost nothing? False while nothing is known.
 */
bool pool_near(const struct pool *pool);
bool pool_up(const struct pool *pool);
unsigned pool_sessions(const struct pool *pool);
/* The SSH server's banner ("SSH-2.0-OpenSSH_9.2p1", printable), "" before the first connection. */
const char *pool_peer(const struct pool *pool);
void pool_figures(struct pool *pool, unsigned index, struct pool_figures_session *out);
/* The profile's timeout in milliseconds. */
unsigned pool_timeout_ms(const struct pool *pool);

#endif

/*
 * What the parts of pool*.c share. Nobody else includes this. Core only.
 *
 *	pool.c          the pool, who gets which channel, who waits
 *	pool_session.c  dialling, backoff, the first connection's patience
 *	pool_channel.c  channels: opening, death, opening again
 *	pool_watch.c    dead links and clock jumps
 *	pool_hang.c     SFTP servers that hang though the link lives
 *	pool_program.c  the program that runs beside the channels
 *
 * A session's states:
 *
 *	          time is up           connected
 *	WAITING ─────────────> DIALLING ─────────> UP
 *	   ^ ^                    │ failed         │ lost, or silent for too long
 *	   │ └────────────────────┘                │
 *	   └───────────────────────────────────────┘
 *
 * Nothing is called back from inside pool_channel or pool_wait: what they find to do is done by
 * on_due, which uv runs on its next turn.
 */
#ifndef VASTFS_TRANSPORT_POOL_INTERNAL_H
#define VASTFS_TRANSPORT_POOL_INTERNAL_H

#include "transport/pool.h"

/* OpenSSH's MaxSessions is 10. */
#define POOL_CHANNELS_MAX 9
#define POOL_BULK_PER_SESSION 5
#define POOL_BULK_MAX 16
/* So much round-trip time wants one more of them. */
#define POOL_BULK_US 60000
/* A channel with that many bytes in flight is busy enough to want another beside it. */
#define POOL_CROWDED (1536u * 1024)
/* Below this round-trip time more channels only cost CPU. */
#define POOL_NEAR_US 2000

/* Between two looks at all connections. */
#define POOL_TICK_MS 1000
#define POOL_NEVER UINT64_MAX

/* Who makes the sessions: session.h's functions. A seam for tests, and for other makers of streams.
 */
struct pool_maker {
	int (*start)(struct session **out, struct mailbox *mailbox, const struct ssh_target *target,
	    unsigned flags, const struct session_events *events, void *arg);
	struct stream *(*open_sftp)(struct session *session, uint32_t window,
	    const struct stream_events *events, void *arg);
	void (*figures)(struct session *session, struct session_figures *out);
	void (*ping)(struct session *session);
	void (*end)(struct session *session);
	struct stream *(*open_exec)(struct session *session, const char *command, uint32_t window,
	    const struct stream_events *events, void *arg);
};
/* What the next pool_new takes. */
extern const struct pool_maker *pool_maker;

struct pool_session;

struct pool_channel {
	unsigned refs;		      /* one by the session while alive */
	struct pool_session *session; /* NULL once dead */
	struct sftp *sftp;	      /* NULL once dead */
	enum lane lane;
	bool ready; /* greeted */
	uint64_t ready_at;
	/* pool_hang.c: the figures when last looked, and ticks since then */
	unsigned moves, still, proofs;
	uint32_t sent;
};

enum pool_state { POOL_WAITING, POOL_DIALLING, POOL_UP };

/* What is known of a session's silence; all times count only while our loop runs (pool_watch.c). */
struct pool_watch {
	uint64_t heard;	    /* session_figures.heard_ms when last looked */
	uint64_t bytes_out; /* the same */
	size_t queued;	    /* the same */
	unsigned silent;    /* ms since it was heard */
	unsigned asked;	    /* ms of that with something asked */
	unsigned ping_wait; /* ms since the ping that is not answered */
	unsigned urgent;    /* ms left to answer after a clock jump; 0: no hurry */
	bool pinged;
};

/* SFTP servers of a session that hang (pool_hang.c). */
struct pool_hang {
	unsigned times;	       /* in a row */
	uint64_t last;	       /* loop ms */
	struct stream *killer; /* runs the command that ends them; or NULL */
	unsigned killer_left;  /* ticks until its channels are given up, if that changes nothing */
	bool killed;	       /* as far as we know: what ends, ends for that */
	uint64_t in_vain;      /* when one ran that changed nothing; loop ms; 0: never */
};

struct pool_session {
	struct pool *pool;
	unsigned index;
	enum pool_state state;
	bool patient;		 /* the next dial, or this one, is not given up early */
	bool refused;		 /* while waiting: the host key changed, or it was given up */
	bool by_process;	 /* as it was last dialled */
	struct session *session; /* NULL while waiting */
	struct pool_channel *channels[POOL_CHANNELS_MAX];
	unsigned n_channels;
	uint64_t next_try;  /* while waiting: loop ms */
	uint64_t dropped;   /* while waiting: since when; loop ms */
	uint64_t dialled;   /* while dialling: the same */
	uint64_t up_since;  /* loop ms */
	uint64_t reopen_at; /* loop ms before which no channel is opened; 0: no limit */
	unsigned reopen_fails;
	unsigned failures; /* dials in a row without success, or that did not last */
	unsigned ups;	   /* times it came up */
	unsigned put_off;  /* times it was not dialled for a transfer's sake */
	struct ssh_error error;
	uint64_t past_in, past_out; /* bytes of sessions before this one */
	struct pool_watch watch;
	struct pool_hang hang;
};

struct pool_waiter {
	TAILQ_ENTRY(pool_waiter) link;
	enum lane lane;
	uint64_t deadline; /* loop ms */
	void (*done)(void *arg, int err);
	void *arg;
};

struct pool {
	unsigned refs;
	uv_loop_t *loop;
	const struct ssh_target *target;
	struct pool_events events;
	void *arg;
	const struct pool_maker *maker;
	struct mailbox *mailbox;
	uv_timer_t due;	  /* dials, reopenings, waiters */
	uv_timer_t tick;  /* pool_watch.c */
	unsigned handles; /* of uv, not yet closed */
	bool closed;
	bool told;     /* ready was called */
	bool failed;   /* ready was called with an error: no more dials */
	bool was_up;   /* as link last said */
	bool saw_sshd; /* an SSH server has answered since the start: refusals may be its restart */
	unsigned first_tries;
	/* transport=auto (pool_session.c) */
	bool process_only;		/* libssh2 can't do what this server or key needs */
	unsigned process_failures;	/* dials by a process in a row that failed */
	struct ssh_error library_error; /* why, of the first connection */
	uint64_t started;		/* loop ms */
	uint64_t copy_after; /* loop ms before which no COPY channel is asked for again */
	uint64_t hang_seen;  /* pool_hang.c: loop ms; 0: never */
	struct sftp_features features;
	char peer[80];
	uint32_t min_rtt_us;	      /* last known */
	uint64_t last_tick;	      /* CLOCK_MONOTONIC ms */
	int64_t asleep;		      /* CLOCK_BOOTTIME - CLOCK_MONOTONIC, ms */
	struct pool_program *program; /* pool_program.c; or NULL */
	TAILQ_HEAD(, pool_waiter) waiters;
	unsigned n_sessions;
	struct pool_session sessions[];
};

/* pool.c */
void pool_kick(struct pool *pool);     /* on_due runs on the loop's next turn */
void pool_schedule(struct pool *pool); /* sets the due timer to what comes next */
/* Calls events.link when the link came or went; may close the pool. error borrowed, may be NULL. */
void pool_link_changed(struct pool *pool, const struct ssh_error *error);

/* pool_session.c */
/* Is it to be dialled now? Else next_try says when to ask again. */
bool pool_session_is_due(struct pool_session *session);
void pool_session_dial(struct pool_session *session);
/* Ends it, in any state, and plans the next try. error NULL: keeps what was said before. */
void pool_session_drop(struct pool_session *session, const struct ssh_error *error);
/* Someone waits for the link: a long pause is cut short. */
void pool_session_hurry(struct pool_session *session);
/* Every second: a dial that hangs while someone waits is given up and made again; so is one from
 * before a clock jump. */
void pool_session_doubt_dial(struct pool_session *session, bool jumped);
/* The first connection failed: tries again, or calls events.ready with the error. */
void pool_first_failed(struct pool_session *session, const struct ssh_error *error);
/* Bulk sessions that have not been asked for yet are dialled, one after the other. */
void pool_dial_others(struct pool *pool);

/* pool_channel.c */
/* Opens those channels that the session should have and has not. */
void pool_session_fill(struct pool_session *session);
/* NULL when memory is out or the session takes no more. */
struct pool_channel *pool_channel_open(struct pool_session *session, enum lane lane);
/* Asks a channel with nothing to do for any sign of life; false when it is busy. */
bool pool_channel_ask(struct pool_channel *channel);
/* Takes it off its session and ends its conversation. */
void pool_channel_kill(struct pool_channel *channel);
unsigned pool_session_count(const struct pool_session *session, enum lane lane);
struct pool_channel *pool_session_find(struct pool_session *session, enum lane lane);

/* pool_hang.c */
/* Each second, of a session that is up, behind its watch. */
void pool_hang_look(struct pool_session *session);
/* It owes an answer, at a time when others hang: a request is better off elsewhere. */
bool pool_hang_doubts(const struct pool_channel *channel);
/* A greeting did not come in time. */
void pool_hang_note(struct pool_session *session);
/* How long a new channel's server may take to greet, in ms. */
uint64_t pool_hang_patience(const struct pool_session *session);
/* How long to wait before a channel is opened in the place of one that hung, in ms. */
uint64_t pool_hang_pause(const struct pool_session *session);
/* The session ends. */
void pool_hang_stop(struct pool_session *session);

/* pool_program.c: session 0 is being dropped. error NULL: nobody says why. */
void pool_program_lost(struct pool *pool, const struct ssh_error *error);

/* pool_watch.c */
void pool_watch_start(struct pool *pool);
void pool_watch_reset(struct pool_session *session);

#endif

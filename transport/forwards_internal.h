/*
 * What the parts of the forwards share; nobody else includes this. Unless said otherwise everything
 * runs on the forwards' own thread, on its libuv loop.
 *
 *	forwards.c           the handle, the thread, its turns, figures, warnings
 *	forward_orders.c     forwards that come and go later
 *	forward_listener.c   local ports
 *	forward_socks.c      -D: hears where a local program wants to go
 *	forward_remote.c     -R: ports of the instance
 *	forward_dial.c       dialling an SSH session
 *	forward_link.c       its life and death, its socket
 *	forward_open.c       opening channels, one at a time on each session
 *	forward_conn.c       one connection: bytes both ways, half-close, back-pressure
 *	forward_process.c    an SSH session by a process of ssh(1) instead
 *	forward_pipe.c       a connection's far side then
 *
 * Callbacks of libuv only move bytes and set flags (link->dirty); all that may end a session or a
 * connection's channel happens in forwards_work(), which runs before the loop goes to sleep. So
 * nothing is freed under a caller's feet.
 *
 * A connection's way:
 *
 *	WAITING --------> OPENING ---------> OPEN ----------> CLOSING
 *	  ^                  |  session lost
 *	  +------------------+
 *
 * Lists, in this order: forwards->waiting; none (link->opening); link->conns; link->closing until
 * libssh2 has freed the channel and libuv the handle (or none, without a channel).
 *
 * Nothing is read from a local program before its channel is open; so a session lost until then
 * costs it nothing but time.
 */
#ifndef VASTFS_TRANSPORT_FORWARDS_INTERNAL_H
#define VASTFS_TRANSPORT_FORWARDS_INTERNAL_H

#include "transport/forwards.h"
#include <pthread.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#define FORWARD_BUFFER (64u * 1024) /* one step of a connection, either way */
#define FORWARD_STEPS 4		    /* steps of one connection before the others have their turn */
/* Ciphertext queued before connections stop adding to it: little, since a key press waits behind
 * it. */
#define FORWARD_QUEUE_MAX (512u * 1024)
/*
 * What the instance may send on a channel before we have read it. It lies in libssh2's list of
 * unread packets when the local program does not read: small at first, larger for those that have
 * shown that they do.
 */
/* At the open. Small beside the next, so that libssh2 never adjusts by itself: forward_conn.c. */
#define FORWARD_WINDOW_FIRST (128u * 1024)
#define FORWARD_WINDOW_MIN (256u * 1024)
#define FORWARD_WINDOW_MAX (2048u * 1024)
_Static_assert(FORWARD_WINDOW_FIRST / 4 * 3 + FORWARD_BUFFER <= FORWARD_WINDOW_MIN / 4 * 3, "");
#define FORWARD_PACKET 32768u /* measured: more breaks under backlog */

#define FORWARD_CONNS_MAX 1000
#define FORWARD_LINKS_MAX 4
#define FORWARD_LISTENERS_MAX 8 /* addresses of one listen_host */

/* Milliseconds. */
#define FORWARD_HOLD 10000	 /* a connection waits for the first session */
#define FORWARD_HOLD_UP 30000	 /* a connection waits behind others' slow opens */
#define FORWARD_SLOW_OPEN 2000	 /* an open that takes longer is worth another session */
#define FORWARD_SPARE_IDLE 30000 /* a session beside the first one, without work, is closed */
#define FORWARD_PING_ACTIVE 5000 /* silence before a ping: with connections… */
#define FORWARD_PING_IDLE 60000	 /* …and without */
#define FORWARD_PING_TIMEOUT 10000
#define FORWARD_PING_RESUMED 5000 /* after a suspend */
#define FORWARD_BACKOFF_MIN 1000
#define FORWARD_BACKOFF_MAX 30000
#define FORWARD_WARN_EVERY 60000

/* Why a connection could not be served; each is warned of once a minute for each forward. */
enum forward_trouble { TROUBLE_FAR, TROUBLE_DOWN, TROUBLE_SLOW, TROUBLE_LIMIT, TROUBLE_COUNT };

struct forward {
	struct forwards *owner;
	const struct forward_spec *spec;
	struct forward_spec own; /* what spec points to, when it was added later */
	bool gone;		 /* was removed: nothing of it may begin any more */
	char text[256];

	/* FORWARD_REMOTE: what listens on the instance, with the session it belongs to. */
	LIBSSH2_LISTENER *listener;
	struct forward_link *listener_link, *refused_link; /* refused_link: it would not listen */
	/* the same with a process: the socket here that its connections come to, and the request */
	uv_poll_t *listener_poll; /* NULL: none */
	int listener_fd;
	struct forward_pipe *request; /* or NULL: it was answered */
	bool leaving;		      /* the request is to listen no more */
	char listener_path[108];
	uv_tcp_t listeners[FORWARD_LISTENERS_MAX];
	unsigned n_listeners; /* handles initialised */
	bool opening; /* a connection of it is OPENING; no second one, so that a far host that
		       * swallows packets takes one session, not all */
	uint64_t warned_ms[TROUBLE_COUNT];

	/* Read by any thread. */
	_Atomic bool listening;
	_Atomic unsigned connections;
	_Atomic uint64_t accepted, bytes_in, bytes_out;
	char last_error[256]; /* under owner->lock */
};

enum forward_conn_state { CONN_WAITING, CONN_OPENING, CONN_OPEN, CONN_CLOSING };

struct forward_conn {
	TAILQ_ENTRY(forward_conn) entry; /* in the list that its state names */
	enum forward_conn_state state;
	struct forward *forward;
	/* FORWARD_SOCKS: where to. asking: the local program has not said it yet. */
	char *target_host;
	uint16_t target_port;
	bool asking;
	uv_connect_t connect;	   /* FORWARD_REMOTE */
	struct forward_link *link; /* NULL while WAITING and once the channel is gone */
	LIBSSH2_CHANNEL *channel;
	struct forward_pipe *pipe; /* in place of the channel, with a process */
	uv_tcp_t tcp;
	bool tcp_closed; /* libuv is done with tcp */
	uint64_t accepted_ms;

	/* From the local program to the instance: up[up_at] … up[up_at + up_len - 1] wait for
	 * libssh2. */
	uint8_t *up;
	size_t up_at, up_len;
	bool reading, up_eof, eof_sent;

	/* From the instance to the local program. */
	uint8_t *down; /* what the socket did not take at once; busy while writing */
	uv_write_t write;
	uv_shutdown_t shutdown;
	uint64_t moved;	    /* bytes down */
	uint32_t adjusting; /* an adjustment of the window that libssh2 has begun, or 0 */
	bool writing, down_eof, shutting, shut;
	bool broken; /* the local socket failed: close */
};
TAILQ_HEAD(forward_conn_list, forward_conn);

enum forward_link_state { LINK_DIALLING, LINK_UP, LINK_ENDED };

struct forward_link {
	TAILQ_ENTRY(forward_link) entry;
	struct forwards *owner;
	enum forward_link_state state;
	struct ssh_cancel cancel;
	struct ssh_connection *connection;
	struct sshproc *process; /* in place of the connection */

	/* The helper thread that dials; it alone touches these until dial_done. */
	pthread_t dial_thread;
	struct ssh_connection *dialled;
	struct sshproc *dialled_process;
	bool by_process, joined;
	struct ssh_error dial_error;
	_Atomic bool dial_done;

	uv_poll_t poll;
	uv_poll_t end_poll; /* of the process */
	unsigned n_handles; /* of libuv, not yet closed */
	int poll_events;    /* 0: stopped */
	bool dirty;	    /* something happened: to be served in this turn */
	bool lost;	    /* poll reported an error */
	uint64_t up_ms, used_ms;

	/*
	 * An idle "session" channel, for two things that libssh2 has no calls for: to read from the
	 * socket while no other channel may be read (wait_eof on it), and to ask for a sign of life
	 * without a leak (a setenv that sshd refuses). NULL when the server wouldn't have it.
	 */
	LIBSSH2_CHANNEL *base;
	bool base_tried;
	bool pinging;		      /* asked, nothing heard since as far as known */
	bool ping_pending;	      /* setenv has not returned */
	uint64_t ping_ms, ping_bytes; /* when it was sent; bytes heard until then */
	unsigned ping_timeout;

	/* libssh2 opens one channel at a time. */
	bool opening_base;
	struct forward *listening; /* whose listener is being asked for */
	struct forward_conn *opening;
	uint64_t opening_ms;
	uint8_t message[1024];
	size_t message_len;

	struct forward_conn_list asked; /* OPENING, with a process */
	struct forward_conn_list conns, closing;
	unsigned n_conns;
};
TAILQ_HEAD(forward_link_list, forward_link);

struct forwards {
	struct ssh_target target;  /* without ask */
	bool asked_elsewhere;	   /* another session asks about an unknown host key */
	bool process_only;	   /* libssh2 can't do what the key or server needs */
	struct forward **forwards; /* those that are gone included; changed under the lock */
	unsigned count;
	STAILQ_HEAD(, forward_order) orders; /* under the lock */
	uv_loop_t loop;
	uv_async_t wake; /* a dial is done, or stop */
	uv_prepare_t prepare;
	uv_idle_t more; /* active: do not sleep, there is more to do */
	uv_timer_t tick;
	pthread_t thread;
	bool threaded;
	_Atomic bool stop, up;
	_Atomic bool
	    left; /* the thread has ended, or nobody waits for that; who is second disposes */
	pthread_mutex_t lock; /* each forward's last_error */

	struct forward_link_list links;
	unsigned n_links, n_conns;
	struct forward_conn_list waiting;
	bool again; /* work was left over in this turn */

	/* Redialling. */
	unsigned failures;   /* dials failed since a session last stood */
	unsigned backoff_ms; /* the next pause */
	uint64_t dial_at_ms, dial_warned_ms;
	enum ssh_failure dial_warned;
	char dial_text[256]; /* the last failure */
	int64_t sleep_ms;    /* CLOCK_BOOTTIME - CLOCK_MONOTONIC: grows by what a suspend takes */
	uint64_t tick_ms;    /* the last tick */

	char scratch[FORWARD_BUFFER];
};

/* forwards.c */
uint64_t forwards_now(void);
/* Keeps the line as the forward's last error and warns of it, at most once a minute for each kind
 * of trouble. */
void forward_warn(struct forward *forward, enum forward_trouble trouble, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void forward_set_error(struct forward *forward, const char *text);
/* Something waits for a decision (a new connection): look sooner than the timer would. */
void forwards_hurry(struct forwards *forwards);

/* forwards.c: takes spec (owned == NULL: borrowed, else the same). NULL when memory is out. */
struct forward *forward_new(
    struct forwards *forwards, const struct forward_spec *spec, struct forward_spec *owned);
/* Forwards that are not gone. */
bool forwards_wanted(const struct forwards *forwards);

/* forward_orders.c: what `vastfs forward` has asked for. */
struct forward_order;
void forward_orders_take(struct forwards *forwards);
void forward_orders_drop(struct forwards *forwards);
/* forwards.c: starts the thread if it does not run. */
int forwards_run(struct forwards *forwards);

/* forward_socks.c: hears where the local program wants to go. */
void forward_socks_begin(struct forward_conn *conn);

/* forward_remote.c: listening on the instance, and connections from there. 0, or -1 when the
 * session is lost. */
int forward_remote_step(struct forward_link *link, char *text, size_t size);
/* The session ends, or the forward is removed (link NULL). */
void forward_remote_end(struct forwards *forwards, struct forward_link *link);

/* A connection from the instance, as libssh2's channel or a socket (channel NULL); both taken. */
void forward_remote_take(
    struct forward_link *link, struct forward *forward, LIBSSH2_CHANNEL *channel, int fd);
void forward_remote_refused(struct forward *forward);

/* forward_process.c */
/* Sessions are made by processes. */
bool forward_by_process(const struct forwards *forwards);
/* After a failure of that kind they should be; then they will. */
bool forward_needs_process(struct forwards *forwards, enum ssh_failure kind);
/* Begins to watch the link's process. 0 or an error of libuv's; link->n_handles are to be closed.
 */
int forward_process_watch(struct forward_link *link);
/* Asks for the connection's channel; it is on link->asked, or closed. */
void forward_process_open(struct forward_link *link, struct forward_conn *conn);
/* As forward_link_serve. */
int forward_process_serve(struct forward_link *link, char *text, size_t size);
/* The process is gone: nothing listens for the forward any more. */
void forward_process_end_listener(struct forward *forward);

/* Where a connection goes on the instance's side. */
const char *forward_conn_host(const struct forward_conn *conn);
uint16_t forward_conn_port(const struct forward_conn *conn);

/* forward_listener.c: on the thread of forwards_start, before the loop runs. */
void forward_listen(struct forward *forward);

/* forward_dial.c */
/* Starts a dial. 0 or a negative errno. */
int forward_link_dial(struct forwards *forwards);
/* Dials that have ended. */
void forward_links_dialled(struct forwards *forwards);
/* A session was lost; it had been good, or died young. */
void forward_redial(struct forwards *forwards, bool good);

/* forward_link.c */
/* Takes it from the list; it is freed once libuv has let go. */
void forward_link_drop(struct forward_link *link);
/* Ends its session, if it has one, and waits for its thread. */
void forward_link_hang_up(struct forward_link *link);
void forward_link_join(struct forward_link *link);
/* All that can be done now for its channels. 0, or -1 when the session is lost (why in text). */
int forward_link_serve(struct forward_link *link, char *text, size_t size);
/* Silence, idle spares. As above. */
int forward_link_tick(struct forward_link *link, bool resumed, char *text, size_t size);
/* Ends it: its connections are reset, the one being opened waits for another session. */
void forward_link_end(struct forward_link *link, const char *why);
/* A libssh2 error that is the session's, not the channel's alone. */
bool forward_link_fatal(int error);
/* Fills text with libssh2's words. Returns -1. */
int forward_link_error(struct forward_link *link, char *text, size_t size);

/* forward_open.c */
/* Gives waiting connections to sessions that are free to open a channel. */
void forward_dispatch(struct forwards *forwards);
/* Goes on with the open under way. 0, or -1 when the session is lost. */
int forward_open_step(struct forward_link *link, char *text, size_t size);
void forward_open_base(struct forward_link *link);
/* Warns that a connection could not be opened; error is libssh2's or 0, why the server's words. */
void forward_far_failed(struct forward_conn *conn, int error, const char *why);
/* Closes those that waited for too long, or (why not NULL) all. */
void forward_waiting_expire(struct forwards *forwards, const char *why);

/* forward_conn.c */
void forward_conn_accept(struct forward *forward, uv_stream_t *listener);
/* Its channel is open. */
void forward_conn_opened(struct forward_conn *conn);
/* 0; -1 when the session is lost. Sets owner->again when there is more. May close the connection.
 */
int forward_conn_serve(struct forward_conn *conn, char *text, size_t size);
/* reset: the local program must not take this for a proper end of the data. */
void forward_conn_close(struct forward_conn *conn, bool reset);
/* Frees it if nothing holds it any more. */
void forward_conn_release(struct forward_conn *conn);

#endif

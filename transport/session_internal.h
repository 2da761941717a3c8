/*
 * What the two sides of a session share: the core's (session.c), and its thread's, which is either
 * libssh2's (session_thread.c, session_channel.c, session_read.c) or an ssh process' (sshproc*.c);
 * session_turn.c and session_packets.c serve both. Nobody else includes this.
 *
 *	core                                         session thread
 *	stream_send ──► channel.outbox ──(lock)────► channel.sending ──► libssh2 ──► socket
 *	events.packet ◄── mailbox ◄── delivery ◄──── channel.reading ◄── libssh2 ◄── socket
 *	                                                            or: pipes of an ssh process
 *
 * References: a session is held by the core's handle, its thread and each channel; a channel by the
 * core until stream_close, by the thread until it is off its list, and by each mail on its way.
 */
#ifndef VASTFS_TRANSPORT_SESSION_INTERNAL_H
#define VASTFS_TRANSPORT_SESSION_INTERNAL_H

#include "transport/session.h"
#include "transport/ssh_internal.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

/* Bytes posted and not yet taken by the core, above which a session's channels are not read. */
#define SESSION_POSTED_MAX (64u * 1024 * 1024)
/* Ciphertext waiting for the socket, above which nothing more is encrypted: what is sent next waits
 * behind it. The kernel's buffer before it is what covers a long link. */
#define SESSION_QUEUED_MAX (512u * 1024)
/* What libssh2 may hold: the windows of all channels (pool_channel.c), and as much again. */
#define SESSION_MEMORY_MAX (320u * 1024 * 1024)
/* The window that libssh2 opens a channel with and keeps by itself; ours (session_read.c) is far
 * above it. */
#define CHANNEL_WINDOW_FIRST (64u * 1024)

/* An event without a packet on its way to the core. Embedded, so that it can't fail for want of
 * memory. */
struct notice {
	struct mail mail;
	void *owner; /* the channel or session, counted while posted */
	bool failed;
	struct ssh_error error;
};

enum channel_state {
	CHANNEL_OPENING,  /* waits for its turn, or for the server's confirmation */
	CHANNEL_STARTING, /* the subsystem was asked for */
	CHANNEL_RUNNING,
	CHANNEL_FREEING, /* waits for the server's close, to be forgotten by libssh2 */
	CHANNEL_DEAD,	 /* only waits for stream_close */
};

struct channel {
	struct stream stream; /* first */
	struct session *session;
	atomic_uint refs;
	struct notice opened, closed;

	/* The core's. */
	const struct stream_events *events;
	void *arg;
	bool silent; /* stream_close was called: no more events */

	/* Under session->lock. */
	struct packet_queue outbox;
	bool close_asked;

	/* The thread's; link is under the lock while the channel is on session->incoming. */
	TAILQ_ENTRY(channel) link;
	const char *command; /* of a program; NULL: the sftp subsystem */
	uint32_t window;     /* the receive window to keep */
	uint32_t adjusting;  /* bytes of its adjustment that libssh2 put off, to be repeated as it
				was */
	enum channel_state state;
	bool closing;	/* a copy of close_asked */
	bool is_open;	/* opened(NULL) was posted */
	bool reported;	/* a failed opened, or closed, was posted: nothing may follow */
	bool greeted;	/* the first packet was a VERSION */
	uint32_t noise; /* bytes passed over before the first packet of a program */
	uint64_t deadline;
	LIBSSH2_CHANNEL *raw;
	struct packet_queue sending;
	size_t sent;	/* bytes of sending's first packet that libssh2 took */
	uint8_t *stage; /* small packets put together; written before sending */
	size_t stage_at, stage_len;
	uint8_t header[4]; /* of the packet to come */
	size_t header_len;
	struct packet *reading; /* being filled up to reading_len bytes */
	size_t reading_len;
	struct delivery *delivery; /* packets read and not yet posted, or NULL */

	/* The thread's, with an ssh process: our ends of the channel's pipes, and the connection to
	 * the process' control socket; -1 when there is none. */
	int to, from, mux;
	bool stuffed;		/* `to` takes no more now */
	uint64_t rest_until;	/* stuffed: when to try again, ms; 0: when poll says so */
	bool readable;		/* poll said so of `from` */
	struct packet *version; /* the greeting that came before the core asked for it */
	struct mux_answer *answer;
};
TAILQ_HEAD(channel_list, channel);

struct session {
	struct mailbox *mailbox; /* counted */
	const struct ssh_target *target;
	unsigned flags;		  /* enum session_flags */
	char where[320];	  /* "host:port" or "[v6]:port", for people */
	struct ssh_cancel cancel; /* its descriptor is also what wakes the sleeping thread */
	atomic_uint refs;
	struct notice connected, lost;

	/* The core's. */
	const struct session_events *events;
	void *arg;
	bool silent; /* session_free was called */

	pthread_mutex_t lock; /* of the following, and what says so in struct channel */
	struct channel_list incoming;
	bool kicked;   /* there is something to take */
	bool sleeping; /* in poll: whoever kicks writes the descriptor */
	bool ended;    /* the thread has left its loop; why says why */
	bool ping;
	size_t out_bytes; /* of the packets sent by the core and not yet taken by libssh2 or dropped
			   */
	struct session_figures figures;
	struct ssh_error why;

	atomic_size_t posted; /* bytes in deliveries that the core has not taken */
	atomic_bool paused;   /* the thread waits for posted to fall */

	/* The thread's. */
	struct ssh_connection *connection; /* libssh2's, or NULL */
	struct sshproc *process;	   /* or NULL */
	struct channel_list channels;
	struct channel *opening, *starting; /* one at a time, says session_channel.c */
	size_t written;			    /* or dropped: to be taken off out_bytes */
	bool broken;			    /* error holds why */
	struct ssh_error error;
};

/* session.c */
void session_put(struct session *session);
struct session *session_get(struct session *session);
void channel_put(struct channel *channel);
/* Wakes the thread if it sleeps. Any thread. */
void session_kick(struct session *session);
/* Posts the channel's opened (error NULL: it runs) or closed event. */
void channel_post_opened(struct channel *channel, const struct ssh_error *error);
void channel_post_closed(struct channel *channel, const struct ssh_error *error);
void session_post(struct session *session, struct notice *notice, const struct ssh_error *error);
/* Adds a packet to the channel's next delivery (takes it); posts that. 0 or -ENOMEM. */
int channel_deliver(struct channel *channel, struct packet *packet);
void channel_post_delivery(struct channel *channel);

/* session_thread.c: takes the thread's reference. */
void *session_main(void *arg);
/* The connection is no more: remembers why (libssh2's error rc, in the named step), for the loop to
 * end. */
void session_break(struct session *session, int rc, const char *step);

/* session_turn.c: what both kinds of threads do. */
/* Takes what the core has left for us, and leaves the counters for it: those in *figures but for
 * the words. Whether the core wants a ping. */
bool session_take(struct session *session, const struct session_figures *figures);
/* Before a sleep: leaves the counters, and says that whoever kicks must wake us. False when there
 * is work already. */
bool session_may_sleep(struct session *session, const struct session_figures *figures);
/* Lets go of a channel that is dead and no longer wanted. Whether it was. */
bool session_forget(struct session *session, struct channel *channel);
/* The first channel becomes the last, so that each is served first in its turn. */
void session_rotate(struct session *session);
/* A reader that was stopped goes on once the core has caught up. */
void session_look_at_pause(struct session *session);
/* Nothing more is taken from the core; every channel learns why (session->error). */
void session_finish(struct session *session);

/* session_packets.c: cuts a channel's bytes into SFTP packets for the core. */
/* Reads at most room bytes of the channel: their number, 0 when there is nothing now, -1 when the
 * channel or session ended. */
typedef ssize_t channel_reader(struct channel *channel, void *to, size_t room);
/* The number of bytes of this turn; *ended when the channel ended. */
size_t channel_split(struct channel *channel, channel_reader *reader, bool *ended);
/* The stream ended; words say how the server's program did, " (exit status 1)", or "". */
void channel_end_of_stream(struct channel *channel, const char *words);
/* Fills *error for a stream that begins with what is no SFTP: a login shell that prints. */
void session_fail_noisy(
    const struct session *session, const void *bytes, size_t len, struct ssh_error *error);
/* The same for a stream that ends before it began. */
void session_fail_no_sftp(
    const struct session *session, const char *words, struct ssh_error *error);

/* sshproc.c: as session_main, with an ssh process. */
void *sshproc_main(void *arg);

/* session_read.c: reads a channel's share of a turn. Whether anything moved. */
bool channel_read_some(struct channel *channel);
/* A call of libssh2's on the channel failed for good (step names it): ends the channel, or the
 * session if that is what is lost. */
void channel_fail(struct channel *channel, int rc, const char *step);

/* session_channel.c: does what can be done now without waiting. Whether there was anything. */
bool channel_serve(struct channel *channel);

/* session_turn.c */
/* Frees what nobody will send any more, and takes it off the bytes that wait. */
void channel_drop_unsent(struct channel *channel);
/* Reports the end (once) and has libssh2 forget the channel. */
void channel_end(struct channel *channel, const struct ssh_error *error);
/* Reports that the server did not open it in time, once that is so. */
bool channel_fail_late(struct channel *channel);

#endif

/*
 * A stream carries whole SFTP packets both ways, between the core and the thread that makes it. It
 * is the interface under the SFTP engine; its makers are a channel of a libssh2 session (session.h)
 * and, later, the pipes of an `ssh -s host sftp` process.
 *
 * Core side only: every function here is called on the core's loop, and every event comes there,
 * through the mailbox, never from inside a call. Events of one stream come in the order
 *
 *	opened(0) packet* closed        or        opened(error)
 *
 * and none after stream_close.
 */
#ifndef VASTFS_TRANSPORT_STREAM_H
#define VASTFS_TRANSPORT_STREAM_H

#include "transport/packet.h"
#include "transport/ssh.h"
#include <stdatomic.h>

struct stream;

struct stream_events {
	/* The subsystem runs, or does not (error borrowed). */
	void (*opened)(void *arg, const struct ssh_error *error);
	/* A packet came; takes it. Its length field has been checked against PACKET_MAX and its
	 * size. */
	void (*packet)(void *arg, struct packet *packet);
	/* The far end or the session is gone (error borrowed, SSH_LOST, SSH_NOISY_SHELL,
	 * SSH_NO_SFTP…). */
	void (*closed)(void *arg, const struct ssh_error *error);
};

struct stream_ops {
	void (*send)(struct stream *stream, struct packet *packet);
	void (*close)(struct stream *stream);
};

struct stream {
	const struct stream_ops *ops;
	/* Counts on while bytes come, and while those that wait to be sent get on; read by anyone.
	 */
	atomic_uint moves;
};

/* For its maker. */
static inline void stream_moves(struct stream *stream)
{
	atomic_fetch_add_explicit(&stream->moves, 1, memory_order_relaxed);
}

/* Queues the packet (takes it). After closed it is dropped. Never blocks. */
static inline void stream_send(struct stream *stream, struct packet *packet)
{
	stream->ops->send(stream, packet);
}

/* Ends the stream and gives up the caller's claim on it; must be called once, also after closed or
 * a failed open. */
static inline void stream_close(struct stream *stream)
{
	stream->ops->close(stream);
}

#endif

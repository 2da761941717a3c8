/*
 * The far side of a forwarded connection where ssh(1) makes the channel: pipes to its process, and
 * the connection to its control socket on which they were handed over. Calls answer as libssh2's
 * would, so that forward_conn.c need not know. The forwards' thread only.
 */
#ifndef VASTFS_TRANSPORT_FORWARD_PIPE_H
#define VASTFS_TRANSPORT_FORWARD_PIPE_H

#include "transport/forwards_internal.h"

/* Asks ssh for the connection's channel; the answer comes to forward_process.c. NULL when that
 * can't be done (*err, negative). */
struct forward_pipe *forward_pipe_ask(
    struct forward_link *link, struct forward_conn *conn, int *err);
/* From a connected socket, which is taken. NULL when memory is out. */
struct forward_pipe *forward_pipe_of_socket(struct forward_link *link, int fd);
/* Of a request alone, for its answer; mux is taken. NULL when memory is out. */
struct forward_pipe *forward_pipe_of_request(struct forward_link *link, int mux);
/* Closes everything; the memory goes when libuv lets go. NULL is allowed. */
void forward_pipe_free(struct forward_pipe *pipe);

/* What ssh has said about the request: 1 it is open, 0 nothing yet, -1 it is refused. */
int forward_pipe_answer(struct forward_pipe *pipe);

/* The number of bytes, 0 at the end (read), LIBSSH2_ERROR_EAGAIN, or LIBSSH2_ERROR_CHANNEL_CLOSED.
 */
ssize_t forward_pipe_write(struct forward_pipe *pipe, const void *data, size_t len);
ssize_t forward_pipe_read(struct forward_pipe *pipe, void *data, size_t size);
/* No more is written. */
void forward_pipe_end(struct forward_pipe *pipe);
/* The far side is gone altogether. */
bool forward_pipe_gone(struct forward_pipe *pipe);
/* Of a socket: there is nothing to read but the end. */
bool forward_pipe_ends_empty(const struct forward_pipe *pipe);

#endif

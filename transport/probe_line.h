/*
 * A program on the instance, or its SFTP server, with its input and output, for the probes: over a
 * channel of the library's or a session of an ssh process. Blocking, until the deadline; one
 * thread, that of the way's owner. Errors are negative errnos; -ENOSYS: the server does not run it.
 */
#ifndef VASTFS_TRANSPORT_PROBE_LINE_H
#define VASTFS_TRANSPORT_PROBE_LINE_H

#include "transport/probe.h"
#include "transport/ssh_internal.h"
#include "transport/sshproc.h"

struct probe_line {
	const struct probe_way *way; /* borrowed */
	uint64_t deadline;	     /* as ssh_now */
	LIBSSH2_CHANNEL *channel;    /* over the library's connection */
	/* Over the process: */
	struct pipe_pair pair;
	int mux; /* its request */
	struct mux_answer *answer;
	bool refused, said;
};

/* command NULL: the SFTP server. To be closed after an error too. */
int probe_line_open(
    struct probe_line *line, const struct probe_way *way, const char *command, uint64_t deadline);
/* Reads once, waiting for it. Bytes, 0 at the end, or an error. */
ssize_t probe_line_read(struct probe_line *line, void *to, size_t room);
/* What is there without waiting; 0: nothing, or an error. */
ssize_t probe_line_peek(struct probe_line *line, void *to, size_t room);
/* All of it; it is handed on as fast as the line takes it. */
int probe_line_write(struct probe_line *line, const void *bytes, size_t len);
int probe_line_eof(struct probe_line *line);
/* How the program ended, after its output has: its exit status, or an error, if that is not known.
 */
int probe_line_status(struct probe_line *line);
void probe_line_close(struct probe_line *line);

#endif

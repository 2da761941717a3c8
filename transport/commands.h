/*
 * Programs run on the instance for `vastfs run` and `vastfs ssh`: a thread with an SSH session of
 * its own, so that what they print never delays the file system. It is dialled for the first
 * program, kept for a minute after the last one, and dialled again when it was lost meanwhile.
 *
 * A client is a connected stream socket, which is handed over. Both sides send frames: type (1
 * byte), length (4 bytes, big-endian, at most COMMANDS_FRAME_MAX), payload. From the client:
 *
 *	C  JSON: {"exec": "…", "stays": false, "pty": false, "term": "…", "rows": n, "cols": n};
 *	   first
 *	I  standard input; at most COMMANDS_CREDIT bytes not yet in an A
 *	E  its end
 *	W  rows, cols (4 bytes each)
 *	S  name of a signal to send ("INT")
 *
 * and to it, where Q, K and F are the end:
 *
 *	R  ready: now send C
 *	G  it runs: now I may be sent
 *	O  standard output
 *	X  standard error
 *	A  count (4 bytes) of bytes of I that have gone on
 *	Q  exit status (4 bytes)
 *	K  name of the signal that ended it
 *	N  ssh(1) will run it, which does not tell of signals: now send C with "stays"
 *	F  text: why it could not be run, or is lost
 *
 * "exec" is what the login shell there reads; quoting is the client's. With "stays" the program's
 * shell waits for it, and ends with 128 and the number of the signal that ended it. Without a
 * pty it must print its process id on a line of its own first, which is kept here and not shown, so
 * that signals can be sent: libssh2 1.10 has no call for them. When the client closes its socket
 * the program gets SIGHUP.
 *
 * Any thread may call; commands_new and _free belong to one.
 */
#ifndef VASTFS_TRANSPORT_COMMANDS_H
#define VASTFS_TRANSPORT_COMMANDS_H

#include "transport/ssh.h"

#define COMMANDS_FRAME_MAX 65536u
#define COMMANDS_CREDIT 65536u

struct commands;

/* The target is borrowed until commands_free. 0 or a negative errno. */
int commands_new(struct commands **out, const struct ssh_target *target);
/* Hands a client over; the descriptor is taken in any case. 0 or a negative errno. */
int commands_add(struct commands *commands, int fd);
/* Programs that run now. */
unsigned commands_count(struct commands *commands);
/* Ends the thread and all clients, and waits for it (at most two seconds); false when it still
 * runs, and uses the target's profile. NULL is allowed. */
bool commands_free(struct commands *commands);

#endif

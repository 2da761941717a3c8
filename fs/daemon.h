/*
 * The life of a mount: connect, mount, serve, and leave in good order.
 *
 *	connecting --ready--> mounted --unmount, signal--> draining --> gone
 *	     |                                                |
 *	     +--failed, signal--> gone                        +-- data that could not be sent: exit
 * code
 *
 * Runs the core's loop on the calling thread.
 */
#ifndef VASTFS_FS_DAEMON_H
#define VASTFS_FS_DAEMON_H

#include "conf/profile.h"
#include "transport/ssh.h"

/* Exit codes of mount(8). */
enum {
	EXIT_MOUNTED = 0,
	EXIT_USAGE = 1,
	EXIT_SYSTEM = 2,
	EXIT_INTERRUPTED = 8,
	EXIT_MOUNT_FAILED = 32
};

struct daemon_options {
	const struct profile *profile; /* borrowed */
	const char *mountpoint;	       /* absolute, resolved */
	ssh_ask *ask;		       /* NULL without a terminal */
	void *ask_arg;
	/* A line on what is being waited for (NULL: none any more); from any thread. Or NULL. */
	void (*progress)(void *arg, const char *text);
	/* The mount is live: detaches from the terminal, tells the waiting parent. NULL: stays in
	 * the foreground. */
	void (*mounted)(void *arg);
	void *arg;
};

/* Returns one of the exit codes. *threads_left: threads that could not be ended in time still use
 * the profile, which must stay; the process should end now. */
int daemon_run(const struct daemon_options *options, bool *threads_left);

#endif

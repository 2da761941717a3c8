/*
 * Between the files of commands*.c, all on the commands' thread but for the handle's functions:
 *
 *	commands.c          the thread and the session
 *	command.c           one client's program
 *	command_channel.c   what carries it: a channel of libssh2's
 *	command_process.c   or a session of an ssh process, over pipes
 *	command_frames.c    the client's socket
 *
 * A program's way:
 *
 *	GREETED --C--> WAITING --> OPENING --> PTY --> STARTING --> RUNNING --> ENDED
 *	   ^              |  ^        |  session lost
 *	   +-- N: ssh ----+  +--------+  (once, if it was an old one)
 *
 * It is freed when all is sent, or the client is gone.
 */
#ifndef VASTFS_TRANSPORT_COMMANDS_INTERNAL_H
#define VASTFS_TRANSPORT_COMMANDS_INTERNAL_H

#include "transport/commands.h"
#include "transport/ssh_internal.h"
#include <pthread.h>
#include <sys/queue.h>

#define COMMAND_TEXT_MAX 32000 /* what fits into libssh2's packet */
#define COMMAND_OUT_MAX (128u * 1024)

enum command_state {
	COMMAND_GREETED,
	COMMAND_WAITING,
	COMMAND_OPENING,
	COMMAND_PTY,
	COMMAND_STARTING,
	COMMAND_RUNNING,
	COMMAND_ENDED,
};

struct command;
struct command_pipes;
struct pollfd;

/*
 * What carries programs. Calls do what can be done now: 1 (or bytes) something moved, 0 nothing,
 * -1 the session is lost. A program that is refused is failed by them (command_fail).
 */
struct command_carrier {
	/* Steps towards COMMAND_RUNNING (command_runs). */
	int (*open)(struct command *command);
	ssize_t (*read)(struct command *command, bool errors, void *bytes, size_t size);
	/* How many bytes are done with: taken, or nobody reads them. */
	ssize_t (*write)(struct command *command, const void *bytes, size_t len);
	bool (*end_input)(struct command *command); /* false: not yet */
	bool (*resize)(struct command *command);    /* the same */
	/* Tells the client how the program ended, once it has and all is read. */
	int (*end)(struct command *command);
	/* Lets go of it; false: not yet. lost: the session is, and all of its own with it. */
	bool (*forget)(struct command *command, bool lost);
	/* What to sleep on besides the session: at most COMMAND_POLLS; how many. */
	unsigned (*poll)(const struct command *command, struct pollfd *fds);
};
#define COMMAND_POLLS 4
extern const struct command_carrier command_channel, command_process;

struct command {
	TAILQ_ENTRY(command) link;
	struct commands *owner;
	enum command_state state;
	int fd;	   /* -1: the client is gone, or there never was one (kill) */
	bool left; /* the client is gone before the end */
	bool retried;
	LIBSSH2_CHANNEL *channel;
	struct command_pipes *pipes; /* in place of the channel, with a process */

	char *text; /* to run */
	bool stays; /* its shell waits for it, so that ssh(1) can tell how it ended */
	bool pty, resize;
	char term[64];
	unsigned rows, cols;

	char pid[12]; /* the digits of its first line */
	size_t pid_len;
	bool pid_noise; /* there is something else on the line */
	bool pid_known;
	char signal[16]; /* to be sent as soon as it is */

	uint8_t *in; /* the beginning of a frame */
	size_t in_len;
	uint8_t *up; /* standard input on its way: up[up_at] … up[up_at + up_len - 1] */
	size_t up_at, up_len;
	bool up_eof, eof_sent;
	uint8_t *out; /* frames on their way to the client, as above */
	size_t out_at, out_len;
};
TAILQ_HEAD(command_list, command);

struct commands {
	struct ssh_target target;
	struct ssh_cancel cancel; /* ends the dial, and wakes the thread */
	pthread_t thread;
	bool threaded;
	pthread_mutex_t lock;
	struct command_list incoming; /* under the lock */
	_Atomic unsigned count;
	_Atomic bool stop;

	/* The thread's. */
	const struct command_carrier *carrier; /* NULL: there is no session */
	struct ssh_connection *connection;     /* of libssh2, or */
	struct sshproc *process;	       /* that of ssh */
	bool process_only;		       /* libssh2 can't do what the key or server needs */
	bool process_ended;
	bool used; /* the session has served a program before */
	struct command_list list;
	struct command *opening, *starting; /* whose turn it is (command_channel.c); or NULL */
	uint64_t idle_ms;		    /* since when there is none */
};

/* command.c */
struct command *command_new(struct commands *owner, int fd);
void command_free(struct command *command);
/* All that can be done now. 1: something moved; 0: nothing; -1: the session is lost. */
int command_serve(struct command *command);
/* The session is lost; why. Whether it can wait for the next one. */
bool command_lost(struct command *command, const char *why);
/* The far side runs it. */
void command_runs(struct command *command);
/* Tells the client, and nothing more will come. */
void command_fail(struct command *command, const char *why);

/* command_frames.c */
/* Takes what the client sent. Whether there was anything. */
bool command_read(struct command *command);
/* Sends what waits. Whether anything went. */
bool command_write(struct command *command);
/* Queues a frame, of at most COMMANDS_FRAME_MAX bytes. */
void command_tell(struct command *command, char type, const void *payload, size_t len);
void command_tell_number(struct command *command, char type, uint32_t number);

#endif

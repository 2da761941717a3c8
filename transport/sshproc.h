/*
 * A session whose SSH is spoken by a process of ssh(1), with all that it knows: ~/.ssh/config,
 * certificates, FIDO keys, jump hosts, ciphers.
 *
 *	our thread                      ssh -M -S CONTROL -s -- HOST sftp
 *	first channel  ─ pipes ───────► its own session
 *	other channels ─ pipes ───────► sessions asked for through CONTROL, which carries
 *	                                the pipes' other ends (PROTOCOL.mux of OpenSSH)
 *	what it says   ◄ pipe ───────── stderr: facts ("debug1: …"), and why it fails
 *
 * No shell sees a word of ours. The process can't outlive our thread, and is waited for by it. The
 * session counts as connected when the SFTP server has greeted, to which end the INIT is sent
 * here and the core's first INIT is dropped: what stands on its way (authentication, a subsystem
 * that is missing, a shell that prints) is so known without reading ssh's mind.
 *
 * Between the parts of sshproc*.c; all of it runs on the session's thread.
 */
#ifndef VASTFS_TRANSPORT_SSHPROC_H
#define VASTFS_TRANSPORT_SSHPROC_H

#include "transport/session_internal.h"

/* What ssh said so far on stderr, told apart. */
struct sshsays {
	char line[512]; /* the one to come */
	size_t line_len;
	bool long_line;
	bool authenticated;
	char peer[80], cipher[48]; /* as in session_figures */
	char host_key[80];	   /* SHA256:… of the server's key */
	char host_key_type[32];	   /* "ssh-ed25519" */
	char offered[400];	   /* the keys that were tried */
	char accepted[160];	   /* the one that the server knows, as "FILE TYPE SHA256:…" */
	bool denied, transient;	   /* each key was refused; the banner says to try again */
	unsigned failure;	   /* 1 + its row in sshproc_says.c; 0: none that we know */
	char open_failed[160];	   /* why the last connection that was asked for failed */
	char text[800];		   /* all that is no debugging, on one line: the end of it */
};

struct sshproc {
	struct session *session; /* whose first channel it brings; NULL: only its control socket
				    is wanted (sshproc_master.c) */
	const struct ssh_target *target;
	struct ssh_cancel *cancel;
	bool may_ask;		       /* a person */
	struct ssh_view view;	       /* the target as it is dialled */
	bool by_address;	       /* ssh is to know the host key by the address alone */
	pid_t pid;		       /* 0 before the start and once waited for */
	int pid_fd, said_fd, said_end; /* said_end: what ssh writes to */
	int first_to, first_from;      /* the pipes of its own session until a channel takes them */
	struct packet *version;	       /* its greeting until then */
	char control[108];	       /* its control socket, or "" */
	char folder[32];	       /* made for that socket alone, or "" */
	struct sshsays says;
	uint64_t heard_ms, bytes_in, bytes_out;
};

/* --- sshproc.c --- */

/* An ssh_try whose arg is a process with its first four fields set. */
ssh_try sshproc_establish;

/* --- sshproc_master.c: a process for connections alone --- */

/* Connects; *out is owned by the caller. The target and cancel are borrowed. 0 or a negative errno
 * with *error. */
int sshproc_master_new(const struct ssh_target *target, struct ssh_cancel *cancel, bool may_ask,
    struct sshproc **out, struct ssh_error *error);
/* NULL is allowed. */
void sshproc_master_free(struct sshproc *process);
/* Waits until its control socket takes requests. */
int sshproc_await_control(struct sshproc *process, struct ssh_error *error);

/* --- sshproc_args.c --- */

/* The command line, as execv takes it; freed with sshproc_args_free. NULL when memory is out.
 * may_ask: ssh may ask a person. answered: what it asks comes to us (askpass.h). pinned: this
 * session's host key is known by the instance's alias. */
char **sshproc_args(const struct sshproc *process, bool may_ask, bool answered, bool pinned);
void sshproc_args_free(char **args);
/* The first of the profile's keys, where ssh can read none of them (PuTTY's) and there is no agent;
 * else NULL. */
const char *sshproc_unreadable(const struct profile *profile);

/* --- sshproc_spawn.c --- */

/* Both ends of two pipes for a channel: ours do not block. 0 or a negative errno. */
struct pipe_pair {
	int to, from; /* ours */
	int in, out;  /* the other side's stdin and stdout */
};
int pipe_pair_make(struct pipe_pair *pair);
void pipe_pair_close(struct pipe_pair *pair);

/* Starts ssh with its first channel and its control folder. 0 or a negative errno with *error. */
int sshproc_start(struct sshproc *process, struct ssh_error *error);
/* Ends the process if it runs, throws away what it has sent and the far side has not acknowledged,
 * waits for it and closes everything. */
void sshproc_stop(struct sshproc *process);
/* When ssh ends, what the other side has not acknowledged is thrown away (as in ssh_close): always,
 * however it ends, or if that is so now. */
void sshproc_discard_unsent(const struct sshproc *process, bool always);
/* After it ended by itself: waits for it. */
void sshproc_reap(struct sshproc *process);

/* --- sshproc_says.c --- */

/* Takes what is there to read. */
void sshsays_read(struct sshproc *process);
/* Why the process ended, by what it said. */
void sshsays_error(const struct sshproc *process, struct ssh_error *error);

/* --- sshproc_channel.c --- */

/* Does what can be done now without waiting. Whether anything moved. */
bool pipe_channel_serve(struct channel *channel);
/* Closes the ends of a channel that is dead. */
void pipe_channel_close(struct channel *channel);

/* --- sshproc_mux.c --- */

/* Asks the process for another session; sets channel->mux. 0 or a negative errno. */
int mux_ask(struct channel *channel, struct pipe_pair *pair);
/* Reads what it answers: 1 it runs, 0 nothing yet, or a negative errno: it was refused. words gets
 * the server's exit status once it is known. */
int mux_answer(struct channel *channel, char *words, size_t size);

/*
 * Other requests, for forwards and programs; each has a connection of its own to the control
 * socket, which is returned (the caller's), or a negative errno. What it says is read with
 * mux_read.
 */
/* A program there, with fds as its input, output and errors (borrowed). term: the type of a
 * terminal, of which fds[0] is one that has its modes and size; after SIGWINCH ssh looks at the
 * size again. It ends when the returned connection is closed. */
int mux_ask_program(
    const struct sshproc *process, const char *command, const char *term, const int fds[3]);
/* A connection of the server's to the host and port, over the pair's other ends. It lasts as long
 * as the returned one. */
int mux_ask_connection(
    const struct sshproc *process, const char *host, unsigned port, const struct pipe_pair *pair);
/* The server is to listen on its host and port, or no more, and each connection comes to the Unix
 * socket at path here. */
int mux_ask_listener(
    const struct sshproc *process, bool listens, const char *host, unsigned port, const char *path);
/* ssh is to listen on the Unix socket at path here, or no more, for the one at far there. */
int mux_ask_socket(const struct sshproc *process, bool listens, const char *path, const char *far);
/* The same for a connection that was asked for; memory of calloc. As mux_answer. */
struct mux_answer *mux_answer_new(void);
int mux_read(int fd, struct mux_answer *answer, char *words, size_t size);
/* How the program ended, once that is known. */
bool mux_exit_status(const struct mux_answer *answer, uint32_t *status);

/* --- the host key, in sshproc_pin.c --- */

/* Is the instance known by its alias? (Then ssh must find it under that name only.) */
bool sshproc_is_pinned(const struct profile *profile);
/* Is there any key for the address? */
bool sshproc_knows_address(const struct profile *profile);
/* Writes the key that was found under the address down under the alias too. */
void sshproc_pin(const struct profile *profile, const char *fingerprint);

#endif

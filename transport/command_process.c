/*
 * A program over ssh(1): a session of the process' that is asked for over its control socket, with
 * pipes for the three streams. For a terminal its input is a pseudo-terminal of ours, from which
 * ssh takes modes and size; it is raw from the moment that the program runs, as nobody types there.
 */
#include "transport/commands_internal.h"
#include "transport/sshproc.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Each is -1 when there is none, or no more. */
struct command_pipes {
	int mux; /* the request's connection */
	int to, from, errors;
	struct mux_answer *answer;
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static bool process_forget(struct command *command, bool lost)
{
	struct command_pipes *pipes = command->pipes;

	if (!pipes)
		return true;
	close_fd(&pipes->to);
	close_fd(&pipes->from);
	close_fd(&pipes->errors);
	close_fd(&pipes->mux);
	free(pipes->answer);
	free(pipes);
	command->pipes = NULL;
	return true;
}

/* --- its beginning ---------------------------------------------------------------------- */

static struct winsize size_of(const struct command *command)
{
	return (struct winsize){
	    .ws_row = (unsigned short)command->rows, .ws_col = (unsigned short)command->cols};
}

/* A terminal in place of the pipe for input. 0 or a negative errno. */
static int make_terminal(const struct command *command, struct pipe_pair *pair)
{
	struct winsize size = size_of(command);
	int ours, ssh;

	if (openpty(&ours, &ssh, NULL, NULL, &size))
		return -errno;
	close_fd(&pair->to);
	close_fd(&pair->in);
	pair->to = ours;
	pair->in = ssh;
	if (fcntl(ours, F_SETFD, FD_CLOEXEC) || fcntl(ssh, F_SETFD, FD_CLOEXEC) ||
	    fcntl(ours, F_SETFL, O_NONBLOCK))
		return -errno;
	return 0;
}

/* The ends that are ours are moved to pipes; the others are closed by the caller. */
static int ask(struct command *command, struct pipe_pair pairs[2])
{
	struct command_pipes *pipes = command->pipes;
	int err = pipe_pair_make(&pairs[0]), mux;

	if (!err)
		err = pipe_pair_make(&pairs[1]);
	if (!err && command->pty)
		err = make_terminal(command, &pairs[0]);
	if (err)
		return err;
	mux = mux_ask_program(command->owner->process, command->text,
	    command->pty ? command->term : NULL,
	    (const int[3]){pairs[0].in, pairs[0].out, pairs[1].out});
	if (mux < 0)
		return mux;
	pipes->mux = mux;
	pipes->to = pairs[0].to;
	pipes->from = pairs[0].from;
	pipes->errors = pairs[1].from;
	pairs[0].to = pairs[0].from = pairs[1].from = -1;
	command->state = COMMAND_STARTING;
	command->resize = false;
	return 0;
}

static int ask_once(struct command *command)
{
	struct pipe_pair pairs[2] = {{-1, -1, -1, -1}, {-1, -1, -1, -1}};
	char text[160];
	int err = -ENOMEM;

	command->pipes = malloc(sizeof(*command->pipes));
	if (command->pipes) {
		*command->pipes = (struct command_pipes){-1, -1, -1, -1, mux_answer_new()};
		err = command->pipes->answer ? ask(command, pairs) : -ENOMEM;
	}
	pipe_pair_close(&pairs[0]);
	pipe_pair_close(&pairs[1]);
	if (!err)
		return 1;
	process_forget(command, false);
	/* its queue is full: later */
	if (err == -EAGAIN)
		return 0;
	snprintf(text, sizeof(text), "the ssh command does not take it: %s", strerror(-err));
	command_fail(command, text);
	return 1;
}

static int process_open(struct command *command)
{
	struct commands *owner = command->owner;
	char text[320], words[160] = "";
	struct termios raw;
	int rc;

	if (command->state == COMMAND_OPENING)
		return ask_once(command);
	rc = mux_read(command->pipes->mux, command->pipes->answer, words, sizeof(words));
	if (rc == 0)
		return 0;
	if (rc < 0) {
		sshsays_read(owner->process);
		snprintf(text, sizeof(text), "the server does not run it: %s",
		    owner->process->says.open_failed[0] ? owner->process->says.open_failed : words);
		owner->process->says.open_failed[0] = '\0';
		command_fail(command, text);
		return 1;
	}
	if (command->pty && !tcgetattr(command->pipes->to, &raw)) {
		cfmakeraw(&raw);
		tcsetattr(command->pipes->to, TCSANOW, &raw);
	}
	command_runs(command);
	return 1;
}

/* --- while it runs ---------------------------------------------------------------------- */

static ssize_t process_read(struct command *command, bool errors, void *bytes, size_t size)
{
	int *fd = errors ? &command->pipes->errors : &command->pipes->from;
	ssize_t n = *fd < 0 ? 0 : read(*fd, bytes, size);

	if (*fd >= 0 && (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)))
		close_fd(fd);
	return n > 0 ? n : 0;
}

static ssize_t process_write(struct command *command, const void *bytes, size_t len)
{
	ssize_t n = command->pipes->to < 0 ? -1 : write(command->pipes->to, bytes, len);

	if (n >= 0)
		return n;
	if (command->pipes->to >= 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	/* the program has closed its input: the rest is nobody's */
	close_fd(&command->pipes->to);
	return (ssize_t)len;
}

static bool process_end_input(struct command *command)
{
	close_fd(&command->pipes->to);
	return true;
}

static bool process_resize(struct command *command)
{
	struct winsize size = size_of(command);

	if (command->pipes->to >= 0 && command->owner->process->pid > 0 &&
	    !ioctl(command->pipes->to, TIOCSWINSZ, &size))
		kill(command->owner->process->pid, SIGWINCH);
	return true;
}

static int process_end(struct command *command)
{
	struct command_pipes *pipes = command->pipes;
	char words[160] = "";
	uint32_t status;
	int rc;

	if (pipes->from >= 0 || pipes->errors >= 0)
		return 0;
	rc = mux_read(pipes->mux, pipes->answer, words, sizeof(words));
	if (mux_exit_status(pipes->answer, &status)) {
		command_tell_number(command, 'Q', status);
		command->state = COMMAND_ENDED;
		return 1;
	}
	if (rc >= 0)
		return rc;
	command_fail(command,
	    "it ended without an exit status: the connection to the instance was lost, or its "
	    "shell was killed, or the server runs no commands for this user");
	return 1;
}

static unsigned process_poll(const struct command *command, struct pollfd *fds)
{
	const struct command_pipes *pipes = command->pipes;
	bool runs = command->state == COMMAND_RUNNING;
	bool reads = runs && (command->fd < 0 || command->out_len <= COMMAND_OUT_MAX);
	unsigned n = 0;

	if (!pipes)
		return 0;
	/* Its end may be known long before all that it has written is read. */
	if (!runs || (pipes->from < 0 && pipes->errors < 0))
		fds[n++] = (struct pollfd){.fd = pipes->mux, .events = POLLIN};
	if (reads && pipes->from >= 0)
		fds[n++] = (struct pollfd){.fd = pipes->from, .events = POLLIN};
	if (reads && pipes->errors >= 0)
		fds[n++] = (struct pollfd){.fd = pipes->errors, .events = POLLIN};
	if (runs && command->up_len && pipes->to >= 0)
		fds[n++] = (struct pollfd){.fd = pipes->to, .events = POLLOUT};
	return n;
}

const struct command_carrier command_process = {
    .open = process_open,
    .read = process_read,
    .write = process_write,
    .end_input = process_end_input,
    .resize = process_resize,
    .end = process_end,
    .forget = process_forget,
    .poll = process_poll,
};

/* One program, step by step. */
#include "conf/log.h"
#include "transport/commands_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK 32000u

struct command *command_new(struct commands *owner, int fd)
{
	struct command *command = calloc(1, sizeof(*command));

	if (!command)
		return NULL;
	command->owner = owner;
	command->fd = fd;
	command->in = malloc(5 + COMMANDS_FRAME_MAX);
	if (!command->in) {
		free(command);
		return NULL;
	}
	return command;
}

void command_free(struct command *command)
{
	command_channel.forget(command, true);
	command_process.forget(command, true);
	if (command->fd >= 0)
		close(command->fd);
	free(command->text);
	free(command->in);
	free(command->up);
	free(command->out);
	free(command);
}

void command_fail(struct command *command, const char *why)
{
	if (command->state == COMMAND_ENDED)
		return;
	command_tell(command, 'F', why, strlen(why));
	command->state = COMMAND_ENDED;
}

bool command_lost(struct command *command, const char *why)
{
	command->owner->carrier->forget(command, true);
	if (command->state > COMMAND_WAITING && command->state < COMMAND_RUNNING &&
	    command->owner->used && !command->retried) {
		command->retried = true;
		command->state = COMMAND_WAITING;
		return true;
	}
	if (command->state > COMMAND_WAITING)
		command_fail(command, why);
	return false;
}

void command_runs(struct command *command)
{
	command->state = COMMAND_RUNNING;
	command_tell(command, 'G', NULL, 0);
}

/* --- while it runs ---------------------------------------------------------------------- */

static int send_input(struct command *command)
{
	const struct command_carrier *carrier = command->owner->carrier;
	size_t len = command->up_len < CHUNK ? command->up_len : CHUNK;
	ssize_t n;

	if (command->eof_sent)
		return 0;
	if (!len) {
		command->eof_sent = command->up_eof && carrier->end_input(command);
		return command->eof_sent;
	}
	n = carrier->write(command, command->up + command->up_at, len);
	if (n <= 0)
		return (int)n;
	command->up_at += (size_t)n;
	command->up_len -= (size_t)n;
	command_tell_number(command, 'A', (uint32_t)n);
	return 1;
}

/* The first line of a program without a pty is its process id; a login shell may print before. What
 * is none must not become one: kill's -1 is every process. Returns how many bytes that took. */
static size_t take_pid(struct command *command, const char *bytes, size_t len)
{
	size_t at = 0;

	if (command->pty || command->pid_known)
		return 0;
	while (at < len && !command->pid_known) {
		char c = bytes[at++];

		if (c == '\n') {
			command->pid_known = !command->pid_noise && atol(command->pid) > 1;
			if (!command->pid_known) {
				memset(command->pid, 0, sizeof(command->pid));
				command->pid_len = 0;
			}
			command->pid_noise = false;
		} else if (c >= '0' && c <= '9' && command->pid_len + 1 < sizeof(command->pid)) {
			command->pid[command->pid_len++] = c;
		} else {
			command->pid_noise = true;
		}
	}
	return at;
}

static int read_stream(struct command *command, bool errors)
{
	char bytes[CHUNK];
	size_t skip;
	ssize_t n;

	if (command->fd >= 0 && command->out_len > COMMAND_OUT_MAX)
		return 0;
	n = command->owner->carrier->read(command, errors, bytes, sizeof(bytes));
	if (n <= 0)
		return (int)n;
	skip = errors ? 0 : take_pid(command, bytes, (size_t)n);
	if ((size_t)n > skip)
		command_tell(command, errors ? 'X' : 'O', bytes + skip, (size_t)n - skip);
	return 1;
}

/* A program of our own that sends the signal to all of the process group. */
static void send_signal(struct command *command)
{
	struct command *kill;
	char text[96];

	if (!command->signal[0] || !command->pid_known || !command->pid_len)
		return;
	snprintf(text, sizeof(text), "kill -%s -%s", command->signal, command->pid);
	command->signal[0] = '\0';
	kill = command_new(command->owner, -1);
	if (!kill)
		return;
	kill->text = strdup(text);
	kill->pid_known = kill->up_eof = kill->stays = true;
	kill->state = kill->text ? COMMAND_WAITING : COMMAND_ENDED;
	atomic_fetch_add(&command->owner->count, 1);
	TAILQ_INSERT_TAIL(&command->owner->list, kill, link);
}

static int serve_running(struct command *command)
{
	const struct command_carrier *carrier = command->owner->carrier;
	int moved = send_input(command), more;

	if (moved < 0)
		return -1;
	send_signal(command);
	if (command->resize && command->pty)
		command->resize = !carrier->resize(command);
	more = read_stream(command, false);
	if (more >= 0 && (moved |= more, (more = read_stream(command, true)) >= 0))
		moved |= more;
	if (more < 0)
		return -1;
	if (moved || (command->fd >= 0 && command->out_len > COMMAND_OUT_MAX))
		return moved;
	return carrier->end(command);
}

/* The client is gone: the program learns it, and the channel ends. */
static int serve_left(struct command *command)
{
	if (command->fd >= 0) {
		close(command->fd);
		command->fd = -1;
	}
	if (command->state == COMMAND_RUNNING && !command->pty && command->pid_known) {
		snprintf(command->signal, sizeof(command->signal), "HUP");
		send_signal(command);
	}
	/* What is under way has to be carried to its end: libssh2 has no other, and ssh(1) dies
	 * when nobody is there to be answered. */
	if (command->owner->opening == command || command->owner->starting == command ||
	    (command->state == COMMAND_STARTING && command->pipes))
		return command->owner->carrier->open(command);
	command->state = COMMAND_ENDED;
	command->left = false;
	return 1;
}

int command_serve(struct command *command)
{
	if (command->left)
		return serve_left(command);
	switch (command->state) {
	case COMMAND_OPENING:
	case COMMAND_PTY:
	case COMMAND_STARTING:
		return command->owner->carrier->open(command);
	case COMMAND_RUNNING:
		return serve_running(command);
	default:
		return 0;
	}
}

/* One program: its channel, step by step. */
#include "conf/log.h"
#include "transport/commands_internal.h"
#include <errno.h>
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
	command->channel = NULL; /* libssh2 frees it with its session */
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

/* After libssh2 said rc (not 0): 0 for EAGAIN, 1 when the command has failed for it, -1: lost. */
static int judge(struct command *command, int rc, const char *why)
{
	char text[256];

	if (rc == LIBSSH2_ERROR_EAGAIN)
		return 0;
	if (rc == LIBSSH2_ERROR_CHANNEL_FAILURE || rc == LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED) {
		snprintf(text, sizeof(text), "the server refuses %s", why);
		command_fail(command, text);
		return 1;
	}
	return -1;
}

static int serve_opening(struct command *command)
{
	struct commands *owner = command->owner;
	int rc;

	if (owner->opening && owner->opening != command)
		return 0;
	owner->opening = command;
	command->channel = libssh2_channel_open_session(ssh_session(owner->connection));
	rc = command->channel ? 0 : libssh2_session_last_errno(ssh_session(owner->connection));
	if (rc == LIBSSH2_ERROR_EAGAIN)
		return 0;
	owner->opening = NULL;
	if (rc)
		return judge(command, rc, "another channel (MaxSessions in its sshd_config)");
	command->state = command->pty ? COMMAND_PTY : COMMAND_STARTING;
	return 1;
}

static int serve_pty(struct command *command)
{
	int rc = libssh2_channel_request_pty_ex(command->channel, command->term,
	    (unsigned)strlen(command->term), NULL, 0, (int)command->cols, (int)command->rows, 0, 0);

	if (rc)
		return judge(command, rc, "a terminal");
	command->state = COMMAND_STARTING;
	command->resize = false;
	return 1;
}

static int serve_starting(struct command *command)
{
	int rc = libssh2_channel_process_startup(command->channel, "exec", sizeof("exec") - 1,
	    command->text, (unsigned)strlen(command->text));

	if (rc)
		return judge(command, rc, "to run commands for this user");
	command->state = COMMAND_RUNNING;
	command_tell(command, 'G', NULL, 0);
	return 1;
}

/* --- while it runs ---------------------------------------------------------------------- */

static int send_input(struct command *command)
{
	size_t len = command->up_len < CHUNK ? command->up_len : CHUNK;
	ssize_t n;

	if (command->eof_sent)
		return 0;
	if (len) {
		if (ssh_queued(command->owner->connection) > 512 * 1024)
			return 0;
		n = libssh2_channel_write(
		    command->channel, (const char *)command->up + command->up_at, len);
		if (n < 0 && n != LIBSSH2_ERROR_EAGAIN) {
			/* the program has closed its input: the rest is nobody's */
			if (n != LIBSSH2_ERROR_CHANNEL_CLOSED &&
			    n != LIBSSH2_ERROR_CHANNEL_EOF_SENT)
				return -1;
			n = (ssize_t)command->up_len;
		}
		if (n <= 0)
			return 0;
		command->up_at += (size_t)n;
		command->up_len -= (size_t)n;
		command_tell_number(command, 'A', (uint32_t)n);
		return 1;
	}
	if (!command->up_eof)
		return 0;
	n = libssh2_channel_send_eof(command->channel);
	if (n == LIBSSH2_ERROR_EAGAIN)
		return 0;
	command->eof_sent = true;
	return 1;
}

/* The first line of a program without a pty is its process id. Returns how many bytes that took. */
static size_t take_pid(struct command *command, const char *bytes, size_t len)
{
	size_t at = 0;

	if (command->pty || command->pid_known)
		return 0;
	while (at < len && !command->pid_known) {
		char c = bytes[at++];

		if (c == '\n')
			command->pid_known = true;
		else if (c >= '0' && c <= '9' && command->pid_len + 1 < sizeof(command->pid))
			command->pid[command->pid_len++] = c;
	}
	return at;
}

static int read_stream(struct command *command, int stream, char type)
{
	char bytes[CHUNK];
	size_t skip;
	ssize_t n;

	if (command->fd >= 0 && command->out_len > COMMAND_OUT_MAX)
		return 0;
	n = libssh2_channel_read_ex(command->channel, stream, bytes, sizeof(bytes));
	if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
		return 0;
	if (n < 0)
		return -1;
	skip = stream == 0 ? take_pid(command, bytes, (size_t)n) : 0;
	if ((size_t)n > skip)
		command_tell(command, type, bytes + skip, (size_t)n - skip);
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
	kill->pid_known = kill->up_eof = true;
	kill->state = kill->text ? COMMAND_WAITING : COMMAND_ENDED;
	atomic_fetch_add(&command->owner->count, 1);
	TAILQ_INSERT_TAIL(&command->owner->list, kill, link);
}

static int serve_end(struct command *command)
{
	LIBSSH2_SESSION *session = ssh_session(command->owner->connection);
	char *name = NULL;
	size_t len = 0;
	int rc;

	if (!libssh2_channel_eof(command->channel) ||
	    (command->fd >= 0 && command->out_len > COMMAND_OUT_MAX))
		return 0;
	rc = libssh2_channel_wait_closed(command->channel);
	if (rc == LIBSSH2_ERROR_EAGAIN)
		return 0;
	libssh2_channel_get_exit_signal(command->channel, &name, &len, NULL, NULL, NULL, NULL);
	if (name && len)
		command_tell(command, 'K', name, len);
	else
		command_tell_number(
		    command, 'Q', (uint32_t)libssh2_channel_get_exit_status(command->channel));
	if (name)
		libssh2_free(session, name);
	command->state = COMMAND_ENDED;
	return 1;
}

static int serve_running(struct command *command)
{
	int moved = send_input(command), more;

	if (moved < 0)
		return -1;
	send_signal(command);
	if (command->resize && command->pty &&
	    libssh2_channel_request_pty_size_ex(command->channel, (int)command->cols,
		(int)command->rows, 0, 0) != LIBSSH2_ERROR_EAGAIN)
		command->resize = false;
	more = read_stream(command, 0, 'O');
	if (more >= 0 &&
	    (moved |= more, (more = read_stream(command, SSH_EXTENDED_DATA_STDERR, 'X')) >= 0))
		moved |= more;
	if (more < 0)
		return -1;
	return moved ? 1 : serve_end(command);
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
	/* An open under way has to be carried to its end. */
	if (command->state == COMMAND_OPENING && command->owner->opening == command)
		return serve_opening(command);
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
		return serve_opening(command);
	case COMMAND_PTY:
		return serve_pty(command);
	case COMMAND_STARTING:
		return serve_starting(command);
	case COMMAND_RUNNING:
		return serve_running(command);
	default:
		return 0;
	}
}

/* A program over a channel of libssh2's. */
#include "transport/commands_internal.h"
#include <stdio.h>
#include <string.h>

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

/* libssh2 opens one channel at a time; and when it reads the answer to another channel's request,
 * it gives up on the one it waits for, so there is one of those, too. */
static bool take_turn(struct command **turn, struct command *command)
{
	if (*turn && *turn != command)
		return false;
	*turn = command;
	return true;
}

static int open_channel(struct command *command)
{
	struct commands *owner = command->owner;
	int rc;

	if (!take_turn(&owner->opening, command))
		return 0;
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

static int ask_pty(struct command *command)
{
	int rc = libssh2_channel_request_pty_ex(command->channel, command->term,
	    (unsigned)strlen(command->term), NULL, 0, (int)command->cols, (int)command->rows, 0, 0);

	if (rc)
		return judge(command, rc, "a terminal");
	command->state = COMMAND_STARTING;
	command->resize = false;
	return 1;
}

static int start(struct command *command)
{
	int rc = libssh2_channel_process_startup(command->channel, "exec", sizeof("exec") - 1,
	    command->text, (unsigned)strlen(command->text));

	if (rc)
		return judge(command, rc, "to run commands for this user");
	command_runs(command);
	return 1;
}

static int channel_open(struct command *command)
{
	struct commands *owner = command->owner;
	int moved;

	if (command->state == COMMAND_OPENING)
		return open_channel(command);
	if (!take_turn(&owner->starting, command))
		return 0;
	moved = command->state == COMMAND_PTY ? ask_pty(command) : start(command);
	if (moved)
		owner->starting = NULL;
	return moved;
}

static ssize_t channel_read(struct command *command, bool errors, void *bytes, size_t size)
{
	ssize_t n = libssh2_channel_read_ex(
	    command->channel, errors ? SSH_EXTENDED_DATA_STDERR : 0, bytes, size);

	return n == LIBSSH2_ERROR_EAGAIN ? 0 : n < 0 ? -1 : n;
}

static ssize_t channel_write(struct command *command, const void *bytes, size_t len)
{
	ssize_t n;

	if (ssh_queued(command->owner->connection) > 512 * 1024)
		return 0;
	n = libssh2_channel_write(command->channel, bytes, len);
	if (n == LIBSSH2_ERROR_EAGAIN)
		return 0;
	/* the program has closed its input: the rest is nobody's */
	if (n == LIBSSH2_ERROR_CHANNEL_CLOSED || n == LIBSSH2_ERROR_CHANNEL_EOF_SENT)
		return (ssize_t)len;
	return n < 0 ? -1 : n;
}

static bool channel_end_input(struct command *command)
{
	return libssh2_channel_send_eof(command->channel) != LIBSSH2_ERROR_EAGAIN;
}

static bool channel_resize(struct command *command)
{
	return libssh2_channel_request_pty_size_ex(command->channel, (int)command->cols,
		   (int)command->rows, 0, 0) != LIBSSH2_ERROR_EAGAIN;
}

static int channel_end(struct command *command)
{
	LIBSSH2_SESSION *session = ssh_session(command->owner->connection);
	char *name = NULL;
	size_t len = 0;
	int rc;

	if (!libssh2_channel_eof(command->channel))
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

static bool channel_forget(struct command *command, bool lost)
{
	/* libssh2 frees it with its session */
	if (!lost && command->channel &&
	    libssh2_channel_free(command->channel) == LIBSSH2_ERROR_EAGAIN)
		return false;
	command->channel = NULL;
	return true;
}

static unsigned channel_poll(const struct command *command, struct pollfd *fds)
{
	return 0; /* all is on the session's socket */
}

const struct command_carrier command_channel = {
    .open = channel_open,
    .read = channel_read,
    .write = channel_write,
    .end_input = channel_end_input,
    .resize = channel_resize,
    .end = channel_end,
    .forget = channel_forget,
    .poll = channel_poll,
};

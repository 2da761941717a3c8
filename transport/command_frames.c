/* The client's socket: frames in, frames out. */
#include "transport/commands_internal.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD 5

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_be32(uint8_t *p, uint32_t n)
{
	p[0] = (uint8_t)(n >> 24);
	p[1] = (uint8_t)(n >> 16);
	p[2] = (uint8_t)(n >> 8);
	p[3] = (uint8_t)n;
}

/* Room for len more bytes behind those that wait. */
static bool make_room(uint8_t **buf, size_t *at, size_t used, size_t len)
{
	uint8_t *grown;

	if (*at) {
		memmove(*buf, *buf + *at, used);
		*at = 0;
	}
	grown = realloc(*buf, used + len);
	if (!grown)
		return false;
	*buf = grown;
	return true;
}

void command_tell(struct command *command, char type, const void *payload, size_t len)
{
	uint8_t *to;

	if (command->fd < 0)
		return;
	if (!make_room(&command->out, &command->out_at, command->out_len, HEAD + len)) {
		command->left = true; /* it can't be told of it */
		return;
	}
	to = command->out + command->out_len;
	to[0] = (uint8_t)type;
	put_be32(to + 1, (uint32_t)len);
	if (len)
		memcpy(to + HEAD, payload, len);
	command->out_len += HEAD + len;
}

void command_tell_number(struct command *command, char type, uint32_t number)
{
	uint8_t bytes[4];

	put_be32(bytes, number);
	command_tell(command, type, bytes, sizeof(bytes));
}

bool command_write(struct command *command)
{
	bool moved = false;

	while (command->fd >= 0 && command->out_len) {
		ssize_t n = send(command->fd, command->out + command->out_at, command->out_len,
		    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			command->left = true;
			command->out_len = 0;
			break;
		}
		command->out_at += (size_t)n;
		command->out_len -= (size_t)n;
		moved = true;
	}
	return moved;
}

/* --- what comes in --------------------------------------------------------------------- */

static void take_start(struct command *command, const uint8_t *payload, size_t len)
{
	json_t *json = json_loadb((const char *)payload, len, 0, NULL);
	const char *text = json_string_value(json_object_get(json, "exec"));
	const char *term = json_string_value(json_object_get(json, "term"));

	if (!text || command->state != COMMAND_GREETED) {
		command_fail(command, "the request is not understood");
	} else if (strlen(text) > COMMAND_TEXT_MAX) {
		command_fail(
		    command, "the command is longer than 32000 bytes; put it into a script");
	} else {
		free(command->text); /* of what was asked for before an N */
		command->text = strdup(text);
		command->stays = json_is_true(json_object_get(json, "stays"));
		command->pty = json_is_true(json_object_get(json, "pty"));
		snprintf(command->term, sizeof(command->term), "%s", term ? term : "dumb");
		command->rows = (unsigned)json_integer_value(json_object_get(json, "rows"));
		command->cols = (unsigned)json_integer_value(json_object_get(json, "cols"));
		command->state = COMMAND_WAITING;
		if (!command->text)
			command_fail(command, "out of memory");
	}
	json_decref(json);
}

static void take_input(struct command *command, const uint8_t *payload, size_t len)
{
	if (command->state == COMMAND_ENDED || command->up_eof)
		return;
	if (command->up_len + len > COMMANDS_CREDIT ||
	    !make_room(&command->up, &command->up_at, command->up_len, len)) {
		command_fail(command, "too much input at once");
		return;
	}
	memcpy(command->up + command->up_len, payload, len);
	command->up_len += len;
}

/* "INT", "USR1": it becomes part of a shell's command line. */
static void take_signal(struct command *command, const uint8_t *payload, size_t len)
{
	if (!len || len >= sizeof(command->signal))
		return;
	for (size_t i = 0; i < len; i++) {
		bool letter = payload[i] >= 'A' && payload[i] <= 'Z';

		if (!letter && !(payload[i] >= '0' && payload[i] <= '9'))
			return;
	}
	memcpy(command->signal, payload, len);
	command->signal[len] = '\0';
}

static void take_frame(struct command *command, char type, const uint8_t *payload, size_t len)
{
	switch (type) {
	case 'C':
		take_start(command, payload, len);
		break;
	case 'I':
		take_input(command, payload, len);
		break;
	case 'E':
		command->up_eof = true;
		break;
	case 'W':
		if (len != 8)
			break;
		command->rows = be32(payload);
		command->cols = be32(payload + 4);
		command->resize = true;
		break;
	case 'S':
		take_signal(command, payload, len);
		break;
	default:
		command_fail(command, "the request is not understood");
	}
}

/* Takes whole frames off the beginning of in. */
static void take_frames(struct command *command)
{
	size_t at = 0;

	while (command->in_len - at >= HEAD) {
		size_t len = be32(command->in + at + 1);

		if (len > COMMANDS_FRAME_MAX) {
			command_fail(command, "the request is not understood");
			at = command->in_len;
			break;
		}
		if (command->in_len - at < HEAD + len)
			break;
		take_frame(command, (char)command->in[at], command->in + at + HEAD, len);
		at += HEAD + len;
	}
	command->in_len -= at;
	memmove(command->in, command->in + at, command->in_len);
}

bool command_read(struct command *command)
{
	bool moved = false;

	while (command->fd >= 0 && !command->left) {
		ssize_t n = recv(command->fd, command->in + command->in_len,
		    HEAD + COMMANDS_FRAME_MAX - command->in_len, MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			command->left = true;
			return true;
		}
		command->in_len += (size_t)n;
		take_frames(command);
		moved = true;
	}
	return moved;
}

#include "fs/cmd/far.h"
#include "conf/shquote.h"
#include "fs/cmd/client.h"
#include "transport/commands.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#define FAILED 255
#define HEAD 5
#define PATIENCE 3 /* signals after which we end without the program */

/* --- what is to be run ------------------------------------------------------------------ */

char *far_folder(const json_t *status, const char *path)
{
	const char *mountpoint = json_string_value(json_object_get(status, "mountpoint"));
	const char *root = json_string_value(json_object_get(status, "path"));
	size_t len = mountpoint ? strlen(mountpoint) : 0;
	char *out;

	if (!mountpoint || !root || strncmp(path, mountpoint, len) != 0 ||
	    (path[len] && path[len] != '/'))
		return NULL;
	if (!strcmp(root, "/"))
		root = "";
	if (asprintf(&out, "%s%s", root, path + len) < 0)
		return NULL;
	if (!*out) {
		free(out);
		return strdup("/");
	}
	return out;
}

/*
 * The login shell there may be any; what it reads is "exec /bin/sh -c SCRIPT sh FOLDER WORD…" with
 * each part in quotes, and SCRIPT is one of these, which hold no word of the user's. The shell that
 * stays does not end by the signals that are meant for the program.
 */
static char *make_line(const struct far_program *program, bool pid, bool stays)
{
	static const char becomes[] = "cd -- \"$1\" || exit 126; shift; exec \"$@\"";
	static const char waits[] = "trap : INT TERM HUP QUIT USR1 USR2 ALRM; "
				    "cd -- \"$1\" || exit 126; shift; (exec \"$@\"); exit $?";
	static const char shell[] =
	    "cd -- \"$1\" || cd; SHELL=${SHELL:-/bin/sh}; exec \"$SHELL\" -l";
	char *out = NULL;
	size_t size;
	FILE *to = open_memstream(&out, &size);

	if (!to)
		return NULL;
	fputs("exec /bin/sh -c '", to);
	if (pid)
		fputs("echo \"$$\"; ", to);
	fprintf(to, "%s' sh ", !program->words ? shell : stays ? waits : becomes);
	shquote(to, program->folder);
	for (char *const *word = program->words; word && *word; word++) {
		putc(' ', to);
		shquote(to, *word);
	}
	return fclose(to) ? (free(out), NULL) : out;
}

/* --- the terminal and signals -------------------------------------------------------------- */

static struct termios saved;
static bool raw;
static int signal_pipe[2];

static void restore(void)
{
	if (raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
	raw = false;
}

static void make_raw(void)
{
	struct termios terminal;

	if (tcgetattr(STDIN_FILENO, &saved))
		return;
	terminal = saved;
	cfmakeraw(&terminal);
	if (!tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal)) {
		raw = true;
		atexit(restore);
	}
}

static void on_signal(int number)
{
	unsigned char byte = (unsigned char)number;
	int before = errno;

	if (write(signal_pipe[1], &byte, 1) < 0)
		errno = before; /* full: there are enough */
	errno = before;
}

static const struct {
	int number;
	const char *name;
} signals[] = {{SIGINT, "INT"}, {SIGTERM, "TERM"}, {SIGHUP, "HUP"}, {SIGQUIT, "QUIT"},
    {SIGUSR1, "USR1"}, {SIGUSR2, "USR2"}, {SIGALRM, "ALRM"}, {SIGABRT, "ABRT"}, {SIGKILL, "KILL"},
    {SIGPIPE, "PIPE"}, {SIGSEGV, "SEGV"}, {SIGILL, "ILL"}, {SIGFPE, "FPE"}};
#define PASSED_ON 6 /* those that are passed on are the first ones */

static int watch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	for (int i = 0; i < PASSED_ON; i++)
		sigaction(signals[i].number, &action, NULL);
	sigaction(SIGWINCH, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

/* --- frames ---------------------------------------------------------------------------------- */

struct far {
	int fd;
	const struct far_program *program;
	bool pty;
	uint8_t in[HEAD + COMMANDS_FRAME_MAX];
	size_t in_len;
	unsigned unanswered; /* bytes of input that the program's side has not taken */
	bool started;	     /* nothing is read of the input before: it may be for somebody else */
	bool input_over;
	int asked_to_end; /* signals so far */
	bool over;
	int status;
	struct conf_error *error;
};

static void put_be32(uint8_t *p, uint32_t n)
{
	p[0] = (uint8_t)(n >> 24);
	p[1] = (uint8_t)(n >> 16);
	p[2] = (uint8_t)(n >> 8);
	p[3] = (uint8_t)n;
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int write_all(int fd, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd wait = {.fd = fd, .events = POLLOUT};

			poll(&wait, 1, -1);
		} else if (n < 0 && errno != EINTR) {
			return -errno;
		} else if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static void tell(struct far *far, char type, const void *payload, size_t len)
{
	uint8_t head[HEAD] = {(uint8_t)type};

	put_be32(head + 1, (uint32_t)len);
	if (write_all(far->fd, head, HEAD) || write_all(far->fd, payload, len))
		far->over = true;
}

static void tell_window(struct far *far)
{
	struct winsize size;
	uint8_t bytes[8];

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size))
		return;
	put_be32(bytes, size.ws_row);
	put_be32(bytes + 4, size.ws_col);
	tell(far, 'W', bytes, sizeof(bytes));
}

static int status_of_signal(const uint8_t *name, size_t len)
{
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		if (strlen(signals[i].name) == len && !memcmp(signals[i].name, name, len))
			return 128 + signals[i].number;
	}
	return 128;
}

static void end(struct far *far, int status)
{
	far->over = true;
	far->status = status;
}

/* Says what is to be run. False, with the error: it can't be said. */
static bool start(struct far *far, bool stays)
{
	struct winsize size = {.ws_row = 24, .ws_col = 80};
	const char *term = getenv("TERM");
	char *line = make_line(far->program, !far->pty, stays), *text;
	json_t *json;

	if (far->pty)
		ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	json = line ? json_pack("{s:s, s:b, s:b, s:s, s:i, s:i}", "exec", line, "stays", stays,
			  "pty", far->pty, "term", term ? term : "dumb", "rows", (int)size.ws_row,
			  "cols", (int)size.ws_col)
		    : NULL;
	text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	free(line);
	if (!text)
		conf_fail(far->error, EINVAL, "the command is no text (UTF-8)");
	else if (strlen(text) > COMMANDS_FRAME_MAX)
		conf_fail(far->error, E2BIG, "the command is too long; put it into a script");
	else
		tell(far, 'C', text, strlen(text));
	free(text);
	return !far->error->text[0];
}

static void take(struct far *far, char type, const uint8_t *payload, size_t len)
{
	switch (type) {
	case 'O':
	case 'X':
		if (write_all(type == 'O' ? STDOUT_FILENO : STDERR_FILENO, payload, len))
			end(far,
			    128 + SIGPIPE); /* nobody reads it: as if it had written there itself */
		break;
	case 'A':
		far->unanswered -= len == 4 ? be32(payload) : 0;
		break;
	case 'Q':
		end(far, len == 4 ? (int)(be32(payload) & 255) : FAILED);
		break;
	case 'K':
		end(far, status_of_signal(payload, len));
		break;
	case 'G':
		far->started = true;
		break;
	case 'N':
		if (!start(far, true))
			end(far, FAILED);
		break;
	case 'F':
		conf_fail(far->error, EIO, "%.*s", (int)len, (const char *)payload);
		end(far, FAILED);
		break;
	default:
		break;
	}
}

/* False at the end of the connection. */
static bool read_frames(struct far *far)
{
	ssize_t n = read(far->fd, far->in + far->in_len, sizeof(far->in) - far->in_len);
	size_t at = 0;

	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN);
	far->in_len += (size_t)n;
	while (!far->over && far->in_len - at >= HEAD) {
		size_t len = be32(far->in + at + 1);

		if (len > COMMANDS_FRAME_MAX)
			return false;
		if (far->in_len - at < HEAD + len)
			break;
		take(far, (char)far->in[at], far->in + at + HEAD, len);
		at += HEAD + len;
	}
	far->in_len -= at;
	memmove(far->in, far->in + at, far->in_len);
	return true;
}

static void send_input(struct far *far)
{
	char bytes[16384];
	size_t room = COMMANDS_CREDIT - far->unanswered;
	ssize_t n = read(STDIN_FILENO, bytes, room < sizeof(bytes) ? room : sizeof(bytes));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		far->input_over = true;
		tell(far, 'E', NULL, 0);
		return;
	}
	far->unanswered += (unsigned)n;
	tell(far, 'I', bytes, (size_t)n);
}

static void pass_signals(struct far *far)
{
	unsigned char numbers[32];
	ssize_t n = read(signal_pipe[0], numbers, sizeof(numbers));

	for (ssize_t i = 0; i < n; i++) {
		if (numbers[i] == SIGWINCH) {
			if (far->pty)
				tell_window(far);
			continue;
		}
		/* On a terminal there, keys are passed on as bytes; other signals end it. */
		if (far->pty || ++far->asked_to_end >= PATIENCE) {
			end(far, 128 + numbers[i]);
			return;
		}
		for (int j = 0; j < PASSED_ON; j++) {
			if (signals[j].number == numbers[i])
				tell(far, 'S', signals[j].name, strlen(signals[j].name));
		}
	}
}

static void loop(struct far *far)
{
	while (!far->over) {
		bool wants = far->started && !far->input_over && far->unanswered < COMMANDS_CREDIT;
		struct pollfd fds[3] = {{.fd = far->fd, .events = POLLIN},
		    {.fd = signal_pipe[0], .events = POLLIN},
		    {.fd = wants ? STDIN_FILENO : -1, .events = POLLIN}};

		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[1].revents)
			pass_signals(far);
		if (!far->over && fds[0].revents && !read_frames(far) && !far->over) {
			conf_fail(far->error, EIO, "the mount's daemon ended");
			end(far, FAILED);
		}
		if (!far->over && fds[2].revents)
			send_input(far);
	}
}

/* The first frame is R. */
static int greet(struct far *far)
{
	uint8_t head[HEAD];
	size_t len = 0;

	if (write_all(far->fd, "{\"command\": \"run\"}\n", 19))
		return -EIO;
	while (len < HEAD) {
		ssize_t n = read(far->fd, head + len, HEAD - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EIO;
		len += (size_t)n;
	}
	return head[0] == 'R' ? 0 : -EIO;
}

int far_run(const char *socket, const struct far_program *program, struct conf_error *error)
{
	struct far *far = calloc(1, sizeof(*far));
	int err = far ? watch_signals() : -ENOMEM, status = FAILED;

	if (err)
		return free(far), conf_fail(error, -err, "%s", strerror(-err)), FAILED;
	far->fd = client_connect(socket);
	far->program = program;
	far->pty = program->pty;
	far->error = error;
	err = far->fd < 0 ? far->fd : greet(far);
	if (err) {
		conf_fail(error, EIO, "the mount's daemon does not take it");
	} else if (start(far, false)) {
		if (far->pty)
			make_raw();
		loop(far);
		restore();
		status = far->status;
	}
	if (far->fd >= 0)
		close(far->fd);
	free(far);
	return status;
}

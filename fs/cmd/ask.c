#include "fs/cmd/ask.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static _Atomic bool over;

static int open_terminal(void)
{
	return open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
}

bool ask_possible(void)
{
	int fd = open_terminal();

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

bool ask_secret_possible(void)
{
	const char *program = getenv("SSH_ASKPASS");

	return ask_possible() || (program && *program);
}

void ask_no_more(void)
{
	over = true;
}

/* The line without its end; false at end of file. */
static bool read_line(int fd, char *line, size_t size)
{
	ssize_t got = read(fd, line, size - 1);

	if (got <= 0)
		return false;
	line[got] = '\0';
	line[strcspn(line, "\r\n")] = '\0';
	return true;
}

bool ask_host_key(void *arg, const char *question, const char *fingerprint)
{
	static const char again[] = "Please type 'yes', 'no' or the fingerprint: ";
	int fd = over ? -1 : open_terminal();
	char line[256];
	bool yes = false;

	(void)arg;
	if (fd < 0)
		return false;
	dprintf(fd, "%s", question);
	while (!over && read_line(fd, line, sizeof(line))) {
		yes = !strcasecmp(line, "yes") || (fingerprint && !strcmp(line, fingerprint));
		if (yes || !strcasecmp(line, "no"))
			break;
		dprintf(fd, "%s", again);
	}
	close(fd);
	return yes;
}

/* Starts it with the pipe's end as its standard output; -1 when it can't be. The thread that asks
 * may have all signals blocked, and the daemon ignores SIGPIPE: neither is the program's business.
 */
static pid_t start_window(const char *program, const char *prompt, int out)
{
	char *words[] = {(char *)(uintptr_t)program, (char *)(uintptr_t)prompt, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, ignored;
	pid_t child = -1;

	sigemptyset(&none);
	sigemptyset(&ignored);
	sigaddset(&ignored, SIGPIPE);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &ignored);
	posix_spawn_file_actions_init(&files);
	if (posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO) ||
	    posix_spawnp(&child, program, &files, &attr, words, environ))
		child = -1;
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return child;
}

/* Runs the program of $SSH_ASKPASS, which shows a window. */
static bool ask_window(const char *program, const char *prompt, char *buf, size_t size)
{
	int fds[2], status = -1;
	bool got = false;
	pid_t child;

	if (pipe2(fds, O_CLOEXEC))
		return false;
	child = start_window(program, prompt, fds[1]);
	close(fds[1]);
	if (child > 0)
		got = read_line(fds[0], buf, size);
	close(fds[0]);
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return got && !status;
}

bool ask_secret(const char *prompt, char *buf, size_t size)
{
	const char *program = getenv("SSH_ASKPASS");
	int fd = over ? -1 : open_terminal();
	struct termios before, quiet;
	bool got = false;

	if (fd < 0)
		return program && *program && !over && ask_window(program, prompt, buf, size);
	if (!tcgetattr(fd, &before)) {
		quiet = before;
		quiet.c_lflag &= (tcflag_t)~ECHO;
		tcsetattr(fd, TCSAFLUSH, &quiet);
		dprintf(fd, "%s", prompt);
		got = read_line(fd, buf, size);
		tcsetattr(fd, TCSAFLUSH, &before);
		dprintf(fd, "\n");
	}
	close(fd);
	return got;
}

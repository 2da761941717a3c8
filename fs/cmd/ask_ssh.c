#include "fs/cmd/ask_ssh.h"
#include "conf/log.h"
#include "conf/sshconfig.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 5000
#define WORDS_MAX 64
#define NO_SSH 127 /* exit status, as a shell's */

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

/* In the child. */
static void be_ssh(const char *host, const struct profile *profile, int out)
{
	const char *words[WORDS_MAX] = {"ssh", "-G"};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char *config = sshconfig_file(), port[16];
	size_t n = 2;

	if (config) {
		words[n++] = "-F";
		words[n++] = config;
	}
	if (profile && profile->port_given) {
		snprintf(port, sizeof(port), "%u", profile->port);
		words[n++] = "-p";
		words[n++] = port;
	}
	if (profile && profile->user_given) {
		words[n++] = "-l";
		words[n++] = profile->user;
	}
	for (size_t i = profile ? profile->n_ssh_options : 0; i-- > 0 && n + 5 < WORDS_MAX;) {
		words[n++] = "-o";
		words[n++] = profile->ssh_options[i];
	}
	words[n++] = "--";
	words[n++] = host;
	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	execvp("ssh", (char **)(uintptr_t)words);
	execv("/usr/bin/ssh", (char **)(uintptr_t)words);
	_exit(NO_SSH);
}

/* All that comes until the end; false when it takes too long. */
static bool read_all(int fd, FILE *to)
{
	long long until = now_ms() + PATIENCE_MS;
	char buf[4096];

	for (;;) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		long long left = until - now_ms();
		ssize_t got;

		if (left <= 0 || (poll(&poll_fd, 1, (int)left) < 0 && errno != EINTR))
			return false;
		if (!poll_fd.revents)
			continue;
		got = read(fd, buf, sizeof(buf));
		if (got == 0)
			return true;
		if (got > 0)
			fwrite(buf, 1, (size_t)got, to);
		else if (errno != EINTR)
			return false;
	}
}

char *ask_ssh(const char *host, const struct profile *profile, const char **why)
{
	char *text = NULL;
	int fds[2], status = -1;
	size_t size = 0;
	bool whole = false;
	pid_t child;
	FILE *out;

	*why = "can't be started";
	if (pipe2(fds, O_CLOEXEC))
		return NULL;
	child = fork();
	if (child == 0)
		be_ssh(host, profile, fds[1]);
	close(fds[1]);
	out = open_memstream(&text, &size);
	if (child > 0 && out)
		whole = read_all(fds[0], out);
	close(fds[0]);
	if (out)
		fclose(out);
	if (child > 0 && !whole)
		kill(child, SIGKILL);
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (whole && !status && size) {
		*why = NULL;
		return text;
	}
	if (child > 0 && !whole)
		*why = "does not answer within five seconds";
	else if (child > 0)
		*why = WIFEXITED(status) && WEXITSTATUS(status) == NO_SSH ? NULL : "fails";
	free(text);
	return NULL;
}

int ask_ssh_complete(struct profile *profile)
{
	const char *why = NULL;
	char *answer = profile->host_known ? ask_ssh(profile->host, profile, &why) : NULL;
	int rc = answer ? sshconfig_apply(profile, answer) : 0;

	if (why)
		log_warning("ssh -G %s %s; ~/.ssh/config is left out", profile->host, why);
	free(answer);
	return rc;
}

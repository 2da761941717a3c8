#include "conf/bounded.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What the child says, then the resolved path without its end. */
struct answer {
	int err;
	char path[PATH_MAX];
};

/* The child must hold nothing that others wait for the end of: pipes of the caller's, a terminal.
 */
static void let_go(int pipe_end)
{
	int null = open("/dev/null", O_RDWR);

	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	if (pipe_end > 3)
		close_range(3, (unsigned)pipe_end - 1, 0);
	close_range((unsigned)pipe_end + 1, ~0U, 0);
	setsid();
}

/* What the kernel remembers of a folder says nothing of the daemon that it is from. Who asks while
 * a connection ends is told ECONNABORTED, those after him ENOTCONN. */
static bool answers(const char *path)
{
	struct statx st;
	int rc = statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &st);

	if (rc && errno == ECONNABORTED)
		rc = statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &st);
	return !rc;
}

static void look(const char *path, bool resolve, int pipe_end)
{
	struct answer answer = {.err = 0};
	size_t len;

	if (resolve ? !realpath(path, answer.path) : !answers(path)) {
		answer.err = errno;
		answer.path[0] = '\0';
	}
	len = offsetof(struct answer, path) + strlen(answer.path);
	_exit(write(pipe_end, &answer, len) != (ssize_t)len);
}

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* The whole answer, up to the end of the pipe; its errno, negative. */
static int read_answer(int fd, unsigned limit_ms, struct answer *out)
{
	long long end = now_ms() + limit_ms;
	size_t len = 0;

	for (;;) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		long long left = end - now_ms();
		ssize_t got;

		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&wait, 1, (int)left) <= 0)
			continue;
		got = read(fd, (char *)out + len, sizeof(*out) - 1 - len);
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		len += (size_t)got;
	}
	if (len < offsetof(struct answer, path))
		return -EIO;
	out->path[len - offsetof(struct answer, path)] = '\0';
	return -out->err;
}

static int ask(const char *path, bool resolve, unsigned limit_ms, struct answer *out)
{
	int fds[2], rc;
	pid_t child;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	child = fork();
	if (child == 0) {
		let_go(fds[1]);
		look(path, resolve, fds[1]);
	}
	rc = child < 0 ? -errno : 0;
	close(fds[1]);
	if (!rc)
		rc = read_answer(fds[0], limit_ms, out);
	close(fds[0]);
	if (child > 0 && rc == -ETIMEDOUT)
		kill(child, SIGKILL); /* it may take that only when the mount is gone */
	if (child > 0)
		waitpid(child, NULL, rc == -ETIMEDOUT ? WNOHANG : 0);
	return rc;
}

int bounded_stat(const char *path, unsigned limit_ms)
{
	struct answer answer;

	return ask(path, false, limit_ms, &answer);
}

char *bounded_realpath(const char *path, unsigned limit_ms)
{
	struct answer answer;
	int rc = ask(path, true, limit_ms, &answer);

	errno = -rc;
	return rc ? NULL : strdup(answer.path);
}

#include "transport/child.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define END_MS 500

char *child_find_ssh(void)
{
	const char *path = getenv("PATH");

	for (const char *at = path ? path : ""; *at;) {
		size_t len = strcspn(at, ":");
		char *file = NULL;

		if (len && asprintf(&file, "%.*s/ssh", (int)len, at) >= 0) {
			if (!access(file, X_OK))
				return file;
			free(file);
		}
		at += len + (at[len] == ':');
	}
	return access("/usr/bin/ssh", X_OK) ? NULL : strdup("/usr/bin/ssh");
}

/* In the child, whose memory is the parent's: system calls only. */
static void become_ssh(const char *file, char **args, char **env, const int fds[3], pid_t parent)
{
	static const int deaf[] = {SIGINT, SIGQUIT, SIGHUP, SIGTSTP};
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int signal_number = 1; signal_number < 32; signal_number++)
		sigaction(signal_number, &action, NULL);
	action.sa_handler = SIG_IGN;
	for (size_t i = 0; i < sizeof(deaf) / sizeof(*deaf); i++)
		sigaction(deaf[i], &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (parent && (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != parent))
		_exit(255);
	for (int i = 0; i < 3; i++) {
		if (dup2(fds[i], i) < 0)
			_exit(255);
	}
	if (syscall(SYS_close_range, 3, ~0u, 0))
		_exit(255);
	execve(file, args, env);
	_exit(255);
}

/* Returns in the parent only: the process, or a negative errno. */
static pid_t __attribute__((noinline))
start_child(const char *file, char **args, char **env, const int fds[3], pid_t parent)
{
	pid_t pid = vfork();

	if (pid == 0)
		become_ssh(file, args, env, fds, parent);
	return pid < 0 ? -errno : pid;
}

int child_start(const char *file, char **args, char **env, const int fds[3], bool with_thread,
    pid_t *pid, int *pid_fd)
{
	int low[3] = {-1, -1, -1}, err = 0;

	*pid = 0;
	*pid_fd = -1;
	/* Above 2, so that none is overwritten before its turn. */
	for (int i = 0; i < 3 && !err; i++) {
		low[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (low[i] < 0)
			err = -errno;
	}
	if (!err) {
		pid_t child =
		    start_child(file, args, env ? env : environ, low, with_thread ? getpid() : 0);

		if (child > 0)
			*pid = child;
		else
			err = child;
	}
	for (int i = 0; i < 3; i++) {
		if (low[i] >= 0)
			close(low[i]);
	}
	if (err)
		return err;
	*pid_fd = (int)syscall(SYS_pidfd_open, *pid, 0);
	return *pid_fd < 0 ? -errno : 0;
}

void child_end(pid_t *pid, int *pid_fd)
{
	struct pollfd ended = {.fd = *pid_fd, .events = POLLIN};

	if (*pid > 0) {
		kill(*pid, SIGTERM);
		if (*pid_fd < 0 || poll(&ended, 1, END_MS) <= 0)
			kill(*pid, SIGKILL);
		while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (*pid_fd >= 0)
		close(*pid_fd);
	*pid = 0;
	*pid_fd = -1;
}

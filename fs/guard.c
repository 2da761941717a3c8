#include "fs/guard.h"
#include "conf/log.h"
#include "conf/mountpoint.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TITLE "vastfs-guard"
#define FUSECTL "/sys/fs/fuse/connections"
#define DEATH SIGUSR1 /* of the thread that started us */

/* Where systemd has not mounted it (containers): for a moment, in a namespace of our own. A
 * namespace that stays would hold every other mount. */
static int open_by_mounting(const char *path)
{
	int home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC), fd = -1;

	if (home < 0 || unshare(CLONE_NEWNS))
		return -1;
	if (!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	    !mount("fusectl", FUSECTL, "fusectl", 0, NULL))
		fd = open(path, O_WRONLY | O_CLOEXEC);
	return setns(home, CLONE_NEWNS) ? -1 : fd;
}

/* So that nobody takes it for a second daemon: ps and pgrep -f show what stands where the arguments
 * were. */
static void take_title(void)
{
	char all[4096];
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? 0 : read(fd, all, sizeof(all));

	prctl(PR_SET_NAME, TITLE);
	if (len < (ssize_t)sizeof(TITLE))
		return;
	memset(program_invocation_name, 0, (size_t)len);
	memcpy(program_invocation_name, TITLE, sizeof(TITLE));
}

/* Between fork() and _exit() of a process with threads: system calls only, all signals blocked. */
static void keep_guard(pid_t daemon, const char *path, int fd)
{
	sigset_t all;
	siginfo_t info;

	sigfillset(&all);
	setsid();
	(void)!chdir("/");
	prctl(PR_SET_PDEATHSIG, DEATH);
	if (fd < 0)
		fd = open_by_mounting(path);
	if (fd < 0 || getppid() != daemon)
		_exit(1);
	take_title();
	if (dup2(fd, 0) < 0)
		_exit(1);
	close_range(1, ~0U, 0);
	do {
		sigwaitinfo(&all, &info);
	} while (info.si_signo != DEATH || info.si_pid != daemon);
	_exit(write(0, "1", 1) == 1 ? 0 : 1);
}

/* The file that ends the mount's connection. */
static int abort_path(const char *mountpoint, char *path, size_t size)
{
	struct mount_entry entry;
	int rc = mountpoint_lookup(mountpoint, &entry);

	if (rc <= 0)
		return rc ? rc : -ENOENT;
	snprintf(path, size, FUSECTL "/%u/abort", entry.minor);
	mount_entry_fini(&entry);
	return 0;
}

/* No signal is taken as the daemon would: libuv's handler tells the loop through a pipe that both
 * have, so a hang-up of the terminal that the guard gets (it may still be in its old session when
 * the daemon has gone into the background) would unmount. */
static pid_t fork_deaf(void)
{
	sigset_t all, before;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid)
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

pid_t guard_start(const char *mountpoint)
{
	char path[sizeof(FUSECTL) + 32];
	pid_t daemon = getpid(), pid;
	int err = abort_path(mountpoint, path, sizeof(path)), fd;

	if (err)
		return err;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 && geteuid()) {
		log_verbose(
		    "%s: %s; a killed mount may not let its programs go", path, strerror(errno));
		return -EACCES;
	}
	pid = fork_deaf();
	if (pid == 0)
		keep_guard(daemon, path, fd);
	err = pid < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return err ? err : pid;
}

void guard_stop(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/*
 * mount.vastfs(8). A child connects and mounts, still on the terminal so that it can ask; the
 * parent waits and passes on its exit code. The child goes into the background once the mount is
 * live.
 */
#include "conf/cmdline.h"
#include "conf/log.h"
#include "fs/cmd/ask.h"
#include "fs/cmd/ask_ssh.h"
#include "fs/cmd/stale.h"
#include "fs/daemon.h"
#include "transport/askpass.h"
#include "transport/ssh_secret.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int tell_fd = -1; /* to the waiting parent */

/* The mount is live: leaves the terminal and lets the parent return. */
static void go_background(void *arg)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char zero = 0;

	(void)arg;
	ask_no_more();
	log_to_syslog();
	setsid();
	if (chdir("/"))
		log_debug("chdir: %s", strerror(errno));
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(null);
	}
	if (write(tell_fd, &zero, 1) < 0)
		log_debug("the parent is gone");
	close(tell_fd);
	tell_fd = -1;
}

/* The live line of --wait, with the seconds so far; each one takes the place of the one before. */
static void show_progress(void *arg, const char *text)
{
	static struct timespec began;
	static bool shown;
	struct timespec now;

	(void)arg;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!began.tv_sec)
		began = now;
	if (text)
		fprintf(stderr, "\r\033[K%s %lld s", text, (long long)(now.tv_sec - began.tv_sec));
	else if (shown)
		fprintf(stderr, "\r\033[K");
	shown = text != NULL;
	fflush(stderr);
}

/* In the parent: the child's word that it is mounted, or its exit code. */
static int wait_for(pid_t child, int fd)
{
	char code;
	ssize_t got;
	int status;

	do {
		got = read(fd, &code, 1);
	} while (got < 0 && errno == EINTR);
	if (got == 1)
		return EXIT_MOUNTED;
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return EXIT_SYSTEM;
	}
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	fprintf(stderr, "mount.vastfs: ended by signal %d\n", WTERMSIG(status));
	return EXIT_SYSTEM;
}

static int run(const struct daemon_options *options, bool foreground, bool *threads_left)
{
	struct daemon_options detached = *options;
	int fds[2];
	pid_t child;

	if (foreground)
		return daemon_run(options, threads_left);
	if (pipe2(fds, O_CLOEXEC)) {
		fprintf(stderr, "mount.vastfs: pipe: %s\n", strerror(errno));
		return EXIT_SYSTEM;
	}
	fflush(NULL);
	child = fork();
	if (child < 0) {
		fprintf(stderr, "mount.vastfs: fork: %s\n", strerror(errno));
		return EXIT_SYSTEM;
	}
	if (child) {
		close(fds[1]);
		/* Ctrl-C reaches the child too, which cleans up and says how it ended. */
		signal(SIGINT, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
		return wait_for(child, fds[0]);
	}
	close(fds[0]);
	tell_fd = fds[1];
	detached.mounted = go_background;
	return daemon_run(&detached, threads_left);
}

static void set_level(const struct cmdline *cmdline)
{
	if (cmdline->debug)
		log_set_level(LOG_LEVEL_DEBUG);
	else if (cmdline->verbose > 1)
		log_set_level(LOG_LEVEL_VERBOSE);
	else if (cmdline->verbose)
		log_set_level(LOG_LEVEL_INFO);
}

static int mount_it(const struct cmdline *cmdline)
{
	struct daemon_options options = {0};
	static struct profile *profile; /* outlives a thread that would not end in time */
	struct conf_error error = {.text = ""};
	bool threads_left = false;
	char *mountpoint = NULL;
	int code = EXIT_USAGE;

	if (stale_remove(cmdline->mountpoint) == 1)
		fprintf(stderr, "mount.vastfs: %s: taking the place of a dead mount\n",
		    cmdline->mountpoint);
	if (profile_load(&cmdline->request, &profile, &error) ||
	    cmdline_check_mountpoint(cmdline->mountpoint, profile->nonempty, &mountpoint, &error)) {
		fprintf(stderr, "mount.vastfs: %s\n", error.text);
	} else if (ask_ssh_complete(profile)) {
		fprintf(stderr, "mount.vastfs: out of memory\n");
		code = EXIT_SYSTEM;
	} else {
		options.profile = profile;
		options.mountpoint = mountpoint;
		ssh_secret_source(ask_secret);
		if (ask_possible())
			options.ask = ask_host_key;
		askpass_use(options.ask);
		if (isatty(STDERR_FILENO))
			options.progress = show_progress;
		code = run(&options, cmdline->foreground || cmdline->debug, &threads_left);
	}
	free(mountpoint);
	if (!threads_left)
		profile_free(profile);
	return code;
}

int main(int argc, char **argv)
{
	struct cmdline cmdline;
	struct conf_error error = {.text = ""};
	int code = EXIT_MOUNTED, helped = askpass_helper(argc, argv);

	if (helped >= 0)
		return helped;
	if (cmdline_parse(argc, argv, &cmdline, &error)) {
		fprintf(stderr, "mount.vastfs: %s\n", error.text);
		code = EXIT_USAGE;
	} else if (cmdline.help) {
		cmdline_print_help("mount.vastfs");
	} else if (cmdline.version) {
		printf("vastfs %s\n", VASTFS_VERSION);
	} else {
		set_level(&cmdline);
		cmdline.request.unattended = !ask_secret_possible();
		code = mount_it(&cmdline);
	}
	cmdline_fini(&cmdline);
	return code;
}

/* vastfs run: a program on the instance, in the folder that this one shows. */
#include "conf/bounded.h"
#include "fs/cmd/client.h"
#include "fs/cmd/commands.h"
#include "fs/cmd/far.h"
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILED 255

struct options {
	const char *on; /* a mountpoint or an ID; NULL: the current folder's */
	int pty;	/* 1: yes, 0: no, -1: as the terminal */
	char **words;
};

/* False: not understood. */
static bool parse(int argc, char **argv, struct options *out)
{
	int i = 0;

	out->pty = -1;
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--")) {
			i++;
			break;
		}
		if (!strcmp(argv[i], "-t"))
			out->pty = 1;
		else if (!strcmp(argv[i], "-T"))
			out->pty = 0;
		else if (!strcmp(argv[i], "--on") && i + 1 < argc)
			out->on = argv[++i];
		else if (!strncmp(argv[i], "--on=", 5))
			out->on = argv[i] + 5;
		else
			return false;
	}
	out->words = argv + i;
	return i < argc;
}

/* What is to be read there; --on ID, or a path: its own folder if it lies in the mount. */
static char *make_line(const struct client_mount *mount, const struct options *options, bool pid)
{
	const char *mountpoint = json_string_value(json_object_get(mount->status, "mountpoint"));
	char *path = options->on ? bounded_realpath(options->on, BOUNDED_LOOK_MS) : getcwd(NULL, 0);
	char *folder = far_folder(mount->status, path ? path : mountpoint), *line;

	if (!folder)
		folder = far_folder(mount->status, mountpoint);
	free(path);
	line = folder ? far_line(folder, options->words, pid) : NULL;
	free(folder);
	return line;
}

/* By ssh, in a process of its own: there is something to do behind it. */
static int run_by_ssh(
    const struct client_mount *mount, const char *line, bool pty, struct conf_error *error)
{
	pid_t parent = getpid(), child;
	int status = 0;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		if (!prctl(PR_SET_PDEATHSIG, SIGTERM) && getppid() == parent)
			far_mount_by_ssh(mount->status, line, pty, error);
		if (error->text[0])
			command_fail("run", error);
		_exit(FAILED);
	}
	if (child < 0) {
		conf_fail(error, errno, "fork: %s", strerror(errno));
		return FAILED;
	}
	signal(SIGINT, SIG_IGN); /* the terminal's reach ssh too */
	signal(SIGQUIT, SIG_IGN);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(
    const struct options *options, const struct client_mount *mount, struct conf_error *error)
{
	bool pty = options->pty < 0 ? isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) : options->pty;
	char *line = make_line(mount, options, !pty);
	struct conf_error ignored = {.text = ""};
	int status = FAILED;

	if (!line)
		conf_fail(error, ENOMEM, "out of memory");
	else if (client_call(mount->socket, "sync", NULL, error))
		fprintf(stderr, "vastfs run: not all that was written here could be sent\n");
	else
		status = far_run(mount->socket, line, pty, error);
	if (status == FAR_BY_SSH) {
		free(line);
		line = make_line(mount, options, false);
		status = line ? run_by_ssh(mount, line, pty, error) : FAILED;
	}
	free(line);
	/* What it made and changed is looked at next. */
	(void)client_call(mount->socket, "doubt", NULL, &ignored);
	return status;
}

int cmd_run(int argc, char **argv)
{
	struct conf_error error = {.text = ""};
	struct client_mount *mounts, *mount;
	struct options options = {0};
	int n, status = FAILED;

	if (!parse(argc, argv, &options))
		return command_usage("run");
	n = client_mounts(&mounts, &error);
	if (n < 0)
		return command_fail("run", &error), FAILED;
	mount = client_choose(mounts, n, options.on ? options.on : ".", &error);
	if (mount)
		status = run(&options, mount, &error);
	else if (!options.on)
		conf_fail(&error, ENOENT,
		    "this folder is not on an instance; go into a mounted one, or name it: vastfs "
		    "run --on MOUNTPOINT COMMAND");
	client_mounts_free(mounts, n);
	if (error.text[0])
		command_fail("run", &error);
	return status;
}

/* vastfs run: a program on the instance, in the folder that this one shows. */
#include "conf/bounded.h"
#include "fs/cmd/client.h"
#include "fs/cmd/commands.h"
#include "fs/cmd/far.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* --on ID, or a path: its own folder if it lies in the mount. Owned; NULL: no memory. */
static char *choose_folder(const struct client_mount *mount, const char *on)
{
	const char *mountpoint = json_string_value(json_object_get(mount->status, "mountpoint"));
	char *path = on ? bounded_realpath(on, BOUNDED_LOOK_MS) : getcwd(NULL, 0);
	char *folder = far_folder(mount->status, path ? path : mountpoint);

	if (!folder)
		folder = far_folder(mount->status, mountpoint);
	free(path);
	return folder;
}

static int run(
    const struct options *options, const struct client_mount *mount, struct conf_error *error)
{
	char *folder = choose_folder(mount, options->on);
	const struct far_program program = {.folder = folder,
	    .words = options->words,
	    .pty = options->pty < 0 ? isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) : options->pty};
	struct conf_error ignored = {.text = ""};
	int status = FAILED;

	if (!folder)
		conf_fail(error, ENOMEM, "out of memory");
	else if (client_call(mount->socket, "sync", NULL, error))
		fprintf(stderr, "vastfs run: not all that was written here could be sent\n");
	else
		status = far_run(mount->socket, &program, error);
	free(folder);
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

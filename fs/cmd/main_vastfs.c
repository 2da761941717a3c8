/* vastfs(1): the table of its commands. */
#include "fs/cmd/commands.h"
#include "transport/askpass.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *words, *help;
} commands[] = {
    {"add", cmd_add, "[--force] ID 'ssh -p PORT root@ADDRESS'", "put an instance into the profile"},
    {"cache", cmd_cache, "show|clear [MOUNTPOINT|ID] | pin|unpin PATH",
	"the disk cache of an instance"},
    {"list", cmd_list, "[--ids]", "the instances of the profile"},
    {"show", cmd_show, "ID", "what a mount of it would use"},
    {"doctor", cmd_doctor, "ID", "find out what is wrong, and what to do"},
    {"edit", cmd_edit, "[ID]", "change the profile with your editor"},
    {"forward", cmd_forward, "MOUNTPOINT|ID list|add|remove [--save] FORWARD",
	"port forwards of a running mount"},
    {"key", cmd_key, "new [--passphrase] [FILE]", "make a key, and say where its public half goes"},
    {"remove", cmd_remove, "ID", "take an instance out of the profile"},
    {"run", cmd_run, "[-t|-T] [--on MOUNTPOINT|ID] [--] COMMAND...",
	"run a program on the instance, in the same folder"},
    {"spool", cmd_spool, "MOUNTPOINT|ID [list|retry|discard PATH]",
	"what could not be sent: show, try again, give up"},
    {"ssh", cmd_ssh, "[MOUNTPOINT|ID]", "open a shell there"},
    {"status", cmd_status, "[--json | --watch] [MOUNTPOINT|ID]", "how the mounts are doing"},
    {"sync", cmd_sync, "[--progress] MOUNTPOINT|ID",
	"wait until everything written is on the instance"},
    {"umount", cmd_umount, "MOUNTPOINT|ID", "sync, unmount, wait for the end"},
};
#define COMMANDS (sizeof(commands) / sizeof(*commands))

int command_fail(const char *name, const struct conf_error *error)
{
	fprintf(stderr, "vastfs %s: %s\n", name, error->text);
	return 1;
}

int command_usage(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		if (!strcmp(commands[i].name, name))
			fprintf(stderr, "usage: vastfs %s %s\n", name, commands[i].words);
	}
	return 1;
}

const char *command_config(int *argc, char ***argv)
{
	static const char option[] = "--config";
	const char *file = NULL;
	size_t len = strlen(option);

	if (*argc > 0 && !strncmp(**argv, option, len) && (*argv)[0][len] == '=') {
		file = **argv + len + 1;
		++*argv, --*argc;
	} else if (*argc > 1 && !strcmp(**argv, option)) {
		file = (*argv)[1];
		*argv += 2, *argc -= 2;
	}
	return file;
}

int command_profile(int argc, char **argv, struct profile **out, struct conf_error *error)
{
	struct profile_request request = {0};
	const char *config = command_config(&argc, &argv);
	char *option = NULL;
	int rc;

	*out = NULL;
	error->text[0] = '\0';
	if (argc != 1 || argv[0][0] == '-')
		return -EINVAL;
	request.spec = strdup(argv[0]);
	if (config && asprintf(&option, "config=%s", config) > 0)
		profile_request_add_option(&request, option, strlen(option));
	rc = profile_load(&request, out, error);
	free(option);
	profile_request_fini(&request);
	return rc;
}

static void print_usage(FILE *to)
{
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(to, "%s vastfs %s %s\n           %s\n",
		    i ? "      " : "usage:", commands[i].name, commands[i].words, commands[i].help);
	fputs("       vastfs --version | --help\n"
	      "To mount: mount.vastfs ID[:/remote/path] MOUNTPOINT (see mount.vastfs(8)).\n",
	    to);
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	int helped = askpass_helper(argc, argv);

	if (helped >= 0)
		return helped;
	for (size_t i = 0; i < COMMANDS; i++) {
		if (!strcmp(name, commands[i].name))
			return commands[i].run(argc - 2, argv + 2);
	}
	if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
		printf("vastfs %s\n", VASTFS_VERSION);
		return 0;
	}
	if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
		print_usage(stdout);
		return 0;
	}
	if (name[0])
		fprintf(stderr, "vastfs: %s is no command of vastfs\n", name);
	print_usage(stderr);
	return 1;
}

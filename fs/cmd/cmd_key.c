/* vastfs key new: a key, and where its public half goes. */
#include "conf/paths.h"
#include "fs/cmd/commands.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int run(char *const *words, struct conf_error *error)
{
	int status = 0;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		execvp(words[0], words);
		_exit(127);
	}
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return conf_fail(
		    error, ENOENT, "there is no ssh-keygen; install the package openssh-client");
	return child < 0 || status ? conf_fail(error, EIO, "ssh-keygen failed") : 0;
}

/* The folder of the file, as ssh makes it. */
static int make_folder(const char *file, struct conf_error *error)
{
	char *copy = strdup(file), *slash = copy ? strrchr(copy, '/') : NULL;
	int rc = 0;

	if (slash && slash != copy) {
		*slash = '\0';
		if (mkdir(copy, 0700) && errno != EEXIST)
			rc = conf_fail(error, errno, "%s: %s", copy, strerror(errno));
	}
	free(copy);
	return rc;
}

static int print_public(const char *file, struct conf_error *error)
{
	char *name, line[4096];
	FILE *public;

	if (asprintf(&name, "%s.pub", file) < 0)
		return conf_fail(error, ENOMEM, "out of memory");
	public = fopen(name, "re");
	if (!public) {
		conf_fail(error, errno, "%s: %s; make it anew: ssh-keygen -y -f %s > %s", name,
		    strerror(errno), file, name);
		free(name);
		return -ENOENT;
	}
	printf("\nThis is its public half (%s), which others may see:\n\n", name);
	while (fgets(line, sizeof(line), public))
		fputs(line, stdout);
	printf("\nPaste it, as one line,\n"
	       "  for all new instances, at https://cloud.vast.ai/manage-keys/ (SSH keys),\n"
	       "  for one that is there, at the key button of its card in the console,\n"
	       "      or into ~/.ssh/authorized_keys there.\n");
	fclose(public);
	free(name);
	return 0;
}

static int make(const char *file, bool passphrase, struct conf_error *error)
{
	char *words[] = {"ssh-keygen", "-q", "-t", "ed25519", "-f", (char *)file, "-N", "", NULL};
	int rc;

	if (!access(file, F_OK)) {
		printf("%s is there already and stays.\n", file);
		return print_public(file, error);
	}
	if (passphrase)
		words[6] = NULL;
	rc = make_folder(file, error);
	if (!rc)
		rc = run(words, error);
	if (rc)
		return rc;
	printf("Made the key %s.\n", file);
	if (passphrase)
		printf("It has a passphrase: before a mount, write ssh-add %s\n", file);
	return print_public(file, error);
}

int cmd_key(int argc, char **argv)
{
	struct conf_error error = {.text = ""};
	bool passphrase = argc > 1 && !strcmp(argv[1], "--passphrase");
	int rest = 1 + passphrase, rc;
	char *file;

	if (argc < 1 || strcmp(argv[0], "new") != 0 || argc > rest + 1 ||
	    (argc > rest && argv[rest][0] == '-'))
		return command_usage("key");
	file = paths_expand(argc > rest ? argv[rest] : "~/.ssh/id_ed25519");
	rc = file ? make(file, passphrase, &error)
		  : conf_fail(&error, ENOENT, "no home folder; set HOME");
	free(file);
	return rc ? command_fail("key", &error) : 0;
}

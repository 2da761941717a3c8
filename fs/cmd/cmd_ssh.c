/* vastfs ssh: a shell on the instance, over the mount's daemon; of one that is not mounted, by
 * ssh(1). */
#include "fs/cmd/client.h"
#include "fs/cmd/commands.h"
#include "fs/cmd/far.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAILED 255
#define WORDS_MAX 128

static int shell(const struct client_mount *mount, const char *which, struct conf_error *error)
{
	const char *mountpoint = json_string_value(json_object_get(mount->status, "mountpoint"));
	bool pty = isatty(STDIN_FILENO);
	char *path = realpath(which, NULL), *folder, *line;
	int status;

	folder = path ? far_folder(mount->status, path) : NULL;
	if (!folder)
		folder = far_folder(mount->status, mountpoint);
	free(path);
	line = folder ? far_line(folder, NULL, !pty) : NULL;
	free(folder);
	if (!line)
		return conf_fail(error, ENOMEM, "out of memory"), FAILED;
	/* What was saved here is there; a shell opens even if not. */
	if (client_call(mount->socket, "sync", NULL, error))
		fprintf(stderr, "vastfs ssh: not all that was written here could be sent: %s\n",
		    error->text);
	error->text[0] = '\0';
	status = far_run(mount->socket, line, pty, error);
	free(line);
	return status;
}

__attribute__((format(printf, 3, 4))) static void add(char **words, int *n, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (*n < WORDS_MAX - 1 && vasprintf(&words[*n], format, args) >= 0)
		++*n;
	va_end(args);
}

/* Becomes ssh(1) as the profile says; returns only when that fails. */
static void become_ssh(const struct profile *profile, struct conf_error *error)
{
	char *words[WORDS_MAX] = {NULL};
	int n = 0;

	add(words, &n, "ssh");
	add(words, &n, "-p%u", profile->port);
	add(words, &n, "-l%s", profile->user);
	add(words, &n, "-oUserKnownHostsFile=%s", profile->known_hosts);
	for (size_t i = 0; i < profile->n_keys && profile->keys_given; i++)
		add(words, &n, "-i%s", profile->keys[i]);
	add(words, &n, "--");
	add(words, &n, "%s", profile->host);
	execvp("ssh", words);
	conf_fail(error, errno, "ssh: %s; install the package openssh-client", strerror(errno));
	for (int i = 0; i < n; i++)
		free(words[i]);
}

static int without_mount(char *id, struct conf_error *error)
{
	struct profile *profile;

	if (command_profile(1, &id, &profile, error))
		return FAILED;
	if (!profile->host_known)
		conf_fail(
		    error, EINVAL, "%s is not mounted, and the profile has no address for it", id);
	else
		become_ssh(profile, error);
	profile_free(profile);
	return FAILED;
}

int cmd_ssh(int argc, char **argv)
{
	struct conf_error error = {.text = ""};
	struct client_mount *mounts, *mount = NULL;
	char *which = argc ? argv[0] : ".";
	int n, status;

	if (argc > 1 || which[0] == '-')
		return command_usage("ssh");
	n = client_mounts(&mounts, &error);
	if (n < 0)
		return command_fail("ssh", &error), FAILED;
	mount = client_choose(mounts, n, which, &error);
	/* with one mount there is no question which */
	if (!mount && !argc && n == 1)
		mount = &mounts[0];
	error.text[0] = '\0';
	if (mount)
		status = shell(mount, which, &error);
	else if (argc)
		status = without_mount(which, &error);
	else
		status = (conf_fail(&error, ENOENT, "which one? vastfs ssh ID"), FAILED);
	client_mounts_free(mounts, n);
	if (error.text[0])
		command_fail("ssh", &error);
	return status;
}

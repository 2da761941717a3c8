/* vastfs ssh: a shell on the instance, over the mount's daemon; of one that is not mounted, by
 * ssh(1). */
#include "conf/bounded.h"
#include "fs/cmd/client.h"
#include "fs/cmd/commands.h"
#include "fs/cmd/far.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAILED 255

static char *choose_folder(const struct client_mount *mount, const char *which)
{
	const char *mountpoint = json_string_value(json_object_get(mount->status, "mountpoint"));
	char *path = bounded_realpath(which, BOUNDED_LOOK_MS);
	char *folder = path ? far_folder(mount->status, path) : NULL;

	if (!folder)
		folder = far_folder(mount->status, mountpoint);
	free(path);
	return folder;
}

static int shell(const struct client_mount *mount, const char *which, struct conf_error *error)
{
	char *folder = choose_folder(mount, which);
	const struct far_program program = {.folder = folder, .pty = isatty(STDIN_FILENO)};
	int status;

	if (!folder)
		return conf_fail(error, ENOMEM, "out of memory"), FAILED;
	/* What was saved here is there; a shell opens even if not. */
	if (client_call(mount->socket, "sync", NULL, error))
		fprintf(stderr, "vastfs ssh: not all that was written here could be sent: %s\n",
		    error->text);
	error->text[0] = '\0';
	status = far_run(mount->socket, &program, error);
	free(folder);
	return status;
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
		far_become_ssh(profile, profile->host, profile->port_given ? profile->port : 0,
		    isatty(STDIN_FILENO), error);
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

/* vastfs(1): status, sync and umount of running mounts. */
#include "fs/cmd/client.h"
#include "fs/cmd/status_text.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define END_TIMEOUT_MS (120 * 1000)

static const char usage[] =
    "usage: vastfs status [--json] [MOUNTPOINT|ID]   how the mounts are doing\n"
    "       vastfs sync MOUNTPOINT|ID                wait until everything written is on the "
    "instance\n"
    "       vastfs umount MOUNTPOINT|ID              sync, unmount, wait for the end\n"
    "       vastfs --version | --help\n"
    "To mount: mount.vastfs ID[:/remote/path] MOUNTPOINT (see mount.vastfs(8)).\n";

static int complain(const char *what, const struct conf_error *error)
{
	fprintf(stderr, "vastfs %s: %s\n", what, error->text);
	return 1;
}

static void print_json(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
}

/* One mount's status is an object; all mounts' an array. */
static int status_all(struct client_mount *mounts, int n, bool json)
{
	json_t *list = json_array();
	int i;

	for (i = 0; i < n; i++) {
		if (json)
			json_array_append(list, mounts[i].status);
		else
			status_text_print(mounts[i].status);
	}
	if (json)
		print_json(list);
	else if (!n)
		puts("No vastfs is mounted.");
	json_decref(list);
	return 0;
}

static int status(int argc, char **argv)
{
	struct conf_error error = {.text = ""};
	struct client_mount *mounts, *mount;
	const char *which = NULL;
	bool json = false;
	int i, n, code = 0;

	for (i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--json")) {
			json = true;
		} else if (argv[i][0] != '-' && !which) {
			which = argv[i];
		} else {
			fprintf(stderr, "vastfs status: %s is not understood; see vastfs --help\n",
			    argv[i]);
			return 1;
		}
	}
	n = client_mounts(&mounts, &error);
	if (n < 0)
		return complain("status", &error);
	if (!which) {
		code = status_all(mounts, n, json);
	} else if (!(mount = client_choose(mounts, n, which, &error))) {
		code = complain("status", &error);
	} else if (json) {
		print_json(mount->status);
	} else {
		status_text_print(mount->status);
	}
	client_mounts_free(mounts, n);
	return code;
}

/* Runs fusermount3 -u, for users who may not call umount(2). */
static int fusermount(const char *mountpoint)
{
	pid_t child = fork();
	int result;

	if (child == 0) {
		execlp("fusermount3", "fusermount3", "-u", "--", mountpoint, (char *)NULL);
		fprintf(stderr, "vastfs umount: fusermount3: %s; install the package fuse3\n",
		    strerror(errno));
		_exit(127);
	}
	if (child < 0 || waitpid(child, &result, 0) < 0)
		return -errno;
	return WIFEXITED(result) && WEXITSTATUS(result) == 0 ? 0 : -EBUSY;
}

static int unmount(const char *mountpoint, struct conf_error *error)
{
	int err = umount2(mountpoint, UMOUNT_NOFOLLOW) ? -errno : 0;

	if (err == -EPERM)
		err = fusermount(mountpoint);
	if (err == -EBUSY)
		return conf_fail(error, EBUSY,
		    "%s is in use; close the programs that have it open (`fuser -vm %s` lists "
		    "them) and try again",
		    mountpoint, mountpoint);
	if (err == -EINVAL)
		return conf_fail(error, EINVAL,
		    "%s is not mounted any more; its daemon ends with the last program that has a "
		    "file of it open",
		    mountpoint);
	if (err)
		return conf_fail(error, -err, "%s: %s", mountpoint, strerror(-err));
	return 0;
}

static int umount_mount(const struct client_mount *mount, struct conf_error *error)
{
	const char *mountpoint = json_string_value(json_object_get(mount->status, "mountpoint"));
	int pid = (int)json_integer_value(json_object_get(mount->status, "pid"));
	struct conf_error lost = {.text = ""};
	int unsent = client_call(mount->socket, "sync", NULL, &lost);
	int err = unmount(mountpoint, error);

	if (err)
		return err;
	if (client_wait_end(pid, END_TIMEOUT_MS))
		return conf_fail(
		    error, ETIMEDOUT, "unmounted, but process %d has not ended yet", pid);
	if (unsent)
		return conf_fail(
		    error, EIO, "unmounted, but not all data could be sent: %s", lost.text);
	return 0;
}

static int on_one(const char *what, int argc, char **argv)
{
	struct conf_error error = {.text = ""};
	struct client_mount *mounts, *mount;
	int n, code = 0;

	if (argc != 1 || argv[0][0] == '-') {
		fprintf(stderr, "usage: vastfs %s MOUNTPOINT|ID\n", what);
		return 1;
	}
	n = client_mounts(&mounts, &error);
	if (n < 0)
		return complain(what, &error);
	mount = client_choose(mounts, n, argv[0], &error);
	if (!mount)
		code = complain(what, &error);
	else if (!strcmp(what, "sync") ? client_call(mount->socket, "sync", NULL, &error)
				       : umount_mount(mount, &error))
		code = complain(what, &error);
	client_mounts_free(mounts, n);
	return code;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	if (!strcmp(command, "status"))
		return status(argc - 2, argv + 2);
	if (!strcmp(command, "sync") || !strcmp(command, "umount"))
		return on_one(command, argc - 2, argv + 2);
	if (!strcmp(command, "--version") || !strcmp(command, "-V")) {
		printf("vastfs %s\n", VASTFS_VERSION);
		return 0;
	}
	if (!strcmp(command, "--help") || !strcmp(command, "-h")) {
		fputs(usage, stdout);
		return 0;
	}
	if (command[0])
		fprintf(stderr, "vastfs: %s is no command of vastfs\n", command);
	fputs(usage, stderr);
	return 1;
}

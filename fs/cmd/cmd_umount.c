/* vastfs sync and vastfs umount. */
#include "fs/cmd/client.h"
#include "fs/cmd/commands.h"
#include "fs/cmd/stale.h"
#include "fs/cmd/unsent.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define END_TIMEOUT_MS (120 * 1000)
#define BUSY_TRIES 10
#define BUSY_PAUSE_US 50000

/* Its first line of complaint, without its name; "" when it said nothing. */
static void read_complaint(int fd, char *text, size_t size)
{
	static const char name[] = "fusermount3: ";
	ssize_t n, len = 0;

	while (len < (ssize_t)size - 1 && (n = read(fd, text + len, size - 1 - (size_t)len)) > 0)
		len += n;
	text[len] = 0;
	text[strcspn(text, "\n")] = 0;
	if (!strncmp(text, name, sizeof(name) - 1))
		memmove(text, text + sizeof(name) - 1, strlen(text) - sizeof(name) + 2);
}

/* Runs fusermount3 -u, for users who may not call umount(2). */
static int fusermount(const char *mountpoint, struct conf_error *error)
{
	char text[256];
	int result, ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	child = fork();
	if (child == 0) {
		dup2(ends[1], STDERR_FILENO);
		execlp("fusermount3", "fusermount3", "-u", "--", mountpoint, (char *)NULL);
		dprintf(STDERR_FILENO, "%s; install the package fuse3\n", strerror(errno));
		_exit(127);
	}
	close(ends[1]);
	read_complaint(ends[0], text, sizeof(text));
	close(ends[0]);
	if (child < 0 || waitpid(child, &result, 0) < 0)
		return -errno;
	if (WIFEXITED(result) && WEXITSTATUS(result) == 0)
		return 0;
	if (strcasestr(text, "busy"))
		return -EBUSY;
	return conf_fail(error, EPERM, "%s: fusermount3: %s%s", mountpoint, text,
	    strstr(text, "/etc/mtab") ? "; as root: ln -s /proc/self/mounts /etc/mtab" : "");
}

static int unmount_once(const char *mountpoint, struct conf_error *error)
{
	int err = umount2(mountpoint, UMOUNT_NOFOLLOW) ? -errno : 0;

	return err == -EPERM ? fusermount(mountpoint, error) : err;
}

static int unmount(const char *mountpoint, struct conf_error *error)
{
	int err = -EBUSY;

	error->text[0] = 0;
	/* The kernel lets go of a file a moment after its last close. */
	for (int tries = BUSY_TRIES; err == -EBUSY && tries; tries--) {
		if (tries < BUSY_TRIES)
			usleep(BUSY_PAUSE_US);
		err = unmount_once(mountpoint, error);
	}
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
	if (err && !error->text[0])
		return conf_fail(error, -err, "%s: %s", mountpoint, strerror(-err));
	return err;
}

static int umount_mount(const struct client_mount *mount, struct conf_error *error)
{
	const char *mountpoint = json_string_value(json_object_get(mount->status, "mountpoint"));
	int pid = (int)json_integer_value(json_object_get(mount->status, "pid"));
	struct conf_error lost = {.text = ""};
	int unsent = unsent_sync(mount, isatty(STDERR_FILENO), &lost), err;

	if (unsent)
		unsent_print(mount);
	err = unmount(mountpoint, error);
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

static int sync_mount(const struct client_mount *mount, bool progress, struct conf_error *error)
{
	int err = unsent_sync(mount, progress, error);

	if (err)
		unsent_print(mount);
	return err;
}

static int on_one(const char *what, const char *which, bool progress)
{
	struct conf_error error = {.text = ""};
	struct client_mount *mounts, *mount;
	int n, code = 0;

	n = client_mounts(&mounts, &error);
	if (n < 0)
		return command_fail(what, &error);
	mount = client_choose(mounts, n, which, &error);
	if (!mount)
		code = command_fail(what, &error);
	else if (!strcmp(what, "sync") ? sync_mount(mount, progress, &error)
				       : umount_mount(mount, &error))
		code = command_fail(what, &error);
	client_mounts_free(mounts, n);
	return code;
}

int cmd_sync(int argc, char **argv)
{
	bool progress = argc > 1 && !strcmp(argv[0], "--progress");

	if (argc != 1 + progress || argv[progress][0] == '-')
		return command_usage("sync");
	return on_one("sync", argv[progress], progress);
}

int cmd_umount(int argc, char **argv)
{
	if (argc != 1 || argv[0][0] == '-')
		return command_usage("umount");
	if (stale_remove(argv[0]) == 1) {
		fprintf(stderr, "vastfs umount: %s: its daemon was gone\n", argv[0]);
		return 0;
	}
	return on_one("umount", argv[0], false);
}

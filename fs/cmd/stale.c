#include "fs/cmd/stale.h"
#include "conf/bounded.h"
#include "conf/mountpoint.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static int is_stale(const char *path)
{
	struct mount_entry entry;
	int rc = mountpoint_lookup(path, &entry);

	if (rc <= 0)
		return rc;
	rc = !strcmp(entry.type, "fuse.vastfs") && bounded_stat(path, BOUNDED_LOOK_MS) == -ENOTCONN;
	mount_entry_fini(&entry);
	return rc;
}

/* For users who may not call umount(2). */
static int fusermount(const char *path)
{
	pid_t child = fork();
	int result;

	if (child == 0) {
		execlp("fusermount3", "fusermount3", "-u", "-z", "--", path, (char *)NULL);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &result, 0) < 0)
		return -errno;
	return WIFEXITED(result) && WEXITSTATUS(result) == 0 ? 0 : -EPERM;
}

int stale_remove(const char *mountpoint)
{
	char *path = mountpoint_resolve(mountpoint);
	int rc = path ? is_stale(path) : 0;

	if (rc == 1) {
		/* whoever still waits for the daemon that is gone is let go */
		rc = umount2(path, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW) ? -errno : 1;
		if (rc == -EPERM)
			rc = fusermount(path) ? -EPERM : 1;
	}
	free(path);
	return rc;
}

/* vastfs cache: the disk cache of an instance. */
#include "cache/store.h"
#include "conf/bounded.h"
#include "fs/cmd/client.h"
#include "fs/cmd/commands.h"
#include "fs/cmd/status_text.h"
#include "fs/disk.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *text_of(const struct client_mount *mount, const char *key)
{
	const char *text = json_string_value(json_object_get(mount->status, key));

	return text ? text : "";
}

static int ask(const struct client_mount *mount, const char *op, const char *path, json_t **answer,
    struct conf_error *error)
{
	return client_ask(mount->socket,
	    json_pack("{s:s, s:s, s:s}", "command", "cache", "op", op, "path", path), answer,
	    error);
}

static int show(const struct client_mount *mount, struct conf_error *error)
{
	json_t *answer = NULL, *pin;
	size_t i;
	int rc = 0;

	status_text_disk(json_object_get(mount->status, "disk_cache"));
	if (!strcmp(json_string_value(
			json_object_get(json_object_get(mount->status, "disk_cache"), "state")),
		"off"))
		return 0;
	rc = ask(mount, "pins", "", &answer, error);
	json_array_foreach(json_object_get(answer, "pins"), i, pin)
	    printf("  pinned      %s\n", *json_string_value(pin) ? json_string_value(pin) : "/");
	json_decref(answer);
	return rc;
}

/* --- pins --- */

static unsigned long long unread;

/* Reading through the mount is what brings a file into the cache. */
static int read_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	static char buf[1 << 20];
	ssize_t got = -1;
	int fd;

	(void)ftw;
	if (type != FTW_F || !S_ISREG(st->st_mode))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0) {
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* not from the kernel's memory */
		while ((got = read(fd, buf, sizeof(buf))) > 0)
			;
		close(fd);
	}
	if (got < 0) {
		fprintf(stderr, "vastfs cache: %s: %s\n", path, strerror(errno));
		unread++;
	}
	return 0;
}

/* The path on the instance of one in the mount; owned by the caller. */
static char *there(const struct client_mount *mount, const char *path)
{
	const char *top = text_of(mount, "mountpoint"), *root = text_of(mount, "path");
	char *out = NULL;

	if (asprintf(&out, "%s%s", strcmp(root, "/") ? root : "", path + strlen(top)) < 0)
		return NULL;
	return out;
}

static int pin(
    const struct client_mount *mount, const char *op, const char *path, struct conf_error *error)
{
	char *remote = there(mount, path);
	int rc = remote ? ask(mount, op, remote, NULL, error)
			: conf_fail(error, ENOMEM, "out of memory");

	free(remote);
	if (rc || strcmp(op, "pin"))
		return rc;
	if (nftw(path, read_one, 64, FTW_PHYS | FTW_MOUNT))
		return conf_fail(error, errno, "%s: %s", path, strerror(errno));
	if (unread)
		return conf_fail(error, EIO, "%llu files could not be read", unread);
	return 0;
}

/* --- without a mount --- */

static int clear_unmounted(char *id, struct conf_error *error)
{
	struct profile *profile = NULL;
	int rc = command_profile(1, &id, &profile, error);
	char *dir = rc ? NULL : disk_folder(profile);

	if (!rc)
		rc = dir ? store_clear_dir(dir, error)
			 : conf_fail(error, ENOENT, "no home folder was found");
	free(dir);
	profile_free(profile);
	return rc == -ENOENT ? 0 : rc;
}

static int on_mount(
    struct client_mount *mounts, int n, const char *op, char *which, struct conf_error *error)
{
	struct client_mount *mount = which    ? client_choose(mounts, n, which, error)
				     : n == 1 ? mounts
					      : NULL;
	char *path = NULL;
	int rc;

	if (!mount && which && !strcmp(op, "clear"))
		return clear_unmounted(which, error);
	if (!mount && !which)
		return conf_fail(error, EINVAL,
		    n ? "several are mounted; name the mountpoint or the ID"
		      : "nothing is mounted");
	if (!mount)
		return -ENOENT;
	if (!strcmp(op, "show"))
		return show(mount, error);
	if (!strcmp(op, "clear"))
		return ask(mount, op, "", NULL, error);
	path = bounded_realpath(which, BOUNDED_LOOK_MS);
	rc = path ? pin(mount, op, path, error)
		  : conf_fail(error, errno, "%s: %s", which, strerror(errno));
	free(path);
	return rc;
}

int cmd_cache(int argc, char **argv)
{
	struct conf_error error = {.text = ""};
	const char *op = argc ? argv[0] : "";
	bool pins = !strcmp(op, "pin") || !strcmp(op, "unpin");
	struct client_mount *mounts;
	int n, rc;

	if (argc > 2 || (pins ? argc != 2 : strcmp(op, "show") && strcmp(op, "clear")))
		return command_usage("cache");
	n = client_mounts(&mounts, &error);
	if (n < 0)
		return command_fail("cache", &error);
	rc = on_mount(mounts, n, op, argc == 2 ? argv[1] : NULL, &error);
	client_mounts_free(mounts, n);
	return rc ? command_fail("cache", &error) : 0;
}

#include "conf/mountpoint.h"
#include "conf/bounded.h"
#include "conf/cmdline.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- mountinfo ------------------------------------------------------------ */

/* The kernel writes space, tab, newline and backslash as \040, \011, \012 and \134. In place. */
static void decode_octal(char *s)
{
	char *out = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
}

/*
 *	36 35 98:0 / /mnt/a\040b rw,noatime shared:1 master:2 - fuse.vastfs 12345:/workspace rw
 *	id parent dev root PATH options [optional fields…] - TYPE SOURCE options
 *
 * Cuts the line in place; the parts point into it.
 */
static bool parse_line(char *line, char **device, char **path, char **type, char **source)
{
	char *save, *word;
	int n = 0;

	*device = *path = *type = *source = NULL;
	for (word = strtok_r(line, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
		if (++n == 3)
			*device = word;
		if (n == 5)
			*path = word;
		if (n > 6 && strcmp(word, "-") == 0)
			break;
	}
	if (!word)
		return false;
	*type = strtok_r(NULL, " \n", &save);
	*source = *type ? strtok_r(NULL, " \n", &save) : NULL;
	if (!*source)
		return false;
	decode_octal(*path);
	decode_octal(*source);
	return true;
}

void mount_entry_fini(struct mount_entry *entry)
{
	free(entry->path);
	free(entry->type);
	free(entry->source);
	memset(entry, 0, sizeof(*entry));
}

int mountinfo_find(FILE *table, const char *path, struct mount_entry *out)
{
	char *line = NULL, *device, *at, *type, *source;
	size_t size = 0;
	int found = 0;

	memset(out, 0, sizeof(*out));
	while (getline(&line, &size, table) > 0) {
		if (!parse_line(line, &device, &at, &type, &source) || strcmp(at, path) != 0)
			continue;
		/* Later lines lie on top of earlier ones. */
		mount_entry_fini(out);
		out->path = strdup(at);
		out->type = strdup(type);
		out->source = strdup(source);
		sscanf(device, "%*u:%u", &out->minor);
		found = 1;
		if (!out->path || !out->type || !out->source) {
			mount_entry_fini(out);
			found = -ENOMEM;
			break;
		}
	}
	free(line);
	return found;
}

int mountpoint_lookup(const char *path, struct mount_entry *out)
{
	FILE *table = fopen("/proc/self/mountinfo", "re");
	int rc;

	memset(out, 0, sizeof(*out));
	if (!table)
		return 0;
	rc = mountinfo_find(table, path, out);
	fclose(table);
	return rc;
}

/* --- the check ------------------------------------------------------------ */

char *mountpoint_resolve(const char *path)
{
	size_t len = strlen(path), base;
	char *parent, *resolved, *out = NULL;

	while (len > 1 && path[len - 1] == '/')
		len--;
	for (base = len; base > 0 && path[base - 1] != '/'; base--)
		;
	/* "/", "." and ".." have no last part of their own. */
	if (base == len || (len - base == 1 && path[base] == '.') ||
	    (len - base == 2 && memcmp(path + base, "..", 2) == 0))
		return NULL;
	parent = base ? strndup(path, base) : strdup(".");
	resolved = parent ? bounded_realpath(parent, BOUNDED_LOOK_MS) : NULL;
	if (resolved && asprintf(&out, "%s/%.*s", strcmp(resolved, "/") ? resolved : "",
			    (int)(len - base), path + base) < 0)
		out = NULL;
	free(parent);
	free(resolved);
	return out;
}

static int say_hangs(const char *path, struct conf_error *error)
{
	return conf_fail(error, ETIMEDOUT,
	    "%s: what is mounted there does not answer: its program is stopped or hangs; `vastfs "
	    "status` names the process; end it (kill -KILL), then mount again",
	    path);
}

static int say_stale(const char *path, struct conf_error *error)
{
	return conf_fail(error, ENOTCONN,
	    "%s: a dead mount is left there (its program is gone); remove it: fusermount3 -u %s",
	    path, path);
}

/* 0: nothing is in the way at path; *automount: what is mounted there waits for a mount of ours. */
static int check_mounted(const char *path, bool *automount, struct conf_error *error)
{
	struct mount_entry entry;
	int rc = mountpoint_lookup(path, &entry), look = 0;

	*automount = false;
	if (rc < 0)
		return conf_fail(error, ENOMEM, "out of memory");
	if (rc == 0)
		return 0;
	if (strncmp(entry.type, "fuse", 4) == 0)
		look = bounded_stat(path, BOUNDED_LOOK_MS);
	if (strcmp(entry.type, "autofs") == 0) {
		*automount = true;
		rc = 0;
	} else if (look == -ENOTCONN) {
		rc = say_stale(path, error);
	} else if (look == -ETIMEDOUT) {
		rc = say_hangs(path, error);
	} else {
		bool ours = strstr(entry.type, "vastfs") != NULL;

		rc = conf_fail(error, EBUSY,
		    "%s: %s (%s) is already mounted there; unmount it first: %s %s", path,
		    entry.source, entry.type, ours ? "vastfs umount" : "umount", path);
	}
	mount_entry_fini(&entry);
	return rc;
}

static int explain_errno(const char *path, int err, struct conf_error *error)
{
	switch (err) {
	case ENOENT:
		return conf_fail(error, err,
		    "%s: the mountpoint does not exist; make it: mkdir -p %s", path, path);
	case ENOTDIR:
		return conf_fail(
		    error, err, "%s: the mountpoint is not a folder; name an empty folder", path);
	case ENOTCONN:
		return say_stale(path, error);
	case ETIMEDOUT:
		return say_hangs(path, error);
	default:
		return conf_fail(error, err,
		    "%s: can't use the mountpoint: %s; name an empty folder of your own", path,
		    strerror(err));
	}
}

static int check_empty(const char *path, struct conf_error *error)
{
	const struct dirent *entry;
	DIR *dir = opendir(path);
	int rc = 0;

	if (!dir)
		return explain_errno(path, errno, error);
	while (!rc && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = conf_fail(error, ENOTEMPTY,
			    "%s: the mountpoint is not empty; name an empty folder, or write -o "
			    "nonempty to hide what is in it",
			    path);
	}
	closedir(dir);
	return rc;
}

static int check_resolved(const char *path, bool nonempty, struct conf_error *error)
{
	struct stat st;
	bool automount;
	int rc = check_mounted(path, &automount, error);

	/* Opening an automount point would wait for the very mount that we are to make. */
	if (rc || automount)
		return rc;
	if (stat(path, &st) < 0)
		return explain_errno(path, errno, error);
	if (!S_ISDIR(st.st_mode))
		return explain_errno(path, ENOTDIR, error);
	/* fusermount3 asks this of all but root, and says it less clearly. */
	if (geteuid() != 0 && access(path, W_OK) < 0)
		return explain_errno(path, errno, error);
	return nonempty ? 0 : check_empty(path, error);
}

int cmdline_check_mountpoint(
    const char *mountpoint, bool nonempty, char **out, struct conf_error *error)
{
	char *path = *mountpoint ? mountpoint_resolve(mountpoint) : NULL;
	bool automount = false;
	int rc = 0;

	*out = NULL;
	if (!*mountpoint)
		return conf_fail(error, EINVAL, "the mountpoint is empty; name an empty folder");
	if (path)
		rc = check_mounted(path, &automount, error);
	if (!rc && !automount) {
		char *resolved = bounded_realpath(mountpoint, BOUNDED_LOOK_MS);

		rc = resolved ? check_resolved(resolved, nonempty, error)
			      : explain_errno(mountpoint, errno, error);
		free(path);
		path = resolved;
	}
	if (rc)
		free(path);
	else
		*out = path;
	return rc;
}

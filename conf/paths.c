#include "conf/paths.h"
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *join(const char *a, const char *b)
{
	char *out;

	return asprintf(&out, "%s%s", a, b) < 0 ? NULL : out;
}

char *paths_home(void)
{
	const char *home = getenv("HOME");
	struct passwd pw, *found = NULL;
	char buf[16384];

	if (home && home[0] == '/')
		return strdup(home);
	if (getpwuid_r(geteuid(), &pw, buf, sizeof(buf), &found) || !found || !pw.pw_dir[0])
		return NULL;
	return strdup(pw.pw_dir);
}

char *paths_expand(const char *path)
{
	char *home, *out;

	if (path[0] != '~' || (path[1] && path[1] != '/'))
		return strdup(path);
	home = paths_home();
	if (!home)
		return NULL;
	out = join(home, path + 1);
	free(home);
	return out;
}

char *paths_config_file(void)
{
	const char *xdg = getenv("XDG_CONFIG_HOME");

	/* The XDG specification: a relative path there is invalid and to be ignored. */
	if (xdg && xdg[0] == '/')
		return join(xdg, "/vastfs/config.ini");
	return paths_expand("~/.config/vastfs/config.ini");
}

char *paths_cache_dir(void)
{
	const char *xdg = getenv("XDG_CACHE_HOME");

	if (xdg && xdg[0] == '/')
		return join(xdg, "/vastfs");
	return paths_expand("~/.cache/vastfs");
}

char *paths_safe_name(const char *id)
{
	char *out = malloc(strlen(id) * 3 + 1), *to = out;
	const unsigned char *at = (const unsigned char *)id;
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (; out && *at; at++) {
		bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
			     (*at >= '0' && *at <= '9') || strchr("@._-", *at);

		hash = (hash ^ *at) * 16777619u;
		if (plain && !(*at == '.' && to == out))
			*to++ = (char)*at;
		else
			to += sprintf(to, "%%%02X", *at);
	}
	if (!out)
		return NULL;
	*to = '\0';
	if (to - out > 200)
		sprintf(out + 190, "%%%08x", hash);
	return out;
}

/* A folder of ours; after su or sudo, XDG_RUNTIME_DIR may still name another user's. */
static bool own_folder(const char *path)
{
	struct stat st;

	return path[0] == '/' && stat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
	       st.st_uid == geteuid();
}

static char *runtime_candidate(void)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	char path[64];

	if (xdg && own_folder(xdg))
		return join(xdg, "/vastfs");
	snprintf(path, sizeof(path), "/run/user/%u", (unsigned)geteuid());
	if (own_folder(path))
		return join(path, "/vastfs");
	if (geteuid() == 0)
		return strdup("/run/vastfs");
	snprintf(path, sizeof(path), "/tmp/vastfs-%u", (unsigned)geteuid());
	return strdup(path);
}

/* /tmp is everyone's: what is found there may have been laid out by another user. */
static int check_private(const char *path, struct conf_error *error)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int rc;

	if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
		return conf_fail(error, ENOTDIR,
		    "%s: not a folder (or a symbolic link) where the control sockets are kept; "
		    "remove it",
		    path);
	if (fd < 0 || fstat(fd, &st) < 0) {
		rc = errno;
		if (fd >= 0)
			close(fd);
		return conf_fail(error, rc,
		    "%s: can't open the folder of the control sockets: %s; check whose it is", path,
		    strerror(rc));
	}
	close(fd);
	if (st.st_uid != geteuid())
		return conf_fail(error, EPERM,
		    "%s: the folder of the control sockets belongs to another user (uid %u); set "
		    "XDG_RUNTIME_DIR to a folder of your own",
		    path, (unsigned)st.st_uid);
	if (st.st_mode & 077)
		return conf_fail(error, EPERM,
		    "%s: the folder of the control sockets is open to others; write: chmod 700 %s",
		    path, path);
	return 0;
}

int paths_runtime_dir(char **out, struct conf_error *error)
{
	char *path = runtime_candidate();
	int rc;

	*out = NULL;
	if (!path)
		return conf_fail(error, ENOMEM, "out of memory");
	if (mkdir(path, 0700) < 0 && errno != EEXIST) {
		rc = conf_fail(error, errno,
		    "%s: can't make the folder of the control sockets: %s; set XDG_RUNTIME_DIR to "
		    "a folder of your own",
		    path, strerror(errno));
		free(path);
		return rc;
	}
	rc = check_private(path, error);
	if (rc)
		free(path);
	else
		*out = path;
	return rc;
}

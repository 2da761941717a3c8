#include "fs/cmd/client.h"
#include "conf/bounded.h"
#include "conf/paths.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* How long a daemon may take to say how it is; one that was stopped must not hide the others. */
#define STATUS_SECONDS 5

/* The daemon that did not answer when the mounts were looked for last; 0: none. */
static int silent_pid;

/* One that is stopped takes connections until its queue is full; then connect(2) waits for it. */
static void limit_connect(int fd, int seconds)
{
	struct timeval limit = {.tv_sec = seconds}; /* 0: none */

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

int client_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, err;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	limit_connect(fd, STATUS_SECONDS);
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		limit_connect(fd, 0);
		return fd;
	}
	err = -errno;
	close(fd);
	return err;
}

/* The whole answer up to the end of the connection; owned by the caller, NULL when nothing came. */
static char *read_all(int fd, size_t *len)
{
	size_t size = 0;
	char *text = NULL, *grown;
	ssize_t got;

	*len = 0;
	for (;;) {
		if (size - *len < 4096) {
			grown = realloc(text, size + 65536);
			if (!grown)
				break;
			text = grown;
			size += 65536;
		}
		got = read(fd, text + *len, size - *len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return text;
		*len += (size_t)got;
	}
	free(text);
	return NULL;
}

/* The daemon may end meanwhile: no signal. */
static bool send_line(int fd, const char *line)
{
	struct iovec parts[] = {{(char *)(uintptr_t)line, strlen(line)}, {"\n", 1}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

	return sendmsg(fd, &message, MSG_NOSIGNAL) == (ssize_t)strlen(line) + 1;
}

int client_call(const char *path, const char *command, json_t **answer, struct conf_error *error)
{
	return client_ask(path, json_pack("{s:s}", "command", command), answer, error);
}

int client_ask(const char *path, json_t *request, json_t **answer, struct conf_error *error)
{
	const char *command = json_string_value(json_object_get(request, "command"));
	struct timeval limit = {
	    .tv_sec = command && strcmp(command, "status") ? 0 : STATUS_SECONDS};
	int fd = client_connect(path);
	json_t *json;
	size_t len;
	char *text, *line;
	bool sent;

	if (answer)
		*answer = NULL;
	line = request ? json_dumps(request, JSON_COMPACT) : NULL;
	json_decref(request);
	if (fd < 0 || !line) {
		free(line);
		return fd < 0 ? conf_fail(error, -fd, "%s: %s", path, strerror(-fd))
			      : (close(fd), conf_fail(error, EINVAL, "that is no text (UTF-8)"));
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)); /* 0: none */
	sent = send_line(fd, line);
	free(line);
	if (!sent) {
		close(fd);
		return conf_fail(error, EIO, "%s: the daemon does not listen", path);
	}
	text = read_all(fd, &len);
	close(fd);
	json = text ? json_loadb(text, len, 0, NULL) : NULL;
	free(text);
	if (!json)
		return conf_fail(error, ENODATA, "the daemon ended before it answered");
	if (!json_is_true(json_object_get(json, "ok"))) {
		const char *why = json_string_value(json_object_get(json, "error"));

		conf_fail(error, EIO, "%s", why ? why : "the daemon refused");
		json_decref(json);
		return -EIO;
	}
	if (answer)
		*answer = json;
	else
		json_decref(json);
	return 0;
}

static const char *text_of(const struct client_mount *mount, const char *key)
{
	const char *text = json_string_value(json_object_get(mount->status, key));

	return text ? text : "";
}

static int by_mountpoint(const void *a, const void *b)
{
	return strcmp(text_of(a, "mountpoint"), text_of(b, "mountpoint"));
}

/* Sockets are called by their daemon's process id. */
static int pid_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return atoi(slash ? slash + 1 : path);
}

static int is_left_behind(const char *path)
{
	int pid = pid_of(path);

	return pid > 0 && kill(pid, 0) && errno == ESRCH;
}

/* Adds the mount behind one socket, if a daemon answers there. */
static int add_mount(struct client_mount **mounts, int n, const char *path)
{
	struct client_mount *grown;
	struct conf_error ignored;
	json_t *status = NULL;
	int fd = client_connect(path);

	if (fd == -ECONNREFUSED && is_left_behind(path)) { /* its daemon was killed */
		unlink(path);
		return n;
	}
	if (fd >= 0)
		close(fd);
	if (fd < 0 || client_call(path, "status", &status, &ignored)) {
		/* EAGAIN: its queue is full */
		if ((fd >= 0 || fd == -EAGAIN) && !is_left_behind(path))
			silent_pid = pid_of(path);
		return n;
	}
	grown = realloc(*mounts, sizeof(**mounts) * (size_t)(n + 1));
	if (!grown) {
		json_decref(status);
		return n;
	}
	*mounts = grown;
	grown[n] = (struct client_mount){.socket = strdup(path), .status = status};
	return n + 1;
}

int client_mounts(struct client_mount **out, struct conf_error *error)
{
	char *dir = NULL, path[PATH_MAX];
	struct dirent *entry;
	int n = 0, err = paths_runtime_dir(&dir, error);
	DIR *stream;

	*out = NULL;
	silent_pid = 0;
	if (err)
		return err;
	stream = opendir(dir);
	while (stream && (entry = readdir(stream))) {
		const char *dot = strrchr(entry->d_name, '.');

		if (!dot || strcmp(dot, ".sock"))
			continue;
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name) <
		    sizeof(path))
			n = add_mount(out, n, path);
	}
	if (stream)
		closedir(stream);
	free(dir);
	if (n > 1)
		qsort(*out, (size_t)n, sizeof(**out), by_mountpoint);
	return n;
}

int client_silent(struct conf_error *error)
{
	if (!silent_pid)
		return 0;
	return conf_fail(error, ETIMEDOUT,
	    "the daemon of a mount, process %d, does not answer: it is stopped or hangs; `kill "
	    "-CONT "
	    "%d` lets one that was stopped go on; after `kill -KILL %d` the mount can be made "
	    "again, "
	    "which sends what was not sent",
	    silent_pid, silent_pid, silent_pid);
}

void client_mounts_free(struct client_mount *mounts, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		free(mounts[i].socket);
		json_decref(mounts[i].status);
	}
	free(mounts);
}

/* Does path lie at or below the mountpoint? */
static int at_or_below(const char *path, const char *mountpoint)
{
	size_t len = strlen(mountpoint);

	return !strncmp(path, mountpoint, len) && (!path[len] || path[len] == '/');
}

/* The path without symlinks; a dead mount must not be touched, so only its folder is resolved then.
 */
static char *resolve(const char *which)
{
	char *copy, *slash, *dir, *out = NULL;

	copy = strdup(which);
	if (!copy)
		return NULL;
	while (strlen(copy) > 1 && copy[strlen(copy) - 1] == '/')
		copy[strlen(copy) - 1] = '\0';
	slash = strrchr(copy, '/');
	if (!strcmp(copy, "/") || !strcmp(copy, ".") || !strcmp(copy, ".."))
		return free(copy), bounded_realpath(which, BOUNDED_LOOK_MS);
	if (slash)
		*slash = '\0';
	dir = bounded_realpath(slash ? (slash == copy ? "/" : copy) : ".", BOUNDED_LOOK_MS);
	if (!dir && errno == ETIMEDOUT && slash && which[0] == '/') /* as it is written, then */
		dir = strdup(slash == copy ? "/" : copy);
	if (dir &&
	    asprintf(&out, "%s/%s", strcmp(dir, "/") ? dir : "", slash ? slash + 1 : copy) < 0)
		out = NULL;
	free(dir);
	free(copy);
	return out;
}

struct client_mount *client_choose(
    struct client_mount *mounts, int n, const char *which, struct conf_error *error)
{
	char *path = resolve(which);
	struct client_mount *found = NULL, *below = NULL;
	int i, same = 0;

	for (i = 0; i < n; i++) {
		/* in their order, a mount below another one comes behind it */
		if (path && at_or_below(path, text_of(&mounts[i], "mountpoint"))) {
			below = &mounts[i];
			continue;
		}
		if (!strcmp(which, text_of(&mounts[i], "id"))) {
			found = &mounts[i];
			same++;
		}
	}
	free(path);
	if (below)
		return below;
	if (same == 1)
		return found;
	if (same > 1)
		conf_fail(error, EINVAL, "%s is mounted %d times; name the mountpoint instead",
		    which, same);
	else if (!client_silent(error))
		conf_fail(error, ENOENT,
		    "%s: no vastfs is mounted there, and none has this id; `vastfs status` lists "
		    "the mounts",
		    which);
	return NULL;
}

int client_wait_end(int pid, unsigned timeout_ms)
{
	struct pollfd wait = {.events = POLLIN};
	int got;

	wait.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (wait.fd < 0)
		return 0; /* gone already */
	got = poll(&wait, 1, (int)timeout_ms);
	close(wait.fd);
	return got > 0 ? 0 : -ETIMEDOUT;
}

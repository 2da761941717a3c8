#include "fs/cmd/unsent.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 200
#define LINE_SECONDS 2.0
#define BAR 30

struct progress {
	double began, last; /* seconds */
	long long most;	    /* bytes left when there were the most */
	long long acked_at_begin;
	bool terminal, drawn;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static long long number(const json_t *status, const char *object, const char *key)
{
	return (long long)json_integer_value(json_object_get(json_object_get(status, object), key));
}

/* Changes and bytes left, the rate so far and the time that is left at that rate. */
static void draw(struct progress *progress, const json_t *status)
{
	long long changes = number(status, "behind", "changes");
	long long left = number(status, "cache", "dirty_bytes"), done;
	double took = now() - progress->began, rate;
	int filled;

	if (left > progress->most)
		progress->most = left;
	done = progress->most - left;
	rate = took > 0 ? (double)done / took : 0;
	filled = progress->most ? (int)(done * BAR / progress->most) : BAR;
	if (progress->terminal) {
		fprintf(stderr, "\r[%.*s%*s] ", filled, "##############################",
		    BAR - filled, "");
	} else if (now() - progress->last < LINE_SECONDS) {
		return;
	}
	progress->last = now();
	fprintf(stderr, "%lld changes, %.1f MiB left, %.1f MiB/s", changes,
	    (double)left / (1 << 20), rate / (1 << 20));
	if (rate > 0)
		fprintf(stderr, ", %.0f s to go", (double)left / rate);
	fputs(progress->terminal ? "    " : "\n", stderr);
	progress->drawn = true;
}

/* In a process of its own, so that this one can look meanwhile. */
static int sync_apart(const struct client_mount *mount, struct conf_error *error)
{
	struct progress progress = {.began = now(), .terminal = isatty(STDERR_FILENO)};
	const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
	int pipes[2], status = 0;
	json_t *json;
	ssize_t got;
	pid_t child;

	if (pipe(pipes))
		return conf_fail(error, errno, "pipe: %s", strerror(errno));
	child = fork();
	if (child == 0) {
		int err = client_call(mount->socket, "sync", NULL, error);

		if (err && write(pipes[1], error->text, strlen(error->text)) < 0)
			_exit(2);
		_exit(err ? 1 : 0);
	}
	close(pipes[1]);
	while (child > 0 && !waitpid(child, &status, WNOHANG)) {
		struct conf_error ignored;

		nanosleep(&pause, NULL);
		if (client_call(mount->socket, "status", &json, &ignored))
			continue;
		draw(&progress, json);
		json_decref(json);
	}
	if (progress.drawn && progress.terminal)
		fputc('\n', stderr);
	got = read(pipes[0], error->text, sizeof(error->text) - 1);
	error->text[got > 0 ? got : 0] = '\0';
	close(pipes[0]);
	return child > 0 && WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EIO;
}

int unsent_sync(const struct client_mount *mount, bool progress, struct conf_error *error)
{
	return progress ? sync_apart(mount, error)
			: client_call(mount->socket, "sync", NULL, error);
}

void unsent_print(const json_t *status)
{
	const json_t *spool = json_object_get(status, "spool"), *file;
	const char *path = json_string_value(json_object_get(spool, "path"));
	size_t i;

	json_array_foreach(json_object_get(spool, "failed"), i, file) fprintf(stderr,
	    "  not on the instance: %s: %s\n", json_string_value(json_object_get(file, "path")),
	    json_string_value(json_object_get(file, "error")));
	if (path && number(status, "spool", "changes"))
		fprintf(stderr,
		    "  %lld changes, %.1f MiB, lie in %s; the next mount sends them, `vastfs "
		    "spool` shows them\n",
		    number(status, "spool", "changes"),
		    (double)number(status, "spool", "bytes") / (1 << 20), path);
}

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
#define SHOWN_MOST 20u

struct progress {
	double began, last;  /* seconds */
	long long sent;	     /* bytes acknowledged when it began */
	long long files;     /* that there were to send, as far as is known */
	long long changes;   /* the same */
	long long done, all; /* bytes: sent since it began, and to be sent in all */
	bool terminal, drawn, begun;
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

/* What counts for the bar: a change of names costs about as much as so many bytes. */
#define CHANGE_BYTES 4096

static void count(struct progress *progress, const json_t *status)
{
	long long sent = number(status, "behind", "sent_bytes");
	long long files = number(status, "behind", "files");
	long long changes = number(status, "behind", "changes");

	if (!progress->begun)
		progress->sent = sent;
	progress->begun = true;
	progress->done = sent - progress->sent;
	progress->all = progress->done + number(status, "cache", "dirty_bytes");
	if (files > progress->files)
		progress->files = files;
	if (changes > progress->changes)
		progress->changes = changes;
}

static void say_rest(const struct progress *progress, double took, const json_t *status)
{
	double rate = took > 0 ? (double)progress->done / took : 0;
	long long changes = progress->changes - number(status, "behind", "changes");
	double done = (double)progress->done + (double)changes * CHANGE_BYTES;
	double all = (double)progress->all + (double)progress->changes * CHANGE_BYTES;

	fprintf(stderr, "%lld of %lld files, %.1f of %.1f MiB, %.1f MiB/s",
	    progress->files - number(status, "behind", "files"), progress->files,
	    (double)progress->done / (1 << 20), (double)progress->all / (1 << 20),
	    rate / (1 << 20));
	if (progress->all == progress->done && progress->changes)
		fprintf(stderr, ", %lld of %lld changes", changes, progress->changes);
	if (json_is_false(json_object_get(status, "connected")))
		fputs(", no link", stderr);
	else if (done > 0 && all > done)
		fprintf(stderr, ", %.0f s left", (all - done) * took / done);
}

/* A bar on a terminal, else a line every other second. last: all is done. */
static void draw(struct progress *progress, const json_t *status, bool last)
{
	double all, left;
	int filled = BAR;

	count(progress, status);
	if (!progress->all && !progress->changes) /* there is nothing to send */
		return;
	all = (double)progress->all + (double)progress->changes * CHANGE_BYTES;
	left = (double)(progress->all - progress->done) +
	       (double)number(status, "behind", "changes") * CHANGE_BYTES;
	if (all > 0)
		filled = (int)((all - left) * BAR / all);
	if (progress->terminal)
		fprintf(stderr, "\r[%.*s%*s] ", filled, "##############################",
		    BAR - filled, "");
	else if (!last && now() - progress->last < LINE_SECONDS)
		return;
	progress->last = now();
	say_rest(progress, now() - progress->began, status);
	/* over what was longer before */
	fputs(progress->terminal ? "\033[K" : "\n", stderr);
	progress->drawn = true;
}

/* In a process of its own, so that this one can look meanwhile. */
static int sync_apart(const struct client_mount *mount, struct conf_error *error)
{
	struct progress progress = {
	    .began = now(), .last = now(), .terminal = isatty(STDERR_FILENO)};
	const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
	struct conf_error ignored;
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
		nanosleep(&pause, NULL);
		if (client_call(mount->socket, "status", &json, &ignored))
			continue;
		draw(&progress, json, false);
		json_decref(json);
	}
	if (progress.drawn && !client_call(mount->socket, "status", &json, &ignored)) {
		draw(&progress, json, true);
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

/* Those that failed are told with their reason; the others wait for the link. */
static bool has_failed(const json_t *spool, const char *path)
{
	const json_t *file;
	size_t i;

	json_array_foreach(json_object_get(spool, "failed"), i, file)
	{
		if (!strcmp(json_string_value(json_object_get(file, "path")), path))
			return true;
	}
	return false;
}

static void print_waiting(const struct client_mount *mount, const json_t *spool)
{
	struct conf_error ignored;
	json_t *waiting, *file;
	size_t i, shown = 0, total;

	if (client_call(mount->socket, "waiting", &waiting, &ignored))
		return;
	total = json_array_size(json_object_get(waiting, "files")) +
		(size_t)json_integer_value(json_object_get(waiting, "more"));
	json_array_foreach(json_object_get(waiting, "files"), i, file)
	{
		if (shown < SHOWN_MOST && !has_failed(spool, json_string_value(file)))
			fprintf(stderr, "  not on the instance yet: %s\n", json_string_value(file));
		shown++;
		if (shown == SHOWN_MOST)
			break;
	}
	if (total > shown)
		fprintf(stderr, "  ... and of %zu more files\n", total - shown);
	json_decref(waiting);
}

void unsent_print(const struct client_mount *mount)
{
	const json_t *spool, *file;
	struct conf_error ignored;
	json_t *status;
	const char *path;
	size_t i;

	if (client_call(mount->socket, "status", &status, &ignored))
		return;
	spool = json_object_get(status, "spool");
	path = json_string_value(json_object_get(spool, "path"));
	json_array_foreach(json_object_get(spool, "failed"), i, file) fprintf(stderr,
	    "  not on the instance: %s: %s\n", json_string_value(json_object_get(file, "path")),
	    json_string_value(json_object_get(file, "error")));
	if (path && number(status, "spool", "changes")) {
		print_waiting(mount, spool);
		fprintf(stderr,
		    "  %lld changes, %.1f MiB, lie in %s; the next mount sends them, `vastfs "
		    "spool` shows them\n",
		    number(status, "spool", "changes"),
		    (double)number(status, "spool", "bytes") / (1 << 20), path);
	}
	json_decref(status);
}

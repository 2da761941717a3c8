#include "fs/cmd/watch.h"
#include "fs/cmd/client.h"
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define EVERY_MS 1000
#define SAMPLES 48
#define SERIES_MAX 128
#define BAR 24

/* One rate over time: a counter's differences, the newest last. */
struct series {
	char name[192];
	double samples[SAMPLES];
	long long last, last_ms;
	double peak; /* of what is unsent, since it was 0 */
	bool known;
};

struct view {
	struct series series[SERIES_MAX];
	unsigned n_series;
	bool utf8;
	int rows, cols;
	int row; /* lines drawn so far */
	char *text;
	size_t size;
	FILE *out;
};

static struct termios saved;
static volatile sig_atomic_t ended;

/* --- figures ------------------------------------------------------------------------- */

static const char *word(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}

static long long number(const json_t *object, const char *key)
{
	return (long long)json_integer_value(json_object_get(object, key));
}

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

/* The series of that name; NULL when there are too many. */
static struct series *series_of(struct view *view, const char *mount, const char *what, long long i)
{
	char name[sizeof(view->series[0].name)];

	snprintf(name, sizeof(name), "%s %s %lld", mount, what, i);
	for (unsigned n = 0; n < view->n_series; n++) {
		if (!strcmp(view->series[n].name, name))
			return &view->series[n];
	}
	if (view->n_series == SERIES_MAX)
		return NULL;
	memcpy(view->series[view->n_series].name, name, sizeof(name));
	return &view->series[view->n_series++];
}

/* Takes the counter's value now; the rate a second. */
static double sample(struct series *series, long long value)
{
	long long now = now_ms();
	double rate = 0;

	if (!series)
		return 0;
	if (series->known && now > series->last_ms && value >= series->last)
		rate = (double)(value - series->last) * 1000 / (double)(now - series->last_ms);
	memmove(series->samples, series->samples + 1, (SAMPLES - 1) * sizeof(double));
	series->samples[SAMPLES - 1] = rate;
	series->last = value;
	series->last_ms = now;
	series->known = true;
	return rate;
}

/* --- drawing ---------------------------------------------------------------------------- */

/* A line, cut at the width; what is behind it on the screen goes. */
__attribute__((format(printf, 2, 3))) static void line(struct view *view, const char *format, ...)
{
	char text[1024];
	int width = 0;
	va_list args;

	if (view->row >= view->rows - 1)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c < ' ' || c == 0x7f)
			*p = '?';
		if ((c & 0xc0) != 0x80 && ++width > view->cols) {
			*p = '\0';
			break;
		}
	}
	fprintf(view->out, "%s\033[K\r\n", text);
	view->row++;
}

static const char *bytes(double n)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	static char buffers[4][32];
	static int next;
	char *buf = buffers[next++ & 3];
	int unit = 0;

	for (; n >= 1024 && unit < 4; unit++)
		n /= 1024;
	snprintf(buf, sizeof(buffers[0]), unit ? "%.1f %s" : "%.0f %s", n, units[unit]);
	return buf;
}

/* The last `width` rates as a row of blocks, scaled to the largest. */
static const char *graph(const struct view *view, const struct series *series, int width)
{
	static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char plain[] = " .:-=+*#@";
	static char buffers[2][SAMPLES * 4 + 1];
	static int next;
	char *buf = buffers[next++ & 1];
	double most = 1;
	size_t at = 0;

	buf[0] = '\0';
	for (int i = 0; series && i < SAMPLES; i++)
		most = series->samples[i] > most ? series->samples[i] : most;
	for (int i = SAMPLES - (width < SAMPLES ? width : SAMPLES); series && i < SAMPLES; i++) {
		double rate = series->samples[i];
		int level = rate <= 0 ? 0 : 1 + (int)(rate / most * 7.49);

		if (view->utf8)
			at += (size_t)snprintf(
			    buf + at, sizeof(buffers[0]) - at, "%s", blocks[level]);
		else
			at +=
			    (size_t)snprintf(buf + at, sizeof(buffers[0]) - at, "%c", plain[level]);
	}
	return buf;
}

static const char *bar(const struct view *view, double part)
{
	static char buf[BAR * 3 + 1];
	size_t at = 0;

	for (int i = 0; i < BAR; i++) {
		bool full = i < (int)(part * BAR + 0.5);

		at += (size_t)snprintf(buf + at, sizeof(buf) - at, "%s",
		    view->utf8 ? (full ? "█" : "░") : (full ? "#" : "."));
	}
	return buf;
}

static void draw_sessions(struct view *view, const json_t *status)
{
	const char *mount = word(status, "mountpoint");
	const json_t *sessions = json_object_get(status, "sessions"), *each;
	int width = (view->cols - 74) / 2;
	size_t i;

	json_array_foreach(sessions, i, each)
	{
		struct series *in = series_of(view, mount, "in", (long long)i);
		struct series *out = series_of(view, mount, "out", (long long)i);
		double down = sample(in, number(each, "bytes_in"));
		double up = sample(out, number(each, "bytes_out"));

		line(view, "  session %-2zu %-10s %6.1f ms  in %10s/s %s  out %10s/s %s", i,
		    word(each, "state"), json_number_value(json_object_get(each, "rtt_ms")),
		    bytes(down), graph(view, in, width > 4 ? width : 8), bytes(up),
		    graph(view, out, width > 4 ? width : 8));
	}
}

static void draw_cache(struct view *view, const json_t *status)
{
	const json_t *cache = json_object_get(status, "cache");
	long long hit = number(cache, "hit_bytes"), miss = number(cache, "miss_bytes");
	const char *mount = word(status, "mountpoint");
	struct series *read = series_of(view, mount, "read", 0);

	sample(read, hit + miss);
	line(view, "  cache      %s %3.0f %% of %s read came from it; %s held, %lld names",
	    bar(view, hit + miss ? (double)hit / (double)(hit + miss) : 0),
	    hit + miss ? 100.0 * (double)hit / (double)(hit + miss) : 0,
	    bytes((double)(hit + miss)), bytes((double)number(cache, "present_bytes")),
	    number(cache, "names"));
}

/* The files, and how much of each the instance has. */
static void draw_sending(struct view *view, const json_t *status)
{
	const json_t *behind = json_object_get(status, "behind"), *each;
	const json_t *files = json_object_get(behind, "sending");
	const char *root = word(status, "path");
	size_t len = strcmp(root, "/") ? strlen(root) : 0, i;

	json_array_foreach(files, i, each)
	{
		double size = (double)number(each, "size");
		double there = size - (double)number(each, "unsent_bytes");
		const char *path = word(each, "path");

		if (!strncmp(path, root, len) && path[len] == '/')
			path += len + 1;

		if (there < 0)
			there = 0;
		line(view, "             %s %3.0f %% of %10s  %s",
		    bar(view, size > 0 ? there / size : 0), size > 0 ? 100 * there / size : 0,
		    bytes(size), path);
	}
}

/* The backlog: how much of the most that it was has gone by now. */
static void draw_unsent(struct view *view, const json_t *status)
{
	double dirty = (double)number(json_object_get(status, "cache"), "dirty_bytes");
	const json_t *behind = json_object_get(status, "behind");
	struct series *series = series_of(view, word(status, "mountpoint"), "unsent", 0);

	if (series && dirty <= 0)
		series->peak = 0;
	else if (series && dirty > series->peak)
		series->peak = dirty;
	if (dirty <= 0 && !number(behind, "changes"))
		line(view, "  sending    nothing waits");
	else
		line(view, "  sending    %s %s to go, %lld changes of names",
		    bar(view, series && series->peak > 0 ? 1 - dirty / series->peak : 0),
		    bytes(dirty), number(behind, "changes"));
	draw_sending(view, status);
	if (number(behind, "failed"))
		line(view, "  FAILED     %lld changes could not be made; vastfs status names them",
		    number(behind, "failed"));
}

static void draw_forwards(struct view *view, const json_t *status)
{
	const json_t *forwards = json_object_get(status, "forwards"), *each;
	const char *mount = word(status, "mountpoint");
	size_t i;

	json_array_foreach(forwards, i, each)
	{
		struct series *moved = series_of(view, mount, word(each, "forward"), 0);
		double rate = sample(moved, number(each, "bytes_in") + number(each, "bytes_out"));

		line(view, "  forward    %-40s %3lld open %5lld so far %10s/s%s",
		    word(each, "forward"), number(each, "connections"), number(each, "accepted"),
		    bytes(rate),
		    json_is_true(json_object_get(each, "listening")) ? "" : "  NOT LISTENING");
	}
}

static void draw_messages(struct view *view, const json_t *status)
{
	const json_t *messages = json_object_get(status, "messages"), *each;
	size_t i;

	json_array_foreach(messages, i, each)
	{
		time_t seconds = (time_t)number(each, "time");
		char when[16] = "";
		struct tm local;

		if (i >= 4)
			break;
		if (localtime_r(&seconds, &local))
			strftime(when, sizeof(when), "%H:%M:%S", &local);
		line(view, "  %s   %s", when, word(each, "text"));
	}
}

static void draw_mount(struct view *view, const json_t *status)
{
	const json_t *requests = json_object_get(status, "requests");

	line(view, "%s  %s@%s:%lld%s  on %s", word(status, "id"), word(status, "user"),
	    word(status, "host"), number(status, "port"),
	    json_is_true(json_object_get(status, "connected")) ? "" : "  NO LINK",
	    word(status, "mountpoint"));
	draw_sessions(view, status);
	line(view, "  requests   %lld wait, %lld open files, %lld programs there",
	    number(requests, "in_flight"), number(requests, "open_files"),
	    number(requests, "programs"));
	draw_cache(view, status);
	draw_unsent(view, status);
	draw_forwards(view, status);
	draw_messages(view, status);
	line(view, "%s", "");
}

/* --- the terminal ------------------------------------------------------------------------ */

static void on_signal(int signal)
{
	(void)signal;
	ended = 1;
}

static void on_resize(int signal)
{
	(void)signal; /* only to end poll */
}

static void enter(void)
{
	struct sigaction end = {.sa_handler = on_signal}, resize = {.sa_handler = on_resize};
	struct termios quiet;

	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGHUP, &end, NULL);
	sigaction(SIGWINCH, &resize, NULL);
	if (!tcgetattr(STDIN_FILENO, &saved)) {
		quiet = saved;
		quiet.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		tcsetattr(STDIN_FILENO, TCSADRAIN, &quiet);
	}
	printf("\033[?1049h\033[?25l"); /* the other screen, no cursor */
}

static void leave(void)
{
	printf("\033[?25h\033[?1049l");
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
}

static void draw(struct view *view, struct client_mount *mounts, int n, const char *which)
{
	struct winsize size = {.ws_row = 24, .ws_col = 80};
	struct conf_error ignored;
	time_t now = time(NULL);
	char when[16] = "";
	struct tm local;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && !size.ws_col)
		size = (struct winsize){.ws_row = 24, .ws_col = 80};
	view->rows = size.ws_row;
	view->cols = size.ws_col;
	view->row = 0;
	view->out = open_memstream(&view->text, &view->size);
	if (!view->out)
		return;
	if (localtime_r(&now, &local))
		strftime(when, sizeof(when), "%H:%M:%S", &local);
	fputs("\033[H", view->out);
	line(view, "vastfs  %s   q ends", when);
	if (which && n > 0) {
		struct client_mount *mount = client_choose(mounts, n, which, &ignored);

		if (mount)
			draw_mount(view, mount->status);
		else
			line(view, "%s is not mounted.", which);
	} else {
		for (int i = 0; i < n; i++)
			draw_mount(view, mounts[i].status);
	}
	if (n <= 0)
		line(view, "No vastfs is mounted.");
	fputs("\033[J", view->out);
	fclose(view->out);
	fwrite(view->text, 1, view->size, stdout);
	fflush(stdout);
	free(view->text);
}

/* Waits for the next drawing. True: the user has enough. */
static bool wait_key(void)
{
	struct pollfd keys = {.fd = STDIN_FILENO, .events = POLLIN};
	char key;

	if (poll(&keys, 1, EVERY_MS) <= 0 || !keys.revents)
		return false;
	return read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q' || key == 4;
}

int watch_run(const char *which, struct conf_error *error)
{
	struct view *view;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return conf_fail(
		    error, ENOTTY, "--watch needs a terminal; programs read --json instead");
	view = calloc(1, sizeof(*view));
	if (!view)
		return conf_fail(error, ENOMEM, "out of memory");
	setlocale(LC_CTYPE, "");
	view->utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	enter();
	while (!ended) {
		struct client_mount *mounts = NULL;
		int n = client_mounts(&mounts, error);

		draw(view, mounts, n, which);
		client_mounts_free(mounts, n > 0 ? n : 0);
		if (wait_key())
			break;
	}
	leave();
	free(view);
	error->text[0] = '\0';
	return 0;
}

#include "transport/watcher.h"
#include "conf/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 *	OFF ──(session 0 is up)──► STARTING ──HELLO──► UP
 *	 ▲                            │ refused, ended,  │ ended, nonsense
 *	 └──────── pause ─────────────┴── silent ────────┘
 *
 * When python3 ends while STARTING, inotifywait is tried in its place.
 */
#define GREETING_MS 20000
#define PAUSE_MS 2000
#define PAUSE_MAX_MS 600000

/* The programs, as they are. */
__asm__(".section .rodata\n"
	".balign 16\n"
	"watcher_python:\n"
	".incbin \"transport/watcher.py\"\n"
	"watcher_python_end:\n"
	".byte 0\n"
	"watcher_shell:\n"
	".incbin \"transport/watcher.sh\"\n"
	"watcher_shell_end:\n"
	".byte 0\n"
	".previous\n");
extern const char watcher_python[] __asm__("watcher_python");
extern const char watcher_python_end[] __asm__("watcher_python_end");
extern const char watcher_shell[] __asm__("watcher_shell");
extern const char watcher_shell_end[] __asm__("watcher_shell_end");

/* The login shell, whichever it is, sees nothing but words of ours, without any that it could take
 * for something else. Then each reads its program, of that length. */
static const char run_python[] =
    "exec /bin/sh -c 'PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/opt/conda/bin "
    "exec python3 -I -S -c \"import sys;exec(sys.stdin.buffer.read(%zu))\"'";
static const char run_shell[] =
    "exec /bin/sh -c 'PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/opt/conda/bin; "
    "eval \"$(dd bs=1 count=%zu 2>/dev/null)\"'";

struct watcher {
	uv_loop_t *loop;
	struct pool *pool;
	struct watcher_events events;
	void *arg;
	enum watcher_state state;
	bool shell;	       /* inotifywait instead of python3 */
	bool added;	       /* folders that watcher.sh has not been told to begin with */
	struct stream *stream; /* while STARTING and UP */
	char command[256];     /* borrowed by the stream */
	char why[256];
	uint64_t started, next_try; /* loop ms */
	uint64_t pause;
};

static void stop(struct watcher *watcher, const char *why)
{
	bool was_up = watcher->state == WATCHER_UP;
	uint64_t now = uv_now(watcher->loop);

	stream_close(watcher->stream);
	watcher->stream = NULL;
	watcher->state = WATCHER_OFF;
	snprintf(watcher->why, sizeof(watcher->why), "%s", why);
	log_verbose("watching the instance's folders: %s", why);
	/* One that ran for long was a good one. */
	if (was_up && now - watcher->started > PAUSE_MAX_MS)
		watcher->pause = 0;
	watcher->pause = watcher->pause ? watcher->pause * 2 : PAUSE_MS;
	if (watcher->pause > PAUSE_MAX_MS)
		watcher->pause = PAUSE_MAX_MS;
	watcher->next_try = now + watcher->pause;
	if (was_up)
		watcher->events.down(watcher->arg);
}

static const char *program_of(const struct watcher *watcher, size_t *len)
{
	*len = (size_t)(watcher->shell ? watcher_shell_end - watcher_shell
				       : watcher_python_end - watcher_python);
	return watcher->shell ? watcher_shell : watcher_python;
}

static void on_opened(void *arg, const struct ssh_error *error)
{
	struct watcher *watcher = arg;
	struct packet *program;
	const char *text;
	size_t len;

	if (error) {
		stop(watcher, error->text);
		return;
	}
	text = program_of(watcher, &len);
	program = packet_new(len);
	if (!program) {
		stop(watcher, "memory is out");
		return;
	}
	memcpy(program->data, text, len);
	program->len = len;
	stream_send(watcher->stream, program);
}

static void greeted(struct watcher *watcher, const struct watcher_message *message)
{
	if (!message->limit) {
		watcher->pause = PAUSE_MAX_MS;
		stop(watcher, "the instance has no inotify");
		return;
	}
	watcher->state = WATCHER_UP;
	watcher->why[0] = '\0';
	watcher->events.up(watcher->arg, message->limit);
}

static void on_packet(void *arg, struct packet *packet)
{
	struct watcher *watcher = arg;
	struct watcher_message message;
	int err = watcher_read(packet, &message);

	packet_free(packet);
	if (err || (message.type == WATCHER_HELLO) != (watcher->state == WATCHER_STARTING))
		stop(watcher, "what the watcher there says makes no sense");
	else if (message.type == WATCHER_HELLO)
		greeted(watcher, &message);
	else
		watcher->events.message(watcher->arg, &message);
}

static void start(struct watcher *watcher, bool shell);

static void on_closed(void *arg, const struct ssh_error *error)
{
	struct watcher *watcher = arg;

	if (watcher->state == WATCHER_STARTING && !watcher->shell) {
		stream_close(watcher->stream);
		start(watcher, true);
	} else if (watcher->state == WATCHER_STARTING)
		stop(watcher, "neither python3 nor inotifywait runs on the instance");
	else
		stop(watcher, error ? error->text : "the connection is lost");
}

static const struct stream_events stream_events = {
    .opened = on_opened, .packet = on_packet, .closed = on_closed};

static void start(struct watcher *watcher, bool shell)
{
	size_t len;

	watcher->shell = shell;
	watcher->added = false;
	watcher->state = WATCHER_OFF;
	program_of(watcher, &len);
	snprintf(watcher->command, sizeof(watcher->command), shell ? run_shell : run_python, len);
	watcher->stream = pool_run(watcher->pool, watcher->command, &stream_events, watcher);
	if (!watcher->stream)
		return;
	watcher->state = WATCHER_STARTING;
	watcher->started = uv_now(watcher->loop);
}

int watcher_new(struct watcher **out, uv_loop_t *loop, struct pool *pool,
    const struct watcher_events *events, void *arg)
{
	struct watcher *watcher = calloc(1, sizeof(*watcher));

	*out = watcher;
	if (!watcher)
		return -ENOMEM;
	watcher->loop = loop;
	watcher->pool = pool_get(pool);
	watcher->events = *events;
	watcher->arg = arg;
	snprintf(watcher->why, sizeof(watcher->why), "not started yet");
	start(watcher, false);
	return 0;
}

void watcher_free(struct watcher *watcher)
{
	if (!watcher)
		return;
	if (watcher->stream)
		stream_close(watcher->stream);
	pool_put(watcher->pool);
	free(watcher);
}

enum watcher_state watcher_state(const struct watcher *watcher)
{
	return watcher ? watcher->state : WATCHER_OFF;
}

const char *watcher_by(const struct watcher *watcher)
{
	return watcher && watcher->shell ? "inotifywait" : "python3";
}

bool watcher_digests(const struct watcher *watcher)
{
	return !watcher->shell;
}

const char *watcher_why(const struct watcher *watcher)
{
	return watcher ? watcher->why : "the mount ends";
}

/* --- what it is asked --- */

static void tell(struct watcher *watcher, struct packet *packet)
{
	if (!packet)
		return;
	if (watcher->state == WATCHER_UP)
		stream_send(watcher->stream, packet);
	else
		packet_free(packet);
}

void watcher_add(struct watcher *watcher, uint32_t number, bool digest, const char *path)
{
	tell(watcher, watcher->shell ? watcher_line('A', number, path)
				     : watcher_msg_add(number, digest, path));
	watcher->added = true;
}

void watcher_drop(struct watcher *watcher, uint32_t number)
{
	tell(watcher,
	    watcher->shell ? watcher_line('D', number, NULL) : watcher_msg(WATCHER_DROP, number));
}

void watcher_ping(struct watcher *watcher, uint32_t number)
{
	tell(watcher,
	    watcher->shell ? watcher_line('P', number, NULL) : watcher_msg(WATCHER_PING, number));
}

void watcher_tick(struct watcher *watcher)
{
	uint64_t now = uv_now(watcher->loop);

	if (watcher->state == WATCHER_OFF && now >= watcher->next_try)
		start(watcher, false);
	else if (watcher->state == WATCHER_STARTING && now - watcher->started > GREETING_MS)
		stop(watcher, "the watcher does not answer on the instance");
	else if (watcher->shell && watcher->added)
		tell(watcher, watcher_line('G', 0, NULL));
	watcher->added = false;
}

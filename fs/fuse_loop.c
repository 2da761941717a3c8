#include "fs/fuse_loop.h"
#include "conf/log.h"
#include "fs/behind.h"
#include "fs/beside.h"
#include "fs/disk.h"
#include "fs/held.h"
#include "fs/openfile.h"
#include "fs/pinned.h"
#include "fs/request.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Requests taken in one go before the loop looks at anything else. */
#define BATCH 64
/* How many requests the kernel may have on the way in the background (read-ahead, mapped pages). */
#define BACKGROUND_MAX 128
#define WRITE_MAX (1u << 20)
/* A program that reads what is all here asks again within microseconds. To be woken for that costs
 * several times what the answer does, as the processor has gone to sleep meanwhile; so the next
 * request is looked out for that long, while they come that fast. */
#define LINGER_NS 30000
#define FAST_NS 100000
#define FAST_MOST 16
#define FAST_MISSED 4

static struct {
	uv_poll_t poll;
	uv_prepare_t prepare;
	uv_timer_t signals, seconds, held;
	struct fuse_buf buf;
	uint64_t empty_ns; /* when there was no request any more */
	unsigned fast;	   /* how many came fast, less those waited for in vain */
	void (*ended)(struct fs *fs);
	bool over;
} loop;

/* Root may list any folder; others are to be refused by opendir(3). With attr_timeout=0 each
 * opening looks anew. */
static bool may_not_ask(const struct fs *fs)
{
	return !fs->frozen && !remote_uid(fs->remote) && fs->profile->attr_timeout;
}

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	/* The kernel drops a file's pages when its size changes; a change of the time alone is told
	 * by notices and at open, so that a program's own writes do not cost it its pages. */
	conn->want &=
	    ~(unsigned)(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE);
	conn->want |= conn->capable &
		      (FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
			  FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO);
	fs->no_opendir = (conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT) && may_not_ask(fs);
	conn->max_write = WRITE_MAX;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
	conn->time_gran = 1;
}

static void end(struct fs *fs)
{
	if (loop.over)
		return;
	loop.over = true;
	uv_poll_stop(&loop.poll);
	uv_timer_stop(&loop.signals);
	uv_timer_stop(&loop.held);
	uv_prepare_stop(&loop.prepare);
	loop.ended(fs);
}

/* There is no request; waits a moment for the next one. Not while one waits for the instance: its
 * sessions' threads need the processor then. */
static int linger(struct fs *fs)
{
	int got = -EAGAIN;

	loop.empty_ns = uv_hrtime();
	if (!loop.fast || fs->requests_waiting)
		return got;
	while (got == -EAGAIN && uv_hrtime() - loop.empty_ns < LINGER_NS)
		got = fuse_session_receive_buf(fs->session, &loop.buf);
	if (got == -EAGAIN)
		loop.fast -= loop.fast < FAST_MISSED ? loop.fast : FAST_MISSED;
	else if (loop.fast < FAST_MOST)
		loop.fast++;
	return got;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct fs *fs = poll->data;
	int i, got;

	(void)events;
	if (uv_hrtime() - loop.empty_ns < FAST_NS && loop.fast < FAST_MOST)
		loop.fast++;
	for (i = 0; i < BATCH && !loop.over; i++) {
		got = status < 0 ? 0 : fuse_session_receive_buf(fs->session, &loop.buf);
		if (got == -EAGAIN)
			got = linger(fs);
		if (got == -EAGAIN || got == -EINTR)
			break;
		if (got <= 0 || fuse_session_exited(fs->session)) {
			end(fs);
			return;
		}
		fs->requests_received++;
		fuse_session_process_buf(fs->session, &loop.buf);
	}
	requests_handle_interrupts(fs);
}

static void on_signals(uv_timer_t *timer)
{
	struct fs *fs = timer->data;

	requests_handle_interrupts(fs);
	if (TAILQ_EMPTY(&fs->signalled))
		uv_timer_stop(timer);
}

static void on_held(uv_timer_t *timer)
{
	struct fs *fs = timer->data;

	if (!held_tick(fs->held))
		uv_timer_stop(timer);
}

/* Some signal did not end its request, but a later one may; the kernel keeps some listing. */
static void on_prepare(uv_prepare_t *prepare)
{
	struct fs *fs = prepare->data;
	bool wanted = !TAILQ_EMPTY(&fs->signalled);

	if (wanted && !uv_is_active((uv_handle_t *)&loop.signals))
		uv_timer_start(&loop.signals, on_signals, 100, 100);
	if (held_any(fs->held) && !uv_is_active((uv_handle_t *)&loop.held))
		uv_timer_start(&loop.held, on_held, HELD_TICK_MS, HELD_TICK_MS);
}

static void on_second(uv_timer_t *timer)
{
	requests_handle_timeouts(timer->data);
	handles_ask_late(timer->data);
	beside_tick(timer->data);
	pinned_tick(timer->data);
	disk_save_listings(timer->data, false);
	behind_take_up(timer->data, UINT_MAX);
}

/* Commas and backslashes are FUSE's own in option strings. */
static void add_escaped(char *out, size_t size, const char *text)
{
	size_t len = strlen(out);

	for (; *text && len + 3 < size; text++) {
		if (*text == ',' || *text == '\\')
			out[len++] = '\\';
		out[len++] = *text;
	}
	out[len] = '\0';
}

static void build_options(const struct fs *fs, char *out, size_t size)
{
	const struct profile *profile = fs->profile;

	snprintf(out, size,
	    "subtype=vastfs%s%s%s%s%s%s%s%s,fsname=", profile->nosuid ? ",nosuid" : ",suid",
	    profile->nodev ? ",nodev" : ",dev", profile->allow_other ? ",allow_other" : "",
	    profile->default_permissions ? ",default_permissions" : "",
	    profile->read_only ? ",ro" : "", profile->noexec ? ",noexec" : "",
	    profile->noatime ? ",noatime" : "", profile->sync ? ",sync" : "");
	if (profile->fsname) {
		add_escaped(out, size, profile->fsname);
		return;
	}
	add_escaped(out, size, profile->id);
	add_escaped(out, size, ":");
	add_escaped(out, size, remote_root(fs->remote));
}

static int make_session(struct fs *fs)
{
	static struct fuse_lowlevel_ops ops;
	char options[4096];
	char *argv[] = {"vastfs", "-o", options, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);

	build_options(fs, options, sizeof(options));
	ops = fs_ops;
	ops.init = on_init;
	fs->session = fuse_session_new(&args, &ops, sizeof(ops), fs);
	fuse_opt_free_args(&args);
	if (!fs->session)
		return -EINVAL;
	if (fuse_session_mount(fs->session, fs->mountpoint)) {
		fuse_session_destroy(fs->session);
		fs->session = NULL;
		return -EPERM;
	}
	return 0;
}

int fuse_loop_mount(struct fs *fs, void (*ended)(struct fs *fs))
{
	int err = make_session(fs), fd;

	if (err)
		return err;
	fd = fuse_session_fd(fs->session);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	loop.ended = ended;
	uv_poll_init(fs->loop, &loop.poll, fd);
	uv_timer_init(fs->loop, &loop.signals);
	uv_timer_init(fs->loop, &loop.seconds);
	uv_timer_init(fs->loop, &loop.held);
	uv_prepare_init(fs->loop, &loop.prepare);
	loop.poll.data = loop.signals.data = loop.seconds.data = loop.held.data =
	    loop.prepare.data = fs;
	uv_poll_start(&loop.poll, UV_READABLE, on_readable);
	uv_timer_start(&loop.seconds, on_second, 1000, 1000);
	uv_prepare_start(&loop.prepare, on_prepare);
	return 0;
}

void fuse_loop_unmount(struct fs *fs)
{
	if (fs->session && !loop.over) {
		uv_poll_stop(&loop.poll); /* libfuse closes its file */
		fuse_session_unmount(fs->session);
		end(fs);
	}
}

void fuse_loop_refuse(struct fs *fs)
{
	while (fuse_session_receive_buf(fs->session, &loop.buf) > 0) {
		fuse_session_process_buf(fs->session, &loop.buf);
		requests_refuse(fs);
	}
	requests_refuse(fs);
}

void fuse_loop_destroy(struct fs *fs)
{
	if (!fs->session)
		return;
	/* Handlers may still be on their way to an answer; it would go to a session that is gone.
	 */
	requests_refuse(fs);
	uv_close((uv_handle_t *)&loop.poll, NULL);
	uv_close((uv_handle_t *)&loop.signals, NULL);
	uv_close((uv_handle_t *)&loop.seconds, NULL);
	uv_close((uv_handle_t *)&loop.held, NULL);
	uv_close((uv_handle_t *)&loop.prepare, NULL);
	fuse_session_unmount(fs->session);
	fuse_session_destroy(fs->session);
	fs->session = NULL;
	free(loop.buf.mem);
	loop.buf.mem = NULL;
}

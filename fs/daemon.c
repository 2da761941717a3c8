#include "fs/daemon.h"
#include "conf/log.h"
#include "conf/sdnotify.h"
#include "fs/ahead.h"
#include "fs/behind.h"
#include "fs/beside.h"
#include "fs/control.h"
#include "fs/disk.h"
#include "fs/doubt.h"
#include "fs/drain.h"
#include "fs/failures.h"
#include "fs/follow.h"
#include "fs/fs.h"
#include "fs/fuse_loop.h"
#include "fs/guard.h"
#include "fs/held.h"
#include "fs/notify.h"
#include "fs/openfile.h"
#include "fs/pinned.h"
#include "fs/spooling.h"
#include "fs/targets.h"
#include "fs/walk.h"
#include "fs/watched.h"
#include "transport/commands.h"
#include "transport/remote_clock.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Memory for blocks read; a million names take another 300 MB at most. */
#define CONTENT_LIMIT (256ull << 20)
#define NAMES_MAX 1000000
#define CONNECT_TIMEOUT 15 /* seconds for each step */
#define LEAVE_TIMEOUT_MS 2000

struct daemon {
	struct fs fs;
	uv_loop_t loop;
	uv_signal_t signals[3];
	uv_timer_t deadline;
	const struct daemon_options *options;
	struct ssh_target target;
	enum { CONNECTING, MOUNTED, DRAINING, GONE } state;
	struct disk_mount *offline; /* what it came up with without the instance */
	bool late;		    /* what was under way did not come to its end */
	bool threads_left;	    /* which use the profile */
	pid_t guard;		    /* fs/guard.h; not positive: none */
	int code;
};

static void leave(struct daemon *daemon);

static void on_closed_walk(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

/* --- leaving --- */

static void on_deadline(uv_timer_t *timer)
{
	struct daemon *daemon = timer->data;

	daemon->late = true;
	uv_stop(&daemon->loop);
}

static void leave(struct daemon *daemon)
{
	int i;

	if (daemon->state == GONE)
		return;
	daemon->state = GONE;
	notifier_stop(&daemon->fs);
	fuse_loop_destroy(&daemon->fs);
	guard_stop(daemon->guard);
	control_stop(&daemon->fs);
	watched_stop(&daemon->fs);
	pinned_stop(&daemon->fs);
	spooling_quiet(&daemon->fs);
	for (i = 0; i < 3; i++)
		uv_close((uv_handle_t *)&daemon->signals[i], NULL);
	if (!commands_free(daemon->fs.commands))
		daemon->threads_left = true;
	daemon->fs.commands = NULL;
	if (!forwards_free(daemon->fs.forwards))
		daemon->threads_left = true;
	daemon->fs.forwards = NULL;
	if (daemon->fs.remote)
		remote_free(daemon->fs.remote);
	/* What is in flight now completes with errors; then nothing is left on the loop. */
	uv_timer_start(&daemon->deadline, on_deadline, LEAVE_TIMEOUT_MS, 0);
	uv_unref((uv_handle_t *)&daemon->deadline);
}

static void on_drained(void *arg, int err)
{
	struct daemon *daemon = arg;

	if (err) {
		log_error("%s: not all data could be sent before unmounting: %s",
		    daemon->options->mountpoint, strerror(-err));
		daemon->code = EXIT_MOUNT_FAILED;
	}
	leave(daemon);
}

static void on_unmounted(struct fs *fs)
{
	struct daemon *daemon = fs->loop->data;

	log_info("%s unmounted", daemon->options->mountpoint);
	notifier_stop(fs);
	daemon->state = DRAINING;
	sdnotify("STOPPING=1\nSTATUS=sending what is left");
	if (drain_start(fs, on_drained, daemon))
		on_drained(daemon, -ENOMEM);
}

static void fail(struct daemon *daemon, int code)
{
	daemon->code = code;
	leave(daemon);
}

static void on_signal(uv_signal_t *signal, int number)
{
	struct daemon *daemon = signal->data;

	(void)number;
	if (daemon->state == CONNECTING) {
		fail(daemon, EXIT_INTERRUPTED);
	} else if (daemon->state == MOUNTED) {
		notifier_stop(&daemon->fs); /* while the kernel can still be answered */
		fuse_loop_unmount(&daemon->fs);
	}
}

/* --- mounting --- */

static int mount_now(struct daemon *daemon, const struct sftp_attr *root)
{
	struct fs *fs = &daemon->fs;
	struct attr_report report = fs_report(root, 0);
	int err;

	disk_open(fs);
	fs->names = names_new(remote_root(fs->remote), &report, NAMES_MAX, &fs_names_events, fs);
	fs->contents = content_pool_new(&daemon->loop, &openfile_source, CONTENT_LIMIT);
	fs->ahead = ahead_new(fs);
	fs->held = held_new(fs);
	if (!fs->names || !fs->contents || !fs->ahead || !fs->held || behind_start(fs))
		return -ENOMEM;
	disk_start(fs);
	content_pool_set_spool(fs->contents, fs->spool);
	remote_learn_clock(fs->remote);
	err = fuse_loop_mount(fs, on_unmounted);
	if (err)
		return err;
	daemon->guard = guard_start(fs->mountpoint);
	err = notifier_start(fs);
	if (!err)
		err = control_start(fs);
	return err;
}

static void on_mounted(struct daemon *daemon)
{
	const struct daemon_options *options = daemon->options;
	int err = commands_new(&daemon->fs.commands, &daemon->target);

	if (err)
		log_warning("no programs can be run on the instance: %s", strerror(-err));
	err = forwards_start(&daemon->fs.forwards, &daemon->target);
	if (err)
		log_warning("port forwards could not be started: %s", strerror(-err));
	daemon->state = MOUNTED;
	log_info("%s:%s mounted on %s", options->profile->id, remote_root(daemon->fs.remote),
	    options->mountpoint);
	err = watched_start(&daemon->fs);
	if (err)
		log_warning("the instance's folders are not watched: %s", strerror(-err));
	sdnotify("READY=1");
	if (options->mounted)
		options->mounted(options->arg);
}

static void on_root(void *arg, int err, const struct sftp_attr *attr)
{
	struct daemon *daemon = arg;
	const struct daemon_options *options = daemon->options;

	if (daemon->state != CONNECTING)
		return;
	if (!err)
		err = mount_now(daemon, attr);
	if (err) {
		log_error("%s: could not be mounted: %s", options->mountpoint, strerror(-err));
		fail(daemon, EXIT_MOUNT_FAILED);
		return;
	}
	disk_note_mount(&daemon->fs, attr);
	on_mounted(daemon);
}

/* The instance has answered a mount that came up without it. */
static void on_root_at_last(void *arg, int err, const struct sftp_attr *attr)
{
	struct daemon *daemon = arg;
	struct fs *fs = &daemon->fs;

	if (daemon->state != MOUNTED)
		return;
	if (err) {
		log_error("%s: %s: %s; the mount stays read-only", fs->profile->id,
		    remote_root(fs->remote), strerror(-err));
		return;
	}
	if (strcmp(remote_root(fs->remote), daemon->offline->root)) {
		log_error("%s: the folder to mount is %s now, and no longer %s; unmounting",
		    fs->profile->id, remote_root(fs->remote), daemon->offline->root);
		notifier_stop(fs);
		fuse_loop_unmount(fs);
		return;
	}
	fs->frozen = false;
	fs_take_report(fs, names_root(fs->names), attr, names_tick(fs->names), fs_now_ms(fs));
	disk_note_mount(fs, attr);
	log_warning("%s: connected; files can be changed now", fs->profile->id);
}

static void on_unreachable(void *arg, const struct ssh_error *error)
{
	struct daemon *daemon = arg;
	struct fs *fs = &daemon->fs;
	int err = -ENOMEM;

	if (daemon->state != CONNECTING)
		return;
	if (daemon->options->progress)
		daemon->options->progress(NULL, NULL);
	disk_open(fs);
	daemon->offline = malloc(sizeof(*daemon->offline));
	if (daemon->offline && !disk_noted_mount(fs, daemon->offline)) {
		log_error("%s; and the disk cache knows nothing of it", error->text);
		fail(daemon, EXIT_MOUNT_FAILED);
		return;
	}
	if (daemon->offline)
		err = remote_assume(
		    fs->remote, daemon->offline->root, daemon->offline->uid, daemon->offline->gid);
	fs->frozen = true;
	if (!err)
		err = mount_now(daemon, &daemon->offline->attr);
	if (err) {
		log_error(
		    "%s: could not be mounted: %s", daemon->options->mountpoint, strerror(-err));
		fail(daemon, EXIT_MOUNT_FAILED);
		return;
	}
	log_warning("%s; mounted as it was, for reading, until it answers", error->text);
	on_mounted(daemon);
}

/* What earlier mounts left is on the instance, or as much as can be. */
static void on_replayed(void *arg)
{
	struct daemon *daemon = arg;

	if (daemon->state == CONNECTING)
		remote_stat(daemon->fs.remote, remote_root(daemon->fs.remote), on_root, daemon);
	else if (daemon->state == MOUNTED)
		remote_stat(
		    daemon->fs.remote, remote_root(daemon->fs.remote), on_root_at_last, daemon);
}

static void on_ready(void *arg, const struct ssh_error *error)
{
	struct daemon *daemon = arg;

	if (daemon->state == MOUNTED) {
		locator_settle(daemon->fs.locator);
		if (error)
			log_error("%s; the mount stays read-only", error->text);
		else if (spooling_replay(&daemon->fs, on_replayed, daemon))
			log_error("memory is out; the mount stays read-only");
		return;
	}
	if (daemon->state != CONNECTING)
		return;
	locator_settle(daemon->fs.locator);
	if (daemon->options->progress)
		daemon->options->progress(NULL, NULL);
	if (error) {
		log_error("%s", error->text);
		fail(daemon, EXIT_MOUNT_FAILED);
		return;
	}
	if (spooling_replay(&daemon->fs, on_replayed, daemon))
		fail(daemon, EXIT_SYSTEM);
}

static void on_link(void *arg, const struct ssh_error *error)
{
	struct daemon *daemon = arg;

	if (error)
		log_warning(
		    "%s: the connection is lost: %s", daemon->options->profile->id, error->text);
	else
		log_warning("%s: connected again", daemon->options->profile->id);
	if (daemon->fs.contents)
		content_pool_link(daemon->fs.contents, !error);
	if (!error) /* even when it is lost again before anybody looks */
		daemon->fs.given_up_ms = daemon->fs.absent_ms = 0;
	if (error)
		handles_unseen(&daemon->fs);
	if (!error && daemon->state == MOUNTED) {
		remote_learn_clock(daemon->fs.remote);
		doubt_open(&daemon->fs);
	}
}

static int begin(struct daemon *daemon)
{
	static const struct remote_events events = {
	    .ready = on_ready, .link = on_link, .unreachable = on_unreachable};
	static const int numbers[3] = {SIGINT, SIGTERM, SIGHUP};
	struct fs *fs = &daemon->fs;
	int i;

	daemon->loop.data = daemon;
	fs->loop = &daemon->loop;
	fs->profile = daemon->options->profile;
	fs->local_uid = getuid();
	fs->local_gid = getgid();
	fs->started = time(NULL);
	TAILQ_INIT(&fs->waiting);
	TAILQ_INIT(&fs->interrupted);
	TAILQ_INIT(&fs->signalled);
	walk_init(fs);
	TAILQ_INIT(&fs->unsaved);
	fs->mountpoint = strdup(daemon->options->mountpoint);
	fs->locator = locator_new(fs->profile);
	if (!fs->mountpoint || !fs->locator || spooling_start(fs))
		return -ENOMEM;
	uv_timer_init(&daemon->loop, &daemon->deadline);
	daemon->deadline.data = daemon;
	for (i = 0; i < 3; i++) {
		uv_signal_init(&daemon->loop, &daemon->signals[i]);
		daemon->signals[i].data = daemon;
		uv_signal_start(&daemon->signals[i], on_signal, numbers[i]);
	}
	daemon->target = (struct ssh_target){
	    .profile = daemon->options->profile,
	    .ask = daemon->options->ask,
	    .ask_arg = daemon->options->ask_arg,
	    .locator = fs->locator,
	    .progress = daemon->options->progress,
	    .connect_timeout = CONNECT_TIMEOUT,
	};
	return remote_new(&fs->remote, &daemon->loop, &daemon->target, &events, daemon);
}

/* Files still open (the kernel tells no releases after a forced unmount) and requests that could
 * not be brought to their end in time know of names and contents. */
static void free_caches(struct fs *fs, bool late)
{
	struct ahead_figures figures = {0};

	if (fs->ahead)
		ahead_figures(fs->ahead, &figures);
	if (late || fs->requests_alive || fs->open_files || figures.underway) {
		log_debug("%u files were open, %u requests under way", fs->open_files,
		    fs->requests_alive);
		return;
	}
	ahead_free(fs->ahead);
	fs->ahead = NULL;
	disk_save_listings(fs, true);
	disk_leave(fs);
	pinned_free(fs);
	names_free(fs->names);
	fs->names = NULL;
	held_free(fs->held);
	targets_free(fs);
	fs->held = NULL;
	if (fs->contents)
		content_pool_free(fs->contents);
	fs->contents = NULL;
	uv_run(fs->loop, UV_RUN_NOWAIT);
	disk_end(fs);
}

int daemon_run(const struct daemon_options *options, bool *threads_left)
{
	static struct daemon daemon; /* outlives a thread that would not end in time */
	int err;

	daemon.options = options;
	signal(SIGPIPE, SIG_IGN);
	err = uv_loop_init(&daemon.loop);
	if (!err)
		err = begin(&daemon);
	if (err) {
		log_error("starting: %s", strerror(-err));
		return EXIT_SYSTEM;
	}
	uv_run(&daemon.loop, UV_RUN_DEFAULT);
	if (session_join_all(LEAVE_TIMEOUT_MS))
		daemon.threads_left = true;
	if (!daemon.late) {
		behind_stop(&daemon.fs);
		beside_stop(&daemon.fs);
	}
	failures_free(&daemon.fs);
	free_caches(&daemon.fs, daemon.late);
	uv_walk(&daemon.loop, on_closed_walk, NULL);
	uv_run(&daemon.loop, UV_RUN_NOWAIT);
	spooling_tell(&daemon.fs);
	spooling_stop(&daemon.fs);
	watched_free(&daemon.fs);
	free(daemon.offline);
	free(daemon.fs.mountpoint);
	uv_loop_close(&daemon.loop);
	*threads_left = daemon.threads_left;
	return daemon.code;
}

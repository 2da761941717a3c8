#include "fs/spooling.h"
#include "conf/log.h"
#include "conf/sdnotify.h"
#include "fs/control.h"
#include "fs/replay.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_MS 1000
#define PROGRESS_MS 200
/* Without a terminal it is said so often, and systemd is asked for more time. */
#define LINE_MS 10000
#define EXTEND_MS 1000
#define EXTEND_USEC "30000000"
#define FRUITLESS_MOST 3u
#define CONFLICTS_MOST 100

struct spooling {
	uv_timer_t timer, progress;
	struct replay *replay; /* under way, or NULL */
	bool drawn;
	bool recovering; /* what earlier mounts left: a lost link is waited for */
	unsigned fruitless;
	uint64_t said_ms, extended_ms;
	void (*done)(void *arg);
	void *arg;
	json_t *conflicts;
};

static void on_tick(uv_timer_t *timer)
{
	struct fs *fs = timer->data;

	spool_tick(fs->spool);
}

/* --- replays --- */

static void on_progress(uv_timer_t *timer)
{
	struct fs *fs = timer->data;
	struct spooling *spooling = fs->spooling;
	uint64_t now = fs_now_ms(fs);
	struct replay_figures figures;
	char text[128], state[256];

	replay_figures(spooling->replay, &figures);
	snprintf(text, sizeof(text), "%llu of %llu changes, %.1f of %.1f MiB",
	    (unsigned long long)figures.done, (unsigned long long)figures.changes,
	    (double)figures.done_bytes / (1 << 20), (double)figures.bytes / (1 << 20));
	if (now - spooling->extended_ms >= EXTEND_MS) {
		spooling->extended_ms = now;
		snprintf(state, sizeof(state),
		    "EXTEND_TIMEOUT_USEC=" EXTEND_USEC
		    "\nSTATUS=sending what an earlier mount left: %s",
		    text);
		sdnotify(state);
	}
	if (isatty(STDERR_FILENO)) {
		fprintf(stderr, "\r  %s ", text);
		spooling->drawn = true;
	} else if (now - spooling->said_ms >= LINE_MS) {
		spooling->said_ms = now;
		log_warning("%s: sending what an earlier mount left: %s", fs->profile->id, text);
	}
}

static int begin(
    struct fs *fs, uint64_t from, uint64_t to, bool failed, void (*done)(void *arg), void *arg);

static void on_link_back(void *arg, int err)
{
	struct fs *fs = arg;
	struct spooling *spooling = fs->spooling;

	if (err ||
	    begin(fs, 1, spool_recovered_end(fs->spool), false, spooling->done, spooling->arg)) {
		spooling->recovering = false;
		spooling->done(spooling->arg);
	}
}

/* What is left would be older than what the mount is going to change: it goes first, if the link
 * comes back. */
static bool goes_on(struct fs *fs, int err, const struct replay_figures *figures)
{
	struct spooling *spooling = fs->spooling;

	if (!spooling->recovering || (err != -ENOTCONN && err != -ETIMEDOUT))
		return false;
	spooling->fruitless = figures->done ? 0 : spooling->fruitless + 1;
	if (spooling->fruitless == FRUITLESS_MOST)
		return false;
	log_warning("%s: the connection was lost meanwhile; waiting for it", fs->profile->id);
	pool_wait(
	    remote_pool(fs->remote), LANE_FILES, fs->profile->timeout * 1000, on_link_back, fs);
	return true;
}

static void on_replayed(void *arg, int err, const struct replay_figures *figures)
{
	struct fs *fs = arg;
	struct spooling *spooling = fs->spooling;

	spooling->replay = NULL;
	uv_timer_stop(&spooling->progress);
	if (spooling->drawn)
		fputc('\n', stderr);
	spooling->drawn = false;
	if (err && goes_on(fs, err, figures))
		return;
	spooling->recovering = false;
	if (err)
		log_warning("%s: the changes could not all be sent: %s; the rest stays in %s",
		    fs->profile->id, strerror(-err), spool_path(fs->spool));
	else
		log_warning("%s: %llu changes sent, %llu failed, %u conflicts", fs->profile->id,
		    (unsigned long long)figures->done, (unsigned long long)figures->failed,
		    figures->conflicts);
	spooling->done(spooling->arg);
}

static int begin(
    struct fs *fs, uint64_t from, uint64_t to, bool failed, void (*done)(void *arg), void *arg)
{
	struct spooling *spooling = fs->spooling;

	spooling->done = done;
	spooling->arg = arg;
	spooling->replay = replay_start(fs, from, to, failed, on_replayed, fs);
	if (!spooling->replay)
		return -ENOMEM;
	spooling->said_ms = fs_now_ms(fs);
	uv_timer_start(&spooling->progress, on_progress, PROGRESS_MS, PROGRESS_MS);
	return 0;
}

int spooling_replay(struct fs *fs, void (*done)(void *arg), void *arg)
{
	struct spool_figures figures;

	if (fs->spool)
		spool_figures(fs->spool, &figures);
	if (!fs->spool || !figures.records) {
		done(arg);
		return 0;
	}
	log_warning("%s: sending %llu changes (%.1f MiB) that an earlier mount left",
	    fs->profile->id, (unsigned long long)figures.records,
	    (double)figures.bytes / (1 << 20));
	fs->spooling->recovering = true;
	return begin(fs, 1, spool_recovered_end(fs->spool), false, done, arg);
}

int spooling_retry(struct fs *fs, void (*done)(void *arg), void *arg)
{
	uint64_t from, to;

	if (!fs->spool || !spool_failed_range(fs->spool, &from, &to))
		return -ENOENT;
	if (fs->spooling->replay || fs->spooling->recovering)
		return -EBUSY;
	return begin(fs, from, to, true, done, arg);
}

unsigned spooling_discard(struct fs *fs, const char *path)
{
	size_t len = strlen(fs->mountpoint);
	char there[PATH_MAX];

	if (!fs->spool)
		return 0;
	if (strncmp(path, fs->mountpoint, len) || path[len] != '/')
		return spool_discard(fs->spool, path);
	snprintf(there, sizeof(there), "%s%s",
	    strcmp(remote_root(fs->remote), "/") ? remote_root(fs->remote) : "", path + len);
	return spool_discard(fs->spool, there);
}

unsigned spooling_failed(const struct fs *fs)
{
	struct spool_figures figures = {0};

	if (fs->spool)
		spool_figures(fs->spool, &figures);
	return figures.failed_files;
}

void spooling_note_conflict(struct fs *fs, const char *path, const char *place)
{
	json_t *conflicts = fs->spooling->conflicts;

	if (json_array_size(conflicts) < CONFLICTS_MOST)
		json_array_append_new(
		    conflicts, json_pack("{s:o, s:o}", "path", status_string(path), "kept_as",
				   status_string(place)));
}

/* --- life --- */

int spooling_start(struct fs *fs)
{
	const struct profile *profile = fs->profile;
	uint64_t limit = profile->spool_size_given ? (uint64_t)profile->spool_size << 20 : 0;

	if (profile->read_only || (profile->spool_size_given && !limit))
		return 0;
	fs->spooling = calloc(1, sizeof(*fs->spooling));
	fs->spool = fs->spooling ? spool_open(NULL, profile->id, limit) : NULL;
	if (!fs->spool)
		return -ENOMEM;
	uv_timer_init(fs->loop, &fs->spooling->timer);
	fs->spooling->timer.data = fs;
	uv_timer_start(&fs->spooling->timer, on_tick, TICK_MS, TICK_MS);
	uv_unref((uv_handle_t *)&fs->spooling->timer);
	uv_timer_init(fs->loop, &fs->spooling->progress);
	fs->spooling->progress.data = fs;
	fs->spooling->conflicts = json_array();
	return 0;
}

void spooling_quiet(struct fs *fs)
{
	if (!fs->spooling || uv_is_closing((uv_handle_t *)&fs->spooling->timer))
		return;
	uv_close((uv_handle_t *)&fs->spooling->timer, NULL);
	uv_close((uv_handle_t *)&fs->spooling->progress, NULL);
}

void spooling_stop(struct fs *fs)
{
	if (fs->spool)
		spool_close(fs->spool);
	fs->spool = NULL;
	if (fs->spooling)
		json_decref(fs->spooling->conflicts);
	free(fs->spooling);
	fs->spooling = NULL;
}

static void tell_one(void *arg, const char *path, int err, uint64_t changes)
{
	(void)arg;
	(void)changes;
	log_error("%s could not be written to the instance: %s", path, strerror(-err));
}

void spooling_tell(struct fs *fs)
{
	struct spool_figures figures;

	if (!fs->spool)
		return;
	spool_figures(fs->spool, &figures);
	if (!figures.records)
		return;
	spool_failures(fs->spool, tell_one, NULL);
	log_error("%llu changes (%llu bytes) are not on the instance; they lie in %s, and the next "
		  "mount sends them",
	    (unsigned long long)figures.records, (unsigned long long)figures.bytes,
	    spool_path(fs->spool));
}

/* --- the status --- */

static void add_failure(void *arg, const char *path, int err, uint64_t changes)
{
	json_array_append_new(arg, json_pack("{s:o, s:s, s:I}", "path", status_string(path),
				       "error", strerror(-err), "changes", (json_int_t)changes));
}

static void add_path(void *arg, const char *path)
{
	json_array_append_new(arg, status_string(path));
}

json_t *spooling_waiting(const struct fs *fs)
{
	json_t *files = json_array();
	uint64_t more = fs->spool ? spool_paths(fs->spool, add_path, files) : 0;

	return json_pack("{s:b, s:o, s:I}", "ok", 1, "files", files, "more", (json_int_t)more);
}

json_t *spooling_json(const struct fs *fs)
{
	struct spool_figures figures;
	json_t *failed = json_array();

	if (!fs->spool) {
		json_decref(failed);
		return json_null();
	}
	spool_figures(fs->spool, &figures);
	spool_failures(fs->spool, add_failure, failed);
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:i, s:s, s:o, s:O}", "path",
	    spool_path(fs->spool), "changes", (json_int_t)figures.records, "bytes",
	    (json_int_t)figures.bytes, "disk_bytes", (json_int_t)figures.disk_bytes, "limit_bytes",
	    (json_int_t)figures.limit_bytes, "broken", (int)figures.broken, "error",
	    figures.error ? strerror(-figures.error) : "", "failed", failed, "conflicts",
	    fs->spooling->conflicts);
}

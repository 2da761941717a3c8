/* What `vastfs status --json` shows; `vastfs status` prints the same for people
 * (fs/cmd/status_text.c). */
#include "cache/outbox.h"
#include "cache/store.h"
#include "conf/log.h"
#include "fs/ahead.h"
#include "fs/behind.h"
#include "fs/control.h"
#include "fs/failures.h"
#include "fs/spooling.h"
#include "fs/watched.h"
#include "transport/commands.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

json_t *status_string(const char *bytes)
{
	json_t *json = json_string(bytes);
	char *copy, *at;

	if (json || !(copy = strdup(bytes)))
		return json;
	for (at = copy; *at; at++) {
		if (*at & 0x80)
			*at = '?';
	}
	json = json_string(copy);
	free(copy);
	return json;
}

static json_t *sessions(struct fs *fs)
{
	struct pool *pool = remote_pool(fs->remote);
	json_t *list = json_array();
	unsigned i;

	for (i = 0; i < pool_sessions(pool); i++) {
		struct pool_figures_session session;

		memset(&session, 0, sizeof(session));
		pool_figures(pool, i, &session);
		json_array_append_new(list,
		    json_pack("{s:i, s:s, s:f, s:f, s:i, s:i, s:I, s:I, s:I, s:s, s:o, s:i, s:o}",
			"index", (int)session.index, "state", session.state, "rtt_ms",
			session.rtt_us / 1000.0, "min_rtt_ms", session.min_rtt_us / 1000.0,
			"channels", (int)session.channels, "requests_in_flight",
			(int)session.requests, "bytes_in_flight",
			(json_int_t)session.bytes_in_flight, "bytes_in",
			(json_int_t)session.bytes_in, "bytes_out", (json_int_t)session.bytes_out,
			"cipher", session.cipher, "server", status_string(session.peer),
			"reconnects", (int)session.reconnects, "last_error",
			status_string(session.last_error)));
	}
	return list;
}

static json_t *cache(struct fs *fs)
{
	struct content_figures figures;
	struct ahead_figures ahead;

	content_pool_figures(fs->contents, &figures);
	ahead_figures(fs->ahead, &ahead);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
	    "names", (json_int_t)names_count(fs->names), "present_bytes",
	    (json_int_t)figures.present_bytes, "limit_bytes", (json_int_t)figures.limit_bytes,
	    "hit_bytes", (json_int_t)figures.hit_bytes, "miss_bytes",
	    (json_int_t)figures.miss_bytes, "fetched_bytes", (json_int_t)figures.fetched_bytes,
	    "wasted_bytes", (json_int_t)figures.wasted_bytes, "dirty_bytes",
	    (json_int_t)figures.dirty_bytes, "dirty_limit_bytes",
	    (json_int_t)figures.dirty_limit_bytes, "folders_listed_ahead",
	    (json_int_t)fs->listed_ahead, "folders_listed_ahead_used",
	    (json_int_t)fs->listed_ahead_used, "files_read_ahead", (json_int_t)ahead.files,
	    "files_read_ahead_used", (json_int_t)ahead.used);
}

#define SENDING_MAX 8

static bool add_sending(void *arg, const char *path, uint64_t dirty, uint64_t size)
{
	json_array_append_new(
	    arg, json_pack("{s:o, s:I, s:I}", "path", status_string(path), "unsent_bytes",
		     (json_int_t)dirty, "size", (json_int_t)size));
	return json_array_size(arg) < SENDING_MAX;
}

static json_t *behind(struct fs *fs)
{
	json_t *sending = json_array();
	json_t *list = json_array();
	const struct failure *failure;
	struct content_figures figures;

	content_pool_figures(fs->contents, &figures);
	TAILQ_FOREACH (failure, &fs->failures, link)
		json_array_append_new(
		    list, json_pack("{s:I, s:s, s:o, s:s}", "time", (json_int_t)failure->when,
			      "change", failure->what, "path", status_string(failure->path),
			      "error", strerror(-failure->err)));
	openfile_each_dirty(fs, add_sending, sending);
	return json_pack("{s:I, s:I, s:I, s:f, s:o, s:I, s:o}", "changes",
	    (json_int_t)outbox_count(fs->outbox), "files", (json_int_t)behind_files(fs),
	    "sent_bytes", (json_int_t)figures.acked_bytes, "oldest_seconds",
	    (double)outbox_age_ms(fs->outbox, fs_now_ms(fs)) / 1000.0, "sending", sending, "failed",
	    (json_int_t)fs->failed, "failures", list);
}

static json_t *disk(struct fs *fs)
{
	struct store_figures figures = {.state = "off", .why = fs->store_off};
	struct content_figures contents;

	content_pool_figures(fs->contents, &contents);
	if (fs->store)
		store_figures(fs->store, &figures);
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "state",
	    figures.state, "why", figures.why ? figures.why : "", "bytes",
	    (json_int_t)figures.bytes, "limit_bytes", (json_int_t)figures.limit_bytes, "files",
	    (json_int_t)figures.files, "hit_bytes", (json_int_t)figures.hit_bytes, "miss_bytes",
	    (json_int_t)figures.miss_bytes, "written_bytes", (json_int_t)figures.written_bytes,
	    "skipped_bytes", (json_int_t)contents.skipped_bytes, "checksum_failures",
	    (json_int_t)figures.checksum_failures, "evicted_files",
	    (json_int_t)figures.evicted_files);
}

static json_t *forwards(struct fs *fs)
{
	json_t *list = json_array();
	unsigned i, n = fs->forwards ? forwards_count(fs->forwards) : 0;

	for (i = 0; i < n; i++) {
		struct forward_figures figures;

		memset(&figures, 0, sizeof(figures));
		forwards_figures(fs->forwards, i, &figures);
		json_array_append_new(list,
		    json_pack("{s:s, s:b, s:b, s:i, s:I, s:I, s:I, s:o}", "forward", figures.text,
			"listening", figures.listening, "connected", forwards_up(fs->forwards),
			"connections", (int)figures.connections, "accepted",
			(json_int_t)figures.accepted, "bytes_in", (json_int_t)figures.bytes_in,
			"bytes_out", (json_int_t)figures.bytes_out, "last_error",
			status_string(figures.last_error)));
	}
	return list;
}

static void add_message(void *arg, const char *line, long long when)
{
	json_array_append_new(
	    arg, json_pack("{s:I, s:o}", "time", (json_int_t)when, "text", status_string(line)));
}

json_t *status_json(struct fs *fs)
{
	static const char *const sources[] = {"profile", "direct", "proxy"};
	json_t *messages = json_array(), *status;
	enum locate_source source;
	struct endpoint place;

	locator_current(fs->locator, &place, &source);
	log_recent(add_message, messages);
	status = json_pack(
	    "{s:b, s:s, s:o, s:s, s:i, s:s, s:s, s:o, s:i, s:s, s:b, s:I, s:o, s:o, s:o, s:o, "
	    "s:{s:I, s:i, s:i, s:i, s:I, s:I, s:I, s:I}, s:o}",
	    "ok", 1, "id", fs->profile->id, "mountpoint", status_string(fs->mountpoint), "host",
	    place.host, "port", (int)place.port, "address_from", sources[source], "user",
	    fs->profile->user, "path", status_string(remote_root(fs->remote)), "pid", (int)getpid(),
	    "version", VASTFS_VERSION, "connected", pool_up(remote_pool(fs->remote)),
	    "uptime_seconds", (json_int_t)(time(NULL) - fs->started), "sessions", sessions(fs),
	    "cache", cache(fs), "behind", behind(fs), "forwards", forwards(fs), "requests",
	    "received", (json_int_t)fs->requests_received, "in_flight", (int)fs->requests_waiting,
	    "open_files", (int)fs->open_files, "programs", (int)commands_count(fs->commands),
	    "answered", (json_int_t)fs->requests_answered, "waited",
	    (json_int_t)fs->requests_waited, "timed_out", (json_int_t)fs->requests_timed_out,
	    "interrupted", (json_int_t)fs->requests_interrupted, "messages", messages);
	json_object_set_new(status, "disk_cache", disk(fs));
	json_object_set_new(status, "watch", watched_json(fs));
	json_object_set_new(status, "spool", spooling_json(fs));
	return status;
}

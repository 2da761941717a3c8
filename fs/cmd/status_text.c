#include "fs/cmd/status_text.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}

static long long number(const json_t *object, const char *key)
{
	return (long long)json_integer_value(json_object_get(object, key));
}

static double real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

/* "1.5 GiB"; four buffers, so that four may stand in one printf. */
static const char *bytes(long long n)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	static char buffers[4][32];
	static int next;
	char *buf = buffers[next++ & 3];
	double value = (double)n;
	int unit = 0;

	for (; value >= 1024 && unit < 4; unit++)
		value /= 1024;
	snprintf(buf, sizeof(buffers[0]), unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return buf;
}

static void print_sessions(const json_t *sessions)
{
	const json_t *session;
	size_t i;

	json_array_foreach(sessions, i, session)
	{
		printf("  session %lld   %-10s", number(session, "index"), text(session, "state"));
		if (real(session, "rtt_ms") > 0)
			printf(" round trip %.1f ms (least %.1f)", real(session, "rtt_ms"),
			    real(session, "min_rtt_ms"));
		printf("  in %s  out %s  %lld requests, %s in flight on %lld channels",
		    bytes(number(session, "bytes_in")), bytes(number(session, "bytes_out")),
		    number(session, "requests_in_flight"),
		    bytes(number(session, "bytes_in_flight")), number(session, "channels"));
		if (number(session, "reconnects"))
			printf("  reconnected %lld times", number(session, "reconnects"));
		printf("\n");
		if (text(session, "last_error")[0])
			printf("              last error: %s\n", text(session, "last_error"));
	}
}

static void print_forwards(const json_t *forwards)
{
	const json_t *forward;
	size_t i;

	json_array_foreach(forwards, i, forward)
	{
		printf("  forward     %s  %s, %lld connections (%lld so far)  in %s  out %s\n",
		    text(forward, "forward"),
		    !json_is_true(json_object_get(forward, "listening"))  ? "not listening"
		    : json_is_true(json_object_get(forward, "connected")) ? "ready"
									  : "connecting",
		    number(forward, "connections"), number(forward, "accepted"),
		    bytes(number(forward, "bytes_in")), bytes(number(forward, "bytes_out")));
		if (text(forward, "last_error")[0])
			printf("              last error: %s\n", text(forward, "last_error"));
	}
}

/* The last few; --json has the others. */
static void print_failures(const json_t *behind)
{
	const json_t *failure, *failures = json_object_get(behind, "failures");
	size_t i;

	if (!number(behind, "failed"))
		return;
	printf("  FAILED      %lld changes after they were answered; the last:\n",
	    number(behind, "failed"));
	json_array_foreach(failures, i, failure)
	{
		if (i >= 10)
			break;
		printf("              %s of %s: %s\n", text(failure, "change"),
		    text(failure, "path"), text(failure, "error"));
	}
}

static void print_messages(const json_t *messages)
{
	const json_t *message;
	char when[32];
	size_t i;

	json_array_foreach(messages, i, message)
	{
		time_t seconds = (time_t)number(message, "time");
		struct tm local;

		if (i >= 5 || !localtime_r(&seconds, &local))
			break;
		strftime(when, sizeof(when), "%H:%M:%S", &local);
		printf("  %s    %s\n", when, text(message, "text"));
	}
}

void status_text_disk(const json_t *disk)
{
	if (!strcmp(text(disk, "state"), "off")) {
		printf("  disk cache  off: %s\n", text(disk, "why"));
		return;
	}
	printf("  disk cache  %s of %s, %lld files; read %s from it, kept %s",
	    bytes(number(disk, "bytes")), bytes(number(disk, "limit_bytes")), number(disk, "files"),
	    bytes(number(disk, "hit_bytes")), bytes(number(disk, "written_bytes")));
	if (number(disk, "checksum_failures"))
		printf(", %lld damaged blocks", number(disk, "checksum_failures"));
	printf("\n");
	if (text(disk, "why")[0])
		printf("              %s\n", text(disk, "why"));
}

static void print_watch(const json_t *watch)
{
	const char *state = text(watch, "state");

	if (!strcmp(state, "no") || !strcmp(state, "starting"))
		printf("  watch       %s: %s\n", state, text(watch, "why"));
	else
		printf("  watch       by %s: %lld of at most %lld folders, %lld changes told\n",
		    state, number(watch, "folders"), number(watch, "limit"),
		    number(watch, "events"));
}

static void print_spool(const json_t *spool)
{
	const json_t *file;
	size_t i;

	if (!json_is_object(spool))
		return;
	printf("  spool       %lld changes, %s; %s of %s on disk in %s\n", number(spool, "changes"),
	    bytes(number(spool, "bytes")), bytes(number(spool, "disk_bytes")),
	    bytes(number(spool, "limit_bytes")), text(spool, "path"));
	if (text(spool, "error")[0])
		printf("              takes no more: %s\n", text(spool, "error"));
	if (number(spool, "broken"))
		printf(
		    "              %lld changes could not be read back\n", number(spool, "broken"));
	json_array_foreach(json_object_get(spool, "failed"), i, file)
	    printf("              NOT SENT: %s: %s\n", text(file, "path"), text(file, "error"));
	json_array_foreach(json_object_get(spool, "conflicts"), i, file)
	    printf("              changed there meanwhile: %s; yours is %s\n", text(file, "path"),
		text(file, "kept_as"));
}

void status_text_print(const json_t *status)
{
	const json_t *cache = json_object_get(status, "cache");
	const json_t *requests = json_object_get(status, "requests");
	const json_t *behind = json_object_get(status, "behind");

	printf("%s  %s@%s:%s (port %lld)  on %s\n", text(status, "id"), text(status, "user"),
	    text(status, "host"), text(status, "path"), number(status, "port"),
	    text(status, "mountpoint"));
	printf("  %-11s process %lld, up %lld s\n",
	    json_is_true(json_object_get(status, "connected")) ? "connected" : "NO LINK",
	    number(status, "pid"), number(status, "uptime_seconds"));
	print_sessions(json_object_get(status, "sessions"));
	printf("  requests    %lld waiting, %lld answered (%lld after a wait), %lld timed out, "
	       "%lld interrupted; %lld open files\n",
	    number(requests, "in_flight"), number(requests, "answered"), number(requests, "waited"),
	    number(requests, "timed_out"), number(requests, "interrupted"),
	    number(requests, "open_files"));
	printf("  cache       %lld names; %s of %s held; read %s from it, %s from the instance\n",
	    number(cache, "names"), bytes(number(cache, "present_bytes")),
	    bytes(number(cache, "limit_bytes")), bytes(number(cache, "hit_bytes")),
	    bytes(number(cache, "fetched_bytes")));
	printf("  ahead       %lld folders, %lld used; %lld small files, %lld used; %s not used\n",
	    number(cache, "folders_listed_ahead"), number(cache, "folders_listed_ahead_used"),
	    number(cache, "files_read_ahead"), number(cache, "files_read_ahead_used"),
	    bytes(number(cache, "wasted_bytes")));
	status_text_disk(json_object_get(status, "disk_cache"));
	print_watch(json_object_get(status, "watch"));
	printf("  unsent      %s of at most %s\n", bytes(number(cache, "dirty_bytes")),
	    bytes(number(cache, "dirty_limit_bytes")));
	if (number(behind, "changes"))
		printf("  behind      %lld changes, the oldest for %.1f s\n",
		    number(behind, "changes"), real(behind, "oldest_seconds"));
	print_failures(behind);
	print_spool(json_object_get(status, "spool"));
	print_forwards(json_object_get(status, "forwards"));
	print_messages(json_object_get(status, "messages"));
}

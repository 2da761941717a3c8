/*
 * A remote on a real sshd, for tests of operations by path. Included once by a test program; t is
 * what it works with.
 */
#ifndef VASTFS_TESTS_REMOTE_RIG_H
#define VASTFS_TESTS_REMOTE_RIG_H

#include "transport/remote.h"
#include "transport/remote_errno.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/fake/sshd.h"
#include <cmocka.h>

/* Not every program uses all of it. */
#define UNUSED __attribute__((unused))

#define POOR                                                                                       \
	"Subsystem sftp /usr/lib/openssh/sftp-server -P "                                          \
	"posix-rename,hardlink,fsync,lsetstat,limits,expand-path,statvfs,fstatvfs"

static struct {
	struct test_sshd sshd;
	uv_loop_t loop;
	struct ssh_target target;
	struct remote *remote;
	char dir[128]; /* the mounted folder */
	bool ready;
	struct ssh_error error;
	unsigned downs, ups;
} t;

/* What a call came back with. */
struct result {
	bool done;
	int err;
	struct sftp_attr attr;
	char text[PATH_MAX];
	struct statvfs st;
	unsigned entries;
	bool self;
	uint32_t links; /* of the last entry */
	unsigned long sum;
	char *seen; /* by number, for names n0, n1… */
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void run_until(const bool *done)
{
	uint64_t end = now_ms() + 40000;

	while (!*done) {
		uv_run(&t.loop, UV_RUN_NOWAIT);
		usleep(200);
		assert_true(now_ms() < end);
	}
}

static void on_done(void *arg, int err)
{
	struct result *result = arg;

	assert_false(result->done);
	result->done = true;
	result->err = err;
}

static void on_attr(void *arg, int err, const struct sftp_attr *attr)
{
	struct result *result = arg;

	if (attr)
		result->attr = *attr;
	assert_true(!err == (attr != NULL));
	on_done(arg, err);
}

UNUSED static void on_text(void *arg, int err, const char *text)
{
	struct result *result = arg;

	if (text)
		snprintf(result->text, sizeof(result->text), "%s", text);
	on_done(arg, err);
}

UNUSED static void on_statvfs(void *arg, int err, const struct statvfs *st)
{
	struct result *result = arg;

	if (st)
		result->st = *st;
	on_done(arg, err);
}

static void on_entry(void *arg, const char *name, const struct sftp_attr *attr, uint32_t links)
{
	struct result *result = arg;

	assert_true(strcmp(name, ".") && strcmp(name, "..") && !strchr(name, '/'));
	result->entries++;
	result->links = links;
	if (result->seen && name[0] == 'n') {
		assert_false(result->seen[atoi(name + 1)]);
		result->seen[atoi(name + 1)] = 1;
	}
}

static void on_list(void *arg, int err, const struct sftp_attr *self)
{
	((struct result *)arg)->self = self != NULL;
	on_done(arg, err);
}

static const struct remote_listing listing = {on_entry, on_list};

/* Calls and waits: CALL(&result, remote_x, args…). */
#define WAIT(result, call)                                                                         \
	do {                                                                                       \
		memset((result), 0, sizeof(*(result)));                                            \
		call;                                                                              \
		assert_false((result)->done);                                                      \
		run_until(&(result)->done);                                                        \
	} while (0)

/* t.dir/name; eight buffers in turn. */
static const char *at(const char *name)
{
	static char buf[8][PATH_MAX];
	static unsigned next;
	char *out = buf[next++ % 8];

	snprintf(out, PATH_MAX, "%s/%s", t.dir, name);
	return out;
}

static void make(const char *name, const char *text)
{
	FILE *out = fopen(at(name), "we");

	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

/* --- the connection ------------------------------------------------------------- */

static void on_ready(void *arg, const struct ssh_error *error)
{
	t.ready = true;
	if (error)
		t.error = *error;
}

static void on_link(void *arg, const struct ssh_error *error)
{
	if (error)
		t.downs++;
	else
		t.ups++;
}

static const struct remote_events events = {.ready = on_ready, .link = on_link};

static void connect_remote(void)
{
	t.ready = false;
	memset(&t.error, 0, sizeof(t.error));
	t.target.profile = &t.sshd.profile;
	t.target.connect_timeout = 10;
	assert_int_equal(remote_new(&t.remote, &t.loop, &t.target, &events, NULL), 0);
	run_until(&t.ready);
}

static int setup_with(const char *config)
{
	memset(&t, 0, sizeof(t));
	if (!test_sshd_available())
		return 0;
	test_sshd_start(&t.sshd, config);
	snprintf(t.dir, sizeof(t.dir), "%s/files", t.sshd.dir);
	assert_int_equal(mkdir(t.dir, 0755), 0);
	t.sshd.profile.path = t.dir;
	t.sshd.profile.connections = 1;
	t.sshd.profile.timeout = 20;
	uv_loop_init(&t.loop);
	connect_remote();
	if (t.error.kind)
		fail_msg("%s", t.error.text);
	return 0;
}

static int setup_rich(void **unused)
{
	return setup_with("");
}

UNUSED static int setup_poor(void **unused)
{
	return setup_with(POOR);
}

static void disconnect(void)
{
	remote_free(t.remote);
	t.remote = NULL;
	uv_run(&t.loop, UV_RUN_DEFAULT);
}

static int teardown(void **unused)
{
	if (!t.sshd.dir[0])
		return 0;
	disconnect();
	assert_int_equal(session_join_all(5000), 0);
	assert_int_equal(uv_loop_close(&t.loop), 0);
	test_sshd_stop(&t.sshd);
	return 0;
}

#define NEEDS_SSHD()                                                                               \
	do {                                                                                       \
		if (!t.sshd.dir[0])                                                                \
			skip();                                                                    \
	} while (0)

/* Files and folders below t.dir that processes of the sshd hold open. */
static unsigned handles(pid_t pid)
{
	char path[64], line[PATH_MAX];
	unsigned count = 0;
	FILE *in;
	int child;

	for (int fd = 0; fd < 300; fd++) {
		ssize_t len;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
		len = readlink(path, line, sizeof(line) - 1);
		if (len > 0 && !strncmp(line, t.dir, strlen(t.dir)))
			count++;
	}
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	in = fopen(path, "re");
	while (in && fscanf(in, "%d", &child) == 1)
		count += handles(child);
	if (in)
		fclose(in);
	return count;
}

/* Within five seconds: the server of a connection that was cut sees that by and by. */
static bool no_handles(void)
{
	unsigned tries = 0;

	while (handles(t.sshd.pid) && tries++ < 500)
		usleep(10000);
	return !handles(t.sshd.pid);
}

static unsigned names_in(const char *dir)
{
	struct result r;

	WAIT(&r, remote_list(t.remote, dir, 1, &listing, &r));
	assert_int_equal(r.err, 0);
	assert_true(r.self);
	return r.entries;
}

UNUSED static void kill_sessions(pid_t pid, bool top)
{
	char path[64];
	FILE *in;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	in = fopen(path, "re");
	while (in && fscanf(in, "%d", &child) == 1)
		kill_sessions(child, false);
	if (in)
		fclose(in);
	if (!top)
		kill(pid, SIGKILL);
}

#define RICH(f) cmocka_unit_test_setup_teardown(f, setup_rich, teardown)
#define POOR_TOO(f)                                                                                \
	RICH(f),                                                                                   \
	{                                                                                          \
#f " (poor server)", f, setup_poor, teardown, NULL                                 \
	}

#endif

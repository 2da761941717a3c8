/* Operations by path on a real sshd: what they do, and the errno of each failure, which local
 * system calls on the same folder must agree with. */
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

static void on_text(void *arg, int err, const char *text)
{
	struct result *result = arg;

	if (text)
		snprintf(result->text, sizeof(result->text), "%s", text);
	on_done(arg, err);
}

static void on_statvfs(void *arg, int err, const struct statvfs *st)
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

static const struct remote_events events = {on_ready, on_link};

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

static int setup_poor(void **unused)
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

/* --- what works -------------------------------------------------------------------- */

static void test_lookups(void **unused)
{
	struct result r;
	struct stat st;

	NEEDS_SSHD();
	make("file", "hello");
	assert_int_equal(chmod(at("file"), 04751), 0);
	assert_int_equal(symlink("file", at("link")), 0);
	assert_int_equal(stat(at("file"), &st), 0);
	WAIT(&r, remote_lstat(t.remote, at("file"), on_attr, &r));
	assert_int_equal(r.err, 0);
	assert_int_equal(r.attr.size, 5);
	assert_int_equal(r.attr.mode, st.st_mode);
	assert_int_equal(r.attr.mtime, st.st_mtime);
	WAIT(&r, remote_lstat(t.remote, at("link"), on_attr, &r));
	assert_true(S_ISLNK(r.attr.mode));
	WAIT(&r, remote_stat(t.remote, at("link"), on_attr, &r));
	assert_true(S_ISREG(r.attr.mode));
	WAIT(&r, remote_readlink(t.remote, at("link"), on_text, &r));
	assert_int_equal(r.err, 0);
	assert_string_equal(r.text, "file");
	WAIT(&r, remote_readlink(t.remote, at("file"), on_text, &r));
	assert_int_equal(r.err, -EINVAL);
	WAIT(&r, remote_lstat(t.remote, at("none"), on_attr, &r));
	assert_int_equal(r.err, -ENOENT);
	assert_string_equal(remote_root(t.remote), t.dir);
	assert_int_equal(remote_uid(t.remote), 0);
}

static void test_statvfs(void **unused)
{
	struct statvfs st;
	struct result r;

	NEEDS_SSHD();
	WAIT(&r, remote_statvfs(t.remote, t.dir, on_statvfs, &r));
	if (!remote_features(t.remote)->statvfs) {
		assert_int_equal(r.err, -EOPNOTSUPP);
		return;
	}
	assert_int_equal(r.err, 0);
	assert_int_equal(statvfs(t.dir, &st), 0);
	assert_int_equal(r.st.f_blocks, st.f_blocks);
	assert_int_equal(r.st.f_files, st.f_files);
}

static void test_changes(void **unused)
{
	struct stat st, st2;
	struct result r;
	char text[64];

	NEEDS_SSHD();
	WAIT(&r, remote_mkdir(t.remote, at("d"), 0750, on_done, &r));
	assert_int_equal(r.err, 0);
	assert_int_equal(stat(at("d"), &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0750);
	WAIT(&r, remote_symlink(t.remote, "../odd target\n", at("d/l"), on_done, &r));
	assert_int_equal(r.err, 0);
	assert_int_equal(readlink(at("d/l"), text, sizeof(text)), 14);
	assert_memory_equal(text, "../odd target\n", 14);
	make("d/f", "x");
	WAIT(&r, remote_link(t.remote, at("d/f"), at("d/g"), on_done, &r));
	if (remote_features(t.remote)->hardlink) {
		assert_int_equal(r.err, 0);
		assert_int_equal(stat(at("d/f"), &st), 0);
		assert_int_equal(stat(at("d/g"), &st2), 0);
		assert_int_equal(st.st_ino, st2.st_ino);
	} else {
		assert_int_equal(r.err, -EPERM);
		make("d/g", "x");
	}
	WAIT(&r, remote_unlink(t.remote, at("d/g"), on_done, &r));
	assert_int_equal(r.err, 0);
	WAIT(&r, remote_unlink(t.remote, at("d/l"), on_done, &r));
	assert_int_equal(r.err, 0);
	WAIT(&r, remote_unlink(t.remote, at("d/f"), on_done, &r));
	assert_int_equal(r.err, 0);
	WAIT(&r, remote_rmdir(t.remote, at("d"), on_done, &r));
	assert_int_equal(r.err, 0);
	assert_int_equal(access(at("d"), F_OK), -1);
}

static unsigned names_in(const char *dir)
{
	struct result r;

	WAIT(&r, remote_list(t.remote, dir, &listing, &r));
	assert_int_equal(r.err, 0);
	assert_true(r.self);
	return r.entries;
}

static void test_rename(void **unused)
{
	struct result r;
	struct stat st;

	NEEDS_SSHD();
	make("a", "a");
	make("b", "bb");
	WAIT(&r, remote_rename(t.remote, at("a"), at("b"), false, on_done, &r));
	assert_int_equal(r.err, -EEXIST);
	WAIT(&r, remote_rename(t.remote, at("a"), at("b"), true, on_done, &r));
	assert_int_equal(r.err, 0);
	assert_int_equal(stat(at("b"), &st), 0);
	assert_int_equal(st.st_size, 1);
	WAIT(&r, remote_rename(t.remote, at("b"), at("c"), false, on_done, &r));
	assert_int_equal(r.err, 0);
	WAIT(&r, remote_rename(t.remote, at("c"), at("b"), true, on_done, &r));
	assert_int_equal(r.err, 0);
	WAIT(&r, remote_rename(t.remote, at("b"), at("b"), true, on_done, &r));
	assert_int_equal(r.err, 0);
	/* A symlink is replaced itself, also when it leads nowhere. */
	assert_int_equal(symlink("nowhere", at("dangling")), 0);
	WAIT(&r, remote_rename(t.remote, at("b"), at("dangling"), false, on_done, &r));
	assert_int_equal(r.err, -EEXIST);
	WAIT(&r, remote_rename(t.remote, at("b"), at("dangling"), true, on_done, &r));
	assert_int_equal(r.err, 0);
	assert_int_equal(lstat(at("dangling"), &st), 0);
	assert_true(S_ISREG(st.st_mode));
	/* A folder replaces an empty one. */
	assert_int_equal(mkdir(at("d1"), 0700), 0);
	assert_int_equal(mkdir(at("d1/sub"), 0700), 0);
	assert_int_equal(mkdir(at("d2"), 0700), 0);
	WAIT(&r, remote_rename(t.remote, at("d1"), at("d2"), true, on_done, &r));
	assert_int_equal(r.err, 0);
	assert_int_equal(access(at("d2/sub"), F_OK), 0);
	assert_int_equal(names_in(t.dir), 2);
}

static void test_setstat(void **unused)
{
	struct sftp_attr attr = {.uid = 12, .gid = 34, .mode = 06755, .atime = 1000, .mtime = 2000};
	struct result r;
	struct stat st;

	NEEDS_SSHD();
	make("f", "12345");
	attr.flags =
	    SSH_FILEXFER_ATTR_UIDGID | SSH_FILEXFER_ATTR_PERMISSIONS | SSH_FILEXFER_ATTR_ACMODTIME;
	for (int nofollow = 0; nofollow < 2; nofollow++) {
		WAIT(&r, remote_setstat(t.remote, at("f"), &attr, nofollow, on_done, &r));
		assert_int_equal(r.err, 0);
		assert_int_equal(stat(at("f"), &st), 0);
		assert_int_equal(st.st_mode, S_IFREG | 06755); /* the owner went first */
		assert_int_equal(st.st_uid, 12);
		assert_int_equal(st.st_gid, 34);
		assert_int_equal(st.st_mtime, 2000);
		assert_int_equal(st.st_atime, 1000);
		assert_int_equal(chown(at("f"), 0, 0), 0);
	}
	attr.flags = SSH_FILEXFER_ATTR_SIZE;
	attr.size = 2;
	WAIT(&r, remote_setstat(t.remote, at("f"), &attr, false, on_done, &r));
	assert_int_equal(r.err, 0);
	assert_int_equal(stat(at("f"), &st), 0);
	assert_int_equal(st.st_size, 2);
	/* A symlink itself. */
	assert_int_equal(symlink("f", at("l")), 0);
	attr.flags = SSH_FILEXFER_ATTR_ACMODTIME;
	attr.mtime = 3000;
	WAIT(&r, remote_setstat(t.remote, at("l"), &attr, true, on_done, &r));
	if (!remote_features(t.remote)->lsetstat) {
		assert_int_equal(r.err, -EOPNOTSUPP);
		return;
	}
	assert_int_equal(r.err, 0);
	assert_int_equal(lstat(at("l"), &st), 0);
	assert_int_equal(st.st_mtime, 3000);
	attr.flags = SSH_FILEXFER_ATTR_PERMISSIONS;
	WAIT(&r, remote_setstat(t.remote, at("l"), &attr, true, on_done, &r));
	assert_int_equal(r.err, -EOPNOTSUPP);
	attr.flags = 0;
	WAIT(&r, remote_setstat(t.remote, at("f"), &attr, true, on_done, &r));
	assert_int_equal(r.err, 0);
}

/* --- what fails ----------------------------------------------------------------------- */

/* The errno that the system call gives here must come from there too. */
#define SAME(result, local, call)                                                                  \
	do {                                                                                       \
		int expected_;                                                                     \
		errno = 0;                                                                         \
		assert_int_equal((local), -1);                                                     \
		expected_ = -errno;                                                                \
		WAIT((result), call);                                                              \
		assert_int_equal((result)->err, expected_);                                        \
	} while (0)

static void test_errnos_of_names(void **unused)
{
	char longest[300];
	struct result r;

	NEEDS_SSHD();
	make("f", "f");
	make("g", "g");
	mkdir(at("d"), 0755);
	mkdir(at("e"), 0755);
	mkdir(at("full"), 0755);
	make("full/x", "");
	SAME(&r, mkdir(at("f"), 0700), remote_mkdir(t.remote, at("f"), 0700, on_done, &r));
	SAME(&r, mkdir(at("d"), 0700), remote_mkdir(t.remote, at("d"), 0700, on_done, &r));
	SAME(&r, mkdir(at("f/x"), 0700), remote_mkdir(t.remote, at("f/x"), 0700, on_done, &r));
	SAME(&r, mkdir(at("no/x"), 0700), remote_mkdir(t.remote, at("no/x"), 0700, on_done, &r));
	SAME(&r, rmdir(at("full")), remote_rmdir(t.remote, at("full"), on_done, &r));
	SAME(&r, rmdir(at("f")), remote_rmdir(t.remote, at("f"), on_done, &r));
	SAME(&r, rmdir(at("no")), remote_rmdir(t.remote, at("no"), on_done, &r));
	SAME(&r, unlink(at("d")), remote_unlink(t.remote, at("d"), on_done, &r));
	SAME(&r, unlink(at("no")), remote_unlink(t.remote, at("no"), on_done, &r));
	SAME(&r, unlink(at("f/x")), remote_unlink(t.remote, at("f/x"), on_done, &r));
	SAME(&r, symlink("t", at("f")), remote_symlink(t.remote, "t", at("f"), on_done, &r));
	SAME(&r, symlink("t", at("f/x")), remote_symlink(t.remote, "t", at("f/x"), on_done, &r));
	SAME(&r, symlink("", at("x")), remote_symlink(t.remote, "", at("x"), on_done, &r));
	WAIT(&r, remote_list(t.remote, at("f"), &listing, &r));
	assert_int_equal(r.err, -ENOTDIR);
	WAIT(&r, remote_list(t.remote, at("no"), &listing, &r));
	assert_int_equal(r.err, -ENOENT);
	memset(longest, 'x', 256);
	longest[256] = '\0';
	SAME(&r, mkdir(at(longest), 0700), remote_mkdir(t.remote, at(longest), 0700, on_done, &r));
	longest[255] = '\0';
	WAIT(&r, remote_mkdir(t.remote, at(longest), 0700, on_done, &r));
	assert_int_equal(r.err, 0);
	assert_int_equal(handles(t.sshd.pid), 0);
	if (!remote_features(t.remote)->hardlink)
		return;
	SAME(&r, link(at("f"), at("g")), remote_link(t.remote, at("f"), at("g"), on_done, &r));
	SAME(&r, link(at("no"), at("h")), remote_link(t.remote, at("no"), at("h"), on_done, &r));
	SAME(&r, link(at("d"), at("h")), remote_link(t.remote, at("d"), at("h"), on_done, &r));
	SAME(&r, link(at("f"), at("g/h")), remote_link(t.remote, at("f"), at("g/h"), on_done, &r));
}

static void test_errnos_of_renames(void **unused)
{
	struct result r;

	NEEDS_SSHD();
	make("f", "f");
	mkdir(at("d"), 0755);
	mkdir(at("e"), 0755);
	mkdir(at("full"), 0755);
	make("full/x", "");
#define RENAME(a, b)                                                                               \
	SAME(&r, rename(at(a), at(b)), remote_rename(t.remote, at(a), at(b), true, on_done, &r))
	RENAME("no", "x");
	RENAME("no", "f");
	RENAME("f", "d");
	RENAME("d", "f");
	RENAME("d", "full");
	RENAME("d", "d/in");
	RENAME("full/x", "full");
	RENAME("f", "no/x");
	RENAME("d", "f/x");
	RENAME("f", "f/x");
#undef RENAME
	assert_int_equal(names_in(t.dir), 4);
	assert_int_equal(handles(t.sshd.pid), 0);
}

static void got_errno(enum remote_asked asked, const char *path, int err, int expected)
{
	struct result r;

	WAIT(&r, remote_true_errno(t.remote, asked, path, NULL, err, on_done, &r));
	assert_int_equal(r.err, expected);
}

static void test_errnos_of_opens(void **unused)
{
	NEEDS_SSHD();
	make("f", "f");
	mkdir(at("d"), 0755);
	assert_int_equal(symlink("loop", at("loop")), 0);
	assert_int_equal(symlink("ping", at("pong")), 0);
	assert_int_equal(symlink("pong", at("ping")), 0);
	assert_int_equal(symlink("nowhere", at("dangling")), 0);
	got_errno(ASKED_OPEN_WRITE, at("d"), -EIO, -EISDIR);
	got_errno(ASKED_CREATE, at("d"), -EIO, -EISDIR);
	got_errno(ASKED_CREATE_NEW, at("f"), -EIO, -EEXIST);
	got_errno(ASKED_OPEN_READ, at("loop"), -ENOENT, -ELOOP);
	got_errno(ASKED_OPEN_READ, at("ping"), -ENOENT, -ELOOP);
	got_errno(ASKED_OPEN_READ, at("dangling"), -ENOENT, -ENOENT);
	got_errno(ASKED_CREATE, at("f/x"), -ENOENT, -ENOTDIR);
	got_errno(ASKED_CREATE, at("no/x"), -ENOENT, -ENOENT);
	got_errno(ASKED_WRITE, at("f"), -EIO, -EIO);
	got_errno(ASKED_WRITE, NULL, -EIO, -EIO);
}

/* --- listings ---------------------------------------------------------------------------- */

static void test_list_many(void **unused)
{
	struct result r;
	char name[32];

	NEEDS_SSHD();
	mkdir(at("many"), 0755);
	for (int i = 0; i < 20000; i++) {
		int fd;

		snprintf(name, sizeof(name), "many/n%d", i);
		fd = open(at(name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		close(fd);
	}
	memset(&r, 0, sizeof(r));
	r.seen = calloc(20000, 1);
	remote_list(t.remote, at("many"), &listing, &r);
	run_until(&r.done);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.entries, 20000);
	assert_int_equal(r.links, 1);
	for (int i = 0; i < 20000; i++)
		assert_int_equal(r.seen[i], 1);
	free(r.seen);
	mkdir(at("empty"), 0755);
	assert_int_equal(names_in(at("empty")), 0);
	/* All that went out behind the listings has been done. */
	WAIT(&r, remote_lstat(t.remote, t.dir, on_attr, &r));
	assert_int_equal(handles(t.sshd.pid), 0);
}

/* Many at once, more than the server has handles for in turn, and none is left. */
static void test_list_at_once(void **unused)
{
	static struct result r[300];
	struct result last;

	NEEDS_SSHD();
	mkdir(at("d"), 0755);
	make("d/x", "");
	memset(r, 0, sizeof(r));
	for (int i = 0; i < 300; i++)
		remote_list(t.remote, at(i % 2 ? "d" : "no"), &listing, &r[i]);
	for (int i = 0; i < 300; i++) {
		run_until(&r[i].done);
		if (i % 2) {
			assert_int_equal(r[i].err, 0);
			assert_int_equal(r[i].entries, 1);
		} else {
			assert_int_equal(r[i].err, -ENOENT);
		}
	}
	WAIT(&last, remote_lstat(t.remote, t.dir, on_attr, &last));
	assert_int_equal(handles(t.sshd.pid), 0);
}

/* --- losses ------------------------------------------------------------------------------------
 */

static void kill_sessions(pid_t pid, bool top)
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

/* The connections die in the middle of hundreds of operations: all complete as if nothing had
 * happened. */
static void test_killed_in_the_middle(void **unused)
{
	static struct result made[200], looked[200], listed[5];
	struct result r;
	char name[32];

	NEEDS_SSHD();
	mkdir(at("many"), 0755);
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "many/n%d", i);
		make(name, "");
	}
	memset(made, 0, sizeof(made));
	memset(looked, 0, sizeof(looked));
	memset(listed, 0, sizeof(listed));
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 5; i++) {
			memset(&listed[i], 0, sizeof(listed[i]));
			remote_list(t.remote, at("many"), &listing, &listed[i]);
		}
		for (int i = 0; i < 200; i++) {
			memset(&made[i], 0, sizeof(made[i]));
			memset(&looked[i], 0, sizeof(looked[i]));
			snprintf(name, sizeof(name), "r%d-%d", round, i);
			remote_mkdir(t.remote, at(name), 0755, on_done, &made[i]);
			remote_lstat(t.remote, at("many"), on_attr, &looked[i]);
		}
		for (int i = 0; i < round; i++)
			uv_run(&t.loop, UV_RUN_ONCE);
		kill_sessions(t.sshd.pid, true);
		for (int i = 0; i < 200; i++) {
			run_until(&made[i].done);
			assert_int_equal(made[i].err, 0);
			run_until(&looked[i].done);
			assert_int_equal(looked[i].err, 0);
		}
		for (int i = 0; i < 5; i++) {
			run_until(&listed[i].done);
			assert_int_equal(listed[i].err, 0);
			assert_int_equal(listed[i].entries, 3000);
		}
	}
	assert_int_equal(names_in(t.dir), 601);
	assert_true(t.downs >= 1 && t.downs == t.ups);
	WAIT(&r, remote_lstat(t.remote, t.dir, on_attr, &r));
	assert_int_equal(handles(t.sshd.pid), 0);
}

/* sshd is gone for good: everything ends in time. */
static void test_timeout(void **unused)
{
	struct result look, change, list;
	uint64_t start;

	NEEDS_SSHD();
	disconnect();
	t.sshd.profile.timeout = 3;
	connect_remote();
	assert_int_equal(t.error.kind, SSH_OK);
	test_sshd_kill(&t.sshd);
	memset(&look, 0, sizeof(look));
	memset(&change, 0, sizeof(change));
	memset(&list, 0, sizeof(list));
	start = now_ms();
	remote_lstat(t.remote, at("x"), on_attr, &look);
	remote_mkdir(t.remote, at("x"), 0700, on_done, &change);
	remote_list(t.remote, t.dir, &listing, &list);
	run_until(&look.done);
	run_until(&change.done);
	run_until(&list.done);
	assert_in_range(now_ms() - start, 2800, 4500);
	assert_int_equal(look.err, -ETIMEDOUT);
	assert_int_equal(change.err, -ETIMEDOUT);
	assert_int_equal(list.err, -ETIMEDOUT);
	assert_int_equal(t.downs, 1);
}

static void test_free_in_flight(void **unused)
{
	struct result look = {0}, change = {0}, list = {0};

	NEEDS_SSHD();
	remote_lstat(t.remote, at("x"), on_attr, &look);
	remote_mkdir(t.remote, at("x"), 0700, on_done, &change);
	remote_list(t.remote, t.dir, &listing, &list);
	disconnect();
	assert_true(look.done && change.done && list.done);
	assert_int_equal(look.err, -ENOTCONN);
	assert_int_equal(change.err, -ENOTCONN);
	assert_int_equal(list.err, -ENOTCONN);
}

/* --- the folder to mount ------------------------------------------------------------------------
 */

static void mounts(const char *path, const char *expected)
{
	disconnect();
	t.sshd.profile.path = (char *)(uintptr_t)path;
	connect_remote();
	if (t.error.kind)
		fail_msg("%s", t.error.text);
	assert_string_equal(remote_root(t.remote), expected);
}

static void refuses(const char *path, const char *words)
{
	disconnect();
	t.sshd.profile.path = (char *)(uintptr_t)path;
	connect_remote();
	assert_int_equal(t.error.kind, SSH_NO_PATH);
	assert_non_null(strstr(t.error.text, words));
	assert_non_null(strstr(t.error.text, path));
}

static void test_root(void **unused)
{
	char dotted[256], folder[160];
	const char *home = getenv("HOME") ? getenv("HOME") : "/root";

	NEEDS_SSHD();
	snprintf(dotted, sizeof(dotted), "/%s//./", t.dir);
	mounts(dotted, t.dir);
	snprintf(dotted, sizeof(dotted), "%s/../files", t.dir);
	mounts(dotted, t.dir);
	assert_int_equal(symlink(t.dir, at("to-itself")), 0);
	snprintf(folder, sizeof(folder), "%s", at("to-itself"));
	mounts(folder, t.dir);
	mounts("/", "/");
	mounts("~", home);
	mounts("~/", home);
	if (access("/workspace", F_OK))
		mounts(NULL, home);
	else
		mounts(NULL, "/workspace");
	snprintf(folder, sizeof(folder), "%s", at("none"));
	refuses(folder, "does not exist");
	make("file", "");
	snprintf(folder, sizeof(folder), "%s", at("file"));
	refuses(folder, "is not a folder");
}

int main(void)
{
#define RICH(f) cmocka_unit_test_setup_teardown(f, setup_rich, teardown)
#define POOR_TOO(f)                                                                                \
	RICH(f),                                                                                   \
	{                                                                                          \
#f " (poor server)", f, setup_poor, teardown, NULL                                 \
	}
	const struct CMUnitTest tests[] = {
	    POOR_TOO(test_lookups),
	    POOR_TOO(test_statvfs),
	    POOR_TOO(test_changes),
	    POOR_TOO(test_rename),
	    POOR_TOO(test_setstat),
	    POOR_TOO(test_errnos_of_names),
	    POOR_TOO(test_errnos_of_renames),
	    RICH(test_errnos_of_opens),
	    RICH(test_list_many),
	    RICH(test_list_at_once),
	    RICH(test_killed_in_the_middle),
	    RICH(test_timeout),
	    RICH(test_free_in_flight),
	    RICH(test_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

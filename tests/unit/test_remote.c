/* Operations by path on a real sshd: what they do, and the errno of each failure, which local
 * system calls on the same folder must agree with. */
#include "tests/unit/remote_rig.h"

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

/* What a rename here has put aside is not listed; what another process left is. */
static void test_aside(void **unused)
{
	char name[64];

	NEEDS_SSHD();
	snprintf(name, sizeof(name), ".vastfs-replaced-%d-1f-2", (int)getpid());
	make(name, "a");
	assert_int_equal(names_in(t.dir), 0);
	make(".vastfs-replaced-1-1f-2", "b");
	assert_int_equal(names_in(t.dir), 1);
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
	/* What came there meanwhile stays. */
	make("a", "a");
	WAIT(&r, remote_rename_free(t.remote, at("a"), at("b"), on_done, &r));
	assert_int_equal(r.err, -EEXIST);
	WAIT(&r, remote_rename_free(t.remote, at("a"), at("c"), on_done, &r));
	assert_int_equal(r.err, 0);
	WAIT(&r, remote_rename_free(t.remote, at("a"), at("c"), on_done, &r));
	assert_int_equal(r.err, -ENOENT);
	WAIT(&r, remote_rename(t.remote, at("c"), at("b"), true, on_done, &r));
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

/* --- losses ------------------------------------------------------------------------------------
 */

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
			remote_list(t.remote, at("many"), 1, &listing, &listed[i]);
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
	assert_true(no_handles());
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
	remote_list(t.remote, t.dir, 1, &listing, &list);
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
	remote_list(t.remote, t.dir, 1, &listing, &list);
	disconnect();
	assert_true(look.done && change.done && list.done);
	assert_int_equal(look.err, -ENOTCONN);
	assert_int_equal(change.err, -ENOTCONN);
	assert_int_equal(list.err, -ENOTCONN);
}

/* --- poor connections ------------------------------------------------------------------ */

static int setup_one_channel(void **unused)
{
	return setup_with("MaxSessions 1\nMaxStartups 2:100:3");
}

/* An sshd that grants one channel per connection: all lanes share it. */
static void test_one_channel(void **unused)
{
	static struct result looked[100];
	struct pool *pool;
	struct result r;
	bool shared = false;

	NEEDS_SSHD();
	pool = remote_pool(t.remote);
	memset(looked, 0, sizeof(looked));
	for (int i = 0; i < 100; i++)
		remote_lstat(t.remote, t.dir, on_attr, &looked[i]);
	for (int i = 0; i < 100; i++) {
		run_until(&looked[i].done);
		assert_int_equal(looked[i].err, 0);
	}
	for (int i = 0; i < 1000 && !shared; i++) {
		struct pool_channel *names = pool_channel(pool, LANE_NAMES, false);

		WAIT(&r, remote_lstat(t.remote, t.dir, on_attr, &r));
		assert_int_equal(r.err, 0);
		shared = names && pool_channel(pool, LANE_FILES, false) == names &&
			 pool_channel(pool, LANE_BULK, true) == names &&
			 pool_channel(pool, LANE_COPY, false) == names;
	}
	assert_true(shared);
	assert_int_equal(t.downs, 0);
	assert_true(pool_up(pool));
}

/* Nobody listens: said at once, not after a minute. */
static void test_refused(void **unused)
{
	unsigned port;
	uint64_t start;

	NEEDS_SSHD();
	disconnect();
	port = t.sshd.profile.port;
	t.sshd.profile.port = test_free_port();
	start = now_ms();
	connect_remote();
	assert_int_equal(t.error.kind, SSH_REFUSED);
	assert_true(now_ms() - start < 3000);
	t.sshd.profile.port = port;
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
	const struct CMUnitTest tests[] = {
	    POOR_TOO(test_lookups),
	    POOR_TOO(test_statvfs),
	    POOR_TOO(test_changes),
	    POOR_TOO(test_rename),
	    RICH(test_aside),
	    POOR_TOO(test_setstat),
	    RICH(test_killed_in_the_middle),
	    RICH(test_timeout),
	    RICH(test_free_in_flight),
	    cmocka_unit_test_setup_teardown(test_one_channel, setup_one_channel, teardown),
	    RICH(test_refused),
	    RICH(test_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The errno of each failure on a real sshd, which local system calls on the same folder must agree
 * with. */
#include "tests/unit/remote_rig.h"

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
	WAIT(&r, remote_list(t.remote, at("f"), 1, &listing, &r));
	assert_int_equal(r.err, -ENOTDIR);
	WAIT(&r, remote_list(t.remote, at("no"), 1, &listing, &r));
	assert_int_equal(r.err, -ENOENT);
	memset(longest, 'x', 256);
	longest[256] = '\0';
	SAME(&r, mkdir(at(longest), 0700), remote_mkdir(t.remote, at(longest), 0700, on_done, &r));
	longest[255] = '\0';
	WAIT(&r, remote_mkdir(t.remote, at(longest), 0700, on_done, &r));
	assert_int_equal(r.err, 0);
	assert_true(no_handles());
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
	assert_true(no_handles());
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

/* --- file systems ------------------------------------------------------------------------ */

/* Mounts something in the sshd's own mount namespace. */
/* -r: in a chroot, too, the server's root is ours. */
static void mount_there(const char *name, const char *type, const char *options)
{
	char pid[32];

	assert_int_equal(mkdir(at(name), 0755), 0);
	snprintf(pid, sizeof(pid), "%d", (int)t.sshd.pid);
	test_run("nsenter", "-t", pid, "-m", "-r", "mount", "-t", type, "-o", options, "none",
	    at(name), NULL);
}

static void fill(const char *name)
{
	char pid[32], of[PATH_MAX];

	snprintf(pid, sizeof(pid), "%d", (int)t.sshd.pid);
	snprintf(of, sizeof(of), "of=%s", at(name));
	test_run("nsenter", "-t", pid, "-m", "-r", "dd", "status=none", "if=/dev/zero", of,
	    "bs=64k", "count=1", NULL);
}

static void test_errnos_of_file_systems(void **unused)
{
	struct result r;

	NEEDS_SSHD();
	mount_there("small", "tmpfs", "size=64k,nr_inodes=3");
	mount_there("ro", "tmpfs", "ro");
	make("f", "f");
	mkdir(at("d"), 0755);
	fill("small/fill");
	got_errno(ASKED_WRITE, at("small/fill"), -EIO, -ENOSPC);
	got_errno(ASKED_TRUNCATE, at("small/fill"), -EIO, -ENOSPC);
	WAIT(&r, remote_mkdir(t.remote, at("small/d"), 0700, on_done, &r));
	assert_int_equal(r.err, 0);
	WAIT(&r, remote_mkdir(t.remote, at("small/e"), 0700, on_done, &r));
	assert_int_equal(r.err, -ENOSPC);
	WAIT(&r, remote_symlink(t.remote, "t", at("small/l"), on_done, &r));
	assert_int_equal(r.err, -ENOSPC);
	got_errno(ASKED_CREATE_NEW, at("small/x"), -EIO, -ENOSPC);
	WAIT(&r, remote_mkdir(t.remote, at("ro/e"), 0700, on_done, &r));
	assert_int_equal(r.err, -EROFS);
	got_errno(ASKED_CREATE, at("ro/x"), -EIO, -EROFS);
	WAIT(&r, remote_rename(t.remote, at("f"), at("small/f"), true, on_done, &r));
	assert_int_equal(r.err, -EXDEV);
	WAIT(&r, remote_rename(t.remote, at("f"), at("small/fill"), true, on_done, &r));
	assert_int_equal(r.err, -EXDEV);
	WAIT(&r, remote_rename(t.remote, at("d"), at("small/x"), true, on_done, &r));
	assert_int_equal(r.err, -EXDEV);
	WAIT(&r, remote_link(t.remote, at("f"), at("small/f"), on_done, &r));
	assert_int_equal(r.err, -EXDEV);
	WAIT(&r, remote_unlink(t.remote, at("small/fill"), on_done, &r));
	assert_int_equal(r.err, 0);
	WAIT(&r, remote_rmdir(t.remote, at("small/d"), on_done, &r));
	assert_int_equal(r.err, 0);
	WAIT(&r, remote_rmdir(t.remote, at("small"), on_done, &r));
	assert_int_equal(r.err, -EBUSY);
}

/* --- rights ---------------------------------------------------------------------------------- */

/* A login without root's rights: "man" owns its home folder on Debian. */
#define OTHER_HOME "/var/cache/man"

static int setup_other(void **unused)
{
	struct stat home;

	memset(&t, 0, sizeof(t));
	if (!test_sshd_available() || stat(OTHER_HOME, &home) || !home.st_uid)
		return 0;
	test_sshd_start(&t.sshd, "Subsystem sftp internal-sftp\nForceCommand internal-sftp");
	assert_int_equal(chmod(t.sshd.dir, 0755), 0);
	snprintf(t.dir, sizeof(t.dir), "%s/files", t.sshd.dir);
	assert_int_equal(mkdir(t.dir, 0755), 0);
	t.sshd.profile.path = t.dir;
	t.sshd.profile.timeout = 20;
	t.sshd.profile.user = (char *)(uintptr_t) "man";
	uv_loop_init(&t.loop);
	connect_remote();
	if (t.error.kind)
		fail_msg("%s", t.error.text);
	assert_int_equal(remote_uid(t.remote), home.st_uid);
	return 0;
}

static void test_errnos_of_rights(void **unused)
{
	struct sftp_attr attr = {.mode = 0600, .uid = 0, .gid = 0, .mtime = 1, .atime = 1};
	uint32_t uid;
	struct result r;

	NEEDS_SSHD();
	uid = remote_uid(t.remote);
	make("f", "f");
	mkdir(at("closed"), 0700);
	make("closed/f", "");
	mkdir(at("sticky"), 0755);
	assert_int_equal(chmod(at("sticky"), 01777), 0);
	make("sticky/f", "");
	mkdir(at("sticky/d"), 0755);
	mkdir(at("own"), 0755);
	make("own/f", "");
	assert_int_equal(chown(at("own"), uid, uid), 0);
	assert_int_equal(chown(at("own/f"), uid, uid), 0);
#define GIVES(expected, call)                                                                      \
	do {                                                                                       \
		WAIT(&r, call);                                                                    \
		assert_int_equal(r.err, expected);                                                 \
	} while (0)
	GIVES(-EACCES, remote_mkdir(t.remote, at("d"), 0700, on_done, &r));
	GIVES(-EACCES, remote_unlink(t.remote, at("f"), on_done, &r));
	GIVES(-EACCES, remote_rmdir(t.remote, at("sticky"), on_done, &r));
	GIVES(-EACCES, remote_rename(t.remote, at("f"), at("g"), true, on_done, &r));
	GIVES(-EACCES, remote_lstat(t.remote, at("closed/f"), on_attr, &r));
	GIVES(-EACCES, remote_list(t.remote, at("closed"), 1, &listing, &r));
	GIVES(-EACCES, remote_symlink(t.remote, "t", at("l"), on_done, &r));
	GIVES(-EPERM, remote_unlink(t.remote, at("sticky/f"), on_done, &r));
	GIVES(-EPERM, remote_rmdir(t.remote, at("sticky/d"), on_done, &r));
	GIVES(-EPERM, remote_rename(t.remote, at("sticky/f"), at("sticky/g"), true, on_done, &r));
	GIVES(-EPERM, remote_rename(t.remote, at("own/f"), at("sticky/f"), true, on_done, &r));
	GIVES(-EPERM, remote_link(t.remote, at("own"), at("own/l"), on_done, &r));
	for (int nofollow = 0; nofollow < 2; nofollow++) {
		attr.flags = SSH_FILEXFER_ATTR_PERMISSIONS;
		GIVES(-EPERM, remote_setstat(t.remote, at("f"), &attr, nofollow, on_done, &r));
		GIVES(-EACCES,
		    remote_setstat(t.remote, at("closed/f"), &attr, nofollow, on_done, &r));
		attr.flags = SSH_FILEXFER_ATTR_ACMODTIME;
		GIVES(-EPERM, remote_setstat(t.remote, at("f"), &attr, nofollow, on_done, &r));
		attr.flags = SSH_FILEXFER_ATTR_UIDGID;
		GIVES(-EPERM, remote_setstat(t.remote, at("own/f"), &attr, nofollow, on_done, &r));
	}
	attr.flags = SSH_FILEXFER_ATTR_SIZE;
	attr.size = 0;
	GIVES(-EACCES, remote_setstat(t.remote, at("f"), &attr, false, on_done, &r));
#undef GIVES
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    POOR_TOO(test_errnos_of_names),
	    POOR_TOO(test_errnos_of_renames),
	    RICH(test_errnos_of_opens),
	    RICH(test_errnos_of_file_systems),
	    cmocka_unit_test_setup_teardown(test_errnos_of_rights, setup_other, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

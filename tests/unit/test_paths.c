/* Where things lie: the home folder, the configuration, the folder of the control sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/paths.h"
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[64], runtime[80];

static int setup(void **state)
{
	snprintf(top, sizeof(top), "/tmp/vastfs-test-XXXXXX");
	if (!mkdtemp(top))
		return -1;
	snprintf(runtime, sizeof(runtime), "%s/vastfs", top);
	setenv("HOME", "/home/me", 1);
	setenv("XDG_RUNTIME_DIR", top, 1);
	unsetenv("XDG_CONFIG_HOME");
	return 0;
}

static int teardown(void **state)
{
	remove(runtime);
	remove(top);
	return 0;
}

static void expect(char *got, const char *want)
{
	assert_non_null(got);
	assert_string_equal(got, want);
	free(got);
}

static void test_home_and_expand(void **state)
{
	expect(paths_home(), "/home/me");
	expect(paths_expand("~"), "/home/me");
	expect(paths_expand("~/a b"), "/home/me/a b");
	expect(paths_expand("/x/~"), "/x/~");
	expect(paths_expand("~bob/x"), "~bob/x");
	expect(paths_expand(""), "");
	/* As in a systemd mount unit. */
	unsetenv("HOME");
	expect(paths_home(), getpwuid(geteuid())->pw_dir);
	setenv("HOME", "", 1);
	expect(paths_home(), getpwuid(geteuid())->pw_dir);
}

static void test_config_file(void **state)
{
	expect(paths_config_file(), "/home/me/.config/vastfs/config.ini");
	setenv("XDG_CONFIG_HOME", "/cfg", 1);
	expect(paths_config_file(), "/cfg/vastfs/config.ini");
	setenv("XDG_CONFIG_HOME", "relative", 1);
	expect(paths_config_file(), "/home/me/.config/vastfs/config.ini");
	setenv("XDG_CONFIG_HOME", "", 1);
	expect(paths_config_file(), "/home/me/.config/vastfs/config.ini");
}

static void test_runtime_dir_is_made_private(void **state)
{
	struct conf_error error = {""};
	mode_t old = umask(0);
	struct stat st;
	char *dir;

	assert_int_equal(paths_runtime_dir(&dir, &error), 0);
	umask(old);
	expect(dir, runtime);
	assert_int_equal(stat(runtime, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	/* And again, when it is there. */
	assert_int_equal(paths_runtime_dir(&dir, &error), 0);
	expect(dir, runtime);
}

static void refused(int err, const char *words)
{
	struct conf_error error = {""};
	char *dir;

	assert_int_equal(paths_runtime_dir(&dir, &error), -err);
	assert_null(dir);
	assert_non_null(strstr(error.text, runtime));
	assert_non_null(strstr(error.text, words));
}

static void test_runtime_dir_is_refused(void **state)
{
	assert_int_equal(mkdir(runtime, 0700), 0);
	chmod(runtime, 0750);
	refused(EPERM, "chmod 700");
	chmod(runtime, 0701);
	refused(EPERM, "chmod 700");
	rmdir(runtime);
	assert_int_equal(symlink("/tmp", runtime), 0);
	refused(ENOTDIR, "symbolic link");
	unlink(runtime);
	fclose(fopen(runtime, "w"));
	refused(ENOTDIR, "not a folder");
	unlink(runtime);
	if (geteuid() != 0)
		return;
	assert_int_equal(mkdir(runtime, 0700), 0);
	assert_int_equal(chown(runtime, 12345, 12345), 0);
	refused(EPERM, "another user (uid 12345)");
}

static void test_runtime_dir_of_another_user_is_passed_over(void **state)
{
	struct conf_error error = {""};
	char *dir = NULL;

	/* After su, say. What it falls back to depends on the machine; it is not this one. */
	if (geteuid() == 0)
		assert_int_equal(chown(top, 12345, 12345), 0);
	else
		setenv("XDG_RUNTIME_DIR", "/proc", 1);
	if (paths_runtime_dir(&dir, &error) == 0) {
		assert_string_not_equal(dir, runtime);
		assert_string_not_equal(dir, "/proc/vastfs");
	} else {
		assert_null(strstr(error.text, top));
	}
	free(dir);
	assert_int_equal(access(runtime, F_OK), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_home_and_expand),
	    TEST(test_config_file),
	    TEST(test_runtime_dir_is_made_private),
	    TEST(test_runtime_dir_is_refused),
	    TEST(test_runtime_dir_of_another_user_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

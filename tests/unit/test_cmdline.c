/* The command line of mount.vastfs, as people and mount(8) write it, and the mountpoint's check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/cmdline.h"
#include "conf/mountpoint.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the words ------------------------------------------------------------ */

/* Parses words parted by '|', after the program's name. */
static int parse(const char *words, struct cmdline *out, struct conf_error *error)
{
	static char copy[1024];
	char *argv[64] = {(char *)"mount.vastfs"}, *p = copy;
	int argc = 1;

	error->text[0] = '\0';
	snprintf(copy, sizeof(copy), "%s", words);
	while (*words && p)
		argv[argc++] = strsep(&p, "|");
	return cmdline_parse(argc, argv, out, error);
}

static void good(const char *words, struct cmdline *out)
{
	struct conf_error error;

	if (parse(words, out, &error))
		fail_msg("%s: %s", words, error.text);
}

static void bad(const char *words, const char *what)
{
	struct conf_error error;
	struct cmdline c;

	assert_int_equal(parse(words, &c, &error), -EINVAL);
	if (!strstr(error.text, what))
		fail_msg("%s: no \"%s\" in: %s", words, what, error.text);
	cmdline_fini(&c);
}

static void test_every_flag(void **state)
{
	struct cmdline c;

	good("12345|/m", &c);
	assert_false(c.foreground || c.debug || c.verbose || c.sloppy || c.version || c.help);
	assert_string_equal(c.request.spec, "12345");
	assert_string_equal(c.mountpoint, "/m");
	assert_int_equal(c.request.n_options + c.request.n_forwards, 0);
	cmdline_fini(&c);

	good("-f|-v|-v|-n|-s|12345|/m", &c);
	assert_true(c.foreground && c.sloppy && c.request.sloppy);
	assert_int_equal(c.verbose, 2);
	cmdline_fini(&c);

	good("-Cp|2222|u@h|/m", &c);
	assert_int_equal(c.request.n_options, 2);
	assert_string_equal(c.request.options[0], "Compression=yes");
	assert_string_equal(c.request.options[1], "port=2222");
	cmdline_fini(&c);

	good("-dvvv|12345|/m", &c);
	assert_true(c.debug && c.foreground);
	assert_int_equal(c.verbose, 3);
	cmdline_fini(&c);
	good("-V", &c);
	assert_true(c.version);
	cmdline_fini(&c);
	good("--help", &c);
	assert_true(c.help);
	cmdline_fini(&c);
}

static void test_as_mount_writes_it(void **state)
{
	struct cmdline c;

	/* mount(8): spec dir [-sfnv] [-N ns] [-o options] [-t type] */
	good("root@h:/x|/m|-sv|-N|/proc/1/ns/mnt|-o|rw,port=5|-t|vastfs", &c);
	assert_string_equal(c.request.spec, "root@h:/x");
	assert_string_equal(c.mountpoint, "/m");
	assert_int_equal(c.request.n_options, 2);
	assert_string_equal(c.request.options[0], "rw");
	assert_string_equal(c.request.options[1], "port=5");
	cmdline_fini(&c);

	/* Between the operands; and operands stay operands under POSIXLY_CORRECT. */
	setenv("POSIXLY_CORRECT", "1", 1);
	good("-f|a|-oro|b|-v", &c);
	unsetenv("POSIXLY_CORRECT");
	assert_string_equal(c.request.spec, "a");
	assert_string_equal(c.mountpoint, "b");
	assert_string_equal(c.request.options[0], "ro");
	assert_int_equal(c.verbose, 1);
	cmdline_fini(&c);

	good("-f|--|-a|-b", &c);
	assert_string_equal(c.request.spec, "-a");
	assert_string_equal(c.mountpoint, "-b");
	cmdline_fini(&c);
}

static void test_options_and_forwards(void **state)
{
	struct cmdline c;

	good("-o|key=/a\\,b\\\\c\\d,,ro,|-o||-o|host=h|-L|8080|-L9:/s|x|/m", &c);
	assert_int_equal(c.request.n_options, 3);
	assert_string_equal(c.request.options[0], "key=/a,b\\c\\d");
	assert_string_equal(c.request.options[1], "ro");
	assert_string_equal(c.request.options[2], "host=h");
	assert_int_equal(c.request.n_forwards, 2);
	assert_string_equal(c.request.forwards[0], "8080");
	assert_string_equal(c.request.forwards[1], "9:/s");
	cmdline_fini(&c);
}

static void test_refusals(void **state)
{
	bad("", "no instance is named");
	bad("-f", "no instance is named");
	bad("12345", "mount.vastfs 12345 FOLDER");
	bad("12345|/m|/n", "\"/n\": one word too many");
	bad("12345|/m|--|/n", "\"/n\": one word too many");
	bad("-x|12345|/m", "-x: unknown flag");
	bad("-fx|12345|/m", "-x: unknown flag");
	bad("-i|k|12345|/m", "-i: write -o key=FILE");
	bad("-F|f|12345|/m", "~/.ssh/config");
	bad("--force|12345|/m", "--force: unknown flag");
	bad("12345|/m|-o", "-o: it wants a value");
	bad("12345|/m|-L", "-L: it wants a value");
}

static void test_help_names_every_key(void **state)
{
	static char text[16384];
	FILE *f = tmpfile();
	int saved = dup(STDOUT_FILENO);
	size_t n;

	assert_non_null(f);
	fflush(stdout);
	dup2(fileno(f), STDOUT_FILENO);
	cmdline_print_help("mount.vastfs");
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	rewind(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	for (const struct profile_key *key = profile_keys(); key->name; key++) {
		char flag[64], value[64];

		snprintf(flag, sizeof(flag), "\n    %s ", key->name);
		snprintf(value, sizeof(value), "\n    %s=", key->name);
		if (!strstr(text, key->type == KEY_FLAG ? flag : value))
			fail_msg("%s is not in the help", key->name);
	}
}

/* --- mountinfo --------------------------------------------------------------- */

static const char table[] = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
			    "36 35 0:40 / /mnt/a\\040b\\134c\\011d rw,noatime shared:1 master:2 - "
			    "fuse.vastfs my\\040id rw\n"
			    "garbage\n"
			    "37 35 0:41 / /mnt/cut rw shared:1\n"
			    "38 35 0:41 / /mnt/cut2 rw - ext4\n"
			    "39 35 0:42 / /mnt/auto rw - autofs systemd-1 rw\n"
			    "40 35 0:43 / /mnt/auto rw - fuse.vastfs 12345 rw\n"
			    "41 35 0:44 / /mnt/oct\\0 rw - tmpfs tmpfs rw";

static int find(const char *path, struct mount_entry *out)
{
	FILE *f = fmemopen((void *)table, sizeof(table) - 1, "r");
	int rc = mountinfo_find(f, path, out);

	fclose(f);
	return rc;
}

static void test_mountinfo(void **state)
{
	struct mount_entry e;

	assert_int_equal(find("/mnt/a b\\c\td", &e), 1);
	assert_string_equal(e.path, "/mnt/a b\\c\td");
	assert_string_equal(e.type, "fuse.vastfs");
	assert_string_equal(e.source, "my id");
	assert_int_equal(e.minor, 40);
	mount_entry_fini(&e);
	/* The one on top. */
	assert_int_equal(find("/mnt/auto", &e), 1);
	assert_int_equal(e.minor, 43);
	assert_string_equal(e.type, "fuse.vastfs");
	mount_entry_fini(&e);
	assert_int_equal(find("/mnt/oct\\0", &e), 1);
	mount_entry_fini(&e);
	assert_int_equal(find("/", &e), 1);
	mount_entry_fini(&e);
	assert_int_equal(find("/mnt/cut", &e), 0);
	assert_int_equal(find("/mnt/cut2", &e), 0);
	assert_int_equal(find("/mnt", &e), 0);
	assert_int_equal(find("", &e), 0);
	assert_null(e.path);
	/* And the kernel's own. */
	assert_int_equal(mountpoint_lookup("/proc", &e), 1);
	assert_string_equal(e.type, "proc");
	mount_entry_fini(&e);
}

/* --- the mountpoint ------------------------------------------------------------ */

static char top[64];

static int setup(void **state)
{
	snprintf(top, sizeof(top), "/tmp/vastfs-test-XXXXXX");
	return mkdtemp(top) && chdir(top) == 0 && mkdir("empty", 0700) == 0 &&
		       mkdir("full", 0700) == 0 && mkdir("full/x", 0700) == 0 &&
		       symlink("empty", "link") == 0 && symlink("nowhere", "dangling") == 0 &&
		       fclose(fopen("file", "w")) == 0
		   ? 0
		   : -1;
}

static int teardown(void **state)
{
	static const char *const names[] = {"full/x", "full", "empty", "link", "dangling", "file"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		remove(names[i]);
	return chdir("/") || rmdir(top);
}

static void usable(const char *mountpoint, bool nonempty, const char *name)
{
	struct conf_error error = {""};
	char want[256], *out;

	if (cmdline_check_mountpoint(mountpoint, nonempty, &out, &error))
		fail_msg("%s", error.text);
	snprintf(want, sizeof(want), "%s%s", top, name);
	assert_string_equal(out, want);
	free(out);
}

static void unusable(const char *mountpoint, int err, const char *words)
{
	struct conf_error error = {""};
	char *out = (char *)"";

	assert_int_equal(cmdline_check_mountpoint(mountpoint, false, &out, &error), -err);
	assert_null(out);
	if (!strstr(error.text, words))
		fail_msg("no \"%s\" in: %s", words, error.text);
}

static void test_mountpoint(void **state)
{
	usable("empty", false, "/empty");
	usable("./full/../empty///", false, "/empty");
	usable("link", false, "/empty");
	usable("full/x/.", false, "/full/x");
	usable("full/x/..", true, "/full");
	usable("full", true, "/full");
	unusable("full", ENOTEMPTY, "full: the mountpoint is not empty");
	unusable(".", ENOTEMPTY, "-o nonempty");
	unusable("missing", ENOENT, "missing: the mountpoint does not exist; make it: mkdir -p");
	unusable("no/such/parent", ENOENT, "does not exist");
	unusable("dangling", ENOENT, "does not exist");
	unusable("file", ENOTDIR, "not a folder");
	unusable("file/x", ENOTDIR, "not a folder");
	unusable("", EINVAL, "empty");
	unusable("/proc", EBUSY,
	    "/proc: proc (proc) is already mounted there; unmount it first: "
	    "umount /proc");
	unusable("/proc/", EBUSY, "already mounted");
	unusable("/", EBUSY, "already mounted");
}

/* A FUSE mount whose program is gone is what closing /dev/fuse leaves behind. */
static void test_stale_mount(void **state)
{
	char options[100];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (fd < 0 || mount("dead", "empty", "fuse", MS_NOSUID | MS_NODEV, options) < 0) {
		if (fd >= 0)
			close(fd);
		skip();
	}
	close(fd);
	unusable("empty", ENOTCONN, "fusermount3 -u");
	unusable("link", ENOTCONN, "fusermount3 -u");
	unusable("empty/.", ENOTCONN, "fusermount3 -u");
	assert_int_equal(umount2("empty", MNT_DETACH), 0);
	usable("empty", false, "/empty");
}

/* Under x-systemd.automount the folder is a mountpoint already: of what waits for us. */
static void test_automount_is_no_obstacle(void **state)
{
	char options[100];
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	snprintf(options, sizeof(options), "fd=%d,pgrp=%d,minproto=5,maxproto=5,direct", fds[1],
	    (int)getpgrp());
	if (mount("systemd-1", "full", "autofs", 0, options) < 0) {
		close(fds[0]);
		close(fds[1]);
		skip();
	}
	usable("full", false, "/full");
	assert_int_equal(umount2("full", MNT_DETACH), 0);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_every_flag),
	    cmocka_unit_test(test_as_mount_writes_it),
	    cmocka_unit_test(test_options_and_forwards),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_help_names_every_key),
	    cmocka_unit_test(test_mountinfo),
	    cmocka_unit_test_setup_teardown(test_mountpoint, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_stale_mount, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_automount_is_no_obstacle, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

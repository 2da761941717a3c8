/* Log lines: whole, at their level, harmless; and the ring of the last warnings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/log.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char captured[256 * 1024];

/* Runs body with standard error in a file; its text is in captured. */
static void capture(void (*body)(void))
{
	char name[] = "/tmp/vastfs-test-XXXXXX";
	int fd = mkstemp(name), saved = dup(STDERR_FILENO);
	ssize_t n;

	assert_true(fd >= 0 && saved >= 0);
	unlink(name);
	/* As a terminal or a journal would be: each line goes to the end. */
	fcntl(fd, F_SETFL, O_APPEND);
	dup2(fd, STDERR_FILENO);
	body();
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = pread(fd, captured, sizeof(captured) - 1, 0);
	close(fd);
	assert_true(n >= 0);
	captured[n] = '\0';
}

static void each_level(void)
{
	log_error("e%d", 1);
	log_warning("w%d", 2);
	log_info("i%d", 3);
	log_verbose("v%d", 4);
	log_debug("d%d", 5);
}

static void test_levels(void **state)
{
	log_set_level(LOG_LEVEL_WARNING);
	assert_true(log_enabled(LOG_LEVEL_ERROR) && log_enabled(LOG_LEVEL_WARNING));
	assert_false(log_enabled(LOG_LEVEL_INFO));
	capture(each_level);
	assert_string_equal(captured, "vastfs: e1\nvastfs: warning: w2\n");
	log_set_level(LOG_LEVEL_ERROR);
	capture(each_level);
	assert_string_equal(captured, "vastfs: e1\n");
	log_set_level(LOG_LEVEL_DEBUG);
	capture(each_level);
	assert_non_null(strstr(captured, "vastfs: i3\n"));
	assert_non_null(strstr(captured, " v4\n"));
	assert_non_null(strstr(captured, " d5\n"));
	log_set_level(LOG_LEVEL_WARNING);
}

static void odd_lines(void)
{
	char big[5000];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	errno = EXDEV;
	log_warning("two\nlines\r\n");
	log_warning("%s", big);
	assert_int_equal(errno, EXDEV);
}

static void test_one_line_each(void **state)
{
	const char *newline;

	capture(odd_lines);
	assert_memory_equal(captured, "vastfs: warning: two lines ", 26);
	newline = strchr(captured, '\n');
	assert_non_null(newline);
	assert_true(strlen(newline + 1) > 1000 && strlen(newline + 1) < 2100);
	assert_ptr_equal(strchr(newline + 1, '\n'), captured + strlen(captured) - 1);
}

struct seen {
	char lines[64][64];
	long long when;
	size_t n;
};

static void note(void *arg, const char *line, long long when)
{
	struct seen *seen = arg;

	snprintf(seen->lines[seen->n++], sizeof(seen->lines[0]), "%s", line);
	seen->when = when;
}

static void forty(void)
{
	for (int i = 0; i < 40; i++)
		log_warning("line %d", i);
	log_info("not kept");
}

static void test_recent(void **state)
{
	struct seen seen = {.n = 0};
	char want[16];

	capture(forty);
	log_recent(note, &seen);
	assert_int_equal(seen.n, 16);
	for (int i = 0; i < 16; i++) {
		snprintf(want, sizeof(want), "line %d", 39 - i);
		assert_string_equal(seen.lines[i], want);
	}
	assert_true(llabs(seen.when - (long long)time(NULL)) < 60);
}

/* Silenced by the level, it is still kept for `vastfs status`. */
static void test_recent_of_silenced(void **state)
{
	struct seen seen = {.n = 0};

	log_set_level(LOG_LEVEL_ERROR);
	log_warning("silent");
	log_set_level(LOG_LEVEL_WARNING);
	log_recent(note, &seen);
	assert_string_equal(seen.lines[0], "silent");
}

static void *write_lines(void *arg)
{
	for (int i = 0; i < 200; i++)
		log_warning("%s-%s-%s-%s", (char *)arg, (char *)arg, (char *)arg, (char *)arg);
	return NULL;
}

static void from_four_threads(void)
{
	static char names[4][2] = {"a", "b", "c", "d"};
	struct seen seen = {.n = 0};
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
	log_recent(note, &seen);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

static void test_threads(void **state)
{
	size_t lines = 0;
	char *save, *line;

	capture(from_four_threads);
	for (line = strtok_r(captured, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char want[64], c = line[strlen(line) - 1];

		snprintf(want, sizeof(want), "vastfs: warning: %c-%c-%c-%c", c, c, c, c);
		assert_string_equal(line, want);
		lines++;
	}
	assert_int_equal(lines, 800);
}

static void printable(const char *in, size_t size, const char *want)
{
	char buf[64];

	memset(buf, 'Z', sizeof(buf));
	assert_ptr_equal(log_printable(buf, size, in, strlen(in)), buf);
	assert_string_equal(buf, want);
	assert_true(size == sizeof(buf) || buf[size] == 'Z');
}

static void test_printable(void **state)
{
	char buf[8] = "x";

	printable("plain", 64, "plain");
	printable("a\nb\tc\rd", 64, "a b c?d");
	printable("\x1b[31mred\x7f", 64, "?[31mred?");
	printable("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82", 64,
	    "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82");
	/* C1 controls, bare and in UTF-8; overlong; surrogate; beyond Unicode; cut off. */
	printable("\x9b"
		  "31m \xc2\x9b"
		  "x",
	    64, "?31m ??x");
	printable("\xc0\xaf \xe0\x80\xaf \xf0\x80\x80\xaf", 64, "?? ??? ????");
	printable("\xed\xa0\x80 \xf4\x90\x80\x80 \xff", 64, "??? ???? ?");
	printable("ab\xe2\x82", 64, "ab??");
	/* No character is cut in two. */
	printable("abcdef", 4, "abc");
	printable("ab\xc3\xa9", 4, "ab");
	printable("ab\xc3\xa9", 5, "ab\xc3\xa9");
	printable("abc", 1, "");
	log_printable(buf, 0, "abc", 3);
	assert_string_equal(buf, "x");
	assert_int_equal(strlen(log_printable(buf, sizeof(buf), "a\0b", 3)), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_levels),
	    cmocka_unit_test(test_one_line_each),
	    cmocka_unit_test(test_recent),
	    cmocka_unit_test(test_recent_of_silenced),
	    cmocka_unit_test(test_threads),
	    cmocka_unit_test(test_printable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

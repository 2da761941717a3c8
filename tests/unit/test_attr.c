/* Attributes: what is kept of SFTP's whole seconds, which report is another version, lifetimes. */
#include "cache/attr.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct attr_report first = {
    .size = 100, .mode = S_IFREG | 0644, .uid = 7, .gid = 8, .nlink = 1, .atime = 50, .mtime = 60};

static void test_clamp(void **state)
{
	assert_int_equal(attr_clamp_time(-1), 0);
	assert_int_equal(attr_clamp_time(INT64_MIN), 0);
	assert_int_equal(attr_clamp_time(0), 0);
	assert_int_equal(attr_clamp_time(UINT32_MAX), UINT32_MAX);
	assert_int_equal(attr_clamp_time((int64_t)UINT32_MAX + 1), UINT32_MAX);
	assert_int_equal(attr_clamp_time(INT64_MAX), UINT32_MAX);
}

static void test_first_report(void **state)
{
	struct attr_report report = first;
	struct attr attr;

	attr_init(&attr, &report);
	assert_int_equal(attr.size, 100);
	assert_int_equal(attr.mode, S_IFREG | 0644);
	assert_int_equal(attr.uid, 7);
	assert_int_equal(attr.gid, 8);
	assert_int_equal(attr.nlink, 1);
	assert_int_equal(attr.atime.tv_sec, 50);
	assert_int_equal(attr.mtime.tv_sec, 60);
	assert_int_equal(attr.ctime.tv_sec, 60);
	assert_int_equal(attr.mtime_there, 60);
	assert_int_equal(attr.atime_there, 50);

	report.atime = UINT32_MAX; /* whatever the value, it is taken over */
	report.mtime = 0;
	attr_init(&attr, &report);
	assert_true(attr.atime.tv_sec == UINT32_MAX);
	assert_int_equal(attr.mtime.tv_sec, 0);
}

static void test_same_version(void **state)
{
	struct attr_report report = first;
	struct attr attr;

	attr_init(&attr, &first);
	assert_false(attr_update(&attr, &report));
	report.nlink = 0; /* not said: what was known stays */
	report.mode = S_IFREG | 0600;
	report.uid = 9;
	assert_false(attr_update(&attr, &report));
	assert_int_equal(attr.nlink, 1);
	assert_int_equal(attr.mode, S_IFREG | 0600);
	assert_int_equal(attr.uid, 9);
	report.nlink = 3;
	assert_false(attr_update(&attr, &report));
	assert_int_equal(attr.nlink, 3);
}

static void test_other_version(void **state)
{
	struct attr_report report = first;
	struct attr attr;

	attr_init(&attr, &first);
	report.size++;
	assert_true(attr_update(&attr, &report));
	assert_int_equal(attr.size, 101);
	assert_false(attr_update(&attr, &report));
	report.mtime++;
	assert_true(attr_update(&attr, &report));
	assert_int_equal(attr.mtime.tv_sec, 61);
	assert_int_equal(attr.ctime.tv_sec, 61);
	report.mtime -= 10; /* backwards, as cp -p does: another version as well */
	assert_true(attr_update(&attr, &report));
	assert_int_equal(attr.mtime.tv_sec, 51);
	assert_int_equal(attr.ctime.tv_sec, 61);
}

static void test_folder_size_is_no_version(void **state)
{
	struct attr_report report = first;
	struct attr attr;

	report.mode = S_IFDIR | 0755;
	attr_init(&attr, &report);
	report.size = 8192;
	assert_false(attr_update(&attr, &report));
	report.mtime++;
	assert_true(attr_update(&attr, &report));
}

static void test_nanoseconds_stay(void **state)
{
	struct attr_report report = first;
	struct attr attr;

	attr_init(&attr, &first);
	attr.mtime = (struct attr_time){60, 123456789}; /* as set here, and taken by the server */
	attr.atime = (struct attr_time){50, 987654321};
	assert_false(attr_update(&attr, &report));
	assert_int_equal(attr.mtime.tv_nsec, 123456789);
	assert_int_equal(attr.atime.tv_nsec, 987654321);
	report.atime = 51;
	assert_false(attr_update(&attr, &report));
	assert_int_equal(attr.atime.tv_sec, 51);
	assert_int_equal(attr.atime.tv_nsec, 0);
	assert_int_equal(attr.mtime.tv_nsec, 123456789);
	report.mtime = 61;
	assert_true(attr_update(&attr, &report));
	assert_int_equal(attr.mtime.tv_nsec, 0);
}

static void test_own_write_keeps_its_time(void **state)
{
	int apart;

	for (apart = -4; apart <= 4; apart++) {
		struct attr_report report = first;
		struct attr attr;

		attr_init(&attr, &first);
		attr_touch_content(&attr, (struct timespec){1000, 500});
		assert_int_equal(attr.ctime.tv_sec, 1000);
		report.mtime = (uint32_t)(1000 + apart);
		report.size = 300;
		attr_update_after_write(&attr, &report);
		assert_int_equal(attr.size, 300);
		assert_int_equal(attr.mtime_there, report.mtime);
		if (apart >= -2 && apart <= 2) {
			assert_int_equal(attr.mtime.tv_sec, 1000);
			assert_int_equal(attr.mtime.tv_nsec, 500);
		} else {
			assert_int_equal(attr.mtime.tv_sec, report.mtime);
			assert_int_equal(attr.mtime.tv_nsec, 0);
		}
		assert_false(
		    attr_update(&attr, &report)); /* the next look finds the same version */
	}
}

static void test_made_tells_the_time_there(void **state)
{
	static const uint32_t there[] = {59, 60, 62, 63, 1000};
	struct attr attr;
	size_t i;

	for (i = 0; i < sizeof(there) / sizeof(there[0]); i++) {
		bool near = there[i] <= 62;

		attr_init(&attr, &first);
		attr.atime = attr.mtime = (struct attr_time){.tv_sec = 60, .tv_nsec = 5};
		attr_made(&attr, there[i], there[i]);
		assert_int_equal(attr.mtime_there, there[i]);
		assert_int_equal(attr.atime_there, there[i]);
		assert_int_equal(attr.mtime.tv_sec, near ? 60 : there[i]);
		assert_int_equal(attr.mtime.tv_nsec, near ? 5 : 0);
		assert_int_equal(attr.atime.tv_sec, near ? 60 : there[i]);
	}
}

static void test_made_now_has_fractions(void **state)
{
	struct attr attr;

	attr_init(&attr, &first); /* 60, and the change time with it */
	attr_made_at(&attr, (struct timespec){first.mtime + 1, 5});
	assert_int_equal(attr.mtime.tv_sec, first.mtime + 1);
	assert_int_equal(attr.mtime.tv_nsec, 5);
	assert_int_equal(attr.ctime.tv_nsec, 5);
	assert_int_equal(attr.mtime_there, first.mtime);
	attr_init(&attr, &first);
	attr_made_at(&attr, (struct timespec){first.mtime + 3, 5});
	assert_int_equal(attr.mtime.tv_sec, first.mtime);
	assert_int_equal(attr.mtime.tv_nsec, 0);
	assert_int_equal(attr.ctime.tv_nsec, 0);
}

static void test_touch(void **state)
{
	struct attr attr;

	attr_init(&attr, &first);
	attr_touch_change(&attr, (struct timespec){70, 1});
	assert_int_equal(attr.mtime.tv_sec, 60);
	assert_int_equal(attr.ctime.tv_sec, 70);
	attr_touch_content(&attr, (struct timespec){80, 2});
	assert_int_equal(attr.mtime.tv_sec, 80);
	assert_int_equal(attr.mtime.tv_nsec, 2);
	assert_int_equal(attr.ctime.tv_sec, 80);
	assert_int_equal(attr.mtime_there, 60); /* not yet heard from there */
}

static void test_own_name_keeps_its_time(void **state)
{
	struct attr_report report = first;
	struct attr attr;

	report.mode = S_IFDIR | 0755;
	attr_init(&attr, &report);
	attr_touch_names(&attr, (struct timespec){1000, 500});
	assert_int_equal(attr.ctime.tv_sec, 1000);
	report.mtime = 1001; /* another clock, the same change */
	attr_update(&attr, &report);
	assert_int_equal(attr.mtime.tv_sec, 1000);
	assert_int_equal(attr.mtime.tv_nsec, 500);
	report.mtime = 1002; /* somebody else's */
	attr_update(&attr, &report);
	assert_int_equal(attr.mtime.tv_sec, 1002);
	assert_int_equal(attr.mtime.tv_nsec, 0);
	attr_touch_names(&attr, (struct timespec){2000, 7});
	report.mtime = 1500;
	attr_update(&attr, &report);
	assert_int_equal(attr.mtime.tv_sec, 1500);
}

static void test_lifetime(void **state)
{
	assert_int_equal(attr_lifetime_ms(INT64_MIN, 30000), 1000);
	assert_int_equal(attr_lifetime_ms(-5, 30000), 1000);
	assert_int_equal(attr_lifetime_ms(0, 30000), 1000);
	assert_int_equal(attr_lifetime_ms(10, 30000), 1000);
	assert_int_equal(attr_lifetime_ms(20, 30000), 2000);
	assert_int_equal(attr_lifetime_ms(300, 30000), 30000);
	assert_int_equal(attr_lifetime_ms(100000, 30000), 30000);
	assert_int_equal(attr_lifetime_ms(INT64_MAX, 30000), 30000);
	assert_int_equal(attr_lifetime_ms(20, 0), 0); /* attr_timeout=0: always asked */
}

static void test_settled(void **state)
{
	struct attr attr;

	attr_init(&attr, &first); /* mtime 60 */
	assert_false(attr_settled(&attr, 60, 0));
	assert_false(attr_settled(&attr, 62, 1000));
	assert_false(attr_settled(&attr, 60, 2000));
	assert_true(attr_settled(&attr, 60, 2001)); /* seen unchanged for long enough */
	assert_true(attr_settled(&attr, 63, 0));
	assert_false(attr_settled(&attr, 10, 0)); /* a time in the future */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_clamp),
	    cmocka_unit_test(test_first_report),
	    cmocka_unit_test(test_same_version),
	    cmocka_unit_test(test_other_version),
	    cmocka_unit_test(test_folder_size_is_no_version),
	    cmocka_unit_test(test_nanoseconds_stay),
	    cmocka_unit_test(test_own_write_keeps_its_time),
	    cmocka_unit_test(test_made_tells_the_time_there),
	    cmocka_unit_test(test_made_now_has_fractions),
	    cmocka_unit_test(test_touch),
	    cmocka_unit_test(test_own_name_keeps_its_time),
	    cmocka_unit_test(test_lifetime),
	    cmocka_unit_test(test_settled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

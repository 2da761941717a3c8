/* Contents and the disk cache: what is kept, what is not, and what is read from where
 * (cache/kept.c, fetch.c). */
#include "cache/store_impl.h"
#include "tests/unit/content_fixture.h"
#include <fcntl.h>
#include <unistd.h>

static struct store *kept_store;
static char top[64];

static void begin(uint64_t size)
{
	static struct conf_error error;
	char dir[96];

	start(size, 64 * MIB);
	snprintf(dir, sizeof(dir), "%s/c", top);
	assert_int_equal(store_open(&kept_store, &loop, dir, 64 * MIB, &error), 0);
	content_pool_set_store(pool, kept_store);
}

static void settle(void)
{
	int i;

	content_pool_keep_now(pool);
	for (i = 0; i < 3; i++) {
		while (store_busy(kept_store))
			uv_run(&loop, UV_RUN_ONCE);
		turn();
	}
}

static void end(void)
{
	settle();
	if (content)
		content_free(content);
	content = NULL;
	fake_deliver_all(&source);
	while (store_busy(kept_store))
		uv_run(&loop, UV_RUN_ONCE);
	store_leave(kept_store);
	finish();
	store_free(kept_store);
}

/* The content goes away, and comes again with nothing in memory. */
static void again(void)
{
	settle();
	content_free(content);
	content = content_new(pool, store.size);
	assert_non_null(content);
}

static uint64_t fetched(void)
{
	return figures().fetched_bytes;
}

static uint64_t kept_bytes(void)
{
	struct store_figures f;

	store_figures(kept_store, &f);
	return f.bytes;
}

/* Reads, the instance answering whatever it is asked. */
static void read_all(uint64_t offset, size_t len)
{
	struct answer a;
	int i;

	ask(&a, &file, NULL, offset, len);
	for (i = 0; i < 1000 && a.err == WAITING; i++) {
		fake_deliver_all(&source);
		if (store_busy(kept_store))
			uv_run(&loop, UV_RUN_ONCE);
		turn();
	}
	assert_answer(&a, offset, len);
}

static int setup(void **state)
{
	strcpy(top, "/tmp/vastfs-kept.XXXXXX");
	return mkdtemp(top) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

static void test_read_again_from_disk(void **state)
{
	begin(MIB + 5000);
	content_keep(content, "/w/a", 7, 0);
	read_all(0, MIB);
	read_all(MIB, 5000);
	settle();
	assert_true(kept_bytes() >= MIB + 5000);
	again();
	content_keep(content, "/w/a", 7, 0);
	read_all(0, MIB);
	read_all(MIB, 5000);
	assert_int_equal(fetched(), MIB + 5000);
	end();
}

static void test_not_while_unsettled(void **state)
{
	begin(300 * KIB);
	content_keep(content, "/w/a", 7, clock_ns + 1);
	read_all(0, 100 * KIB);
	settle();
	assert_int_equal(kept_bytes(), 0);
	clock_ns += 1;
	read_all(200 * KIB, 100 * KIB);
	settle();
	assert_int_equal(kept_bytes(), 100 * KIB);
	end();
}

/* Asked before it was settled, answered after: it may be of an earlier version. */
static void test_asked_while_unsettled(void **state)
{
	struct answer a;

	begin(300 * KIB);
	content_keep(content, "/w/a", 7, clock_ns + 1);
	settle();
	ask(&a, &file, NULL, 0, 100 * KIB);
	clock_ns += 10;
	fake_deliver_all(&source);
	turn();
	assert_answer(&a, 0, 100 * KIB);
	settle();
	assert_int_equal(kept_bytes(), 0);
	end();
}

static void test_other_version(void **state)
{
	begin(200 * KIB);
	content_keep(content, "/w/a", 7, 0);
	read_all(0, 200 * KIB);
	again();
	fake_pattern(store.data, store.size, 0, 2);
	content_keep(content, "/w/a", 8, 0);
	read_all(0, 200 * KIB);
	assert_int_equal(fetched(), 400 * KIB);
	again();
	content_keep(content, "/w/a", 8, 0);
	read_all(0, 200 * KIB);
	assert_int_equal(fetched(), 400 * KIB);
	end();
}

/* What is on its way when the version ends is not kept as the next one. */
static void test_version_ends_under_way(void **state)
{
	struct answer a;

	begin(200 * KIB);
	content_keep(content, "/w/a", 7, 0);
	settle();
	ask(&a, &file, NULL, 0, 200 * KIB);
	content_unkeep(content);
	content_keep(content, "/w/a", 8, 0);
	fake_deliver_all(&source);
	while (a.err == WAITING) {
		fake_deliver_all(&source);
		settle();
	}
	free(a.data);
	settle();
	assert_int_equal(kept_bytes(), 0);
	end();
}

static void test_written(void **state)
{
	int result;

	begin(200 * KIB);
	content_keep(content, "/w/a", 7, 0);
	read_all(0, 200 * KIB);
	settle();
	assert_true(kept_bytes() > 0);
	assert_accepted(&file, 4096, 10000, 3);
	assert_false(content_is_kept(content));
	flush(&result);
	fake_deliver_all(&source);
	turn();
	assert_int_equal(result, 0);
	settle();
	assert_int_equal(kept_bytes(), 0);
	end();
}

static void test_resized(void **state)
{
	begin(200 * KIB);
	content_keep(content, "/w/a", 7, 0);
	read_all(0, 200 * KIB);
	settle();
	content_resize(content, 100 * KIB);
	assert_false(content_is_kept(content));
	settle();
	assert_int_equal(kept_bytes(), 0);
	end();
}

static void damage(void)
{
	char command[256];

	snprintf(command, sizeof(command),
	    "find %s/c/files -type f -exec dd if=/dev/urandom of={} bs=4096 seek=3 count=1 "
	    "conv=notrunc status=none \\;",
	    top);
	assert_int_equal(system(command), 0);
}

static void test_damaged(void **state)
{
	struct store_figures f;

	begin(500 * KIB);
	content_keep(content, "/w/a", 7, 0);
	read_all(0, 500 * KIB);
	again();
	damage();
	content_keep(content, "/w/a", 7, 0);
	read_all(0, 500 * KIB);
	assert_int_equal(fetched(), 500 * KIB + BLOCKS_SIZE);
	store_figures(kept_store, &f);
	assert_int_equal(f.checksum_failures, 1);
	end();
}

/* Freed while it waits to hear what is on disk. */
static void test_freed_while_looked_for(void **state)
{
	struct answer a;

	begin(200 * KIB);
	content_keep(content, "/w/a", 7, 0);
	ask(&a, &file, NULL, 0, 1000);
	assert_int_equal(a.err, WAITING);
	content_free(content);
	content = NULL;
	turn();
	assert_int_equal(a.err, -ECANCELED);
	while (store_busy(kept_store))
		uv_run(&loop, UV_RUN_ONCE);
	end();
}

static void was_loaded(void *arg)
{
	++*(int *)arg;
}

static void test_loaded_ahead(void **state)
{
	int loaded = 0;

	begin(150 * KIB);
	assert_false(content_load(content, was_loaded, &loaded));
	content_keep(content, "/w/a", 7, 0);
	read_all(0, 150 * KIB);
	again();
	content_keep(content, "/w/a", 7, 0);
	assert_true(content_load(content, was_loaded, &loaded));
	assert_int_equal(loaded, 0);
	settle();
	assert_int_equal(loaded, 1);
	assert_true(content_whole(content));
	assert_hit(0, 150 * KIB);
	assert_int_equal(fetched(), 150 * KIB);
	end();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_read_again_from_disk),
	    TEST(test_not_while_unsettled),
	    TEST(test_asked_while_unsettled),
	    TEST(test_other_version),
	    TEST(test_version_ends_under_way),
	    TEST(test_written),
	    TEST(test_resized),
	    TEST(test_damaged),
	    TEST(test_freed_while_looked_for),
	    TEST(test_loaded_ahead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Writing through struct content: what is sent, in which order, and when programs hear of it. */
#include "tests/unit/content_fixture.h"

#define CHUNK 258048u /* 261120 in whole pages */

static void assert_write(int i, uint64_t offset, uint32_t len)
{
	struct fake_op *op = fake_op(&source, i);

	assert_non_null(op);
	assert_true(op->is_write);
	assert_int_equal(op->offset, offset);
	assert_int_equal(op->len, len);
}

static void test_merges(void **state)
{
	unsigned i;
	int result;

	start(0, 64 * MIB);
	for (i = 0; i < 100; i++)
		assert_accepted(&file, i * 4096, 4096, 1);
	/* A whole chunk has gone, the rest waits. */
	assert_int_equal(content_size(content), 409600);
	assert_int_equal(source.n, 1);
	assert_write(0, 0, CHUNK);
	assert_int_equal(figures().dirty_bytes, 409600);
	flush(&result);
	assert_int_equal(source.n, 2);
	assert_write(1, CHUNK, 409600 - CHUNK);
	fake_deliver(&source, fake_op(&source, 1));
	assert_int_equal(result, WAITING);
	assert_true(content_dirty(content));
	fake_deliver_all(&source);
	assert_int_equal(result, 0);
	assert_false(content_dirty(content));
	assert_int_equal(store.size, 409600);
	assert_pattern(store.data, 0, 409600, 1);
	finish();
}

static void test_sent_through(void **state)
{
	int results[3];

	start(0, 64 * MIB);
	assert_false(content_is_sent_through(content, &file)); /* nothing is */
	assert_accepted(&file, 0, 100, 1);
	assert_false(content_is_sent_through(content, &file));
	flush(&results[0]);
	assert_true(content_is_sent_through(content, &file));
	assert_false(content_is_sent_through(content, &file2));
	assert_true(content_is_sent(content, &file));
	assert_false(content_is_sent(content, &file2)); /* which has an order of its own there */
	assert_accepted(&file, 50, 100, 2);		/* waits for the first */
	flush(&results[1]);
	assert_false(content_is_sent_through(content, &file));
	assert_accepted(&file2, 200, 100, 1);
	fake_deliver(&source, fake_op(&source, 0));
	flush(&results[2]);
	assert_false(content_is_sent_through(content, &file));
	fake_deliver_all(&source);
	assert_false(content_is_sent_through(content, &file));
	assert_true(content_is_sent(content, &file2)); /* all of it is there */
	finish();
}

static void test_held_until_let_go(void **state)
{
	int result;

	start(0, 64 * MIB);
	content_hold(content, true);
	content_hold(content, true);
	assert_accepted(&file, 0, MIB, 1);
	flush(&result);
	assert_int_equal(source.n, 0);
	content_hold(content, false);
	assert_int_equal(source.n, 0);
	content_hold(content, false);
	assert_true(source.n > 0);
	assert_int_equal(result, WAITING);
	fake_deliver_all(&source);
	assert_int_equal(result, 0);
	assert_pattern(store.data, 0, MIB, 1);
	finish();
}

static void test_dropped_ends_well(void **state)
{
	int result;

	start(0, 64 * MIB);
	assert_accepted(&file, 0, CHUNK, 1);
	assert_int_equal(source.n, 1);
	content_hold(content, true);
	assert_accepted(&file, CHUNK, MIB, 1);
	flush(&result);
	content_drop(content);
	content_hold(content, false);
	/* What is under way ends well too, whatever the answer. */
	assert_int_equal(source.n, 1);
	fake_fail(&source, fake_op(&source, 0), -ESTALE);
	assert_int_equal(result, 0);
	assert_false(content_dirty(content));
	finish();
}

static void test_failed_is_told(void **state)
{
	int result;

	start(0, 64 * MIB);
	content_hold(content, true);
	assert_accepted(&file, 0, 100, 1);
	content_fail(content, -EFBIG);
	content_hold(content, false);
	assert_int_equal(source.n, 0);
	flush(&result);
	turn();
	assert_int_equal(result, -EFBIG);
	finish();
}

static void test_large_writes_are_not_copied(void **state)
{
	int result;

	start(0, 64 * MIB);
	assert_accepted(&file, 0, MIB, 1);
	assert_int_equal(source.n, 4);
	assert_write(3, 3 * CHUNK, CHUNK);
	assert_true(fake_op(&source, 0)->bulk);
	/* Nor kept twice. */
	assert_int_equal(figures().present_bytes, 0);
	assert_accepted(&file, MIB, MIB, 1);
	assert_write(4, 4 * CHUNK, CHUNK);
	flush(&result);
	fake_deliver_all(&source);
	assert_int_equal(result, 0);
	assert_pattern(store.data, 0, 2 * MIB, 1);
	finish();
}

static void test_timer(void **state)
{
	start(0, 64 * MIB);
	assert_false(uv_is_active((uv_handle_t *)&pool->timer));
	assert_accepted(&file, 0, 10, 1);
	assert_true(uv_is_active((uv_handle_t *)&pool->timer));
	assert_in_range(uv_timer_get_due_in(&pool->timer), 0, 1000);
	/* What it does when it is due. */
	uv_timer_stop(&pool->timer);
	pool->timer.timer_cb(&pool->timer);
	assert_int_equal(source.n, 1);
	assert_false(fake_op(&source, 0)->bulk);
	fake_deliver_all(&source);
	assert_false(content_dirty(content));
	assert_accepted(&file, 10, 10, 1);
	assert_true(uv_is_active((uv_handle_t *)&pool->timer));
	writer_push(content);
	finish();
}

static void test_overwrites_in_place(void **state)
{
	int result;

	start(100000, 64 * MIB);
	assert_accepted(&file, 1000, 5000, 1);
	assert_accepted(&file, 2000, 100, 2);
	assert_accepted(&file, 500, 1000, 3);  /* over its begin */
	assert_accepted(&file, 5500, 1000, 4); /* over its end */
	assert_int_equal(figures().dirty_bytes, 6000);
	flush(&result);
	fake_deliver_all(&source);
	assert_int_equal(result, 0);
	assert_int_equal(source.write_bytes, 6000);
	assert_pattern(store.data, 0, 500, 1);
	assert_pattern(store.data + 500, 500, 1000, 3);
	assert_pattern(store.data + 1500, 1500, 500, 1);
	assert_pattern(store.data + 2000, 2000, 100, 2);
	assert_pattern(store.data + 2100, 2100, 3400, 1);
	assert_pattern(store.data + 5500, 5500, 1000, 4);
	finish();
}

static void test_second_generation(void **state)
{
	int first, second;

	start(100000, 64 * MIB);
	assert_accepted(&file, 0, 10000, 1);
	flush(&first);
	assert_int_equal(source.n, 1);
	assert_accepted(&file, 5000, 10000, 2);
	assert_accepted(&file2, 6000, 100, 3);
	assert_accepted(&file, 50000, 100, 4);
	flush(&second);
	/* What overlaps waits, the other does not. */
	assert_int_equal(source.n, 2);
	assert_write(1, 50000, 100);
	fake_deliver(&source, fake_op(&source, 0));
	assert_int_equal(first, 0);
	assert_int_equal(second, WAITING);
	assert_int_equal(source.n, 2);
	assert_write(1, 5000, 10000);
	fake_deliver_all(&source);
	assert_int_equal(second, 0);
	assert_pattern(store.data, 0, 5000, 1);
	assert_pattern(store.data + 5000, 5000, 1000, 2);
	assert_pattern(store.data + 6000, 6000, 100, 3);
	finish();
}

static void test_random_writes_do_not_pile_up(void **state)
{
	unsigned i;

	start(64 * MIB, 64 * MIB);
	for (i = 0; i < 1000; i++)
		assert_accepted(&file, (i * 7919 % 1000) * 8192, 4096, i);
	assert_in_range(source.n, 900, 1000);
	writer_push(content);
	while (source.n)
		fake_deliver(&source, fake_op(&source, source.n / 3));
	for (i = 0; i < 1000; i++)
		assert_pattern(
		    store.data + (i * 7919 % 1000) * 8192, (i * 7919 % 1000) * 8192, 4096, i);
	finish();
}

static void test_flush_when_clean(void **state)
{
	int result;

	start(0, 64 * MIB);
	flush(&result);
	turn();
	assert_int_equal(result, 0);
	finish();
}

static void test_flush_ignores_later_writes(void **state)
{
	int result;

	start(0, 64 * MIB);
	assert_accepted(&file, 0, 100, 1);
	flush(&result);
	assert_accepted(&file, 200, 100, 1);
	fake_deliver(&source, fake_op(&source, 0));
	assert_int_equal(result, 0);
	assert_true(content_dirty(content));
	writer_push(content);
	finish();
}

/* --- reading what was written --- */

static void test_read_back(void **state)
{
	struct answer a;

	start(0, 64 * MIB);
	assert_accepted(&file, 0, 10000, 7);
	ask(&a, &file, NULL, 0, 20000);
	assert_int_equal(a.err, 0);
	assert_int_equal(a.len, 10000);
	assert_pattern(a.data, 0, 10000, 7);
	free(a.data);
	/* Small writes one behind the other. */
	assert_accepted(&file, 10000, 100, 8);
	assert_accepted(&file, 10100, 100, 8);
	ask(&a, &file, NULL, 9000, 1200);
	assert_int_equal(a.err, 0);
	assert_pattern(a.data, 9000, 1000, 7);
	assert_pattern(a.data + 1000, 10000, 200, 8);
	free(a.data);
	assert_int_equal(source.reads, 0);
	writer_push(content);
	finish();
}

static void test_read_over_dirty(void **state)
{
	struct answer a;

	start(300000, 64 * MIB);
	assert_accepted(&file, 5000, 100, 2);
	/* The page is partly here, partly there: the write goes first. */
	ask(&a, &file, NULL, 0, 12288);
	assert_int_equal(source.n, 3);
	assert_int_equal(source.writes, 1);
	assert_int_equal(source.read_bytes, 8192); /* pages 0 and 2 */
	fake_deliver_all(&source);
	assert_int_equal(source.read_bytes, 12288);
	assert_answer(&a, 0, 12288);
	assert_pattern(store.data + 5000, 5000, 100, 2);
	finish();
}

static void test_hole(void **state)
{
	struct answer a, b;

	start(5000, 64 * MIB);
	ask(&a, &file, NULL, 0, 5000);
	fake_serve(fake_op(&source, 0));
	assert_accepted(&file, 100000, 100, 2);
	ask(&b, &file, NULL, 0, MIB);
	fake_deliver_all(&source);
	turn();
	fake_deliver_all(&source);
	assert_int_equal(a.err, 0);
	assert_int_equal(a.len, 5000);
	free(a.data);
	assert_int_equal(store.size, 100100);
	assert_answer(&b, 0, 100100);
	finish();
}

/* The fetch knew what the file was before it was cut, and a hole follows. */
static void test_hole_after_cut(void **state)
{
	struct answer a;
	int result;

	start(8192, 64 * MIB);
	ask(&a, &file, NULL, 0, 8192);
	fake_serve(fake_op(&source, 0));
	fake_store_resize(&store, 5000);
	content_resize(content, 5000);
	assert_accepted(&file, 9000, 10, 2);
	fake_deliver(&source, fake_op(&source, 0));
	flush(&result);
	fake_deliver_all(&source);
	turn();
	fake_deliver_all(&source);
	assert_int_equal(a.err, 0);
	free(a.data);
	ask(&a, &file, NULL, 0, 9010);
	fake_deliver_all(&source);
	assert_answer(&a, 0, 9010);
	finish();
}

/* Blocks that small writes leave in memory keep to its limit. */
static void test_written_blocks_are_bounded(void **state)
{
	uint64_t at;

	start(0, MIB);
	for (at = 0; at < 8 * MIB; at += 4096) {
		assert_accepted(&file, at, 4096, 1);
		fake_deliver_all(&source);
		assert_in_range(figures().present_bytes, 0, MIB);
	}
	assert_true(figures().present_bytes > MIB / 2);
	writer_push(content);
	finish();
}

static void test_write_beats_fetch(void **state)
{
	struct answer a, b;

	start(300000, 64 * MIB);
	/* The fetch has read the old bytes when the write comes, and arrives after it. */
	ask(&a, &file, NULL, 0, 16384);
	fake_serve(fake_op(&source, 0));
	assert_accepted(&file, 4096, 4096, 2); /* a whole page */
	assert_accepted(&file, 9000, 10, 3);   /* a part of one */
	fake_deliver(&source, fake_op(&source, 0));
	turn();
	assert_int_equal(a.err, WAITING);
	ask(&b, &file, NULL, 4096, 4096);
	assert_int_equal(b.err, 0);
	assert_pattern(b.data, 4096, 4096, 2);
	free(b.data);
	fake_deliver_all(&source);
	assert_answer(&a, 0, 16384);
	assert_pattern(store.data + 9000, 9000, 10, 3);
	finish();
}

/* A reader of a page that is written again and again is served all the same. */
static void test_reader_does_not_starve(void **state)
{
	struct answer a;
	int result[64], waited = 0, i;

	start(300000, 64 * MIB);
	assert_accepted(&file, 5000, 10, 1);
	ask(&a, &file, NULL, 4096, 4096);
	for (i = 0; i < 64 && a.err == WAITING; i++) {
		waited += !write_pattern(&file2, 5000 + (unsigned)i * 10, 10, 2, &result[i]);
		writer_push(content);
		assert_true(source.n > 0);
		fake_deliver(&source, fake_op(&source, 0));
	}
	assert_int_equal(a.err, 0);
	assert_in_range(i, 2, 8);
	assert_true(waited > 0);
	free(a.data);
	/* And those that had to wait for it go on. */
	turn();
	while (i--)
		assert_true(result[i] == WAITING || result[i] == 0);
	writer_push(content);
	fake_deliver_all(&source);
	assert_pattern(store.data + 5000, 5000, 10, 2);
	finish();
}

/* --- errors --- */

static void test_error_is_reported_once(void **state)
{
	struct answer a;
	int result, second;

	start(0, 64 * MIB);
	assert_accepted(&file, 0, 5000, 1);
	writer_push(content);
	fake_fail(&source, fake_op(&source, 0), -ENOSPC);
	assert_int_equal(figures().dirty_bytes, 0);
	/* It is seen until somebody is told. */
	ask(&a, &file, NULL, 0, 5000);
	assert_int_equal(a.err, 0);
	assert_int_equal(a.len, 5000);
	assert_pattern(a.data, 0, 5000, 1);
	free(a.data);
	assert_true(content_refused(content));
	assert_int_equal(write_pattern(&file, 0, 10, 1, &result), -ENOSPC);
	content_told(content);
	/* What is nowhere is not read. */
	ask(&a, &file, NULL, 0, 5000);
	assert_int_equal(a.err, WAITING);
	fake_deliver_all(&source);
	assert_int_equal(a.err, 0);
	assert_int_equal(a.len, 0);
	free(a.data);
	/* Then it is tried again. */
	assert_accepted(&file, 0, 5000, 2);
	flush(&result);
	flush(&second);
	fake_fail(&source, fake_op(&source, 0), -EDQUOT);
	assert_int_equal(result, -EDQUOT);
	assert_int_equal(second, 0);
	assert_accepted(&file, 0, 5000, 3);
	flush(&result);
	fake_deliver_all(&source);
	assert_int_equal(result, 0);
	assert_pattern(store.data, 0, 5000, 3);
	assert_int_equal(figures().lost_files, 0);
	finish();
}

/* Behind the end of what the instance has, and out of memory: without a spool it can't be read; but
 * what was accepted since, or is cut off, is no part of it. */
static void test_refused_is_seen(void **state)
{
	struct answer a;
	int result;

	start(100000, 64 * MIB);
	fake_pattern(store.data, 100000, 0, 9);
	assert_accepted(&file, 90000, 30000, 1);
	assert_accepted(&file, 50000, 4000, 1);
	writer_push(content);
	fake_fail(&source, fake_op(&source, 1), -ENOSPC);
	fake_fail(&source, fake_op(&source, 0), -ENOSPC);
	assert_true(content_refused(content));
	content_resize(content, 100000);
	assert_int_equal(content_size(content), 120000);
	content_pool_drop(content->pool);
	ask(&a, &file, NULL, 40000, 1000);
	fake_deliver_all(&source);
	assert_pattern(a.data, 40000, 1000, 9);
	free(a.data);
	ask(&a, &file, NULL, 51000, 1000);
	fake_deliver_all(&source);
	assert_int_equal(a.err, -EIO);
	free(a.data);
	flush(&result);
	turn();
	assert_int_equal(result, -ENOSPC);
	assert_accepted(&file, 50000, 4000, 2);
	content_replaced(content, 100000, UINT64_MAX);
	content_resize(content, 100000);
	assert_int_equal(content_size(content), 100000);
	fake_deliver_all(&source);
	flush(&result);
	fake_deliver_all(&source);
	ask(&a, &file, NULL, 51000, 1000);
	fake_deliver_all(&source);
	assert_pattern(a.data, 51000, 1000, 2);
	free(a.data);
	content_forget_refused(content);
	ask(&a, &file, NULL, 95000, 1000);
	fake_deliver_all(&source);
	assert_pattern(a.data, 95000, 1000, 9);
	free(a.data);
	finish();
}

static void test_second_generation_after_error(void **state)
{
	int result;

	start(100000, 64 * MIB);
	assert_accepted(&file, 0, 10000, 1);
	writer_push(content);
	assert_accepted(&file, 5000, 10000, 2);
	flush(&result);
	fake_fail(&source, fake_op(&source, 0), -EIO);
	fake_deliver_all(&source);
	assert_int_equal(result, -EIO);
	assert_pattern(store.data + 5000, 5000, 10000, 2);
	finish();
}

static void test_lost(void **state)
{
	int result = WAITING;

	start(0, 64 * MIB);
	assert_accepted(&file, 0, 300000, 1);
	content_pool_sync(pool, answered, &result);
	assert_accepted(&file, 400000, 10, 1);
	content_free(content);
	content = content_new(pool, 0);
	fake_deliver_all(&source);
	assert_int_equal(result, 0);
	assert_int_equal(figures().lost_files, 1);
	/* The next sync says so, once. */
	result = WAITING;
	content_pool_sync(pool, answered, &result);
	turn();
	assert_int_equal(result, -EIO);
	result = WAITING;
	content_pool_sync(pool, answered, &result);
	turn();
	assert_int_equal(result, 0);
	finish();
}

static void test_fails_after_free(void **state)
{
	int result = WAITING;

	start(0, 64 * MIB);
	assert_accepted(&file, 0, CHUNK, 1);
	content_free(content);
	content = NULL;
	content_pool_sync(pool, answered, &result);
	fake_fail(&source, fake_op(&source, 0), -EIO);
	assert_int_equal(result, -EIO);
	assert_int_equal(figures().lost_files, 1);
	finish();
}

static void test_sync(void **state)
{
	struct fake_store other = {.data = NULL};
	struct fake_file other_file;
	struct content *one, *two;
	int result = WAITING, after = WAITING;

	start(0, 64 * MIB);
	fake_file_init(&other_file, &source, &other, false);
	one = content;
	two = content_new(pool, 0);
	assert_accepted(&file, 0, 10, 1);
	content = two;
	assert_accepted(&other_file, 0, 10, 1);
	content_pool_sync(pool, answered, &result);
	assert_int_equal(source.n, 2);
	assert_accepted(&other_file, 1000, 10, 1);
	content_pool_sync(pool, answered, &after);
	fake_fail(&source, fake_op(&source, 0), -ENOSPC);
	assert_int_equal(result, WAITING);
	fake_deliver(&source, fake_op(&source, 0));
	assert_int_equal(result, -ENOSPC);
	assert_int_equal(after, WAITING);
	fake_deliver_all(&source);
	assert_int_equal(after, -ENOSPC); /* still due to its file */
	content = one;
	flush(&result);
	turn();
	assert_int_equal(result, -ENOSPC);
	content_free(two);
	finish();
	fake_store_fini(&other);
}

/* --- appending --- */

static void test_append(void **state)
{
	int result;

	start(1000, 64 * MIB);
	assert_accepted(&appender, 1000, 100, 1);
	assert_accepted(&appender2, 1100, 100, 1);
	assert_accepted(&appender, 1200, MIB, 1);
	flush(&result);
	/* All through one file, in order, in flight together. */
	assert_true(source.n >= 5);
	assert_int_equal(appender2.refs, 1);
	while (source.n)
		fake_deliver(&source, fake_op(&source, source.n - 1));
	assert_int_equal(result, 0);
	assert_int_equal(store.size, 1200 + MIB);
	assert_pattern(store.data + 1000, 1000, 200 + MIB, 1);
	/* The second file's go through the first while that has some in flight. */
	assert_accepted(&appender, store.size, CHUNK, 2);
	assert_accepted(&appender2, store.size + CHUNK, 100, 2);
	assert_int_equal(appender2.refs, 1);
	flush(&result);
	assert_int_equal(source.n, 2);
	while (source.n)
		fake_deliver(&source, fake_op(&source, source.n - 1));
	assert_pattern(store.data + 1200 + MIB, 1200 + MIB, CHUNK + 100, 2);
	finish();
}

static void test_appends_never_overwrite(void **state)
{
	int result;

	/* The callers think that the file ends at 0; the instance knows better. */
	start(0, 64 * MIB);
	fake_store_resize(&store, 500);
	assert_accepted(&appender, 0, 100, 1);
	assert_accepted(&appender, 0, 100, 2);
	assert_accepted(&appender, 50, 100, 3);
	assert_accepted(&appender, 700, 100, 4);
	flush(&result);
	/* Nor overtake each other. */
	assert_int_equal(source.n, 1);
	while (result == WAITING)
		fake_deliver(&source, fake_op(&source, source.n - 1));
	assert_int_equal(store.size, 900);
	assert_pattern(store.data + 800, 700, 100, 4);
	assert_pattern(store.data + 500, 0, 100, 1);
	assert_pattern(store.data + 600, 0, 100, 2);
	assert_pattern(store.data + 700, 50, 100, 3);
	finish();
}

/* By the place that the spool notes, the next mount finds what was done of them. */
static void test_appends_know_their_place(void **state)
{
	int results[3];

	start(100, 64 * MIB);
	source.tells_end = true;
	assert_accepted(&appender, 100, 100, 1);
	assert_int_equal(content_end_there(content, 200), 200);
	flush(&results[0]);
	assert_accepted(&appender, 200, 100, 1);
	flush(&results[1]);
	/* Half of it is there, and after that somebody else's 1000 bytes. */
	fake_store_resize(&store, 150);
	fake_fail(&source, fake_op(&source, 0), -ENOSPC);
	assert_int_equal(results[0], -ENOSPC);
	assert_int_equal(content_end_there(content, 300), 200);
	assert_accepted(&appender, 300, 100, 1);
	fake_store_resize(&store, 1150);
	fake_deliver(&source, fake_op(&source, 0));
	assert_int_equal(store.size, 1250);
	assert_int_equal(content_end_there(content, 400), 1350);
	flush(&results[2]);
	fake_deliver_all(&source);
	assert_false(content_dirty(content));
	/* Now that it is clean: done, though no answer said so. */
	content_resize(content, 2000);
	assert_accepted(&appender, 400, 100, 1);
	assert_int_equal(content_end_there(content, 500), 2100);
	writer_push(content);
	fake_deliver_all(&source);
	finish();
}

static void test_change_of_class_waits(void **state)
{
	int result, plain;

	start(1000, 64 * MIB);
	assert_accepted(&appender, 1000, 100, 1);
	assert_int_equal(write_pattern(&file, 0, 10, 2, &plain), 0);
	/* It has sent the appends on their way, but waits itself. */
	assert_int_equal(source.n, 1);
	assert_false(content_is_sent(content, &appender));
	/* In line behind it. */
	assert_int_equal(write_pattern(&appender, 1100, 100, 1, &result), 0);
	fake_deliver_all(&source);
	assert_int_equal(plain, 0);
	assert_int_equal(result, 0);
	writer_push(content);
	fake_deliver_all(&source);
	assert_int_equal(store.size, 1200);
	assert_pattern(store.data + 1000, 1000, 200, 1);
	assert_pattern(store.data, 0, 10, 2);
	finish();
}

/* Wherever the callers think that their appends go, reading them waits for all. */
static void test_read_misplaced_append(void **state)
{
	struct answer a;

	start(20000, 64 * MIB);
	assert_accepted(&appender, 20000, 100, 1);
	assert_accepted(&appender, 600, 100, 1);
	ask(&a, &file, NULL, 600, 50);
	assert_int_equal(source.reads, 0);
	fake_deliver_all(&source);
	assert_answer(&a, 600, 50);
	finish();
}

static void test_read_appended(void **state)
{
	struct answer a;

	start(1000, 64 * MIB);
	assert_accepted(&appender, 1000, 100, 1);
	ask(&a, &file, NULL, 900, 1000);
	assert_int_equal(a.err, WAITING);
	fake_deliver_all(&source);
	assert_answer(&a, 900, 200);
	finish();
}

/* --- back-pressure --- */

static void test_back_pressure(void **state)
{
	int result[96], i, n = 0, done = 0;

	start(0, 64 * MIB);
	source.rtt_us = 0; /* not known yet */
	for (i = 0; i < 96; i++)
		n += write_pattern(&file, (unsigned)i * 131072, 131072, 1, &result[i]);
	assert_int_equal(n, WRITER_LIMIT_FIRST / 131072);
	assert_int_equal(figures().dirty_bytes, WRITER_LIMIT_FIRST);
	assert_int_equal(content_size(content), WRITER_LIMIT_FIRST);
	/* In order, as room comes. */
	for (i = n; i < 96; i++) {
		while (result[i] == WAITING) {
			int j;

			for (j = i + 1; j < 96; j++)
				assert_int_equal(result[j], WAITING);
			assert_true(source.n > 0);
			fake_deliver(&source, fake_op(&source, 0));
			assert_true(figures().dirty_bytes <= WRITER_LIMIT_FIRST);
			done++;
		}
		assert_int_equal(result[i], 0);
	}
	assert_true(done >= 16);
	writer_push(content);
	fake_deliver_all(&source);
	assert_int_equal(store.size, 12 * MIB);
	assert_pattern(store.data, 0, 12 * MIB, 1);
	assert_int_equal(file.refs, 1);
	finish();
}

/* What is under way over loopback. */
static uint64_t under_way(void)
{
	struct fake_op *op;
	uint64_t sum = 0;

	TAILQ_FOREACH (op, &source.ops, link)
		sum += op->len;
	return sum;
}

/* Near the instance little is under way at once, of each content in turn, and what is small goes
 * beside it. */
static void test_near_little_is_under_way(void **state)
{
	struct fake_store other = {0}, third = {0};
	struct fake_file second, small;
	struct content *one, *two, *three;
	bool seen = false;
	int i, result;

	start(0, 64 * MIB);
	source.rtt_us = 100;
	fake_file_init(&second, &source, &other, false);
	fake_file_init(&small, &source, &third, false);
	one = content;
	for (i = 0; i < 32; i++)
		assert_accepted(&file, (unsigned)i * 131072, 131072, 1);
	assert_in_range(under_way(), WRITER_SENT_NEAR / 2, MIB);
	two = content = content_new(pool, 0);
	for (i = 0; i < 8; i++)
		assert_accepted(&second, (unsigned)i * 131072, 131072, 2);
	three = content = content_new(pool, 0);
	assert_accepted(&small, 0, 100, 3);
	flush(&result);
	assert_ptr_equal(fake_op(&source, source.n - 1)->file, &small);
	for (i = 0; i < 8; i++) {
		fake_deliver(&source, fake_op(&source, 0));
		assert_in_range(under_way(), WRITER_SENT_NEAR / 2, MIB);
		seen |= fake_op(&source, source.n - 1)->file == &second;
	}
	assert_true(seen);
	content_free(two);
	content_free(three);
	content = one;
	writer_push(content);
	fake_deliver_all(&source);
	assert_int_equal(store.size, 4 * MIB);
	assert_pattern(store.data, 0, 4 * MIB, 1);
	finish();
	fake_store_fini(&other);
	fake_store_fini(&third);
}

/* A write that waits can be taken back; those behind it go on in order, and nothing of it is sent.
 */
static void test_withdraw(void **state)
{
	int result[80], i;

	start(0, 64 * MIB);
	source.rtt_us = 0; /* not known yet */
	for (i = 0; i < 80; i++)
		write_pattern(&file, (unsigned)i * 131072, 131072, 1, &result[i]);
	assert_false(content_withdraw(content, &result[0])); /* accepted */
	assert_true(content_withdraw(content, &result[64]));
	assert_true(content_withdraw(content, &result[72]));
	assert_false(content_withdraw(content, &result[72]));
	assert_int_equal(result[72], WAITING); /* told later */
	turn();
	assert_int_equal(result[64], -ECANCELED);
	assert_int_equal(result[72], -ECANCELED);
	writer_push(content);
	fake_deliver_all(&source);
	for (i = 65; i < 80; i++)
		assert_int_equal(result[i], i == 72 ? -ECANCELED : 0);
	writer_push(content);
	fake_deliver_all(&source);
	assert_int_equal(store.size, 10 * MIB);
	assert_pattern(store.data, 0, WRITER_LIMIT_FIRST, 1);
	for (i = 64; i < 80; i += 8)
		assert_int_equal(store.data[i * 131072 + 5], 0);
	assert_int_equal(file.refs, 1);
	finish();
}

/* All of the room is taken by what nobody has sent yet. */
static void test_waiting_sends_the_unsent(void **state)
{
	unsigned i;
	int result;

	start(0, 64 * MIB);
	for (i = 0; i < 64; i++)
		assert_accepted(&file, i * 262144, 131072, 1);
	assert_int_equal(source.n, 0);
	assert_int_equal(write_pattern(&file, 64 * 262144, 131072, 1, &result), 0);
	assert_int_equal(source.n, 64);
	fake_deliver(&source, fake_op(&source, 0));
	assert_int_equal(result, 0);
	writer_push(content);
	finish();
}

static void test_fair(void **state)
{
	struct content *one, *two;
	struct fake_store other = {.data = NULL};
	struct fake_file other_file;
	int a[40], b[4], i;

	start(0, 64 * MIB);
	source.rtt_us = 0; /* not known yet */
	fake_file_init(&other_file, &source, &other, false);
	one = content;
	two = content_new(pool, 0);
	for (i = 0; i < 40; i++)
		write_pattern(&file, (unsigned)i * 262144, 262144, 1, &a[i]);
	content = two;
	for (i = 0; i < 4; i++)
		assert_int_equal(write_pattern(&other_file, (unsigned)i * 1000, 1000, 2, &b[i]), 0);
	/* The small one does not wait for all of the large one's. */
	while (b[3] == WAITING)
		fake_deliver(&source, fake_op(&source, 0));
	assert_int_equal(a[30], WAITING);
	writer_pool_push(pool);
	fake_deliver_all(&source);
	for (i = 0; i < 40; i++)
		assert_int_equal(a[i] == WAITING ? 0 : a[i], 0);
	writer_pool_push(pool);
	fake_deliver_all(&source);
	assert_int_equal(store.size, 40 * 262144);
	assert_pattern(other.data, 0, 4000, 2);
	content_free(two);
	content = one;
	finish();
	assert_int_equal(other_file.refs, 1);
	fake_store_fini(&other);
}

static void test_free_with_waiters(void **state)
{
	int result[72], flushed, i;

	start(0, 64 * MIB);
	source.rtt_us = 0; /* not known yet */
	for (i = 0; i < 72; i++)
		write_pattern(&file, (unsigned)i * 131072, 131072, 1, &result[i]);
	flush(&flushed);
	content_free(content);
	content = NULL;
	assert_int_equal(result[71], WAITING);
	turn();
	assert_int_equal(result[71], -ECANCELED);
	assert_int_equal(flushed, -ECANCELED);
	finish();
}

static void write_more(void *arg, int err)
{
	int *n = arg;

	if (err || ++*n > 3)
		return;
	assert_accepted(&file, (unsigned)*n * 1000, 500, 4);
	content_flush(content, write_more, n);
}

static void test_callbacks_call_back(void **state)
{
	int n = 0;

	start(0, 64 * MIB);
	content_flush(content, write_more, &n);
	while (n < 4) {
		turn();
		fake_deliver_all(&source);
	}
	assert_pattern(store.data + 3000, 3000, 500, 4);
	finish();
}

static void flush_for_ever(void *arg, int err)
{
	int *n = arg;

	if (!err && ++*n < 1000)
		content_flush(content, flush_for_ever, n);
}

/* A program that always has more to ask does not keep the loop from turning. */
static void test_loop_keeps_turning(void **state)
{
	int n = 0, turns;

	start(0, 64 * MIB);
	content_flush(content, flush_for_ever, &n);
	for (turns = 0; n < 1000; turns++)
		turn();
	assert_in_range(turns, 999, 1001);
	finish();
}

static void test_bad_offsets(void **state)
{
	int result;

	start(0, 64 * MIB);
	assert_int_equal(write_pattern(&file, INT64_MAX, 10, 1, &result), -EFBIG);
	assert_int_equal(write_pattern(&file, UINT64_MAX, 10, 1, &result), -EFBIG);
	assert_int_equal(write_pattern(&file, (uint64_t)INT64_MAX - 10, 10, 1, &result), 1);
	assert_int_equal(content_size(content), INT64_MAX);
	writer_push(content);
	fake_fail(&source, fake_op(&source, 0), -EFBIG);
	assert_int_equal(write_pattern(&file, 0, 1, 1, &result), -EFBIG);
	finish();
}

/* A link in the test's own time, and a program that writes 128 KiB at a time. The seconds until all
 * is there. */
static double write_over_link(uint32_t rtt_us, double rate, uint32_t size, uint64_t *limit)
{
	uint64_t half = (uint64_t)rtt_us * 500, link_free = 0, from, offset = 0;
	struct fake_op *op;
	int result = 0, flushed = 1;

	start(0, 64 * MIB);
	source.rtt_us = rtt_us;
	from = clock_ns;
	while (flushed) {
		while (!result && offset < size) {
			if (write_pattern(&file, offset, 131072, 1, &result) == 1)
				result = 0;
			offset += 131072;
			clock_ns += 20000; /* the program's own time */
		}
		if (!result && flushed == 1)
			flush(&flushed);
		TAILQ_FOREACH (op, &source.ops, link) {
			if (op->at)
				continue;
			if (link_free < clock_ns)
				link_free = clock_ns;
			link_free += (uint64_t)(op->len * 1e9 / rate);
			op->at = link_free + 2 * half;
		}
		op = fake_op(&source, 0);
		if (!op)
			continue;
		if (op->at > clock_ns)
			clock_ns = op->at;
		fake_deliver(&source, op);
	}
	*limit = figures().dirty_limit_bytes;
	assert_pattern(store.data + size - 131072, size - 131072, 131072, 1);
	finish();
	return (double)(clock_ns - from) / 1e9;
}

static void test_fills_the_link(void **state)
{
	static const struct {
		uint32_t rtt_us, mbit, mib, least_percent;
		uint64_t limit;
	} links[] = {
	    {500, 4000, 256, 90, 9 * MIB}, /* near: no more than it takes */
	    {5000, 4000, 256, 90, 15 * MIB},
	    {50000, 1000, 256, 96, 26 * MIB},
	    {50000, 100, 64, 90, 10 * MIB},
	    {200000, 100, 64, 90, 15 * MIB},
	    {200000, 1000, 512, 90, 64 * MIB},
	    {100000, 5, 24, 90, 2 * MIB},
	};
	double rate, took, ideal;
	uint64_t limit;
	size_t i;

	for (i = 0; i < sizeof(links) / sizeof(*links); i++) {
		rate = links[i].mbit * 125e3;
		took = write_over_link(links[i].rtt_us, rate, links[i].mib * MIB, &limit);
		ideal = links[i].mib * MIB / rate;
		print_message("rtt %u us, %u Mbit/s: %.2f s, %.0f %% of the link, limit %.1f MiB\n",
		    links[i].rtt_us, links[i].mbit, took, 100 * ideal / took, (double)limit / MIB);
		assert_true(100 * ideal / took >= links[i].least_percent);
		assert_in_range(limit, links[i].limit * 8 / 10, links[i].limit * 12 / 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_merges),
	    cmocka_unit_test(test_large_writes_are_not_copied),
	    cmocka_unit_test(test_sent_through),
	    cmocka_unit_test(test_held_until_let_go),
	    cmocka_unit_test(test_dropped_ends_well),
	    cmocka_unit_test(test_failed_is_told),
	    cmocka_unit_test(test_timer),
	    cmocka_unit_test(test_overwrites_in_place),
	    cmocka_unit_test(test_second_generation),
	    cmocka_unit_test(test_random_writes_do_not_pile_up),
	    cmocka_unit_test(test_flush_when_clean),
	    cmocka_unit_test(test_flush_ignores_later_writes),
	    cmocka_unit_test(test_read_back),
	    cmocka_unit_test(test_read_over_dirty),
	    cmocka_unit_test(test_hole),
	    cmocka_unit_test(test_hole_after_cut),
	    cmocka_unit_test(test_written_blocks_are_bounded),
	    cmocka_unit_test(test_write_beats_fetch),
	    cmocka_unit_test(test_reader_does_not_starve),
	    cmocka_unit_test(test_error_is_reported_once),
	    cmocka_unit_test(test_refused_is_seen),
	    cmocka_unit_test(test_second_generation_after_error),
	    cmocka_unit_test(test_lost),
	    cmocka_unit_test(test_fails_after_free),
	    cmocka_unit_test(test_sync),
	    cmocka_unit_test(test_append),
	    cmocka_unit_test(test_appends_never_overwrite),
	    cmocka_unit_test(test_appends_know_their_place),
	    cmocka_unit_test(test_change_of_class_waits),
	    cmocka_unit_test(test_read_appended),
	    cmocka_unit_test(test_read_misplaced_append),
	    cmocka_unit_test(test_back_pressure),
	    cmocka_unit_test(test_near_little_is_under_way),
	    cmocka_unit_test(test_withdraw),
	    cmocka_unit_test(test_waiting_sends_the_unsent),
	    cmocka_unit_test(test_fair),
	    cmocka_unit_test(test_free_with_waiters),
	    cmocka_unit_test(test_callbacks_call_back),
	    cmocka_unit_test(test_loop_keeps_turning),
	    cmocka_unit_test(test_bad_offsets),
	    cmocka_unit_test(test_fills_the_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

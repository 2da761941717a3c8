/* Reading through struct content: what is asked of the instance, when, and what programs get. */
#include "tests/unit/content_fixture.h"

static void assert_op(int i, uint64_t offset, uint32_t len)
{
	struct fake_op *op = fake_op(&source, i);

	assert_non_null(op);
	assert_false(op->is_write);
	assert_int_equal(op->offset, offset);
	assert_int_equal(op->len, len);
}

static void test_small_file_in_one_request(void **state)
{
	struct readahead ra = {.clock = 0};
	struct answer a;

	start(10000, 64 * MIB);
	ask(&a, &file, &ra, 0, 4096);
	assert_int_equal(a.err, WAITING);
	assert_int_equal(source.n, 1);
	assert_op(0, 0, 10000);
	assert_false(fake_op(&source, 0)->bulk);
	assert_int_equal(file.refs, 3); /* the fetch and the reader */
	fake_deliver_all(&source);
	assert_answer(&a, 0, 4096);
	assert_hit(4096, 5904);
	assert_int_equal(figures().present_bytes, 12288);
	assert_int_equal(file.refs, 1);
	finish();
}

static void test_random_read_asks_for_its_pages(void **state)
{
	struct readahead ra = {.clock = 0};
	struct answer a;

	start(4 * MIB, 64 * MIB);
	ask(&a, &file, &ra, MIB + 5000, 100);
	assert_int_equal(source.n, 1);
	assert_op(0, MIB + 4096, 4096);
	assert_false(fake_op(&source, 0)->bulk);
	fake_deliver_all(&source);
	assert_answer(&a, MIB + 5000, 100);
	/* Only the pages that are missing. */
	ask(&a, &file, NULL, MIB, 3 * 4096);
	assert_int_equal(source.n, 2);
	assert_op(0, MIB, 4096);
	assert_op(1, MIB + 8192, 4096);
	fake_deliver_all(&source);
	assert_answer(&a, MIB, 3 * 4096);
	finish();
}

static void test_ends(void **state)
{
	struct answer a;

	start(5000, 64 * MIB);
	ask(&a, &file, NULL, 5000, 10);
	assert_answer(&a, 5000, 0);
	ask(&a, &file, NULL, UINT64_MAX - 5, 10);
	assert_answer(&a, 0, 0);
	ask(&a, &file, NULL, 4990, MIB);
	assert_op(0, 4096, 904);
	fake_deliver_all(&source);
	assert_answer(&a, 4990, 10);
	ask(&a, &file, NULL, 0, MIB + 1);
	assert_int_equal(a.err, -EINVAL);
	finish();
	start(0, 64 * MIB);
	ask(&a, &file, NULL, 0, 10);
	assert_answer(&a, 0, 0);
	finish();
}

static void test_large_read_over_blocks(void **state)
{
	struct answer a;

	start(4 * MIB, 64 * MIB);
	ask(&a, &file, NULL, 100001, MIB);
	assert_int_equal(source.n, 9);
	/* Answers come in any order; the reader waits for all. */
	while (source.n > 1)
		fake_deliver(&source, fake_op(&source, source.n / 2));
	assert_int_equal(a.err, WAITING);
	fake_deliver_all(&source);
	assert_int_equal(a.n, 9);
	assert_answer(&a, 100001, MIB);
	finish();
}

static void test_max_read(void **state)
{
	struct answer a;

	start(4 * MIB, 64 * MIB);
	source.max_read = 32768 + 100;
	ask(&a, &file, NULL, 0, 131072);
	assert_int_equal(source.n, 4);
	assert_op(3, 3 * 32768, 32768);
	fake_deliver_all(&source);
	assert_answer(&a, 0, 131072);
	finish();
}

static void test_readers_share_a_fetch(void **state)
{
	struct answer a, b, c;

	start(MIB, 64 * MIB);
	ask(&a, &file, NULL, 0, 8192);
	ask(&b, &file2, NULL, 4096, 100);
	ask(&c, &file2, NULL, 4096, 8192);
	assert_int_equal(source.n, 2);
	assert_op(1, 8192, 4096);
	fake_deliver(&source, fake_op(&source, 0));
	assert_answer(&a, 0, 8192);
	assert_answer(&b, 4096, 100);
	assert_int_equal(c.err, WAITING);
	fake_deliver_all(&source);
	assert_answer(&c, 4096, 8192);
	finish();
}

/* The file is shorter there than its size says: what there is, and no page pretends to be whole. */
static void test_short_answer(void **state)
{
	struct answer a;

	start(MIB, 64 * MIB);
	store.size = 200000;
	ask(&a, &file, NULL, 100, 500000);
	while (source.n)
		fake_deliver(&source, fake_op(&source, source.n - 1));
	assert_answer(&a, 100, 199900);
	assert_int_equal(content_size(content), MIB);
	assert_hit(0, 196608);
	ask(&a, &file, NULL, 196608, 100);
	assert_int_equal(a.err, WAITING);
	fake_deliver_all(&source);
	assert_answer(&a, 196608, 100);
	/* An end before the read's begin. */
	ask(&a, &file, NULL, 300000, 100);
	fake_deliver_all(&source);
	assert_answer(&a, 0, 0);
	/* It has grown again meanwhile. */
	store.size = MIB;
	ask(&a, &file, NULL, 196608, 100000);
	fake_deliver_all(&source);
	assert_answer(&a, 196608, 100000);
	finish();
}

static void test_long_answer_is_cut(void **state)
{
	struct answer a;
	struct fake_op *op;

	start(5000, 64 * MIB);
	ask(&a, &file, NULL, 0, 5000);
	op = fake_op(&source, 0);
	fake_serve(op);
	op->data = realloc(op->data, 300000);
	memset(op->data + 5000, 0xee, 295000);
	op->got = 300000;
	fake_deliver(&source, op);
	assert_answer(&a, 0, 5000);
	/* What the answer had too much is not what a hole reads. */
	assert_accepted(&file, 6000, 10, 2);
	ask(&a, &file, NULL, 4990, 20);
	assert_int_equal(a.err, 0);
	assert_int_equal(a.data[15], 0);
	free(a.data);
	fake_deliver_all(&source);
	finish();
}

static void test_errors(void **state)
{
	struct answer a, b;

	start(MIB, 64 * MIB);
	ask(&a, &file, NULL, 0, 4096);
	/* Another file's failure is not this one's: it asks itself, once. */
	ask(&b, &file2, NULL, 0, 4096);
	fake_fail(&source, fake_op(&source, 0), -ESTALE);
	assert_int_equal(a.err, -ESTALE);
	assert_int_equal(b.err, WAITING);
	assert_int_equal(source.n, 1);
	fake_fail(&source, fake_op(&source, 0), -EIO);
	assert_int_equal(b.err, -EIO);
	/* Nothing remains of it. */
	ask(&a, &file, NULL, 0, 4096);
	fake_deliver_all(&source);
	assert_answer(&a, 0, 4096);
	finish();
}

static void test_failed_ahead_is_asked_again(void **state)
{
	struct readahead ra = {.clock = 0};
	struct answer a;

	start(2 * MIB, 64 * MIB);
	ask(&a, &file, &ra, 0, 131072);
	while (source.n > 1)
		fake_fail(&source, fake_op(&source, 1), -EIO);
	fake_deliver_all(&source);
	assert_answer(&a, 0, 131072);
	ask(&a, &file, &ra, 131072, 131072);
	assert_true(source.n > 0);
	fake_deliver_all(&source);
	assert_answer(&a, 131072, 131072);
	finish();
}

static void test_invalidate(void **state)
{
	struct answer a;

	start(MIB, 64 * MIB);
	ask(&a, &file, NULL, 0, 131072);
	fake_deliver_all(&source);
	assert_answer(&a, 0, 131072);
	/* A fetch sees the old version; it arrives after the news. */
	ask(&a, &file, NULL, 131072, 131072);
	fake_serve(fake_op(&source, 0));
	fake_pattern(store.data, MIB, 0, 9);
	content_invalidate(content);
	fake_deliver(&source, fake_op(&source, 0));
	turn();
	assert_int_equal(a.err, WAITING);
	assert_int_equal(source.n, 1);
	fake_deliver_all(&source);
	assert_answer(&a, 131072, 131072);
	ask(&a, &file, NULL, 0, 100);
	assert_int_equal(a.err, WAITING);
	fake_deliver_all(&source);
	assert_answer(&a, 0, 100);
	assert_true(figures().wasted_bytes >= 131072);
	finish();
}

static void test_free_in_flight(void **state)
{
	struct answer a, b;

	start(MIB, 64 * MIB);
	ask(&a, &file, NULL, 0, 131072);
	ask(&b, &file, NULL, 400000, 131072);
	content_free(content);
	content = NULL;
	assert_int_equal(a.err, WAITING);
	turn();
	assert_int_equal(a.err, -ECANCELED);
	assert_int_equal(b.err, -ECANCELED);
	assert_int_equal(figures().reads_in_flight, 3);
	finish();
}

/* The pool too, before the loop turns. */
static void test_free_all_at_once(void **state)
{
	struct answer a;

	start(MIB, 64 * MIB);
	ask(&a, &file, NULL, 0, 131072);
	content_free(content);
	content = NULL;
	content_pool_free(pool);
	assert_int_equal(a.err, -ECANCELED);
	turn();
	fake_deliver_all(&source);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_equal(file.refs, 1);
	fake_store_fini(&store);
}

static struct answer inner;

static void free_it(void *arg, int err, const struct content_view *view)
{
	++*(int *)arg;
	if (content)
		content_free(content);
	content = NULL;
}

static void write_and_read(void *arg, int err, const struct content_view *view)
{
	++*(int *)arg;
	assert_int_equal(err, 0);
	assert_accepted(&file, 0, 4096, 5);
	ask(&inner, &file, NULL, 0, 4096);
	assert_int_equal(inner.err, 0);
	assert_pattern(inner.data, 0, 4096, 5);
	free(inner.data);
	ask(&inner, &file, NULL, 500000, 4096);
}

static void test_callbacks_call_back(void **state)
{
	struct content_view view;
	struct answer a;
	int n = 0;

	start(MIB, 64 * MIB);
	assert_int_equal(content_read(content, &file, NULL, 0, 100, &view, write_and_read, &n), 0);
	ask(&a, &file, NULL, 0, 4096); /* answered after the write: sees it */
	fake_deliver(&source, fake_op(&source, 0));
	assert_int_equal(n, 1);
	assert_int_equal(a.err, 0);
	assert_pattern(a.data, 0, 4096, 5);
	free(a.data);
	writer_push(content);
	fake_deliver_all(&source);
	assert_answer(&inner, 500000, 4096);

	n = 0;
	assert_int_equal(content_read(content, &file, NULL, 8192, 100, &view, free_it, &n), 0);
	assert_int_equal(content_read(content, &file, NULL, 8192, 100, &view, free_it, &n), 0);
	fake_deliver_all(&source);
	turn();
	assert_int_equal(n, 2);
	assert_null(content);
	finish();
}

static void test_shrink_and_grow(void **state)
{
	struct answer a;

	start(300000, 64 * MIB);
	ask(&a, &file, NULL, 0, 300000);
	fake_deliver_all(&source);
	assert_answer(&a, 0, 300000);
	fake_store_resize(&store, 100000);
	content_resize(content, 100000);
	assert_hit(90000, 10000);
	ask(&a, &file, NULL, 150000, 10);
	assert_answer(&a, 0, 0);
	assert_int_equal(figures().present_bytes, 131072);
	/* Grown by somebody there: the page that was cut is asked for anew. */
	fake_store_resize(&store, 200000);
	fake_pattern(store.data + 100000, 100000, 0, 3);
	content_resize(content, 200000);
	assert_hit(0, 98304);
	ask(&a, &file, NULL, 98304, 4096);
	assert_int_equal(source.n, 1);
	fake_deliver_all(&source);
	assert_answer(&a, 98304, 4096);
	finish();
}

/* An answer under way for the last page knew the old bytes behind the new end. */
static void test_shrink_while_fetching(void **state)
{
	struct answer a;

	start(8192, 64 * MIB);
	ask(&a, &file, NULL, 0, 8192);
	fake_serve(fake_op(&source, 0));
	fake_store_resize(&store, 5000);
	content_resize(content, 5000);
	fake_store_resize(&store, 8192);
	content_resize(content, 8192);
	fake_deliver_all(&source);
	turn();
	fake_deliver_all(&source);
	assert_answer(&a, 0, 8192);
	finish();
}

static void read_on(struct readahead *ra, uint64_t from, uint64_t to)
{
	struct answer a;

	for (; from < to; from += 131072) {
		ask(&a, &file, ra, from, 131072);
		fake_deliver_all(&source);
		assert_answer(&a, from, 131072);
	}
}

static void test_memory_limit(void **state)
{
	struct readahead ra = {.clock = 0};

	start(16 * MIB, 2 * MIB);
	read_on(&ra, 0, 16 * MIB);
	assert_in_range(figures().present_bytes, MIB, 2 * MIB);
	/* Streaming through a small memory does not fetch twice. */
	assert_int_equal(source.read_bytes, 16 * MIB);
	assert_int_equal(figures().wasted_bytes, 0);
	finish();
}

/* What a stream has passed goes before what is used again and again. */
static void test_drop_behind(void **state)
{
	struct readahead ra = {.clock = 0};
	struct answer a;

	start(16 * MIB, 4 * MIB);
	ask(&a, &file, NULL, 15 * MIB, 4096);
	fake_deliver_all(&source);
	assert_answer(&a, 15 * MIB, 4096);
	read_on(&ra, 0, 8 * MIB);
	assert_hit(15 * MIB, 4096);
	finish();
}

/* Requests that overtake each other inside a block, with little memory: nothing is fetched twice.
 */
static void test_drop_behind_leaves_slack(void **state)
{
	struct readahead ra = {.clock = 0};
	struct answer a;
	uint64_t at;
	int i;

	start(32 * MIB, 4 * MIB);
	for (at = 0; at < 32 * MIB; at += 512 * KIB) {
		for (i = 7; i >= 0; i--) {
			ask(&a, &file, &ra, at + (unsigned)(i ^ 4) * 65536, 65536);
			fake_deliver_all(&source);
			assert_answer(&a, at + (unsigned)(i ^ 4) * 65536, 65536);
		}
	}
	assert_int_equal(source.read_bytes, 32 * MIB);
	assert_int_equal(figures().wasted_bytes, 0);
	finish();
}

static void test_drop(void **state)
{
	struct answer a;

	start(MIB, 64 * MIB);
	ask(&a, &file, NULL, 0, MIB);
	fake_deliver_all(&source);
	assert_answer(&a, 0, MIB);
	content_pool_drop(pool);
	assert_int_equal(figures().present_bytes, 0);
	finish();
}

static void test_prefetch(void **state)
{
	struct readahead ra = {.clock = 0};
	struct answer a;

	start(200000, 64 * MIB);
	content_prefetch(content, &file, 0, 262144);
	assert_int_equal(source.n, 2);
	assert_false(fake_op(&source, 0)->bulk);
	ask(&a, &file, &ra, 0, 100000);
	assert_int_equal(source.n, 2);
	fake_deliver_all(&source);
	assert_answer(&a, 0, 100000);
	assert_hit(100000, 100000);
	content_prefetch(content, &file, 200000, 262144);
	assert_int_equal(source.n, 0);
	finish();
}

static void test_terabyte(void **state)
{
	const uint64_t tib = UINT64_C(1) << 40;
	struct answer a;
	int i;

	start(MIB, 64 * MIB);
	content_resize(content, 8 * tib);
	for (i = 1; i < 8; i++) {
		ask(&a, &file, NULL, (unsigned)i * tib - 5, 10);
		assert_int_equal(source.n, 2);
		assert_op(0, (unsigned)i * tib - 4096, 4096);
		assert_op(1, (unsigned)i * tib, 4096);
		fake_deliver_all(&source); /* nothing there */
		assert_answer(&a, 0, 0);
	}
	finish();
}

static void test_bulk(void **state)
{
	struct readahead ra = {.clock = 0};
	struct answer a, b;

	start(16 * MIB, 64 * MIB);
	ask(&a, &file, &ra, 8 * MIB, 131072); /* one large request */
	assert_true(fake_op(&source, 0)->bulk);
	ask(&b, &file, &ra, 8 * MIB + 131072, 4096); /* and now it streams */
	assert_true(fake_op(&source, 1)->bulk);
	fake_deliver_all(&source);
	assert_answer(&a, 8 * MIB, 131072);
	assert_answer(&b, 8 * MIB + 131072, 4096);
	finish();
}

static void test_budget(void **state)
{
	struct readahead ra[16];
	struct answer a[16], b[16];
	uint64_t at;
	int i;

	/* Many streams at once, and little memory: ahead takes at most half of it, programs what
	 * they ask for. */
	start(64 * MIB, 4 * MIB);
	memset(ra, 0, sizeof(ra));
	for (i = 0; i < 16; i++) {
		at = (unsigned)i * 4 * MIB;
		ask(&a[i], &file, &ra[i], at, 131072);
		ask(&b[i], &file, &ra[i], at + 131072, 131072);
	}
	assert_in_range(pool->reading, 4 * MIB, 6 * MIB);
	fake_deliver_all(&source);
	for (i = 0; i < 16; i++) {
		at = (unsigned)i * 4 * MIB;
		assert_answer(&a[i], at, 131072);
		assert_answer(&b[i], at + 131072, 131072);
	}
	finish();
}

static void test_figures(void **state)
{
	struct answer a;

	start(MIB, 64 * MIB);
	ask(&a, &file, NULL, 100, 5000);
	assert_int_equal(figures().reads_in_flight, 1);
	fake_deliver_all(&source);
	assert_answer(&a, 100, 5000);
	assert_hit(100, 1000);
	assert_int_equal(figures().miss_bytes, 5000);
	assert_int_equal(figures().hit_bytes, 1000);
	assert_int_equal(figures().fetched_bytes, 8192);
	assert_int_equal(figures().limit_bytes, 64 * MIB);
	finish();
}

/*
 * A link with a round-trip time and a rate, in the test's own time, and a reader like the kernel's:
 * eight requests of 128 KiB at a time, in order. The seconds that size bytes take.
 */
static double stream_over_link(uint32_t rtt_us, double rate, uint32_t size, uint64_t memory)
{
	struct readahead ra = {.clock = 0};
	struct answer a[8];
	struct fake_op *op;
	uint64_t offset = 0, half = (uint64_t)rtt_us * 500, link_free = 0, from;
	int first = 0, n = 0;

	start(size, memory);
	source.rtt_us = rtt_us;
	from = clock_ns;
	while (offset < size || n) {
		for (; n < 8 && offset < size; offset += 131072)
			ask(&a[(first + n++) % 8], &file, &ra, offset, 131072);
		TAILQ_FOREACH (op, &source.ops, link) {
			if (op->at)
				continue;
			if (link_free < clock_ns + half)
				link_free = clock_ns + half;
			link_free += (uint64_t)(op->len * 1e9 / rate);
			op->at = link_free + half;
		}
		if (a[first].err == WAITING) {
			op = fake_op(&source, 0);
			assert_non_null(op);
			if (op->at > clock_ns)
				clock_ns = op->at;
			fake_deliver(&source, op);
			continue;
		}
		assert_answer(&a[first], offset - (unsigned)n * 131072, 131072);
		first = (first + 1) % 8;
		n--;
	}
	assert_int_equal(source.read_bytes, size);
	finish();
	return (double)(clock_ns - from) / 1e9;
}

static void test_fills_the_link(void **state)
{
	static const struct {
		uint32_t rtt_us, mbit, least_percent;
	} links[] = {
	    {500, 8000, 90},
	    {5000, 1000, 90},
	    {20000, 1000, 90},
	    {50000, 1000, 85},
	    {50000, 100, 90},
	    {100000, 1000, 65},
	    {200000, 300, 75},
	    {50000, 4000, 35},
	};
	double rate, took, ideal;
	size_t i;

	for (i = 0; i < sizeof(links) / sizeof(*links); i++) {
		rate = links[i].mbit * 125e3;
		took = stream_over_link(links[i].rtt_us, rate, 128 * MIB, 256 * MIB);
		ideal = 128 * MIB / rate;
		print_message("rtt %u us, %u Mbit/s: %.2f s, %.0f %% of the link\n",
		    links[i].rtt_us, links[i].mbit, took, 100 * ideal / took);
		assert_true(100 * ideal / took >= links[i].least_percent);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_small_file_in_one_request),
	    cmocka_unit_test(test_random_read_asks_for_its_pages),
	    cmocka_unit_test(test_ends),
	    cmocka_unit_test(test_large_read_over_blocks),
	    cmocka_unit_test(test_max_read),
	    cmocka_unit_test(test_readers_share_a_fetch),
	    cmocka_unit_test(test_short_answer),
	    cmocka_unit_test(test_long_answer_is_cut),
	    cmocka_unit_test(test_errors),
	    cmocka_unit_test(test_failed_ahead_is_asked_again),
	    cmocka_unit_test(test_invalidate),
	    cmocka_unit_test(test_free_in_flight),
	    cmocka_unit_test(test_free_all_at_once),
	    cmocka_unit_test(test_callbacks_call_back),
	    cmocka_unit_test(test_shrink_and_grow),
	    cmocka_unit_test(test_shrink_while_fetching),
	    cmocka_unit_test(test_memory_limit),
	    cmocka_unit_test(test_drop_behind),
	    cmocka_unit_test(test_drop_behind_leaves_slack),
	    cmocka_unit_test(test_drop),
	    cmocka_unit_test(test_prefetch),
	    cmocka_unit_test(test_terabyte),
	    cmocka_unit_test(test_bulk),
	    cmocka_unit_test(test_budget),
	    cmocka_unit_test(test_figures),
	    cmocka_unit_test(test_fills_the_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

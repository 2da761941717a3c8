/* The read-ahead's policy: plain numbers in, plain numbers out. */
#include "cache/readahead.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define K 1024ull
#define M (1024 * K)
#define MOST (4 * M)
#define SIZE (1024 * M)

static struct readahead ra;
static struct readahead_plan plan;

static int setup(void **state)
{
	memset(&ra, 0, sizeof(ra));
	return 0;
}

static void note(uint64_t offset, uint64_t len, enum readahead_found found)
{
	readahead_plan(&ra, offset, (uint32_t)len, SIZE, found, MOST, &plan);
	assert_true(plan.from <= plan.to);
	assert_true(plan.to <= SIZE);
}

static void assert_nothing(void)
{
	assert_int_equal(plan.from, plan.to);
}

static void test_start_of_file(void **state)
{
	note(0, 16 * K, READAHEAD_ABSENT);
	assert_int_equal(plan.from, 16 * K);
	assert_int_equal(plan.to, 640 * K); /* 16 + 512, to whole blocks */
	assert_true(plan.streaming);
}

static void test_small_file_whole(void **state)
{
	readahead_plan(&ra, 0, 4096, 200 * K, READAHEAD_ABSENT, MOST, &plan);
	assert_int_equal(plan.from, 4096);
	assert_int_equal(plan.to, 200 * K);
	memset(&ra, 0, sizeof(ra));
	readahead_plan(&ra, 0, 100, 100, READAHEAD_ABSENT, MOST, &plan);
	assert_nothing();
}

static void test_second_read_in_the_middle(void **state)
{
	note(10 * M, 128 * K, READAHEAD_ABSENT);
	assert_nothing();
	assert_false(plan.streaming);
	note(10 * M + 128 * K, 128 * K, READAHEAD_ABSENT);
	assert_int_equal(plan.from, 10 * M + 256 * K);
	assert_int_equal(plan.to, 10 * M + 320 * K);
}

static void test_short_reads_start_small(void **state)
{
	note(10 * M, 4 * K, READAHEAD_ABSENT);
	note(10 * M + 4 * K, 4 * K, READAHEAD_ABSENT);
	assert_int_equal(plan.stream->window, READAHEAD_LEAST);
}

/* Reads on from at until beyond end; the most that was asked for ahead. */
static uint64_t go_on(uint64_t at, uint64_t end, enum readahead_found found)
{
	uint64_t ahead = 0;

	for (; at < end; at += 128 * K) {
		note(at, 128 * K, found);
		if (plan.to > at + 128 * K && plan.to - (at + 128 * K) > ahead)
			ahead = plan.to - (at + 128 * K);
	}
	return ahead;
}

static void test_grows_while_waiting(void **state)
{
	go_on(0, 4 * M, READAHEAD_UNDERWAY);
	assert_int_equal(plan.stream->window, MOST);
	/* Never beyond the limit, but for the rounding. */
	assert_in_range(go_on(4 * M, 64 * M, READAHEAD_UNDERWAY), MOST, MOST + 128 * K);
	/* And down with it. */
	readahead_plan(&ra, 64 * M, 128 * K, SIZE, READAHEAD_HIT, 1 * M, &plan);
	assert_int_equal(plan.stream->window, 1 * M);
}

/* What was asked for comes all at once, a round trip later: only the first read of it waits. */
static void test_far_away_from_the_start(void **state)
{
	uint64_t at = 0, asked = 0, most = 32 * M, len = 128 * K, end;
	enum readahead_found found = READAHEAD_ABSENT;
	unsigned trips;

	for (trips = 0; asked < at + most / 2; trips++) {
		for (end = at + len > asked ? at + len : asked; at < end; at += len) {
			readahead_plan(&ra, at, (uint32_t)len, SIZE, found, (uint32_t)most, &plan);
			asked = plan.to > asked ? plan.to : asked;
			found = READAHEAD_HIT;
		}
		found = READAHEAD_UNDERWAY;
	}
	assert_in_range(trips, 1, 5);
}

static void test_stays_while_hitting(void **state)
{
	note(0, 128 * K, READAHEAD_ABSENT);
	assert_in_range(go_on(128 * K, 64 * M, READAHEAD_HIT), 512 * K, 640 * K);
	assert_int_equal(plan.stream->window, 512 * K);
}

/* Pieces of 1 MiB, here and there: from the first on, a tenth more at most. */
static void test_pieces_of_a_megabyte(void **state)
{
	static const uint64_t places[] = {100 * M, 37 * M, 260 * M};

	for (int i = 0; i < 3; i++) {
		go_on(places[i], places[i] + M, READAHEAD_ABSENT);
		assert_non_null(plan.stream);
		assert_in_range(plan.stream->ahead, places[i] + M, places[i] + M + M / 10);
	}
}

/* A window shorter than a read is not one that was dropped. */
static void test_window_shorter_than_a_read(void **state)
{
	uint64_t at, ahead = 0;

	for (at = 100 * M; at < 110 * M; at += 128 * K) {
		note(at, 128 * K, ahead < at + 128 * K ? READAHEAD_ABSENT : READAHEAD_UNDERWAY);
		ahead = plan.stream->ahead;
	}
	assert_in_range(plan.stream->window, 2 * M, MOST);
}

/* A piece of 1 MiB in the middle costs at most as much again. */
static void test_bounded_by_consumption(void **state)
{
	uint64_t at = 100 * M, furthest = 0;
	int i;

	for (i = 0; i < 8; i++) {
		note(at + (unsigned)i * 128 * K, 128 * K, READAHEAD_UNDERWAY);
		if (plan.to > furthest)
			furthest = plan.to;
	}
	assert_in_range(furthest, at + 1 * M, at + 2 * M + 128 * K);
}

/* How many plans a reader of 64 MiB makes with that window, and how little is left ahead of it. */
static int refills(uint32_t window, uint64_t *least)
{
	uint64_t at = 0;
	int plans = 0;

	*least = window;
	setup(NULL);
	for (; at < 128 * M; at += 128 * K) {
		readahead_plan(&ra, at, 128 * K, SIZE,
		    at < 64 * M ? READAHEAD_UNDERWAY : READAHEAD_HIT, window, &plan);
		if (at < 64 * M)
			continue;
		plans += plan.to > plan.from;
		if (plan.stream->ahead - plan.stream->next < *least)
			*least = plan.stream->ahead - plan.stream->next;
	}
	assert_int_equal(plan.stream->window, window);
	return plans;
}

static void test_refills(void **state)
{
	uint64_t least;

	/* Little at a time, so that requests stay large; */
	assert_in_range(refills(M, &least), 64, 128);
	assert_in_range(least, M / 2, M);
	/* of a deep one no more than keeps the link full through a round trip. */
	assert_in_range(refills(4 * M, &least), 32, 64);
	assert_in_range(least, 3 * M, 4 * M);
	assert_in_range(refills(32 * M, &least), 8, 16);
	assert_in_range(least, 28 * M, 32 * M);
}

static void test_each_byte_planned_once(void **state)
{
	uint64_t at, expected = 0;

	for (at = 0; at < 64 * M; at += 96 * K) {
		note(at, 96 * K, at % (3 * M) ? READAHEAD_HIT : READAHEAD_UNDERWAY);
		if (plan.to == plan.from)
			continue;
		if (expected)
			assert_int_equal(plan.from, expected);
		expected = plan.to;
	}
}

static void test_end_of_file(void **state)
{
	uint64_t at;

	for (at = SIZE - 4 * M; at < SIZE; at += 128 * K)
		note(at, 128 * K, READAHEAD_UNDERWAY);
	assert_nothing();
	assert_true(plan.streaming);
}

static void test_random_never(void **state)
{
	uint64_t seed = 12345;
	int i;

	for (i = 0; i < 10000; i++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		note((seed >> 33) % (SIZE / 4096 - 2) * 4096 + 4096, 4096, READAHEAD_ABSENT);
		/* Two in a row do occur; they cost little. */
		assert_in_range(plan.to - plan.from, 0, 192 * K);
		if (plan.to - plan.from)
			assert_int_equal(plan.stream->hits, 1);
	}
}

static void test_backward(void **state)
{
	uint64_t at, low = 64 * M, most = 0;

	for (at = 64 * M; at; at -= 64 * K) {
		bool ahead = low <= at; /* everything between was asked for before */

		note(at, 64 * K, at < 63 * M && !ahead ? READAHEAD_HIT : READAHEAD_UNDERWAY);
		if (plan.from == plan.to)
			continue;
		/* what is asked for joins on to what was, in front of the reader */
		assert_in_range(plan.to, 0, at);
		if (low < 64 * M)
			assert_int_equal(plan.to, low);
		low = plan.from;
		if (at - low > most)
			most = at - low;
	}
	assert_int_equal(low, 0);
	assert_in_range(most, 1 * M, MOST + 128 * K);
}

static void test_two_reads_backward_are_none(void **state)
{
	note(64 * M, 64 * K, READAHEAD_ABSENT);
	note(64 * M - 64 * K, 64 * K, READAHEAD_ABSENT);
	assert_nothing();
}

/* Each step ahead is asked for once, and is really read later. */
static void steps(int64_t step, uint32_t len)
{
	uint64_t at = step > 0 ? 100 * M : 900 * M, last = at;
	unsigned i, asked = 0;

	for (i = 0; i < 100; i++, at += (uint64_t)step) {
		note(at, len, i < 10 ? READAHEAD_ABSENT : READAHEAD_HIT);
		if (plan.from == plan.to)
			continue;
		assert_int_equal(plan.to - plan.from, len);
		assert_int_equal(plan.step, step);
		if (asked)
			assert_int_equal(plan.from, last + (uint64_t)step);
		last = plan.from + (uint64_t)plan.step * plan.more;
		asked += 1 + plan.more;
	}
	assert_in_range(asked, 90, 160);
}

static void test_steps_forward(void **state)
{
	steps(1 * M, 4 * K);
}

static void test_steps_backward(void **state)
{
	steps(-3 * (int64_t)M, 64 * K);
}

static void test_random_has_no_steps(void **state)
{
	uint64_t seed = 1;
	int i;

	for (i = 0; i < 10000; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		note((seed >> 33) % (SIZE / 4096 - 1) * 4096, 4 * K, READAHEAD_ABSENT);
		assert_nothing();
	}
}

/* Records of one length at random: after a few, each is asked for as a whole and no more. */
static void test_pieces(void **state)
{
	uint64_t at, begin, end, over = 0;
	int i;

	for (i = 1; i < 40; i++) {
		begin = (uint64_t)(i * 7919 % 1000) * M + M;
		end = begin + 1 * M;
		for (at = begin; at < begin + 1 * M; at += 128 * K) {
			note(at, 128 * K, READAHEAD_UNDERWAY);
			if (plan.to > end)
				end = plan.to;
			if (i > 5 && at == begin)
				assert_int_equal(plan.to, begin + 1 * M);
		}
		over += end - begin - 1 * M;
	}
	assert_in_range(over, 0, 5 * M);
}

/* Reads `length` bytes at `offset` as the kernel does; how much was asked for beyond them. */
static uint64_t read_piece(uint64_t offset, uint64_t length)
{
	uint64_t at, len, end = offset + length, beyond = 0;

	for (at = offset; at < end; at += len) {
		len = end - at < 128 * K ? end - at : 128 * K;
		note(at, len, READAHEAD_UNDERWAY);
		if (plan.to > end)
			beyond += plan.to - (plan.from > end ? plan.from : end);
		assert_int_equal(plan.more, 0);
	}
	return beyond;
}

/* Pieces of a megabyte at random: dear the first time, and no more. */
static void test_random_pieces(void **state)
{
	uint64_t beyond = 0, wanted = 0, length, i;

	read_piece(70 * M, M);
	for (i = 0; i < 40; i++) {
		length = 512 * K + (i * 101 % 256) * 4 * K;
		wanted += length;
		beyond += read_piece((1 + i * 67 % 101) * 9 * M + (i % 5) * 4 * K, length);
	}
	assert_true(beyond * 10 <= wanted);
}

/* Reads of any length at random: what is asked for beyond them stays below a tenth, however long
 * that goes on. A stream in their midst that goes on and on gets its window all the same. */
static void test_random_lengths(void **state)
{
	uint64_t beyond = 0, wanted = 0, length, i;

	for (i = 0; i < 400; i++) {
		length = (1 + i * 7919 % 127) * 4 * K;
		wanted += length;
		beyond += read_piece((1 + i * 67 % 101) * 9 * M + (i % 5) * 4 * K, length);
		if (i > 20)
			assert_true(beyond <= wanted / 10 + M);
	}
	assert_true(beyond * 10 <= wanted);
	assert_true(go_on(950 * M, 960 * M, READAHEAD_UNDERWAY) >= 2 * M);
}

/* A few of a larger length at random: the first may be dear, the second costs nothing more, and one
 * that goes on gets its window behind that. */
static void test_few_large_pieces(void **state)
{
	for (uint64_t length = 1536 * K; length < 12 * M; length += 128 * K) {
		memset(&ra, 0, sizeof(ra));
		read_piece(70 * M, length);
		assert_int_equal(read_piece(300 * M, length), 0);
		assert_in_range(read_piece(30 * M, length - 100 * K), 0, 100 * K);
		assert_true(go_on(500 * M, 530 * M, READAHEAD_UNDERWAY) >= 2 * M);
	}
}

/* The last request of a read is shorter than the others. That is not a stride. */
static void test_pieces_with_a_rest(void **state)
{
	uint64_t i;

	for (i = 0; i < 3; i++)
		read_piece((1 + i * 37 % 100) * M, 3000 * K);
	for (; i < 10; i++)
		assert_int_equal(read_piece((1 + i * 37 % 100) * M, 3000 * K), 0);
}

static void test_tail(void **state)
{
	note(SIZE - 8, 8, READAHEAD_ABSENT);
	assert_int_equal(plan.to, SIZE - 8);
	assert_int_equal(plan.from, SIZE - 384 * K);
	/* a log that is followed is read at its end again and again */
	note(SIZE - 8, 8, READAHEAD_ABSENT);
	assert_nothing();
}

static void test_strided(void **state)
{
	uint64_t at, asked = 0;

	/* From the start of the file there is a window at first; soon it is noticed. */
	for (at = 0; at < 256 * M; at += 64 * K) {
		note(at, 4 * K, READAHEAD_ABSENT);
		asked += (plan.to - plan.from) * (plan.more + 1);
	}
	assert_false(plan.streaming);
	assert_in_range(asked, 0, 24 * M); /* it reads 16 */
}

static void test_reordered(void **state)
{
	/* What the kernel's requests may look like when several threads carry them. */
	static const int order[] = {0, 2, 1, 3, 6, 5, 4, 7};
	uint64_t base;
	size_t i;

	note(0, 128 * K, READAHEAD_ABSENT);
	for (base = 128 * K; base < 64 * M; base += 8 * 128 * K) {
		for (i = 0; i < 8; i++) {
			note(base + (unsigned)order[i] * 128 * K, 128 * K, READAHEAD_UNDERWAY);
			assert_true(plan.streaming);
			assert_ptr_equal(plan.stream, &ra.streams[0]);
		}
	}
	assert_int_equal(plan.stream->window, MOST);
}

static void test_interleaved(void **state)
{
	uint64_t at;
	int i;

	for (at = 0; at < 8 * M; at += 128 * K)
		for (i = 0; i < 8; i++)
			note((unsigned)i * 100 * M + at, 128 * K, READAHEAD_UNDERWAY);
	for (i = 0; i < 8; i++) {
		note((unsigned)i * 100 * M + at, 128 * K, READAHEAD_HIT);
		assert_true(plan.streaming);
		assert_true(plan.stream->window >= 2 * M);
	}
}

/* A header now and then does not cost the stream its place. */
static void test_stream_survives_random(void **state)
{
	uint64_t at, odd = 0;

	for (at = 500 * M; at < 520 * M; at += 128 * K) {
		note(at, 128 * K, READAHEAD_HIT);
		odd = (odd * 7919 + 4096 * 331) % (400 * M) / 4096 * 4096 + 4096;
		note(odd, 4096, READAHEAD_ABSENT);
	}
	note(at, 128 * K, READAHEAD_HIT);
	assert_true(plan.streaming);
	assert_int_equal(plan.stream->begun, 500 * M);
}

static void test_evicted_halves(void **state)
{
	uint32_t window;

	go_on(0, 8 * M, READAHEAD_UNDERWAY);
	window = plan.stream->window;
	note(8 * M, 128 * K, READAHEAD_ABSENT);
	assert_int_equal(plan.stream->window, window / 2);
	/* It is asked for again, from where the reader is. */
	assert_int_equal(plan.from, 8 * M + 128 * K);
}

/* The caller could not ask for all of it. */
static void test_cut_plan(void **state)
{
	note(0, 128 * K, READAHEAD_ABSENT);
	plan.stream->ahead = 256 * K;
	note(128 * K, 128 * K, READAHEAD_HIT);
	assert_int_equal(plan.from, 256 * K);
	assert_true(plan.to > 256 * K);
}

static void test_huge_offsets(void **state)
{
	uint64_t size = INT64_MAX, at = size - 1 * M;

	for (; at < size - 128 * K; at += 128 * K) {
		readahead_plan(&ra, at, 128 * K, size, READAHEAD_UNDERWAY, MOST, &plan);
		assert_true(plan.from <= plan.to && plan.to <= size);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_start_of_file, setup),
	    cmocka_unit_test_setup(test_small_file_whole, setup),
	    cmocka_unit_test_setup(test_second_read_in_the_middle, setup),
	    cmocka_unit_test_setup(test_short_reads_start_small, setup),
	    cmocka_unit_test_setup(test_grows_while_waiting, setup),
	    cmocka_unit_test_setup(test_far_away_from_the_start, setup),
	    cmocka_unit_test_setup(test_stays_while_hitting, setup),
	    cmocka_unit_test_setup(test_pieces_of_a_megabyte, setup),
	    cmocka_unit_test_setup(test_window_shorter_than_a_read, setup),
	    cmocka_unit_test_setup(test_bounded_by_consumption, setup),
	    cmocka_unit_test_setup(test_refills, setup),
	    cmocka_unit_test_setup(test_each_byte_planned_once, setup),
	    cmocka_unit_test_setup(test_end_of_file, setup),
	    cmocka_unit_test_setup(test_random_never, setup),
	    cmocka_unit_test_setup(test_backward, setup),
	    cmocka_unit_test_setup(test_two_reads_backward_are_none, setup),
	    cmocka_unit_test_setup(test_steps_forward, setup),
	    cmocka_unit_test_setup(test_steps_backward, setup),
	    cmocka_unit_test_setup(test_random_has_no_steps, setup),
	    cmocka_unit_test_setup(test_pieces, setup),
	    cmocka_unit_test_setup(test_random_pieces, setup),
	    cmocka_unit_test_setup(test_random_lengths, setup),
	    cmocka_unit_test_setup(test_few_large_pieces, setup),
	    cmocka_unit_test_setup(test_pieces_with_a_rest, setup),
	    cmocka_unit_test_setup(test_tail, setup),
	    cmocka_unit_test_setup(test_strided, setup),
	    cmocka_unit_test_setup(test_reordered, setup),
	    cmocka_unit_test_setup(test_interleaved, setup),
	    cmocka_unit_test_setup(test_stream_survives_random, setup),
	    cmocka_unit_test_setup(test_evicted_halves, setup),
	    cmocka_unit_test_setup(test_cut_plan, setup),
	    cmocka_unit_test_setup(test_huge_offsets, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Blocks: finding, memory, eviction. */
#include "cache/blocks.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct blocks_pool pool;
static struct blocks set;

static int setup(void **state)
{
	blocks_pool_init(&pool, 10 * BLOCKS_SIZE);
	blocks_init(&set, &pool);
	return 0;
}

static int teardown(void **state)
{
	blocks_fini(&set);
	assert_int_equal(pool.bytes, 0);
	assert_true(TAILQ_EMPTY(&pool.lru));
	blocks_pool_fini(&pool);
	return 0;
}

/* Makes it with the pages of mask present. */
static struct block *with(uint64_t number, uint32_t mask)
{
	struct block *block = blocks_make(&set, number);

	assert_non_null(block);
	assert_int_equal(
	    blocks_reserve(block, (32 - (uint32_t)__builtin_clz(mask)) * BLOCKS_PAGE), 0);
	block->present |= mask;
	memset(block->data, (int)number, block->room);
	return block;
}

static void test_mask(void **state)
{
	assert_int_equal(blocks_mask(0, 0, 1), 1);
	assert_int_equal(blocks_mask(0, 0, 4096), 1);
	assert_int_equal(blocks_mask(0, 0, 4097), 3);
	assert_int_equal(blocks_mask(0, 4095, 4097), 3);
	assert_int_equal(blocks_mask(0, 4096, 8192), 2);
	assert_int_equal(blocks_mask(0, 0, BLOCKS_SIZE), UINT32_MAX);
	assert_int_equal(blocks_mask(0, 0, UINT64_MAX), UINT32_MAX);
	assert_int_equal(blocks_mask(1, 0, BLOCKS_SIZE), 0);
	assert_int_equal(blocks_mask(1, 0, BLOCKS_SIZE + 1), 1);
	assert_int_equal(blocks_mask(1, 2 * BLOCKS_SIZE - 1, UINT64_MAX), 1u << 31);
	assert_int_equal(blocks_mask(1, 2 * BLOCKS_SIZE, UINT64_MAX), 0);
	assert_int_equal(blocks_mask(0, 5, 5), 0);
	assert_int_equal(blocks_mask(0, 6, 5), 0);
}

static void test_many(void **state)
{
	/* A terabyte in strides of a power of two, and neighbours. */
	uint64_t n = (UINT64_C(1) << 40) / BLOCKS_SIZE, i;
	struct block *block;

	for (i = 0; i < n; i += 512)
		blocks_pin(blocks_make(&set, i));
	for (i = 1; i < 1000; i++)
		if (i % 512)
			blocks_pin(blocks_make(&set, i));
	assert_int_equal(set.count, n / 512 + 1000 - 2);
	for (i = 0; i < n; i += 512) {
		block = blocks_find(&set, i);
		assert_non_null(block);
		assert_int_equal(block->number, i);
		assert_null(blocks_find(&set, i + 513 + 512));
		blocks_unpin(block);
		assert_null(blocks_find(&set, i));
	}
	for (i = 1; i < 1000; i++)
		if (i % 512)
			blocks_unpin(blocks_find(&set, i));
	assert_int_equal(set.count, 0);
}

static void test_as_large_as_needed(void **state)
{
	struct block *block = with(0, 1);

	assert_int_equal(pool.bytes, 4096);
	block->data[17] = 99;
	assert_int_equal(blocks_reserve(block, 10000), 0);
	assert_int_equal(pool.bytes, 12288);
	assert_int_equal(blocks_reserve(block, 5), 0);
	assert_int_equal(pool.bytes, 12288);
	assert_int_equal(blocks_reserve(block, BLOCKS_SIZE), 0);
	assert_int_equal(pool.bytes, BLOCKS_SIZE);
	assert_int_equal(block->data[17], 99);
	blocks_forget(block, 1);
	assert_int_equal(pool.bytes, 0);
	assert_null(block->data);
	/* Its memory is kept for the next, which keeps what it had. */
	assert_int_equal(pool.spares, 1);
	block = with(0, 1);
	block->data[17] = 98;
	assert_int_equal(blocks_reserve(block, BLOCKS_SIZE), 0);
	assert_int_equal(pool.spares, 0);
	assert_int_equal(block->data[17], 98);
}

static void test_release(void **state)
{
	struct block *block = blocks_make(&set, 7);

	assert_ptr_equal(blocks_make(&set, 7), block);
	block->underway = 1;
	blocks_release(block);
	assert_ptr_equal(blocks_find(&set, 7), block);
	blocks_pin(block);
	block->underway = 0;
	blocks_release(block);
	assert_ptr_equal(blocks_find(&set, 7), block);
	blocks_unpin(block);
	assert_null(blocks_find(&set, 7));
}

static void fill(uint64_t from, uint64_t to)
{
	for (; from < to; from++)
		with(from, UINT32_MAX);
}

static void test_evicts_oldest(void **state)
{
	fill(0, 12);
	blocks_touch(blocks_find(&set, 0), false);
	blocks_touch(blocks_find(&set, 9), true);
	blocks_trim(&pool);
	assert_int_equal(pool.bytes, 10 * BLOCKS_SIZE);
	assert_non_null(blocks_find(&set, 0));
	assert_null(blocks_find(&set, 9));
	assert_null(blocks_find(&set, 1));
	assert_non_null(blocks_find(&set, 2));
}

static void test_pinned_and_underway_stay(void **state)
{
	fill(0, 12);
	blocks_pin(blocks_find(&set, 0));
	blocks_find(&set, 1)->present &= ~1u;
	blocks_find(&set, 1)->underway = 1;
	pool.limit = 0;
	blocks_trim(&pool);
	assert_int_equal(set.count, 2);
	assert_int_equal(pool.bytes, 2 * BLOCKS_SIZE);
	blocks_find(&set, 1)->underway = 0;
	blocks_unpin(blocks_find(&set, 0));
	blocks_trim(&pool);
	assert_int_equal(set.count, 0);
}

static void test_set_that_stays(void **state)
{
	fill(0, 3);
	set.stays = true;
	pool.limit = 0;
	blocks_trim(&pool);
	blocks_drop_all(&pool);
	assert_int_equal(set.count, 3);
	blocks_fini(&set);
	assert_int_equal(pool.bytes, 0);
	fill(0, 3);
	blocks_trim(&pool);
	assert_int_equal(set.count, 0);
}

static bool keep_all(const struct block *block)
{
	return true;
}

static void test_few_spent_stay(void **state)
{
	uint64_t i;

	pool.limit = UINT64_MAX;
	fill(0, 100);
	for (i = 0; i < 80; i++)
		blocks_touch(blocks_find(&set, i), true);
	blocks_pin(blocks_find(&set, 79));
	assert_int_equal(pool.spent, 80 * BLOCKS_SIZE);
	blocks_touch(blocks_find(&set, 5), false); /* wanted after all */
	blocks_trim(&pool);
	assert_int_equal(pool.spent, 32 * BLOCKS_SIZE);
	assert_int_equal(pool.bytes, (32 + 21) * BLOCKS_SIZE);
	assert_non_null(blocks_find(&set, 5));
	assert_non_null(blocks_find(&set, 79));
	assert_non_null(blocks_find(&set, 80));
	blocks_unpin(blocks_find(&set, 79));
	/* Those that are to be kept on disk first stay until they are. */
	pool.keep = keep_all;
	for (i = 80; i < 100; i++)
		blocks_touch(blocks_find(&set, i), true);
	blocks_trim(&pool);
	assert_int_equal(pool.spent, 52 * BLOCKS_SIZE);
	blocks_drop_all(&pool);
	pool.keep = NULL;
	blocks_drop_all(&pool);
	assert_int_equal(pool.spent, 0);
	assert_int_equal(pool.bytes, 0);
}

static bool keep_even(const struct block *block)
{
	return block->number % 2 == 0;
}

static void test_keep(void **state)
{
	pool.keep = keep_even;
	fill(0, 12);
	blocks_trim(&pool);
	assert_null(blocks_find(&set, 1));
	assert_null(blocks_find(&set, 3));
	assert_int_equal(set.count, 10);
	blocks_drop_all(&pool);
	assert_int_equal(set.count, 6);
	/* A wish, not an order: the limit holds. */
	pool.keep = keep_all;
	fill(20, 200);
	blocks_trim(&pool);
	assert_int_equal(pool.bytes, 10 * BLOCKS_SIZE);
}

static void test_wasted(void **state)
{
	struct block *block = with(0, 0xff);

	block->fresh = 0xf0;
	blocks_forget(block, 0x30);
	assert_int_equal(pool.wasted, 2 * 4096);
	assert_int_equal(block->present, 0xcf);
	assert_int_equal(block->fresh, 0xc0);
	pool.limit = 0;
	blocks_trim(&pool);
	assert_int_equal(pool.wasted, 4 * 4096);
}

static void test_spares_bounded(void **state)
{
	fill(0, 100);
	blocks_drop_all(&pool);
	assert_int_equal(pool.spares, 64);
	assert_int_equal(pool.bytes, 0);
	fill(0, 70);
	assert_int_equal(pool.spares, 0);
}

static void forget_all(struct block *block, void *arg)
{
	++*(int *)arg;
	blocks_forget(block, UINT32_MAX);
	blocks_release(block);
}

static void test_each(void **state)
{
	int n = 0;

	fill(0, 9);
	blocks_each(&set, forget_all, &n);
	assert_int_equal(n, 9);
	assert_int_equal(set.count, 0);
	blocks_each(&set, forget_all, &n);
	assert_int_equal(n, 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_mask),
	    cmocka_unit_test_setup_teardown(test_many, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_as_large_as_needed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_release, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_evicts_oldest, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pinned_and_underway_stay, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_few_spent_stay, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_set_that_stays, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_keep, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wasted, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_spares_bounded, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_each, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * What test_content.c and test_writer.c share: a loop, a pool over the fake source with a clock of
 * the test's, one file with a known pattern, and reads, writes and flushes that remember their
 * answer.
 */
#ifndef VASTFS_TESTS_CONTENT_FIXTURE_H
#define VASTFS_TESTS_CONTENT_FIXTURE_H

#include "cache/content_impl.h"
#include "tests/fake/fake_source.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KIB 1024u
#define MIB (1024u * KIB)
#define WAITING 12345

static uv_loop_t loop;
static struct fake_source source;
static struct fake_store store;
static struct fake_file file, file2, appender, appender2;
static struct content_pool *pool;
static struct content *content;
static uint64_t clock_ns;

/* The answer to a read; data is a copy. */
struct answer {
	int err; /* WAITING */
	size_t len;
	int n;
	uint8_t *data;
};

static uint64_t test_clock(void)
{
	return clock_ns;
}

static inline void start(uint64_t size, uint64_t limit)
{
	clock_ns = 1000000000;
	memset(&store, 0, sizeof(store));
	fake_store_resize(&store, size);
	fake_pattern(store.data, size, 0, 1);
	fake_source_init(&source);
	source.rtt_us = 50000;
	fake_file_init(&file, &source, &store, false);
	fake_file_init(&file2, &source, &store, false);
	fake_file_init(&appender, &source, &store, true);
	fake_file_init(&appender2, &source, &store, true);
	assert_int_equal(uv_loop_init(&loop), 0);
	pool = content_pool_new(&loop, &fake_source_ops, limit);
	assert_non_null(pool);
	pool->now = test_clock;
	content = content_new(pool, size);
	assert_non_null(content);
}

static inline void turn(void)
{
	uv_run(&loop, UV_RUN_NOWAIT);
}

static inline struct content_figures figures(void)
{
	struct content_figures f;

	content_pool_figures(pool, &f);
	return f;
}

/* Everything comes back: references, memory, handles. */
static inline void finish(void)
{
	struct content_figures f;

	if (content)
		content_free(content);
	content = NULL;
	fake_deliver_all(&source);
	f = figures();
	assert_int_equal(f.present_bytes, 0);
	assert_int_equal(f.dirty_bytes, 0);
	assert_int_equal(f.reads_in_flight, 0);
	assert_int_equal(f.writes_in_flight, 0);
	content_pool_free(pool);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	fake_source_fini(&source);
	assert_int_equal(file.refs, 1);
	assert_int_equal(file2.refs, 1);
	assert_int_equal(appender.refs, 1);
	assert_int_equal(appender2.refs, 1);
	fake_store_fini(&store);
}

static inline void take_view(struct answer *a, const struct content_view *view)
{
	size_t at = 0;
	int i;

	a->n = view->n;
	a->len = view->len;
	a->data = malloc(view->len + 1);
	for (i = 0; i < view->n; i++) {
		memcpy(a->data + at, view->iov[i].iov_base, view->iov[i].iov_len);
		at += view->iov[i].iov_len;
	}
	assert_int_equal(at, view->len);
}

static inline void read_answered(void *arg, int err, const struct content_view *view)
{
	struct answer *a = arg;

	assert_int_equal(a->err, WAITING);
	a->err = err;
	if (!err)
		take_view(a, view);
}

/* Asks; a->err is WAITING when there is no answer yet. */
static inline void ask(
    struct answer *a, struct fake_file *through, struct readahead *ra, uint64_t offset, size_t len)
{
	struct content_view view;
	int n;

	memset(a, 0, sizeof(*a));
	a->err = WAITING;
	n = content_read(content, through, ra, offset, len, &view, read_answered, a);
	if (n == 1) {
		a->err = 0;
		take_view(a, &view);
	} else if (n < 0) {
		a->err = n;
	}
}

/* The answer is there, len bytes, and they are the store's. */
static inline void assert_answer(struct answer *a, uint64_t offset, size_t len)
{
	assert_int_equal(a->err, 0);
	assert_int_equal(a->len, len);
	assert_true(offset + len <= store.size || !len);
	if (len)
		assert_memory_equal(a->data, store.data + offset, len);
	free(a->data);
	a->data = NULL;
}

/* A read that must be a hit. */
static inline void assert_hit(uint64_t offset, size_t len)
{
	struct answer a;

	ask(&a, &file, NULL, offset, len);
	assert_answer(&a, offset, len);
}

static inline void answered(void *arg, int err)
{
	int *result = arg;

	assert_int_equal(*result, WAITING);
	*result = err;
}

/* 1, a negative errno, or 0 and *result is WAITING until it is accepted. */
static inline int write_pattern(
    struct fake_file *through, uint64_t offset, size_t len, unsigned seed, int *result)
{
	uint8_t *data = malloc(len);
	int n;

	fake_pattern(data, len, offset, seed);
	*result = WAITING;
	n = content_write(content, through, offset, data, len, answered, result);
	free(data);
	return n;
}

static inline void assert_accepted(
    struct fake_file *through, uint64_t offset, size_t len, unsigned seed)
{
	int result;

	assert_int_equal(write_pattern(through, offset, len, seed, &result), 1);
}

/* [offset, offset + len) of the data is the pattern. */
static inline void assert_pattern(const uint8_t *data, uint64_t offset, size_t len, unsigned seed)
{
	uint8_t *expected = malloc(len);

	fake_pattern(expected, len, offset, seed);
	assert_memory_equal(data, expected, len);
	free(expected);
}

static inline void flush(int *result)
{
	*result = WAITING;
	content_flush(content, answered, result);
	assert_int_equal(*result, WAITING);
}

#endif

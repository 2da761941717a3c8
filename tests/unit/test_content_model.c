/*
 * Random reads, writes, appends, flushes, invalidations and truncations on a few contents at once,
 * over a source that serves and answers in random order, against a plain array for each file. At
 * every end the "instance" holds what the array holds.
 *
 *	test_content_model [seed [steps]]	one run; without arguments, a set of fixed seeds
 */
#include "cache/content_impl.h"
#include "tests/fake/fake_source.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FILES 3
#define MAX_SIZE (3u << 20)

struct file {
	struct content *content;
	struct fake_store store;
	struct fake_file normal[2], appending;
	struct readahead ra[2];
	uint8_t *shadow; /* MAX_SIZE bytes, zeros beyond size */
	uint64_t size;
	uint64_t position;	    /* of a sequential reader */
	int reads, writes, flushes; /* waiting */
	bool read_error;
	TAILQ_HEAD(, model_read) reading;
	TAILQ_HEAD(, model_write) writing;
};

struct model_read {
	TAILQ_ENTRY(model_read) link;
	struct file *file;
	uint64_t offset;
	size_t len, least, most; /* asked; the answer's least and most length */
	uint8_t *expected, *any; /* any: changed meanwhile */
};

struct model_write {
	TAILQ_ENTRY(model_write) link;
	struct file *file;
	uint64_t offset;
	size_t len;
	uint8_t *data; /* NULL: in the shadow already */
};

static struct file files[FILES];
static struct fake_source source;
static struct content_pool *pool;
static uv_loop_t loop;
static uint64_t rng, seed_now, step_now;

static uint64_t rnd(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng >> 11) % n;
}

static void bad(const char *what, uint64_t offset)
{
	fail_msg("seed %llu step %llu: %s at %llu", (unsigned long long)seed_now,
	    (unsigned long long)step_now, what, (unsigned long long)offset);
}

static void check(struct model_read *r, const struct content_view *view)
{
	size_t at = 0, j;
	int i;

	if (view->len < r->least || view->len > r->most)
		bad("wrong length", r->offset);
	for (i = 0; i < view->n; i++) {
		const uint8_t *base = view->iov[i].iov_base;

		for (j = 0; j < view->iov[i].iov_len; j++, at++)
			if (!r->any[at] && base[j] != r->expected[at])
				bad("wrong byte", r->offset + at);
	}
	if (at != view->len)
		bad("wrong total", r->offset);
}

static void model_read_free(struct model_read *r)
{
	TAILQ_REMOVE(&r->file->reading, r, link);
	free(r->expected);
	free(r->any);
	free(r);
}

static void read_done(void *arg, int err, const struct content_view *view)
{
	struct model_read *r = arg;

	r->file->reads--;
	if (err && !r->file->read_error)
		bad("read failed", r->offset);
	if (!err)
		check(r, view);
	model_read_free(r);
}

static void taint(struct model_read *r, const struct model_write *w)
{
	uint64_t from = w->offset > r->offset ? w->offset : r->offset;
	uint64_t to = w->offset + w->len;

	if (to > r->offset + r->len)
		to = r->offset + r->len;
	if (from < to)
		memset(r->any + (from - r->offset), 1, to - from);
}

static void do_read(
    struct file *f, uint64_t offset, size_t len, struct fake_file *through, struct readahead *ra)
{
	struct model_read *r = calloc(1, sizeof(*r));
	struct model_write *w;
	struct content_view view;
	uint64_t size = f->size;
	int n;

	r->file = f;
	r->offset = offset;
	r->len = len;
	r->expected = calloc(1, len);
	r->any = calloc(1, len);
	if (offset < size)
		r->least = size - offset < len ? size - offset : len;
	memcpy(r->expected, f->shadow + offset, r->least);
	TAILQ_FOREACH (w, &f->writing, link) {
		taint(r, w);
		if (w->offset + w->len > size)
			size = w->offset + w->len;
	}
	if (offset < size)
		r->most = size - offset < len ? size - offset : len;
	TAILQ_INSERT_TAIL(&f->reading, r, link);
	n = content_read(f->content, through, ra, offset, len, &view, read_done, r);
	if (n == 1) {
		check(r, &view);
		model_read_free(r);
	} else if (n == 0) {
		f->reads++;
	} else {
		bad("read refused", offset);
	}
}

static void apply(struct model_write *w)
{
	struct file *f = w->file;

	if (!w->data)
		return;
	memcpy(f->shadow + w->offset, w->data, w->len);
	if (w->offset + w->len > f->size)
		f->size = w->offset + w->len;
	free(w->data);
	w->data = NULL;
}

static void model_write_free(struct model_write *w)
{
	TAILQ_REMOVE(&w->file->writing, w, link);
	free(w->data);
	free(w);
}

static void write_done(void *arg, int err)
{
	struct model_write *w = arg;

	w->file->writes--;
	if (err)
		bad("write failed", w->offset);
	apply(w);
	model_write_free(w);
}

static void do_write(struct file *f, uint64_t offset, size_t len, struct fake_file *through)
{
	struct model_write *w = calloc(1, sizeof(*w)), *before;
	struct model_read *r;
	int n;

	w->file = f;
	w->offset = offset;
	w->len = len;
	w->data = malloc(len);
	fake_pattern(w->data, len, offset, (unsigned)rnd(200));
	TAILQ_INSERT_TAIL(&f->writing, w, link);
	TAILQ_FOREACH (r, &f->reading, link)
		taint(r, w);
	n = content_write(f->content, through, offset, w->data, len, write_done, w);
	if (n == 1) {
		/* Those that waited have been accepted too, before it, and will hear of it. */
		TAILQ_FOREACH (before, &f->writing, link)
			apply(before);
		model_write_free(w);
	} else if (n == 0) {
		f->writes++;
	} else {
		bad("write refused", offset);
	}
}

static void flush_done(void *arg, int err)
{
	struct file *f = arg;

	f->flushes--;
	if (err)
		bad("flush failed", 0);
}

static void deliver_some(void)
{
	struct fake_op *op;

	if (!source.n)
		return;
	op = fake_op(&source, (int)rnd((uint64_t)source.n));
	switch (rnd(4)) {
	case 0:
		fake_serve(op);
		break;
	case 1:
		if (!op->is_write && !rnd(40)) {
			files[0].read_error = files[1].read_error = files[2].read_error = true;
			fake_fail(&source, op, -EIO);
			break;
		}
		/* fall through */
	default:
		fake_deliver(&source, op);
	}
}

static bool busy(const struct file *f)
{
	return f->reads || f->writes || f->flushes || content_dirty(f->content);
}

static void drain(struct file *f)
{
	int turns = 0;

	while (busy(f)) {
		if (!f->flushes && content_dirty(f->content)) {
			f->flushes++;
			content_flush(f->content, flush_done, f);
		}
		deliver_some();
		if (!source.n || !rnd(8))
			uv_run(&loop, UV_RUN_NOWAIT);
		if (++turns > 1000000)
			bad("stuck", 0);
	}
	if (f->store.size != f->size)
		bad("the instance has another size", f->store.size);
	if (f->size && memcmp(f->store.data, f->shadow, f->size))
		bad("the instance has other bytes", 0);
}

static size_t some_len(void)
{
	switch (rnd(6)) {
	case 0:
		return 1 + rnd(100);
	case 1:
		return 4096;
	case 2:
		return 1 + rnd(1u << 20);
	case 3:
		return 131072;
	default:
		return 1 + rnd(20000);
	}
}

static uint64_t some_offset(const struct file *f)
{
	uint64_t offset = rnd(f->size + 1 + (rnd(8) ? 0 : 50000));

	return rnd(3) ? offset : offset / 4096 * 4096;
}

static void step_read(struct file *f)
{
	int i = (int)rnd(2);
	uint64_t offset;
	size_t len = some_len();

	if (rnd(2)) {
		offset = f->position;
		f->position += len;
		if (offset > f->size || offset + len > MAX_SIZE)
			offset = f->position = 0;
	} else {
		offset = some_offset(f);
	}
	if (offset + len > MAX_SIZE)
		return;
	do_read(f, offset, len, &f->normal[i], rnd(4) ? &f->ra[i] : NULL);
}

static void step_write(struct file *f)
{
	size_t len = some_len();
	uint64_t offset;

	if (!rnd(5)) {
		/* The kernel lets one append in at a time. */
		if (f->writes || f->size + len > MAX_SIZE)
			return;
		do_write(f, f->size, len, &f->appending);
		return;
	}
	offset = rnd(3) ? some_offset(f) : f->size;
	if (offset + len <= MAX_SIZE)
		do_write(f, offset, len, &f->normal[rnd(2)]);
}

static void step_resize(struct file *f)
{
	uint64_t size, old;
	bool here = rnd(2);

	if (rnd(4))
		return;
	drain(f);
	old = f->size;
	size = rnd(3) ? rnd(old + 1) : old + rnd(100000);
	if (size > MAX_SIZE)
		return;
	fake_store_resize(&f->store, size);
	if (size < old)
		memset(f->shadow + size, 0, old - size);
	else if (!here) /* somebody there wrote it */
		fake_pattern(f->store.data + old, size - old, old, (unsigned)rnd(200));
	f->size = size;
	memcpy(f->shadow, f->store.data, size);
	content_resize(f->content, size);
	if (content_size(f->content) != size)
		bad("wrong size", size);
}

static void file_init(struct file *f)
{
	TAILQ_INIT(&f->reading);
	TAILQ_INIT(&f->writing);
	f->shadow = calloc(1, MAX_SIZE + (1u << 20));
	f->size = rnd(2) ? rnd(1000000) : 0;
	fake_store_resize(&f->store, f->size);
	fake_pattern(f->store.data, f->size, 0, 1);
	memcpy(f->shadow, f->store.data, f->size);
	fake_file_init(&f->normal[0], &source, &f->store, false);
	fake_file_init(&f->normal[1], &source, &f->store, false);
	fake_file_init(&f->appending, &source, &f->store, true);
	f->content = content_new(pool, f->size);
	assert_non_null(f->content);
}

static void step(void)
{
	struct file *f = &files[rnd(FILES)];

	switch (rnd(20)) {
	case 0 ... 4:
		step_read(f);
		break;
	case 5 ... 8:
		step_write(f);
		break;
	case 9:
		if (!rnd(10))
			content_invalidate(f->content);
		else if (!rnd(10))
			content_pool_drop(pool);
		break;
	case 10:
		step_resize(f);
		break;
	case 11:
		f->flushes++;
		content_flush(f->content, flush_done, f);
		break;
	case 12:
		uv_run(&loop, UV_RUN_NOWAIT);
		if (!rnd(4))
			writer_pool_push(pool);
		break;
	case 13:
		if (rnd(20))
			break;
		drain(f);
		content_free(f->content);
		f->content = content_new(pool, f->size);
		memset(f->ra, 0, sizeof(f->ra));
		break;
	case 14:
		content_prefetch(f->content, &f->normal[0], rnd(f->size + 1), 1 + rnd(262144));
		break;
	default:
		deliver_some();
	}
}

static void run(uint64_t seed, uint64_t steps)
{
	static const uint64_t limits[] = {0, 200000, 1u << 20, 64u << 20};
	static const uint32_t requests[] = {4096, 32768, 261120};
	struct content_figures figures;
	int i;

	seed_now = seed;
	rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	memset(files, 0, sizeof(files));
	uv_loop_init(&loop);
	fake_source_init(&source);
	source.max_read = requests[rnd(3)];
	source.max_write = requests[rnd(3)];
	source.rtt_us = (uint32_t)rnd(3) * 10000;
	pool = content_pool_new(&loop, &fake_source_ops, limits[rnd(4)]);
	assert_non_null(pool);
	for (i = 0; i < FILES; i++)
		file_init(&files[i]);
	for (step_now = 0; step_now < steps; step_now++)
		step();
	for (i = 0; i < FILES; i++) {
		struct file *f = &files[i];

		drain(f);
		do_read(f, 0, 1u << 20, &f->normal[0], NULL);
		drain(f);
		content_free(f->content);
	}
	fake_deliver_all(&source);
	content_pool_figures(pool, &figures);
	assert_int_equal(figures.present_bytes, 0);
	assert_int_equal(figures.dirty_bytes, 0);
	assert_int_equal(figures.reads_in_flight + figures.writes_in_flight, 0);
	assert_int_equal(figures.lost_files, 0);
	content_pool_free(pool);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	fake_source_fini(&source);
	for (i = 0; i < FILES; i++) {
		assert_int_equal(files[i].normal[0].refs, 1);
		assert_int_equal(files[i].normal[1].refs, 1);
		assert_int_equal(files[i].appending.refs, 1);
		fake_store_fini(&files[i].store);
		free(files[i].shadow);
	}
}

static uint64_t only_seed, only_steps;

static void test_model(void **state)
{
	uint64_t seed;

	if (only_seed) {
		run(only_seed, only_steps);
		return;
	}
	for (seed = 1; seed <= 24; seed++)
		run(seed, 1500);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_model),
	};

	only_seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
	only_steps = argc > 2 ? strtoull(argv[2], NULL, 0) : 1500;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/fake/fake_source.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void fake_source_init(struct fake_source *source)
{
	memset(source, 0, sizeof(*source));
	TAILQ_INIT(&source->ops);
	source->max_read = 261120;
	source->max_write = 261120;
}

void fake_source_fini(struct fake_source *source)
{
	assert_int_equal(source->n, 0);
}

void fake_file_init(
    struct fake_file *file, struct fake_source *source, struct fake_store *store, bool appends)
{
	file->source = source;
	file->store = store;
	file->appends = appends;
	file->refs = 1;
}

void fake_store_resize(struct fake_store *store, uint64_t size)
{
	if (size >= store->room) {
		store->room = size * 2 + 1;
		store->data = realloc(store->data, store->room);
		assert_non_null(store->data);
	}
	if (size > store->size)
		memset(store->data + store->size, 0, size - store->size);
	store->size = size;
}

void fake_store_fini(struct fake_store *store)
{
	free(store->data);
	memset(store, 0, sizeof(*store));
}

void fake_pattern(uint8_t *data, size_t len, uint64_t offset, unsigned seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		data[i] = (uint8_t)(((offset + i) * 2654435761u >> 13) + (offset + i) + seed * 41);
}

static struct fake_op *op_new(
    struct fake_file *file, uint64_t offset, uint32_t len, bool bulk, void *arg)
{
	struct fake_op *op = calloc(1, sizeof(*op));

	assert_non_null(op);
	assert_true(file->refs > 0);
	op->file = file;
	op->offset = offset;
	op->len = len;
	op->bulk = bulk;
	op->arg = arg;
	TAILQ_INSERT_TAIL(&file->source->ops, op, link);
	file->source->n++;
	return op;
}

static void source_read(void *file, uint64_t offset, uint32_t len, bool bulk,
    void (*done)(void *arg, int err, const uint8_t *data, uint32_t len), void *arg)
{
	struct fake_file *f = file;

	assert_in_range(len, 1, f->source->max_read);
	f->source->reads++;
	f->source->read_bytes += len;
	op_new(f, offset, len, bulk, arg)->read_done = done;
}

static void *source_data_new(uint32_t size, uint8_t **data)
{
	*data = malloc(size);
	return *data;
}

static void source_write(void *file, uint64_t offset, void *buffer, uint32_t len, bool bulk,
    void (*done)(void *arg, int err), void *arg)
{
	struct fake_file *f = file;
	struct fake_op *op;

	assert_in_range(len, 1, f->source->max_write);
	TAILQ_FOREACH (op, &f->source->ops, link) {
		if (!op->is_write || op->file->store != f->store)
			continue;
		if (!f->appends && offset < op->offset + op->len && op->offset < offset + len)
			fail_msg("overlapping writes in flight");
		if (op->file != f && (f->appends || op->file->appends))
			fail_msg("an append could be overtaken");
	}
	f->source->writes++;
	f->source->write_bytes += len;
	op = op_new(f, offset, len, bulk, arg);
	op->is_write = true;
	op->write_done = done;
	op->data = buffer;
}

static void source_append(void *file, void *buffer, uint32_t len, bool bulk, bool again,
    void (*done)(void *arg, int err), void *arg)
{
	struct fake_file *f = file;

	assert_true(f->appends);
	(void)again;
	source_write(file, f->store->size, buffer, len, bulk, done, arg);
}

static void source_get(void *file)
{
	((struct fake_file *)file)->refs++;
}

static void source_put(void *file)
{
	struct fake_file *f = file;

	assert_true(--f->refs > 0);
}

static bool source_appends(void *file)
{
	return ((struct fake_file *)file)->appends;
}

static bool source_append_end(void *file, uint64_t *end)
{
	const struct fake_file *f = file;

	*end = f->store->size;
	return f->source->tells_end;
}

static uint32_t source_max_read(void *file)
{
	return ((struct fake_file *)file)->source->max_read;
}

static uint32_t source_max_write(void *file)
{
	return ((struct fake_file *)file)->source->max_write;
}

static uint32_t source_rtt_us(void *file)
{
	return ((struct fake_file *)file)->source->rtt_us;
}

const struct content_source fake_source_ops = {
    .read = source_read,
    .data_new = source_data_new,
    .data_free = free,
    .write = source_write,
    .append = source_append,
    .get = source_get,
    .put = source_put,
    .appends = source_appends,
    .append_end = source_append_end,
    .max_read = source_max_read,
    .max_write = source_max_write,
    .rtt_us = source_rtt_us,
};

struct fake_op *fake_op(struct fake_source *source, int i)
{
	struct fake_op *op;

	TAILQ_FOREACH (op, &source->ops, link)
		if (!i--)
			return op;
	return NULL;
}

void fake_serve(struct fake_op *op)
{
	struct fake_store *store = op->file->store;
	struct fake_op *before;
	uint64_t offset;

	if (op->served)
		return;
	op->served = true;
	if (!op->is_write) {
		op->data = malloc(op->len);
		assert_non_null(op->data);
		if (op->offset < store->size)
			op->got = store->size - op->offset < op->len
				      ? (uint32_t)(store->size - op->offset)
				      : op->len;
		memcpy(op->data, store->data ? store->data + op->offset : op->data, op->got);
		return;
	}
	/* The source keeps the order of appends. */
	if (op->file->appends)
		TAILQ_FOREACH (before, &op->file->source->ops, link) {
			if (before == op)
				break;
			if (before->is_write && before->file == op->file)
				fake_serve(before);
		}
	offset = op->file->appends ? store->size : op->offset;
	if (offset + op->len > store->size)
		fake_store_resize(store, offset + op->len);
	memcpy(store->data + offset, op->data, op->len);
}

static void answer(struct fake_source *source, struct fake_op *op, int err)
{
	TAILQ_REMOVE(&source->ops, op, link);
	source->n--;
	if (op->is_write)
		op->write_done(op->arg, err);
	else
		op->read_done(op->arg, err, err ? NULL : op->data, err ? 0 : op->got);
	free(op->data);
	free(op);
}

void fake_deliver(struct fake_source *source, struct fake_op *op)
{
	assert_non_null(op);
	fake_serve(op);
	answer(source, op, 0);
}

void fake_fail(struct fake_source *source, struct fake_op *op, int err)
{
	assert_non_null(op);
	answer(source, op, err);
}

void fake_deliver_all(struct fake_source *source)
{
	while (source->n)
		fake_deliver(source, fake_op(source, 0));
}

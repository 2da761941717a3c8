/*
 * A content_source for tests: files in memory, and operations that wait until the test serves them
 * (their effect on the file) and delivers them (the answer), each in any order, or fails them.
 *
 * It checks what content.h promises to a source: lengths, references, no overlapping writes in
 * flight; a breach is a failed assertion of cmocka's.
 */
#ifndef VASTFS_TESTS_FAKE_SOURCE_H
#define VASTFS_TESTS_FAKE_SOURCE_H

#include "cache/content.h"
#include <sys/queue.h>

/* The bytes of one file on the "instance". */
struct fake_store {
	uint8_t *data;
	uint64_t size, room;
};

struct fake_source;
struct fake_file {
	struct fake_source *source;
	struct fake_store *store;
	bool appends;
	int refs;
};

struct fake_op {
	TAILQ_ENTRY(fake_op) link;
	struct fake_file *file;
	bool is_write, bulk, served;
	uint64_t offset;
	uint32_t len;
	uint8_t *data; /* written, or read once served */
	uint32_t got;
	uint64_t at; /* the test's own */
	void (*read_done)(void *arg, int err, const uint8_t *data, uint32_t len);
	void (*write_done)(void *arg, int err);
	void *arg;
};

struct fake_source {
	TAILQ_HEAD(fake_ops, fake_op) ops; /* in the order of the calls */
	int n;
	uint32_t max_read, max_write, rtt_us;
	bool tells_end; /* of the last append, which is the end of the file: none is served early */
	uint64_t reads, writes, read_bytes, write_bytes; /* calls, and bytes of them, so far */
};

extern const struct content_source fake_source_ops;

void fake_source_init(struct fake_source *source);
/* Nothing may be in flight. */
void fake_source_fini(struct fake_source *source);
void fake_file_init(
    struct fake_file *file, struct fake_source *source, struct fake_store *store, bool appends);
void fake_store_resize(struct fake_store *store, uint64_t size);
void fake_store_fini(struct fake_store *store);
/* Bytes that tell their offset, and seed. */
void fake_pattern(uint8_t *data, size_t len, uint64_t offset, unsigned seed);

/* The i-th in flight (0: the oldest); NULL. */
struct fake_op *fake_op(struct fake_source *source, int i);
void fake_serve(struct fake_op *op);
/* Serves it if need be, and answers. */
void fake_deliver(struct fake_source *source, struct fake_op *op);
void fake_fail(struct fake_source *source, struct fake_op *op, int err);
/* Until nothing is in flight. */
void fake_deliver_all(struct fake_source *source);

#endif

/*
 * The segments of the spool, as a broken disk may give them back.
 *
 * The input is a segment's file; where its head says whose it is, the checksums of its records are
 * mended first, so that the fuzzer gets behind them. Whatever it is: what is read back lies within
 * it, and is sound.
 */
#include "cache/spool_impl.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int condition)
{
	if (!condition)
		abort();
}

static void check(const struct spool_record *record, const uint8_t *bytes, size_t size)
{
	const uint8_t *begin = record->data;

	need(begin >= bytes && begin + record->len <= bytes + size);
	need(record->type >= SPOOL_WRITE && record->type < SPOOL_TYPES);
	need(record->path[0] == '/' && strlen(record->path) < SPOOL_PATH_MAX);
	need(!record->to || strlen(record->to) < SPOOL_PATH_MAX);
	if (record->type == SPOOL_RENAME || record->type == SPOOL_LINK)
		need(record->to && record->to[0] == '/');
	need(record->offset + record->len <= INT64_MAX);
}

/* One record, from bytes without a checksum: encoded again it is the same. */
static void check_again(const struct spool_record *record, uint64_t salt)
{
	uint8_t *copy = malloc(SPOOL_META_MAX + record->len);
	int n = spool_encode(record, record->sequence, salt, copy);
	struct spool_record again;

	need(n > 0);
	memcpy(copy + n, record->data, record->len);
	need(spool_decode(copy, (size_t)n + record->len, salt, record->sequence,
		 record->sequence + 1, &again) == (size_t)n + record->len);
	need(!strcmp(record->path, again.path) && record->offset == again.offset &&
	     record->type == again.type && record->flags == again.flags);
	free(copy);
}

/* Gives the record at `at` the checksum that it should have, by encoding what it seems to be. */
static void mend(uint8_t *at, size_t len, uint64_t salt)
{
	size_t fixed = SPOOL_RECORD_HEAD + SPOOL_PAYLOAD_HEAD, meta;
	uint16_t path, to;
	uint32_t payload;
	uint64_t sum;

	if (len < fixed)
		return;
	memcpy(&payload, at + 4, 4);
	memcpy(&path, at + fixed - 4, 2);
	memcpy(&to, at + fixed - 2, 2);
	meta = fixed + path + to;
	if (payload > len - SPOOL_RECORD_HEAD || meta > SPOOL_RECORD_HEAD + payload)
		return;
	sum = XXH3_64bits_withSeed(at, SPOOL_RECORD_HEAD - 8, salt);
	sum = XXH3_64bits_withSeed(at + SPOOL_RECORD_HEAD, meta - SPOOL_RECORD_HEAD, sum);
	if (SPOOL_RECORD_HEAD + payload > meta)
		sum = XXH3_64bits_withSeed(at + meta, SPOOL_RECORD_HEAD + payload - meta, sum);
	memcpy(at + SPOOL_RECORD_HEAD - 8, &sum, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct segment *segment = calloc(1, sizeof(*segment));
	uint8_t *bytes = malloc(size + 1), *at;
	struct spool_record record;
	uint64_t first, sum;
	uint32_t i;

	memcpy(bytes, data, size);
	if (size >= SPOOL_RECORDS_AT) {
		sum = XXH3_64bits(bytes, SPOOL_HEAD - 8);
		memcpy(bytes + SPOOL_HEAD - 8, &sum, 8);
		memcpy(&segment->salt, bytes + 16, 8);
		for (at = bytes + SPOOL_RECORDS_AT;
		     (at = memmem(at, size - (size_t)(at - bytes), "7VSr", 4)); at += 4)
			mend(at, size - (size_t)(at - bytes), segment->salt);
	}
	if (segment_scan(segment, bytes, size) >= 0) {
		first = segment->file_first;
		for (i = 0; i < segment->n; i++) {
			if (!segment->at[i])
				continue;
			need((segment->at[i] & SEGMENT_AT) < size);
			need(spool_decode(bytes + (segment->at[i] & SEGMENT_AT),
			    segment_length(segment, i), segment->salt, first + i, first + i + 1,
			    &record));
			check(&record, bytes, size);
			check_again(&record, segment->salt);
		}
	}
	free(segment->at);
	free(segment);
	free(bytes);
	return 0;
}

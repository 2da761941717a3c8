/*
 * What spool.c (accepting, acknowledging), spool_file.c (segments on the disk) and spool_recover.c
 * (what earlier mounts left) share; nobody else includes it, except tests.
 */
#ifndef VASTFS_CACHE_SPOOL_IMPL_H
#define VASTFS_CACHE_SPOOL_IMPL_H

#include "cache/spool.h"
#include <sys/queue.h>
#include <time.h>

#define SPOOL_HEAD 64u
#define SPOOL_RECORDS_MAX 16384u /* of a segment */
#define SPOOL_BITS (SPOOL_RECORDS_MAX / 8)
#define SPOOL_RECORDS_AT (SPOOL_HEAD + 2 * SPOOL_BITS)
#define SPOOL_RECORD_HEAD 32u
#define SPOOL_RECORD_MARK 20u /* where it is in that */
#define SPOOL_MARK_RENAMED 1u
#define SPOOL_PAYLOAD_HEAD 48u
#define SPOOL_META_MAX (SPOOL_RECORD_HEAD + SPOOL_PAYLOAD_HEAD + 2 * SPOOL_PATH_MAX)
#define SPOOL_SEGMENT_LEAST (4u << 20)
#define SPOOL_SEGMENT_MOST (64u << 20)

struct segment {
	TAILQ_ENTRY(segment) link;
	char *path;	     /* owned */
	int fd;		     /* -1: closed for now */
	uint64_t first;	     /* sequence of its first record */
	uint64_t file_first; /* the same, as the file says */
	uint64_t salt;
	uint32_t n;   /* records, broken ones too */
	uint32_t *at; /* where each begins, and its type (SEGMENT_AT, _TYPE); 0: broken */
	uint32_t at_room;
	uint32_t used;	     /* bytes, head included */
	uint32_t allocated;  /* bytes that the disk has given, as far as that is known */
	uint32_t live;	     /* records that are not done */
	uint64_t live_bytes; /* of records */
	bool recovered;
	uint32_t gap_from; /* the first record behind a broken place; UINT32_MAX: there is none */
	bool bits_written; /* and not yet on their way to the disk */
	struct timespec changed; /* recovered: the file's mtime */
	uint8_t done[SPOOL_BITS], sent[SPOOL_BITS];
};

#define SEGMENT_AT UINT32_C(0x0fffffff)
#define SEGMENT_TYPE(at) ((enum spool_type)((at) >> 28))
_Static_assert(SPOOL_TYPES <= 16, "four bits for the type");

TAILQ_HEAD(segments, segment);

struct failure;

struct spool {
	char *dir;  /* of the instance; NULL: unusable */
	char *home; /* our journal; NULL: unusable */
	int *locks;
	unsigned n_locks;
	int error; /* why it can't be used; of the last append */
	uint64_t limit, disk_bytes;
	uint32_t segment_size;
	uint64_t next; /* sequence */
	uint64_t recovered_end;
	uint64_t appended_bytes, records, bytes;
	uint64_t salt;
	uint32_t next_file;
	struct segments segments; /* in order of sequences */
	struct segment *active;	  /* the last of them, or NULL */
	struct segments spare;	  /* used before, the latest first */
	unsigned n_spare, n_open;
	bool touched;	   /* since the last tick */
	uint64_t *renames; /* done, but for what was accepted before them */
	unsigned n_renames, renames_room;
	TAILQ_HEAD(, failure) failures;
	unsigned n_failures, broken;
};

struct failed {
	uint64_t sequence;
	uint64_t name; /* spool_name_hash */
};

struct failure {
	TAILQ_ENTRY(failure) link;
	int err;
	struct failed *changes;
	size_t n, room;
	char path[];
};

static inline bool spool_bit(const uint8_t *bits, uint32_t i)
{
	return bits[i / 8] >> (i % 8) & 1;
}

/* --- spool_file.c: formats; pure --- */

/* The head and the path of the record into meta (SPOOL_META_MAX); its length, or -ENAMETOOLONG,
 * -EINVAL. The data follows it. */
int spool_encode(
    const struct spool_record *record, uint64_t sequence, uint64_t salt, uint8_t *meta);
/* The record at `at`; paths and data point into it. Its whole length; 0 when there is none of that
 * salt and of a sequence in [from, to). */
size_t spool_decode(const uint8_t *at, size_t len, uint64_t salt, uint64_t from, uint64_t to,
    struct spool_record *out);
/* The paths, and whether it is a rename that was done, of a record known to be whole, of which at
 * least SPOOL_META_MAX bytes (or all) are there. */
bool spool_decode_paths(const uint8_t *at, size_t len, struct spool_record *out);
/* The first record in [at, at + len) that is whole; *skipped bytes before it. */
size_t spool_find(const uint8_t *at, size_t len, uint64_t salt, uint64_t from, uint64_t to,
    struct spool_record *out, size_t *skipped);
void spool_encode_head(uint8_t *head, uint64_t first, uint64_t salt);
int spool_decode_head(const uint8_t *head, uint64_t *first, uint64_t *salt);
/* Fills a segment (zeroed but for path and fd) from the bytes of a file. The number of broken
 * places, -EIO when the head is, or -ENOMEM. */
int segment_scan(struct segment *segment, const uint8_t *bytes, size_t len);
/* Bytes of the i-th record. */
uint32_t segment_length(const struct segment *segment, uint32_t i);

/* --- spool_file.c: files --- */

struct segment *segment_new(const char *folder, uint32_t number);
/* remove: the file too. */
void segment_free(struct spool *spool, struct segment *segment, bool remove);
/* Opened again if it was closed; -errno. */
int segment_fd(struct spool *spool, struct segment *segment);
/* A new head, for records from `first` on. */
int segment_begin(struct spool *spool, struct segment *segment, uint64_t first);
/* Notes the record just written behind the others. -ENOMEM. */
int segment_note(struct segment *segment, uint32_t at, enum spool_type type);
/* The disk gives room for len more bytes; -errno. */
int segment_allocate(struct spool *spool, struct segment *segment, uint32_t len);
/* Head and bits are put on their way to the disk. */
void segment_start_writing(struct segment *segment);
/* Writes the i-th record's mark; first: unless it has one. */
void segment_mark(
    struct spool *spool, struct segment *segment, uint32_t i, uint32_t mark, bool first);
/* Writes the bits of [i, i + n) of a map out. */
void segment_save(
    struct spool *spool, struct segment *segment, const uint8_t *bits, uint32_t i, uint32_t n);

/* --- spool.c --- */
void spool_mark(struct spool *spool, uint64_t sequence, uint32_t mark, bool first);

/* --- spool_paths.c --- */
/* Of the name that the change makes, or is about; 0: it can't be read. */
uint64_t spool_name_hash(struct spool *spool, uint64_t sequence);

/* --- spool_recover.c --- */
/* Finds a journal for us, and takes over what lies in it and in others. */
int spool_recover(struct spool *spool, const char *root, const char *instance);

/* --- spool_failures.c --- */
/* done: they are not wanted any more; else they are about to be tried again. How many files. */
unsigned spool_forget_failures(struct spool *spool, const char *path, bool done);
void spool_failures_free(struct spool *spool);

#endif

/* The spool's format, and its segments as files. */
#include "cache/spool_impl.h"
#include "conf/log.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define OPEN_MOST 64u /* segments with an open file */
#define ALLOCATE (64u << 10)

static const char segment_magic[8] = "VASTSPL1";
static const uint32_t record_magic = 0x72535637;

/* --- numbers --- */

static void put16(uint8_t **at, uint16_t value)
{
	value = htole16(value);
	memcpy(*at, &value, 2);
	*at += 2;
}

static void put32(uint8_t **at, uint32_t value)
{
	value = htole32(value);
	memcpy(*at, &value, 4);
	*at += 4;
}

static void put64(uint8_t **at, uint64_t value)
{
	value = htole64(value);
	memcpy(*at, &value, 8);
	*at += 8;
}

static uint16_t get16(const uint8_t **at)
{
	uint16_t value;

	memcpy(&value, *at, 2);
	*at += 2;
	return le16toh(value);
}

static uint32_t get32(const uint8_t **at)
{
	uint32_t value;

	memcpy(&value, *at, 4);
	*at += 4;
	return le32toh(value);
}

static uint64_t get64(const uint8_t **at)
{
	uint64_t value;

	memcpy(&value, *at, 8);
	*at += 8;
	return le64toh(value);
}

/* --- records --- */

/* Of all but the checksum itself and the mark: the record's head, what lies before the data, the
 * data. */
static uint64_t checksum(
    const uint8_t *meta, size_t meta_len, const void *data, size_t len, uint64_t salt)
{
	uint8_t head[SPOOL_RECORD_HEAD - 8] = {0};
	uint64_t sum;

	memcpy(head, meta, SPOOL_RECORD_MARK);
	sum = XXH3_64bits_withSeed(head, sizeof(head), salt);
	sum = XXH3_64bits_withSeed(meta + SPOOL_RECORD_HEAD, meta_len - SPOOL_RECORD_HEAD, sum);
	return len ? XXH3_64bits_withSeed(data, len, sum) : sum;
}

static uint8_t *put_path(uint8_t *at, const char *path, size_t len)
{
	if (len)
		memcpy(at, path, len);
	return at + len;
}

int spool_encode(const struct spool_record *record, uint64_t sequence, uint64_t salt, uint8_t *meta)
{
	/* with their NULs; 0: none */
	size_t path = record->path ? strlen(record->path) + 1 : 0;
	size_t to = record->to ? strlen(record->to) + 1 : 0;
	uint32_t len = (uint32_t)(SPOOL_PAYLOAD_HEAD + path + to) + record->len;
	uint8_t *at = meta, *sum;

	if (path > SPOOL_PATH_MAX || to > SPOOL_PATH_MAX)
		return -ENAMETOOLONG;
	if (!path || record->len > SPOOL_DATA_MAX || record->type < SPOOL_WRITE ||
	    record->type >= SPOOL_TYPES || (record->flags & ~(uint32_t)SPOOL_FLAGS))
		return -EINVAL;
	put32(&at, record_magic);
	put32(&at, len);
	put64(&at, sequence);
	put16(&at, (uint16_t)record->type);
	put16(&at, (uint16_t)record->flags);
	put32(&at, 0);
	sum = at;
	at += 8;
	put64(&at, record->offset);
	put64(&at, record->base_size);
	put32(&at, record->base_mtime);
	put32(&at, record->attr.flags);
	put32(&at, record->attr.mode);
	put32(&at, record->attr.uid);
	put32(&at, record->attr.gid);
	put32(&at, record->attr.atime);
	put32(&at, record->attr.mtime);
	put16(&at, (uint16_t)path);
	put16(&at, (uint16_t)to);
	at = put_path(at, record->path, path);
	at = put_path(at, record->to, to);
	put64(&sum, checksum(meta, (size_t)(at - meta), record->data, record->len, salt));
	return (int)(at - meta);
}

/* A string of len bytes with its NUL, and none in it. */
static bool get_path(const uint8_t **at, size_t len, const char **out)
{
	*out = len ? (const char *)*at : NULL;
	if (len && memchr(*at, 0, len) != *at + len - 1)
		return false;
	*at += len;
	return true;
}

/* What a path of the instance looks like. */
static bool path_is_sound(const char *path)
{
	return path && path[0] == '/';
}

static bool record_is_sound(const struct spool_record *record)
{
	bool two = record->type == SPOOL_LINK || record->type == SPOOL_RENAME;

	if (record->type < SPOOL_WRITE || record->type >= SPOOL_TYPES ||
	    (record->flags & ~(uint32_t)SPOOL_FLAGS) || !path_is_sound(record->path))
		return false;
	if (record->type == SPOOL_SYMLINK ? !record->to : two && !path_is_sound(record->to))
		return false;
	return record->offset <= INT64_MAX && record->offset + record->len <= INT64_MAX;
}

static bool decode_payload(const uint8_t *at, uint32_t len, struct spool_record *out)
{
	const uint8_t *end = at + len;
	size_t path, to;

	out->offset = get64(&at);
	out->base_size = get64(&at);
	out->base_mtime = get32(&at);
	out->attr.flags = get32(&at);
	out->attr.mode = get32(&at);
	out->attr.uid = get32(&at);
	out->attr.gid = get32(&at);
	out->attr.atime = get32(&at);
	out->attr.mtime = get32(&at);
	path = get16(&at);
	to = get16(&at);
	if (path > SPOOL_PATH_MAX || to > SPOOL_PATH_MAX || path + to > (size_t)(end - at) ||
	    !get_path(&at, path, &out->path) || !get_path(&at, to, &out->to))
		return false;
	out->data = at;
	out->len = (uint32_t)(end - at);
	return out->len <= SPOOL_DATA_MAX;
}

size_t spool_decode(const uint8_t *at, size_t len, uint64_t salt, uint64_t from, uint64_t to,
    struct spool_record *out)
{
	const uint8_t *meta = at;
	uint32_t payload, mark;
	uint64_t sum;

	memset(out, 0, sizeof(*out));
	if (len < SPOOL_RECORD_HEAD + SPOOL_PAYLOAD_HEAD || get32(&at) != record_magic)
		return 0;
	payload = get32(&at);
	out->sequence = get64(&at);
	out->type = get16(&at);
	out->flags = get16(&at);
	mark = get32(&at);
	out->renamed = mark == SPOOL_MARK_RENAMED;
	out->failed = out->renamed ? 0 : mark;
	if (payload < SPOOL_PAYLOAD_HEAD || payload > len - SPOOL_RECORD_HEAD ||
	    out->sequence < from || out->sequence >= to)
		return 0;
	sum = get64(&at);
	if (!decode_payload(at, payload, out))
		return 0;
	if (sum != checksum(meta, (size_t)((const uint8_t *)out->data - meta), out->data, out->len,
		       salt) ||
	    !record_is_sound(out))
		return 0;
	return SPOOL_RECORD_HEAD + payload;
}

bool spool_decode_paths(const uint8_t *at, size_t len, struct spool_record *out)
{
	const uint8_t *mark = at + SPOOL_RECORD_MARK;

	if (len < SPOOL_RECORD_HEAD + SPOOL_PAYLOAD_HEAD)
		return false;
	out->renamed = get32(&mark) == SPOOL_MARK_RENAMED;
	return decode_payload(at + SPOOL_RECORD_HEAD, (uint32_t)(len - SPOOL_RECORD_HEAD), out) &&
	       out->path;
}

size_t spool_find(const uint8_t *at, size_t len, uint64_t salt, uint64_t from, uint64_t to,
    struct spool_record *out, size_t *skipped)
{
	const uint32_t magic = htole32(record_magic);
	const uint8_t *begin = at, *end = at + len;
	size_t n;

	*skipped = 0;
	while (at < end && (at = memmem(at, (size_t)(end - at), &magic, 4))) {
		n = spool_decode(at, (size_t)(end - at), salt, from, to, out);
		if (n) {
			*skipped = (size_t)(at - begin);
			return n;
		}
		at++;
	}
	return 0;
}

/* --- segments --- */

void spool_encode_head(uint8_t *head, uint64_t first, uint64_t salt)
{
	uint8_t *at = head;

	memset(head, 0, SPOOL_HEAD);
	memcpy(at, segment_magic, 8);
	at += 8;
	put64(&at, first);
	put64(&at, salt);
	at = head + SPOOL_HEAD - 8;
	put64(&at, XXH3_64bits(head, SPOOL_HEAD - 8));
}

int spool_decode_head(const uint8_t *head, uint64_t *first, uint64_t *salt)
{
	const uint8_t *at = head + 8, *sum = head + SPOOL_HEAD - 8;

	if (memcmp(head, segment_magic, 8) || get64(&sum) != XXH3_64bits(head, SPOOL_HEAD - 8))
		return -EIO;
	*first = get64(&at);
	*salt = get64(&at);
	return *first && *first < INT64_MAX ? 0 : -EIO;
}

int segment_note(struct segment *segment, uint32_t at, enum spool_type type)
{
	uint32_t room, *grown;

	if (segment->n == segment->at_room) {
		room = segment->at_room ? segment->at_room * 2 : 64;
		grown = realloc(segment->at, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		segment->at = grown;
		segment->at_room = room;
	}
	segment->at[segment->n++] = at | (uint32_t)type << 28;
	return 0;
}

void segment_mark(
    struct spool *spool, struct segment *segment, uint32_t i, uint32_t mark, bool first)
{
	off_t where = (segment->at[i] & SEGMENT_AT) + SPOOL_RECORD_MARK;
	int fd = segment_fd(spool, segment);
	uint8_t bytes[4], *at = bytes;

	if (first && fd >= 0 && pread(fd, bytes, 4, where) == 4 && memcmp(bytes, "\0\0\0", 4))
		return;
	put32(&at, mark);
	if (fd < 0 || pwrite(fd, bytes, 4, where) != 4)
		log_warning("%s: %s", segment->path, strerror(errno));
}

/* Something is broken between two records: was any of it still to be done? */
static bool misses(const struct segment *segment, uint64_t next, uint64_t found)
{
	bool missing = next == found;

	for (; !missing && next < found; next++)
		missing = !spool_bit(segment->done, (uint32_t)(next - segment->file_first));
	return missing;
}

static int scan_records(struct segment *segment, const uint8_t *bytes, size_t len)
{
	uint64_t first = segment->file_first, end = first + SPOOL_RECORDS_MAX, next = first;
	size_t at = SPOOL_RECORDS_AT, n, skipped;
	struct spool_record record;
	int broken = 0;

	for (; at < len; at += n) {
		n = spool_find(bytes + at, len - at, segment->salt, next, end, &record, &skipped);
		if (!n)
			break;
		if (skipped && misses(segment, next, record.sequence)) {
			broken++;
			if (segment->gap_from > segment->n)
				segment->gap_from = segment->n;
		}
		at += skipped;
		for (; next < record.sequence; next++) {
			if (segment_note(segment, 0, 0) < 0)
				return -ENOMEM;
		}
		if (segment_note(segment, (uint32_t)at, record.type) < 0)
			return -ENOMEM;
		next++;
	}
	segment->used = (uint32_t)at;
	return broken;
}

int segment_scan(struct segment *segment, const uint8_t *bytes, size_t len)
{
	uint32_t i;
	int broken;

	if (len < SPOOL_RECORDS_AT || len > SEGMENT_AT ||
	    spool_decode_head(bytes, &segment->file_first, &segment->salt))
		return -EIO;
	segment->gap_from = UINT32_MAX;
	memcpy(segment->done, bytes + SPOOL_HEAD, SPOOL_BITS);
	memcpy(segment->sent, bytes + SPOOL_HEAD + SPOOL_BITS, SPOOL_BITS);
	broken = scan_records(segment, bytes, len);
	for (i = 0; i < segment->n; i++) {
		if (!segment->at[i])
			segment->done[i / 8] |= (uint8_t)(1 << i % 8);
		if (!spool_bit(segment->done, i)) {
			segment->live++;
			segment->live_bytes += segment_length(segment, i);
		}
	}
	return broken;
}

uint32_t segment_length(const struct segment *segment, uint32_t i)
{
	uint32_t at = segment->at[i] & SEGMENT_AT;

	while (++i < segment->n) {
		if (segment->at[i])
			return (segment->at[i] & SEGMENT_AT) - at;
	}
	return segment->used - at;
}

struct segment *segment_new(const char *folder, uint32_t number)
{
	struct segment *segment = calloc(1, sizeof(*segment));

	if (segment && asprintf(&segment->path, "%s/%08x", folder, number) < 0) {
		free(segment);
		return NULL;
	}
	if (segment)
		segment->fd = -1;
	return segment;
}

static void close_one(struct spool *spool, const struct segment *but)
{
	struct segment *segment;

	TAILQ_FOREACH (segment, &spool->segments, link) {
		if (segment->fd >= 0 && segment != but && segment != spool->active) {
			close(segment->fd);
			segment->fd = -1;
			spool->n_open--;
			return;
		}
	}
}

int segment_fd(struct spool *spool, struct segment *segment)
{
	if (segment->fd >= 0)
		return segment->fd;
	segment->fd = open(segment->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (segment->fd < 0)
		return -errno;
	if (++spool->n_open > OPEN_MOST)
		close_one(spool, segment);
	return segment->fd;
}

void segment_free(struct spool *spool, struct segment *segment, bool remove)
{
	if (segment->fd >= 0) {
		close(segment->fd);
		spool->n_open--;
	}
	if (remove && unlink(segment->path) < 0 && errno != ENOENT)
		log_warning("%s: %s", segment->path, strerror(errno));
	free(segment->path);
	free(segment->at);
	free(segment);
}

int segment_begin(struct spool *spool, struct segment *segment, uint64_t first)
{
	uint8_t head[SPOOL_RECORDS_AT] = {0};
	int fd = segment_fd(spool, segment);

	if (fd < 0)
		return fd;
	segment->first = segment->file_first = first;
	segment->salt = ++spool->salt;
	segment->n = segment->live = 0;
	segment->live_bytes = 0;
	segment->used = SPOOL_RECORDS_AT;
	memset(segment->done, 0, sizeof(segment->done));
	memset(segment->sent, 0, sizeof(segment->sent));
	spool_encode_head(head, first, segment->salt);
	errno = 0;
	if (pwrite(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head))
		return errno ? -errno : -ENOSPC;
	segment->bits_written = true;
	segment_start_writing(segment);
	return 0;
}

int segment_allocate(struct spool *spool, struct segment *segment, uint32_t len)
{
	int fd = segment_fd(spool, segment);

	if (fd < 0)
		return fd;
	if (segment->allocated >= segment->used + len)
		return 0;
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, segment->used, len + ALLOCATE) < 0) {
		if (errno != EOPNOTSUPP)
			return -errno;
	}
	segment->allocated = segment->used + len + ALLOCATE;
	return 0;
}

void segment_start_writing(struct segment *segment)
{
	if (segment->bits_written && segment->fd >= 0)
		sync_file_range(segment->fd, 0, SPOOL_RECORDS_AT, SYNC_FILE_RANGE_WRITE);
	segment->bits_written = false;
}

void segment_save(
    struct spool *spool, struct segment *segment, const uint8_t *bits, uint32_t i, uint32_t n)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, segment->changed};
	off_t at = SPOOL_HEAD + (bits == segment->sent ? SPOOL_BITS : 0) + i / 8;
	uint32_t len = (i + n - 1) / 8 - i / 8 + 1;
	int fd = segment_fd(spool, segment);

	/* If it can't be written, a replay looks again at what was done. */
	if (fd < 0 || pwrite(fd, bits + i / 8, len, at) != (ssize_t)len)
		log_debug("%s: %s", segment->path, strerror(errno));
	else if (segment->recovered)
		futimens(fd, times);
	segment->bits_written = true;
}

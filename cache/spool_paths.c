/* Which files the changes that are not done are of. */
#include "cache/spool_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define NAMED_MOST 100u

struct naming {
	void (*each)(void *arg, const char *path);
	void *arg;
	uint64_t *hashes; /* of all paths, more than once each */
	size_t n, room;
	uint64_t named[NAMED_MOST];
	unsigned n_named;
};

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void add(struct naming *naming, const char *path)
{
	uint64_t hash = XXH3_64bits(path, strlen(path)), *grown;
	size_t room = naming->room ? naming->room * 2 : 1024;
	unsigned i;

	for (i = naming->n_named; i && naming->named[i - 1] != hash; i--)
		;
	if (i)
		return;
	if (naming->n_named < NAMED_MOST) {
		naming->named[naming->n_named++] = hash;
		naming->each(naming->arg, path);
		return;
	}
	if (naming->n == naming->room) {
		grown = realloc(naming->hashes, room * sizeof(*grown));
		if (!grown)
			return;
		naming->hashes = grown;
		naming->room = room;
	}
	naming->hashes[naming->n++] = hash;
}

/* What the record says of paths; they point into meta (SPOOL_META_MAX). */
static bool read_paths(struct spool *spool, struct segment *segment, uint32_t i, uint8_t *meta,
    struct spool_record *record)
{
	uint32_t len = segment_length(segment, i);
	int fd = segment_fd(spool, segment);
	ssize_t got;

	if (fd < 0)
		return false;
	got = pread(
	    fd, meta, len < SPOOL_META_MAX ? len : SPOOL_META_MAX, segment->at[i] & SEGMENT_AT);
	return got > 0 && spool_decode_paths(meta, (size_t)got, record);
}

static void add_record(
    struct spool *spool, struct segment *segment, uint32_t i, struct naming *naming)
{
	uint8_t meta[SPOOL_META_MAX];
	struct spool_record record = {0};

	if (SEGMENT_TYPE(segment->at[i]) == SPOOL_CHECKED ||
	    !read_paths(spool, segment, i, meta, &record) || record.renamed)
		return;
	add(naming, SEGMENT_TYPE(segment->at[i]) == SPOOL_RENAME ? record.to : record.path);
}

uint64_t spool_name_hash(struct spool *spool, uint64_t sequence)
{
	uint8_t meta[SPOOL_META_MAX];
	struct spool_record record = {0};
	struct segment *segment;
	enum spool_type type;
	const char *name;
	uint32_t i;

	TAILQ_FOREACH (segment, &spool->segments, link) {
		if (sequence < segment->first || sequence >= segment->first + segment->n)
			continue;
		i = (uint32_t)(sequence - segment->first);
		type = SEGMENT_TYPE(segment->at[i]);
		if (!read_paths(spool, segment, i, meta, &record))
			return 0;
		name = type == SPOOL_RENAME || type == SPOOL_LINK ? record.to : record.path;
		return XXH3_64bits(name, strlen(name));
	}
	return 0;
}

uint64_t spool_paths(struct spool *spool, void (*each)(void *arg, const char *path), void *arg)
{
	struct naming naming = {.each = each, .arg = arg};
	struct segment *segment;
	uint64_t more = 0;
	size_t k;
	uint32_t i;

	TAILQ_FOREACH (segment, &spool->segments, link) {
		for (i = 0; segment->live && i < segment->n; i++) {
			if (!spool_bit(segment->done, i))
				add_record(spool, segment, i, &naming);
		}
	}
	if (naming.n)
		qsort(naming.hashes, naming.n, sizeof(*naming.hashes), by_value);
	for (k = 0; k < naming.n; k++)
		more += !k || naming.hashes[k] != naming.hashes[k - 1];
	free(naming.hashes);
	return more;
}

/* Accepting and acknowledging. */
#include "cache/spool.h"
#include "cache/spool_impl.h"
#include "conf/log.h"
#include "conf/paths.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

/* Kept for further use: what streams through comes to rest after a few of them. */
#define SPARE_MOST 4u
/* An active segment without live records begins anew from this on. */
#define REWIND_AT (256u << 10)
#define LIMIT_MOST (UINT64_C(4) << 30)
/* What one change of a program's puts into it at most, and has to be free by the limit. */
#define READY_RECORDS 4u
#define READY_ROOM (1u << 20)

/* --- segments coming and going --- */

static void retire(struct spool *spool, struct segment *segment)
{
	TAILQ_REMOVE(&spool->segments, segment, link);
	if (segment->recovered || spool->n_spare >= SPARE_MOST) {
		spool->disk_bytes -= segment->used;
		segment_free(spool, segment, true);
		return;
	}
	TAILQ_INSERT_HEAD(&spool->spare, segment, link);
	spool->n_spare++;
}

static void drop_spares(struct spool *spool)
{
	struct segment *segment;

	while ((segment = TAILQ_FIRST(&spool->spare))) {
		TAILQ_REMOVE(&spool->spare, segment, link);
		spool->disk_bytes -= segment->used;
		segment_free(spool, segment, true);
	}
	spool->n_spare = 0;
}

/* All its records are done. */
static void emptied(struct spool *spool, struct segment *segment)
{
	if (segment != spool->active) {
		retire(spool, segment);
	} else if (segment->used > REWIND_AT || segment->n == SPOOL_RECORDS_MAX) {
		spool->active = NULL;
		retire(spool, segment);
	}
}

/* The segment that takes n records of this length together; NULL with *err. */
static struct segment *segment_for(struct spool *spool, uint32_t n, size_t len, int *err)
{
	struct segment *segment = spool->active;

	if (segment && segment->n + n <= SPOOL_RECORDS_MAX &&
	    segment->used + len <= spool->segment_size)
		return segment;
	spool->active = NULL;
	if (segment && !segment->live)
		retire(spool, segment);
	segment = TAILQ_FIRST(&spool->spare);
	if (segment) {
		TAILQ_REMOVE(&spool->spare, segment, link);
		spool->n_spare--;
		spool->disk_bytes -= segment->used;
	} else {
		segment = segment_new(spool->home, spool->next_file++);
	}
	*err = segment ? segment_begin(spool, segment, spool->next) : -ENOMEM;
	if (*err) {
		if (segment)
			segment_free(spool, segment, true);
		return NULL;
	}
	spool->disk_bytes += segment->used;
	TAILQ_INSERT_TAIL(&spool->segments, segment, link);
	spool->active = segment;
	return segment;
}

static struct segment *segment_of(const struct spool *spool, uint64_t sequence)
{
	struct segment *segment;

	TAILQ_FOREACH (segment, &spool->segments, link) {
		if (sequence < segment->first)
			break;
		if (sequence - segment->first < segment->n)
			return segment;
	}
	return NULL;
}

/* --- accepting --- */

static int64_t failed_append(struct spool *spool, int err)
{
	if (err != spool->error)
		log_warning(
		    "%s: the spool takes no more changes: %s; programs wait for the instance",
		    spool_path(spool), strerror(-err));
	spool->error = err;
	return err;
}

int64_t spool_append(struct spool *spool, const struct spool_record *record)
{
	uint8_t meta[SPOOL_META_MAX];
	struct segment *segment;
	struct iovec iov[2] = {{.iov_base = meta}, {.iov_len = record->len}};
	size_t path = record->path ? strlen(record->path) : 0,
	       to = record->to ? strlen(record->to) : 0;
	size_t len =
	    SPOOL_RECORD_HEAD + SPOOL_PAYLOAD_HEAD + path + 1 + (to ? to + 1 : 0) + record->len;
	ssize_t wrote;
	int err = 0, n;

	if (!spool->home)
		return spool->error;
	if (spool->disk_bytes + len > spool->limit && spool->n_spare)
		drop_spares(spool);
	if (spool->disk_bytes + len > spool->limit)
		return failed_append(spool, -ENOSPC);
	segment = segment_for(spool, 1, len, &err);
	if (!segment)
		return failed_append(spool, err);
	n = spool_encode(record, spool->next, segment->salt, meta);
	if (n < 0)
		return n;
	iov[0].iov_len = (size_t)n;
	iov[1].iov_base = (void *)(uintptr_t)record->data;
	len = (size_t)n + record->len;
	n = segment_fd(spool, segment);
	if (n < 0)
		return failed_append(spool, n);
	wrote = pwritev(n, iov, record->len ? 2 : 1, segment->used);
	if (wrote != (ssize_t)len)
		return failed_append(spool, wrote < 0 ? -errno : -ENOSPC);
	if (segment_note(segment, segment->used, record->type) < 0)
		return -ENOMEM;
	segment->used += (uint32_t)len;
	segment->live++;
	spool->disk_bytes += len;
	spool->appended_bytes += len;
	spool->records++;
	spool->bytes += len;
	spool->error = 0;
	spool->touched = true;
	return (int64_t)spool->next++;
}

bool spool_ready(struct spool *spool)
{
	const uint32_t len = READY_RECORDS * SPOOL_META_MAX;
	struct segment *segment;
	int err = 0;

	if (spool->disk_bytes + READY_ROOM > spool->limit)
		drop_spares(spool);
	if (!spool->home || spool->error || spool->disk_bytes + READY_ROOM > spool->limit)
		return false;
	segment = segment_for(spool, READY_RECORDS, len, &err);
	if (segment)
		err = segment_allocate(spool, segment, len);
	if (err)
		failed_append(spool, err);
	return !err;
}

int spool_error(const struct spool *spool)
{
	return spool->error;
}

uint64_t spool_room(const struct spool *spool)
{
	uint64_t used = spool->disk_bytes;
	const struct segment *segment;

	TAILQ_FOREACH (segment, &spool->spare, link)
		used -= segment->used;
	return used < spool->limit ? spool->limit - used : 0;
}

/* --- acknowledging --- */

static void set_bits(
    struct spool *spool, struct segment *segment, uint8_t *bits, uint32_t i, uint32_t n)
{
	uint32_t k;

	for (k = i; k < i + n; k++) {
		if (bits == segment->done && !spool_bit(bits, k)) {
			segment->live--;
			spool->records--;
			spool->bytes -= segment_length(segment, k);
		}
		bits[k / 8] |= (uint8_t)(1 << k % 8);
	}
	segment_save(spool, segment, bits, i, n);
}

/* [first, first + n), segment by segment. */
static void mark(struct spool *spool, uint64_t first, uint32_t n, bool done)
{
	struct segment *segment;
	uint32_t i, part;

	for (; n; first += part, n -= part) {
		segment = segment_of(spool, first);
		part = 1;
		if (!segment)
			continue;
		i = (uint32_t)(first - segment->first);
		part = segment->n - i < n ? segment->n - i : n;
		set_bits(spool, segment, done ? segment->done : segment->sent, i, part);
		if (done && !segment->live)
			emptied(spool, segment);
	}
}

void spool_mark(struct spool *spool, uint64_t sequence, uint32_t mark, bool first)
{
	struct segment *segment = segment_of(spool, sequence);

	if (segment)
		segment_mark(spool, segment, (uint32_t)(sequence - segment->first), mark, first);
}

void spool_sent(struct spool *spool, uint64_t first, uint32_t n)
{
	mark(spool, first, n, false);
}

enum spool_type spool_type_of(const struct spool *spool, uint64_t sequence)
{
	const struct segment *segment = segment_of(spool, sequence);

	return segment ? SEGMENT_TYPE(segment->at[sequence - segment->first]) : 0;
}

uint32_t spool_length(const struct spool *spool, uint64_t sequence)
{
	const struct segment *segment = segment_of(spool, sequence);

	return segment ? segment_length(segment, (uint32_t)(sequence - segment->first)) : 0;
}

static bool put_off(struct spool *spool, uint64_t sequence)
{
	unsigned room = spool->renames_room ? spool->renames_room * 2 : 16, i;
	uint64_t *grown;

	for (i = 0; i < spool->n_renames; i++) {
		if (spool->renames[i] == sequence) /* it was done before this mount */
			return true;
	}
	spool_mark(spool, sequence, SPOOL_MARK_RENAMED, false);
	if (spool->n_renames == spool->renames_room) {
		grown = realloc(spool->renames, room * sizeof(*grown));
		if (!grown)
			return false;
		spool->renames = grown;
		spool->renames_room = room;
	}
	spool->renames[spool->n_renames++] = sequence;
	return true;
}

/* Renames whose predecessors are done now. */
static void settle_renames(struct spool *spool)
{
	uint64_t oldest;
	unsigned i;

	while (spool->n_renames) {
		oldest = spool_next(spool, 0);
		for (i = 0; i < spool->n_renames && spool->renames[i] > oldest; i++)
			;
		if (i == spool->n_renames)
			return;
		oldest = spool->renames[i];
		spool->renames[i] = spool->renames[--spool->n_renames];
		mark(spool, oldest, 1, true);
	}
}

void spool_done(struct spool *spool, uint64_t first, uint32_t n)
{
	if (n == 1 && spool_type_of(spool, first) == SPOOL_RENAME && spool_next(spool, 0) < first &&
	    put_off(spool, first))
		return;
	mark(spool, first, n, true);
	settle_renames(spool);
}

void spool_drop(struct spool *spool, uint64_t sequence)
{
	mark(spool, sequence, 1, true);
	settle_renames(spool);
}

uint64_t spool_next(const struct spool *spool, uint64_t from)
{
	const struct segment *segment;
	uint32_t i;

	TAILQ_FOREACH (segment, &spool->segments, link) {
		if (!segment->live || from >= segment->first + segment->n)
			continue;
		for (i = from > segment->first ? (uint32_t)(from - segment->first) : 0;
		     i < segment->n; i++) {
			if (!(i % 8) && segment->done[i / 8] == 0xff)
				i += 7;
			else if (!spool_bit(segment->done, i))
				return segment->first + i;
		}
	}
	return 0;
}

int spool_read(
    struct spool *spool, uint64_t sequence, struct spool_buf *buf, struct spool_record *out)
{
	struct segment *segment = segment_of(spool, sequence);
	uint32_t i = segment ? (uint32_t)(sequence - segment->first) : 0;
	uint64_t in_file;
	uint8_t *grown;
	uint32_t len;
	int fd;

	if (!segment || spool_bit(segment->done, i))
		return -ENOENT;
	len = segment_length(segment, i);
	if (len > buf->room) {
		grown = realloc(buf->at, len);
		if (!grown)
			return -ENOMEM;
		buf->at = grown;
		buf->room = len;
	}
	fd = segment_fd(spool, segment);
	if (fd < 0)
		return fd;
	if (pread(fd, buf->at, len, segment->at[i] & SEGMENT_AT) != (ssize_t)len)
		return -EIO;
	in_file = segment->file_first + i;
	if (!spool_decode(buf->at, len, segment->salt, in_file, in_file + 1, out))
		return -EIO;
	out->sequence = sequence;
	out->sent = spool_bit(segment->sent, i);
	out->gap = segment->recovered && i >= segment->gap_from;
	out->alive = segment->recovered ? segment->changed.tv_sec : 0;
	return 0;
}

/* --- life --- */

/* Has the disk been mended? */
static void try_again(struct spool *spool)
{
	const struct spool_record record = {.type = SPOOL_CHECKED, .path = "/"};
	int64_t sequence = spool_append(spool, &record);

	if (sequence > 0)
		spool_done(spool, (uint64_t)sequence, 1);
}

void spool_tick(struct spool *spool)
{
	struct segment *segment;

	if (spool->error && spool->home)
		try_again(spool);

	if (!spool->records && !spool->touched) {
		drop_spares(spool);
		if (spool->active) {
			segment = spool->active;
			spool->active = NULL;
			retire(spool, segment);
			drop_spares(spool);
		}
	}
	spool->touched = false;
	TAILQ_FOREACH (segment, &spool->segments, link) {
		segment_start_writing(segment);
		if (segment->live && !segment->recovered && segment_fd(spool, segment) >= 0)
			futimens(segment->fd, NULL);
	}
}

uint64_t spool_recovered_end(const struct spool *spool)
{
	return spool->recovered_end;
}

const char *spool_path(const struct spool *spool)
{
	return spool->dir ? spool->dir : "the spool";
}

char *spool_root(void)
{
	const char *xdg = getenv("XDG_STATE_HOME");
	char *out;

	if (!xdg || xdg[0] != '/')
		return paths_expand("~/.local/state/vastfs");
	return asprintf(&out, "%s/vastfs", xdg) < 0 ? NULL : out;
}

uint64_t spool_limit_default(const char *root)
{
	struct statvfs st;
	uint64_t limit;

	if (statvfs(root, &st) < 0)
		return LIMIT_MOST;
	limit = (uint64_t)st.f_bavail * st.f_frsize / 10;
	return limit < LIMIT_MOST ? limit : LIMIT_MOST;
}

struct spool *spool_open(const char *root, const char *instance, uint64_t limit)
{
	struct spool *spool = calloc(1, sizeof(*spool));
	char *own = root ? strdup(root) : spool_root();

	if (!spool || !own) {
		free(spool);
		free(own);
		return NULL;
	}
	TAILQ_INIT(&spool->segments);
	TAILQ_INIT(&spool->spare);
	TAILQ_INIT(&spool->failures);
	spool->next = 1;
	if (getrandom(&spool->salt, sizeof(spool->salt), 0) != (ssize_t)sizeof(spool->salt))
		spool->salt = (uint64_t)time(NULL) << 20;
	spool->error = spool_recover(spool, own, instance);
	if (spool->error) {
		log_error("%s: the spool can't be used: %s; every write waits for the instance",
		    spool_path(spool), strerror(-spool->error));
		free(spool->home);
		spool->home = NULL;
	}
	spool->limit = limit ? limit : spool_limit_default(spool->dir ? spool->dir : "/");
	spool->segment_size = SPOOL_SEGMENT_LEAST;
	while (spool->segment_size < SPOOL_SEGMENT_MOST && spool->limit / spool->segment_size > 256)
		spool->segment_size *= 2;
	free(own);
	return spool;
}

void spool_close(struct spool *spool)
{
	struct segment *segment;
	unsigned i;

	drop_spares(spool);
	while ((segment = TAILQ_FIRST(&spool->segments))) {
		TAILQ_REMOVE(&spool->segments, segment, link);
		segment_free(spool, segment, !segment->live);
	}
	spool_failures_free(spool);
	for (i = 0; i < spool->n_locks; i++)
		close(spool->locks[i]);
	free(spool->locks);
	free(spool->renames);
	free(spool->home);
	free(spool->dir);
	free(spool);
}

void spool_figures(const struct spool *spool, struct spool_figures *out)
{
	*out = (struct spool_figures){
	    .records = spool->records,
	    .bytes = spool->bytes,
	    .disk_bytes = spool->limit - spool_room(spool),
	    .limit_bytes = spool->limit,
	    .appended_bytes = spool->appended_bytes,
	    .failed_files = spool->n_failures,
	    .broken = spool->broken,
	    .error = spool->error,
	};
}

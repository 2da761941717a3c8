#include "cache/refused.h"
#include "cache/content_impl.h"
#include "cache/spool.h"
#include "cache/writer_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The bytes of an extent, shared by what is left of it. */
struct bytes {
	unsigned refs;
	uint64_t offset;
	uint8_t *data;	 /* owned; NULL: the spool has them, or nobody */
	bool appended;	 /* in the spool by their places there: one behind the other here */
	uint32_t n_refs; /* records of the spool */
	struct extent_ref at[];
};

struct refused {
	TAILQ_ENTRY(refused) link;
	uint64_t from, to;
	struct bytes *bytes;
};

static void bytes_put(struct bytes *bytes)
{
	if (--bytes->refs)
		return;
	free(bytes->data);
	free(bytes);
}

static struct bytes *bytes_new(const struct extent *extent)
{
	bool spooled = writer_spool_has(extent);
	uint32_t n = spooled ? extent->n_refs : 0, i;
	struct bytes *bytes = calloc(1, sizeof(*bytes) + n * sizeof(*bytes->at));

	if (!bytes)
		return NULL;
	bytes->offset = extent->offset;
	bytes->appended = extent->content->writer.appending;
	bytes->n_refs = n;
	for (i = 0; i < n; i++)
		bytes->at[i] = i ? extent->more[i - 1] : extent->ref;
	if (!spooled && extent->data && (bytes->data = malloc(extent->len)))
		memcpy(bytes->data, extent->data, extent->len);
	return bytes;
}

static bool add(struct content *content, uint64_t from, uint64_t to, struct bytes *bytes)
{
	struct refused *refused = malloc(sizeof(*refused));

	if (!refused)
		return false;
	*refused = (struct refused){.from = from, .to = to, .bytes = bytes};
	bytes->refs++;
	TAILQ_INSERT_TAIL(&content->refused, refused, link);
	return true;
}

static void drop(struct content *content, struct refused *refused)
{
	TAILQ_REMOVE(&content->refused, refused, link);
	bytes_put(refused->bytes);
	free(refused);
}

bool refused_add(struct content *content, const struct extent *extent)
{
	struct bytes *bytes = bytes_new(extent);
	const struct extent *other;
	bool added;

	if (!bytes)
		return false;
	refused_cut(content, extent->offset, extent_end(extent));
	bytes->refs++;
	added = add(content, extent->offset, extent_end(extent), bytes);
	bytes_put(bytes);
	/* What overlaps it was written later, and has waited for it. */
	TAILQ_FOREACH (other, &content->writer.unacked, link) {
		if (other != extent && other->offset < extent_end(extent) &&
		    extent_end(other) > extent->offset)
			refused_cut(content, other->offset, extent_end(other));
	}
	return added;
}

void refused_cut(struct content *content, uint64_t from, uint64_t to)
{
	struct refused *refused, *next;

	for (refused = TAILQ_FIRST(&content->refused); refused; refused = next) {
		next = TAILQ_NEXT(refused, link);
		if (refused->to <= from || refused->from >= to)
			continue;
		/* (Without memory for a second piece that is not seen.) */
		if (refused->to > to)
			add(content, to, refused->to, refused->bytes);
		if (refused->from < from)
			refused->to = from;
		else
			drop(content, refused);
	}
}

void refused_clear(struct content *content)
{
	struct refused *refused;

	while ((refused = TAILQ_FIRST(&content->refused)))
		drop(content, refused);
}

uint64_t refused_end(const struct content *content)
{
	const struct refused *refused;
	uint64_t end = 0;

	TAILQ_FOREACH (refused, &content->refused, link)
		end = refused->to > end ? refused->to : end;
	return end;
}

/* --- reading --- */

struct window {
	uint64_t from, to; /* of the file; in the buffer from its beginning at `offset` */
	uint64_t offset;
	uint8_t *buf;
};

static void put(const struct window *window, uint64_t offset, const uint8_t *data, uint64_t len)
{
	uint64_t from = offset > window->from ? offset : window->from;
	uint64_t to = offset + len < window->to ? offset + len : window->to;

	if (from < to)
		memcpy(window->buf + (from - window->offset), data + (from - offset), to - from);
}

static int put_records(
    const struct content *content, const struct bytes *bytes, const struct window *window)
{
	uint64_t behind = bytes->offset;
	struct spool_buf buf = {0};
	struct spool_record record;
	uint32_t i, k;
	int err = 0;

	for (i = 0; !err && i < bytes->n_refs; i++) {
		for (k = 0; !err && k < bytes->at[i].n; k++) {
			err =
			    spool_read(content->pool->spool, bytes->at[i].first + k, &buf, &record);
			if (err == -ENOENT && !bytes->appended) {
				err = 0; /* the user gave it up, or it was sent after all */
			} else if (!err) {
				put(window, bytes->appended ? behind : record.offset, record.data,
				    record.len);
				behind += record.len;
			}
		}
	}
	free(buf.at);
	return err == -ENOENT ? 0 : err;
}

static int put_over(
    const struct content *content, const struct refused *refused, struct window window)
{
	const struct bytes *bytes = refused->bytes;

	window.from = refused->from > window.from ? refused->from : window.from;
	window.to = refused->to < window.to ? refused->to : window.to;
	if (bytes->n_refs)
		return put_records(content, bytes, &window);
	if (!bytes->data)
		return -EIO;
	put(&window, bytes->offset, bytes->data, refused->to - bytes->offset);
	return 0;
}

int refused_patch(const struct content *content, uint64_t offset, uint32_t want,
    const uint8_t *data, uint32_t *len, uint8_t **patched)
{
	struct window window = {.from = offset, .to = offset + want, .offset = offset};
	const struct refused *refused;
	uint64_t end = offset + *len;
	int err = 0;

	*patched = NULL;
	TAILQ_FOREACH (refused, &content->refused, link) {
		if (err || refused->to <= window.from || refused->from >= window.to)
			continue;
		if (!window.buf) {
			window.buf = calloc(1, want);
			if (!window.buf)
				return -ENOMEM;
			memcpy(window.buf, data, *len);
		}
		err = put_over(content, refused, window);
		end = refused->to > end ? refused->to : end;
	}
	if (err) {
		free(window.buf);
		return err;
	}
	*patched = window.buf;
	if (window.buf)
		*len = end < window.to ? (uint32_t)(end - offset) : want;
	return 0;
}

/* --- for the rest of the program --- */

bool content_refused(const struct content *content)
{
	return !TAILQ_EMPTY(&content->refused);
}

void content_forget_refused(struct content *content)
{
	if (!content_refused(content))
		return;
	refused_clear(content);
	content_invalidate(content);
}

void content_replaced(struct content *content, uint64_t from, uint64_t to)
{
	refused_cut(content, from, to);
}

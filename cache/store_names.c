#include "cache/store_names.h"
#include "cache/store_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#define SUM 8u
#define TARGET_FIXED 12u
#define FIXED 33u /* of an entry, before the name */
/* So many changes of the index may wait before listings are not saved any more. */
#define OPS_BUSY 2000
#define OPS_CALM 500

/* --- the form ----------------------------------------------------------------------- */

static void put(uint8_t *to, uint64_t value, int n)
{
	for (; n--; value >>= 8)
		*to++ = (uint8_t)value;
}

static uint64_t take(const uint8_t *from, int n)
{
	uint64_t value = 0;

	while (n--)
		value = value << 8 | from[n];
	return value;
}

static int make_room(struct store_entries *entries, size_t more)
{
	size_t room = entries->room ? entries->room : 1024;
	uint8_t *bytes;

	while (room < entries->len + more)
		room *= 2;
	if (room == entries->room)
		return 0;
	bytes = realloc(entries->bytes, room);
	if (!bytes)
		return -ENOMEM;
	entries->bytes = bytes;
	entries->room = room;
	if (!entries->len)
		entries->len = SUM;
	return 0;
}

int store_entries_add(
    struct store_entries *entries, const char *name, const struct attr_report *report)
{
	size_t len = strlen(name);
	uint8_t *at;

	if (len > 255)
		return -ENAMETOOLONG;
	if (make_room(entries, SUM + FIXED + len))
		return -ENOMEM;
	at = entries->bytes + entries->len;
	put(at, report->size, 8);
	put(at + 8, report->mode, 4);
	put(at + 12, report->uid, 4);
	put(at + 16, report->gid, 4);
	put(at + 20, report->nlink, 4);
	put(at + 24, report->mtime, 4);
	put(at + 28, report->atime, 4);
	at[32] = (uint8_t)len;
	memcpy(at + FIXED, name, len);
	entries->len += FIXED + len;
	return 0;
}

uint64_t store_entries_seal(struct store_entries *entries)
{
	uint64_t sum;

	if (make_room(entries, SUM))
		return 0;
	sum = XXH3_64bits(entries->bytes + SUM, entries->len - SUM);
	put(entries->bytes, sum, 8);
	return sum ? sum : 1;
}

bool store_entries_check(const uint8_t *bytes, size_t len)
{
	return len >= SUM && take(bytes, 8) == XXH3_64bits(bytes + SUM, len - SUM);
}

static bool is_name(const char *name, size_t len)
{
	return len && !memchr(name, '/', len) && !memchr(name, '\0', len) &&
	       !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

int store_entries_next(const uint8_t *bytes, size_t len, size_t *at, struct store_entry *out)
{
	const uint8_t *entry;
	size_t n;

	if (!*at)
		*at = SUM;
	if (*at >= len)
		return *at == len ? 0 : -EBADMSG;
	entry = bytes + *at;
	if (len - *at < FIXED)
		return -EBADMSG;
	n = entry[32];
	if (len - *at - FIXED < n || !is_name((const char *)entry + FIXED, n))
		return -EBADMSG;
	out->report = (struct attr_report){.size = take(entry, 8),
	    .mode = (uint32_t)take(entry + 8, 4) & (S_IFMT | 07777),
	    .uid = (uint32_t)take(entry + 12, 4),
	    .gid = (uint32_t)take(entry + 16, 4),
	    .nlink = (uint32_t)take(entry + 20, 4),
	    .mtime = (uint32_t)take(entry + 24, 4),
	    .atime = (uint32_t)take(entry + 28, 4)};
	if (!(out->report.mode & S_IFMT) || out->report.size > INT64_MAX)
		return -EBADMSG;
	memcpy(out->name, entry + FIXED, n);
	out->name[n] = '\0';
	*at += FIXED + n;
	return 1;
}

/* --- targets of links --- */

int store_target_make(struct store_entries *record, uint32_t mtime, const char *target)
{
	size_t len = strlen(target);

	if (make_room(record, SUM + TARGET_FIXED + len))
		return -ENOMEM;
	put(record->bytes + record->len, UINT64_MAX, 8);
	put(record->bytes + record->len + 8, mtime, 4);
	memcpy(record->bytes + record->len + TARGET_FIXED, target, len);
	record->len += TARGET_FIXED + len;
	store_entries_seal(record);
	return 0;
}

int store_target_read(const uint8_t *bytes, size_t len, uint32_t mtime, char *buf, size_t size)
{
	const uint8_t *at = bytes + SUM;

	if (len < SUM + TARGET_FIXED || take(at, 8) != UINT64_MAX || take(at + 8, 4) != mtime)
		return -ENOENT;
	len -= SUM + TARGET_FIXED;
	if (!len || len >= size || memchr(at + TARGET_FIXED, '\0', len))
		return -EBADMSG;
	memcpy(buf, at + TARGET_FIXED, len);
	buf[len] = '\0';
	return 0;
}

/* --- in the index ---------------------------------------------------------------------- */

struct folder_op {
	struct store_op op;
	char *path;
	uint8_t *entries;
	size_t len;
	int64_t used;
	store_folder_done *done;
	void *arg;
};

static void folder_free(struct folder_op *folder)
{
	free(folder->path);
	free(folder->entries);
	store_op_free(&folder->op);
}

static void save_run(struct store_index *index, struct store_op *op)
{
	const struct folder_op *folder = (struct folder_op *)op;

	store_index_save_folder(index, folder->path, folder->used, folder->entries, folder->len);
}

static void save_done(struct store_op *op, int err)
{
	folder_free((struct folder_op *)op);
}

static struct folder_op *folder_new(struct store *store, const char *path,
    void (*run)(struct store_index *index, struct store_op *op),
    void (*done)(struct store_op *op, int err))
{
	struct folder_op *folder = store_op_new(store, sizeof(*folder), run, done);

	if (folder && !(folder->path = strdup(path))) {
		folder_free(folder);
		return NULL;
	}
	return folder;
}

void store_save_folder(struct store *store, const char *path, void *entries, size_t len)
{
	struct folder_op *folder = NULL;

	if (store_takes(store) && store->n_ops < OPS_BUSY)
		folder = folder_new(store, path, save_run, save_done);
	if (!folder) {
		free(entries);
		return;
	}
	folder->entries = entries;
	folder->len = len;
	folder->used = time(NULL);
	store_op_send(&folder->op);
}

static void find_run(struct store_index *index, struct store_op *op)
{
	struct folder_op *folder = (struct folder_op *)op;

	store_index_find_folder(index, folder->path, &folder->entries, &folder->len);
}

static void find_done(struct store_op *op, int err)
{
	struct folder_op *folder = (struct folder_op *)op;

	if (err || !folder->entries || !store_entries_check(folder->entries, folder->len))
		folder->done(folder->arg, NULL, 0);
	else
		folder->done(folder->arg, folder->entries, folder->len);
	folder_free(folder);
}

bool store_is_calm(const struct store *store)
{
	return store->n_ops < OPS_CALM;
}

int store_find_folder(struct store *store, const char *path, store_folder_done *done, void *arg)
{
	struct folder_op *folder =
	    store->state == STORE_OFF ? NULL : folder_new(store, path, find_run, find_done);

	if (!folder)
		return -ENOMEM;
	folder->done = done;
	folder->arg = arg;
	store_op_send(&folder->op);
	return 0;
}

/* --- the note ------------------------------------------------------------------------------ */

struct note_op {
	struct store_op op;
	char *text;
};

static void note_run(struct store_index *index, struct store_op *op)
{
	const struct note_op *note = (struct note_op *)op;

	store_index_note(index, STORE_NOTE, note->text);
}

static void note_done(struct store_op *op, int err)
{
	struct note_op *note = (struct note_op *)op;

	free(note->text);
	store_op_free(op);
}

void store_note(struct store *store, const char *text)
{
	struct note_op *note = store_op_new(store, sizeof(*note), note_run, note_done);

	if (!note || !(note->text = strdup(text))) {
		free(note);
		return;
	}
	store_op_send(&note->op);
}

const char *store_noted(const struct store *store)
{
	return store->note;
}

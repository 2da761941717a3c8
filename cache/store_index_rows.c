/* The rows of the index: files and their blocks, by number and by path; pins. */
#include "cache/store_index_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How many files are looked at in one go. */
#define EVICT_SLICE 64

static uint64_t bytes_of(uint32_t pages)
{
	return (uint64_t)__builtin_popcount(pages) * BLOCKS_PAGE;
}

int store_index_drop(struct store_index *index, uint64_t id)
{
	int64_t value = (int64_t)id;
	sqlite3_stmt *statement = index_bind(index, DROP_FILE, NULL, 1, &value);
	int rc;

	if (!statement)
		return index->err;
	while ((rc = index_step(index, statement)) > 0) {
		index->bytes -= (uint64_t)index_column(statement, 0);
		index->files--;
	}
	return rc < 0 ? rc : index_run(index, DROP_BLOCKS, NULL, 1, &value);
}

/* The id at the path, or 0; its version. */
static int64_t id_at(
    struct store_index *index, const char *path, struct store_version *version, int64_t *used)
{
	sqlite3_stmt *statement = index_bind(index, FIND_PATH, path, 0, NULL);
	int64_t id = 0;

	if (statement && index_step(index, statement) == 1) {
		id = index_column(statement, 0);
		version->mtime = (uint32_t)index_column(statement, 1);
		version->size = (uint64_t)index_column(statement, 2);
		*used = index_column(statement, 3);
		sqlite3_reset(statement);
	}
	return id;
}

static int blocks_of(struct store_index *index, uint64_t id, struct store_block **out, size_t *n)
{
	int64_t value = (int64_t)id;
	sqlite3_stmt *statement = index_bind(index, FIND_BLOCKS, NULL, 1, &value);
	struct store_block *grown, *block;
	size_t room = 0;
	int rc;

	*out = NULL;
	*n = 0;
	if (!statement)
		return index->err;
	while ((rc = index_step(index, statement)) > 0) {
		if (*n == room) {
			room = room ? room * 2 : 8;
			grown = realloc(*out, room * sizeof(*grown));
			if (!grown) {
				sqlite3_reset(statement);
				return index->err = -ENOMEM;
			}
			*out = grown;
		}
		block = &(*out)[(*n)++];
		block->number = (uint64_t)index_column(statement, 0);
		block->pages = (uint32_t)index_column(statement, 1);
		block->sum = (uint64_t)index_column(statement, 2);
	}
	return rc;
}

/* Often enough to know the oldest. */
static int touch(struct store_index *index, uint64_t id, int64_t last, int64_t used)
{
	int64_t values[2] = {(int64_t)id, used};

	if (used - last > 60 || used < last)
		index_run(index, TOUCH_FILE, NULL, 2, values);
	return index->err;
}

int store_index_find(struct store_index *index, const struct store_version *version, int64_t used,
    uint64_t *id, struct store_block **blocks, size_t *n, struct store_ids *gone)
{
	struct store_version known = {NULL, 0, 0};
	int64_t last = 0, found = id_at(index, version->path, &known, &last);

	*id = 0;
	*blocks = NULL;
	*n = 0;
	if (!found)
		return index->err;
	if (known.mtime != version->mtime || known.size != version->size) {
		if (!store_index_drop(index, (uint64_t)found))
			store_ids_add(gone, (uint64_t)found);
		return index->err;
	}
	if (blocks_of(index, (uint64_t)found, blocks, n)) {
		free(*blocks);
		*blocks = NULL;
		*n = 0;
		return index->err;
	}
	*id = (uint64_t)found;
	return touch(index, *id, last, used);
}

/* Makes the row of a file, in place of whatever had its path. */
static int add_file(struct store_index *index, uint64_t id, const struct store_version *version,
    int64_t used, struct store_ids *gone)
{
	struct store_version known = {NULL, 0, 0};
	int64_t last = 0, found = id_at(index, version->path, &known, &last);
	sqlite3_stmt *statement;
	int rc;

	if (found == (int64_t)id)
		return touch(index, id, last, used);
	if (found && !store_index_drop(index, (uint64_t)found))
		store_ids_add(gone, (uint64_t)found);
	statement = index_bind(index, ADD_FILE, NULL, 0, NULL);
	if (!statement)
		return index->err;
	sqlite3_bind_int64(statement, 1, (int64_t)id);
	sqlite3_bind_blob(
	    statement, 2, version->path, (int)strlen(version->path), SQLITE_TRANSIENT);
	sqlite3_bind_int64(statement, 3, version->mtime);
	sqlite3_bind_int64(statement, 4, (int64_t)version->size);
	sqlite3_bind_int64(statement, 5, used);
	rc = index_step(index, statement);
	if (!rc)
		index->files++;
	if (id >= index->next)
		index->next = id + 1;
	return rc;
}

/* The pages known of a block. */
static uint32_t pages_of(struct store_index *index, uint64_t id, uint64_t number)
{
	int64_t values[2] = {(int64_t)id, (int64_t)number};
	sqlite3_stmt *statement = index_bind(index, FIND_BLOCK, NULL, 2, values);
	uint32_t pages = 0;

	if (statement && index_step(index, statement) == 1) {
		pages = (uint32_t)index_column(statement, 0);
		sqlite3_reset(statement);
	}
	return pages;
}

static int grow(struct store_index *index, uint64_t id, int64_t by)
{
	int64_t values[2] = {(int64_t)id, by};

	if (!index_run(index, GROW_FILE, NULL, 2, values))
		index->bytes += (uint64_t)by;
	return index->err;
}

int store_index_add(struct store_index *index, uint64_t id, const struct store_version *version,
    int64_t used, const struct store_block *blocks, size_t n, struct store_ids *gone)
{
	int64_t by = 0;
	size_t i;

	if (add_file(index, id, version, used, gone))
		return index->err;
	for (i = 0; i < n; i++) {
		int64_t values[4] = {(int64_t)id, (int64_t)blocks[i].number, blocks[i].pages,
		    (int64_t)blocks[i].sum};

		by -= (int64_t)bytes_of(pages_of(index, id, blocks[i].number));
		by += (int64_t)bytes_of(blocks[i].pages);
		if (index_run(index, ADD_BLOCK, NULL, 4, values))
			return index->err;
	}
	return grow(index, id, by);
}

int store_index_drop_block(struct store_index *index, uint64_t id, uint64_t number)
{
	int64_t values[2] = {(int64_t)id, (int64_t)number};
	uint64_t bytes = bytes_of(pages_of(index, id, number));

	if (!bytes || index_run(index, DROP_BLOCK, NULL, 2, values))
		return index->err;
	return grow(index, id, -(int64_t)bytes);
}

int store_index_has(struct store_index *index, uint64_t id)
{
	int64_t value = (int64_t)id;
	sqlite3_stmt *statement = index_bind(index, FIND_ID, NULL, 1, &value);
	int rc = statement ? index_step(index, statement) : index->err;

	if (rc == 1)
		sqlite3_reset(statement);
	return rc;
}

/* --- by path ------------------------------------------------------------------------------- */

static int drop_all(struct store_index *index, const struct store_ids *ids, size_t from)
{
	for (; from < ids->n && !index->err; from++)
		store_index_drop(index, ids->ids[from]);
	return index->err;
}

int store_index_forget(struct store_index *index, const char *path, struct store_ids *gone)
{
	sqlite3_stmt *statement = index_bind(index, AT_PATH, path, 0, NULL);
	size_t from = gone->n;

	if (!statement)
		return index->err;
	while (index_step(index, statement) > 0) {
		if (store_ids_add(gone, (uint64_t)index_column(statement, 0))) {
			sqlite3_reset(statement);
			return index->err = -ENOMEM;
		}
	}
	drop_all(index, gone, from);
	return index_run(index, DROP_FOLDERS, path, 0, NULL);
}

static int move(struct store_index *index, enum statement which, const char *from, const char *to)
{
	sqlite3_stmt *statement = index_bind(index, which, from, 0, NULL);

	if (!statement)
		return index->err;
	sqlite3_bind_blob(statement, 2, to, (int)strlen(to), SQLITE_TRANSIENT);
	sqlite3_bind_int64(statement, 3, (int64_t)strlen(from) + 1);
	return index_step(index, statement);
}

int store_index_rename(
    struct store_index *index, const char *from, const char *to, struct store_ids *gone)
{
	if (store_index_forget(index, to, gone) || move(index, MOVE_PATH, from, to))
		return index->err;
	return move(index, MOVE_FOLDERS, from, to);
}

int store_index_evict(struct store_index *index, uint64_t bytes, struct store_ids *gone)
{
	int64_t slice = EVICT_SLICE;
	uint64_t ids[EVICT_SLICE];
	sqlite3_stmt *statement;
	int i, n;

	while (index->bytes > bytes) {
		statement = index_bind(index, OLDEST, NULL, 1, &slice);
		if (!statement)
			return index->err;
		for (n = 0; index_step(index, statement) > 0;)
			ids[n++] = (uint64_t)index_column(statement, 0);
		for (i = 0; i < n && index->bytes > bytes && !index->err; i++) {
			if (!store_index_drop(index, ids[i]))
				store_ids_add(gone, ids[i]);
		}
		if (!n || index->err)
			break;
	}
	return index->err;
}

/* --- pins ------------------------------------------------------------------------------------- */

static int changed(struct store_index *index, enum statement which, const char *path)
{
	int rc = index_run(index, which, path, 0, NULL);

	return rc < 0 ? rc : sqlite3_changes(index->db) > 0;
}

int store_index_pin(struct store_index *index, const char *path)
{
	return changed(index, PIN, path);
}

int store_index_unpin(struct store_index *index, const char *path)
{
	return changed(index, UNPIN, path);
}

int store_index_pins(
    struct store_index *index, void (*each)(void *arg, const char *path), void *arg)
{
	sqlite3_stmt *statement = index_bind(index, PINS, NULL, 0, NULL);
	char *path;
	int rc;

	if (!statement)
		return index->err;
	while ((rc = index_step(index, statement)) > 0) {
		path = strndup(
		    sqlite3_column_blob(statement, 0) ? sqlite3_column_blob(statement, 0) : "",
		    (size_t)sqlite3_column_bytes(statement, 0));
		if (path)
			each(arg, path);
		free(path);
	}
	return rc;
}

/* --- listings and notes ------------------------------------------------------------------- */

int store_index_save_folder(
    struct store_index *index, const char *path, int64_t used, const void *entries, size_t len)
{
	sqlite3_stmt *statement = index_bind(index, ADD_FOLDER, path, 1, &used);

	if (!statement)
		return index->err;
	sqlite3_bind_blob64(statement, 3, entries, len, SQLITE_STATIC);
	index_step(index, statement);
	sqlite3_clear_bindings(statement);
	index->folder_bytes += len;
	if (index->folder_bytes <= STORE_FOLDER_BYTES || index->err)
		return index->err;
	index_run(index, OLD_FOLDERS, NULL, 0, NULL);
	statement = index_bind(index, FOLDER_BYTES, NULL, 0, NULL);
	if (statement && index_step(index, statement) == 1) {
		index->folder_bytes = (uint64_t)index_column(statement, 0);
		index_step(index, statement);
	}
	return index->err;
}

int store_index_find_folder(
    struct store_index *index, const char *path, uint8_t **entries, size_t *len)
{
	sqlite3_stmt *statement = index_bind(index, FIND_FOLDER, path, 0, NULL);
	const void *found;

	*entries = NULL;
	*len = 0;
	if (statement && index_step(index, statement) == 1) {
		found = sqlite3_column_blob(statement, 0);
		*len = (size_t)sqlite3_column_bytes(statement, 0);
		*entries = malloc(*len + 1);
		if (*entries && *len)
			memcpy(*entries, found, *len);
		sqlite3_reset(statement);
	}
	return index->err;
}

int store_index_note(struct store_index *index, const char *key, const char *value)
{
	sqlite3_stmt *statement = index_bind(index, ADD_NOTE, NULL, 0, NULL);

	if (!statement)
		return index->err;
	sqlite3_bind_text(statement, 1, key, -1, SQLITE_TRANSIENT);
	sqlite3_bind_text(statement, 2, value, -1, SQLITE_TRANSIENT);
	return index_step(index, statement);
}

int store_index_find_note(struct store_index *index, const char *key, char **value)
{
	sqlite3_stmt *statement = index_bind(index, FIND_NOTE, NULL, 0, NULL);

	*value = NULL;
	if (!statement)
		return index->err;
	sqlite3_bind_text(statement, 1, key, -1, SQLITE_TRANSIENT);
	if (index_step(index, statement) == 1) {
		*value = strdup((const char *)sqlite3_column_text(statement, 0));
		sqlite3_reset(statement);
	}
	return index->err;
}

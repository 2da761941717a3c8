#include "cache/store_index_impl.h"
#include "conf/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT 2
#define FORMAT_PRAGMA "PRAGMA user_version = 2;"

static const char schema[] =
    "CREATE TABLE file(id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, mtime INTEGER NOT NULL,"
    " size INTEGER NOT NULL, bytes INTEGER NOT NULL, used INTEGER NOT NULL);"
    "CREATE INDEX file_used ON file(used);"
    "CREATE TABLE block(file INTEGER NOT NULL, number INTEGER NOT NULL, pages INTEGER NOT NULL,"
    " sum INTEGER NOT NULL, PRIMARY KEY(file, number)) WITHOUT ROWID;"
    "CREATE TABLE pin(path BLOB PRIMARY KEY) WITHOUT ROWID;"
    "CREATE TABLE folder(path BLOB PRIMARY KEY, used INTEGER NOT NULL, entries BLOB NOT NULL);"
    "CREATE INDEX folder_used ON folder(used);"
    "CREATE TABLE note(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;" FORMAT_PRAGMA;

/* ?1 is a path; what lies below it sorts between "path/" and "path0" ('0' follows '/'). */
#define AT_OR_BELOW(column)                                                                        \
	"(" column " = ?1 OR (" column " > CAST(?1 || '/' AS BLOB) AND " column                    \
	" < CAST(?1 || '0' AS BLOB)))"
#define IS_PINNED                                                                                  \
	"EXISTS (SELECT 1 FROM pin WHERE pin.path = file.path OR (file.path > CAST(pin.path || "   \
	"'/' AS BLOB) AND file.path < CAST(pin.path || '0' AS BLOB)))"

static const char *const sql[STATEMENTS] = {
    [FIND_PATH] = "SELECT id, mtime, size, used FROM file WHERE path = ?1",
    [FIND_ID] = "SELECT 1 FROM file WHERE id = ?1",
    [FIND_BLOCKS] = "SELECT number, pages, sum FROM block WHERE file = ?1",
    [FIND_BLOCK] = "SELECT pages FROM block WHERE file = ?1 AND number = ?2",
    [ADD_FILE] = "INSERT INTO file(id, path, mtime, size, bytes, used) VALUES(?1, ?2, ?3, ?4, 0, "
		 "?5)",
    [ADD_BLOCK] = "INSERT OR REPLACE INTO block(file, number, pages, sum) VALUES(?1, ?2, ?3, ?4)",
    [GROW_FILE] = "UPDATE file SET bytes = bytes + ?2 WHERE id = ?1",
    [TOUCH_FILE] = "UPDATE file SET used = ?2 WHERE id = ?1",
    [DROP_FILE] = "DELETE FROM file WHERE id = ?1 RETURNING bytes",
    [DROP_BLOCKS] = "DELETE FROM block WHERE file = ?1",
    [DROP_BLOCK] = "DELETE FROM block WHERE file = ?1 AND number = ?2",
    [AT_PATH] = "SELECT id FROM file WHERE " AT_OR_BELOW("path"),
    [MOVE_PATH] =
	"UPDATE file SET path = CAST(?2 || substr(path, ?3) AS BLOB) WHERE " AT_OR_BELOW("path"),
    [OLDEST] = "SELECT id FROM file WHERE NOT " IS_PINNED " ORDER BY used, id LIMIT ?1",
    [NOTE_NEXT] = "INSERT OR REPLACE INTO meta(key, value) VALUES('next', ?1)",
    [PIN] = "INSERT OR IGNORE INTO pin(path) VALUES(?1)",
    [UNPIN] = "DELETE FROM pin WHERE path = ?1",
    [PINS] = "SELECT path FROM pin",
    [TOTALS] = "SELECT coalesce(sum(bytes), 0), count(*) FROM file",
    [ADD_FOLDER] = "INSERT OR REPLACE INTO folder(path, used, entries) VALUES(?1, ?2, ?3)",
    [FIND_FOLDER] = "SELECT entries FROM folder WHERE path = ?1",
    [DROP_FOLDERS] = "DELETE FROM folder WHERE " AT_OR_BELOW("path"),
    [MOVE_FOLDERS] = "UPDATE OR REPLACE folder SET path = CAST(?2 || substr(path, ?3) AS BLOB)"
		     " WHERE " AT_OR_BELOW("path"),
    [OLD_FOLDERS] = "DELETE FROM folder WHERE rowid IN (SELECT rowid FROM folder ORDER BY used"
		    " LIMIT 200)",
    [FOLDER_BYTES] = "SELECT coalesce(sum(length(entries)), 0) FROM folder",
    [ADD_NOTE] = "INSERT OR REPLACE INTO note(key, value) VALUES(?1, ?2)",
    [FIND_NOTE] = "SELECT value FROM note WHERE key = ?1",
    [NEXT] = "SELECT max(coalesce((SELECT value FROM meta WHERE key = 'next'), 1),"
	     " coalesce((SELECT max(id) + 1 FROM file), 1))",
};

int store_ids_add(struct store_ids *list, uint64_t id)
{
	size_t room = list->room ? list->room * 2 : 16;
	uint64_t *ids;

	if (list->n == list->room) {
		ids = realloc(list->ids, room * sizeof(*ids));
		if (!ids)
			return -ENOMEM;
		list->ids = ids;
		list->room = room;
	}
	list->ids[list->n++] = id;
	return 0;
}

/* --- SQLite ------------------------------------------------------------------ */

static int errno_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR: /* a table is missing */
	case SQLITE_MISMATCH:
	case SQLITE_CONSTRAINT:
		return -EUCLEAN;
	case SQLITE_NOMEM:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

static int failed(struct store_index *index, int code)
{
	int err = errno_of(code);

	if (err && !index->err) {
		index->err = err;
		log_debug("%s: %s", index->path, sqlite3_errmsg(index->db));
	}
	return err;
}

sqlite3_stmt *index_bind(
    struct store_index *index, enum statement which, const char *path, int n, const int64_t *values)
{
	sqlite3_stmt **statement = &index->statements[which];
	int i, at = 1, code = SQLITE_OK;

	if (index->err || !index->db)
		return NULL;
	if (!*statement)
		code = sqlite3_prepare_v3(
		    index->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
	if (!code && path)
		code =
		    sqlite3_bind_blob(*statement, at++, path, (int)strlen(path), SQLITE_TRANSIENT);
	for (i = 0; !code && i < n; i++)
		code = sqlite3_bind_int64(*statement, at++, values[i]);
	if (!code)
		return *statement;
	failed(index, code);
	return NULL;
}

int index_step(struct store_index *index, sqlite3_stmt *statement)
{
	int code = sqlite3_step(statement);

	if (code == SQLITE_ROW)
		return 1;
	sqlite3_reset(statement);
	return code == SQLITE_DONE ? 0 : failed(index, code);
}

int index_run(
    struct store_index *index, enum statement which, const char *path, int n, const int64_t *values)
{
	sqlite3_stmt *statement = index_bind(index, which, path, n, values);

	return statement ? index_step(index, statement) : index->err;
}

/* --- opening --------------------------------------------------------------------- */

static int exec(struct store_index *index, const char *text)
{
	return failed(index, sqlite3_exec(index->db, text, NULL, NULL, NULL));
}

static void disconnect(struct store_index *index)
{
	int i;

	for (i = 0; i < STATEMENTS; i++) {
		sqlite3_finalize(index->statements[i]);
		index->statements[i] = NULL;
	}
	sqlite3_close(index->db);
	index->db = NULL;
	index->open = false;
}

static int connect_to(const char *path, sqlite3 **db)
{
	return sqlite3_open_v2(path, db,
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
		SQLITE_OPEN_PRIVATECACHE,
	    NULL);
}

static int64_t format_of(struct store_index *index)
{
	sqlite3_stmt *statement;
	int64_t format = -1;
	int code = sqlite3_prepare_v2(index->db, "PRAGMA user_version", -1, &statement, NULL);

	if (!code && sqlite3_step(statement) == SQLITE_ROW)
		format = index_column(statement, 0);
	else
		failed(index, code ? code : SQLITE_CORRUPT);
	sqlite3_finalize(statement);
	return format;
}

static int totals(struct store_index *index)
{
	sqlite3_stmt *statement = index_bind(index, TOTALS, NULL, 0, NULL);
	int rc = statement ? index_step(index, statement) : -EIO;

	if (rc == 1) {
		index->bytes = (uint64_t)index_column(statement, 0);
		index->files = (uint64_t)index_column(statement, 1);
		index_step(index, statement);
	}
	statement = rc == 1 ? index_bind(index, FOLDER_BYTES, NULL, 0, NULL) : NULL;
	if (statement && index_step(index, statement) == 1) {
		index->folder_bytes = (uint64_t)index_column(statement, 0);
		index_step(index, statement);
	}
	statement = rc == 1 ? index_bind(index, NEXT, NULL, 0, NULL) : NULL;
	if (statement && index_step(index, statement) == 1) {
		index->next = index->noted_next = (uint64_t)index_column(statement, 0);
		index_step(index, statement);
	}
	return index->err;
}

/* 1: it was made; a negative errno: it is of no use. */
static int attach(struct store_index *index)
{
	int64_t format;
	int fd, made = 0;

	index->err = 0;
	/* SQLite would make it with the umask's mode. */
	fd = open(index->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	if (failed(index, connect_to(index->path, &index->db)))
		return index->err;
	/* Committing does not sync; what that could lose is fetched again. */
	if (exec(index, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
			"PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -4096;"))
		return index->err;
	format = format_of(index);
	if (!index->err && !format) {
		made = 1;
		exec(index, "BEGIN IMMEDIATE");
		exec(index, schema);
		exec(index, "COMMIT");
	} else if (!index->err && format != FORMAT) {
		index->err = -EUCLEAN;
	}
	if (!index->err)
		totals(index);
	return index->err ? index->err : made;
}

static void unlink_all(const char *path)
{
	static const char *const suffixes[] = {"", "-wal", "-shm"};
	char name[PATH_MAX];
	int i;

	for (i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
		unlink(name);
	}
}

int store_index_open(struct store_index **out, const char *path)
{
	struct store_index *index = calloc(1, sizeof(*index));
	int rc;

	*out = NULL;
	if (!index || !(index->path = strdup(path))) {
		free(index);
		return -ENOMEM;
	}
	rc = attach(index);
	if (rc == -EUCLEAN) {
		log_warning("%s is damaged or of another version of vastfs; the disk cache begins "
			    "afresh",
		    path);
		disconnect(index);
		unlink_all(path);
		rc = attach(index);
	}
	if (rc < 0) {
		store_index_close(index);
		return rc;
	}
	*out = index;
	return rc;
}

struct names {
	char **names;
	size_t n;
};

static void collect(void *arg, const char *path)
{
	struct names *list = arg;
	char **names = realloc(list->names, (list->n + 1) * sizeof(*names));

	if (!names)
		return;
	list->names = names;
	names[list->n] = strdup(path);
	list->n += names[list->n] != NULL;
}

int store_index_restart(struct store_index *index)
{
	struct names pins = {NULL, 0};
	uint64_t next = index->next;
	size_t i;
	int rc;

	if (index->db) {
		if (index->open)
			sqlite3_exec(index->db, "ROLLBACK", NULL, NULL, NULL);
		index->err = 0;
		store_index_pins(index, collect, &pins);
	}
	disconnect(index);
	unlink_all(index->path);
	index->bytes = index->files = 0;
	rc = attach(index);
	if (index->next < next)
		index->next = next;
	for (i = 0; i < pins.n; i++) {
		if (rc >= 0)
			store_index_pin(index, pins.names[i]);
		free(pins.names[i]);
	}
	free(pins.names);
	return rc < 0 ? rc : 0;
}

void store_index_close(struct store_index *index)
{
	if (!index)
		return;
	disconnect(index);
	free(index->path);
	free(index);
}

/* --- transactions ---------------------------------------------------------------------- */

int store_index_begin(struct store_index *index)
{
	index->err = 0;
	if (!index->db)
		return -EIO;
	index->open = !exec(index, "BEGIN");
	return index->err;
}

int store_index_commit(struct store_index *index)
{
	int64_t next = (int64_t)index->next;
	int err;

	if (index->next != index->noted_next && !index_run(index, NOTE_NEXT, NULL, 1, &next))
		index->noted_next = index->next;
	if (!index->err)
		exec(index, "COMMIT");
	index->open = false;
	err = index->err;
	if (err && index->db) {
		sqlite3_exec(index->db, "ROLLBACK", NULL, NULL, NULL);
		index->err = 0;
		next = (int64_t)index->next;
		totals(index);
		if ((uint64_t)next > index->next) /* they may have been used on disk */
			index->next = (uint64_t)next;
	}
	return err;
}

int store_index_checkpoint(const char *path)
{
	sqlite3 *db = NULL;
	int code = connect_to(path, &db);

	if (!code)
		code = sqlite3_exec(db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL);
	if (!code)
		code = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	sqlite3_close(db);
	return errno_of(code);
}

uint64_t store_index_bytes(const struct store_index *index)
{
	return index->bytes;
}

uint64_t store_index_files(const struct store_index *index)
{
	return index->files;
}

uint64_t store_index_next_id(const struct store_index *index)
{
	return index->next;
}

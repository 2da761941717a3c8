/*
 * Inside of store_index: the connection and its statements. Used by store_index*.c only.
 */
#ifndef VASTFS_CACHE_STORE_INDEX_IMPL_H
#define VASTFS_CACHE_STORE_INDEX_IMPL_H

#include "cache/store_index.h"
#include <sqlite3.h>

enum statement {
	FIND_PATH,
	FIND_ID,
	FIND_BLOCKS,
	FIND_BLOCK,
	ADD_FILE,
	ADD_BLOCK,
	GROW_FILE,
	TOUCH_FILE,
	DROP_FILE,
	DROP_BLOCKS,
	DROP_BLOCK,
	AT_PATH,
	MOVE_PATH,
	OLDEST,
	NOTE_NEXT,
	PIN,
	UNPIN,
	PINS,
	TOTALS,
	NEXT,
	ADD_FOLDER,
	FIND_FOLDER,
	DROP_FOLDERS,
	MOVE_FOLDERS,
	OLD_FOLDERS,
	FOLDER_BYTES,
	ADD_NOTE,
	FIND_NOTE,
	STATEMENTS
};

struct store_index {
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENTS];
	char *path;
	uint64_t bytes, files, next, noted_next;
	uint64_t folder_bytes; /* about */
	bool open;	       /* a transaction */
	int err;	       /* the first in it: nothing more is done */
};

/* The statement, made at its first use, with n numbers bound behind the path (?1, if given). NULL:
 * index->err says why. */
sqlite3_stmt *index_bind(struct store_index *index, enum statement which, const char *path, int n,
    const int64_t *values);
/* 1: a row; 0: no (more) rows, and the statement is ready for its next use; negative errno. */
int index_step(struct store_index *index, sqlite3_stmt *statement);
/* Runs one that gives no rows. */
int index_run(struct store_index *index, enum statement which, const char *path, int n,
    const int64_t *values);

static inline int64_t index_column(sqlite3_stmt *statement, int i)
{
	return sqlite3_column_int64(statement, i);
}

#endif

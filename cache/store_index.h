/*
 * The index of the disk cache: which blocks of which version of which file are kept, in SQLite.
 *
 *	file   id | path | mtime, size: the version | bytes kept | used: when last, in seconds
 *	block  file, number | pages | sum            one row for each block kept
 *	pin    path                                  never evicted, nor what lies below it
 *	folder path | when | entries                 listings (cache/store_names.h)
 *
 * A path has one version at most; another version is another id, and ids are never used again. So
 * what belongs to an id stays true whatever happens to the path.
 *
 * The file is in WAL mode: it is whole after a kill at any point, and after a power loss too, since
 * checkpoints sync. One that SQLite finds broken, or of another format, is thrown away
 * (store_index_open, store_index_restart): it is only a cache.
 *
 * One caller at a time, of any thread; blocks on local disk. Errors: 0 or a count, or -ENOSPC,
 * -EUCLEAN (broken), -ENOMEM, -EIO.
 */
#ifndef VASTFS_CACHE_STORE_INDEX_H
#define VASTFS_CACHE_STORE_INDEX_H

#include "cache/store_files.h"

struct store_index;

/* Numbers of files, growing as needed. Zeroed to begin with; free ids. */
struct store_ids {
	uint64_t *ids;
	size_t n, room;
};
int store_ids_add(struct store_ids *list, uint64_t id);

/* Opens or makes the index at path. 1: it began afresh, so no block file means anything. */
int store_index_open(struct store_index **out, const char *path);
/* Begins afresh: all is forgotten but the pins (where they can still be read). */
int store_index_restart(struct store_index *index);
void store_index_close(struct store_index *index);

/* What is between them happens together. A commit that fails was a rollback. */
int store_index_begin(struct store_index *index);
int store_index_commit(struct store_index *index);
/* Puts what was committed into the main file. By a connection of its own: any thread, beside all
 * others. */
int store_index_checkpoint(const char *path);

uint64_t store_index_bytes(const struct store_index *index);
uint64_t store_index_files(const struct store_index *index);
/* More than any id ever used. */
uint64_t store_index_next_id(const struct store_index *index);

/* A file's version at a path. */
struct store_version {
	const char *path;
	uint64_t size;
	uint32_t mtime;
};
/* The id of this version, with its blocks (owned by the caller), or 0. What is known of another
 * version is dropped: its id goes to gone. used: now, in seconds. */
int store_index_find(struct store_index *index, const struct store_version *version, int64_t used,
    uint64_t *id, struct store_block **blocks, size_t *n, struct store_ids *gone);
/* Blocks of this version were written; those known before are replaced. Other ids that have the
 * path are dropped and go to gone. */
int store_index_add(struct store_index *index, uint64_t id, const struct store_version *version,
    int64_t used, const struct store_block *blocks, size_t n, struct store_ids *gone);
int store_index_drop(struct store_index *index, uint64_t id);
int store_index_drop_block(struct store_index *index, uint64_t id, uint64_t number);
/* All that is known of the path and of what lies below it. */
int store_index_forget(struct store_index *index, const char *path, struct store_ids *gone);
/* What was known of `to` and below is dropped; what is known of `from` and below moves there. */
int store_index_rename(
    struct store_index *index, const char *from, const char *to, struct store_ids *gone);
/* Drops the least recently used files until at most `bytes` are left; pinned ones stay. */
int store_index_evict(struct store_index *index, uint64_t bytes, struct store_ids *gone);
/* Does a file of this id exist? Negative errno, 0 or 1. */
int store_index_has(struct store_index *index, uint64_t id);

/* Listings. entries is owned by the caller; NULL: there is none. All of them together take at most
 * STORE_FOLDER_BYTES; the oldest go. */
#define STORE_FOLDER_BYTES (256u << 20)
int store_index_save_folder(
    struct store_index *index, const char *path, int64_t used, const void *entries, size_t len);
int store_index_find_folder(
    struct store_index *index, const char *path, uint8_t **entries, size_t *len);

/* Short texts by name. value is owned by the caller; NULL: there is none. */
int store_index_note(struct store_index *index, const char *key, const char *value);
int store_index_find_note(struct store_index *index, const char *key, char **value);

/* Pins. 1: it was (un)pinned, 0: nothing changed. */
int store_index_pin(struct store_index *index, const char *path);
int store_index_unpin(struct store_index *index, const char *path);
int store_index_pins(
    struct store_index *index, void (*each)(void *arg, const char *path), void *arg);

#endif

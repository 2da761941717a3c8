/*
 * The disk cache: what was read of files is kept on local disk, and found again after a remount.
 *
 *	DIR/index       SQLite: versions, their blocks and checksums (store_index.h)
 *	DIR/files/      block files (store_files.h)
 *	DIR/lock        held by the mount that uses it; a second one goes without
 *
 *	content ──> struct store_file ── reads ──> thread pool, or at once from the page cache
 *	              map of blocks   ── batches of blocks to write ──> thread pool
 *	                              ── changes of the index ──> one job after the other ──> SQLite
 *
 * A file is known by its path on the instance and its version, (mtime, size). Who asks for a file
 * must have that version from the instance; who gives blocks must know that they are of no other
 * one (contract R2). Blocks are on disk before the index knows them, and changes of the index are
 * done in the order of the calls, so a kill at any point leaves nothing wrong behind; what else may
 * be found wrong (a power loss, a failing disk) does not pass its checksum.
 *
 * Never in the way: when the disk is full or fails, when the index is damaged, the store steps
 * aside (state, with one line in the log) and its callers see a cache that holds nothing. What
 * can't be written soon enough is skipped.
 *
 * Core only; jobs run on libuv's thread pool. Completions are called once, later.
 */
#ifndef VASTFS_CACHE_STORE_H
#define VASTFS_CACHE_STORE_H

#include "cache/blocks.h"
#include "conf/error.h"
#include <uv.h>

struct store;
struct store_file;

/* The most that is used by default: this, or a tenth of the free space. */
#define STORE_DEFAULT_BYTES (10ull << 30)

struct store_figures {
	uint64_t bytes, limit_bytes, files;
	uint64_t hit_bytes;	    /* read from here instead of from the instance */
	uint64_t miss_bytes;	    /* asked of the instance, for files that could be here */
	uint64_t written_bytes;	    /* kept since the mount */
	uint64_t checksum_failures; /* blocks that were not what was written */
	uint64_t evicted_files;
	const char *state; /* "on", "full", "off" */
	const char *why;   /* for people; "" when on */
};

/* Opens DIR (made 0700). limit_bytes UINT64_MAX: the default. 0, or a negative errno with a line in
 * error: -EBUSY when another mount has it. Blocks on local disk: before the mount. */
int store_open(struct store **out, uv_loop_t *loop, const char *dir, uint64_t limit_bytes,
    struct conf_error *error);
/* Takes no more; what was given is still written while the loop turns (store_busy). */
void store_leave(struct store *store);
bool store_busy(const struct store *store);
/* Not while it is busy; no file may be left. NULL is fine. */
void store_free(struct store *store);
void store_figures(const struct store *store, struct store_figures *out);

/* --- files --- */

/* This version of the file at path, counted. loaded is called once, later, when it is known what is
 * kept of it; unless the last reference was put before. NULL: memory is out or the store is off. */
struct store_file *store_file_new(struct store *store, const char *path, uint32_t mtime,
    uint64_t size, void (*loaded)(void *arg), void *arg);
void store_file_put(struct store_file *file);
/* It is no version of the file any more: nothing of it will be found again. Puts. */
void store_file_drop(struct store_file *file);
/* The pages kept of a block; 0 before loaded. */
uint32_t store_file_pages(const struct store_file *file, uint64_t number);
/* All kept pages of a block into buf (BLOCKS_SIZE bytes) at once: 0, or -EAGAIN when the disk would
 * have to be waited for, or another negative errno: nothing is kept (any more). */
int store_file_read_now(struct store_file *file, uint64_t number, uint8_t *buf);
/* The same later. data: BLOCKS_SIZE bytes, malloc'ed, owned by the callee; NULL on errors. pages:
 * what of it counts. 0: done will be called; or -ENOMEM. */
typedef void store_read_done(void *arg, int err, uint8_t *data, uint32_t pages);
int store_file_read(struct store_file *file, uint64_t number, store_read_done *done, void *arg);
void store_note_miss(struct store *store, uint64_t bytes);

/* --- keeping --- */

/* A batch to be written: up to STORE_BATCH blocks. NULL: as many as may be are under way, or the
 * store takes none now (store_takes says which). */
#define STORE_BATCH 32
struct store_batch *store_batch_new(struct store *store);
bool store_takes(const struct store *store);
/* Copies these pages of a block. 1; 0: not wanted (the file is too large a part of all); -EAGAIN:
 * other pages of it are being written, which would be lost, so give it again when there is room. */
int store_batch_add(struct store_batch *batch, struct store_file *file, uint64_t number,
    uint32_t pages, const uint8_t *block);
bool store_batch_full(const struct store_batch *batch);
/* Sends it on its way; takes it. An empty one is put back. */
void store_batch_send(struct store_batch *batch);
/* room: a batch may be had again. */
void store_on_room(struct store *store, void (*room)(void *arg), void *arg);

/* --- names --- */

/* Something was changed here: what is known of the path and below is of no use. A file that is
 * attached there takes nothing more. */
void store_forget(struct store *store, const char *path);
/* `from` (a file or a folder) is now called `to`; what was there before is forgotten. */
void store_rename(struct store *store, const char *from, const char *to);

/* A listing of a folder, in the form of store_names.h; takes entries (malloc'ed). */
void store_save_folder(struct store *store, const char *path, void *entries, size_t len);
/* The one that was saved last; entries NULL: none. */
typedef void store_folder_done(void *arg, const uint8_t *entries, size_t len);
/* Would that be answered at once, as far as is known? */
bool store_is_calm(const struct store *store);
/* 0: done is called later; -ENOMEM. */
int store_find_folder(struct store *store, const char *path, store_folder_done *done, void *arg);
/* A short text for the next mount; the one that the last mount noted, or NULL. */
void store_note(struct store *store, const char *text);
const char *store_noted(const struct store *store);

/* --- for `vastfs cache` --- */

/* Everything is dropped (pins stay). */
void store_clear(struct store *store, void (*done)(void *arg, int err), void *arg);
/* What lies at the path and below is never evicted (pin), or is again; "" for "/". paths: all that
 * are pinned now, n, borrowed. Once, later. */
enum store_pinning { STORE_PINS, STORE_PIN, STORE_UNPIN };
typedef void store_pins_done(void *arg, int err, char *const *paths, size_t n);
void store_pins(struct store *store, enum store_pinning what, const char *path,
    store_pins_done *done, void *arg);
/* The same as clear, without a mount: of the cache in this folder. Blocks. -EBUSY when a mount has
 * it; -ENOENT when there is none. */
int store_clear_dir(const char *dir, struct conf_error *error);

#endif

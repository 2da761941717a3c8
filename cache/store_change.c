/* Changes of the index that are no file's own: eviction, paths that changed here, clearing. */
#include "cache/store_impl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVICT_TO 95 / 100 /* of the limit, so that it is not done for each block */

/* --- eviction ----------------------------------------------------------------------------- */

struct evict_op {
	struct store_op op;
	uint64_t to;
	size_t n;
};

static void evict_run(struct store_index *index, struct store_op *op)
{
	struct evict_op *evict = (struct evict_op *)op;

	store_index_evict(index, evict->to, &op->gone);
	evict->n = op->gone.n;
}

static void evict_done(struct store_op *op, int err)
{
	struct evict_op *evict = (struct evict_op *)op;

	op->store->evicting = false;
	op->store->figures.evicted_files += evict->n;
	store_op_free(op);
}

void store_evict(struct store *store)
{
	struct evict_op *evict;

	if (store->evicting || store->figures.bytes + store->pending <= store->limit)
		return;
	evict = store_op_new(store, sizeof(*evict), evict_run, evict_done);
	if (!evict)
		return;
	evict->to = store->limit * EVICT_TO;
	store->evicting = true;
	store_op_send(&evict->op);
}

/* --- paths --------------------------------------------------------------------------------- */

struct path_op {
	struct store_op op;
	char *from, *to;
};

static void path_run(struct store_index *index, struct store_op *op)
{
	const struct path_op *path = (struct path_op *)op;

	if (path->to)
		store_index_rename(index, path->from, path->to, &op->gone);
	else
		store_index_forget(index, path->from, &op->gone);
}

static void path_done(struct store_op *op, int err)
{
	struct path_op *path = (struct path_op *)op;

	free(path->from);
	free(path->to);
	store_op_free(op);
}

static void send_path(struct store *store, const char *from, const char *to)
{
	struct path_op *path = store_op_new(store, sizeof(*path), path_run, path_done);

	if (path) {
		path->op.must = true;
		path->from = strdup(from);
		path->to = to ? strdup(to) : NULL;
	}
	if (!path || !path->from || (to && !path->to)) {
		if (path)
			path_done(&path->op, 0);
		store_fail(store, -ENOMEM, "memory is out");
		return;
	}
	store_op_send(&path->op);
}

/* What follows `path` in `name` when that lies at or below it. */
static const char *below(const char *name, const char *path)
{
	size_t len = strlen(path);

	return !strncmp(name, path, len) && (!name[len] || name[len] == '/') ? name + len : NULL;
}

/* A file that is attached there is not what the path leads to any more: what comes of it would pass
 * for another's of the same size and second. (A folder that is removed has none below it.) */
static void end_attached(struct store *store, const char *path)
{
	struct store_file *file;

	LIST_FOREACH (file, &store->by_path[store_bucket(path)], path_link) {
		if (strcmp(file->path, path))
			continue;
		file->over = true;
		store_file_lost(file);
	}
}

void store_forget(struct store *store, const char *path)
{
	if (store->state == STORE_OFF)
		return;
	end_attached(store, path);
	send_path(store, path, NULL);
}

void store_rename(struct store *store, const char *from, const char *to)
{
	struct store_file *file;
	const char *rest;
	char *path;

	if (store->state == STORE_OFF)
		return;
	end_attached(store, to);
	LIST_FOREACH (file, &store->attached, link) {
		if (!(rest = below(file->path, from)) || asprintf(&path, "%s%s", to, rest) < 0)
			continue;
		LIST_REMOVE(file, path_link);
		free(file->path);
		file->path = path;
		store_file_place(file);
	}
	send_path(store, from, to);
}

struct clear_op {
	struct store_op op;
	void (*done)(void *arg, int err);
	void *arg;
	int err;
};

static void clear_index(struct store_index *index, struct store_op *op)
{
	struct clear_op *clear = (struct clear_op *)op;

	clear->err = store_index_forget(index, "", &op->gone);
}

static void cleared(struct store_op *op, int err)
{
	struct clear_op *clear = (struct clear_op *)op;

	clear->done(clear->arg, err ? err : clear->err);
	store_op_free(op);
}

void store_clear(struct store *store, void (*done)(void *arg, int err), void *arg)
{
	struct clear_op *clear = store_op_new(store, sizeof(*clear), clear_index, cleared);

	if (!clear) {
		done(arg, -ENOMEM);
		return;
	}
	clear->op.must = true;
	clear->done = done;
	clear->arg = arg;
	store_op_send(&clear->op);
}

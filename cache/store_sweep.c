/*
 * Block files that no row of the index knows: a daemon was killed between writing them and noting
 * that. They are removed behind a mount's back, one of the 256 folders at a time. Ids that this
 * mount gives out are not looked at, and no other mount has this cache meanwhile.
 */
#include "cache/store_impl.h"
#include "conf/log.h"

struct sweep_op {
	struct store_op op;
	struct store_index *index;
	unsigned folder, removed;
	uint64_t below; /* the first id of this mount */
};

static void look(void *arg, int dir, uint64_t id)
{
	struct sweep_op *sweep = arg;

	if (id < sweep->below && !store_index_has(sweep->index, id) && !store_files_unlink(dir, id))
		sweep->removed++;
}

static void sweep_run(struct store_index *index, struct store_op *op)
{
	struct sweep_op *sweep = (struct sweep_op *)op;

	sweep->index = index;
	/* A folder that can't be read is left to the next mount. */
	(void)store_files_in(op->store->files, sweep->folder, look, sweep);
}

static void sweep_folder(struct store *store, unsigned folder, unsigned removed, uint64_t below);

static void sweep_done(struct store_op *op, int err)
{
	struct sweep_op *sweep = (struct sweep_op *)op;
	struct store *store = op->store;

	if (!err && !store->leaving && sweep->folder < 255)
		sweep_folder(store, sweep->folder + 1, sweep->removed, sweep->below);
	else if (sweep->removed)
		log_verbose(
		    "disk cache %s: %u block files were nobody's", store->dir, sweep->removed);
	store_op_free(op);
}

static void sweep_folder(struct store *store, unsigned folder, unsigned removed, uint64_t below)
{
	struct sweep_op *sweep = store_op_new(store, sizeof(*sweep), sweep_run, sweep_done);

	if (!sweep)
		return;
	sweep->folder = folder;
	sweep->removed = removed;
	sweep->below = below;
	store_op_send(&sweep->op);
}

void store_sweep(struct store *store)
{
	sweep_folder(store, 0, 0, store->next_id);
}

/*
 * What store.c, store_file.c and store_write.c share; nobody else includes it, except unit tests.
 *
 * Changes of the index are struct store_op, done in the order of the calls: one job at a time takes
 * all that wait, does them in one transaction on a thread of the pool, and completes them on the
 * core. Meanwhile the index belongs to that thread.
 */
#ifndef VASTFS_CACHE_STORE_IMPL_H
#define VASTFS_CACHE_STORE_IMPL_H

#include "cache/store.h"
#include "cache/store_index.h"
#include "cache/store_map.h"

#define STORE_BATCHES 2
#define STORE_NOTE "mount"

struct store_op {
	TAILQ_ENTRY(store_op) link;
	struct store *store;
	/* On the thread, within a transaction. Errors count as the index's. */
	void (*run)(struct store_index *index, struct store_op *op);
	/* On the core; owns the op. err: the transaction failed, nothing of it was done. */
	void (*done)(struct store_op *op, int err);
	struct store_ids gone; /* files that are no more: unlinked when it is committed */
	bool must;	       /* the index is wrong when it is not done */
};
TAILQ_HEAD(store_ops, store_op);

enum store_state { STORE_ON, STORE_FULL, STORE_OFF };

/* Attached files by path: each removal and rename looks one up, with thousands attached. */
#define STORE_BUCKETS 512u

struct store {
	uv_loop_t *loop;
	char *dir, *index_path;
	char *note; /* of the last mount, or NULL */
	int files;  /* descriptor of the folder of block files */
	int lock;
	uint64_t limit;
	struct store_index *index;
	uint64_t next_id;
	bool leaving;

	struct store_ops ops, running;
	uv_work_t index_job;
	bool index_busy;
	int index_err;	/* of the job */
	bool restarted; /* by the job: all is forgotten */
	unsigned commits;
	unsigned n_ops; /* waiting */
	unsigned jobs;	/* on the thread pool, index_job too */

	LIST_HEAD(, store_file) attached;
	LIST_HEAD(, store_file) by_path[STORE_BUCKETS]; /* the same */
	TAILQ_HEAD(, store_file) open;			/* with a descriptor, the coldest first */
	unsigned n_open;

	struct store_batch *spare[STORE_BATCHES];
	struct store_batch *sent[STORE_BATCHES]; /* being written, in any slot */
	unsigned batches;			 /* that are no spare ones */
	void (*room)(void *arg);
	void *room_arg;
	bool evicting;

	enum store_state state;
	char why[160];
	uint64_t full_until; /* uv_now */
	uint64_t pending;    /* bytes written and not yet in the index */
	struct store_figures figures;
};

struct store_file {
	LIST_ENTRY(store_file) link, path_link;
	TAILQ_ENTRY(store_file) open_link;
	struct store *store;
	unsigned refs;
	uint64_t id; /* 0: none yet */
	uint64_t size;
	uint32_t mtime;
	int fd;		    /* for reading, or -1 */
	uint64_t fd_id;	    /* the id that it is of */
	unsigned reading;   /* jobs that use fd */
	bool loading, over; /* over: dropped */
	struct store_map map;
	void (*loaded)(void *arg);
	void *arg;
	char *path;
};

/* --- store.c --- */
/* Zeroed but for what is set here; size of the whole op. NULL: memory is out. */
void *store_op_new(struct store *store, size_t size,
    void (*run)(struct store_index *index, struct store_op *op),
    void (*done)(struct store_op *op, int err));
void store_op_send(struct store_op *op);
void store_op_free(struct store_op *op);
/* A job on the thread pool, counted. -ENOMEM or so: work was not queued. */
int store_job(struct store *store, uv_work_t *work, uv_work_cb run, uv_after_work_cb done);
void store_job_done(struct store *store);
/* Steps aside: for a while (full), or for good. */
void store_fail(struct store *store, int err, const char *what);
void store_unlink(struct store *store, uint64_t id);
/* For qsort and bsearch. */
int store_ids_order(const void *a, const void *b);

/* --- store_file.c --- */
/* Into the bucket of its path; before the path changes it is taken out of it. */
void store_file_place(struct store_file *file);
unsigned store_bucket(const char *path);

/* --- store_change.c --- */
/* Brings what is used below the limit. */
void store_evict(struct store *store);

/* --- store_sweep.c --- */
/* Removes block files that the index does not know, bit by bit. */
void store_sweep(struct store *store);

/* --- store_file.c --- */
/* What was kept of it is gone; it may be kept anew. */
void store_file_lost(struct store_file *file);
struct store_file *store_file_get(struct store_file *file);

/* --- store_write.c --- */
void store_batches_free(struct store *store);

#endif

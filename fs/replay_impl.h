/* What replay.c (order), replay_names.c and replay_link.c (changes of names), replay_ours.c (is it
 * still ours), replay_file.c (where does it go) and replay_data.c (contents) share. */
#ifndef VASTFS_FS_REPLAY_IMPL_H
#define VASTFS_FS_REPLAY_IMPL_H

#include "fs/replay.h"
#include "transport/rfile.h"
#include <limits.h>

/* One change. It ends with exactly one replay_job_end. */
struct job {
	TAILQ_ENTRY(job) link; /* in the replay's, in order */
	struct replay *replay;
	struct spool_buf buf;
	struct spool_record record;
	struct target *target; /* contents: where it goes; counted */
	bool started;
	struct job *blocker;		      /* the first before it that is in its way, or NULL */
	uint32_t at;			      /* data: written so far; create: tries */
	void (*go)(struct job *job, int err); /* when target->file is open */
	unsigned flying;		      /* data: WRITEs under way */
	struct sftp_attr old;		      /* rename: what its old name leads to */
	int err;
};

/* A file that is written to: the one that the program meant, or the one beside it. */
TAILQ_HEAD(waits, wait);

#define TARGET_BUCKETS 4096u
struct target {
	TAILQ_ENTRY(target) link;
	LIST_ENTRY(target) bucket;
	struct replay *replay;
	char *path;  /* as the records name it; owned */
	char *place; /* where it goes; owned */
	enum { TARGET_NEW, TARGET_LOOKING, TARGET_READY, TARGET_GONE } state;
	int err; /* once one change of it could not be done */
	bool conflict;
	uint64_t checked;   /* its SPOOL_CHECKED record, or 0 */
	struct rfile *file; /* open for writing, or NULL */
	bool opening;
	unsigned users;
	struct waits waits;
	struct sftp_attr there;
	bool mode_lent;
	/* appends: what the instance has behind where the first of them began */
	uint8_t *tail;
	uint64_t tail_from;
	size_t tail_len, tail_at;
	bool tail_known;
};

struct wait {
	TAILQ_ENTRY(wait) link;
	void (*go)(struct job *job, int err);
	struct job *job;
};

/* Changes that others have to know of: renames, removals, times that may have been set, notes of an
 * earlier replay. */
struct note {
	uint64_t sequence;
	enum spool_type type;
	uint32_t mtime;
	int64_t alive;
	char *path, *to;
};

/* A path that a change could not be done for: what follows on it fails as well. */
struct broken {
	char *path;
	int err;
	bool stays; /* what fails as well is only what would take the path away */
};

struct replay {
	struct fs *fs;
	uint64_t next, to; /* sequences */
	uint64_t *chosen;  /* only these; owned; or NULL: all */
	size_t n_chosen;
	TAILQ_HEAD(, job) jobs;
	unsigned n_jobs;
	uint64_t job_bytes;
	TAILQ_HEAD(, target) targets;
	LIST_HEAD(, target) buckets[TARGET_BUCKETS];
	struct note *notes;
	size_t n_notes, notes_room;
	struct broken *broken;
	size_t n_broken, broken_room;
	struct replay_figures figures;
	int err; /* the link was lost: nothing more is begun */
	bool ended;
	int64_t clock_ahead; /* the server's, in seconds */
	bool clock_known;
	uv_idle_t idle;
	void (*finished)(void *arg, int err, const struct replay_figures *figures);
	void *arg;
};

/* --- replay.c --- */
/* 0: done. Calls nothing that calls back. */
void replay_job_end(struct job *job, int err);
bool replay_below(const char *path, const char *folder); /* it, or what is in it */
/* Somebody has changed it there: the log, the status. */
void replay_conflict(struct replay *replay, const char *path, const char *place);
/* path.vastfs-conflict-DATE; owned by the caller. n: to tell several of a second apart. */
char *replay_conflict_path(const char *path, unsigned n);

/* --- replay_names.c --- */
void replay_name(struct job *job);

/* --- replay_link.c --- */
void replay_link(struct job *job);
/* Where the file is that the change of names is about: perhaps beside its name. */
const char *replay_from(const struct job *job);

/* --- replay_file.c --- */
struct target *target_find(struct replay *replay, const char *path);
struct target *target_of(struct replay *replay, const char *path);
void target_free(struct target *target);
/* A rename or removal of a path was done: what is known of files follows. */
void targets_renamed(struct replay *replay, const char *path, const char *to);
void targets_removed(struct replay *replay, const char *path);
/* go(job, err) when the file may be changed at job->target->place; -ENOENT when its change is not
 * wanted any more. */
void target_ready(struct job *job, void (*go)(struct job *job, int err));
/* The same, and target->file is open for writing. */
void target_open(struct job *job, void (*go)(struct job *job, int err));
/* It was made by this replay at place (taken), and is open as file (taken; or NULL). */
void target_made(struct target *target, char *place, struct rfile *file);
void target_put(struct target *target);

/* --- replay_ours.c --- */
/* May these attributes be those that our own changes left? base: of the record. */
bool replay_is_ours(
    const struct replay *replay, const struct spool_record *record, const struct sftp_attr *attr);
/* The same of a new file that may have been made. */
bool replay_is_our_new(
    const struct replay *replay, const struct spool_record *record, const struct sftp_attr *attr);
/* Finds out how far the server's clock is ahead, in the folder of path; then go. */
void replay_clock(struct job *job, const char *path, void (*go)(struct job *job, int err));

/* --- replay_conflict.c --- */
/* Makes the file beside, with what is there if the change was made upon that; there: it exists. */
void conflict_make(struct job *job, bool there, void (*go)(struct job *job, int err));
/* The folder that it lies in got another name. */
void conflict_moved(struct target *target, const char *path, const char *to);

/* --- replay_data.c --- */
void replay_data(struct job *job);

#endif

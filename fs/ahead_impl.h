/* What the ahead*.c files share; nobody else includes this. */
#ifndef VASTFS_FS_AHEAD_IMPL_H
#define VASTFS_FS_AHEAD_IMPL_H

#include "fs/ahead.h"

#define AHEAD_STREAMS 32 /* data loaders have many workers */
#define AHEAD_DEPTH 32
#define AHEAD_UNDERWAY_MAX 1024u

/* --- ahead_order.c --- */

/* The orders that programs have been seen to go through a folder in. The names of a folder are
 * given to them by inode number (dir_ops.c), so "as listed" and "sorted by inode number", which cp
 * and tar do, are one. */
#define AHEAD_BY_NAME 1u
#define AHEAD_BY_NUMBER 2u   /* img9 before img10, as who counts does */
#define AHEAD_FILES_FIRST 3u /* added: folders after all files, as os.walk and rsync do */
#define AHEAD_ORDERS 6u

/* A folder that a place leads through, with what was in it when it was reached. */
struct ahead_level {
	struct inode *folder;	/* pinned, as are the entries: folders and small files */
	struct inode **entries; /* in order */
	size_t n, next;
	size_t names;	/* the folder had then, known ones */
	bool complete;	/* and these were all */
	uint64_t bytes; /* of the files */
};

/* A place in the tree. The last level is the one in which the next file lies. */
struct ahead_place {
	struct ahead_level levels[AHEAD_DEPTH];
	unsigned depth, order;
	struct inode *tried; /* a folder whose listing is waited for; only compared */
	bool within;	     /* never goes on above the folder that it was set to */
};

void ahead_place_clear(struct fs *fs, struct ahead_place *place);
/* The place is in this folder alone, behind inode if that is in it. False: memory is out. */
bool ahead_place_set(
    struct fs *fs, struct ahead_place *place, struct inode *folder, const struct inode *inode);
/* The level of the folder, or -1. */
int ahead_place_find(const struct ahead_place *place, const struct inode *folder);
/* Leaves the levels below this one; it goes on behind entry `at`. */
void ahead_place_back(struct fs *fs, struct ahead_place *place, int level, size_t at);
/* Where the level has the inode; n when it has not. */
size_t ahead_level_index(const struct ahead_level *level, const struct inode *inode);
/* Has the folder been listed since the level was made, or are many more of its names known? */
bool ahead_level_is_old(const struct ahead_level *level);
/* How many entries the folder has between two files in an order, or that there are most or more;
 * SIZE_MAX when `from` is not before `to`. */
size_t ahead_between(const struct inode *folder, const struct inode *from, const struct inode *to,
    unsigned order, size_t most);
/* The next file, or NULL: there is none, or a folder has to be listed first. listings: how many
 * folders may be listed together; 0: only this folder's files are meant, not those of folders
 * inside and behind it. */
struct inode *ahead_place_next(struct fs *fs, struct ahead_place *place, unsigned listings);

/* --- ahead_fetch.c --- */

struct ahead_fetch;
/* May it be fetched, and later be trusted? */
bool ahead_may_fetch(struct fs *fs, const struct inode *inode);
/* Fetches it, or if all of it is here checks it. False: it could not be started. */
bool ahead_fetch(struct fs *fs, struct inode *inode);
/* The number of its start, counted up; 0 when it is not under way. */
uint64_t ahead_fetch_serial(const struct inode *inode);

/* One program, or several that share the work. */
struct ahead_stream {
	uint32_t mark;	    /* inode->ahead of what it fetched and nobody opened yet */
	pid_t pid;	    /* who opened last */
	uint64_t used_ms;   /* when; 0: the stream is free */
	struct inode *last; /* what; pinned */
	uint64_t last_size;
	struct ahead_place place;
	unsigned window, waiting; /* files it may have fetched and not yet seen opened, and has */
	uint64_t waiting_bytes;
	uint64_t grown;	    /* fetches older than this do not make the window grow again */
	unsigned used;	    /* guesses that were right since the place was set */
	unsigned astray;    /* opens that were in no order, since the last order */
	unsigned ordered;   /* opens in a row that were in one */
	unsigned bad;	    /* places in a row that came to nothing */
	unsigned here;	    /* files opened in the folder of the last one */
	unsigned swept;	    /* folders in a row of which most files were opened */
	uint64_t listed_ms; /* when the folder was last listed for the checks */
};

/* Files that were written here, in the order of writing. */
struct ahead_own {
	TAILQ_HEAD(, openfile) files;
	struct openfile *next; /* to be checked; NULL: the first */
	unsigned n, misses;
	uint64_t missed_ms, active_ms; /* since when misses counts; when they were last read back */
};

/* --- ahead_scatter.c --- */

/* What was fetched for programs that open files here and there. */
struct ahead_scatter {
	uint32_t mark;	  /* inode->ahead of it, until it is opened; 0: nothing was */
	unsigned strays;  /* opens that had nothing to do with those before */
	unsigned waiting; /* fetched and not opened */
	uint64_t bytes;
	uint64_t used_ms;
};

/* A file was opened in a folder in which none of the streams is. */
void ahead_scattered(struct fs *fs, struct inode *folder, struct inode *inode);
/* A file is opened: was it fetched here? */
bool ahead_scatter_opened(struct fs *fs, struct inode *inode);

/* --- ahead_shelf.c --- */

#define AHEAD_SHELVES 8

struct ahead_shelf {
	struct inode *above; /* pinned; NULL: free */
	uint32_t mark; /* inode->ahead of what was fetched, until it is opened; 0: nothing was */
	uint64_t used_ms;
	unsigned strays, used;	      /* opens that had to wait, and that had not */
	unsigned waiting;	      /* fetched and not opened */
	uint64_t opened_bytes, bytes; /* of both */
	struct ahead_place place;
};

/* A file was opened in a folder in which none of the streams is. True: there is no better guess
 * than what is fetched from the folders around it. */
bool ahead_shelf_stray(struct fs *fs, struct inode *folder, struct inode *inode);
/* A file is opened: was it fetched here? */
bool ahead_shelf_opened(struct fs *fs, struct inode *inode);
/* Those that have not been used for a while, or all. */
void ahead_shelves_clear(struct fs *fs, bool all);

/* --- ahead_own.c --- */

/* A program opens one of them; found: without asking. */
void ahead_own_opened(struct fs *fs, struct openfile *open, bool found);

struct ahead {
	struct fs *fs;
	struct ahead_own own;
	struct ahead_stream streams[AHEAD_STREAMS];
	struct ahead_scatter scatter;
	struct ahead_shelf shelves[AHEAD_SHELVES];
	uint32_t marks;
	unsigned underway;
	uint64_t serial; /* of the last fetch */
	struct ahead_figures figures;
};

/* --- ahead.c --- */

/* One that no inode has. */
uint32_t ahead_new_mark(struct ahead *ahead);

#endif

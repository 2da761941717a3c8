/*
 * The outbox: the changes that programs were told are done and that the instance has not
 * acknowledged yet, in the order of acceptance (contract W2, W3).
 *
 *	outbox_add ──> waiting ──nothing in its way──> sent ──answer──> ended (sink->ended)
 *	                  ^                              |
 *	                  +--------- -ENOTCONN ----------+  looked up before it is repeated
 *
 * What must not overtake what. The sink sends changes on one channel that the server serves in
 * turn, so some need only be sent behind others; some wait for the answer, because they would do
 * another thing if the earlier one failed:
 *
 *	                 later:   the same  beneath  a folder above
 *	earlier:                  name      it       rmdir, setattr  rename
 *	rename (either name)      answered  answered sent            answered
 *	link (either name)        answered  sent     sent            answered
 *	file (data)               answered  -        -               answered
 *	all others                answered  sent     sent            answered
 *
 * (What is sent of one file waits too: times that were set must not come behind data that was
 * written since, through another handle perhaps.)
 * A folder is renamed when all that was done beneath it, data too, is answered.
 * What gives a lock back (after_all) waits for the answers of all that was accepted before.
 *
 * After a lost link it is not known which of those that were sent are done. Until that is found out
 * "sent" counts for nothing: each waits for the answers of all that it depends on.
 *
 * A change that fails takes with it those that wait for it by its name or beneath it (but an
 * attribute that could not be set takes nothing with it, and a link that could not be made, of what
 * is done to the file by its old name, only what takes that away).
 *
 * Core only; no I/O, no knowledge of inodes: paths are strings, absolute on the instance, as they
 * will be there when all earlier changes are done. Changes are embedded in their owner's structs;
 * the owner gets each back by exactly one call of ended, never from inside outbox_add. Errors:
 * negative errnos.
 */
#ifndef VASTFS_CACHE_OUTBOX_H
#define VASTFS_CACHE_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum outbox_kind {
	OUTBOX_MKDIR,
	OUTBOX_RMDIR,
	OUTBOX_UNLINK,
	OUTBOX_SYMLINK,
	OUTBOX_CREATE,	 /* opens the file, which is busy until it is answered */
	OUTBOX_OPEN,	 /* opens one that is there, and changes nothing */
	OUTBOX_FILE,	 /* the data written so far, and attributes set meanwhile */
	OUTBOX_SETATTR,	 /* by path */
	OUTBOX_TRUNCATE, /* by path */
	OUTBOX_RENAME,
	OUTBOX_LINK, /* path: the file; to: its new name */
	/* Those below are not changes: they wait (outbox_wait). */
	OUTBOX_READ,	/* the instance is to be asked about the path */
	OUTBOX_ALONE,	/* a change that is not in the outbox: path, and to (or NULL) */
	OUTBOX_BENEATH, /* the same of a folder: what is beneath path (and to) as well */
	OUTBOX_ALL,	/* everything accepted before */
	OUTBOX_BEHIND,	/* as OUTBOX_ALONE, for outbox_may_follow */
};

struct outbox;
struct outbox_node;
struct outbox_item;
TAILQ_HEAD(outbox_items, outbox_item);

struct outbox_touch {
	TAILQ_ENTRY(outbox_touch) link; /* of its node, by sequence */
	struct outbox_item *item;
	struct outbox_node *node; /* NULL: none */
};

/* A change, or one that waits. */
struct outbox_item {
	TAILQ_ENTRY(outbox_item) link; /* of the outbox, by sequence; not those that wait */
	TAILQ_ENTRY(outbox_item) next; /* of its blocker's waiters, or of those ready */
	struct outbox_items waiters;   /* whose blocker this is */
	struct outbox_item *blocker;
	enum outbox_kind kind;
	enum { OUTBOX_WAITING, OUTBOX_READY, OUTBOX_SENT } state;
	bool doubt; /* was sent over a link that was lost */
	/* Given by the caller of outbox_add: all earlier changes are to be answered before it. */
	bool after_all;
	bool moves_folder; /* the same: OUTBOX_RENAME of one */
	bool distinct;	   /* the same: of a file with something in it */
	uint64_t sequence, accepted_ms;
	char *path, *to; /* to: NULL but for OUTBOX_RENAME, OUTBOX_LINK, those that wait */
	struct outbox_touch touches[2];
	/* Those that wait. */
	void (*done)(void *arg, int err);
	void *arg;
};

struct outbox_sink {
	/* Sends the change; outbox_answered comes later, not from inside. */
	void (*send)(void *arg, struct outbox_item *item);
	/* It is done (0) or has failed. The owner frees path and to, and the item as he likes; he
	 * may add further changes. */
	void (*ended)(void *arg, struct outbox_item *item, int err);
	/* A link was lost: outbox_up is to be called, later, when there is one. */
	void (*want_link)(void *arg);
};

struct outbox *outbox_new(const struct outbox_sink *sink, void *arg);
/* Ends what is still in it with -ENOTCONN. */
void outbox_free(struct outbox *outbox);

/* Takes a change; item is zeroed by the caller but for what is his. path and to are copied. 0, or
 * -ENOMEM. */
int outbox_add(struct outbox *outbox, struct outbox_item *item, enum outbox_kind kind,
    const char *path, const char *to, uint64_t now_ms);
/* The answer to one that was sent: 0, -ENOTCONN (the link was lost: sent again) or why not. */
void outbox_answered(struct outbox *outbox, struct outbox_item *item, int err);
void outbox_up(struct outbox *outbox);

/*
 * Waits until nothing in the outbox stands in the way of kind (OUTBOX_READ…). 1: nothing does; 0:
 * done(arg, 0) is called when that is so (-ENOTCONN: by outbox_free); -ENOMEM. Later changes may be
 * in the way then: the caller asks again. path NULL for OUTBOX_ALL.
 */
int outbox_wait(struct outbox *outbox, enum outbox_kind kind, const char *path, const char *to,
    void (*done)(void *arg, int err), void *arg);

/*
 * May a new, empty file be made under that name behind what stands in its way, on the channel that
 * the outbox is sent through? That is all sent: the folders above were made, or a rename took the
 * name away, of a file with something in it: when the link is lost, the new file is not taken for
 * that one. False also when nothing stands in its way.
 */
bool outbox_may_follow(const struct outbox *outbox, const char *path);

/* Changes that are not acknowledged, and for how long the oldest has not been. */
size_t outbox_count(const struct outbox *outbox);
/* Each of them, the oldest first. */
void outbox_each(const struct outbox *outbox,
    void (*each)(void *arg, const struct outbox_item *item), void *arg);
uint64_t outbox_age_ms(const struct outbox *outbox, uint64_t now_ms);
/* How many round trips the changes take that wait for each other's answers: of the longest such
 * row, as far as is known. */
unsigned outbox_depth(const struct outbox *outbox);
/* Where the instance has what programs know as path, as far as it has acknowledged renames: into
 * buf. False when that does not fit. of: path is from when that item was added; renames after it
 * speak of another file of that name. NULL: it is today's. */
bool outbox_path_there(const struct outbox *outbox, const char *path, const struct outbox_item *of,
    char *buf, size_t size);

#endif

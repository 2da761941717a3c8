/*
 * Names and inodes: what is known of the tree on the instance.
 *
 * An inode is a file as programs here know it (number, attributes); a dentry is a name in a folder
 * that leads to an inode, or is known to lead nowhere (negative). The instance tells no inode
 * numbers, so an inode is born with its first name, gets a number that is a hash of its path (so it
 * is the same after a remount), and keeps it through renames and further links made here.
 *
 *	folder inode ── children ──> dentry "a" ──> inode      one dentry for each name
 *	                             dentry "b" ──> inode <── dentry "c" (link(2) made here)
 *	                             dentry "x" ──> NULL       known not to exist
 *
 * Reports of the instance race with changes made here. Every request takes a tick when it is sent,
 * every local change takes one when it is done; a report is put aside where a change with a later
 * tick has happened since. A change that was answered before the instance knows of it (the outbox)
 * is pending: until it has settled no report touches its names and inodes.
 *
 * Core only; no I/O. Owns inodes and dentries. An inode lives while the kernel knows it (lookups),
 * something pins it, or a name leads to it; beyond max_names the least recently used ones that
 * nobody holds are forgotten, and the kernel is asked to forget files that it alone holds.
 */
#ifndef VASTFS_CACHE_NAMES_H
#define VASTFS_CACHE_NAMES_H

#include "cache/attr.h"
#include <stddef.h>
#include <sys/queue.h>

struct dentry;
struct names_order;
TAILQ_HEAD(dentry_queue, dentry);
LIST_HEAD(dentry_list, dentry);

/* What only folders have. */
struct folder {
	struct dentry_queue children; /* in the order of the listing */
	TAILQ_ENTRY(folder) walk;     /* fs/walk.c: waiting to be listed ahead */
	struct inode *inode;
	uint32_t n_children; /* dentries, negative ones too */
	uint32_t n_folders;  /* those that lead to folders */
	uint32_t generation; /* of the last listing */
	uint64_t listed_ms;  /* when the last complete listing was asked for; 0: never */
	uint64_t misses_ms;  /* when the present burst of look-ups began */
	uint32_t misses;     /* look-ups in it that had to ask the instance */
	uint64_t opened_ms;  /* when a program last opened it; 0: never */
	uint64_t locked_ms;  /* fs/openfile_trust.c: when one last took a lock in it */
	uint64_t lost_tick;  /* the latest local change of a name that was forgotten */
	uint64_t names_tick; /* the latest local change of any name in it */
	uint64_t before_ms;  /* the folder's checked_ms before that */
	uint32_t disk;	     /* those that have the same, not 0, are of one file system there */
	uint32_t changing;   /* pending changes of names in it */
	uint32_t flying;     /* changes of names in it that the instance may have, or not */
	uint64_t saved;	     /* fs/disk.c: which listing the disk cache has */
	uint64_t unsaved_ms; /* fs/disk_listings.c: the last change, while it is unsaved */
	uint64_t held_ms;    /* fs/held.c: when the kernel was last given names of it */
	uint32_t held_read;  /* and how many of the files in it it has read since */
	bool complete;	     /* children holds every name */
	bool ours;	     /* made here, and nobody else was seen to make names in it */
	bool lossy;	     /* names were forgotten since the listing began */
	bool queued;	     /* stands in the walk's queue */
	bool ahead;	     /* listed ahead and not yet looked at */
	bool refused;	     /* the last listing was refused: names in it can still be looked up */
	bool order_old;	     /* names came since it was sorted */
	bool held;	     /* fs/held.c: the kernel may keep its listing */
	bool held_old;	     /* and what it keeps may be wrong */
	bool held_reads;     /* it was told to read the folder again, as it reads the files */
	uint8_t held_in;
	bool unsaved;
	bool removed; /* here: its last name was taken away, or given to another one */
	TAILQ_ENTRY(folder) holding;
	TAILQ_ENTRY(folder) unsaved_link;
	struct names_order *order; /* cache/names_order.h, or NULL */
	void *listing;		   /* the listing under way (fs/listing.c), or NULL */
	void *watch;		   /* fs/watched.c, or NULL */
};

struct inode {
	TAILQ_ENTRY(inode) lru;
	struct inode *hash_next;
	struct dentry_list names;
	uint64_t ino;
	struct attr attr;
	uint64_t
	    checked_ms; /* loop time at which the attributes held for sure; 0: not to be believed */
	uint64_t doubted_ms; /* fs/watched.c: when a change was told that could not be taken over */
	uint64_t version_ms; /* loop time since which this version (mtime, size) has been seen */
	uint64_t version_tick; /* when the instance last told of another version */
	uint64_t changed_tick; /* last local change */
	uint64_t lookups;      /* the kernel's references */
	uint32_t pins;	       /* ours: open handles, requests under way */
	uint32_t ahead;	       /* fs/ahead.c: for whom it was fetched ahead; 0: for nobody */
	uint32_t pending;      /* changes of it that the instance does not have yet */
	uint32_t flying;       /* that it was asked for, and may have, or not */
	uint32_t asked_ms;     /* fs/refresh.c: asked for behind a caller, low bits of loop time */
	uint32_t kept_version; /* fs/pinned.c: what was seen to be in the disk cache whole */
	struct folder *folder; /* NULL for all but folders */
	void *open;	       /* fs/openfile.c: content and handles, or NULL */
};

struct dentry {
	TAILQ_ENTRY(dentry) sibling; /* in the folder's children */
	LIST_ENTRY(dentry) same;     /* in the inode's names */
	struct dentry *hash_next;
	struct inode *parent;
	struct inode *inode; /* NULL: negative */
	uint64_t tick;	     /* local change that made it, 0: a report did */
	uint64_t checked_ms; /* when it was last asked for by this name, if it was */
	uint32_t hash;
	uint32_t generation; /* the listing that last had it */
	uint16_t pending;    /* changes of the name that the instance does not have yet */
	uint16_t flying;     /* that it was asked for, and may have, or not */
	char name[];
};

struct names;

/* Told when the instance is found to have changed behind us, so that the kernel and the content
 * cache can be told. */
struct names_events {
	/* Another version of a file is reported. Does somebody have it open who must not be given
	 * that? Then the names lead to another file, as if it had been replaced. May be NULL. */
	bool (*stays_old)(void *arg, struct inode *inode, const struct attr_report *report);
	void (*version_changed)(void *arg, struct inode *inode);
	void (*name_gone)(void *arg, struct inode *parent, const char *name, struct inode *inode);
	/* A name came or went, or leads to another inode, in a folder that is `held` or complete.
	 * May be NULL. */
	void (*listing_changed)(void *arg, struct inode *folder);
	/* A change made here, before names follows it: something new gets the name; the name goes
	 * away, or gets another place. May be NULL. */
	void (*made)(void *arg, struct inode *parent, const char *name);
	void (*removed)(void *arg, struct inode *parent, const char *name);
	void (*renamed)(void *arg, struct inode *parent, const char *name, struct inode *to_parent,
	    const char *to_name);
	/* Too many names are known, and this one of a file is held by the kernel alone, which can
	 * be asked to forget it. May be NULL. */
	void (*crowded)(void *arg, const struct inode *parent, const char *name);
	void (*freed)(
	    void *arg, struct inode *inode); /* release inode->open, leave the walk's queue */
};

/* root_path: absolute, no trailing slash but for "/". max_names: see above. NULL when memory is
 * out. */
struct names *names_new(const char *root_path, const struct attr_report *root, uint64_t max_names,
    const struct names_events *events, void *arg);
void names_free(struct names *names);
struct inode *names_root(struct names *names);
uint64_t names_count(const struct names *names);

/* A new tick: at sending, and at each local change. */
uint64_t names_tick(struct names *names);
/* Was a folder renamed here since the tick? What was asked by path then may be told of another
 * file. */
bool names_moved_since(const struct names *names, uint64_t tick);

struct dentry *names_find(struct names *names, struct inode *folder, const char *name);
/*
 * Requests go over several channels, to several server processes: two that are under way together
 * are answered in any order, and what was said first may come last. Does the report tell of another
 * version than one that was under way together with it? Then nobody knows which is the later one,
 * and the instance is to be asked again.
 */
bool names_crossed(const struct inode *inode, const struct attr_report *report, uint64_t sent_tick);
/* A name that the instance reported at sent_tick (loop time sent_ms). Finds or makes dentry and
 * inode, updates the attributes unless they changed here since, or the report has crossed another;
 * a file of another type under the name is another inode. NULL: memory is out, or the name was
 * removed here since. */
struct inode *names_report(struct names *names, struct inode *folder, const char *name,
    const struct attr_report *report, uint64_t sent_tick, uint64_t sent_ms);
/* The same for an inode known otherwise (an open file); one that has crossed another is taken over,
 * and not believed for long. */
void names_report_inode(struct names *names, struct inode *inode, const struct attr_report *report,
    uint64_t sent_tick, uint64_t sent_ms);
/* An inode with several names (links made here): each may come to lead to another file there, and
 * SFTP tells nobody which. So what is known by one name counts for little by another; the path that
 * is used is that of the name last asked for. */
bool names_shared(const struct inode *inode);
/* The instance has just said (sent_ms) that the name leads to what is known. names_report does it.
 */
void names_seen_by(struct dentry *dentry, uint64_t sent_ms);
/* Is what the instance says of the name (positive) about another file? names_report then gives it
 * an inode of its own. */
bool names_leads_elsewhere(
    const struct dentry *dentry, const struct attr_report *report, uint64_t sent_tick);
/* The instance said at sent_tick that there is no such name. */
void names_report_missing(struct names *names, struct inode *folder, const char *name,
    uint64_t sent_tick, uint64_t sent_ms);

/* Its names lead to another file on the instance now: forgets them, so that they are asked for
 * again; the inode is what somebody here still has open. */
void names_replaced(struct names *names, struct inode *inode);

/* A complete listing: begin, names_report for each entry, end. What was not reported is gone, but
 * for names made here, or asked for by themselves, since. */
void names_listing_begin(struct names *names, struct inode *folder);
void names_listing_end(
    struct names *names, struct inode *folder, uint64_t sent_tick, uint64_t sent_ms);

/* Instead of names_listing_end: what was reported (with sent_ms 0) is what the folder once held. It
 * counts as complete where there is no link, and as old. */
void names_listing_was(struct inode *folder);

/* Local changes, after the instance confirmed them. */
struct inode *names_created(struct names *names, struct inode *folder, const char *name,
    const struct attr_report *report, uint64_t now_ms);
void names_linked(struct names *names, struct inode *inode, struct inode *folder, const char *name);
/* Would a link from one folder to the other stay on one file system, as far as is known? (It is of
 * folders made here, and of those between which a link was made.) */
bool names_on_same_disk(const struct inode *folder, const struct inode *other);
void names_removed(struct names *names, struct inode *folder, const char *name, uint64_t now_ms);
void names_renamed(struct names *names, struct inode *folder, const char *name,
    struct inode *to_folder, const char *to_name, uint64_t now_ms);
/* Attributes were changed here: marks the tick; the caller changes inode->attr. */
void names_changed(struct names *names, struct inode *inode);

/* The same before the instance knows of it: after the call above, the name (and the inode it leads
 * or led to, or NULL) is pending; folder and inode must stay pinned until it has settled. What is
 * known of the folder stays as good as it was: its times are those of the change. */
void names_pend(struct names *names, struct inode *folder, const char *name, struct inode *inode);
/* The instance has it (or never will): what it says from now on counts again. */
void names_settle(struct names *names, struct inode *folder, const char *name, struct inode *inode);
/* The same for attributes alone. */
void names_pend_inode(struct inode *inode);
void names_settle_inode(struct names *names, struct inode *inode);
/* A change was sent to the instance whose answer the caller waits for: until it has landed, what
 * the instance says of the name may be from before it or from after it, and does not count. The
 * inode is the one that the name leads to, or NULL, and is pinned; it is returned, for names_land.
 */
struct inode *names_fly(struct names *names, struct inode *folder, const char *name);
void names_land(struct names *names, struct inode *folder, const char *name, struct inode *inode);
/* The same for attributes alone. */
void names_fly_inode(struct inode *inode);
void names_land_inode(struct names *names, struct inode *inode);
/* What st_nlink says of it: the count last told, less and more what was done here since; of a
 * folder whose names are all known, what that comes to, unless the instance does not count folders,
 * or may not have told them all (told_all false). */
uint32_t names_links(const struct names *names, const struct inode *inode, bool told_all);
/* There are other names in the folder than those known. */
void names_incomplete(struct names *names, struct inode *folder);
/* The inodes that were used last, the last one first, at most that many; visit changes no names. */
void names_recent(
    struct names *names, unsigned most, void (*visit)(void *arg, struct inode *inode), void *arg);
/* What is known of the name may be wrong: the instance is to be asked again. */
void names_doubt(struct names *names, struct inode *folder, const char *name);

/* The absolute path on the instance into buf (PATH_MAX). 0, -ENAMETOOLONG, or -ESTALE when no name
 * leads there any more. */
int names_path(const struct names *names, const struct inode *inode, char *buf, size_t size);
int names_child_path(const struct names *names, const struct inode *folder, const char *name,
    char *buf, size_t size);
/* How deep below the root a folder lies (root: 0), or -ESTALE. */
int names_depth(const struct names *names, const struct inode *inode);
/* The folder that has the inode's (first) name, or NULL. */
struct inode *names_parent(const struct inode *inode);

/* References. The kernel's come with each entry reply and go with FORGET. */
void names_pin(struct inode *inode);
void names_unpin(struct names *names, struct inode *inode);
void names_forget(struct names *names, struct inode *inode, uint64_t lookups);

/* Loop time in ms until which attributes and listings may be believed; clock: the instance's, in
 * seconds. */
uint32_t names_lifetime_ms(const struct inode *inode, int64_t clock, uint32_t max_ms);
bool names_attr_fresh(const struct inode *inode, uint64_t now_ms, int64_t clock, uint32_t max_ms);
bool names_listing_fresh(
    const struct inode *folder, uint64_t now_ms, int64_t clock, uint32_t max_ms);

#endif

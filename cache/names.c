#include "cache/names.h"
#include "cache/names_order.h"
#include "cache/names_table.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static struct inode *inode_new(
    struct names *names, uint64_t wanted, const struct attr_report *report)
{
	struct inode *inode = calloc(1, sizeof(*inode));

	if (!inode)
		return NULL;
	if (S_ISDIR(report->mode)) {
		inode->folder = calloc(1, sizeof(*inode->folder));
		if (!inode->folder) {
			free(inode);
			return NULL;
		}
		TAILQ_INIT(&inode->folder->children);
		inode->folder->inode = inode;
	}
	LIST_INIT(&inode->names);
	attr_init(&inode->attr, report);
	inode->ino = wanted;
	table_add_inode(names, inode);
	TAILQ_INSERT_TAIL(&names->lru, inode, lru);
	return inode;
}

static void drop_children(struct names *names, struct inode *folder);

static void inode_free(struct names *names, struct inode *inode)
{
	names->events.freed(names->arg, inode);
	if (inode->folder) { /* made in it after its own name had gone */
		drop_children(names, inode);
		names_order_drop(inode);
	}
	TAILQ_REMOVE(&names->lru, inode, lru);
	table_remove_inode(names, inode);
	free(inode->folder);
	free(inode);
}

static void inode_release(struct names *names, struct inode *inode)
{
	if (!inode->lookups && !inode->pins && LIST_EMPTY(&inode->names) && inode != names->root)
		inode_free(names, inode);
}

/* The number an inode gets: a hash of its path, so that programs that remember it (git's index)
 * find it again after a remount. 0 and 1 (the root's) are taken care of by table_add_inode. */
static uint64_t number_for(struct names *names, struct inode *folder, const char *name)
{
	char path[PATH_MAX];

	if (names_child_path(names, folder, name, path, sizeof(path)))
		return names->tick * 0x9E3779B97F4A7C15u;
	return XXH3_64bits(path, strlen(path)) >> 1;
}

struct dentry *dentry_new(struct names *names, struct inode *folder, const char *name)
{
	size_t len = strlen(name);
	struct dentry *dentry = malloc(sizeof(*dentry) + len + 1);

	if (!dentry)
		return NULL;
	/* It may have been known, changed here and forgotten before. */
	*dentry = (struct dentry){.parent = folder, .tick = folder->folder->lost_tick};
	memcpy(dentry->name, name, len + 1);
	table_add_dentry(names, dentry);
	TAILQ_INSERT_TAIL(&folder->folder->children, dentry, sibling);
	folder->folder->n_children++;
	return dentry;
}

static void tell_changed(struct names *names, struct inode *folder)
{
	if ((folder->folder->held || folder->folder->complete) && names->events.listing_changed)
		names->events.listing_changed(names->arg, folder);
}

void names_incomplete(struct names *names, struct inode *folder)
{
	folder->folder->complete = false;
	tell_changed(names, folder);
}

void dentry_bind(struct names *names, struct dentry *dentry, struct inode *inode)
{
	dentry->parent->folder->order_old = true;
	tell_changed(names, dentry->parent);
	dentry->inode = inode;
	table_add_name(inode, dentry);
}

/* Takes the inode away from the name, which becomes negative. */
void dentry_unbind(struct names *names, struct dentry *dentry)
{
	struct inode *inode = dentry->inode;

	if (!inode)
		return;
	tell_changed(names, dentry->parent);
	LIST_REMOVE(dentry, same);
	dentry->inode = NULL;
	if (LIST_EMPTY(&inode->names)) {
		inode->attr.nlink = 0;
		if (inode->folder)
			drop_children(names, inode);
	}
	inode_release(names, inode);
}

void dentry_free(struct names *names, struct dentry *dentry)
{
	struct inode *folder = dentry->parent;

	/* A report sent before the change that the name remembers may still be on its way. */
	if (folder->folder->lost_tick < dentry->tick)
		folder->folder->lost_tick = dentry->tick;
	dentry_unbind(names, dentry);
	names_order_drop(folder);
	table_remove_dentry(names, dentry);
	TAILQ_REMOVE(&folder->folder->children, dentry, sibling);
	folder->folder->n_children--;
	free(dentry);
}

static void drop_children(struct names *names, struct inode *folder)
{
	struct dentry *dentry;

	folder->folder->complete = false;
	while ((dentry = TAILQ_FIRST(&folder->folder->children)))
		dentry_free(names, dentry);
}

/* --- making and ending --- */

struct names *names_new(const char *root_path, const struct attr_report *root, uint64_t max_names,
    const struct names_events *events, void *arg)
{
	struct names *names = calloc(1, sizeof(*names));

	if (!names)
		return NULL;
	TAILQ_INIT(&names->lru);
	names->events = *events;
	names->arg = arg;
	names->max_names = max_names;
	names->tick = 1;
	names->root_path = strdup(strcmp(root_path, "/") ? root_path : "");
	if (!names->root_path || table_init(names))
		goto failed;
	names->root = inode_new(names, 1, root);
	if (!names->root || !names->root->folder)
		goto failed;
	return names;
failed:
	names_free(names);
	return NULL;
}

void names_free(struct names *names)
{
	struct inode *inode;

	if (!names)
		return;
	/* Everybody who held an inode is gone by now. */
	TAILQ_FOREACH (inode, &names->lru, lru) {
		inode->pins++;
	}
	TAILQ_FOREACH (inode, &names->lru, lru) {
		if (inode->folder)
			drop_children(names, inode);
	}
	while ((inode = TAILQ_FIRST(&names->lru)))
		inode_free(names, inode);
	table_fini(names);
	free(names->root_path);
	free(names);
}

struct inode *names_root(struct names *names)
{
	return names->root;
}

uint64_t names_count(const struct names *names)
{
	return names->n_dentries;
}

uint64_t names_tick(struct names *names)
{
	return ++names->tick;
}

bool names_moved_since(const struct names *names, uint64_t tick)
{
	return names->moved_tick > tick;
}

static void touch(struct names *names, struct inode *inode)
{
	TAILQ_REMOVE(&names->lru, inode, lru);
	TAILQ_INSERT_TAIL(&names->lru, inode, lru);
}

void names_recent(
    struct names *names, unsigned most, void (*visit)(void *arg, struct inode *inode), void *arg)
{
	struct inode *inode;

	TAILQ_FOREACH_REVERSE(inode, &names->lru, inode_queue, lru)
	{
		if (!most--)
			break;
		visit(arg, inode);
	}
}

/* --- reports of the instance --- */

struct dentry *names_find(struct names *names, struct inode *folder, const char *name)
{
	struct dentry *dentry = table_find_dentry(names, folder, name);

	if (dentry && dentry->inode)
		touch(names, dentry->inode);
	return dentry;
}

static bool same_kind(const struct inode *inode, const struct attr_report *report)
{
	return (inode->attr.mode & S_IFMT) == (report->mode & S_IFMT);
}

/* Of a folder whose names were changed here meanwhile. */
static void report_all_but_times(struct attr *attr, const struct attr_report *report)
{
	struct attr_report rest = *report;
	bool own = attr->own_times;

	rest.atime = attr->atime_there;
	rest.mtime = attr->mtime_there;
	attr_update(attr, &rest);
	attr->own_times = own;
}

/* Has the content changed? */
static bool take_report(struct names *names, struct inode *inode, const struct attr_report *report,
    uint64_t sent_tick, uint64_t sent_ms)
{
	bool changed;

	if (inode->pending || inode->changed_tick > sent_tick || inode->checked_ms > sent_ms ||
	    !same_kind(inode, report))
		return false;
	inode->doubted_ms = sent_ms > inode->doubted_ms ? 0 : inode->doubted_ms;
	if (inode->folder && inode->folder->names_tick > sent_tick) {
		report_all_but_times(&inode->attr, report);
		inode->checked_ms = sent_ms;
		return false;
	}
	changed = attr_update(&inode->attr, report);
	if (changed)
		names->events.version_changed(names->arg, inode);
	if (changed || !inode->version_ms)
		inode->version_ms = sent_ms;
	inode->checked_ms = sent_ms;
	return changed;
}

bool names_shared(const struct inode *inode)
{
	const struct dentry *dentry = LIST_FIRST(&inode->names);

	return dentry && LIST_NEXT(dentry, same);
}

/* They are to be asked for again. */
static void forget_names(struct names *names, struct inode *inode, bool but_first)
{
	struct dentry *dentry = LIST_FIRST(&inode->names), *next;

	if (dentry && but_first)
		dentry = LIST_NEXT(dentry, same);
	for (; dentry; dentry = next) {
		struct inode *folder = dentry->parent;

		next = LIST_NEXT(dentry, same);
		if (dentry->pending || dentry->flying)
			continue;
		names->events.name_gone(names->arg, folder, dentry->name, inode);
		folder->folder->complete = false;
		folder->folder->lossy = true;
		dentry_free(names, dentry);
	}
}

/* What the first name leads to is not what was known: whether the others still lead to the same,
 * nobody knows. */
void names_report_inode(struct names *names, struct inode *inode, const struct attr_report *report,
    uint64_t sent_tick, uint64_t sent_ms)
{
	bool known = inode->checked_ms;

	if (take_report(names, inode, report, sent_tick, sent_ms) && known && names_shared(inode))
		forget_names(names, inode, true);
}

/* NULL: memory is out, and the name is forgotten. */
struct inode *bind_new(
    struct names *names, struct dentry *dentry, const struct attr_report *report, uint64_t sent_ms)
{
	struct inode *inode =
	    inode_new(names, number_for(names, dentry->parent, dentry->name), report);

	if (!inode) {
		dentry->parent->folder->complete = false;
		dentry->parent->folder->lossy = true;
		dentry_free(names, dentry);
		return NULL;
	}
	inode->checked_ms = inode->version_ms = sent_ms;
	dentry_bind(names, dentry, inode);
	return inode;
}

/* A folder whose own name is gone takes no more names. */
static bool is_reachable(const struct names *names, const struct inode *folder)
{
	return folder->folder && (folder == names->root || !LIST_EMPTY(&folder->names));
}

static uint64_t dentry_checked_ms(const struct dentry *dentry)
{
	return dentry->inode ? dentry->inode->checked_ms : dentry->checked_ms;
}

/* The dentry that a report of the instance is about, made when missing. NULL: memory is out, or
 * something later is known of the name. */
static struct dentry *reported_dentry(struct names *names, struct inode *folder, const char *name,
    uint64_t sent_tick, uint64_t sent_ms)
{
	struct dentry *dentry = table_find_dentry(names, folder, name);

	if (!dentry) {
		make_room(names, folder); /* which may forget what the folder remembers */
		if (folder->folder->lost_tick <= sent_tick)
			dentry = dentry_new(names, folder, name);
	}
	if (!dentry) {
		folder->folder->lossy = true;
		return NULL;
	}
	dentry->generation = folder->folder->generation;
	if (dentry->pending || dentry->flying || dentry->tick > sent_tick)
		return NULL;
	return dentry_checked_ms(dentry) > sent_ms ? NULL : dentry;
}

void names_seen_by(struct dentry *dentry, uint64_t sent_ms)
{
	dentry->checked_ms = sent_ms;
	LIST_REMOVE(dentry, same);
	LIST_INSERT_HEAD(&dentry->inode->names, dentry, same);
}

bool names_leads_elsewhere(
    const struct dentry *dentry, const struct attr_report *report, uint64_t sent_tick)
{
	const struct inode *inode = dentry->inode;

	if (!same_kind(inode, report))
		return true;
	/* what was changed here, or was seen by this very name, has changed */
	return dentry != LIST_FIRST(&inode->names) && inode->checked_ms && !inode->pending &&
	       inode->changed_tick <= sent_tick &&
	       (inode->attr.mtime_there != report->mtime ||
		   (S_ISREG(report->mode) && inode->attr.size != report->size));
}

struct inode *names_report(struct names *names, struct inode *folder, const char *name,
    const struct attr_report *report, uint64_t sent_tick, uint64_t sent_ms)
{
	struct dentry *dentry;

	if (!is_reachable(names, folder))
		return NULL;
	dentry = reported_dentry(names, folder, name, sent_tick, sent_ms);
	if (!dentry) {
		dentry = table_find_dentry(names, folder, name);
		return dentry ? dentry->inode : NULL;
	}
	if (dentry->inode && names_leads_elsewhere(dentry, report, sent_tick)) {
		names->events.name_gone(names->arg, folder, name, dentry->inode);
		dentry_unbind(names, dentry);
	}
	if (!dentry->inode) {
		folder->folder->ours = false; /* somebody else makes names in it */
		return bind_new(names, dentry, report, sent_ms);
	}
	take_report(names, dentry->inode, report, sent_tick, sent_ms);
	names_seen_by(dentry, sent_ms);
	touch(names, dentry->inode);
	return dentry->inode;
}

void names_report_missing(struct names *names, struct inode *folder, const char *name,
    uint64_t sent_tick, uint64_t sent_ms)
{
	struct dentry *dentry;

	/* Asked by a path that a folder's new name has made wrong since? */
	if (!is_reachable(names, folder) || names->moved_tick > sent_tick)
		return;
	dentry = reported_dentry(names, folder, name, sent_tick, sent_ms);
	if (!dentry)
		return;
	if (dentry->inode) {
		names->events.name_gone(names->arg, folder, name, dentry->inode);
		dentry_unbind(names, dentry);
	}
	dentry->checked_ms = sent_ms;
}

void names_replaced(struct names *names, struct inode *inode)
{
	names_pin(inode);
	forget_names(names, inode, false);
	names_unpin(names, inode);
}

void names_listing_begin(struct names *names, struct inode *folder)
{
	(void)names;
	folder->folder->generation++;
	folder->folder->lossy = false;
}

/* By this name, that is. */
static bool is_seen_since(const struct dentry *dentry, uint64_t ms)
{
	return dentry->inode && !names_shared(dentry->inode) && dentry->inode->checked_ms > ms;
}

void names_listing_end(
    struct names *names, struct inode *folder, uint64_t sent_tick, uint64_t sent_ms)
{
	struct folder *dir = folder->folder;
	struct dentry *dentry, *next;

	for (dentry = TAILQ_FIRST(&dir->children); dentry; dentry = next) {
		next = TAILQ_NEXT(dentry, sibling);
		if (dentry->generation == dir->generation || dentry->pending || dentry->flying ||
		    dentry->tick > sent_tick || is_seen_since(dentry, sent_ms))
			continue;
		if (dentry->inode)
			names->events.name_gone(names->arg, folder, dentry->name, dentry->inode);
		dentry_free(names, dentry);
	}
	dir->complete = !dir->lossy && dir->lost_tick <= sent_tick;
	dir->listed_ms = sent_ms;
}

void names_listing_was(struct inode *folder)
{
	struct folder *dir = folder->folder;

	dir->complete = !dir->lossy;
	dir->listed_ms = 0;
}

/* --- references --- */

void names_pin(struct inode *inode)
{
	inode->pins++;
}

void names_unpin(struct names *names, struct inode *inode)
{
	inode->pins--;
	inode_release(names, inode);
}

void names_forget(struct names *names, struct inode *inode, uint64_t lookups)
{
	inode->lookups -= lookups < inode->lookups ? lookups : inode->lookups;
	inode_release(names, inode);
}

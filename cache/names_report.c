/* What the instance reports of names and attributes, and what of it is believed. */
#include "cache/names.h"
#include "cache/names_order.h"
#include "cache/names_table.h"
#include <string.h>

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

bool names_crossed(const struct inode *inode, const struct attr_report *report, uint64_t sent_tick)
{
	return inode->version_tick >= sent_tick && attr_is_other(&inode->attr, report);
}

/* Does the report count, or is something later known of the inode? */
static bool counts(const struct inode *inode, const struct attr_report *report, uint64_t sent_tick,
    uint64_t sent_ms)
{
	return !inode->pending && inode->changed_tick <= sent_tick &&
	       inode->checked_ms <= sent_ms && same_kind(inode, report);
}

static bool stays_old(struct names *names, struct inode *inode, const struct attr_report *report,
    uint64_t sent_tick, uint64_t sent_ms)
{
	return inode->open && counts(inode, report, sent_tick, sent_ms) &&
	       attr_is_other(&inode->attr, report) && !names_crossed(inode, report, sent_tick) &&
	       names->events.stays_old && names->events.stays_old(names->arg, inode, report);
}

/* Changes made here move the count of links by one each: one that the instance told before such a
 * change, or while it is on its way, may be without it or already with it. */
static bool links_count(const struct inode *inode, uint64_t sent_tick)
{
	const struct folder *folder = inode->folder;

	return !inode->flying && (!folder || (!folder->flying && !folder->changing &&
						 folder->names_tick <= sent_tick));
}

/* The instance is being asked for a change of it, and says what that has made already. */
static bool is_half_way(const struct inode *inode, const struct attr_report *report)
{
	return inode->flying && attr_is_other(&inode->attr, report);
}

/* Has the content changed? by_name: the report is of the name, not of an open file, so it may be
 * left aside. */
static bool take_report(struct names *names, struct inode *inode, const struct attr_report *told,
    uint64_t sent_tick, uint64_t sent_ms, bool by_name)
{
	struct attr_report counted = *told;
	const struct attr_report *report = &counted;
	bool changed, crossed;

	if (!counts(inode, report, sent_tick, sent_ms))
		return false;
	if (!links_count(inode, sent_tick))
		counted.nlink = 0;
	crossed = names_crossed(inode, report, sent_tick);
	if (by_name && (crossed || is_half_way(inode, report))) {
		inode->checked_ms = 0;
		return false;
	}
	inode->doubted_ms = sent_ms > inode->doubted_ms ? 0 : inode->doubted_ms;
	if (inode->folder && inode->folder->names_tick > sent_tick) {
		report_all_but_times(&inode->attr, report);
		inode->checked_ms = sent_ms;
		return false;
	}
	changed = attr_update(&inode->attr, report);
	if (changed) {
		names->events.version_changed(names->arg, inode);
		inode->version_tick = names->tick;
	}
	if (changed || !inode->version_ms)
		inode->version_ms = sent_ms;
	inode->checked_ms = crossed ? 0 : sent_ms;
	return changed;
}

bool names_shared(const struct inode *inode)
{
	const struct dentry *dentry = LIST_FIRST(&inode->names);

	return dentry && LIST_NEXT(dentry, same);
}

/* What the first name leads to is not what was known: whether the others still lead to the same,
 * nobody knows. They stay what they are until each has been asked for: most often the file has
 * changed, that is all, and two inodes for it would be taken for two files. */
static void doubt_others(struct names *names, struct inode *inode)
{
	struct dentry *dentry = LIST_FIRST(&inode->names);

	while ((dentry = LIST_NEXT(dentry, same))) {
		if (dentry->pending || dentry->flying)
			continue;
		dentry->checked_ms = 0;
		names->events.name_gone(names->arg, dentry->parent, dentry->name, inode);
	}
}

void names_report_inode(struct names *names, struct inode *inode, const struct attr_report *report,
    uint64_t sent_tick, uint64_t sent_ms)
{
	bool known = inode->checked_ms;

	if (!LIST_EMPTY(&inode->names) && stays_old(names, inode, report, sent_tick, sent_ms))
		names_replaced(names, inode);
	else if (take_report(names, inode, report, sent_tick, sent_ms, false) && known &&
		 names_shared(inode))
		doubt_others(names, inode);
}

/* NULL: memory is out, and the name is forgotten. */
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
	       inode->changed_tick <= sent_tick && attr_is_other(&inode->attr, report) &&
	       !is_half_way(inode, report) && !names_crossed(inode, report, sent_tick);
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
	if (dentry->inode && (names_leads_elsewhere(dentry, report, sent_tick) ||
				 stays_old(names, dentry->inode, report, sent_tick, sent_ms))) {
		names->events.name_gone(names->arg, folder, name, dentry->inode);
		dentry_unbind(names, dentry);
	}
	if (!dentry->inode) {
		folder->folder->ours = false; /* somebody else makes names in it */
		return bind_new(names, dentry, report, sent_ms);
	}
	take_report(names, dentry->inode, report, sent_tick, sent_ms, true);
	names_seen_by(dentry, sent_ms);
	names_touch(names, dentry->inode);
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
	struct dentry *dentry, *next;

	names_pin(inode);
	for (dentry = LIST_FIRST(&inode->names); dentry; dentry = next) {
		struct inode *folder = dentry->parent;

		next = LIST_NEXT(dentry, same);
		if (dentry->pending || dentry->flying)
			continue;
		names->events.name_gone(names->arg, folder, dentry->name, inode);
		folder->folder->complete = false;
		folder->folder->lossy = true;
		dentry_free(names, dentry);
	}
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

/* What happens to names when a change made here was confirmed. */
#include "cache/names_table.h"
#include <stddef.h>

void names_changed(struct names *names, struct inode *inode)
{
	inode->changed_tick = names_tick(names);
}

/* A folder's times move with its names: ask again when somebody wants to know. */
static void folder_changed(struct names *names, struct inode *folder)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	attr_touch_names(&folder->attr, now);
	folder->folder->names_tick = names_tick(names);
	folder->folder->before_ms = folder->checked_ms;
	folder->checked_ms = 0;
}

bool names_on_same_disk(const struct inode *folder, const struct inode *other)
{
	return folder == other ||
	       (folder->folder->disk && folder->folder->disk == other->folder->disk);
}

static void note_same_disk(struct names *names, struct inode *folder, struct inode *other)
{
	if (names_on_same_disk(folder, other))
		return;
	if (!folder->folder->disk)
		folder->folder->disk = other->folder->disk;
	if (!folder->folder->disk)
		folder->folder->disk = ++names->disks;
	other->folder->disk = folder->folder->disk;
}

static void tell_made(struct names *names, struct inode *folder, const char *name)
{
	if (names->events.made)
		names->events.made(names->arg, folder, name);
}

struct inode *names_created(struct names *names, struct inode *folder, const char *name,
    const struct attr_report *report, uint64_t now_ms)
{
	struct dentry *dentry = table_find_dentry(names, folder, name);
	struct inode *inode;

	tell_made(names, folder, name);
	if (!dentry) {
		make_room(names, folder);
		dentry = dentry_new(names, folder, name);
	}
	if (!dentry) {
		folder->folder->complete = false;
		return NULL;
	}
	if (dentry->inode)
		dentry_unbind(names, dentry);
	inode = bind_new(names, dentry, report, now_ms);
	if (!inode)
		return NULL;
	folder_changed(names, folder);
	dentry->tick = names_tick(names);
	if (S_ISDIR(report->mode)) { /* nobody else has had time to put anything there */
		inode->folder->complete = inode->folder->ours = true;
		inode->folder->listed_ms = now_ms;
		inode->attr.nlink = 2;
		note_same_disk(names, folder, inode);
		if (folder->attr.nlink >= 2)
			folder->attr.nlink++;
	} else if (!inode->attr.nlink) {
		inode->attr.nlink = 1;
	}
	return inode;
}

void names_linked(struct names *names, struct inode *inode, struct inode *folder, const char *name)
{
	struct dentry *dentry = table_find_dentry(names, folder, name);
	struct inode *parent = names_parent(inode);

	tell_made(names, folder, name);
	if (parent)
		note_same_disk(names, folder, parent);
	if (!dentry)
		dentry = dentry_new(names, folder, name);
	if (!dentry) {
		folder->folder->complete = false;
		return;
	}
	names_pin(inode);
	if (dentry->inode)
		dentry_unbind(names, dentry);
	dentry_bind(names, dentry, inode);
	dentry->tick = names_tick(names);
	inode->attr.nlink = inode->attr.nlink ? inode->attr.nlink + 1 : 2;
	names_changed(names, inode);
	folder_changed(names, folder);
	names_unpin(names, inode);
}

/* It loses its name in the folder. (dentry_unbind counts a file's last one.) */
static void note_lost(struct inode *inode, struct inode *folder)
{
	if (inode->folder) {
		inode->folder->removed = true;
		if (folder->attr.nlink > 2)
			folder->attr.nlink--;
	} else if (names_shared(inode) && inode->attr.nlink > 1) {
		inode->attr.nlink--;
	}
}

void names_removed(struct names *names, struct inode *folder, const char *name, uint64_t now_ms)
{
	struct dentry *dentry = table_find_dentry(names, folder, name);

	if (names->events.removed)
		names->events.removed(names->arg, folder, name);
	folder_changed(names, folder);
	if (!dentry)
		dentry = dentry_new(names, folder, name);
	if (!dentry)
		return;
	if (dentry->inode) {
		struct inode *inode = dentry->inode;

		note_lost(inode, folder);
		names_changed(names, inode);
		dentry_unbind(names, dentry);
	}
	dentry->tick = names_tick(names);
	dentry->checked_ms = now_ms;
}

/* A name changed in a way that can't be followed: the instance must be asked again. */
static void unsure(struct names *names, struct inode *folder, const char *name)
{
	struct dentry *dentry = table_find_dentry(names, folder, name);

	folder_changed(names, folder);
	names_incomplete(names, folder);
	folder->folder->lossy = true;
	folder->folder->lost_tick = names_tick(names);
	if (dentry)
		dentry_free(names, dentry);
}

/* A folder below itself: the kernel refuses it, but its view and the instance's may differ. */
static bool is_below(const struct inode *folder, const struct inode *above)
{
	for (; folder; folder = names_parent(folder)) {
		if (folder == above)
			return true;
	}
	return false;
}

void names_renamed(struct names *names, struct inode *folder, const char *name,
    struct inode *to_folder, const char *to_name, uint64_t now_ms)
{
	struct dentry *dentry = table_find_dentry(names, folder, name);
	struct inode *inode = dentry ? dentry->inode : NULL;
	struct dentry *to;

	if (names->events.renamed)
		names->events.renamed(names->arg, folder, name, to_folder, to_name);
	if (!inode || (inode->folder && is_below(to_folder, inode))) {
		names_pin(to_folder);
		unsure(names, folder, name);
		unsure(names, to_folder, to_name);
		names_unpin(names, to_folder);
		return;
	}
	names_pin(inode);
	to = table_find_dentry(names, to_folder, to_name);
	if (to && to->inode == inode) /* two names of one file: rename(2) does nothing */
		goto done;
	if (!to)
		to = dentry_new(names, to_folder, to_name);
	if (to && to->inode) {
		note_lost(to->inode, to_folder);
		names_changed(names, to->inode);
		dentry_unbind(names, to);
	}
	/* Bind the new name first: an inode without a name would lose its children. */
	if (to) {
		dentry_bind(names, to, inode);
		to->tick = names_tick(names);
	} else {
		to_folder->folder->complete = false;
	}
	dentry_unbind(names, dentry);
	dentry->tick = names_tick(names);
	dentry->checked_ms = now_ms;
	if (inode->folder)
		names->moved_tick = names_tick(names);
	if (inode->folder && folder != to_folder) {
		if (folder->attr.nlink > 2)
			folder->attr.nlink--;
		if (to_folder->attr.nlink >= 2)
			to_folder->attr.nlink++;
	}
	names_changed(names, inode);
	folder_changed(names, folder);
	if (to_folder != folder)
		folder_changed(names, to_folder);
done:
	names_unpin(names, inode);
}

/* --- before the instance knows of it --- */

void names_pend_inode(struct inode *inode)
{
	inode->pending++;
}

void names_settle_inode(struct names *names, struct inode *inode)
{
	inode->pending--;
	names_changed(names, inode);
}

void names_pend(struct names *names, struct inode *folder, const char *name, struct inode *inode)
{
	struct dentry *dentry = table_find_dentry(names, folder, name);

	if (dentry)
		dentry->pending++;
	folder->folder->changing++;
	folder->checked_ms = folder->folder->before_ms;
	if (inode)
		names_pend_inode(inode);
}

void names_settle(struct names *names, struct inode *folder, const char *name, struct inode *inode)
{
	struct dentry *dentry = table_find_dentry(names, folder, name);
	uint64_t tick = names_tick(names);

	if (dentry && dentry->pending) {
		dentry->pending--;
		dentry->tick = tick;
	} else if (folder->folder->lost_tick < tick) {
		folder->folder->lost_tick = tick;
	}
	folder->folder->changing--;
	folder->folder->names_tick = tick;
	if (inode)
		names_settle_inode(names, inode);
}

/* --- while it is on its way --- */

void names_fly_inode(struct inode *inode)
{
	names_pin(inode);
	inode->flying++;
}

void names_land_inode(struct names *names, struct inode *inode)
{
	inode->flying--;
	names_unpin(names, inode);
}

struct inode *names_fly(struct names *names, struct inode *folder, const char *name)
{
	struct dentry *dentry = table_find_dentry(names, folder, name);

	folder->folder->flying++;
	if (!dentry)
		return NULL;
	dentry->flying++;
	if (dentry->inode)
		names_fly_inode(dentry->inode);
	return dentry->inode;
}

void names_land(struct names *names, struct inode *folder, const char *name, struct inode *inode)
{
	struct dentry *dentry = table_find_dentry(names, folder, name);

	folder->folder->flying--;
	if (dentry && dentry->flying)
		dentry->flying--;
	if (inode)
		names_land_inode(names, inode);
}

void names_doubt(struct names *names, struct inode *folder, const char *name)
{
	unsure(names, folder, name);
}

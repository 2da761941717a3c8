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
	size_t len = strlen(name), room = offsetof(struct dentry, name) + len + 1;
	struct dentry *dentry = malloc(room < sizeof(*dentry) ? sizeof(*dentry) : room);

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
	dentry->parent->folder->n_folders += inode->folder != NULL;
	table_add_name(inode, dentry);
}

/* Takes the inode away from the name, which becomes negative. Of a file whose last known name it is
 * there is one link less: others may be there by which nobody here has looked. */
void dentry_unbind(struct names *names, struct dentry *dentry)
{
	struct inode *inode = dentry->inode;

	if (!inode)
		return;
	tell_changed(names, dentry->parent);
	LIST_REMOVE(dentry, same);
	dentry->inode = NULL;
	dentry->parent->folder->n_folders -= inode->folder != NULL;
	if (LIST_EMPTY(&inode->names)) {
		if (inode->folder)
			inode->attr.nlink = 0;
		else if (inode->attr.nlink)
			inode->attr.nlink--;
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

uint32_t names_links(const struct names *names, const struct inode *inode, bool told_all)
{
	uint32_t links = inode->attr.nlink;

	if (LIST_EMPTY(&inode->names) && inode != names->root)
		return links;
	if (inode->folder && inode->folder->complete && told_all && links != 1)
		return 2 + inode->folder->n_folders;
	if (!links)
		return inode->folder ? 2 : 1;
	return links;
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

void names_touch(struct names *names, struct inode *inode)
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

struct dentry *names_find(struct names *names, struct inode *folder, const char *name)
{
	struct dentry *dentry = table_find_dentry(names, folder, name);

	if (dentry && dentry->inode)
		names_touch(names, dentry->inode);
	return dentry;
}

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
	inode->version_tick = names->tick;
	dentry_bind(names, dentry, inode);
	return inode;
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
	if (!inode->lookups)
		evict_next(names, inode);
	inode_release(names, inode);
}

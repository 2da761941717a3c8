/*
 * Forgets what nobody needs when the names known become too many.
 *
 * The names in a folder that is pinned (being listed, or open) stay, however many they are: a
 * program that reads it is to see them all.
 */
#include "cache/names_table.h"

/* How many names more to take before looking again, when nothing could be forgotten. */
#define PAUSE 1000
#define PAUSE_ASKED 200 /* when the kernel was asked, which is about to answer */

/* But for the kernel? */
static bool evictable(const struct names *names, const struct inode *inode)
{
	const struct dentry *dentry;

	if (inode == names->root || inode->pins)
		return false;
	LIST_FOREACH (dentry, &inode->names, same) {
		if (dentry->parent->pins)
			return false;
	}
	return true;
}

/* A folder that a program works in is held just so, and would lose its path. */
static bool ask_kernel(struct names *names, const struct inode *inode)
{
	const struct dentry *dentry = LIST_FIRST(&inode->names);

	if (!dentry || inode->folder || inode->pending || !names->events.crowded)
		return false;
	names->events.crowded(names->arg, dentry->parent, dentry->name);
	return true;
}

/* Forgets one inode from the cold end, with its names; the folders are then no longer complete.
 * asked: it was none, but the kernel may let go of some. */
static bool evict_one(struct names *names, const struct inode *folder, bool *asked)
{
	struct inode *inode, *next;
	int looked = 0;

	for (inode = TAILQ_FIRST(&names->lru); inode && looked < 1000; inode = next, looked++) {
		struct dentry *child, *child_next;

		next = TAILQ_NEXT(inode, lru);
		TAILQ_REMOVE(&names->lru, inode, lru);
		TAILQ_INSERT_TAIL(&names->lru, inode, lru);
		if (inode->folder) { /* names known to lead nowhere are the cheapest to lose */
			for (child = TAILQ_FIRST(&inode->folder->children); child;
			     child = child_next) {
				child_next = TAILQ_NEXT(child, sibling);
				if (!child->inode && !child->pending)
					dentry_free(names, child);
			}
			if (names->n_dentries <= names->max_names)
				return true;
			if (inode->folder->n_children)
				continue;
		}
		if (inode == folder || !evictable(names, inode))
			continue;
		if (inode->lookups) {
			*asked |= ask_kernel(names, inode);
			continue;
		}
		names_pin(inode);
		while ((child = LIST_FIRST(&inode->names))) {
			struct folder *parent = child->parent->folder;

			parent->complete = false;
			/* A listing being taken over may still come to this name. */
			if (child->generation == parent->generation)
				parent->lossy = true;
			dentry_free(names, child);
		}
		names_unpin(names, inode);
		return true;
	}
	return false;
}

void evict_next(struct names *names, struct inode *inode)
{
	if (names->n_dentries <= names->max_names || inode == names->root)
		return;
	TAILQ_REMOVE(&names->lru, inode, lru);
	TAILQ_INSERT_HEAD(&names->lru, inode, lru);
}

void make_room(struct names *names, const struct inode *folder)
{
	bool asked = false;
	int i;

	if (names->evict_pause) {
		names->evict_pause--;
		return;
	}
	for (i = 0; i < 4 && names->n_dentries > names->max_names; i++) {
		if (evict_one(names, folder, &asked))
			continue;
		names->evict_pause = asked ? PAUSE_ASKED : PAUSE;
		break;
	}
}

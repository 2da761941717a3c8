/* Forgets what nobody needs when the names known become too many. */
#include "cache/names_table.h"

static bool evictable(const struct names *names, const struct inode *inode)
{
	return inode != names->root && !inode->lookups && !inode->pins;
}

/* Forgets one inode from the cold end, with its names; the folders are then no longer complete. */
static bool evict_one(struct names *names)
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
				if (!child->inode)
					dentry_free(names, child);
			}
			if (names->n_dentries <= names->max_names)
				return true;
			if (inode->folder->n_children)
				continue;
		}
		if (!evictable(names, inode))
			continue;
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

void make_room(struct names *names)
{
	int i;

	for (i = 0; i < 4 && names->n_dentries > names->max_names; i++) {
		if (!evict_one(names))
			break;
	}
}

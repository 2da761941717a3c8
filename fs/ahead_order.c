#include "fs/ahead_impl.h"
#include "fs/listing.h"
#include <stdlib.h>
#include <string.h>

#define SORT_MAX 100000u       /* a folder with more names is taken as it was listed */
#define PARENT_OPENED_MS 30000 /* how lately a program must have opened the folder above */

static int compare(const void *left, const void *right, void *arg)
{
	const struct dentry *a = *(const struct dentry *const *)left;
	const struct dentry *b = *(const struct dentry *const *)right;
	unsigned order = *(const unsigned *)arg;

	if (order >= AHEAD_FILES_FIRST && !a->inode->folder != !b->inode->folder)
		return a->inode->folder ? 1 : -1;
	if (order % AHEAD_FILES_FIRST == AHEAD_BY_NAME)
		return strcmp(a->name, b->name);
	if (order % AHEAD_FILES_FIRST == AHEAD_BY_NUMBER)
		return strverscmp(a->name, b->name);
	return a->inode->ino < b->inode->ino ? -1 : a->inode->ino > b->inode->ino;
}

/* --- levels --- */

static bool counts(const struct dentry *dentry)
{
	const struct inode *inode = dentry->inode;

	return inode &&
	       (inode->folder || (S_ISREG(inode->attr.mode) && inode->attr.size <= AHEAD_FILE_MAX));
}

static void level_clear(struct fs *fs, struct ahead_level *level)
{
	while (level->n)
		names_unpin(fs->names, level->entries[--level->n]);
	free(level->entries);
	names_unpin(fs->names, level->folder);
	memset(level, 0, sizeof(*level));
}

static bool level_make(
    struct fs *fs, struct ahead_level *level, struct inode *folder, unsigned order)
{
	const struct folder *names = folder->folder;
	struct dentry **sorted = calloc(names->n_children + 1, sizeof(*sorted));
	struct dentry *dentry;
	size_t i, n = 0;

	memset(level, 0, sizeof(*level));
	if (!sorted)
		return false;
	TAILQ_FOREACH (dentry, &names->children, sibling) {
		if (counts(dentry))
			sorted[n++] = dentry;
	}
	if (n <= SORT_MAX)
		qsort_r(sorted, n, sizeof(*sorted), compare, &order);
	/* The names are not needed any more: their inodes take their places. */
	level->entries = (struct inode **)sorted;
	for (i = 0; i < n; i++) {
		level->entries[i] = sorted[i]->inode;
		names_pin(level->entries[i]);
		if (!level->entries[i]->folder)
			level->bytes += level->entries[i]->attr.size;
	}
	level->n = n;
	level->names = names->n_children;
	level->complete = names->complete;
	level->folder = folder;
	names_pin(folder);
	return true;
}

size_t ahead_level_index(const struct ahead_level *level, const struct inode *inode)
{
	size_t i;

	for (i = 0; i < level->n && level->entries[i] != inode; i++)
		;
	return i;
}

bool ahead_level_is_old(const struct ahead_level *level)
{
	const struct folder *names = level->folder->folder;

	return (names->complete && !level->complete) ||
	       names->n_children > level->names + level->names / 4;
}

size_t ahead_between(const struct inode *folder, const struct inode *from, const struct inode *to,
    unsigned order, size_t most)
{
	struct dentry *dentry, *first = NULL, *last = NULL;
	size_t n = 0;

	LIST_FOREACH (dentry, &from->names, same)
		first = dentry->parent == folder ? dentry : first;
	LIST_FOREACH (dentry, &to->names, same)
		last = dentry->parent == folder ? dentry : last;
	if (!first || !last || compare(&first, &last, &order) >= 0)
		return SIZE_MAX;
	TAILQ_FOREACH (dentry, &folder->folder->children, sibling) {
		if (n >= most)
			break;
		n += counts(dentry) && compare(&first, &dentry, &order) < 0 &&
		     compare(&dentry, &last, &order) < 0;
	}
	return n;
}

/* --- places --- */

void ahead_place_clear(struct fs *fs, struct ahead_place *place)
{
	while (place->depth)
		level_clear(fs, &place->levels[--place->depth]);
	place->tried = NULL;
}

bool ahead_place_set(
    struct fs *fs, struct ahead_place *place, struct inode *folder, const struct inode *inode)
{
	struct ahead_level *level = &place->levels[0];

	names_pin(folder);
	ahead_place_clear(fs, place);
	if (level_make(fs, level, folder, place->order)) {
		place->depth = 1;
		level->next = ahead_level_index(level, inode) + 1;
		if (level->next > level->n)
			level->next = 0;
	}
	names_unpin(fs->names, folder);
	return place->depth;
}

int ahead_place_find(const struct ahead_place *place, const struct inode *folder)
{
	int level;

	for (level = (int)place->depth - 1; level >= 0; level--) {
		if (place->levels[level].folder == folder)
			break;
	}
	return level;
}

void ahead_place_back(struct fs *fs, struct ahead_place *place, int level, size_t at)
{
	while (place->depth > (unsigned)level + 1)
		level_clear(fs, &place->levels[--place->depth]);
	place->levels[level].next = at + 1;
	place->tried = NULL;
}

/* On behind the folder that is done, in the one above it, if the program came that way. */
static bool go_up(struct fs *fs, struct ahead_place *place)
{
	struct ahead_level *level = &place->levels[place->depth - 1], above;
	struct inode *parent = names_parent(level->folder);

	if (place->depth > 1) {
		level_clear(fs, level);
		place->depth--;
		return true;
	}
	if (place->within || !parent || !parent->folder->complete || !parent->folder->opened_ms ||
	    fs_now_ms(fs) - parent->folder->opened_ms > PARENT_OPENED_MS ||
	    !level_make(fs, &above, parent, place->order))
		return false;
	above.next = ahead_level_index(&above, level->folder) + 1;
	level_clear(fs, level);
	*level = above;
	return true;
}

static bool unlisted(const struct inode *inode)
{
	return inode->folder && !inode->folder->complete && !inode->folder->refused;
}

/* The next few folders of the level that have not been listed; the first of them is waited for. */
static void list_some(struct fs *fs, const struct ahead_level *level, unsigned most)
{
	size_t i;

	for (i = level->next; i < level->n && most; i++) {
		if (unlisted(level->entries[i]) && listing_ahead(fs, level->entries[i]))
			most--;
	}
}

/* Into a folder. False: it has to be listed first. */
static bool go_down(
    struct fs *fs, struct ahead_place *place, struct inode *folder, unsigned listings)
{
	struct ahead_level *level = &place->levels[place->depth - 1];
	bool again = place->tried == folder;

	if (unlisted(folder)) {
		place->tried = folder;
		if (!again)
			list_some(fs, level, listings);
		if (folder->folder->listing)
			return false;
	}
	place->tried = NULL;
	level->next++;
	if (folder->folder->complete && place->depth < AHEAD_DEPTH &&
	    level_make(fs, level + 1, folder, place->order))
		place->depth++;
	return true;
}

struct inode *ahead_place_next(struct fs *fs, struct ahead_place *place, unsigned listings)
{
	struct ahead_level *level;
	struct inode *inode;

	while (place->depth) {
		level = &place->levels[place->depth - 1];
		if (level->next >= level->n) {
			if (!listings || !go_up(fs, place))
				return NULL;
			continue;
		}
		inode = level->entries[level->next];
		if (!inode->folder) {
			level->next++;
			return inode;
		}
		if (!listings)
			level->next++;
		else if (!go_down(fs, place, inode, listings))
			return NULL;
	}
	return NULL;
}

#include "cache/names_table.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#define FIRST_SIZE 1024

int table_init(struct names *names)
{
	/* The instance chooses the names: it must not be able to choose the chains too. */
	if (getrandom(&names->seed, sizeof(names->seed), GRND_NONBLOCK) < 0)
		names->seed = (uint64_t)(uintptr_t)names;
	names->dentries = calloc(FIRST_SIZE, sizeof(*names->dentries));
	names->inodes = calloc(FIRST_SIZE, sizeof(*names->inodes));
	names->dentry_mask = names->inode_mask = FIRST_SIZE - 1;
	return names->dentries && names->inodes ? 0 : -ENOMEM;
}

void table_fini(struct names *names)
{
	free(names->dentries);
	free(names->inodes);
}

static uint32_t hash_name(const struct names *names, const struct inode *folder, const char *name)
{
	return (uint32_t)XXH3_64bits_withSeed(name, strlen(name), folder->ino ^ names->seed);
}

static size_t hash_number(const struct names *names, uint64_t ino)
{
	return (size_t)XXH3_64bits_withSeed(&ino, sizeof(ino), names->seed);
}

/* When memory is short the table stays as it is, only slower. */
static void grow_dentries(struct names *names)
{
	size_t size = (names->dentry_mask + 1) * 2, i;
	struct dentry **table = calloc(size, sizeof(*table));

	if (!table)
		return;
	for (i = 0; i <= names->dentry_mask; i++) {
		struct dentry *dentry, *next;

		for (dentry = names->dentries[i]; dentry; dentry = next) {
			next = dentry->hash_next;
			dentry->hash_next = table[dentry->hash & (size - 1)];
			table[dentry->hash & (size - 1)] = dentry;
		}
	}
	free(names->dentries);
	names->dentries = table;
	names->dentry_mask = size - 1;
}

void table_add_dentry(struct names *names, struct dentry *dentry)
{
	struct dentry **slot;

	if (names->n_dentries++ > names->dentry_mask)
		grow_dentries(names);
	dentry->hash = hash_name(names, dentry->parent, dentry->name);
	slot = &names->dentries[dentry->hash & names->dentry_mask];
	dentry->hash_next = *slot;
	*slot = dentry;
}

void table_remove_dentry(struct names *names, struct dentry *dentry)
{
	struct dentry **slot = &names->dentries[dentry->hash & names->dentry_mask];

	while (*slot != dentry)
		slot = &(*slot)->hash_next;
	*slot = dentry->hash_next;
	names->n_dentries--;
}

struct dentry *table_find_dentry(struct names *names, struct inode *folder, const char *name)
{
	uint32_t hash = hash_name(names, folder, name);
	struct dentry *dentry = names->dentries[hash & names->dentry_mask];

	for (; dentry; dentry = dentry->hash_next) {
		if (dentry->hash == hash && dentry->parent == folder && !strcmp(dentry->name, name))
			return dentry;
	}
	return NULL;
}

static struct inode **inode_slot(struct names *names, uint64_t ino)
{
	struct inode **slot = &names->inodes[hash_number(names, ino) & names->inode_mask];

	while (*slot && (*slot)->ino != ino)
		slot = &(*slot)->hash_next;
	return slot;
}

static void grow_inodes(struct names *names)
{
	size_t size = (names->inode_mask + 1) * 2, i;
	struct inode **table = calloc(size, sizeof(*table));

	if (!table)
		return;
	for (i = 0; i <= names->inode_mask; i++) {
		struct inode *inode, *next;

		for (inode = names->inodes[i]; inode; inode = next) {
			size_t slot = hash_number(names, inode->ino) & (size - 1);

			next = inode->hash_next;
			inode->hash_next = table[slot];
			table[slot] = inode;
		}
	}
	free(names->inodes);
	names->inodes = table;
	names->inode_mask = size - 1;
}

void table_add_inode(struct names *names, struct inode *inode)
{
	struct inode **slot;

	if (names->n_inodes++ > names->inode_mask)
		grow_inodes(names);
	/* Taken: a file renamed away keeps the number of its first path. Another one each time, or
	 * a program that writes and renames the same temporary file would build a long row. */
	while (!inode->ino || *(slot = inode_slot(names, inode->ino)))
		inode->ino =
		    XXH3_64bits_withSeed(&inode->ino, sizeof(inode->ino), ++names->tick) >> 1;
	inode->hash_next = NULL;
	*slot = inode;
}

void table_remove_inode(struct names *names, struct inode *inode)
{
	struct inode **slot = inode_slot(names, inode->ino);

	*slot = inode->hash_next;
	names->n_inodes--;
}

void table_add_name(struct inode *inode, struct dentry *dentry)
{
	struct dentry *at, *last = NULL;

	LIST_FOREACH (at, &inode->names, same)
		last = at;
	if (last)
		LIST_INSERT_AFTER(last, dentry, same);
	else
		LIST_INSERT_HEAD(&inode->names, dentry, same);
}

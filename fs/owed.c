#include "fs/owed.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What failed before so many others is not kept. */
#define OWED_MOST 20000u

struct owed {
	TAILQ_ENTRY(owed) link;
	struct inode *inode; /* of a link: the file; of a rename: the folder */
	bool rename;	     /* then name */
	int err;
	char name[];
};

static void drop(struct fs *fs, struct owed *owed)
{
	TAILQ_REMOVE(&fs->owed, owed, link);
	fs->n_owed--;
	names_unpin(fs->names, owed->inode);
	free(owed);
}

/* Not one upon which programs try again by themselves, or that they take for success. */
static int plain(int err)
{
	return err == -ENOENT || err == -ESTALE || err == -EINTR || err == -EAGAIN ? -EIO : err;
}

static void add(struct fs *fs, struct inode *inode, const char *name, int err)
{
	size_t len = strlen(name) + 1;
	struct owed *owed = calloc(1, sizeof(*owed) + len);

	if (!owed)
		return;
	owed->inode = inode;
	owed->rename = *name;
	owed->err = plain(err);
	memcpy(owed->name, name, len);
	names_pin(inode);
	TAILQ_INSERT_HEAD(&fs->owed, owed, link);
	if (++fs->n_owed > OWED_MOST)
		drop(fs, TAILQ_LAST(&fs->owed, owed_list));
}

void owed_link(struct fs *fs, struct inode *inode, int err)
{
	if (!LIST_EMPTY(&inode->names))
		add(fs, inode, "", err);
}

void owed_rename(struct fs *fs, struct inode *folder, const char *name, int err)
{
	add(fs, folder, name, err);
}

static bool is_of_name(const struct owed *owed, const struct inode *folder, const char *name)
{
	return owed->rename && owed->inode == folder && !strcmp(owed->name, name);
}

static int claim(struct fs *fs, struct owed *owed)
{
	int err = owed->err;

	drop(fs, owed);
	return err;
}

int owed_claim(struct fs *fs, struct inode *folder, const char *name)
{
	const struct dentry *dentry;
	struct owed *owed;

	if (TAILQ_EMPTY(&fs->owed))
		return 0;
	dentry = names_find(fs->names, folder, name);
	TAILQ_FOREACH (owed, &fs->owed, link) {
		if (owed->rename ? is_of_name(owed, folder, name)
				 : dentry && dentry->inode == owed->inode)
			return claim(fs, owed);
	}
	return 0;
}

int owed_claim_emptied(struct fs *fs, const struct inode *inode)
{
	const struct dentry *dentry;
	struct owed *owed;

	TAILQ_FOREACH (owed, &fs->owed, link) {
		LIST_FOREACH (dentry, &inode->names, same) {
			if (is_of_name(owed, dentry->parent, dentry->name))
				return claim(fs, owed);
		}
	}
	return 0;
}

void owed_anew(struct fs *fs, const struct inode *folder, const char *name)
{
	struct owed *owed, *next;

	for (owed = TAILQ_FIRST(&fs->owed); owed; owed = next) {
		next = TAILQ_NEXT(owed, link);
		if (is_of_name(owed, folder, name))
			drop(fs, owed);
	}
}

void owed_told(struct fs *fs)
{
	while (!TAILQ_EMPTY(&fs->owed))
		drop(fs, TAILQ_FIRST(&fs->owed));
}

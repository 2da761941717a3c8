#include "fs/ownlinks.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096u

struct ownlink {
	struct ownlink *next;
	const struct inode *inode;
	char target[];
};

struct ownlinks {
	struct ownlink *buckets[BUCKETS];
	unsigned n;
};

static struct ownlink **find(struct ownlinks *links, const struct inode *inode)
{
	uint64_t hash = (uint64_t)(uintptr_t)inode * 0x9e3779b97f4a7c15ull;
	struct ownlink **at = &links->buckets[hash >> 52];

	while (*at && (*at)->inode != inode)
		at = &(*at)->next;
	return at;
}

void ownlinks_note(struct fs *fs, const struct inode *inode, const char *target)
{
	struct ownlink *link;

	ownlinks_forget(fs, inode);
	if (!fs->ownlinks)
		fs->ownlinks = calloc(1, sizeof(*fs->ownlinks));
	if (!fs->ownlinks || fs->ownlinks->n == OWNLINKS_MAX)
		return;
	link = malloc(sizeof(*link) + strlen(target) + 1);
	if (!link)
		return;
	link->next = NULL;
	link->inode = inode;
	strcpy(link->target, target);
	*find(fs->ownlinks, inode) = link;
	fs->ownlinks->n++;
}

bool ownlinks_made(const struct fs *fs, const struct inode *inode, const char *target)
{
	const struct ownlink *link = fs->ownlinks ? *find(fs->ownlinks, inode) : NULL;

	return link && !strcmp(link->target, target);
}

void ownlinks_forget(struct fs *fs, const struct inode *inode)
{
	struct ownlink **at = fs->ownlinks ? find(fs->ownlinks, inode) : NULL;
	struct ownlink *link = at ? *at : NULL;

	if (!link)
		return;
	*at = link->next;
	free(link);
	if (--fs->ownlinks->n)
		return;
	free(fs->ownlinks);
	fs->ownlinks = NULL;
}

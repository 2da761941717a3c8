#include "fs/ownlinks.h"
#include "cache/store.h"
#include "cache/store_names.h"
#include "fs/disk.h"
#include <errno.h>
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

static void note(struct fs *fs, const struct inode *inode, const char *target)
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

static int key(const struct fs *fs, const struct inode *inode, char *path, size_t size)
{
	int err = fs->store ? names_path(fs->names, inode, path, size) : -ENOENT;

	return err ? err : disk_key_below(path, size, "/..");
}

void ownlinks_note(struct fs *fs, const struct inode *inode, const char *target)
{
	struct store_entries record = {NULL, 0, 0};
	char path[PATH_MAX];

	note(fs, inode, target);
	if (!key(fs, inode, path, sizeof(path)) && !store_target_make(&record, 0, target))
		store_save_folder(fs->store, path, record.bytes, record.len);
}

struct recall {
	struct fs *fs;
	struct inode *inode; /* the caller's */
	ownlinks_done *done;
	void *arg;
	char target[];
};

static void on_found(void *arg, const uint8_t *bytes, size_t len)
{
	struct recall *recall = arg;
	char made[PATH_MAX];

	if (bytes && !store_target_read(bytes, len, 0, made, sizeof(made)) &&
	    !strcmp(made, recall->target))
		note(recall->fs, recall->inode, made);
	recall->done(recall->arg);
	free(recall);
}

int ownlinks_recall(
    struct fs *fs, struct inode *inode, const char *target, ownlinks_done *done, void *arg)
{
	struct recall *recall;
	char path[PATH_MAX];
	int err = key(fs, inode, path, sizeof(path));

	if (err)
		return err;
	recall = malloc(sizeof(*recall) + strlen(target) + 1);
	if (!recall)
		return -ENOMEM;
	*recall = (struct recall){.fs = fs, .inode = inode, .done = done, .arg = arg};
	strcpy(recall->target, target);
	err = store_find_folder(fs->store, path, on_found, recall);
	if (err)
		free(recall);
	return err;
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

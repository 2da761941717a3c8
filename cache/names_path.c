/* Paths, depths and lifetimes of what names knows. */
#include "cache/names_table.h"
#include <errno.h>
#include <string.h>

/* Writes the path backwards into buf, from the end; returns its beginning. */
static char *walk_up(
    const struct names *names, const struct inode *inode, char *buf, char *at, int *err)
{
	while (inode != names->root) {
		const struct dentry *dentry = LIST_FIRST(&inode->names);
		size_t len;

		if (!dentry) {
			*err = -ESTALE;
			return NULL;
		}
		len = strlen(dentry->name);
		if ((size_t)(at - buf) < len + 1) {
			*err = -ENAMETOOLONG;
			return NULL;
		}
		at -= len;
		memcpy(at, dentry->name, len);
		*--at = '/';
		inode = dentry->parent;
	}
	return at;
}

static int finish(const struct names *names, char *buf, size_t size, char *at)
{
	size_t root = strlen(names->root_path), len = (size_t)(buf + size - at);

	if (root + len > size)
		return -ENAMETOOLONG;
	memmove(buf + root, at, len);
	memcpy(buf, names->root_path, root);
	if (!buf[0])
		memcpy(buf, "/", 2);
	return 0;
}

int names_path(const struct names *names, const struct inode *inode, char *buf, size_t size)
{
	int err = 0;
	char *at = buf + size - 1;

	*at = '\0';
	at = walk_up(names, inode, buf, at, &err);
	return at ? finish(names, buf, size, at) : err;
}

int names_child_path(
    const struct names *names, const struct inode *folder, const char *name, char *buf, size_t size)
{
	size_t len = strlen(name);
	int err = 0;
	char *at;

	if (len > 255 || len + 2 > size)
		return -ENAMETOOLONG;
	at = buf + size - len - 1;
	memcpy(at, name, len + 1);
	*--at = '/';
	at = walk_up(names, folder, buf, at, &err);
	return at ? finish(names, buf, size, at) : err;
}

int names_depth(const struct names *names, const struct inode *inode)
{
	int depth = 0;

	for (; inode != names->root; depth++) {
		const struct dentry *dentry = LIST_FIRST(&inode->names);

		if (!dentry)
			return -ESTALE;
		inode = dentry->parent;
	}
	return depth;
}

struct inode *names_parent(const struct inode *inode)
{
	const struct dentry *dentry = LIST_FIRST(&inode->names);

	return dentry ? dentry->parent : NULL;
}

uint32_t names_lifetime_ms(const struct inode *inode, int64_t clock, uint32_t max_ms)
{
	return attr_lifetime_ms(clock - (int64_t)inode->attr.mtime_there, max_ms);
}

bool names_attr_fresh(const struct inode *inode, uint64_t now_ms, int64_t clock, uint32_t max_ms)
{
	return inode->checked_ms &&
	       now_ms < inode->checked_ms + names_lifetime_ms(inode, clock, max_ms);
}

bool names_listing_fresh(
    const struct inode *folder, uint64_t now_ms, int64_t clock, uint32_t max_ms)
{
	return folder->folder->complete &&
	       now_ms - folder->folder->listed_ms < names_lifetime_ms(folder, clock, max_ms);
}

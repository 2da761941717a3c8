/* Listings that the disk cache has, kept up to date with what is found out, or changed here, after
 * they were made; so that a later mount, without a link, does not miss what this one has seen. */
#include "cache/store_names.h"
#include "fs/disk.h"
#include "fs/openfile.h"
#include <stdlib.h>

#define REST_MS 3000 /* so long after a change; others may follow */
#define LOOKS 64u    /* folders, each second */
#define NAMES 20000u /* in them */

void disk_listing_changed(struct fs *fs, struct inode *inode)
{
	struct folder *folder = inode->folder;

	if (!fs->store || !folder->complete)
		return;
	folder->unsaved_ms = fs_now_ms(fs);
	if (folder->unsaved)
		return;
	folder->unsaved = true;
	TAILQ_INSERT_TAIL(&fs->unsaved, folder, unsaved_link);
}

void disk_attr_changed(struct fs *fs, const struct inode *inode)
{
	const struct dentry *dentry;

	LIST_FOREACH (dentry, &inode->names, same)
		disk_listing_changed(fs, dentry->parent);
}

static void leave(struct fs *fs, struct folder *folder)
{
	TAILQ_REMOVE(&fs->unsaved, folder, unsaved_link);
	folder->unsaved = false;
}

void disk_forget_listing(struct fs *fs, struct inode *inode)
{
	if (inode->folder && inode->folder->unsaved)
		leave(fs, inode->folder);
}

/* False: something of it is on its way, or memory is out. */
static bool collect(const struct folder *folder, struct store_entries *entries)
{
	const struct dentry *dentry;

	if (folder->listing || folder->changing || folder->inode->pending)
		return false;
	TAILQ_FOREACH (dentry, &folder->children, sibling) {
		const struct inode *inode = dentry->inode;
		struct attr_report report;

		if (dentry->pending || (inode && (inode->pending || openfile_dirty(inode))))
			return false;
		if (!inode)
			continue;
		report = (struct attr_report){.size = inode->attr.size,
		    .mode = inode->attr.mode,
		    .uid = inode->attr.uid,
		    .gid = inode->attr.gid,
		    .nlink = inode->attr.nlink,
		    .mtime = inode->attr.mtime_there};
		if (store_entries_add(entries, dentry->name, &report))
			return false;
	}
	return true;
}

static void save(struct fs *fs, struct folder *folder)
{
	struct store_entries entries = {NULL, 0, 0};

	if (collect(folder, &entries)) {
		leave(fs, folder);
		disk_save_folder(fs, folder->inode, &entries);
	} else {
		free(entries.bytes);
		folder->unsaved_ms = fs_now_ms(fs);
		TAILQ_REMOVE(&fs->unsaved, folder, unsaved_link);
		TAILQ_INSERT_TAIL(&fs->unsaved, folder, unsaved_link);
	}
}

void disk_save_listings(struct fs *fs, bool leaving)
{
	struct folder *folder, *next = TAILQ_FIRST(&fs->unsaved);
	struct folder *last = TAILQ_LAST(&fs->unsaved, folder_list);
	unsigned looks = 0, names = 0;

	while ((folder = next)) { /* those put last again are not met again */
		next = folder == last ? NULL : TAILQ_NEXT(folder, unsaved_link);
		if (!leaving && (looks++ == LOOKS || names > NAMES))
			break;
		if (!folder->complete) {
			leave(fs, folder);
		} else if (leaving || fs_now_ms(fs) - folder->unsaved_ms > REST_MS) {
			names += folder->n_children;
			save(fs, folder);
		}
	}
}

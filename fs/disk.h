/*
 * The mount and its disk cache (cache/store.h): where it is, which file may be kept in it, and what
 * changes here mean for it. Without one (fs->store is NULL) all of this does nothing. Core only.
 */
#ifndef VASTFS_FS_DISK_H
#define VASTFS_FS_DISK_H

#include "fs/fs.h"
#include <limits.h>

/* Opens it. A mount that can't have it goes without, and says so. */
void disk_open(struct fs *fs);
/* The folder of this instance's cache; owned by the caller. NULL: no home folder. */
char *disk_folder(const struct profile *profile);
/* From now on fs->contents uses it. */
void disk_start(struct fs *fs);
/* What a mount without the instance starts from: the folder mounted, the login user's numbers
 * there, the root's attributes. */
struct disk_mount {
	char root[PATH_MAX];
	uint32_t uid, gid;
	struct sftp_attr attr;
};
void disk_note_mount(struct fs *fs, const struct sftp_attr *root);
bool disk_noted_mount(const struct fs *fs, struct disk_mount *out);
/* The mount is over: what is in memory and not yet on disk is written; waits for it, a few seconds
 * at most. */
void disk_leave(struct fs *fs);
/* When contents are gone. */
void disk_end(struct fs *fs);

/* Makes of a name's path the key of what is kept of the name alone: below the name itself, so that
 * it goes and moves with that. No name is "." or "..": disk.c has "/.", ownlinks.c "/..".
 * -ENAMETOOLONG. */
int disk_key_below(char *path, size_t size, const char *suffix);
/* The inode has content, and its attributes are those of the instance: it may come from the disk
 * cache, and be kept there once no other version can pass for this one. */
void disk_keep(struct fs *fs, struct inode *inode);
/* Has the disk cache all of the file, in the version that is known? done is called once, later; the
 * inode stays pinned until then. False: that can't be told, or not at once. */
bool disk_look(struct fs *fs, struct inode *inode, void (*done)(void *arg, bool whole), void *arg);
/* Its content or times are changed here. */
void disk_changed(struct fs *fs, struct inode *inode);
/* Is there no link, so that the disk cache is to be asked for listings? */
bool disk_answers(const struct fs *fs);
/* The folder's listing, complete; takes the bytes. */
struct store_entries;
void disk_save_folder(struct fs *fs, struct inode *folder, struct store_entries *entries);
/* disk_listings.c: names in the folder, or attributes of the inode, are not those that were saved
 * with the listing: that is saved again, a few seconds later, or now (leaving). */
void disk_listing_changed(struct fs *fs, struct inode *folder);
void disk_attr_changed(struct fs *fs, const struct inode *inode);
void disk_save_listings(struct fs *fs, bool leaving);
void disk_forget_listing(struct fs *fs, struct inode *inode);
/* A name in a folder whose listing is not known; so it is found by its path alone. */
void disk_save_name(
    struct fs *fs, struct inode *folder, const char *name, const struct attr_report *report);
/* done is called once, later, with what was saved, or NULL. 0; or a negative errno. */
typedef void disk_name_done(void *arg, const struct attr_report *report);
int disk_find_name(
    struct fs *fs, struct inode *folder, const char *name, disk_name_done *done, void *arg);
void disk_removed(struct fs *fs, struct inode *parent, const char *name);
void disk_renamed(struct fs *fs, struct inode *parent, const char *name, struct inode *to_parent,
    const char *to_name);

#endif

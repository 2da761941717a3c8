#include "fs/follow.h"
#include "cache/spool.h"
#include "fs/disk.h"
#include "fs/held.h"
#include "fs/notify.h"
#include "fs/openfile.h"
#include "fs/owed.h"
#include "fs/ownlinks.h"
#include "fs/replaced.h"
#include "fs/targets.h"
#include "fs/walk.h"
#include "fs/watched.h"
#include <limits.h>

static void on_version_changed(void *arg, struct inode *inode)
{
	disk_attr_changed(arg, inode);
	if (inode->open)
		openfile_version_changed(inode);
	else if (!inode->folder) /* who opens it next must not be told the old size */
		notify_attr(arg, inode);
}

static bool on_stays_old(void *arg, struct inode *inode, const struct attr_report *report)
{
	(void)arg;
	return replaced_meanwhile(inode, report);
}

static void on_name_gone(void *arg, struct inode *parent, const char *name, struct inode *inode)
{
	(void)inode;
	notify_gone(arg, parent, name);
}

static void on_listing_changed(void *arg, struct inode *folder)
{
	struct fs *fs = arg;

	if (folder->folder->held)
		held_changed(fs->held, folder);
	disk_listing_changed(fs, folder);
}

/* What failed before, and would make the name, or be done to what had it, is not to be done again:
 * the program has gone on with another one since. */
static void on_made(void *arg, struct inode *parent, const char *name)
{
	struct fs *fs = arg;
	char path[PATH_MAX];

	if (fs->spool && spool_any_failed(fs->spool) &&
	    !names_child_path(fs->names, parent, name, path, sizeof(path)))
		spool_supersede(fs->spool, path);
}

static void on_removed(void *arg, struct inode *parent, const char *name)
{
	on_made(arg, parent, name);
	openfile_name_goes(arg, parent, name);
	disk_removed(arg, parent, name);
}

static void on_renamed(
    void *arg, struct inode *parent, const char *name, struct inode *to_parent, const char *to_name)
{
	on_made(arg, to_parent, to_name);
	openfile_name_goes(arg, to_parent, to_name);
	disk_renamed(arg, parent, name, to_parent, to_name);
	owed_anew(arg, parent, name);
}

static void on_crowded(void *arg, const struct inode *parent, const char *name)
{
	notify_forget(arg, parent, name);
}

static void on_inode_freed(void *arg, struct inode *inode)
{
	struct fs *fs = arg;

	walk_forget(fs, inode);
	held_forget(fs->held, inode);
	disk_forget_listing(fs, inode);
	watched_forget(fs, inode);
	ownlinks_forget(fs, inode);
	targets_forget(fs, inode);
	openfile_free(inode);
}

const struct names_events fs_names_events = {
    .stays_old = on_stays_old,
    .version_changed = on_version_changed,
    .name_gone = on_name_gone,
    .listing_changed = on_listing_changed,
    .made = on_made,
    .removed = on_removed,
    .renamed = on_renamed,
    .crowded = on_crowded,
    .freed = on_inode_freed,
};

#include "fs/disk.h"
#include "cache/store.h"
#include "conf/log.h"
#include "conf/paths.h"
#include "fs/openfile.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAVE_MS 5000

/* The folder of this instance's cache; owned by the caller. */
static char *folder_of(const struct profile *profile)
{
	char *top = profile->cache_dir ? strdup(profile->cache_dir) : paths_cache_dir();
	char *name = paths_safe_name(profile->id), *dir = NULL;

	if (top && name && asprintf(&dir, "%s/%s", top, name) < 0)
		dir = NULL;
	free(top);
	free(name);
	return dir;
}

void disk_start(struct fs *fs)
{
	static struct conf_error error;
	char *dir;

	fs->store_off = "cache_size is 0";
	if (!fs->profile->cache_size)
		return;
	dir = folder_of(fs->profile);
	if (!dir) {
		fs->store_off = "no home folder was found";
	} else if (store_open(&fs->store, fs->loop, dir, fs->profile->cache_size, &error)) {
		fs->store_off = error.text;
	} else {
		fs->store_off = NULL;
		content_pool_set_store(fs->contents, fs->store);
	}
	free(dir);
	if (!fs->store)
		log_warning("this mount has no disk cache: %s", fs->store_off);
}

void disk_leave(struct fs *fs)
{
	uint64_t start = uv_hrtime();

	if (!fs->store)
		return;
	content_pool_keep_now(fs->contents);
	while (store_busy(fs->store) && (uv_hrtime() - start) / 1000000 < LEAVE_MS)
		uv_run(fs->loop, UV_RUN_ONCE);
	store_leave(fs->store);
}

void disk_end(struct fs *fs)
{
	uint64_t start = uv_hrtime();

	if (!fs->store)
		return;
	while (store_busy(fs->store) && (uv_hrtime() - start) / 1000000 < LEAVE_MS)
		uv_run(fs->loop, UV_RUN_ONCE);
	if (!store_busy(fs->store)) /* else it ends with the process */
		store_free(fs->store);
	fs->store = NULL;
}

void disk_keep(struct fs *fs, struct inode *inode)
{
	struct openfile *open = inode->open;
	uint64_t known = fs_now_ms(fs) - inode->version_ms, settled = 0;
	char path[PATH_MAX];

	if (!fs->store || !open || openfile_dirty(inode) ||
	    content_size(open->content) != inode->attr.size ||
	    content_keeps(open->content, inode->attr.mtime_there) ||
	    names_path(fs->names, inode, path, sizeof(path)))
		return;
	if (!attr_settled(&inode->attr, fs_wall(), known))
		settled = uv_hrtime() + (2001 - known) * 1000000;
	content_keep(open->content, path, inode->attr.mtime_there, settled);
}

void disk_changed(struct fs *fs, struct inode *inode)
{
	struct openfile *open = inode->open;
	char path[PATH_MAX];

	if (!fs->store)
		return;
	if (open && content_is_kept(open->content))
		content_unkeep(open->content);
	else if (!names_path(fs->names, inode, path, sizeof(path)))
		store_forget(fs->store, path);
}

void disk_removed(struct fs *fs, struct inode *parent, const char *name)
{
	char path[PATH_MAX];

	if (fs->store && !names_child_path(fs->names, parent, name, path, sizeof(path)))
		store_forget(fs->store, path);
}

void disk_renamed(struct fs *fs, struct inode *parent, const char *name, struct inode *to_parent,
    const char *to_name)
{
	char from[PATH_MAX], to[PATH_MAX];

	if (fs->store && !names_child_path(fs->names, parent, name, from, sizeof(from)) &&
	    !names_child_path(fs->names, to_parent, to_name, to, sizeof(to)))
		store_rename(fs->store, from, to);
}

#include "fs/disk.h"
#include "cache/store.h"
#include "cache/store_names.h"
#include "conf/log.h"
#include "conf/paths.h"
#include "fs/openfile.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define LEAVE_MS 5000

char *disk_folder(const struct profile *profile)
{
	char *top = profile->cache_dir ? strdup(profile->cache_dir) : paths_cache_dir();
	char *name = paths_safe_name(profile->id), *dir = NULL;

	if (top && name && asprintf(&dir, "%s/%s", top, name) < 0)
		dir = NULL;
	free(top);
	free(name);
	return dir;
}

void disk_open(struct fs *fs)
{
	static struct conf_error error;
	char *dir;

	fs->store_off = "cache_size is 0";
	if (!fs->profile->cache_size || fs->store)
		return;
	dir = disk_folder(fs->profile);
	if (!dir) {
		fs->store_off = "no home folder was found";
	} else if (store_open(&fs->store, fs->loop, dir, fs->profile->cache_size, &error)) {
		fs->store_off = error.text;
	} else {
		fs->store_off = NULL;
	}
	free(dir);
	if (!fs->store)
		log_warning("this mount has no disk cache: %s", fs->store_off);
}

void disk_start(struct fs *fs)
{
	if (fs->store)
		content_pool_set_store(fs->contents, fs->store);
}

/* Stands for the folder as the profile names it. */
static uint32_t asked(const struct fs *fs)
{
	const char *path = fs->profile->path ? fs->profile->path : "";

	return (uint32_t)XXH3_64bits(path, strlen(path));
}

void disk_note_mount(struct fs *fs, const struct sftp_attr *root)
{
	char *text;

	if (!fs->store || asprintf(&text, "%u %u %u %u %u %u %u %s", asked(fs),
			      remote_uid(fs->remote), remote_gid(fs->remote), root->mode, root->uid,
			      root->gid, root->mtime, remote_root(fs->remote)) < 0)
		return;
	store_note(fs->store, text);
	free(text);
}

/* Those that lead through links would pass for files of a mount that shows links, and the other way
 * round. */
static bool keeps_names(const struct fs *fs)
{
	return fs->profile->symlinks != SYMLINKS_FOLLOW;
}

bool disk_noted_mount(const struct fs *fs, struct disk_mount *out)
{
	const char *text = fs->store ? store_noted(fs->store) : NULL;
	struct sftp_attr *attr = &out->attr;
	unsigned path = 0;
	int at = 0;

	memset(out, 0, sizeof(*out));
	if (!text || !keeps_names(fs) ||
	    sscanf(text, "%u %u %u %u %u %u %u %n", &path, &out->uid, &out->gid, &attr->mode,
		&attr->uid, &attr->gid, &attr->mtime, &at) != 7 ||
	    path != asked(fs) || text[at] != '/' || strlen(text + at) >= sizeof(out->root) ||
	    !S_ISDIR(attr->mode))
		return false;
	strcpy(out->root, text + at);
	attr->flags =
	    SSH_FILEXFER_ATTR_UIDGID | SSH_FILEXFER_ATTR_PERMISSIONS | SSH_FILEXFER_ATTR_ACMODTIME;
	attr->atime = attr->mtime;
	return true;
}

bool disk_answers(const struct fs *fs)
{
	return fs->store && keeps_names(fs) && fs_offline(fs);
}

void disk_save_folder(struct fs *fs, struct inode *folder, struct store_entries *entries)
{
	uint64_t sum = store_entries_seal(entries);
	char path[PATH_MAX];

	if (!sum || !keeps_names(fs) || sum == folder->folder->saved ||
	    names_path(fs->names, folder, path, sizeof(path))) {
		free(entries->bytes);
		return;
	}
	folder->folder->saved = sum;
	store_save_folder(fs->store, path, entries->bytes, entries->len);
}

/* --- names alone --- */

int disk_key_below(char *path, size_t size, const char *suffix)
{
	size_t len = strlen(path), more = strlen(suffix) + 1;

	if (len + more > size)
		return -ENAMETOOLONG;
	memcpy(path + len, suffix, more);
	return 0;
}

static int name_key(struct fs *fs, struct inode *folder, const char *name, char *path, size_t size)
{
	int err = names_child_path(fs->names, folder, name, path, size);

	return err ? err : disk_key_below(path, size, "/.");
}

void disk_save_name(
    struct fs *fs, struct inode *folder, const char *name, const struct attr_report *report)
{
	struct store_entries entries = {NULL, 0, 0};
	char path[PATH_MAX];

	if (!fs->store || !keeps_names(fs) || name_key(fs, folder, name, path, sizeof(path)))
		return;
	if (store_entries_add(&entries, name, report) || !store_entries_seal(&entries))
		free(entries.bytes);
	else
		store_save_folder(fs->store, path, entries.bytes, entries.len);
}

struct find_name {
	disk_name_done *done;
	void *arg;
	char name[];
};

static void on_name(void *arg, const uint8_t *bytes, size_t len)
{
	struct find_name *find = arg;
	struct store_entry entry;
	size_t at = 0;
	bool found = bytes && store_entries_next(bytes, len, &at, &entry) > 0 &&
		     !strcmp(entry.name, find->name);

	find->done(find->arg, found ? &entry.report : NULL);
	free(find);
}

int disk_find_name(
    struct fs *fs, struct inode *folder, const char *name, disk_name_done *done, void *arg)
{
	struct find_name *find;
	char path[PATH_MAX];
	int err = fs->store ? name_key(fs, folder, name, path, sizeof(path)) : -ENOENT;

	if (err)
		return err;
	find = malloc(sizeof(*find) + strlen(name) + 1);
	if (!find)
		return -ENOMEM;
	find->done = done;
	find->arg = arg;
	strcpy(find->name, name);
	err = store_find_folder(fs->store, path, on_name, find);
	if (err)
		free(find);
	return err;
}

void disk_leave(struct fs *fs)
{
	uint64_t start = uv_hrtime();

	if (!fs->store)
		return;
	if (fs->contents)
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
	uint64_t known = fs_age_ms(fs, inode->version_ms), settled = 0;
	char path[PATH_MAX];

	if (!fs->store || !open || openfile_dirty(inode) ||
	    content_size(open->content) != inode->attr.size ||
	    content_keeps(open->content, inode->attr.mtime_there) ||
	    names_path(fs->names, inode, path, sizeof(path)))
		return;
	if (!fs_settled(fs, inode))
		settled = uv_hrtime() + (2001 - known) * 1000000;
	content_keep(open->content, path, inode->attr.mtime_there, settled);
}

bool disk_look(struct fs *fs, struct inode *inode, void (*done)(void *arg, bool whole), void *arg)
{
	struct openfile *open = NULL;

	if (fs->store && store_is_calm(fs->store) && fs_settled(fs, inode))
		open = openfile_of(fs, inode);
	if (!open || open->suspect || openfile_dirty(inode))
		return false;
	disk_keep(fs, inode);
	return content_look_kept(open->content, done, arg);
}

void disk_changed(struct fs *fs, struct inode *inode)
{
	struct openfile *open = inode->open;
	char path[PATH_MAX];

	if (!fs->store)
		return;
	disk_attr_changed(fs, inode);
	if (open && content_is_kept(open->content))
		content_unkeep(open->content);
	else if (S_ISREG(inode->attr.mode) && !names_path(fs->names, inode, path, sizeof(path)))
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

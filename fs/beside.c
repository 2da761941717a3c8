#include "fs/beside.h"
#include "fs/burst.h"
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_MS 1000
/* What a program reads of it at once. */
#define FILE_MOST (64u << 10)
/* At a time; a program has one or two. */
#define ASKED_MOST 16

struct beside {
	LIST_ENTRY(beside) link; /* of fs->beside */
	struct fs *fs;
	struct inode *folder, *inode; /* pinned */
	struct rfile *file;	      /* until it is the handle's; or NULL */
	struct handle *handle;	      /* no program's; or NULL */
	struct sftp_attr attr;
	uint64_t asked_ms, locked_ms; /* locked_ms: of the folder, when the lock was made; 0: not */
	bool asking;
	bool changed; /* what comes is of no use */
	uint64_t serial;
};

static void leave(struct beside *beside)
{
	struct openfile *open = beside->inode->open;

	if (open && open->beside == beside)
		open->beside = NULL;
}

static void drop(struct beside *beside)
{
	struct names *names = beside->fs->names;

	LIST_REMOVE(beside, link);
	leave(beside);
	if (beside->handle)
		handle_put(beside->handle);
	if (beside->file)
		rfile_put(beside->file);
	names_unpin(names, beside->inode);
	names_unpin(names, beside->folder);
	free(beside);
}

/* Does the lock's file still stand there, unchanged by programs here, and no later lock? */
static bool counts(const struct beside *beside)
{
	const struct inode *inode = beside->inode;

	return !beside->changed && (beside->attr.flags & SSH_FILEXFER_ATTR_SIZE) &&
	       names_parent(inode) == beside->folder && !names_shared(inode) && !inode->pending &&
	       !inode->flying && beside->folder->folder->locked_ms == beside->locked_ms;
}

/* The instance answers in turn: what was accepted before the lock was done when it looked, although
 * the answers came later than the question was sent. So the report is as new as the lock. */
static bool take(struct beside *beside)
{
	struct fs *fs = beside->fs;
	struct inode *inode = beside->inode;
	uint64_t tick = names_tick(fs->names);
	uint64_t sent_ms = openfile_sent_behind_lock(inode, beside->asked_ms);
	uint32_t len;
	uint8_t *data = rfile_take_early(beside->file, &len);
	struct rfile *file = beside->file;
	struct openfile *open;

	openfile_seen(fs, inode, &beside->attr, tick, sent_ms);
	fs_take_report(fs, inode, &beside->attr, tick, sent_ms);
	open = inode->open;
	if (!data || !open || LIST_EMPTY(&inode->names) || openfile_dirty(inode) ||
	    len != beside->attr.size) {
		free(data);
		return false;
	}
	beside->file = NULL;
	beside->handle = handle_new(fs, inode, file, O_RDONLY);
	if (!beside->handle) {
		free(data);
		return false;
	}
	beside->handle->closed = true;
	handle_tell_version(beside->handle);
	openfile_opened(inode);
	if (!openfile_keeps_cache(fs, inode))
		open->kernel_stale = true; /* until a program opens it */
	openfile_came(fs, inode, data, &beside->attr, tick, sent_ms);
	free(data);
	return open->read_ms == sent_ms;
}

static void look(struct beside *beside)
{
	if (beside->asking || (!beside->locked_ms && !beside->changed))
		return;
	if (!counts(beside) || !take(beside))
		drop(beside);
}

static void on_opened(void *arg, int err, const struct sftp_attr *attr)
{
	struct beside *beside = arg;

	beside->asking = false;
	beside->attr = *attr;
	beside->changed |= err != 0;
	if (err)
		rfile_give_up(beside->file, err);
	look(beside);
}

/* "config" of "config.lock". */
static struct inode *locked_file(struct fs *fs, struct inode *folder, const char *lock)
{
	size_t len = burst_locked_name(lock);
	const struct dentry *dentry;
	char name[NAME_MAX + 1];

	if (!len || len > NAME_MAX)
		return NULL;
	memcpy(name, lock, len);
	name[len] = '\0';
	dentry = names_find(fs->names, folder, name);
	return dentry ? dentry->inode : NULL;
}

static bool is_full(const struct fs *fs)
{
	const struct beside *beside;
	unsigned asked = 0;

	LIST_FOREACH (beside, &fs->beside, link)
		asked++;
	return asked >= ASKED_MOST;
}

static struct inode *wanted(struct fs *fs, struct inode *folder, const char *lock)
{
	struct inode *inode = locked_file(fs, folder, lock);

	return inode && !is_full(fs) && S_ISREG(inode->attr.mode) && inode->attr.size &&
		       inode->attr.size <= FILE_MOST && !names_shared(inode)
		   ? inode
		   : NULL;
}

bool beside_wants(struct fs *fs, struct inode *folder, const char *lock)
{
	return wanted(fs, folder, lock);
}

/* file: taken. */
static struct beside *beside_new(
    struct fs *fs, struct inode *folder, struct openfile *open, struct rfile *file)
{
	struct inode *inode = open->inode;
	struct beside *beside = calloc(1, sizeof(*beside));

	if (!beside) {
		rfile_put(file);
		return NULL;
	}
	beside->fs = fs;
	beside->folder = folder;
	beside->inode = inode;
	beside->file = file;
	names_pin(folder);
	names_pin(inode);
	beside->serial = ++fs->besides;
	beside->asked_ms = fs_now_ms(fs);
	beside->asking = true;
	LIST_INSERT_HEAD(&fs->beside, beside, link);
	open->beside = beside;
	return beside;
}

uint64_t beside_ask(
    struct fs *fs, struct inode *folder, const char *lock, struct pool_channel *channel)
{
	struct inode *inode = wanted(fs, folder, lock);
	struct openfile *open = inode ? openfile_of(fs, inode) : NULL;
	struct rfile_owner owner;
	struct beside *beside;
	struct rfile *file;
	char path[PATH_MAX];

	if (!open || content_dirty(open->content) ||
	    names_path(fs->names, inode, path, sizeof(path)))
		return 0;
	beside_changed(open); /* what was asked for before is older */
	owner = openfile_owner(fs, inode);
	file = rfile_new_later(fs->remote, SSH_FXF_READ, &owner);
	beside = file ? beside_new(fs, folder, open, file) : NULL;
	if (!beside)
		return 0;
	rfile_want_early(beside->file, (uint32_t)inode->attr.size);
	rfile_open_into(beside->file, channel, path, on_opened, beside);
	return beside->serial;
}

void beside_locked(struct fs *fs, uint64_t serial, bool made)
{
	struct beside *beside;

	LIST_FOREACH (beside, &fs->beside, link) {
		if (beside->serial != serial)
			continue;
		beside->changed |= !made;
		beside->locked_ms = beside->folder->folder->locked_ms;
		look(beside);
		return;
	}
}

void beside_changed(struct openfile *open)
{
	struct beside *beside = open->beside;

	if (!beside)
		return;
	beside->changed = true;
	leave(beside);
	look(beside);
}

void beside_tick(struct fs *fs)
{
	struct beside *beside, *next;

	for (beside = LIST_FIRST(&fs->beside); beside; beside = next) {
		next = LIST_NEXT(beside, link);
		if (!beside->asking && fs_now_ms(fs) - beside->asked_ms >= KEPT_MS)
			drop(beside);
	}
}

void beside_stop(struct fs *fs)
{
	while (!LIST_EMPTY(&fs->beside))
		drop(LIST_FIRST(&fs->beside));
}

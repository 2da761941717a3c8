#include "fs/ahead_impl.h"
#include "fs/disk.h"
#include "fs/openfile.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct waiter {
	STAILQ_ENTRY(waiter) link;
	void (*done)(void *arg);
	void *arg;
};

struct piece {
	struct ahead_fetch *fetch;
	uint32_t offset, len;
};

/*
 *	All of it in the disk cache: into memory. Else, or when its check is too old:
 *	OPEN, LSTAT --> still small and settled: READ …, FSTAT --> the same version: into the
 *	content; CLOSE. Or, when all of it is here: LSTAT.
 */
struct ahead_fetch {
	struct fs *fs;
	struct inode *inode; /* pinned; inode->open->fetching is this */
	struct rfile *file;
	struct sftp_attr attr; /* as opened */
	uint8_t *data;
	struct piece *pieces;
	unsigned pending; /* answers */
	int err;
	uint64_t serial;
	uint64_t tick, sent_ms; /* of the last requests */
	uint64_t first_tick;
	STAILQ_HEAD(, waiter) waiters;
};

static struct ahead_fetch *fetch_of(const struct inode *inode)
{
	const struct openfile *open = inode->open;

	return open ? open->fetching : NULL;
}

static void end(struct ahead_fetch *fetch)
{
	struct openfile *open = fetch->inode->open;
	struct fs *fs = fetch->fs;
	struct inode *inode = fetch->inode;
	struct waiter *waiter;

	open->fetching = NULL;
	fs->ahead->underway--;
	if (fetch->file)
		rfile_put(fetch->file);
	while ((waiter = STAILQ_FIRST(&fetch->waiters))) {
		STAILQ_REMOVE_HEAD(&fetch->waiters, link);
		waiter->done(waiter->arg);
		free(waiter);
	}
	free(fetch->pieces);
	free(fetch->data);
	free(fetch);
	names_unpin(fs->names, inode);
}

static void sent(struct ahead_fetch *fetch)
{
	fetch->tick = names_tick(fetch->fs->names);
	fetch->sent_ms = fs_now_ms(fetch->fs);
}

static bool same_version(const struct inode *inode, const struct sftp_attr *attr)
{
	return inode->attr.size == attr->size && inode->attr.mtime_there == attr->mtime;
}

/* --- reading --- */

/* Everything is in: is it all of one version, and is that still the one that is known? */
static void take(struct ahead_fetch *fetch, const struct sftp_attr *after)
{
	struct inode *inode = fetch->inode;
	struct openfile *open = inode->open;

	fs_take_report(fetch->fs, inode, after, fetch->tick, fetch->sent_ms);
	if (after->size != fetch->attr.size || after->mtime != fetch->attr.mtime ||
	    !same_version(inode, after) || inode->changed_tick > fetch->first_tick ||
	    openfile_dirty(inode) || open->suspect ||
	    !fs_settled_at(fetch->fs, inode, fetch->sent_ms))
		return;
	disk_keep(fetch->fs, inode);
	if (!content_fill(open->content, fetch->data, fetch->attr.size, true))
		openfile_opened(inode);
}

static void join(struct ahead_fetch *fetch)
{
	if (!--fetch->pending)
		end(fetch);
}

static void on_read(void *arg, int err, const uint8_t *data, uint32_t len)
{
	struct piece *piece = arg;
	struct ahead_fetch *fetch = piece->fetch;

	if (!err && len == piece->len)
		memcpy(fetch->data + piece->offset, data, len);
	else if (!fetch->err)
		fetch->err = err ? err : -EIO;
	join(fetch);
}

/* Sent behind the READs on the same channel, so it tells the version after them. */
static void on_fstat(void *arg, int err, const struct sftp_attr *attr)
{
	struct ahead_fetch *fetch = arg;

	if (!err && !fetch->err && fetch->pending == 1)
		take(fetch, attr);
	join(fetch);
}

static int read_all(struct ahead_fetch *fetch)
{
	uint32_t size = (uint32_t)fetch->attr.size, most, at, n;
	struct piece *piece;

	most = remote_features(fetch->fs->remote)->max_read;
	n = (size + most - 1) / most;
	fetch->data = malloc(size + 1);
	fetch->pieces = piece = calloc(n + 1, sizeof(*piece));
	if (!fetch->data || !piece)
		return -ENOMEM;
	sent(fetch);
	fetch->pending = n + 1;
	for (at = 0; at < size; at += piece++->len) {
		piece->fetch = fetch;
		piece->offset = at;
		piece->len = size - at < most ? size - at : most;
		rfile_read(fetch->file, at, piece->len, RFILE_SMALL, on_read, piece);
	}
	rfile_fstat(fetch->file, on_fstat, fetch);
	return 0;
}

static void on_opened(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	const uint32_t needed = SSH_FILEXFER_ATTR_SIZE | SSH_FILEXFER_ATTR_ACMODTIME;
	struct ahead_fetch *fetch = arg;
	struct inode *inode = fetch->inode;

	fetch->file = file;
	if (!err)
		fs_take_report(fetch->fs, inode, attr, fetch->tick, fetch->sent_ms);
	if (err || (attr->flags & needed) != needed || !same_version(inode, attr) ||
	    !ahead_may_fetch(fetch->fs, inode)) {
		end(fetch);
		return;
	}
	openfile_drop_suspect(inode->open);
	fetch->attr = *attr;
	if (read_all(fetch))
		end(fetch);
}

static void on_checked(void *arg, int err, const struct sftp_attr *attr)
{
	struct ahead_fetch *fetch = arg;

	if (!err)
		fs_take_report(fetch->fs, fetch->inode, attr, fetch->tick, fetch->sent_ms);
	end(fetch);
}

static void ask(struct ahead_fetch *fetch, const char *path)
{
	sent(fetch);
	fetch->first_tick = fetch->tick;
	if (openfile_is_whole(fetch->inode))
		remote_lstat(fetch->fs->remote, path, on_checked, fetch);
	else
		rfile_open_ahead(fetch->fs->remote, path, on_opened, fetch);
}

/* What could be had of it from the disk cache is in memory. */
static void on_loaded(void *arg)
{
	struct ahead_fetch *fetch = arg;
	struct fs *fs = fetch->fs;
	char path[PATH_MAX];

	/* Who may log in as root may open what is there; others are asked for each file. */
	if (!remote_uid(fs->remote))
		openfile_opened(fetch->inode);
	if (openfile_is_current(fs, fetch->inode, OPENFILE_CHECKED_MS / 2) ||
	    names_path(fs->names, fetch->inode, path, sizeof(path)))
		end(fetch);
	else
		ask(fetch, path);
}

/* --- from outside --- */

bool ahead_may_fetch(struct fs *fs, const struct inode *inode)
{
	const struct openfile *open = inode->open;

	return S_ISREG(inode->attr.mode) && inode->attr.size <= AHEAD_FILE_MAX && !inode->pending &&
	       !LIST_EMPTY(&inode->names) && fs_settled(fs, inode) &&
	       (!open || (LIST_EMPTY(&open->handles) && !openfile_dirty(inode)));
}

bool ahead_fetch(struct fs *fs, struct inode *inode)
{
	struct openfile *open = openfile_of(fs, inode);
	struct ahead_fetch *fetch;
	char path[PATH_MAX];

	if (!open || open->fetching || names_path(fs->names, inode, path, sizeof(path)))
		return false;
	fetch = calloc(1, sizeof(*fetch));
	if (!fetch)
		return false;
	fetch->fs = fs;
	fetch->inode = inode;
	fetch->serial = ++fs->ahead->serial;
	STAILQ_INIT(&fetch->waiters);
	open->fetching = fetch;
	names_pin(inode);
	fs->ahead->underway++;
	if (openfile_is_whole(inode) || !content_load(open->content, on_loaded, fetch))
		ask(fetch, path);
	return true;
}

uint64_t ahead_fetch_serial(const struct inode *inode)
{
	const struct ahead_fetch *fetch = fetch_of(inode);

	return fetch ? fetch->serial : 0;
}

bool ahead_wait(struct inode *inode, void (*done)(void *arg), void *arg)
{
	struct ahead_fetch *fetch = fetch_of(inode);
	struct waiter *waiter = malloc(sizeof(*waiter));

	if (!waiter)
		return false;
	*waiter = (struct waiter){.done = done, .arg = arg};
	STAILQ_INSERT_TAIL(&fetch->waiters, waiter, link);
	return true;
}

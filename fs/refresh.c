#include "fs/refresh.h"
#include "fs/behind.h"
#include "fs/disk.h"
#include "fs/listing.h"
#include "fs/openfile.h"
#include "fs/walk.h"
#include "fs/watched.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define BURST 3 /* look-ups within BURST_MS that make a listing worth its while */
#define BURST_MS 1000
/* That many of them also ask for themselves, and take what comes first: a listing of a large folder
 * takes several round trips. */
#define IMPATIENT 16
#define LARGE_FOLDER 5000 /* names: a listing costs more than a few LSTATs */

#define REPEATS_MAX 8

struct refresh {
	struct fs *fs;
	struct inode *folder, *inode; /* inode: NULL when a name was asked for */
	refresh_done *done;
	void *arg;
	uint64_t tick, sent_ms;
	unsigned pending; /* LSTAT, listing or both */
	unsigned repeated;
	bool told;
	bool listed; /* the folder is, with all its names */
	char name[];
};

static void ask_lstat(void *arg, int err);

/* One of the answers is there; when both are awaited, the first that says something counts. */
static void end(struct refresh *refresh, int err)
{
	bool last = !--refresh->pending;

	if (!refresh->told && (!err || last)) {
		refresh->told = true;
		refresh->done(refresh->arg, err);
	}
	if (!last)
		return;
	if (refresh->folder)
		names_unpin(refresh->fs->names, refresh->folder);
	if (refresh->inode)
		names_unpin(refresh->fs->names, refresh->inode);
	free(refresh);
}

/* What no listing has told is kept for when there is no link. */
static void keep(
    const struct refresh *refresh, const struct dentry *known, const struct attr_report *report)
{
	const struct attr *attr = known && known->inode ? &known->inode->attr : NULL;

	if (!refresh->folder->folder->complete && (report->mode & S_IFMT) &&
	    (!attr || !known->inode->checked_ms || attr->mode != report->mode ||
		attr->mtime_there != report->mtime || attr->size != report->size))
		disk_save_name(refresh->fs, refresh->folder, refresh->name, report);
}

static bool is_crossed(const struct refresh *refresh, const struct sftp_attr *attr)
{
	struct attr_report report = fs_report(attr, 0);
	const struct dentry *known =
	    refresh->inode ? NULL : names_find(refresh->fs->names, refresh->folder, refresh->name);
	const struct inode *inode = known ? known->inode : refresh->inode;

	return inode && attr->flags && !openfile_dirty(inode) &&
	       names_crossed(inode, &report, refresh->tick);
}

static void on_lstat(void *arg, int err, const struct sftp_attr *attr)
{
	struct refresh *refresh = arg;
	struct fs *fs = refresh->fs;
	struct attr_report report;
	/* A folder was renamed meanwhile: was this the file that is meant? */
	bool moved = (!err || err == -ENOENT || err == -ENOTDIR) &&
		     names_moved_since(fs->names, refresh->tick);

	if ((moved || (!err && is_crossed(refresh, attr))) && refresh->repeated++ < REPEATS_MAX) {
		ask_lstat(refresh, 0);
		return;
	}
	if (moved)
		err = -ESTALE;
	if (!err && refresh->inode) {
		fs_take_report(fs, refresh->inode, attr, refresh->tick, refresh->sent_ms);
	} else if (!err) {
		struct dentry *known = names_find(fs->names, refresh->folder, refresh->name);

		report = fs_report(attr, 0);
		if (known && known->inode)
			fs_keep_unsent(known->inode, &report);
		keep(refresh, known, &report);
		if (attr->flags || !known || !known->inode)
			names_report(fs->names, refresh->folder, refresh->name, &report,
			    refresh->tick, refresh->sent_ms);
	} else if (err == -ENOENT && refresh->folder && refresh->name[0]) {
		names_report_missing(
		    fs->names, refresh->folder, refresh->name, refresh->tick, refresh->sent_ms);
		err = 0;
	}
	end(refresh, err);
}

static int refresh_path(const struct refresh *refresh, char *path, size_t size)
{
	const struct names *names = refresh->fs->names;

	return refresh->inode ? names_path(names, refresh->inode, path, size)
			      : names_child_path(names, refresh->folder, refresh->name, path, size);
}

/* A name that somebody asks for, and that may be a folder's, which is listed next as a rule; not
 * one that the folder was seen not to have. */
static bool may_be_listed(const struct refresh *refresh)
{
	const struct dentry *known;

	if (refresh->inode || refresh->told || refresh->repeated ||
	    refresh->fs->profile->readahead_dirs != SAID_YES)
		return false;
	known = names_find(refresh->fs->names, refresh->folder, refresh->name);
	return known ? known->inode && known->inode->folder : !refresh->folder->folder->complete;
}

static void send_lstat(struct refresh *refresh, const char *path)
{
	struct fs *fs = refresh->fs;

	if (refresh->folder)
		watched_want(fs, refresh->folder);
	refresh->tick = names_tick(fs->names);
	refresh->sent_ms = fs_now_ms(fs);
	/* the mounted folder may be a symlink */
	if (refresh->inode && refresh->inode == names_root(fs->names))
		remote_stat(fs->remote, path, on_lstat, refresh);
	else
		remote_lstat(fs->remote, path, on_lstat, refresh);
	if (may_be_listed(refresh))
		remote_list_expect(fs->remote, path, refresh->sent_ms);
}

/* As soon as what was changed here of the path is there. */
static void ask_lstat(void *arg, int err)
{
	struct refresh *refresh = arg;
	struct inode *inode = refresh->inode ? refresh->inode : refresh->folder;
	char path[PATH_MAX];

	if (!err && !behind_wait(refresh->fs, OUTBOX_READ, inode,
			refresh->inode ? NULL : refresh->name, ask_lstat, refresh))
		return;
	if (!err)
		err = refresh_path(refresh, path, sizeof(path));
	if (err)
		end(refresh, err);
	else
		send_lstat(refresh, path);
}

/* There is no link, and no listing has the name: has the disk cache it alone? Else it is missing
 * where a listing will do (cheapest), or it waits. */
static void on_disk_name(void *arg, const struct attr_report *report)
{
	struct refresh *refresh = arg;
	struct fs *fs = refresh->fs;

	if (!report && refresh->listed) {
		end(refresh, 0);
		return;
	}
	if (!report) {
		ask_lstat(refresh, 0);
		return;
	}
	names_report(fs->names, refresh->folder, refresh->name, report, names_tick(fs->names), 0);
	end(refresh, 0);
}

static bool is_still_missing(const struct refresh *refresh)
{
	return disk_answers(refresh->fs) && !refresh->inode && refresh->pending == 1 &&
	       !names_find(refresh->fs->names, refresh->folder, refresh->name);
}

/* Who may not list a folder may still know a name in it. */
static void on_listed(void *arg, int err)
{
	struct refresh *refresh = arg;

	refresh->listed = !err;
	if ((err == -ENODATA || (!err && is_still_missing(refresh))) &&
	    !disk_find_name(refresh->fs, refresh->folder, refresh->name, on_disk_name, refresh))
		return;
	if (err == -ENODATA)
		err = -EACCES;
	if (err == -EACCES && refresh->pending == 1 && !refresh->told)
		ask_lstat(refresh, 0);
	else
		end(refresh, err);
}

enum way { ONE_LSTAT, LISTING, BOTH };

static int ask(struct fs *fs, struct inode *folder, const char *name, struct inode *inode,
    enum way way, refresh_done *done, void *arg)
{
	struct refresh *refresh = malloc(sizeof(*refresh) + strlen(name) + 1);
	char path[PATH_MAX];
	int err;

	if (!refresh)
		return -ENOMEM;
	*refresh =
	    (struct refresh){.fs = fs, .folder = folder, .inode = inode, .done = done, .arg = arg};
	strcpy(refresh->name, name);
	err = way == LISTING ? 0 : refresh_path(refresh, path, sizeof(path));
	if (!err && way != ONE_LSTAT)
		err = disk_answers(fs) && !inode ? listing_wait_here(fs, folder, on_listed, refresh)
						 : listing_wait(fs, folder, on_listed, refresh);
	if (err) {
		free(refresh);
		return err;
	}
	refresh->pending = way == BOTH ? 2 : 1;
	if (folder)
		names_pin(folder);
	if (inode)
		names_pin(inode);
	if (way == ONE_LSTAT && !inode && disk_answers(fs) &&
	    !disk_find_name(fs, folder, name, on_disk_name, refresh))
		return 0;
	if (way != LISTING)
		ask_lstat(refresh, 0);
	return 0;
}

/* Does one more look-up in this folder make a listing the cheaper way? */
static enum way cheapest(struct fs *fs, struct inode *inode)
{
	struct folder *folder = inode->folder;
	uint64_t now = fs_now_ms(fs);

	/* A name that an old listing has not must not be taken for missing: that waits for the
	 * link, unless there never was one. */
	if (disk_answers(fs))
		return folder->complete && !fs->frozen ? ONE_LSTAT : LISTING;
	if (now - folder->misses_ms > BURST_MS) {
		folder->misses_ms = now;
		folder->misses = 0;
	}
	folder->misses++;
	if (!folder->listing && (folder->refused || folder->n_children >= LARGE_FOLDER ||
				    (folder->misses < BURST && !walk_looks(fs, inode))))
		return ONE_LSTAT;
	if (!folder->listing || folder->misses == 1)
		walk_looked(fs, inode);
	return folder->misses <= IMPATIENT ? BOTH : LISTING;
}

int refresh_name(
    struct fs *fs, struct inode *folder, const char *name, refresh_done *done, void *arg)
{
	return ask(fs, folder, name, NULL, cheapest(fs, folder), done, arg);
}

int refresh_inode(struct fs *fs, struct inode *inode, refresh_done *done, void *arg)
{
	struct inode *folder = names_parent(inode);

	return ask(fs, folder, folder ? LIST_FIRST(&inode->names)->name : "", inode,
	    folder && !inode->folder ? cheapest(fs, folder) : ONE_LSTAT, done, arg);
}

/* --- behind a caller --- */

static void nobody(void *arg, int err)
{
	(void)arg;
	(void)err;
}

void refresh_soon(struct fs *fs, struct inode *inode)
{
	uint64_t now = fs_now_ms(fs), age = fs_age_ms(fs, inode->checked_ms);
	uint32_t life = names_lifetime_ms(inode, fs_clock_there(fs), fs_attr_max_ms(fs));

	if (life > REFRESH_LIFE_MS || age < life / 2 || age >= life || !inode->checked_ms ||
	    inode->pending || openfile_dirty(inode) || fs_offline(fs) ||
	    (uint32_t)now - inode->asked_ms < life / 2 || watched_attr(fs, inode))
		return;
	inode->asked_ms = (uint32_t)now;
	ask(fs, NULL, "", inode, ONE_LSTAT, nobody, NULL);
}

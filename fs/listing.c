#include "fs/listing.h"
#include "cache/store.h"
#include "cache/store_names.h"
#include "conf/log.h"
#include "fs/ahead.h"
#include "fs/behind.h"
#include "fs/disk.h"
#include "fs/openfile.h"
#include "fs/walk.h"
#include "fs/watched.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS_MAX 8
/* The watcher makes a digest no faster than a listing is made: so many names at a time. */
#define RECALLED_MOST 20000

struct waiter {
	STAILQ_ENTRY(waiter) link;
	listing_done *done;
	void *arg;
	bool here; /* does not wait for the link */
};

struct entry {
	struct sftp_attr attr;
	uint32_t links;
	uint32_t name; /* offset in names */
};

/* Entries are put aside until the listing is whole: a broken one changes nothing (R4). */
struct listing {
	struct fs *fs;
	struct inode *folder;
	STAILQ_HEAD(, waiter) waiters;
	struct entry *entries;
	size_t n, room;
	char *names;
	size_t names_len, names_room;
	uint64_t tick, sent_ms;
	unsigned repeated;
	bool failed;	  /* memory ran out */
	bool from_disk;	  /* as it was when it was last seen */
	size_t asked;	  /* names in it whose digest is being made */
	bool recalled;	  /* as an earlier mount has seen it: does that still hold? */
	bool began_ahead; /* nobody waited when it began */
	bool ahead;	  /* and nobody has joined since */
};

static bool grow(void **memory, size_t *room, size_t wanted, size_t size)
{
	size_t more = *room ? *room * 2 : 64;
	void *grown;

	if (wanted <= *room)
		return true;
	while (more < wanted)
		more *= 2;
	grown = realloc(*memory, more * size);
	if (!grown)
		return false;
	*memory = grown;
	*room = more;
	return true;
}

static void on_entry(void *arg, const char *name, const struct sftp_attr *attr, uint32_t links)
{
	struct listing *listing = arg;
	size_t len = strlen(name) + 1;

	if (!grow(
		(void **)&listing->entries, &listing->room, listing->n + 1, sizeof(struct entry)) ||
	    !grow((void **)&listing->names, &listing->names_room, listing->names_len + len, 1)) {
		listing->failed = true;
		return;
	}
	memcpy(listing->names + listing->names_len, name, len);
	listing->entries[listing->n++] = (struct entry){
	    .attr = *attr,
	    .links = links,
	    .name = (uint32_t)listing->names_len,
	};
	listing->names_len += len;
}

static void put_names(struct listing *listing)
{
	struct fs *fs = listing->fs;
	struct inode *folder = listing->folder;
	size_t i;

	names_listing_begin(fs->names, folder);
	for (i = 0; i < listing->n; i++) {
		const struct entry *entry = &listing->entries[i];
		const char *name = listing->names + entry->name;
		struct attr_report report = fs_report(&entry->attr, entry->links);
		struct dentry *known = names_find(fs->names, folder, name);
		struct inode *inode;

		if (known && known->inode)
			fs_keep_unsent(known->inode, &report);
		inode =
		    names_report(fs->names, folder, name, &report, listing->tick, listing->sent_ms);
		if (inode && inode->folder)
			walk_found(fs, inode);
	}
}

static void take_over(struct listing *listing)
{
	struct inode *folder = listing->folder;

	if (!listing->recalled) /* else its names are known */
		put_names(listing);
	if (listing->from_disk)
		names_listing_was(folder);
	else if (!listing->recalled)
		names_listing_end(listing->fs->names, folder, listing->tick, listing->sent_ms);
	folder->folder->ahead = listing->ahead;
	folder->folder->misses = 0;
}

/* For the disk cache. */
static void save(const struct listing *listing)
{
	struct store_entries entries = {NULL, 0, 0};
	struct attr_report report;
	size_t i;

	if (!listing->fs->store)
		return;
	for (i = 0; i < listing->n; i++) {
		report = fs_report(&listing->entries[i].attr, listing->entries[i].links);
		report.atime = 0; /* moves by reading */
		if (store_entries_add(
			&entries, listing->names + listing->entries[i].name, &report)) {
			free(entries.bytes);
			return;
		}
	}
	disk_forget_listing(listing->fs, listing->folder);
	disk_save_folder(listing->fs, listing->folder, &entries);
}

/* A folder was renamed meanwhile, so that this may be the listing of another one: once more. */
static bool is_doubtful(const struct listing *listing, int err)
{
	return !listing->from_disk && !listing->recalled &&
	       (!err || err == -ENOENT || err == -ENOTDIR) &&
	       names_moved_since(listing->fs->names, listing->tick);
}

/* Modes that were set decide on what all but root may list. */
static enum outbox_kind turn_kind(const struct fs *fs)
{
	return remote_uid(fs->remote) ? OUTBOX_ALONE : OUTBOX_READ;
}

static void send_when_clear(void *arg, int err);

static void list_again(struct listing *listing)
{
	listing->n = 0;
	listing->names_len = 0;
	listing->failed = false;
	listing->repeated++;
	send_when_clear(listing, 0);
}

/* The server leaves out whose attributes it can't get: in a folder that may be read and not passed,
 * every name, "." as well. */
static bool is_closed(const struct listing *listing, const struct sftp_attr *self)
{
	return !self && !listing->n && !listing->from_disk && !listing->recalled &&
	       !fs_login_may(listing->fs, listing->folder, 1);
}

static void on_done(void *arg, int err, const struct sftp_attr *self)
{
	struct listing *listing = arg;
	struct fs *fs = listing->fs;
	struct inode *folder = listing->folder;
	bool was_unread = folder->folder->ahead;
	struct waiter *waiter;

	if (is_doubtful(listing, err)) {
		if (listing->repeated < REPEATS_MAX) {
			list_again(listing);
			return;
		}
		err = -ESTALE;
	}
	if (!err && listing->failed)
		err = -ENOMEM;
	if (!err && is_closed(listing, self))
		err = -EACCES;
	folder->folder->listing = NULL;
	if (!err) {
		if (self)
			fs_take_report(fs, folder, self, listing->tick, listing->sent_ms);
		take_over(listing);
		if (!listing->from_disk && !listing->recalled) {
			watched_listed(fs, folder);
			save(listing);
		}
	}
	folder->folder->refused = err == -EACCES;
	if (was_unread && !folder->folder->ahead)
		fs->walk_unread--;
	walk_listed(fs, listing->began_ahead, folder->folder->ahead && !was_unread);
	ahead_listed(fs);
	while ((waiter = STAILQ_FIRST(&listing->waiters))) {
		STAILQ_REMOVE_HEAD(&listing->waiters, link);
		waiter->done(waiter->arg, err);
		free(waiter);
	}
	names_unpin(fs->names, folder);
	free(listing->entries);
	free(listing->names);
	free(listing);
}

static const struct remote_listing callbacks = {.entry = on_entry, .done = on_done};

static void ask(struct listing *listing, const char *path)
{
	watched_want(listing->fs, listing->folder);
	listing->tick = names_tick(listing->fs->names);
	listing->sent_ms = fs_now_ms(listing->fs);
	/* its last look-up may have opened it already */
	remote_list(listing->fs->remote, path, listing->folder->checked_ms, &callbacks, listing);
}

static bool take_from_disk(struct listing *listing, const uint8_t *bytes, size_t len)
{
	struct store_entry entry;
	size_t at = 0;
	int more;

	while ((more = store_entries_next(bytes, len, &at, &entry)) > 0) {
		struct sftp_attr attr = {
		    .flags = SSH_FILEXFER_ATTR_SIZE | SSH_FILEXFER_ATTR_UIDGID |
			     SSH_FILEXFER_ATTR_PERMISSIONS | SSH_FILEXFER_ATTR_ACMODTIME,
		    .size = entry.report.size,
		    .uid = entry.report.uid,
		    .gid = entry.report.gid,
		    .mode = entry.report.mode,
		    .atime = entry.report.mtime,
		    .mtime = entry.report.mtime};

		on_entry(listing, entry.name, &attr, entry.report.nlink);
	}
	if (!more)
		return true;
	listing->n = listing->names_len = 0;
	return false;
}

/* Those who do not want to wait for the link are told. Whether others are left. */
static bool others_wait(struct listing *listing)
{
	STAILQ_HEAD(, waiter) all = STAILQ_HEAD_INITIALIZER(all);
	struct waiter *waiter;

	STAILQ_CONCAT(&all, &listing->waiters);
	while ((waiter = STAILQ_FIRST(&all))) {
		STAILQ_REMOVE_HEAD(&all, link);
		if (!waiter->here) {
			STAILQ_INSERT_TAIL(&listing->waiters, waiter, link);
			continue;
		}
		waiter->done(waiter->arg, -ENODATA);
		free(waiter);
	}
	return listing->ahead || !STAILQ_EMPTY(&listing->waiters);
}

/* --- what an earlier mount has seen --- */

static void ask_all(struct listing *listing)
{
	char path[PATH_MAX];
	int err = names_path(listing->fs->names, listing->folder, path, sizeof(path));

	if (err)
		on_done(listing, err, NULL);
	else
		ask(listing, path);
}

static void on_recalled(void *arg, bool holds)
{
	struct listing *listing = arg;

	walk_recalled(listing->fs, listing->began_ahead);
	listing->fs->recalled_names -= listing->asked;
	listing->asked = 0;
	listing->recalled = holds || disk_answers(listing->fs);
	if (listing->recalled)
		on_done(listing, 0, NULL);
	else
		ask_all(listing);
}

/* A walk goes on into the folders that there were while the instance says whether there still are:
 * so not each level waits for the one above. Nothing of it is believed before that. */
static void recall(struct listing *listing, const uint8_t *bytes)
{
	struct fs *fs = listing->fs;
	struct inode *folder = listing->folder;
	size_t n = listing->n;
	int holds = -EBUSY;

	listing->tick = 0;
	listing->sent_ms = 0;
	put_names(listing);
	names_listing_was(folder);
	memcpy(&folder->folder->saved, bytes, sizeof(folder->folder->saved));
	listing->n = listing->names_len = 0;
	walk_recalls(fs, listing->began_ahead);
	if (!fs->recalled_names || fs->recalled_names + n <= RECALLED_MOST)
		holds = watched_recall(fs, folder, on_recalled, listing);
	if (!holds)
		fs->recalled_names += listing->asked = n;
	else
		on_recalled(listing, holds > 0);
}

/* Has nothing been heard of the folder since the mount, that the disk cache may know? */
static bool may_recall(const struct listing *listing)
{
	const struct folder *folder = listing->folder->folder;

	return listing->fs->store && !fs_offline(listing->fs) && !folder->complete &&
	       !folder->listed_ms && !listing->repeated && store_is_calm(listing->fs->store);
}

static void on_disk_listing(void *arg, const uint8_t *bytes, size_t len)
{
	struct listing *listing = arg;
	int err = 0;

	if (!bytes && !disk_answers(listing->fs)) {
		ask_all(listing);
		return;
	}
	if (bytes && take_from_disk(listing, bytes, len)) {
		if (!disk_answers(listing->fs)) {
			recall(listing, bytes);
			return;
		}
		listing->from_disk = true;
		listing->tick = names_tick(listing->fs->names);
		listing->sent_ms = 0; /* to be asked again as soon as there is a link */
		on_done(listing, 0, NULL);
		return;
	}
	err = others_wait(listing) ? 0 : -ENODATA;
	if (err)
		on_done(listing, err, NULL);
	else
		ask_all(listing);
}

/* Without a link, what the disk cache has is as good as anything (R5); with one, it is where to
 * begin. */
static void send_list(struct listing *listing, const char *path)
{
	struct fs *fs = listing->fs;

	if ((!disk_answers(fs) && !may_recall(listing)) ||
	    store_find_folder(fs->store, path, on_disk_listing, listing))
		ask(listing, path);
}

/* When what was changed here of the folder's own path is there. err: the listing can't be sent any
 * more. */
static void send_when_clear(void *arg, int err)
{
	struct listing *listing = arg;
	struct fs *fs = listing->fs;
	char path[PATH_MAX];
	int waits = 1;

	if (!err)
		waits =
		    behind_wait(fs, turn_kind(fs), listing->folder, NULL, send_when_clear, listing);
	if (!err && !waits)
		return;
	if (waits < 0)
		err = waits;
	if (!err)
		err = names_path(fs->names, listing->folder, path, sizeof(path));
	if (err) {
		on_done(listing, err, NULL);
		return;
	}
	send_list(listing, path);
}

static int begin(struct fs *fs, struct inode *folder, bool ahead)
{
	struct listing *listing;
	char path[PATH_MAX];
	int err = names_path(fs->names, folder, path, sizeof(path));
	int waits = 1;

	if (err)
		return err;
	listing = calloc(1, sizeof(*listing));
	if (!listing)
		return -ENOMEM;
	listing->fs = fs;
	listing->folder = folder;
	listing->ahead = listing->began_ahead = ahead;
	STAILQ_INIT(&listing->waiters);
	waits = behind_wait(fs, turn_kind(fs), folder, NULL, send_when_clear, listing);
	if (waits < 0) {
		free(listing);
		return waits;
	}
	names_pin(folder);
	folder->folder->listing = listing;
	if (waits)
		send_list(listing, path);
	return 0;
}

static int join(struct fs *fs, struct inode *folder, bool here, listing_done *done, void *arg)
{
	struct waiter *waiter = malloc(sizeof(*waiter));
	struct listing *listing;
	int err = waiter ? 0 : -ENOMEM;

	if (!err && !folder->folder->listing)
		err = begin(fs, folder, false);
	if (err) {
		free(waiter);
		return err;
	}
	listing = folder->folder->listing;
	*waiter = (struct waiter){.done = done, .arg = arg, .here = here};
	STAILQ_INSERT_TAIL(&listing->waiters, waiter, link);
	listing->ahead = false;
	return 0;
}

int listing_wait(struct fs *fs, struct inode *folder, listing_done *done, void *arg)
{
	return join(fs, folder, false, done, arg);
}

int listing_wait_here(struct fs *fs, struct inode *folder, listing_done *done, void *arg)
{
	return join(fs, folder, true, done, arg);
}

bool listing_ahead(struct fs *fs, struct inode *folder)
{
	if (folder->folder->listing || begin(fs, folder, true))
		return false;
	fs->walk_flying++;
	fs->listed_ahead++;
	return true;
}

bool listing_is_fresh(struct fs *fs, const struct inode *folder)
{
	const struct folder *dir = folder->folder;

	/* A folder that is not there yet has only what was made here. One in which names are being
	 * changed here is asked again when that is over. */
	if (dir->complete && (fs_offline(fs) || folder->pending || (dir->changing && dir->ours)))
		return true;
	return dir->listed_ms > fs->doubt_ms && (names_listing_fresh(folder, fs_now_ms(fs),
						     fs_clock_there(fs), fs_attr_max_ms(fs)) ||
						    watched_names(fs, folder));
}

#include "fs/targets.h"
#include "cache/outbox.h"
#include "cache/store.h"
#include "cache/store_names.h"
#include "fs/disk.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096u
#define AHEAD_MOST 256u /* asked for together, and at once */
#define LOOK_AT 2000u	/* names, for those beside one */
#define SECOND_MS 2000	/* how soon after the first one the second one is */

/* Known, or asked for. */
struct target {
	struct target *next;
	const struct inode *inode;
	struct asked *asked; /* NULL: nobody is */
	uint32_t mtime;
	char *text; /* NULL: not known */
};

struct waiter {
	STAILQ_ENTRY(waiter) link;
	targets_done *done;
	void *arg;
};

struct asked {
	struct fs *fs;
	struct inode *inode; /* pinned */
	uint64_t tick;
	uint32_t mtime;
	bool settled, ahead;
	STAILQ_HEAD(, waiter) waiters;
};

struct targets {
	struct target *buckets[BUCKETS];
	unsigned n, ahead;	    /* under way with nobody waiting when they were sent */
	const struct inode *folder; /* the one a link was last read in; only compared */
	uint64_t folder_ms;
};

/* --- the table --- */

static struct target **place(struct targets *targets, const struct inode *inode)
{
	uint64_t hash = (uint64_t)(uintptr_t)inode * 0x9e3779b97f4a7c15ull;
	struct target **at = &targets->buckets[hash >> 52];

	while (*at && (*at)->inode != inode)
		at = &(*at)->next;
	return at;
}

static struct target *find(const struct fs *fs, const struct inode *inode)
{
	return fs->targets ? *place(fs->targets, inode) : NULL;
}

static struct target *make(struct fs *fs, const struct inode *inode)
{
	struct target *target = find(fs, inode);

	if (!fs->targets)
		fs->targets = calloc(1, sizeof(*fs->targets));
	if (target || !fs->targets || fs->targets->n == TARGETS_MAX)
		return target;
	target = calloc(1, sizeof(*target));
	if (!target)
		return NULL;
	target->inode = inode;
	*place(fs->targets, inode) = target;
	fs->targets->n++;
	return target;
}

void targets_forget(struct fs *fs, const struct inode *inode)
{
	struct target **at = fs->targets ? place(fs->targets, inode) : NULL;
	struct target *target = at ? *at : NULL;

	if (!target)
		return;
	*at = target->next;
	free(target->text);
	free(target);
	fs->targets->n--;
}

void targets_free(struct fs *fs)
{
	free(fs->targets);
	fs->targets = NULL;
}

/* The size of a link is its target's length, where the server says so. */
static bool fits(const struct inode *inode, const char *text)
{
	return !inode->attr.size || inode->attr.size == strlen(text);
}

const char *targets_known(struct fs *fs, const struct inode *inode)
{
	const struct target *target = find(fs, inode);

	return target && target->text && target->mtime == inode->attr.mtime_there &&
		       fits(inode, target->text)
		   ? target->text
		   : NULL;
}

static void keep(struct fs *fs, const struct inode *inode, uint32_t mtime, const char *text)
{
	struct target *target = make(fs, inode);

	if (!target)
		return;
	free(target->text);
	target->text = strdup(text);
	target->mtime = mtime;
}

static void save(struct fs *fs, const struct inode *inode, uint32_t mtime, const char *text)
{
	struct store_entries record = {NULL, 0, 0};
	char path[PATH_MAX];

	if (!fs->store || names_path(fs->names, inode, path, sizeof(path)) ||
	    store_target_make(&record, mtime, text))
		return;
	store_save_folder(fs->store, path, record.bytes, record.len);
}

/* --- asking --- */

static bool add_waiter(struct asked *asked, targets_done *done, void *arg)
{
	struct waiter *waiter = malloc(sizeof(*waiter));

	if (!waiter)
		return false;
	*waiter = (struct waiter){.done = done, .arg = arg};
	STAILQ_INSERT_TAIL(&asked->waiters, waiter, link);
	return true;
}

/* Takes the waiters before any of them is told: they may ask anew. */
static void end(struct asked *asked, int err, const char *text)
{
	struct fs *fs = asked->fs;
	struct target *target = find(fs, asked->inode);
	struct waiter *waiter;

	if (target && target->asked == asked)
		target->asked = NULL;
	if (asked->ahead)
		fs->targets->ahead--;
	while ((waiter = STAILQ_FIRST(&asked->waiters))) {
		STAILQ_REMOVE_HEAD(&asked->waiters, link);
		waiter->done(waiter->arg, err, text);
		free(waiter);
	}
	names_unpin(fs->names, asked->inode);
	free(asked);
}

static void on_target(void *arg, int err, const char *text)
{
	struct asked *asked = arg;
	struct fs *fs = asked->fs;

	/* The path may have led to another link. */
	if (!err && names_moved_since(fs->names, asked->tick)) {
		if (asked->ahead)
			err = -ESTALE;
	} else if (!err && asked->settled && !LIST_EMPTY(&asked->inode->names)) {
		keep(fs, asked->inode, asked->mtime, text);
		save(fs, asked->inode, asked->mtime, text);
	}
	end(asked, err, text);
}

static struct asked *asked_new(struct fs *fs, struct inode *inode)
{
	struct target *target = make(fs, inode);
	struct asked *asked = calloc(1, sizeof(*asked));

	if (!asked)
		return NULL;
	asked->fs = fs;
	asked->inode = inode;
	asked->tick = names_tick(fs->names);
	asked->mtime = inode->attr.mtime_there;
	asked->settled = inode->checked_ms && fs_settled(fs, inode);
	STAILQ_INIT(&asked->waiters);
	if (target && !target->asked)
		target->asked = asked;
	names_pin(inode);
	return asked;
}

void targets_ask(
    struct fs *fs, struct inode *inode, const char *path, targets_done *done, void *arg)
{
	struct asked *asked = asked_new(fs, inode);

	if (asked && add_waiter(asked, done, arg)) {
		remote_readlink(fs->remote, path, on_target, asked);
		return;
	}
	if (asked)
		end(asked, 0, NULL);
	remote_readlink(fs->remote, path, done, arg);
}

bool targets_join(struct fs *fs, struct inode *inode, targets_done *done, void *arg)
{
	struct target *target = find(fs, inode);

	return target && target->asked && add_waiter(target->asked, done, arg);
}

static bool is_wanted(const struct fs *fs, const struct inode *inode)
{
	const struct target *target = find(fs, inode);

	return S_ISLNK(inode->attr.mode) && !inode->pending && inode->checked_ms &&
	       fs_settled(fs, inode) &&
	       (!target || (!target->asked && target->mtime != inode->attr.mtime_there));
}

void targets_ahead(struct fs *fs, struct inode *inode)
{
	struct inode *folder = names_parent(inode);
	struct dentry *dentry = LIST_FIRST(&inode->names);
	uint64_t now = fs_now_ms(fs);
	struct targets *targets = fs->targets;
	char path[PATH_MAX];
	unsigned looks;
	bool second;

	if (!folder || !targets)
		return;
	second = targets->folder == folder && now - targets->folder_ms < SECOND_MS;
	targets->folder = folder;
	targets->folder_ms = now;
	if (!second || fs_offline(fs) || outbox_count(fs->outbox)) /* paths may lead elsewhere */
		return;
	for (looks = 0; looks < LOOK_AT && targets->ahead < AHEAD_MOST; looks++) {
		struct asked *asked;

		dentry = TAILQ_NEXT(dentry, sibling);
		if (!dentry)
			return;
		if (!dentry->inode || dentry->pending || !is_wanted(fs, dentry->inode) ||
		    names_child_path(fs->names, folder, dentry->name, path, sizeof(path)))
			continue;
		asked = asked_new(fs, dentry->inode);
		if (!asked)
			return;
		asked->ahead = true;
		targets->ahead++;
		remote_readlink(fs->remote, path, on_target, asked);
	}
}

/* --- the disk cache --- */

static void on_loaded(void *arg, const uint8_t *bytes, size_t len)
{
	struct asked *asked = arg;
	char text[PATH_MAX];

	if (!bytes || store_target_read(bytes, len, asked->mtime, text, sizeof(text)) ||
	    !fits(asked->inode, text)) {
		end(asked, -ENOENT, NULL);
		return;
	}
	keep(asked->fs, asked->inode, asked->mtime, text);
	end(asked, 0, text);
}

int targets_load(struct fs *fs, struct inode *inode, targets_done *done, void *arg)
{
	struct asked *asked;
	char path[PATH_MAX];
	int err = fs->store ? names_path(fs->names, inode, path, sizeof(path)) : -ENOENT;

	if (err)
		return err;
	asked = asked_new(fs, inode);
	if (!asked)
		return -ENOMEM;
	if (!add_waiter(asked, done, arg))
		err = -ENOMEM;
	if (!err && (err = store_find_folder(fs->store, path, on_loaded, asked)))
		free(STAILQ_FIRST(&asked->waiters));
	if (!err)
		return 0;
	STAILQ_INIT(&asked->waiters);
	end(asked, err, NULL);
	return err;
}

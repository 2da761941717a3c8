#include "conf/log.h"
#include "fs/behind_impl.h"
#include "fs/nameless.h"
#include "fs/notify.h"
#include "fs/owed.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define LINK_WAIT_MS 1000

/* --- one change --- */

struct behind *behind_new(struct fs *fs, struct inode *folder, const char *name,
    struct inode *to_folder, const char *to_name, struct inode *inode)
{
	size_t len = strlen(name) + 1, to_len = strlen(to_name) + 1;
	struct behind *behind = calloc(1, sizeof(*behind) + len + to_len);

	if (!behind)
		return NULL;
	behind->fs = fs;
	behind->folder = folder;
	behind->to_folder = to_folder;
	behind->inode = inode;
	if (folder)
		names_pin(folder);
	if (to_folder)
		names_pin(to_folder);
	if (inode)
		names_pin(inode);
	behind->name = memcpy(behind->names, name, len);
	behind->to_name = memcpy(behind->names + len, to_name, to_len);
	return behind;
}

static void lost_name(struct behind *behind)
{
	struct openfile *open = behind->there->open;

	if (open && open->leaving == behind)
		open->leaving = NULL;
	names_unpin(behind->fs->names, behind->there);
}

void behind_free(struct behind *behind)
{
	struct names *names = behind->fs->names;

	behind_spool_drop(behind);
	if (behind->handle)
		handle_put(behind->handle);
	if (behind->there)
		lost_name(behind);
	if (behind->inode)
		names_unpin(names, behind->inode);
	if (behind->to_folder)
		names_unpin(names, behind->to_folder);
	if (behind->folder)
		names_unpin(names, behind->folder);
	free(behind->target);
	free(behind->item.path);
	free(behind->item.to);
	free(behind);
}

/* What a rename takes the place of. It may have other names, by which the instance tells a count of
 * links that is too high until that is done. */
static struct inode *replaced(const struct behind *behind)
{
	return behind->there != behind->inode ? behind->there : NULL;
}

static void pend(struct behind *behind)
{
	struct names *names = behind->fs->names;

	if (behind->opens)
		return;
	if (replaced(behind))
		names_fly_inode(behind->there);
	if (behind->to_folder)
		names_pend(names, behind->to_folder, behind->to_name, NULL);
	if (behind->folder)
		names_pend(names, behind->folder, behind->name, behind->inode);
	else if (behind->inode)
		names_pend_inode(behind->inode);
}

static void settle(struct behind *behind)
{
	struct names *names = behind->fs->names;

	if (behind->opens)
		return;
	if (behind->to_folder)
		names_settle(names, behind->to_folder, behind->to_name, NULL);
	if (behind->folder)
		names_settle(names, behind->folder, behind->name, behind->inode);
	else if (behind->inode)
		names_settle_inode(names, behind->inode);
	if (replaced(behind)) {
		names_changed(names, behind->there);
		names_land_inode(names, behind->there);
	}
}

int behind_add(struct behind *behind, enum outbox_kind kind, const char *path, const char *to)
{
	struct fs *fs = behind->fs;
	int err;

	pend(behind);
	err = outbox_add(fs->outbox, &behind->item, kind, path, to, fs_now_ms(fs));
	if (err) {
		settle(behind);
		behind_free(behind);
	}
	return err;
}

/* --- the sink --- */

static void want_link(void *arg);

static void on_link(void *arg, int err)
{
	struct fs *fs = arg;

	fs->outbox_link = false;
	if (err == -ENOTCONN || !fs->outbox) /* the mount is going away */
		return;
	if (err) {
		want_link(fs);
		return;
	}
	outbox_up(fs->outbox);
}

static void want_link(void *arg)
{
	struct fs *fs = arg;

	if (fs->outbox_channel)
		pool_channel_put(fs->outbox_channel);
	fs->outbox_channel = NULL;
	if (fs->outbox_link)
		return;
	fs->outbox_link = true;
	pool_wait(remote_pool(fs->remote), LANE_FILES, LINK_WAIT_MS, on_link, fs);
}

static void on_no_channel(void *arg, int err)
{
	(void)err;
	behind_answered(arg, -ENOTCONN);
}

/* All go through the same channel until it is lost, and its order with it. It is one of those for
 * bulk data, so that look-ups have theirs for themselves. */
static bool find_channel(struct fs *fs)
{
	struct pool_channel *channel = fs->outbox_channel;

	if (channel && outbox_count(fs->outbox) > 1)
		return pool_channel_alive(channel);
	if (channel)
		pool_channel_put(channel);
	fs->outbox_channel = NULL;
	channel = pool_channel(remote_pool(fs->remote), LANE_BULK, false);
	if (!channel)
		return false;
	fs->outbox_channel = pool_channel_get(channel);
	return true;
}

static void send_open_or_create(struct behind *behind)
{
	if (behind->opens)
		behind_send_open(behind);
	else
		behind_send_create(behind, !behind->empties);
}

/* The name that is taken away from a file. */
static const char *name_lost(const struct behind *behind)
{
	const struct outbox_item *item = &behind->item;

	return item->kind == OUTBOX_RENAME ? item->to : item->path;
}

static void send_names(struct behind *behind)
{
	if (behind->there)
		nameless_open(behind->there, behind->fs->outbox_channel, name_lost(behind));
	behind_send_names(behind);
}

static void send_item(void *arg, struct outbox_item *item)
{
	struct behind *behind = (struct behind *)item;
	struct fs *fs = arg;

	behind->sent_ms = fs_now_ms(fs);
	behind->tick = names_tick(fs->names);
	behind->err = behind->attr_err = behind->set_err = 0;
	behind_spool_sent(behind);
	if (behind->there && !behind->held)
		behind->held = nameless_hold(behind->there, true);
	if (item->kind == OUTBOX_FILE)
		behind_send_file(behind);
	else if (!find_channel(fs))
		pool_wait(remote_pool(fs->remote), LANE_FILES, 0, on_no_channel, behind);
	else if (item->kind == OUTBOX_CREATE || item->kind == OUTBOX_OPEN)
		send_open_or_create(behind);
	else if (item->kind == OUTBOX_TRUNCATE)
		behind_send_truncate(behind);
	else
		send_names(behind);
}

void behind_send_again(struct behind *behind)
{
	struct fs *fs = behind->fs;

	if (find_channel(fs))
		send_open_or_create(behind);
	else
		pool_wait(remote_pool(fs->remote), LANE_FILES, 0, on_no_channel, behind);
}

void behind_answered(struct behind *behind, int err)
{
	if (behind->fs->outbox)
		outbox_answered(behind->fs->outbox, &behind->item, err);
}

void behind_mended(void *arg, int err)
{
	struct behind *behind = arg;

	if (err)
		failures_add(behind->fs, "setting mode or owner", behind->item.path, err);
	behind_answered(behind, 0);
}

static const char *words_for(enum outbox_kind kind)
{
	static const char *const words[] = {[OUTBOX_MKDIR] = "mkdir",
	    [OUTBOX_RMDIR] = "rmdir",
	    [OUTBOX_UNLINK] = "unlink",
	    [OUTBOX_SYMLINK] = "symlink",
	    [OUTBOX_CREATE] = "create",
	    [OUTBOX_OPEN] = "open",
	    [OUTBOX_FILE] = "write",
	    [OUTBOX_SETATTR] = "setattr",
	    [OUTBOX_TRUNCATE] = "truncate",
	    [OUTBOX_RENAME] = "rename",
	    [OUTBOX_LINK] = "link"};

	return words[kind];
}

/* What was taken for done is not: what is known of the names is forgotten, here and by the kernel.
 */
static void forget(struct behind *behind)
{
	struct fs *fs = behind->fs;

	if (behind->folder) {
		names_doubt(fs->names, behind->folder, behind->name);
		notify_name(fs, behind->folder, behind->name);
	}
	if (behind->to_folder) {
		names_doubt(fs->names, behind->to_folder, behind->to_name);
		notify_name(fs, behind->to_folder, behind->to_name);
	}
	if (behind->inode) {
		if (behind->inode->open)
			((struct openfile *)behind->inode->open)->own = false;
		behind->inode->checked_ms = 0;
		notify_content(fs, behind->inode);
	}
}

static void ended(void *arg, struct outbox_item *item, int err)
{
	struct behind *behind = (struct behind *)item;
	struct fs *fs = arg;

	fs->changes_ended++;
	behind_forget_put_off(behind);
	behind->current = !behind->inode || behind->inode->changed_tick <= behind->tick;
	settle(behind);
	if (item->kind == OUTBOX_CREATE)
		behind_ended_create(behind, err);
	else if (item->kind == OUTBOX_OPEN)
		behind_ended_open(behind, err);
	else if (item->kind == OUTBOX_FILE)
		behind_ended_file(behind, err);
	else if (item->kind == OUTBOX_TRUNCATE)
		behind_ended_truncate(behind, err);
	else
		behind_ended_names(behind, err);
	behind_spool_ended(behind, err);
	if (behind->there)
		nameless_ended(behind->there, behind->held, err);
	if (err) {
		/* The data of a file that was removed meanwhile is nobody's. */
		if (item->kind != OUTBOX_FILE || !LIST_EMPTY(&behind->inode->names))
			failures_add(fs, words_for(item->kind), item->path, err);
		if (item->kind == OUTBOX_LINK)
			owed_link(fs, behind->inode, err);
		if (item->kind == OUTBOX_RENAME)
			owed_rename(fs, behind->folder, behind->name, err);
		forget(behind);
	}
	behind_free(behind);
	behind_one_less(fs);
}

static const struct outbox_sink sink = {.send = send_item, .ended = ended, .want_link = want_link};

int behind_start(struct fs *fs)
{
	TAILQ_INIT(&fs->failures);
	TAILQ_INIT(&fs->owed);
	TAILQ_INIT(&fs->put_off);
	fs->outbox = outbox_new(&sink, fs);
	return fs->outbox ? 0 : -ENOMEM;
}

void behind_stop(struct fs *fs)
{
	struct outbox *outbox = fs->outbox;

	if (!outbox)
		return;
	outbox_free(outbox);
	fs->outbox = NULL;
	if (fs->outbox_channel)
		pool_channel_put(fs->outbox_channel);
	fs->outbox_channel = NULL;
}

/* --- waiting --- */

int behind_wait(struct fs *fs, enum outbox_kind kind, struct inode *inode, const char *name,
    void (*done)(void *arg, int err), void *arg)
{
	char path[PATH_MAX];
	int err;

	if (!outbox_count(fs->outbox))
		return 1;
	err = name ? names_child_path(fs->names, inode, name, path, sizeof(path))
		   : names_path(fs->names, inode, path, sizeof(path));
	return err ? err : outbox_wait(fs->outbox, kind, path, NULL, done, arg);
}

int behind_wait_leaving(const struct openfile *open, void (*done)(void *arg, int err), void *arg)
{
	return outbox_wait(
	    open->fs->outbox, OUTBOX_READ, name_lost(open->leaving), NULL, done, arg);
}

static void count_file(void *arg, const struct outbox_item *item)
{
	const struct behind *behind = (const struct behind *)item;
	uint64_t *files = arg;

	/* Those with data on its way count by that. */
	*files += item->kind == OUTBOX_FILE && !content_dirty(behind->handle->open->content);
}

uint64_t behind_files(const struct fs *fs)
{
	struct content_figures figures;
	uint64_t files = 0;

	content_pool_figures(fs->contents, &figures);
	outbox_each(fs->outbox, count_file, &files);
	return files + figures.dirty_files;
}

struct sync {
	struct fs *fs;
	void (*done)(void *arg, int err);
	void *arg;
};

static void on_data_synced(void *arg, int err)
{
	struct sync *sync = arg;
	int failure = failures_tell(sync->fs);

	sync->done(sync->arg, err ? err : failure);
	free(sync);
}

static void on_changes_synced(void *arg, int err)
{
	struct sync *sync = arg;

	(void)err;
	content_pool_sync(sync->fs->contents, on_data_synced, sync);
}

void behind_sync(struct fs *fs, void (*done)(void *arg, int err), void *arg)
{
	struct sync *sync = malloc(sizeof(*sync));
	int waits;

	if (!sync) {
		done(arg, -ENOMEM);
		return;
	}
	*sync = (struct sync){.fs = fs, .done = done, .arg = arg};
	waits = outbox_wait(fs->outbox, OUTBOX_ALL, NULL, NULL, on_changes_synced, sync);
	if (waits)
		on_changes_synced(sync, 0);
}

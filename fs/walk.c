#include "fs/walk.h"
#include "fs/listing.h"

#define WINDOW_FIRST 8
#define WINDOW_MAX 64
#define WINDOW_BY_NAMES 4
#define RECALLS 8	/* for each of the window */
#define UNREAD_MAX 1024 /* listed ahead and not looked at */
#define QUEUE_MAX 100000
#define WALK_ENDS_MS 2000      /* without an opening */
#define PARENT_OPENED_MS 30000 /* how recent "a moment ago" is */

void walk_init(struct fs *fs)
{
	TAILQ_INIT(&fs->walk_queue);
	fs->walk_window = WINDOW_FIRST;
}

static void leave_queue(struct fs *fs, struct folder *folder)
{
	if (!folder->queued)
		return;
	TAILQ_REMOVE(&fs->walk_queue, folder, walk);
	folder->queued = false;
	fs->walk_queued--;
}

void walk_found(struct fs *fs, struct inode *inode)
{
	struct folder *folder = inode->folder;

	if (folder->queued || fs->walk_queued >= QUEUE_MAX || listing_is_fresh(fs, inode))
		return;
	folder->queued = true;
	TAILQ_INSERT_TAIL(&fs->walk_queue, folder, walk);
	fs->walk_queued++;
}

void walk_forget(struct fs *fs, struct inode *inode)
{
	if (!inode->folder)
		return;
	leave_queue(fs, inode->folder);
	if (inode->folder->ahead)
		fs->walk_unread--;
}

static bool is_within(const struct inode *folder, const struct inode *above)
{
	while (folder && folder != above)
		folder = names_parent(folder);
	return folder;
}

void walk_read(struct fs *fs, const struct inode *from, struct inode *folder)
{
	uint64_t now = fs_now_ms(fs);

	fs->walk_active_ms = now;
	for (; folder; folder = names_parent(folder)) {
		folder->folder->opened_ms = now;
		if (is_within(from, folder))
			break;
	}
}

bool walk_active(const struct fs *fs)
{
	return fs->walk_active_ms && fs_now_ms(fs) - fs->walk_active_ms < WALK_ENDS_MS;
}

static unsigned unread_most(const struct fs *fs)
{
	return fs->walk_by_names ? 2 * fs->walk_window : UNREAD_MAX;
}

static void go_ahead(struct fs *fs)
{
	struct folder *folder;

	while (fs->profile->readahead_dirs == SAID_YES && walk_active(fs) &&
	       fs->walk_flying < fs->walk_window && fs->walk_recalls < RECALLS * fs->walk_window &&
	       fs->walk_unread < unread_most(fs) && (folder = TAILQ_FIRST(&fs->walk_queue))) {
		leave_queue(fs, folder);
		if (listing_is_fresh(fs, folder->inode))
			continue;
		listing_ahead(fs, folder->inode);
	}
}

void walk_listed(struct fs *fs, bool ours, bool unread)
{
	if (unread)
		fs->walk_unread++;
	if (ours)
		fs->walk_flying--;
	go_ahead(fs);
}

void walk_recalls(struct fs *fs, bool ours)
{
	fs->walk_flying -= ours;
	fs->walk_recalls += ours;
	go_ahead(fs);
}

void walk_recalled(struct fs *fs, bool ours)
{
	fs->walk_flying += ours;
	fs->walk_recalls -= ours;
}

/* The queue may hold folders of an earlier walk elsewhere: what lies around this one comes first.
 */
static void queue_neighbours(struct fs *fs, struct inode *parent)
{
	struct dentry *dentry;
	unsigned n = 0;

	TAILQ_FOREACH (dentry, &parent->folder->children, sibling) {
		if (dentry->inode && dentry->inode->folder && ++n <= QUEUE_MAX) {
			leave_queue(fs, dentry->inode->folder);
			walk_found(fs, dentry->inode);
		}
	}
}

/* A program has come to the folder; was it listed ahead? */
static void reached(struct fs *fs, struct folder *folder)
{
	leave_queue(fs, folder);
	if (folder->ahead) {
		folder->ahead = false;
		fs->walk_unread--;
		fs->listed_ahead_used++;
		if (fs->walk_window < WINDOW_MAX)
			fs->walk_window *= 2;
	}
	folder->opened_ms = fs_now_ms(fs);
}

/* Did a walk come by a moment ago? */
static bool is_passed(const struct fs *fs, const struct inode *folder)
{
	return folder && folder->folder->opened_ms &&
	       fs_now_ms(fs) - folder->folder->opened_ms < PARENT_OPENED_MS;
}

static void go_on_below(struct fs *fs, struct inode *parent, unsigned window)
{
	if (!walk_active(fs)) {
		struct folder *old;

		while ((old = TAILQ_FIRST(&fs->walk_queue)))
			leave_queue(fs, old);
		fs->walk_window = window;
		queue_neighbours(fs, parent);
	}
	fs->walk_active_ms = fs_now_ms(fs);
	parent->folder->opened_ms = fs_now_ms(fs);
}

void walk_opened(struct fs *fs, struct inode *inode)
{
	struct inode *parent = names_parent(inode);

	reached(fs, inode->folder);
	if (is_passed(fs, parent)) {
		go_on_below(fs, parent, WINDOW_FIRST);
		fs->walk_by_names = false;
	}
	go_ahead(fs);
}

/* The folders of a place that a walk by names has come to unexpectedly are listed first. */
static void queue_first(struct fs *fs, struct inode *place)
{
	struct dentry *dentry;

	TAILQ_FOREACH (dentry, &place->folder->children, sibling) {
		struct folder *folder = dentry->inode ? dentry->inode->folder : NULL;

		if (!folder || !folder->queued)
			continue;
		TAILQ_REMOVE(&fs->walk_queue, folder, walk);
		TAILQ_INSERT_HEAD(&fs->walk_queue, folder, walk);
	}
	if (!listing_is_fresh(fs, place) && fs->profile->readahead_dirs == SAID_YES)
		listing_ahead(fs, place);
}

static bool goes_by_names(const struct fs *fs)
{
	return fs->walk_looked_ms && fs_now_ms(fs) - fs->walk_looked_ms < WALK_ENDS_MS;
}

void walk_looked(struct fs *fs, struct inode *inode)
{
	struct folder *folder = inode->folder;
	struct inode *parent = names_parent(inode);
	struct inode *above = parent ? names_parent(parent) : NULL, *place = NULL;
	bool goes_on = walk_active(fs), in_time = folder->ahead || folder->listing;

	if (is_passed(fs, parent))
		place = parent;
	else if (goes_by_names(fs) && is_passed(fs, above))
		place = above;
	if (goes_by_names(fs) && folder->listing && fs->walk_window < WINDOW_MAX)
		fs->walk_window *= 2;
	reached(fs, folder);
	if (place) {
		go_on_below(fs, place, WINDOW_BY_NAMES);
		fs->walk_by_names |= !goes_on;
		fs->walk_looked_ms = fs_now_ms(fs);
		if (!in_time)
			queue_first(fs, parent);
	}
	if (parent)
		parent->folder->opened_ms = fs_now_ms(fs);
	if (above)
		above->folder->opened_ms = fs_now_ms(fs);
	go_ahead(fs);
}

bool walk_looks(const struct fs *fs, const struct inode *folder)
{
	return goes_by_names(fs) && fs->profile->readahead_dirs == SAID_YES &&
	       is_passed(fs, names_parent(folder));
}

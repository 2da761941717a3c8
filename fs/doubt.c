#include "fs/doubt.h"
#include "fs/held.h"
#include "fs/notify.h"
#include "fs/openfile.h"

/* The kernel has times of its own, at most attr_timeout; a notice for each file that it may still
 * believe. Beyond this many they have to do. */
#define RECENT 8000
#define MISSING 2000

struct round {
	struct fs *fs;
	uint64_t now;
	unsigned missing; /* names looked at */
};

static void visit(void *arg, struct inode *inode)
{
	struct round *round = arg;
	struct fs *fs = round->fs;
	struct dentry *child;

	if (inode->checked_ms && round->now <= inode->checked_ms + fs_attr_max_ms(fs))
		notify_attr(fs, inode);
	if (!inode->folder)
		return;
	if (inode->folder->listed_ms && round->now - inode->folder->listed_ms <= fs_attr_max_ms(fs))
		held_changed(fs->held, inode);
	TAILQ_FOREACH (child, &inode->folder->children, sibling) {
		if (round->missing++ >= MISSING)
			break;
		if (!child->inode && child->checked_ms && round->now - child->checked_ms <= 1000)
			notify_name(fs, inode, child->name);
	}
}

void doubt_all(struct fs *fs, int fd)
{
	struct round round = {.fs = fs, .now = fs_now_ms(fs)};

	fs->doubt_ms = round.now;
	names_recent(fs->names, RECENT, visit, &round);
	notify_done(fs, fd);
}

static void visit_open(void *arg, struct inode *inode)
{
	const struct openfile *open = inode->open;

	if (!open || LIST_EMPTY(&open->handles) || openfile_dirty(inode))
		return;
	inode->checked_ms = 0;
	notify_attr(arg, inode);
}

void doubt_open(struct fs *fs)
{
	if (fs->names)
		names_recent(fs->names, RECENT, visit_open, fs);
}

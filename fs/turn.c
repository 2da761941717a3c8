#include "fs/turn.h"
#include "fs/burst.h"
#include <errno.h>

static int path_of(
    const struct fs *fs, const struct inode *inode, const char *name, char *buf, size_t size)
{
	return name ? names_child_path(fs->names, inode, name, buf, size)
		    : names_path(fs->names, inode, buf, size);
}

static bool is_lock(const struct turn *turn)
{
	return turn->kind != OUTBOX_READ && ((turn->name && burst_is_lock(turn->name)) ||
						(turn->to_name && burst_is_lock(turn->to_name)));
}

/* Does it make the lock of one file? Whoever takes that wants nobody else to have it, and tells
 * nobody that something is there. */
static bool locks_file(const struct turn *turn)
{
	return turn->joins && burst_locked_name(turn->name);
}

static struct inode *fly(struct names *names, struct inode *inode, const char *name)
{
	if (name)
		return names_fly(names, inode, name);
	names_fly_inode(inode);
	return inode;
}

static void land(struct names *names, struct inode *inode, const char *name, struct inode *flying)
{
	if (name)
		names_land(names, inode, name, flying);
	else
		names_land_inode(names, flying);
}

/* The inodes are pinned by the request. */
static void take_off(struct turn *turn)
{
	struct names *names = turn->request->fs->names;

	turn->flies = true;
	turn->flying = fly(names, turn->inode, turn->name);
	if (turn->to_inode)
		turn->to_flying = fly(names, turn->to_inode, turn->to_name);
	turn->request->turn = turn;
}

void turn_land(struct turn *turn)
{
	struct names *names = turn->request->fs->names;

	if (!turn->flies)
		return;
	turn->flies = false;
	land(names, turn->inode, turn->name, turn->flying);
	if (turn->to_inode)
		land(names, turn->to_inode, turn->to_name, turn->to_flying);
}

/* The change by which the name led there was not done. */
static bool is_lost(const struct turn *turn)
{
	const struct dentry *dentry;

	if (!turn->unsettled)
		return false;
	dentry = names_find(turn->request->fs->names, turn->inode, turn->name);
	return !dentry || dentry->inode != turn->unsettled;
}

static bool may_join(struct turn *turn)
{
	const struct fs *fs = turn->request->fs;

	turn->joined = locks_file(turn) && fs->outbox_channel &&
		       pool_channel_alive(fs->outbox_channel) &&
		       outbox_may_follow(fs->outbox, turn->path);
	return turn->joined;
}

/* What a lock waits for before it is looked at as any other change. */
static int wait_as_lock(struct turn *turn, void (*done)(void *arg, int err))
{
	struct outbox *outbox = turn->request->fs->outbox;

	turn->waited = true;
	return locks_file(turn) ? outbox_wait(outbox, OUTBOX_BEHIND, turn->path, NULL, done, turn)
				: outbox_wait(outbox, OUTBOX_ALL, NULL, NULL, done, turn);
}

static void look(void *arg, int err)
{
	struct turn *turn = arg;
	struct fs *fs = turn->request->fs;
	int waits = 1;

	if (!err && !turn->request->fuse)
		err = -EINTR;
	if (!err && is_lost(turn))
		err = -ESTALE;
	if (!err)
		err = path_of(fs, turn->inode, turn->name, turn->path, sizeof(turn->path));
	if (!err && turn->to_inode)
		err = path_of(
		    fs, turn->to_inode, turn->to_name, turn->to_path, sizeof(turn->to_path));
	if (!err && is_lock(turn) && !turn->waited)
		waits = wait_as_lock(turn, look);
	if (!err && waits == 1 && !may_join(turn))
		waits = outbox_wait(fs->outbox, turn->kind, turn->path,
		    turn->to_inode ? turn->to_path : NULL, look, turn);
	if (!err && waits == 0) {
		turn->request->sends = true;
		return;
	}
	if (waits < 0)
		err = waits;
	if (!err)
		request_sent(turn->request);
	if (!err && turn->kind != OUTBOX_READ && !turn->flies)
		take_off(turn);
	turn->go(turn->request, err);
}

void turn_take(struct turn *turn)
{
	look(turn, 0);
}

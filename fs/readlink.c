/* READLINK. */
#include "fs/change.h"
#include "fs/disk.h"
#include "fs/ownlinks.h"
#include "fs/symlink.h"
#include "fs/targets.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct readlink {
	struct request request;
	struct turn turn;
	struct inode *inode; /* pinned */
	char *told;	     /* while earlier mounts' links are looked through; owned */
};

/* How deep the folder of a link lies; a link with several names may be met by any of them. */
static int link_depth(const struct names *names, const struct inode *inode)
{
	const struct dentry *dentry;
	int depth, least = -ESTALE;

	LIST_FOREACH (dentry, &inode->names, same) {
		depth = names_depth(names, dentry->parent);
		if (depth < 0)
			return depth;
		if (least < 0 || depth < least)
			least = depth;
	}
	return least;
}

/* S2: what of a link's target programs here may see. */
static int contain(const struct fs *fs, const struct inode *inode, const char *target, char *buf)
{
	int depth = link_depth(fs->names, inode);

	if (depth < 0)
		return depth;
	if (!symlink_enter(target, fs->mountpoint, buf, PATH_MAX))
		return 0;
	return symlink_contain(target, remote_root(fs->remote), depth, buf, PATH_MAX);
}

void change_note_target(struct fs *fs, const struct inode *inode, const char *target)
{
	char inside[PATH_MAX];

	if (fs->profile->symlinks != SYMLINKS_RAW &&
	    (contain(fs, inode, target, inside) || strcmp(inside, target)))
		ownlinks_note(fs, inode, target);
}

/* What programs may see of a target that the instance told: it or inside (PATH_MAX bytes); NULL and
 * *err: nothing. */
static const char *shown(
    const struct fs *fs, const struct inode *inode, const char *target, char *inside, int *err)
{
	*err = 0;
	if (fs->profile->symlinks == SYMLINKS_RAW || ownlinks_made(fs, inode, target))
		return target;
	*err = contain(fs, inode, target, inside);
	return *err ? NULL : inside;
}

/* Are programs here not to see the target as it is? */
static bool is_bent(const struct fs *fs, const struct inode *inode, const char *target)
{
	char inside[PATH_MAX];
	int err;
	const char *seen = shown(fs, inode, target, inside, &err);

	return !seen || strcmp(seen, target);
}

static void answer(struct readlink *readlink, const char *target)
{
	struct request *request = &readlink->request;
	char inside[PATH_MAX];
	int err;

	target = shown(request->fs, readlink->inode, target, inside, &err);
	if (target)
		request_end_readlink(request, target);
	else
		request_end(request, err);
}

static void on_recalled(void *arg)
{
	struct readlink *readlink = arg;
	char *told = readlink->told;

	answer(readlink, told);
	free(told);
}

/* The instance has told the target; a program of an earlier mount may have made it so. */
static void on_target(void *arg, int err, const char *target)
{
	struct readlink *readlink = arg;
	struct fs *fs = readlink->request.fs;

	if (err) {
		request_end(&readlink->request, err);
		return;
	}
	if (is_bent(fs, readlink->inode, target)) {
		readlink->told = strdup(target);
		if (readlink->told &&
		    !ownlinks_recall(fs, readlink->inode, target, on_recalled, readlink))
			return;
		free(readlink->told);
	}
	answer(readlink, target);
}

static void go_readlink(struct request *request, int err)
{
	struct readlink *readlink = (struct readlink *)request;

	if (err)
		request_end(request, err);
	else
		targets_ask(request->fs, readlink->inode, readlink->turn.path, on_target, readlink);
}

/* The disk cache had none, or what was asked ahead failed. */
static void on_maybe(void *arg, int err, const char *target)
{
	struct readlink *readlink = arg;

	if (!err)
		on_target(readlink, 0, target);
	else
		turn_take(&readlink->turn);
}

void fs_readlink(fuse_req_t req, fuse_ino_t node)
{
	struct fs *fs = fuse_req_userdata(req);
	struct inode *inode = fs_inode(fs, node);
	const char *target = fs_attr_believed(fs, inode) ? targets_known(fs, inode) : NULL;
	struct readlink *readlink;

	if (target && !is_bent(fs, inode, target)) {
		fuse_reply_readlink(req, target);
		return;
	}
	readlink = request_new(req, sizeof(*readlink), "readlink");
	if (!readlink)
		return;
	readlink->inode = inode;
	readlink->turn = (struct turn){
	    .request = &readlink->request, .kind = OUTBOX_READ, .inode = inode, .go = go_readlink};
	request_pin(&readlink->request, inode);
	if (target) {
		on_target(readlink, 0, target);
		return;
	}
	if (disk_answers(fs) && !targets_load(fs, inode, on_maybe, readlink))
		return;
	if (fs_attr_believed(fs, inode) && targets_join(fs, inode, on_maybe, readlink))
		return;
	turn_take(&readlink->turn);
	targets_ahead(fs, inode);
}

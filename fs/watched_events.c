/* What the watcher tells, taken over. */
#include "conf/log.h"
#include "fs/disk.h"
#include "fs/notify.h"
#include "fs/openfile.h"
#include "fs/pinned.h"
#include "fs/replaced.h"
#include "fs/targets.h"
#include "fs/watched_impl.h"
#include <errno.h>

#define REFUSED_MS 60000 /* before a folder is asked for again that the instance refuses */

static bool is_same(const struct attr *attr, const struct attr_report *report)
{
	return attr->mode == report->mode && attr->uid == report->uid && attr->gid == report->gid &&
	       attr->mtime_there == report->mtime &&
	       (attr->size == report->size || S_ISDIR(report->mode));
}

/* Has it been changed here since what is told may have been seen? */
static bool is_ours(const struct fs *fs, const struct inode *inode)
{
	return inode->pending || inode->flying || openfile_dirty(inode) ||
	       inode->changed_tick > fs->watched->proof_tick ||
	       (inode->folder && inode->folder->changing);
}

/* A report was put aside: only what is asked for from now on counts. */
static void doubt(struct fs *fs, struct inode *inode)
{
	inode->doubted_ms = fs_now_ms(fs);
	fs->watched->aside++;
}

/* The name leads to something else than what is known, as far as can be told now: what is watched
 * there may be another folder, too. */
static void doubt_name(struct fs *fs, struct inode *inode)
{
	struct watch *watch = inode->folder ? inode->folder->watch : NULL;

	doubt(fs, inode);
	if (!watch)
		return;
	watcher_drop(fs->watched->watcher, watch->number);
	watched_remove(fs->watched, watch);
	watched_want_again(fs, AGAIN_MS);
}

/* Is the folder's new time that of a change of names made here? */
static bool is_our_time(const struct inode *folder, const struct attr_report *report)
{
	const struct attr *attr = &folder->attr;
	int64_t apart = (int64_t)report->mtime - (int64_t)attr->mtime.tv_sec;

	return attr->own_times && !folder->pending && !folder->folder->changing &&
	       attr->mode == report->mode && attr->uid == report->uid && attr->gid == report->gid &&
	       apart >= -2 && apart <= 2;
}

/* Its fractions of a second stay those of the change. */
static void take_our_time(struct fs *fs, struct inode *folder, const struct attr_report *report)
{
	if (folder->attr.mtime_there != report->mtime)
		disk_attr_changed(fs, folder);
	folder->attr.mtime_there = report->mtime;
	folder->checked_ms = fs_now_ms(fs);
	folder->doubted_ms = 0;
}

/* A count of names that was seen before a change of ours, or after one whose answer is on its way.
 */
static bool is_other_count(const struct inode *inode, const struct attr_report *report)
{
	return !inode->folder && report->nlink && report->nlink != inode->attr.nlink;
}

/* It is as it was known to be. */
static void confirm(struct fs *fs, struct inode *inode, const struct attr_report *report)
{
	if (inode->pending || openfile_dirty(inode))
		return;
	if (report->nlink && !inode->folder)
		inode->attr.nlink = report->nlink;
	inode->checked_ms = fs_now_ms(fs);
	inode->doubted_ms = 0;
}

/* The same attributes, but other bytes (a second change within the second), or another file. */
static void other_content(struct fs *fs, struct inode *inode)
{
	targets_forget(fs, inode);
	if (!S_ISREG(inode->attr.mode))
		return;
	inode->version_ms = fs_now_ms(fs);
	disk_changed(fs, inode);
	openfile_version_changed(inode);
}

/* It changes at this moment: whoever looks asks for himself. */
static void in_flux(struct fs *fs, struct inode *inode, bool ours)
{
	inode->doubted_ms = fs_now_ms(fs);
	if (!ours)
		inode->checked_ms = 0;
}

static void take_inode(
    struct fs *fs, struct inode *inode, const struct attr_report *report, uint32_t bits, bool ours)
{
	if (is_same(&inode->attr, report) && !(ours && is_other_count(inode, report))) {
		if (!(bits & WATCHER_MORE))
			confirm(fs, inode, report);
		if ((bits & (WATCHER_CONTENT | WATCHER_NAME)) && !ours)
			other_content(fs, inode);
	} else if (ours) {
		doubt(fs, inode);
	} else {
		names_report_inode(
		    fs->names, inode, report, fs->watched->proof_tick, fs_now_ms(fs));
		if (is_same(&inode->attr, report))
			inode->doubted_ms = 0;
		else
			doubt(fs, inode);
		notify_attr(fs, inode);
	}
	if (bits & WATCHER_MORE)
		in_flux(fs, inode, ours);
}

/* A name that leads to something else than was known, or to nothing yet. */
static void take_name(struct fs *fs, struct watch *watch, const struct watcher_message *message)
{
	struct attr_report report = fs_report(&message->attr, message->links);
	struct inode *inode = names_report(fs->names, watch->folder, message->name, &report,
	    fs->watched->proof_tick, fs_now_ms(fs));

	if (!inode || !is_same(&inode->attr, &report)) {
		if (inode)
			doubt_name(fs, inode);
		watch->names_ms = fs_now_ms(fs);
	} else if (message->bits & WATCHER_MORE) {
		in_flux(fs, inode, false);
	}
	notify_name(fs, watch->folder, message->name);
}

/* Whether it is still the file of the other names, one has to ask. */
static void take_shared(struct fs *fs, struct dentry *dentry)
{
	dentry->checked_ms = 0;
	notify_name(fs, dentry->parent, dentry->name);
}

static void take_missing(struct fs *fs, struct watch *watch, const char *name)
{
	struct dentry *dentry = names_find(fs->names, watch->folder, name);

	if (!dentry || !dentry->inode)
		return;
	names_report_missing(
	    fs->names, watch->folder, name, fs->watched->proof_tick, fs_now_ms(fs));
	dentry = names_find(fs->names, watch->folder, name);
	if (dentry && dentry->inode)
		doubt_name(fs, dentry->inode);
}

/* Its open handles were not asked for there, and show another file now. */
static bool is_taken_away(
    const struct inode *inode, const struct watcher_message *message, bool ours)
{
	return !ours && (message->bits & WATCHER_NAME) && S_ISREG(inode->attr.mode) &&
	       replaced_keeps(inode);
}

static void take_known(struct fs *fs, struct watch *watch, const struct watcher_message *message,
    const struct attr_report *report, struct dentry *dentry)
{
	struct inode *inode = dentry->inode;
	bool ours = is_ours(fs, inode) || dentry->pending || dentry->flying ||
		    dentry->tick > fs->watched->proof_tick;

	if (is_taken_away(inode, message, ours)) {
		take_missing(fs, watch, message->name);
		take_name(fs, watch, message);
	} else {
		take_inode(fs, inode, report, message->bits, ours);
	}
}

static void take_changed(struct fs *fs, struct watch *watch, const struct watcher_message *message)
{
	struct inode *folder = watch->folder, *inode;
	struct attr_report report = fs_report(&message->attr, message->links);
	struct dentry *dentry;

	if (!message->name[0] && is_our_time(folder, &report)) {
		take_our_time(fs, folder, &report);
		return;
	}
	if (!message->name[0]) {
		take_inode(fs, folder, &report, 0, is_ours(fs, folder));
		return;
	}
	/* A listing under way may have it or not. */
	if ((message->bits & WATCHER_NAME) && folder->folder->listing) {
		watch->names_ms = fs_now_ms(fs);
		watch->digested = false;
	}
	dentry = names_find(fs->names, folder, message->name);
	inode = dentry ? dentry->inode : NULL;
	if (!(message->bits & WATCHER_EXISTS))
		take_missing(fs, watch, message->name);
	else if (inode && names_shared(inode))
		take_shared(fs, dentry);
	else if (inode && (inode->attr.mode & S_IFMT) == (report.mode & S_IFMT))
		take_known(fs, watch, message, &report, dentry);
	else if (!remote_is_aside(fs->remote, message->name, strlen(message->name)) &&
		 (dentry || folder->folder->complete || folder->folder->listing))
		take_name(fs, watch, message);
}

/* --- digests --- */

/* Of what is known of the folder. False when changes made here are not there yet, or not all is
 * known. */
static bool digest(const struct inode *folder, uint64_t *n, uint64_t *sum)
{
	const struct dentry *dentry;

	*n = *sum = 0;
	if (!folder->folder->complete || folder->folder->changing)
		return false;
	TAILQ_FOREACH (dentry, &folder->folder->children, sibling) {
		const struct attr *attr;
		struct sftp_attr there;

		if (dentry->pending || (dentry->inode && dentry->inode->pending))
			return false;
		if (!dentry->inode)
			continue;
		attr = &dentry->inode->attr;
		there = (struct sftp_attr){.size = attr->size,
		    .uid = attr->uid,
		    .gid = attr->gid,
		    .mode = attr->mode,
		    .mtime = attr->mtime_there};
		*sum += watcher_digest(dentry->name, &there, attr->nlink);
		++*n;
	}
	return true;
}

static void seen_at(struct inode *inode, uint64_t ms)
{
	if (inode->checked_ms >= ms || openfile_dirty(inode))
		return;
	inode->checked_ms = ms;
	if (!inode->version_ms)
		inode->version_ms = ms;
}

/* It changed before it was watched, which nobody tells of. The kernel's timeouts may be long; a
 * folder stays, as something may be mounted below. */
static void outdated(struct fs *fs, struct inode *folder)
{
	struct dentry *dentry;

	TAILQ_FOREACH (dentry, &folder->folder->children, sibling) {
		struct inode *inode = dentry->inode;

		if (inode && !inode->pending && !openfile_dirty(inode))
			inode->checked_ms = 0;
		if (inode && inode->folder)
			notify_attr(fs, inode);
		else
			notify_name(fs, folder, dentry->name);
	}
	folder->folder->listed_ms = 0;
	notify_listing(fs, folder);
}

/* What is known is what was there when it was watched. */
static void vouch(struct watch *watch)
{
	struct folder *folder = watch->folder->folder;
	struct dentry *dentry;

	TAILQ_FOREACH (dentry, &folder->children, sibling) {
		if (dentry->inode)
			seen_at(dentry->inode, watch->asked_ms);
	}
	if (folder->listed_ms < watch->asked_ms)
		folder->listed_ms = watch->asked_ms;
	watch->since_ms = watch->names_ms = watch->asked_ms;
}

void watched_verify(struct fs *fs, struct watch *watch)
{
	uint64_t n, sum;

	watch->digested = false;
	if (!digest(watch->folder, &n, &sum))
		return;
	if (n == watch->n && sum == watch->digest)
		vouch(watch);
	else
		outdated(fs, watch->folder);
}

bool watched_holds(struct watch *watch)
{
	uint64_t n, sum;

	if (!watch->unchanged || !digest(watch->folder, &n, &sum) || n != watch->n ||
	    sum != watch->digest)
		return false;
	watch->digested = false;
	vouch(watch);
	return true;
}

/* Where the path leads nowhere at this moment, the folder is on its way. */
static void take_refused(struct fs *fs, struct watch *watch, int err)
{
	struct watched *watched = fs->watched;

	log_verbose("a folder is not watched: error %d", -err);
	watch->state = WATCH_REFUSED;
	watch->rest_ms = err == -ENOENT || err == -ENOTDIR ? AGAIN_MS : REFUSED_MS;
	watched_want_again(fs, watch->rest_ms);
	if (err == -ENOSPC && watched->most > watched->on)
		watched->most = watched->on;
}

static void take_added(struct fs *fs, struct watch *watch, const struct watcher_message *message)
{
	struct watched *watched = fs->watched;
	struct attr_report report = fs_report(&message->attr, message->links);

	watched->lag_ms = fs_now_ms(fs) - watch->asked_ms;
	if (message->err || (watch->folder->attr.mode & S_IFMT) != (report.mode & S_IFMT)) {
		take_refused(fs, watch, message->err);
		watched_end_recall(fs, watch, false);
		return;
	}
	if (names_moved_since(fs->names, watch->asked_tick)) {
		/* The path may have led to another folder when it was asked for. */
		watcher_drop(watched->watcher, watch->number);
		watched_remove(watched, watch);
		watched_want_again(fs, 0);
		return;
	}
	watch->state = WATCH_ON;
	watched->on++;
	watch->since_ms = watch->names_ms = fs_now_ms(fs);
	take_inode(fs, watch->folder, &report, 0, is_ours(fs, watch->folder));
	watch->digested = watch->unchanged = message->digested;
	watch->n = message->names;
	watch->digest = message->digest;
	/* Else when the listing that is under way is there. */
	if (watch->recall)
		watched_end_recall(fs, watch, watched_holds(watch));
	else if (watch->digested && !watch->folder->folder->listing)
		watched_verify(fs, watch);
}

/* --- messages --- */

static void take_pong(struct watched *watched, uint32_t number)
{
	if (!watched->flying || number != watched->ping)
		return;
	watched->flying = false;
	watched->proof_ms = watched->ping_ms;
	watched->proof_tick = watched->ping_tick;
}

static void take_lost(struct fs *fs)
{
	struct watched *watched = fs->watched;

	log_verbose("the instance had more changes than could be told");
	while (!TAILQ_EMPTY(&watched->lru))
		watched_remove(watched, TAILQ_FIRST(&watched->lru));
	watched_want_known(fs);
}

void watched_message(struct fs *fs, const struct watcher_message *message)
{
	struct watched *watched = fs->watched;
	struct watch *watch;
	struct inode *folder;

	if (message->type == WATCHER_PING) {
		take_pong(watched, message->number);
		return;
	}
	if (message->type == WATCHER_LOST) {
		take_lost(fs);
		return;
	}
	watch = watched_find(watched, message->number);
	if (!watch) { /* given up meanwhile */
		if (message->type == WATCHER_ADDED && !message->err)
			watcher_drop(watched->watcher, message->number);
		return;
	}
	folder = watch->folder;
	names_pin(folder);
	if (message->type == WATCHER_GONE) {
		watched_remove(watched, watch);
		watched_want_again(fs, AGAIN_MS);
	} else if (message->type == WATCHER_ADDED && watch->state == WATCH_ASKED) {
		take_added(fs, watch, message);
	} else if (message->type == WATCHER_CHANGED && watch->state == WATCH_ON) {
		watched->events++;
		watch->unchanged = false;
		take_changed(fs, watch, message);
		pinned_soon(fs);
	}
	names_unpin(fs->names, folder);
}

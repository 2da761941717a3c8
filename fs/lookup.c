/* LOOKUP, FORGET, GETATTR, ACCESS. */
#include "fs/ahead.h"
#include "fs/burst.h"
#include "fs/listing.h"
#include "fs/openfile.h"
#include "fs/refresh.h"
#include "fs/replaced.h"
#include "fs/request.h"
#include "fs/walk.h"
#include "fs/watched.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct lookup {
	struct request request;
	bool again; /* the first answer was of no use */
	char name[256];
};

/* Answers a name from what is known. True when that could be done. */
static bool known(struct fs *fs, struct inode *folder, const char *name, struct dentry **out)
{
	struct dentry *dentry = names_find(fs->names, folder, name);
	uint64_t now = fs_now_ms(fs);
	uint32_t max = fs_attr_max_ms(fs);

	*out = dentry;
	if (dentry && dentry->inode)
		return fs_name_believed(fs, dentry) && fs_attr_believed(fs, dentry->inode);
	if (dentry && dentry->pending) /* removed here, and not there yet */
		return true;
	/* Without a link what is not known must not be taken for missing: that waits, but not for
	 * ever. */
	if (fs->absent_ms && fs_offline(fs) && folder->folder->complete)
		return true;
	if (dentry && dentry->checked_ms > fs->doubt_ms &&
	    now - dentry->checked_ms < names_lifetime_ms(folder, fs_clock_there(fs), max))
		return true;
	return folder->folder->listed_ms > fs->doubt_ms &&
	       (names_listing_fresh(folder, now, fs_clock_there(fs), max) ||
		   watched_names(fs, folder));
}

/* No such name: said with a lifetime (an entry with node 0), so that the kernel need not ask again.
 */
static void reply_missing(struct fs *fs, struct inode *folder, fuse_req_t req)
{
	struct fuse_entry_param entry = {0};
	uint64_t life = names_lifetime_ms(folder, fs_clock_there(fs), fs_attr_max_ms(fs));

	/* At most a second: programs wait for files of others by asking again and again. */
	entry.entry_timeout = (double)(life < 1000 ? life : 1000) / 1000.0;
	fuse_reply_entry(req, &entry);
}

static void on_looked_up(void *arg, int err);

static void on_name_settled(void *arg)
{
	on_looked_up(arg, 0);
}

static void on_looked_up(void *arg, int err)
{
	struct lookup *lookup = arg;
	struct request *request = &lookup->request;
	struct inode *folder = request->pinned[0];
	struct fs *fs = request->fs;
	struct dentry *dentry;

	dentry = err ? NULL : names_find(fs->names, folder, lookup->name);
	if (dentry && dentry->inode && replaced_wait(dentry->inode, on_name_settled, lookup))
		return;
	/* Put aside, because changes made here were under way with it? Or is it only that there is
	 * no link to ask? */
	if (!err && !dentry && !lookup->again &&
	    (!listing_is_fresh(fs, folder) || (fs_offline(fs) && !fs->frozen && !fs->absent_ms))) {
		lookup->again = true;
		err = refresh_name(fs, folder, lookup->name, on_looked_up, lookup);
		if (!err)
			return;
	}
	if (dentry && dentry->inode)
		request_end_entry(request, dentry->inode);
	else
		request_end(request, err ? err : -ENOENT);
}

/* What was seen of the folder last does not have it. */
static int missing_without_link(struct request *request)
{
	struct lookup *lookup = (struct lookup *)request;
	struct inode *folder = request->pinned[0];
	struct dentry *dentry = names_find(request->fs->names, folder, lookup->name);

	return folder->folder->complete && (!dentry || !dentry->inode) ? -ENOENT : 0;
}

void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fuse_req_userdata(req);
	struct inode *folder = fs_inode(fs, parent);
	struct fuse_entry_param entry;
	struct lookup *lookup;
	struct dentry *dentry;
	int err;

	if (strlen(name) > 255) {
		fuse_reply_err(req, ENAMETOOLONG);
		return;
	}
	if (!folder->folder) {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	/* Who makes names in a row looks for each first: on what he may make them, he may look. */
	if (known(fs, folder, name, &dentry) ||
	    ((!dentry || !dentry->inode) && burst_on(fs, fuse_req_ctx(req)->pid) &&
		burst_knows(fs, folder))) {
		if (!dentry || !dentry->inode) {
			reply_missing(fs, folder, req);
			return;
		}
		if (folder->folder->ahead)
			walk_looked(fs, folder);
		openfile_looked_at(dentry->inode);
		refresh_soon(fs, dentry->inode);
		entry = fs_entry(fs, dentry->inode);
		dentry->inode->lookups++;
		if (fuse_reply_entry(req, &entry))
			names_forget(fs->names, dentry->inode, 1);
		return;
	}
	lookup = request_new(req, sizeof(*lookup), "lookup");
	if (!lookup)
		return;
	strcpy(lookup->name, name);
	lookup->request.without_link = missing_without_link;
	request_pin(&lookup->request, folder);
	if (dentry && dentry->inode)
		ahead_own_missed(fs, dentry->inode);
	err = refresh_name(fs, folder, name, on_looked_up, lookup);
	if (err)
		request_end(&lookup->request, err);
}

void fs_forget(fuse_req_t req, fuse_ino_t node, uint64_t lookups)
{
	struct fs *fs = fuse_req_userdata(req);

	if (node != FUSE_ROOT_ID)
		names_forget(fs->names, fs_inode(fs, node), lookups);
	fuse_reply_none(req);
}

void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct fs *fs = fuse_req_userdata(req);
	size_t i;

	for (i = 0; i < count; i++) {
		if (forgets[i].ino != FUSE_ROOT_ID)
			names_forget(fs->names, fs_inode(fs, forgets[i].ino), forgets[i].nlookup);
	}
	fuse_reply_none(req);
}

static void on_refreshed(void *arg, int err);

static void on_file_settled(void *arg)
{
	on_refreshed(arg, 0);
}

/* The file is another one than that of its name, but open: what is known of it stands. */
static bool has_lost_name(const struct inode *inode)
{
	const struct openfile *open = inode->open;

	return LIST_EMPTY(&inode->names) && open && !LIST_EMPTY(&open->handles) && !open->outgrown;
}

static void on_refreshed(void *arg, int err)
{
	struct request *request = arg;
	struct inode *inode = request->pinned[0];

	if (!err && replaced_wait(inode, on_file_settled, request))
		return;
	/* The name may be gone there while somebody here still has the file open. */
	if (err == -ESTALE && has_lost_name(inode))
		err = 0;
	if (!err && LIST_EMPTY(&inode->names) && inode != names_root(request->fs->names) &&
	    !inode->open)
		err = -ESTALE;
	if (err)
		request_end(request, err);
	else
		request_end_attr(request, inode);
}

void fs_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct inode *inode = fs_inode(fs, node);
	bool nameless = LIST_EMPTY(&inode->names) && inode != names_root(fs->names);
	struct request *request;
	struct stat st;
	int err;

	(void)fi;
	if (nameless && inode->open && ((struct openfile *)inode->open)->outgrown) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	if (nameless || fs_attr_believed(fs, inode)) {
		openfile_looked_at(inode);
		if (!nameless)
			refresh_soon(fs, inode);
		fs_stat(fs, inode, &st);
		fuse_reply_attr(req, &st, fs_lifetime(fs, inode));
		return;
	}
	request = request_new(req, sizeof(*request), "getattr");
	if (!request)
		return;
	request_pin(request, inode);
	ahead_own_missed(fs, inode);
	err = refresh_inode(fs, inode, on_refreshed, request);
	if (err)
		request_end(request, err);
}

/* The server decides in the end; this says what it will, as far as the mode tells. */
static int may(const struct fs *fs, const struct inode *inode, int mask)
{
	const struct attr *attr = &inode->attr;
	unsigned bits = attr->mode & 7;

	if ((mask & W_OK) && fs->profile->read_only)
		return -EROFS;
	if (remote_uid(fs->remote) == 0) {
		if ((mask & X_OK) && !inode->folder && !(attr->mode & 0111))
			return -EACCES;
		return 0;
	}
	if (attr->uid == remote_uid(fs->remote))
		bits = (attr->mode >> 6) & 7;
	else if (attr->gid == remote_gid(fs->remote))
		bits = (attr->mode >> 3) & 7;
	else /* the login's further groups are not known here */
		bits |= (attr->mode >> 3) & 7;
	return (bits & (unsigned)mask) == (unsigned)mask ? 0 : -EACCES;
}

void fs_access(fuse_req_t req, fuse_ino_t node, int mask)
{
	struct fs *fs = fuse_req_userdata(req);

	fuse_reply_err(req, -may(fs, fs_inode(fs, node), mask & (R_OK | W_OK | X_OK)));
}

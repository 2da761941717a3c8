/* What the handlers share: clocks, numbers, attributes in FUSE's form. */
#include "fs/fs.h"
#include "fs/frozen.h"
#include "fs/openfile.h"
#include "fs/refresh.h"
#include "fs/replaced.h"
#include "fs/request.h"
#include "fs/watched.h"
#include "transport/remote_clock.h"
#include <string.h>

uint64_t fs_now_ms(const struct fs *fs)
{
	return uv_now(fs->loop) + 1; /* 0 stands for never */
}

uint64_t fs_age_ms(const struct fs *fs, uint64_t since_ms)
{
	uint64_t now = fs_now_ms(fs);

	return now > since_ms ? now - since_ms : 0;
}

/* How far the instance's clock may be behind ours as long as nobody has seen it. */
#define CLOCKS_APART 10

int64_t fs_clock_there(const struct fs *fs)
{
	const struct remote_clock *clock = remote_clock(fs->remote);

	return clock->ms ? remote_clock_at(clock, fs_now_ms(fs))
			 : (int64_t)time(NULL) - CLOCKS_APART;
}

uint32_t fs_attr_max_ms(const struct fs *fs)
{
	return fs->profile->attr_timeout * 1000u;
}

struct inode *fs_inode(struct fs *fs, fuse_ino_t node)
{
	return node == FUSE_ROOT_ID ? names_root(fs->names) : (struct inode *)(uintptr_t)node;
}

fuse_ino_t fs_node(struct fs *fs, const struct inode *inode)
{
	return inode == names_root(fs->names) ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)inode;
}

bool fs_offline(const struct fs *fs)
{
	return !pool_up(remote_pool(fs->remote));
}

bool fs_login_may(const struct fs *fs, const struct inode *folder, unsigned what)
{
	uint32_t uid = remote_uid(fs->remote);

	if (!uid)
		return true;
	for (; folder; folder = names_parent(folder), what = 1) {
		unsigned bits = folder->attr.uid == uid ? what << 6 : what << 3 | what;

		if ((folder->attr.mode & bits) != bits)
			return false;
	}
	return true;
}

bool fs_attr_believed(struct fs *fs, const struct inode *inode)
{
	/* Two files of one name, for the moment. */
	if (replaced_asking(inode))
		return false;
	/* What is not there yet, or is on its way, is known here best. */
	return inode->pending || (inode->folder && inode->folder->changing) ||
	       openfile_dirty(inode) || fs_offline(fs) ||
	       (inode->checked_ms > fs->doubt_ms && (names_attr_fresh(inode, fs_now_ms(fs),
							 fs_clock_there(fs), fs_attr_max_ms(fs)) ||
							watched_attr(fs, inode)));
}

bool fs_name_believed(struct fs *fs, const struct dentry *dentry)
{
	const struct inode *inode = dentry->inode;

	return !names_shared(inode) || inode->pending || dentry->pending || openfile_dirty(inode) ||
	       fs_offline(fs) || fs_age_ms(fs, dentry->checked_ms) < SHARED_MS;
}

bool fs_settled_at(const struct fs *fs, const struct inode *inode, uint64_t ms)
{
	uint64_t known = ms > inode->version_ms ? ms - inode->version_ms : 0;
	int64_t seconds = (int64_t)(fs_age_ms(fs, ms) + 999) / 1000;

	return attr_settled(&inode->attr, fs_clock_there(fs) - seconds, known);
}

bool fs_settled(const struct fs *fs, const struct inode *inode)
{
	return fs_settled_at(fs, inode, fs_now_ms(fs));
}

/* --- numbers of users and groups --- */

uid_t fs_uid_here(const struct fs *fs, uint32_t uid)
{
	if (fs->profile->uid_given)
		return fs->profile->uid;
	if (fs->profile->idmap == IDMAP_USER && uid == remote_uid(fs->remote))
		return fs->local_uid;
	return uid;
}

gid_t fs_gid_here(const struct fs *fs, uint32_t gid)
{
	if (fs->profile->gid_given)
		return fs->profile->gid;
	if (fs->profile->idmap == IDMAP_USER && gid == remote_gid(fs->remote))
		return fs->local_gid;
	return gid;
}

uint32_t fs_uid_there(const struct fs *fs, uid_t uid)
{
	if (fs->profile->idmap == IDMAP_USER && uid == fs->local_uid)
		return remote_uid(fs->remote);
	return uid;
}

uint32_t fs_gid_there(const struct fs *fs, gid_t gid)
{
	if (fs->profile->idmap == IDMAP_USER && gid == fs->local_gid)
		return remote_gid(fs->remote);
	return gid;
}

bool fs_gives_away(const struct fs *fs, uid_t caller)
{
	return fs->profile->allow_other && !fs->profile->uid_given && remote_uid(fs->remote) == 0 &&
	       caller != fs->local_uid && fs_uid_there(fs, caller) != 0;
}

/* --- attributes --- */

struct attr_report fs_report(const struct sftp_attr *attr, uint32_t links)
{
	struct attr_report report = {.nlink = links};

	/* it has a name elsewhere, too */
	if (attr->flags & SFTP_ATTR_FOLLOWED)
		report.nlink = 2;

	if (attr->flags & SSH_FILEXFER_ATTR_SIZE)
		report.size = attr->size > INT64_MAX ? INT64_MAX : attr->size;
	if (attr->flags & SSH_FILEXFER_ATTR_UIDGID) {
		report.uid = attr->uid;
		report.gid = attr->gid;
	}
	report.mode = S_IFREG | 0600;
	if (attr->flags & SSH_FILEXFER_ATTR_PERMISSIONS)
		report.mode = attr->mode & (S_IFMT | 07777);
	if (!(report.mode & S_IFMT))
		report.mode |= S_IFREG;
	if (attr->flags & SSH_FILEXFER_ATTR_ACMODTIME) {
		report.atime = attr->atime;
		report.mtime = attr->mtime;
	}
	return report;
}

void fs_take_mode_and_owner(struct inode *inode, const struct sftp_attr *seen)
{
	struct attr *attr = &inode->attr;

	if (seen->flags & SSH_FILEXFER_ATTR_PERMISSIONS)
		attr->mode = (attr->mode & S_IFMT) | (seen->mode & 07777);
	if (seen->flags & SSH_FILEXFER_ATTR_UIDGID) {
		attr->uid = seen->uid;
		attr->gid = seen->gid;
	}
}

void fs_stat(struct fs *fs, const struct inode *inode, struct stat *st)
{
	const struct attr *attr = &inode->attr;

	memset(st, 0, sizeof(*st));
	st->st_ino = inode->ino;
	st->st_mode = attr->mode;
	if (fs->profile->umask_given)
		st->st_mode &= ~(mode_t)(fs->profile->umask & 0777);
	st->st_uid = fs_uid_here(fs, attr->uid);
	st->st_gid = fs_gid_here(fs, attr->gid);
	st->st_size = (off_t)attr->size;
	st->st_blocks = (blkcnt_t)((attr->size + 511) / 512);
	st->st_blksize = 128 * 1024;
	st->st_nlink = names_links(fs->names, inode, !inode->folder || fs_login_may(fs, inode, 5));
	st->st_atim = attr_timespec(attr->atime);
	st->st_mtim = attr_timespec(attr->mtime);
	st->st_ctim = attr_timespec(attr->ctime);
}

uint32_t fs_gid_given(const struct fs *fs, const struct inode *folder, gid_t caller)
{
	return folder->attr.mode & S_ISGID ? folder->attr.gid : fs_gid_there(fs, caller);
}

void fs_mend(const struct request *request, const struct inode *folder, uint32_t mode,
    struct sftp_attr *attr, struct sftp_attr *fix)
{
	const struct fs *fs = request->fs;

	*fix = (struct sftp_attr){0};
	if ((attr->flags & SSH_FILEXFER_ATTR_PERMISSIONS) && (attr->mode & 07777) != mode) {
		fix->flags |= SSH_FILEXFER_ATTR_PERMISSIONS;
		fix->mode = mode;
		attr->mode = (attr->mode & S_IFMT) | mode;
	}
	if (fs_gives_away(fs, request->uid)) {
		fix->flags |= SSH_FILEXFER_ATTR_UIDGID;
		fix->uid = attr->uid = fs_uid_there(fs, request->uid);
		fix->gid = attr->gid = fs_gid_given(fs, folder, request->gid);
	}
}

double fs_lifetime(struct fs *fs, const struct inode *inode)
{
	uint64_t age, life = names_lifetime_ms(inode, fs_clock_there(fs), fs_attr_max_ms(fs));

	if (openfile_dirty(inode) || inode->pending)
		return 1.0;
	age = watched_attr(fs, inode) ? 0 : fs_age_ms(fs, inode->checked_ms);
	/* So that the kernel asks again while there is time to look without anybody waiting. */
	if (life <= REFRESH_LIFE_MS && age < life / 2)
		life /= 2;
	return inode->checked_ms && age < life ? (double)(life - age) / 1000.0 : 0.0;
}

struct fuse_entry_param fs_entry(struct fs *fs, const struct inode *inode)
{
	struct fuse_entry_param entry = {.ino = fs_node(fs, inode)};

	fs_stat(fs, inode, &entry.attr);
	entry.attr_timeout = fs_lifetime(fs, inode);
	entry.entry_timeout = entry.attr_timeout;
	if (names_shared(inode) && entry.entry_timeout > SHARED_MS / 1000.0)
		entry.entry_timeout = SHARED_MS / 1000.0;
	return entry;
}

void fs_keep_unsent(const struct inode *inode, struct attr_report *report)
{
	if (openfile_dirty(inode)) {
		report->size = inode->attr.size;
		report->mtime = inode->attr.mtime_there;
	}
}

void fs_take_report(struct fs *fs, struct inode *inode, const struct sftp_attr *attr,
    uint64_t sent_tick, uint64_t sent_ms)
{
	struct attr_report report = fs_report(attr, 0);

	if (!attr->flags)
		return;
	fs_keep_unsent(inode, &report);
	names_report_inode(fs->names, inode, &report, sent_tick, sent_ms);
}

const struct fuse_lowlevel_ops fs_ops = {
    .lookup = fs_lookup,
    .forget = fs_forget,
    .forget_multi = fs_forget_multi,
    .getattr = fs_getattr,
    .setattr = frozen_setattr,
    .access = fs_access,
    .statfs = fs_statfs,
    .readlink = fs_readlink,
    .opendir = fs_opendir,
    .readdir = fs_readdir,
    .readdirplus = fs_readdirplus,
    .releasedir = fs_releasedir,
    .fsyncdir = fs_fsyncdir,
    .mknod = frozen_mknod,
    .mkdir = frozen_mkdir,
    .symlink = frozen_symlink,
    .link = frozen_link,
    .unlink = frozen_unlink,
    .rmdir = frozen_rmdir,
    .rename = frozen_rename,
    .create = frozen_create,
    .open = frozen_open,
    .release = fs_release,
    .flush = fs_flush,
    .fsync = fs_fsync,
    .read = fs_read,
    .write = fs_write,
    .fallocate = frozen_fallocate,
    .copy_file_range = frozen_copy_file_range,
};

/* Changes that were answered lie in the spool until the instance has acknowledged them. */
#include "cache/spool.h"
#include "fs/behind_impl.h"
#include <errno.h>
#include <limits.h>

static const enum spool_type types[] = {[OUTBOX_MKDIR] = SPOOL_MKDIR,
    [OUTBOX_RMDIR] = SPOOL_RMDIR,
    [OUTBOX_UNLINK] = SPOOL_UNLINK,
    [OUTBOX_SYMLINK] = SPOOL_SYMLINK,
    [OUTBOX_CREATE] = SPOOL_CREATE,
    [OUTBOX_FILE] = SPOOL_SETATTR,
    [OUTBOX_SETATTR] = SPOOL_SETATTR,
    [OUTBOX_RENAME] = SPOOL_RENAME,
    [OUTBOX_LINK] = SPOOL_LINK};

static void set_attr(struct spool_record *record, const struct sftp_attr *attr)
{
	record->attr = (struct spool_attr){.mode = attr->mode,
	    .uid = attr->uid,
	    .gid = attr->gid,
	    .atime = attr->atime,
	    .mtime = attr->mtime};
	if (attr->flags & SSH_FILEXFER_ATTR_PERMISSIONS)
		record->attr.flags |= SPOOL_ATTR_MODE;
	if (attr->flags & SSH_FILEXFER_ATTR_UIDGID)
		record->attr.flags |= SPOOL_ATTR_UIDGID;
	if (attr->flags & SSH_FILEXFER_ATTR_ACMODTIME)
		record->attr.flags |= SPOOL_ATTR_TIMES;
}

static bool is_settled(const struct inode *inode)
{
	return inode && !inode->folder && !inode->pending && !openfile_dirty(inode) &&
	       inode->checked_ms;
}

/* What the instance has of the file that is to be removed or replaced, if that is known. */
static void set_base(struct spool_record *record, const struct inode *inode)
{
	if (!is_settled(inode))
		return;
	record->flags |= SPOOL_BASE;
	record->base_size = inode->attr.size;
	record->base_mtime = inode->attr.mtime_there;
}

/* And of the one that is renamed: where it is found, there it was done or not. */
static void set_source(struct spool_record *record, const struct inode *inode)
{
	if (!is_settled(inode))
		return;
	record->flags |= SPOOL_SOURCE;
	record->offset = inode->attr.size;
	record->attr.mtime = inode->attr.mtime_there;
}

static void take(struct behind *behind, const struct spool_record *record)
{
	struct spool *spool = behind->fs->spool;
	int64_t sequence;

	if (!spool || behind->n_sequences == BEHIND_SEQUENCES)
		return;
	/* It was ready for it (behind_spool_takes). */
	sequence = spool_append(spool, record);
	if (sequence > 0)
		behind->sequences[behind->n_sequences++] = (uint64_t)sequence;
}

void behind_spool_take(struct behind *behind, enum outbox_kind kind, const char *path,
    const char *to, const struct inode *there)
{
	struct spool_record record = {.type = types[kind], .path = path, .to = to};
	struct sftp_attr attr = behind->attr;

	if (kind == OUTBOX_SYMLINK)
		record.to = behind->target;
	if (kind == OUTBOX_MKDIR || kind == OUTBOX_CREATE)
		attr.flags =
		    SSH_FILEXFER_ATTR_PERMISSIONS | (behind->give ? SSH_FILEXFER_ATTR_UIDGID : 0);
	if (kind == OUTBOX_FILE && !attr.flags)
		return;
	if (kind == OUTBOX_SETATTR && S_ISLNK(behind->inode->attr.mode))
		record.flags |= SPOOL_NOFOLLOW;
	if (behind->keeps)
		record.flags |= SPOOL_NOREPLACE;
	if (kind == OUTBOX_UNLINK || kind == OUTBOX_RENAME)
		set_base(&record, there);
	set_attr(&record, &attr);
	if (kind == OUTBOX_RENAME)
		set_source(&record, behind->inode);
	take(behind, &record);
}

void behind_spool_truncate(
    struct behind *behind, const char *path, uint64_t size, const struct openfile *open)
{
	struct spool_record record = {.type = SPOOL_TRUNCATE, .path = path, .offset = size};

	if (open->based) {
		record.flags |= SPOOL_BASE;
		record.base_size = open->base_size;
		record.base_mtime = open->base_mtime;
	}
	if (content_is_changed(open->content))
		record.flags |= SPOOL_OWN;
	take(behind, &record);
}

int behind_spool_attr(struct behind *behind)
{
	struct spool *spool = behind->fs->spool;
	unsigned n = behind->n_sequences;
	uint64_t last = n ? behind->sequences[n - 1] : 0;
	bool joins = last && spool_type_of(spool, last) == SPOOL_SETATTR;
	char path[PATH_MAX];
	int err = names_path(behind->fs->names, behind->inode, path, sizeof(path));

	if (err)
		return err;
	behind->n_sequences -= joins; /* its place */
	behind_spool_take(behind, OUTBOX_FILE, path, NULL, NULL);
	if (!joins)
		return 0;
	if (behind->n_sequences == n)
		spool_done(spool, last, 1);
	behind->n_sequences = n;
	return 0;
}

void behind_spool_sent(const struct behind *behind)
{
	unsigned i;

	for (i = 0; i < behind->n_sequences; i++)
		spool_sent(behind->fs->spool, behind->sequences[i], 1);
}

void behind_spool_ended(struct behind *behind, int err)
{
	unsigned i;

	for (i = 0; i < behind->n_sequences; i++) {
		if (!err)
			spool_done(behind->fs->spool, behind->sequences[i], 1);
		else if (err != -ENOTCONN) /* else the mount ends: the next one sends it */
			spool_failed(
			    behind->fs->spool, behind->sequences[i], 1, err, behind->item.path);
	}
	behind->n_sequences = 0;
}

void behind_spool_drop(struct behind *behind)
{
	while (behind->n_sequences)
		spool_done(behind->fs->spool, behind->sequences[--behind->n_sequences], 1);
}

bool behind_spool_takes(const struct fs *fs)
{
	return !fs->spool || spool_ready(fs->spool);
}

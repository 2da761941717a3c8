#include "transport/rfile_internal.h"

#include "transport/remote_errno.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

uint64_t rfile_now_ms(void)
{
	return uv_hrtime() / 1000000;
}

struct rfile *rfile_new(struct remote *remote, uint32_t flags, const struct rfile_owner *owner,
    const struct sftp_attr *attr)
{
	struct rfile *file = calloc(1, sizeof(*file));
	if (!file)
		return NULL;
	file->remote = remote_get(remote);
	file->pool = remote_pool(remote);
	file->users = 1;
	file->flags = flags;
	file->owner = *owner;
	rfile_take_attr(file, attr);
	TAILQ_INIT(&file->waiting[0]);
	TAILQ_INIT(&file->waiting[1]);
	TAILQ_INIT(&file->finished);
	TAILQ_INIT(&file->appends_sent);
	TAILQ_INIT(&file->appends);
	TAILQ_INIT(&file->free_ops);
	return file;
}

void rfile_take_attr(struct rfile *file, const struct sftp_attr *attr)
{
	file->attr = *attr;
	if ((attr->flags & SSH_FILEXFER_ATTR_SIZE) && (attr->flags & SSH_FILEXFER_ATTR_ACMODTIME)) {
		file->version_known = true;
		file->mtime = attr->mtime;
		file->size = attr->size;
	}
	if (attr->flags & SSH_FILEXFER_ATTR_SIZE) {
		file->append_end_known = true;
		file->append_end = attr->size;
	}
}

static void rfile_free(struct rfile *file)
{
	if (file->appender)
		rfile_handle_put(file->appender);
	while (file->n_stripes)
		rfile_handle_close(file->stripes[file->n_stripes - 1]);
	if (file->copy)
		rfile_handle_close(file->copy);
	if (file->primary)
		rfile_handle_close(file->primary);

	struct rfile_op *op;
	while ((op = TAILQ_FIRST(&file->free_ops))) {
		TAILQ_REMOVE(&file->free_ops, op, link);
		free(op);
	}
	remote_put(file->remote);
	free(file->early.data);
	free(file);
}

struct rfile *rfile_open_later(
    struct remote *remote, const struct sftp_attr *known, const struct rfile_owner *owner)
{
	struct rfile *file = rfile_new(remote, SSH_FXF_READ, owner, known);

	if (file)
		rfile_set_version(file, known->mtime, known->size);
	return file;
}

struct rfile *rfile_new_later(
    struct remote *remote, uint32_t flags, const struct rfile_owner *owner)
{
	struct sftp_attr none = {0};
	struct rfile *file = rfile_new(remote, flags, owner, &none);

	if (file)
		file->later = true;
	return file;
}

bool rfile_is_later(const struct rfile *file)
{
	return file->later;
}

void rfile_give_up(struct rfile *file, int err)
{
	file->later = false;
	file->given_up = err;
	rfile_fail_waiting(file, err, false);
}

struct rfile *rfile_get(struct rfile *file)
{
	file->users++;
	return file;
}

void rfile_put(struct rfile *file)
{
	if (--file->users == 0 && file->holds == 0)
		rfile_free(file);
}

void rfile_hold(struct rfile *file)
{
	file->holds++;
}

void rfile_drop(struct rfile *file)
{
	if (--file->holds == 0 && file->users == 0)
		rfile_free(file);
}

void rfile_set_owner(struct rfile *file, const struct rfile_owner *owner)
{
	file->owner = *owner;
}

bool rfile_readable(const struct rfile *file)
{
	return file->flags & SSH_FXF_READ;
}

bool rfile_writable(const struct rfile *file)
{
	return file->flags & SSH_FXF_WRITE;
}

bool rfile_append(const struct rfile *file)
{
	return file->flags & SSH_FXF_APPEND;
}

void rfile_set_version(struct rfile *file, uint32_t mtime, uint64_t size)
{
	file->version_known = true;
	if (!file->changing)
		file->changed = false;
	file->asked.flags &= ~(uint32_t)(SSH_FILEXFER_ATTR_SIZE | SSH_FILEXFER_ATTR_ACMODTIME);
	file->mtime = mtime;
	file->size = size;
	file->stripe_pause = 0;
}

static bool stands(const struct rfile_handle *handle)
{
	return handle && handle->state == RFILE_HANDLE_READY && pool_channel_alive(handle->channel);
}

bool rfile_stands(const struct rfile *file)
{
	for (unsigned i = 0; i < file->n_stripes; i++)
		if (stands(file->stripes[i]))
			return true;
	return stands(file->primary);
}

bool rfile_is_held(const struct rfile *file)
{
	return file->later || file->changed || rfile_stands(file);
}

void rfile_doubt(struct rfile *file, bool doubt)
{
	file->doubted = doubt;
}

bool rfile_was_held(const struct rfile *file)
{
	return file->was_held;
}

bool rfile_is_asked(const struct rfile *file)
{
	return file->was_held || file->primary;
}

void rfile_offer_version(struct rfile *file, uint32_t mtime, uint64_t size)
{
	bool grown = !rfile_writable(file) && size >= file->size && mtime >= file->mtime;

	if (!file->was_held || rfile_is_held(file) || grown)
		rfile_set_version(file, mtime, size);
}

void rfile_set_identity(struct rfile *file, const struct sftp_attr *attr)
{
	if (attr->flags & SSH_FILEXFER_ATTR_UIDGID) {
		file->attr.uid = attr->uid;
		file->attr.gid = attr->gid;
	}
	if ((attr->flags & SSH_FILEXFER_ATTR_PERMISSIONS))
		file->attr.mode = (file->attr.mode & S_IFMT) | (attr->mode & 07777);
	file->asked.flags &=
	    ~(attr->flags & (uint32_t)(SSH_FILEXFER_ATTR_UIDGID | SSH_FILEXFER_ATTR_PERMISSIONS));
	file->stripe_pause = 0;
}

void rfile_expect(struct rfile *file, const struct sftp_attr *attr)
{
	struct sftp_attr *asked = &file->asked;

	if (attr->flags & SSH_FILEXFER_ATTR_SIZE)
		asked->size = attr->size;
	if (attr->flags & SSH_FILEXFER_ATTR_ACMODTIME)
		asked->mtime = attr->mtime;
	if (attr->flags & SSH_FILEXFER_ATTR_PERMISSIONS)
		asked->mode = attr->mode;
	if (attr->flags & SSH_FILEXFER_ATTR_UIDGID) {
		asked->uid = attr->uid;
		asked->gid = attr->gid;
	}
	asked->flags |= attr->flags;
}

void rfile_mark_changed(struct rfile *file)
{
	if (!file->changed) {
		file->changed = true;
		file->end = 0;
	}
}

bool rfile_is_changing(const struct rfile *file)
{
	return file->changing > 0;
}

void rfile_may_stray(struct rfile *file)
{
	file->stray_until = rfile_now_ms() + RFILE_STRAY_MS;
}

void rfile_changes(struct rfile *file, bool lost)
{
	if (lost)
		rfile_may_stray(file);
	else
		rfile_mark_changed(file);
	if (file->users && file->owner.changes)
		file->owner.changes(file->owner.arg, lost);
}

void rfile_truncated(struct rfile *file, uint64_t size)
{
	rfile_mark_changed(file);
	file->size = size;
	if (file->end > size)
		file->end = size;
}

static bool same_mode(const struct rfile *file, const struct sftp_attr *attr)
{
	const struct sftp_attr *asked = &file->asked;

	if (!(file->attr.flags & attr->flags & SSH_FILEXFER_ATTR_PERMISSIONS))
		return true;
	if ((file->attr.mode ^ attr->mode) & S_IFMT)
		return false;
	return !file->changed || !((file->attr.mode ^ attr->mode) & 0777) ||
	       ((asked->flags & SSH_FILEXFER_ATTR_PERMISSIONS) &&
		   !((asked->mode ^ attr->mode) & 0777));
}

static bool same_owner(const struct rfile *file, const struct sftp_attr *attr)
{
	const struct sftp_attr *known = &file->attr, *asked = &file->asked;

	if (!(known->flags & attr->flags & SSH_FILEXFER_ATTR_UIDGID))
		return true;
	return (known->uid == attr->uid && known->gid == attr->gid) ||
	       ((asked->flags & SSH_FILEXFER_ATTR_UIDGID) && asked->uid == attr->uid &&
		   asked->gid == attr->gid);
}

static bool same_version(const struct rfile *file, const struct sftp_attr *attr)
{
	const uint32_t needed = SSH_FILEXFER_ATTR_SIZE | SSH_FILEXFER_ATTR_ACMODTIME;
	const struct sftp_attr *asked = &file->asked;

	if (!file->version_known || (attr->flags & needed) != needed)
		return false;
	if ((asked->flags & SSH_FILEXFER_ATTR_SIZE) && attr->size == asked->size &&
	    attr->mtime >= file->mtime)
		return true;
	if (attr->size != file->size)
		return false;
	return attr->mtime == file->mtime ||
	       ((asked->flags & SSH_FILEXFER_ATTR_ACMODTIME) && attr->mtime == asked->mtime) ||
	       (attr->mtime > file->mtime && rfile_now_ms() < file->stray_until &&
		   attr->mtime - file->mtime <= RFILE_STRAY_MS / 1000);
}

/*
 * Whether attr, just seen through another handle, is this file. SFTP v3 has no inode numbers, so:
 * for a file that only others can change, the version; for one that is being written here the
 * owner, the kind, the permissions (without set-id bits: a write clears them) and a size that holds
 * all that was acknowledged.
 */
bool rfile_same(const struct rfile *file, const struct sftp_attr *attr)
{
	uint64_t end = file->end;

	if (!same_mode(file, attr))
		return false;
	if (!file->changed)
		return same_version(file, attr);
	if ((file->asked.flags & SSH_FILEXFER_ATTR_SIZE) && file->asked.size < end)
		end = file->asked.size;
	return same_owner(file, attr) && (attr->flags & SSH_FILEXFER_ATTR_SIZE) &&
	       attr->size >= end;
}

int rfile_path(struct rfile *file, char *buf, size_t size)
{
	if (file->users == 0 || !file->owner.path || !file->owner.path(file->owner.arg, buf, size))
		return -ESTALE;
	return 0;
}

void rfile_true_errno(struct rfile *file, int err, remote_done *done, void *arg)
{
	char path[PATH_MAX];
	const char *known = rfile_path(file, path, sizeof(path)) == 0 ? path : NULL;
	remote_true_errno(file->remote, ASKED_WRITE, known, NULL, err, done, arg);
}

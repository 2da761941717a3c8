/* Changes of names, done again unless they were done. */
#include "conf/log.h"
#include "fs/openfile.h"
#include "fs/replay_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct remote *remote_of(const struct job *job)
{
	return job->replay->fs->remote;
}

/* Can something newer stand under the name, that the change would take away? Without a base it was
 * made by changes before it; but what failed is done long after. */
static bool is_dated(const struct spool_record *record)
{
	return record->flags & SPOOL_BASE || record->failed;
}

/* --- mkdir, symlink --- */

static void on_mode_set(void *arg, int err)
{
	struct job *job = arg;

	if (err)
		log_debug("setting the mode of %s: %s", job->record.path, strerror(-err));
	replay_job_end(job, 0);
}

static void on_folder(void *arg, int err)
{
	struct job *job = arg;
	struct sftp_attr mode = {.flags = SSH_FILEXFER_ATTR_PERMISSIONS,
	    .mode = job->record.attr.mode & 07777,
	    .uid = job->record.attr.uid,
	    .gid = job->record.attr.gid};

	if (job->record.attr.flags & SPOOL_ATTR_UIDGID)
		mode.flags |= SSH_FILEXFER_ATTR_UIDGID;
	if (err)
		replay_job_end(job, err);
	else if (job->record.attr.flags & SPOOL_ATTR_MODE)
		remote_setstat(remote_of(job), job->record.path, &mode, true, on_mode_set, job);
	else
		replay_job_end(job, 0);
}

static void on_what_there_is(void *arg, int err, const struct sftp_attr *attr)
{
	struct job *job = arg;

	if (!err && (attr->mode & S_IFMT) == S_IFDIR)
		replay_job_end(job, 0);
	else
		replay_job_end(job, err ? err : -EEXIST);
}

static void on_mkdir(void *arg, int err)
{
	struct job *job = arg;

	if (err == -EEXIST)
		remote_lstat(remote_of(job), job->record.path, on_what_there_is, job);
	else
		on_folder(job, err);
}

static void on_old_link(void *arg, int err, const char *target)
{
	struct job *job = arg;

	replay_job_end(job, err ? err : strcmp(target, job->record.to) ? -EEXIST : 0);
}

static void on_symlink(void *arg, int err)
{
	struct job *job = arg;

	if (err == -EEXIST)
		remote_readlink(remote_of(job), job->record.path, on_old_link, job);
	else
		replay_job_end(job, err);
}

/* --- create --- */

static const struct rfile_owner nobody = {.path = openfile_no_path};

static void create(struct job *job);

static void on_fixed(void *arg, int err)
{
	on_mode_set(arg, err);
}

static void on_created(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	struct job *job = arg;
	uint32_t want = job->record.attr.mode & 07777;
	struct sftp_attr mode = {.flags = SSH_FILEXFER_ATTR_PERMISSIONS, .mode = want};
	char *place;

	if (err == -EEXIST && job->at < 10) { /* a conflict name may be taken, too */
		job->at++;
		create(job);
		return;
	}
	if (err) {
		replay_job_end(job, err);
		return;
	}
	place = strdup(job->target->place);
	if (job->target->conflict)
		replay_conflict(job->replay, job->record.path, place);
	target_made(job->target, place, file);
	if (attr->flags && (attr->mode & 07777) != want)
		rfile_fsetstat(file, &mode, on_fixed, job);
	else
		replay_job_end(job, 0);
}

static void create(struct job *job)
{
	struct target *target = job->target;

	if (job->at) {
		free(target->place);
		target->place = replay_conflict_path(job->record.path, job->at - 1);
		target->conflict = true;
	}
	rfile_open(remote_of(job), target->place,
	    SSH_FXF_READ | SSH_FXF_WRITE | SSH_FXF_CREAT | SSH_FXF_EXCL,
	    job->record.attr.mode & 07777, &nobody, on_created, job);
}

static void on_clock(struct job *job, int err)
{
	if (!err && replay_is_our_new(job->replay, &job->record, &job->target->there)) {
		target_made(job->target, strdup(job->record.path), NULL);
		replay_job_end(job, 0);
	} else if (err) {
		replay_job_end(job, err);
	} else {
		job->at = 1;
		create(job);
	}
}

/* It may be there because we made it, or somebody else did. */
static void on_there(void *arg, int err, const struct sftp_attr *attr)
{
	struct job *job = arg;

	if (err == -ENOENT) {
		create(job);
	} else if (err) {
		replay_job_end(job, err);
	} else {
		job->target->there = *attr;
		if (job->record.sent && (attr->mode & S_IFMT) == S_IFREG) {
			replay_clock(job, job->record.path, on_clock);
		} else {
			job->at = 1;
			create(job);
		}
	}
}

static void start_create(struct job *job)
{
	targets_removed(job->replay, job->record.path);
	job->target = target_of(job->replay, job->record.path);
	if (!job->target) {
		replay_job_end(job, -ENOMEM);
		return;
	}
	job->target->state = TARGET_LOOKING;
	job->at = 0;
	if (job->record.sent) /* it may have been made */
		remote_lstat(remote_of(job), job->record.path, on_there, job);
	else
		create(job);
}

/* --- unlink, rmdir --- */

static void on_removed(void *arg, int err)
{
	struct job *job = arg;

	targets_removed(job->replay, job->record.path);
	if (err == -ENOTEMPTY || err == -EEXIST) {
		log_warning("%s is not removed: there are new files in it", job->record.path);
		err = 0;
	}
	replay_job_end(job, err == -ENOENT ? 0 : err);
}

static void remove_there(struct job *job)
{
	if (job->record.type == SPOOL_RMDIR)
		remote_rmdir(remote_of(job), job->record.path, on_removed, job);
	else
		remote_unlink(remote_of(job), job->record.path, on_removed, job);
}

static void remove_ours(struct job *job, int err)
{
	if (err) {
		replay_job_end(job, err);
	} else if (replay_is_ours(job->replay, &job->record, &job->target->there)) {
		remove_there(job);
	} else {
		log_warning("%s was %s: it is not removed", job->record.path,
		    job->record.type == SPOOL_RMDIR ? "made anew, or changed, since"
						    : "changed on the instance meanwhile");
		replay_job_end(job, 0);
	}
}

static void on_to_remove(void *arg, int err, const struct sftp_attr *attr)
{
	struct job *job = arg;

	if (err) {
		on_removed(job, err);
		return;
	}
	job->target->there = *attr;
	if (!is_dated(&job->record) || job->target->state == TARGET_READY)
		remove_there(job);
	else
		replay_clock(job, job->record.path, remove_ours);
}

static void on_to_rmdir(void *arg, int err, const struct sftp_attr *attr)
{
	struct job *job = arg;

	if (err) {
		on_removed(job, err);
	} else {
		job->target->there = *attr;
		replay_clock(job, job->record.path, remove_ours);
	}
}

static void start_rmdir(struct job *job)
{
	if (!job->record.failed)
		remove_there(job);
	else if ((job->target = target_of(job->replay, job->record.path)))
		remote_lstat(remote_of(job), job->record.path, on_to_rmdir, job);
	else
		replay_job_end(job, -ENOMEM);
}

static void start_unlink(struct job *job)
{
	struct target *target = target_of(job->replay, job->record.path);

	job->target = target;
	if (!target) {
		replay_job_end(job, -ENOMEM);
	} else if (target->conflict) { /* the file beside it goes, the other one is not ours */
		remote_unlink(remote_of(job), target->place, on_removed, job);
	} else {
		remote_lstat(remote_of(job), job->record.path, on_to_remove, job);
	}
}

/* --- rename --- */

static void on_renamed(void *arg, int err)
{
	struct job *job = arg;

	if (!err)
		targets_renamed(job->replay, job->record.path, job->record.to);
	replay_job_end(job, err);
}

static void rename_aside(struct job *job);

static void on_renamed_aside(void *arg, int err)
{
	struct job *job = arg;

	if (err == -EEXIST && ++job->at < 20) {
		rename_aside(job);
		return;
	}
	if (!err) {
		replay_conflict(job->replay, job->record.to, job->target->place);
		targets_removed(job->replay, job->record.path);
		target_made(job->target, NULL, NULL);
	}
	replay_job_end(job, err);
}

static void rename_aside(struct job *job)
{
	free(job->target->place);
	job->target->place = replay_conflict_path(job->record.to, job->at);
	job->target->conflict = true;
	remote_rename(
	    remote_of(job), replay_from(job), job->target->place, false, on_renamed_aside, job);
}

static void rename_over_ours(struct job *job, int err)
{
	if (err)
		replay_job_end(job, err);
	else if (replay_is_ours(job->replay, &job->record, &job->target->there))
		remote_rename(
		    remote_of(job), replay_from(job), job->record.to, true, on_renamed, job);
	else
		rename_aside(job);
}

static bool is_source(const struct spool_record *record, const struct sftp_attr *attr)
{
	return S_ISREG(attr->mode) && attr->size == record->offset &&
	       attr->mtime == record->attr.mtime;
}

/* It was done, and what stands under the old name was made since. */
static bool was_done(const struct job *job, const struct sftp_attr *attr)
{
	const struct spool_record *record = &job->record;

	return record->sent && record->flags & SPOOL_SOURCE && replay_from(job) == record->path &&
	       is_source(record, attr) && !is_source(record, &job->old);
}

static void on_new_name(void *arg, int err, const struct sftp_attr *attr)
{
	struct job *job = arg;
	bool replace = !(job->record.flags & SPOOL_NOREPLACE);

	if (err && err != -ENOENT) {
		replay_job_end(job, err);
		return;
	}
	if (job->err == -ENOENT) { /* nothing under the old name */
		if (!err)
			targets_renamed(job->replay, job->record.path, job->record.to);
		else if (job->record.sent) /* it was done, and a later change was too */
			err = 0;
		replay_job_end(job, err);
		return;
	}
	if (!err && was_done(job, attr)) {
		on_renamed(job, 0);
	} else if (!err && replace && job->record.gap && S_ISREG(attr->mode)) {
		/* what is to be put in its place may have lost its data */
		rename_aside(job);
	} else if (!err && job->target->state != TARGET_READY && is_dated(&job->record) &&
		   !S_ISDIR(attr->mode)) { /* a folder is replaced only if it is empty */
		job->target->there = *attr;
		replay_clock(job, job->record.to, rename_over_ours);
	} else if (!err && (!replace || job->target->conflict)) {
		rename_aside(job);
	} else {
		remote_rename(
		    remote_of(job), replay_from(job), job->record.to, replace, on_renamed, job);
	}
}

static void on_old_name(void *arg, int err, const struct sftp_attr *attr)
{
	struct job *job = arg;

	if (err && err != -ENOENT) {
		replay_job_end(job, err);
		return;
	}
	job->err = err;
	if (!err)
		job->old = *attr;
	remote_lstat(remote_of(job), job->record.to, on_new_name, job);
}

static void start_rename(struct job *job)
{
	if (job->record.renamed && replay_from(job) == job->record.path) {
		on_renamed(job, 0);
		return;
	}
	job->target = target_of(job->replay, job->record.to);
	if (job->target)
		remote_lstat(remote_of(job), replay_from(job), on_old_name, job);
	else
		replay_job_end(job, -ENOMEM);
}

/* --- attributes --- */

static void on_attr_set(void *arg, int err)
{
	struct job *job = arg;

	if (err == -ENOENT) {
		log_warning(
		    "%s: its mode, owner or times can't be set: it is gone", job->record.path);
		err = 0;
	}
	replay_job_end(job, err);
}

static void start_setattr(struct job *job)
{
	const struct spool_attr *from = &job->record.attr;
	struct target *target = target_find(job->replay, job->record.path);
	struct sftp_attr attr = {
	    .uid = from->uid,
	    .gid = from->gid,
	    .mode = from->mode & 07777,
	    .atime = from->atime,
	    .mtime = from->mtime,
	};

	if (from->flags & SPOOL_ATTR_UIDGID)
		attr.flags |= SSH_FILEXFER_ATTR_UIDGID;
	if (from->flags & SPOOL_ATTR_MODE)
		attr.flags |= SSH_FILEXFER_ATTR_PERMISSIONS;
	if (from->flags & SPOOL_ATTR_TIMES)
		attr.flags |= SSH_FILEXFER_ATTR_ACMODTIME;
	remote_setstat(remote_of(job),
	    target && target->conflict ? target->place : job->record.path, &attr,
	    job->record.flags & SPOOL_NOFOLLOW, on_attr_set, job);
}

void replay_name(struct job *job)
{
	const struct spool_record *record = &job->record;
	struct remote *remote = remote_of(job);

	switch (record->type) {
	case SPOOL_CREATE:
		start_create(job);
		break;
	case SPOOL_MKDIR:
		remote_mkdir(remote, record->path, record->attr.mode & 07777, on_mkdir, job);
		break;
	case SPOOL_SYMLINK:
		remote_symlink(remote, record->to, record->path, on_symlink, job);
		break;
	case SPOOL_LINK:
		replay_link(job);
		break;
	case SPOOL_RENAME:
		start_rename(job);
		break;
	case SPOOL_UNLINK:
		start_unlink(job);
		break;
	case SPOOL_RMDIR:
		start_rmdir(job);
		break;
	case SPOOL_SETATTR:
		start_setattr(job);
		break;
	default:
		remote_lstat(remote, record->path, on_what_there_is, job);
	}
}

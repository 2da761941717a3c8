/*
 * Hard links, made again unless they were. What was done after it (the file's first name removed,
 * as git does) is only done when the file has its second one.
 *
 *	nothing there                  → made
 *	a file there like ours         → it was made      (only if the link was sent)
 *	something else there           → made beside it, under a conflict name
 *	the first name is gone         → it was made, if there is the second one (only if sent)
 */
#include "fs/replay_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

static void make_link(struct job *job);

const char *replay_from(const struct job *job)
{
	const struct target *target = target_find(job->replay, job->record.path);

	return target && target->conflict ? target->place : job->record.path;
}

static void link_made(struct job *job)
{
	struct target *target = job->target;

	if (target->conflict)
		replay_conflict(job->replay, job->record.to, target->place);
	target_made(target, NULL, NULL);
	replay_job_end(job, 0);
}

/* Somebody there has a file of that name. */
static void link_aside(struct job *job)
{
	free(job->target->place);
	job->target->place = replay_conflict_path(job->record.to, job->at++);
	job->target->conflict = true;
	make_link(job);
}

/* It was made, and what was written to the file before may have been written once more. */
static void judge_link(struct job *job, int err)
{
	if (err)
		replay_job_end(job, err);
	else if (replay_is_ours(job->replay, &job->record, &job->target->there))
		link_made(job);
	else
		link_aside(job);
}

static void on_linked_file(void *arg, int err, const struct sftp_attr *attr)
{
	struct job *job = arg;
	const struct sftp_attr *there = &job->target->there;

	if (err) /* it has vanished since */
		replay_job_end(job, err);
	else if (sftp_attr_alike(attr, there))
		link_made(job);
	else if (S_ISREG(there->mode) && there->size == attr->size)
		replay_clock(job, job->record.to, judge_link);
	else
		link_aside(job);
}

static void on_link_there(void *arg, int err, const struct sftp_attr *attr)
{
	struct job *job = arg;

	if (err == -ENOENT && job->err == -ENOENT) { /* done, and a later change of both was too */
		replay_job_end(job, 0);
	} else if (err) {
		replay_job_end(job, err);
	} else if (job->err == -ENOENT) {
		link_made(job);
	} else {
		job->target->there = *attr;
		remote_lstat(job->replay->fs->remote, replay_from(job), on_linked_file, job);
	}
}

static void on_link(void *arg, int err)
{
	struct job *job = arg;

	job->err = err;
	if (!err)
		link_made(job);
	else if ((err == -EEXIST || err == -ENOENT) && job->record.sent && !job->target->conflict)
		remote_lstat(job->replay->fs->remote, job->record.to, on_link_there, job);
	else if (err == -EEXIST && job->at < 20)
		link_aside(job);
	else
		replay_job_end(job, err);
}

static void make_link(struct job *job)
{
	remote_link(job->replay->fs->remote, replay_from(job), job->target->place, on_link, job);
}

void replay_link(struct job *job)
{
	targets_removed(job->replay, job->record.to);
	job->target = target_of(job->replay, job->record.to);
	if (job->target)
		make_link(job);
	else
		replay_job_end(job, -ENOMEM);
}

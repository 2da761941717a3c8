/* Can what the instance has of a file be what our own changes have left? */
#include "fs/openfile.h"
#include "fs/replay_impl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A connection that is dying may still deliver what was sent, and times are whole seconds. */
#define SLACK 2

/* --- the server's clock --- */

struct clock {
	struct job *job;
	void (*go)(struct job *job, int err);
	char path[PATH_MAX];
};

static void clock_removed(void *arg, int err)
{
	(void)arg;
	(void)err;
}

static void on_clock(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	struct clock *clock = arg;
	struct job *job = clock->job;
	void (*go)(struct job * job, int err) = clock->go;
	struct replay *replay = job->replay;

	if (!err) {
		if (attr->flags & SSH_FILEXFER_ATTR_ACMODTIME)
			replay->clock_ahead = (int64_t)attr->mtime - (int64_t)time(NULL);
		rfile_put(file);
		remote_unlink(replay->fs->remote, clock->path, clock_removed, NULL);
	}
	free(clock);
	/* Where no file can be made, the clocks are taken to agree. */
	replay->clock_known = true;
	go(job, err == -ENOTCONN || err == -ETIMEDOUT ? err : 0);
}

void replay_clock(struct job *job, const char *path, void (*go)(struct job *job, int err))
{
	static const struct rfile_owner nobody = {.path = openfile_no_path};
	const char *slash = strrchr(path, '/');
	struct clock *clock;

	if (job->replay->clock_known || !(clock = malloc(sizeof(*clock)))) {
		go(job, 0);
		return;
	}
	clock->job = job;
	clock->go = go;
	snprintf(clock->path, sizeof(clock->path), "%.*s/.vastfs-clock-%d-%llx",
	    (int)(slash - path), path, (int)getpid(), (unsigned long long)uv_hrtime());
	rfile_open(job->replay->fs->remote, clock->path,
	    SSH_FXF_WRITE | SSH_FXF_CREAT | SSH_FXF_EXCL, 0600, &nobody, on_clock, clock);
}

/* --- the versions --- */

/* Is it the time that a later change of ours has set, if it was done? */
static bool dated_by_us(
    const struct replay *replay, const struct spool_record *record, uint32_t mtime)
{
	size_t i;

	for (i = 0; i < replay->n_notes; i++) {
		const struct note *note = &replay->notes[i];

		if (note->type == SPOOL_SETATTR && note->sequence > record->sequence &&
		    note->mtime == mtime && !strcmp(note->path, record->path))
			return true;
	}
	return false;
}

bool replay_is_ours(
    const struct replay *replay, const struct spool_record *record, const struct sftp_attr *attr)
{
	bool based = record->flags & SPOOL_BASE, own = record->sent || record->flags & SPOOL_OWN;
	int64_t latest = record->failed ? record->failed : record->alive;
	size_t i;

	if (based && attr->mtime == record->base_mtime && (own || attr->size == record->base_size))
		return true;
	if (own && dated_by_us(replay, record, attr->mtime))
		return true;
	if (based && (!own || attr->mtime < record->base_mtime))
		return false;
	for (i = 0; i < replay->n_notes; i++) {
		const struct note *note = &replay->notes[i];

		if (note->type == SPOOL_CHECKED && note->alive > latest &&
		    !strcmp(note->path, record->path))
			latest = note->alive;
	}
	return (int64_t)attr->mtime <= latest + replay->clock_ahead + SLACK;
}

/* Was anything sent that changed the new file's contents, or its mode? */
static void sent_since(
    const struct replay *replay, const struct spool_record *made, bool *contents, bool *mode)
{
	struct spool *spool = replay->fs->spool;
	struct spool_buf buf = {0};
	struct spool_record record;
	uint64_t at = spool_next(spool, made->sequence + 1);

	*contents = *mode = false;
	for (; at && at < replay->to && !(*contents && *mode); at = spool_next(spool, at + 1)) {
		if (spool_read(spool, at, &buf, &record) || !record.sent ||
		    strcmp(record.path, made->path))
			continue;
		*contents |= record.type == SPOOL_WRITE || record.type == SPOOL_APPEND ||
			     record.type == SPOOL_TRUNCATE;
		*mode |= record.type == SPOOL_SETATTR && record.attr.flags & SPOOL_ATTR_MODE;
	}
	free(buf.at);
}

/*
 * Nothing is written to a new file before its making was acknowledged, and it never gets more
 * rights than were asked for: what is otherwise is somebody else's, who took the name after a
 * rename or removal of ours that was done, but not acknowledged.
 */
bool replay_is_our_new(
    const struct replay *replay, const struct spool_record *record, const struct sftp_attr *attr)
{
	bool contents, mode, more = attr->mode & 07777 & ~record->attr.mode;

	if (attr->size || more) {
		sent_since(replay, record, &contents, &mode);
		if ((attr->size && !contents) || (more && !mode))
			return false;
	}
	return replay_is_ours(replay, record, attr);
}

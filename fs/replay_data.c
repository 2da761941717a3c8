/* Contents, written again. */
#include "fs/replay_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SMALL (64u << 10)
/* How much of a file's end is compared with appends that may have been done: as much as may have
 * been under way. */
#define TAIL_MOST (64u << 20)

static void job_done(struct job *job, int err)
{
	struct target *target = job->target;

	/* What follows on this file must not be done without it. */
	if (err && !target->err)
		target->err = err;
	replay_job_end(job, err);
}

static void on_done(void *arg, int err)
{
	job_done(arg, err);
}

/* --- write --- */

static void on_written(void *arg, int err)
{
	struct job *job = arg;

	if (err && !job->err)
		job->err = err;
	if (!--job->flying)
		job_done(job, job->err);
}

static void write_all(struct job *job)
{
	const struct spool_record *record = &job->record;
	uint32_t most = remote_features(job->replay->fs->remote)->max_write, n;
	const uint8_t *data = record->data;

	job->flying = 1;
	for (; job->at < record->len; job->at += n) {
		n = record->len - job->at < most ? record->len - job->at : most;
		job->flying++;
		rfile_write(job->target->file, record->offset + job->at, data + job->at, n,
		    record->len > SMALL ? RFILE_BULK : RFILE_SMALL, on_written, job);
	}
	if (!--job->flying) /* nothing in it */
		job_done(job, 0);
}

static void write_open(struct job *job, int err)
{
	if (err)
		job_done(job, err == -ENOENT && job->target->state == TARGET_GONE ? 0 : err);
	else
		write_all(job);
}

/* --- truncate --- */

static void truncate_open(struct job *job, int err)
{
	struct sftp_attr size = {.flags = SSH_FILEXFER_ATTR_SIZE, .size = job->record.offset};

	if (err)
		write_open(job, err);
	else
		rfile_fsetstat(job->target->file, &size, on_done, job);
}

/* --- append: is it there already? --- */

/* What is there of it from its place on is its beginning: the server was ended within the write, or
 * has done all of it. If something else is there, somebody else appends too, and it is looked for
 * behind that. In front of its place it can't be. */
static void find_append(struct job *job)
{
	struct target *target = job->target;
	const struct spool_record *record = &job->record;
	uint64_t place =
	    record->offset > target->tail_from ? record->offset - target->tail_from : 0;
	const uint8_t *at, *found;
	size_t left;
	uint32_t n;

	if (place > target->tail_len)
		place = target->tail_len;
	if (target->tail_at < place)
		target->tail_at = (size_t)place;
	found = at = target->tail + target->tail_at;
	left = target->tail_len - target->tail_at;
	n = left < record->len ? (uint32_t)left : record->len;
	if (!n)
		return;
	if (memcmp(at, record->data, n))
		found = memmem(at, left, record->data, record->len);
	if (!found)
		return;
	target->tail_at = (size_t)(found - target->tail) + n;
	job->at = n;
}

static void append_now(struct job *job)
{
	if (job->record.sent && job->target->tail_len > job->target->tail_at)
		find_append(job);
	write_all(job);
}

static void read_tail(struct job *job);

static void on_tail(void *arg, int err, const uint8_t *data, uint32_t len)
{
	struct job *job = arg;
	struct target *target = job->target;
	uint8_t *grown;

	if (err) {
		job_done(job, err);
		return;
	}
	grown = len ? realloc(target->tail, target->tail_len + len) : NULL;
	if (!grown) { /* the end */
		append_now(job);
		return;
	}
	memcpy(grown + target->tail_len, data, len);
	target->tail = grown;
	target->tail_len += len;
	if (target->tail_len < TAIL_MOST)
		read_tail(job);
	else
		append_now(job);
}

static void read_tail(struct job *job)
{
	struct target *target = job->target;

	rfile_read(target->file, target->tail_from + target->tail_len,
	    remote_features(job->replay->fs->remote)->max_read, RFILE_BULK, on_tail, job);
}

static void append_open(struct job *job, int err)
{
	struct target *target = job->target;

	if (err) {
		write_open(job, err);
	} else if (!job->record.sent || target->tail_known || target->conflict) {
		append_now(job);
	} else {
		target->tail_known = true;
		target->tail_from = job->record.offset;
		target->tail_len = target->tail_at = 0;
		read_tail(job);
	}
}

void replay_data(struct job *job)
{
	job->target = target_of(job->replay, job->record.path);
	if (!job->target)
		replay_job_end(job, -ENOMEM);
	else if (job->target->err)
		replay_job_end(job, job->target->err);
	else if (job->record.type == SPOOL_WRITE)
		target_open(job, write_open);
	else if (job->record.type == SPOOL_APPEND)
		target_open(job, append_open);
	else
		target_open(job, truncate_open);
}

/* The local version beside the file: a copy of what is there, or nothing, to be written upon. */
#include "conf/log.h"
#include "fs/replay_impl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPY_PIECE (64u << 20)
#define TRIES 20u

struct conflict {
	struct job *job;
	void (*go)(struct job *job, int err);
	bool copy;
	unsigned tries;
	char *place;
	struct rfile *source, *file;
	uint64_t at;
};

static struct remote *remote_of(const struct conflict *conflict)
{
	return conflict->job->replay->fs->remote;
}

static void end(struct conflict *conflict, int err)
{
	struct job *job = conflict->job;
	void (*go)(struct job * job, int err) = conflict->go;
	struct target *target = job->target;

	if (conflict->source)
		rfile_put(conflict->source);
	if (!err) {
		target->conflict = true;
		replay_conflict(job->replay, target->path, conflict->place);
		target_made(target, conflict->place, conflict->file);
	} else {
		if (conflict->file)
			rfile_put(conflict->file);
		free(conflict->place);
	}
	free(conflict);
	go(job, err);
}

/* --- the copy --- */

static void copy_more(struct conflict *conflict);

static void on_copied(void *arg, int copied)
{
	struct conflict *conflict = arg;

	if (copied <= 0) {
		end(conflict, copied);
		return;
	}
	conflict->at += (uint64_t)copied;
	copy_more(conflict);
}

static void on_written(void *arg, int err)
{
	struct conflict *conflict = arg;

	if (err)
		end(conflict, err);
	else
		copy_more(conflict);
}

static void on_read(void *arg, int err, const uint8_t *data, uint32_t len)
{
	struct conflict *conflict = arg;
	uint64_t at = conflict->at;

	if (err || !len) {
		end(conflict, err);
		return;
	}
	conflict->at += len;
	rfile_write(conflict->file, at, data, len, RFILE_BULK, on_written, conflict);
}

static void copy_more(struct conflict *conflict)
{
	const struct sftp_features *features = remote_features(remote_of(conflict));
	uint32_t piece =
	    features->max_read < features->max_write ? features->max_read : features->max_write;

	if (features->copy_data)
		rfile_copy(conflict->source, conflict->at, conflict->file, conflict->at, COPY_PIECE,
		    on_copied, conflict);
	else
		rfile_read(conflict->source, conflict->at, piece, RFILE_BULK, on_read, conflict);
}

/* --- making it --- */

static bool own_path(void *arg, char *buf, size_t size)
{
	const struct conflict *conflict = arg;

	return (size_t)snprintf(buf, size, "%s", conflict->place) < size;
}

static bool source_path(void *arg, char *buf, size_t size)
{
	const struct target *target = arg;

	return (size_t)snprintf(buf, size, "%s", target->path) < size;
}

static void make(struct conflict *conflict);

static void on_made(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	struct conflict *conflict = arg;

	(void)attr;
	if (err == -EEXIST && conflict->tries < TRIES) {
		make(conflict);
		return;
	}
	if (err) {
		end(conflict, err);
		return;
	}
	conflict->file = file;
	if (conflict->source)
		copy_more(conflict);
	else
		end(conflict, 0);
}

static void make(struct conflict *conflict)
{
	struct rfile_owner owner = {.path = own_path, .arg = conflict};
	const struct target *target = conflict->job->target;
	uint32_t mode = target->there.flags ? target->there.mode & 0777 : 0644;

	free(conflict->place);
	conflict->place = replay_conflict_path(target->path, conflict->tries++);
	if (!conflict->place)
		end(conflict, -ENOMEM);
	else
		rfile_open(remote_of(conflict), conflict->place,
		    SSH_FXF_READ | SSH_FXF_WRITE | SSH_FXF_CREAT | SSH_FXF_EXCL, mode, &owner,
		    on_made, conflict);
}

static void on_source(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	struct conflict *conflict = arg;

	(void)attr;
	if (err && err != -ENOENT) {
		end(conflict, err);
		return;
	}
	conflict->source = err ? NULL : file;
	make(conflict);
}

void conflict_make(struct job *job, bool there, void (*go)(struct job *job, int err))
{
	struct rfile_owner owner = {.path = source_path, .arg = job->target};
	const struct spool_record *record = &job->record;
	struct conflict *conflict = calloc(1, sizeof(*conflict));
	/* What was written here began with an empty file. */
	bool from_nothing = !(record->flags & SPOOL_BASE) || !record->base_size ||
			    (record->type == SPOOL_TRUNCATE && !record->offset);

	if (!conflict) {
		go(job, -ENOMEM);
		return;
	}
	conflict->job = job;
	conflict->go = go;
	if (there && !from_nothing)
		rfile_open(remote_of(conflict), job->target->place, SSH_FXF_READ, 0, &owner,
		    on_source, conflict);
	else
		make(conflict);
}

void conflict_moved(struct target *target, const char *path, const char *to)
{
	char *place;

	if (!replay_below(target->place, path) ||
	    asprintf(&place, "%s%s", to, target->place + strlen(path)) < 0)
		return;
	free(target->place);
	target->place = place;
}

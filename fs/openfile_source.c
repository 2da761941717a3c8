/* The content cache's way to the instance. */
#include "cache/spool.h"
#include "fs/behind.h"
#include "fs/openfile.h"
#include "fs/replaced.h"
#include "transport/packet.h"
#include <limits.h>
#include <stdlib.h>

struct handle_read *handle_read_new(struct handle *handle, uint64_t offset, uint32_t len, bool bulk,
    handle_read_done *done, void *arg)
{
	struct handle_read *read = malloc(sizeof(*read));

	if (read)
		*read = (struct handle_read){handle_get(handle), offset, len, bulk, done, arg};
	return read;
}

void handle_read_go(struct handle_read *read, int err)
{
	struct handle *handle = read->handle;

	if (err)
		read->done(read->arg, err, NULL, 0);
	else
		rfile_read(handle->file, read->offset, read->len,
		    read->bulk ? RFILE_BULK : RFILE_SMALL, read->done, read->arg);
	handle_put(handle);
	free(read);
}

/* The instance has the file now, and its name. */
static void on_settled(void *arg, int err)
{
	struct handle_read *read = arg;

	read->handle->early = false;
	handle_read_go(read, err);
}

/* Its file is not to be found by its name on the instance, or will be opened there when that goes.
 */
static bool is_leaving(const struct handle *handle)
{
	return handle->open->leaving && !handle_is_there(handle);
}

static int wait_for_instance(struct handle *handle, struct handle_read *read)
{
	struct openfile *open = handle->open;

	return is_leaving(handle)
		   ? behind_wait_leaving(open, on_settled, read)
		   : behind_wait(open->fs, OUTBOX_READ, open->inode, NULL, on_settled, read);
}

/* 1: nothing has to be waited for; 0: handle_read_go comes later. */
static int read_early(struct handle *handle, uint64_t offset, uint32_t len, bool bulk,
    handle_read_done *done, void *arg)
{
	bool waits = is_leaving(handle) || handle->open->inode->pending;
	struct handle_read *read =
	    waits ? handle_read_new(handle, offset, len, bulk, done, arg) : NULL;

	if (read && !wait_for_instance(handle, read))
		return 0;
	if (read) {
		handle_put(handle);
		free(read);
	}
	handle->early = false;
	return 1;
}

static void source_read(void *file, uint64_t offset, uint32_t len, bool bulk,
    void (*done)(void *arg, int err, const uint8_t *data, uint32_t len), void *arg)
{
	struct handle *handle = file;

	if ((handle->early || is_leaving(handle)) &&
	    !read_early(handle, offset, len, bulk, done, arg))
		return;
	if (handle->doubt)
		replaced_read(handle, offset, len, bulk, done, arg);
	else
		rfile_read(handle->file, offset, len, bulk ? RFILE_BULK : RFILE_SMALL, done, arg);
}

static void *source_data_new(uint32_t size, uint8_t **data)
{
	return rfile_data_new(size, data);
}

static void source_data_free(void *buffer)
{
	packet_free(buffer);
}

static void source_write(void *file, uint64_t offset, void *buffer, uint32_t len, bool bulk,
    void (*done)(void *arg, int err), void *arg)
{
	struct handle *handle = file;

	rfile_write_data(
	    handle->file, offset, buffer, len, bulk ? RFILE_BULK : RFILE_SMALL, done, arg);
}

static void source_append(void *file, void *buffer, uint32_t len, bool bulk, bool again,
    void (*done)(void *arg, int err), void *arg)
{
	struct handle *handle = file;

	rfile_append_lasting(
	    handle->file, buffer, len, bulk ? RFILE_BULK : RFILE_SMALL, again, done, arg);
}

static void source_get(void *file)
{
	handle_get(file);
}

static void source_put(void *file)
{
	handle_put(file);
}

static bool source_appends(void *file)
{
	const struct handle *handle = file;

	return handle->append;
}

static bool source_append_end(void *file, uint64_t *end)
{
	const struct handle *handle = file;

	return rfile_append_end(handle->file, end);
}

struct dirty_walk {
	bool (*each)(void *arg, const char *path, uint64_t dirty, uint64_t size);
	void *arg;
};

static bool each_dirty(void *arg, void *file, uint64_t dirty, uint64_t size)
{
	const struct dirty_walk *walk = arg;
	const struct handle *handle = file;
	char path[PATH_MAX];

	/* what was removed is nobody's concern */
	return names_path(handle->open->fs->names, handle->open->inode, path, sizeof(path)) ||
	       walk->each(walk->arg, path, dirty, size);
}

void openfile_each_dirty(const struct fs *fs,
    bool (*each)(void *arg, const char *path, uint64_t dirty, uint64_t size), void *arg)
{
	struct dirty_walk walk = {each, arg};

	content_pool_each_dirty(fs->contents, each_dirty, &walk);
}

static bool source_place(void *file, char *path, size_t size, struct spool_record *record)
{
	const struct handle *handle = file;
	const struct openfile *open = handle->open;

	if (open->based) {
		record->flags |= SPOOL_BASE;
		record->base_size = open->base_size;
		record->base_mtime = open->base_mtime;
	}
	return !names_path(open->fs->names, open->inode, path, size);
}

static struct remote *remote_of(void *file)
{
	const struct handle *handle = file;

	return handle->open->fs->remote;
}

static uint32_t source_max_read(void *file)
{
	return remote_features(remote_of(file))->max_read;
}

static uint32_t source_max_write(void *file)
{
	return remote_features(remote_of(file))->max_write;
}

static uint32_t source_rtt_us(void *file)
{
	return pool_min_rtt_us(remote_pool(remote_of(file)));
}

const struct content_source openfile_source = {
    .read = source_read,
    .data_new = source_data_new,
    .data_free = source_data_free,
    .write = source_write,
    .append = source_append,
    .get = source_get,
    .put = source_put,
    .appends = source_appends,
    .append_end = source_append_end,
    .place = source_place,
    .max_read = source_max_read,
    .max_write = source_max_write,
    .rtt_us = source_rtt_us,
};

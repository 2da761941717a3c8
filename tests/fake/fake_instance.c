#include "tests/fake/fake_instance.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void give_up(const char *what)
{
	fprintf(stderr, "fake instance: %s\n", what);
	abort();
}

/* --- files --- */

void fake_instance_init(struct fake_instance *instance)
{
	memset(instance, 0, sizeof(*instance));
	instance->clock = 1000;
}

void fake_instance_fini(struct fake_instance *instance)
{
	for (unsigned i = 0; i < instance->n_files; i++)
		free(instance->files[i].data);
}

static void resize(struct fake_file *file, size_t len)
{
	uint8_t *data = realloc(file->data, len ? len : 1);

	if (!data)
		give_up("no memory");
	if (len > file->len)
		memset(data + file->len, 0, len - file->len);
	file->data = data;
	file->len = len;
}

struct fake_file *fake_file_add(
    struct fake_instance *instance, const char *path, const void *data, size_t len)
{
	struct fake_file *file = &instance->files[instance->n_files];

	if (instance->n_files == FAKE_FILES)
		give_up("too many files");
	instance->n_files++;
	memset(file, 0, sizeof(*file));
	snprintf(file->path, sizeof(file->path), "%s", path);
	file->mode = S_IFREG | 0644;
	file->mtime = instance->clock;
	resize(file, len);
	if (data)
		memcpy(file->data, data, len);
	return file;
}

struct fake_file *fake_file_find(struct fake_instance *instance, const char *path)
{
	for (unsigned i = 0; i < instance->n_files; i++) {
		if (!strcmp(instance->files[i].path, path))
			return &instance->files[i];
	}
	return NULL;
}

void fake_file_unlink(struct fake_file *file)
{
	file->path[0] = '\0';
}

static struct sftp_attr attr_of(const struct fake_file *file)
{
	return (struct sftp_attr){.flags = 15,
	    .size = file->len,
	    .uid = file->uid,
	    .gid = file->gid,
	    .mode = file->mode,
	    .atime = file->mtime,
	    .mtime = file->mtime};
}

/* --- requests --- */

struct job {
	struct fake_server *server;
	struct sftp_reader *reader;
	uint32_t id;
	bool answered;
};

static void status(struct job *job, uint32_t code)
{
	if (job->answered)
		fake_reply_status(&job->server->stream, job->id, code);
}

static void attrs(struct job *job, const struct fake_file *file)
{
	struct sftp_attr attr = attr_of(file);

	if (job->answered)
		fake_reply_attrs(&job->server->stream, job->id, &attr);
}

static struct sftp_string take_string(struct job *job)
{
	struct sftp_string string;

	if (sftp_read_string(job->reader, &string))
		give_up("a string is missing");
	return string;
}

static uint32_t take_u32(struct job *job)
{
	uint32_t value;

	if (sftp_read_u32(job->reader, &value))
		give_up("a number is missing");
	return value;
}

static uint64_t take_u64(struct job *job)
{
	uint64_t value;

	if (sftp_read_u64(job->reader, &value))
		give_up("a number is missing");
	return value;
}

static struct fake_file *take_path(struct job *job, char *path, size_t size)
{
	struct sftp_string string = take_string(job);

	snprintf(path, size, "%.*s", (int)string.len, (const char *)string.data);
	return path[0] ? fake_file_find(job->server->instance, path) : NULL;
}

/* The slot of a handle, or -1. */
static int take_handle(struct job *job)
{
	struct sftp_string string = take_string(job);
	struct sftp_reader reader = {string.data, string.data + string.len};
	unsigned slot, serial;
	char text[32];

	if (job->server->instance->numbered)
		return !sftp_read_u32(&reader, &slot) && slot < FAKE_HANDLES &&
			       job->server->handles[slot].file
			   ? (int)slot
			   : -1;
	snprintf(text, sizeof(text), "%.*s", (int)string.len, (const char *)string.data);
	if (sscanf(text, "h%u.%u", &slot, &serial) != 2 || slot >= FAKE_HANDLES ||
	    !job->server->handles[slot].file || job->server->handles[slot].serial != serial)
		return -1;
	return (int)slot;
}

static void do_open(struct job *job)
{
	struct fake_server *server = job->server;
	struct fake_instance *instance = server->instance;
	struct sftp_attr attr;
	char path[64], name[32];
	struct fake_file *file = take_path(job, path, sizeof(path));
	uint32_t flags = take_u32(job);
	unsigned slot = 0;

	if (sftp_read_attr(job->reader, &attr))
		give_up("attributes are missing");
	if (instance->open_fails) {
		status(job, instance->open_fails);
		return;
	}
	if (file && (flags & SSH_FXF_EXCL)) {
		status(job, SSH_FX_FAILURE);
		return;
	}
	if (!file && !(flags & SSH_FXF_CREAT)) {
		status(job, SSH_FX_NO_SUCH_FILE);
		return;
	}
	if (!file)
		file = fake_file_add(instance, path, NULL, 0);
	if (flags & SSH_FXF_TRUNC)
		resize(file, 0);
	if (instance->numbered)
		slot = server->n_freed ? server->freed[--server->n_freed] : server->ever++;
	while (slot < FAKE_HANDLES && server->handles[slot].file)
		slot++;
	if (slot == FAKE_HANDLES)
		give_up("too many handles");
	server->handles[slot].file = file;
	server->handles[slot].flags = flags;
	server->handles[slot].len = file->len;
	server->handles[slot].serial = ++server->serials;
	instance->handles++;
	instance->opens++;
	instance->open_flags = flags;
	snprintf(name, sizeof(name), "h%u.%u", slot, server->serials);
	if (job->answered && instance->numbered)
		fake_reply_number(&server->stream, job->id, slot);
	else if (job->answered)
		fake_reply_handle(&server->stream, job->id, name);
}

static void do_close(struct job *job)
{
	int slot = take_handle(job);

	if (slot < 0) {
		status(job, SSH_FX_NO_SUCH_FILE);
		return;
	}
	job->server->handles[slot].file = NULL;
	if (job->server->instance->numbered)
		job->server->freed[job->server->n_freed++] = (unsigned)slot;
	job->server->instance->handles--;
	status(job, SSH_FX_OK);
}

static void do_read(struct job *job)
{
	struct fake_instance *instance = job->server->instance;
	int slot = take_handle(job);
	uint64_t offset = take_u64(job);
	uint32_t len = take_u32(job);

	job->server->reads++;
	if (slot < 0 || !(job->server->handles[slot].flags & SSH_FXF_READ)) {
		status(job, SSH_FX_NO_SUCH_FILE);
		return;
	}
	struct fake_file *file = job->server->handles[slot].file;
	size_t end = instance->lies_eof && instance->lies_eof < file->len
			 ? (size_t)instance->lies_eof
			 : file->len;
	if (instance->old_ends && end > job->server->handles[slot].len)
		end = job->server->handles[slot].len;
	if (offset >= end) {
		status(job, SSH_FX_EOF);
		return;
	}
	if (len > end - offset)
		len = (uint32_t)(end - offset);
	if (instance->max_data && len > instance->max_data)
		len = instance->max_data;
	if (job->answered)
		fake_reply_data(&job->server->stream, job->id, file->data + offset, len);
}

static void do_write(struct job *job)
{
	struct fake_instance *instance = job->server->instance;
	int slot = take_handle(job);
	uint64_t offset = take_u64(job);
	struct sftp_string data = take_string(job);

	job->server->writes++;
	if (slot < 0 || !(job->server->handles[slot].flags & SSH_FXF_WRITE)) {
		status(job, SSH_FX_NO_SUCH_FILE);
		return;
	}
	if (instance->write_fails) {
		status(job, instance->write_fails);
		return;
	}
	struct fake_file *file = job->server->handles[slot].file;
	if (job->server->handles[slot].flags & SSH_FXF_APPEND)
		offset = file->len;
	if (offset + data.len > file->len)
		resize(file, offset + data.len);
	memcpy(file->data + offset, data.data, data.len);
	file->mtime = instance->clock;
	status(job, SSH_FX_OK);
}

static void set_attr(
    struct fake_instance *instance, struct fake_file *file, const struct sftp_attr *attr)
{
	size_t at = strlen(instance->order);
	char what = '?';

	if (attr->flags & SSH_FILEXFER_ATTR_UIDGID) {
		file->uid = attr->uid;
		file->gid = attr->gid;
		file->mode &= ~06000u;
		what = 'u';
	}
	if (attr->flags & SSH_FILEXFER_ATTR_PERMISSIONS) {
		file->mode = (file->mode & S_IFMT) | (attr->mode & 07777);
		what = 'p';
	}
	if (attr->flags & SSH_FILEXFER_ATTR_SIZE) {
		resize(file, attr->size);
		file->mtime = instance->clock;
		what = 's';
	}
	if (attr->flags & SSH_FILEXFER_ATTR_ACMODTIME) {
		file->mtime = attr->mtime;
		what = 't';
	}
	if (at + 1 < sizeof(instance->order)) {
		instance->order[at] = what;
		instance->order[at + 1] = '\0';
	}
}

static void do_fsetstat(struct job *job)
{
	int slot = take_handle(job);
	struct sftp_attr attr;

	if (sftp_read_attr(job->reader, &attr))
		give_up("attributes are missing");
	if (slot < 0) {
		status(job, SSH_FX_NO_SUCH_FILE);
		return;
	}
	set_attr(job->server->instance, job->server->handles[slot].file, &attr);
	status(job, SSH_FX_OK);
}

static void do_copy_data(struct job *job)
{
	int from = take_handle(job);
	uint64_t offset = take_u64(job), len = take_u64(job);
	int to = take_handle(job);
	uint64_t to_offset = take_u64(job);

	if (from < 0 || to < 0 ||
	    job->server->handles[from].file == job->server->handles[to].file) {
		status(job, SSH_FX_FAILURE);
		return;
	}
	if (job->server->instance->copy_fails || job->server->instance->copy_lies) {
		status(job, job->server->instance->copy_fails);
		return;
	}
	struct fake_file *source = job->server->handles[from].file;
	struct fake_file *target = job->server->handles[to].file;
	bool whole = offset + len <= source->len;
	if (offset < source->len) {
		if (!whole)
			len = source->len - offset;
		if (to_offset + len > target->len)
			resize(target, to_offset + len);
		memcpy(target->data + to_offset, source->data + offset, len);
		target->mtime = job->server->instance->clock;
	}
	status(job, whole ? SSH_FX_OK : SSH_FX_EOF);
}

static bool names(struct sftp_string string, const char *text)
{
	return string.len == strlen(text) && !memcmp(string.data, text, string.len);
}

static void do_extended(struct job *job)
{
	struct sftp_string name = take_string(job);

	if (names(name, "limits@openssh.com")) {
		fake_reply_limits(&job->server->stream, job->id, 256 * 1024, 261120, 261120, 0);
	} else if (names(name, "fsync@openssh.com") && job->server->fsync) {
		int slot = take_handle(job);
		if (slot >= 0)
			job->server->handles[slot].file->fsyncs++;
		status(job, slot < 0 ? SSH_FX_NO_SUCH_FILE : SSH_FX_OK);
	} else if (names(name, "copy-data") && job->server->copy_data) {
		do_copy_data(job);
	} else {
		status(job, SSH_FX_OP_UNSUPPORTED);
	}
}

static void do_stat(struct job *job, uint8_t type)
{
	char path[64];

	if (type == SSH_FXP_FSTAT) {
		int slot = take_handle(job);
		unsigned *fail = &job->server->instance->fstats_fail;
		if (slot < 0 || (*fail && (*fail)--))
			status(job, SSH_FX_NO_SUCH_FILE);
		else
			attrs(job, job->server->handles[slot].file);
		return;
	}
	struct fake_file *file = take_path(job, path, sizeof(path));
	if (!file || job->server->instance->no_lstat)
		status(job, SSH_FX_NO_SUCH_FILE);
	else
		attrs(job, file);
}

static void greet(struct fake_server *server)
{
	const char *pairs[10];
	unsigned n = 0;

	pairs[n++] = "limits@openssh.com";
	pairs[n++] = "1";
	if (server->fsync) {
		pairs[n++] = "fsync@openssh.com";
		pairs[n++] = "1";
	}
	if (server->copy_data) {
		pairs[n++] = "copy-data";
		pairs[n++] = "1";
	}
	pairs[n] = NULL;
	fake_reply_version(&server->stream, 3, pairs);
	server->greeted = true;
}

static void work(struct job *job, uint8_t type)
{
	switch (type) {
	case SSH_FXP_INIT:
		greet(job->server);
		break;
	case SSH_FXP_OPEN:
		do_open(job);
		break;
	case SSH_FXP_CLOSE:
		do_close(job);
		break;
	case SSH_FXP_READ:
		do_read(job);
		break;
	case SSH_FXP_WRITE:
		do_write(job);
		break;
	case SSH_FXP_LSTAT:
	case SSH_FXP_FSTAT:
		do_stat(job, type);
		break;
	case SSH_FXP_FSETSTAT:
		do_fsetstat(job);
		break;
	case SSH_FXP_EXTENDED:
		do_extended(job);
		break;
	default:
		status(job, SSH_FX_OP_UNSUPPORTED);
		break;
	}
}

/* --- servers --- */

void fake_server_init(struct fake_server *server, struct fake_instance *instance)
{
	memset(server, 0, sizeof(*server));
	server->instance = instance;
	server->fsync = server->copy_data = true;
	fake_stream_init(&server->stream);
}

unsigned fake_server_work(struct fake_server *server, unsigned max, bool answered)
{
	struct fake_request request;
	unsigned n = 0;

	while (n < max && fake_stream_next(&server->stream, &request)) {
		struct job job = {server, &request.reader, request.id, answered};
		work(&job, request.type);
		packet_free(request.packet);
		n++;
	}
	server->worked += n;
	return n;
}

static void close_all(struct fake_server *server)
{
	for (unsigned i = 0; i < FAKE_HANDLES; i++) {
		if (server->handles[i].file)
			server->instance->handles--;
		server->handles[i].file = NULL;
	}
}

void fake_server_die(struct fake_server *server)
{
	close_all(server);
	fake_stream_die(&server->stream);
}

void fake_server_fini(struct fake_server *server)
{
	close_all(server);
	fake_stream_fini(&server->stream);
}

/*
 * A whole session's worth of transport: the pool, operations by path and open files, with an SFTP
 * server that says anything.
 *
 * The input is a list of steps: the caller begins an operation, the server answers the next request
 * on a channel (fitting, or not), a channel dies, the loop turns. The server is honest until the
 * mount is ready. At the end all is given up: every call was completed exactly once, from the loop,
 * and what it was given holds what the headers promise.
 */
#include "tests/unit/fake_session.h"
#include "transport/remote.h"
#include "transport/rfile.h"
#include <limits.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CALLS_MAX 128
#define FILES_MAX 8

struct call {
	bool used;
	unsigned done;
};

static struct {
	uv_loop_t loop;
	struct remote *remote;
	struct call calls[CALLS_MAX];
	unsigned n_calls;
	struct rfile *files[FILES_MAX];
	bool inside, ready, honest;
	const uint8_t *data;
	size_t size;
} f;

static void need(bool condition)
{
	if (!condition)
		abort();
}

static uint8_t take(void)
{
	if (!f.size)
		return 0;
	f.size--;
	return *f.data++;
}

/* --- completions --- */

static void on_done(void *arg, int err)
{
	struct call *call = arg;

	need(call->used && !call->done++ && !f.inside && err <= 0);
}

static void on_attr(void *arg, int err, const struct sftp_attr *attr)
{
	need(err || attr);
	on_done(arg, err);
}

static void on_text(void *arg, int err, const char *text)
{
	need(err || text);
	on_done(arg, err);
}

static void on_statvfs(void *arg, int err, const struct statvfs *st)
{
	need(err || st);
	on_done(arg, err);
}

static void on_entry(void *arg, const char *name, const struct sftp_attr *attr, uint32_t links)
{
	need(name[0] && strcmp(name, ".") && strcmp(name, "..") && !strchr(name, '/') && attr);
}

static void on_listed(void *arg, int err, const struct sftp_attr *self)
{
	on_done(arg, err);
}

static void on_read(void *arg, int err, const uint8_t *data, uint32_t len)
{
	volatile uint8_t seen;

	need(err || len <= 40000);
	for (uint32_t i = 0; !err && i < len; i++)
		seen = data[i]; /* ASan looks on */
	(void)seen;
	on_done(arg, err);
}

static void on_open(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	unsigned i = 0;

	need(!err == (file != NULL));
	on_done(arg, err);
	while (i < FILES_MAX && f.files[i])
		i++;
	if (file && i < FILES_MAX)
		f.files[i] = file;
	else if (file)
		rfile_put(file);
}

/* --- the caller --- */

static bool path_of(void *arg, char *buf, size_t size)
{
	snprintf(buf, size, "/w/file");
	return true;
}

static const struct rfile_owner owner = {.path = path_of};

static void call_path(struct call *call, uint8_t what)
{
	static const struct remote_listing listing = {on_entry, on_listed};
	struct sftp_attr attr = {.flags = take() & 15, .mode = 0644, .size = 5};

	if (attr.flags & SSH_FILEXFER_ATTR_SIZE)
		attr.flags = SSH_FILEXFER_ATTR_SIZE;
	switch (what % 12) {
	case 0:
		remote_lstat(f.remote, "/w/a", on_attr, call);
		break;
	case 1:
		remote_stat(f.remote, "/w/a", on_attr, call);
		break;
	case 2:
		remote_readlink(f.remote, "/w/a", on_text, call);
		break;
	case 3:
		remote_mkdir(f.remote, "/w/d", 0755, on_done, call);
		break;
	case 4:
		remote_rmdir(f.remote, "/w/d", on_done, call);
		break;
	case 5:
		remote_unlink(f.remote, "/w/a", on_done, call);
		break;
	case 6:
		remote_symlink(f.remote, "target", "/w/s", on_done, call);
		break;
	case 7:
		remote_link(f.remote, "/w/a", "/w/b", on_done, call);
		break;
	case 8:
		remote_rename(f.remote, "/w/a", "/w/b", attr.flags & 1, on_done, call);
		break;
	case 9:
		remote_setstat(f.remote, "/w/a", &attr, what & 128, on_done, call);
		break;
	case 10:
		remote_statvfs(f.remote, "/w", on_statvfs, call);
		break;
	default:
		remote_list(f.remote, "/w", 1, &listing, call);
		break;
	}
}

static bool call_file(struct call *call, uint8_t what, struct rfile *file)
{
	static const uint8_t bytes[3000];
	struct sftp_attr attr = {.flags = SSH_FILEXFER_ATTR_SIZE, .size = take()};
	enum rfile_lane lane = what & 64 ? RFILE_BULK : RFILE_SMALL;
	uint32_t most = remote_features(f.remote)->max_write;

	if (what % 8 == 0) {
		static const uint32_t flags[] = {SSH_FXF_READ, SSH_FXF_READ | SSH_FXF_WRITE,
		    SSH_FXF_WRITE | SSH_FXF_CREAT | SSH_FXF_EXCL, SSH_FXF_WRITE | SSH_FXF_APPEND};

		rfile_open(f.remote, "/w/file", flags[what / 8 % 4], 0644, &owner, on_open, call);
		return true;
	}
	if (!file)
		return false;
	switch (what % 8) {
	case 1:
		rfile_read(
		    file, attr.size * 100, 1 + (uint32_t)attr.size * 150, lane, on_read, call);
		break;
	case 2:
	case 3:
		rfile_write(
		    file, attr.size * 10, bytes, most < 3000 ? most : 3000, lane, on_done, call);
		break;
	case 4:
		rfile_fsync(file, on_done, call);
		break;
	case 5:
		rfile_fstat(file, on_attr, call);
		break;
	case 6:
		rfile_fsetstat(file, &attr, on_done, call);
		break;
	default:
		rfile_copy(file, 0, file, 50000, 1 + attr.size * 100, on_done, call);
		break;
	}
	return true;
}

static void begin(bool by_path)
{
	uint8_t what = take();
	struct call *call = &f.calls[f.n_calls];

	if (f.n_calls == CALLS_MAX)
		return;
	f.n_calls++;
	call->used = true;
	f.inside = true;
	if (by_path)
		call_path(call, what);
	else
		call->used = call_file(call, what, f.files[take() % FILES_MAX]);
	f.inside = false;
}

/* --- the server --- */

static void names(struct fake_stream *stream, uint32_t id, uint8_t how)
{
	static const char *const odd[] = {"a", "a", ".", "..", "x/y", "", "/etc/passwd", "b"};
	const struct sftp_attr attr = {.flags = how & 15, .size = UINT64_MAX, .mode = 040755};
	struct fake_bytes bytes = {0};
	uint32_t count = how % 9;

	fake_u32(&bytes, id);
	fake_u32(&bytes, how == 255 ? UINT32_MAX : count);
	for (uint32_t i = 0; i < count; i++) {
		fake_text(&bytes, odd[(how + i) % 8]);
		fake_text(&bytes, "drwxr-xr-x 4294967296 a b 1 Jan 1 00:00 a");
		fake_attr(&bytes, &attr);
	}
	fake_stream_deliver(stream, fake_packet(SSH_FXP_NAME, &bytes));
}

static void attrs(struct fake_stream *stream, uint32_t id, uint8_t how)
{
	static const uint32_t modes[] = {0100644, 0040755, 0120777, 0100644};
	struct sftp_attr attr = {.flags = how & 64 ? how & 15 : 15,
	    .size = how & 128 ? UINT64_MAX - how : how,
	    .mode = modes[how / 16 % 4],
	    .mtime = how};

	fake_reply_attrs(stream, id, &attr);
}

static void fitting(struct fake_stream *stream, const struct fake_request *request, uint8_t how)
{
	static const uint8_t bytes[40000];

	switch (request->type) {
	case SSH_FXP_OPEN:
	case SSH_FXP_OPENDIR:
		fake_reply_handle(stream, request->id, how & 1 ? "h1" : "h2");
		break;
	case SSH_FXP_READ:
		fake_reply_data(stream, request->id, bytes, (size_t)how * 150);
		break;
	case SSH_FXP_LSTAT:
	case SSH_FXP_STAT:
	case SSH_FXP_FSTAT:
		attrs(stream, request->id, how);
		break;
	case SSH_FXP_READDIR:
	case SSH_FXP_READLINK:
	case SSH_FXP_REALPATH:
		names(stream, request->id, how);
		break;
	default:
		fake_reply_status(stream, request->id, how % 10);
		break;
	}
}

static void raw(struct fake_stream *stream, uint32_t id)
{
	struct fake_bytes bytes = {0};
	uint8_t type = take(), len = take();

	if (type & 1)
		fake_u32(&bytes, id);
	while (len--)
		fake_u8(&bytes, take());
	fake_stream_deliver(stream, fake_packet(type, &bytes));
}

static void honest(struct fake_channel *channel, struct fake_request *request)
{
	const struct sftp_attr attr = {.flags = 15, .mode = 040755};
	struct fake_bytes bytes = {0};

	if (request->type == SSH_FXP_REALPATH) {
		fake_u32(&bytes, request->id);
		fake_u32(&bytes, 1);
		fake_text(&bytes, "/w");
		fake_text(&bytes, "/w");
		fake_u32(&bytes, 0);
		fake_stream_deliver(&channel->stream, fake_packet(SSH_FXP_NAME, &bytes));
	} else if (request->type == SSH_FXP_STAT || request->type == SSH_FXP_LSTAT) {
		fake_reply_attrs(&channel->stream, request->id, &attr);
	} else {
		fake_reply_status(&channel->stream, request->id, SSH_FX_OP_UNSUPPORTED);
	}
}

/* fake_session.h's serve: as many as the input wants. */
static void serve(struct fake_channel *channel, struct fake_request *request)
{
	struct fake_stream *stream = &channel->stream;
	uint32_t id = request->id;

	if (f.honest) {
		honest(channel, request);
	} else {
		uint8_t what = take();

		switch (what % 16) {
		case 0:
			break; /* no answer */
		case 1:
			raw(stream, id);
			break;
		case 2:
			fake_reply_status(stream, id, take());
			break;
		case 3:
			names(stream, id, take());
			break;
		case 4:
			attrs(stream, id, take());
			break;
		case 5:
			fitting(stream, request, take());
			if (!channel->dead && !stream->closes)
				fitting(stream, request, take()); /* twice */
			break;
		default:
			fitting(stream, request, what / 16 * 17);
			break;
		}
	}
	packet_free(request->packet);
}

static void step(void)
{
	uint8_t what = take();
	struct rfile **file = &f.files[what / 8 % FILES_MAX];

	switch (what % 8) {
	case 0:
	case 1:
		begin(true);
		break;
	case 2:
	case 3:
		begin(false);
		break;
	case 4:
		if (what > 240 && fake.sessions[0]->n_channels)
			fake_lose_channel(
			    fake.sessions[0]->channels[what % fake.sessions[0]->n_channels]);
		break;
	case 5:
		if (*file && what > 128)
			rfile_put(*file), *file = NULL;
		else if (*file)
			rfile_set_version(*file, what, what);
		break;
	default:
		fake_run(&f.loop);
		break;
	}
}

static void on_ready(void *arg, const struct ssh_error *error)
{
	f.ready = true;
	need(!error);
}

static void on_link(void *arg, const struct ssh_error *error)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const extensions[] = {"posix-rename@openssh.com", "1",
	    "statvfs@openssh.com", "2", "hardlink@openssh.com", "1", "fsync@openssh.com", "1",
	    "lsetstat@openssh.com", "1", "copy-data", "1", NULL};
	static const struct remote_events events = {.ready = on_ready, .link = on_link};
	static char host[] = "gpu", path[] = "/w";
	struct profile profile = {.host = host, .path = path, .connections = 1, .timeout = 60};
	struct ssh_target target = {.profile = &profile};

	if (size < 2 || size > 2048)
		return 0;
	memset(&f, 0, sizeof(f));
	f.data = data;
	f.size = size;
	need(!uv_loop_init(&f.loop));
	fake_init();
	fake.extensions = take() & 1 ? extensions : extensions + 12;
	fake.serve = serve;
	f.honest = true;
	need(!remote_new(&f.remote, &f.loop, &target, &events, NULL));
	for (unsigned i = 0; i < 1000 && !f.ready; i++)
		fake_run(&f.loop);
	need(f.ready);
	f.honest = false;
	while (f.size)
		step();
	f.honest = true;
	for (unsigned i = 0; i < FILES_MAX; i++) {
		if (f.files[i])
			rfile_put(f.files[i]);
		f.files[i] = NULL;
	}
	remote_free(f.remote);
	uv_run(&f.loop, UV_RUN_DEFAULT);
	for (unsigned i = 0; i < FILES_MAX; i++)
		need(!f.files[i]);
	for (unsigned i = 0; i < f.n_calls; i++)
		need(!f.calls[i].used || f.calls[i].done == 1);
	need(!uv_loop_close(&f.loop));
	(void)fake_lose_session;
	fake_fini();
	return 0;
}

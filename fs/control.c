#include "fs/control.h"
#include "cache/store.h"
#include "conf/log.h"
#include "conf/paths.h"
#include "fs/doubt.h"
#include "fs/drain.h"
#include "fs/pinned.h"
#include "fs/spooling.h"
#include "transport/commands.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REQUEST_MAX 4096
#define CLIENTS_MAX 32

struct control {
	uv_pipe_t listener;
	char *path;
	unsigned clients;
	/* libuv takes no further connection before the last one was accepted, so there is always
	 * memory to accept one more: in spare, or in a client that becomes it. */
	struct client *spare;
	bool unaccepted;
};

/* One connection; it lives until libuv has closed its pipe. */
struct client {
	uv_pipe_t pipe;
	uv_write_t write;
	struct fs *fs;
	char request[REQUEST_MAX];
	size_t len;
	char *answer;
	bool waiting; /* a command will call back */
	bool closed;
};

static void on_connection(uv_stream_t *listener, int status);

static void client_free(struct client *client)
{
	struct control *control = client->fs->control;

	if (!client->closed || client->waiting)
		return;
	free(client->answer);
	if (control)
		control->clients--;
	if (!control || control->spare) {
		free(client);
		return;
	}
	memset(client, 0, sizeof(*client));
	control->spare = client;
	if (control->unaccepted)
		on_connection((uv_stream_t *)&control->listener, 0);
}

static void on_client_closed(uv_handle_t *handle)
{
	struct client *client = handle->data;

	client->closed = true;
	client_free(client);
}

static void client_close(struct client *client)
{
	if (!uv_is_closing((uv_handle_t *)&client->pipe))
		uv_close((uv_handle_t *)&client->pipe, on_client_closed);
}

static void on_answered(uv_write_t *write, int status)
{
	(void)status;
	client_close(write->data);
}

/* Takes the answer's reference. */
static void answer(struct client *client, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	uv_buf_t buf;

	json_decref(json);
	client->answer = malloc(len + 2);
	if (!text || !client->answer || uv_is_closing((uv_handle_t *)&client->pipe)) {
		free(text);
		client_close(client);
		return;
	}
	memcpy(client->answer, text, len);
	client->answer[len] = '\n';
	free(text);
	buf = uv_buf_init(client->answer, (unsigned)len + 1);
	client->write.data = client;
	if (uv_write(&client->write, (uv_stream_t *)&client->pipe, &buf, 1, on_answered))
		client_close(client);
}

static void answer_result(struct client *client, int err)
{
	answer(client, err ? json_pack("{s:b, s:s}", "ok", 0, "error", strerror(-err))
			   : json_pack("{s:b}", "ok", 1));
}

static void on_synced(void *arg, int err)
{
	struct client *client = arg;

	client->waiting = false;
	if (!err && spooling_failed(client->fs)) /* W5: until it is sent, or given up */
		err = -EIO;
	if (client->closed)
		client_free(client);
	else
		answer_result(client, err);
}

static void order_sync(struct client *client)
{
	int err;

	client->waiting = true;
	err = drain_start(client->fs, on_synced, client);
	if (!err)
		return;
	client->waiting = false;
	answer_result(client, err);
}

static void on_retried(void *arg)
{
	on_synced(arg, 0);
}

/* What failed, once more; or not any more. */
static void order_spool(struct client *client, bool retry, const char *path)
{
	struct fs *fs = client->fs;
	int err;

	if (!retry) {
		answer_result(client, path && spooling_discard(fs, path) ? 0 : -ENOENT);
		return;
	}
	client->waiting = true;
	err = spooling_retry(fs, on_retried, client);
	if (err) {
		client->waiting = false;
		answer_result(client, err);
	}
}

/* The client's socket once more, for another thread; or -1. */
static int copy_socket(struct client *client)
{
	uv_os_fd_t fd;

	return uv_fileno((uv_handle_t *)&client->pipe, &fd) ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* The forwards' thread answers. */
static void order_forward(struct client *client, const json_t *request)
{
	const char *op = json_string_value(json_object_get(request, "op"));
	const char *spec = json_string_value(json_object_get(request, "text"));
	int copy = op && spec && client->fs->forwards ? copy_socket(client) : -1;

	if (copy < 0)
		answer_result(client, -EINVAL);
	else if (forwards_order(client->fs->forwards, copy, !strcmp(op, "add"), spec))
		answer_result(client, -ENOMEM);
	else
		client_close(client);
}

/* The notifier's thread answers. */
static void order_doubt(struct client *client)
{
	int copy = copy_socket(client);

	if (copy < 0) {
		answer_result(client, -EMFILE);
		return;
	}
	doubt_all(client->fs, copy);
	client_close(client);
}

/* The connection becomes a program's on the instance; from here on it is the commands' thread's. */
static void hand_over(struct client *client)
{
	uv_os_fd_t fd;
	int copy =
	    uv_fileno((uv_handle_t *)&client->pipe, &fd) ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0) {
		answer_result(client, -EMFILE);
		return;
	}
	if (commands_add(client->fs->commands, copy))
		log_warning("a program could not be run on the instance");
	client_close(client);
}

static void on_cleared(void *arg, int err)
{
	on_synced(arg, err);
}

static void on_pins(void *arg, int err, char *const *paths, size_t n)
{
	struct client *client = arg;
	json_t *list;
	size_t i;

	if (err || client->closed) {
		on_synced(client, err);
		return;
	}
	client->waiting = false;
	list = json_array();
	for (i = 0; i < n; i++)
		json_array_append_new(list, status_string(paths[i]));
	answer(client, json_pack("{s:b, s:o}", "ok", 1, "pins", list));
}

/* vastfs cache */
static void order_cache(struct client *client, const json_t *request)
{
	const char *op = json_string_value(json_object_get(request, "op"));
	const char *path = json_string_value(json_object_get(request, "path"));
	struct store *store = client->fs->store;

	if (!store || !op) {
		answer_result(client, store ? -EINVAL : -ENOTSUP);
		return;
	}
	client->waiting = true;
	if (!strcmp(op, "clear")) {
		content_pool_drop(client->fs->contents);
		pinned_anew(client->fs);
		store_clear(store, on_cleared, client);
	} else if (path && (!strcmp(op, "pin") || !strcmp(op, "unpin"))) {
		store_pins(store, op[0] == 'p' ? STORE_PIN : STORE_UNPIN, path, on_pins, client);
	} else {
		store_pins(store, STORE_PINS, "", on_pins, client);
	}
}

static void handle(struct client *client)
{
	json_t *request = json_loadb(client->request, client->len, 0, NULL);
	const char *command = json_string_value(json_object_get(request, "command"));

	uv_read_stop((uv_stream_t *)&client->pipe);
	if (!command) {
		answer_result(client, -EINVAL);
	} else if (!strcmp(command, "status")) {
		answer(client, status_json(client->fs));
	} else if (!strcmp(command, "sync")) {
		order_sync(client);
	} else if (!strcmp(command, "waiting")) {
		answer(client, spooling_waiting(client->fs));
	} else if (!strcmp(command, "run")) {
		hand_over(client);
	} else if (!strcmp(command, "forward")) {
		order_forward(client, request);
	} else if (!strcmp(command, "cache")) {
		order_cache(client, request);
	} else if (!strcmp(command, "retry") || !strcmp(command, "discard")) {
		order_spool(client, !strcmp(command, "retry"),
		    json_string_value(json_object_get(request, "path")));
	} else if (!strcmp(command, "doubt")) {
		order_doubt(client);
	} else if (!strcmp(command, "drop")) {
		content_pool_drop(client->fs->contents);
		answer_result(client, 0);
	} else {
		answer_result(client, -ENOSYS);
	}
	json_decref(request);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct client *client = handle->data;

	(void)suggested;
	*buf = uv_buf_init(client->request + client->len, (unsigned)(REQUEST_MAX - client->len));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
	struct client *client = stream->data;

	(void)buf;
	if (got < 0) {
		client_close(client);
		return;
	}
	client->len += (size_t)got;
	if (memchr(client->request, '\n', client->len))
		handle(client);
	else if (client->len == REQUEST_MAX)
		client_close(client);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct fs *fs = listener->data;
	struct client *client = status ? NULL : calloc(1, sizeof(*client));

	if (!client && !status) {
		client = fs->control->spare;
		fs->control->spare = NULL;
		fs->control->unaccepted = !client;
	}
	if (!client)
		return;
	fs->control->unaccepted = false;
	client->fs = fs;
	client->pipe.data = client;
	uv_pipe_init(fs->loop, &client->pipe, 0);
	fs->control->clients++;
	if (uv_accept(listener, (uv_stream_t *)&client->pipe) ||
	    fs->control->clients > CLIENTS_MAX ||
	    uv_read_start((uv_stream_t *)&client->pipe, on_alloc, on_read))
		client_close(client);
}

int control_start(struct fs *fs)
{
	struct control *control = calloc(1, sizeof(*control));
	struct conf_error error;
	char *dir = NULL;
	mode_t mask;
	int err;

	if (!control)
		return -ENOMEM;
	err = paths_runtime_dir(&dir, &error);
	if (err) {
		log_error("%s", error.text);
		free(control);
		return err;
	}
	if (asprintf(&control->path, "%s/%d.sock", dir, (int)getpid()) < 0)
		control->path = NULL;
	free(dir);
	control->spare = calloc(1, sizeof(*control->spare));
	if (!control->path || !control->spare) {
		free(control->path);
		free(control->spare);
		free(control);
		return -ENOMEM;
	}
	unlink(control->path); /* of a dead process with our number */
	uv_pipe_init(fs->loop, &control->listener, 0);
	control->listener.data = fs;
	fs->control = control;
	mask = umask(0177);
	err = uv_pipe_bind(&control->listener, control->path);
	umask(mask);
	if (!err)
		err = uv_listen((uv_stream_t *)&control->listener, 8, on_connection);
	if (err)
		log_error("%s: %s", control->path, uv_strerror(err));
	return err;
}

static void on_listener_closed(uv_handle_t *handle)
{
	struct fs *fs = handle->data;

	free(fs->control->path);
	free(fs->control->spare);
	free(fs->control);
	fs->control = NULL;
}

void control_stop(struct fs *fs)
{
	if (!fs->control)
		return;
	unlink(fs->control->path);
	uv_close((uv_handle_t *)&fs->control->listener, on_listener_closed);
}

/* What is never evicted; and clearing a cache that no mount has. */
#include "cache/store_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct pins_op {
	struct store_op op;
	enum store_pinning what;
	char *path;
	char **paths;
	size_t n;
	int err;
	store_pins_done *done;
	void *arg;
};

static void collect(void *arg, const char *path)
{
	struct pins_op *pins = arg;
	char **paths = realloc(pins->paths, (pins->n + 1) * sizeof(*paths));

	if (!paths) {
		pins->err = -ENOMEM;
		return;
	}
	pins->paths = paths;
	paths[pins->n] = strdup(path);
	if (paths[pins->n])
		pins->n++;
	else
		pins->err = -ENOMEM;
}

static void pins_run(struct store_index *index, struct store_op *op)
{
	struct pins_op *pins = (struct pins_op *)op;
	int rc = 1;

	if (pins->what == STORE_PIN)
		rc = store_index_pin(index, pins->path);
	else if (pins->what == STORE_UNPIN)
		rc = store_index_unpin(index, pins->path);
	if (!rc && pins->what == STORE_UNPIN)
		pins->err = -ENOENT;
	if (rc < 0)
		pins->err = rc;
	store_index_pins(index, collect, pins);
}

static void pins_done(struct store_op *op, int err)
{
	struct pins_op *pins = (struct pins_op *)op;

	if (!err)
		err = pins->err;
	if (pins->done)
		pins->done(pins->arg, err, pins->paths, pins->n);
	while (pins->n)
		free(pins->paths[--pins->n]);
	free(pins->paths);
	free(pins->path);
	store_op_free(op);
}

void store_pins(struct store *store, enum store_pinning what, const char *path,
    store_pins_done *done, void *arg)
{
	struct pins_op *pins = store_op_new(store, sizeof(*pins), pins_run, pins_done);

	if (!pins || !(pins->path = strdup(path))) {
		free(pins);
		done(arg, -ENOMEM, NULL, 0);
		return;
	}
	pins->what = what;
	pins->done = done;
	pins->arg = arg;
	store_op_send(&pins->op);
}

static void note(void *arg, int err)
{
	*(int *)arg = err;
}

int store_clear_dir(const char *dir, struct conf_error *error)
{
	struct store *store;
	struct stat st;
	uv_loop_t loop;
	int err = 0;

	if (stat(dir, &st))
		return conf_fail(error, errno, "%s: %s", dir, strerror(errno));
	err = uv_loop_init(&loop);
	if (err)
		return conf_fail(error, -err, "%s", strerror(-err));
	err = store_open(&store, &loop, dir, UINT64_MAX, error);
	if (!err) {
		store_clear(store, note, &err);
		while (store_busy(store))
			uv_run(&loop, UV_RUN_ONCE);
		store_free(store);
		if (err)
			conf_fail(error, -err, "%s: %s", dir, strerror(-err));
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return err;
}

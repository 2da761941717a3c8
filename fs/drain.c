#include "fs/drain.h"
#include "conf/log.h"
#include "fs/behind.h"
#include "fs/request.h"
#include <errno.h>
#include <stdlib.h>

#define LOOK_MS 250

struct drain {
	uv_timer_t timer;
	struct fs *fs;
	uint64_t started_ms;
	void (*done)(void *arg, int err); /* NULL: it was told */
	void *arg;
};

static void tell(struct drain *drain, int err)
{
	void (*done)(void *arg, int err) = drain->done;

	uv_timer_stop(&drain->timer);
	drain->done = NULL;
	if (done)
		done(drain->arg, err);
}

static void on_look(uv_timer_t *timer)
{
	struct drain *drain = timer->data;
	struct fs *fs = drain->fs;
	uint64_t since = requests_moved_ms(fs);

	if (since < drain->started_ms)
		since = drain->started_ms;
	if (fs_now_ms(fs) - since < request_patience_ms(fs, since))
		return;
	requests_gave_up(fs);
	tell(drain, -ETIMEDOUT);
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void on_synced(void *arg, int err)
{
	struct drain *drain = arg;

	tell(drain, err);
	uv_close((uv_handle_t *)&drain->timer, on_closed);
}

int drain_start(struct fs *fs, void (*done)(void *arg, int err), void *arg)
{
	struct drain *drain = malloc(sizeof(*drain));

	if (!drain)
		return -ENOMEM;
	*drain = (struct drain){.fs = fs, .started_ms = fs_now_ms(fs), .done = done, .arg = arg};
	uv_timer_init(fs->loop, &drain->timer);
	drain->timer.data = drain;
	uv_timer_start(&drain->timer, on_look, LOOK_MS, LOOK_MS);
	uv_unref((uv_handle_t *)&drain->timer);
	behind_sync(fs, on_synced, drain);
	return 0;
}

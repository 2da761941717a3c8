/*
 * For the tests of rfile*.c: a pool and a remote of the test's own, whose channels lead to an
 * instance in memory. Included by one file of a program; takes the place of pool.c and remote.c
 * there.
 *
 * Nothing happens until rig_turn: then every server that is not held works off what it was asked,
 * the engine completes, and those who wait for a lane are served.
 */
#ifndef VASTFS_TESTS_UNIT_RFILE_RIG_H
#define VASTFS_TESTS_UNIT_RFILE_RIG_H

#include "tests/fake/fake_instance.h"
#include "transport/remote_clock.h"
#include "transport/remote_errno.h"
#include "transport/rfile.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RIG_CHANNELS 64

struct pool_channel {
	unsigned refs;
	enum lane lane;
	struct fake_server server;
	struct sftp *sftp; /* NULL: dead */
	bool held;	   /* does not work in rig_turn */
	size_t most;	   /* bytes in flight seen */
};

struct waiter {
	TAILQ_ENTRY(waiter) link;
	enum lane lane;
	uint64_t deadline;
	void (*done)(void *arg, int err);
	void *arg;
	bool answer; /* of remote_true_errno: err */
	int err;
};

struct pool {
	uv_loop_t loop;
	struct fake_instance instance;
	struct pool_channel *channels[RIG_CHANNELS];
	unsigned n_channels, timeout_ms;
	bool near;	/* what pool_near says */
	unsigned speed; /* requests that a server does in one turn */
	unsigned remote_refs;
	int true_errno; /* what remote_true_errno finds, if not 0 */
	struct sftp_features features;
	TAILQ_HEAD(, waiter) waiters;
	char path[64]; /* of the file under test; "": it has none */
};
struct remote {
	struct pool pool;
	struct remote_clock clock;
};

static struct remote rig;
static bool rig_inside; /* a call of rfile's */

#define RIG_CALL(call)                                                                             \
	do {                                                                                       \
		rig_inside = true;                                                                 \
		call;                                                                              \
		rig_inside = false;                                                                \
	} while (0)

/* --- the pool's part --- */

struct pool_channel *pool_channel(struct pool *pool, enum lane lane, bool want_more)
{
	struct pool_channel *best = NULL;

	for (unsigned i = 0; i < pool->n_channels; i++) {
		struct pool_channel *channel = pool->channels[i];
		if (!channel->sftp || channel->lane != lane)
			continue;
		if (!best || sftp_bytes_in_flight(channel->sftp) < sftp_bytes_in_flight(best->sftp))
			best = channel;
	}
	return best || lane != LANE_BULK ? best : pool_channel(pool, LANE_FILES, false);
}

static void add_waiter(
    struct pool *pool, enum lane lane, unsigned ms, void (*done)(void *, int), void *arg, int *err)
{
	struct waiter *waiter = calloc(1, sizeof(*waiter));

	assert_non_null(waiter);
	waiter->lane = lane;
	waiter->deadline = uv_hrtime() / 1000000 + ms;
	waiter->done = done;
	waiter->arg = arg;
	waiter->answer = err;
	waiter->err = err ? *err : 0;
	TAILQ_INSERT_TAIL(&pool->waiters, waiter, link);
}

void pool_wait(struct pool *pool, enum lane lane, unsigned timeout_ms,
    void (*done)(void *arg, int err), void *arg)
{
	add_waiter(pool, lane, timeout_ms, done, arg, NULL);
}

struct pool_channel *pool_channel_get(struct pool_channel *channel)
{
	channel->refs++;
	return channel;
}

void pool_channel_put(struct pool_channel *channel)
{
	assert_true(channel->refs > 0);
	channel->refs--;
}

bool pool_channel_alive(const struct pool_channel *channel)
{
	return channel->sftp;
}

struct sftp *pool_channel_sftp(struct pool_channel *channel)
{
	return channel->sftp;
}

const struct sftp_features *pool_features(const struct pool *pool)
{
	return &pool->features;
}

bool pool_near(const struct pool *pool);
bool pool_near(const struct pool *pool)
{
	return rig.pool.near;
}

unsigned pool_timeout_ms(const struct pool *pool)
{
	return pool->timeout_ms;
}

/* --- the remote's part --- */

struct pool *remote_pool(struct remote *remote)
{
	return &remote->pool;
}

bool remote_follows_links(const struct remote *remote)
{
	(void)remote;
	return false;
}

struct remote *remote_get(struct remote *remote)
{
	remote->pool.remote_refs++;
	return remote;
}

void remote_put(struct remote *remote)
{
	remote->pool.remote_refs--;
}

const struct remote_clock *remote_clock(const struct remote *remote)
{
	return &remote->clock;
}

uint32_t remote_uid(const struct remote *remote)
{
	return 0;
}

int remote_check_path(const char *path)
{
	return path[0] == '/' ? 0 : -EINVAL;
}

int remote_errno_of_size(int err, uint64_t end)
{
	return err;
}

bool remote_errno_is_vague(enum remote_asked asked, int err)
{
	return err == -EIO;
}

void remote_true_errno(struct remote *remote, enum remote_asked asked, const char *path,
    const char *path2, int err, remote_done *done, void *arg)
{
	int found = remote->pool.true_errno ? remote->pool.true_errno : err;

	add_waiter(&remote->pool, LANE_FILES, 0, done, arg, &found);
}

/* --- the rig --- */

static void rig_ready(void *arg, const struct ssh_error *error)
{
	assert_null(error);
}

static void rig_ended(void *arg, const struct ssh_error *error)
{
	struct pool_channel *channel = arg;
	struct sftp *sftp = channel->sftp;

	channel->sftp = NULL;
	if (sftp)
		sftp_free(sftp);
}

static const struct sftp_events rig_events = {rig_ready, rig_ended};

static void serve_waiters(void)
{
	uint64_t now = uv_hrtime() / 1000000;
	TAILQ_HEAD(, waiter) ripe = TAILQ_HEAD_INITIALIZER(ripe);
	struct waiter *waiter, *next;

	for (waiter = TAILQ_FIRST(&rig.pool.waiters); waiter; waiter = next) {
		next = TAILQ_NEXT(waiter, link);
		if (!waiter->answer) {
			if (pool_channel(&rig.pool, waiter->lane, false))
				waiter->err = 0;
			else if (now >= waiter->deadline)
				waiter->err = -ETIMEDOUT;
			else
				continue;
		}
		TAILQ_REMOVE(&rig.pool.waiters, waiter, link);
		TAILQ_INSERT_TAIL(&ripe, waiter, link);
	}
	while ((waiter = TAILQ_FIRST(&ripe))) {
		TAILQ_REMOVE(&ripe, waiter, link);
		waiter->done(waiter->arg, waiter->err);
		free(waiter);
	}
}

/* Returns how many requests the servers did. */
static unsigned rig_turn(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < rig.pool.n_channels; i++) {
		struct pool_channel *channel = rig.pool.channels[i];
		if (!channel->sftp)
			continue;
		size_t load = sftp_bytes_in_flight(channel->sftp);
		if (load > channel->most)
			channel->most = load;
		if (!channel->held)
			n += fake_server_work(&channel->server, rig.pool.speed, true);
	}
	uv_run(&rig.pool.loop, UV_RUN_NOWAIT);
	serve_waiters();
	return n;
}

static void rig_settle(void)
{
	for (int quiet = 0; quiet < 5;)
		quiet = rig_turn() ? 0 : quiet + 1;
}

static struct pool_channel *rig_channel(enum lane lane)
{
	struct pool_channel *channel = calloc(1, sizeof(*channel));

	assert_non_null(channel);
	assert_true(rig.pool.n_channels < RIG_CHANNELS);
	channel->lane = lane;
	fake_server_init(&channel->server, &rig.pool.instance);
	channel->sftp = sftp_new_on(
	    &rig.pool.loop, fake_stream_open, &channel->server.stream, 60, &rig_events, channel);
	assert_non_null(channel->sftp);
	fake_stream_opened(&channel->server.stream);
	while (!channel->server.greeted || sftp_requests_in_flight(channel->sftp)) {
		fake_server_work(&channel->server, 10, true);
		uv_run(&rig.pool.loop, UV_RUN_NOWAIT);
	}
	rig.pool.channels[rig.pool.n_channels++] = channel;
	return channel;
}

/* The connection breaks when the server has done `worked` more requests, which are not answered. */
static void rig_kill(struct pool_channel *channel, unsigned worked)
{
	fake_server_work(&channel->server, worked, false);
	fake_server_die(&channel->server);
}

static bool rig_path(void *arg, char *buf, size_t size)
{
	snprintf(buf, size, "%s", rig.pool.path);
	return rig.pool.path[0];
}

static const struct rfile_owner rig_owner = {.path = rig_path};

static int rig_setup(void **state)
{
	memset(&rig, 0, sizeof(rig));
	rig.pool.timeout_ms = 60000;
	rig.pool.speed = 1000;
	rig.pool.features = (struct sftp_features){
	    .fsync = true, .copy_data = true, .max_read = 261120, .max_write = 261120};
	TAILQ_INIT(&rig.pool.waiters);
	fake_instance_init(&rig.pool.instance);
	snprintf(rig.pool.path, sizeof(rig.pool.path), "/f");
	assert_int_equal(uv_loop_init(&rig.pool.loop), 0);
	rig_channel(LANE_FILES);
	return 0;
}

/* All files are closed by now: nothing may be left, there or here. */
static int rig_teardown(void **state)
{
	rig_settle();
	assert_int_equal(rig.pool.instance.handles, 0);
	assert_int_equal(rig.pool.remote_refs, 0);
	assert_true(TAILQ_EMPTY(&rig.pool.waiters));
	for (unsigned i = 0; i < rig.pool.n_channels; i++) {
		struct pool_channel *channel = rig.pool.channels[i];
		assert_int_equal(channel->refs, 0);
		sftp_free(channel->sftp);
	}
	assert_int_equal(uv_run(&rig.pool.loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&rig.pool.loop), 0);
	for (unsigned i = 0; i < rig.pool.n_channels; i++) {
		fake_server_fini(&rig.pool.channels[i]->server);
		free(rig.pool.channels[i]);
	}
	fake_instance_fini(&rig.pool.instance);
	return 0;
}

/* --- results --- */

/* Not every program uses all of these. */
#define RIG_MAYBE __attribute__((unused))

struct result {
	unsigned done;
	int err;
	struct rfile *file;
	struct sftp_attr attr;
	uint8_t *data; /* of a read: where to put it */
	uint32_t len;
};

RIG_MAYBE static void on_open(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	struct result *result = arg;

	assert_false(rig_inside);
	assert_true(err ? !file : !!file);
	result->done++;
	result->err = err;
	result->file = file;
	result->attr = *attr;
}

RIG_MAYBE static void on_plain(void *arg, int err)
{
	struct result *result = arg;

	assert_false(rig_inside);
	result->done++;
	result->err = err;
}

RIG_MAYBE static void on_attr(void *arg, int err, const struct sftp_attr *attr)
{
	struct result *result = arg;

	on_plain(arg, err);
	result->attr = *attr;
}

RIG_MAYBE static void on_read(void *arg, int err, const uint8_t *data, uint32_t len)
{
	struct result *result = arg;

	on_plain(arg, err);
	result->len = len;
	if (len && result->data)
		memcpy(result->data, data, len);
}

RIG_MAYBE static void settle(const struct result *result)
{
	rig_settle();
	assert_int_equal(result->done, 1);
}

RIG_MAYBE static struct rfile *open_file(const char *path, uint32_t flags)
{
	struct result result = {0};

	RIG_CALL(rfile_open(&rig, path, flags, 0644, &rig_owner, on_open, &result));
	settle(&result);
	assert_int_equal(result.err, 0);
	return result.file;
}

RIG_MAYBE static int read_file(struct rfile *file, uint64_t offset, uint32_t len,
    enum rfile_lane lane, uint8_t *data, uint32_t *got)
{
	struct result result = {.data = data};

	RIG_CALL(rfile_read(file, offset, len, lane, on_read, &result));
	settle(&result);
	*got = result.len;
	return result.err;
}

RIG_MAYBE static int write_file(
    struct rfile *file, uint64_t offset, const void *data, uint32_t len, enum rfile_lane lane)
{
	struct result result = {0};

	RIG_CALL(rfile_write(file, offset, data, len, lane, on_plain, &result));
	settle(&result);
	return result.err;
}

/* Bytes that are different everywhere. */
RIG_MAYBE static uint8_t *pattern(size_t len, unsigned seed)
{
	uint8_t *data = malloc(len);
	uint64_t x = seed * 2654435761u + 1;

	assert_non_null(data);
	for (size_t i = 0; i < len; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		data[i] = (uint8_t)(x >> 56);
	}
	return data;
}

#endif

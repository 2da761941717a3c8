/* Open files against an instance in memory: reading, writing, stripes, attributes, copies.
 */
#include "tests/unit/rfile_rig.h"
#include "transport/rfile_internal.h"
#include <sys/stat.h>

#define MIB (1024u * 1024)
#define RW (SSH_FXF_READ | SSH_FXF_WRITE)

/* --- reading --- */

static void test_read_whole_short_and_to_the_end(void **state)
{
	uint8_t *data = pattern(100000, 1), got[60000];
	uint32_t len;

	fake_file_add(&rig.pool.instance, "/f", data, 100000);
	struct rfile *file = open_file("/f", SSH_FXF_READ);
	assert_int_equal(read_file(file, 30000, 50000, RFILE_SMALL, got, &len), 0);
	assert_int_equal(len, 50000);
	assert_memory_equal(got, data + 30000, len);

	rig.pool.instance.max_data = 7001;
	unsigned before = rig.pool.channels[0]->server.reads;
	assert_int_equal(read_file(file, 10, 50000, RFILE_SMALL, got, &len), 0);
	assert_int_equal(len, 50000);
	assert_memory_equal(got, data + 10, len);
	assert_int_equal(rig.pool.channels[0]->server.reads - before, 8);

	/* The end is where the size says: no further round trip. */
	rig.pool.instance.max_data = 0;
	before = rig.pool.channels[0]->server.worked;
	assert_int_equal(read_file(file, 90000, 50000, RFILE_SMALL, got, &len), 0);
	assert_int_equal(len, 10000);
	assert_memory_equal(got, data + 90000, len);
	assert_int_equal(read_file(file, 100000, 5, RFILE_SMALL, got, &len), 0);
	assert_int_equal(len, 0);
	assert_int_equal(read_file(file, 1u << 31, 5, RFILE_SMALL, got, &len), 0);
	assert_int_equal(len, 0);
	assert_int_equal(rig.pool.channels[0]->server.worked - before, 3);
	assert_int_equal(write_file(file, 0, "x", 1, RFILE_SMALL), -EBADF);
	rfile_put(file);
	free(data);
}

static void test_an_early_end_is_not_believed(void **state)
{
	uint8_t *data = pattern(5000, 2), got[5000];
	uint32_t len;

	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", data, 5000);
	struct rfile *file = open_file("/f", SSH_FXF_READ);
	rig.pool.instance.lies_eof = 1000;
	assert_int_equal(read_file(file, 2000, 1000, RFILE_SMALL, got, &len), -EIO);
	assert_int_equal(read_file(file, 500, 1000, RFILE_SMALL, got, &len), -EIO);

	/* A server whose handles know the size that was: another handle is opened. */
	rig.pool.instance.lies_eof = 0;
	rig.pool.instance.old_ends = true;
	remote->len = 1000;
	struct rfile *writer = open_file("/f", SSH_FXF_READ | SSH_FXF_WRITE);
	assert_int_equal(write_file(writer, 1000, data + 1000, 4000, RFILE_SMALL), 0);
	assert_int_equal(read_file(writer, 500, 1000, RFILE_SMALL, got, &len), 0);
	assert_int_equal(len, 1000);
	assert_memory_equal(got, data + 500, 1000);
	rfile_put(writer);

	/* The same where the size that is known is that old one, of a file that is being changed.
	 */
	remote->len = 1000;
	struct rfile *reader = open_file("/f", SSH_FXF_READ);
	remote->len = 5000;
	rfile_mark_changed(reader);
	assert_int_equal(read_file(reader, 1500, 1000, RFILE_SMALL, got, &len), 0);
	assert_int_equal(len, 1000);
	assert_memory_equal(got, data + 1500, 1000);
	rfile_put(reader);
	rig.pool.instance.old_ends = false;

	/* Really truncated meanwhile: the size confirms it. */
	remote->len = 1200;
	assert_int_equal(read_file(file, 500, 1000, RFILE_SMALL, got, &len), 0);
	assert_int_equal(len, 700);
	assert_memory_equal(got, data + 500, 700);
	rfile_put(file);
	free(data);
}

static void test_growth_is_read(void **state)
{
	uint8_t *data = pattern(5000, 3), got[5000];
	uint32_t len;

	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", data, 5000);
	remote->len = 1000;
	struct rfile *file = open_file("/f", SSH_FXF_READ);
	remote->len = 3000;
	assert_int_equal(read_file(file, 500, 4000, RFILE_SMALL, got, &len), 0);
	assert_int_equal(len, 2500);
	assert_memory_equal(got, data + 500, len);
	rfile_put(file);
	free(data);
}

static void test_a_short_answer_at_an_old_end_is_no_end(void **state)
{
	uint8_t *data = pattern(9000, 13), got[9000];
	uint32_t len;

	fake_file_add(&rig.pool.instance, "/f", data, 5000);
	struct rfile *file = open_file("/f", SSH_FXF_READ), *other = open_file("/f", SSH_FXF_WRITE);
	rfile_mark_changed(file);
	assert_int_equal(write_file(other, 5000, data + 5000, 4000, RFILE_SMALL), 0);
	rig.pool.instance.max_data = 5000;
	assert_int_equal(read_file(file, 0, 9000, RFILE_SMALL, got, &len), 0);
	assert_int_equal(len, 9000);
	assert_memory_equal(got, data, len);
	rfile_put(file);
	rfile_put(other);
	free(data);
}

/* --- bulk --- */

#define MANY 400

static struct result many[MANY];

static void write_many(struct rfile *file, const uint8_t *data, size_t len, uint32_t piece)
{
	unsigned n = 0;

	memset(many, 0, sizeof(many));
	for (size_t at = 0; at < len; at += piece, n++) {
		assert_true(n < MANY);
		uint32_t now = len - at < piece ? (uint32_t)(len - at) : piece;
		RIG_CALL(rfile_write(file, at, data + at, now, RFILE_BULK, on_plain, &many[n]));
	}
	rig_settle();
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(many[i].done, 1);
		assert_int_equal(many[i].err, 0);
	}
}

static void test_bulk_is_striped_and_small_operations_stay_free(void **state)
{
	size_t len = 20 * MIB + 777;
	uint8_t *data = pattern(len, 4), *got = malloc(len);
	struct pool_channel *bulk[4];

	rig.pool.speed = 2;
	for (int i = 0; i < 4; i++)
		bulk[i] = rig_channel(LANE_BULK);
	struct rfile *file = open_file("/f", RW | SSH_FXF_CREAT | SSH_FXF_EXCL);
	write_many(file, data, len, 200000);
	struct fake_file *remote = fake_file_find(&rig.pool.instance, "/f");
	assert_int_equal(remote->len, len);
	assert_memory_equal(remote->data, data, len);
	assert_true(rig.pool.channels[0]->most <= 512 * 1024);
	for (int i = 0; i < 4; i++)
		assert_true(bulk[i]->server.writes > 5);
	assert_int_equal(rig.pool.instance.open_flags, RW);
	assert_int_equal(rig.pool.instance.opens, 5);

	memset(many, 0, sizeof(many));
	assert_non_null(got);
	for (unsigned i = 0; i * 250000 < len; i++) {
		many[i].data = got + i * 250000;
		RIG_CALL(rfile_read(file, i * 250000, 250000, RFILE_BULK, on_read, &many[i]));
	}
	rig_settle();
	assert_memory_equal(got, data, len);
	rfile_put(file);
	free(data);
	free(got);
}

/* Acknowledged that often, a piece of 256 KiB each time, with answers that took that long. */
static size_t window_after(struct rfile_handle *stripe, unsigned pieces, uint32_t took_us)
{
	((struct sftp_rtt *)(uintptr_t)sftp_rtt(stripe->channel->sftp))->data = took_us;
	while (pieces--)
		rfile_window_written(stripe, 256 * 1024);
	return stripe->window;
}

static void test_window_to_write(void **state)
{
	struct pool_channel *channel = rig_channel(LANE_BULK);
	struct sftp_rtt *rtt = (struct sftp_rtt *)(uintptr_t)sftp_rtt(channel->sftp);
	struct rfile_handle stripe = {.channel = channel, .window = RFILE_STRIPE_FIRST};

	*rtt = (struct sftp_rtt){.least = 50000};
	assert_int_equal(window_after(&stripe, 4, 55000), RFILE_STRIPE_FIRST + MIB);
	assert_int_equal(window_after(&stripe, 100, 55000), 2 * RFILE_STRIPE_WRITE);
	/* What is sent waits there: after a round trip, after many, and when it does no more. */
	assert_in_range(window_after(&stripe, 16, 90000), 2 * MIB, 3 * MIB);
	assert_in_range(window_after(&stripe, 1000, 90000), RFILE_STRIPE_LEAST, MIB / 2);
	assert_in_range(window_after(&stripe, 4, 55000), MIB / 2, MIB);
	assert_int_equal(window_after(&stripe, 1000, 55000), 2 * RFILE_STRIPE_WRITE);
	assert_int_equal(window_after(&stripe, 1000, UINT32_MAX), RFILE_STRIPE_LEAST);
	/* A young one's first answers are slow, and tell nothing. */
	stripe = (struct rfile_handle){
	    .channel = channel, .window = RFILE_STRIPE_FIRST, .opening = RFILE_STRIPE_FIRST};
	assert_int_equal(window_after(&stripe, 2, 190000), RFILE_STRIPE_FIRST + MIB / 2);
	assert_int_equal(window_after(&stripe, 2, 55000), RFILE_STRIPE_FIRST + MIB);
	assert_in_range(window_after(&stripe, 16, 190000), RFILE_STRIPE_LEAST, MIB);
	/* Far away nobody can tell. */
	rtt->least = 200000;
	assert_int_equal(window_after(&stripe, 1, 400000), RFILE_STRIPE_WRITE);
	assert_int_equal(window_after(&stripe, 1000, 400000), 2 * RFILE_STRIPE_WRITE);
}

/* Writes what wants a stripe; nobody has been asked yet. */
static struct rfile *begin_stripe(struct pool_channel *bulk, const char *path, const uint8_t *data)
{
	snprintf(rig.pool.path, sizeof(rig.pool.path), "%s", path);
	struct rfile *file = open_file(path, RW | SSH_FXF_CREAT);
	rig.pool.channels[0]->held = bulk->held = true;
	for (unsigned i = 0; i < 10; i++)
		RIG_CALL(rfile_write(
		    file, i * 200000, data + i * 200000, 200000, RFILE_BULK, on_plain, &many[i]));
	return file;
}

/* The rest of it goes through the stripe. */
static void end_stripe(struct pool_channel *bulk, struct rfile *file, const uint8_t *data)
{
	struct fake_file *there = fake_file_find(&rig.pool.instance, rig.pool.path);
	unsigned writes = bulk->server.writes;

	bulk->held = false;
	rig_settle();
	assert_true(bulk->server.writes > writes);
	rig.pool.channels[0]->held = false;
	rig_settle();
	assert_non_null(there);
	assert_memory_equal(there->data, data, 10 * 200000);
	rfile_put(file);
	rig_settle();
}

static void test_a_stripe_is_checked_with_its_open(void **state)
{
	struct pool_channel *bulk = rig_channel(LANE_BULK);
	uint8_t *data = pattern(2 * MIB, 9), *other = pattern(2 * MIB, 10);

	rig.pool.instance.numbered = true;
	struct rfile *file = begin_stripe(bulk, "/f", data);
	assert_int_equal(sftp_requests_in_flight(bulk->sftp), 1); /* no handle was seen yet */
	end_stripe(bulk, file, data);

	file = begin_stripe(bulk, "/g", data);
	assert_int_equal(sftp_requests_in_flight(bulk->sftp), 2);
	end_stripe(bulk, file, data);

	/* One that does not do what it is asked in turn: it is asked again. */
	file = begin_stripe(bulk, "/h", data);
	rig.pool.instance.fstats_fail = 1;
	end_stripe(bulk, file, data);
	assert_int_equal(rig.pool.instance.fstats_fail, 0);

	/* An open before it fails, so that another handle comes than was foreseen. */
	file = begin_stripe(bulk, "/gone", data);
	fake_file_unlink(fake_file_find(&rig.pool.instance, "/gone"));
	rig.pool.channels[0]->held = false;
	struct rfile *second = begin_stripe(bulk, "/k", other);
	end_stripe(bulk, second, other);
	rfile_put(file);
	free(data);
	free(other);
}

static size_t primary_takes(const uint8_t *data, uint32_t answers_us)
{
	struct pool_channel *files = rig.pool.channels[0], *bulk = rig.pool.channels[1];
	struct sftp_rtt *rtt = (struct sftp_rtt *)(uintptr_t)sftp_rtt(files->sftp);
	struct rfile *file;
	size_t taken;

	rtt->data = answers_us;
	file = begin_stripe(bulk, "/f", data);
	taken = sftp_bytes_in_flight(files->sftp);
	end_stripe(bulk, file, data);
	fake_file_unlink(fake_file_find(&rig.pool.instance, "/f"));
	return taken;
}

static void test_a_quick_primary_takes_more(void **state)
{
	uint8_t *data = pattern(2 * MIB, 11);

	rig_channel(LANE_BULK);
	assert_in_range(primary_takes(data, 0), 1, 512 * 1024);
	assert_in_range(primary_takes(data, 5000), 512 * 1024 + 1, MIB);
	assert_in_range(primary_takes(data, 90000), 1, 512 * 1024);
	free(data);
}

static void test_small_files_need_no_stripe(void **state)
{
	uint8_t *data = pattern(200000, 5);

	rig_channel(LANE_BULK);
	struct rfile *file = open_file("/f", RW | SSH_FXF_CREAT);
	write_many(file, data, 200000, 50000);
	assert_int_equal(rig.pool.instance.opens, 1);
	rfile_put(file);
	free(data);
}

static void test_bulk_without_a_bulk_lane(void **state)
{
	uint8_t *data = pattern(5 * MIB, 6);

	struct rfile *file = open_file("/f", RW | SSH_FXF_CREAT);
	write_many(file, data, 5 * MIB, 200000);
	assert_memory_equal(rig.pool.instance.files[0].data, data, 5 * MIB);
	assert_in_range(rig.pool.channels[0]->most, MIB, 2 * MIB);
	assert_int_equal(rig.pool.instance.opens, 1);

	/* Not where that takes long. */
	rig.pool.channels[0]->held = true;
	struct result late = {0};
	RIG_CALL(rfile_write(file, 0, data, 1000, RFILE_BULK, on_plain, &late));
	for (uint64_t from = uv_hrtime(); uv_hrtime() - from < 100000000;)
		rig_turn();
	rig.pool.channels[0]->held = false;
	rig_settle();
	assert_int_equal(late.done, 1);
	rig.pool.channels[0]->most = 0;
	memset(many, 0, sizeof(many));
	for (unsigned i = 0; i < 10; i++)
		RIG_CALL(
		    rfile_write(file, i * 200000, data, 200000, RFILE_BULK, on_plain, &many[i]));
	rig_turn();
	assert_true(rig.pool.channels[0]->most <= 512 * 1024);
	rig_settle();
	rfile_put(file);
	free(data);
}

static void test_a_stripe_of_another_file_is_not_used(void **state)
{
	uint8_t *data = pattern(4 * MIB, 7), *other = pattern(4 * MIB, 8), *got = malloc(4 * MIB);
	struct pool_channel *bulk = rig_channel(LANE_BULK);
	struct fake_file *old = fake_file_add(&rig.pool.instance, "/f", data, 4 * MIB);
	struct rfile *file = open_file("/f", SSH_FXF_READ);

	rig.pool.speed = 1;
	fake_file_unlink(old);
	rig.pool.instance.clock += 5;
	fake_file_add(&rig.pool.instance, "/f", other, 4 * MIB);
	assert_non_null(got);
	memset(many, 0, sizeof(many));
	for (unsigned i = 0; i < 32; i++) {
		many[i].data = got + i * 131072;
		RIG_CALL(rfile_read(file, i * 131072, 131072, RFILE_BULK, on_read, &many[i]));
	}
	rig_settle();
	assert_memory_equal(got, data, 4 * MIB);
	assert_true(rig.pool.instance.opens >= 2);
	assert_true(bulk->server.reads > 0); /* sent behind the check, and dropped */
	assert_int_equal(rig.pool.instance.handles, 1);
	rfile_put(file);
	free(data);
	free(other);
	free(got);
}

static void test_closing_while_a_stripe_opens(void **state)
{
	struct pool_channel *bulk = rig_channel(LANE_BULK);
	struct result result = {0};

	fake_file_add(&rig.pool.instance, "/f", NULL, 4 * MIB);
	struct rfile *file = open_file("/f", SSH_FXF_READ);
	bulk->held = true;
	rfile_read(file, 0, 200000, RFILE_BULK, on_read, &result);
	rfile_read(file, 0, 200000, RFILE_SMALL, on_read, &result);
	rfile_read(file, 0, 200000, RFILE_BULK, on_read, &result);
	rig_settle();
	assert_int_equal(result.done, 3);
	rfile_put(file);
	bulk->held = false; /* only now it opens; the teardown looks for the handle */
}

/* --- attributes --- */

static void test_fsetstat_in_order(void **state)
{
	struct sftp_attr attr = {
	    .flags = 15, .size = 3, .uid = 5, .gid = 6, .mode = 04755, .mtime = 77};
	struct result result = {0};
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct rfile *file = open_file("/f", RW);

	RIG_CALL(rfile_fsetstat(file, &attr, on_plain, &result));
	settle(&result);
	assert_int_equal(result.err, 0);
	assert_string_equal(rig.pool.instance.order, "upst");
	assert_int_equal(remote->mode & 07777, 04755);
	assert_int_equal(remote->mtime, 77);

	memset(&result, 0, sizeof(result));
	RIG_CALL(rfile_fstat(file, on_attr, &result));
	settle(&result);
	assert_int_equal(result.attr.size, 3);
	assert_int_equal(result.attr.uid, 5);
	rfile_put(file);
}

static void test_fsync(void **state)
{
	struct result result = {0}, again = {0};
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct rfile *file = open_file("/f", RW);

	RIG_CALL(rfile_fsync(file, on_plain, &result));
	settle(&result);
	assert_int_equal(result.err, 0);
	assert_int_equal(remote->fsyncs, 1);
	rig.pool.features.fsync = false;
	RIG_CALL(rfile_fsync(file, on_plain, &again));
	settle(&again);
	assert_int_equal(again.err, 0);
	assert_int_equal(remote->fsyncs, 1);
	rfile_put(file);
}

static void test_fsync_behind_writes(void **state)
{
	struct result results[4] = {0};
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct rfile *file = open_file("/f", RW);
	struct fake_server *server = &rig.pool.channels[0]->server;
	const struct sftp_attr cut = {.flags = SSH_FILEXFER_ATTR_SIZE, .size = 3};

	assert_false(rfile_fsync_behind(file, on_plain, &results[0])); /* behind nothing */
	for (int i = 0; i < 2; i++)
		RIG_CALL(rfile_write(file, i, "xy", 2, RFILE_SMALL, on_plain, &results[i]));
	assert_true(rfile_fsync_behind(file, on_plain, &results[2]));
	assert_int_equal(remote->fsyncs, 0);
	/* All of it in one go. */
	assert_int_equal(fake_server_work(server, 10, true), 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(results[i].done, 1);
		assert_int_equal(results[i].err, 0);
	}
	assert_int_equal(remote->fsyncs, 1);

	/* A truncate goes another way: its fsync has to wait. */
	memset(results, 0, sizeof(results));
	RIG_CALL(rfile_fsetstat(file, &cut, on_plain, &results[0]));
	RIG_CALL(rfile_write(file, 0, "z", 1, RFILE_SMALL, on_plain, &results[1]));
	assert_false(rfile_fsync_behind(file, on_plain, &results[2]));
	rig_settle();
	RIG_CALL(rfile_write(file, 0, "z", 1, RFILE_SMALL, on_plain, &results[1]));
	rig.pool.features.fsync = false;
	assert_false(rfile_fsync_behind(file, on_plain, &results[2]));
	rig_settle();
	assert_int_equal(results[2].done, 0);
	assert_int_equal(remote->fsyncs, 1);
	rfile_put(file);
}

/* A stream over two channels, of which some is still to be sent, and an fsync behind it. */
static struct rfile *stream_and_sync(struct pool_channel *bulk[2], struct result *synced)
{
	uint8_t *data = pattern(8 * MIB, 9);
	struct rfile *file = open_file("/f", RW | SSH_FXF_CREAT);

	rig.pool.speed = 2;
	write_many(file, data, 8 * MIB, 200000);
	assert_true(bulk[0]->server.writes && bulk[1]->server.writes);
	bulk[0]->held = bulk[1]->held = true;
	memset(many, 0, sizeof(many));
	for (unsigned i = 0; i < 60; i++)
		RIG_CALL(rfile_write(
		    file, i * 200000, data + i * 100, 200000, RFILE_BULK, on_plain, &many[i]));
	rig_turn();
	fake_file_find(&rig.pool.instance, "/f")->fsyncs = 0;
	assert_true(rfile_fsync_behind(file, on_plain, synced));
	rig_settle();
	assert_int_equal(synced->done, 0);
	free(data);
	return file;
}

static void test_fsync_behind_a_stream(void **state)
{
	struct result synced = {0};
	struct pool_channel *bulk[2] = {rig_channel(LANE_BULK), rig_channel(LANE_BULK)};
	struct rfile *file = stream_and_sync(bulk, &synced);
	struct fake_file *remote = fake_file_find(&rig.pool.instance, "/f");

	/* One channel's fsync does not do for the other's bytes. */
	bulk[0]->held = false;
	rig_settle();
	assert_int_equal(synced.done, 0);
	bulk[1]->held = false;
	rig_settle();
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(many[i].done, 1);
	assert_int_equal(synced.done, 1);
	assert_int_equal(synced.err, 0);
	assert_int_equal(remote->fsyncs, 2);
	rfile_put(file);
}

static void test_fsync_behind_a_stream_that_is_lost(void **state)
{
	struct result synced = {0};
	struct pool_channel *bulk[2] = {rig_channel(LANE_BULK), rig_channel(LANE_BULK)};
	struct rfile *file = stream_and_sync(bulk, &synced);

	/* What was on it is sent through the other one, behind its fsync or in front. */
	rig_kill(bulk[1], 1);
	bulk[0]->held = false;
	rig_settle();
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(many[i].err, 0);
	assert_int_equal(synced.done, 1);
	assert_int_equal(synced.err, -EAGAIN);
	rfile_put(file);
}

static void test_write_errors(void **state)
{
	fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct rfile *file = open_file("/f", SSH_FXF_WRITE);
	uint32_t len;
	uint8_t byte;

	rig.pool.instance.write_fails = SSH_FX_FAILURE;
	rig.pool.true_errno = -ENOSPC;
	assert_int_equal(write_file(file, 0, "x", 1, RFILE_SMALL), -ENOSPC);
	rig.pool.instance.write_fails = SSH_FX_PERMISSION_DENIED;
	assert_int_equal(write_file(file, 0, "x", 1, RFILE_BULK), -EACCES);
	assert_int_equal(read_file(file, 0, 1, RFILE_SMALL, &byte, &len), -EBADF);
	rfile_put(file);
}

/* --- copies --- */

static bool other_path(void *arg, char *buf, size_t size)
{
	snprintf(buf, size, "/to");
	return true;
}

static int copy(struct rfile *from, uint64_t at, struct rfile *to, uint64_t to_at, uint64_t len)
{
	struct result result = {0};

	RIG_CALL(rfile_copy(from, at, to, to_at, len, on_plain, &result));
	settle(&result);
	return result.err;
}

static void test_copy(void **state)
{
	const struct rfile_owner owner = {.path = other_path};
	uint8_t *data = pattern(MIB, 9);
	struct result result = {0};

	rig_channel(LANE_COPY);
	fake_file_add(&rig.pool.instance, "/f", data, MIB);
	struct rfile *from = open_file("/f", SSH_FXF_READ);
	RIG_CALL(
	    rfile_open(&rig, "/to", SSH_FXF_WRITE | SSH_FXF_CREAT, 0644, &owner, on_open, &result));
	settle(&result);
	struct rfile *to = result.file;

	assert_int_equal(copy(from, 0, to, 0, 600000), 600000);
	assert_int_equal(copy(from, 600000, to, 600000, 600000), (int)MIB - 600000);
	assert_int_equal(copy(from, MIB, to, MIB, 600000), 0);
	assert_int_equal(copy(from, 2 * MIB, to, MIB, 600000), 0);
	assert_int_equal(copy(from, 0, from, MIB, 10), -EBADF);
	struct fake_file *made = fake_file_find(&rig.pool.instance, "/to");
	assert_int_equal(made->len, MIB);
	assert_memory_equal(made->data, data, MIB);
	assert_int_equal(rig.pool.instance.opens, 4);

	/* The kernel shall read and write instead. */
	rig.pool.instance.copy_fails = SSH_FX_FAILURE;
	assert_int_equal(copy(from, 0, to, 0, 600000), -EOPNOTSUPP);
	rig.pool.instance.copy_fails = SSH_FX_PERMISSION_DENIED;
	assert_int_equal(copy(from, 0, to, 0, 600000), -EACCES);
	rig.pool.instance.copy_fails = 0;
	rig.pool.instance.copy_lies = true;
	assert_int_equal(copy(from, 0, to, MIB, 600000), -EOPNOTSUPP);
	rig.pool.instance.copy_lies = false;

	rig.pool.instance.files[0].mtime++;
	rig.pool.channels[1]->held = true;
	rig_kill(rig.pool.channels[1], 0);
	rig_channel(LANE_COPY);
	assert_int_equal(copy(from, 0, to, 0, 600000), -ESTALE);
	rig.pool.features.copy_data = false;
	assert_int_equal(copy(from, 0, to, 0, 600000), -EOPNOTSUPP);
	rfile_put(from);
	rfile_put(to);
	free(data);
}

/* Another file has the name: its version is told before the open handle was asked for its own. */
static void test_copy_of_replaced(void **state)
{
	const struct rfile_owner owner = {.path = other_path};
	struct result result = {0}, copied = {0};
	uint8_t *data = pattern(5000, 9);

	rig_channel(LANE_COPY);
	struct fake_file *old = fake_file_add(&rig.pool.instance, "/f", data, 5000);
	uint32_t mtime = old->mtime;
	struct rfile *from = open_file("/f", SSH_FXF_READ);
	RIG_CALL(
	    rfile_open(&rig, "/to", SSH_FXF_WRITE | SSH_FXF_CREAT, 0644, &owner, on_open, &result));
	settle(&result);
	fake_file_unlink(old);
	struct fake_file *new = fake_file_add(&rig.pool.instance, "/f", data + 1000, 6);
	rfile_doubt(from, true);
	rfile_set_version(from, new->mtime, 6);
	RIG_CALL(rfile_copy(from, 0, result.file, 0, 5000, on_plain, &copied));
	for (unsigned i = 0; i < 50; i++)
		rig_turn();
	assert_int_equal(fake_file_find(&rig.pool.instance, "/to")->len, 0);
	assert_false(copied.done);

	rfile_set_version(from, mtime, 5000);
	rfile_doubt(from, false);
	settle(&copied);
	assert_int_equal(copied.err, -ESTALE);
	assert_int_equal(fake_file_find(&rig.pool.instance, "/to")->len, 0);
	rfile_put(from);
	rfile_put(result.file);
	free(data);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_read_whole_short_and_to_the_end),
	    TEST(test_an_early_end_is_not_believed),
	    TEST(test_growth_is_read),
	    TEST(test_a_short_answer_at_an_old_end_is_no_end),
	    TEST(test_bulk_is_striped_and_small_operations_stay_free),
	    TEST(test_window_to_write),
	    TEST(test_a_stripe_is_checked_with_its_open),
	    TEST(test_a_quick_primary_takes_more),
	    TEST(test_small_files_need_no_stripe),
	    TEST(test_bulk_without_a_bulk_lane),
	    TEST(test_a_stripe_of_another_file_is_not_used),
	    TEST(test_closing_while_a_stripe_opens),
	    TEST(test_fsetstat_in_order),
	    TEST(test_fsync),
	    TEST(test_fsync_behind_writes),
	    TEST(test_fsync_behind_a_stream),
	    TEST(test_fsync_behind_a_stream_that_is_lost),
	    TEST(test_write_errors),
	    TEST(test_copy),
	    TEST(test_copy_of_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Open files whose link is lost at every point: nothing is done twice, nothing is lost, nothing of
 * another file is read. */
#include "tests/unit/rfile_rig.h"
#include <sys/stat.h>
#include <time.h>

#define MIB (1024u * 1024)
#define RW (SSH_FXF_READ | SSH_FXF_WRITE)

static struct pool_channel *last_channel(void)
{
	return rig.pool.channels[rig.pool.n_channels - 1];
}

/* --- opening --- */

/* An exclusive create whose link is lost when that many of its requests are done. */
static struct result create_and_lose(const char *path, unsigned worked)
{
	struct result result = {0};

	RIG_CALL(rfile_open(
	    &rig, path, RW | SSH_FXF_CREAT | SSH_FXF_EXCL, 0600, &rig_owner, on_open, &result));
	rig_kill(last_channel(), worked);
	rig_channel(LANE_FILES);
	settle(&result);
	return result;
}

static void test_exclusive_create_is_done_once(void **state)
{
	rig.pool.instance.clock = (uint32_t)time(NULL);
	for (unsigned worked = 0; worked <= 2; worked++) {
		struct result result;
		char path[16];

		snprintf(path, sizeof(path), "/new%u", worked);
		result = create_and_lose(path, worked);
		assert_int_equal(result.err, 0);
		assert_non_null(fake_file_find(&rig.pool.instance, path));
		assert_int_equal(rig.pool.instance.handles, 1);
		rfile_put(result.file);
		rig_settle();
	}
}

static void test_exclusive_create_leaves_older_files_alone(void **state)
{
	struct result result, other;

	rig.pool.instance.clock = (uint32_t)time(NULL) - 3600;
	fake_file_add(&rig.pool.instance, "/old", NULL, 0);
	result = create_and_lose("/old", 2);
	assert_int_equal(result.err, -EEXIST);

	rig.pool.instance.clock = (uint32_t)time(NULL);
	fake_file_add(&rig.pool.instance, "/full", "x", 1);
	other = create_and_lose("/full", 0);
	assert_int_equal(other.err, -EEXIST);
}

/* The age of what is there is counted by the instance's clock, which may be hours away from ours,
 * and what was there before the request was sent is another's, however young it is. */
static void test_exclusive_create_by_the_clock_there(void **state)
{
	const uint32_t there = (uint32_t)time(NULL) - 7200;
	struct result ours, other;

	rig.clock = (struct remote_clock){.there = there, .ms = uv_hrtime() / 1000000};
	rig.pool.instance.clock = there;
	ours = create_and_lose("/behind", 2);
	assert_int_equal(ours.err, 0);
	rfile_put(ours.file);
	rig_settle();

	rig.pool.instance.clock = there - 30;
	fake_file_add(&rig.pool.instance, "/lock", NULL, 0);
	rig.pool.instance.clock = there;
	other = create_and_lose("/lock", 0);
	assert_int_equal(other.err, -EEXIST);
	rig.clock.ms = 0;
}

static void test_plain_open_is_repeated(void **state)
{
	struct result result = {0};

	fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	RIG_CALL(rfile_open(
	    &rig, "/f", RW | SSH_FXF_CREAT | SSH_FXF_TRUNC, 0600, &rig_owner, on_open, &result));
	rig_kill(last_channel(), 1);
	rig_channel(LANE_FILES);
	settle(&result);
	assert_int_equal(result.err, 0);
	assert_int_equal(result.attr.size, 0);
	rfile_put(result.file);
}

/* --- the same file, or none --- */

static int read_after_loss(struct rfile *file, uint8_t *data)
{
	uint32_t len;

	rig_kill(last_channel(), 0);
	rig_channel(LANE_FILES);
	return read_file(file, 0, 5, RFILE_SMALL, data, &len);
}

static void test_reading_goes_on_only_in_the_same_file(void **state)
{
	uint8_t data[8];
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct rfile *file = open_file("/f", SSH_FXF_READ);

	assert_int_equal(read_after_loss(file, data), 0);
	assert_memory_equal(data, "hello", 5);

	/* Renamed here: the owner knows the new name. */
	snprintf(remote->path, sizeof(remote->path), "/g");
	snprintf(rig.pool.path, sizeof(rig.pool.path), "/g");
	assert_int_equal(read_after_loss(file, data), 0);

	/* Changed there. */
	remote->mtime++;
	assert_int_equal(read_after_loss(file, data), -ESTALE);
	rfile_set_version(file, remote->mtime, 5);
	assert_int_equal(read_after_loss(file, data), 0);

	/* Found changed under its name after the handle was lost: it may be another one. One that
	 * grew is taken for a log. */
	assert_true(rfile_is_held(file));
	rig_kill(last_channel(), 0);
	rig_channel(LANE_FILES);
	assert_false(rfile_is_held(file));
	remote->mtime--;
	rfile_offer_version(file, remote->mtime, 5);
	assert_int_equal(read_after_loss(file, data), -ESTALE);
	remote->mtime += 2;
	rfile_offer_version(file, remote->mtime, 5);
	assert_int_equal(read_after_loss(file, data), 0);
	assert_true(rfile_is_held(file));

	/* Replaced. */
	fake_file_unlink(remote);
	rig.pool.instance.clock += 10;
	assert_int_equal(read_after_loss(file, data), -ESTALE);
	fake_file_add(&rig.pool.instance, "/g", "other", 5);
	assert_int_equal(read_after_loss(file, data), -ESTALE);
	rfile_put(file);
}

static void test_unlinked_but_open(void **state)
{
	uint8_t data[8];
	uint32_t len;
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct rfile *file = open_file("/f", RW);

	fake_file_unlink(remote);
	rig.pool.path[0] = '\0';
	assert_int_equal(read_file(file, 0, 5, RFILE_SMALL, data, &len), 0);
	assert_int_equal(write_file(file, 5, " you", 4, RFILE_SMALL), 0);
	assert_memory_equal(remote->data, "hello you", 9);
	assert_int_equal(read_after_loss(file, data), -ESTALE);
	assert_int_equal(write_file(file, 0, "x", 1, RFILE_SMALL), -ESTALE);
	rfile_put(file);
}

static void test_writing_goes_on_only_in_the_same_file(void **state)
{
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", NULL, 0);
	struct rfile *file = open_file("/f", SSH_FXF_WRITE);

	assert_int_equal(write_file(file, 0, "hello", 5, RFILE_SMALL), 0);
	rig.pool.instance.clock += 10;
	rig_kill(last_channel(), 0);
	rig_channel(LANE_FILES);
	assert_int_equal(write_file(file, 5, " you", 4, RFILE_SMALL), 0);

	/* chmod by path, told. */
	struct sftp_attr attr = {.flags = SSH_FILEXFER_ATTR_PERMISSIONS, .mode = 0600};
	remote->mode = S_IFREG | 0600;
	rfile_set_identity(file, &attr);
	rig_kill(last_channel(), 0);
	rig_channel(LANE_FILES);
	assert_int_equal(write_file(file, 9, "!", 1, RFILE_SMALL), 0);
	assert_memory_equal(remote->data, "hello you!", 10);

	/* A shorter one is not it. */
	fake_file_unlink(remote);
	fake_file_add(&rig.pool.instance, "/f", "hello", 5)->mode = S_IFREG | 0600;
	rig_kill(last_channel(), 0);
	rig_channel(LANE_FILES);
	assert_int_equal(write_file(file, 10, "x", 1, RFILE_SMALL), -ESTALE);
	assert_int_equal(rig.pool.instance.files[1].len, 5);
	rfile_put(file);
}

/* --- changes of our own that nobody has looked at yet --- */

static void test_what_was_asked_for_is_no_other_file(void **state)
{
	struct sftp_attr attr = {.flags = SSH_FILEXFER_ATTR_ACMODTIME, .mtime = 77};
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct rfile *file = open_file("/f", RW);
	uint8_t data[8];

	/* Whether it is done already or not. */
	rfile_expect(file, &attr);
	assert_int_equal(read_after_loss(file, data), 0);
	remote->mtime = 77;
	assert_int_equal(read_after_loss(file, data), 0);
	remote->mtime = 78;
	assert_int_equal(read_after_loss(file, data), -ESTALE);
	rfile_set_version(file, 78, 5);
	remote->mtime = 77;
	assert_int_equal(read_after_loss(file, data), -ESTALE);

	attr = (struct sftp_attr){.flags = SSH_FILEXFER_ATTR_SIZE, .size = 3};
	rfile_set_version(file, 77, 5);
	rfile_expect(file, &attr);
	remote->len = 3;
	remote->mtime = 80;
	assert_int_equal(read_after_loss(file, data), 0);
	remote->len = 4;
	assert_int_equal(read_after_loss(file, data), -ESTALE);
	remote->len = 3;

	/* Of one that is being written mode and owner are compared. */
	assert_int_equal(write_file(file, 0, "hello", 5, RFILE_SMALL), 0);
	attr = (struct sftp_attr){.flags = SSH_FILEXFER_ATTR_PERMISSIONS, .mode = 0600};
	rfile_expect(file, &attr);
	assert_int_equal(read_after_loss(file, data), 0);
	remote->mode = S_IFREG | 0600;
	assert_int_equal(read_after_loss(file, data), 0);
	remote->mode = S_IFREG | 0640;
	assert_int_equal(read_after_loss(file, data), -ESTALE);
	rfile_put(file);
}

static void test_a_lost_write_may_be_done_later(void **state)
{
	struct result result = {0};
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct rfile *file = open_file("/f", RW);
	uint8_t data[8];

	RIG_CALL(rfile_write(file, 0, "jello", 5, RFILE_SMALL, on_plain, &result));
	rig_kill(last_channel(), 0);
	rig_channel(LANE_FILES);
	settle(&result);
	assert_int_equal(result.err, 0);
	rfile_set_version(file, remote->mtime, 5);
	remote->mtime += 2; /* the old server process got round to it */
	assert_int_equal(read_after_loss(file, data), 0);
	remote->mtime -= 3;
	assert_int_equal(read_after_loss(file, data), -ESTALE);
	remote->mtime += 1000000;
	assert_int_equal(read_after_loss(file, data), -ESTALE);
	rfile_put(file);
}

static struct rfile *sibling;
static unsigned lost_changes;

static void on_changes(void *arg, bool lost)
{
	assert_ptr_equal(arg, &sibling);
	lost_changes += lost;
	if (!lost)
		rfile_mark_changed(sibling);
}

/* Two of one file: the one is found to be the file still and writes, the other one looks next. */
static void test_writes_are_told_to_the_owner(void **state)
{
	const struct rfile_owner owner = {.path = rig_path, .changes = on_changes, .arg = &sibling};
	struct result result = {0};
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct rfile *file = open_file("/f", RW);
	uint8_t data[8];
	uint32_t len;

	sibling = open_file("/f", SSH_FXF_READ);
	rfile_set_owner(file, &owner);
	rig.pool.instance.clock += 10;
	rig_kill(last_channel(), 0);
	rig_channel(LANE_FILES);
	assert_int_equal(write_file(file, 5, " you", 4, RFILE_SMALL), 0);
	assert_int_equal(read_file(sibling, 0, 5, RFILE_SMALL, data, &len), 0);
	assert_int_equal(lost_changes, 0);

	RIG_CALL(rfile_write(file, 0, "jello", 5, RFILE_SMALL, on_plain, &result));
	rig_kill(last_channel(), 0);
	rig_channel(LANE_FILES);
	settle(&result);
	assert_int_equal(lost_changes, 1);

	/* Another file: nothing is sent, nothing told. */
	rfile_set_version(file, remote->mtime, 9);
	rfile_set_version(sibling, remote->mtime, 9);
	fake_file_unlink(remote);
	fake_file_add(&rig.pool.instance, "/f", "other file", 10);
	rig_kill(last_channel(), 0);
	rig_channel(LANE_FILES);
	assert_int_equal(write_file(file, 0, "x", 1, RFILE_SMALL), -ESTALE);
	assert_int_equal(read_file(sibling, 0, 5, RFILE_SMALL, data, &len), -ESTALE);
	rfile_put(file);
	rfile_put(sibling);
}

static void test_a_version_told_too_early_is_no_trap(void **state)
{
	struct result result = {0};
	uint32_t len;
	uint8_t data[8];
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct rfile *file = open_file("/f", RW);

	rig.pool.instance.clock += 10;
	RIG_CALL(rfile_write(file, 5, " you", 4, RFILE_SMALL, on_plain, &result));
	rfile_set_version(file, remote->mtime, 5);
	rig_kill(last_channel(), 1);
	rig_channel(LANE_FILES);
	settle(&result);
	assert_int_equal(result.err, 0);

	/* But one that is told behind the last write is meant. */
	rfile_set_version(file, remote->mtime + 1, 9);
	rig_kill(last_channel(), 0);
	rig_channel(LANE_FILES);
	assert_int_equal(read_file(file, 0, 5, RFILE_SMALL, data, &len), -ESTALE);
	rfile_put(file);
}

static void test_stripes_help_out_until_the_primary_is_back(void **state)
{
	uint8_t data[8];
	uint32_t len;
	struct pool_channel *bulk = rig_channel(LANE_BULK);

	fake_file_add(&rig.pool.instance, "/f", NULL, 4 * MIB);
	struct rfile *file = open_file("/f", RW);
	for (int i = 0; i < 2; i++) {
		struct result result = {0};
		RIG_CALL(rfile_read(file, 0, 200000, RFILE_BULK, on_read, &result));
		settle(&result);
	}
	assert_int_equal(rig.pool.instance.opens, 2);
	rig_kill(rig.pool.channels[0], 0);
	unsigned before = bulk->server.reads;
	assert_int_equal(read_file(file, 0, 5, RFILE_SMALL, data, &len), 0);
	assert_int_equal(bulk->server.reads, before + 1);
	struct pool_channel *files = rig_channel(LANE_FILES);
	assert_int_equal(read_file(file, 0, 5, RFILE_SMALL, data, &len), 0); /* opens it again */
	assert_int_equal(read_file(file, 0, 5, RFILE_SMALL, data, &len), 0);
	assert_int_equal(files->server.reads, 1);
	rfile_put(file);
}

static void test_a_flapping_link(void **state)
{
	struct result result = {0};

	fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct rfile *file = open_file("/f", RW);
	rig.pool.timeout_ms = 30;
	rig.pool.channels[0]->held = true;
	RIG_CALL(rfile_read(file, 0, 5, RFILE_SMALL, on_read, &result));
	/* Each new connection dies before it has answered anything. */
	while (!result.done) {
		for (unsigned i = 0; i < rig.pool.n_channels; i++) {
			if (rig.pool.channels[i]->sftp)
				rig_kill(rig.pool.channels[i], 5);
		}
		rig_turn();
		if (rig.pool.n_channels < RIG_CHANNELS)
			rig_channel(LANE_FILES)->held = true;
		rig_turn();
	}
	assert_int_equal(result.err, -ETIMEDOUT);
	rfile_put(file);
}

static void test_a_link_that_stays_away(void **state)
{
	struct result results[4] = {0};
	struct sftp_attr attr = {.flags = SSH_FILEXFER_ATTR_PERMISSIONS, .mode = 0600};

	fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	rig.pool.timeout_ms = 30;
	struct rfile *file = open_file("/f", RW | SSH_FXF_APPEND);
	RIG_CALL(rfile_read(file, 0, 5, RFILE_SMALL, on_read, &results[0]));
	RIG_CALL(rfile_write(file, 0, "x", 1, RFILE_BULK, on_plain, &results[1]));
	rig_kill(last_channel(), 0);
	RIG_CALL(rfile_fsetstat(file, &attr, on_plain, &results[2]));
	RIG_CALL(rfile_read(file, 0, 5, RFILE_BULK, on_read, &results[3]));
	for (int i = 0; i < 4; i++) {
		while (!results[i].done)
			rig_turn();
		assert_int_equal(results[i].err, -ETIMEDOUT);
	}
	rfile_put(file);
}

static void test_put_while_the_link_is_away(void **state)
{
	struct result result = {0};

	fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct rfile *file = open_file("/f", RW);
	RIG_CALL(rfile_read(file, 0, 5, RFILE_SMALL, on_read, &result));
	rig_kill(last_channel(), 0);
	rfile_put(file);
	rig_settle();
	rig_channel(LANE_FILES);
	settle(&result);
	assert_int_equal(result.err, -ESTALE); /* nobody knows the path any more */
}

/* --- attributes, fsync, copies --- */

static void test_the_others_are_repeated(void **state)
{
	struct sftp_attr attr = {
	    .flags = 15, .size = 3, .uid = 5, .gid = 6, .mode = 0755, .mtime = 77};
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct rfile *file = open_file("/f", RW);

	for (unsigned worked = 0; worked < 6; worked++) {
		struct result results[3] = {0};
		RIG_CALL(rfile_fsetstat(file, &attr, on_plain, &results[0]));
		RIG_CALL(rfile_fstat(file, on_attr, &results[1]));
		RIG_CALL(rfile_fsync(file, on_plain, &results[2]));
		rig_kill(last_channel(), worked);
		/* Halfway through its attributes it is not known again: done by hand as the caller
		 * can. */
		rfile_set_identity(file, &attr);
		remote->uid = 5, remote->gid = 6, remote->mode = S_IFREG | 0755;
		rig_channel(LANE_FILES);
		rig_settle();
		for (int i = 0; i < 3; i++) {
			assert_int_equal(results[i].done, 1);
			assert_int_equal(results[i].err, 0);
		}
		assert_int_equal(remote->mtime, 77);
		assert_int_equal(remote->len, 3);
	}
	rfile_put(file);
}

static void test_an_fsync_behind_writes_is_not_repeated(void **state)
{
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct rfile *file = open_file("/f", RW);

	for (unsigned worked = 0; worked < 4; worked++) {
		struct result results[2] = {0};
		remote->fsyncs = 0;
		RIG_CALL(rfile_write(file, 0, "xy", 2, RFILE_SMALL, on_plain, &results[0]));
		assert_true(rfile_fsync_behind(file, on_plain, &results[1]));
		rig_kill(last_channel(), worked);
		rig_channel(LANE_FILES);
		/* Not before the old connection's end is known, and the write on its way again. */
		assert_false(rfile_fsync_behind(file, on_plain, &results[1]));
		rig_settle();
		assert_int_equal(results[0].done, 1);
		assert_int_equal(results[0].err, 0);
		assert_int_equal(results[1].done, 1);
		assert_int_equal(results[1].err, -EAGAIN);
		assert_int_equal(remote->fsyncs, worked > 1);
	}
	rfile_put(file);
}

static bool other_path(void *arg, char *buf, size_t size)
{
	snprintf(buf, size, "/to");
	return true;
}

static void test_copies_are_repeated(void **state)
{
	const struct rfile_owner owner = {.path = other_path};
	uint8_t *data = pattern(MIB, 1);
	struct result opened = {0};

	fake_file_add(&rig.pool.instance, "/f", data, MIB);
	struct rfile *from = open_file("/f", SSH_FXF_READ);
	RIG_CALL(
	    rfile_open(&rig, "/to", SSH_FXF_WRITE | SSH_FXF_CREAT, 0644, &owner, on_open, &opened));
	settle(&opened);
	rig_channel(LANE_COPY);
	/* At first the handles are not open yet, later the copies are under way at once. */
	for (unsigned worked = 0; worked < 6; worked++) {
		struct result results[2] = {0};
		RIG_CALL(rfile_copy(from, 0, opened.file, 0, MIB, on_plain, &results[0]));
		RIG_CALL(rfile_copy(from, 5, opened.file, MIB, MIB, on_plain, &results[1]));
		rig_kill(last_channel(), worked);
		rig_turn();
		rig_channel(LANE_COPY);
		rig_settle();
		assert_int_equal(results[0].done, 1);
		assert_int_equal(results[0].err, MIB);
		assert_int_equal(results[1].done, 1);
		assert_int_equal(results[1].err, MIB - 5);
	}
	assert_memory_equal(rig.pool.instance.files[1].data, data, MIB);
	assert_memory_equal(rig.pool.instance.files[1].data + MIB, data + 5, MIB - 5);
	rfile_put(from);
	rfile_put(opened.file);
	free(data);
}

/* --- all at once --- */

#define SLOTS 64
#define SLOT 131072u

struct slot {
	struct result result;
	bool busy, reading;
	uint32_t len;
	uint64_t at;
	uint8_t got[SLOT];
};

static struct slot slots[SLOTS];
static uint8_t *model;
static unsigned finished;

static void slot_check(struct slot *slot)
{
	assert_int_equal(slot->result.done, 1);
	assert_int_equal(slot->result.err, 0);
	if (slot->reading) {
		assert_int_equal(slot->result.len, slot->len);
		assert_memory_equal(slot->got, model + slot->at, slot->len);
	}
	slot->busy = false;
	finished++;
}

/* Each slot works in a part of the file of its own, so that nothing overlaps. */
static void slot_start(struct rfile *file, struct slot *slot, unsigned i)
{
	uint32_t from = (uint32_t)rand() % SLOT;

	memset(&slot->result, 0, sizeof(slot->result));
	slot->busy = true;
	slot->reading = rand() & 1;
	slot->len = 1 + (uint32_t)rand() % (SLOT - from);
	slot->at = (uint64_t)i * SLOT + from;
	slot->result.data = slot->got;
	enum rfile_lane lane = rand() % 4 ? RFILE_BULK : RFILE_SMALL;
	if (slot->reading) {
		RIG_CALL(rfile_read(file, slot->at, slot->len, lane, on_read, &slot->result));
		return;
	}
	for (uint32_t j = 0; j < slot->len; j++)
		model[slot->at + j] = (uint8_t)rand();
	RIG_CALL(rfile_write(
	    file, slot->at, model + slot->at, slot->len, lane, on_plain, &slot->result));
}

static void kill_one(void)
{
	unsigned i = (unsigned)rand() % rig.pool.n_channels;
	struct pool_channel *channel = rig.pool.channels[i];

	if (!channel->sftp)
		return;
	enum lane lane = channel->lane;
	rig_kill(channel, (unsigned)rand() % 5);
	rig_turn();
	rig_channel(lane);
}

static void test_random_work_with_random_deaths(void **state)
{
	memset(slots, 0, sizeof(slots));
	finished = 0;
	srand(7);
	model = pattern((size_t)SLOTS * SLOT, 3);
	struct fake_file *remote =
	    fake_file_add(&rig.pool.instance, "/f", model, (size_t)SLOTS * SLOT);
	for (int i = 0; i < 3; i++)
		rig_channel(LANE_BULK);
	rig.pool.speed = 3;
	rig.pool.instance.max_data = 50001;
	struct rfile *file = open_file("/f", RW);
	for (unsigned step = 0; step < 6000; step++) {
		unsigned i = (unsigned)rand() % SLOTS;
		if (slots[i].busy && slots[i].result.done)
			slot_check(&slots[i]);
		if (!slots[i].busy)
			slot_start(file, &slots[i], i);
		if (step % 3 == 0)
			rig_turn();
		if (step % 150 == 149 && rig.pool.n_channels < RIG_CHANNELS - 4)
			kill_one();
	}
	rig_settle();
	for (unsigned i = 0; i < SLOTS; i++) {
		if (slots[i].busy)
			slot_check(&slots[i]);
	}
	assert_true(finished > 2000);
	assert_int_equal(remote->len, (size_t)SLOTS * SLOT);
	assert_memory_equal(remote->data, model, (size_t)SLOTS * SLOT);
	rfile_put(file);
	free(model);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_exclusive_create_is_done_once),
	    TEST(test_exclusive_create_leaves_older_files_alone),
	    TEST(test_exclusive_create_by_the_clock_there),
	    TEST(test_plain_open_is_repeated),
	    TEST(test_reading_goes_on_only_in_the_same_file),
	    TEST(test_unlinked_but_open),
	    TEST(test_writing_goes_on_only_in_the_same_file),
	    TEST(test_what_was_asked_for_is_no_other_file),
	    TEST(test_a_lost_write_may_be_done_later),
	    TEST(test_writes_are_told_to_the_owner),
	    TEST(test_a_version_told_too_early_is_no_trap),
	    TEST(test_stripes_help_out_until_the_primary_is_back),
	    TEST(test_a_flapping_link),
	    TEST(test_a_link_that_stays_away),
	    TEST(test_put_while_the_link_is_away),
	    TEST(test_the_others_are_repeated),
	    TEST(test_an_fsync_behind_writes_is_not_repeated),
	    TEST(test_copies_are_repeated),
	    TEST(test_random_work_with_random_deaths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

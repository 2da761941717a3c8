/* Appending writes: each once and in order, wherever the link is lost. */
#include "tests/unit/rfile_rig.h"

#define APPEND (SSH_FXF_WRITE | SSH_FXF_APPEND)

static struct pool_channel *last_channel(void)
{
	return rig.pool.channels[rig.pool.n_channels - 1];
}

#define APPENDS 12

static void append_with_loss(unsigned worked, enum rfile_lane lane, uint32_t len)
{
	uint8_t *data = pattern((size_t)APPENDS * len, worked);
	struct result results[APPENDS] = {0};
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "log:", 4);
	struct rfile *file = open_file("/f", APPEND);

	for (unsigned i = 0; i < APPENDS; i++)
		RIG_CALL(
		    rfile_write(file, 0, data + (size_t)i * len, len, lane, on_plain, &results[i]));
	if (lane == RFILE_BULK)
		for (unsigned i = 0; i < worked; i++)
			rig_turn();
	for (unsigned i = 0; i < rig.pool.n_channels; i++) {
		if (rig.pool.channels[i]->sftp)
			rig_kill(rig.pool.channels[i], lane == RFILE_BULK ? worked % 3 : worked);
	}
	rig_turn();
	rig_channel(LANE_FILES);
	rig_channel(LANE_BULK);
	rig_settle();
	for (unsigned i = 0; i < APPENDS; i++) {
		assert_int_equal(results[i].done, 1);
		assert_int_equal(results[i].err, 0);
	}
	assert_int_equal(remote->len, 4 + (size_t)APPENDS * len);
	assert_memory_equal(remote->data + 4, data, (size_t)APPENDS * len);
	rfile_put(file);
	rig_settle();
	fake_file_unlink(remote);
	free(data);
}

static void test_append_is_done_once_and_in_order(void **state)
{
	/* One FSTAT goes in front of the writes. */
	for (unsigned worked = 1; worked <= APPENDS + 1; worked++)
		append_with_loss(worked, RFILE_SMALL, 1000 + worked);
}

static void test_append_stream_moves_to_the_bulk_lane(void **state)
{
	rig.pool.speed = 2;
	for (unsigned turns = 1; turns <= 13; turns++)
		append_with_loss(turns, RFILE_BULK, 200000);
	unsigned bulk = 0;
	for (unsigned i = 0; i < rig.pool.n_channels; i++) {
		if (rig.pool.channels[i]->lane == LANE_BULK)
			bulk += rig.pool.channels[i]->server.writes;
		else
			assert_true(rig.pool.channels[i]->most <= 512 * 1024);
	}
	assert_true(bulk > APPENDS);
}

static void test_append_beside_another_writer(void **state)
{
	struct result results[2] = {0};
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "log:", 4);
	struct rfile *file = open_file("/f", APPEND);

	RIG_CALL(rfile_write(file, 0, "abc", 3, RFILE_SMALL, on_plain, &results[0]));
	rig_turn();
	rig_settle();
	RIG_CALL(rfile_write(file, 0, "def", 3, RFILE_SMALL, on_plain, &results[1]));
	rig_kill(last_channel(), 1);
	uint8_t *grown = realloc(remote->data, 100);
	assert_non_null(grown);
	memset(grown + remote->len, 'x', 100 - remote->len);
	remote->data = grown;
	remote->len = 100;
	rig_channel(LANE_FILES);
	rig_settle();
	assert_int_equal(results[0].err, 0);
	assert_int_equal(results[1].done, 1);
	assert_int_equal(results[1].err, -EIO);
	assert_int_equal(write_file(file, 0, "ghi", 3, RFILE_SMALL), 0);
	assert_memory_equal(remote->data + 100, "ghi", 3);
	rfile_put(file);
}

/* The server died in the middle of a write(2). */
static void test_append_goes_on_where_a_part_arrived(void **state)
{
	struct result results[2] = {0};
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "log:", 4);
	struct rfile *file = open_file("/f", APPEND);

	RIG_CALL(rfile_write(file, 0, "abcdef", 6, RFILE_SMALL, on_plain, &results[0]));
	RIG_CALL(rfile_write(file, 0, "ghi", 3, RFILE_SMALL, on_plain, &results[1]));
	fake_server_work(&last_channel()->server, 1, true);
	rig_kill(last_channel(), 1);
	remote->len -= 4; /* "ab" stays */
	rig_channel(LANE_FILES);
	rig_settle();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(results[i].done, 1);
		assert_int_equal(results[i].err, 0);
	}
	assert_int_equal(remote->len, 13);
	assert_memory_equal(remote->data, "log:abcdefghi", 13);
	rfile_put(file);
}

/* Others appended while ours were acknowledged: the size is asked again, so that a loss later is
 * judged rightly. */
static void test_append_after_others_did(void **state)
{
	struct result result = {0};
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "log:", 4);
	struct rfile *file = open_file("/f", APPEND), *other = open_file("/f", APPEND);

	assert_int_equal(write_file(file, 0, "abc", 3, RFILE_SMALL), 0);
	assert_int_equal(write_file(other, 0, "XYZ", 3, RFILE_SMALL), 0);
	RIG_CALL(rfile_write(file, 0, "def", 3, RFILE_SMALL, on_plain, &result));
	fake_server_work(&last_channel()->server, 1, true); /* the FSTAT */
	rig_kill(last_channel(), 0);
	rig_channel(LANE_FILES);
	settle(&result);
	assert_int_equal(result.err, 0);
	assert_int_equal(remote->len, 13);
	assert_memory_equal(remote->data, "log:abcXYZdef", 13);
	rfile_put(file);
	rfile_put(other);
}

/* What is asked for right behind an append sees it, while its answer is still to come. */
static void test_next_follows_appends(void **state)
{
	struct result appended = {0}, seen = {0};

	fake_file_add(&rig.pool.instance, "/f", "log:", 4);
	struct rfile *file = open_file("/f", APPEND);

	assert_true(rfile_follows_appends(file));
	RIG_CALL(rfile_write(file, 0, "abc", 3, RFILE_SMALL, on_plain, &appended));
	assert_true(rfile_follows_appends(file));
	RIG_CALL(rfile_fstat(file, on_attr, &seen));
	settle(&seen);
	assert_int_equal(appended.done, 1);
	assert_int_equal(seen.attr.size, 7);
	/* Not behind what has to be sent again. */
	RIG_CALL(rfile_write(file, 0, "def", 3, RFILE_SMALL, on_plain, &appended));
	rig_kill(last_channel(), 0);
	assert_false(rfile_follows_appends(file));
	rig_channel(LANE_FILES);
	rig_settle();
	assert_true(rfile_follows_appends(file));
	rfile_put(file);
}

/* --- those that are given again --- */

#define LASTING 3

static const char *const texts[LASTING] = {"abc", "defg", "hi"};

static void give(struct rfile *file, const char *text, bool again, struct result *result)
{
	uint32_t len = (uint32_t)strlen(text);
	uint8_t *to;
	struct packet *data = rfile_data_new(len, &to);

	assert_non_null(data);
	memcpy(to, text, len);
	*result = (struct result){0};
	RIG_CALL(rfile_append_lasting(file, data, len, RFILE_SMALL, again, on_plain, result));
}

/* The link is lost when the server has done `worked` requests, the first of them an FSTAT, for
 * longer than the timeout. */
static struct rfile *give_and_lose(unsigned worked, struct result *results)
{
	struct rfile *file = open_file("/f", APPEND);

	rig.pool.timeout_ms = 10;
	for (unsigned i = 0; i < LASTING; i++)
		give(file, texts[i], false, &results[i]);
	rig_kill(last_channel(), worked);
	for (unsigned i = 0; i < LASTING; i++) {
		while (!results[i].done)
			rig_turn();
		assert_int_equal(results[i].err, -ETIMEDOUT);
	}
	rig.pool.timeout_ms = 60000;
	rig_channel(LANE_FILES);
	return file;
}

/* The first some of them at once, the others when nothing moves any more. */
static void give_again(struct fake_file *remote, unsigned worked, bool part, unsigned some)
{
	struct result results[LASTING], next;
	struct rfile *file = give_and_lose(worked, results);
	uint64_t end;

	if (part && remote->len > 4)
		remote->len--;
	for (unsigned i = 0; i < LASTING; i++) {
		give(file, texts[i], true, &results[i]);
		if (i + 1 == some)
			rig_settle();
	}
	give(file, "new", false, &next);
	settle(&next);
	assert_int_equal(next.err, 0);
	for (unsigned i = 0; i < LASTING; i++) {
		assert_int_equal(results[i].done, 1);
		assert_int_equal(results[i].err, 0);
	}
	assert_int_equal(remote->len, 16);
	assert_memory_equal(remote->data, "log:abcdefghinew", 16);
	assert_true(rfile_append_end(file, &end));
	assert_int_equal(end, 16);
	rfile_put(file);
	rig_settle();
	remote->len = 4;
}

static void test_append_given_again(void **state)
{
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "log:", 4);

	for (unsigned worked = 0; worked <= LASTING + 1; worked++)
		for (unsigned some = 1; some <= LASTING; some++) {
			give_again(remote, worked, false, some);
			give_again(remote, worked, true, some);
		}
}

/* The link is lost once more after so many turns of giving again. */
static void lose_twice(struct fake_file *remote, unsigned worked, bool part, unsigned turns)
{
	struct result results[LASTING];
	struct rfile *file = give_and_lose(worked, results);

	if (part && remote->len > 4)
		remote->len--;
	rig.pool.timeout_ms = 10;
	for (unsigned i = 0; i < LASTING; i++)
		give(file, texts[i], true, &results[i]);
	rig.pool.speed = 1;
	while (turns--)
		rig_turn();
	rig_kill(last_channel(), 0);
	rig.pool.speed = 1000;
	for (unsigned i = 0; i < LASTING; i++)
		while (!results[i].done)
			rig_turn();
	rig.pool.timeout_ms = 60000;
	rig_channel(LANE_FILES);
	for (unsigned i = 0; i < LASTING; i++)
		if (results[i].err)
			give(file, texts[i], true, &results[i]);
	rig_settle();
	for (unsigned i = 0; i < LASTING; i++)
		assert_int_equal(results[i].err, 0);
	assert_int_equal(remote->len, 13);
	assert_memory_equal(remote->data, "log:abcdefghi", 13);
	rfile_put(file);
	rig_settle();
	remote->len = 4;
}

static void test_append_lost_twice(void **state)
{
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "log:", 4);

	for (unsigned turns = 0; turns < 8; turns++) {
		lose_twice(remote, 2, false, turns);
		lose_twice(remote, 2, true, turns);
		lose_twice(remote, 3, true, turns);
	}
}

static void test_append_given_again_beside_another_writer(void **state)
{
	struct result results[LASTING];
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "log:", 4);
	struct rfile *file = give_and_lose(2, results), *other = open_file("/f", APPEND);

	assert_int_equal(write_file(other, 0, "somebody else's", 15, RFILE_SMALL), 0);
	for (unsigned i = 0; i < LASTING; i++)
		give(file, texts[i], true, &results[i]);
	rig_settle();
	for (unsigned i = 0; i < LASTING; i++)
		assert_int_equal(results[i].err, -EIO);
	give(file, "new", false, &results[0]);
	settle(&results[0]);
	assert_int_equal(results[0].err, 0);
	assert_memory_equal(remote->data, "log:abcsomebody else'snew", remote->len);
	rfile_put(file);
	rfile_put(other);
}

/* They are not: the next one is none of them. */
static void test_append_lost_and_not_given_again(void **state)
{
	struct result results[LASTING], next;
	struct fake_file *remote = fake_file_add(&rig.pool.instance, "/f", "log:", 4);
	struct rfile *file = give_and_lose(2, results);

	give(file, "abc", false, &next);
	settle(&next);
	assert_int_equal(next.err, 0);
	assert_memory_equal(remote->data, "log:abcabc", remote->len);
	rfile_put(file);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_append_is_done_once_and_in_order),
	    TEST(test_append_stream_moves_to_the_bulk_lane),
	    TEST(test_append_beside_another_writer),
	    TEST(test_append_goes_on_where_a_part_arrived),
	    TEST(test_append_after_others_did),
	    TEST(test_next_follows_appends),
	    TEST(test_append_given_again),
	    TEST(test_append_lost_twice),
	    TEST(test_append_given_again_beside_another_writer),
	    TEST(test_append_lost_and_not_given_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

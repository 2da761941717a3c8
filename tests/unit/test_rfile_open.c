/* Opening files against an instance in memory. */
#include "tests/unit/rfile_rig.h"
#include <sys/stat.h>

#define RW (SSH_FXF_READ | SSH_FXF_WRITE)

static void test_open_is_one_round_trip(void **state)
{
	struct fake_server *server = &rig.pool.channels[0]->server;
	struct result result = {0};

	fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	RIG_CALL(rfile_open(&rig, "/f", SSH_FXF_READ, 0, &rig_owner, on_open, &result));
	assert_int_equal(fake_server_work(server, 10, true), 3);
	assert_int_equal(result.done, 1);
	assert_int_equal(result.err, 0);
	assert_int_equal(result.attr.size, 5);
	assert_true(rfile_readable(result.file));
	assert_false(rfile_writable(result.file));
	rfile_put(result.file);
}

static void test_open_asks_the_handle_when_the_path_is_no_help(void **state)
{
	struct result result = {0};
	struct fake_file *file = fake_file_add(&rig.pool.instance, "/f", "hello", 5);

	rig.pool.instance.no_lstat = true;
	RIG_CALL(rfile_open(&rig, "/f", SSH_FXF_READ, 0, &rig_owner, on_open, &result));
	settle(&result);
	assert_int_equal(result.attr.size, 5);
	rfile_put(result.file);

	/* Replaced by a symlink in between: the fake server's OPEN does not care. */
	memset(&result, 0, sizeof(result));
	rig.pool.instance.no_lstat = false;
	file->mode = S_IFLNK | 0777;
	RIG_CALL(rfile_open(&rig, "/f", SSH_FXF_READ, 0, &rig_owner, on_open, &result));
	assert_int_equal(fake_server_work(&rig.pool.channels[0]->server, 3, true), 3);
	file->mode = S_IFREG | 0600;
	settle(&result);
	assert_int_equal(result.err, 0);
	assert_int_equal(result.attr.mode, S_IFREG | 0600);
	rfile_put(result.file);
}

/* What the path shows before and behind the OPEN is not one version: the handle says which was
 * opened. A file that is emptied by its opening is one more round trip only when it is not empty.
 */
static void test_open_of_a_file_that_is_replaced(void **state)
{
	struct fake_server *server = &rig.pool.channels[0]->server;
	struct fake_file *old = fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	struct result result = {0};

	RIG_CALL(rfile_open(&rig, "/f", SSH_FXF_READ, 0, &rig_owner, on_open, &result));
	assert_int_equal(fake_server_work(server, 2, true), 2);
	old->path[0] = '\0';
	fake_file_add(&rig.pool.instance, "/f", "another", 7);
	settle(&result);
	assert_int_equal(result.attr.size, 5);
	rfile_put(result.file);

	memset(&result, 0, sizeof(result));
	RIG_CALL(rfile_open(&rig, "/f", RW | SSH_FXF_TRUNC, 0, &rig_owner, on_open, &result));
	assert_int_equal(fake_server_work(server, 10, true), 3); /* with the CLOSE */
	assert_int_equal(result.done, 1);
	assert_int_equal(result.attr.size, 0);
	rfile_put(result.file);
}

/* Opens it with `early` bytes; the answers to n requests come. What came with it, or NULL. */
static uint8_t *open_early(const char *path, uint32_t early, unsigned n, struct result *result)
{
	struct fake_server *server = &rig.pool.channels[0]->server;
	uint32_t len;

	memset(result, 0, sizeof(*result));
	RIG_CALL(rfile_open_to_read(&rig, path, early, &rig_owner, on_open, result));
	assert_int_equal(fake_server_work(server, 10, true), n);
	assert_int_equal(result->done, 1);
	assert_int_equal(result->err, 0);
	uint8_t *data = rfile_take_early(result->file, &len);
	if (data)
		assert_int_equal(len, early);
	return data;
}

static void test_small_file_comes_with_its_open(void **state)
{
	struct fake_server *server = &rig.pool.channels[0]->server;
	struct result first, second, none = {0}, third = {0};
	uint8_t *data;
	uint32_t len;

	rig.pool.instance.numbered = true;
	fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	fake_file_add(&rig.pool.instance, "/g", "world", 5);
	assert_null(open_early("/f", 5, 3, &first)); /* how it names them is not known yet */
	data = open_early("/g", 5, 4, &second);
	assert_memory_equal(data, "world", 5);
	free(data);
	rfile_put(first.file);
	assert_int_equal(fake_server_work(server, 10, true), 1);
	data = open_early("/f", 5, 4, &first); /* by the handle that was given back */
	assert_memory_equal(data, "hello", 5);
	free(data);
	assert_null(open_early("/f", 6, 4, &third)); /* it is shorter */
	rfile_put(third.file);

	/* An open that fails takes no handle: what was read behind it is of another file, or of
	 * none. */
	memset(&third, 0, sizeof(third));
	rfile_put(second.file);
	RIG_CALL(rfile_open_to_read(&rig, "/none", 5, &rig_owner, on_open, &none));
	RIG_CALL(rfile_open_to_read(&rig, "/g", 5, &rig_owner, on_open, &third));
	settle(&third);
	assert_int_equal(third.err, 0);
	assert_null(rfile_take_early(third.file, &len));
	settle(&none);
	assert_int_equal(none.err, -ENOENT);
	data = open_early("/g", 5, 4, &second);
	assert_memory_equal(data, "world", 5);
	free(data);
	rfile_put(first.file);
	rfile_put(second.file);
	rfile_put(third.file);
}

static int open_error(const char *path, uint32_t flags)
{
	struct result result = {0};

	RIG_CALL(rfile_open(&rig, path, flags, 0644, &rig_owner, on_open, &result));
	settle(&result);
	assert_null(result.file);
	return result.err;
}

static void test_open_errors(void **state)
{
	const uint32_t create = RW | SSH_FXF_CREAT | SSH_FXF_EXCL;

	assert_int_equal(open_error("/none", SSH_FXF_READ), -ENOENT);
	assert_int_equal(open_error("relative", SSH_FXF_READ), -EINVAL);
	fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	assert_int_equal(open_error("/f", create), -EEXIST);
	rig.pool.instance.open_fails = SSH_FX_PERMISSION_DENIED;
	assert_int_equal(open_error("/f", SSH_FXF_READ), -EACCES);
	rig.pool.instance.open_fails = SSH_FX_FAILURE;
	rig.pool.true_errno = -ENOSPC;
	assert_int_equal(open_error("/new", create), -ENOSPC);
	assert_int_equal(rig.pool.instance.opens, 0);
}

static void test_open_waits_for_a_lane_and_gives_up(void **state)
{
	struct result result = {0};

	fake_file_add(&rig.pool.instance, "/f", "hello", 5);
	rig_kill(rig.pool.channels[0], 0);
	RIG_CALL(rfile_open(&rig, "/f", SSH_FXF_READ, 0, &rig_owner, on_open, &result));
	rig_settle();
	assert_int_equal(result.done, 0);
	rig_channel(LANE_FILES);
	settle(&result);
	assert_int_equal(result.err, 0);
	rfile_put(result.file);

	memset(&result, 0, sizeof(result));
	rig.pool.timeout_ms = 20;
	rig_kill(rig.pool.channels[1], 0);
	RIG_CALL(rfile_open(&rig, "/f", SSH_FXF_READ, 0, &rig_owner, on_open, &result));
	while (!result.done)
		rig_turn();
	assert_int_equal(result.err, -ETIMEDOUT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_open_is_one_round_trip),
	    TEST(test_open_asks_the_handle_when_the_path_is_no_help),
	    TEST(test_open_of_a_file_that_is_replaced),
	    TEST(test_small_file_comes_with_its_open),
	    TEST(test_open_errors),
	    TEST(test_open_waits_for_a_lane_and_gives_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

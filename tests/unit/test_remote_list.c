/* Listings on a real sshd, also those that were expected. */
#include "tests/unit/remote_rig.h"
#include "transport/remote_internal.h"

static void test_list_many(void **unused)
{
	struct result r;
	char name[32];

	NEEDS_SSHD();
	mkdir(at("many"), 0755);
	for (int i = 0; i < 20000; i++) {
		int fd;

		snprintf(name, sizeof(name), "many/n%d", i);
		fd = open(at(name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		close(fd);
	}
	memset(&r, 0, sizeof(r));
	r.seen = calloc(20000, 1);
	remote_list(t.remote, at("many"), 1, &listing, &r);
	run_until(&r.done);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.entries, 20000);
	assert_int_equal(r.links, 1);
	for (int i = 0; i < 20000; i++)
		assert_int_equal(r.seen[i], 1);
	free(r.seen);
	mkdir(at("empty"), 0755);
	assert_int_equal(names_in(at("empty")), 0);
	/* All that went out behind the listings has been done. */
	WAIT(&r, remote_lstat(t.remote, t.dir, on_attr, &r));
	assert_true(no_handles());
}

/* Many at once, more than the server has handles for in turn, and none is left. */
static void test_list_at_once(void **unused)
{
	static struct result r[300];
	struct result last;

	NEEDS_SSHD();
	mkdir(at("d"), 0755);
	make("d/x", "");
	memset(r, 0, sizeof(r));
	for (int i = 0; i < 300; i++)
		remote_list(t.remote, at(i % 2 ? "d" : "no"), 1, &listing, &r[i]);
	for (int i = 0; i < 300; i++) {
		run_until(&r[i].done);
		if (i % 2) {
			assert_int_equal(r[i].err, 0);
			assert_int_equal(r[i].entries, 1);
		} else {
			assert_int_equal(r[i].err, -ENOENT);
		}
	}
	WAIT(&last, remote_lstat(t.remote, t.dir, on_attr, &last));
	assert_true(no_handles());
}

/* --- expected ones ----------------------------------------------------------------------- */

static int setup_expected(void **state)
{
	int err = setup_rich(state);

	if (!err && t.remote) {
		mkdir(at("d"), 0755);
		make("d/x", "");
	}
	return err;
}

/* Until the OPENDIR has been answered: a channel answers in turn. */
static void expect(const char *name)
{
	struct result r;

	remote_list_expect(t.remote, at(name), 1);
	WAIT(&r, remote_lstat(t.remote, at(name), on_attr, &r));
}

/* Another folder has the name by now, so that only the handle leads to the one that was opened. */
static void test_goes_on(void **unused)
{
	struct result r;

	NEEDS_SSHD();
	expect("d");
	assert_int_equal(rename(at("d"), at("elsewhere")), 0);
	assert_int_equal(mkdir(at("d"), 0755), 0);
	make("d/x", "");
	make("d/y", "");
	assert_int_equal(names_in(at("d")), 1);
	assert_int_equal(names_in(at("d")), 2);
	WAIT(&r, remote_lstat(t.remote, t.dir, on_attr, &r));
	assert_true(no_handles());
}

/* The same while the answer is still awaited. */
static void test_joins(void **unused)
{
	struct result r = {0};

	NEEDS_SSHD();
	remote_list_expect(t.remote, at("d"), 1);
	remote_list(t.remote, at("d"), 1, &listing, &r);
	run_until(&r.done);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.entries, 1);
	remote_list_expect(t.remote, at("no"), 1);
	WAIT(&r, remote_list(t.remote, at("no"), 1, &listing, &r));
	assert_int_equal(r.err, -ENOENT);
	WAIT(&r, remote_lstat(t.remote, t.dir, on_attr, &r));
	assert_true(no_handles());
}

static void test_nobody_comes(void **unused)
{
	uint64_t end;

	NEEDS_SSHD();
	make("file", "");
	expect("file");
	expect("no");
	expect("d");
	assert_int_equal(handles(t.sshd.pid), 1);
	for (end = now_ms() + 5000; handles(t.sshd.pid) && now_ms() < end;)
		uv_run(&t.loop, UV_RUN_NOWAIT);
	assert_int_equal(handles(t.sshd.pid), 0);
}

/* What was opened by the old name is not what the name means now. */
static void test_moved(void **unused)
{
	struct result r;

	NEEDS_SSHD();
	expect("d");
	WAIT(&r, remote_rename(t.remote, at("d"), at("e"), true, on_done, &r));
	assert_int_equal(r.err, 0);
	assert_int_equal(mkdir(at("d"), 0755), 0);
	assert_int_equal(names_in(at("d")), 0);
	expect("d");
	WAIT(&r, remote_rmdir(t.remote, at("d"), on_done, &r));
	assert_int_equal(r.err, 0);
	assert_int_equal(rename(at("e"), at("d")), 0);
	assert_int_equal(names_in(at("d")), 1);
}

/* Another look-up has been answered since, or is under way. */
static void test_looked_up_again(void **unused)
{
	struct result r;

	NEEDS_SSHD();
	expect("d");
	assert_int_equal(rename(at("d"), at("e")), 0);
	assert_int_equal(mkdir(at("d"), 0755), 0);
	WAIT(&r, remote_list(t.remote, at("d"), 2, &listing, &r));
	assert_int_equal(r.err, 0);
	assert_int_equal(r.entries, 0);
	expect("e");
	assert_int_equal(rename(at("e"), at("f")), 0);
	assert_int_equal(rename(at("d"), at("e")), 0);
	expect("e");
	assert_int_equal(names_in(at("e")), 0);
}

static void test_lost_between(void **unused)
{
	NEEDS_SSHD();
	expect("d");
	kill_sessions(t.sshd.pid, true);
	assert_int_equal(names_in(at("d")), 1);
}

/* Guesses that are always wrong get rare. */
static void test_wrong_guesses(void **unused)
{
	unsigned opened = 0;
	uint64_t end;

	NEEDS_SSHD();
	for (int i = 0; i < 32; i++) {
		expect("d");
		opened += handles(t.sshd.pid);
		remote_expect_nothing(t.remote);
		for (end = now_ms() + 5000; handles(t.sshd.pid) && now_ms() < end;)
			uv_run(&t.loop, UV_RUN_NOWAIT);
	}
	assert_in_range(opened, 9, 12);
}

#define EXPECTED(f) cmocka_unit_test_setup_teardown(f, setup_expected, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    RICH(test_list_many),
	    RICH(test_list_at_once),
	    EXPECTED(test_goes_on),
	    EXPECTED(test_joins),
	    EXPECTED(test_nobody_comes),
	    EXPECTED(test_moved),
	    EXPECTED(test_looked_up_again),
	    EXPECTED(test_lost_between),
	    EXPECTED(test_wrong_guesses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

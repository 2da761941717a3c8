/* The pool on sessions whose far end is the test (fake_session.h). */
#include "transport/pool.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/fake_session.h"
#include <cmocka.h>

static const char *const no_extensions[] = {NULL};

static struct {
	uv_loop_t loop;
	struct profile profile;
	struct ssh_target target;
	struct pool *pool;
	unsigned readies, downs, ups;
	struct ssh_error ready_error;
	bool free_on_ready;
} t;

static void on_ready(void *arg, const struct ssh_error *error)
{
	t.readies++;
	if (error)
		t.ready_error = *error;
	if (t.free_on_ready) {
		pool_free(t.pool);
		t.pool = NULL;
	}
}

static void on_link(void *arg, const struct ssh_error *error)
{
	if (error)
		t.downs++;
	else
		t.ups++;
}

static const struct pool_events events = {.ready = on_ready, .link = on_link};

static void setup_pool(unsigned connections)
{
	memset(&t, 0, sizeof(t));
	fake_init();
	uv_loop_init(&t.loop);
	t.profile.transport = TRANSPORT_LIBSSH2;
	t.profile.host = (char *)(uintptr_t) "gpu";
	t.profile.connections = connections;
	t.profile.timeout = 60;
	t.target.profile = &t.profile;
	fake.extensions = no_extensions;
	assert_int_equal(pool_new(&t.pool, &t.loop, &t.target, &events, NULL), 0);
}

static void teardown_pool(void)
{
	pool_free(t.pool);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&t.loop), 0);
	fake_fini();
}

/* Runs until the condition holds. */
#define UNTIL(condition)                                                                           \
	do {                                                                                       \
		uint64_t until_ = fake_now_ms() + 30000;                                           \
		while (!(condition)) {                                                             \
			fake_run(&t.loop);                                                         \
			assert_true(fake_now_ms() < until_);                                       \
			uv_sleep(1);                                                               \
		}                                                                                  \
	} while (0)

static unsigned live_channels(unsigned index)
{
	struct pool_figures_session figures;

	pool_figures(t.pool, index, &figures);
	return figures.channels;
}

static const char *state(unsigned index)
{
	struct pool_figures_session figures;

	pool_figures(t.pool, index, &figures);
	return figures.state;
}

static bool is_up(unsigned index)
{
	return !strcmp(state(index), "up");
}

/* --- dialling ----------------------------------------------------------------- */

static void test_others_after_first(void **unused)
{
	setup_pool(4);
	UNTIL(t.readies || fake.n_sessions > 1);
	assert_int_equal(t.readies, 1);
	assert_int_equal(t.ready_error.kind, SSH_OK);
	/* One of them at once, the rest one by one. */
	assert_int_equal(fake.n_sessions, 2);
	assert_true(pool_up(t.pool));
	UNTIL(is_up(1) && is_up(2) && is_up(3));
	assert_int_equal(fake.n_sessions, 4);
	for (unsigned i = 2; i < 4; i++)
		assert_true(fake.sessions[i]->dialled_ms - fake.sessions[i - 1]->dialled_ms >= 75);
	assert_int_equal(live_channels(0), 2);
	UNTIL(live_channels(1) == 1 && live_channels(3) == 1);
	assert_string_equal(pool_peer(t.pool), "SSH-2.0-OpenSSH_9.2");
	assert_int_equal(t.readies, 1);
	teardown_pool();
}

static int fail_kind;

static int fail_always(unsigned nth)
{
	return fail_kind;
}

static void test_fails_at_once(void **unused)
{
	static const int kinds[] = {SSH_UNRESOLVED, SSH_UNREACHABLE, SSH_REFUSED, SSH_NOT_SSH,
	    SSH_NO_ALGORITHM, SSH_HOST_KEY_UNKNOWN, SSH_HOST_KEY_CHANGED, SSH_NO_KEY,
	    SSH_KEY_UNUSABLE, SSH_DENIED};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		setup_pool(2);
		fail_kind = kinds[i];
		fake.dial = fail_always;
		UNTIL(t.readies);
		assert_int_equal(t.ready_error.kind, kinds[i]);
		assert_int_equal(fake.n_sessions, 1);
		assert_string_equal(state(0), "refused");
		teardown_pool();
	}
}

static void test_no_sftp(void **unused)
{
	setup_pool(2);
	fake.no_sftp = true;
	UNTIL(t.readies);
	assert_int_equal(t.ready_error.kind, SSH_NO_SFTP);
	assert_int_equal(fake.n_sessions, 1);
	teardown_pool();
}

/* Denied while starting, then its sshd restarts, then it lets us in. */
static int starting(unsigned nth)
{
	static const int kinds[] = {SSH_DENIED_TRANSIENT, SSH_REFUSED, SSH_OK};

	return kinds[nth < 2 ? nth : 2];
}

static void test_first_has_patience(void **unused)
{
	setup_pool(1);
	fake.dial = starting;
	UNTIL(t.readies);
	assert_int_equal(t.ready_error.kind, SSH_OK);
	assert_int_equal(fake.n_sessions, 3);
	assert_true(fake.sessions[1]->dialled_ms - fake.sessions[0]->dialled_ms >= 4900);
	teardown_pool();
}

static void test_free_from_ready(void **unused)
{
	setup_pool(1);
	t.free_on_ready = true;
	UNTIL(t.readies);
	assert_null(t.pool);
	teardown_pool();
}

/* --- losses --------------------------------------------------------------------- */

static void test_channel_dies(void **unused)
{
	struct pool_channel *channel;

	setup_pool(1);
	UNTIL(live_channels(0) == 2 && pool_up(t.pool) && t.readies);
	UNTIL(pool_channel(t.pool, LANE_FILES, false) != pool_channel(t.pool, LANE_NAMES, false));
	channel = pool_channel_get(pool_channel(t.pool, LANE_NAMES, false));
	assert_true(pool_channel_alive(channel));
	fake_lose_channel(fake.sessions[0]->channels[0]);
	assert_false(pool_channel_alive(channel));
	/* FILES stands in at once. */
	assert_non_null(pool_channel(t.pool, LANE_NAMES, false));
	assert_ptr_equal(
	    pool_channel(t.pool, LANE_FILES, false), pool_channel(t.pool, LANE_NAMES, false));
	pool_channel_put(channel);
	UNTIL(pool_channel(t.pool, LANE_FILES, false) != pool_channel(t.pool, LANE_NAMES, false));
	assert_int_equal(fake.n_sessions, 1);
	assert_int_equal(t.downs + t.ups, 0);
	teardown_pool();
}

static void test_session_lost_and_back(void **unused)
{
	struct pool_figures_session figures;

	setup_pool(1);
	UNTIL(t.readies && live_channels(0) == 2);
	fake_lose_session(fake.sessions[0]);
	assert_int_equal(t.downs, 1);
	assert_false(pool_up(t.pool));
	assert_null(pool_channel(t.pool, LANE_NAMES, false));
	assert_null(pool_channel(t.pool, LANE_BULK, true));
	UNTIL(t.ups);
	assert_true(pool_up(t.pool));
	assert_int_equal(t.readies, 1);
	pool_figures(t.pool, 0, &figures);
	assert_int_equal(figures.reconnects, 1);
	teardown_pool();
}

/* While the first is away the others serve, and nobody is told of a lost link. */
static void test_others_stand_in(void **unused)
{
	setup_pool(2);
	UNTIL(t.readies && is_up(1));
	UNTIL(live_channels(1) == 1);
	fake_run(&t.loop);
	fake_run(&t.loop);
	fake_lose_session(fake.sessions[0]);
	assert_non_null(pool_channel(t.pool, LANE_NAMES, false));
	assert_int_equal(t.downs, 0);
	UNTIL(is_up(0));
	teardown_pool();
}

static int ok_then_changed(unsigned nth)
{
	return nth ? SSH_HOST_KEY_CHANGED : SSH_OK;
}

static void test_changed_key_is_not_hammered(void **unused)
{
	uint64_t end;

	setup_pool(1);
	fake.dial = ok_then_changed;
	UNTIL(t.readies);
	fake_lose_session(fake.sessions[0]);
	UNTIL(!strcmp(state(0), "refused"));
	assert_int_equal(fake.n_sessions, 2);
	for (end = fake_now_ms() + 3000; fake_now_ms() < end; uv_sleep(10))
		fake_run(&t.loop);
	assert_int_equal(fake.n_sessions, 2);
	teardown_pool();
}

static int ok_then_refused(unsigned nth)
{
	return nth ? fail_kind : SSH_OK;
}

/* Runs the loop for that long. */
static void run_for(unsigned ms)
{
	uint64_t end = fake_now_ms() + ms;

	for (; fake_now_ms() < end; uv_sleep(5))
		fake_run(&t.loop);
}

static void on_wait_ignored(void *arg, int err)
{
}

/* Pauses grow while nobody needs the link, and are cut short for who does. */
static void test_waiting_hurries(void **unused)
{
	unsigned before;
	uint64_t start;

	setup_pool(1);
	fail_kind = SSH_REFUSED;
	fake.dial = ok_then_refused;
	UNTIL(t.readies);
	fake_lose_session(fake.sessions[0]);
	UNTIL(fake.n_sessions >= 5); /* about 0, 1, 3, 7 s: the next after 8 */
	before = fake.n_sessions;
	run_for(3200);
	assert_int_equal(fake.n_sessions, before);
	pool_wait(t.pool, LANE_NAMES, 25000, on_wait_ignored, NULL);
	start = fake_now_ms();
	UNTIL(fake.n_sessions > before);
	assert_true(fake_now_ms() - start < 1500);
	UNTIL(fake.n_sessions > before + 2);
	/* two pauses of 2 s, a quarter more or less */
	assert_in_range(fake_now_ms() - start, 3000, 9000);
	teardown_pool();
}

static int second_hangs(unsigned nth)
{
	return nth == 1 ? -1 : SSH_OK;
}

/* A dial into a link that was dead then must not keep anybody from the one that is back. */
static void test_hanging_dial(void **unused)
{
	uint64_t start;

	setup_pool(1);
	fake.dial = second_hangs;
	UNTIL(t.readies);
	fake_lose_session(fake.sessions[0]);
	UNTIL(fake.n_sessions == 2);
	start = fake_now_ms();
	pool_wait(t.pool, LANE_NAMES, 25000, on_wait_ignored, NULL);
	UNTIL(t.ups);
	assert_in_range(fake_now_ms() - start, 7000, 11000);
	teardown_pool();
}

/* --- lanes ------------------------------------------------------------------------ */

static void test_one_channel_only(void **unused)
{
	struct pool_channel *names;

	setup_pool(1);
	fake.max_channels = 1;
	UNTIL(t.readies);
	assert_int_equal(t.ready_error.kind, SSH_OK);
	UNTIL(live_channels(0) == 1);
	names = pool_channel(t.pool, LANE_NAMES, false);
	assert_non_null(names);
	assert_ptr_equal(pool_channel(t.pool, LANE_FILES, false), names);
	UNTIL(pool_channel(t.pool, LANE_BULK, true) == names && live_channels(0) == 1);
	/* COPY is asked for, refused, and then shares. */
	UNTIL(pool_channel(t.pool, LANE_COPY, false) == names);
	assert_true(pool_up(t.pool));
	assert_int_equal(t.downs, 0);
	teardown_pool();
}

static void ignore(void *arg, const struct sftp_reply *reply)
{
}

/* Bytes in flight on every bulk channel that pool_channel gives. */
static void load(unsigned times)
{
	static const struct sftp_handle handle = {.len = 1, .data = "h"};

	for (unsigned i = 0; i < times; i++) {
		struct pool_channel *channel = pool_channel(t.pool, LANE_BULK, true);

		sftp_send(pool_channel_sftp(channel), sftp_msg_read(&handle, 0, 32768), 2u << 20,
		    ignore, NULL);
		fake_run(&t.loop);
		fake_run(&t.loop);
	}
}

static unsigned late_ms;

/* Answers LSTAT after a while, so that the link looks far. */
static void answer_late(struct fake_channel *channel, struct fake_request *request)
{
	if (request->type == SSH_FXP_LSTAT) {
		uv_sleep(late_ms);
		fake_reply_status(&channel->stream, request->id, SSH_FX_NO_SUCH_FILE);
	}
	packet_free(request->packet);
}

static void test_bulk_grows_when_far(void **unused)
{
	unsigned total;

	setup_pool(3);
	fake.serve = answer_late;
	late_ms = 5;
	UNTIL(t.readies && is_up(1) && is_up(2));
	UNTIL(live_channels(1) == 1 && live_channels(2) == 1);
	sftp_send(pool_channel_sftp(pool_channel(t.pool, LANE_NAMES, false)),
	    sftp_msg_path(SSH_FXP_LSTAT, "/"), 0, ignore, NULL);
	UNTIL(pool_min_rtt_us(t.pool) > 2000);
	load(2);
	assert_int_equal(live_channels(1) + live_channels(2), 2);
	load(20);
	total = live_channels(1) + live_channels(2);
	assert_int_equal(total, 10);
	assert_int_equal(live_channels(1), 5);
	assert_int_equal(live_channels(0), 2);
	teardown_pool();
}

/* Each takes 2 MiB in a round trip. */
static void test_bulk_is_there_when_far(void **unused)
{
	setup_pool(2);
	fake.serve = answer_late;
	late_ms = 130;
	UNTIL(t.readies && is_up(1));
	sftp_send(pool_channel_sftp(pool_channel(t.pool, LANE_NAMES, false)),
	    sftp_msg_path(SSH_FXP_LSTAT, "/"), 0, ignore, NULL);
	UNTIL(pool_min_rtt_us(t.pool) > 120000);
	fake_lose_session(fake.sessions[1]);
	UNTIL(!is_up(1));
	UNTIL(live_channels(1) == 4);
	teardown_pool();
}

static void answer_now(struct fake_channel *channel, struct fake_request *request)
{
	if (request->type == SSH_FXP_LSTAT)
		fake_reply_status(&channel->stream, request->id, SSH_FX_NO_SUCH_FILE);
	packet_free(request->packet);
}

static void test_bulk_stays_small_when_near(void **unused)
{
	setup_pool(4);
	fake.serve = answer_now;
	UNTIL(t.readies && is_up(1) && is_up(2) && is_up(3));
	UNTIL(live_channels(1) == 1 && live_channels(2) == 1 && live_channels(3) == 1);
	while (!pool_min_rtt_us(t.pool) || pool_min_rtt_us(t.pool) > 1500) {
		sftp_send(pool_channel_sftp(pool_channel(t.pool, LANE_NAMES, false)),
		    sftp_msg_path(SSH_FXP_LSTAT, "/"), 0, ignore, NULL);
		fake_run(&t.loop);
	}
	load(12);
	assert_int_equal(live_channels(1) + live_channels(2) + live_channels(3), 3);
	for (unsigned i = 1; i < 4; i++) {
		struct pool_figures_session figures;

		pool_figures(t.pool, i, &figures);
		if (i == 3)
			assert_int_equal(figures.bytes_in_flight, 0);
		else
			assert_int_equal(figures.bytes_in_flight, 6 * (2u << 20));
	}
	teardown_pool();
}

static void test_copy_has_its_own(void **unused)
{
	setup_pool(2);
	UNTIL(t.readies && is_up(1));
	UNTIL(live_channels(1) == 1);
	assert_null(pool_channel(t.pool, LANE_COPY, false));
	UNTIL(pool_channel(t.pool, LANE_COPY, false));
	assert_ptr_not_equal(
	    pool_channel(t.pool, LANE_COPY, false), pool_channel(t.pool, LANE_BULK, false));
	assert_int_equal(live_channels(1), 2);
	teardown_pool();
}

/* --- waiting ------------------------------------------------------------------------- */

struct wait {
	unsigned calls;
	int err;
};

static void on_wait(void *arg, int err)
{
	struct wait *wait = arg;

	wait->calls++;
	wait->err = err;
}

static void test_waiting(void **unused)
{
	struct wait up = {0}, expired = {0}, now = {0}, closed = {0};

	setup_pool(1);
	pool_wait(t.pool, LANE_FILES, 10000, on_wait, &up);
	assert_int_equal(up.calls, 0);
	UNTIL(up.calls);
	assert_int_equal(up.err, 0);
	pool_wait(t.pool, LANE_NAMES, 10000, on_wait, &now);
	assert_int_equal(now.calls, 0);
	UNTIL(now.calls);
	fail_kind = -1;
	fake.dial = fail_always;
	fake_lose_session(fake.sessions[0]);
	pool_wait(t.pool, LANE_NAMES, 50, on_wait, &expired);
	pool_wait(t.pool, LANE_BULK, 60000, on_wait, &closed);
	UNTIL(expired.calls);
	assert_int_equal(expired.err, -ETIMEDOUT);
	assert_int_equal(closed.calls, 0);
	pool_free(t.pool);
	t.pool = NULL;
	assert_int_equal(closed.calls, 0);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	assert_int_equal(closed.calls, 1);
	assert_int_equal(closed.err, -ENOTCONN);
	assert_int_equal(up.calls + now.calls + expired.calls, 3);
	teardown_pool();
}

/* --- dead links ------------------------------------------------------------------------ */

static void keep_err(void *arg, const struct sftp_reply *reply)
{
	*(int *)arg = reply->err;
}

static void test_silence_is_noticed(void **unused)
{
	uint64_t start, took;

	setup_pool(1);
	UNTIL(t.readies && live_channels(0) == 2);
	fake.silent = true;
	sftp_send(pool_channel_sftp(pool_channel(t.pool, LANE_NAMES, false)),
	    sftp_msg_path(SSH_FXP_LSTAT, "/"), 0, ignore, NULL);
	start = fake_now_ms();
	UNTIL(t.downs);
	took = fake_now_ms() - start;
	assert_in_range(took, 12000, 17500);
	fake.silent = false;
	UNTIL(t.ups);
	teardown_pool();
}

/* A slow request on each channel is no dead link: the SSH layer answers. */
static void test_slow_is_not_dead(void **unused)
{
	uint64_t end;

	setup_pool(1);
	UNTIL(t.readies && live_channels(0) == 2 && fake.init_count == 2);
	fake_run(&t.loop);
	fake.slow = true;
	sftp_send(pool_channel_sftp(pool_channel(t.pool, LANE_NAMES, false)),
	    sftp_msg_path(SSH_FXP_LSTAT, "/"), 0, ignore, NULL);
	sftp_send(pool_channel_sftp(pool_channel(t.pool, LANE_FILES, false)),
	    sftp_msg_path(SSH_FXP_LSTAT, "/"), 0, ignore, NULL);
	for (end = fake_now_ms() + 18000; fake_now_ms() < end; uv_sleep(10))
		fake_run(&t.loop);
	assert_int_equal(t.downs, 0);
	assert_true(fake.sessions[0]->pings >= 2);
	teardown_pool();
}

/* After a stop of the process the link is asked at once, and a dead one is given up within seconds.
 */
static void test_stop_is_noticed(void **unused)
{
	uint64_t start;

	setup_pool(1);
	UNTIL(t.readies && live_channels(0) == 2);
	fake.silent = true;
	uv_sleep(11000);
	start = fake_now_ms();
	UNTIL(t.downs);
	assert_true(fake_now_ms() - start < 6000);
	fake.silent = false;
	UNTIL(t.ups);
	/* One that answers stays. */
	uv_sleep(11000);
	for (start = fake_now_ms(); fake_now_ms() < start + 5000; uv_sleep(10))
		fake_run(&t.loop);
	assert_int_equal(t.downs, 1);
	teardown_pool();
}

/* What a program sends meanwhile moves the channel, and proves nothing. */
static void send_more_after(struct pool_channel *channel, uint64_t ms)
{
	for (uint64_t end = fake_now_ms() + ms; fake_now_ms() < end; uv_sleep(10))
		fake_run(&t.loop);
	sftp_send(pool_channel_sftp(channel), sftp_msg_path(SSH_FXP_LSTAT, "/"), 0, ignore, NULL);
	stream_moves(&fake.sessions[0]->channels[0]->stream.stream);
}

/* An SFTP server that hangs behind a connection that answers is left, another one opened. What
 * waits goes there, not to one that had nothing to do and hangs too: that is found out early. */
static void test_hang(void **unused)
{
	struct pool_channel *channel, *idle;
	uint64_t start;
	int err = 0;

	setup_pool(1);
	t.profile.timeout = 20;
	UNTIL(t.readies && live_channels(0) == 2 && fake.init_count == 2);
	fake_run(&t.loop);
	channel = pool_channel_get(pool_channel(t.pool, LANE_NAMES, false));
	idle = pool_channel_get(pool_channel(t.pool, LANE_FILES, false));
	fake.slow = true;
	start = fake_now_ms();
	sftp_send(pool_channel_sftp(channel), sftp_msg_path(SSH_FXP_LSTAT, "/"), 0, keep_err, &err);
	send_more_after(channel, 12500);
	UNTIL(!pool_channel_alive(channel));
	assert_in_range(fake_now_ms() - start, 10000, 19000);
	assert_ptr_not_equal(pool_channel(t.pool, LANE_NAMES, false), idle);
	assert_ptr_not_equal(pool_channel(t.pool, LANE_BULK, false), idle);
	fake.slow = false;
	UNTIL(err);
	assert_int_equal(err, -ENOTCONN);
	UNTIL(!pool_channel_alive(idle));
	assert_true(fake_now_ms() - start < 22000);
	UNTIL(pool_channel(t.pool, LANE_FILES, false) != pool_channel(t.pool, LANE_NAMES, false));
	assert_int_equal(fake.n_sessions, 1);
	assert_int_equal(t.downs, t.ups); /* nothing else was there for a moment */
	pool_channel_put(channel);
	pool_channel_put(idle);
	teardown_pool();
}

/* --- groups -------------------------------------------------------------------------- */

static int fast(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_others_after_first),
	    cmocka_unit_test(test_fails_at_once),
	    cmocka_unit_test(test_no_sftp),
	    cmocka_unit_test(test_first_has_patience),
	    cmocka_unit_test(test_free_from_ready),
	    cmocka_unit_test(test_channel_dies),
	    cmocka_unit_test(test_session_lost_and_back),
	    cmocka_unit_test(test_others_stand_in),
	    cmocka_unit_test(test_changed_key_is_not_hammered),
	    cmocka_unit_test(test_one_channel_only),
	    cmocka_unit_test(test_bulk_grows_when_far),
	    cmocka_unit_test(test_bulk_is_there_when_far),
	    cmocka_unit_test(test_bulk_stays_small_when_near),
	    cmocka_unit_test(test_copy_has_its_own),
	    cmocka_unit_test(test_waiting),
	};

	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}

static int silence(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_silence_is_noticed)};

	return cmocka_run_group_tests_name("pool, silence", tests, NULL, NULL);
}

static int slow(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_slow_is_not_dead)};

	return cmocka_run_group_tests_name("pool, slow server", tests, NULL, NULL);
}

static int stop(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_stop_is_noticed)};

	return cmocka_run_group_tests_name("pool, stopped process", tests, NULL, NULL);
}

static int hang(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_hang)};

	return cmocka_run_group_tests_name("pool, server that hangs", tests, NULL, NULL);
}

static int hurry(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_waiting_hurries), cmocka_unit_test(test_hanging_dial)};

	return cmocka_run_group_tests_name("pool, someone waits", tests, NULL, NULL);
}

/* The groups mostly wait for seconds to pass: side by side, in processes of their own. */
int main(void)
{
	int (*const groups[])(void) = {fast, silence, slow, stop, hang, hurry};
	pid_t pids[6];
	int failed = 0, status;

	for (unsigned i = 0; i < 6; i++) {
		pids[i] = fork();
		if (!pids[i])
			return groups[i]();
		failed |= pids[i] < 0;
	}
	for (unsigned i = 0; i < 6; i++)
		if (pids[i] > 0 && (waitpid(pids[i], &status, 0) < 0 || status))
			failed = 1;
	return failed;
}

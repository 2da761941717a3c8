/* transport=auto: which sessions of a pool are libssh2's and which an ssh process'. */
#include "transport/pool.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "tests/unit/fake_session.h"
#include <cmocka.h>

static const char *const extensions[] = {"limits@openssh.com", "1", NULL};

static struct {
	uv_loop_t loop;
	struct profile profile;
	struct ssh_target target;
	struct pool *pool;
	unsigned readies;
	struct ssh_error ready_error;
} t;

static void on_ready(void *arg, const struct ssh_error *error)
{
	t.readies++;
	if (error)
		t.ready_error = *error;
}

static const struct pool_events events = {.ready = on_ready};

static void setup_pool(enum transport_kind transport, int (*dial)(unsigned nth))
{
	memset(&t, 0, sizeof(t));
	fake_init();
	uv_loop_init(&t.loop);
	t.profile.transport = transport;
	t.profile.host = (char *)(uintptr_t) "gpu";
	t.profile.connections = 3;
	t.profile.timeout = 60;
	t.target.profile = &t.profile;
	fake.extensions = extensions;
	fake.dial = dial;
	assert_int_equal(pool_new(&t.pool, &t.loop, &t.target, &events, NULL), 0);
}

static void teardown_pool(void)
{
	pool_free(t.pool);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&t.loop), 0);
	fake_fini();
}

#define UNTIL(condition)                                                                           \
	do {                                                                                       \
		uint64_t until_ = fake_now_ms() + 30000;                                           \
		while (!(condition)) {                                                             \
			fake_run(&t.loop);                                                         \
			assert_true(fake_now_ms() < until_);                                       \
			uv_sleep(1);                                                               \
		}                                                                                  \
	} while (0)

static bool is_up(unsigned index)
{
	struct pool_figures_session figures;

	pool_figures(t.pool, index, &figures);
	return !strcmp(figures.state, "up");
}

static bool by_process(unsigned nth)
{
	return fake.sessions[nth]->flags & SESSION_BY_PROCESS;
}

static void told_what_to_use(void **unused)
{
	setup_pool(TRANSPORT_LIBSSH2, NULL);
	UNTIL(is_up(0) && is_up(1) && is_up(2));
	assert_false(by_process(0) || by_process(1) || by_process(2));
	teardown_pool();
	setup_pool(TRANSPORT_SSH, NULL);
	UNTIL(is_up(0) && is_up(1) && is_up(2));
	assert_true(by_process(0) && by_process(1) && by_process(2));
	/* Only the first may ask: nobody sits there later. */
	assert_true(fake.sessions[0]->flags & SESSION_MAY_ASK);
	assert_false(fake.sessions[1]->flags & SESSION_MAY_ASK);
	teardown_pool();
}

static void near_bulk_goes_by_processes(void **unused)
{
	setup_pool(TRANSPORT_AUTO, NULL);
	UNTIL(t.readies);
	assert_true(pool_near(t.pool));
	/* The first of them at once, the second when a copy may well be done. */
	fake_run(&t.loop);
	fake_run(&t.loop);
	assert_int_equal(fake.n_sessions, 2);
	UNTIL(is_up(0) && is_up(1) && is_up(2));
	assert_true(fake.sessions[2]->dialled_ms - fake.sessions[1]->dialled_ms >= 1000);
	assert_false(by_process(0));
	assert_true(by_process(1) && by_process(2));
	/* And again, when it is lost. */
	fake_lose_session(fake.sessions[1]);
	assert_false(is_up(1));
	UNTIL(is_up(1));
	assert_true(by_process(3));
	teardown_pool();
}

static struct {
	struct fake_channel *channel;
	uint32_t id;
} held;

static void hold(struct fake_channel *channel, struct fake_request *request)
{
	if (request->type == SSH_FXP_READ) {
		held.channel = channel;
		held.id = request->id;
	} else {
		fake_reply_status(&channel->stream, request->id, SSH_FX_OP_UNSUPPORTED);
	}
	packet_free(request->packet);
}

static void ignore(void *arg, const struct sftp_reply *reply)
{
}

static void others_wait_for_a_transfer(void **unused)
{
	static const struct sftp_handle handle = {.len = 1, .data = "h"};

	setup_pool(TRANSPORT_AUTO, NULL);
	fake.serve = hold;
	UNTIL(t.readies && is_up(1) && pool_near(t.pool));
	sftp_send(pool_channel_sftp(pool_channel(t.pool, LANE_BULK, false)),
	    sftp_msg_read(&handle, 0, 32768), 1u << 20, ignore, NULL);
	UNTIL(held.channel && t.pool->sessions[2].put_off);
	assert_int_equal(fake.n_sessions, 2);
	fake_reply_status(&held.channel->stream, held.id, SSH_FX_EOF);
	UNTIL(is_up(2));
	teardown_pool();
}

static int processes_fail(unsigned nth)
{
	return by_process(nth) ? SSH_DENIED : SSH_OK;
}

static void falls_back_to_the_library(void **unused)
{
	setup_pool(TRANSPORT_AUTO, processes_fail);
	UNTIL(is_up(0) && is_up(1) && is_up(2));
	assert_int_equal(t.readies, 1);
	assert_int_equal(t.ready_error.kind, SSH_OK);
	for (unsigned i = 0, tries = 0; i < fake.n_sessions; i++) {
		tries += by_process(i);
		assert_true(tries <= 2);
	}
	teardown_pool();
}

static int kinds[2]; /* by the library, by a process */

static int each_its_own(unsigned nth)
{
	return kinds[by_process(nth)];
}

static void what_the_library_cannot_do(void **unused)
{
	static const int beyond[] = {SSH_NO_ALGORITHM, SSH_KEY_UNUSABLE, SSH_NO_KEY};

	for (size_t i = 0; i < sizeof(beyond) / sizeof(*beyond); i++) {
		kinds[0] = beyond[i];
		kinds[1] = SSH_OK;
		setup_pool(TRANSPORT_AUTO, each_its_own);
		UNTIL(is_up(0) && is_up(1) && is_up(2));
		assert_int_equal(t.ready_error.kind, SSH_OK);
		assert_int_equal(fake.n_sessions, 4);
		assert_true(by_process(1) && by_process(2) && by_process(3));
		teardown_pool();
	}
}

static void serve_late(struct fake_channel *channel, struct fake_request *request)
{
	uv_sleep(3);
	fake_reply_status(&channel->stream, request->id, SSH_FX_OP_UNSUPPORTED);
	packet_free(request->packet);
}

static void far_bulk_goes_by_the_library(void **unused)
{
	setup_pool(TRANSPORT_AUTO, NULL);
	fake.serve = serve_late;
	UNTIL(is_up(0) && is_up(1) && is_up(2));
	assert_false(pool_near(t.pool));
	assert_false(by_process(0) || by_process(1) || by_process(2));
	teardown_pool();
}

/* The words of the one that knows more. */
static void neither_way(void **unused)
{
	static const int expected[][3] = {
	    {SSH_KEY_UNUSABLE, SSH_DENIED, SSH_KEY_UNUSABLE},
	    {SSH_NO_KEY, SSH_NO_KEY, SSH_NO_KEY},
	    {SSH_NO_KEY, SSH_CONFIG, SSH_NO_KEY},
	    {SSH_NO_ALGORITHM, SSH_DENIED, SSH_DENIED},
	    {SSH_KEY_UNUSABLE, SSH_HOST_KEY_CHANGED, SSH_HOST_KEY_CHANGED},
	};

	for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
		kinds[0] = expected[i][0];
		kinds[1] = expected[i][1];
		setup_pool(TRANSPORT_AUTO, each_its_own);
		UNTIL(t.readies);
		assert_int_equal(t.ready_error.kind, expected[i][2]);
		assert_int_equal(fake.n_sessions, 2);
		teardown_pool();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(told_what_to_use),
	    cmocka_unit_test(near_bulk_goes_by_processes),
	    cmocka_unit_test(others_wait_for_a_transfer),
	    cmocka_unit_test(far_bulk_goes_by_the_library),
	    cmocka_unit_test(falls_back_to_the_library),
	    cmocka_unit_test(what_the_library_cannot_do),
	    cmocka_unit_test(neither_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

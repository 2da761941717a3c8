/* How sessions and channels end: a dead sftp-server, a dead sshd, a link that is reset or falls
 * silent. */
#include "conf/log.h"
#include "tests/fake/session_rig.h"
#include "tests/fake/sshd.h"
#include "tests/fake/tcp_proxy.h"
#include "transport/session_internal.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1024u * 1024)
#define CHUNK (255u * 1024)

static struct test_sshd server;
static struct profile profile;
static char path[4][160]; /* files in the server's folder */

/* With the usual server, or one of another mind. */
static void serve(const char *config)
{
	test_sshd_stop(&server);
	test_sshd_start(&server, config);
	profile = server.profile;
	for (int i = 0; i < 4; i++)
		snprintf(path[i], sizeof(path[i]), "%s/file%d", server.dir, i);
}

static int setup(void **state)
{
	unsetenv("SSH_AUTH_SOCK");
	return 0;
}

static int teardown(void **state)
{
	test_sshd_stop(&server);
	return 0;
}

#define NEED_SSHD()                                                                                \
	do {                                                                                       \
		if (!test_sshd_available())                                                        \
			skip();                                                                    \
	} while (0)

static char pids[64];

/* The process id that the n-th subsystem wrote down. */
static pid_t sftp_pid(unsigned n)
{
	FILE *in;
	int pid = 0;

	in = fopen(pids, "re");
	assert_non_null(in);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(fscanf(in, "%d", &pid), 1);
	fclose(in);
	return pid;
}

/* Subsystems that write their process ids down, in a file of this process. */
static const char *notes_pid(void)
{
	static char config[160];

	snprintf(pids, sizeof(pids), "/tmp/vastfs-pids-%d", (int)getpid());
	unlink(pids);
	snprintf(config, sizeof(config),
	    "Subsystem sftp echo $$ >> %s; exec /usr/lib/openssh/sftp-server", pids);
	return config;
}

static void dead_sftp_server(void **state)
{
	struct chan chan, other;
	struct rig rig;

	NEED_SSHD();
	serve(notes_pid());
	session_rig_start(&rig, &profile, 20);
	chan_open(&chan, &rig, 2 * MIB, true);
	chan_open(&other, &rig, 2 * MIB, true);
	kill(sftp_pid(1), SIGKILL);
	session_rig_until(&rig, &chan.closed);
	assert_int_equal(chan.error.kind, SSH_LOST);
	stream_send(chan.stream, sftp_msg_init()); /* dropped */
	chan_ask(&other);
	assert_false(rig.lost);
	chan_close(&chan);
	chan_close(&other);
	session_rig_stop(&rig);
	unlink(pids);
}

/* Waits until what waits to be sent is all gone, or is not. */
static void until_queued(struct rig *rig, bool queued)
{
	uint64_t deadline = ssh_now() + 30000;
	struct session_figures figures;

	do {
		usleep(1000);
		session_figures(rig->session, &figures);
	} while ((figures.queued > 0) != queued && ssh_now() < deadline);
	assert_int_equal(figures.queued > 0, queued);
}

static void unsent_packets_of_a_closed_stream_are_not_counted(void **state)
{
	struct chan stuck, other;
	struct rig rig;

	NEED_SSHD();
	serve(notes_pid());
	session_rig_start(&rig, &profile, 20);
	chan_open(&stuck, &rig, 2 * MIB, true);
	chan_open(&other, &rig, 2 * MIB, true);
	chan_transfer(&stuck, true, path[0], 16 * MIB, CHUNK, 1);
	session_rig_until(&rig, &stuck.handle_known);
	kill(sftp_pid(1), SIGSTOP);
	/* More than the server's window and the sockets take, and small ones behind it. */
	for (int i = 0; i < 64; i++) {
		struct packet *packet = packet_new(CHUNK);

		assert_non_null(packet);
		memset(packet->data, 0, CHUNK);
		packet->len = i < 60 ? CHUNK : 100;
		stream_send(stuck.stream, packet);
	}
	for (int i = 0; i < 20; i++)
		chan_ask(&other);
	until_queued(&rig, true);
	chan_close(&stuck);
	until_queued(&rig, false);
	chan_ask(&other);
	until_queued(&rig, false);
	kill(sftp_pid(1), SIGKILL);
	chan_close(&other);
	session_rig_stop(&rig);
	unlink(pids);
}

static void dead_sshd(void **state)
{
	struct chan chans[2], late;
	struct rig rig;

	NEED_SSHD();
	serve("");
	session_rig_start(&rig, &profile, 20);
	for (int i = 0; i < 2; i++)
		chan_open(&chans[i], &rig, 2 * MIB, true);
	test_sshd_kill(&server);
	session_rig_until(&rig, &rig.lost);
	assert_int_equal(rig.streams_closed, 2);
	assert_int_equal(rig.error.kind, SSH_LOST);
	assert_int_equal(chans[0].error.kind, SSH_LOST);
	/* The thread is gone: a late comer is told so. */
	chan_open(&late, &rig, 2 * MIB, false);
	assert_false(late.opened);
	session_rig_until(&rig, &late.opened);
	assert_int_equal(late.error.kind, SSH_LOST);
	for (int i = 0; i < 2; i++)
		chan_close(&chans[i]);
	chan_close(&late);
	session_rig_stop(&rig);
}

static void reset_link(void **state)
{
	struct tcp_proxy proxy = {.port = 0};
	struct chan chan;
	struct rig rig;

	NEED_SSHD();
	serve("");
	tcp_proxy_start(&proxy, server.port);
	profile.port = proxy.port;
	profile.host_key = HOST_KEY_ACCEPT_NEW;
	session_rig_start(&rig, &profile, 20);
	chan_open(&chan, &rig, 2 * MIB, true);
	chan_transfer(&chan, true, path[0], 64 * MIB, CHUNK, 8);
	session_rig_until(&rig, &chan.handle_known);
	atomic_store(&proxy.reset, true);
	tcp_proxy_wake(&proxy);
	session_rig_until(&rig, &rig.lost);
	assert_int_equal(rig.error.kind, SSH_LOST);
	assert_true(rig.error.err == ECONNRESET || rig.error.err == EPIPE);
	chan_close(&chan);
	session_rig_stop(&rig);
	tcp_proxy_stop(&proxy);
}

static void lost_without_a_channel(void **state)
{
	struct rig rig;

	NEED_SSHD();
	serve("");
	session_rig_start(&rig, &profile, 20);
	session_rig_until(&rig, &rig.connected);
	test_sshd_kill(&server);
	session_rig_until(&rig, &rig.lost);
	assert_int_equal(rig.error.kind, SSH_LOST);
	session_rig_stop(&rig);
}

/* The pool drops a session that does not answer, also one that has no channel just now. */
static void heard_without_a_channel(void **state)
{
	struct session_figures before, after;
	uint64_t deadline = ssh_now() + 30000;
	struct chan chan;
	struct rig rig;

	NEED_SSHD();
	serve("");
	session_rig_start(&rig, &profile, 20);
	session_rig_until(&rig, &rig.connected);
	for (int i = 0; i < 3; i++) {
		session_figures(rig.session, &before);
		do { /* libssh2 sends one every two seconds at most */
			session_ping(rig.session);
			usleep(1000);
			session_figures(rig.session, &after);
		} while (after.bytes_in == before.bytes_in && ssh_now() < deadline);
		assert_true(after.bytes_in > before.bytes_in);
		assert_true(after.heard_ms >= before.heard_ms);
		assert_int_equal(after.queued, 0);
		/* The answer that nobody took is in nobody's way. */
		chan_open(&chan, &rig, 2 * MIB, true);
		chan_ask(&chan);
		chan_close(&chan);
	}
	session_rig_stop(&rig);
}

static void silent_link(void **state)
{
	struct tcp_proxy proxy = {.port = 0};
	struct chan chan, late;
	struct rig rig;
	uint64_t before;

	NEED_SSHD();
	serve("");
	tcp_proxy_start(&proxy, server.port);
	profile.port = proxy.port;
	profile.host_key = HOST_KEY_ACCEPT_NEW;
	session_rig_start(&rig, &profile, 2);
	chan_open(&chan, &rig, 2 * MIB, true);
	chan_transfer(&chan, true, path[0], 64 * MIB, CHUNK, 64);
	session_rig_until(&rig, &chan.handle_known);
	atomic_store(&proxy.silent, true);
	tcp_proxy_wake(&proxy);
	/* An open has its deadline. */
	chan_open(&late, &rig, 2 * MIB, false);
	session_rig_until(&rig, &late.opened);
	assert_int_equal(late.error.kind, SSH_TIMEOUT);
	assert_false(rig.lost);
	/* And the end does not wait for the far side. */
	before = ssh_now();
	session_free(rig.session);
	rig.session = NULL;
	assert_true(ssh_now() - before < 100);
	assert_int_equal(session_join_all(5000), 0);
	assert_true(ssh_now() - before < 2000);
	chan_close(&chan);
	chan_close(&late);
	session_rig_stop(&rig);
	tcp_proxy_stop(&proxy);
}

static void freed_while_connecting(void **state)
{
	struct tcp_proxy proxy = {.silent = true};
	uint64_t before = ssh_now();
	struct chan chan;
	struct rig rig;

	NEED_SSHD();
	serve("");
	tcp_proxy_start(&proxy, server.port);
	profile.port = proxy.port;
	session_rig_start(&rig, &profile, 60);
	chan_open(&chan, &rig, 2 * MIB, false);
	session_rig_stop(&rig);
	assert_true(ssh_now() - before < 20000);
	assert_false(rig.connected || chan.opened);
	chan_close(&chan);
	tcp_proxy_stop(&proxy);
}

static void failed_connection_tells_its_streams(void **state)
{
	struct chan chan;
	struct rig rig;

	NEED_SSHD();
	serve("");
	profile.port = test_free_port();
	session_rig_start(&rig, &profile, 20);
	chan_open(&chan, &rig, 2 * MIB, false);
	session_rig_until(&rig, &rig.connected);
	assert_int_equal(rig.error.kind, SSH_REFUSED);
	assert_true(chan.opened);
	assert_int_equal(chan.error.kind, SSH_REFUSED);
	chan_close(&chan);
	session_rig_stop(&rig);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(dead_sftp_server),
	    TEST(unsent_packets_of_a_closed_stream_are_not_counted),
	    TEST(dead_sshd),
	    TEST(reset_link),
	    TEST(lost_without_a_channel),
	    TEST(heard_without_a_channel),
	    TEST(silent_link),
	    TEST(freed_while_connecting),
	    TEST(failed_connection_tells_its_streams),
	};

	signal(SIGPIPE, SIG_IGN);
	cmocka_set_test_filter(getenv("TEST"));
	if (getenv("VERBOSE"))
		log_set_level(LOG_LEVEL_VERBOSE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Sessions and their channels on a real sshd, and the traps of the transport: partial writes,
 * rekeying under load, a full window, a slow core, a silent link, a dead sftp-server, a dead sshd,
 * a noisy shell.
 */
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

/* --- the usual way ---------------------------------------------------------------------------- */

static void several_channels(void **state)
{
	struct session_figures figures;
	struct chan chans[4];
	struct rig rig;

	NEED_SSHD();
	serve("");
	session_rig_start(&rig, &profile, 20);
	/* Asked for before it is connected. */
	for (int i = 0; i < 4; i++)
		chan_open(&chans[i], &rig, 2 * MIB, false);
	for (int i = 0; i < 4; i++)
		session_rig_until(&rig, &chans[i].version);
	assert_true(rig.connected);
	assert_int_equal(rig.error.kind, SSH_OK);
	for (int i = 0; i < 4; i++) {
		session_rig_make_file(path[i], 3 * MIB + 1);
		chan_transfer(&chans[i], i & 1, path[i], 3 * MIB + 1, CHUNK, 4);
	}
	for (int i = 0; i < 4; i++) {
		session_rig_until(&rig, &chans[i].done);
		assert_false(chans[i].failed);
		session_rig_check_file(path[i], 3 * MIB + 1);
	}
	session_figures(rig.session, &figures);
	assert_true(figures.bytes_in > 6 * MIB && figures.bytes_out > 6 * MIB);
	assert_non_null(strstr(figures.peer, "OpenSSH"));
	assert_true(figures.cipher[0] != '\0');
	for (int i = 0; i < 4; i++)
		chan_close(&chans[i]);
	session_rig_stop(&rig);
}

static void channels_come_and_go(void **state)
{
	struct chan chan, other;
	struct rig rig;

	NEED_SSHD();
	serve("");
	session_rig_start(&rig, &profile, 20);
	chan_open(&other, &rig, 2 * MIB, true);
	/* More than MaxSessions in a row: each must really be given back. */
	for (int i = 0; i < 15; i++) {
		chan_open(&chan, &rig, 2 * MIB, true);
		chan_ask(&chan);
		chan_close(&chan);
		chan_ask(&other);
	}
	/* Closed while it is being opened. */
	for (int i = 0; i < 15; i++) {
		chan_open(&chan, &rig, 2 * MIB, false);
		chan_close(&chan);
	}
	chan_ask(&other);
	chan_close(&other);
	/* Without a channel for a while. */
	chan_open(&chan, &rig, 2 * MIB, true);
	chan_ask(&chan);
	session_rig_stop(&rig);
	chan_close(&chan); /* after session_free */
}

static void small_packets(void **state)
{
	struct chan chan;
	struct rig rig;
	bool all = false;

	NEED_SSHD();
	serve("");
	session_rig_start(&rig, &profile, 20);
	chan_open(&chan, &rig, 2 * MIB, true);
	for (uint32_t i = 0; i < 5000; i++) {
		struct packet *message = sftp_msg_path(SSH_FXP_REALPATH, ".");

		sftp_codec_set_id(message, i);
		stream_send(chan.stream, message);
	}
	while (!all) {
		chan.done = false;
		session_rig_until(&rig, &chan.done);
		all = chan.packets == 5001;
	}
	chan_close(&chan);
	session_rig_stop(&rig);
}

static void max_sessions(void **state)
{
	struct chan chans[3];
	struct rig rig;

	NEED_SSHD();
	serve("MaxSessions 2");
	session_rig_start(&rig, &profile, 20);
	chan_open(&chans[0], &rig, 2 * MIB, true);
	chan_open(&chans[1], &rig, 2 * MIB, true);
	chan_open(&chans[2], &rig, 2 * MIB, false);
	session_rig_until(&rig, &chans[2].opened);
	assert_int_equal(chans[2].error.kind, SSH_NO_SFTP);
	assert_non_null(strstr(chans[2].error.text, "MaxSessions"));
	chan_ask(&chans[0]);
	for (int i = 0; i < 3; i++)
		chan_close(&chans[i]);
	session_rig_stop(&rig);
}

static void ping_is_heard(void **state)
{
	struct session_figures before, after;
	uint64_t deadline = ssh_now() + 30000;
	struct chan chan;
	struct rig rig;

	NEED_SSHD();
	serve("");
	session_rig_start(&rig, &profile, 20);
	chan_open(&chan, &rig, 2 * MIB, true);
	session_figures(rig.session, &before);
	session_ping(rig.session);
	do {
		usleep(1000);
		session_figures(rig.session, &after);
	} while (after.bytes_in == before.bytes_in && ssh_now() < deadline);
	assert_true(after.bytes_in > before.bytes_in);
	assert_true(after.heard_ms >= before.heard_ms);
	chan_close(&chan);
	session_rig_stop(&rig);
}

/* --- no SFTP -----------------------------------------------------------------------------------
 */

/* The channel's failure on a server with this subsystem line. */
static struct ssh_error subsystem_failure(const char *config)
{
	struct chan chan;
	struct rig rig;

	serve(config);
	session_rig_start(&rig, &profile, 20);
	chan_open(&chan, &rig, 2 * MIB, false);
	session_rig_until(&rig, &chan.opened);
	if (chan.error.kind == SSH_OK)
		session_rig_until(&rig, &chan.closed);
	assert_false(rig.lost);
	chan_close(&chan);
	session_rig_stop(&rig);
	return chan.error;
}

static void subsystem_refused(void **state)
{
	NEED_SSHD();
	assert_int_equal(subsystem_failure("# no Subsystem").kind, SSH_NO_SFTP);
}

static void subsystem_missing(void **state)
{
	struct ssh_error error;

	NEED_SSHD();
	error = subsystem_failure("Subsystem sftp /bin/false");
	assert_int_equal(error.kind, SSH_NO_SFTP);
	assert_non_null(strstr(error.text, "Subsystem sftp internal-sftp"));
}

static void noisy_shell(void **state)
{
	struct ssh_error error;

	NEED_SSHD();
	error = subsystem_failure(
	    "Subsystem sftp echo; echo Welcome to the box; exec /usr/lib/openssh/sftp-server");
	assert_int_equal(error.kind, SSH_NOISY_SHELL);
	assert_non_null(strstr(error.text, "\"Welcome to the box\""));
	assert_non_null(strstr(error.text, ".bashrc"));
}

static void short_noise(void **state)
{
	NEED_SSHD();
	/* Fewer bytes than a length field, and then the end: no SFTP there either way. */
	assert_int_equal(subsystem_failure("Subsystem sftp echo x").kind, SSH_NO_SFTP);
}

static void noise_that_looks_like_a_length(void **state)
{
	NEED_SSHD();
	assert_int_equal(
	    subsystem_failure("Subsystem sftp printf '\\\\000\\\\000\\\\000\\\\006Hello world'")
		.kind,
	    SSH_NOISY_SHELL);
}

/* --- the traps -----------------------------------------------------------------------------------
 */

/* Both directions at once on channels of one session. */
static void load(struct rig *rig, uint64_t total, unsigned in_flight)
{
	struct chan chans[4];

	for (int i = 0; i < 4; i++) {
		chan_open(&chans[i], rig, 2 * MIB, true);
		if (!(i & 1))
			session_rig_make_file(path[i], total);
	}
	for (int i = 0; i < 4; i++)
		chan_transfer(&chans[i], i & 1, path[i], total, CHUNK, in_flight);
	for (int i = 0; i < 4; i++) {
		session_rig_until(rig, &chans[i].done);
		assert_false(chans[i].failed);
		session_rig_check_file(path[i], total);
		chan_close(&chans[i]);
	}
	assert_false(rig->lost);
}

static void rekeying_under_load(void **state)
{
	struct rig rig;

	NEED_SSHD();
	serve("RekeyLimit 1M");
	session_rig_start(&rig, &profile, 20);
	load(&rig, 12 * MIB, 8);
	session_rig_stop(&rig);
}

static void noise_on_stderr_while_rekeying(void **state)
{
	struct rig rig;

	NEED_SSHD();
	serve("RekeyLimit 1M\n"
	      "Subsystem sftp yes noise | head -c 12000000 >&2 & exec "
	      "/usr/lib/openssh/sftp-server");
	session_rig_start(&rig, &profile, 20);
	load(&rig, 12 * MIB, 8);
	session_rig_stop(&rig);
}

/* Many key exchanges on one channel pair: no byte of the windows may get lost over them. */
static void windows_last_through_rekeying(void **state)
{
	struct chan chans[2];
	struct rig rig;

	NEED_SSHD();
	serve("RekeyLimit 256K");
	session_rig_start(&rig, &profile, 20);
	session_rig_make_file(path[0], 48 * MIB);
	for (int i = 0; i < 2; i++)
		chan_open(&chans[i], &rig, 2 * MIB, true);
	for (int i = 0; i < 2; i++)
		chan_transfer(&chans[i], false, path[0], 48 * MIB, CHUNK, 8);
	for (int i = 0; i < 2; i++) {
		session_rig_until(&rig, &chans[i].done);
		assert_false(chans[i].failed);
		chan_close(&chans[i]);
	}
	session_rig_stop(&rig);
}

static void partial_writes(void **state)
{
	struct tcp_proxy proxy = {.tiny = true};
	struct rig rig;

	NEED_SSHD();
	serve("RekeyLimit 1M\nLoginGraceTime 60");
	tcp_proxy_start(&proxy, server.port);
	profile.port = proxy.port;
	profile.host_key = HOST_KEY_ACCEPT_NEW;
	session_rig_start(&rig, &profile, 20);
	load(&rig, 3 * MIB, 8);
	session_rig_stop(&rig);
	tcp_proxy_stop(&proxy);
}

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

static void full_window_holds_up_nobody(void **state)
{
	struct session_figures figures;
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
	stuck.most_in_flight = 64;
	chan_transfer(&other, true, path[1], 4 * MIB, CHUNK, 8);
	/* The first answer after the stop lets it send all the rest. */
	session_rig_until(&rig, &other.done);
	for (int i = 0; i < 20; i++)
		chan_ask(&other);
	session_figures(rig.session, &figures);
	kill(sftp_pid(1), SIGCONT);
	session_rig_until(&rig, &stuck.done);
	session_rig_check_file(path[0], 16 * MIB);
	session_rig_check_file(path[1], 4 * MIB);
	chan_close(&stuck);
	chan_close(&other);
	session_rig_stop(&rig);
	unlink(pids);
}

#define N_SLOW 8

/* Over many channels: a server that is asked for all of it at once takes its time by the square. */
static void slow_core_bounds_what_is_read(void **state)
{
	const unsigned count = 50; /* 12.5 MiB */
	struct chan chans[N_SLOW];
	struct rig rig;
	unsigned i;

	NEED_SSHD();
	serve("");
	session_rig_make_file(path[0], (uint64_t)count * CHUNK);
	session_rig_start(&rig, &profile, 20);
	for (i = 0; i < N_SLOW; i++)
		chan_open(&chans[i], &rig, 32 * MIB, true);
	for (i = 0; i < N_SLOW; i++)
		chan_transfer(&chans[i], false, path[0], (uint64_t)count * CHUNK, CHUNK, count);
	for (i = 0; i < N_SLOW; i++)
		session_rig_until(&rig, &chans[i].handle_known);
	/* All requests are sent; now the core takes nothing until the thread has had enough. */
	while (!atomic_load(&rig.session->paused))
		usleep(1000);
	assert_true(atomic_load(&rig.session->posted) < SESSION_POSTED_MAX + 2 * MIB);
	for (i = 0; i < N_SLOW; i++) {
		session_rig_until(&rig, &chans[i].done);
		assert_false(chans[i].failed);
		assert_int_equal(chans[i].acknowledged, (uint64_t)count * CHUNK);
	}
	assert_int_equal(atomic_load(&rig.session->posted), 0);
	for (i = 0; i < N_SLOW; i++)
		chan_close(&chans[i]);
	session_rig_stop(&rig);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(several_channels),
	    TEST(channels_come_and_go),
	    TEST(small_packets),
	    TEST(ping_is_heard),
	    TEST(max_sessions),
	    TEST(subsystem_refused),
	    TEST(subsystem_missing),
	    TEST(noisy_shell),
	    TEST(short_noise),
	    TEST(noise_that_looks_like_a_length),
	    TEST(rekeying_under_load),
	    TEST(noise_on_stderr_while_rekeying),
	    TEST(windows_last_through_rekeying),
	    TEST(partial_writes),
	    TEST(full_window_holds_up_nobody),
	    TEST(slow_core_bounds_what_is_read),
	};

	signal(SIGPIPE, SIG_IGN);
	cmocka_set_test_filter(getenv("TEST"));
	if (getenv("VERBOSE"))
		log_set_level(LOG_LEVEL_VERBOSE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Sessions whose SSH is spoken by ssh(1), on a real sshd: channels over its pipes and its control
 * socket, the ways in which it fails, and what is left behind: no process, no descriptor, no file.
 */
#include "conf/log.h"
#include "tests/fake/session_rig.h"
#include "tests/fake/sshd.h"
#include "tests/fake/tcp_proxy.h"
#include "transport/sshproc.h"
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1024u * 1024)
#define CHUNK (255u * 1024)

static struct test_sshd server;
static struct profile profile;
static char path[4][160]; /* files in the server's folder */
static char run_dir[64];
static unsigned descriptors;

static unsigned count_entries(const char *folder)
{
	DIR *dir = opendir(folder);
	unsigned count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

static void serve(const char *config)
{
	test_sshd_stop(&server);
	test_sshd_start(&server, config);
	profile = server.profile;
	for (int i = 0; i < 4; i++)
		snprintf(path[i], sizeof(path[i]), "%s/file%d", server.dir, i);
	descriptors = count_entries("/proc/self/fd");
}

static int setup(void **state)
{
	unsetenv("SSH_AUTH_SOCK");
	strcpy(run_dir, "/tmp/vastfs-run.XXXXXX");
	assert_non_null(mkdtemp(run_dir));
	setenv("XDG_RUNTIME_DIR", run_dir, 1);
	session_rig_flags = SESSION_BY_PROCESS;
	return 0;
}

/* Nothing is left, however it ended. */
static int teardown(void **state)
{
	char folder[96];

	snprintf(folder, sizeof(folder), "%s/vastfs", run_dir);
	assert_true(count_entries(folder) <= 2); /* . and .. */
	rmdir(folder);
	assert_int_equal(rmdir(run_dir), 0);
	if (server.dir[0])
		assert_int_equal(count_entries("/proc/self/fd"), descriptors);
	test_sshd_stop(&server);
	assert_true(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	return 0;
}

#define NEED_SSH()                                                                                 \
	do {                                                                                       \
		if (!test_sshd_available() || access("/usr/bin/ssh", X_OK))                        \
			skip();                                                                    \
	} while (0)

static void several_channels(void **state)
{
	struct session_figures figures;
	struct chan chans[4];
	struct rig rig;

	NEED_SSH();
	serve("");
	session_rig_start(&rig, &profile, 20);
	/* Asked for before it is connected. */
	for (int i = 0; i < 4; i++)
		chan_open(&chans[i], &rig, 2 * MIB, false);
	for (int i = 0; i < 4; i++)
		session_rig_until(&rig, &chans[i].version);
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
	assert_int_equal(figures.queued, 0);
	assert_non_null(strstr(figures.peer, "SSH-2.0-OpenSSH"));
	assert_true(figures.cipher[0] != '\0');
	for (int i = 0; i < 4; i++)
		chan_close(&chans[i]);
	session_rig_stop(&rig);
}

static void channels_come_and_go(void **state)
{
	struct chan chan, other;
	struct rig rig;

	NEED_SSH();
	serve("");
	session_rig_start(&rig, &profile, 20);
	chan_open(&chan, &rig, 2 * MIB, true); /* ssh's own session */
	chan_open(&other, &rig, 2 * MIB, true);
	chan_close(&chan);
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
	assert_false(rig.lost);
	session_rig_stop(&rig);
	chan_close(&other); /* after session_free */
}

static void max_sessions(void **state)
{
	struct chan chans[3];
	struct rig rig;

	NEED_SSH();
	serve("MaxSessions 2");
	session_rig_start(&rig, &profile, 20);
	chan_open(&chans[0], &rig, 2 * MIB, true);
	chan_open(&chans[1], &rig, 2 * MIB, true);
	chan_open(&chans[2], &rig, 2 * MIB, false);
	session_rig_until(&rig, &chans[2].opened);
	assert_int_equal(chans[2].error.kind, SSH_NO_SFTP);
	chan_ask(&chans[0]);
	for (int i = 0; i < 3; i++)
		chan_close(&chans[i]);
	session_rig_stop(&rig);
}

/* With more asked for than the pipes and the server hold at once, both ways. */
static void deep_pipelines(void **state)
{
	struct chan chans[2];
	struct rig rig;

	NEED_SSH();
	serve("RekeyLimit 4M");
	session_rig_start(&rig, &profile, 20);
	session_rig_make_file(path[0], 40 * MIB + 7);
	for (int i = 0; i < 2; i++)
		chan_open(&chans[i], &rig, 2 * MIB, true);
	chan_transfer(&chans[0], false, path[0], 40 * MIB + 7, CHUNK, 32);
	chan_transfer(&chans[1], true, path[1], 40 * MIB + 7, CHUNK, 32);
	for (int i = 0; i < 2; i++) {
		session_rig_until(&rig, &chans[i].done);
		assert_false(chans[i].failed);
		chan_close(&chans[i]);
	}
	session_rig_check_file(path[1], 40 * MIB + 7);
	session_rig_stop(&rig);
}

/* The child of this process that is an ssh. */
static pid_t ssh_pid(void)
{
	char file[300], text[64];
	struct dirent *entry;
	DIR *proc = opendir("/proc");
	int found = 0;

	while (proc && !found && (entry = readdir(proc))) {
		int parent = 0, end = 0;
		FILE *in;

		snprintf(file, sizeof(file), "/proc/%s/stat", entry->d_name);
		in = fopen(file, "re");
		if (!in)
			continue;
		if (fgets(text, sizeof(text), in) &&
		    sscanf(text, "%*d (ssh%n) %*c %d", &end, &parent) == 1 && end &&
		    parent == getpid())
			found = atoi(entry->d_name);
		fclose(in);
	}
	if (proc)
		closedir(proc);
	return found;
}

static void dead_process(void **state)
{
	struct chan chans[2], late;
	struct rig rig;

	NEED_SSH();
	serve("");
	session_rig_start(&rig, &profile, 20);
	for (int i = 0; i < 2; i++)
		chan_open(&chans[i], &rig, 2 * MIB, true);
	assert_true(ssh_pid() > 0);
	kill(ssh_pid(), SIGKILL);
	session_rig_until(&rig, &rig.lost);
	assert_int_equal(rig.streams_closed, 2);
	assert_int_equal(rig.error.kind, SSH_LOST);
	chan_open(&late, &rig, 2 * MIB, false);
	session_rig_until(&rig, &late.opened);
	assert_int_equal(late.error.kind, SSH_LOST);
	for (int i = 0; i < 2; i++)
		chan_close(&chans[i]);
	chan_close(&late);
	session_rig_stop(&rig);
}

static void dead_sshd(void **state)
{
	struct chan chan;
	struct rig rig;

	NEED_SSH();
	serve("");
	session_rig_start(&rig, &profile, 20);
	chan_open(&chan, &rig, 2 * MIB, true);
	test_sshd_kill(&server);
	session_rig_until(&rig, &rig.lost);
	assert_int_equal(rig.streams_closed, 1);
	assert_int_equal(rig.error.kind, SSH_LOST);
	chan_close(&chan);
	session_rig_stop(&rig);
}

static void freed_while_connecting(void **state)
{
	struct tcp_proxy proxy = {.silent = true};
	uint64_t before = ssh_now();
	struct chan chan;
	struct rig rig;

	NEED_SSH();
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

/* Connects, which must fail; the kind is checked, and that the text has the words. */
static void fails(enum ssh_failure kind, const char *words)
{
	struct rig rig;

	session_rig_start(&rig, &profile, 10);
	session_rig_until(&rig, &rig.connected);
	assert_int_equal(rig.error.kind, kind);
	if (!strstr(rig.error.text, words))
		fail_msg("no \"%s\" in: %s", words, rig.error.text);
	session_rig_stop(&rig);
}

static void failures(void **state)
{
	char known[160];
	FILE *out;

	NEED_SSH();
	serve("Subsystem none /bin/true");
	fails(SSH_NO_SFTP, "Subsystem sftp");
	serve("Subsystem sftp /nowhere/sftp-server");
	fails(SSH_NO_SFTP, "ended at once");
	serve("Subsystem sftp echo Welcome, friend; exec /usr/lib/openssh/sftp-server");
	fails(SSH_NOISY_SHELL, "Welcome, friend");
	serve("AuthorizedKeysFile none\nBanner none");
	fails(SSH_DENIED, "Permission denied");
	serve("");
	profile.port = test_free_port();
	snprintf(known, sizeof(known), "%s/known", server.dir);
	profile.known_hosts = known;
	fails(SSH_REFUSED, "refused");
	profile.port = server.port;
	fails(SSH_HOST_KEY_UNKNOWN, "SHA256:");
	out = fopen(known, "we");
	fprintf(out,
	    "[127.0.0.1]:%u ssh-ed25519 "
	    "AAAAC3NzaC1lZDI1NTE5AAAAIGXWsdrKcE4mGzTnkMVOTwYlxEaz4wFSyfTZZPrfDMfD\n",
	    server.port);
	fclose(out);
	fails(SSH_HOST_KEY_CHANGED, "ssh-keygen -R");
	profile.host = (char *)"no-such-host.invalid";
	fails(SSH_UNRESOLVED, "no such host");
}

static void no_ssh(void **state)
{
	char *path_before = strdup(getenv("PATH"));

	NEED_SSH();
	serve("");
	/* It is found without PATH, as systemd mounts. */
	unsetenv("PATH");
	{
		struct chan chan;
		struct rig rig;

		session_rig_start(&rig, &profile, 20);
		chan_open(&chan, &rig, 2 * MIB, true);
		chan_close(&chan);
		session_rig_stop(&rig);
	}
	setenv("PATH", path_before, 1);
	free(path_before);
}

/* libuv keeps the descriptors of its signals once it has them. */
static int warm_up(void **state)
{
	uv_loop_t loop;

	return uv_loop_init(&loop) || uv_loop_close(&loop);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(several_channels),
	    TEST(channels_come_and_go),
	    TEST(max_sessions),
	    TEST(deep_pipelines),
	    TEST(dead_process),
	    TEST(dead_sshd),
	    TEST(freed_while_connecting),
	    TEST(failures),
	    TEST(no_ssh),
	};

	signal(SIGPIPE, SIG_IGN);
	if (getenv("VERBOSE"))
		log_set_level(LOG_LEVEL_VERBOSE);
	return cmocka_run_group_tests(tests, warm_up, NULL);
}

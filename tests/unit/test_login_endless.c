/* Logging in at servers that never come to an end (tests/fake/hostile_sshd.py): the time is
 * bounded, and so is the memory. test_dial_endless.c has what comes before. */
#include "conf/log.h"
#include "tests/fake/sshd.h"
#include "transport/ssh.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/bounded_dial.h"

#define PYTHON "/usr/bin/python3"

static char dir[] = "/tmp/vastfs-login.XXXXXX", key[64], known_hosts[64];

struct hostile {
	pid_t pid;
	int in; /* it ends with this */
	unsigned port;
};

static void hostile_start(struct hostile *hostile, const char *mode)
{
	int in[2], out[2];
	FILE *says;

	assert_int_equal(pipe(in) | pipe(out), 0);
	hostile->pid = fork();
	assert_true(hostile->pid >= 0);
	if (!hostile->pid) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		execl(PYTHON, PYTHON, "tests/fake/hostile_sshd.py", mode, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	hostile->in = in[1];
	says = fdopen(out[0], "r");
	assert_non_null(says);
	assert_int_equal(fscanf(says, "%u", &hostile->port), 1);
	fclose(says);
}

static void hostile_stop(struct hostile *hostile)
{
	close(hostile->in);
	waitpid(hostile->pid, NULL, 0);
}

/* With a second for each step. */
static void dial(const char *mode, struct ssh_error *error)
{
	struct hostile hostile;
	char *keys[] = {key};
	struct profile profile = {.id = (char *)(uintptr_t) "test",
	    .host = (char *)(uintptr_t) "127.0.0.1",
	    .user = (char *)(uintptr_t) "root",
	    .known_hosts = known_hosts,
	    .keys = keys,
	    .n_keys = 1,
	    .keys_given = true,
	    .host_key = HOST_KEY_ACCEPT_NEW};
	struct ssh_target target = {.profile = &profile, .connect_timeout = 1};
	struct ssh_cancel cancel;

	unlink(known_hosts);
	hostile_start(&hostile, mode);
	profile.port = hostile.port;
	assert_int_equal(ssh_cancel_init(&cancel), 0);
	bounded_dial(&target, &cancel, error);
	assert_true(error->text[0]);
	ssh_cancel_fini(&cancel);
	hostile_stop(&hostile);
}

static void floods_and_silences(void **state)
{
	static const char *const modes[] = {"silent", "ignore", "debug", "banner", "unasked",
	    "slow", "slow-kex", "lists", "kex-ignore"};
	struct ssh_error error;

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		dial(modes[i], &error);
		print_message("%s: %s\n", modes[i], error.text);
		assert_int_not_equal(error.kind, SSH_OK);
	}
}

static void keys_that_are_never_enough(void **state)
{
	struct ssh_error error;

	dial("partial", &error);
	print_message("partial: %s\n", error.text);
	assert_int_equal(error.kind, SSH_DENIED);
}

static int setup(void **state)
{
	assert_non_null(mkdtemp(dir));
	snprintf(key, sizeof(key), "%s/key", dir);
	snprintf(known_hosts, sizeof(known_hosts), "%s/known_hosts", dir);
	unsetenv("SSH_AUTH_SOCK");
	test_run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key, NULL);
	return 0;
}

static int teardown(void **state)
{
	test_run("rm", "-rf", dir, NULL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(floods_and_silences),
	    cmocka_unit_test(keys_that_are_never_enough),
	};

	signal(SIGPIPE, SIG_IGN);
	cmocka_set_test_filter(getenv("TEST"));
	if (getenv("VERBOSE"))
		log_set_level(LOG_LEVEL_VERBOSE);
	if (system(PYTHON " -c 'import paramiko' 2>/dev/null")) {
		print_message("1..0 # skipped: no python3-paramiko\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}

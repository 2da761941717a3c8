/* Making a connection, and each way in which a newcomer fails to, on a real sshd and on servers
 * that are none. */
#include "conf/log.h"
#include "tests/fake/sshd.h"
#include "transport/ssh.h"
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* libssh2 1.10 leaks a number for each ECDSA key that it reads; its callers show only in a full
 * stack. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "fast_unwind_on_malloc=0";
}

static struct test_sshd server;
static struct profile profile; /* a copy of the server's, for a test to bend */
static struct ssh_error error;

static int need_sshd(void **state)
{
	unsetenv("SSH_AUTH_SOCK");
	if (test_sshd_available() && !server.pid)
		test_sshd_start(&server, "MaxAuthTries 20");
	profile = server.profile;
	return 0;
}

static int stop_sshd(void **state)
{
	test_sshd_stop(&server);
	return 0;
}

#define NEED_SSHD()                                                                                \
	do {                                                                                       \
		if (!server.pid)                                                                   \
			skip();                                                                    \
	} while (0)

static enum ssh_failure dial(unsigned timeout)
{
	struct ssh_target target = {.profile = &profile, .connect_timeout = timeout};
	struct ssh_connection *connection = NULL;
	struct ssh_cancel cancel;
	char where[64];
	int err;

	assert_int_equal(ssh_cancel_init(&cancel), 0);
	err = ssh_connect(&target, &cancel, &connection, &error);
	assert_int_equal(err == 0, error.kind == SSH_OK);
	assert_int_equal(err == 0, connection != NULL);
	ssh_close(connection);
	ssh_cancel_fini(&cancel);
	if (err) {
		/* Each says where. */
		snprintf(where, sizeof(where), "%s", profile.host);
		assert_non_null(strstr(error.text, where));
	}
	return error.kind;
}

/* --- keys ---------------------------------------------------------------------------------------
 */

static void connects(void **state)
{
	NEED_SSHD();
	assert_int_equal(dial(20), SSH_OK);
}

static void resolves_a_name(void **state)
{
	NEED_SSHD();
	profile.host = (char *)(uintptr_t) "localhost";
	profile.host_key = HOST_KEY_ACCEPT_NEW;
	assert_int_equal(dial(20), SSH_OK);
}

static void unknown_host_key(void **state)
{
	NEED_SSHD();
	profile.known_hosts = (char *)(uintptr_t) "/nonexistent/known_hosts";
	assert_int_equal(dial(20), SSH_HOST_KEY_UNKNOWN);
}

static void changed_host_key(void **state)
{
	char path[160], command[512];

	NEED_SSHD();
	snprintf(path, sizeof(path), "%s/changed", server.dir);
	snprintf(command, sizeof(command), "echo \"[127.0.0.1]:%u $(cut -d' ' -f1-2 %s.pub)\" > %s",
	    server.port, server.key, path);
	test_run("sh", "-c", command, NULL);
	profile.known_hosts = path;
	assert_int_equal(dial(20), SSH_HOST_KEY_CHANGED);
	assert_non_null(strstr(error.text, "ssh-keygen -R"));
}

static char other_key[160];

/* Makes a key that the server does not know, with a passphrase if not "". */
static void make_other_key(const char *type, const char *passphrase)
{
	static char *keys[1] = {other_key};

	snprintf(other_key, sizeof(other_key), "%s/other-%s%s", server.dir, type,
	    *passphrase ? "-enc" : "");
	if (access(other_key, F_OK))
		test_run("ssh-keygen", "-q", "-t", type, "-N", passphrase, "-f", other_key, NULL);
	profile.keys = keys;
}

static void wrong_key(void **state)
{
	NEED_SSHD();
	make_other_key("ed25519", "");
	assert_int_equal(dial(20), SSH_DENIED);
	assert_non_null(strstr(error.text, other_key));
	assert_non_null(strstr(error.text, "ED25519 SHA256:"));
}

static void wrong_user(void **state)
{
	NEED_SSHD();
	profile.user = (char *)(uintptr_t) "nosuchuser";
	assert_int_equal(dial(20), SSH_DENIED);
}

static void encrypted_key(void **state)
{
	NEED_SSHD();
	make_other_key("ed25519", "secret");
	assert_int_equal(dial(20), SSH_KEY_UNUSABLE);
	assert_non_null(strstr(error.text, "ssh-add"));
}

static void key_readable_by_others(void **state)
{
	NEED_SSHD();
	make_other_key("ed25519", "");
	assert_int_equal(chmod(other_key, 0644), 0);
	assert_int_equal(dial(20), SSH_KEY_UNUSABLE);
	assert_non_null(strstr(error.text, "chmod 600"));
	assert_int_equal(chmod(other_key, 0600), 0);
}

static void public_key_named(void **state)
{
	NEED_SSHD();
	make_other_key("ed25519", "");
	strcat(other_key, ".pub");
	assert_int_equal(dial(20), SSH_KEY_UNUSABLE);
	assert_non_null(strstr(error.text, "without .pub"));
}

static void rubbish_for_a_key(void **state)
{
	NEED_SSHD();
	make_other_key("ed25519", "");
	snprintf(other_key, sizeof(other_key), "%s", server.known_hosts);
	assert_int_equal(chmod(other_key, 0600), 0);
	assert_int_equal(dial(20), SSH_KEY_UNUSABLE);
}

static void no_key_at_all(void **state)
{
	NEED_SSHD();
	profile.n_keys = 0;
	profile.keys_given = false;
	assert_int_equal(dial(20), SSH_NO_KEY);
}

static void missing_default_keys_are_passed_over(void **state)
{
	char *keys[2] = {(char *)(uintptr_t) "/nonexistent/id", server.key};

	NEED_SSHD();
	profile.keys = keys;
	profile.n_keys = 2;
	profile.keys_given = false;
	assert_int_equal(dial(20), SSH_OK);
}

static void second_key_fits(void **state)
{
	char *keys[2] = {other_key, server.key};

	NEED_SSHD();
	make_other_key("ecdsa", "");
	profile.keys = keys;
	profile.n_keys = 2;
	assert_int_equal(dial(20), SSH_OK);
}

static void rsa_key(void **state)
{
	NEED_SSHD();
	make_other_key("rsa", "");
	assert_int_equal(dial(20), SSH_DENIED);
	assert_non_null(strstr(error.text, "RSA"));
}

/* --- the agent
 * ------------------------------------------------------------------------------------ */

static void with_agent(void **state)
{
	char path[160], command[1024];

	NEED_SSHD();
	snprintf(path, sizeof(path), "%s/agent", server.dir);
	snprintf(command, sizeof(command),
	    "ssh-agent -a %s > %s.env && . %s.env > /dev/null && ssh-add -q %s", path, path, path,
	    server.key);
	test_run("sh", "-c", command, NULL);
	setenv("SSH_AUTH_SOCK", path, 1);
	profile.keys_given = false;
	profile.n_keys = 0;
	assert_int_equal(dial(20), SSH_OK);

	/* A key file that is encrypted does not matter when the agent has a key that fits. */
	make_other_key("ed25519", "secret");
	profile.keys_given = true;
	profile.n_keys = 1;
	assert_int_equal(dial(20), SSH_OK);

	test_run("sh", "-c", "ssh-add -q -D", NULL);
	profile.n_keys = 0;
	profile.keys_given = false;
	assert_int_equal(dial(20), SSH_NO_KEY);
	assert_non_null(strstr(error.text, "agent has no keys"));

	snprintf(command, sizeof(command), ". %s.env > /dev/null; kill $SSH_AGENT_PID", path);
	test_run("sh", "-c", command, NULL);
	assert_int_equal(dial(20), SSH_NO_KEY);
}

/* --- servers of another mind
 * ------------------------------------------------------------------------ */

static void with_server(const char *config, void (*test)(struct test_sshd *other))
{
	struct test_sshd other;
	char text[512];

	NEED_SSHD();
	snprintf(text, sizeof(text), config, server.dir);
	test_sshd_start(&other, text);
	profile = other.profile;
	test(&other);
	test_sshd_stop(&other);
}

static void check_transient(struct test_sshd *other)
{
	assert_int_equal(dial(20), SSH_OK);
	make_other_key("ed25519", "");
	assert_int_equal(dial(20), SSH_DENIED_TRANSIENT);
	assert_non_null(strstr(error.text, "try again after a few seconds"));
}

static void banner_says_try_again(void **state)
{
	char command[256];

	NEED_SSHD();
	snprintf(command, sizeof(command),
	    "printf 'Welcome to vast.ai. If authentication fails, try again after a few seconds, "
	    "and "
	    "double check your ssh key.\\nHave fun!\\n' > %s/banner",
	    server.dir);
	test_run("sh", "-c", command, NULL);
	with_server("Banner %s/banner", check_transient);
}

static void check_passwords_only(struct test_sshd *other)
{
	assert_int_equal(dial(20), SSH_DENIED);
	assert_non_null(strstr(error.text, "takes no keys"));
}

static void passwords_only(void **state)
{
	with_server(
	    "PubkeyAuthentication no\nPasswordAuthentication yes\n#%s", check_passwords_only);
}

static void check_no_algorithm(struct test_sshd *other)
{
	assert_int_equal(dial(20), SSH_NO_ALGORITHM);
}

static void no_common_algorithm(void **state)
{
	with_server("KexAlgorithms sntrup761x25519-sha512@openssh.com\n#%s", check_no_algorithm);
}

static void check_too_many(struct test_sshd *other)
{
	char *keys[5] = {other_key, other_key, other_key, other_key, other_key};

	make_other_key("ed25519", "");
	profile.keys = keys;
	profile.n_keys = 5;
	assert_int_equal(dial(20), SSH_DENIED);
	assert_non_null(strstr(error.text, "too many keys"));
}

static void too_many_keys(void **state)
{
	with_server("MaxAuthTries 4\n#%s", check_too_many);
}

#define TEST(name) cmocka_unit_test_setup(name, need_sshd)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(connects),
	    TEST(resolves_a_name),
	    TEST(unknown_host_key),
	    TEST(changed_host_key),
	    TEST(wrong_key),
	    TEST(wrong_user),
	    TEST(encrypted_key),
	    TEST(key_readable_by_others),
	    TEST(public_key_named),
	    TEST(rubbish_for_a_key),
	    TEST(no_key_at_all),
	    TEST(missing_default_keys_are_passed_over),
	    TEST(second_key_fits),
	    TEST(rsa_key),
	    TEST(with_agent),
	    TEST(banner_says_try_again),
	    TEST(passwords_only),
	    TEST(no_common_algorithm),
	    TEST(too_many_keys),
	};

	signal(SIGPIPE, SIG_IGN);
	cmocka_set_test_filter(getenv("TEST"));
	if (getenv("VERBOSE"))
		log_set_level(LOG_LEVEL_VERBOSE);
	return cmocka_run_group_tests(tests, NULL, stop_sshd);
}

/* What `ssh -G` answers, put into a profile. */
#include "conf/sshconfig.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "profile_fixture.h"

#define ANSWER                                                                                     \
	"user ubuntu\nhostname 10.1.2.3\nport 2200\nidentityfile ~/.ssh/id_rsa\n"                  \
	"identityfile ~/k1\nidentityfile ~/gone\nuserknownhostsfile /etc/known /etc/known2\n"      \
	"localforward 8080 [localhost]:80\nproxyjump a@b:22,c\nproxycommand none\n"                \
	"identityagent SSH_AUTH_SOCK\ncertificatefile none\n"

static void fills_what_was_not_said(void **state)
{
	struct profile *p;

	put_file("k1", key_plain, 0600);
	put_file(".ssh/id_ed25519", key_plain, 0600);
	p = good("[x]\nhost = box\n", "x", "");
	assert_int_equal(sshconfig_apply(p, ANSWER), 0);
	assert_string_equal(p->host, "10.1.2.3");
	assert_string_equal(p->ssh_name, "box");
	assert_string_equal(p->user, "ubuntu");
	assert_int_equal(p->port, 2200);
	assert_int_equal(p->n_keys, 2);
	assert_string_equal(p->keys[0], in_home("k1"));
	assert_string_equal(p->keys[1], in_home(".ssh/id_ed25519"));
	assert_false(p->keys_given || p->needs_ssh || p->ssh_ciphers);
	assert_string_equal(p->known_hosts, "/etc/known");
	assert_string_equal(p->proxy_jump, "a@b:22,c");
	assert_int_equal(p->n_forwards, 1);
	profile_free(p);
}

static void leaves_what_was_said(void **state)
{
	struct profile *p;

	put_file("k1", key_plain, 0600);
	put_file("k2", key_plain, 0600);
	p = good("[x]\nhost=box\nport=1\nuser=me\nkey=~/k2\nforward=9\nknown_hosts=/k\n", "x", "");
	assert_int_equal(sshconfig_apply(p, ANSWER), 0);
	assert_string_equal(p->user, "me");
	assert_int_equal(p->port, 1);
	assert_int_equal(p->n_keys, 1);
	assert_string_equal(p->keys[0], in_home("k2"));
	assert_string_equal(p->known_hosts, "/k");
	assert_int_equal(p->n_forwards, 1);
	profile_free(p);
}

static void what_only_ssh_can_do(void **state)
{
	static const char *const answers[] = {"proxycommand nc %h %p\n", "pkcs11provider /x.so\n",
	    "certificatefile ~/.ssh/c.pub\n", "identityagent /run/agent\n"};
	struct profile *p;

	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		p = good("", "u@box", "");
		assert_int_equal(sshconfig_apply(p, answers[i]), 0);
		assert_true(p->needs_ssh);
		profile_free(p);
	}
	p = good("", "u@box", "");
	assert_int_equal(sshconfig_apply(p, "ciphers aes256-ctr\nhostname box\n"), 0);
	assert_true(p->ssh_ciphers);
	assert_null(p->ssh_name);
	profile_free(p);
}

static void odd_answers(void **state)
{
	static const char *const answers[] = {"", "\n\n", "hostname", "port 99999999999\nport -1\n",
	    "localforward nonsense here too\n", "userknownhostsfile none\n", "proxyjump none\n"};

	log_set_level(LOG_LEVEL_ERROR);
	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		struct profile *p = good("", "u@box", "");

		assert_int_equal(sshconfig_apply(p, answers[i]), 0);
		assert_string_equal(p->host, "box");
		assert_int_equal(p->port, 22);
		assert_int_equal(p->n_forwards, 0);
		assert_null(p->proxy_jump);
		profile_free(p);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(fills_what_was_not_said),
	    TEST(leaves_what_was_said),
	    TEST(what_only_ssh_can_do),
	    TEST(odd_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The options of sshfs and ssh that people have in their fstab. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "profile_fixture.h"

/* A line of sshfs's own manual page and of many wikis. */
static void a_usual_line(void **state)
{
	char *options = NULL;
	struct profile *p;

	put_file("k1", key_plain, 0600);
	assert_true(asprintf(&options,
			"_netdev|user|noatime|reconnect|ServerAliveInterval=15|"
			"ServerAliveCountMax=3|identityfile=%s|allow_other|default_permissions|"
			"uid=1000|gid=1000|umask=022|idmap=user|port=2222|follow_symlinks|"
			"max_conns=64|dcache_timeout=20|StrictHostKeyChecking=no|"
			"UserKnownHostsFile=/tmp/known|x-systemd.automount|ro|noexec|cache=yes|"
			"kernel_cache|big_writes|workaround=rename",
			in_home("k1")) > 0);
	p = good("", "u@h:/data", options);
	assert_int_equal(p->n_keys, 1);
	assert_string_equal(p->keys[0], in_home("k1"));
	assert_true(p->keys_given && p->allow_other && p->default_permissions && p->read_only &&
		    p->noexec && p->noatime);
	assert_int_equal(p->port, 2222);
	assert_int_equal(p->connections, 16);
	assert_int_equal(p->attr_timeout, 20);
	assert_int_equal(p->host_key, HOST_KEY_ACCEPT_NEW);
	assert_string_equal(p->known_hosts, "/tmp/known");
	assert_int_equal(p->n_ssh_options, 0);
	profile_free(p);
	free(options);
}

static void host_keys(void **state)
{
	static const struct {
		const char *option;
		enum host_key_policy policy;
	} choices[] = {{"StrictHostKeyChecking=yes", HOST_KEY_STRICT},
	    {"stricthostkeychecking=ask", HOST_KEY_ASK},
	    {"StrictHostKeyChecking=accept-new", HOST_KEY_ACCEPT_NEW},
	    {"StrictHostKeyChecking=off", HOST_KEY_ACCEPT_NEW}};

	for (size_t i = 0; i < sizeof(choices) / sizeof(*choices); i++) {
		struct profile *p = good("", "u@h", choices[i].option);

		assert_int_equal(p->host_key, choices[i].policy);
		profile_free(p);
	}
}

static void ssh_s_own(void **state)
{
	struct profile *p = good("[x]\nhost=h\nssh_option = RekeyLimit=1G\n", "x",
	    "Ciphers=aes128-ctr|compression=yes|ProxyJump=a@b:22|LocalForward=8080 localhost:80");

	assert_int_equal(p->n_ssh_options, 4);
	assert_string_equal(p->ssh_options[0], "RekeyLimit=1G");
	assert_string_equal(p->ssh_options[1], "Ciphers=aes128-ctr");
	assert_string_equal(p->ssh_options[2], "compression=yes");
	assert_string_equal(p->ssh_options[3], "ProxyJump=a@b:22");
	assert_int_equal(p->n_forwards, 1);
	profile_free(p);
	bad("[x]\nhost=h\nssh_option = -oRekeyLimit\n", "x", "", "my.ini:3|Name=value");
}

/* The names are for -o; what they are given is still checked, in the user's words. */
static void still_checked(void **state)
{
	bad("", "u@h", "Port=0", "-o Port=0:|1 to 65535");
	bad("", "u@h", "IdentityFile=/nowhere/key", "-o IdentityFile=|does not exist");
	bad("", "u@h", "max_conns=x", "-o max_conns=x");
	bad("", "u@h", "idmap=file", "idmap|none");
	bad("", "u@h", "password_stdin", "unknown option");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(a_usual_line),
	    TEST(host_keys),
	    TEST(ssh_s_own),
	    TEST(still_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

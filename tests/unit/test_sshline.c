/* Connection strings in all the ways that people paste them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/sshline.h"
#include <errno.h>
#include <string.h>

static struct sshline line;
static struct conf_error error;

static int parse(const char *text)
{
	char *words[] = {(char *)text};

	sshline_fini(&line);
	error.text[0] = '\0';
	return sshline_parse(1, words, &line, &error);
}

static int teardown(void **state)
{
	sshline_fini(&line);
	return 0;
}

static void expect(const char *text, const char *user, const char *host, unsigned port)
{
	if (parse(text))
		fail_msg("%s: %s", text, error.text);
	if (user)
		assert_string_equal(line.user, user);
	else
		assert_null(line.user);
	assert_string_equal(line.host, host);
	assert_int_equal(line.port, port);
}

static void test_console(void **state)
{
	expect("ssh -p 20544 root@142.214.185.187 -L 8080:localhost:8080", "root",
	    "142.214.185.187", 20544);
	assert_int_equal(line.n_forwards, 1);
	assert_string_equal(line.forwards[0], "8080:localhost:8080");
	assert_int_equal(line.n_ignored, 0);
}

static void test_orders(void **state)
{
	expect("ssh root@h -p 1", "root", "h", 1);
	expect("ssh h -l me -p1", "me", "h", 1);
	expect("ssh -Np 22 -L8080:localhost:80 -L 1:h:2 me@h", "me", "h", 22);
	assert_int_equal(line.n_forwards, 2);
	expect("root@h -p 99", "root", "h", 99);
	expect("  ssh   -i '~/my key'  -o Port=7 -oUser=u h ", "u", "h", 7);
	assert_int_equal(line.n_keys, 1);
	assert_string_equal(line.keys[0], "~/my key");
	expect("/usr/bin/ssh -i ~/.ssh/a -i ~/.ssh/b root@[::1] -p 5", "root", "::1", 5);
	assert_int_equal(line.n_keys, 2);
	expect("sftp -P 20544 root@h", "root", "h", 20544);
	expect("ssh -- root@h", "root", "h", 0);
	/* of several the first counts */
	expect("ssh -p 1 root@h -l me -p 2 -o Port=3 -o User=u", "root", "h", 1);
	expect("ssh -l me root@h", "me", "h", 0);
	expect("ssh -p 5 root@2001:db8::1", "root", "2001:db8::1", 5);
	expect("ssh 2001:db8::1 -l me", "me", "2001:db8::1", 0);
	expect("ssh -o 'LocalForward 8080 localhost:8080' h", NULL, "h", 0);
	assert_string_equal(line.forwards[0], "8080:localhost:8080");
}

static void test_urls(void **state)
{
	expect("ssh://root@1.2.3.4:20544", "root", "1.2.3.4", 20544);
	expect("sftp://root@1.2.3.4:20544/data", "root", "1.2.3.4", 20544);
	assert_string_equal(line.path, "/data");
	expect("scp://root@1.2.3.4:20544", "root", "1.2.3.4", 20544);
	expect("ssh ssh://root@[::1]:22/", "root", "::1", 22);
	assert_null(line.path);
	expect("ssh -p 5 ssh://h:6", NULL, "h", 5);
}

static void test_host_key_options(void **state)
{
	expect("ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null h", NULL, "h", 0);
	assert_string_equal(line.host_key, "accept-new");
	assert_null(line.known_hosts);
	assert_int_equal(line.n_ignored, 1);
	expect("ssh -o stricthostkeychecking=yes -o UserKnownHostsFile=~/kh h", NULL, "h", 0);
	assert_string_equal(line.host_key, "strict");
	assert_string_equal(line.known_hosts, "~/kh");
}

static void test_passed_over(void **state)
{
	expect("ssh -A -v -C -o Compression=yes root@h tmux attach -t x", "root", "h", 0);
	assert_int_equal(line.n_ignored, 2 + 4 - 1);
	assert_string_equal(line.ignored[0], "Compression=yes");
}

static void test_for_ssh(void **state)
{
	expect(
	    "ssh -J jump@gw -o 'ProxyUseFdpass no' -o Ciphers=aes128-ctr root@h", "root", "h", 0);
	assert_int_equal(line.n_ssh_options, 3);
	assert_string_equal(line.ssh_options[0], "ProxyJump=jump@gw");
	assert_string_equal(line.ssh_options[1], "ProxyUseFdpass=no");
	assert_string_equal(line.ssh_options[2], "Ciphers=aes128-ctr");
	assert_int_equal(line.n_ignored, 0);
}

static void test_copied_along(void **state)
{
	expect("$ ssh -p 5 root@h", "root", "h", 5);
	expect("# ssh root@h", "root", "h", 0);
	expect("scp -P 22 root@h:/data/x .", "root", "h", 22);
	assert_string_equal(line.path, "/data/x");
	expect("$ sudo TERM=xterm ssh -p 5 root@h", "root", "h", 5);
	/* the dash and the blank of a web page */
	expect("ssh\u00a0\u2013p 5 root@h \u2011L\u00a08080:localhost:8080", "root", "h", 5);
	assert_int_equal(line.n_forwards, 1);
}

static void test_argument_list(void **state)
{
	char *words[] = {"ssh", "-p", "20544", "root@h", "-i", "my key"};

	sshline_fini(&line);
	assert_int_equal(sshline_parse(6, words, &line, &error), 0);
	assert_string_equal(line.keys[0], "my key");
	assert_int_equal(line.port, 20544);
	sshline_fini(&line);
	words[1] = "\u2013p";
	assert_int_equal(sshline_parse(6, words, &line, &error), 0);
	assert_int_equal(line.port, 20544);
}

static void test_alias(void **state)
{
	static const char answer[] = "user root\nhostname 1.2.3.4\nport 99\naddressfamily any\n"
				     "identityfile ~/.ssh/id_rsa\nidentityfile ~/.ssh/vast\n"
				     "localforward 8080 [localhost]:8081\n";

	expect("box", NULL, "box", 0);
	assert_true(line.plain);
	assert_int_equal(sshline_complete(&line, answer, &error), 0);
	assert_string_equal(line.host, "1.2.3.4");
	assert_string_equal(line.user, "root");
	assert_int_equal(line.port, 99);
	assert_int_equal(line.n_keys, 1);
	assert_string_equal(line.keys[0], "~/.ssh/vast");
	assert_string_equal(line.forwards[0], "8080:[localhost]:8081");
	expect("ssh root@box", "root", "box", 0);
	assert_false(line.plain);
}

static void test_refused(void **state)
{
	static const char *const texts[] = {"", "ssh", "ssh -p 0 h", "ssh -p 70000 h", "ssh -p x h",
	    "ssh h -p", "ssh -@ h", "ssh 'h", "ssh -L nonsense: h", "ssh @h", "ssh://h:0",
	    "ssh -p 22", "ssh://me:secret@h"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		assert_int_equal(parse(texts[i]), -EINVAL);
		assert_true(error.text[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_console),
	    cmocka_unit_test(test_orders),
	    cmocka_unit_test(test_urls),
	    cmocka_unit_test(test_host_key_options),
	    cmocka_unit_test(test_passed_over),
	    cmocka_unit_test(test_argument_list),
	    cmocka_unit_test(test_for_ssh),
	    cmocka_unit_test(test_copied_along),
	    cmocka_unit_test(test_alias),
	    cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}

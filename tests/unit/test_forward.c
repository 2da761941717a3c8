/* Port-forward specifications: what is understood, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/forward.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct good_case {
	const char *text, *listen_host;
	unsigned listen_port;
	const char *host;
	unsigned port;
	const char *socket, *printed;
};

static const struct good_case good[] = {
    {"8080", "127.0.0.1", 8080, "localhost", 8080, NULL, "127.0.0.1:8080 -> localhost:8080"},
    {"1", "127.0.0.1", 1, "localhost", 1, NULL, "127.0.0.1:1 -> localhost:1"},
    {"65535", "127.0.0.1", 65535, "localhost", 65535, NULL, "127.0.0.1:65535 -> localhost:65535"},
    {"8080:localhost:80", "127.0.0.1", 8080, "localhost", 80, NULL,
	"127.0.0.1:8080 -> localhost:80"},
    {"0.0.0.0:6006:10.0.0.2:6007", "0.0.0.0", 6006, "10.0.0.2", 6007, NULL,
	"0.0.0.0:6006 -> 10.0.0.2:6007"},
    {"[::1]:6006:[fe80::1%eth0]:7", "::1", 6006, "fe80::1%eth0", 7, NULL,
	"[::1]:6006 -> [fe80::1%eth0]:7"},
    {"9:[::1]:7", "127.0.0.1", 9, "::1", 7, NULL, "127.0.0.1:9 -> [::1]:7"},
    {"8080:/run/jupyter.sock", "127.0.0.1", 8080, NULL, 0, "/run/jupyter.sock",
	"127.0.0.1:8080 -> /run/jupyter.sock"},
    {"[::]:80:/a:b:c:d:e", "::", 80, NULL, 0, "/a:b:c:d:e", "[::]:80 -> /a:b:c:d:e"},
    {"*:8080:localhost:8080", "*", 8080, "localhost", 8080, NULL, "*:8080 -> localhost:8080"},
    {"localhost:1:h:2", "localhost", 1, "h", 2, NULL, "localhost:1 -> h:2"},
};

static void same(const char *got, const char *want)
{
	if (!want)
		assert_null(got);
	else
		assert_string_equal(got, want);
}

static void test_good(void **state)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		const struct good_case *c = &good[i];
		struct conf_error error = {""};
		struct forward_spec spec;
		char buf[200];

		if (forward_spec_parse(c->text, &spec, &error))
			fail_msg("%s", error.text);
		assert_string_equal(spec.listen_host, c->listen_host);
		assert_int_equal(spec.listen_port, c->listen_port);
		same(spec.host, c->host);
		assert_int_equal(spec.port, c->port);
		same(spec.socket_path, c->socket);
		assert_ptr_equal(forward_spec_print(&spec, buf, sizeof(buf)), buf);
		assert_string_equal(buf, c->printed);
		forward_spec_fini(&spec);
	}
}

static void test_bad(void **state)
{
	static const char *const bad[] = {"", "0", "65536", "999999", "-1", "+1", "08x", "a", " 80",
	    "80 ", ":", "::", ":::", "::::", "8080:", ":8080", "8080:9090", "8080:localhost",
	    "8080:localhost:", "8080::80", ":8080:localhost:8080", "8080:localhost:0",
	    "8080:localhost:70000", "a:8080:localhost", "a:b:c:d", "1:2:3:4:5", "fe80::1:80:h:80",
	    "[::1", "[::1]8080:h:80", "[]:80:h:80", "[80]", "[80]:h:80", "8080:h:[80]",
	    "/tmp/local.sock:h:80", "/tmp/local.sock", "8080:h:/run/x", "8080:a b:80",
	    "8080:a/b:80", "8080:user@h:80", "*:8080", "x:1:h:/a", "1:2:3:/a"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct conf_error error = {""};
		struct forward_spec spec;

		if (forward_spec_parse(bad[i], &spec, &error) != -EINVAL)
			fail_msg("\"%s\" was accepted", bad[i]);
		assert_non_null(strstr(error.text, "forward \""));
		assert_null(spec.listen_host);
		assert_null(spec.host);
		assert_null(spec.socket_path);
	}
}

static void test_lengths(void **state)
{
	struct conf_error error = {""};
	struct forward_spec spec;
	char text[600] = "8080:";

	memset(text + 5, 'h', 255);
	strcpy(text + 260, ":80");
	assert_int_equal(forward_spec_parse(text, &spec, &error), 0);
	assert_int_equal(strlen(spec.host), 255);
	forward_spec_fini(&spec);
	memset(text + 5, 'h', 256);
	strcpy(text + 261, ":80");
	assert_int_equal(forward_spec_parse(text, &spec, &error), -EINVAL);

	memset(text + 5, '/', 107);
	text[112] = '\0';
	assert_int_equal(forward_spec_parse(text, &spec, &error), 0);
	forward_spec_fini(&spec);
	text[112] = '/';
	text[113] = '\0';
	assert_int_equal(forward_spec_parse(text, &spec, &error), -EINVAL);
}

static void test_messages_and_short_buffer(void **state)
{
	struct conf_error error = {""};
	struct forward_spec spec;
	char buf[8];

	forward_spec_parse("8080:localhost:70000", &spec, &error);
	assert_string_equal(error.text,
	    "forward \"8080:localhost:70000\": \"70000\" is not a port; "
	    "write a number from 1 to 65535");
	forward_spec_parse("/a:1", &spec, &error);
	assert_non_null(strstr(error.text, "listening on a Unix socket"));
	forward_spec_parse("8080:a\nb:1", &spec, &error);
	assert_null(strchr(error.text, '\n'));
	assert_int_equal(forward_spec_parse("8080", &spec, NULL), 0);
	forward_spec_print(&spec, buf, sizeof(buf));
	assert_string_equal(buf, "127.0.0");
	forward_spec_fini(&spec);
	assert_int_equal(forward_spec_parse("x", &spec, NULL), -EINVAL);
}

static void test_kinds(void **state)
{
	static const struct {
		const char *text, *print;
		enum forward_kind kind;
	} kinds[] = {{"-L 8080", "127.0.0.1:8080 -> localhost:8080", FORWARD_LOCAL},
	    {"-R 9000:localhost:9001", "localhost:9000 there -> localhost:9001 here",
		FORWARD_REMOTE},
	    {"-R9000", "localhost:9000 there -> localhost:9000 here", FORWARD_REMOTE},
	    {"-R 1:/run/x", "localhost:1 there -> /run/x here", FORWARD_REMOTE},
	    {"-R *:1:[::1]:2", "*:1 there -> [::1]:2 here", FORWARD_REMOTE},
	    {"-D 1080", "127.0.0.1:1080 -> SOCKS", FORWARD_SOCKS},
	    {"-D[::1]:1080", "[::1]:1080 -> SOCKS", FORWARD_SOCKS}};
	static const char *const wrong[] = {
	    "-D 1080:h:1", "-D", "-R", "-R /run/x:1", "-X 80", "-D x"};
	struct conf_error error;
	struct forward_spec spec;
	char buf[128];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		assert_int_equal(forward_spec_parse(kinds[i].text, &spec, &error), 0);
		assert_int_equal(spec.kind, kinds[i].kind);
		assert_string_equal(forward_spec_print(&spec, buf, sizeof(buf)), kinds[i].print);
		forward_spec_fini(&spec);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		assert_int_equal(forward_spec_parse(wrong[i], &spec, &error), -EINVAL);
}

static void test_meant(void **state)
{
	static const char *const yes[] = {"-R 9000:localhost:9001", "9000", "-R 9000", "-R9000",
	    "localhost:9000 there -> localhost:9001 here"};
	static const char *const no[] = {"-L 9000", "-D 9000", "9001", "900", "-R 9001", "-R",
	    "-R 9000:localhost:9000", "9000:localhost:9001", ""};
	struct forward_spec spec;
	struct conf_error error;

	assert_int_equal(forward_spec_parse(yes[0], &spec, &error), 0);
	for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++)
		assert_true(forward_spec_is_meant(&spec, yes[i]));
	for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
		assert_false(forward_spec_is_meant(&spec, no[i]));
	assert_false(forward_spec_is(&spec, "9000"));
	assert_true(forward_spec_is(&spec, yes[0]));
	forward_spec_fini(&spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),
	    cmocka_unit_test(test_bad),
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_meant),
	    cmocka_unit_test(test_messages_and_short_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What the provider's API may answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transport/provider.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct provider_answer answer;

static void parse(const char *body)
{
	/* exactly as long as it is, so that ASan sees a step too far */
	size_t len = strlen(body);
	char *copy = malloc(len ? len : 1);

	memcpy(copy, body, len);
	provider_parse(copy, len, "42", &answer);
	free(copy);
}

static void test_running(void **state)
{
	parse("{\"instances\": {\"actual_status\": \"running\", \"public_ipaddr\": \"1.2.3.4\\n\","
	      "\"ports\": {\"22/tcp\": [{\"HostIp\": \"0.0.0.0\", \"HostPort\": \"20544\"}]},"
	      "\"ssh_host\": \"ssh5.vast.ai\", \"ssh_port\": 10544}}");
	assert_int_equal(answer.state, PROVIDER_RUNNING);
	assert_string_equal(answer.direct.host, "1.2.3.4");
	assert_int_equal(answer.direct.port, 20544);
	assert_string_equal(answer.proxy.host, "ssh5.vast.ai");
	assert_int_equal(answer.proxy.port, 10544);
	assert_true(answer.direct.vouched && answer.proxy.vouched);
	assert_string_equal(answer.text, "");
}

static void test_no_ports_yet(void **state)
{
	parse("{\"instances\": {\"actual_status\": \"running\", \"public_ipaddr\": \"1.2.3.4\"}}");
	assert_int_equal(answer.state, PROVIDER_STARTING);
	assert_int_equal(answer.direct.port, 0);
}

static void test_states(void **state)
{
	static const struct {
		const char *status;
		enum provider_state want;
	} cases[] = {{"null", PROVIDER_STARTING}, {"\"created\"", PROVIDER_STARTING},
	    {"\"loading\"", PROVIDER_STARTING}, {"\"rebooting\"", PROVIDER_STARTING},
	    {"\"unknown\"", PROVIDER_STARTING}, {"\"stopped\"", PROVIDER_STOPPED},
	    {"\"exited\"", PROVIDER_STOPPED}, {"\"frozen\"", PROVIDER_STOPPED},
	    {"\"offline\"", PROVIDER_OFFLINE}, {"\"run\"", PROVIDER_STARTING},
	    {"\"new word\"", PROVIDER_STARTING}, {"7", PROVIDER_STARTING}};
	char body[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		snprintf(body, sizeof(body), "{\"instances\": {\"actual_status\": %s}}",
		    cases[i].status);
		parse(body);
		assert_int_equal(answer.state, cases[i].want);
		assert_true(answer.text[0]);
	}
	/* on its way up again */
	parse("{\"instances\": {\"actual_status\": \"exited\", \"intended_status\": \"running\"}}");
	assert_int_equal(answer.state, PROVIDER_STARTING);
	parse("{\"instances\": null}");
	assert_int_equal(answer.state, PROVIDER_GONE);
}

static void test_nonsense(void **state)
{
	static const char *const bodies[] = {"", "x", "{", "[]", "{}", "null", "{\"instances\": 1}",
	    "{\"instances\": []}", "{\"instances\": [1, 2]}", "\"instances\""};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		parse(bodies[i]);
		assert_int_equal(answer.state, PROVIDER_FAILED);
		assert_true(answer.text[0]);
	}
}

static void test_bad_endpoints(void **state)
{
	static const char *const bad[] = {"\"-x\", \"22\"", "\"a b\", \"22\"", "\"$(id)\", \"22\"",
	    "\"h\", \"0\"", "\"h\", \"65536\"", "\"h\", \"\"", "\"h\", \"22x\"", "\"h\", \"-1\"",
	    "\"h\", null", "5, \"22\"", "\"\", \"22\"", "\"h/../\", \"22\""};
	char body[512], host[64];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const char *comma = strchr(bad[i], ',');

		snprintf(host, sizeof(host), "%.*s", (int)(comma - bad[i]), bad[i]);
		snprintf(body, sizeof(body),
		    "{\"instances\": {\"actual_status\": \"running\", \"public_ipaddr\": %s, "
		    "\"ports\": {\"22/tcp\": [{\"HostPort\": %s}]}}}",
		    host, comma + 2);
		parse(body);
		assert_int_equal(answer.direct.port, 0);
		assert_string_equal(answer.direct.host, "");
	}
	parse("{\"instances\": {\"actual_status\": \"running\", \"ports\": {\"22/tcp\": {}}}}");
	parse("{\"instances\": {\"actual_status\": \"running\", \"ports\": [1]}}");
	assert_int_equal(answer.state, PROVIDER_STARTING);
}

static void test_control_characters(void **state)
{
	parse(
	    "{\"instances\": {\"label\": \"a\x01\x1b\n\t\xff\", \"actual_status\":\"running\x07\","
	    "\"public_ipaddr\": \"1.2.3.4\",\x02\"ports\": {\"22/tcp\": [{\"HostPort\": "
	    "\"1\"}]}}}");
	assert_int_equal(answer.state, PROVIDER_STARTING); /* "running " is no state */
	assert_string_equal(answer.direct.host, "1.2.3.4");
	parse("{\"instances\": {\"actual_status\": \"\\u001b[31m\"}}");
	assert_null(strchr(answer.status, 0x1b));
	assert_null(strchr(answer.text, 0x1b));
}

static void test_http_status(void **state)
{
	provider_status(401, "42", &answer);
	assert_int_equal(answer.state, PROVIDER_REFUSED);
	provider_status(404, "42", &answer);
	assert_int_equal(answer.state, PROVIDER_GONE);
	provider_status(429, "42", &answer);
	assert_int_equal(answer.state, PROVIDER_BUSY);
	provider_status(502, "42", &answer);
	assert_int_equal(answer.state, PROVIDER_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_running),
	    cmocka_unit_test(test_no_ports_yet),
	    cmocka_unit_test(test_states),
	    cmocka_unit_test(test_nonsense),
	    cmocka_unit_test(test_bad_endpoints),
	    cmocka_unit_test(test_control_characters),
	    cmocka_unit_test(test_http_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

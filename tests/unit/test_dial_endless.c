/* Connecting to servers that never come to an end: the time is bounded, and so is the memory. */
#include "conf/log.h"
#include "transport/ssh.h"
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
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
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/bounded_dial.h"

#define GREETING "SSH-2.0-OpenSSH_9.9\r\n"
#define CHUNK (64u * 1024)

/* Says a text to its one client, then the chunk again and again. */
struct endless_server {
	int fd;
	unsigned port;
	const char *text;
	uint8_t chunk[CHUNK];
	size_t len;
	bool cancelled; /* in the middle */
	struct ssh_cancel cancel;
	int pause_ms; /* before each chunk; 0: as fast as they are taken */
	pthread_t thread;
};

static void *endless_main(void *arg)
{
	struct endless_server *server = arg;
	int fd = accept(server->fd, NULL, NULL);
	struct pollfd end = {.fd = fd, .events = POLLRDHUP};

	if (fd < 0)
		return NULL;
	if (send(fd, server->text, strlen(server->text), MSG_NOSIGNAL) >= 0) {
		/* The pause is the wait for its end. */
		for (unsigned i = 0; poll(&end, 1, server->pause_ms) == 0 &&
				     send(fd, server->chunk, server->len, MSG_NOSIGNAL) > 0;
		     i++) {
			if (i == 100 && server->cancelled)
				ssh_cancel_set(&server->cancel);
		}
	}
	close(fd);
	return NULL;
}

static void server_start(struct endless_server *server)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);

	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server->fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(server->fd, 5), 0);
	assert_int_equal(getsockname(server->fd, (struct sockaddr *)&at, &len), 0);
	server->port = ntohs(at.sin_port);
	assert_int_equal(ssh_cancel_init(&server->cancel), 0);
	assert_int_equal(pthread_create(&server->thread, NULL, endless_main, server), 0);
}

static void server_stop(struct endless_server *server)
{
	shutdown(server->fd, SHUT_RDWR);
	pthread_join(server->thread, NULL);
	close(server->fd);
	ssh_cancel_fini(&server->cancel);
}

/* Fills the chunk with plain SSH packets (RFC 4253, 6): length, padding's length, payload, padding.
 */
static void fill_packets(struct endless_server *server, uint8_t type, uint32_t payload)
{
	uint32_t padding = 8 - (5 + payload) % 8 + 4, len = 1 + payload + padding;

	server->len = 0;
	while (server->len + 4 + len <= CHUNK) {
		uint8_t *at = server->chunk + server->len;

		memset(at, 0, 4 + len);
		at[0] = (uint8_t)(len >> 24), at[1] = (uint8_t)(len >> 16);
		at[2] = (uint8_t)(len >> 8), at[3] = (uint8_t)len;
		at[4] = (uint8_t)padding;
		at[5] = type;
		server->len += 4 + len;
	}
	assert_true(server->len > 0);
}

static void fill_text(struct endless_server *server, const char *text)
{
	for (server->len = 0; server->len + strlen(text) <= CHUNK; server->len += strlen(text))
		memcpy(server->chunk + server->len, text, strlen(text));
}

static enum ssh_failure dial(struct endless_server *server)
{
	struct profile profile = {.id = (char *)(uintptr_t) "test",
	    .host = (char *)(uintptr_t) "127.0.0.1",
	    .port = server->port,
	    .user = (char *)(uintptr_t) "root",
	    .known_hosts = (char *)(uintptr_t) "/nonexistent/known_hosts",
	    .host_key = HOST_KEY_STRICT};
	struct ssh_target target = {
	    .profile = &profile, .connect_timeout = server->cancelled ? 60 : 1};
	struct ssh_error error;

	bounded_dial(&target, &server->cancel, &error);
	return error.kind;
}

static struct endless_server server;

static int setup(void **state)
{
	server = (struct endless_server){.text = GREETING};
	return 0;
}

static void lines_before_the_greeting(void **state)
{
	enum ssh_failure kind;

	server.text = "";
	fill_text(&server, "Welcome to the instance, have fun\r\n");
	server_start(&server);
	kind = dial(&server);
	assert_true(kind == SSH_NOT_SSH || kind == SSH_TIMEOUT);
	server_stop(&server);
}

static void one_line_without_an_end(void **state)
{
	server.text = "SSH-2.0-";
	fill_text(&server, "x");
	server_start(&server);
	dial(&server);
	server_stop(&server);
}

static void a_byte_at_a_time(void **state)
{
	server.text = "";
	server.chunk[0] = 'x';
	server.len = 1;
	server.pause_ms = 20;
	server_start(&server);
	dial(&server);
	server_stop(&server);
}

static void packets_that_mean_nothing(void **state)
{
	fill_packets(&server, 2 /* SSH_MSG_IGNORE */, 100);
	server_start(&server);
	dial(&server);
	server_stop(&server);
}

static void packets_that_nobody_asked_for(void **state)
{
	fill_packets(&server, 93 /* SSH_MSG_CHANNEL_WINDOW_ADJUST */, 30000);
	server_start(&server);
	dial(&server);
	server_stop(&server);
}

static void packets_of_a_kind_that_there_is_not(void **state)
{
	fill_packets(&server, 60, 30000);
	server_start(&server);
	dial(&server);
	server_stop(&server);
}

static void cancelled_meanwhile(void **state)
{
	server.text = "";
	server.cancelled = true;
	fill_text(&server, "Welcome to the instance, have fun\r\n");
	server_start(&server);
	assert_int_equal(dial(&server), SSH_CANCELLED);
	server_stop(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(lines_before_the_greeting, setup),
	    cmocka_unit_test_setup(one_line_without_an_end, setup),
	    cmocka_unit_test_setup(a_byte_at_a_time, setup),
	    cmocka_unit_test_setup(packets_that_mean_nothing, setup),
	    cmocka_unit_test_setup(packets_that_nobody_asked_for, setup),
	    cmocka_unit_test_setup(packets_of_a_kind_that_there_is_not, setup),
	    cmocka_unit_test_setup(cancelled_meanwhile, setup),
	};

	signal(SIGPIPE, SIG_IGN);
	cmocka_set_test_filter(getenv("TEST"));
	if (getenv("VERBOSE"))
		log_set_level(LOG_LEVEL_VERBOSE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Programs for `vastfs run` on a real sshd: what libssh2's calls bring out of their turn. */
#include "tests/fake/sshd.h"
#include "transport/commands_internal.h"
#include <arpa/inet.h>
#include <dlfcn.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 10000

static struct commands *commands;
static int
    looks; /* at stderr, on the commands' thread, until one that waits for what is on the way */

/* In place of the library's. */
ssize_t libssh2_channel_read_ex(LIBSSH2_CHANNEL *channel, int stream, char *to, size_t room)
{
	ssize_t (*read_ex)(LIBSSH2_CHANNEL *, int, char *, size_t), n;

	*(void **)&read_ex = dlsym(RTLD_NEXT, "libssh2_channel_read_ex");
	if (stream && looks && --looks == 0) {
		struct pollfd wait = {.fd = ssh_socket(commands->connection), .events = POLLIN};

		poll(&wait, 1, PATIENCE_MS / 2);
	}
	n = read_ex(channel, stream, to, room);
	if (!stream && n > 6 && !memcmp(to + n - 6, "ready\n", 6))
		looks = 2;
	return n;
}

/* The next frame's type; its payload, of less than size bytes, becomes a string. */
static char next_frame(int fd, char *payload, size_t size)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	uint8_t head[5];
	uint32_t len;

	assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
	assert_int_equal(recv(fd, head, sizeof(head), MSG_WAITALL), sizeof(head));
	memcpy(&len, head + 1, sizeof(len));
	len = ntohl(len);
	assert_true(len < size);
	if (len)
		assert_int_equal(recv(fd, payload, len, MSG_WAITALL), len);
	payload[len] = '\0';
	return (char)head[0];
}

static void send_frame(int fd, char type, const char *payload)
{
	uint32_t len = htonl((uint32_t)strlen(payload));

	assert_int_equal(write(fd, &type, 1), 1);
	assert_int_equal(write(fd, &len, sizeof(len)), sizeof(len));
	assert_int_equal(write(fd, payload, strlen(payload)), strlen(payload));
}

/* What comes while stderr is read is told, though nothing comes after it; what a login shell prints
 * before is not taken for the program's process id. */
static void test_output_behind_a_look(void **state)
{
	struct test_sshd server;
	char payload[512];
	int pair[2];

	if (!test_sshd_available())
		skip();
	unsetenv("SSH_AUTH_SOCK");
	test_sshd_start(&server, "");
	const struct ssh_target target = {.profile = &server.profile, .connect_timeout = 20};
	assert_int_equal(commands_new(&commands, &target), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(commands_add(commands, pair[1]), 0);
	assert_int_equal(next_frame(pair[0], payload, sizeof(payload)), 'R');
	send_frame(pair[0], 'C',
	    "{\"exec\": \"echo Welcome to 99999999; echo $$ && echo ready; sleep 0.2; "
	    "echo hello; exec sleep 60\"}");
	assert_int_equal(next_frame(pair[0], payload, sizeof(payload)), 'G');
	assert_int_equal(next_frame(pair[0], payload, sizeof(payload)), 'O');
	assert_string_equal(payload, "ready\n");
	assert_int_equal(next_frame(pair[0], payload, sizeof(payload)), 'O');
	assert_string_equal(payload, "hello\n");
	close(pair[0]);
	assert_true(commands_free(commands));
	test_sshd_stop(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_output_behind_a_look)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

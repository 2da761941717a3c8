/* Connecting where no sshd answers: other servers, silence, nobody. */
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

static struct profile profile; /* leads to the other server */
static struct ssh_error error;

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

/* --- servers that are no sshd ----------------------------------------------------------------- */

/* Answers one connection: says a text, then waits for the peer's end or closes at once. */
struct other_server {
	int fd;
	unsigned port;
	const char *text;
	bool hang;
	pthread_t thread;
};

static void *other_main(void *arg)
{
	struct other_server *other = arg;
	char byte[256];
	int fd = accept(other->fd, NULL, NULL);

	if (fd < 0)
		return NULL;
	if (other->text && send(fd, other->text, strlen(other->text), MSG_NOSIGNAL) < 0)
		perror("send");
	while (other->hang && recv(fd, byte, sizeof(byte), 0) > 0)
		;
	if (!other->hang)
		shutdown(fd, SHUT_WR);
	while (!other->hang && recv(fd, byte, sizeof(byte), 0) > 0)
		;
	close(fd);
	return NULL;
}

static void other_start(struct other_server *other, const char *text, bool hang)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);

	*other = (struct other_server){.text = text, .hang = hang};
	other->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(other->fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(other->fd, 5), 0);
	assert_int_equal(getsockname(other->fd, (struct sockaddr *)&at, &len), 0);
	other->port = ntohs(at.sin_port);
	assert_int_equal(pthread_create(&other->thread, NULL, other_main, other), 0);
	profile = (struct profile){.id = (char *)(uintptr_t) "test",
	    .host = (char *)(uintptr_t) "127.0.0.1",
	    .port = other->port,
	    .user = (char *)(uintptr_t) "root",
	    .known_hosts = (char *)(uintptr_t) "/nonexistent/known_hosts",
	    .host_key = HOST_KEY_STRICT};
}

static void other_stop(struct other_server *other)
{
	shutdown(other->fd, SHUT_RDWR);
	pthread_join(other->thread, NULL);
	close(other->fd);
}

static void web_server(void **state)
{
	struct other_server other;

	other_start(&other, "HTTP/1.1 400 Bad Request\r\nServer: \033[31mx\r\n\r\n", false);
	assert_int_equal(dial(10), SSH_NOT_SSH);
	assert_non_null(strstr(error.text, "HTTP/1.1 400 Bad Request"));
	assert_null(strchr(error.text, '\033'));
	other_stop(&other);
}

static void closes_at_once(void **state)
{
	struct other_server other;

	other_start(&other, NULL, false);
	assert_int_equal(dial(10), SSH_NOT_SSH);
	assert_non_null(strstr(error.text, "closed before a word"));
	other_stop(&other);
}

static void says_nothing(void **state)
{
	struct other_server other;

	other_start(&other, NULL, true);
	assert_int_equal(dial(1), SSH_TIMEOUT);
	assert_non_null(strstr(error.text, "port is open"));
	other_stop(&other);
}

static void falls_silent_in_the_handshake(void **state)
{
	struct other_server other;

	other_start(&other, "SSH-2.0-OpenSSH_9.9\r\n", true);
	assert_int_equal(dial(1), SSH_TIMEOUT);
	assert_non_null(strstr(error.text, "handshake"));
	other_stop(&other);
}

static void dies_in_the_handshake(void **state)
{
	struct other_server other;

	other_start(&other, "SSH-2.0-OpenSSH_9.9\r\n", false);
	assert_int_equal(dial(10), SSH_LOST);
	other_stop(&other);
}

static void refused(void **state)
{
	struct other_server other;

	other_start(&other, NULL, false);
	profile.port = test_free_port();
	assert_int_equal(dial(10), SSH_REFUSED);
	assert_int_equal(error.err, ECONNREFUSED);
	other_stop(&other);
}

static void unresolved(void **state)
{
	profile = (struct profile){.id = (char *)(uintptr_t) "test",
	    .host = (char *)(uintptr_t) "no-such-host.invalid",
	    .port = 22,
	    .user = (char *)(uintptr_t) "root",
	    .known_hosts = (char *)(uintptr_t) "/nonexistent/known_hosts"};
	assert_int_equal(dial(10), SSH_UNRESOLVED);
}

static void *cancel_main(void *arg)
{
	struct timespec pause = {.tv_nsec = 50000000};

	nanosleep(&pause, NULL); /* so that it most likely waits by then; right without, too */
	ssh_cancel_set(arg);
	return NULL;
}

static void cancelled(void **state)
{
	struct ssh_target target = {.profile = &profile, .connect_timeout = 60};
	struct ssh_connection *connection = NULL;
	struct other_server other;
	struct ssh_cancel cancel;
	time_t before = time(NULL);
	pthread_t thread;

	other_start(&other, NULL, true);
	assert_int_equal(ssh_cancel_init(&cancel), 0);
	assert_int_equal(pthread_create(&thread, NULL, cancel_main, &cancel), 0);
	assert_int_equal(ssh_connect(&target, &cancel, &connection, &error), -ECANCELED);
	assert_int_equal(error.kind, SSH_CANCELLED);
	assert_true(time(NULL) - before < 30);
	pthread_join(thread, NULL);
	ssh_cancel_fini(&cancel);
	other_stop(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(web_server),
	    cmocka_unit_test(closes_at_once),
	    cmocka_unit_test(says_nothing),
	    cmocka_unit_test(falls_silent_in_the_handshake),
	    cmocka_unit_test(dies_in_the_handshake),
	    cmocka_unit_test(refused),
	    cmocka_unit_test(unresolved),
	    cmocka_unit_test(cancelled),
	};

	signal(SIGPIPE, SIG_IGN);
	cmocka_set_test_filter(getenv("TEST"));
	if (getenv("VERBOSE"))
		log_set_level(LOG_LEVEL_VERBOSE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

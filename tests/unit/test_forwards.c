/*
 * Port forwards through a real sshd to local servers that play the programs on the instance: data,
 * ends of data, back-pressure.
 */
#include "tests/fake/forward_rig.h"
#include "transport/forwards_internal.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
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

#define MIB (1024u * 1024)

static struct test_sshd sshd;

static void check_echo(unsigned port, bool v6, uint64_t bytes)
{
	assert_true(rig_echoes(port, v6, bytes));
}

static long resident_kib(void)
{
	char line[256];
	long kib = -1;
	FILE *in = fopen("/proc/self/status", "re");

	assert_non_null(in);
	while (fgets(line, sizeof(line), in)) {
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	}
	fclose(in);
	return kib;
}

/* --- the plain cases ---------------------------------------------------------- */

static void none_to_start(void **state)
{
	struct profile profile = {.n_forwards = 0};
	struct ssh_target target = {.profile = &profile};
	struct forwards *forwards = (void *)1;

	assert_int_equal(forwards_start(&forwards, &target), 0);
	/* one may be added later */
	assert_int_equal(forwards_count(forwards), 0);
	assert_false(forwards_up(forwards));
	assert_true(forwards_free(forwards));
	assert_int_equal(forwards_count(NULL), 0);
	assert_false(forwards_up(NULL));
	assert_true(forwards_free(NULL));
}

static bool is_taken(struct forwards *forwards)
{
	bool taken;

	pthread_mutex_lock(&forwards->lock);
	taken = STAILQ_EMPTY(&forwards->orders);
	pthread_mutex_unlock(&forwards->lock);
	return taken;
}

/* Its thread waits for something that does not come: an answer that nobody reads. */
static void does_not_wait_for_ever(void **state)
{
	struct profile profile = {.n_forwards = 0};
	struct ssh_target target = {.profile = &profile};
	struct forwards *forwards;
	uint64_t start = rig_now_ms();
	char page[4096] = "";
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(fcntl(ends[1], F_SETPIPE_SZ, (int)sizeof(page)), sizeof(page));
	assert_int_equal(write(ends[1], page, sizeof(page)), sizeof(page));
	assert_int_equal(forwards_start(&forwards, &target), 0);
	assert_int_equal(forwards_order(forwards, ends[1], false, "8080"), 0);
	while (!is_taken(forwards))
		sched_yield();
	assert_false(forwards_free(forwards));
	assert_in_range(rig_now_ms() - start, 1900, 10000);
	while (read(ends[0], page, sizeof(page)) > 0) /* until the thread has closed its end */
		;
	close(ends[0]);
}

static void each_kind_of_address(void **state)
{
	struct rig rig;
	struct peer echo, local, http;
	char path[128], page[256] = "";
	unsigned four, six, any, name, path_port, web;
	int fd;

	snprintf(path, sizeof(path), "%s/program.sock", sshd.dir);
	peer_start(&echo, PEER_ECHO, 0, NULL);
	peer_start(&local, PEER_ECHO, 0, path);
	peer_start(&http, PEER_HTTP, 0, NULL);
	rig_init(&rig, &sshd);
	four = rig_add_peer(&rig, &echo);
	snprintf(page, sizeof(page), "127.0.0.1:%u", echo.port);
	six = rig_add(&rig, "[::1]", page);
	any = rig_add(&rig, "*", page);
	snprintf(page, sizeof(page), "localhost:%u", echo.port);
	name = rig_add(&rig, "localhost", page);
	path_port = rig_add(&rig, "127.0.0.1", path);
	web = rig_add_peer(&rig, &http);
	rig_start(&rig);
	/* At once: the connection waits for the first session. */
	check_echo(four, false, 1000);
	assert_true(forwards_up(rig.forwards));
	check_echo(six, true, 1000);
	assert_int_equal(peer_connect(six, false), -1);
	check_echo(any, false, 1000);
	check_echo(any, true, 1000);
	check_echo(name, false, 0);
	check_echo(name, false, 70000);
	check_echo(path_port, false, 300000);
	fd = peer_connect(web, false);
	assert_true(fd >= 0);
	assert_int_equal(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
	memset(page, 0, sizeof(page));
	assert_true(peer_recv(fd, page, sizeof(page) - 1, MSG_WAITALL) > 0);
	assert_non_null(strstr(page, "\r\n\r\nhello\n"));
	close(fd);
	RIG_WAIT(rig_figures(&rig, 5).connections == 0, 5000);
	assert_true(rig_figures(&rig, 4).listening);
	assert_int_equal(rig_figures(&rig, 4).accepted, 1);
	assert_int_equal(rig_figures(&rig, 4).bytes_in, 300000);
	assert_int_equal(rig_figures(&rig, 4).bytes_out, 300000);
	assert_string_equal(rig_figures(&rig, 4).last_error, "");
	rig_stop(&rig);
	peer_stop(&http);
	peer_stop(&local);
	peer_stop(&echo);
}

struct client {
	pthread_t thread;
	unsigned port;
	bool ok;
};

static void *client_main(void *arg)
{
	struct client *client = arg;

	client->ok = rig_echoes(client->port, false, 300000);
	return NULL;
}

static void many_at_once(void **state)
{
	struct rig rig;
	struct peer echo;
	struct client clients[80];
	unsigned port;

	peer_start(&echo, PEER_ECHO, 0, NULL);
	rig_init(&rig, &sshd);
	port = rig_add_peer(&rig, &echo);
	rig_start(&rig);
	for (int i = 0; i < 80; i++) {
		clients[i].port = port;
		assert_int_equal(
		    pthread_create(&clients[i].thread, NULL, client_main, &clients[i]), 0);
	}
	for (int i = 0; i < 80; i++) {
		pthread_join(clients[i].thread, NULL);
		assert_true(clients[i].ok);
	}
	RIG_WAIT(rig_figures(&rig, 0).connections == 0, 5000);
	assert_int_equal(rig_figures(&rig, 0).accepted, 80);
	assert_int_equal(rig_figures(&rig, 0).bytes_in, 80 * 300000);
	rig_stop(&rig);
	peer_stop(&echo);
}

/* New keys every few megabytes, in the middle of everything. */
static void keys_renewed_under_load(void **state)
{
	struct test_sshd eager;
	struct rig rig;
	struct peer echo;
	struct client clients[8];

	test_sshd_start(&eager, "RekeyLimit 1M\n");
	peer_start(&echo, PEER_ECHO, 0, NULL);
	rig_init(&rig, &eager);
	rig_add_peer(&rig, &echo);
	rig_start(&rig);
	for (int i = 0; i < 8; i++) {
		clients[i].port = rig.ports[0];
		assert_int_equal(
		    pthread_create(&clients[i].thread, NULL, client_main, &clients[i]), 0);
	}
	check_echo(rig.ports[0], false, 20 * MIB);
	for (int i = 0; i < 8; i++) {
		pthread_join(clients[i].thread, NULL);
		assert_true(clients[i].ok);
	}
	assert_true(forwards_up(rig.forwards));
	assert_string_equal(rig_figures(&rig, 0).last_error, "");
	rig_stop(&rig);
	peer_stop(&echo);
	test_sshd_stop(&eager);
}

/* --- ends of data ---------------------------------------------------------------- */

static void half_closed_by_the_local_side(void **state)
{
	struct rig rig;
	struct peer sink;
	uint64_t answer[2] = {0}, hash = 0, total = SANITIZED ? 10 * MIB : 100 * MIB;
	uint8_t *buf = malloc(MIB);
	int fd;

	assert_non_null(buf);
	peer_start(&sink, PEER_SINK, 0, NULL);
	rig_init(&rig, &sshd);
	rig_add_peer(&rig, &sink);
	rig_start(&rig);
	fd = peer_connect(rig.ports[0], false);
	assert_true(fd >= 0);
	assert_true(peer_send(fd, total));
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	for (uint64_t at = 0; at < total; at += MIB) {
		peer_fill(buf, MIB, at);
		hash = peer_hash(hash, buf, MIB);
	}
	assert_int_equal(peer_recv(fd, answer, sizeof(answer), MSG_WAITALL), sizeof(answer));
	assert_int_equal(answer[0], total);
	assert_int_equal(answer[1], hash);
	assert_int_equal(peer_recv(fd, answer, 1, 0), 0);
	close(fd);
	free(buf);
	assert_int_equal(rig_figures(&rig, 0).bytes_out, total);
	rig_stop(&rig);
	peer_stop(&sink);
}

static void half_closed_by_the_far_side(void **state)
{
	struct rig rig;
	struct peer source;
	uint64_t total = SANITIZED ? 10 * MIB : 100 * MIB;
	int fd;

	peer_start(&source, PEER_SOURCE, total, NULL);
	rig_init(&rig, &sshd);
	rig_add_peer(&rig, &source);
	rig_start(&rig);
	fd = peer_connect(rig.ports[0], false);
	assert_true(fd >= 0);
	assert_int_equal(peer_receive(fd), total);
	/* It has ended its side; ours still works. */
	assert_int_equal(rig_figures(&rig, 0).connections, 1);
	assert_true(peer_send(fd, 500000));
	RIG_WAIT(atomic_load(&source.read) == 500000, 10000);
	assert_int_equal(rig_figures(&rig, 0).connections, 1);
	close(fd);
	RIG_WAIT(rig_figures(&rig, 0).connections == 0, 5000);
	RIG_WAIT(atomic_load(&source.served) == 1, 5000);
	rig_stop(&rig);
	peer_stop(&source);
}

/* The far program goes while we still send: the local one must hear of it. */
static void far_program_gone(void **state)
{
	struct rig rig;
	struct peer http;
	char page[256];
	ssize_t n;
	int fd;

	peer_start(&http, PEER_HTTP, 0, NULL);
	rig_init(&rig, &sshd);
	rig_add_peer(&rig, &http);
	rig_start(&rig);
	fd = peer_connect(rig.ports[0], false);
	assert_true(fd >= 0);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
	while ((n = peer_recv(fd, page, sizeof(page), 0)) > 0)
		;
	assert_int_equal(n, 0);
	/* Its socket is closed: what we send now meets a reset there. */
	RIG_WAIT(send(fd, page, sizeof(page), MSG_NOSIGNAL) < 0, 10000);
	close(fd);
	RIG_WAIT(rig_figures(&rig, 0).connections == 0, 5000);
	rig_stop(&rig);
	peer_stop(&http);
}

/* The local program goes without a word. */
static void local_program_gone(void **state)
{
	struct rig rig;
	struct peer source, echo;
	struct linger linger = {.l_onoff = 1};
	char byte = 'x';

	peer_start(&source, PEER_SOURCE, 1ull << 40, NULL);
	peer_start(&echo, PEER_ECHO, 0, NULL);
	rig_init(&rig, &sshd);
	rig_add_peer(&rig, &source);
	rig_add_peer(&rig, &echo);
	rig_start(&rig);
	for (int i = 0; i < 10; i++) {
		int one = peer_connect(rig.ports[0], false),
		    two = peer_connect(rig.ports[1], false);

		assert_true(one >= 0 && two >= 0);
		assert_int_equal(peer_recv(one, &byte, 1, 0), 1);
		assert_int_equal(send(two, &byte, 1, 0), 1);
		assert_int_equal(peer_recv(two, &byte, 1, 0), 1);
		setsockopt(two, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(one);
		close(two);
	}
	RIG_WAIT(
	    rig_figures(&rig, 0).connections == 0 && rig_figures(&rig, 1).connections == 0, 10000);
	RIG_WAIT(atomic_load(&source.served) == 10 && atomic_load(&echo.served) == 10, 10000);
	check_echo(rig.ports[1], false, 100000);
	rig_stop(&rig);
	peer_stop(&echo);
	peer_stop(&source);
}

/* --- back-pressure --------------------------------------------------------------- */

static void a_reader_that_stops(void **state)
{
	struct rig rig;
	struct peer source, echo;
	int fds[10];
	uint64_t before;
	long kib;

	peer_start(&source, PEER_SOURCE, 1ull << 40, NULL);
	peer_start(&echo, PEER_ECHO, 0, NULL);
	rig_init(&rig, &sshd);
	rig_add_peer(&rig, &source);
	rig_add_peer(&rig, &echo);
	rig_start(&rig);
	check_echo(rig.ports[1], false, 20 * MIB);
	kib = resident_kib();
	for (int i = 0; i < 10; i++) {
		fds[i] = peer_connect(rig.ports[0], false);
		assert_true(fds[i] >= 0);
	}
	/* The sockets of these ten fill up and nobody reads: the flow stops. */
	do {
		before = rig_figures(&rig, 0).bytes_in;
		check_echo(rig.ports[1], false, 5 * MIB);
	} while (rig_figures(&rig, 0).bytes_in != before || !before);
	/* The others go on meanwhile, and nothing grows: ten windows, a buffer each, and what
	 * moves. */
	check_echo(rig.ports[1], false, 10 * MIB);
	assert_int_equal(rig_figures(&rig, 0).bytes_in, before);
	print_message("memory for 10 readers that stopped: %ld KiB\n", resident_kib() - kib);
	if (!SANITIZED)
		assert_true(resident_kib() - kib < 40 * 1024);
	/* One of them goes on: all that it reads is right. */
	{
		uint8_t *got = malloc(8 * MIB), *right = malloc(8 * MIB);

		assert_true(got && right);
		peer_fill(right, 8 * MIB, 0);
		assert_int_equal(peer_recv(fds[0], got, 8 * MIB, MSG_WAITALL), 8 * MIB);
		assert_memory_equal(got, right, 8 * MIB);
		free(got);
		free(right);
	}
	for (int i = 0; i < 10; i++)
		close(fds[i]);
	RIG_WAIT(rig_figures(&rig, 0).connections == 0, 10000);
	check_echo(rig.ports[1], false, MIB);
	rig_stop(&rig);
	peer_stop(&echo);
	peer_stop(&source);
}

static void a_far_reader_that_stops(void **state)
{
	struct rig rig;
	struct peer deaf, echo;
	uint8_t *buf = calloc(1, MIB);
	uint64_t sent = 0, before;
	int fd;

	assert_non_null(buf);
	peer_start(&deaf, PEER_DEAF, 0, NULL);
	peer_start(&echo, PEER_ECHO, 0, NULL);
	rig_init(&rig, &sshd);
	rig_add_peer(&rig, &deaf);
	rig_add_peer(&rig, &echo);
	rig_start(&rig);
	fd = peer_connect(rig.ports[0], false);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	do {
		ssize_t n;

		before = sent;
		while ((n = send(fd, buf, MIB, MSG_NOSIGNAL)) > 0)
			sent += (uint64_t)n;
		assert_true(sent < 64 * MIB);
		check_echo(rig.ports[1], false, 2 * MIB);
	} while (sent != before);
	assert_true(rig_figures(&rig, 0).bytes_out < 32 * MIB);
	check_echo(rig.ports[1], false, 10 * MIB);
	close(fd);
	free(buf);
	/* Unsent bytes must not hold the end up. */
	rig_stop(&rig);
	peer_stop(&echo);
	peer_stop(&deaf);
}

static int start_sshd(void **state)
{
	if (test_sshd_available())
		test_sshd_start(&sshd, "MaxStartups 100\n");
	return 0;
}

static int stop_sshd(void **state)
{
	if (test_sshd_available())
		test_sshd_stop(&sshd);
	return 0;
}

int main(void)
{
	const struct CMUnitTest plain[] = {
	    cmocka_unit_test(none_to_start), cmocka_unit_test(does_not_wait_for_ever)};
	const struct CMUnitTest real[] = {
	    cmocka_unit_test(each_kind_of_address),
	    cmocka_unit_test(many_at_once),
	    cmocka_unit_test(keys_renewed_under_load),
	    cmocka_unit_test(half_closed_by_the_local_side),
	    cmocka_unit_test(half_closed_by_the_far_side),
	    cmocka_unit_test(far_program_gone),
	    cmocka_unit_test(local_program_gone),
	    cmocka_unit_test(a_reader_that_stops),
	    cmocka_unit_test(a_far_reader_that_stops),
	};
	int failed = cmocka_run_group_tests(plain, NULL, NULL);

	if (!test_sshd_available()) {
		print_message("SKIPPED: needs root, /usr/sbin/sshd and ssh-keygen\n");
		return failed;
	}
	return failed + cmocka_run_group_tests(real, start_sshd, stop_sshd);
}

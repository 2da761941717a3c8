/*
 * Port forwards through a real sshd to local servers that play the programs on the instance.
 */
#include "conf/log.h"
#include "tests/fake/peers.h"
#include "tests/fake/sshd.h"
#include "transport/forwards.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1024u * 1024)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static struct test_sshd sshd;

/* One set of forwards, made from texts in which %u stands for a free local port. */
struct rig {
	struct profile profile;
	struct ssh_target target;
	struct forward_spec specs[8];
	unsigned ports[8];
	struct forwards *forwards;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void pause_ms(unsigned ms)
{
	struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&pause, NULL);
}

/* Polls until the condition holds, at most so many milliseconds. */
#define WAIT(condition, ms)                                                                        \
	do {                                                                                       \
		uint64_t until_ = now_ms() + (ms);                                                 \
		while (!(condition)) {                                                             \
			assert_true(now_ms() < until_);                                            \
			pause_ms(5);                                                               \
		}                                                                                  \
	} while (0)

static void rig_init(struct rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	rig->profile = sshd.profile;
	rig->profile.forwards = rig->specs;
	rig->target = (struct ssh_target){.profile = &rig->profile, .connect_timeout = 20};
}

/* listen: "127.0.0.1" or as in a forward; to: "localhost:80", "/a/socket". Returns the local port.
 */
static unsigned rig_add_port(struct rig *rig, const char *listen, unsigned port, const char *to)
{
	struct conf_error error;
	char text[256];

	snprintf(text, sizeof(text), "%s:%u:%s", listen, port, to);
	assert_int_equal(forward_spec_parse(text, &rig->specs[rig->profile.n_forwards], &error), 0);
	rig->ports[rig->profile.n_forwards++] = port;
	return port;
}

static unsigned rig_add(struct rig *rig, const char *listen, const char *to)
{
	return rig_add_port(rig, listen, test_free_port(), to);
}

static unsigned rig_add_peer(struct rig *rig, const struct peer *peer)
{
	char to[64];

	snprintf(to, sizeof(to), "127.0.0.1:%u", peer->port);
	return rig_add(rig, "127.0.0.1", to);
}

static void rig_start(struct rig *rig)
{
	assert_int_equal(forwards_start(&rig->forwards, &rig->target), 0);
	assert_non_null(rig->forwards);
	assert_int_equal(forwards_count(rig->forwards), rig->profile.n_forwards);
}

static void rig_stop(struct rig *rig)
{
	uint64_t start = now_ms();

	forwards_free(rig->forwards);
	assert_true(now_ms() - start < 2000);
	for (size_t i = 0; i < rig->profile.n_forwards; i++)
		forward_spec_fini(&rig->specs[i]);
}

static struct forward_figures figures(struct rig *rig, unsigned index)
{
	struct forward_figures out;

	forwards_figures(rig->forwards, index, &out);
	return out;
}

static struct {
	const char *what[3];
	unsigned count;
	long long since;
} wanted;

static void count_line(void *arg, const char *line, long long when)
{
	for (int i = 0; i < 3 && wanted.what[i]; i++) {
		if (!strstr(line, wanted.what[i]))
			return;
	}
	wanted.count++;
}

/* How many of the last warnings hold all of these. */
static unsigned warned(const char *a, const char *b)
{
	wanted.what[0] = a;
	wanted.what[1] = b;
	wanted.what[2] = NULL;
	wanted.count = 0;
	log_recent(count_line, NULL);
	return wanted.count;
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

struct sending {
	int fd;
	uint64_t bytes;
	bool ok;
};

static void *sender_main(void *arg)
{
	struct sending *sending = arg;

	sending->ok = peer_send(sending->fd, sending->bytes) && !shutdown(sending->fd, SHUT_WR);
	return NULL;
}

/* Sends, ends, and reads the echo meanwhile. Any thread. */
static bool echoes(unsigned port, bool v6, uint64_t bytes)
{
	struct sending sending = {.fd = peer_connect(port, v6), .bytes = bytes};
	pthread_t thread;
	int64_t got = -1;

	if (sending.fd < 0)
		return false;
	if (!pthread_create(&thread, NULL, sender_main, &sending)) {
		got = peer_receive(sending.fd);
		shutdown(sending.fd, SHUT_RDWR);
		pthread_join(thread, NULL);
	}
	close(sending.fd);
	return sending.ok && got == (int64_t)bytes;
}

static void check_echo(unsigned port, bool v6, uint64_t bytes)
{
	assert_true(echoes(port, v6, bytes));
}

/* --- the plain cases ---------------------------------------------------------- */

static void none_to_start(void **state)
{
	struct profile profile = {.n_forwards = 0};
	struct ssh_target target = {.profile = &profile};
	struct forwards *forwards = (void *)1;

	assert_int_equal(forwards_start(&forwards, &target), 0);
	assert_null(forwards);
	assert_int_equal(forwards_count(NULL), 0);
	assert_false(forwards_up(NULL));
	forwards_free(NULL);
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
	rig_init(&rig);
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
	assert_true(recv(fd, page, sizeof(page) - 1, MSG_WAITALL) > 0);
	assert_non_null(strstr(page, "\r\n\r\nhello\n"));
	close(fd);
	WAIT(figures(&rig, 5).connections == 0, 5000);
	assert_true(figures(&rig, 4).listening);
	assert_int_equal(figures(&rig, 4).accepted, 1);
	assert_int_equal(figures(&rig, 4).bytes_in, 300000);
	assert_int_equal(figures(&rig, 4).bytes_out, 300000);
	assert_string_equal(figures(&rig, 4).last_error, "");
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

	client->ok = echoes(client->port, false, 300000);
	return NULL;
}

static void many_at_once(void **state)
{
	struct rig rig;
	struct peer echo;
	struct client clients[80];
	unsigned port;

	peer_start(&echo, PEER_ECHO, 0, NULL);
	rig_init(&rig);
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
	WAIT(figures(&rig, 0).connections == 0, 5000);
	assert_int_equal(figures(&rig, 0).accepted, 80);
	assert_int_equal(figures(&rig, 0).bytes_in, 80 * 300000);
	rig_stop(&rig);
	peer_stop(&echo);
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
	rig_init(&rig);
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
	assert_int_equal(recv(fd, answer, sizeof(answer), MSG_WAITALL), sizeof(answer));
	assert_int_equal(answer[0], total);
	assert_int_equal(answer[1], hash);
	assert_int_equal(recv(fd, answer, 1, 0), 0);
	close(fd);
	free(buf);
	assert_int_equal(figures(&rig, 0).bytes_out, total);
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
	rig_init(&rig);
	rig_add_peer(&rig, &source);
	rig_start(&rig);
	fd = peer_connect(rig.ports[0], false);
	assert_true(fd >= 0);
	assert_int_equal(peer_receive(fd), total);
	/* It has ended its side; ours still works. */
	assert_int_equal(figures(&rig, 0).connections, 1);
	assert_true(peer_send(fd, 500000));
	WAIT(atomic_load(&source.read) == 500000, 10000);
	assert_int_equal(figures(&rig, 0).connections, 1);
	close(fd);
	WAIT(figures(&rig, 0).connections == 0, 5000);
	WAIT(atomic_load(&source.served) == 1, 5000);
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
	rig_init(&rig);
	rig_add_peer(&rig, &http);
	rig_start(&rig);
	fd = peer_connect(rig.ports[0], false);
	assert_true(fd >= 0);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
	while ((n = recv(fd, page, sizeof(page), 0)) > 0)
		;
	assert_int_equal(n, 0);
	/* Its socket is closed: what we send now meets a reset there. */
	WAIT(send(fd, page, sizeof(page), MSG_NOSIGNAL) < 0, 10000);
	close(fd);
	WAIT(figures(&rig, 0).connections == 0, 5000);
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
	rig_init(&rig);
	rig_add_peer(&rig, &source);
	rig_add_peer(&rig, &echo);
	rig_start(&rig);
	for (int i = 0; i < 10; i++) {
		int one = peer_connect(rig.ports[0], false),
		    two = peer_connect(rig.ports[1], false);

		assert_true(one >= 0 && two >= 0);
		assert_int_equal(recv(one, &byte, 1, 0), 1);
		assert_int_equal(send(two, &byte, 1, 0), 1);
		assert_int_equal(recv(two, &byte, 1, 0), 1);
		setsockopt(two, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(one);
		close(two);
	}
	WAIT(figures(&rig, 0).connections == 0 && figures(&rig, 1).connections == 0, 10000);
	WAIT(atomic_load(&source.served) == 10 && atomic_load(&echo.served) == 10, 10000);
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
	rig_init(&rig);
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
		before = figures(&rig, 0).bytes_in;
		check_echo(rig.ports[1], false, 5 * MIB);
	} while (figures(&rig, 0).bytes_in != before || !before);
	/* The others go on meanwhile, and nothing grows: ten windows, a buffer each, and what
	 * moves. */
	check_echo(rig.ports[1], false, 10 * MIB);
	assert_int_equal(figures(&rig, 0).bytes_in, before);
	print_message("memory for 10 readers that stopped: %ld KiB\n", resident_kib() - kib);
	if (!SANITIZED)
		assert_true(resident_kib() - kib < 40 * 1024);
	/* One of them goes on: all that it reads is right. */
	{
		uint8_t *got = malloc(8 * MIB), *right = malloc(8 * MIB);

		assert_true(got && right);
		peer_fill(right, 8 * MIB, 0);
		assert_int_equal(recv(fds[0], got, 8 * MIB, MSG_WAITALL), 8 * MIB);
		assert_memory_equal(got, right, 8 * MIB);
		free(got);
		free(right);
	}
	for (int i = 0; i < 10; i++)
		close(fds[i]);
	WAIT(figures(&rig, 0).connections == 0, 10000);
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
	rig_init(&rig);
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
	assert_true(figures(&rig, 0).bytes_out < 32 * MIB);
	check_echo(rig.ports[1], false, 10 * MIB);
	close(fd);
	free(buf);
	/* Unsent bytes must not hold the end up. */
	rig_stop(&rig);
	peer_stop(&echo);
	peer_stop(&deaf);
}

/* --- trouble --------------------------------------------------------------------- */

static void nobody_listens_there(void **state)
{
	struct rig rig;
	struct peer echo;
	unsigned nowhere = test_free_port();
	char to[64], missing[160], byte;

	peer_start(&echo, PEER_ECHO, 0, NULL);
	rig_init(&rig);
	snprintf(to, sizeof(to), "127.0.0.1:%u", nowhere);
	rig_add(&rig, "127.0.0.1", to);
	snprintf(missing, sizeof(missing), "%s/no.sock", sshd.dir);
	rig_add(&rig, "127.0.0.1", missing);
	rig_add_peer(&rig, &echo);
	rig_start(&rig);
	for (unsigned forward = 0; forward < 2; forward++) {
		for (int i = 0; i < 3; i++) {
			int fd = peer_connect(rig.ports[forward], false);

			assert_true(fd >= 0);
			assert_int_equal(recv(fd, &byte, 1, 0), 0);
			close(fd);
		}
		WAIT(figures(&rig, forward).connections == 0, 5000);
		assert_int_equal(figures(&rig, forward).accepted, 3);
	}
	/* Three times each, and said once. */
	assert_int_equal(warned("nobody listens on", to), 1);
	assert_int_equal(warned("nobody listens on", missing), 1);
	assert_non_null(strstr(figures(&rig, 0).last_error, to));
	assert_non_null(strstr(figures(&rig, 1).last_error, missing));
	check_echo(rig.ports[2], false, 1000);
	rig_stop(&rig);
	peer_stop(&echo);
}

static void local_port_taken(void **state)
{
	struct rig rig;
	struct peer echo;
	char where[64];

	peer_start(&echo, PEER_ECHO, 0, NULL);
	rig_init(&rig);
	rig_add_port(&rig, "127.0.0.1", echo.port, "localhost:80");
	rig_add_peer(&rig, &echo);
	rig_start(&rig);
	snprintf(where, sizeof(where), "127.0.0.1:%u", echo.port);
	assert_int_equal(warned("can't listen", where), 1);
	assert_false(figures(&rig, 0).listening);
	assert_non_null(strstr(figures(&rig, 0).last_error, where));
	assert_true(figures(&rig, 1).listening);
	check_echo(rig.ports[1], false, 1000);
	rig_stop(&rig);
	/* None of them: still a handle with figures. */
	rig_init(&rig);
	rig_add_port(&rig, "127.0.0.1", echo.port, "localhost:80");
	rig_start(&rig);
	assert_false(figures(&rig, 0).listening);
	rig_stop(&rig);
	peer_stop(&echo);
}

/* A far port whose queue is full: sshd's connect hangs. Others must not wait for that. */
static void far_host_that_swallows(void **state)
{
	struct rig rig;
	struct peer echo;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fillers[4], stuck[3];
	socklen_t len = sizeof(at);
	uint64_t start;
	char to[64];

	peer_start(&echo, PEER_ECHO, 0, NULL);
	assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(listener, 0), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	for (int i = 0; i < 4; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		connect(fillers[i], (struct sockaddr *)&at, sizeof(at));
	}
	rig_init(&rig);
	snprintf(to, sizeof(to), "127.0.0.1:%u", ntohs(at.sin_port));
	rig_add(&rig, "127.0.0.1", to);
	rig_add_peer(&rig, &echo);
	rig_start(&rig);
	check_echo(rig.ports[1], false, 1000);
	for (int i = 0; i < 3; i++)
		stuck[i] = peer_connect(rig.ports[0], false);
	start = now_ms();
	check_echo(rig.ports[1], false, 1000);
	check_echo(rig.ports[1], false, 1000);
	print_message(
	    "behind a far host that swallows packets: %u ms\n", (unsigned)(now_ms() - start));
	assert_true(now_ms() - start < 10000);
	for (int i = 0; i < 3; i++)
		close(stuck[i]);
	rig_stop(&rig);
	for (int i = 0; i < 4; i++)
		close(fillers[i]);
	close(listener);
	peer_stop(&echo);
}

/* --- the link ---------------------------------------------------------------------- */

/* The same sshd again, after test_sshd_kill. */
static void start_again(void)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/sshd_config", sshd.dir);
	sshd.pid = fork();
	assert_true(sshd.pid >= 0);
	if (!sshd.pid) {
		int log = open(sshd.log, O_WRONLY | O_CREAT | O_APPEND, 0600);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(log, 1);
		dup2(log, 2);
		execl("/usr/sbin/sshd", "/usr/sbin/sshd", "-D", "-e", "-f", path, (char *)NULL);
		_exit(127);
	}
}

static void signal_children(pid_t pid, int sig)
{
	char path[64];
	FILE *in;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	in = fopen(path, "re");
	if (!in)
		return;
	while (fscanf(in, "%d", &child) == 1) {
		signal_children(child, sig);
		kill(child, sig);
	}
	fclose(in);
}

static void link_lost_and_rebuilt(void **state)
{
	struct rig rig;
	struct peer echo;
	char byte = 'x';
	int fd, late;

	peer_start(&echo, PEER_ECHO, 0, NULL);
	rig_init(&rig);
	rig_add_peer(&rig, &echo);
	rig_start(&rig);
	fd = peer_connect(rig.ports[0], false);
	assert_true(fd >= 0);
	assert_int_equal(send(fd, &byte, 1, 0), 1);
	assert_int_equal(recv(fd, &byte, 1, 0), 1);
	test_sshd_kill(&sshd);
	/* Cut off, which is no proper end of the data. */
	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close(fd);
	WAIT(!forwards_up(rig.forwards), 1000);
	WAIT(strstr(figures(&rig, 0).last_error, "refused"), 5000);
	assert_int_equal(figures(&rig, 0).connections, 0);
	/* Down: accepted and closed, with a word of it. */
	late = peer_connect(rig.ports[0], false);
	assert_true(late >= 0);
	assert_int_equal(recv(late, &byte, 1, 0), 0);
	close(late);
	assert_int_equal(warned("there is no link to the instance", NULL), 1);
	start_again();
	WAIT(forwards_up(rig.forwards), 20000);
	check_echo(rig.ports[0], false, 100000);
	rig_stop(&rig);
	peer_stop(&echo);
}

static void link_goes_silent(void **state)
{
	struct rig rig;
	struct peer echo;
	uint64_t start;
	char byte = 'x';
	int fd;

	peer_start(&echo, PEER_ECHO, 0, NULL);
	rig_init(&rig);
	rig_add_peer(&rig, &echo);
	rig_start(&rig);
	fd = peer_connect(rig.ports[0], false);
	assert_true(fd >= 0);
	assert_int_equal(send(fd, &byte, 1, 0), 1);
	assert_int_equal(recv(fd, &byte, 1, 0), 1);
	/* Silent, but alive: pings keep it. Ended early, so as not to cost the suite much. */
	start = now_ms();
	WAIT(now_ms() - start > 7000, 8000);
	assert_true(forwards_up(rig.forwards));
	signal_children(sshd.pid, SIGSTOP);
	start = now_ms();
	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	print_message("a silent link is noticed after %u ms\n", (unsigned)(now_ms() - start));
	assert_true(now_ms() - start < 17000);
	close(fd);
	/* The listener still answers: a new session stands at once. */
	check_echo(rig.ports[0], false, 1000);
	/* And the end does not wait for a link that has just gone silent. */
	fd = peer_connect(rig.ports[0], false);
	assert_int_equal(send(fd, &byte, 1, 0), 1);
	assert_int_equal(recv(fd, &byte, 1, 0), 1);
	signal_children(sshd.pid, SIGSTOP);
	assert_int_equal(send(fd, &byte, 1, 0), 1);
	rig_stop(&rig);
	signal_children(sshd.pid, SIGCONT);
	close(fd);
	peer_stop(&echo);
}

/* An "sshd" that accepts and says nothing. */
static void ends_while_dialling(void **state)
{
	struct rig rig;
	struct peer deaf;
	char byte;
	int fd;

	peer_start(&deaf, PEER_DEAF, 0, NULL);
	rig_init(&rig);
	rig.profile.port = deaf.port;
	rig_add(&rig, "127.0.0.1", "localhost:80");
	rig_start(&rig);
	fd = peer_connect(rig.ports[0], false);
	assert_true(fd >= 0);
	assert_false(forwards_up(rig.forwards));
	/* It is held for ten seconds, then closed. */
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	close(fd);
	assert_int_equal(figures(&rig, 0).connections, 0);
	rig_stop(&rig);
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
	const struct CMUnitTest plain[] = {cmocka_unit_test(none_to_start)};
	const struct CMUnitTest real[] = {
	    cmocka_unit_test(each_kind_of_address),
	    cmocka_unit_test(many_at_once),
	    cmocka_unit_test(half_closed_by_the_local_side),
	    cmocka_unit_test(half_closed_by_the_far_side),
	    cmocka_unit_test(far_program_gone),
	    cmocka_unit_test(local_program_gone),
	    cmocka_unit_test(a_reader_that_stops),
	    cmocka_unit_test(a_far_reader_that_stops),
	    cmocka_unit_test(nobody_listens_there),
	    cmocka_unit_test(local_port_taken),
	    cmocka_unit_test(far_host_that_swallows),
	    cmocka_unit_test(link_lost_and_rebuilt),
	    cmocka_unit_test(link_goes_silent),
	    cmocka_unit_test(ends_while_dialling),
	};
	int failed = cmocka_run_group_tests(plain, NULL, NULL);

	if (!test_sshd_available()) {
		print_message("SKIPPED: needs root, /usr/sbin/sshd and ssh-keygen\n");
		return failed;
	}
	return failed + cmocka_run_group_tests(real, start_sshd, stop_sshd);
}

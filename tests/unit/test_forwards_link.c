/*
 * Port forwards through a real sshd: ports that are taken or lead nowhere, links that break or go
 * silent.
 */
#include "tests/fake/forward_rig.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
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
#include <unistd.h>

#include <cmocka.h>

static struct test_sshd sshd;

static void check_echo(unsigned port, bool v6, uint64_t bytes)
{
	assert_true(rig_echoes(port, v6, bytes));
}

/* --- trouble --------------------------------------------------------------------- */

static void nobody_listens_there(void **state)
{
	struct rig rig;
	struct peer echo;
	unsigned nowhere = test_free_port();
	char to[64], missing[160], byte;

	peer_start(&echo, PEER_ECHO, 0, NULL);
	rig_init(&rig, &sshd);
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
			assert_int_equal(peer_recv(fd, &byte, 1, 0), 0);
			close(fd);
		}
		RIG_WAIT(rig_figures(&rig, forward).connections == 0, 5000);
		assert_int_equal(rig_figures(&rig, forward).accepted, 3);
	}
	/* Three times each, and said once. */
	assert_int_equal(rig_warned("nobody listens on", to), 1);
	assert_int_equal(rig_warned("nobody listens on", missing), 1);
	assert_non_null(strstr(rig_figures(&rig, 0).last_error, to));
	assert_non_null(strstr(rig_figures(&rig, 1).last_error, missing));
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
	rig_init(&rig, &sshd);
	rig_add_port(&rig, "127.0.0.1", echo.port, "localhost:80");
	rig_add_peer(&rig, &echo);
	rig_start(&rig);
	snprintf(where, sizeof(where), "127.0.0.1:%u", echo.port);
	assert_int_equal(rig_warned("can't listen", where), 1);
	assert_false(rig_figures(&rig, 0).listening);
	assert_non_null(strstr(rig_figures(&rig, 0).last_error, where));
	assert_true(rig_figures(&rig, 1).listening);
	check_echo(rig.ports[1], false, 1000);
	rig_stop(&rig);
	/* None of them: still a handle with figures. */
	rig_init(&rig, &sshd);
	rig_add_port(&rig, "127.0.0.1", echo.port, "localhost:80");
	rig_start(&rig);
	assert_false(rig_figures(&rig, 0).listening);
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
	rig_init(&rig, &sshd);
	snprintf(to, sizeof(to), "127.0.0.1:%u", ntohs(at.sin_port));
	rig_add(&rig, "127.0.0.1", to);
	rig_add_peer(&rig, &echo);
	rig_start(&rig);
	check_echo(rig.ports[1], false, 1000);
	for (int i = 0; i < 3; i++)
		stuck[i] = peer_connect(rig.ports[0], false);
	start = rig_now_ms();
	check_echo(rig.ports[1], false, 1000);
	check_echo(rig.ports[1], false, 1000);
	print_message(
	    "behind a far host that swallows packets: %u ms\n", (unsigned)(rig_now_ms() - start));
	assert_true(rig_now_ms() - start < 10000);
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
	rig_init(&rig, &sshd);
	rig_add_peer(&rig, &echo);
	rig_start(&rig);
	fd = peer_connect(rig.ports[0], false);
	assert_true(fd >= 0);
	assert_int_equal(send(fd, &byte, 1, 0), 1);
	assert_int_equal(peer_recv(fd, &byte, 1, 0), 1);
	test_sshd_kill(&sshd);
	/* Cut off, which is no proper end of the data. */
	assert_int_equal(peer_recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close(fd);
	RIG_WAIT(!forwards_up(rig.forwards), 1000);
	RIG_WAIT(strstr(rig_figures(&rig, 0).last_error, "refused"), 5000);
	assert_int_equal(rig_figures(&rig, 0).connections, 0);
	/* Down: accepted and closed, with a word of it. */
	late = peer_connect(rig.ports[0], false);
	assert_true(late >= 0);
	assert_int_equal(peer_recv(late, &byte, 1, 0), 0);
	close(late);
	assert_int_equal(rig_warned("there is no link to the instance", NULL), 1);
	start_again();
	RIG_WAIT(forwards_up(rig.forwards), 20000);
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
	rig_init(&rig, &sshd);
	rig_add_peer(&rig, &echo);
	rig_start(&rig);
	fd = peer_connect(rig.ports[0], false);
	assert_true(fd >= 0);
	assert_int_equal(send(fd, &byte, 1, 0), 1);
	assert_int_equal(peer_recv(fd, &byte, 1, 0), 1);
	/* Silent, but alive: pings keep it. Ended early, so as not to cost the suite much. */
	start = rig_now_ms();
	RIG_WAIT(rig_now_ms() - start > 7000, 8000);
	assert_true(forwards_up(rig.forwards));
	signal_children(sshd.pid, SIGSTOP);
	start = rig_now_ms();
	assert_int_equal(peer_recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	print_message("a silent link is noticed after %u ms\n", (unsigned)(rig_now_ms() - start));
	assert_true(rig_now_ms() - start < 17000);
	close(fd);
	/* The listener still answers: a new session stands at once. */
	check_echo(rig.ports[0], false, 1000);
	/* And the end does not wait for a link that has just gone silent. */
	fd = peer_connect(rig.ports[0], false);
	assert_int_equal(send(fd, &byte, 1, 0), 1);
	assert_int_equal(peer_recv(fd, &byte, 1, 0), 1);
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
	rig_init(&rig, &sshd);
	rig.profile.port = deaf.port;
	rig_add(&rig, "127.0.0.1", "localhost:80");
	rig_start(&rig);
	fd = peer_connect(rig.ports[0], false);
	assert_true(fd >= 0);
	assert_false(forwards_up(rig.forwards));
	/* It is held for ten seconds, then closed. */
	assert_int_equal(peer_recv(fd, &byte, 1, 0), 0);
	close(fd);
	assert_int_equal(rig_figures(&rig, 0).connections, 0);
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
	const struct CMUnitTest real[] = {
	    cmocka_unit_test(nobody_listens_there),
	    cmocka_unit_test(local_port_taken),
	    cmocka_unit_test(far_host_that_swallows),
	    cmocka_unit_test(link_lost_and_rebuilt),
	    cmocka_unit_test(link_goes_silent),
	    cmocka_unit_test(ends_while_dialling),
	};

	if (!test_sshd_available()) {
		print_message("SKIPPED: needs root, /usr/sbin/sshd and ssh-keygen\n");
		return 0;
	}
	return cmocka_run_group_tests(real, start_sshd, stop_sshd);
}

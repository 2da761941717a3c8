/* The mount's guard: what befalls it between fork() and its first line is not taken for the
 * daemon's. */
#include "fs/guard.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

/* Mounted everywhere, and by no FUSE program: the guard goes as it finds no connection to end. */
#define MOUNTPOINT "/proc"

static int told[2];
static bool hang_up;

/* The terminal hangs up when nothing of the guard has run yet. */
static void in_child(void)
{
	if (hang_up && (kill(getpid(), SIGHUP) || write(told[1], "", 1) != 1))
		_exit(1);
}

static void on_signal(uv_signal_t *signal, int number)
{
	unsigned *heard = signal->data;

	(void)number;
	++*heard;
}

static void its_signals_are_its_own(void **state)
{
	uv_loop_t loop;
	uv_signal_t signal;
	unsigned heard = 0;
	sigset_t none, now;
	pid_t guard;
	char byte;

	(void)state;
	if (geteuid())
		skip();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	assert_int_equal(pipe(told), 0);
	assert_int_equal(pthread_atfork(NULL, NULL, in_child), 0);
	assert_int_equal(uv_loop_init(&loop), 0);
	uv_signal_init(&loop, &signal);
	signal.data = &heard;
	assert_int_equal(uv_signal_start(&signal, on_signal, SIGHUP), 0);
	hang_up = true;
	guard = guard_start(MOUNTPOINT);
	hang_up = false;
	assert_true(guard > 0);
	assert_int_equal(read(told[0], &byte, 1), 1);
	guard_stop(guard);
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(heard, 0);

	/* and the daemon hears its own, as before */
	sigprocmask(SIG_SETMASK, NULL, &now);
	assert_int_equal(sigismember(&now, SIGHUP), 0);
	kill(getpid(), SIGHUP);
	uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(heard, 1);
	uv_close((uv_handle_t *)&signal, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(its_signals_are_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

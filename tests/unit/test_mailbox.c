/* The mailbox: order, posting from several threads, closing with mail in it and behind it. */
#include "transport/mailbox.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define THREADS 4
#define EACH 5000

struct rig {
	uv_loop_t loop;
	struct mailbox *mailbox;
	unsigned ran;
	atomic_uint dropped;
	unsigned next[THREADS]; /* the number expected from each thread */
	unsigned close_at;	/* close the mailbox from within this many-th run; 0: never */
};

struct letter {
	struct mail mail;
	struct rig *rig;
	unsigned thread, number;
};

static void letter_run(struct mail *mail)
{
	struct letter *letter = (struct letter *)mail;
	struct rig *rig = letter->rig;

	assert_int_equal(letter->number, rig->next[letter->thread]);
	rig->next[letter->thread]++;
	rig->ran++;
	free(letter);
	if (rig->ran == rig->close_at)
		mailbox_close(rig->mailbox);
}

static void letter_drop(struct mail *mail)
{
	struct letter *letter = (struct letter *)mail;

	atomic_fetch_add(&letter->rig->dropped, 1);
	free(letter);
}

static void post(struct rig *rig, unsigned thread, unsigned number)
{
	struct letter *letter = malloc(sizeof(*letter));

	if (!letter)
		abort();
	*letter = (struct letter){{.run = letter_run, .drop = letter_drop}, rig, thread, number};
	mailbox_post(rig->mailbox, &letter->mail);
}

static void rig_init(struct rig *rig)
{
	*rig = (struct rig){.ran = 0};
	assert_int_equal(uv_loop_init(&rig->loop), 0);
	assert_int_equal(mailbox_new(&rig->mailbox, &rig->loop), 0);
}

static void rig_fini(struct rig *rig)
{
	uv_run(&rig->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&rig->loop), 0);
}

static void runs_in_order(void **state)
{
	struct rig rig;

	rig_init(&rig);
	for (unsigned i = 0; i < 100; i++)
		post(&rig, 0, i);
	assert_int_equal(rig.ran, 0); /* never from inside the call */
	uv_run(&rig.loop, UV_RUN_ONCE);
	assert_int_equal(rig.ran, 100);
	mailbox_close(rig.mailbox);
	rig_fini(&rig);
	assert_int_equal(rig.dropped, 0);
}

struct poster {
	struct rig *rig;
	unsigned thread;
	struct mailbox *mailbox;
};

static void *poster_main(void *arg)
{
	struct poster *poster = arg;

	for (unsigned i = 0; i < EACH; i++)
		post(poster->rig, poster->thread, i);
	mailbox_put(poster->mailbox);
	return NULL;
}

static void start_posters(struct rig *rig, struct poster *posters, pthread_t *threads)
{
	for (unsigned i = 0; i < THREADS; i++) {
		posters[i] = (struct poster){rig, i, mailbox_get(rig->mailbox)};
		assert_int_equal(pthread_create(&threads[i], NULL, poster_main, &posters[i]), 0);
	}
}

static void takes_from_many_threads(void **state)
{
	struct poster posters[THREADS];
	pthread_t threads[THREADS];
	struct rig rig;

	rig_init(&rig);
	start_posters(&rig, posters, threads);
	while (rig.ran < THREADS * EACH)
		uv_run(&rig.loop, UV_RUN_ONCE);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	mailbox_close(rig.mailbox);
	rig_fini(&rig);
}

static void drops_what_is_queued_at_close(void **state)
{
	struct rig rig;

	rig_init(&rig);
	for (unsigned i = 0; i < 10; i++)
		post(&rig, 0, i);
	mailbox_get(rig.mailbox);
	mailbox_close(rig.mailbox);
	assert_int_equal(rig.dropped, 10);
	post(&rig, 0, 0); /* a session's thread that comes late */
	assert_int_equal(rig.dropped, 11);
	rig_fini(&rig);
	post(&rig, 0, 0); /* after libuv has forgotten it */
	assert_int_equal(rig.dropped, 12);
	assert_int_equal(rig.ran, 0);
	mailbox_put(rig.mailbox);
}

static void closes_from_inside_a_run(void **state)
{
	struct rig rig;

	rig_init(&rig);
	rig.close_at = 3;
	for (unsigned i = 0; i < 10; i++)
		post(&rig, 0, i);
	rig_fini(&rig);
	assert_int_equal(rig.ran, 3);
	assert_int_equal(rig.dropped, 7);
}

static void closes_while_threads_post(void **state)
{
	struct poster posters[THREADS];
	pthread_t threads[THREADS];
	struct rig rig;

	rig_init(&rig);
	rig.close_at = EACH;
	start_posters(&rig, posters, threads);
	rig_fini(&rig);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(rig.ran, EACH);
	assert_int_equal(rig.ran + rig.dropped, THREADS * EACH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(runs_in_order),
	    cmocka_unit_test(takes_from_many_threads),
	    cmocka_unit_test(drops_what_is_queued_at_close),
	    cmocka_unit_test(closes_from_inside_a_run),
	    cmocka_unit_test(closes_while_threads_post),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

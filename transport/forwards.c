/*
 * The forwards' thread and handle.
 *
 * Each turn of the loop: libuv runs the callbacks of sockets, timers and dials; before it sleeps
 * again, forwards_work() does what they gave rise to.
 */
#include "transport/forwards.h"
#include "conf/log.h"
#include "transport/forwards_internal.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LEAVE_SECONDS 2

#define TICK_BUSY 1000
#define TICK_IDLE 5000

static int64_t clock_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

uint64_t forwards_now(void)
{
	return (uint64_t)clock_ms(CLOCK_MONOTONIC);
}

/* --- what goes wrong ------------------------------------------------------------ */

void forward_set_error(struct forward *forward, const char *text)
{
	pthread_mutex_lock(&forward->owner->lock);
	snprintf(forward->last_error, sizeof(forward->last_error), "%.*s",
	    (int)sizeof(forward->last_error) - 1, text);
	pthread_mutex_unlock(&forward->owner->lock);
}

void forward_warn(struct forward *forward, enum forward_trouble trouble, const char *format, ...)
{
	uint64_t now = forwards_now();
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	forward_set_error(forward, text);
	if (forward->warned_ms[trouble] && now - forward->warned_ms[trouble] < FORWARD_WARN_EVERY) {
		log_verbose("forward %s: %s", forward->text, text);
		return;
	}
	forward->warned_ms[trouble] = now;
	log_warning("forward %s: %s", forward->text, text);
}

/* --- the loop ------------------------------------------------------------------- */

static void forwards_work(struct forwards *forwards)
{
	struct forward_link *link, *next;
	char text[256];

	forwards->again = false;
	forward_links_dialled(forwards);
	forward_dispatch(forwards);
	for (link = TAILQ_FIRST(&forwards->links); link; link = next) {
		next = TAILQ_NEXT(link, entry);
		if (link->state != LINK_UP || !link->dirty)
			continue;
		link->dirty = false;
		if (forward_link_serve(link, text, sizeof(text)))
			forward_link_end(link, text);
	}
}

static void on_more(uv_idle_t *more)
{
}

static void on_prepare(uv_prepare_t *prepare)
{
	struct forwards *forwards = prepare->data;

	forwards_work(forwards);
	if (forwards->again)
		uv_idle_start(&forwards->more, on_more);
	else
		uv_idle_stop(&forwards->more);
}

/*
 * A suspend stops CLOCK_MONOTONIC, but not CLOCK_BOOTTIME. When we alone were stopped (SIGSTOP),
 * the timer is late. Silence in that time says nothing about the link: it gets a ping, and time to
 * answer.
 */
static bool was_stopped(struct forwards *forwards)
{
	int64_t sleep_ms = clock_ms(CLOCK_BOOTTIME) - clock_ms(CLOCK_MONOTONIC);
	uint64_t now = forwards_now();
	bool stopped =
	    sleep_ms - forwards->sleep_ms > 2000 || now - forwards->tick_ms > 2 * TICK_IDLE;

	forwards->sleep_ms = sleep_ms;
	forwards->tick_ms = now;
	return stopped;
}

static void on_tick(uv_timer_t *tick)
{
	struct forwards *forwards = tick->data;
	struct forward_link *link, *next;
	bool resumed = was_stopped(forwards);
	uint64_t now = forwards_now(), delay = TICK_BUSY;
	char text[256];

	for (link = TAILQ_FIRST(&forwards->links); link; link = next) {
		next = TAILQ_NEXT(link, entry);
		if (link->state == LINK_UP && forward_link_tick(link, resumed, text, sizeof(text)))
			forward_link_end(link, text);
	}
	forward_waiting_expire(forwards, NULL);
	if (resumed && !forwards->n_links)
		forwards->dial_at_ms = now;
	if (!forwards->n_links && now >= forwards->dial_at_ms && forwards_wanted(forwards) &&
	    forward_link_dial(forwards))
		forwards->dial_at_ms = now + FORWARD_BACKOFF_MAX;
	if (!forwards->n_links && !forwards_wanted(forwards))
		delay = TICK_IDLE;
	else if (!forwards->n_links && forwards->dial_at_ms < now + delay)
		delay = forwards->dial_at_ms > now ? forwards->dial_at_ms - now : 1;
	else if (forwards->n_links && !forwards->n_conns && atomic_load(&forwards->up))
		delay = TICK_IDLE;
	uv_timer_start(&forwards->tick, on_tick, delay, 0);
}

void forwards_hurry(struct forwards *forwards)
{
	uint64_t now = forwards_now(), delay = TICK_BUSY;

	if (!forwards->n_links)
		delay = forwards->dial_at_ms > now ? forwards->dial_at_ms - now : 1;
	if (atomic_load(&forwards->stop) || uv_timer_get_due_in(&forwards->tick) <= delay)
		return;
	uv_timer_start(&forwards->tick, on_tick, delay, 0);
}

static void close_all(struct forwards *forwards)
{
	struct forward_link *link;
	struct forward_conn *conn;

	TAILQ_FOREACH (link, &forwards->links, entry)
		ssh_cancel_set(&link->cancel);
	while ((link = TAILQ_FIRST(&forwards->links)))
		forward_link_end(link, NULL);
	while ((conn = TAILQ_FIRST(&forwards->waiting)))
		forward_conn_close(conn, false);
	for (unsigned i = 0; i < forwards->count; i++) {
		struct forward *forward = forwards->forwards[i];

		for (unsigned j = 0; j < forward->n_listeners; j++) {
			uv_handle_t *handle = (uv_handle_t *)&forward->listeners[j];

			if (!uv_is_closing(handle))
				uv_close(handle, NULL);
		}
		atomic_store(&forward->listening, false);
	}
	uv_close((uv_handle_t *)&forwards->wake, NULL);
	uv_close((uv_handle_t *)&forwards->prepare, NULL);
	uv_close((uv_handle_t *)&forwards->more, NULL);
	uv_close((uv_handle_t *)&forwards->tick, NULL);
}

static void on_wake(uv_async_t *wake)
{
	struct forwards *forwards = wake->data;

	/* Dials that are done are looked at in forwards_work. */
	forward_orders_take(forwards);
	if (atomic_load(&forwards->stop) && !uv_is_closing((uv_handle_t *)wake))
		close_all(forwards);
}

static void dispose(struct forwards *forwards)
{
	uv_loop_close(&forwards->loop);
	forward_orders_drop(forwards);
	pthread_mutex_destroy(&forwards->lock);
	for (unsigned i = 0; i < forwards->count; i++) {
		if (forwards->forwards[i]->spec == &forwards->forwards[i]->own)
			forward_spec_fini(&forwards->forwards[i]->own);
		free(forwards->forwards[i]);
	}
	free(forwards->forwards);
	free(forwards);
}

static void *thread_main(void *arg)
{
	struct forwards *forwards = arg;

	pthread_setname_np(pthread_self(), "vastfs-forward");
	uv_run(&forwards->loop, UV_RUN_DEFAULT);
	if (atomic_exchange(&forwards->left, true)) /* nobody has waited for it */
		dispose(forwards);
	return NULL;
}

/* --- the handle ------------------------------------------------------------------- */

static int init_loop(struct forwards *forwards)
{
	int err = uv_loop_init(&forwards->loop);

	if (err)
		return err;
	err = uv_async_init(&forwards->loop, &forwards->wake, on_wake);
	if (err) {
		uv_loop_close(&forwards->loop);
		return err;
	}
	/* These can't fail. */
	uv_prepare_init(&forwards->loop, &forwards->prepare);
	uv_idle_init(&forwards->loop, &forwards->more);
	uv_timer_init(&forwards->loop, &forwards->tick);
	forwards->wake.data = forwards->prepare.data = forwards->tick.data = forwards;
	uv_prepare_start(&forwards->prepare, on_prepare);
	uv_timer_start(&forwards->tick, on_tick, 0, 0);
	return 0;
}

static int start_thread(struct forwards *forwards)
{
	sigset_t all, before;
	int err;

	/* Signals are the main thread's; a closed socket is told by EPIPE. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	err = pthread_create(&forwards->thread, NULL, thread_main, forwards);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	forwards->threaded = !err;
	return -err;
}

bool forwards_wanted(const struct forwards *forwards)
{
	for (unsigned i = 0; i < forwards->count; i++) {
		if (!forwards->forwards[i]->gone)
			return true;
	}
	return false;
}

struct forward *forward_new(
    struct forwards *forwards, const struct forward_spec *spec, struct forward_spec *owned)
{
	struct forward *forward = calloc(1, sizeof(*forward)), **grown;

	if (!forward)
		return NULL;
	pthread_mutex_lock(&forwards->lock);
	grown = realloc(forwards->forwards, (forwards->count + 1) * sizeof(struct forward *));
	if (grown) {
		forwards->forwards = grown;
		grown[forwards->count++] = forward;
	}
	pthread_mutex_unlock(&forwards->lock);
	if (!grown) {
		free(forward);
		return NULL;
	}
	forward->owner = forwards;
	if (owned)
		forward->own = *owned;
	forward->spec = owned ? &forward->own : spec;
	forward_spec_print(forward->spec, forward->text, sizeof(forward->text));
	return forward;
}

/* Whether there is something to do for the thread. */
static int listen_all(struct forwards *forwards, const struct profile *profile, bool *any)
{
	for (size_t i = 0; i < profile->n_forwards; i++) {
		struct forward *forward = forward_new(forwards, &profile->forwards[i], NULL);

		if (!forward)
			return -ENOMEM;
		if (forward->spec->kind != FORWARD_REMOTE)
			forward_listen(forward);
		*any = *any || forward->spec->kind == FORWARD_REMOTE ||
		       atomic_load(&forward->listening);
	}
	return 0;
}

int forwards_start(struct forwards **out, const struct ssh_target *target)
{
	struct forwards *forwards = calloc(1, sizeof(*forwards));
	bool any = false;
	int err;

	*out = NULL;
	if (!forwards)
		return -ENOMEM;
	err = init_loop(forwards);
	if (err) {
		free(forwards);
		return err;
	}
	pthread_mutex_init(&forwards->lock, NULL);
	forwards->target = *target;
	/* The file system's session asks about the host key; a second question would only confuse.
	 */
	forwards->target.ask = NULL;
	forwards->backoff_ms = FORWARD_BACKOFF_MIN;
	forwards->sleep_ms = clock_ms(CLOCK_BOOTTIME) - clock_ms(CLOCK_MONOTONIC);
	forwards->tick_ms = forwards_now();
	TAILQ_INIT(&forwards->links);
	TAILQ_INIT(&forwards->waiting);
	STAILQ_INIT(&forwards->orders);
	err = listen_all(forwards, target->profile, &any);
	/* Without a port there is nothing to do but to tell so in the figures. */
	if (!err && any)
		err = start_thread(forwards);
	if (err) {
		forwards_free(forwards);
		return err;
	}
	*out = forwards;
	return 0;
}

int forwards_run(struct forwards *forwards)
{
	return forwards->threaded ? 0 : start_thread(forwards);
}

/* With the lock held: the index-th that is not gone, or NULL. */
static struct forward *nth(struct forwards *forwards, unsigned index)
{
	for (unsigned i = 0; i < forwards->count; i++) {
		if (!forwards->forwards[i]->gone && index-- == 0)
			return forwards->forwards[i];
	}
	return NULL;
}

unsigned forwards_count(struct forwards *forwards)
{
	unsigned n = 0;

	if (!forwards)
		return 0;
	pthread_mutex_lock(&forwards->lock);
	while (nth(forwards, n))
		n++;
	pthread_mutex_unlock(&forwards->lock);
	return n;
}

void forwards_figures(struct forwards *forwards, unsigned index, struct forward_figures *out)
{
	struct forward *forward;

	*out = (struct forward_figures){.listening = false};
	if (!forwards)
		return;
	pthread_mutex_lock(&forwards->lock);
	forward = nth(forwards, index);
	if (forward) {
		memcpy(out->text, forward->text, sizeof(out->text));
		out->listening = atomic_load(&forward->listening);
		out->connections = atomic_load(&forward->connections);
		out->accepted = atomic_load(&forward->accepted);
		out->bytes_in = atomic_load(&forward->bytes_in);
		out->bytes_out = atomic_load(&forward->bytes_out);
		memcpy(out->last_error, forward->last_error, sizeof(out->last_error));
	}
	pthread_mutex_unlock(&forwards->lock);
}

bool forwards_up(struct forwards *forwards)
{
	return forwards && atomic_load(&forwards->up);
}

bool forwards_free(struct forwards *forwards)
{
	struct timespec until;

	if (!forwards)
		return true;
	atomic_store(&forwards->stop, true);
	if (!forwards->threaded) {
		close_all(forwards);
		uv_run(&forwards->loop, UV_RUN_DEFAULT);
		dispose(forwards);
		return true;
	}
	uv_async_send(&forwards->wake);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LEAVE_SECONDS;
	if (pthread_timedjoin_np(forwards->thread, NULL, &until)) {
		pthread_detach(forwards->thread);
		if (!atomic_exchange(&forwards->left, true))
			return false; /* the thread disposes of it */
	}
	dispose(forwards);
	return true;
}

/*
 * Forwards that come and go while the mount runs. The one who asks hands over his socket and is
 * answered from here, so that nobody else waits for a port to be taken. A removed forward stays in
 * the list, as connections on their way to be closed know it.
 */
#include "conf/log.h"
#include "transport/forwards_internal.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORWARDS_MAX 256

struct forward_order {
	STAILQ_ENTRY(forward_order) link;
	int fd;
	bool add;
	char text[];
};

int forwards_order(struct forwards *forwards, int fd, bool add, const char *text)
{
	size_t size = strlen(text) + 1;
	struct forward_order *order = malloc(sizeof(*order) + size);
	int err = order ? forwards_run(forwards) : -ENOMEM;

	if (err) {
		free(order);
		close(fd);
		return err;
	}
	order->fd = fd;
	order->add = add;
	memcpy(order->text, text, size);
	pthread_mutex_lock(&forwards->lock);
	STAILQ_INSERT_TAIL(&forwards->orders, order, link);
	pthread_mutex_unlock(&forwards->lock);
	uv_async_send(&forwards->wake);
	return 0;
}

/* An answer is short: it fits into the socket's buffer. */
static void answer(int fd, const char *error)
{
	json_t *json =
	    error ? json_pack("{s:b, s:s}", "ok", 0, "error", error) : json_pack("{s:b}", "ok", 1);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	if (text && dprintf(fd, "%s\n", text) < 0)
		log_debug("a client is gone before its answer");
	free(text);
	json_decref(json);
}

static struct forward *find(struct forwards *forwards, const char *text)
{
	for (unsigned i = 0; i < forwards->count; i++) {
		struct forward *forward = forwards->forwards[i];

		if (!forward->gone && forward_spec_is_meant(forward->spec, text))
			return forward;
	}
	return NULL;
}

/* --- removing ---------------------------------------------------------------------- */

static void close_conns(struct forward_conn_list *list, const struct forward *forward)
{
	struct forward_conn *conn, *next;

	for (conn = TAILQ_FIRST(list); conn; conn = next) {
		next = TAILQ_NEXT(conn, entry);
		if (conn->forward == forward)
			forward_conn_close(conn, true);
	}
}

static void on_listener_closed(uv_handle_t *handle)
{
}

static void retire(struct forwards *forwards, struct forward *forward)
{
	struct forward_link *link;

	pthread_mutex_lock(&forwards->lock);
	forward->gone = true;
	pthread_mutex_unlock(&forwards->lock);
	atomic_store(&forward->listening, false);
	for (unsigned i = 0; i < forward->n_listeners; i++) {
		uv_handle_t *handle = (uv_handle_t *)&forward->listeners[i];

		if (!uv_is_closing(handle))
			uv_close(handle, on_listener_closed);
	}
	close_conns(&forwards->waiting, forward);
	TAILQ_FOREACH (link, &forwards->links, entry) {
		close_conns(&link->asked, forward);
		close_conns(&link->conns, forward);
		link->dirty = true;
	}
	log_info("forward %s: removed", forward->text);
}

/* --- adding ------------------------------------------------------------------------- */

static void add(struct forwards *forwards, const struct forward_order *order)
{
	struct forward_spec spec;
	struct conf_error error = {""};
	struct forward *forward;
	struct forward_link *link;
	char text[512];

	if (forward_spec_parse(order->text, &spec, &error)) {
		answer(order->fd, error.text);
		return;
	}
	forward = find(forwards, forward_spec_print(&spec, text, sizeof(text)));
	if (forward || forwards->count >= FORWARDS_MAX) {
		answer(order->fd, forward ? "this forward is there already" : "too many forwards");
		forward_spec_fini(&spec);
		return;
	}
	forward = forward_new(forwards, NULL, &spec);
	if (!forward) {
		forward_spec_fini(&spec);
		answer(order->fd, "out of memory");
		return;
	}
	if (spec.kind != FORWARD_REMOTE) {
		forward_listen(forward);
		if (!atomic_load(&forward->listening) || forward->last_error[0]) {
			snprintf(text, sizeof(text), "can't listen on %s", forward->last_error);
			retire(forwards, forward);
			answer(order->fd, text);
			return;
		}
	}
	TAILQ_FOREACH (link, &forwards->links, entry)
		link->dirty = true;
	if (!forwards->n_links) /* a dial that failed long ago must not delay this one */
		forwards->dial_at_ms = forwards_now();
	forwards_hurry(forwards);
	answer(order->fd, NULL);
}

static void carry_out(struct forwards *forwards, const struct forward_order *order)
{
	struct forward *forward;

	if (order->add) {
		add(forwards, order);
		return;
	}
	forward = find(forwards, order->text);
	if (forward)
		retire(forwards, forward);
	answer(order->fd,
	    forward ? NULL : "there is no such forward; `vastfs forward ID list` shows them");
}

static struct forward_order *next_order(struct forwards *forwards)
{
	struct forward_order *order;

	pthread_mutex_lock(&forwards->lock);
	order = STAILQ_FIRST(&forwards->orders);
	if (order)
		STAILQ_REMOVE_HEAD(&forwards->orders, link);
	pthread_mutex_unlock(&forwards->lock);
	return order;
}

void forward_orders_take(struct forwards *forwards)
{
	struct forward_order *order;

	while (!atomic_load(&forwards->stop) && (order = next_order(forwards))) {
		carry_out(forwards, order);
		close(order->fd);
		free(order);
	}
}

void forward_orders_drop(struct forwards *forwards)
{
	struct forward_order *order;

	while ((order = next_order(forwards))) {
		close(order->fd);
		free(order);
	}
}

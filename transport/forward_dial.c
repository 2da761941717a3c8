/*
 * Dialling an SSH session of the forwards, by a helper thread.
 */
#include "conf/log.h"
#include "transport/forwards_internal.h"
#include "transport/sshproc.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void *dial_main(void *arg)
{
	struct forward_link *link = arg;

	if (link->by_process) {
		if (sshproc_master_new(&link->owner->target, &link->cancel, false,
			&link->dialled_process, &link->dial_error))
			link->dialled_process = NULL;
	} else if (ssh_connect(
		       &link->owner->target, &link->cancel, &link->dialled, &link->dial_error)) {
		link->dialled = NULL;
	}
	atomic_store(&link->dial_done, true);
	/* The loop joins this thread before it closes the handle. */
	uv_async_send(&link->owner->wake);
	/* The process ends with the thread that started it, so that it never outlives us. */
	while (link->dialled_process && !atomic_load(&link->cancel.cancelled)) {
		struct pollfd ended = {.fd = link->cancel.event_fd, .events = POLLIN};

		poll(&ended, 1, -1);
	}
	return NULL;
}

int forward_link_dial(struct forwards *forwards)
{
	struct forward_link *link = calloc(1, sizeof(*link));
	int err;

	if (!link)
		return -ENOMEM;
	link->owner = forwards;
	link->by_process = forward_by_process(forwards);
	TAILQ_INIT(&link->asked);
	TAILQ_INIT(&link->conns);
	TAILQ_INIT(&link->closing);
	err = ssh_cancel_init(&link->cancel);
	if (err) {
		free(link);
		return err;
	}
	err = pthread_create(&link->dial_thread, NULL, dial_main, link);
	if (err) {
		ssh_cancel_fini(&link->cancel);
		free(link);
		return -err;
	}
	TAILQ_INSERT_TAIL(&forwards->links, link, entry);
	forwards->n_links++;
	return 0;
}

/* value ± a quarter. */
static uint64_t jitter(uint64_t value)
{
	uint16_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = 1 << 15;
	return value * 3 / 4 + value * random / (2u << 16);
}

/* The next dial comes after a pause that doubles. Failures that time does not heal get longer ones.
 */
static void back_off(struct forwards *forwards, enum ssh_failure kind)
{
	unsigned max = FORWARD_BACKOFF_MAX;

	switch (kind) {
	case SSH_HOST_KEY_CHANGED:
	case SSH_NO_KEY:
	case SSH_KEY_UNUSABLE:
	case SSH_KEY_BEYOND:
	case SSH_DENIED:
	case SSH_NO_ALGORITHM:
		max = 10 * FORWARD_BACKOFF_MAX;
		if (forwards->backoff_ms < FORWARD_BACKOFF_MAX)
			forwards->backoff_ms = FORWARD_BACKOFF_MAX;
		break;
	default:
		break;
	}
	forwards->dial_at_ms = forwards_now() + jitter(forwards->backoff_ms);
	forwards->backoff_ms = forwards->backoff_ms < max / 2 ? forwards->backoff_ms * 2 : max;
}

/* At once after a session that was good; one that dies young is no better than a failed dial. */
void forward_redial(struct forwards *forwards, bool good)
{
	if (good) {
		forwards->backoff_ms = FORWARD_BACKOFF_MIN;
		forwards->dial_at_ms = forwards_now() + jitter(200);
	} else {
		back_off(forwards, SSH_LOST);
	}
	forwards_hurry(forwards);
}

static void dial_failed(struct forwards *forwards, const struct ssh_error *error)
{
	uint64_t now = forwards_now();
	const char *end;
	size_t len;

	if (forward_needs_process(forwards, error->kind)) {
		log_verbose("forwards: %s; trying the ssh command", error->text);
		forwards->dial_at_ms = forwards_now();
		forwards_hurry(forwards);
		return;
	}
	forwards->failures++;
	back_off(forwards, error->kind);
	/* What happened without the advice, which the warning has. */
	end = strstr(error->text, ". ");
	len = end ? (size_t)(end - error->text) : strlen(error->text);
	if (len >= sizeof(forwards->dial_text))
		len = sizeof(forwards->dial_text) - 1;
	memcpy(forwards->dial_text, error->text, len);
	forwards->dial_text[len] = '\0';
	for (unsigned i = 0; i < forwards->count; i++)
		forward_set_error(forwards->forwards[i], forwards->dial_text);
	/* Each new kind of failure once, the same one again after ten minutes. */
	if (error->kind == SSH_HOST_KEY_UNKNOWN && forwards->asked_elsewhere) {
		log_verbose("forwards: waiting for the host key to be accepted");
	} else if (error->kind != forwards->dial_warned ||
		   now - forwards->dial_warned_ms >= 10 * FORWARD_WARN_EVERY) {
		forwards->dial_warned = error->kind;
		forwards->dial_warned_ms = now;
		log_warning("forwards: no connection yet, trying again: %s", error->text);
	} else {
		log_verbose("forwards: %s", error->text);
	}
	if (!atomic_load(&forwards->up))
		forward_waiting_expire(forwards, forwards->dial_text);
}

/* Watches the session's descriptors; without success the dial has failed. */
static void take_dialled(struct forward_link *link)
{
	int err = 0;

	link->connection = link->dialled;
	link->process = link->dialled_process;
	link->poll.data = link;
	if (link->process) {
		err = forward_process_watch(link);
	} else if (link->connection) {
		err = uv_poll_init(&link->owner->loop, &link->poll, ssh_socket(link->connection));
		link->n_handles = !err;
	}
	if (!err)
		return;
	forward_link_hang_up(link);
	link->dial_error.kind = SSH_LOST;
	snprintf(link->dial_error.text, sizeof(link->dial_error.text), "%s", uv_strerror(err));
}

/* A dial has given a session, or not. */
static void dialled(struct forward_link *link)
{
	struct forwards *forwards = link->owner;

	if (!link->dialled_process)
		forward_link_join(link);
	take_dialled(link);
	if (!link->connection && !link->process) {
		struct ssh_error error = link->dial_error;

		forward_link_drop(link);
		dial_failed(forwards, &error);
		return;
	}
	link->state = LINK_UP;
	link->up_ms = link->used_ms = forwards_now();
	if (!atomic_load(&forwards->up))
		log_info("forwards: connected");
	atomic_store(&forwards->up, true);
	forwards->failures = 0;
	forwards->dial_warned = SSH_OK;
	link->dirty = true;
	if (link->connection)
		forward_open_base(link);
}

void forward_links_dialled(struct forwards *forwards)
{
	struct forward_link *link, *next;

	for (link = TAILQ_FIRST(&forwards->links); link; link = next) {
		next = TAILQ_NEXT(link, entry);
		if (link->state == LINK_DIALLING && atomic_load(&link->dial_done))
			dialled(link);
	}
}

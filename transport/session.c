#include "transport/session.h"
#include "conf/log.h"
#include "transport/session_internal.h"
#include <errno.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Packets of one channel on their way to the core. */
struct delivery {
	struct mail mail;
	struct channel *channel; /* counted */
	struct packet_queue packets;
	size_t bytes;
};

/* --- references ------------------------------------------------------------------------ */

struct session *session_get(struct session *session)
{
	atomic_fetch_add(&session->refs, 1);
	return session;
}

void session_put(struct session *session)
{
	if (atomic_fetch_sub(&session->refs, 1) > 1)
		return;
	mailbox_put(session->mailbox);
	ssh_cancel_fini(&session->cancel);
	pthread_mutex_destroy(&session->lock);
	free(session);
}

static struct channel *channel_get(struct channel *channel)
{
	atomic_fetch_add(&channel->refs, 1);
	return channel;
}

static void free_packets(struct packet_queue *queue)
{
	struct packet *packet;

	while ((packet = STAILQ_FIRST(queue))) {
		STAILQ_REMOVE_HEAD(queue, link);
		packet_free(packet);
	}
}

void channel_put(struct channel *channel)
{
	if (atomic_fetch_sub(&channel->refs, 1) > 1)
		return;
	free_packets(&channel->outbox);
	free_packets(&channel->sending);
	packet_free(channel->reading);
	packet_free(channel->version);
	free(channel->stage);
	free(channel->answer);
	session_put(channel->session);
	free(channel);
}

/* --- the way to the core ---------------------------------------------------------------- */

static void delivery_free(struct delivery *delivery)
{
	struct channel *channel = delivery->channel;
	struct session *session = channel->session;

	free_packets(&delivery->packets);
	atomic_fetch_sub(&session->posted, delivery->bytes);
	/* The order matters: the thread sets paused, then looks at posted again. */
	if (atomic_load(&session->paused) && atomic_load(&session->posted) < SESSION_POSTED_MAX / 2)
		session_kick(session);
	free(delivery);
	channel_put(channel);
}

static void delivery_run(struct mail *mail)
{
	struct delivery *delivery = (struct delivery *)mail;
	struct channel *channel = delivery->channel;
	struct packet *packet;

	while (!channel->silent && !channel->session->silent &&
	       (packet = STAILQ_FIRST(&delivery->packets))) {
		STAILQ_REMOVE_HEAD(&delivery->packets, link);
		channel->events->packet(channel->arg, packet);
	}
	delivery_free(delivery);
}

static void delivery_drop(struct mail *mail)
{
	delivery_free((struct delivery *)mail);
}

int channel_deliver(struct channel *channel, struct packet *packet)
{
	struct delivery *delivery = channel->delivery;

	if (!delivery) {
		delivery = calloc(1, sizeof(*delivery));
		if (!delivery) {
			packet_free(packet);
			return -ENOMEM;
		}
		delivery->mail.run = delivery_run;
		delivery->mail.drop = delivery_drop;
		delivery->channel = channel_get(channel);
		STAILQ_INIT(&delivery->packets);
		channel->delivery = delivery;
	}
	STAILQ_INSERT_TAIL(&delivery->packets, packet, link);
	delivery->bytes += packet->size;
	return 0;
}

void channel_post_delivery(struct channel *channel)
{
	struct delivery *delivery = channel->delivery;

	if (!delivery)
		return;
	channel->delivery = NULL;
	atomic_fetch_add(&channel->session->posted, delivery->bytes);
	mailbox_post(channel->session->mailbox, &delivery->mail);
}

static void channel_notice_drop(struct mail *mail)
{
	channel_put(((struct notice *)mail)->owner);
}

static void channel_notice_run(struct mail *mail)
{
	struct notice *notice = (struct notice *)mail;
	struct channel *channel = notice->owner;
	const struct ssh_error *error = notice->failed ? &notice->error : NULL;

	if (!channel->silent && !channel->session->silent) {
		if (notice == &channel->opened)
			channel->events->opened(channel->arg, error);
		else
			channel->events->closed(channel->arg, error);
	}
	channel_put(channel);
}

static void channel_post(
    struct channel *channel, struct notice *notice, const struct ssh_error *error)
{
	notice->mail.run = channel_notice_run;
	notice->mail.drop = channel_notice_drop;
	notice->owner = channel_get(channel);
	notice->failed = error != NULL;
	if (error)
		notice->error = *error;
	mailbox_post(channel->session->mailbox, &notice->mail);
}

void channel_post_opened(struct channel *channel, const struct ssh_error *error)
{
	channel_post(channel, &channel->opened, error);
}

void channel_post_closed(struct channel *channel, const struct ssh_error *error)
{
	channel_post_delivery(channel);
	channel_post(channel, &channel->closed, error);
}

static void session_notice_drop(struct mail *mail)
{
	session_put(((struct notice *)mail)->owner);
}

static void session_notice_run(struct mail *mail)
{
	struct notice *notice = (struct notice *)mail;
	struct session *session = notice->owner;

	if (!session->silent) {
		if (notice == &session->connected)
			session->events->connected(
			    session->arg, notice->failed ? &notice->error : NULL);
		else
			session->events->lost(session->arg, &notice->error);
	}
	session_put(session);
}

void session_post(struct session *session, struct notice *notice, const struct ssh_error *error)
{
	notice->mail.run = session_notice_run;
	notice->mail.drop = session_notice_drop;
	notice->owner = session_get(session);
	notice->failed = error != NULL;
	if (error)
		notice->error = *error;
	mailbox_post(session->mailbox, &notice->mail);
}

/* --- the way from the core -------------------------------------------------------------- */

/* With the lock held: notes that there is something to take. Whether the descriptor must be
 * written. */
static bool kick_locked(struct session *session)
{
	bool asleep = session->sleeping;

	session->kicked = true;
	session->sleeping = false;
	return asleep;
}

static void wake(struct session *session)
{
	uint64_t one = 1;

	if (write(session->cancel.event_fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: it is readable already */
}

void session_kick(struct session *session)
{
	bool asleep;

	pthread_mutex_lock(&session->lock);
	asleep = kick_locked(session);
	pthread_mutex_unlock(&session->lock);
	if (asleep)
		wake(session);
}

static void channel_send(struct stream *stream, struct packet *packet)
{
	struct channel *channel = (struct channel *)stream;
	struct session *session = channel->session;
	bool asleep = false, ended;

	pthread_mutex_lock(&session->lock);
	ended = session->ended;
	if (!ended) {
		STAILQ_INSERT_TAIL(&channel->outbox, packet, link);
		session->out_bytes += packet->len;
		asleep = kick_locked(session);
	}
	pthread_mutex_unlock(&session->lock);
	if (ended)
		packet_free(packet);
	if (asleep)
		wake(session);
}

static void channel_close(struct stream *stream)
{
	struct channel *channel = (struct channel *)stream;
	struct session *session = channel->session;
	bool asleep;

	channel->silent = true;
	pthread_mutex_lock(&session->lock);
	channel->close_asked = true;
	asleep = kick_locked(session);
	pthread_mutex_unlock(&session->lock);
	if (asleep)
		wake(session);
	channel_put(channel);
}

static const struct stream_ops channel_ops = {.send = channel_send, .close = channel_close};

static struct stream *open_channel(struct session *session, const char *command, uint32_t window,
    const struct stream_events *events, void *arg)
{
	struct channel *channel = calloc(1, sizeof(*channel));
	bool asleep = false, ended;

	if (!channel)
		return NULL;
	channel->stream.ops = &channel_ops;
	channel->session = session_get(session);
	channel->events = events;
	channel->arg = arg;
	channel->command = command;
	channel->window = window;
	channel->to = channel->from = channel->mux = -1;
	STAILQ_INIT(&channel->outbox);
	STAILQ_INIT(&channel->sending);
	atomic_init(&channel->refs, 2);
	pthread_mutex_lock(&session->lock);
	ended = session->ended;
	if (!ended) {
		TAILQ_INSERT_TAIL(&session->incoming, channel, link);
		asleep = kick_locked(session);
	}
	pthread_mutex_unlock(&session->lock);
	if (asleep)
		wake(session);
	if (ended) {
		channel_post_opened(channel, &session->why);
		channel_put(channel);
	}
	return &channel->stream;
}

struct stream *session_open_sftp(
    struct session *session, uint32_t window, const struct stream_events *events, void *arg)
{
	return open_channel(session, NULL, window, events, arg);
}

struct stream *session_open_exec(struct session *session, const char *command, uint32_t window,
    const struct stream_events *events, void *arg)
{
	return open_channel(session, command, window, events, arg);
}

void session_figures(struct session *session, struct session_figures *out)
{
	pthread_mutex_lock(&session->lock);
	*out = session->figures;
	out->queued += session->out_bytes;
	pthread_mutex_unlock(&session->lock);
}

void session_ping(struct session *session)
{
	pthread_mutex_lock(&session->lock);
	session->ping = true;
	pthread_mutex_unlock(&session->lock);
	session_kick(session);
}

/* --- the session's life ------------------------------------------------------------------ */

/* All threads of the process, for session_join_all. */
static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t threads_gone;
static pthread_once_t threads_once = PTHREAD_ONCE_INIT;
static int threads;

/*
 * Packets of 128 and 256 KiB come and go thousands of times a second, and libssh2's of 32 KiB with
 * them. By default malloc gives their memory back to the kernel each time a few are free at once,
 * and every page is then faulted in and cleared anew: 100,000 faults for a GiB, a tenth of the
 * processor time.
 */
#define KEEP_FREE (16 * 1024 * 1024)
#define OWN_MAPPING (2 * 1024 * 1024)

static void keep_memory(void)
{
	if (!mallopt(M_TRIM_THRESHOLD, KEEP_FREE) || !mallopt(M_MMAP_THRESHOLD, OWN_MAPPING))
		log_debug("malloc takes no advice");
}

static void threads_init(void)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&threads_gone, &attr);
	pthread_condattr_destroy(&attr);
	keep_memory();
}

static void threads_add(int change)
{
	pthread_once(&threads_once, threads_init);
	pthread_mutex_lock(&threads_lock);
	threads += change;
	if (!threads)
		pthread_cond_broadcast(&threads_gone);
	pthread_mutex_unlock(&threads_lock);
}

static void *thread_main(void *arg)
{
	if (((struct session *)arg)->flags & SESSION_BY_PROCESS)
		sshproc_main(arg);
	else
		session_main(arg);
	/* The process may leave as soon as it is counted out: what OpenSSL keeps for this thread
	 * goes before. */
	OPENSSL_thread_stop();
	threads_add(-1);
	return NULL;
}

/* Starts the thread detached and with every signal blocked: they are the core's to take. */
static int start_thread(struct session *session)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	threads_add(1);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, &attr, thread_main, session);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (err)
		threads_add(-1);
	return -err;
}

int session_new(struct session **out, struct mailbox *mailbox, const struct ssh_target *target,
    unsigned flags, const struct session_events *events, void *arg)
{
	struct session *session = calloc(1, sizeof(*session));
	int err;

	if (!session)
		return -ENOMEM;
	pthread_once(&threads_once, threads_init);
	err = ssh_cancel_init(&session->cancel);
	if (err) {
		free(session);
		return err;
	}
	session->mailbox = mailbox_get(mailbox);
	session->target = target;
	session->flags = flags;
	/* Until it is known where the instance is. */
	snprintf(session->where, sizeof(session->where), "%.300s",
	    target->profile->host ? target->profile->host : target->profile->id);
	session->events = events;
	session->arg = arg;
	atomic_init(&session->refs, 2);
	pthread_mutex_init(&session->lock, NULL);
	TAILQ_INIT(&session->incoming);
	TAILQ_INIT(&session->channels);
	err = start_thread(session);
	if (err) {
		atomic_store(&session->refs, 1);
		session_put(session);
		return err;
	}
	*out = session;
	return 0;
}

void session_free(struct session *session)
{
	if (!session)
		return;
	session->silent = true;
	ssh_cancel_set(&session->cancel);
	session_put(session);
}

int session_join_all(unsigned timeout_ms)
{
	struct timespec until;
	int left;

	pthread_once(&threads_once, threads_init);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&threads_lock);
	while (threads && pthread_cond_timedwait(&threads_gone, &threads_lock, &until) != ETIMEDOUT)
		;
	left = threads;
	pthread_mutex_unlock(&threads_lock);
	return left;
}

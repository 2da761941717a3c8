/*
 * The thread of a session with an ssh process: starts it, waits for the SFTP server's greeting,
 * then sleeps in poll and at each waking serves all channels until nothing moves any more.
 */
#include "transport/sshproc.h"
#include "conf/log.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The longest greeting that is taken; OpenSSH's has 250 bytes. */
#define GREETING_MAX (32u * 1024)
#define SSH_FXP_VERSION_TYPE 2
/* Connecting, host key and authentication have a timeout each in ssh, but together with a person
 * who looks for a passphrase there is none. */
#define STEPS 3
#define PERSON_MS (10 * 60 * 1000u)
/* The process' event, what it says, our own, and three for each channel. */
#define FDS_MAX (3 + 3 * 16)

/* --- the beginning ------------------------------------------------------------------------ */

static int fail_ended(struct session *session, struct ssh_error *error)
{
	struct sshproc *process = session->process;

	sshproc_reap(process);
	sshsays_read(process);
	sshsays_error(process, error);
	return -error->err;
}

/* The stream is at its end, but the process not yet: it will say why presently. */
static int fail_no_stream(struct session *session, uint64_t deadline, struct ssh_error *error)
{
	struct sshproc *process = session->process;
	uint64_t soon = ssh_now() + 2000;
	int err = ssh_wait_fd(
	    &session->cancel, process->pid_fd, POLLIN, soon < deadline ? soon : deadline);

	if (!err && process->says.authenticated) {
		fail_ended(session, error);
		if (error->kind == SSH_LOST)
			session_fail_no_sftp(session, "", error);
		return -error->err;
	}
	if (!err)
		return fail_ended(session, error);
	session_fail_no_sftp(session, "", error);
	return -error->err;
}

static int fail_noisy(
    struct session *session, const uint8_t *bytes, size_t len, struct ssh_error *error)
{
	session_fail_noisy(session, bytes, len, error);
	return -error->err;
}

/* Looks at the greeting's bytes so far. 1 when it is whole, 0 when not, or a negative errno. */
static int look_at_greeting(
    struct session *session, const uint8_t *bytes, size_t len, struct ssh_error *error)
{
	size_t whole;

	if (len < 5)
		return 0;
	whole = 4 + ((size_t)bytes[0] << 24 | (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 |
			bytes[3]);
	if (whole < 9 || whole > GREETING_MAX || bytes[4] != SSH_FXP_VERSION_TYPE)
		return fail_noisy(session, bytes, len, error);
	/* Nothing was asked that could be answered behind it. */
	if (len > whole)
		return fail_noisy(session, bytes + whole, len - whole, error);
	return len == whole;
}

/* One of the waits while connecting: for a word, the stream, the end of the process. */
static int wait_for_greeting(struct session *session, uint64_t deadline)
{
	struct sshproc *process = session->process;
	struct pollfd fds[4] = {{.fd = process->pid_fd, .events = POLLIN},
	    {.fd = process->said_fd, .events = POLLIN},
	    {.fd = process->first_from, .events = POLLIN},
	    {.fd = session->cancel.event_fd, .events = POLLIN}};
	uint64_t now = ssh_now(), count;

	if (atomic_load(&session->cancel.cancelled))
		return -ECANCELED;
	if (now >= deadline)
		return -ETIMEDOUT;
	if (poll(fds, 4, (int)(deadline - now)) < 0 && errno != EINTR)
		return -errno;
	if (fds[3].revents && read(session->cancel.event_fd, &count, sizeof(count)) < 0 &&
	    errno != EAGAIN)
		return -errno;
	if (fds[1].revents)
		sshsays_read(process);
	return 0;
}

static int read_greeting(
    struct session *session, struct packet *packet, uint64_t deadline, struct ssh_error *error)
{
	struct sshproc *process = session->process;
	int err;

	for (;;) {
		ssize_t n = read(
		    process->first_from, packet->data + packet->len, packet->size - packet->len);

		if (n == 0)
			return fail_no_stream(session, deadline, error);
		if (n > 0) {
			packet->len += (size_t)n;
			err = look_at_greeting(session, packet->data, packet->len, error);
			if (err)
				return err > 0 ? 0 : err;
			continue;
		}
		if (errno != EAGAIN && errno != EINTR)
			return fail_no_stream(session, deadline, error);
		err = wait_for_greeting(session, deadline);
		if (err == -ECANCELED)
			return ssh_fail(
			    error, SSH_CANCELLED, ECANCELED, "%s: cancelled", session->where);
		if (err)
			return ssh_fail(error, SSH_TIMEOUT, -err,
			    "%s: ssh did not come to the SFTP server within the time. The link or "
			    "the instance hangs; try again, and look whether the instance is "
			    "running",
			    session->where);
	}
}

static int greet(struct session *session, struct ssh_error *error)
{
	static const uint8_t init[] = {0, 0, 0, 5, 1, 0, 0, 0, 3};
	struct sshproc *process = session->process;
	uint64_t deadline = session->flags & SESSION_MAY_ASK
				? ssh_now() + PERSON_MS
				: ssh_now() + STEPS * (ssh_deadline(session->target) - ssh_now());
	struct packet *packet = packet_new(GREETING_MAX);
	int err;

	if (!packet)
		return ssh_fail(error, SSH_LOST, ENOMEM, "%s: out of memory", session->where);
	packet->len = 0;
	/* An empty pipe takes it; if ssh is gone already, its words say why. */
	if (write(process->first_to, init, sizeof(init)) != (ssize_t)sizeof(init))
		log_debug("%s: ssh takes no input: %s", session->where, strerror(errno));
	err = read_greeting(session, packet, deadline, error);
	if (err)
		packet_free(packet);
	else
		process->version = packet;
	return err;
}

static void publish(struct session *session)
{
	const struct sshproc *process = session->process;

	pthread_mutex_lock(&session->lock);
	memcpy(session->figures.cipher, process->says.cipher, sizeof(session->figures.cipher));
	memcpy(session->figures.peer, process->says.peer, sizeof(session->figures.peer));
	session->figures.heard_ms = process->heard_ms;
	pthread_mutex_unlock(&session->lock);
}

static void reset(struct sshproc *process)
{
	struct sshproc fresh = {.session = process->session,
	    .target = process->target,
	    .cancel = process->cancel,
	    .may_ask = process->may_ask};

	*process = fresh;
	process->pid_fd = process->said_fd = process->said_end = -1;
	process->first_to = process->first_from = -1;
}

static int start(struct sshproc *process, const struct endpoint *endpoint, bool by_address,
    struct ssh_error *error)
{
	struct session *session = process->session;
	int err;

	reset(process);
	ssh_view_set(&process->view, process->target, endpoint);
	if (session)
		memcpy(session->where, process->view.where, sizeof(session->where));
	process->by_address = by_address;
	err = sshproc_start(process, error);
	if (!err)
		err = session ? greet(session, error) : sshproc_await_control(process, error);
	if (err)
		sshproc_stop(process);
	return err;
}

/*
 * An address that the provider has just given may be known from the user's own ssh to this
 * instance, or from an earlier instance: so first ssh is asked whether it knows the server by it,
 * and only then is the address forgotten about.
 */
int sshproc_establish(void *arg, const struct endpoint *endpoint, struct ssh_error *error)
{
	struct sshproc *process = arg;
	struct ssh_view view;
	int err = -EAGAIN;

	ssh_view_set(&view, process->target, endpoint);
	if (view.target.vouched && !sshproc_is_pinned(&view.profile) &&
	    sshproc_knows_address(&view.profile))
		err = start(process, endpoint, true, error);
	if (err == -EAGAIN ||
	    (err && (error->kind == SSH_HOST_KEY_CHANGED || error->kind == SSH_HOST_KEY_UNKNOWN)))
		err = start(process, endpoint, false, error);
	if (err)
		return err;
	process->heard_ms = ssh_now();
	sshproc_discard_unsent(process, true); /* if we are killed, it ends with us */
	sshsays_read(process);
	sshproc_pin(&process->view.profile, process->says.host_key);
	log_info("%s: ssh is connected as %s", process->view.where, process->target->profile->user);
	return 0;
}

/* --- a turn ------------------------------------------------------------------------------- */

/* What was handed to ssh and not yet acknowledged is not known: it counts as sent. */
static struct session_figures figures_now(const struct sshproc *process)
{
	const struct session_figures figures = {.bytes_in = process->bytes_in,
	    .bytes_out = process->bytes_out,
	    .heard_ms = process->heard_ms};

	return figures;
}

/*
 * A ping is wanted only where every channel waits for slow requests. ssh asks the server itself
 * after 5 silent seconds (ServerAliveInterval) and ends after 15: while it runs, it vouches for the
 * link.
 */
static void exchange(struct session *session)
{
	const struct session_figures figures = figures_now(session->process);

	if (session_take(session, &figures))
		session->process->heard_ms = ssh_now();
}

static bool serve(struct session *session)
{
	struct channel *channel, *next;
	bool moved = false;

	for (channel = TAILQ_FIRST(&session->channels); channel; channel = next) {
		next = TAILQ_NEXT(channel, link);
		moved |= pipe_channel_serve(channel);
		channel_post_delivery(channel);
		if (channel->state == CHANNEL_DEAD)
			pipe_channel_close(channel);
		session_forget(session, channel);
	}
	session_rotate(session);
	return moved;
}

/* The descriptors to sleep on; polled[i] is the channel of fds[3 + i]. */
static nfds_t gather(
    struct session *session, struct pollfd *fds, struct channel **polled, int *timeout)
{
	struct sshproc *process = session->process;
	bool paused = atomic_load(&session->paused);
	uint64_t now = ssh_now(), until = UINT64_MAX;
	struct channel *channel;
	nfds_t n = 3;

	fds[0] = (struct pollfd){.fd = session->cancel.event_fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = process->pid_fd, .events = POLLIN};
	fds[2] = (struct pollfd){.fd = process->said_fd, .events = POLLIN};
	TAILQ_FOREACH (channel, &session->channels, link) {
		bool starts =
		    channel->state == CHANNEL_OPENING || channel->state == CHANNEL_STARTING;

		if (starts && !channel->reported && channel->deadline < until)
			until = channel->deadline;
		if (n + 3 > FDS_MAX)
			break;
		if (channel->state == CHANNEL_STARTING) {
			polled[n] = channel;
			fds[n++] = (struct pollfd){.fd = channel->mux, .events = POLLIN};
		}
		if (channel->state != CHANNEL_RUNNING)
			continue;
		if (!paused) {
			polled[n] = channel;
			fds[n++] = (struct pollfd){.fd = channel->from, .events = POLLIN};
		}
		if (channel->stuffed && channel->rest_until) {
			if (channel->rest_until < until)
				until = channel->rest_until;
		} else if (channel->stuffed && channel->to >= 0) {
			polled[n] = channel;
			fds[n++] = (struct pollfd){.fd = channel->to, .events = POLLOUT};
		}
	}
	*timeout = until == UINT64_MAX ? -1 : until > now ? (int)(until - now) : 0;
	return n;
}

static void end_rests(struct session *session)
{
	uint64_t now = ssh_now();
	struct channel *channel;

	TAILQ_FOREACH (channel, &session->channels, link) {
		if (channel->rest_until && channel->rest_until <= now)
			channel->stuffed = false;
	}
}

static void break_session(struct session *session)
{
	session->broken = true;
	fail_ended(session, &session->error);
	log_verbose("%s", session->error.text);
}

static void wait_for_work(struct session *session)
{
	const struct session_figures figures = figures_now(session->process);
	struct channel *polled[FDS_MAX];
	struct pollfd fds[FDS_MAX];
	uint64_t count;
	int timeout;
	nfds_t n = gather(session, fds, polled, &timeout);

	if (!session_may_sleep(session, &figures))
		return;
	if (poll(fds, n, timeout) < 0)
		return; /* EINTR */
	end_rests(session);
	if (fds[0].revents && read(session->cancel.event_fd, &count, sizeof(count)) < 0 &&
	    errno != EAGAIN)
		log_debug("eventfd: %s", strerror(errno));
	if (fds[2].revents)
		sshsays_read(session->process);
	for (nfds_t i = 3; i < n; i++) {
		if (!fds[i].revents)
			continue;
		if (fds[i].fd == polled[i]->from)
			polled[i]->readable = true;
		else if (fds[i].fd == polled[i]->to)
			polled[i]->stuffed = false;
	}
	/* What came before its end is in the pipes still, for one more turn. */
	if (fds[1].revents) {
		serve(session);
		break_session(session);
	}
}

static void loop(struct session *session)
{
	while (!session->broken && !atomic_load(&session->cancel.cancelled)) {
		session_look_at_pause(session);
		exchange(session);
		if (!serve(session))
			wait_for_work(session);
	}
	if (!session->broken)
		ssh_fail(&session->error, SSH_CANCELLED, ECANCELED, "%s: the session was ended",
		    session->where);
}

static void finish(struct session *session)
{
	struct channel *channel;

	session_finish(session);
	sshproc_stop(session->process);
	free(session->process);
	session->process = NULL;
	while ((channel = TAILQ_FIRST(&session->channels))) {
		TAILQ_REMOVE(&session->channels, channel, link);
		pipe_channel_close(channel);
		channel_put(channel);
	}
}

void *sshproc_main(void *arg)
{
	struct session *session = arg;
	struct sshproc *process = calloc(1, sizeof(*process));
	int err;

	session->process = process;
	if (!process) {
		ssh_fail(&session->error, SSH_LOST, ENOMEM, "%s: out of memory", session->where);
		session_finish(session);
		session_post(session, &session->connected, &session->error);
		session_put(session);
		return NULL;
	}
	process->session = session;
	process->target = session->target;
	process->cancel = &session->cancel;
	process->may_ask = session->flags & SESSION_MAY_ASK;
	reset(process);
	err = ssh_try_places(
	    session->target, &session->cancel, sshproc_establish, process, &session->error);
	if (!err) {
		publish(session);
		session_post(session, &session->connected, NULL);
		loop(session);
	}
	finish(session);
	session_post(session, err ? &session->connected : &session->lost, &session->error);
	session_put(session);
	return NULL;
}

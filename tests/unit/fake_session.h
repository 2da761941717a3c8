/*
 * SSH sessions whose far end is the test, for pools made after fake_init. Included once by a test
 * program. The test says when a dial succeeds, when the link breaks, and through `serve` what an
 * SFTP server answers on each channel.
 *
 * Events come from fake_run only, as they do from the loop.
 */
#ifndef VASTFS_TESTS_FAKE_SESSION_H
#define VASTFS_TESTS_FAKE_SESSION_H

#include "tests/fake/fake_stream.h"
#include "transport/pool_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#define FAKE_SESSIONS 64
#define FAKE_STREAMS 32

struct fake_channel {
	struct fake_stream stream; /* first */
	struct session *session;
	bool answered; /* opened, or refused */
	bool dead;
};

struct session {
	const struct session_events *events;
	void *arg;
	bool answered, up, freed, lost;
	unsigned flags; /* of session_new */
	struct fake_channel *channels[FAKE_STREAMS];
	unsigned n_channels;
	uint64_t heard_ms, dialled_ms;
	unsigned pings;
};

static struct {
	struct session *sessions[FAKE_SESSIONS];
	unsigned n_sessions;
	/* What the next dial gets: SSH_OK, a failure, or -1: no answer yet. */
	int (*dial)(unsigned nth);
	unsigned max_channels; /* per session; further ones are refused */
	bool no_sftp;	       /* every channel is refused */
	bool silent;	       /* nothing is answered or heard any more */
	bool slow;	       /* requests stay unanswered, but pings of the SSH layer do not */
	/* Answers one request (frees its packet). */
	void (*serve)(struct fake_channel *channel, struct fake_request *request);
	const char *const *extensions;
	const char *peer;
	unsigned init_count;
} fake;

static uint64_t fake_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* --- session.h's functions --- */

static int fake_session_new(struct session **out, struct mailbox *mailbox,
    const struct ssh_target *target, unsigned flags, const struct session_events *events, void *arg)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session || fake.n_sessions == FAKE_SESSIONS)
		abort();
	session->events = events;
	session->arg = arg;
	session->flags = flags;
	session->heard_ms = session->dialled_ms = fake_now_ms();
	fake.sessions[fake.n_sessions++] = session;
	*out = session;
	return 0;
}

static struct stream *fake_session_open(
    struct session *session, uint32_t window, const struct stream_events *events, void *arg)
{
	struct fake_channel *channel = calloc(1, sizeof(*channel));

	if (!channel || session->n_channels == FAKE_STREAMS)
		abort();
	fake_stream_init(&channel->stream);
	channel->session = session;
	session->channels[session->n_channels++] = channel;
	return fake_stream_open(&channel->stream, events, arg);
}

static struct stream *fake_session_exec(struct session *session, const char *command,
    uint32_t window, const struct stream_events *events, void *arg)
{
	(void)command;
	return fake_session_open(session, window, events, arg);
}

static void fake_session_figures(struct session *session, struct session_figures *out)
{
	memset(out, 0, sizeof(*out));
	out->heard_ms = session->heard_ms;
	snprintf(out->peer, sizeof(out->peer), "%s", fake.peer ? fake.peer : "SSH-2.0-OpenSSH_9.2");
	snprintf(out->cipher, sizeof(out->cipher), "none");
}

static void fake_session_ping(struct session *session)
{
	session->pings++;
	if (!fake.silent)
		session->heard_ms = fake_now_ms();
}

static void fake_session_free(struct session *session)
{
	session->freed = true;
}

static void fake_init(void)
{
	static const struct pool_maker maker = {fake_session_new, fake_session_open,
	    fake_session_figures, fake_session_ping, fake_session_free, fake_session_exec};

	memset(&fake, 0, sizeof(fake));
	pool_maker = &maker;
}

/* --- what happens ---------------------------------------------------------- */

static void fake_lose_channel(struct fake_channel *channel)
{
	if (channel->dead)
		return;
	channel->dead = true;
	fake_stream_die(&channel->stream);
}

static void fake_lose_session(struct session *session)
{
	struct ssh_error error = {
	    .kind = SSH_LOST, .err = ECONNRESET, .text = "the connection broke"};

	session->lost = true;
	for (unsigned i = 0; i < session->n_channels; i++)
		fake_lose_channel(session->channels[i]);
	if (!session->freed)
		session->events->lost(session->arg, &error);
}

static unsigned fake_open_channels(const struct session *session)
{
	unsigned count = 0;

	for (unsigned i = 0; i < session->n_channels; i++)
		count += session->channels[i]->answered && !session->channels[i]->dead &&
			 !session->channels[i]->stream.closes;
	return count;
}

static void fake_answer_dial(struct session *session, unsigned nth)
{
	struct ssh_error error = {.kind = SSH_OK};
	int kind = fake.dial ? fake.dial(nth) : SSH_OK;

	if (kind < 0)
		return;
	session->answered = true;
	session->heard_ms = fake_now_ms();
	if (kind == SSH_OK) {
		session->up = true;
		session->events->connected(session->arg, NULL);
		return;
	}
	error.kind = (enum ssh_failure)kind;
	snprintf(error.text, sizeof(error.text), "failure %d", kind);
	session->events->connected(session->arg, &error);
}

static void fake_serve_channel(struct fake_channel *channel)
{
	struct fake_request request;

	if (!channel->answered) {
		channel->answered = true;
		if (fake.no_sftp || (fake.max_channels &&
					fake_open_channels(channel->session) > fake.max_channels)) {
			channel->dead = true;
			fake_stream_refuse(&channel->stream, SSH_NO_SFTP, "no further channel");
			return;
		}
		fake_stream_opened(&channel->stream);
	}
	while (!channel->dead && !fake.silent && !channel->stream.closes &&
	       !(fake.slow && channel->session->up && fake.init_count >= 2) &&
	       fake_stream_next(&channel->stream, &request)) {
		channel->session->heard_ms = fake_now_ms();
		if (request.type == SSH_FXP_INIT) {
			fake.init_count++;
			packet_free(request.packet);
			fake_reply_version(&channel->stream, 3, fake.extensions);
		} else if (fake.serve) {
			fake.serve(channel, &request);
		} else {
			fake_reply_status(&channel->stream, request.id, SSH_FX_OP_UNSUPPORTED);
			packet_free(request.packet);
		}
	}
}

/* One turn of the loop and of the far end. */
static void fake_run(uv_loop_t *loop)
{
	uv_run(loop, UV_RUN_NOWAIT);
	for (unsigned i = 0; i < fake.n_sessions; i++) {
		struct session *session = fake.sessions[i];

		if (!session->answered && !session->freed)
			fake_answer_dial(session, i);
		for (unsigned j = 0; j < session->n_channels && session->up && !session->lost; j++)
			fake_serve_channel(session->channels[j]);
	}
	uv_run(loop, UV_RUN_NOWAIT);
}

static void fake_fini(void)
{
	for (unsigned i = 0; i < fake.n_sessions; i++) {
		struct session *session = fake.sessions[i];

		for (unsigned j = 0; j < session->n_channels; j++) {
			if (!session->channels[j]->stream.closes || !session->freed)
				abort(); /* a claim was not given up */
			fake_stream_fini(&session->channels[j]->stream);
			free(session->channels[j]);
		}
		free(session);
	}
	memset(&fake, 0, sizeof(fake));
}

#endif

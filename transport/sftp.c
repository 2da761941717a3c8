/*
 * The conversation: what is sent, what comes back, what never does. The table of requests is in
 * sftp_table.c, the checks of what the server says in sftp_reply.c.
 *
 * Callbacks may free the conversation, send, or both. So after each callback the code looks at
 * s->freed (the struct outlives the callback: it goes with its libuv handles) before it goes on,
 * and what has to be done outside of the caller's frame is done by on_later, an idle handle that
 * runs for one round only. It closes the stream of a conversation that ended, so that this never
 * happens inside the stream's own event; it tells the senders of unsent messages; and after
 * sftp_free it completes what is in flight, then closes the handles.
 */
#include "transport/sftp.h"
#include "conf/log.h"
#include "transport/sftp_foresee.h"
#include "transport/sftp_reply.h"
#include "transport/sftp_table.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ABANDONED_MAX 1000

static const struct sftp_reply lost = {.err = -ENOTCONN};

enum state { OPENING, HELLO, LIMITS, READY, ENDED };

struct sftp {
	uv_loop_t *loop;
	uv_timer_t timer; /* while something is waited for: until the oldest deadline or before */
	uv_idle_t later;
	unsigned handles; /* not yet closed */
	struct stream *stream;
	const struct sftp_events *events;
	void *arg;
	uint64_t timeout_ms, greet_ms;
	enum state state;
	bool freed, closing;
	struct sftp_table table;
	struct packet_queue unsent; /* messages that can't be sent, each with a note in it */
	size_t bytes;		    /* in flight */
	unsigned requests;	    /* in flight */
	struct sftp_rtt rtt;
	struct sftp_features features;
};

/* Written over a message that can't be sent: it needs no memory to say that memory is out. */
struct note {
	sftp_done *done;
	void *arg;
	int err;
};
_Static_assert(sizeof(struct note) <= SFTP_MSG_ROOM, "a note fits every message");

static void on_later(uv_idle_t *handle);
static void submit(struct sftp *s, struct packet *message, size_t cost, sftp_done *done, void *arg);

static void do_later(struct sftp *s)
{
	uv_idle_start(&s->later, on_later);
}

/* --- completing --- */

static void complete(struct sftp *s, struct sftp_request *request, const struct sftp_reply *reply)
{
	sftp_done *done = request->done;
	void *arg = request->arg;

	sftp_foresee_answered(&s->table, request, reply);
	log_debug("sftp: < %s %u: %s err %d status %u", sftp_type_name(request->type), request->id,
	    reply->type ? sftp_type_name(reply->type) : "no reply", reply->err, reply->status);
	s->bytes -= request->cost;
	s->requests--;
	sftp_table_detach(&s->table, request);
	sftp_table_release(&s->table, request);
	if (TAILQ_EMPTY(&s->table.waiting))
		uv_timer_stop(&s->timer);
	done(arg, reply);
}

static void put_off(struct sftp *s, struct packet *message, sftp_done *done, void *arg, int err)
{
	const struct note note = {done, arg, err};

	/* All of sftp_codec.c's are large enough, and the data of a WRITE does not begin there. */
	assert(message->size >= sizeof(note));
	memcpy(message->room, &note, sizeof(note));
	STAILQ_INSERT_TAIL(&s->unsent, message, link);
	do_later(s);
}

static void tell_unsent(struct sftp *s)
{
	struct packet_queue queue = STAILQ_HEAD_INITIALIZER(queue);
	struct sftp_reply reply = {0};
	struct packet *packet;
	struct note note;

	/* Only those of now: who sends again at once is told in the next round. */
	STAILQ_CONCAT(&queue, &s->unsent);
	while ((packet = STAILQ_FIRST(&queue))) {
		STAILQ_REMOVE_HEAD(&queue, link);
		memcpy(&note, packet->room, sizeof(note));
		packet_free(packet);
		reply.err = note.err;
		note.done(note.arg, &reply);
	}
}

static void on_closed_handle(uv_handle_t *handle)
{
	struct sftp *s = handle->data;

	if (--s->handles)
		return;
	sftp_table_fini(&s->table);
	free(s);
}

static void on_later(uv_idle_t *handle)
{
	struct sftp *s = handle->data;
	struct sftp_request *request;

	uv_idle_stop(&s->later);
	tell_unsent(s);
	while (s->freed && (request = TAILQ_FIRST(&s->table.waiting)))
		complete(s, request, &lost);
	/* Behind the callbacks, which may have been what freed it. */
	if (s->stream && s->state == ENDED) {
		stream_close(s->stream);
		s->stream = NULL;
	}
	if (s->freed && !s->closing && STAILQ_EMPTY(&s->unsent)) {
		s->closing = true;
		uv_close((uv_handle_t *)&s->timer, on_closed_handle);
		uv_close((uv_handle_t *)&s->later, on_closed_handle);
	}
}

/* --- the end --- */

static void end(struct sftp *s, const struct ssh_error *error)
{
	bool was_ready = s->state == READY;
	struct sftp_request *request;

	if (s->state == ENDED)
		return;
	s->state = ENDED;
	log_verbose("sftp: the conversation ended: %s", error->text);
	uv_timer_stop(&s->timer);
	do_later(s);
	while (!s->freed && (request = TAILQ_FIRST(&s->table.waiting)))
		complete(s, request, &lost);
	if (s->freed)
		return;
	if (was_ready)
		s->events->ended(s->arg, error);
	else
		s->events->ready(s->arg, error);
}

static void fail(struct sftp *s, enum ssh_failure kind, int err, const char *text)
{
	struct ssh_error error = {.kind = kind, .err = err};

	snprintf(error.text, sizeof(error.text), "%s", text);
	end(s, &error);
}

static void protocol_error(struct sftp *s, const char *what)
{
	char text[200];

	snprintf(text, sizeof(text), "SFTP protocol error: the server sent %s", what);
	fail(s, SSH_LOST, EPROTO, text);
}

/* --- deadlines --- */

static void expire(struct sftp *s, struct sftp_request *request)
{
	const struct sftp_reply reply = {.err = -ETIMEDOUT};
	sftp_done *done = request->done;
	void *arg = request->arg;

	log_debug("sftp: %s %u: no reply in time", sftp_type_name(request->type), request->id);
	s->bytes -= request->cost;
	s->requests--;
	sftp_table_abandon(&s->table, request);
	done(arg, &reply);
}

static void on_timer(uv_timer_t *handle)
{
	struct sftp *s = handle->data;
	struct sftp_request *request;
	uint64_t now = uv_now(s->loop);

	if (s->state == HELLO) {
		fail(s, SSH_TIMEOUT, ETIMEDOUT, "the SFTP server does not answer the greeting");
		return;
	}
	while (!s->freed && s->state != ENDED && (request = TAILQ_FIRST(&s->table.waiting)) &&
	       sftp_table_deadline(&s->table, request) <= now)
		if (!sftp_table_goes_on(&s->table, request, now + s->timeout_ms))
			expire(s, request);
	if (s->freed || s->state == ENDED)
		return;
	if (s->table.abandoned > ABANDONED_MAX) {
		fail(s, SSH_TIMEOUT, ETIMEDOUT,
		    "the SFTP server leaves too many requests unanswered");
		return;
	}
	if ((request = TAILQ_FIRST(&s->table.waiting)))
		uv_timer_start(
		    &s->timer, on_timer, sftp_table_deadline(&s->table, request) - now, 0);
}

/* --- replies --- */

static void ignore_reply(void *arg, const struct sftp_reply *reply)
{
}

/* The answer to a request that was given up. A handle in it is nobody's: the server has few. */
static void drop_late(
    struct sftp *s, struct sftp_request *request, uint8_t type, struct sftp_reader *reader)
{
	struct sftp_reply reply;
	struct sftp_handle handle;
	struct packet *message;

	log_debug("sftp: < %s %u: %s, too late", sftp_type_name(request->type), request->id,
	    sftp_type_name(type));
	sftp_table_detach(&s->table, request);
	if (!sftp_reply_read(request, type, reader, &reply) && type == SSH_FXP_HANDLE) {
		handle.len = reply.handle.len;
		memcpy(handle.data, reply.handle.data, handle.len);
		message = sftp_msg_handle(SSH_FXP_CLOSE, &handle);
		if (message)
			submit(s, message, 0, ignore_reply, NULL);
	}
	sftp_table_release(&s->table, request);
}

static void on_reply(struct sftp *s, uint8_t type, struct sftp_reader *reader)
{
	struct sftp_request *request;
	struct sftp_reply reply;
	uint32_t id;
	int err;

	if (sftp_read_u32(reader, &id)) {
		protocol_error(s, "a reply without an id");
		return;
	}
	request = sftp_table_find(&s->table, id);
	if (!request) {
		protocol_error(s, "a reply that nothing was asked for");
		return;
	}
	sftp_table_replied(&s->table, request, uv_now(s->loop) + s->timeout_ms);
	if (request->abandoned) {
		drop_late(s, request, type, reader);
		return;
	}
	if (request->quick && !request->cost)
		sftp_rtt_sample(&s->rtt, request->sent_ns, uv_hrtime());
	else if (request->cost)
		sftp_rtt_data(&s->rtt, request->sent_ns, uv_hrtime());
	err = sftp_reply_read(request, type, reader, &reply);
	if (err)
		reply = (struct sftp_reply){.type = type, .err = err};
	complete(s, request, &reply);
	if (err)
		protocol_error(s, "a reply that does not fit its request");
}

/* --- greeting --- */

static void become_ready(struct sftp *s)
{
	s->state = READY;
	log_verbose("sftp: ready, reads of %u and writes of %u bytes", s->features.max_read,
	    s->features.max_write);
	s->events->ready(s->arg, NULL);
}

static void on_limits(void *arg, const struct sftp_reply *reply)
{
	struct sftp *s = arg;

	if (s->freed || s->state != LIMITS)
		return;
	/* One that offers limits and then refuses: as if it had not. */
	if (reply->err == -ETIMEDOUT)
		fail(s, SSH_TIMEOUT, ETIMEDOUT, "the SFTP server does not answer");
	else if (reply->err == -ENOMEM)
		fail(s, SSH_LOST, ENOMEM, "out of memory");
	else if (reply->err == -EPROTO ||
		 (!reply->err && sftp_limits_read(reply->extended, &s->features)))
		protocol_error(s, "limits that make no sense");
	else
		become_ready(s);
}

static void on_version(struct sftp *s, uint8_t type, struct sftp_reader *reader)
{
	struct packet *message;
	uint32_t version;
	bool limits;

	if (type != SSH_FXP_VERSION || sftp_version_read(reader, &version, &s->features, &limits)) {
		protocol_error(s, "something else than its version");
		return;
	}
	log_verbose("sftp: the server speaks version %u", version);
	if (version < SFTP_VERSION) {
		char text[100];

		snprintf(
		    text, sizeof(text), "the server speaks SFTP version %u; 3 is needed", version);
		fail(s, SSH_NO_SFTP, EPROTONOSUPPORT, text);
		return;
	}
	uv_timer_stop(&s->timer);
	if (!limits) {
		become_ready(s);
		return;
	}
	message = sftp_msg_limits();
	if (!message) {
		fail(s, SSH_LOST, ENOMEM, "out of memory");
		return;
	}
	s->state = LIMITS;
	submit(s, message, 0, on_limits, s);
}

/* --- the stream's events --- */

static void on_opened(void *arg, const struct ssh_error *error)
{
	struct sftp *s = arg;
	struct packet *message;

	if (s->state != OPENING)
		return;
	if (error && error->kind != SSH_OK) {
		end(s, error);
		return;
	}
	message = sftp_msg_init();
	if (!message) {
		fail(s, SSH_LOST, ENOMEM, "out of memory");
		return;
	}
	s->state = HELLO;
	uv_timer_start(&s->timer, on_timer, s->greet_ms, 0);
	stream_send(s->stream, message);
}

static void on_packet(void *arg, struct packet *packet)
{
	struct sftp *s = arg;
	struct sftp_reader reader;
	uint8_t type;

	if (s->state == ENDED || s->state == OPENING)
		; /* nothing is expected any more, or yet */
	else if (sftp_read_packet(packet, &type, &reader))
		protocol_error(s, "a packet with a wrong length");
	else if (s->state == HELLO)
		on_version(s, type, &reader);
	else
		on_reply(s, type, &reader);
	packet_free(packet);
}

static void on_closed(void *arg, const struct ssh_error *error)
{
	end(arg, error);
}

static const struct stream_events stream_events = {
    .opened = on_opened,
    .packet = on_packet,
    .closed = on_closed,
};

/* --- for the caller --- */

struct sftp *sftp_new_on(uv_loop_t *loop, sftp_open_stream *open, void *opener, unsigned timeout,
    const struct sftp_events *events, void *arg)
{
	struct sftp *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	if (sftp_table_init(&s->table))
		goto fail;
	STAILQ_INIT(&s->unsent);
	s->loop = loop;
	s->events = events;
	s->arg = arg;
	s->timeout_ms = s->greet_ms = (timeout ? timeout : 1) * UINT64_C(1000);
	s->stream = open(opener, &stream_events, s);
	if (!s->stream)
		goto fail;
	uv_timer_init(loop, &s->timer);
	uv_idle_init(loop, &s->later);
	s->timer.data = s->later.data = s;
	s->handles = 2;
	return s;
fail:
	sftp_table_fini(&s->table);
	free(s);
	return NULL;
}

static void submit(struct sftp *s, struct packet *message, size_t cost, sftp_done *done, void *arg)
{
	struct sftp_request *request = sftp_table_add(&s->table);

	if (!request) {
		put_off(s, message, done, arg, -ENOMEM);
		return;
	}
	request->done = done;
	request->arg = arg;
	request->cost = cost;
	request->sent_ns = uv_hrtime();
	request->deadline_ms = uv_now(s->loop) + s->timeout_ms;
	sftp_request_describe(request, message);
	sftp_codec_set_id(message, request->id);
	log_debug(
	    "sftp: > %s %u, %zu bytes", sftp_type_name(request->type), request->id, message->len);
	s->bytes += cost;
	s->requests++;
	if (!uv_is_active((uv_handle_t *)&s->timer))
		uv_timer_start(&s->timer, on_timer, s->timeout_ms, 0);
	stream_send(s->stream, message);
}

void sftp_send(struct sftp *s, struct packet *message, size_t cost, sftp_done *done, void *arg)
{
	if (s->state == READY)
		submit(s, message, cost, done, arg);
	else
		put_off(s, message, done, arg, -ENOTCONN);
}

bool sftp_foresee(const struct sftp *s, struct sftp_handle *out)
{
	return s->state == READY && sftp_foresee_next(&s->table, s->features.max_handles, out);
}

const struct sftp_features *sftp_features(const struct sftp *s)
{
	return &s->features;
}

size_t sftp_bytes_in_flight(const struct sftp *s)
{
	return s->bytes;
}

unsigned sftp_requests_in_flight(const struct sftp *s)
{
	return s->requests;
}

struct sftp_quiet sftp_quiet(const struct sftp *s)
{
	return sftp_table_quiet(
	    &s->table, uv_hrtime(), s->stream ? atomic_load(&s->stream->moves) : 0);
}

void sftp_greet_within(struct sftp *s, uint64_t ms)
{
	s->greet_ms = ms;
}

const struct sftp_rtt *sftp_rtt(const struct sftp *s)
{
	return &s->rtt;
}

void sftp_free(struct sftp *s)
{
	if (!s || s->freed)
		return;
	s->freed = true;
	s->state = ENDED;
	uv_timer_stop(&s->timer);
	do_later(s);
}

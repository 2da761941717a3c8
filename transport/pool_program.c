/* The program that runs on session 0: a stream around the session's, which ends with the session.
 */
#include "transport/pool_internal.h"
#include <stdlib.h>

/* It says little and is told little. */
#define WINDOW (2u * 1024 * 1024)

struct pool_program {
	struct stream stream; /* first: the caller's */
	struct pool *pool;
	struct stream *inner; /* the session's; NULL once that is given up */
	const struct stream_events *events;
	void *arg;
};

static void program_send(struct stream *stream, struct packet *packet)
{
	struct pool_program *program = (struct pool_program *)stream;

	if (program->inner)
		stream_send(program->inner, packet);
	else
		packet_free(packet);
}

static void program_close(struct stream *stream)
{
	struct pool_program *program = (struct pool_program *)stream;

	if (program->inner)
		stream_close(program->inner);
	if (program->pool->program == program)
		program->pool->program = NULL;
	pool_put(program->pool);
	free(program);
}

static const struct stream_ops program_ops = {.send = program_send, .close = program_close};

struct stream *pool_run(
    struct pool *pool, const char *command, const struct stream_events *events, void *arg)
{
	struct pool_session *session = &pool->sessions[0];
	struct pool_program *program;

	if (pool->closed || pool->program || session->state != POOL_UP)
		return NULL;
	program = calloc(1, sizeof(*program));
	if (!program)
		return NULL;
	program->inner = pool->maker->open_exec(session->session, command, WINDOW, events, arg);
	if (!program->inner) {
		free(program);
		return NULL;
	}
	program->stream.ops = &program_ops;
	program->pool = pool_get(pool);
	program->events = events;
	program->arg = arg;
	pool->program = program;
	return &program->stream;
}

void pool_program_lost(struct pool *pool, const struct ssh_error *error)
{
	struct pool_program *program = pool->program;

	if (!program)
		return;
	pool->program = NULL;
	stream_close(program->inner);
	program->inner = NULL;
	program->events->closed(program->arg, error);
}

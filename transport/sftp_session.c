/*
 * sftp_new: the conversation on a channel of a session. Apart from sftp.c, which knows streams
 * only.
 */
#include "transport/sftp.h"

struct opener {
	struct session *session;
	uint32_t window;
};

static struct stream *open_channel(void *arg, const struct stream_events *events, void *events_arg)
{
	const struct opener *opener = arg;

	return session_open_sftp(opener->session, opener->window, events, events_arg);
}

struct sftp *sftp_new(uv_loop_t *loop, struct session *session, uint32_t window, unsigned timeout,
    const struct sftp_events *events, void *arg)
{
	struct opener opener = {session, window};

	return sftp_new_on(loop, open_channel, &opener, timeout, events, arg);
}

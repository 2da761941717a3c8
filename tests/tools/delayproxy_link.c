/* The bytes' way through delayproxy: see delayproxy.c for what it is. */
#include "tests/tools/delayproxy.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A link with a rate takes so much at once: half a millisecond of it, so that connections share it
 * fairly and this program does not bound a fast one. */
#define RATE_READS_PER_S 2000
#define RATE_READ_LEAST (16 * 1024)
#define PIPE_LIMIT (64u << 20)
#define SOCKET_BUFFER (1 << 20)
#define READS_AT_ONCE 8

struct proxy P;

static void pipe_pump(struct connection *c, int i);

/* --- the clock --------------------------------------------------------------- */

static void arm(uint64_t due)
{
	struct itimerspec when = {0};

	if (due >= P.armed)
		return;
	P.armed = due;
	when.it_value.tv_sec = (time_t)(due / 1000000000u);
	when.it_value.tv_nsec = (long)(due % 1000000000u);
	if (!when.it_value.tv_sec && !when.it_value.tv_nsec)
		when.it_value.tv_nsec = 1;
	timerfd_settime(P.timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static uint64_t rate_window(void)
{
	return 2 * P.delay > 50 * MS ? 2 * P.delay : 50 * MS;
}

static size_t read_size(void)
{
	double size = P.rate / RATE_READS_PER_S;

	if (P.rate <= 0 || size > READ_SIZE)
		return READ_SIZE;
	return size < RATE_READ_LEAST ? RATE_READ_LEAST : (size_t)size;
}

/* --- connections ------------------------------------------------------------- */

static void handle_closed(uv_handle_t *handle)
{
	struct connection *c = handle->data;
	struct chunk *chunk;
	int i;

	if (--c->handles)
		return;
	for (i = 0; i < 2; i++) {
		while ((chunk = STAILQ_FIRST(&c->pipe[i].chunks))) {
			STAILQ_REMOVE_HEAD(&c->pipe[i].chunks, link);
			free(chunk);
		}
		if (c->end[i].fd >= 0)
			close(c->end[i].fd);
	}
	free(c);
}

/* Ends both sides, with RST when reset. The memory goes when libuv has let go of the handles. */
static void connection_close(struct connection *c, bool reset)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	int i;

	if (c->closing)
		return;
	c->closing = true;
	LIST_REMOVE(c, link);
	P.open--;
	for (i = 0; i < 2; i++) {
		if (reset && c->end[i].fd >= 0)
			setsockopt(c->end[i].fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		if (c->end[i].open)
			uv_close((uv_handle_t *)&c->end[i].poll, handle_closed);
	}
	uv_close((uv_handle_t *)&c->dial, handle_closed);
}

static void on_end(uv_poll_t *poll, int status, int events);

static void update_events(struct connection *c, int i)
{
	struct end *end = &c->end[i];
	struct pipe_queue *in = &c->pipe[i], *out = &c->pipe[1 - i];
	int events = 0;

	if (c->closing || !end->open)
		return;
	if (!in->ended && !in->full && !P.direction[i].throttled)
		events |= UV_READABLE;
	if (out->blocked || (i == 1 && !c->connected))
		events |= UV_WRITABLE;
	if (events == end->events)
		return;
	end->events = events;
	if (events)
		uv_poll_start(&end->poll, events, on_end);
	else
		uv_poll_stop(&end->poll);
}

static void throttle(int i, bool on)
{
	struct connection *c;

	P.direction[i].throttled = on;
	LIST_FOREACH (c, &P.connections, link)
		update_events(c, i);
}

/* When the link delivers len bytes that came in now. */
static uint64_t due_time(struct pipe_queue *pipe, int i, size_t len)
{
	struct direction *d = &P.direction[i];
	uint64_t now = uv_hrtime(), leaves = now;

	if (P.rate > 0) {
		if (d->free_at < now)
			d->free_at = now;
		d->free_at += (uint64_t)((double)len / P.rate * 1e9);
		leaves = d->free_at;
		if (!d->throttled && leaves > now + rate_window()) {
			throttle(i, true);
			arm(leaves - rate_window() * 3 / 4);
		}
	}
	leaves += P.delay;
	if (leaves < pipe->last_due)
		leaves = pipe->last_due;
	pipe->last_due = leaves;
	return leaves;
}

static void enqueue(
    struct connection *c, int i, enum chunk_kind kind, const char *data, size_t len, uint64_t due)
{
	struct pipe_queue *pipe = &c->pipe[i];
	struct chunk *chunk = malloc(sizeof(*chunk) + len);

	if (!chunk)
		die("malloc", ENOMEM);
	chunk->due = due;
	chunk->kind = kind;
	chunk->len = len;
	chunk->off = 0;
	if (len)
		memcpy(chunk->data, data, len);
	STAILQ_INSERT_TAIL(&pipe->chunks, chunk, link);
	pipe->bytes += len;
	if (pipe->bytes >= PIPE_LIMIT)
		pipe->full = true;
	if (!P.stalled)
		arm(due);
}

/* Takes what there is; false when the socket is empty or ended. */
static bool pipe_read_once(struct connection *c, int i)
{
	struct pipe_queue *pipe = &c->pipe[i];
	size_t size = read_size();
	ssize_t n = recv(c->end[i].fd, P.buffer, size, 0), written = 0;
	uint64_t due;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		pipe->ended = true;
		enqueue(c, i, n ? CHUNK_RST : CHUNK_FIN, NULL, 0, due_time(pipe, i, 0));
		return false;
	}
	P.direction[i].bytes += (uint64_t)n;
	if (P.blackhole) {
		pipe->lost = true;
		return true;
	}
	due = due_time(pipe, i, (size_t)n);
	if (!P.delay && P.rate <= 0 && !P.stalled && !P.dribble && c->connected &&
	    STAILQ_EMPTY(&pipe->chunks)) {
		written = send(c->end[1 - i].fd, P.buffer, (size_t)n, MSG_NOSIGNAL);
		if (written < 0)
			written = 0; /* full or dead: pipe_pump finds out which */
	}
	if (written < n)
		enqueue(c, i, CHUNK_DATA, P.buffer + written, (size_t)(n - written), due);
	return (size_t)n == size;
}

/* Goes behind the others: all have their turn on a link that is full. */
static void go_last(struct connection *c)
{
	struct connection *last = c, *each;

	LIST_FOREACH (each, &P.connections, link)
		last = each;
	if (last == c)
		return;
	LIST_REMOVE(c, link);
	LIST_INSERT_AFTER(last, c, link);
}

static void pipe_read(struct connection *c, int i)
{
	int reads = P.rate > 0 ? 1 : READS_AT_ONCE;

	while (reads-- > 0 && !c->pipe[i].full && !P.direction[i].throttled)
		if (!pipe_read_once(c, i))
			break;
	if (P.direction[i].throttled && !c->closing)
		go_last(c);
	pipe_pump(c, i);
}

static void drop_head(struct pipe_queue *pipe)
{
	struct chunk *chunk = STAILQ_FIRST(&pipe->chunks);

	STAILQ_REMOVE_HEAD(&pipe->chunks, link);
	free(chunk);
}

/* Writes one chunk. 1: done, 0: the socket is full, -1: the connection is gone (closed here). */
static int write_chunk(struct connection *c, int i, struct chunk *chunk)
{
	int fd = c->end[1 - i].fd;
	size_t len = chunk->len - chunk->off;
	ssize_t n;

	if (chunk->kind == CHUNK_RST) {
		connection_close(c, true);
		return -1;
	}
	if (chunk->kind == CHUNK_FIN) {
		shutdown(fd, SHUT_WR);
		return 1;
	}
	if (P.dribble && len > P.dribble)
		len = P.dribble;
	n = send(fd, chunk->data + chunk->off, len, MSG_NOSIGNAL);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0) {
		connection_close(c, true);
		return -1;
	}
	chunk->off += (size_t)n;
	c->pipe[i].bytes -= (size_t)n;
	return chunk->off == chunk->len;
}

/* Writes what is due; asks for a wake-up for what is not. */
static void pipe_pump(struct connection *c, int i)
{
	struct pipe_queue *pipe = &c->pipe[i];
	struct chunk *chunk;
	int rc = 1;

	if (c->closing)
		return;
	pipe->blocked = false;
	while (c->connected && !P.stalled && (chunk = STAILQ_FIRST(&pipe->chunks))) {
		if (chunk->due > uv_hrtime()) {
			arm(chunk->due);
			break;
		}
		rc = write_chunk(c, i, chunk);
		if (rc < 0)
			return;
		if (rc)
			drop_head(pipe);
		else
			pipe->blocked = true;
		if (!rc || P.dribble)
			break; /* writable again, or its next few bytes, in the next turn of the
				  loop */
	}
	if (P.dribble && rc && !P.stalled && !STAILQ_EMPTY(&pipe->chunks))
		pipe->blocked = true;
	if (pipe->full && pipe->bytes < PIPE_LIMIT / 2)
		pipe->full = false;
	if (c->pipe[0].ended && c->pipe[1].ended && STAILQ_EMPTY(&c->pipe[0].chunks) &&
	    STAILQ_EMPTY(&c->pipe[1].chunks)) {
		connection_close(c, false);
		return;
	}
	update_events(c, i);
	update_events(c, 1 - i);
}

static void on_connected(struct connection *c)
{
	int err = 0;
	socklen_t len = sizeof(err);

	getsockopt(c->end[1].fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err) {
		connection_close(c, true);
		return;
	}
	c->connected = true;
	pipe_pump(c, 0);
}

static void on_end(uv_poll_t *poll, int status, int events)
{
	struct end *end =
	    poll->data == NULL ? NULL : (struct end *)((char *)poll - offsetof(struct end, poll));
	struct connection *c = end->connection;
	int i = end == &c->end[1];

	if (c->closing)
		return;
	if (i == 1 && !c->connected) {
		on_connected(c);
		return;
	}
	if (status < 0)
		events |= UV_READABLE | UV_WRITABLE;
	if (events & UV_WRITABLE)
		pipe_pump(c, 1 - i);
	if (!c->closing && events & UV_READABLE && end->events & UV_READABLE)
		pipe_read(c, i);
}

static void end_open(struct connection *c, int i, int fd)
{
	struct end *end = &c->end[i];
	int one = 1, size = SOCKET_BUFFER;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	end->connection = c;
	end->fd = fd;
	uv_poll_init_socket(&P.loop, &end->poll, fd);
	end->poll.data = c;
	end->open = true;
	c->handles++;
}

static void on_dial(uv_timer_t *timer)
{
	struct connection *c = timer->data;
	int fd = socket(P.target.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 ||
	    (connect(fd, (struct sockaddr *)&P.target, P.target_len) && errno != EINPROGRESS)) {
		if (fd >= 0)
			close(fd);
		connection_close(c, true);
		return;
	}
	end_open(c, 1, fd);
	update_events(c, 1);
}

static void on_accept(uv_poll_t *poll, int status, int events)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	struct connection *c;
	int fd = accept4(P.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (P.refuse || !(c = calloc(1, sizeof(*c)))) {
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(fd);
		return;
	}
	STAILQ_INIT(&c->pipe[0].chunks);
	STAILQ_INIT(&c->pipe[1].chunks);
	c->end[1].fd = -1;
	LIST_INSERT_HEAD(&P.connections, c, link);
	P.open++;
	P.total++;
	end_open(c, 0, fd);
	uv_timer_init(&P.loop, &c->dial);
	c->dial.data = c;
	c->handles++;
	/* SYN and SYN-ACK, then ACK: a server behind a real link hears of us after 1.5 round trips
	 */
	uv_timer_start(&c->dial, on_dial, 3 * P.delay / MS, 0);
	update_events(c, 0);
}

static void pump_all(void)
{
	struct connection *c, *next;

	for (c = LIST_FIRST(&P.connections); c; c = next) {
		next = LIST_NEXT(c, link);
		pipe_pump(c, 0);
		if (!c->closing)
			pipe_pump(c, 1);
	}
}

void link_on_timer(uv_poll_t *poll, int status, int events)
{
	uint64_t expirations, now = uv_hrtime(), wake;
	int i;

	if (read(P.timer_fd, &expirations, sizeof(expirations)) < 0 && errno == EAGAIN)
		return;
	P.armed = NEVER;
	for (i = 0; i < 2; i++) {
		if (!P.direction[i].throttled)
			continue;
		wake = P.direction[i].free_at - rate_window() * 3 / 4;
		if (P.rate <= 0 || P.direction[i].free_at < now + rate_window() * 3 / 4)
			throttle(i, false);
		else
			arm(wake);
	}
	pump_all();
}

void link_close_all(bool reset, bool only_lost)
{
	struct connection *c, *next;

	for (c = LIST_FIRST(&P.connections); c; c = next) {
		next = LIST_NEXT(c, link);
		if (!only_lost || c->pipe[0].lost || c->pipe[1].lost)
			connection_close(c, reset);
	}
}

void link_listen(bool on)
{
	if (on)
		uv_poll_start(&P.listen_poll, UV_READABLE, on_accept);
	else
		uv_poll_stop(&P.listen_poll);
}

void link_kick(void)
{
	P.armed = NEVER;
	throttle(0, false);
	throttle(1, false);
	pump_all();
}

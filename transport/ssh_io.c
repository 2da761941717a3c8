/*
 * The queues between libssh2 and the socket, and libssh2's memory.
 *
 * libssh2 must never see a socket that takes a part of what it sends: with a partial write
 * pending, 1.10 refuses other channels' calls and both 1.10 and 1.11 can die of a rekey. So SEND
 * always takes all, and ssh_flush brings it to the socket. RECV reads large pieces, because libssh2
 * asks for 16 KiB at a time.
 */
#include "conf/log.h"
#include "transport/ssh_internal.h"
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define RING_START (64u * 1024)
/* A few requests of 32 KiB at most lie here (session_channel.c), and answers to what a server asks;
 * one that asks for ever and reads nothing is given up. */
#define OUT_MAX (16u * 1024 * 1024)
#define SSH_MSG_USERAUTH_BANNER 53 /* RFC 4252, 6 */

size_t ssh_queued(const struct ssh_connection *c)
{
	return c->out.tail - c->out.head;
}

short ssh_poll_events(const struct ssh_connection *c)
{
	return (short)(POLLIN | (ssh_queued(c) ? POLLOUT : 0));
}

uint64_t ssh_last_heard(const struct ssh_connection *c)
{
	return c->heard_ms;
}

uint64_t ssh_bytes_in(const struct ssh_connection *c)
{
	return c->bytes_in;
}

uint64_t ssh_bytes_out(const struct ssh_connection *c)
{
	return c->bytes_out;
}

/* The one or two pieces of length len that begin at position at. */
static int ring_pieces(const struct ssh_ring *ring, size_t at, size_t len, struct iovec iov[2])
{
	size_t from = at & (ring->capacity - 1);
	size_t first = len < ring->capacity - from ? len : ring->capacity - from;

	iov[0] = (struct iovec){ring->bytes + from, first};
	iov[1] = (struct iovec){ring->bytes, len - first};
	return len > first ? 2 : 1;
}

static int ring_grow(struct ssh_ring *ring, size_t more)
{
	size_t len = ring->tail - ring->head,
	       capacity = ring->capacity ? ring->capacity : RING_START;
	struct iovec iov[2];
	uint8_t *bytes;

	while (capacity - len < more)
		capacity *= 2;
	if (capacity == ring->capacity)
		return 0;
	bytes = malloc(capacity);
	if (!bytes)
		return -ENOMEM;
	if (len) {
		ring_pieces(ring, ring->head, len, iov);
		memcpy(bytes, iov[0].iov_base, iov[0].iov_len);
		memcpy(bytes + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
	}
	free(ring->bytes);
	*ring = (struct ssh_ring){bytes, capacity, 0, len};
	return 0;
}

static int ring_put(struct ssh_ring *ring, const void *data, size_t len)
{
	struct iovec iov[2];
	int err = ring_grow(ring, len);

	if (err || !len)
		return err;
	ring_pieces(ring, ring->tail, len, iov);
	memcpy(iov[0].iov_base, data, iov[0].iov_len);
	memcpy(iov[1].iov_base, (const uint8_t *)data + iov[0].iov_len, iov[1].iov_len);
	ring->tail += len;
	return 0;
}

int ssh_flush(struct ssh_connection *c)
{
	struct iovec iov[2];

	while (!c->err && ssh_queued(c)) {
		struct msghdr message = {.msg_iov = iov};
		ssize_t n;

		message.msg_iovlen = (size_t)ring_pieces(&c->out, c->out.head, ssh_queued(c), iov);
		n = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0) {
			c->err = errno;
			break;
		}
		c->out.head += (size_t)n;
		c->bytes_out += (size_t)n;
	}
	if (!ssh_queued(c))
		c->out.head = c->out.tail = 0;
	return -c->err;
}

/* libssh2 talks to the agent through the same two callbacks, with the agent's blocking socket. */
static ssize_t agent_io(struct ssh_connection *c, int fd, void *in, const void *out, size_t len)
{
	int err = ssh_wait_fd(c->cancel, fd, in ? POLLIN : POLLOUT, c->deadline);
	ssize_t n;

	if (err)
		return err == -EAGAIN ? -EIO : err;
	do
		n = in ? recv(fd, in, len, 0) : send(fd, out, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	/* At the end of file libssh2 would ask again for ever. */
	return n < 0 ? -errno : n == 0 && len ? -ECONNRESET : n;
}

static ssize_t on_send(int fd, const void *buffer, size_t len, int flags, void **abstract)
{
	struct ssh_connection *c = *abstract;

	if (fd != c->fd)
		return agent_io(c, fd, NULL, buffer, len);
	if (c->err)
		return -c->err;
	if (ssh_queued(c) + len > OUT_MAX)
		c->err = ENOBUFS;
	else if (ring_put(&c->out, buffer, len))
		c->err = ENOMEM;
	return c->err ? -c->err : (ssize_t)len;
}

/* Nobody waits any more, or has waited for long enough: what comes in is not taken. */
static bool is_over(struct ssh_connection *c)
{
	if (c->cancels && c->cancel && atomic_load(&c->cancel->cancelled))
		c->err = ECANCELED;
	else if (c->until && ssh_now() >= c->until)
		c->err = ETIMEDOUT;
	return c->err;
}

/* Adds what the socket has to the inbox, where there is room. 1, or what RECV is to say. */
static ssize_t inbox_fill(struct ssh_connection *c)
{
	size_t end, room;
	ssize_t n;

	if (c->eof)
		return 0;
	if (c->err || is_over(c))
		return -c->err;
	if (c->batched && c->drained)
		return -EAGAIN;
	if (!c->in.left)
		c->in.at = 0;
	end = c->in.at + c->in.left;
	room = SSH_INBOX_SIZE - end;
	do
		n = recv(c->fd, c->in.bytes + end, room, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
		c->drained = true;
		return -EAGAIN;
	}
	if (n < 0) {
		c->err = errno;
		return -c->err;
	}
	if (n == 0) {
		c->eof = true;
		return 0;
	}
	/* A short read means that there was no more; the next look comes after the next poll. */
	c->drained = n < (ssize_t)room;
	c->heard_ms = ssh_now();
	c->bytes_in += (size_t)n;
	if (c->first_len < sizeof(c->first)) {
		size_t left = sizeof(c->first) - c->first_len;
		size_t take = (size_t)n < left ? (size_t)n : left;

		memcpy(c->first + c->first_len, c->in.bytes + end, take);
		c->first_len += take;
	}
	c->in.left += (size_t)n;
	return 1;
}

bool ssh_hear(struct ssh_connection *c)
{
	while (c->in.at + c->in.left < SSH_INBOX_SIZE || !c->in.left) {
		if (inbox_fill(c) <= 0)
			return true;
	}
	return false;
}

static ssize_t on_recv(int fd, void *buffer, size_t len, int flags, void **abstract)
{
	struct ssh_connection *c = *abstract;

	if (fd != c->fd)
		return agent_io(c, fd, buffer, NULL, len);
	if (!c->in.left) {
		ssize_t n = inbox_fill(c);

		if (n <= 0)
			return n;
	}
	if (len > c->in.left)
		len = c->in.left;
	memcpy(buffer, c->in.bytes + c->in.at, len);
	c->in.at += len;
	c->in.left -= len;
	return (ssize_t)len;
}

void ssh_readable(struct ssh_connection *c)
{
	c->drained = false;
}

int ssh_io_init(struct ssh_connection *c)
{
	c->in.bytes = malloc(SSH_INBOX_SIZE);
	return c->in.bytes ? 0 : -ENOMEM;
}

void ssh_io_fini(struct ssh_connection *c)
{
	free(c->in.bytes);
	free(c->out.bytes);
}

/* "Too many authentication failures", say. The other functions only tell that the session is over.
 */
static void on_disconnect(LIBSSH2_SESSION *session, int reason, const char *message, int len,
    const char *language, int language_len, void **abstract)
{
	struct ssh_connection *c = *abstract;

	c->said_bye = true;
	log_printable(
	    c->bye, sizeof(c->bye), message ? message : "", message && len > 0 ? (size_t)len : 0);
}

void ssh_io_install(struct ssh_connection *c)
{
#if LIBSSH2_VERSION_NUM >= 0x010b01
	libssh2_session_callback_set2(
	    c->session, LIBSSH2_CALLBACK_SEND, (libssh2_cb_generic *)on_send);
	libssh2_session_callback_set2(
	    c->session, LIBSSH2_CALLBACK_RECV, (libssh2_cb_generic *)on_recv);
	libssh2_session_callback_set2(
	    c->session, LIBSSH2_CALLBACK_DISCONNECT, (libssh2_cb_generic *)on_disconnect);
#else
	libssh2_session_callback_set(c->session, LIBSSH2_CALLBACK_SEND, (void *)on_send);
	libssh2_session_callback_set(c->session, LIBSSH2_CALLBACK_RECV, (void *)on_recv);
	libssh2_session_callback_set(
	    c->session, LIBSSH2_CALLBACK_DISCONNECT, (void *)on_disconnect);
#endif
}

/*
 * The banner that a server sends before authentication ("…try again after a few seconds…") tells a
 * key that is not there yet from a wrong one. libssh2 1.10 has no call for it: the packet stays
 * unread in its queue until the session is freed. But that memory comes from us and comes back to
 * us, so that we look at it then:
 *
 *	byte 53, uint32 n, n bytes of text, uint32 m, m bytes of language
 *
 * Should another libssh2 do otherwise, nothing is seen and a denial counts as final. (1.11 has a
 * call: ssh_auth.c.)
 */
static uint32_t get_u32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void look_for_banner(struct ssh_connection *c, const uint8_t *at, size_t size)
{
	uint32_t len;

	if (size < 9 || at[0] != SSH_MSG_USERAUTH_BANNER || c->banner[0])
		return;
	len = get_u32(at + 1);
	if (!len || len > size - 9 || get_u32(at + 5 + len) > size - 9 - len)
		return;
	/* Other blocks may begin alike: a banner is text. */
	for (uint32_t i = 0; i < len; i++) {
		uint8_t byte = at[5 + i];

		if (byte == 0x7f || (byte < ' ' && !strchr("\n\r\t\033", byte)) || byte == 0)
			return;
	}
	if (len >= sizeof(c->banner))
		len = sizeof(c->banner) - 1;
	memcpy(c->banner, at + 5, len);
	c->banner[len] = '\0';
}

/* More than it may have: the connection is to end. */
static bool is_too_much(struct ssh_connection *c, size_t count)
{
	if (count <= c->memory_max && c->memory <= c->memory_max - count)
		return false;
	if (!c->err)
		log_info("%s: the server sends much that it was not asked for", c->where);
	c->err = c->err ? c->err : ENOBUFS;
	return true;
}

void *ssh_mem_alloc(size_t count, void **abstract)
{
	struct ssh_connection *c = *abstract;
	void *ptr;

	if (is_too_much(c, count))
		return NULL;
	/* Zeroed, so that look_for_banner never reads what was not written. */
	ptr = c->watching ? calloc(1, count ? count : 1) : malloc(count ? count : 1);
	c->memory += malloc_usable_size(ptr);
	return ptr;
}

void *ssh_mem_realloc(void *ptr, size_t count, void **abstract)
{
	struct ssh_connection *c = *abstract;
	size_t before = malloc_usable_size(ptr);
	void *fresh;

	if (count > before && is_too_much(c, count - before))
		return NULL;
	fresh = realloc(ptr, count ? count : 1);
	if (fresh)
		c->memory += malloc_usable_size(fresh) - before;
	return fresh;
}

void ssh_mem_free(void *ptr, void **abstract)
{
	struct ssh_connection *c = *abstract;

	if (ptr && c->watching)
		look_for_banner(c, ptr, malloc_usable_size(ptr));
	c->memory -= malloc_usable_size(ptr);
	free(ptr);
}

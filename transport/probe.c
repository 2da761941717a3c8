#include "transport/probe.h"
#include "conf/log.h"
#include "transport/ssh_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define STEP_MS 15000
#define SPEED_MS 2000
#define DOWN_BYTES (256u << 20)
#define ROUND_TRIPS 5

/* After libssh2 said rc: waits for its EAGAIN; else a negative errno. */
static int go_on(struct ssh_connection *c, int rc, uint64_t deadline)
{
	if (rc == LIBSSH2_ERROR_EAGAIN)
		return ssh_wait(c, deadline);
	if (rc == LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED || rc == LIBSSH2_ERROR_CHANNEL_FAILURE)
		return -ENOSYS;
	return -EIO;
}

static int open_channel(struct ssh_connection *c, LIBSSH2_CHANNEL **out, uint64_t deadline)
{
	int err = 0;

	while (!(*out = libssh2_channel_open_session(c->session)) && !err)
		err = go_on(c, libssh2_session_last_errno(c->session), deadline);
	return err;
}

/* what: "exec" with the command, or "subsystem" with "sftp". */
static int start(struct ssh_connection *c, LIBSSH2_CHANNEL *channel, const char *what,
    const char *text, uint64_t deadline)
{
	int rc, err = 0;

	while (!err && (rc = libssh2_channel_process_startup(channel, what, (unsigned)strlen(what),
			    text, (unsigned)strlen(text))) != 0)
		err = go_on(c, rc, deadline);
	return err;
}

static void close_channel(struct ssh_connection *c, LIBSSH2_CHANNEL *channel)
{
	uint64_t deadline = ssh_now() + 3000;

	while (channel && libssh2_channel_free(channel) == LIBSSH2_ERROR_EAGAIN) {
		if (ssh_wait(c, deadline))
			break;
	}
}

/* Reads once, waiting for it. Bytes, 0 at the end, or a negative errno. */
static ssize_t read_some(
    struct ssh_connection *c, LIBSSH2_CHANNEL *channel, void *to, size_t room, uint64_t deadline)
{
	for (;;) {
		ssize_t n = libssh2_channel_read(channel, to, room);
		int err;

		if (n > 0 || (n == 0 && libssh2_channel_eof(channel)))
			return n;
		err = go_on(c, n ? (int)n : LIBSSH2_ERROR_EAGAIN, deadline);
		if (err)
			return err;
	}
}

static int write_all(struct ssh_connection *c, LIBSSH2_CHANNEL *channel, const void *bytes,
    size_t len, uint64_t deadline)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t n = libssh2_channel_write(channel, at, len);
		int err = n < 0 ? go_on(c, (int)n, deadline) : 0;

		if (err)
			return err;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
	return ssh_flush(c);
}

int probe_exec(struct ssh_connection *c, const char *command, char *out, size_t size)
{
	uint64_t deadline = ssh_now() + STEP_MS;
	LIBSSH2_CHANNEL *channel = NULL;
	char spare[4096];
	size_t len = 0;
	ssize_t n = 1;
	int err = open_channel(c, &channel, deadline);

	if (!err)
		err = start(c, channel, "exec", command, deadline);
	/* it has nothing to read; a forced command that reads (internal-sftp) ends */
	while (!err && libssh2_channel_send_eof(channel) == LIBSSH2_ERROR_EAGAIN)
		err = ssh_wait(c, deadline);
	while (!err && n > 0) {
		bool full = len + 1 >= size;

		n = read_some(c, channel, full ? spare : out + len,
		    full ? sizeof(spare) : size - 1 - len, deadline);
		if (n > 0 && !full)
			len += (size_t)n;
		err = n < 0 ? (int)n : 0;
	}
	out[len] = '\0';
	close_channel(c, channel);
	return err;
}

/* --- SFTP ---------------------------------------------------------------------------- */

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* One packet without its length into buf. Its length, or a negative errno; -EPROTO: what is in buf
 * (len in *got) is no packet. */
static ssize_t read_packet(struct ssh_connection *c, LIBSSH2_CHANNEL *channel, uint8_t *buf,
    size_t size, size_t *got, uint64_t deadline)
{
	size_t want = 4, len = 0;

	*got = 0;
	while (len < want) {
		ssize_t n = read_some(c, channel, buf + len, want - len, deadline);

		if (n <= 0)
			return n ? n : -ENOSYS;
		*got = len += (size_t)n;
		if (len != 4 || want != 4)
			continue;
		want = 4 + (size_t)be32(buf);
		if (want < 5 || want > size) {
			n = libssh2_channel_read(channel, (char *)buf + 4, size - 4);
			*got += n > 0 ? (size_t)n : 0;
			return -EPROTO;
		}
	}
	memmove(buf, buf + 4, want - 4);
	return (ssize_t)want - 4;
}

static void take_extensions(const uint8_t *p, const uint8_t *end, struct probe_sftp *out)
{
	size_t at = 0;

	while (end - p >= 4 && be32(p) <= (size_t)(end - p) - 4) {
		uint32_t len = be32(p);
		char name[128];

		log_printable(name, sizeof(name), (const char *)p + 4, len);
		if (at < sizeof(out->extensions))
			at += (size_t)snprintf(out->extensions + at, sizeof(out->extensions) - at,
			    "%s%s", at ? " " : "", name);
		p += 4 + len;
		if (end - p < 4 || be32(p) > (size_t)(end - p) - 4)
			break;
		p += 4 + be32(p); /* its data */
	}
}

static void take_noise(const uint8_t *buf, size_t len, struct probe_sftp *out)
{
	size_t from = 0, to;

	while (from < len && strchr("\r\n", buf[from]))
		from++;
	for (to = from; to < len && !strchr("\r\n", buf[to]);)
		to++;
	log_printable(out->noise, sizeof(out->noise), (const char *)buf + from, to - from);
}

static int greet(
    struct ssh_connection *c, LIBSSH2_CHANNEL *channel, struct probe_sftp *out, uint64_t deadline)
{
	static const uint8_t init[] = {0, 0, 0, 5, 1, 0, 0, 0, 3};
	uint8_t buf[8192];
	size_t got;
	ssize_t len;
	int err = write_all(c, channel, init, sizeof(init), deadline);

	if (err)
		return err;
	len = read_packet(c, channel, buf, sizeof(buf), &got, deadline);
	if (len < 0) {
		if (len == -EPROTO)
			take_noise(buf, got, out);
		return (int)len;
	}
	if (len < 5 || buf[0] != 2)
		return -EPROTO;
	out->version = be32(buf + 1);
	take_extensions(buf + 5, buf + len, out);
	return 0;
}

/* REALPATH of ".", a few times. */
static int round_trips(
    struct ssh_connection *c, LIBSSH2_CHANNEL *channel, struct probe_sftp *out, uint64_t deadline)
{
	static const uint8_t realpath[] = {0, 0, 0, 10, 16, 0, 0, 0, 1, 0, 0, 0, 1, '.'};
	uint8_t buf[8192];
	size_t got;

	for (int i = 0; i < ROUND_TRIPS; i++) {
		uint64_t began = uv_hrtime() / 1000, took;
		int err = write_all(c, channel, realpath, sizeof(realpath), deadline);
		ssize_t len = err ? err : read_packet(c, channel, buf, sizeof(buf), &got, deadline);

		if (len < 0)
			return (int)len;
		took = uv_hrtime() / 1000 - began;
		if (!out->rtt_us || took < out->rtt_us)
			out->rtt_us = (unsigned)took;
	}
	return 0;
}

int probe_sftp(struct ssh_connection *c, struct probe_sftp *out)
{
	uint64_t deadline = ssh_now() + STEP_MS;
	LIBSSH2_CHANNEL *channel = NULL;
	int err = open_channel(c, &channel, deadline);

	memset(out, 0, sizeof(*out));
	if (!err)
		err = start(c, channel, "subsystem", "sftp", deadline);
	if (!err)
		err = greet(c, channel, out, deadline);
	if (!err)
		err = round_trips(c, channel, out, deadline);
	close_channel(c, channel);
	return err;
}

/* --- speed ----------------------------------------------------------------------------- */

static int speed_down(struct ssh_connection *c, char *buf, size_t size, uint64_t *rate)
{
	uint64_t deadline = ssh_now() + STEP_MS, began = 0, bytes = 0;
	LIBSSH2_CHANNEL *channel = NULL;
	char command[64];
	ssize_t n = 1;
	int err = open_channel(c, &channel, deadline);

	snprintf(command, sizeof(command), "head -c %u /dev/zero", DOWN_BYTES);
	if (!err)
		err = start(c, channel, "exec", command, deadline);
	while (!err && (n = read_some(c, channel, buf, size, deadline)) > 0) {
		if (!began)
			began = ssh_now();
		bytes += (uint64_t)n;
		if (ssh_now() - began >= SPEED_MS)
			break;
	}
	if (!err && n < 0)
		err = (int)n;
	if (!err && began)
		*rate = bytes * 1000 / (ssh_now() - began + 1);
	close_channel(c, channel);
	return err;
}

static int speed_up(struct ssh_connection *c, char *buf, size_t size, uint64_t *rate)
{
	uint64_t deadline = ssh_now() + STEP_MS, began, bytes = 0;
	LIBSSH2_CHANNEL *channel = NULL;
	char answer[16];
	int err = open_channel(c, &channel, deadline);

	if (!err)
		err = start(c, channel, "exec", "cat >/dev/null", deadline);
	began = ssh_now();
	while (!err && ssh_now() - began < SPEED_MS) {
		err = write_all(c, channel, buf, size, deadline);
		bytes += size;
		/* As much as a line of 2 s holds, not as much as memory. */
		while (!err && ssh_queued(c) > 1024 * 1024)
			err = ssh_wait(c, deadline);
	}
	/* What is still on its way counts when it has arrived: cat ends behind it. */
	if (!err && libssh2_channel_send_eof(channel) == LIBSSH2_ERROR_EAGAIN)
		err = ssh_wait(c, deadline);
	if (!err && read_some(c, channel, answer, sizeof(answer), deadline) < 0)
		err = -EIO;
	if (!err)
		*rate = bytes * 1000 / (ssh_now() - began + 1);
	close_channel(c, channel);
	return err;
}

int probe_speed(struct ssh_connection *c, uint64_t *down, uint64_t *up)
{
	size_t size = 32000;
	char *buf = calloc(1, size);
	int err = buf ? speed_down(c, buf, size, down) : -ENOMEM;

	if (!err)
		err = speed_up(c, buf, size, up);
	free(buf);
	return err;
}

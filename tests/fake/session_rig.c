#include "tests/fake/session_rig.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WATCHDOG_MS 60000

/* --- the pattern -------------------------------------------------------------------------------
 */

void session_rig_pattern(uint8_t *to, uint64_t offset, size_t len)
{
	for (size_t i = 0; i < len;) {
		uint64_t word = (offset + i) / 8 * 0x9e3779b97f4a7c15u;
		unsigned at = (unsigned)((offset + i) % 8);

		word ^= word >> 29;
		for (; at < 8 && i < len; at++, i++)
			to[i] = (uint8_t)(word >> (8 * at));
	}
}

void session_rig_make_file(const char *path, uint64_t total)
{
	FILE *out = fopen(path, "we");
	uint8_t bytes[65536];

	assert_non_null(out);
	for (uint64_t at = 0; at < total; at += sizeof(bytes)) {
		size_t len = total - at < sizeof(bytes) ? (size_t)(total - at) : sizeof(bytes);

		session_rig_pattern(bytes, at, len);
		assert_int_equal(fwrite(bytes, 1, len, out), len);
	}
	assert_int_equal(fclose(out), 0);
}

void session_rig_check_file(const char *path, uint64_t total)
{
	FILE *in = fopen(path, "re");
	uint8_t bytes[65536], expected[65536];
	uint64_t at = 0;
	size_t len;

	assert_non_null(in);
	while ((len = fread(bytes, 1, sizeof(bytes), in)) > 0) {
		session_rig_pattern(expected, at, len);
		assert_memory_equal(bytes, expected, len);
		at += len;
	}
	assert_int_equal(at, total);
	fclose(in);
}

/* --- the session -------------------------------------------------------------------------------
 */

static void on_connected(void *arg, const struct ssh_error *error)
{
	struct rig *rig = arg;

	assert_false(rig->connected);
	rig->connected = true;
	if (error)
		rig->error = *error;
}

static void on_lost(void *arg, const struct ssh_error *error)
{
	struct rig *rig = arg;

	assert_true(rig->connected);
	assert_false(rig->lost);
	rig->lost = true;
	rig->error = *error;
}

static const struct session_events session_events = {on_connected, on_lost};

static void on_watchdog(uv_timer_t *timer)
{
	fail_msg("nothing happened for a minute");
}

unsigned session_rig_flags;

void session_rig_start(struct rig *rig, const struct profile *profile, unsigned connect_timeout)
{
	memset(rig, 0, sizeof(*rig));
	rig->target = (struct ssh_target){.profile = profile, .connect_timeout = connect_timeout};
	assert_int_equal(uv_loop_init(&rig->loop), 0);
	uv_timer_init(&rig->loop, &rig->watchdog);
	assert_int_equal(mailbox_new(&rig->mailbox, &rig->loop), 0);
	assert_int_equal(session_new(&rig->session, rig->mailbox, &rig->target, session_rig_flags,
			     &session_events, rig),
	    0);
}

void session_rig_until(struct rig *rig, const bool *flag)
{
	uv_timer_start(&rig->watchdog, on_watchdog, WATCHDOG_MS, 0);
	while (!*flag)
		uv_run(&rig->loop, UV_RUN_ONCE);
	uv_timer_stop(&rig->watchdog);
}

void session_rig_stop(struct rig *rig)
{
	session_free(rig->session);
	assert_int_equal(session_join_all(10000), 0);
	mailbox_close(rig->mailbox);
	uv_close((uv_handle_t *)&rig->watchdog, NULL);
	uv_run(&rig->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&rig->loop), 0);
}

/* --- transfers ---------------------------------------------------------------------------------
 */

static uint32_t send_message(struct chan *chan, struct packet *message)
{
	assert_non_null(message);
	sftp_codec_set_id(message, chan->next_id);
	stream_send(chan->stream, message);
	return chan->next_id++;
}

static void pump(struct chan *chan)
{
	while (chan->in_flight < chan->most_in_flight && chan->sent < chan->total) {
		uint64_t left = chan->total - chan->sent;
		uint32_t len = left < chan->chunk ? (uint32_t)left : chan->chunk;
		struct packet *message;
		uint8_t *data;

		if (chan->up) {
			struct packet *whole = sftp_msg_write_data(len, &data);

			session_rig_pattern(data, chan->sent, len);
			message = sftp_msg_write(whole, 0, len, &chan->handle, chan->sent);
			packet_free(whole);
		} else {
			message = sftp_msg_read(&chan->handle, chan->sent, len);
		}
		chan->offsets[chan->next_id] = chan->sent;
		send_message(chan, message);
		chan->sent += len;
		chan->in_flight++;
	}
}

void chan_transfer(struct chan *chan, bool up, const char *path, uint64_t total, uint32_t chunk,
    unsigned in_flight)
{
	struct sftp_attr attr = {.flags = SSH_FILEXFER_ATTR_PERMISSIONS, .mode = 0600};

	chan->up = up;
	chan->handle_known = chan->failed = chan->done = false;
	chan->total = total;
	chan->sent = chan->acknowledged = 0;
	chan->chunk = chunk;
	chan->in_flight = 0;
	chan->most_in_flight = in_flight;
	chan->next_id = 0;
	free(chan->offsets);
	chan->offsets = calloc(total / chunk + 8, sizeof(*chan->offsets));
	assert_non_null(chan->offsets);
	send_message(
	    chan, sftp_msg_open(path,
		      up ? SSH_FXF_WRITE | SSH_FXF_CREAT | SSH_FXF_TRUNC : SSH_FXF_READ, &attr));
}

static void check_data(struct chan *chan, uint64_t offset, struct sftp_string data)
{
	uint8_t *expected = malloc(data.len);

	assert_non_null(expected);
	session_rig_pattern(expected, offset, data.len);
	if (memcmp(expected, data.data, data.len))
		chan->failed = true;
	free(expected);
	chan->acknowledged += data.len;
}

static void on_reply(struct chan *chan, uint8_t type, struct sftp_reader *reader)
{
	struct sftp_string text;
	uint32_t id, code;

	assert_int_equal(sftp_read_u32(reader, &id), 0);
	if (type == SSH_FXP_HANDLE) {
		assert_int_equal(sftp_read_string(reader, &text), 0);
		memcpy(chan->handle.data, text.data, text.len);
		chan->handle.len = text.len;
		chan->handle_known = true;
		pump(chan);
		return;
	}
	if (type == SSH_FXP_NAME || (type == SSH_FXP_STATUS && chan->sent == UINT64_MAX)) {
		chan->done = true; /* of chan_ask, or of the CLOSE */
		return;
	}
	chan->in_flight--;
	if (type == SSH_FXP_DATA) {
		assert_int_equal(sftp_read_string(reader, &text), 0);
		check_data(chan, chan->offsets[id], text);
	} else {
		assert_int_equal(type, SSH_FXP_STATUS);
		assert_int_equal(sftp_read_status(reader, &code, &text), 0);
		if (code != SSH_FX_OK)
			chan->failed = chan->done = true;
		chan->acknowledged += chan->chunk;
	}
	pump(chan);
	if (!chan->in_flight && !chan->failed && chan->sent == chan->total) {
		chan->sent = UINT64_MAX;
		send_message(chan, sftp_msg_handle(SSH_FXP_CLOSE, &chan->handle));
	}
}

/* --- channels ----------------------------------------------------------------------------------
 */

static void on_opened(void *arg, const struct ssh_error *error)
{
	struct chan *chan = arg;

	assert_false(chan->opened);
	assert_false(chan->closed);
	chan->opened = true;
	if (error) {
		chan->error = *error;
		chan->version = true; /* nobody needs to wait for it */
	} else {
		stream_send(chan->stream, sftp_msg_init());
	}
}

static void on_packet(void *arg, struct packet *packet)
{
	struct chan *chan = arg;
	struct sftp_reader reader;
	uint8_t type;

	assert_true(chan->opened && !chan->closed);
	assert_int_equal(sftp_read_packet(packet, &type, &reader), 0);
	chan->packets++;
	if (type == SSH_FXP_VERSION)
		chan->version = true;
	else
		on_reply(chan, type, &reader);
	packet_free(packet);
}

static void on_closed(void *arg, const struct ssh_error *error)
{
	struct chan *chan = arg;

	assert_true(chan->opened && !chan->closed);
	assert_false(chan->rig->lost); /* streams come first */
	chan->closed = true;
	chan->rig->streams_closed++;
	chan->error = *error;
}

static const struct stream_events stream_events = {on_opened, on_packet, on_closed};

void chan_open(struct chan *chan, struct rig *rig, uint32_t window, bool wait)
{
	memset(chan, 0, sizeof(*chan));
	chan->rig = rig;
	chan->stream = session_open_sftp(rig->session, window, &stream_events, chan);
	assert_non_null(chan->stream);
	if (!wait)
		return;
	session_rig_until(rig, &chan->version);
	assert_int_equal(chan->error.kind, SSH_OK);
}

void chan_close(struct chan *chan)
{
	stream_close(chan->stream);
	chan->stream = NULL;
	free(chan->offsets);
}

void chan_ask(struct chan *chan)
{
	chan->done = false;
	send_message(chan, sftp_msg_path(SSH_FXP_REALPATH, "."));
	session_rig_until(chan->rig, &chan->done);
}

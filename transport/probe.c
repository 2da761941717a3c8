#include "transport/probe.h"
#include "conf/log.h"
#include "transport/probe_line.h"
#include "transport/sftp_codec.h"
#include "transport/ssh_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#define STEP_MS 15000
#define SPEED_MS 2000
#define DOWN_BYTES (256u << 20)
#define ROUND_TRIPS 5

int probe_exec(const struct probe_way *way, const char *command, char *out, size_t size)
{
	struct probe_line line;
	char spare[4096];
	size_t len = 0;
	ssize_t n = 1;
	int err = probe_line_open(&line, way, command, ssh_now() + STEP_MS);

	/* it has nothing to read; a forced command that reads (internal-sftp) ends */
	if (!err)
		err = probe_line_eof(&line);
	while (!err && n > 0) {
		bool full = len + 1 >= size;

		n = probe_line_read(
		    &line, full ? spare : out + len, full ? sizeof(spare) : size - 1 - len);
		if (n > 0 && !full)
			len += (size_t)n;
		err = n < 0 ? (int)n : 0;
	}
	/* what a forced command says instead (internal-sftp) is not what it prints */
	if (!err && probe_line_status(&line) > 0)
		err = -ENOSYS;
	out[len] = '\0';
	probe_line_close(&line);
	return err;
}

/* --- SFTP ---------------------------------------------------------------------------- */

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* One packet without its length into buf. Its length, or a negative errno; -EPROTO: what is in buf
 * (len in *got) is no packet. */
static ssize_t read_packet(struct probe_line *line, uint8_t *buf, size_t size, size_t *got)
{
	size_t want = 4, len = 0;

	*got = 0;
	while (len < want) {
		ssize_t n = probe_line_read(line, buf + len, want - len);

		if (n <= 0)
			return n ? n : -ENOSYS;
		*got = len += (size_t)n;
		if (len != 4 || want != 4)
			continue;
		want = 4 + (size_t)be32(buf);
		if (want < 5 || want > size) {
			n = probe_line_peek(line, buf + 4, size - 4);
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

static int greet(struct probe_line *line, struct probe_sftp *out)
{
	static const uint8_t init[] = {0, 0, 0, 5, 1, 0, 0, 0, 3};
	uint8_t buf[8192];
	size_t got;
	ssize_t len;
	int err = probe_line_write(line, init, sizeof(init));

	if (err)
		return err;
	len = read_packet(line, buf, sizeof(buf), &got);
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
static int round_trips(struct probe_line *line, struct probe_sftp *out)
{
	static const uint8_t realpath[] = {0, 0, 0, 10, 16, 0, 0, 0, 1, 0, 0, 0, 1, '.'};
	uint8_t buf[8192];
	size_t got;

	for (int i = 0; i < ROUND_TRIPS; i++) {
		uint64_t began = uv_hrtime() / 1000, took;
		int err = probe_line_write(line, realpath, sizeof(realpath));
		ssize_t len = err ? err : read_packet(line, buf, sizeof(buf), &got);

		if (len < 0)
			return (int)len;
		took = uv_hrtime() / 1000 - began;
		if (!out->rtt_us || took < out->rtt_us)
			out->rtt_us = (unsigned)took;
	}
	return 0;
}

/* An answer of ATTRS without permissions, or a status other than "no such file", tells nothing. */
static int look_at_folder(struct probe_line *line, const char *path, struct probe_sftp *out)
{
	struct packet *message = sftp_msg_path(SSH_FXP_STAT, path);
	struct sftp_string words;
	struct sftp_reader reader;
	struct sftp_attr attr;
	uint8_t buf[8192];
	uint32_t code;
	size_t got;
	ssize_t n;

	if (!message)
		return 0;
	n = probe_line_write(line, message->data, message->len);
	packet_free(message);
	if (!n)
		n = read_packet(line, buf, sizeof(buf), &got);
	if (n < 5)
		return n < 0 ? (int)n : 0;
	reader = (struct sftp_reader){buf + 5, buf + n};
	if (buf[0] == SSH_FXP_STATUS && !sftp_read_status(&reader, &code, &words) &&
	    code == SSH_FX_NO_SUCH_FILE)
		out->folder = FOLDER_NONE;
	if (buf[0] == SSH_FXP_ATTRS && !sftp_read_attr(&reader, &attr) &&
	    (attr.flags & SSH_FILEXFER_ATTR_PERMISSIONS))
		out->folder = S_ISDIR(attr.mode) ? FOLDER_THERE : FOLDER_NONE;
	return 0;
}

int probe_sftp(const struct probe_way *way, const char *folder, struct probe_sftp *out)
{
	struct probe_line line;
	int err = probe_line_open(&line, way, NULL, ssh_now() + STEP_MS);

	memset(out, 0, sizeof(*out));
	if (!err)
		err = greet(&line, out);
	if (!err)
		err = round_trips(&line, out);
	if (!err && folder)
		err = look_at_folder(&line, folder, out);
	probe_line_close(&line);
	return err;
}

/* --- speed ----------------------------------------------------------------------------- */

static int speed_down(const struct probe_way *way, char *buf, size_t size, uint64_t *rate)
{
	uint64_t began = 0, bytes = 0;
	struct probe_line line;
	char command[64];
	ssize_t n = 1;
	int err;

	snprintf(command, sizeof(command), "head -c %u /dev/zero", DOWN_BYTES);
	err = probe_line_open(&line, way, command, ssh_now() + STEP_MS);
	if (!err)
		err = probe_line_eof(&line);
	while (!err && (n = probe_line_read(&line, buf, size)) > 0) {
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
	probe_line_close(&line);
	return err;
}

static int speed_up(const struct probe_way *way, char *buf, size_t size, uint64_t *rate)
{
	uint64_t began, bytes = 0;
	struct probe_line line;
	char answer[16];
	int err = probe_line_open(&line, way, "cat >/dev/null", ssh_now() + STEP_MS);

	began = ssh_now();
	while (!err && ssh_now() - began < SPEED_MS) {
		err = probe_line_write(&line, buf, size);
		bytes += size;
	}
	/* What is still on its way counts when it has arrived: cat ends behind it. */
	if (!err)
		err = probe_line_eof(&line);
	if (!err && probe_line_read(&line, answer, sizeof(answer)) < 0)
		err = -EIO;
	if (!err)
		*rate = bytes * 1000 / (ssh_now() - began + 1);
	probe_line_close(&line);
	return err;
}

int probe_speed(const struct probe_way *way, uint64_t *down, uint64_t *up)
{
	size_t size = 32000;
	char *buf = calloc(1, size);
	int err = buf ? speed_down(way, buf, size, down) : -ENOMEM;

	if (!err)
		err = speed_up(way, buf, size, up);
	free(buf);
	return err;
}

#include "tests/fake/fake_stream.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void give_up(const char *what)
{
	fprintf(stderr, "fake_stream: %s\n", what);
	abort();
}

/* --- bytes --- */

void fake_raw(struct fake_bytes *bytes, const void *data, size_t len)
{
	if (bytes->size - bytes->len < len) {
		bytes->size = (bytes->len + len) * 2;
		bytes->data = realloc(bytes->data, bytes->size);
		if (!bytes->data)
			give_up("out of memory");
	}
	if (len)
		memcpy(bytes->data + bytes->len, data, len);
	bytes->len += len;
}

void fake_u8(struct fake_bytes *bytes, uint8_t value)
{
	fake_raw(bytes, &value, 1);
}

void fake_u32(struct fake_bytes *bytes, uint32_t value)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		fake_u8(bytes, (uint8_t)(value >> shift));
}

void fake_u64(struct fake_bytes *bytes, uint64_t value)
{
	for (int shift = 56; shift >= 0; shift -= 8)
		fake_u8(bytes, (uint8_t)(value >> shift));
}

void fake_string(struct fake_bytes *bytes, const void *data, size_t len)
{
	fake_u32(bytes, (uint32_t)len);
	fake_raw(bytes, data, len);
}

void fake_text(struct fake_bytes *bytes, const char *text)
{
	fake_string(bytes, text, strlen(text));
}

void fake_attr(struct fake_bytes *bytes, const struct sftp_attr *attr)
{
	fake_u32(bytes, attr->flags);
	if (attr->flags & SSH_FILEXFER_ATTR_SIZE)
		fake_u64(bytes, attr->size);
	if (attr->flags & SSH_FILEXFER_ATTR_UIDGID) {
		fake_u32(bytes, attr->uid);
		fake_u32(bytes, attr->gid);
	}
	if (attr->flags & SSH_FILEXFER_ATTR_PERMISSIONS)
		fake_u32(bytes, attr->mode);
	if (attr->flags & SSH_FILEXFER_ATTR_ACMODTIME) {
		fake_u32(bytes, attr->atime);
		fake_u32(bytes, attr->mtime);
	}
}

struct packet *fake_packet(uint8_t type, struct fake_bytes *bytes)
{
	struct fake_bytes all = {0};
	struct packet *packet;

	fake_u32(&all, (uint32_t)(bytes->len + 1));
	fake_u8(&all, type);
	fake_raw(&all, bytes->data, bytes->len);
	packet = packet_new(all.len);
	if (!packet)
		give_up("out of memory");
	memcpy(packet->data, all.data, all.len);
	packet->len = all.len;
	fake_bytes_fini(&all);
	fake_bytes_fini(bytes);
	return packet;
}

void fake_bytes_fini(struct fake_bytes *bytes)
{
	free(bytes->data);
	memset(bytes, 0, sizeof(*bytes));
}

/* --- the stream --- */

static void fake_send(struct stream *stream, struct packet *packet)
{
	struct fake_stream *fake = (struct fake_stream *)stream;

	if (fake->closes)
		give_up("a packet was sent after stream_close");
	STAILQ_INSERT_TAIL(&fake->sent, packet, link);
	fake->sent_count++;
}

static void fake_close(struct stream *stream)
{
	struct fake_stream *fake = (struct fake_stream *)stream;

	fake->closes++;
}

static const struct stream_ops fake_ops = {fake_send, fake_close};

void fake_stream_init(struct fake_stream *fake)
{
	memset(fake, 0, sizeof(*fake));
	fake->stream.ops = &fake_ops;
	STAILQ_INIT(&fake->sent);
}

void fake_stream_fini(struct fake_stream *fake)
{
	struct fake_request request;

	while (fake_stream_next(fake, &request))
		packet_free(request.packet);
}

struct stream *fake_stream_open(void *opener, const struct stream_events *events, void *arg)
{
	struct fake_stream *fake = opener;

	if (fake->no_memory)
		return NULL;
	fake->events = events;
	fake->arg = arg;
	return &fake->stream;
}

bool fake_stream_next(struct fake_stream *fake, struct fake_request *out)
{
	struct packet *packet = STAILQ_FIRST(&fake->sent);

	if (!packet)
		return false;
	STAILQ_REMOVE_HEAD(&fake->sent, link);
	out->packet = packet;
	if (sftp_read_packet(packet, &out->type, &out->reader) ||
	    sftp_read_u32(&out->reader, &out->id))
		give_up("the message sent is malformed");
	return true;
}

uint32_t fake_stream_expect(struct fake_stream *fake, uint8_t type)
{
	struct fake_request request;

	if (!fake_stream_next(fake, &request))
		give_up("nothing was sent");
	packet_free(request.packet);
	if (request.type != type)
		give_up("another type of message was sent");
	return request.id;
}

void fake_stream_opened(struct fake_stream *fake)
{
	if (!fake->closes)
		fake->events->opened(fake->arg, NULL);
}

static void fill_error(struct ssh_error *error, enum ssh_failure kind, const char *text)
{
	memset(error, 0, sizeof(*error));
	error->kind = kind;
	snprintf(error->text, sizeof(error->text), "%s", text);
}

void fake_stream_refuse(struct fake_stream *fake, enum ssh_failure kind, const char *text)
{
	struct ssh_error error;

	fill_error(&error, kind, text);
	if (!fake->closes)
		fake->events->opened(fake->arg, &error);
}

void fake_stream_die(struct fake_stream *fake)
{
	struct ssh_error error;

	fill_error(&error, SSH_LOST, "the connection broke");
	if (!fake->closes)
		fake->events->closed(fake->arg, &error);
}

void fake_stream_deliver(struct fake_stream *fake, struct packet *packet)
{
	if (fake->closes)
		packet_free(packet);
	else
		fake->events->packet(fake->arg, packet);
}

/* --- replies --- */

void fake_reply_status(struct fake_stream *fake, uint32_t id, uint32_t code)
{
	struct fake_bytes bytes = {0};

	fake_u32(&bytes, id);
	fake_u32(&bytes, code);
	fake_text(&bytes, "what the server says");
	fake_text(&bytes, "en");
	fake_stream_deliver(fake, fake_packet(SSH_FXP_STATUS, &bytes));
}

void fake_reply_handle(struct fake_stream *fake, uint32_t id, const char *handle)
{
	struct fake_bytes bytes = {0};

	fake_u32(&bytes, id);
	fake_text(&bytes, handle);
	fake_stream_deliver(fake, fake_packet(SSH_FXP_HANDLE, &bytes));
}

void fake_reply_data(struct fake_stream *fake, uint32_t id, const void *data, size_t len)
{
	struct fake_bytes bytes = {0};

	fake_u32(&bytes, id);
	fake_string(&bytes, data, len);
	fake_stream_deliver(fake, fake_packet(SSH_FXP_DATA, &bytes));
}

void fake_reply_attrs(struct fake_stream *fake, uint32_t id, const struct sftp_attr *attr)
{
	struct fake_bytes bytes = {0};

	fake_u32(&bytes, id);
	fake_attr(&bytes, attr);
	fake_stream_deliver(fake, fake_packet(SSH_FXP_ATTRS, &bytes));
}

void fake_reply_names(struct fake_stream *fake, uint32_t id, uint32_t count)
{
	const struct sftp_attr attr = {.flags = SSH_FILEXFER_ATTR_SIZE, .size = 7};
	struct fake_bytes bytes = {0};
	char name[32];

	fake_u32(&bytes, id);
	fake_u32(&bytes, count);
	for (uint32_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		fake_text(&bytes, name);
		fake_text(&bytes, "-rw-r--r--    1 root     root            7 Jan  1 00:00 n");
		fake_attr(&bytes, &attr);
	}
	fake_stream_deliver(fake, fake_packet(SSH_FXP_NAME, &bytes));
}

void fake_reply_limits(struct fake_stream *fake, uint32_t id, uint64_t packet, uint64_t max_read,
    uint64_t max_write, uint64_t handles)
{
	struct fake_bytes bytes = {0};

	fake_u32(&bytes, id);
	fake_u64(&bytes, packet);
	fake_u64(&bytes, max_read);
	fake_u64(&bytes, max_write);
	fake_u64(&bytes, handles);
	fake_stream_deliver(fake, fake_packet(SSH_FXP_EXTENDED_REPLY, &bytes));
}

void fake_reply_version(struct fake_stream *fake, uint32_t version, const char *const *pairs)
{
	struct fake_bytes bytes = {0};

	fake_u32(&bytes, version);
	while (pairs && *pairs)
		fake_text(&bytes, *pairs++);
	fake_stream_deliver(fake, fake_packet(SSH_FXP_VERSION, &bytes));
}

void fake_reply_number(struct fake_stream *fake, uint32_t id, uint32_t number)
{
	struct fake_bytes bytes = {0};

	fake_u32(&bytes, id);
	fake_u32(&bytes, 4);
	fake_u32(&bytes, number);
	fake_stream_deliver(fake, fake_packet(SSH_FXP_HANDLE, &bytes));
}

/*
 * The codec and the checks of replies, on whatever a server may send.
 *
 * The input: a byte that picks the request (low bits) and whether the length field is made right
 * (high bit), then the packet behind its length field. The same bytes also become the strings of
 * messages out.
 */
#include "transport/sftp_codec.h"
#include "transport/sftp_reply.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads each byte, so that a pointer out of the packet is noticed. */
static unsigned touch(struct sftp_string string)
{
	unsigned sum = 0;

	for (uint32_t i = 0; i < string.len; i++)
		sum += string.data[i];
	return sum;
}

static volatile unsigned sink;

static void use_names(struct sftp_names names)
{
	uint32_t count = names.left, seen = 0;
	struct sftp_name name;

	while (sftp_names_next(&names, &name)) {
		seen++;
		sink += touch(name.name) + touch(name.longname);
		sink += sftp_longname_links(name.longname);
		if (sftp_name_is_valid(name.name) &&
		    (memchr(name.name.data, '/', name.name.len) || name.name.len > 255))
			abort();
	}
	if (seen != count)
		abort();
}

static void use_reply(const struct sftp_request *request, const struct sftp_reply *reply)
{
	struct sftp_features features;
	struct sftp_reader reader;
	struct statvfs st;

	if (reply->err > 0)
		abort();
	if (reply->err)
		return;
	switch (reply->type) {
	case SSH_FXP_HANDLE:
		if (!reply->handle.len || reply->handle.len > SFTP_HANDLE_MAX)
			abort();
		sink += touch(reply->handle);
		break;
	case SSH_FXP_DATA:
		if (!reply->data.len || reply->data.len > request->len)
			abort();
		sink += touch(reply->data);
		break;
	case SSH_FXP_NAME:
		use_names(reply->names);
		break;
	case SSH_FXP_EXTENDED_REPLY:
		reader.at = reply->extended.data;
		reader.end = reader.at + reply->extended.len;
		if (!sftp_read_statvfs(&reader, &st) && (!st.f_bsize || !st.f_frsize))
			abort();
		if (!sftp_limits_read(reply->extended, &features) &&
		    (!features.max_read || !features.max_write ||
			features.max_read > PACKET_MAX - 13 ||
			features.max_write > PACKET_MAX - 25 - SFTP_HANDLE_MAX))
			abort();
		break;
	default:
		break;
	}
}

static struct packet *request_message(unsigned pick)
{
	static const struct sftp_handle handle = {1, "h"};

	switch (pick % 8) {
	case 0:
		return sftp_msg_open("/", SSH_FXF_READ, NULL);
	case 1:
		return sftp_msg_read(&handle, 0, 64);
	case 2:
		return sftp_msg_handle(SSH_FXP_READDIR, &handle);
	case 3:
		return sftp_msg_path(SSH_FXP_READLINK, "/");
	case 4:
		return sftp_msg_path(SSH_FXP_LSTAT, "/");
	case 5:
		return sftp_msg_limits();
	case 6:
		return sftp_msg_statvfs("/");
	default:
		return sftp_msg_handle(SSH_FXP_CLOSE, &handle);
	}
}

static void reply_to(unsigned pick, uint8_t type, struct sftp_reader reader)
{
	struct packet *message = request_message(pick);
	struct sftp_request request;
	struct sftp_reply reply;
	uint32_t id;

	if (!message)
		return;
	memset(&request, 0, sizeof(request));
	sftp_request_describe(&request, message);
	packet_free(message);
	if (!sftp_read_u32(&reader, &id) && !sftp_reply_read(&request, type, &reader, &reply))
		use_reply(&request, &reply);
}

static void check_message(struct packet *message)
{
	struct sftp_request request = {0};
	struct sftp_reader reader;
	uint8_t type;

	if (!message)
		return;
	if (message->len > message->size || sftp_read_packet(message, &type, &reader))
		abort();
	sftp_codec_set_id(message, 7);
	sftp_request_describe(&request, message);
	if (request.type != type)
		abort();
	packet_free(message);
}

static void messages_of(const uint8_t *data, size_t size)
{
	struct sftp_reader reader = {data, data + size};
	struct sftp_handle handle = {.len = size < 300 ? (uint32_t)size : 300};
	char *text = strndup((const char *)data, size);
	struct sftp_attr attr;
	uint8_t *room;
	uint32_t len;

	if (!text)
		return;
	memcpy(handle.data, data, handle.len > SFTP_HANDLE_MAX ? SFTP_HANDLE_MAX : handle.len);
	if (sftp_read_attr(&reader, &attr))
		memset(&attr, 0xff, sizeof(attr));
	check_message(sftp_msg_setstat(text, &attr));
	check_message(sftp_msg_open(text, 1, &attr));
	check_message(sftp_msg_rename(text, text));
	check_message(sftp_msg_posix_rename(text, text));
	check_message(sftp_msg_fsetstat(&handle, &attr));
	check_message(sftp_msg_copy_data(&handle, 1, 2, &handle, 3));
	if (size >= 4) {
		struct packet *message;

		memcpy(&len, data, 4);
		len %= PACKET_MAX * 2;
		message = sftp_msg_write_data(len, &room);
		if (message) {
			memset(room, 1, len);
			check_message(sftp_msg_write(message, 0, len, &handle, len));
			packet_free(message);
		}
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sftp_reader reader;
	struct packet *packet;
	uint8_t type;

	if (size < 2 || size > PACKET_MAX)
		return 0;
	/* Of the exact size, so that a step outside is seen. */
	packet = packet_new(4 + size - 1);
	if (!packet)
		return 0;
	packet->len = 4 + size - 1;
	memcpy(packet->data + 4, data + 1, size - 1);
	if (data[0] & 0x80) {
		packet->data[0] = 0;
		packet->data[1] = (uint8_t)((size - 1) >> 16);
		packet->data[2] = (uint8_t)((size - 1) >> 8);
		packet->data[3] = (uint8_t)(size - 1);
	} else {
		memcpy(packet->data, data + 1, size - 1 < 4 ? size - 1 : 4);
	}
	if (!sftp_read_packet(packet, &type, &reader)) {
		if (type == SSH_FXP_VERSION) {
			struct sftp_features features;
			struct sftp_reader copy = reader;
			uint32_t version;
			bool limits;

			sftp_version_read(&copy, &version, &features, &limits);
		}
		reply_to(data[0], type, reader);
	}
	packet_free(packet);
	messages_of(data + 1, size - 1);
	return 0;
}

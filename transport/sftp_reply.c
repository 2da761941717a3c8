#include "transport/sftp_reply.h"
#include "conf/log.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define SIZE_DEFAULT 32768u /* what every server must take (section 3) */
#define PACKET_LEAST 34000u /* and the packet that this needs */
#define READ_HEAD 13u	    /* length, type, id, length of the data */
#define WRITE_HEAD (25u + SFTP_HANDLE_MAX)

/* --- requests --- */

static bool is_text(struct sftp_string string, const char *text)
{
	return string.len == strlen(text) && !memcmp(string.data, text, string.len);
}

static uint8_t expected_of_extended(struct sftp_string name)
{
	if (is_text(name, "statvfs@openssh.com") || is_text(name, "fstatvfs@openssh.com") ||
	    is_text(name, "limits@openssh.com"))
		return SSH_FXP_EXTENDED_REPLY;
	if (is_text(name, "expand-path@openssh.com") || is_text(name, "home-directory"))
		return SSH_FXP_NAME;
	return SSH_FXP_STATUS;
}

static uint8_t expected_of(uint8_t type)
{
	switch (type) {
	case SSH_FXP_OPEN:
	case SSH_FXP_OPENDIR:
		return SSH_FXP_HANDLE;
	case SSH_FXP_READ:
		return SSH_FXP_DATA;
	case SSH_FXP_READDIR:
	case SSH_FXP_REALPATH:
	case SSH_FXP_READLINK:
		return SSH_FXP_NAME;
	case SSH_FXP_LSTAT:
	case SSH_FXP_STAT:
	case SSH_FXP_FSTAT:
		return SSH_FXP_ATTRS;
	default:
		return SSH_FXP_STATUS;
	}
}

void sftp_request_describe(struct sftp_request *request, const struct packet *message)
{
	struct sftp_reader reader;
	struct sftp_string first;
	uint64_t offset;
	uint32_t id;
	uint8_t type;

	request->expected = SSH_FXP_STATUS;
	request->patient = message->patient;
	if (sftp_read_packet(message, &type, &reader) || sftp_read_u32(&reader, &id))
		return;
	request->type = type;
	request->expected = expected_of(type);
	switch (type) {
	case SSH_FXP_OPEN:
	case SSH_FXP_OPENDIR:
	case SSH_FXP_LSTAT:
	case SSH_FXP_STAT:
	case SSH_FXP_FSTAT:
		request->quick = true;
		break;
	case SSH_FXP_REALPATH:
	case SSH_FXP_READLINK:
		request->quick = true;
		request->one_name = true;
		break;
	case SSH_FXP_READ:
		if (sftp_read_string(&reader, &first) || sftp_read_u64(&reader, &offset) ||
		    sftp_read_u32(&reader, &request->len))
			request->len = 0;
		break;
	case SSH_FXP_CLOSE: /* four bytes of any other handle are as good as none */
		if (!sftp_read_u32(&reader, &id))
			sftp_read_u32(&reader, &request->handle);
		break;
	case SSH_FXP_EXTENDED:
		if (sftp_read_string(&reader, &first))
			break;
		request->expected = expected_of_extended(first);
		request->one_name = request->expected == SSH_FXP_NAME;
		request->quick = is_text(first, "limits@openssh.com");
		request->slow = is_text(first, "fsync@openssh.com") || is_text(first, "copy-data");
		break;
	default:
		break;
	}
}

/* --- replies --- */

static void end_of_file(struct sftp_reply *out)
{
	out->status = SSH_FX_EOF;
	out->err = sftp_status_errno(SSH_FX_EOF);
}

static int read_status(
    const struct sftp_request *request, struct sftp_reader *reader, struct sftp_reply *out)
{
	struct sftp_string message;
	char text[200];

	if (sftp_read_status(reader, &out->status, &message))
		return -EPROTO;
	out->err = sftp_status_errno(out->status);
	if (out->status == SSH_FX_OK && request->expected != SSH_FXP_STATUS)
		out->err = -EPROTO;
	if (out->status > SSH_FX_EOF && message.len && log_enabled(LOG_LEVEL_DEBUG))
		log_debug("sftp: %s %u: the server says: %s", sftp_type_name(request->type),
		    request->id,
		    log_printable(text, sizeof(text), (const char *)message.data, message.len));
	return 0;
}

static int read_data(
    const struct sftp_request *request, struct sftp_reader *reader, struct sftp_reply *out)
{
	struct sftp_string data;

	if (sftp_read_string(reader, &data))
		return -EPROTO;
	if (data.len > request->len)
		out->err = -EPROTO;
	else if (!data.len)
		end_of_file(out);
	else
		out->data = data;
	return 0;
}

static int read_names(
    const struct sftp_request *request, struct sftp_reader *reader, struct sftp_reply *out)
{
	struct sftp_names names;

	if (sftp_read_names(reader, &names))
		return -EPROTO;
	if (request->one_name && names.left != 1)
		out->err = -EPROTO;
	else if (!names.left)
		end_of_file(out);
	else
		out->names = names;
	return 0;
}

int sftp_reply_read(const struct sftp_request *request, uint8_t type, struct sftp_reader *reader,
    struct sftp_reply *out)
{
	memset(out, 0, sizeof(*out));
	out->type = type;
	if (type == SSH_FXP_STATUS)
		return read_status(request, reader, out);
	if (type != request->expected)
		return -EPROTO;
	switch (type) {
	case SSH_FXP_HANDLE:
		if (sftp_read_string(reader, &out->handle) || !out->handle.len ||
		    out->handle.len > SFTP_HANDLE_MAX)
			return -EPROTO;
		return 0;
	case SSH_FXP_DATA:
		return read_data(request, reader, out);
	case SSH_FXP_NAME:
		return read_names(request, reader, out);
	case SSH_FXP_ATTRS:
		return sftp_read_attr(reader, &out->attr);
	case SSH_FXP_EXTENDED_REPLY:
		out->extended.data = reader->at;
		out->extended.len = (uint32_t)(reader->end - reader->at);
		return 0;
	default:
		return -EPROTO;
	}
}

/* --- what the server offers --- */

/* An extension counts only in the version that we speak. */
static const struct {
	const char *name, *version;
	size_t offset; /* of its bool in struct sftp_features */
} extensions[] = {
    {"posix-rename@openssh.com", "1", offsetof(struct sftp_features, posix_rename)},
    {"hardlink@openssh.com", "1", offsetof(struct sftp_features, hardlink)},
    {"statvfs@openssh.com", "2", offsetof(struct sftp_features, statvfs)},
    {"fstatvfs@openssh.com", "2", offsetof(struct sftp_features, fstatvfs)},
    {"fsync@openssh.com", "1", offsetof(struct sftp_features, fsync)},
    {"lsetstat@openssh.com", "1", offsetof(struct sftp_features, lsetstat)},
    {"copy-data", "1", offsetof(struct sftp_features, copy_data)},
    {"expand-path@openssh.com", "1", offsetof(struct sftp_features, expand_path)},
    {"home-directory", "1", offsetof(struct sftp_features, home_directory)},
};

static void note_extension(struct sftp_string name, struct sftp_string version,
    struct sftp_features *features, bool *limits)
{
	char name_text[100], version_text[100];

	if (log_enabled(LOG_LEVEL_VERBOSE))
		log_verbose("sftp: the server offers %s \"%s\"",
		    log_printable(name_text, sizeof(name_text), (const char *)name.data, name.len),
		    log_printable(version_text, sizeof(version_text), (const char *)version.data,
			version.len));
	if (is_text(name, "limits@openssh.com") && is_text(version, "1"))
		*limits = true;
	for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++) {
		if (is_text(name, extensions[i].name) && is_text(version, extensions[i].version))
			*(bool *)((char *)features + extensions[i].offset) = true;
	}
}

int sftp_version_read(
    struct sftp_reader *reader, uint32_t *version, struct sftp_features *features, bool *limits)
{
	struct sftp_string name, value;

	memset(features, 0, sizeof(*features));
	features->max_read = features->max_write = SIZE_DEFAULT;
	*limits = false;
	if (sftp_read_u32(reader, version))
		return -EPROTO;
	while (reader->at < reader->end) {
		if (sftp_read_string(reader, &name) || sftp_read_string(reader, &value))
			return -EPROTO;
		note_extension(name, value, features, limits);
	}
	return 0;
}

static uint32_t capped(uint64_t said, uint64_t packet, uint32_t head)
{
	uint64_t most = packet - head;

	if (!said)
		said = SIZE_DEFAULT;
	return (uint32_t)(said < most ? said : most);
}

int sftp_limits_read(struct sftp_string extended, struct sftp_features *features)
{
	struct sftp_reader reader = {extended.data, extended.data + extended.len};
	uint64_t packet, max_read, max_write, handles;

	if (sftp_read_u64(&reader, &packet) || sftp_read_u64(&reader, &max_read) ||
	    sftp_read_u64(&reader, &max_write) || sftp_read_u64(&reader, &handles))
		return -EPROTO;
	if (!packet || packet > PACKET_MAX)
		packet = PACKET_MAX;
	if (packet < PACKET_LEAST)
		packet = PACKET_LEAST;
	features->max_read = capped(max_read, packet, READ_HEAD);
	features->max_write = capped(max_write, packet, WRITE_HEAD);
	features->max_handles = handles;
	return 0;
}

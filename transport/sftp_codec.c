/*
 * Messages out. Every one is measured before it is allocated, so that filling it in can't overrun:
 *
 *	uint32 length | byte type | uint32 id | body…
 */
#include "transport/sftp_codec.h"
#include <errno.h>
#include <string.h>

#define HEAD 9			      /* length, type and id */
#define WRITE_HEAD (HEAD + 4 + 8 + 4) /* of a WRITE, without its handle */
#define WRITE_HEAD_MAX (WRITE_HEAD + SFTP_HANDLE_MAX)

static void put_u32(uint8_t **at, uint32_t value)
{
	uint8_t *p = *at;

	p[0] = (uint8_t)(value >> 24);
	p[1] = (uint8_t)(value >> 16);
	p[2] = (uint8_t)(value >> 8);
	p[3] = (uint8_t)value;
	*at = p + 4;
}

static void put_u64(uint8_t **at, uint64_t value)
{
	put_u32(at, (uint32_t)(value >> 32));
	put_u32(at, (uint32_t)value);
}

static void put_bytes(uint8_t **at, const void *data, size_t len)
{
	put_u32(at, (uint32_t)len);
	if (len)
		memcpy(*at, data, len);
	*at += len;
}

static void put_text(uint8_t **at, const char *text)
{
	put_bytes(at, text, strlen(text));
}

static void put_handle(uint8_t **at, const struct sftp_handle *handle)
{
	put_bytes(at, handle->data, handle->len);
}

static size_t attr_size(const struct sftp_attr *attr)
{
	size_t size = 4;

	if (!attr)
		return size;
	if (attr->flags & SSH_FILEXFER_ATTR_SIZE)
		size += 8;
	if (attr->flags & SSH_FILEXFER_ATTR_UIDGID)
		size += 8;
	if (attr->flags & SSH_FILEXFER_ATTR_PERMISSIONS)
		size += 4;
	if (attr->flags & SSH_FILEXFER_ATTR_ACMODTIME)
		size += 8;
	return size;
}

static void put_attr(uint8_t **at, const struct sftp_attr *attr)
{
	uint32_t flags = attr ? attr->flags & SFTP_ATTR_KNOWN : 0;

	put_u32(at, flags);
	if (flags & SSH_FILEXFER_ATTR_SIZE)
		put_u64(at, attr->size);
	if (flags & SSH_FILEXFER_ATTR_UIDGID) {
		put_u32(at, attr->uid);
		put_u32(at, attr->gid);
	}
	if (flags & SSH_FILEXFER_ATTR_PERMISSIONS)
		put_u32(at, attr->mode);
	if (flags & SSH_FILEXFER_ATTR_ACMODTIME) {
		put_u32(at, attr->atime);
		put_u32(at, attr->mtime);
	}
}

static size_t text_size(const char *text)
{
	return 4 + strlen(text);
}

static bool handle_is_valid(const struct sftp_handle *handle)
{
	return handle->len > 0 && handle->len <= SFTP_HANDLE_MAX;
}

static void put_head(uint8_t **at, uint8_t type, size_t len)
{
	put_u32(at, (uint32_t)(len - 4));
	*(*at)++ = type;
	put_u32(at, 0);
}

/* A message with room for `body` bytes behind the id; *at is where they go. */
static struct packet *message(uint8_t type, size_t body, uint8_t **at)
{
	struct packet *packet;
	size_t len = HEAD + body;

	if (body > PACKET_MAX - (HEAD - 4))
		return NULL;
	packet = packet_new(len < SFTP_MSG_ROOM ? SFTP_MSG_ROOM : len);
	if (!packet)
		return NULL;
	packet->len = len;
	*at = packet->data;
	put_head(at, type, len);
	return packet;
}

/* An EXTENDED request with its name filled in. */
static struct packet *extended(const char *name, size_t body, uint8_t **at)
{
	struct packet *packet = message(SSH_FXP_EXTENDED, text_size(name) + body, at);

	if (packet)
		put_text(at, name);
	return packet;
}

struct packet *sftp_msg_init(void)
{
	struct packet *packet = packet_new(SFTP_MSG_ROOM);
	uint8_t *at;

	if (!packet)
		return NULL;
	packet->len = HEAD;
	at = packet->data;
	put_u32(&at, HEAD - 4);
	*at++ = SSH_FXP_INIT;
	put_u32(&at, SFTP_VERSION);
	return packet;
}

struct packet *sftp_msg_path(uint8_t type, const char *path)
{
	uint8_t *at;
	struct packet *packet = message(type, text_size(path), &at);

	if (packet)
		put_text(&at, path);
	return packet;
}

struct packet *sftp_msg_handle(uint8_t type, const struct sftp_handle *handle)
{
	struct packet *packet;
	uint8_t *at;

	if (!handle_is_valid(handle))
		return NULL;
	packet = message(type, 4 + handle->len, &at);
	if (packet)
		put_handle(&at, handle);
	return packet;
}

struct packet *sftp_msg_open(const char *path, uint32_t flags, const struct sftp_attr *attr)
{
	uint8_t *at;
	struct packet *packet = message(SSH_FXP_OPEN, text_size(path) + 4 + attr_size(attr), &at);

	if (!packet)
		return NULL;
	put_text(&at, path);
	put_u32(&at, flags);
	put_attr(&at, attr);
	return packet;
}

struct packet *sftp_msg_read(const struct sftp_handle *handle, uint64_t offset, uint32_t len)
{
	struct packet *packet;
	uint8_t *at;

	if (!handle_is_valid(handle))
		return NULL;
	packet = message(SSH_FXP_READ, 4 + handle->len + 8 + 4, &at);
	if (!packet)
		return NULL;
	put_handle(&at, handle);
	put_u64(&at, offset);
	put_u32(&at, len);
	return packet;
}

struct packet *sftp_msg_write_data(uint32_t len, uint8_t **data)
{
	struct packet *packet = len <= PACKET_MAX ? packet_new(WRITE_HEAD_MAX + (size_t)len) : NULL;

	if (packet)
		*data = packet->room + WRITE_HEAD_MAX;
	return packet;
}

static struct packet *write_data_copy(const struct packet *data, uint32_t from, uint32_t len)
{
	uint8_t *to;
	struct packet *copy = sftp_msg_write_data(len, &to);

	if (copy)
		memcpy(to, data->room + WRITE_HEAD_MAX + from, len);
	return copy;
}

struct packet *sftp_msg_write(struct packet *data, uint32_t from, uint32_t len,
    const struct sftp_handle *handle, uint64_t offset)
{
	struct packet *packet;
	uint8_t *at;

	if (!handle_is_valid(handle) || len > PACKET_MAX + 4 - WRITE_HEAD - handle->len)
		return NULL;
	if (packet_is_shared(data)) {
		packet = write_data_copy(data, from, len);
		from = 0;
	} else {
		packet = packet_share(data);
	}
	if (!packet)
		return NULL;
	packet->patient = false;
	packet->len = WRITE_HEAD + (size_t)handle->len + len;
	packet->data = at = packet->room + WRITE_HEAD_MAX + from + len - packet->len;
	put_head(&at, SSH_FXP_WRITE, packet->len);
	put_handle(&at, handle);
	put_u64(&at, offset);
	put_u32(&at, len);
	return packet;
}

static struct packet *path_attr(uint8_t type, const char *path, const struct sftp_attr *attr)
{
	uint8_t *at;
	struct packet *packet = message(type, text_size(path) + attr_size(attr), &at);

	if (!packet)
		return NULL;
	put_text(&at, path);
	put_attr(&at, attr);
	return packet;
}

struct packet *sftp_msg_mkdir(const char *path, const struct sftp_attr *attr)
{
	return path_attr(SSH_FXP_MKDIR, path, attr);
}

struct packet *sftp_msg_setstat(const char *path, const struct sftp_attr *attr)
{
	return path_attr(SSH_FXP_SETSTAT, path, attr);
}

struct packet *sftp_msg_fsetstat(const struct sftp_handle *handle, const struct sftp_attr *attr)
{
	struct packet *packet;
	uint8_t *at;

	if (!handle_is_valid(handle))
		return NULL;
	packet = message(SSH_FXP_FSETSTAT, 4 + handle->len + attr_size(attr), &at);
	if (!packet)
		return NULL;
	put_handle(&at, handle);
	put_attr(&at, attr);
	return packet;
}

static struct packet *two_texts(uint8_t type, const char *first, const char *second)
{
	uint8_t *at;
	struct packet *packet = message(type, text_size(first) + text_size(second), &at);

	if (!packet)
		return NULL;
	put_text(&at, first);
	put_text(&at, second);
	return packet;
}

struct packet *sftp_msg_rename(const char *from, const char *to)
{
	return two_texts(SSH_FXP_RENAME, from, to);
}

struct packet *sftp_msg_symlink(const char *first, const char *second)
{
	return two_texts(SSH_FXP_SYMLINK, first, second);
}

static struct packet *extended_texts(const char *name, const char *first, const char *second)
{
	uint8_t *at;
	struct packet *packet = extended(name, text_size(first) + text_size(second), &at);

	if (!packet)
		return NULL;
	put_text(&at, first);
	put_text(&at, second);
	return packet;
}

struct packet *sftp_msg_posix_rename(const char *from, const char *to)
{
	return extended_texts("posix-rename@openssh.com", from, to);
}

struct packet *sftp_msg_hardlink(const char *from, const char *to)
{
	return extended_texts("hardlink@openssh.com", from, to);
}

struct packet *sftp_msg_statvfs(const char *path)
{
	uint8_t *at;
	struct packet *packet = extended("statvfs@openssh.com", text_size(path), &at);

	if (packet)
		put_text(&at, path);
	return packet;
}

struct packet *sftp_msg_fsync(const struct sftp_handle *handle)
{
	struct packet *packet;
	uint8_t *at;

	if (!handle_is_valid(handle))
		return NULL;
	packet = extended("fsync@openssh.com", 4 + handle->len, &at);
	if (packet)
		put_handle(&at, handle);
	return packet;
}

struct packet *sftp_msg_lsetstat(const char *path, const struct sftp_attr *attr)
{
	uint8_t *at;
	struct packet *packet =
	    extended("lsetstat@openssh.com", text_size(path) + attr_size(attr), &at);

	if (!packet)
		return NULL;
	put_text(&at, path);
	put_attr(&at, attr);
	return packet;
}

struct packet *sftp_msg_limits(void)
{
	uint8_t *at;

	return extended("limits@openssh.com", 0, &at);
}

struct packet *sftp_msg_copy_data(const struct sftp_handle *from, uint64_t from_offset,
    uint64_t len, const struct sftp_handle *to, uint64_t to_offset)
{
	struct packet *packet;
	uint8_t *at;

	if (!handle_is_valid(from) || !handle_is_valid(to))
		return NULL;
	packet = extended("copy-data", 4 + from->len + 8 + 8 + 4 + (size_t)to->len + 8, &at);
	if (!packet)
		return NULL;
	put_handle(&at, from);
	put_u64(&at, from_offset);
	put_u64(&at, len);
	put_handle(&at, to);
	put_u64(&at, to_offset);
	return packet;
}

void sftp_codec_set_id(struct packet *packet, uint32_t id)
{
	uint8_t *at = packet->data + 5;

	if (packet->len >= HEAD)
		put_u32(&at, id);
}

bool sftp_handle_same(const struct sftp_handle *a, const struct sftp_handle *b)
{
	return a->len == b->len && !memcmp(a->data, b->data, a->len);
}

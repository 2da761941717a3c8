#include "transport/watcher_codec.h"
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC "vastfs-watch"
#define HEAD 9 /* length, type, number */

static void put_u32(uint8_t *to, uint32_t value)
{
	to[0] = (uint8_t)(value >> 24);
	to[1] = (uint8_t)(value >> 16);
	to[2] = (uint8_t)(value >> 8);
	to[3] = (uint8_t)value;
}

static int read_hello(struct sftp_reader *reader, struct watcher_message *out)
{
	uint32_t version;

	if (reader->end - reader->at < (ptrdiff_t)(sizeof(MAGIC) - 1) ||
	    memcmp(reader->at, MAGIC, sizeof(MAGIC) - 1))
		return -EPROTO;
	reader->at += sizeof(MAGIC) - 1;
	if (sftp_read_u32(reader, &version) || version != WATCHER_VERSION ||
	    sftp_read_u32(reader, &out->limit))
		return -EPROTO;
	return 0;
}

static int read_attributes(struct sftp_reader *reader, struct watcher_message *out)
{
	struct sftp_attr *attr = &out->attr;

	if (sftp_read_u32(reader, &attr->mode) || sftp_read_u32(reader, &attr->uid) ||
	    sftp_read_u32(reader, &attr->gid) || sftp_read_u64(reader, &attr->size) ||
	    sftp_read_u32(reader, &attr->mtime) || sftp_read_u32(reader, &out->links))
		return -EPROTO;
	attr->flags = SFTP_ATTR_KNOWN;
	attr->atime = attr->mtime;
	return 0;
}

static int read_added(struct sftp_reader *reader, struct watcher_message *out)
{
	uint32_t number;

	if (sftp_read_u32(reader, &number))
		return -EPROTO;
	if (number) {
		out->err = number < 4096 ? -(int)number : -EIO;
		return 0;
	}
	if (sftp_read_u64(reader, &out->names) || sftp_read_u64(reader, &out->digest) ||
	    read_attributes(reader, out) || !S_ISDIR(out->attr.mode))
		return -EPROTO;
	out->digested = out->names > 0;
	out->names -= out->digested;
	return 0;
}

static int read_changed(struct sftp_reader *reader, struct watcher_message *out)
{
	struct sftp_string name;

	if (reader->at == reader->end)
		return -EPROTO;
	out->bits = *reader->at++;
	if (read_attributes(reader, out))
		return -EPROTO;
	name = (struct sftp_string){reader->at, (uint32_t)(reader->end - reader->at)};
	if (name.len && !sftp_name_is_valid(name))
		return -EPROTO;
	/* The folder itself is there, or it is GONE. */
	if ((out->bits & WATCHER_EXISTS) ? !(out->attr.mode & S_IFMT) : !name.len)
		return -EPROTO;
	memcpy(out->name, name.data, name.len);
	out->name[name.len] = '\0';
	reader->at = reader->end;
	return 0;
}

int watcher_read(const struct packet *packet, struct watcher_message *out)
{
	struct sftp_reader reader;
	uint8_t type;
	int err = sftp_read_packet(packet, &type, &reader);

	memset(out, 0, sizeof(*out));
	if (err)
		return -EPROTO;
	out->type = type;
	if (type == WATCHER_HELLO)
		return read_hello(&reader, out);
	if (sftp_read_u32(&reader, &out->number))
		return -EPROTO;
	switch (type) {
	case WATCHER_ADDED:
		return read_added(&reader, out);
	case WATCHER_CHANGED:
		return read_changed(&reader, out);
	case WATCHER_GONE:
	case WATCHER_LOST:
	case WATCHER_PING:
		return 0;
	default:
		return -EPROTO;
	}
}

static struct packet *new_message(enum watcher_type type, uint32_t number, size_t more)
{
	struct packet *packet = packet_new(HEAD + more);

	if (!packet)
		return NULL;
	put_u32(packet->data, (uint32_t)(HEAD - 4 + more));
	packet->data[4] = (uint8_t)type;
	put_u32(packet->data + 5, number);
	packet->len = HEAD + more;
	return packet;
}

/* A line of the shell's has room for that, and pipes take it as a whole. */
#define LINE_PATH_MAX 3500

struct packet *watcher_line(char order, uint32_t number, const char *path)
{
	/* (GCC 14.2 makes `fits ? strlen(path) : 0` a strlen of whatever path is.) */
	const char *text = path && strlen(path) <= LINE_PATH_MAX && !strchr(path, '\n') ? path : "";
	struct packet *packet = packet_new(20 + strlen(text));

	if (packet)
		packet->len = (size_t)snprintf((char *)packet->data, packet->size, "%c %u%s%s\n",
		    order, number, path ? " " : "", text);
	return packet;
}

struct packet *watcher_msg(enum watcher_type type, uint32_t number)
{
	return new_message(type, number, 0);
}

struct packet *watcher_msg_add(uint32_t number, bool digest, const char *path)
{
	size_t len = strlen(path);
	struct packet *packet = new_message(WATCHER_ADD, number, 1 + len);

	if (!packet)
		return NULL;
	packet->data[HEAD] = digest;
	memcpy(packet->data + HEAD + 1, path, len);
	return packet;
}

uint64_t watcher_digest(const char *name, const struct sftp_attr *attr, uint32_t links)
{
	uint8_t text[24 + 255 + 5], hash[EVP_MAX_MD_SIZE];
	size_t len = strnlen(name, 255);
	uint64_t out = 0, size = S_ISDIR(attr->mode) ? 0 : attr->size;

	put_u32(text, attr->mode);
	put_u32(text + 4, attr->uid);
	put_u32(text + 8, attr->gid);
	put_u32(text + 12, (uint32_t)(size >> 32));
	put_u32(text + 16, (uint32_t)size);
	put_u32(text + 20, attr->mtime);
	memcpy(text + 24, name, len);
	len += 24;
	if (links > 1 && !S_ISDIR(attr->mode)) {
		text[len] = '/';
		put_u32(text + len + 1, links);
		len += 5;
	}
	if (!EVP_Digest(text, len, hash, NULL, EVP_sha256(), NULL))
		return 0;
	for (int i = 0; i < 8; i++)
		out = out << 8 | hash[i];
	return out;
}

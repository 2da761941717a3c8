/*
 * Replies in (sftp_codec.h). A cursor never passes the packet's end: what is not there is -EPROTO,
 * and counts are held against the bytes left before anything is walked.
 */
#include "transport/sftp_codec.h"
#include <errno.h>
#include <string.h>

#define ATTR_EXTENDED 0x80000000u /* pairs of strings behind the attributes: skipped */

static size_t left(const struct sftp_reader *reader)
{
	return (size_t)(reader->end - reader->at);
}

int sftp_read_packet(const struct packet *packet, uint8_t *type, struct sftp_reader *reader)
{
	struct sftp_reader all = {packet->data, packet->data + packet->len};
	uint32_t len;

	if (sftp_read_u32(&all, &len) || len < 1 || len > PACKET_MAX || len != left(&all))
		return -EPROTO;
	*type = *all.at++;
	*reader = all;
	return 0;
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int sftp_read_u32(struct sftp_reader *reader, uint32_t *out)
{
	if (left(reader) < 4)
		return -EPROTO;
	*out = get_u32(reader->at);
	reader->at += 4;
	return 0;
}

int sftp_read_u64(struct sftp_reader *reader, uint64_t *out)
{
	if (left(reader) < 8)
		return -EPROTO;
	*out = (uint64_t)get_u32(reader->at) << 32 | get_u32(reader->at + 4);
	reader->at += 8;
	return 0;
}

int sftp_read_string(struct sftp_reader *reader, struct sftp_string *out)
{
	struct sftp_reader next = *reader;
	uint32_t len;

	if (sftp_read_u32(&next, &len) || len > left(&next))
		return -EPROTO;
	out->data = next.at;
	out->len = len;
	next.at += len;
	*reader = next;
	return 0;
}

static int skip_extended_attr(struct sftp_reader *reader)
{
	struct sftp_string string;
	uint32_t count;

	if (sftp_read_u32(reader, &count) || count > left(reader) / 8)
		return -EPROTO;
	for (uint32_t i = 0; i < 2 * count; i++) {
		if (sftp_read_string(reader, &string))
			return -EPROTO;
	}
	return 0;
}

int sftp_read_attr(struct sftp_reader *reader, struct sftp_attr *out)
{
	uint32_t flags;

	memset(out, 0, sizeof(*out));
	/* Behind a flag that is not known, nobody can say where the next field starts. */
	if (sftp_read_u32(reader, &flags) || flags & ~(SFTP_ATTR_KNOWN | ATTR_EXTENDED))
		return -EPROTO;
	out->flags = flags & SFTP_ATTR_KNOWN;
	if (flags & SSH_FILEXFER_ATTR_SIZE && sftp_read_u64(reader, &out->size))
		return -EPROTO;
	if (flags & SSH_FILEXFER_ATTR_UIDGID &&
	    (sftp_read_u32(reader, &out->uid) || sftp_read_u32(reader, &out->gid)))
		return -EPROTO;
	if (flags & SSH_FILEXFER_ATTR_PERMISSIONS && sftp_read_u32(reader, &out->mode))
		return -EPROTO;
	if (flags & SSH_FILEXFER_ATTR_ACMODTIME &&
	    (sftp_read_u32(reader, &out->atime) || sftp_read_u32(reader, &out->mtime)))
		return -EPROTO;
	if (flags & ATTR_EXTENDED)
		return skip_extended_attr(reader);
	return 0;
}

bool sftp_attr_alike(const struct sftp_attr *a, const struct sftp_attr *b)
{
	return a->flags == b->flags && a->size == b->size && a->mode == b->mode &&
	       a->mtime == b->mtime && a->uid == b->uid && a->gid == b->gid;
}

int sftp_read_status(struct sftp_reader *reader, uint32_t *code, struct sftp_string *message)
{
	message->data = reader->at;
	message->len = 0;
	if (sftp_read_u32(reader, code))
		return -EPROTO;
	if (!left(reader))
		return 0;
	return sftp_read_string(reader, message); /* the language tag behind it is nobody's */
}

static int read_name(struct sftp_reader *reader, struct sftp_name *out)
{
	if (sftp_read_string(reader, &out->name) || sftp_read_string(reader, &out->longname))
		return -EPROTO;
	return sftp_read_attr(reader, &out->attr);
}

int sftp_read_names(struct sftp_reader *reader, struct sftp_names *out)
{
	struct sftp_name name;
	uint32_t count;

	/* An entry has at least two lengths and the flags. */
	if (sftp_read_u32(reader, &count) || count > left(reader) / 12)
		return -EPROTO;
	out->at = reader->at;
	out->left = count;
	for (uint32_t i = 0; i < count; i++) {
		if (read_name(reader, &name))
			return -EPROTO;
	}
	out->end = reader->at;
	return 0;
}

bool sftp_names_next(struct sftp_names *names, struct sftp_name *out)
{
	struct sftp_reader reader = {names->at, names->end};

	if (!names->left || read_name(&reader, out))
		return false;
	names->at = reader.at;
	names->left--;
	return true;
}

int sftp_read_statvfs(struct sftp_reader *reader, struct statvfs *out)
{
	uint64_t field[11];

	for (size_t i = 0; i < 11; i++) {
		if (sftp_read_u64(reader, &field[i]))
			return -EPROTO;
	}
	/* Sizes are multiplied and divided by above: none is 0, none is absurd. */
	if (!field[1])
		field[1] = field[0];
	if (!field[0])
		field[0] = field[1];
	if (!field[0] || field[0] > 1u << 30 || field[1] > 1u << 30)
		return -EPROTO;
	memset(out, 0, sizeof(*out));
	out->f_bsize = (unsigned long)field[0];
	out->f_frsize = (unsigned long)field[1];
	out->f_blocks = field[2];
	out->f_bfree = field[3];
	out->f_bavail = field[4];
	out->f_files = field[5];
	out->f_ffree = field[6];
	out->f_favail = field[7];
	out->f_fsid = (unsigned long)field[8];
	out->f_flag = (field[9] & 1 ? ST_RDONLY : 0) | (field[9] & 2 ? ST_NOSUID : 0);
	out->f_namemax = (unsigned long)field[10];
	return 0;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

uint32_t sftp_longname_links(struct sftp_string longname)
{
	const uint8_t *p = longname.data, *end;
	uint64_t links = 0;

	if (longname.len < 12)
		return 0;
	end = p + longname.len;
	/* Type and permissions, perhaps with a '+', '.' or '@' behind. */
	while (p < end && !is_blank(*p))
		p++;
	if (p - longname.data < 10 || !memchr("-dlbcps", longname.data[0], 7))
		return 0;
	while (p < end && is_blank(*p))
		p++;
	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		links = links * 10 + (*p - '0');
		if (links > UINT32_MAX)
			return 0;
	}
	/* The number must be a field of its own. */
	return p < end && is_blank(*p) ? (uint32_t)links : 0;
}

bool sftp_name_is_valid(struct sftp_string name)
{
	if (name.len == 0 || name.len > 255)
		return false;
	if (name.data[0] == '.' && (name.len == 1 || (name.len == 2 && name.data[1] == '.')))
		return false;
	return !memchr(name.data, '/', name.len) && !memchr(name.data, 0, name.len);
}

int sftp_status_errno(uint32_t status)
{
	switch (status) {
	case SSH_FX_OK:
		return 0;
	case SSH_FX_EOF:
		return -ENODATA;
	case SSH_FX_NO_SUCH_FILE:
		return -ENOENT;
	case SSH_FX_PERMISSION_DENIED:
		return -EACCES;
	case SSH_FX_BAD_MESSAGE:
		return -EINVAL;
	case SSH_FX_OP_UNSUPPORTED:
		return -EOPNOTSUPP;
	/* Codes of later versions, which some servers send in version 3 all the same. */
	case 9: /* INVALID_HANDLE */
		return -EBADF;
	case 10: /* NO_SUCH_PATH */
		return -ENOENT;
	case 11: /* FILE_ALREADY_EXISTS */
		return -EEXIST;
	case 12: /* WRITE_PROTECT */
		return -EROFS;
	case 14: /* NO_SPACE_ON_FILESYSTEM */
		return -ENOSPC;
	case 15: /* QUOTA_EXCEEDED */
		return -EDQUOT;
	case 18: /* DIR_NOT_EMPTY */
		return -ENOTEMPTY;
	case 19: /* NOT_A_DIRECTORY */
		return -ENOTDIR;
	case 21: /* LINK_LOOP */
		return -ELOOP;
	case 24: /* FILE_IS_A_DIRECTORY */
		return -EISDIR;
	/* NO_CONNECTION and CONNECTION_LOST are a client's own; from a server they are not to
	 * look like a lost link, after which requests are repeated. */
	default:
		return -EIO;
	}
}

const char *sftp_type_name(uint8_t type)
{
	static const char *const names[256] = {
	    [SSH_FXP_INIT] = "INIT",
	    [SSH_FXP_VERSION] = "VERSION",
	    [SSH_FXP_OPEN] = "OPEN",
	    [SSH_FXP_CLOSE] = "CLOSE",
	    [SSH_FXP_READ] = "READ",
	    [SSH_FXP_WRITE] = "WRITE",
	    [SSH_FXP_LSTAT] = "LSTAT",
	    [SSH_FXP_FSTAT] = "FSTAT",
	    [SSH_FXP_SETSTAT] = "SETSTAT",
	    [SSH_FXP_FSETSTAT] = "FSETSTAT",
	    [SSH_FXP_OPENDIR] = "OPENDIR",
	    [SSH_FXP_READDIR] = "READDIR",
	    [SSH_FXP_REMOVE] = "REMOVE",
	    [SSH_FXP_MKDIR] = "MKDIR",
	    [SSH_FXP_RMDIR] = "RMDIR",
	    [SSH_FXP_REALPATH] = "REALPATH",
	    [SSH_FXP_STAT] = "STAT",
	    [SSH_FXP_RENAME] = "RENAME",
	    [SSH_FXP_READLINK] = "READLINK",
	    [SSH_FXP_SYMLINK] = "SYMLINK",
	    [SSH_FXP_STATUS] = "STATUS",
	    [SSH_FXP_HANDLE] = "HANDLE",
	    [SSH_FXP_DATA] = "DATA",
	    [SSH_FXP_NAME] = "NAME",
	    [SSH_FXP_ATTRS] = "ATTRS",
	    [SSH_FXP_EXTENDED] = "EXTENDED",
	    [SSH_FXP_EXTENDED_REPLY] = "EXTENDED_REPLY",
	};

	return names[type] ? names[type] : "?";
}

/*
 * The wire format of SFTP version 3 (draft-ietf-secsh-filexfer-02) and of OpenSSH's extensions
 * (PROTOCOL, section 4): messages out, replies in. Pure functions on memory; any thread.
 *
 * Makers return a packet owned by the caller, NULL when memory is out or a string is longer than
 * the packet allows. The request-id field is left 0 for the engine to fill in (sftp_codec_set_id).
 * Readers never read outside of the packet and return -EPROTO for anything that does not fit the
 * format. Makers are in sftp_codec.c, readers in sftp_read.c.
 */
#ifndef VASTFS_TRANSPORT_SFTP_CODEC_H
#define VASTFS_TRANSPORT_SFTP_CODEC_H

#include "transport/packet.h"
#include <stdbool.h>
#include <sys/statvfs.h>

enum { /* section 3 */
	SSH_FXP_INIT = 1,
	SSH_FXP_VERSION = 2,
	SSH_FXP_OPEN = 3,
	SSH_FXP_CLOSE = 4,
	SSH_FXP_READ = 5,
	SSH_FXP_WRITE = 6,
	SSH_FXP_LSTAT = 7,
	SSH_FXP_FSTAT = 8,
	SSH_FXP_SETSTAT = 9,
	SSH_FXP_FSETSTAT = 10,
	SSH_FXP_OPENDIR = 11,
	SSH_FXP_READDIR = 12,
	SSH_FXP_REMOVE = 13,
	SSH_FXP_MKDIR = 14,
	SSH_FXP_RMDIR = 15,
	SSH_FXP_REALPATH = 16,
	SSH_FXP_STAT = 17,
	SSH_FXP_RENAME = 18,
	SSH_FXP_READLINK = 19,
	SSH_FXP_SYMLINK = 20,
	SSH_FXP_STATUS = 101,
	SSH_FXP_HANDLE = 102,
	SSH_FXP_DATA = 103,
	SSH_FXP_NAME = 104,
	SSH_FXP_ATTRS = 105,
	SSH_FXP_EXTENDED = 200,
	SSH_FXP_EXTENDED_REPLY = 201,
};

enum { /* section 7 */
	SSH_FX_OK = 0,
	SSH_FX_EOF = 1,
	SSH_FX_NO_SUCH_FILE = 2,
	SSH_FX_PERMISSION_DENIED = 3,
	SSH_FX_FAILURE = 4,
	SSH_FX_BAD_MESSAGE = 5,
	SSH_FX_NO_CONNECTION = 6,
	SSH_FX_CONNECTION_LOST = 7,
	SSH_FX_OP_UNSUPPORTED = 8,
};

enum { /* section 6.3 */
	SSH_FXF_READ = 1,
	SSH_FXF_WRITE = 2,
	SSH_FXF_APPEND = 4,
	SSH_FXF_CREAT = 8,
	SSH_FXF_TRUNC = 16,
	SSH_FXF_EXCL = 32,
};

enum { /* section 5 */
	SSH_FILEXFER_ATTR_SIZE = 1,
	SSH_FILEXFER_ATTR_UIDGID = 2,
	SSH_FILEXFER_ATTR_PERMISSIONS = 4,
	SSH_FILEXFER_ATTR_ACMODTIME = 8,
};
#define SFTP_ATTR_KNOWN 15u /* the four of them */
/* Never sent nor received: they are not those of the symlink that was asked for, but of what it
 * leads to. */
#define SFTP_ATTR_FOLLOWED 16u

#define SFTP_VERSION 3
#define SFTP_HANDLE_MAX 256
/* Bytes allocated for even the smallest message: room for the engine to note in it, when memory is
 * out, whom it has to tell so. */
#define SFTP_MSG_ROOM 64

struct sftp_string {
	const uint8_t *data; /* borrowed, not ended by NUL */
	uint32_t len;
};

struct sftp_attr {
	uint32_t flags; /* SSH_FILEXFER_ATTR_*: which of the others are there (else 0) */
	uint64_t size;
	uint32_t uid, gid;
	uint32_t mode; /* with the file type bits */
	uint32_t atime, mtime;
};

/* Can these be the attributes of one file, seen twice? (The time of access does not count.) */
bool sftp_attr_alike(const struct sftp_attr *a, const struct sftp_attr *b);

/* An open handle as the server named it. */
struct sftp_handle {
	uint32_t len;
	uint8_t data[SFTP_HANDLE_MAX];
};
bool sftp_handle_same(const struct sftp_handle *a, const struct sftp_handle *b);

/* The names of a NAME reply, walked in place. */
struct sftp_names {
	const uint8_t *at, *end;
	uint32_t left;
};
struct sftp_name {
	struct sftp_string name, longname;
	struct sftp_attr attr;
};

/* --- messages out --- */
/* attr may be NULL for none. A handle must have 1 to SFTP_HANDLE_MAX bytes. */
struct packet *sftp_msg_init(void);
/* LSTAT STAT OPENDIR REMOVE RMDIR REALPATH READLINK */
struct packet *sftp_msg_path(uint8_t type, const char *path);
/* CLOSE FSTAT READDIR */
struct packet *sftp_msg_handle(uint8_t type, const struct sftp_handle *handle);
struct packet *sftp_msg_open(const char *path, uint32_t flags, const struct sftp_attr *attr);
struct packet *sftp_msg_read(const struct sftp_handle *handle, uint64_t offset, uint32_t len);
/* Room for the data of a WRITE, before it is known where it goes: the caller fills size bytes at
 * *data, so that they are copied once. */
struct packet *sftp_msg_write_data(uint32_t size, uint8_t **data);
/* The WRITE of the bytes [from, from + len) of it, which are in that room: the same packet, shared
 * with the caller, or a copy while another one of it is on its way. What lies in front of from is
 * lost. */
struct packet *sftp_msg_write(struct packet *data, uint32_t from, uint32_t len,
    const struct sftp_handle *handle, uint64_t offset);
struct packet *sftp_msg_mkdir(const char *path, const struct sftp_attr *attr);
struct packet *sftp_msg_setstat(const char *path, const struct sftp_attr *attr);
struct packet *sftp_msg_fsetstat(const struct sftp_handle *handle, const struct sftp_attr *attr);
struct packet *sftp_msg_rename(const char *from, const char *to);
/* Two strings as they stand on the wire; OpenSSH swaps the target and the path: see remote.c. */
struct packet *sftp_msg_symlink(const char *first, const char *second);
struct packet *sftp_msg_posix_rename(const char *from, const char *to);
struct packet *sftp_msg_hardlink(const char *from, const char *to);
struct packet *sftp_msg_statvfs(const char *path);
struct packet *sftp_msg_fsync(const struct sftp_handle *handle);
struct packet *sftp_msg_lsetstat(const char *path, const struct sftp_attr *attr);
struct packet *sftp_msg_limits(void);
struct packet *sftp_msg_copy_data(const struct sftp_handle *from, uint64_t from_offset,
    uint64_t len, const struct sftp_handle *to, uint64_t to_offset);

void sftp_codec_set_id(struct packet *message, uint32_t id);

/* --- replies in --- */

/* A cursor over a reply's bytes behind its type. */
struct sftp_reader {
	const uint8_t *at, *end;
};
/* The packet's type and a cursor behind it; -EPROTO: too short, or its length field lies. */
int sftp_read_packet(const struct packet *packet, uint8_t *type, struct sftp_reader *reader);
int sftp_read_u32(struct sftp_reader *reader, uint32_t *out);
int sftp_read_u64(struct sftp_reader *reader, uint64_t *out);
int sftp_read_string(struct sftp_reader *reader, struct sftp_string *out);
int sftp_read_attr(struct sftp_reader *reader, struct sftp_attr *out);
/* STATUS: code and message (the message may be missing in old servers: len 0). */
int sftp_read_status(struct sftp_reader *reader, uint32_t *code, struct sftp_string *message);
/* NAME: checks the count and every entry, so that sftp_names_next can't fail on it. */
int sftp_read_names(struct sftp_reader *reader, struct sftp_names *out);
bool sftp_names_next(struct sftp_names *names, struct sftp_name *out); /* false at the end */
int sftp_read_statvfs(struct sftp_reader *reader, struct statvfs *out);

/* The link count out of a longname in ls -l form ("-rw-r--r--    2 root …"); 0: there is none. */
uint32_t sftp_longname_links(struct sftp_string longname);

/* S2: a name from a listing that may be shown: not empty, no '/', no NUL, not "." or "..", at most
 * 255 bytes. */
bool sftp_name_is_valid(struct sftp_string name);

/* The negative errno that a status code means by itself; SSH_FX_FAILURE gives -EIO, to be mended by
 * remote.c. */
int sftp_status_errno(uint32_t status);

/* "OPEN", "STATUS"… for the log; "?" for a type that is not known. */
const char *sftp_type_name(uint8_t type);

#endif

/* The codec: every message against bytes put together by hand, every reply whole, cut short and
 * hostile. */
#include "tests/fake/fake_stream.h"
#include "transport/sftp_codec.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct sftp_handle handle = {4, {'h', 0, 0xff, '4'}};
static const struct sftp_handle handle2 = {1, {'x'}};
static const struct sftp_attr full = {
    .flags = 15,
    .size = 0x123456789abcdef0,
    .uid = 1000,
    .gid = 0xfffffffe,
    .mode = 0100644,
    .atime = 1,
    .mtime = 0x80000000,
};

/* --- messages --- */

/* The message is what stands in body behind the type and the id. Takes both. */
static void check(struct packet *message, uint8_t type, struct fake_bytes *body)
{
	struct fake_bytes all = {0};
	struct packet *expected;

	assert_non_null(message);
	assert_true(message->size >= message->len && message->size >= SFTP_MSG_ROOM);
	sftp_codec_set_id(message, 0xa1b2c3d4);
	fake_u32(&all, 0xa1b2c3d4);
	fake_raw(&all, body->data, body->len);
	expected = fake_packet(type, &all);
	assert_int_equal(message->len, expected->len);
	assert_memory_equal(message->data, expected->data, expected->len);
	packet_free(expected);
	packet_free(message);
	fake_bytes_fini(body);
}

static void put_handle(struct fake_bytes *bytes, const struct sftp_handle *h)
{
	fake_string(bytes, h->data, h->len);
}

static void test_init(void **state)
{
	static const uint8_t wire[] = {0, 0, 0, 5, 1, 0, 0, 0, 3};
	struct packet *message = sftp_msg_init();

	assert_int_equal(message->len, sizeof(wire));
	assert_memory_equal(message->data, wire, sizeof(wire));
	packet_free(message);
}

static void test_paths_and_handles(void **state)
{
	static const uint8_t paths[] = {SSH_FXP_LSTAT, SSH_FXP_STAT, SSH_FXP_OPENDIR,
	    SSH_FXP_REMOVE, SSH_FXP_RMDIR, SSH_FXP_REALPATH, SSH_FXP_READLINK};
	static const uint8_t handles[] = {SSH_FXP_CLOSE, SSH_FXP_FSTAT, SSH_FXP_READDIR};
	struct fake_bytes body = {0};

	for (size_t i = 0; i < sizeof(paths); i++) {
		fake_text(&body, "/a b\n\xff");
		check(sftp_msg_path(paths[i], "/a b\n\xff"), paths[i], &body);
	}
	fake_text(&body, "");
	check(sftp_msg_path(SSH_FXP_STAT, ""), SSH_FXP_STAT, &body);
	for (size_t i = 0; i < sizeof(handles); i++) {
		put_handle(&body, &handle);
		check(sftp_msg_handle(handles[i], &handle), handles[i], &body);
	}
}

static void test_open_and_attr(void **state)
{
	struct fake_bytes body = {0};
	struct sftp_attr attr = full;

	/* Every combination of attributes, in both directions. */
	for (uint32_t flags = 0; flags < 16; flags++) {
		struct sftp_reader reader;
		struct sftp_attr got;
		struct fake_bytes bytes = {0};

		attr.flags = flags;
		fake_text(&body, "/f");
		fake_u32(&body, SSH_FXF_READ | SSH_FXF_EXCL);
		fake_attr(&body, &attr);
		check(sftp_msg_open("/f", SSH_FXF_READ | SSH_FXF_EXCL, &attr), SSH_FXP_OPEN, &body);

		fake_attr(&bytes, &attr);
		reader = (struct sftp_reader){bytes.data, bytes.data + bytes.len};
		assert_int_equal(sftp_read_attr(&reader, &got), 0);
		assert_ptr_equal(reader.at, reader.end);
		assert_int_equal(got.flags, flags);
		assert_true(got.size == (flags & 1 ? full.size : 0));
		assert_int_equal(got.gid, flags & 2 ? full.gid : 0);
		assert_int_equal(got.mode, flags & 4 ? full.mode : 0);
		assert_int_equal(got.mtime, flags & 8 ? full.mtime : 0);
		fake_bytes_fini(&bytes);
	}
	fake_text(&body, "/f");
	fake_u32(&body, SSH_FXF_READ);
	fake_u32(&body, 0);
	check(sftp_msg_open("/f", SSH_FXF_READ, NULL), SSH_FXP_OPEN, &body);

	/* Flags that are not known never go out. */
	attr.flags = 0x80000000 | SSH_FILEXFER_ATTR_PERMISSIONS;
	fake_text(&body, "/d");
	fake_u32(&body, SSH_FILEXFER_ATTR_PERMISSIONS);
	fake_u32(&body, full.mode);
	check(sftp_msg_mkdir("/d", &attr), SSH_FXP_MKDIR, &body);
}

static void test_setstats(void **state)
{
	struct fake_bytes body = {0};

	fake_text(&body, "/p");
	fake_attr(&body, &full);
	check(sftp_msg_setstat("/p", &full), SSH_FXP_SETSTAT, &body);
	put_handle(&body, &handle);
	fake_attr(&body, &full);
	check(sftp_msg_fsetstat(&handle, &full), SSH_FXP_FSETSTAT, &body);
	fake_text(&body, "lsetstat@openssh.com");
	fake_text(&body, "/p");
	fake_attr(&body, &full);
	check(sftp_msg_lsetstat("/p", &full), SSH_FXP_EXTENDED, &body);
}

static void test_read(void **state)
{
	struct fake_bytes body = {0};

	put_handle(&body, &handle);
	fake_u64(&body, 0xfedcba9876543210);
	fake_u32(&body, 261120);
	check(sftp_msg_read(&handle, 0xfedcba9876543210, 261120), SSH_FXP_READ, &body);
}

static void check_write(struct packet *message, const struct sftp_handle *to, const char *text)
{
	struct fake_bytes body = {0};

	put_handle(&body, to);
	fake_u64(&body, 1ull << 40);
	fake_text(&body, text);
	check(message, SSH_FXP_WRITE, &body);
}

/* The data is kept by who may have to send it again, through another handle and less of it. */
static void test_write_again(void **state)
{
	static const struct sftp_handle other = {.len = 9, .data = "another 1"};
	struct packet *data, *first, *second;
	uint8_t *room;

	data = sftp_msg_write_data(5, &room);
	memcpy(room, "12345", 5);
	first = sftp_msg_write(data, 0, 5, &handle, 1ull << 40);
	assert_ptr_equal(first, data);
	/* The first one is on its way: it stays what it is. */
	second = sftp_msg_write(data, 2, 3, &other, 1ull << 40);
	assert_ptr_not_equal(second, data);
	check_write(second, &other, "345");
	check_write(first, &handle, "12345");
	/* Now it is not. */
	assert_false(packet_is_shared(data));
	second = sftp_msg_write(data, 1, 4, &other, 1ull << 40);
	assert_ptr_equal(second, data);
	check_write(second, &other, "2345");
	packet_free(data);
}

static void test_names_and_links(void **state)
{
	struct fake_bytes body = {0};

	fake_text(&body, "/a");
	fake_text(&body, "/b/c");
	check(sftp_msg_rename("/a", "/b/c"), SSH_FXP_RENAME, &body);
	fake_text(&body, "../t");
	fake_text(&body, "/l");
	check(sftp_msg_symlink("../t", "/l"), SSH_FXP_SYMLINK, &body);
	fake_text(&body, "posix-rename@openssh.com");
	fake_text(&body, "/a");
	fake_text(&body, "/b/c");
	check(sftp_msg_posix_rename("/a", "/b/c"), SSH_FXP_EXTENDED, &body);
	fake_text(&body, "hardlink@openssh.com");
	fake_text(&body, "/a");
	fake_text(&body, "/b/c");
	check(sftp_msg_hardlink("/a", "/b/c"), SSH_FXP_EXTENDED, &body);
}

static void test_extended(void **state)
{
	struct fake_bytes body = {0};

	fake_text(&body, "statvfs@openssh.com");
	fake_text(&body, "/");
	check(sftp_msg_statvfs("/"), SSH_FXP_EXTENDED, &body);
	fake_text(&body, "fsync@openssh.com");
	put_handle(&body, &handle);
	check(sftp_msg_fsync(&handle), SSH_FXP_EXTENDED, &body);
	fake_text(&body, "limits@openssh.com");
	check(sftp_msg_limits(), SSH_FXP_EXTENDED, &body);
	fake_text(&body, "copy-data");
	put_handle(&body, &handle);
	fake_u64(&body, 1);
	fake_u64(&body, 2);
	put_handle(&body, &handle2);
	fake_u64(&body, 3);
	check(sftp_msg_copy_data(&handle, 1, 2, &handle2, 3), SSH_FXP_EXTENDED, &body);
}

static void test_oversized(void **state)
{
	struct sftp_handle bad = {SFTP_HANDLE_MAX + 1, {0}}, none = {0};
	struct sftp_handle longest = {SFTP_HANDLE_MAX, {0}};
	const uint32_t head = 1 + 4 + 4 + SFTP_HANDLE_MAX + 8 + 4;
	char *path = malloc(PACKET_MAX + 1);
	struct packet *message, *data;
	uint8_t *room;

	memset(path, 'p', PACKET_MAX);
	path[PACKET_MAX] = 0;
	assert_null(sftp_msg_path(SSH_FXP_STAT, path));
	assert_null(sftp_msg_rename(path, "/b"));
	assert_null(sftp_msg_hardlink("/b", path));
	assert_null(sftp_msg_open(path, 1, NULL));
	assert_null(sftp_msg_setstat(path, &full));
	assert_null(sftp_msg_statvfs(path));
	path[PACKET_MAX - 9] = 0; /* to the byte */
	message = sftp_msg_path(SSH_FXP_STAT, path);
	assert_int_equal(message->len, PACKET_MAX + 4);
	packet_free(message);
	/* Two that fit alone, not together. */
	path[PACKET_MAX / 2] = 0;
	assert_null(sftp_msg_rename(path, path));
	free(path);

	data = sftp_msg_write_data(PACKET_MAX - head + 1, &room);
	message = sftp_msg_write(data, 1, PACKET_MAX - head, &longest, 0);
	assert_int_equal(message->len, PACKET_MAX + 4);
	assert_ptr_equal(room + (PACKET_MAX - head + 1), message->data + message->len);
	packet_free(message);
	assert_null(sftp_msg_write(data, 0, PACKET_MAX - head + 1, &longest, 0));
	assert_null(sftp_msg_write(data, 0, 1, &none, 0));
	packet_free(data);
	assert_null(sftp_msg_write_data(UINT32_MAX, &room));

	assert_null(sftp_msg_handle(SSH_FXP_CLOSE, &bad));
	assert_null(sftp_msg_handle(SSH_FXP_CLOSE, &none));
	assert_null(sftp_msg_read(&bad, 0, 1));
	assert_null(sftp_msg_fsetstat(&bad, &full));
	assert_null(sftp_msg_fsync(&none));
	assert_null(sftp_msg_copy_data(&handle, 0, 1, &bad, 0));
	assert_null(sftp_msg_copy_data(&none, 0, 1, &handle, 0));
}

/* --- replies --- */

typedef int read_fn(struct sftp_reader *reader);

static int read_u32(struct sftp_reader *reader)
{
	uint32_t value;

	return sftp_read_u32(reader, &value);
}

static int read_u64(struct sftp_reader *reader)
{
	uint64_t value;

	return sftp_read_u64(reader, &value);
}

static int read_string(struct sftp_reader *reader)
{
	struct sftp_string string;

	return sftp_read_string(reader, &string);
}

static int read_attr(struct sftp_reader *reader)
{
	struct sftp_attr attr;

	return sftp_read_attr(reader, &attr);
}

static int read_status(struct sftp_reader *reader)
{
	struct sftp_string message;
	uint32_t code;

	return sftp_read_status(reader, &code, &message);
}

static int read_names(struct sftp_reader *reader)
{
	struct sftp_names names;

	return sftp_read_names(reader, &names);
}

static int read_statvfs(struct sftp_reader *reader)
{
	struct statvfs st;

	return sftp_read_statvfs(reader, &st);
}

/* Each piece lies in memory of its exact size, so that a sanitizer sees a step outside. Empties
 * bytes. */
static int read_piece(read_fn *read, const uint8_t *data, size_t len)
{
	uint8_t *piece = malloc(len ? len : 1);
	struct sftp_reader reader = {piece, piece + len};
	int err;

	if (len)
		memcpy(piece, data, len);
	err = read(&reader);
	assert_true(reader.at <= reader.end && reader.end == piece + len);
	free(piece);
	return err;
}

/* Whole it reads; cut anywhere (but at `also`, where it is legal) it does not. */
static void cut(read_fn *read, struct fake_bytes *bytes, size_t also)
{
	assert_int_equal(read_piece(read, bytes->data, bytes->len), 0);
	for (size_t len = 0; len < bytes->len; len++)
		assert_int_equal(read_piece(read, bytes->data, len), len == also ? 0 : -EPROTO);
	fake_bytes_fini(bytes);
}

static void put_extended_attr(struct fake_bytes *bytes)
{
	fake_u32(bytes, 0x80000000 | SSH_FILEXFER_ATTR_SIZE);
	fake_u64(bytes, 77);
	fake_u32(bytes, 2);
	for (int i = 0; i < 2; i++) {
		fake_text(bytes, "acl@example");
		fake_text(bytes, "");
	}
}

static void put_names(struct fake_bytes *bytes)
{
	fake_u32(bytes, 3);
	fake_text(bytes, "one");
	fake_text(bytes, "-rw-r--r--    2 root root 1 Jan 1 00:00 one");
	fake_attr(bytes, &full);
	fake_text(bytes, "");
	fake_text(bytes, "");
	put_extended_attr(bytes);
	fake_text(bytes, "three");
	fake_text(bytes, "?");
	fake_u32(bytes, 0);
}

static void test_cut_short(void **state)
{
	struct fake_bytes bytes = {0};

	fake_u32(&bytes, 1);
	cut(read_u32, &bytes, SIZE_MAX);
	fake_u64(&bytes, 1);
	cut(read_u64, &bytes, SIZE_MAX);
	fake_text(&bytes, "hello");
	cut(read_string, &bytes, SIZE_MAX);
	fake_attr(&bytes, &full);
	cut(read_attr, &bytes, SIZE_MAX);
	put_extended_attr(&bytes);
	cut(read_attr, &bytes, SIZE_MAX);
	fake_u32(&bytes, 4);
	fake_text(&bytes, "Failure");
	cut(read_status, &bytes, 4); /* servers that say no more than the code */
	put_names(&bytes);
	cut(read_names, &bytes, SIZE_MAX);
	for (int i = 0; i < 11; i++)
		fake_u64(&bytes, 4096);
	cut(read_statvfs, &bytes, SIZE_MAX);
}

static void test_names_walk(void **state)
{
	struct fake_bytes bytes = {0};
	struct sftp_reader reader;
	struct sftp_names names;
	struct sftp_name name;

	put_names(&bytes);
	reader = (struct sftp_reader){bytes.data, bytes.data + bytes.len};
	assert_int_equal(sftp_read_names(&reader, &names), 0);
	assert_int_equal(names.left, 3);
	assert_true(sftp_names_next(&names, &name));
	assert_int_equal(name.name.len, 3);
	assert_memory_equal(name.name.data, "one", 3);
	assert_int_equal(sftp_longname_links(name.longname), 2);
	assert_true(name.attr.size == full.size && name.attr.gid == full.gid);
	assert_true(sftp_names_next(&names, &name));
	assert_int_equal(name.name.len, 0);
	assert_int_equal(name.attr.flags, SSH_FILEXFER_ATTR_SIZE);
	assert_int_equal(name.attr.size, 77);
	assert_true(sftp_names_next(&names, &name));
	assert_memory_equal(name.name.data, "three", 5);
	assert_false(sftp_names_next(&names, &name));
	assert_false(sftp_names_next(&names, &name));
	fake_bytes_fini(&bytes);
}

static void hostile(read_fn *read, struct fake_bytes *bytes)
{
	assert_int_equal(read_piece(read, bytes->data, bytes->len), -EPROTO);
	fake_bytes_fini(bytes);
}

static void test_hostile_counts(void **state)
{
	static const uint32_t counts[] = {
	    2, 0x15555556, 0x20000000, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff};
	struct fake_bytes bytes = {0};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		/* A string longer than what is left. */
		fake_u32(&bytes, counts[i]);
		fake_u8(&bytes, 0);
		hostile(read_string, &bytes);
		/* One name, more claimed. */
		fake_u32(&bytes, counts[i]);
		fake_text(&bytes, "a");
		fake_text(&bytes, "a");
		fake_u32(&bytes, 0);
		hostile(read_names, &bytes);
		/* Pairs of extended attributes. */
		fake_u32(&bytes, 0x80000000);
		fake_u32(&bytes, counts[i]);
		fake_text(&bytes, "");
		fake_text(&bytes, "");
		hostile(read_attr, &bytes);
		/* A name, a longname and a message that reach out. */
		fake_u32(&bytes, 1);
		fake_u32(&bytes, counts[i] < 21 ? 21 : counts[i]);
		for (int j = 0; j < 20; j++)
			fake_u8(&bytes, 0);
		hostile(read_names, &bytes);
		fake_u32(&bytes, SSH_FX_FAILURE);
		fake_u32(&bytes, counts[i]);
		fake_u8(&bytes, 'x');
		hostile(read_status, &bytes);
	}
	/* Flags that nobody knows how to read past. */
	for (uint32_t flag = 16; flag < 0x80000000; flag <<= 1) {
		fake_u32(&bytes, flag);
		for (int j = 0; j < 64; j++)
			fake_u8(&bytes, 0);
		hostile(read_attr, &bytes);
	}
}

static void test_packet_length(void **state)
{
	struct packet *packet = packet_new(PACKET_MAX + 16);
	struct sftp_reader reader;
	uint8_t type;

	memset(packet->data, 0, packet->size);
	for (packet->len = 0; packet->len < 5; packet->len++)
		assert_int_equal(sftp_read_packet(packet, &type, &reader), -EPROTO);
	packet->data[3] = 1;
	packet->data[4] = SSH_FXP_DATA;
	packet->len = 5;
	assert_int_equal(sftp_read_packet(packet, &type, &reader), 0);
	assert_int_equal(type, SSH_FXP_DATA);
	assert_ptr_equal(reader.at, reader.end);
	packet->len = 6; /* more than its length field says */
	assert_int_equal(sftp_read_packet(packet, &type, &reader), -EPROTO);
	packet->data[3] = 3; /* fewer */
	assert_int_equal(sftp_read_packet(packet, &type, &reader), -EPROTO);
	memset(packet->data, 0xff, 4);
	assert_int_equal(sftp_read_packet(packet, &type, &reader), -EPROTO);
	/* PACKET_MAX passes, one more does not. */
	memcpy(packet->data, "\0\4\0\0", 4);
	packet->len = PACKET_MAX + 4;
	assert_int_equal(sftp_read_packet(packet, &type, &reader), 0);
	memcpy(packet->data, "\0\4\0\1", 4);
	packet->len = PACKET_MAX + 5;
	assert_int_equal(sftp_read_packet(packet, &type, &reader), -EPROTO);
	packet_free(packet);
}

static int statvfs_of(const uint64_t *fields, struct statvfs *st)
{
	struct fake_bytes bytes = {0};
	struct sftp_reader reader;
	int err;

	for (int i = 0; i < 11; i++)
		fake_u64(&bytes, fields[i]);
	reader = (struct sftp_reader){bytes.data, bytes.data + bytes.len};
	err = sftp_read_statvfs(&reader, st);
	fake_bytes_fini(&bytes);
	return err;
}

static void test_statvfs(void **state)
{
	uint64_t fields[11] = {65536, 4096, 1000, 500, 400, 300, 200, 100, 0xdeadbeef, 3, 255};
	struct statvfs st;

	assert_int_equal(statvfs_of(fields, &st), 0);
	assert_int_equal(st.f_bsize, 65536);
	assert_int_equal(st.f_frsize, 4096);
	assert_int_equal(st.f_blocks, 1000);
	assert_int_equal(st.f_bfree, 500);
	assert_int_equal(st.f_bavail, 400);
	assert_int_equal(st.f_files, 300);
	assert_int_equal(st.f_ffree, 200);
	assert_int_equal(st.f_favail, 100);
	assert_int_equal(st.f_fsid, 0xdeadbeef);
	assert_int_equal(st.f_flag, ST_RDONLY | ST_NOSUID);
	assert_int_equal(st.f_namemax, 255);
	fields[1] = 0;
	assert_int_equal(statvfs_of(fields, &st), 0);
	assert_int_equal(st.f_frsize, 65536);
	fields[0] = 0;
	assert_int_equal(statvfs_of(fields, &st), -EPROTO);
	fields[0] = UINT64_MAX;
	assert_int_equal(statvfs_of(fields, &st), -EPROTO);
}

static uint32_t links_of(const char *text)
{
	/* Exactly as long as the text, without its NUL. */
	size_t len = strlen(text);
	uint8_t *copy = malloc(len ? len : 1);
	uint32_t links;

	memcpy(copy, text, len);
	links = sftp_longname_links((struct sftp_string){copy, (uint32_t)len});
	free(copy);
	return links;
}

static void test_longname(void **state)
{
	assert_int_equal(links_of("-rw-r--r--    2 root root 1 Jan  1 00:00 x"), 2);
	assert_int_equal(links_of("drwxr-xr-x   17 0 0 4096 Jan  1 00:00 d"), 17);
	assert_int_equal(links_of("-rw-r--r--+ 3 u g 1 Jan  1 00:00 x"), 3);
	assert_int_equal(links_of("lrwxrwxrwx 4294967295 u g"), 4294967295u);
	assert_int_equal(links_of("lrwxrwxrwx 4294967296 u g"), 0);
	assert_int_equal(links_of("lrwxrwxrwx 99999999999999999999999999 u g"), 0);
	assert_int_equal(links_of(""), 0);
	assert_int_equal(links_of("-rw-r--r--"), 0);
	assert_int_equal(links_of("-rw-r--r--    "), 0);
	assert_int_equal(links_of("-rw-r--r--    2"), 0);
	assert_int_equal(links_of("-rw-r--r--   2x root"), 0);
	assert_int_equal(links_of("-rw-r--r--   -2 root"), 0);
	assert_int_equal(links_of("some file name 3 "), 0);
	assert_int_equal(links_of("Xrw-r--r--    2 root"), 0);
}

static bool valid(const char *name, size_t len)
{
	return sftp_name_is_valid((struct sftp_string){(const uint8_t *)name, (uint32_t)len});
}

static void test_name_valid(void **state)
{
	char longest[256];

	memset(longest, 'n', sizeof(longest));
	assert_true(valid("a", 1));
	assert_true(valid("...", 3));
	assert_true(valid("..a", 3));
	assert_true(valid(".a", 2));
	assert_true(valid("\n \xff", 3));
	assert_true(valid(longest, 255));
	assert_false(valid(longest, 256));
	assert_false(valid("", 0));
	assert_false(valid(".", 1));
	assert_false(valid("..", 2));
	assert_false(valid("a/b", 3));
	assert_false(valid("/", 1));
	assert_false(valid("a\0b", 3));
	assert_false(valid("../../etc", 9));
}

static void test_status_errno(void **state)
{
	assert_int_equal(sftp_status_errno(SSH_FX_OK), 0);
	assert_int_equal(sftp_status_errno(SSH_FX_EOF), -ENODATA);
	assert_int_equal(sftp_status_errno(SSH_FX_NO_SUCH_FILE), -ENOENT);
	assert_int_equal(sftp_status_errno(SSH_FX_PERMISSION_DENIED), -EACCES);
	assert_int_equal(sftp_status_errno(SSH_FX_FAILURE), -EIO);
	assert_int_equal(sftp_status_errno(SSH_FX_BAD_MESSAGE), -EINVAL);
	assert_int_equal(sftp_status_errno(SSH_FX_OP_UNSUPPORTED), -EOPNOTSUPP);
	/* A server must not be able to fake a lost link. */
	assert_int_equal(sftp_status_errno(SSH_FX_NO_CONNECTION), -EIO);
	assert_int_equal(sftp_status_errno(SSH_FX_CONNECTION_LOST), -EIO);
	assert_int_equal(sftp_status_errno(UINT32_MAX), -EIO);
	assert_string_equal(sftp_type_name(SSH_FXP_READDIR), "READDIR");
	assert_string_equal(sftp_type_name(255), "?");
	assert_string_equal(sftp_type_name(0), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_init),
	    cmocka_unit_test(test_paths_and_handles),
	    cmocka_unit_test(test_open_and_attr),
	    cmocka_unit_test(test_setstats),
	    cmocka_unit_test(test_read),
	    cmocka_unit_test(test_write_again),
	    cmocka_unit_test(test_names_and_links),
	    cmocka_unit_test(test_extended),
	    cmocka_unit_test(test_oversized),
	    cmocka_unit_test(test_cut_short),
	    cmocka_unit_test(test_names_walk),
	    cmocka_unit_test(test_hostile_counts),
	    cmocka_unit_test(test_packet_length),
	    cmocka_unit_test(test_statvfs),
	    cmocka_unit_test(test_longname),
	    cmocka_unit_test(test_name_valid),
	    cmocka_unit_test(test_status_errno),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

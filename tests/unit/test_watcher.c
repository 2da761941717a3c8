/* The watcher's messages: what may be said, and what must not; its digest is that of watcher.py. */
#include "transport/watcher.h"
#include "transport/watcher_codec.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A packet of a type, a number and more bytes. */
static struct packet *packet_of(uint8_t type, uint32_t number, const void *more, size_t len)
{
	struct packet *packet = packet_new(9 + len);
	uint32_t left = (uint32_t)(5 + len);

	assert_non_null(packet);
	for (int i = 0; i < 4; i++) {
		packet->data[i] = (uint8_t)(left >> (24 - 8 * i));
		packet->data[5 + i] = (uint8_t)(number >> (24 - 8 * i));
	}
	packet->data[4] = type;
	memcpy(packet->data + 9, more, len);
	packet->len = 9 + len;
	return packet;
}

static int read_it(
    uint8_t type, uint32_t number, const void *more, size_t len, struct watcher_message *out)
{
	struct packet *packet = packet_of(type, number, more, len);
	int err = watcher_read(packet, out);

	packet_free(packet);
	return err;
}

#define ATTRIBUTES(type) "\0\0" type "\244\0\0\0\1\0\0\0\2\0\0\0\0\0\0\0\5\x12\x34\x56\x78\0\0\0\1"
#define REGULAR ATTRIBUTES("\x81")
#define FOLDER ATTRIBUTES("\x41")
#define NOTHING ATTRIBUTES("\0")
#define LEN(text) (sizeof(text) - 1)

static void test_hello(void **unused)
{
	struct watcher_message message;

	/* The number's place holds the beginning of the word. */
	assert_int_equal(
	    read_it(WATCHER_HELLO, 0x76617374, "fs-watch\0\0\0\1\0\0\x20\0", 16, &message), 0);
	assert_int_equal(message.limit, 8192);
	assert_int_equal(
	    read_it(WATCHER_HELLO, 0x76617374, "fs-watch\0\0\0\2\0\0\x20\0", 16, &message),
	    -EPROTO);
	assert_int_equal(
	    read_it(WATCHER_HELLO, 0x76617374, "fs-witch\0\0\0\1\0\0\x20\0", 16, &message),
	    -EPROTO);
	assert_int_equal(read_it(WATCHER_HELLO, 0x76617374, "fs-wat", 6, &message), -EPROTO);
}

static void test_changed(void **unused)
{
	static const char there[] = "\7" REGULAR "name";
	struct watcher_message message;

	assert_int_equal(read_it(WATCHER_CHANGED, 77, there, LEN(there), &message), 0);
	assert_int_equal(message.number, 77);
	assert_int_equal(message.bits, WATCHER_CONTENT | WATCHER_NAME | WATCHER_EXISTS);
	assert_string_equal(message.name, "name");
	assert_int_equal(message.attr.mode, 0100644);
	assert_int_equal(message.attr.uid, 1);
	assert_int_equal(message.attr.gid, 2);
	assert_int_equal(message.attr.size, 5);
	assert_int_equal(message.attr.mtime, 0x12345678);
	assert_int_equal(message.links, 1);
	/* The folder itself. */
	assert_int_equal(read_it(WATCHER_CHANGED, 1, "\4" FOLDER, LEN("\4" FOLDER), &message), 0);
	assert_string_equal(message.name, "");
}

static void test_changed_refused(void **unused)
{
	static const char *const names[] = {"..", ".", "a/b", "/"};
	char text[400], longest[256];
	struct watcher_message message;

	memcpy(text, "\7" REGULAR, LEN("\7" REGULAR));
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		memcpy(text + LEN("\7" REGULAR), names[i], strlen(names[i]));
		assert_int_equal(read_it(WATCHER_CHANGED, 1, text,
				     LEN("\7" REGULAR) + strlen(names[i]), &message),
		    -EPROTO);
	}
	memset(longest, 'x', sizeof(longest));
	memcpy(text + LEN("\7" REGULAR), longest, sizeof(longest));
	assert_int_equal(
	    read_it(WATCHER_CHANGED, 1, text, LEN("\7" REGULAR) + 256, &message), -EPROTO);
	assert_int_equal(read_it(WATCHER_CHANGED, 1, text, LEN("\7" REGULAR) + 255, &message), 0);
	assert_int_equal(
	    read_it(WATCHER_CHANGED, 1, "\7" REGULAR "a\0b", LEN("\7" REGULAR "a\0b"), &message),
	    -EPROTO);
	/* A folder that is not there would be GONE; what is there is of some kind. */
	assert_int_equal(
	    read_it(WATCHER_CHANGED, 1, "\2" NOTHING, LEN("\2" NOTHING), &message), -EPROTO);
	assert_int_equal(
	    read_it(WATCHER_CHANGED, 1, "\7" NOTHING "n", LEN("\7" NOTHING "n"), &message),
	    -EPROTO);
	for (size_t i = 0; i < LEN("\7" REGULAR); i++)
		assert_int_equal(read_it(WATCHER_CHANGED, 1, text, i, &message), -EPROTO);
}

static void test_added(void **unused)
{
	static const char yes[] = "\0\0\0\0"
				  "\0\0\0\0\0\0\0\3"
				  "\1\2\3\4\5\6\7\x8" FOLDER;
	static const char without[] = "\0\0\0\0"
				      "\0\0\0\0\0\0\0\0"
				      "\0\0\0\0\0\0\0\0" FOLDER;
	static const char file[] = "\0\0\0\0"
				   "\0\0\0\0\0\0\0\0"
				   "\0\0\0\0\0\0\0\0" REGULAR;
	struct watcher_message message;

	assert_int_equal(read_it(WATCHER_ADDED, 5, yes, LEN(yes), &message), 0);
	assert_int_equal(message.err, 0);
	assert_true(message.digested);
	assert_int_equal(message.names, 2);
	assert_true(message.digest == 0x0102030405060708u);
	assert_int_equal(read_it(WATCHER_ADDED, 5, without, LEN(without), &message), 0);
	assert_false(message.digested);
	assert_int_equal(read_it(WATCHER_ADDED, 5, file, LEN(file), &message), -EPROTO);
	assert_int_equal(read_it(WATCHER_ADDED, 5, "\0\0\0\x1c", 4, &message), 0);
	assert_int_equal(message.err, -ENOSPC);
	assert_int_equal(read_it(WATCHER_ADDED, 5, "\xff\0\0\0", 4, &message), 0);
	assert_int_equal(message.err, -EIO);
	assert_int_equal(read_it(WATCHER_ADDED, 5, yes, LEN(yes) - 1, &message), -EPROTO);
}

static void test_others(void **unused)
{
	struct watcher_message message;

	assert_int_equal(read_it(WATCHER_PING, 9, "", 0, &message), 0);
	assert_int_equal(message.type, WATCHER_PING);
	assert_int_equal(message.number, 9);
	assert_int_equal(read_it(WATCHER_GONE, 9, "", 0, &message), 0);
	assert_int_equal(read_it(WATCHER_LOST, 0, "", 0, &message), 0);
	assert_int_equal(read_it(WATCHER_ADD, 0, "", 0, &message), -EPROTO);
	assert_int_equal(read_it(200, 0, "", 0, &message), -EPROTO);
}

static void test_orders(void **unused)
{
	static const uint8_t add[] = {0, 0, 0, 8, WATCHER_ADD, 0, 0, 1, 2, 1, '/', 'a'};
	struct packet *packet = watcher_msg_add(258, true, "/a");

	assert_int_equal(packet->len, sizeof(add));
	assert_memory_equal(packet->data, add, sizeof(add));
	packet_free(packet);
}

/* As hashlib has it: sha256(attributes, then the name), the first eight bytes. */
static void test_digest(void **unused)
{
	const struct sftp_attr attr = {
	    .mode = 0100644, .uid = 1000, .gid = 100, .size = 4294967301, .mtime = 1700000000};
	const struct sftp_attr folder = {.mode = 0040755, .size = 4096, .mtime = 1700000000},
			       larger = {.mode = 0040755, .size = 8192, .mtime = 1700000000};

	assert_true(watcher_digest("model.bin", &attr, 1) == 0x695f84a1aa7d0b10u);
	assert_true(watcher_digest("model.bin", &attr, 0) == 0x695f84a1aa7d0b10u);
	assert_true(watcher_digest("model.bin", &attr, 2) == 0x2ab4f3a84cbf58a6u);
	assert_true(watcher_digest("d", &folder, 2) == watcher_digest("d", &larger, 3));
}

static void assert_line(char order, const char *path, const char *want)
{
	struct packet *packet = watcher_line(order, 7, path);

	assert_non_null(packet);
	assert_int_equal(packet->len, strlen(want));
	assert_memory_equal(packet->data, want, packet->len);
	packet_free(packet);
}

static void test_lines(void **unused)
{
	char path[4096], want[4200];

	assert_line('A', "/w/a b %s\\", "A 7 /w/a b %s\\\n");
	assert_line('D', NULL, "D 7\n");
	assert_line('P', NULL, "P 7\n");
	/* What no line can hold is asked for without a path, which is refused there. */
	assert_line('A', "/w/two\nlines", "A 7 \n");
	memset(path, 'x', sizeof(path));
	path[3500] = '\0';
	snprintf(want, sizeof(want), "A 7 %s\n", path);
	assert_line('A', path, want);
	path[3500] = 'x';
	path[3501] = '\0';
	assert_line('A', path, "A 7 \n");
}

/* Listings that were under way end after it, and begin others. */
static void test_ended(void **state)
{
	(void)state;
	assert_int_equal(watcher_state(NULL), WATCHER_OFF);
	assert_non_null(watcher_by(NULL));
	assert_string_not_equal(watcher_why(NULL), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines),
	    cmocka_unit_test(test_hello), cmocka_unit_test(test_changed),
	    cmocka_unit_test(test_changed_refused), cmocka_unit_test(test_added),
	    cmocka_unit_test(test_others), cmocka_unit_test(test_orders),
	    cmocka_unit_test(test_digest), cmocka_unit_test(test_ended)};

	return cmocka_run_group_tests_name("watcher", tests, NULL, NULL);
}

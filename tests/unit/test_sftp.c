/* The SFTP engine against a far end that the test plays: out of order, twice, late, wrong, dead in
 * the middle. */
#include "tests/fake/fake_stream.h"
#include "transport/sftp.h"
#include "transport/sftp_reply.h"
#include "transport/sftp_rtt.h"
#include "transport/sftp_table.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct rig {
	uv_loop_t loop;
	struct fake_stream fake;
	struct sftp *sftp;
	unsigned ready, ended;
	enum ssh_failure kind; /* of the last event with an error */
	char text[256];
	unsigned in_flight_at_end;
	bool free_in_event;
};

/* One request's outcome. */
struct outcome {
	struct rig *rig;
	unsigned done; /* how often */
	int err;
	uint32_t status;
	uint8_t type;
	uint32_t len; /* of data or handle */
	uint8_t first;
	unsigned order;	       /* the how-manieth completion of all */
	bool free_sftp;	       /* in the callback */
	struct outcome *again; /* sent from the callback */
};

static unsigned completions;
static bool inside_send;

static void free_sftp(struct rig *rig)
{
	sftp_free(rig->sftp);
	rig->sftp = NULL;
}

static void note_error(struct rig *rig, const struct ssh_error *error)
{
	rig->kind = error ? error->kind : SSH_OK;
	snprintf(rig->text, sizeof(rig->text), "%.255s", error ? error->text : "");
	if (rig->free_in_event)
		free_sftp(rig);
}

static void on_ready(void *arg, const struct ssh_error *error)
{
	struct rig *rig = arg;

	rig->ready++;
	note_error(rig, error);
}

static void on_ended(void *arg, const struct ssh_error *error)
{
	struct rig *rig = arg;

	rig->ended++;
	rig->in_flight_at_end = sftp_requests_in_flight(rig->sftp);
	note_error(rig, error);
}

static const struct sftp_events events = {on_ready, on_ended};

static const struct sftp_handle handle = {2, "h1"};

static void send_message(struct rig *rig, struct packet *message, size_t cost, struct outcome *out);

static void on_done(void *arg, const struct sftp_reply *reply)
{
	struct outcome *out = arg;

	assert_false(inside_send);
	out->done++;
	out->err = reply->err;
	out->status = reply->status;
	out->type = reply->type;
	out->order = ++completions;
	if (!reply->err && (reply->type == SSH_FXP_DATA || reply->type == SSH_FXP_HANDLE)) {
		out->len = reply->data.len;
		out->first = reply->data.data[0];
	}
	if (out->again)
		send_message(out->rig, sftp_msg_path(SSH_FXP_LSTAT, "/again"), 0, out->again);
	if (out->free_sftp)
		free_sftp(out->rig);
}

static void send_message(struct rig *rig, struct packet *message, size_t cost, struct outcome *out)
{
	bool before = inside_send;

	assert_non_null(message);
	out->rig = rig;
	inside_send = true;
	sftp_send(rig->sftp, message, cost, on_done, out);
	inside_send = before;
}

static void send_lstat(struct rig *rig, struct outcome *out)
{
	send_message(rig, sftp_msg_path(SSH_FXP_LSTAT, "/p"), 0, out);
}

static void send_read(struct rig *rig, uint32_t len, struct outcome *out)
{
	send_message(rig, sftp_msg_read(&handle, 0, len), len, out);
}

static const struct sftp_attr attr = {.flags = SSH_FILEXFER_ATTR_SIZE, .size = 5};

static void rig_start(struct rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	completions = 0;
	assert_int_equal(uv_loop_init(&rig->loop), 0);
	fake_stream_init(&rig->fake);
	rig->sftp = sftp_new_on(&rig->loop, fake_stream_open, &rig->fake, 1, &events, rig);
	assert_non_null(rig->sftp);
	assert_int_equal(rig->fake.sent_count, 0);
}

static void rig_hello(struct rig *rig)
{
	rig_start(rig);
	fake_stream_opened(&rig->fake);
	assert_int_equal(fake_stream_expect(&rig->fake, SSH_FXP_INIT), 3);
	assert_int_equal(rig->ready, 0);
}

static void rig_ready(struct rig *rig)
{
	rig_hello(rig);
	fake_reply_version(&rig->fake, 3, NULL);
	assert_int_equal(rig->ready, 1);
	assert_int_equal(rig->kind, SSH_OK);
}

/* All that is due now, without waiting. */
static void turn(struct rig *rig)
{
	while (uv_run(&rig->loop, UV_RUN_NOWAIT) && uv_backend_timeout(&rig->loop) == 0)
		;
}

static void rig_end(struct rig *rig)
{
	sftp_free(rig->sftp);
	assert_int_equal(uv_run(&rig->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(rig->fake.closes, 1);
	fake_stream_fini(&rig->fake);
	assert_int_equal(uv_loop_close(&rig->loop), 0);
}

/* The conversation has ended with a protocol error, and the stream is closed from the loop. */
static void expect_protocol_error(struct rig *rig)
{
	assert_int_equal(rig->ended, 1);
	assert_int_equal(rig->kind, SSH_LOST);
	assert_non_null(strstr(rig->text, "protocol error"));
	assert_int_equal(rig->in_flight_at_end, 0);
	assert_int_equal(rig->fake.closes, 0);
	turn(rig);
	assert_int_equal(rig->fake.closes, 1);
}

/* --- greeting --- */

static void test_no_memory(void **state)
{
	struct fake_stream fake;
	uv_loop_t loop;

	uv_loop_init(&loop);
	fake_stream_init(&fake);
	fake.no_memory = true;
	assert_null(sftp_new_on(&loop, fake_stream_open, &fake, 1, &events, NULL));
	assert_int_equal(uv_loop_close(&loop), 0);
	sftp_free(NULL);
}

static void test_version_plain(void **state)
{
	const struct sftp_features *features;
	struct rig rig;

	rig_ready(&rig);
	features = sftp_features(rig.sftp);
	assert_int_equal(features->max_read, 32768);
	assert_int_equal(features->max_write, 32768);
	assert_int_equal(features->max_handles, 0);
	assert_false(features->posix_rename || features->hardlink || features->statvfs ||
		     features->fsync || features->lsetstat || features->copy_data ||
		     features->expand_path || features->fstatvfs || features->home_directory);
	assert_int_equal(rig.fake.sent_count, 1);
	rig_end(&rig);
}

static void test_version_extensions(void **state)
{
	static const char *const all[] = {"posix-rename@openssh.com", "1", "statvfs@openssh.com",
	    "2", "fstatvfs@openssh.com", "2", "hardlink@openssh.com", "1", "fsync@openssh.com", "1",
	    "lsetstat@openssh.com", "1", "expand-path@openssh.com", "1", "copy-data", "1",
	    "home-directory", "1", "users-groups-by-id@openssh.com", "1", NULL};
	/* A version that we do not speak, and names that are nearly right. */
	static const char *const other[] = {"posix-rename@openssh.com", "2", "statvfs@openssh.com",
	    "1", "fsync@openssh.co", "1", "hardlink@openssh.com ", "1", "copy-data", "", "", "",
	    "limits@openssh.com", "2", "lsetstat@openssh.com", "11", NULL};
	const struct sftp_features *features;
	struct rig rig;

	rig_hello(&rig);
	fake_reply_version(&rig.fake, 3, all);
	features = sftp_features(rig.sftp);
	assert_int_equal(rig.ready, 1);
	assert_true(features->posix_rename && features->hardlink && features->statvfs &&
		    features->fsync && features->lsetstat && features->copy_data &&
		    features->expand_path && features->fstatvfs && features->home_directory);
	rig_end(&rig);

	rig_hello(&rig);
	fake_reply_version(&rig.fake, 6, other); /* a server that answers more than asked */
	features = sftp_features(rig.sftp);
	assert_int_equal(rig.ready, 1);
	assert_false(features->posix_rename || features->hardlink || features->statvfs ||
		     features->fsync || features->lsetstat || features->copy_data);
	rig_end(&rig);
}

static const char *const with_limits[] = {"limits@openssh.com", "1", NULL};

static uint32_t rig_limits(struct rig *rig)
{
	rig_hello(rig);
	fake_reply_version(&rig->fake, 3, with_limits);
	assert_int_equal(rig->ready, 0);
	return fake_stream_expect(&rig->fake, SSH_FXP_EXTENDED);
}

static void check_limits(const uint64_t *said, uint32_t max_read, uint32_t max_write)
{
	struct rig rig;
	uint32_t id = rig_limits(&rig);

	fake_reply_limits(&rig.fake, id, said[0], said[1], said[2], said[3]);
	assert_int_equal(rig.ready, 1);
	assert_int_equal(rig.kind, SSH_OK);
	assert_int_equal(sftp_features(rig.sftp)->max_read, max_read);
	assert_int_equal(sftp_features(rig.sftp)->max_write, max_write);
	assert_true(sftp_features(rig.sftp)->max_handles == said[3]);
	assert_true(sftp_rtt_us(rig.sftp) > 0);
	rig_end(&rig);
}

static void test_limits(void **state)
{
	static const uint64_t openssh[] = {262144, 261120, 261120, 1019};
	static const uint64_t unsaid[] = {0, 0, 0, 0};
	static const uint64_t huge[] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
	static const uint64_t wraps[] = {1ull << 32, 1ull << 32, 1ull << 32, 1};
	static const uint64_t tiny[] = {1, 100000, 100000, 1};
	static const uint64_t odd[] = {262144, 100001, 4097, 5};
	static const uint64_t packet[] = {65536, 65536, 65536, 5};

	check_limits(openssh, 261120, 261120);
	check_limits(unsaid, 32768, 32768);
	check_limits(huge, PACKET_MAX - 13, PACKET_MAX - 25 - 256);
	check_limits(wraps, PACKET_MAX - 13, PACKET_MAX - 25 - 256);
	check_limits(tiny, 34000 - 13, 34000 - 25 - 256);
	check_limits(odd, 100001, 4097);
	check_limits(packet, 65536 - 13, 65536 - 25 - 256);
}

static void test_limits_refused(void **state)
{
	struct rig rig;
	uint32_t id = rig_limits(&rig);

	fake_reply_status(&rig.fake, id, SSH_FX_OP_UNSUPPORTED);
	assert_int_equal(rig.ready, 1);
	assert_int_equal(rig.kind, SSH_OK);
	assert_int_equal(sftp_features(rig.sftp)->max_read, 32768);
	rig_end(&rig);
}

static void test_limits_wrong(void **state)
{
	struct fake_bytes bytes = {0};
	struct rig rig;

	for (int way = 0; way < 6; way++) {
		uint32_t id = rig_limits(&rig);

		fake_u32(&bytes, id);
		switch (way) {
		case 0: /* too short */
			fake_u64(&bytes, 262144);
			fake_u64(&bytes, 262144);
			fake_stream_deliver(&rig.fake, fake_packet(SSH_FXP_EXTENDED_REPLY, &bytes));
			break;
		case 1:
			fake_bytes_fini(&bytes);
			fake_reply_status(&rig.fake, id, SSH_FX_OK);
			break;
		case 2:
			fake_bytes_fini(&bytes);
			fake_reply_handle(&rig.fake, id, "h");
			break;
		case 3:
			fake_bytes_fini(&bytes);
			fake_stream_die(&rig.fake);
			break;
		case 4: /* a STATUS without its code */
			fake_stream_deliver(&rig.fake, fake_packet(SSH_FXP_STATUS, &bytes));
			break;
		default: /* never answered */
			fake_bytes_fini(&bytes);
			while (!rig.ready)
				uv_run(&rig.loop, UV_RUN_ONCE);
			break;
		}
		assert_int_equal(rig.ready, 1);
		assert_int_equal(rig.ended, 0);
		assert_int_equal(rig.kind, way == 5 ? SSH_TIMEOUT : SSH_LOST);
		rig_end(&rig);
	}
}

static void test_version_too_low(void **state)
{
	struct rig rig;

	rig_hello(&rig);
	fake_reply_version(&rig.fake, 2, NULL);
	assert_int_equal(rig.ready, 1);
	assert_int_equal(rig.kind, SSH_NO_SFTP);
	assert_non_null(strstr(rig.text, "version 2"));
	rig_end(&rig);
}

static void test_version_hostile(void **state)
{
	struct rig rig;

	for (int way = 0; way < 6; way++) {
		struct fake_bytes bytes = {0};
		uint8_t type = SSH_FXP_VERSION;

		rig_hello(&rig);
		if (way != 0)
			fake_u32(&bytes, 3);
		if (way == 1) /* a pair without its value */
			fake_text(&bytes, "limits@openssh.com");
		if (way == 2) /* a length that reaches out */
			fake_u32(&bytes, UINT32_MAX);
		if (way == 3) { /* not even a length */
			fake_text(&bytes, "limits@openssh.com");
			fake_raw(&bytes, "\0\0\0", 3);
		}
		if (way == 4)
			type = SSH_FXP_STATUS;
		if (way == 5)
			type = 0;
		fake_stream_deliver(&rig.fake, fake_packet(type, &bytes));
		assert_int_equal(rig.ready, 1);
		assert_int_equal(rig.kind, SSH_LOST);
		assert_non_null(strstr(rig.text, "protocol error"));
		assert_int_equal(rig.ended, 0);
		rig_end(&rig);
	}
	/* Twice. */
	rig_ready(&rig);
	fake_reply_version(&rig.fake, 3, NULL);
	expect_protocol_error(&rig);
	rig_end(&rig);
}

static void test_greeting_fails(void **state)
{
	struct rig rig;

	rig_start(&rig);
	fake_stream_refuse(&rig.fake, SSH_NO_SFTP, "no sftp subsystem");
	assert_int_equal(rig.ready, 1);
	assert_int_equal(rig.kind, SSH_NO_SFTP);
	assert_string_equal(rig.text, "no sftp subsystem");
	rig_end(&rig);

	rig_hello(&rig);
	fake_stream_die(&rig.fake);
	assert_int_equal(rig.ready, 1);
	assert_int_equal(rig.kind, SSH_LOST);
	assert_int_equal(rig.ended, 0);
	rig_end(&rig);

	rig_hello(&rig); /* silence */
	while (!rig.ready)
		uv_run(&rig.loop, UV_RUN_ONCE);
	assert_int_equal(rig.kind, SSH_TIMEOUT);
	rig_end(&rig);

	rig_start(&rig); /* freed in the event, and before any */
	rig.free_in_event = true;
	fake_stream_refuse(&rig.fake, SSH_NO_SFTP, "");
	rig_end(&rig);
	rig_start(&rig);
	rig_end(&rig);
	assert_int_equal(rig.ready, 0);
}

/* --- the table --- */

static void test_table_wraps(void **state)
{
	struct sftp_table table;
	struct sftp_request *old, *request;
	uint32_t first = UINT32_MAX - 3;

	assert_int_equal(sftp_table_init(&table), 0);
	table.next_id = 2;
	old = sftp_table_add(&table); /* stays in flight while the ids go round */
	table.next_id = first;
	for (uint32_t i = 0; i < 8; i++) {
		request = sftp_table_add(&table);
		assert_int_equal(request->id, first + i + (i >= 6 ? 1 : 0));
		assert_ptr_equal(sftp_table_find(&table, request->id), request);
	}
	assert_ptr_equal(sftp_table_find(&table, 2), old);
	assert_ptr_equal(TAILQ_FIRST(&table.waiting), old);
	sftp_table_abandon(&table, old);
	assert_int_equal(table.abandoned, 1);
	assert_ptr_equal(sftp_table_find(&table, 2), old);
	sftp_table_detach(&table, old);
	sftp_table_release(&table, old);
	assert_int_equal(table.abandoned, 0);
	assert_null(sftp_table_find(&table, 2));
	sftp_table_fini(&table);
}

static void test_table_many(void **state)
{
	enum { MANY = 20000 };
	struct sftp_table table;
	struct sftp_request *request;
	uint32_t base = UINT32_MAX - MANY / 2;

	assert_int_equal(sftp_table_init(&table), 0);
	table.next_id = base;
	for (uint32_t i = 0; i < MANY; i++)
		assert_int_equal(sftp_table_add(&table)->id, base + i);
	assert_true(table.size >= MANY / 2);
	/* Every second one, then those between, are all there and found no more afterwards. */
	for (uint32_t start = 0; start < 2; start++) {
		for (uint32_t i = start; i < MANY; i += 2) {
			request = sftp_table_find(&table, base + i);
			assert_non_null(request);
			sftp_table_detach(&table, request);
			sftp_table_release(&table, request);
			assert_null(sftp_table_find(&table, base + i));
		}
	}
	assert_true(TAILQ_EMPTY(&table.waiting));
	assert_int_equal(table.count, 0);
	sftp_table_fini(&table);
}

/* --- replies --- */

static void test_out_of_order(void **state)
{
	enum { MANY = 3000 };
	struct outcome *outs = calloc(MANY, sizeof(*outs));
	uint32_t *ids = calloc(MANY, sizeof(*ids));
	struct rig rig;

	rig_ready(&rig);
	for (int i = 0; i < MANY; i++)
		send_lstat(&rig, &outs[i]);
	assert_int_equal(sftp_requests_in_flight(rig.sftp), MANY);
	assert_int_equal(rig.fake.sent_count, MANY + 1);
	turn(&rig);
	assert_int_equal(completions, 0);
	for (int i = 0; i < MANY; i++)
		ids[i] = fake_stream_expect(&rig.fake, SSH_FXP_LSTAT);
	for (int i = 0; i < MANY; i++) {
		int which = (int)((unsigned)i * 7u % MANY); /* 7 and 3000 have no common divisor */

		fake_reply_attrs(&rig.fake, ids[which], &attr);
		assert_int_equal(outs[which].done, 1);
		assert_int_equal(outs[which].order, i + 1);
	}
	assert_int_equal(sftp_requests_in_flight(rig.sftp), 0);
	assert_int_equal(rig.ended, 0);
	assert_false(uv_loop_alive(&rig.loop)); /* no timer is left to wake it */
	rig_end(&rig);
	free(outs);
	free(ids);
}

static void test_statuses(void **state)
{
	struct outcome out[5] = {0};
	uint32_t id[5];
	struct rig rig;

	rig_ready(&rig);
	send_lstat(&rig, &out[0]);
	send_message(&rig, sftp_msg_handle(SSH_FXP_CLOSE, &handle), 0, &out[1]);
	send_read(&rig, 100, &out[2]);
	send_message(&rig, sftp_msg_handle(SSH_FXP_READDIR, &handle), 0, &out[3]);
	send_message(&rig, sftp_msg_fsync(&handle), 0, &out[4]);
	id[0] = fake_stream_expect(&rig.fake, SSH_FXP_LSTAT);
	id[1] = fake_stream_expect(&rig.fake, SSH_FXP_CLOSE);
	id[2] = fake_stream_expect(&rig.fake, SSH_FXP_READ);
	id[3] = fake_stream_expect(&rig.fake, SSH_FXP_READDIR);
	id[4] = fake_stream_expect(&rig.fake, SSH_FXP_EXTENDED);
	fake_reply_status(&rig.fake, id[0], SSH_FX_NO_SUCH_FILE);
	fake_reply_status(&rig.fake, id[1], SSH_FX_OK);
	fake_reply_status(&rig.fake, id[2], SSH_FX_EOF);
	fake_reply_names(&rig.fake, id[3], 0);
	fake_reply_status(&rig.fake, id[4], 12345);
	assert_int_equal(out[0].err, -ENOENT);
	assert_int_equal(out[0].status, SSH_FX_NO_SUCH_FILE);
	assert_int_equal(out[0].type, SSH_FXP_STATUS);
	assert_int_equal(out[1].err, 0);
	assert_int_equal(out[2].err, -ENODATA);
	assert_int_equal(out[2].status, SSH_FX_EOF);
	assert_int_equal(out[3].err, -ENODATA);
	assert_int_equal(out[3].status, SSH_FX_EOF);
	assert_int_equal(out[4].err, -EIO);
	assert_int_equal(out[4].status, 12345);
	assert_int_equal(rig.ended, 0);
	rig_end(&rig);
}

static void test_data(void **state)
{
	struct outcome out[4] = {0};
	uint32_t id[4];
	struct rig rig;

	rig_ready(&rig);
	for (int i = 0; i < 4; i++)
		send_read(&rig, 3, &out[i]);
	assert_int_equal(sftp_bytes_in_flight(rig.sftp), 12);
	for (int i = 0; i < 4; i++)
		id[i] = fake_stream_expect(&rig.fake, SSH_FXP_READ);
	fake_reply_data(&rig.fake, id[0], "abc", 3);
	assert_int_equal(sftp_bytes_in_flight(rig.sftp), 9);
	assert_true(!out[0].err && out[0].len == 3 && out[0].first == 'a');
	fake_reply_data(&rig.fake, id[1], "a", 1); /* short is legal */
	assert_true(!out[1].err && out[1].len == 1);
	fake_reply_data(&rig.fake, id[2], "", 0); /* the end, as some say it */
	assert_int_equal(out[2].err, -ENODATA);
	assert_int_equal(out[2].status, SSH_FX_EOF);
	fake_reply_data(&rig.fake, id[3], "abcd", 4); /* more than asked for */
	assert_int_equal(out[3].err, -EPROTO);
	assert_int_equal(sftp_bytes_in_flight(rig.sftp), 0);
	assert_int_equal(rig.ended, 0);
	rig_end(&rig);
}

static void test_ok_for_nothing(void **state)
{
	struct outcome out[6] = {0};
	struct fake_request request;
	struct rig rig;

	rig_ready(&rig);
	send_message(&rig, sftp_msg_open("/f", SSH_FXF_READ, NULL), 0, &out[0]);
	send_read(&rig, 3, &out[1]);
	send_lstat(&rig, &out[2]);
	send_message(&rig, sftp_msg_handle(SSH_FXP_READDIR, &handle), 0, &out[3]);
	send_message(&rig, sftp_msg_statvfs("/"), 0, &out[4]);
	send_message(&rig, sftp_msg_path(SSH_FXP_REALPATH, "."), 0, &out[5]);
	for (int i = 0; i < 6; i++) {
		assert_true(fake_stream_next(&rig.fake, &request));
		if (i < 5)
			fake_reply_status(&rig.fake, request.id, SSH_FX_OK);
		else
			fake_reply_names(&rig.fake, request.id, 2);
		packet_free(request.packet);
		assert_int_equal(out[i].done, 1);
		assert_int_equal(out[i].err, -EPROTO);
	}
	assert_int_equal(rig.ended, 0);
	rig_end(&rig);
}

/* Well-formed replies of every type to every request: what fits is taken, what does not ends it. */
static void test_wrong_types(void **state)
{
	static const uint8_t replies[] = {SSH_FXP_HANDLE, SSH_FXP_DATA, SSH_FXP_NAME, SSH_FXP_ATTRS,
	    SSH_FXP_EXTENDED_REPLY, SSH_FXP_VERSION, SSH_FXP_OPEN, 0, 255};

	for (int kind = 0; kind < 7; kind++) {
		static const uint8_t fits[] = {SSH_FXP_HANDLE, SSH_FXP_DATA, SSH_FXP_NAME,
		    SSH_FXP_ATTRS, SSH_FXP_EXTENDED_REPLY, SSH_FXP_STATUS, SSH_FXP_STATUS};

		for (size_t i = 0; i < sizeof(replies); i++) {
			struct packet *messages[] = {
			    sftp_msg_path(SSH_FXP_OPENDIR, "/"),
			    sftp_msg_read(&handle, 0, 10),
			    sftp_msg_path(SSH_FXP_READLINK, "/l"),
			    sftp_msg_handle(SSH_FXP_FSTAT, &handle),
			    sftp_msg_statvfs("/"),
			    sftp_msg_hardlink("/a", "/b"),
			    sftp_msg_path(SSH_FXP_REMOVE, "/b"),
			};
			struct outcome out = {0}, other = {0};
			struct fake_request request;
			struct fake_bytes bytes = {0};
			struct rig rig;

			rig_ready(&rig);
			for (int j = 0; j < 7; j++) {
				if (j != kind)
					packet_free(messages[j]);
			}
			send_message(&rig, messages[kind], 0, &out);
			send_lstat(&rig, &other);
			assert_true(fake_stream_next(&rig.fake, &request));
			packet_free(request.packet);
			fake_u32(&bytes, request.id);
			if (replies[i] == SSH_FXP_NAME)
				fake_u32(&bytes, 1);
			if (replies[i] == SSH_FXP_NAME)
				fake_text(&bytes, "n");
			if (replies[i] == SSH_FXP_ATTRS)
				fake_attr(&bytes, &attr);
			else
				fake_text(&bytes, "t");
			if (replies[i] == SSH_FXP_NAME)
				fake_u32(&bytes, 0);
			fake_stream_deliver(&rig.fake, fake_packet(replies[i], &bytes));
			assert_int_equal(out.done, 1);
			assert_int_equal(out.type, replies[i]);
			if (replies[i] == fits[kind]) {
				assert_int_equal(out.err, 0);
				assert_int_equal(rig.ended, 0);
			} else {
				assert_int_equal(out.err, -EPROTO);
				assert_int_equal(other.done, 1);
				assert_int_equal(other.err, -ENOTCONN);
				expect_protocol_error(&rig);
			}
			rig_end(&rig);
		}
	}
}

static void test_malformed(void **state)
{
	for (int way = 0; way < 8; way++) {
		struct fake_bytes bytes = {0};
		struct outcome out = {0};
		struct packet *packet;
		struct rig rig;
		uint8_t type = SSH_FXP_HANDLE;
		char handle257[257] = {0};
		uint32_t id;

		rig_ready(&rig);
		send_message(&rig, sftp_msg_open("/f", SSH_FXF_READ, NULL), 0, &out);
		id = fake_stream_expect(&rig.fake, SSH_FXP_OPEN);
		if (way != 0) /* no id */
			fake_u32(&bytes, id);
		if (way == 1) /* the handle's length reaches out */
			fake_u32(&bytes, 5);
		if (way == 2)
			fake_text(&bytes, "");
		if (way == 3)
			fake_string(&bytes, handle257, sizeof(handle257));
		if (way == 4) /* nothing but the id */
			type = SSH_FXP_STATUS;
		packet = fake_packet(type, &bytes);
		if (way == 5)
			packet->data[3]++;
		if (way == 6)
			packet->len = 4;
		if (way == 7)
			packet->len = 0;
		fake_stream_deliver(&rig.fake, packet);
		assert_int_equal(out.done, 1);
		assert_int_equal(out.err, way >= 1 && way <= 4 ? -EPROTO : -ENOTCONN);
		expect_protocol_error(&rig);
		rig_end(&rig);
	}
}

static void test_longest_handle(void **state)
{
	struct outcome out = {0};
	char text[257];
	struct rig rig;

	memset(text, 'h', 256);
	text[256] = 0;
	rig_ready(&rig);
	send_message(&rig, sftp_msg_open("/f", SSH_FXF_READ, NULL), 0, &out);
	fake_reply_handle(&rig.fake, fake_stream_expect(&rig.fake, SSH_FXP_OPEN), text);
	assert_int_equal(out.err, 0);
	assert_int_equal(out.len, 256);
	rig_end(&rig);
}

static void test_duplicate_reply(void **state)
{
	struct outcome out = {0}, other = {0};
	struct rig rig;
	uint32_t id;

	rig_ready(&rig);
	send_lstat(&rig, &out);
	send_lstat(&rig, &other);
	id = fake_stream_expect(&rig.fake, SSH_FXP_LSTAT);
	fake_reply_attrs(&rig.fake, id, &attr);
	assert_int_equal(rig.ended, 0);
	fake_reply_attrs(&rig.fake, id, &attr);
	assert_int_equal(out.done, 1);
	assert_int_equal(out.err, 0);
	assert_int_equal(other.done, 1);
	assert_int_equal(other.err, -ENOTCONN);
	expect_protocol_error(&rig);
	rig_end(&rig);
}

static void test_unknown_id(void **state)
{
	struct outcome out = {0};
	struct rig rig;

	rig_ready(&rig);
	send_lstat(&rig, &out);
	fake_reply_attrs(&rig.fake, fake_stream_expect(&rig.fake, SSH_FXP_LSTAT) + 1, &attr);
	assert_int_equal(out.done, 1);
	assert_int_equal(out.err, -ENOTCONN);
	expect_protocol_error(&rig);
	/* What comes afterwards changes nothing. */
	fake_reply_attrs(&rig.fake, 0, &attr);
	fake_stream_die(&rig.fake);
	assert_int_equal(out.done, 1);
	assert_int_equal(rig.ended, 1);
	rig_end(&rig);
}

/* --- the end --- */

static void test_death(void **state)
{
	struct outcome out[50] = {0}, late = {0};
	struct rig rig;

	rig_ready(&rig);
	for (int i = 0; i < 50; i++)
		send_read(&rig, 1000, &out[i]);
	fake_reply_data(&rig.fake, fake_stream_expect(&rig.fake, SSH_FXP_READ), "x", 1);
	fake_stream_die(&rig.fake);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(out[i].done, 1);
		assert_int_equal(out[i].err, i ? -ENOTCONN : 0);
		assert_int_equal(out[i].order, i + 1);
	}
	assert_int_equal(rig.ended, 1);
	assert_int_equal(rig.in_flight_at_end, 0);
	assert_string_equal(rig.text, "the connection broke");
	assert_int_equal(sftp_bytes_in_flight(rig.sftp), 0);
	/* A send on the dead conversation completes later, and the loop comes to rest. */
	send_lstat(&rig, &late);
	assert_int_equal(late.done, 0);
	uv_run(&rig.loop, UV_RUN_DEFAULT);
	assert_int_equal(late.done, 1);
	assert_int_equal(late.err, -ENOTCONN);
	assert_int_equal(rig.fake.closes, 1);
	assert_int_equal(rig.ended, 1);
	rig_end(&rig);
	assert_int_equal(late.done, 1);
}

static void test_send_before_ready(void **state)
{
	struct outcome out = {0};
	struct rig rig;

	rig_hello(&rig);
	send_lstat(&rig, &out);
	assert_int_equal(out.done, 0);
	turn(&rig);
	assert_int_equal(out.done, 1);
	assert_int_equal(out.err, -ENOTCONN);
	assert_int_equal(rig.fake.sent_count, 1);
	rig_end(&rig);
}

static void test_send_from_callbacks(void **state)
{
	struct outcome out[4] = {0};
	struct rig rig;

	out[0].again = &out[1];
	out[1].again = &out[2];
	out[2].again = &out[3];
	rig_ready(&rig);
	send_lstat(&rig, &out[0]);
	fake_reply_attrs(&rig.fake, fake_stream_expect(&rig.fake, SSH_FXP_LSTAT), &attr);
	assert_int_equal(out[0].done, 1);
	assert_int_equal(out[1].done, 0);
	/* Sent again out of the completion at the end, and out of the one after that. */
	fake_stream_die(&rig.fake);
	assert_int_equal(out[1].done, 1);
	assert_int_equal(out[2].done, 0);
	uv_run(&rig.loop, UV_RUN_NOWAIT);
	assert_int_equal(out[2].done, 1);
	assert_int_equal(out[3].done, 0); /* not endless within one round */
	uv_run(&rig.loop, UV_RUN_NOWAIT);
	assert_int_equal(out[3].done, 1);
	assert_int_equal(out[3].err, -ENOTCONN);
	rig_end(&rig);
}

static void test_free_in_flight(void **state)
{
	struct outcome out[10] = {0};
	struct rig rig;

	rig_ready(&rig);
	for (int i = 0; i < 10; i++)
		send_lstat(&rig, &out[i]);
	free_sftp(&rig);
	assert_int_equal(completions, 0);
	fake_reply_attrs(&rig.fake, 0, &attr); /* came in before the stream was closed */
	fake_stream_die(&rig.fake);
	assert_int_equal(completions, 0);
	uv_run(&rig.loop, UV_RUN_DEFAULT);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(out[i].done, 1);
		assert_int_equal(out[i].err, -ENOTCONN);
	}
	assert_int_equal(rig.ended, 0);
	rig_end(&rig);
}

static void test_free_inside_early(void **state)
{
	struct outcome out = {.free_sftp = true};
	struct rig rig;

	rig_hello(&rig);
	send_lstat(&rig, &out); /* too early; told so from the loop, and then freed */
	assert_true(uv_run(&rig.loop, UV_RUN_DEFAULT) == 0);
	assert_int_equal(out.done, 1);
	assert_int_equal(rig.fake.closes, 1);
	fake_reply_version(&rig.fake, 3, NULL);
	assert_int_equal(rig.ready, 0);
	rig_end(&rig);
}

/* Freed inside a callback of its own: of a reply, a death, a deadline, a late completion, an event.
 */
static void test_free_inside(void **state)
{
	for (int way = 0; way < 7; way++) {
		struct outcome out[10] = {0};
		struct rig rig;

		rig_ready(&rig);
		if (way == 6)
			fake_stream_die(&rig.fake);
		for (int i = 0; i < 10; i++)
			send_lstat(&rig, &out[i]);
		out[4].free_sftp = way != 4 && way != 5;
		rig.free_in_event = way == 4 || way == 5;
		if (way == 0)
			fake_reply_attrs(&rig.fake, 4, &attr);
		if (way == 1) /* and the conversation would end behind it */
			fake_reply_handle(&rig.fake, 4, "h");
		if (way == 2) { /* those behind it are told from the loop */
			fake_stream_die(&rig.fake);
			assert_int_equal(completions, 5);
		}
		if (way == 4)
			fake_stream_die(&rig.fake);
		if (way == 5)
			fake_reply_attrs(&rig.fake, 99, &attr);
		uv_run(&rig.loop, UV_RUN_DEFAULT); /* way 3: deadlines; 6: never sent */
		assert_null(rig.sftp);
		assert_int_equal(completions, 10);
		for (int i = 0; i < 10; i++)
			assert_int_equal(out[i].done, 1);
		assert_int_equal(out[5].err, -ENOTCONN);
		assert_int_equal(rig.ended, way >= 4 ? 1 : 0);
		rig_end(&rig);
	}
}

/* --- deadlines --- */

static void test_timeout_then_late(void **state)
{
	struct outcome out[3] = {0};
	struct rig rig;
	uint32_t id[3];
	struct fake_request request;
	uint64_t start;

	rig_ready(&rig);
	uv_update_time(&rig.loop);
	start = uv_now(&rig.loop);
	send_read(&rig, 10, &out[0]);
	send_message(&rig, sftp_msg_open("/f", SSH_FXF_READ, NULL), 0, &out[1]);
	id[0] = fake_stream_expect(&rig.fake, SSH_FXP_READ);
	id[1] = fake_stream_expect(&rig.fake, SSH_FXP_OPEN);
	while (!out[1].done)
		uv_run(&rig.loop, UV_RUN_ONCE);
	assert_true(uv_now(&rig.loop) - start >= 1000);
	assert_int_equal(out[0].err, -ETIMEDOUT);
	assert_int_equal(out[1].err, -ETIMEDOUT);
	assert_int_equal(out[0].type, 0);
	assert_int_equal(sftp_bytes_in_flight(rig.sftp), 0);
	assert_int_equal(sftp_requests_in_flight(rig.sftp), 0);
	assert_false(uv_run(&rig.loop, UV_RUN_NOWAIT)); /* nothing keeps the loop awake */

	/* Too late: dropped, but the handle is closed. */
	fake_reply_data(&rig.fake, id[0], "0123456789", 10);
	assert_false(fake_stream_next(&rig.fake, &request));
	fake_reply_handle(&rig.fake, id[1], "late");
	assert_true(fake_stream_next(&rig.fake, &request));
	assert_int_equal(request.type, SSH_FXP_CLOSE);
	assert_memory_equal(request.reader.at, "\0\0\0\4late", 8);
	packet_free(request.packet);
	fake_reply_status(&rig.fake, request.id, SSH_FX_OK);
	assert_int_equal(out[0].done, 1);
	assert_int_equal(out[1].done, 1);
	assert_int_equal(rig.ended, 0);

	/* The conversation goes on; a second late answer is one too many. */
	send_lstat(&rig, &out[2]);
	id[2] = fake_stream_expect(&rig.fake, SSH_FXP_LSTAT);
	fake_reply_attrs(&rig.fake, id[2], &attr);
	assert_int_equal(out[2].err, 0);
	fake_reply_data(&rig.fake, id[0], "x", 1);
	expect_protocol_error(&rig);
	rig_end(&rig);
}

static void send_one_in_between(uv_timer_t *timer)
{
	struct outcome *out = timer->data;

	send_lstat(out->rig, out);
	uv_close((uv_handle_t *)timer, NULL);
}

/* Answered ones do not time out, and each has its own time. */
static void test_timeout_order(void **state)
{
	struct outcome out[3] = {0};
	uv_timer_t timer;
	uint64_t start, first = 0;
	struct rig rig;

	rig_ready(&rig);
	uv_update_time(&rig.loop);
	start = uv_now(&rig.loop);
	send_lstat(&rig, &out[0]);
	send_lstat(&rig, &out[1]);
	out[2].rig = &rig;
	uv_timer_init(&rig.loop, &timer);
	timer.data = &out[2];
	uv_timer_start(&timer, send_one_in_between, 300, 0);
	fake_reply_attrs(&rig.fake, fake_stream_expect(&rig.fake, SSH_FXP_LSTAT), &attr);
	while (!out[2].done) {
		uv_run(&rig.loop, UV_RUN_ONCE);
		if (out[1].done && !first)
			first = uv_now(&rig.loop);
	}
	assert_int_equal(out[0].done, 1);
	assert_int_equal(out[0].err, 0);
	assert_int_equal(out[1].err, -ETIMEDOUT);
	assert_int_equal(out[2].err, -ETIMEDOUT);
	assert_true(first >= start + 1000);
	assert_true(uv_now(&rig.loop) >= start + 1300);
	assert_true(uv_now(&rig.loop) > first);
	rig_end(&rig);
}

/* What is patient is waited for as long as nothing that was sent later is answered. */
static void test_timeout_patient(void **state)
{
	struct outcome out[3] = {0};
	struct packet *message = sftp_msg_path(SSH_FXP_LSTAT, "/patient");
	struct rig rig;
	uint32_t id;

	rig_ready(&rig);
	message->patient = true;
	send_message(&rig, message, 0, &out[0]);
	send_lstat(&rig, &out[1]);
	id = fake_stream_expect(&rig.fake, SSH_FXP_LSTAT);
	assert_true(fake_stream_expect(&rig.fake, SSH_FXP_LSTAT) != id);
	while (!out[1].done)
		uv_run(&rig.loop, UV_RUN_ONCE);
	assert_int_equal(out[1].err, -ETIMEDOUT);
	assert_int_equal(out[0].done, 0);
	fake_reply_attrs(&rig.fake, id, &attr);
	assert_int_equal(out[0].done, 1);
	assert_int_equal(out[0].err, 0);

	memset(out, 0, sizeof(out));
	message = sftp_msg_path(SSH_FXP_LSTAT, "/passed");
	message->patient = true;
	send_message(&rig, message, 0, &out[0]);
	send_lstat(&rig, &out[2]);
	id = fake_stream_expect(&rig.fake, SSH_FXP_LSTAT);
	fake_reply_attrs(&rig.fake, fake_stream_expect(&rig.fake, SSH_FXP_LSTAT), &attr);
	assert_int_equal(out[2].err, 0);
	while (!out[0].done)
		uv_run(&rig.loop, UV_RUN_ONCE);
	assert_int_equal(out[0].err, -ETIMEDOUT);
	fake_reply_attrs(&rig.fake, id, &attr);
	assert_int_equal(rig.ended, 0);
	rig_end(&rig);
}

static void answer_first(uv_timer_t *timer)
{
	struct rig *rig = timer->data;

	fake_reply_attrs(&rig->fake, fake_stream_expect(&rig->fake, SSH_FXP_LSTAT), &attr);
	uv_close((uv_handle_t *)timer, NULL);
}

/* Behind slow ones in the queue each has its time from when it is its turn; one that is passed over
 * has not. */
static void test_timeout_in_turn(void **state)
{
	struct outcome out[3] = {0};
	uv_timer_t timer;
	uint64_t start, passed_over = 0;
	struct rig rig;

	rig_ready(&rig);
	uv_update_time(&rig.loop);
	start = uv_now(&rig.loop);
	send_read(&rig, 10, &out[0]);
	send_lstat(&rig, &out[1]);
	uv_sleep(1); /* sent at another time */
	send_read(&rig, 10, &out[2]);
	(void)fake_stream_expect(&rig.fake, SSH_FXP_READ);
	uv_timer_init(&rig.loop, &timer);
	timer.data = &rig;
	uv_timer_start(&timer, answer_first, 600, 0);
	while (!out[2].done) {
		uv_run(&rig.loop, UV_RUN_ONCE);
		if (out[0].done && !passed_over)
			passed_over = uv_now(&rig.loop);
	}
	assert_int_equal(out[0].err, -ETIMEDOUT);
	assert_int_equal(out[1].err, 0);
	assert_int_equal(out[2].err, -ETIMEDOUT);
	assert_in_range(passed_over - start, 1000, 1400);
	assert_true(uv_now(&rig.loop) >= start + 1590);
	rig_end(&rig);
}

static void test_too_many_abandoned(void **state)
{
	enum { MANY = 1001 };
	struct outcome *out = calloc(MANY, sizeof(*out));
	struct rig rig;

	rig_ready(&rig);
	for (int i = 0; i < MANY - 1; i++)
		send_lstat(&rig, &out[i]);
	while (completions < MANY - 1)
		uv_run(&rig.loop, UV_RUN_ONCE);
	assert_int_equal(rig.ended, 0);
	send_lstat(&rig, &out[MANY - 1]);
	while (!rig.ended)
		uv_run(&rig.loop, UV_RUN_ONCE);
	assert_int_equal(rig.kind, SSH_TIMEOUT);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(out[i].done, 1);
		assert_int_equal(out[i].err, -ETIMEDOUT);
	}
	rig_end(&rig);
	free(out);
}

/* --- round-trip time --- */

static void test_rtt(void **state)
{
	const uint64_t s = 1000000000, start = 1000 * s;
	struct sftp_rtt rtt = {0};

	assert_int_equal(sftp_rtt_least(&rtt), 0);
	sftp_rtt_sample(&rtt, start, start);
	assert_int_equal(rtt.smooth, 1); /* never 0 once measured */
	rtt = (struct sftp_rtt){0};
	sftp_rtt_sample(&rtt, start, start + 50000000);
	assert_int_equal(rtt.smooth, 50000);
	assert_int_equal(sftp_rtt_least(&rtt), 50000);
	sftp_rtt_sample(&rtt, start, start + 130000000);
	assert_int_equal(rtt.smooth, 60000);
	sftp_rtt_sample(&rtt, start, start + 20000000);
	assert_int_equal(sftp_rtt_least(&rtt), 20000);
	/* The least is forgotten after two windows. */
	sftp_rtt_sample(&rtt, start + 31 * s, start + 31 * s + 70000000);
	assert_int_equal(sftp_rtt_least(&rtt), 20000);
	sftp_rtt_sample(&rtt, start + 62 * s, start + 62 * s + 80000000);
	assert_int_equal(sftp_rtt_least(&rtt), 70000);
	sftp_rtt_sample(&rtt, start + 500 * s, start + 500 * s + 90000000);
	assert_int_equal(sftp_rtt_least(&rtt), 90000);
	/* One fast one counts again at once; a few slow ones are a busy machine's. */
	sftp_rtt_sample(&rtt, start + 500 * s, start + 500 * s + 300000);
	for (int i = 0; i < 20; i++)
		sftp_rtt_sample(
		    &rtt, start + 500 * s, start + 500 * s + (i % 3 ? 50000000 : 900000));
	assert_int_equal(sftp_rtt_least(&rtt), 300);
	for (int i = 0; i < 6; i++)
		sftp_rtt_sample(
		    &rtt, start + 500 * s, start + 500 * s + 50000000 - (uint64_t)i * 1000000);
	assert_in_range(sftp_rtt_least(&rtt), 45000, 48000);
	sftp_rtt_sample(&rtt, start, start + UINT32_MAX * 2000ull);
	assert_true(rtt.smooth > 90000);
}

static void test_rtt_is_of_quick_ones(void **state)
{
	struct outcome out[3] = {0};
	struct rig rig;

	rig_ready(&rig);
	send_read(&rig, 10, &out[0]);
	send_message(&rig, sftp_msg_fsync(&handle), 0, &out[1]);
	fake_reply_data(&rig.fake, fake_stream_expect(&rig.fake, SSH_FXP_READ), "x", 1);
	fake_reply_status(&rig.fake, fake_stream_expect(&rig.fake, SSH_FXP_EXTENDED), SSH_FX_OK);
	assert_int_equal(sftp_rtt_us(rig.sftp), 0);
	assert_int_equal(sftp_min_rtt_us(rig.sftp), 0);
	send_lstat(&rig, &out[2]);
	fake_reply_attrs(&rig.fake, fake_stream_expect(&rig.fake, SSH_FXP_LSTAT), &attr);
	assert_true(sftp_rtt_us(rig.sftp) > 0);
	assert_true(sftp_min_rtt_us(rig.sftp) > 0);
	rig_end(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_no_memory),
	    cmocka_unit_test(test_version_plain),
	    cmocka_unit_test(test_version_extensions),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_limits_refused),
	    cmocka_unit_test(test_limits_wrong),
	    cmocka_unit_test(test_version_too_low),
	    cmocka_unit_test(test_version_hostile),
	    cmocka_unit_test(test_greeting_fails),
	    cmocka_unit_test(test_table_wraps),
	    cmocka_unit_test(test_table_many),
	    cmocka_unit_test(test_out_of_order),
	    cmocka_unit_test(test_statuses),
	    cmocka_unit_test(test_data),
	    cmocka_unit_test(test_ok_for_nothing),
	    cmocka_unit_test(test_wrong_types),
	    cmocka_unit_test(test_malformed),
	    cmocka_unit_test(test_longest_handle),
	    cmocka_unit_test(test_duplicate_reply),
	    cmocka_unit_test(test_unknown_id),
	    cmocka_unit_test(test_death),
	    cmocka_unit_test(test_send_before_ready),
	    cmocka_unit_test(test_send_from_callbacks),
	    cmocka_unit_test(test_free_in_flight),
	    cmocka_unit_test(test_free_inside_early),
	    cmocka_unit_test(test_free_inside),
	    cmocka_unit_test(test_timeout_then_late),
	    cmocka_unit_test(test_timeout_order),
	    cmocka_unit_test(test_timeout_patient),
	    cmocka_unit_test(test_timeout_in_turn),
	    cmocka_unit_test(test_too_many_abandoned),
	    cmocka_unit_test(test_rtt),
	    cmocka_unit_test(test_rtt_is_of_quick_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The SFTP engine with a server and a caller that do anything in any order.
 *
 * The input is a list of steps: the caller sends or frees, the server greets, answers (an id in
 * flight or not, well-formed or not), dies, and the loop turns. At the end all is freed: every
 * request was completed exactly once, and never from inside the call that sent it.
 */
#include "tests/fake/fake_stream.h"
#include "transport/sftp.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUESTS_MAX 256

struct run {
	uv_loop_t loop;
	struct fake_stream fake;
	struct sftp *sftp;
	bool inside_send, again, free_next;
	unsigned sent, ready, ended;
	uint8_t done[REQUESTS_MAX];
};

struct slot {
	struct run *run;
	unsigned number;
};

static struct slot slots[REQUESTS_MAX];

static void release(struct run *run)
{
	sftp_free(run->sftp);
	run->sftp = NULL;
}

static void on_ready(void *arg, const struct ssh_error *error)
{
	struct run *run = arg;

	if (run->ready++ || !run->sftp)
		abort();
}

static void on_ended(void *arg, const struct ssh_error *error)
{
	struct run *run = arg;

	if (run->ended++ || !run->ready || !run->sftp || sftp_requests_in_flight(run->sftp))
		abort();
}

static const struct sftp_events events = {on_ready, on_ended};

static void send_one(struct run *run, uint8_t pick);

static void on_done(void *arg, const struct sftp_reply *reply)
{
	struct slot *slot = arg;
	struct run *run = slot->run;

	if (run->inside_send || run->done[slot->number]++ || reply->err > 0)
		abort();
	if (run->free_next) {
		run->free_next = false;
		release(run);
	} else if (run->again) {
		run->again = false;
		send_one(run, (uint8_t)slot->number);
	}
}

static void send_one(struct run *run, uint8_t pick)
{
	static const struct sftp_handle handle = {1, "h"};
	struct packet *message;
	struct slot *slot;

	if (!run->sftp || run->sent == REQUESTS_MAX)
		return;
	switch (pick % 6) {
	case 0:
		message = sftp_msg_open("/", SSH_FXF_READ, NULL);
		break;
	case 1:
		message = sftp_msg_read(&handle, 0, pick);
		break;
	case 2:
		message = sftp_msg_handle(SSH_FXP_READDIR, &handle);
		break;
	case 3:
		message = sftp_msg_path(SSH_FXP_REALPATH, ".");
		break;
	case 4:
		message = sftp_msg_path(SSH_FXP_LSTAT, "/");
		break;
	default:
		message = sftp_msg_fsync(&handle);
		break;
	}
	if (!message)
		abort();
	slot = &slots[run->sent];
	slot->run = run;
	slot->number = run->sent++;
	run->inside_send = true;
	sftp_send(run->sftp, message, pick, on_done, slot);
	run->inside_send = false;
}

/* A packet with the next bytes of the input as its type, id and body. */
static size_t deliver(struct run *run, const uint8_t *data, size_t size)
{
	struct fake_bytes bytes = {0};
	size_t len;

	if (size < 3)
		return size;
	len = data[2] < size - 3 ? data[2] : size - 3;
	if (data[0] != SSH_FXP_VERSION)
		fake_u32(&bytes, data[1]);
	fake_raw(&bytes, data + 3, len);
	fake_stream_deliver(&run->fake, fake_packet(data[0], &bytes));
	return 3 + len;
}

static void answer(struct run *run, uint32_t id, uint8_t how)
{
	const struct sftp_attr attr = {.flags = SSH_FILEXFER_ATTR_SIZE, .size = how};

	switch (how % 6) {
	case 0:
		fake_reply_status(&run->fake, id, how / 6);
		break;
	case 1:
		fake_reply_handle(&run->fake, id, "h");
		break;
	case 2:
		fake_reply_data(&run->fake, id, "data", how % 5);
		break;
	case 3:
		fake_reply_attrs(&run->fake, id, &attr);
		break;
	case 4:
		fake_reply_names(&run->fake, id, how / 64);
		break;
	default:
		fake_reply_limits(&run->fake, id, how, 1000, 0, how);
		break;
	}
}

static size_t step(struct run *run, const uint8_t *data, size_t size)
{
	static const char *const limits[] = {"limits@openssh.com", "1", NULL};
	uint8_t what = data[0] & 15, pick = data[0] >> 4;

	switch (what) {
	case 0:
		fake_stream_opened(&run->fake);
		return 1;
	case 1:
		fake_reply_version(&run->fake, pick, pick & 8 ? limits : NULL);
		return 1;
	case 2:
	case 3:
		send_one(run, pick);
		return 1;
	case 4:
		return 1 + deliver(run, data + 1, size - 1);
	case 5:
		if (pick == 15)
			fake_stream_die(&run->fake);
		else if (pick == 14)
			fake_stream_refuse(&run->fake, SSH_NO_SFTP, "no");
		return 1;
	case 6:
		if (pick == 15)
			release(run);
		return 1;
	case 7:
		uv_run(&run->loop, UV_RUN_NOWAIT);
		return 1;
	case 8:
		run->again = true;
		return 1;
	case 9:
		run->free_next = pick == 15;
		return 1;
	default:
		if (size < 3)
			return size;
		answer(run, data[1], data[2]);
		return 3;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run run;

	memset(&run, 0, sizeof(run));
	if (size > 4096 || uv_loop_init(&run.loop))
		return 0;
	fake_stream_init(&run.fake);
	run.sftp = sftp_new_on(&run.loop, fake_stream_open, &run.fake, 60, &events, &run);
	if (!run.sftp)
		abort();
	while (size) {
		size_t used = step(&run, data, size);

		data += used;
		size -= used;
	}
	run.again = run.free_next = false;
	release(&run);
	if (uv_run(&run.loop, UV_RUN_DEFAULT) || run.fake.closes != 1)
		abort();
	for (unsigned i = 0; i < run.sent; i++) {
		if (run.done[i] != 1)
			abort();
	}
	fake_stream_fini(&run.fake);
	if (uv_loop_close(&run.loop))
		abort();
	return 0;
}

/*
 * A session on a real server and SFTP transfers over its channels, spoken with the codec alone:
 * what the tests of session.c and its measurements run on. Asserts by cmocka. One rig at a time.
 */
#ifndef VASTFS_TESTS_FAKE_SESSION_RIG_H
#define VASTFS_TESTS_FAKE_SESSION_RIG_H

#include "transport/session.h"
#include "transport/sftp_codec.h"
#include <uv.h>

struct rig {
	uv_loop_t loop;
	uv_timer_t watchdog;
	struct mailbox *mailbox;
	struct session *session;
	struct ssh_target target;
	bool connected, lost;
	struct ssh_error error; /* of connected or lost */
	unsigned streams_closed;
};

struct chan {
	struct rig *rig;
	struct stream *stream;
	bool opened, closed;
	bool version;
	struct ssh_error error; /* of opened or closed */
	/* The transfer under way, if any. */
	bool up, handle_known, failed, done;
	struct sftp_handle handle;
	uint64_t total, sent, acknowledged;
	uint32_t chunk;
	unsigned in_flight, most_in_flight;
	uint64_t *offsets; /* by request-id */
	uint32_t next_id;
	unsigned packets; /* that came */
};

/* session_new's flags for what starts next. */
extern unsigned session_rig_flags;

/* Starts the session; does not wait. */
void session_rig_start(struct rig *rig, const struct profile *profile, unsigned connect_timeout);
/* Runs the loop until the flag is set, for at most a minute. */
void session_rig_until(struct rig *rig, const bool *flag);
/* Frees the session, waits for its thread, closes the loop. */
void session_rig_stop(struct rig *rig);

/* Opens a channel; with wait: until it has greeted. */
void chan_open(struct chan *chan, struct rig *rig, uint32_t window, bool wait);
void chan_close(struct chan *chan);
/* Asks for a REALPATH and waits for the answer. */
void chan_ask(struct chan *chan);
/* Begins to write or read the file, total bytes of the pattern; done is set at the end, or failed.
 * Data read is checked. */
void chan_transfer(struct chan *chan, bool up, const char *path, uint64_t total, uint32_t chunk,
    unsigned in_flight);
/* The pattern: fills len bytes as they stand at offset. */
void session_rig_pattern(uint8_t *to, uint64_t offset, size_t len);
/* Makes, or checks, a local file of the pattern. */
void session_rig_make_file(const char *path, uint64_t total);
void session_rig_check_file(const char *path, uint64_t total);

#endif

/*
 * A stream whose far end is the test: it looks at what was sent and says what comes back, in
 * whatever order, however wrong.
 *
 * The test's thread is the core. Nothing happens by itself: events come from inside the fake_ calls
 * below, which must not be made from inside a callback of the engine. Like a real stream it gives
 * no event after stream_close.
 */
#ifndef VASTFS_TESTS_FAKE_STREAM_H
#define VASTFS_TESTS_FAKE_STREAM_H

#include "transport/sftp_codec.h"
#include "transport/stream.h"

/* Bytes being put together; a failed allocation ends the test program. */
struct fake_bytes {
	uint8_t *data;
	size_t len, size;
};

void fake_u8(struct fake_bytes *bytes, uint8_t value);
void fake_u32(struct fake_bytes *bytes, uint32_t value);
void fake_u64(struct fake_bytes *bytes, uint64_t value);
void fake_raw(struct fake_bytes *bytes, const void *data, size_t len);
/* With their length in front. */
void fake_string(struct fake_bytes *bytes, const void *data, size_t len);
void fake_text(struct fake_bytes *bytes, const char *text);
void fake_attr(struct fake_bytes *bytes, const struct sftp_attr *attr);
/* A packet of exactly these bytes behind a length field and the type; empties bytes. */
struct packet *fake_packet(uint8_t type, struct fake_bytes *bytes);
void fake_bytes_fini(struct fake_bytes *bytes);

struct fake_stream {
	struct stream stream;
	const struct stream_events *events;
	void *arg;
	struct packet_queue sent; /* oldest first */
	unsigned sent_count;	  /* since the start */
	bool no_memory;		  /* the next open gives NULL */
	unsigned closes;	  /* how often stream_close was called */
};

void fake_stream_init(struct fake_stream *fake);
void fake_stream_fini(struct fake_stream *fake);
/* An sftp_open_stream; the opener is the struct fake_stream. */
struct stream *fake_stream_open(void *opener, const struct stream_events *events, void *arg);

/* The oldest message not yet looked at: its id and type, and a cursor behind the id (in *packet,
 * owned by the caller). False when there is none. */
struct fake_request {
	struct packet *packet;
	struct sftp_reader reader;
	uint32_t id; /* INIT: its version */
	uint8_t type;
};
bool fake_stream_next(struct fake_stream *fake, struct fake_request *out);
/* The same, freed at once; returns the id, and fails the test when there is none or it has another
 * type. */
uint32_t fake_stream_expect(struct fake_stream *fake, uint8_t type);

void fake_stream_opened(struct fake_stream *fake);
void fake_stream_refuse(struct fake_stream *fake, enum ssh_failure kind, const char *text);
void fake_stream_die(struct fake_stream *fake);
/* Takes the packet. */
void fake_stream_deliver(struct fake_stream *fake, struct packet *packet);

/* Replies that are well formed. */
void fake_reply_status(struct fake_stream *fake, uint32_t id, uint32_t code);
void fake_reply_handle(struct fake_stream *fake, uint32_t id, const char *handle);
/* A HANDLE as OpenSSH's: four bytes. */
void fake_reply_number(struct fake_stream *fake, uint32_t id, uint32_t number);
void fake_reply_data(struct fake_stream *fake, uint32_t id, const void *data, size_t len);
void fake_reply_attrs(struct fake_stream *fake, uint32_t id, const struct sftp_attr *attr);
/* count names "n0", "n1"… */
void fake_reply_names(struct fake_stream *fake, uint32_t id, uint32_t count);
void fake_reply_limits(struct fake_stream *fake, uint32_t id, uint64_t packet, uint64_t max_read,
    uint64_t max_write, uint64_t handles);
/* pairs: name, value, name, value… NULL */
void fake_reply_version(struct fake_stream *fake, uint32_t version, const char *const *pairs);

#endif

/*
 * A whole SFTP packet: uint32 length, byte type, then for all but INIT and VERSION uint32
 * request-id (draft-ietf-secsh-filexfer-02, section 3). Owned by whoever holds it; handing it on
 * hands over ownership. Any thread.
 *
 * Counted, so that the data of a WRITE can be kept by who may have to send it again while it lies
 * in a channel's queue: what is shared is not changed, and only one of the owners may queue it.
 */
#ifndef VASTFS_TRANSPORT_PACKET_H
#define VASTFS_TRANSPORT_PACKET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/* The largest packet taken or sent, without its length field. OpenSSH's SFTP_MAX_MSG_LENGTH. */
#define PACKET_MAX (256u * 1024)

struct packet {
	STAILQ_ENTRY(packet) link;
	size_t len;   /* bytes in data, with the 4 bytes of the length field */
	size_t size;  /* bytes allocated: room */
	bool patient; /* a request: its answer is waited for as long as the link lives (sftp.h) */
	atomic_uint refs;
	uint8_t *data; /* in room: its beginning, but for a WRITE (sftp_codec.h) */
	uint8_t room[];
};
STAILQ_HEAD(packet_queue, packet);

/* NULL when memory is out. */
struct packet *packet_new(size_t size);
/* One owner more. */
struct packet *packet_share(struct packet *packet);
bool packet_is_shared(const struct packet *packet);
/* One owner less. NULL is nothing. */
void packet_free(struct packet *packet);

#endif

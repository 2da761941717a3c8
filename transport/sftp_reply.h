/*
 * What may answer what: a request is looked at as it goes out, its reply is checked against that as
 * it comes in (S2). Also VERSION and the answer to limits@openssh.com. Pure functions; any thread.
 */
#ifndef VASTFS_TRANSPORT_SFTP_REPLY_H
#define VASTFS_TRANSPORT_SFTP_REPLY_H

#include "transport/sftp_table.h"

/* Fills in type, len, expected, one_name, quick and slow from the message. */
void sftp_request_describe(struct sftp_request *request, const struct packet *message);

/*
 * Reads the reply's body behind the id. *out points into the packet. Returns 0, or -EPROTO when the
 * reply can't be one to this request, or does not fit its format: then the server and we no longer
 * agree on what is said, and the conversation should end. (reply->err may be -EPROTO with 0: see
 * sftp.h.)
 */
int sftp_reply_read(const struct sftp_request *request, uint8_t type, struct sftp_reader *reader,
    struct sftp_reply *out);

/* VERSION's body. *features gets what is offered, with the sizes that hold without limits@.
 * *limits: the server offers limits@. 0 or -EPROTO. */
int sftp_version_read(
    struct sftp_reader *reader, uint32_t *version, struct sftp_features *features, bool *limits);
/* The answer to limits@: sizes are capped so that a whole message fits PACKET_MAX. 0 or -EPROTO
 * (features unchanged). */
int sftp_limits_read(struct sftp_string extended, struct sftp_features *features);

#endif

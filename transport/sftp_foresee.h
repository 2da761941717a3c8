/*
 * Which handle the server will give to the next file that is opened on a channel.
 *
 * OpenSSH's sftp-server names its handles by number, four bytes: the one that was closed last is
 * given out first, else one more than there ever were (handle_new in sftp-server.c); and it does
 * what it is asked in turn. So a READ or FSTAT can be sent right behind the OPEN of its file, in
 * the same round trip. It counts only when the OPEN's answer is the handle that was foreseen: it
 * was answered from that file then. Through another one it is of no use, and does no harm.
 *
 * A server that names a handle otherwise than foreseen is left alone from then on, for as long as
 * the channel lasts. Core only; part of the conversation (sftp.c).
 */
#ifndef VASTFS_TRANSPORT_SFTP_FORESEE_H
#define VASTFS_TRANSPORT_SFTP_FORESEE_H

#include "transport/sftp_table.h"

/* A request is about to be completed with that. */
void sftp_foresee_answered(
    struct sftp_table *table, const struct sftp_request *request, const struct sftp_reply *reply);
/* What the next OPEN will be answered, if those that wait in the table succeed. likely: the server
 * says how many handles it has (limits@openssh.com), as OpenSSH's does, so that its very first one
 * can be told. False: it can't be told. */
bool sftp_foresee_next(const struct sftp_table *table, bool likely, struct sftp_handle *out);

#endif

/*
 * Logging in with signatures made here instead of by libssh2: with a key in memory (privkey.h), or
 * by the agent. That is what PuTTY's keys need, and RSA keys with libssh2 before 1.11, which signs
 * with SHA-1 only.
 *
 * libssh2 takes the name of the signature's algorithm from the front of the public key, and before
 * 1.11 knows no other for RSA than "ssh-rsa". So there the public key that is sent begins with
 * "rsa-sha2-512" itself. OpenSSH (since 7.2) takes that for the RSA key that it is; other servers
 * look their keys up by its bytes and do not know it.
 *
 * On the connection's thread.
 */
#ifndef VASTFS_TRANSPORT_SSH_SIGN_H
#define VASTFS_TRANSPORT_SSH_SIGN_H

#include "transport/privkey.h"
#include "transport/ssh_internal.h"

/* Up to 1.10 libssh2 signs with RSA and SHA-1 only, which OpenSSH 8.8 and later refuse; and knows
 * no certificates in the agent. */
#define SSH_LIBRARY_IS_OLD (LIBSSH2_VERSION_NUM < 0x010b00)

/* Can a key of that type be used by way of this file? (All can but RSA's, where the server is not
 * OpenSSH and libssh2 old.) */
bool ssh_sign_suits(const struct ssh_connection *c, const char *type);

/* As libssh2_userauth_publickey: 0 or libssh2's error, after all waiting; *err is set when a wait
 * failed, else 0. */
int ssh_sign_with_key(struct ssh_connection *c, const struct privkey *key, int *err);
/* The same with the key of that public half in the agent at $SSH_AUTH_SOCK; until: ssh_now at which
 * a person has confirmed its use, or not. */
int ssh_sign_with_agent(
    struct ssh_connection *c, const uint8_t *blob, size_t blob_len, uint64_t until, int *err);

#endif

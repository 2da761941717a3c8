/*
 * Whether a server's host key is the right one (S1), by a file in the form of OpenSSH's
 * known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT): hashed names, patterns, [host]:port and the
 * markers are understood.
 *
 * A server is looked up under two names, in this order:
 *
 *	vastfs-<id>     the instance itself, as with OpenSSH's HostKeyAlias: follows it to any
 * address [host]:port     the address (host alone on port 22), as ssh writes it
 *
 * because a rented address is soon somebody else's. A key that is accepted is written under both.
 *
 * Works on the file alone, without a network. Any thread; ssh_hostkey_check takes a lock of the
 * process, so that several sessions of one mount ask the user once. Errors: a negative errno with
 * kind and text.
 */
#ifndef VASTFS_TRANSPORT_SSH_HOSTKEY_H
#define VASTFS_TRANSPORT_SSH_HOSTKEY_H

#include "transport/ssh.h"
#include <stddef.h>
#include <stdint.h>

struct hostkey_query {
	const struct ssh_target *target;
	struct ssh_cancel *cancel; /* ends the wait for another session's question; may be NULL */
	const char *address;	   /* numeric, for the question; may be NULL */
	const uint8_t *key;	   /* the wire form (RFC 4253, 6.6) */
	size_t key_len;
};

/* What the file says. */
enum hostkey_verdict {
	HOSTKEY_UNKNOWN,    /* no entry under that name */
	HOSTKEY_OTHER_TYPE, /* entries, but none of this key's type */
	HOSTKEY_MATCH,
	HOSTKEY_CHANGED, /* an entry of this type with another key */
	HOSTKEY_REVOKED,
};

/* 0 when the key may be trusted (and has been written down if need be), else a negative errno with
 * *error. */
int ssh_hostkey_check(const struct hostkey_query *query, struct ssh_error *error);

/* Looks one name up. line (may be NULL) gets the number of the line that decided, else 0. A missing
 * file is an empty one; a negative errno when it can't be read. */
int ssh_hostkey_lookup(const char *file, const char *name, const uint8_t *key, size_t key_len,
    enum hostkey_verdict *out, unsigned *line);

/* The names above, written to buf; alias is "" for a profile that is not a section. */
void ssh_hostkey_alias(const struct profile *profile, char *buf, size_t size);
void ssh_hostkey_address(const struct profile *profile, char *buf, size_t size);

/* The order of host key algorithms to propose: the types known for this server first. A comma list
 * for LIBSSH2_METHOD_HOSTKEY. */
void ssh_hostkey_preference(const struct profile *profile, char *buf, size_t size);

/* "SHA256:…" without padding; and "ED25519", "ECDSA", "RSA" or the type's own name. */
void ssh_hostkey_fingerprint(const uint8_t *key, size_t key_len, char *buf, size_t size);
const char *ssh_key_type_word(const char *type);
/* The key's type string, "" when the blob is malformed. */
void ssh_key_type(const uint8_t *key, size_t key_len, char *buf, size_t size);

#endif

/*
 * Private keys in memory: read from a file's text, checked against their public half, and used to
 * sign. libssh2 is given the public half and a signature only, so that the formats it can't read
 * (PuTTY's) and the signatures that it does not make (RSA with SHA-2 before 1.11) work with every
 * version of it.
 *
 * Any thread; a key is never changed. Secrets are wiped with OPENSSL_cleanse when they are done
 * with; nothing is written anywhere.
 */
#ifndef VASTFS_TRANSPORT_PRIVKEY_H
#define VASTFS_TRANSPORT_PRIVKEY_H

#include "transport/sshwire.h"
#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct privkey {
	const char *type; /* "ssh-ed25519", "ecdsa-sha2-nistp256" (384, 521), "ssh-rsa" */
	EVP_PKEY *pkey;
	uint8_t *blob; /* the public key as authorized_keys has it in base64; blob_len bytes */
	size_t blob_len;
};

#define PRIVKEY_WHY_MAX 200

/*
 * Reads PuTTY's .ppk (versions 2 and 3), OpenSSH's own and PEM keys. secret: the passphrase or
 * NULL. 0 with *out owned by the caller, or, with a few words in why for people (that go on after
 * the file's name: "is damaged: …", "needs …"):
 *
 *	-ENOKEY		it is encrypted, and no passphrase was given
 *	-EKEYREJECTED	the passphrase is not the right one
 *	-EBADMSG	it is damaged
 *	-ENOTSUP	a version, cipher or kind of key that is not read here
 *	-ENOMEM
 */
int privkey_parse(
    const char *text, size_t len, const char *secret, struct privkey **out, char *why);
/* The same of a file; also the errno of opening and reading it. */
int privkey_load(const char *path, const char *secret, struct privkey **out, char *why);
void privkey_free(struct privkey *key);

/*
 * Signs data under the algorithm: the key's type, or, for RSA, "rsa-sha2-256" or "rsa-sha2-512".
 * *sig (owned, malloc'd) is what stands behind the algorithm's name in an SSH signature. 0,
 * -ENOTSUP or -ENOMEM.
 */
int privkey_sign(const struct privkey *key, const char *algorithm, const uint8_t *data, size_t len,
    uint8_t **sig, size_t *sig_len);

/* --- for the formats (ppk.c, openssh_key.c) ------------------------------------------ */

#define PRIVKEY_PARTS 4

/*
 * Makes the key from its parts as they stand in key files; the public half is in blob. Checks that
 * they belong together.
 *
 *	ed25519		secret[0]: 32 bytes of seed
 *	ecdsa		secret[0]: the private number
 *	rsa		secret[0..3]: d, p, q, iqmp
 */
int privkey_make(
    struct span blob, const struct span secret[PRIVKEY_PARTS], struct privkey **out, char *why);

/* Says why and returns -err. */
int privkey_fail(char *why, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ppk.c, openssh_key.c: as privkey_parse, of a text that begins (after blanks) as theirs do. The
 * text is NUL-terminated. */
int ppk_parse(const char *text, const char *secret, struct privkey **out, char *why);
int openssh_key_parse(const char *text, const char *secret, struct privkey **out, char *why);

#endif

/*
 * bcrypt_pbkdf, by which OpenSSH makes a cipher's key from the passphrase of a private key. Any
 * thread; some hundred milliseconds of processor time by intent.
 */
#ifndef VASTFS_TRANSPORT_BCRYPT_PBKDF_H
#define VASTFS_TRANSPORT_BCRYPT_PBKDF_H

#include <stddef.h>
#include <stdint.h>

/* Fills out. 0, -EINVAL (nothing of something, or more than 1024 bytes), or -ENOMEM. */
int bcrypt_pbkdf(const char *secret, const uint8_t *salt, size_t salt_len, uint32_t rounds,
    uint8_t *out, size_t out_len);

#endif

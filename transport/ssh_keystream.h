/*
 * AES-CTR for libssh2 without a call of OpenSSL's for every 16 bytes.
 *
 * libssh2 hands each cipher block to EVP_Cipher by itself. With AES-CTR that costs more than the
 * encryption: 64 million calls for a GiB, a quarter of this program's processor time. In counter
 * mode the key stream does not depend on the data, so the EVP_Cipher that this file defines in
 * front of OpenSSL's makes 4 KiB of it at a time and libssh2's calls only take their 16 bytes from
 * there. All other ciphers, and contexts of whoever else, go on to OpenSSL's own function
 * untouched. (chacha20-poly1305, preferred where libssh2 1.11 has it, takes whole packets anyway.)
 *
 * The key stream belongs to the cipher context and is wiped and freed with it. Any thread, as
 * EVP_Cipher.
 */
#ifndef VASTFS_TRANSPORT_SSH_KEYSTREAM_H
#define VASTFS_TRANSPORT_SSH_KEYSTREAM_H

#include <stdbool.h>

/* Links it into the program. True when OpenSSL's own functions were found behind it (else nothing
 * could be encrypted). */
bool ssh_keystream_ready(void);

#endif

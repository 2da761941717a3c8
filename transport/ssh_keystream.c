#include "transport/ssh_keystream.h"
#include <dlfcn.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_SIZE 4096
#define BLOCK 16 /* of AES */

struct keystream {
	const EVP_CIPHER_CTX *owner; /* tells ours from another's application data */
	size_t used;
	uint8_t bytes[STREAM_SIZE];
};

typedef int cipher_function(EVP_CIPHER_CTX *, unsigned char *, const unsigned char *, unsigned);
typedef void free_function(EVP_CIPHER_CTX *);

static cipher_function *openssl_cipher;
static free_function *openssl_free;

/*
 * Before main, so that no call has to ask whether it was done, and none comes first: OpenSSL would
 * put its tables away at exit(3), while a thread that could not be ended in time still uses them.
 */
__attribute__((constructor)) static void find_openssl(void)
{
	OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
	*(void **)&openssl_cipher = dlsym(RTLD_NEXT, "EVP_Cipher");
	*(void **)&openssl_free = dlsym(RTLD_NEXT, "EVP_CIPHER_CTX_free");
}

bool ssh_keystream_ready(void)
{
	return openssl_cipher && openssl_free;
}

/* The context's key stream; NULL when it is not in counter mode or memory is out before the first
 * use. */
static struct keystream *stream_of(EVP_CIPHER_CTX *ctx)
{
	struct keystream *stream = EVP_CIPHER_CTX_get_app_data(ctx);

	if (stream)
		return stream->owner == ctx ? stream : NULL;
	if (EVP_CIPHER_CTX_mode(ctx) != EVP_CIPH_CTR_MODE)
		return NULL;
	stream = malloc(sizeof(*stream));
	if (!stream)
		return NULL;
	stream->owner = ctx;
	stream->used = STREAM_SIZE;
	EVP_CIPHER_CTX_set_app_data(ctx, stream);
	return stream;
}

/* Encrypting zeros gives the key stream, and moves the context's counter on. */
static bool refill(EVP_CIPHER_CTX *ctx, struct keystream *stream)
{
	static const uint8_t zeros[STREAM_SIZE];

	if (openssl_cipher(ctx, stream->bytes, zeros, STREAM_SIZE) != STREAM_SIZE)
		return false;
	stream->used = 0;
	return true;
}

static void mix(uint8_t *out, const uint8_t *in, const uint8_t *stream, size_t len)
{
	uint64_t a, b;

	for (; len >= sizeof(a);
	     len -= sizeof(a), out += sizeof(a), in += sizeof(a), stream += sizeof(a)) {
		memcpy(&a, in, sizeof(a));
		memcpy(&b, stream, sizeof(b));
		a ^= b;
		memcpy(out, &a, sizeof(a));
	}
	while (len--)
		*out++ = *in++ ^ *stream++;
}

/* Any length, and contexts of any kind. */
static __attribute__((noinline)) int cipher(
    EVP_CIPHER_CTX *ctx, unsigned char *out, const unsigned char *in, unsigned int len)
{
	struct keystream *stream;
	unsigned int done = 0;

	if (!openssl_cipher)
		return -1;
	stream = in && out ? stream_of(ctx) : NULL;
	if (!stream)
		return openssl_cipher(ctx, out, in, len);
	while (done < len) {
		size_t piece;

		if (stream->used == STREAM_SIZE && !refill(ctx, stream))
			return -1;
		piece = STREAM_SIZE - stream->used;
		if (piece > len - done)
			piece = len - done;
		mix(out + done, in + done, stream->bytes + stream->used, piece);
		stream->used += piece;
		done += (unsigned int)piece;
	}
	return (int)len;
}

/* The one block that libssh2 comes with has a short way: 64 million of them are a GiB. */
int EVP_Cipher(EVP_CIPHER_CTX *ctx, unsigned char *out, const unsigned char *in, unsigned int len)
{
	struct keystream *stream = EVP_CIPHER_CTX_get_app_data(ctx);

	if (len != BLOCK || !in || !out || !stream || stream->owner != ctx ||
	    stream->used > STREAM_SIZE - BLOCK)
		return cipher(ctx, out, in, len);
	mix(out, in, stream->bytes + stream->used, BLOCK);
	stream->used += BLOCK;
	return BLOCK;
}

void EVP_CIPHER_CTX_free(EVP_CIPHER_CTX *ctx)
{
	struct keystream *stream = ctx ? EVP_CIPHER_CTX_get_app_data(ctx) : NULL;

	if (stream && EVP_CIPHER_CTX_mode(ctx) == EVP_CIPH_CTR_MODE && stream->owner == ctx) {
		EVP_CIPHER_CTX_set_app_data(ctx, NULL);
		OPENSSL_cleanse(stream, sizeof(*stream));
		free(stream);
	}
	if (openssl_free)
		openssl_free(ctx);
}

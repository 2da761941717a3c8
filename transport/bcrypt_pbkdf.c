/*
 * Blowfish begins with the digits of pi, 4168 bytes of its fraction in base 16. They are computed
 * here once (Machin: pi = 16 arctan 1/5 - 4 arctan 1/239), a tenth of a second beside the whole.
 *
 *	block n of out: XOR of rounds hashes, the first with the salt SHA-512(salt, n),
 *	each other with SHA-512 of the hash before it; the blocks' bytes are interleaved
 *
 *	hash(pass, salt): a Blowfish key schedule with pass and salt, repeated with each alone 64
 *	times, then 32 fixed bytes encrypted 64 times over.
 */
#include "transport/bcrypt_pbkdf.h"
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define P_WORDS 18
#define S_WORDS 1024
#define STATE_BYTES ((P_WORDS + S_WORDS) * 4)
#define HASH_BYTES 32
#define HASH_WORDS (HASH_BYTES / 4)
#define OUT_MAX 1024

struct blowfish {
	uint32_t p[P_WORDS], s[S_WORDS];
};

static struct blowfish first;
static bool first_known;

/* --- pi ------------------------------------------------------------------------------ */

#define GUARD_BITS 64
#define PI_BITS (STATE_BYTES * 8 + GUARD_BITS)

/* sum += sign * times * arctan(1/x), scaled by 2^PI_BITS. */
static bool add_arctan(BIGNUM *sum, BN_ULONG x, BN_ULONG times, bool minus)
{
	BIGNUM *power = BN_new(), *term = BN_new();
	bool good = power && term && BN_set_bit(power, PI_BITS) && BN_mul_word(power, times) &&
		    BN_div_word(power, x) != (BN_ULONG)-1;

	for (BN_ULONG k = 1; good && !BN_is_zero(power); k += 2, minus = !minus) {
		good = BN_copy(term, power) && BN_div_word(term, k) != (BN_ULONG)-1 &&
		       (minus ? BN_sub(sum, sum, term) : BN_add(sum, sum, term)) &&
		       BN_div_word(power, x * x) != (BN_ULONG)-1;
	}
	BN_free(power);
	BN_free(term);
	return good;
}

static void find_first(void)
{
	uint8_t bytes[STATE_BYTES];
	uint32_t words[P_WORDS + S_WORDS];
	BIGNUM *pi = BN_new();

	if (pi && add_arctan(pi, 5, 16, false) && add_arctan(pi, 239, 4, true) &&
	    BN_rshift(pi, pi, GUARD_BITS) && BN_mask_bits(pi, STATE_BYTES * 8) &&
	    BN_bn2binpad(pi, bytes, sizeof(bytes)) == sizeof(bytes)) {
		for (size_t i = 0; i < P_WORDS + S_WORDS; i++)
			words[i] = (uint32_t)bytes[4 * i] << 24 | (uint32_t)bytes[4 * i + 1] << 16 |
				   (uint32_t)bytes[4 * i + 2] << 8 | bytes[4 * i + 3];
		memcpy(first.p, words, sizeof(first.p));
		memcpy(first.s, words + P_WORDS, sizeof(first.s));
		first_known = true;
	}
	BN_free(pi);
}

/* --- Blowfish ------------------------------------------------------------------------ */

static void encrypt(const struct blowfish *b, uint32_t *left, uint32_t *right)
{
	uint32_t l = *left, r = *right, swap;

	for (int i = 0; i < 16; i++) {
		l ^= b->p[i];
		r ^= ((b->s[l >> 24] + b->s[256 + (l >> 16 & 255)]) ^ b->s[512 + (l >> 8 & 255)]) +
		     b->s[768 + (l & 255)];
		swap = l;
		l = r;
		r = swap;
	}
	*left = r ^ b->p[17];
	*right = l ^ b->p[16];
}

/* The next four bytes of 64, round and round. */
static uint32_t next_word(const uint8_t bytes[64], size_t *at)
{
	const uint8_t *four = bytes + *at;

	*at = (*at + 4) % 64;
	return (uint32_t)four[0] << 24 | (uint32_t)four[1] << 16 | (uint32_t)four[2] << 8 | four[3];
}

/* A key schedule; salt may be NULL. */
static void expand(struct blowfish *b, const uint8_t key[64], const uint8_t *salt)
{
	uint32_t l = 0, r = 0;
	size_t at = 0;

	for (int i = 0; i < P_WORDS; i++)
		b->p[i] ^= next_word(key, &at);
	at = 0;
	for (int i = 0; i < P_WORDS + S_WORDS; i += 2) {
		uint32_t *out = i < P_WORDS ? b->p + i : b->s + (i - P_WORDS);

		if (salt) {
			l ^= next_word(salt, &at);
			r ^= next_word(salt, &at);
		}
		encrypt(b, &l, &r);
		out[0] = l;
		out[1] = r;
	}
}

static void hash(const uint8_t pass[64], const uint8_t salt[64], uint8_t out[HASH_BYTES])
{
	static const uint8_t fixed[64] = "OxychromaticBlowfishSwatDynamite";
	struct blowfish b = first;
	uint32_t words[HASH_WORDS];
	size_t at = 0;

	expand(&b, pass, salt);
	for (int i = 0; i < 64; i++) {
		expand(&b, salt, NULL);
		expand(&b, pass, NULL);
	}
	for (int i = 0; i < HASH_WORDS; i++)
		words[i] = next_word(fixed, &at);
	for (int i = 0; i < 64; i++) {
		for (int j = 0; j < HASH_WORDS; j += 2)
			encrypt(&b, &words[j], &words[j + 1]);
	}
	for (int i = 0; i < HASH_BYTES; i++)
		out[i] = (uint8_t)(words[i / 4] >> (i % 4 * 8));
	OPENSSL_cleanse(&b, sizeof(b));
	OPENSSL_cleanse(words, sizeof(words));
}

/* --- the whole ----------------------------------------------------------------------- */

static void make_block(
    const uint8_t pass[64], uint8_t salt[64], uint32_t rounds, uint8_t block[HASH_BYTES])
{
	uint8_t one[HASH_BYTES];

	hash(pass, salt, one);
	memcpy(block, one, sizeof(one));
	for (uint32_t i = 1; i < rounds; i++) {
		SHA512(one, sizeof(one), salt);
		hash(pass, salt, one);
		for (size_t j = 0; j < sizeof(one); j++)
			block[j] ^= one[j];
	}
	OPENSSL_cleanse(one, sizeof(one));
}

int bcrypt_pbkdf(const char *secret, const uint8_t *salt, size_t salt_len, uint32_t rounds,
    uint8_t *out, size_t out_len)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	size_t blocks = (out_len + HASH_BYTES - 1) / HASH_BYTES;
	uint8_t pass[64], digest[64], block[HASH_BYTES], *counted;

	if (!*secret || !salt_len || salt_len > 4096 || !rounds || !out_len || out_len > OUT_MAX)
		return -EINVAL;
	pthread_once(&once, find_first);
	counted = malloc(salt_len + 4);
	if (!counted || !first_known) {
		free(counted);
		return -ENOMEM;
	}
	memcpy(counted, salt, salt_len);
	SHA512((const uint8_t *)secret, strlen(secret), pass);
	for (size_t n = 0; n < blocks; n++) {
		const uint8_t number[4] = {0, 0, (uint8_t)((n + 1) >> 8), (uint8_t)(n + 1)};

		memcpy(counted + salt_len, number, sizeof(number));
		SHA512(counted, salt_len + 4, digest);
		make_block(pass, digest, rounds, block);
		for (size_t i = 0; i * blocks + n < out_len && i < HASH_BYTES; i++)
			out[i * blocks + n] = block[i];
	}
	free(counted);
	OPENSSL_cleanse(pass, sizeof(pass));
	OPENSSL_cleanse(digest, sizeof(digest));
	OPENSSL_cleanse(block, sizeof(block));
	return 0;
}

/*
 * OpenSSH's own private key files (PROTOCOL.key), in base64 between two lines:
 *
 *	"openssh-key-v1\0"
 *	string cipher  string kdf  string kdf options (string salt  uint32 rounds)  uint32 1
 *	string public key  string private part (encrypted)  [tag, with GCM]
 *
 *	private part:
 *	uint32 check  uint32 the same  string kind  the kind's numbers  string comment
 *	1 2 3 … up to the cipher's block
 */
#include "transport/bcrypt_pbkdf.h"
#include "transport/privkey.h"
#include "transport/sshwire.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#define MAGIC "openssh-key-v1"
#define ROUNDS_MAX 100000 /* ssh-keygen takes 16 or 24 */
#define GCM_TAG 16

struct envelope {
	struct span cipher, kdf, options, blob, private, tag;
};

static const struct cipher {
	const char *name, *openssl;
	size_t key, iv;
} ciphers[] = {
    {"aes256-ctr", "AES-256-CTR", 32, 16},
    {"aes256-cbc", "AES-256-CBC", 32, 16},
    {"aes192-ctr", "AES-192-CTR", 24, 16},
    {"aes192-cbc", "AES-192-CBC", 24, 16},
    {"aes128-ctr", "AES-128-CTR", 16, 16},
    {"aes128-cbc", "AES-128-CBC", 16, 16},
    {"aes256-gcm@openssh.com", "AES-256-GCM", 32, 12},
    {"aes128-gcm@openssh.com", "AES-128-GCM", 16, 12},
};

static int damaged(char *why)
{
	return privkey_fail(why, EBADMSG, "is damaged: take it from a copy");
}

/* The bytes between the lines into out, as large as text. Their number, 0 when there are none. */
static size_t unarmour(const char *text, uint8_t *out)
{
	const char *from = strstr(text, "PRIVATE KEY-----"), *end;
	size_t len = 0, padding = 0;
	char *packed = (char *)out;
	int n;

	from = from ? from + 16 : text;
	end = strstr(from, "-----END");
	for (; end && from < end; from++) {
		if (!strchr(" \t\r\n", *from))
			packed[len++] = *from;
	}
	if (!len || len % 4)
		return 0;
	while (padding < 2 && packed[len - 1 - padding] == '=')
		padding++;
	/* decoding in place: three bytes are written behind four that are read */
	n = EVP_DecodeBlock(out, out, (int)len);
	return n > (int)padding ? (size_t)n - padding : 0;
}

static bool open_envelope(struct span bytes, struct envelope *envelope)
{
	uint32_t count;

	if (bytes.len < sizeof(MAGIC) || memcmp(bytes.data, MAGIC, sizeof(MAGIC)))
		return false;
	bytes.data += sizeof(MAGIC);
	bytes.len -= sizeof(MAGIC);
	if (!wire_get_string(&bytes, &envelope->cipher) ||
	    !wire_get_string(&bytes, &envelope->kdf) ||
	    !wire_get_string(&bytes, &envelope->options) || !wire_get_u32(&bytes, &count) ||
	    count != 1 || !wire_get_string(&bytes, &envelope->blob) ||
	    !wire_get_string(&bytes, &envelope->private))
		return false;
	envelope->tag = bytes;
	return true;
}

static const struct cipher *cipher_of(struct span name)
{
	for (size_t i = 0; i < sizeof(ciphers) / sizeof(*ciphers); i++) {
		if (span_is(name, ciphers[i].name))
			return &ciphers[i];
	}
	return NULL;
}

/* plain: as large as the private part. Whether the tag, if there is one, is right. */
static bool decrypt_with(const struct cipher *cipher, const struct envelope *envelope,
    const uint8_t *key, uint8_t *plain)
{
	bool gcm = cipher->iv == 12;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	EVP_CIPHER *algorithm = EVP_CIPHER_fetch(NULL, cipher->openssl, NULL);
	int len = 0, more = 0;
	bool good = ctx && algorithm &&
		    EVP_DecryptInit_ex(ctx, algorithm, NULL, key, key + cipher->key) &&
		    EVP_CIPHER_CTX_set_padding(ctx, 0);

	if (good && gcm)
		good = envelope->tag.len == GCM_TAG &&
		       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, GCM_TAG,
			   (void *)(uintptr_t)envelope->tag.data);
	good = good &&
	       EVP_DecryptUpdate(
		   ctx, plain, &len, envelope->private.data, (int)envelope->private.len) &&
	       EVP_DecryptFinal_ex(ctx, plain + len, &more);
	EVP_CIPHER_free(algorithm);
	EVP_CIPHER_CTX_free(ctx);
	return good;
}

static int decrypt(const struct envelope *envelope, const char *secret, uint8_t *plain, char *why)
{
	const struct cipher *cipher = cipher_of(envelope->cipher);
	struct span options = envelope->options, salt;
	uint8_t key[48];
	uint32_t rounds;
	int err;

	if (span_is(envelope->cipher, "none")) {
		memcpy(plain, envelope->private.data, envelope->private.len);
		return 0;
	}
	if (!secret)
		return privkey_fail(why, ENOKEY, "needs its passphrase");
	if (!cipher || !span_is(envelope->kdf, "bcrypt"))
		return privkey_fail(why, ENOTSUP,
		    "has an encryption that is not known here: ssh-keygen -p changes it");
	if (!wire_get_string(&options, &salt) || !wire_get_u32(&options, &rounds) ||
	    envelope->private.len % 16)
		return damaged(why);
	if (rounds > ROUNDS_MAX)
		return privkey_fail(why, ENOTSUP, "would take too long to be opened");
	if (!*secret)
		return privkey_fail(why, EKEYREJECTED, "does not open with this passphrase");
	err = bcrypt_pbkdf(secret, salt.data, salt.len, rounds, key, cipher->key + cipher->iv);
	if (err == -EINVAL)
		return damaged(why);
	if (err)
		return privkey_fail(why, -err, "can't be opened: out of memory");
	/* only GCM can tell; else the check numbers do */
	if (!decrypt_with(cipher, envelope, key, plain))
		err = privkey_fail(why, EKEYREJECTED, "does not open with this passphrase");
	OPENSSL_cleanse(key, sizeof(key));
	return err;
}

static int make(const struct envelope *envelope, struct span rest, struct privkey **out, char *why)
{
	bool encrypted = !span_is(envelope->cipher, "none");
	struct span kind, one[6] = {{NULL, 0}}, parts[PRIVKEY_PARTS] = {{NULL, 0}};
	uint32_t a, b;
	size_t n;

	if (!wire_get_u32(&rest, &a) || !wire_get_u32(&rest, &b) || a != b)
		return encrypted
			   ? privkey_fail(why, EKEYREJECTED, "does not open with this passphrase")
			   : damaged(why);
	if (!wire_get_string(&rest, &kind))
		return damaged(why);
	n = span_is(kind, "ssh-ed25519") ? 2 : span_is(kind, "ssh-rsa") ? 6 : 3;
	for (size_t i = 0; i < n; i++) {
		if (!wire_get_string(&rest, &one[i]))
			return n == 3 ? privkey_fail(
					    why, ENOTSUP, "is of a kind that is not read here")
				      : damaged(why);
	}
	if (n == 6) { /* n, e, d, iqmp, p, q */
		parts[0] = one[2];
		parts[1] = one[4];
		parts[2] = one[5];
		parts[3] = one[3];
	} else if (n == 2) { /* public, seed and public */
		parts[0] = (struct span){one[1].data, one[1].len == 64 ? 32 : 0};
	} else { /* curve, point, number */
		parts[0] = one[2];
	}
	return privkey_make(envelope->blob, parts, out, why);
}

int openssh_key_parse(const char *text, const char *secret, struct privkey **out, char *why)
{
	size_t size = strlen(text) + 1;
	uint8_t *bytes = malloc(size), *plain = NULL;
	struct envelope envelope;
	int err;

	if (!bytes)
		return privkey_fail(why, ENOMEM, "can't be read: out of memory");
	if (!open_envelope((struct span){bytes, unarmour(text, bytes)}, &envelope)) {
		err = damaged(why);
	} else if (!(plain = malloc(envelope.private.len + 32))) {
		err = privkey_fail(why, ENOMEM, "can't be read: out of memory");
	} else {
		err = decrypt(&envelope, secret, plain, why);
		if (!err)
			err = make(&envelope, (struct span){plain, envelope.private.len}, out, why);
		OPENSSL_cleanse(plain, envelope.private.len + 32);
	}
	OPENSSL_cleanse(bytes, size);
	free(bytes);
	free(plain);
	return err;
}

/*
 * PuTTY's private key files. Lines end in CR, LF or both; header lines are "Name: value", in this
 * order, and some are followed by as many lines of base64 as they say:
 *
 *	PuTTY-User-Key-File-3: ssh-ed25519	(or -2)
 *	Encryption: aes256-cbc			(or none)
 *	Comment: …
 *	Public-Lines: 2
 *	Key-Derivation: Argon2id		(only version 3, encrypted)
 *	Argon2-Memory: 8192			KiB
 *	Argon2-Passes: 13
 *	Argon2-Parallelism: 1
 *	Argon2-Salt: hex
 *	Private-Lines: 1
 *	Private-MAC: hex
 *
 * The MAC is over the strings kind, encryption, comment, public part and private part as it is
 * before its encryption (with its padding).
 *
 *	version 2	HMAC-SHA-1, its key SHA-1 of a constant and the passphrase; the cipher's key
 *			from SHA-1 with a counter, its IV zero
 *	version 3	HMAC-SHA-256; Argon2 gives the cipher's key, IV and the MAC's key, which is
 *			empty without encryption
 */
#include "transport/privkey.h"
#include "transport/sshwire.h"
#include <argon2.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

#define PART_MAX 16384		  /* bytes of the public and of the private part */
#define SALT_MAX 64		  /* PuTTY's have 16 */
#define MEMORY_MAX_KIB (1u << 20) /* more is not waited for; PuTTY takes 8 MiB */
#define PASSES_MAX 10000
#define PARALLEL_MAX 64
#define MAC_MAX 32
#define DERIVED 80 /* of Argon2: cipher's key, IV, MAC's key */

struct ppk {
	unsigned version;
	bool encrypted;
	struct span kind, encryption, comment; /* in the text */
	uint8_t public[PART_MAX], private[PART_MAX];
	size_t public_len, private_len;
	argon2_type argon;
	uint32_t memory, passes, parallel;
	uint8_t salt[SALT_MAX], mac[MAC_MAX];
	size_t salt_len, mac_len;
	/* derived */
	uint8_t cipher_key[32], iv[16], mac_key[32];
	size_t mac_key_len;
};

static int damaged(char *why, const char *what)
{
	return privkey_fail(why, EBADMSG, "is damaged: %s", what);
}

/* --- lines --------------------------------------------------------------------------------------
 */

static struct span next_line(const char **at)
{
	size_t len = strcspn(*at, "\r\n");
	struct span line = {(const uint8_t *)*at, len};

	*at += len;
	if (**at == '\r')
		++*at;
	if (**at == '\n')
		++*at;
	return line;
}

/* The value of the next line, which must have that name. */
static bool header(const char **at, const char *name, struct span *value)
{
	size_t len = strlen(name);
	struct span line = next_line(at);

	if (line.len < len + 2 || memcmp(line.data, name, len) || memcmp(line.data + len, ": ", 2))
		return false;
	*value = (struct span){line.data + len + 2, line.len - len - 2};
	return true;
}

static bool header_number(const char **at, const char *name, uint32_t *value)
{
	struct span text;
	uint64_t n = 0;

	if (!header(at, name, &text) || !text.len || text.len > 9)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		n = n * 10 + (text.data[i] - '0');
	}
	*value = (uint32_t)n;
	return true;
}

static int hex_digit(uint8_t c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool header_hex(const char **at, const char *name, uint8_t *out, size_t size, size_t *len)
{
	struct span text;

	if (!header(at, name, &text) || text.len % 2 || text.len / 2 > size)
		return false;
	for (*len = 0; *len < text.len / 2; ++*len) {
		int high = hex_digit(text.data[2 * *len]), low = hex_digit(text.data[2 * *len + 1]);

		if (high < 0 || low < 0)
			return false;
		out[*len] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* "NAME-Lines: n" and as many lines of base64, each of whole groups of four. */
static bool part(const char **at, const char *name, uint8_t *out, size_t *len)
{
	uint32_t lines;

	*len = 0;
	if (!header_number(at, name, &lines))
		return false;
	while (lines--) {
		struct span line = next_line(at);
		size_t bytes = line.len / 4 * 3, padding = 0;

		/* the block that the decoder writes has the padding's bytes too */
		if (!line.len || line.len % 4 || *len + bytes > PART_MAX ||
		    EVP_DecodeBlock(out + *len, line.data, (int)line.len) != (int)bytes)
			return false;
		while (padding < 2 && line.data[line.len - 1 - padding] == '=')
			padding++;
		/* only the last line may have it */
		if (padding && lines)
			return false;
		*len += bytes - padding;
	}
	return true;
}

static int parse_derivation(const char **at, struct ppk *ppk, char *why)
{
	struct span name;

	if (!header(at, "Key-Derivation", &name))
		return damaged(why, "there is no line Key-Derivation");
	if (span_is(name, "Argon2id"))
		ppk->argon = Argon2_id;
	else if (span_is(name, "Argon2i"))
		ppk->argon = Argon2_i;
	else if (span_is(name, "Argon2d"))
		ppk->argon = Argon2_d;
	else
		return privkey_fail(why, ENOTSUP,
		    "protects its key by %.*s, which is not known here: save it again with "
		    "puttygen",
		    name.len < 20 ? (int)name.len : 20, (const char *)name.data);
	if (!header_number(at, "Argon2-Memory", &ppk->memory) ||
	    !header_number(at, "Argon2-Passes", &ppk->passes) ||
	    !header_number(at, "Argon2-Parallelism", &ppk->parallel) ||
	    !header_hex(at, "Argon2-Salt", ppk->salt, SALT_MAX, &ppk->salt_len))
		return damaged(why, "its Argon2 lines make no sense");
	if (ppk->memory > MEMORY_MAX_KIB || ppk->passes > PASSES_MAX ||
	    ppk->parallel > PARALLEL_MAX)
		return privkey_fail(why, ENOTSUP,
		    "wants more than 1 GiB of memory, or too much time, to be opened: save it "
		    "again "
		    "with puttygen");
	return 0;
}

static int parse_lines(const char *at, struct ppk *ppk, char *why)
{
	int err = 0;

	ppk->version = at[20] == '3' ? 3 : 2;
	if (!header(&at, ppk->version == 3 ? "PuTTY-User-Key-File-3" : "PuTTY-User-Key-File-2",
		&ppk->kind) ||
	    !header(&at, "Encryption", &ppk->encryption))
		return damaged(why, "there is no line Encryption");
	ppk->encrypted = span_is(ppk->encryption, "aes256-cbc");
	if (!ppk->encrypted && !span_is(ppk->encryption, "none"))
		return privkey_fail(why, ENOTSUP, "has an encryption that is not known here");
	if (!header(&at, "Comment", &ppk->comment))
		return damaged(why, "there is no line Comment");
	if (!part(&at, "Public-Lines", ppk->public, &ppk->public_len))
		return damaged(why, "its public part is cut off or no base64");
	if (ppk->version == 3 && ppk->encrypted)
		err = parse_derivation(&at, ppk, why);
	if (err)
		return err;
	if (!part(&at, "Private-Lines", ppk->private, &ppk->private_len))
		return damaged(why, "its private part is cut off or no base64");
	if (!header_hex(&at, "Private-MAC", ppk->mac, MAC_MAX, &ppk->mac_len) ||
	    ppk->mac_len != (ppk->version == 3 ? 32 : 20))
		return damaged(why, "its last line, Private-MAC, is missing or cut off");
	return 0;
}

/* --- opening ------------------------------------------------------------------------------------
 */

static bool sha1_of(const void *a, size_t a_len, const char *b, uint8_t out[20])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool done = ctx && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) &&
		    EVP_DigestUpdate(ctx, a, a_len) && EVP_DigestUpdate(ctx, b, strlen(b)) &&
		    EVP_DigestFinal_ex(ctx, out, NULL);

	EVP_MD_CTX_free(ctx);
	return done;
}

static int derive_2(struct ppk *ppk, const char *secret, char *why)
{
	static const char words[] = "putty-private-key-file-mac-key";
	uint8_t both[40], counter[4] = {0};
	bool done = sha1_of(words, sizeof(words) - 1, secret, ppk->mac_key) &&
		    sha1_of(counter, 4, secret, both);

	counter[3] = 1;
	done = done && sha1_of(counter, 4, secret, both + 20);
	memcpy(ppk->cipher_key, both, sizeof(ppk->cipher_key));
	OPENSSL_cleanse(both, sizeof(both));
	ppk->mac_key_len = 20;
	return done ? 0 : privkey_fail(why, ENOTSUP, "needs SHA-1, which OpenSSL refuses here");
}

static int derive_3(struct ppk *ppk, const char *secret, char *why)
{
	uint8_t derived[DERIVED];
	int rc;

	if (!ppk->encrypted)
		return 0;
	rc = argon2_hash(ppk->passes, ppk->memory, ppk->parallel, secret, strlen(secret), ppk->salt,
	    ppk->salt_len, derived, sizeof(derived), NULL, 0, ppk->argon, ARGON2_VERSION_13);
	if (!rc) {
		memcpy(ppk->cipher_key, derived, 32);
		memcpy(ppk->iv, derived + 32, 16);
		memcpy(ppk->mac_key, derived + 48, 32);
		ppk->mac_key_len = 32;
	}
	OPENSSL_cleanse(derived, sizeof(derived));
	if (rc == ARGON2_MEMORY_ALLOCATION_ERROR)
		return privkey_fail(
		    why, ENOMEM, "needs %u KiB of memory to be opened", ppk->memory);
	return rc ? damaged(why, argon2_error_message(rc)) : 0;
}

static bool decrypt(struct ppk *ppk)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int len = 0;
	bool done =
	    ctx && EVP_DecryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, ppk->cipher_key, ppk->iv) &&
	    EVP_CIPHER_CTX_set_padding(ctx, 0) &&
	    EVP_DecryptUpdate(ctx, ppk->private, &len, ppk->private, (int)ppk->private_len) &&
	    len == (int)ppk->private_len;

	EVP_CIPHER_CTX_free(ctx);
	return done;
}

static bool mac_is_right(const struct ppk *ppk)
{
	size_t size = ppk->kind.len + ppk->encryption.len + ppk->comment.len + ppk->public_len +
		      ppk->private_len + 20;
	struct wire wire = {.bytes = malloc(size), .size = size};
	uint8_t mac[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	bool right = false;

	if (!wire.bytes)
		return false;
	wire_put_string(&wire, ppk->kind.data, ppk->kind.len);
	wire_put_string(&wire, ppk->encryption.data, ppk->encryption.len);
	wire_put_string(&wire, ppk->comment.data, ppk->comment.len);
	wire_put_string(&wire, ppk->public, ppk->public_len);
	wire_put_string(&wire, ppk->private, ppk->private_len);
	if (HMAC(ppk->version == 3 ? EVP_sha256() : EVP_sha1(), ppk->mac_key, (int)ppk->mac_key_len,
		wire.bytes, wire.len, mac, &len))
		right = len == ppk->mac_len && !CRYPTO_memcmp(mac, ppk->mac, len);
	OPENSSL_cleanse(wire.bytes, size);
	free(wire.bytes);
	return right;
}

static int open_private(struct ppk *ppk, const char *secret, char *why)
{
	int err;

	if (ppk->encrypted && !secret)
		return privkey_fail(why, ENOKEY, "needs its passphrase");
	if (ppk->encrypted && ppk->private_len % 16)
		return damaged(why, "its private part is cut off");
	if (!ppk->encrypted)
		secret = "";
	err = ppk->version == 3 ? derive_3(ppk, secret, why) : derive_2(ppk, secret, why);
	if (err)
		return err;
	if (ppk->encrypted && !decrypt(ppk))
		return privkey_fail(why, ENOMEM, "can't be decrypted");
	if (mac_is_right(ppk))
		return 0;
	if (ppk->encrypted)
		return privkey_fail(why, EKEYREJECTED,
		    "does not open with this passphrase (or it is damaged: puttygen tells)");
	return damaged(why, "its MAC does not match what it holds: take it from a copy");
}

/* --- the key ------------------------------------------------------------------------------------
 */

static int make(const struct ppk *ppk, struct privkey **out, char *why)
{
	struct span blob = {ppk->public, ppk->public_len};
	struct span rest = {ppk->private, ppk->private_len}, parts[PRIVKEY_PARTS] = {{NULL, 0}};
	struct span kind, head = blob;
	size_t wanted = span_is(ppk->kind, "ssh-rsa") ? 4 : 1;

	if (!wire_get_string(&head, &kind) || kind.len != ppk->kind.len ||
	    memcmp(kind.data, ppk->kind.data, kind.len))
		return damaged(why, "its public part is of another kind than it says");
	for (size_t i = 0; i < wanted; i++) {
		if (!wire_get_string(&rest, &parts[i]))
			return damaged(why, "its private part makes no sense");
	}
	return privkey_make(blob, parts, out, why);
}

int ppk_parse(const char *text, const char *secret, struct privkey **out, char *why)
{
	struct ppk *ppk;
	int err;

	if (strncmp(text, "PuTTY-User-Key-File-2: ", 23) &&
	    strncmp(text, "PuTTY-User-Key-File-3: ", 23))
		return privkey_fail(why, ENOTSUP,
		    "is of a version of PuTTY's format that is not known here (2 and 3 are): save "
		    "it "
		    "again with puttygen");
	ppk = calloc(1, sizeof(*ppk));
	if (!ppk)
		return privkey_fail(why, ENOMEM, "can't be read: out of memory");
	err = parse_lines(text, ppk, why);
	if (!err)
		err = open_private(ppk, secret, why);
	if (!err)
		err = make(ppk, out, why);
	OPENSSL_cleanse(ppk, sizeof(*ppk));
	free(ppk);
	return err;
}

#include "transport/privkey.h"
#include "transport/sshwire.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_MAX 65536
#define BLOB_MAX 8192

int privkey_fail(char *why, int err, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(why, PRIVKEY_WHY_MAX, format, list);
	va_end(list);
	return -err;
}

static int no_memory(char *why)
{
	return privkey_fail(why, ENOMEM, "can't be read: out of memory");
}

/* --- the curves ---------------------------------------------------------------------- */

static const struct curve {
	const char *type, *ssh_name, *group;
	size_t bytes; /* of a number */
	const char *digest;
} curves[] = {
    {"ecdsa-sha2-nistp256", "nistp256", "prime256v1", 32, "SHA256"},
    {"ecdsa-sha2-nistp384", "nistp384", "secp384r1", 48, "SHA384"},
    {"ecdsa-sha2-nistp521", "nistp521", "secp521r1", 66, "SHA512"},
};

#define N_CURVES (sizeof(curves) / sizeof(*curves))

static const struct curve *curve_of(struct span type)
{
	for (size_t i = 0; i < N_CURVES; i++) {
		if (span_is(type, curves[i].type))
			return &curves[i];
	}
	return NULL;
}

/* --- making -------------------------------------------------------------------------- */

static int sign_raw(EVP_PKEY *pkey, const char *digest, const uint8_t *data, size_t len,
    uint8_t **sig, size_t *sig_len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int err = -ENOMEM;

	*sig = NULL;
	if (ctx && EVP_DigestSignInit_ex(ctx, NULL, digest, NULL, NULL, pkey, NULL) == 1 &&
	    EVP_DigestSign(ctx, NULL, sig_len, data, len) == 1 &&
	    (*sig = malloc(*sig_len ? *sig_len : 1)) &&
	    EVP_DigestSign(ctx, *sig, sig_len, data, len) == 1)
		err = 0;
	EVP_MD_CTX_free(ctx);
	if (err) {
		ERR_clear_error();
		free(*sig);
		*sig = NULL;
	}
	return err;
}

static BIGNUM *number(struct span span)
{
	BIGNUM *n = BN_secure_new();

	/* mpints of key files are never negative */
	if (n && span.len < BLOB_MAX && BN_bin2bn(span.data, (int)span.len, n))
		return n;
	BN_clear_free(n);
	return NULL;
}

/* Takes the builder's parameters. NULL when they make no key. */
static EVP_PKEY *build(const char *type, OSSL_PARAM_BLD *builder)
{
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *pkey = NULL;

	if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) <= 0 ||
	    EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params) <= 0)
		pkey = NULL;
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	return pkey;
}

static EVP_PKEY *make_ed25519(struct span public, struct span seed)
{
	uint8_t derived[32];
	size_t len = sizeof(derived);
	EVP_PKEY *pkey;

	if (public.len != 32 || seed.len != 32)
		return NULL;
	pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed.data, seed.len);
	if (pkey && EVP_PKEY_get_raw_public_key(pkey, derived, &len) == 1 && len == 32 &&
	    !memcmp(derived, public.data, 32))
		return pkey;
	EVP_PKEY_free(pkey);
	return NULL;
}

static EVP_PKEY *make_ecdsa(const struct curve *curve, struct span point, struct span d)
{
	OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
	BIGNUM *private = number(d);
	EVP_PKEY *pkey = NULL;

	if (builder && private &&
	    OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, curve->group, 0) &&
	    OSSL_PARAM_BLD_push_octet_string(
		builder, OSSL_PKEY_PARAM_PUB_KEY, point.data, point.len) &&
	    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, private))
		pkey = build("EC", builder);
	OSSL_PARAM_BLD_free(builder);
	BN_clear_free(private);
	return pkey;
}

/* The exponents for p and q: d mod (p - 1), d mod (q - 1). */
static bool reduce(BIGNUM *out, const BIGNUM *d, const BIGNUM *prime, BN_CTX *ctx)
{
	BIGNUM *less = BN_dup(prime);
	bool done = less && BN_sub_word(less, 1) && !BN_is_zero(less) && BN_mod(out, d, less, ctx);

	BN_clear_free(less);
	return done;
}

static EVP_PKEY *make_rsa(struct span e, struct span n, const struct span secret[PRIVKEY_PARTS])
{
	enum { N, E, D, P, Q, DP, DQ, QI, COUNT };
	static const char *const names[COUNT] = {OSSL_PKEY_PARAM_RSA_N, OSSL_PKEY_PARAM_RSA_E,
	    OSSL_PKEY_PARAM_RSA_D, OSSL_PKEY_PARAM_RSA_FACTOR1, OSSL_PKEY_PARAM_RSA_FACTOR2,
	    OSSL_PKEY_PARAM_RSA_EXPONENT1, OSSL_PKEY_PARAM_RSA_EXPONENT2,
	    OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
	BIGNUM *numbers[COUNT] = {number(n), number(e), number(secret[0]), number(secret[1]),
	    number(secret[2]), BN_secure_new(), BN_secure_new(), number(secret[3])};
	OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
	BN_CTX *ctx = BN_CTX_secure_new();
	EVP_PKEY *pkey = NULL;
	bool good = builder && ctx;

	for (int i = 0; i < COUNT; i++)
		good = good && numbers[i];
	good = good && reduce(numbers[DP], numbers[D], numbers[P], ctx) &&
	       reduce(numbers[DQ], numbers[D], numbers[Q], ctx);
	for (int i = 0; i < COUNT; i++)
		good = good && OSSL_PARAM_BLD_push_BN(builder, names[i], numbers[i]);
	if (good)
		pkey = build("RSA", builder);
	for (int i = 0; i < COUNT; i++)
		BN_clear_free(numbers[i]);
	OSSL_PARAM_BLD_free(builder);
	BN_CTX_free(ctx);
	return pkey;
}

/* Do the two halves belong together? (ed25519's do: the public one was derived.) What one signs,
 * the other must accept. */
static bool belongs(EVP_PKEY *pkey)
{
	static const uint8_t words[] = "vastfs";
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t *sig = NULL;
	size_t len;
	bool good = ctx && !sign_raw(pkey, "SHA256", words, sizeof(words), &sig, &len) &&
		    EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", NULL, NULL, pkey, NULL) == 1 &&
		    EVP_DigestVerify(ctx, sig, len, words, sizeof(words)) == 1;

	free(sig);
	EVP_MD_CTX_free(ctx);
	return good;
}

static const char *own_name(struct span type)
{
	const struct curve *curve = curve_of(type);

	return span_is(type, "ssh-ed25519") ? "ssh-ed25519"
	       : span_is(type, "ssh-rsa")   ? "ssh-rsa"
	       : curve			    ? curve->type
					    : NULL;
}

/* Takes pkey. */
static int finish(
    const char *type, struct span blob, EVP_PKEY *pkey, struct privkey **out, char *why)
{
	struct privkey *key = calloc(1, sizeof(*key));
	uint8_t *copy = malloc(blob.len);

	if (!key || !copy) {
		free(key);
		free(copy);
		EVP_PKEY_free(pkey);
		return no_memory(why);
	}
	memcpy(copy, blob.data, blob.len);
	*key = (struct privkey){type, pkey, copy, blob.len};
	*out = key;
	return 0;
}

int privkey_make(
    struct span blob, const struct span secret[PRIVKEY_PARTS], struct privkey **out, char *why)
{
	struct span rest = blob, type, one, two = {NULL, 0};
	const struct curve *curve;
	EVP_PKEY *pkey;
	bool ed25519;

	if (!wire_get_string(&rest, &type) || blob.len > BLOB_MAX)
		return privkey_fail(why, EBADMSG, "is damaged: its public part makes no sense");
	if (!own_name(type))
		return privkey_fail(why, ENOTSUP,
		    "is of the kind %.*s, which is not known here: make one with ssh-keygen -t "
		    "ed25519",
		    type.len < 40 ? (int)type.len : 40, (const char *)type.data);
	curve = curve_of(type);
	ed25519 = span_is(type, "ssh-ed25519");
	if (!wire_get_string(&rest, &one) || (!ed25519 && !wire_get_string(&rest, &two)) ||
	    rest.len || (curve && !span_is(one, curve->ssh_name)))
		return privkey_fail(why, EBADMSG, "is damaged: its public part makes no sense");
	pkey = ed25519 ? make_ed25519(one, secret[0])
	       : curve ? make_ecdsa(curve, two, secret[0])
		       : make_rsa(one, two, secret);
	if (!pkey || (!ed25519 && !belongs(pkey))) {
		EVP_PKEY_free(pkey);
		ERR_clear_error();
		return privkey_fail(why, EBADMSG,
		    "is damaged: its private and public parts do not belong together");
	}
	return finish(own_name(type), blob, pkey, out, why);
}

void privkey_free(struct privkey *key)
{
	if (!key)
		return;
	EVP_PKEY_free(key->pkey); /* wipes its numbers */
	free(key->blob);
	free(key);
}

/* --- PEM ----------------------------------------------------------------------------------------
 */

static int give_secret(char *buf, int size, int writing, void *secret)
{
	size_t len = secret ? strlen(secret) : 0;

	if (!len || len > (size_t)size)
		return -1;
	memcpy(buf, secret, len);
	return (int)len;
}

static void put_number(struct wire *wire, EVP_PKEY *pkey, const char *name)
{
	uint8_t bytes[2049] = {0};
	BIGNUM *n = NULL;
	int len;

	if (EVP_PKEY_get_bn_param(pkey, name, &n) && BN_num_bytes(n) < (int)sizeof(bytes)) {
		len = BN_bn2bin(n, bytes + 1);
		/* a zero before a first bit that would be a sign */
		if (len && bytes[1] & 0x80)
			wire_put_string(wire, bytes, (size_t)len + 1);
		else
			wire_put_string(wire, bytes + 1, (size_t)len);
	} else {
		wire->full = true;
	}
	BN_free(n);
}

static void put_point(struct wire *wire, EVP_PKEY *pkey, const struct curve **curve)
{
	char group[40] = "";
	uint8_t point[200];
	size_t len;

	*curve = NULL;
	EVP_PKEY_get_utf8_string_param(
	    pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group), NULL);
	for (size_t i = 0; i < N_CURVES; i++) {
		if (!strcmp(group, curves[i].group))
			*curve = &curves[i];
	}
	if (!*curve || !EVP_PKEY_get_octet_string_param(
			   pkey, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &len)) {
		wire->full = true;
		return;
	}
	wire_put_string(wire, (*curve)->type, strlen((*curve)->type));
	wire_put_string(wire, (*curve)->ssh_name, strlen((*curve)->ssh_name));
	wire_put_string(wire, point, len);
}

/* Takes pkey. */
static int from_pkey(EVP_PKEY *pkey, struct privkey **out, char *why)
{
	uint8_t bytes[BLOB_MAX], raw[32];
	struct wire wire = {.bytes = bytes, .size = sizeof(bytes)};
	const struct curve *curve;
	const char *type = NULL;
	size_t len = sizeof(raw);

	switch (EVP_PKEY_base_id(pkey)) {
	case EVP_PKEY_RSA:
		type = "ssh-rsa";
		wire_put_string(&wire, type, strlen(type));
		put_number(&wire, pkey, OSSL_PKEY_PARAM_RSA_E);
		put_number(&wire, pkey, OSSL_PKEY_PARAM_RSA_N);
		break;
	case EVP_PKEY_EC:
		put_point(&wire, pkey, &curve);
		type = curve ? curve->type : NULL;
		break;
	case EVP_PKEY_ED25519:
		type = "ssh-ed25519";
		wire_put_string(&wire, type, strlen(type));
		if (EVP_PKEY_get_raw_public_key(pkey, raw, &len) != 1)
			wire.full = true;
		wire_put_string(&wire, raw, len);
		break;
	default:
		break;
	}
	if (!type || wire.full) {
		EVP_PKEY_free(pkey);
		ERR_clear_error();
		return privkey_fail(why, ENOTSUP,
		    "is of a kind that is not known here: make one with vastfs key new");
	}
	return finish(type, (struct span){bytes, wire.len}, pkey, out, why);
}

static int parse_pem(
    const char *text, size_t len, const char *secret, struct privkey **out, char *why)
{
	bool encrypted = strstr(text, "-----BEGIN ENCRYPTED PRIVATE KEY-----") ||
			 strstr(text, "Proc-Type: 4,ENCRYPTED");
	BIO *bio = BIO_new_mem_buf(text, (int)len);
	EVP_PKEY *pkey =
	    bio ? PEM_read_bio_PrivateKey(bio, NULL, give_secret, (void *)(uintptr_t)secret) : NULL;

	BIO_free(bio);
	ERR_clear_error();
	if (!bio)
		return no_memory(why);
	if (pkey)
		return from_pkey(pkey, out, why);
	if (encrypted && !secret)
		return privkey_fail(why, ENOKEY, "needs its passphrase");
	if (encrypted)
		return privkey_fail(why, EKEYREJECTED, "does not open with this passphrase");
	return privkey_fail(why, EBADMSG, "is damaged: OpenSSL can't read it");
}

/* --- reading ------------------------------------------------------------------------- */

int privkey_parse(const char *text, size_t len, const char *secret, struct privkey **out, char *why)
{
	char *copy;
	const char *at;
	int err;

	*out = NULL;
	why[0] = '\0';
	if (len >= FILE_MAX)
		return privkey_fail(why, ENOTSUP, "is too large for a private key");
	copy = malloc(len + 1);
	if (!copy)
		return no_memory(why);
	memcpy(copy, text, len);
	copy[len] = '\0';
	at = copy + strspn(copy, " \t\r\n");
	if (strlen(copy) != len)
		err = privkey_fail(why, ENOTSUP, "is not a private key");
	else if (!strncmp(at, "PuTTY-User-Key-File-", 20))
		err = ppk_parse(at, secret, out, why);
	else if (strstr(at, "-----BEGIN OPENSSH PRIVATE KEY-----"))
		err = openssh_key_parse(at, secret, out, why);
	else if (strstr(at, "PRIVATE KEY-----"))
		err = parse_pem(at, strlen(at), secret, out, why);
	else
		err = privkey_fail(why, ENOTSUP, "is not a private key");
	OPENSSL_cleanse(copy, len);
	free(copy);
	return err;
}

int privkey_load(const char *path, const char *secret, struct privkey **out, char *why)
{
	char *text = malloc(FILE_MAX);
	size_t len = 0;
	ssize_t n;
	int fd, err = 0;

	*out = NULL;
	why[0] = '\0';
	fd = text ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
	if (fd < 0) {
		err = text ? errno : ENOMEM;
		free(text);
		return privkey_fail(why, err, "can't be read: %s", strerror(err));
	}
	while (len < FILE_MAX && (n = read(fd, text + len, FILE_MAX - len)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err = privkey_fail(why, errno, "can't be read: %s", strerror(errno));
			break;
		}
		len += (size_t)n;
	}
	close(fd);
	if (!err)
		err = privkey_parse(text, len, secret, out, why);
	OPENSSL_cleanse(text, FILE_MAX);
	free(text);
	return err;
}

/* --- signing ------------------------------------------------------------------------- */

/* OpenSSL's DER to RFC 5656's two mpints; *sig is replaced. */
static int two_numbers(uint8_t **sig, size_t *sig_len)
{
	const uint8_t *at = *sig;
	ECDSA_SIG *both = d2i_ECDSA_SIG(NULL, &at, (long)*sig_len);
	struct wire wire = {.size = 160};

	free(*sig);
	*sig = wire.bytes = both ? malloc(wire.size) : NULL;
	for (int i = 0; *sig && i < 2; i++) {
		const BIGNUM *n = i ? ECDSA_SIG_get0_s(both) : ECDSA_SIG_get0_r(both);
		uint8_t bytes[68] = {0};
		int len = BN_num_bytes(n) < (int)sizeof(bytes) ? BN_bn2bin(n, bytes + 1) : 0;
		bool sign_bit = bytes[1] & 0x80;

		wire_put_string(&wire, bytes + !sign_bit, (size_t)len + sign_bit);
	}
	ECDSA_SIG_free(both);
	*sig_len = wire.len;
	return *sig ? 0 : -ENOMEM;
}

int privkey_sign(const struct privkey *key, const char *algorithm, const uint8_t *data, size_t len,
    uint8_t **sig, size_t *sig_len)
{
	const struct span type = {(const uint8_t *)key->type, strlen(key->type)};
	const struct curve *curve = curve_of(type);
	int err;

	if (curve && !strcmp(algorithm, curve->type)) {
		err = sign_raw(key->pkey, curve->digest, data, len, sig, sig_len);
		return err ? err : two_numbers(sig, sig_len);
	}
	if (!strcmp(key->type, "ssh-ed25519") && !strcmp(algorithm, "ssh-ed25519"))
		return sign_raw(key->pkey, NULL, data, len, sig, sig_len);
	if (!strcmp(key->type, "ssh-rsa") && !strcmp(algorithm, "rsa-sha2-512"))
		return sign_raw(key->pkey, "SHA512", data, len, sig, sig_len);
	if (!strcmp(key->type, "ssh-rsa") && !strcmp(algorithm, "rsa-sha2-256"))
		return sign_raw(key->pkey, "SHA256", data, len, sig, sig_len);
	return -ENOTSUP;
}

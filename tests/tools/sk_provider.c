/*
 * A security key made of software, for the tests: what `ssh-keygen -w`, `ssh-add -S` and ssh-agent
 * load in place of a FIDO token's driver (PROTOCOL.u2f and sk-api.h of OpenSSH, version 10 of that
 * interface: 8.9 to 10). It keeps nothing: the key handle is the private key itself, so it guards
 * no secret and is good for tests alone.
 *
 * A touch is always given; each one adds a byte to the file $SK_TOUCHES, if that is set.
 */
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define API_VERSION 0x000a0000u

enum { ALG_ECDSA, ALG_ED25519 };
enum { ERR_GENERAL = -1, ERR_UNSUPPORTED = -2 };

#define SECRET_LEN 32 /* of either kind: the seed, or the scalar */
#define PUBLIC_MAX 65

struct sk_enroll_response {
	uint8_t flags;
	uint8_t *public_key;
	size_t public_key_len;
	uint8_t *key_handle;
	size_t key_handle_len;
	uint8_t *signature;
	size_t signature_len;
	uint8_t *attestation_cert;
	size_t attestation_cert_len;
	uint8_t *authdata;
	size_t authdata_len;
};

struct sk_sign_response {
	uint8_t flags;
	uint32_t counter;
	uint8_t *sig_r;
	size_t sig_r_len;
	uint8_t *sig_s;
	size_t sig_s_len;
};

struct sk_option;
struct sk_resident_key;

uint32_t sk_api_version(void);
int sk_enroll(uint32_t alg, const uint8_t *challenge, size_t challenge_len, const char *application,
    uint8_t flags, const char *pin, struct sk_option **options, struct sk_enroll_response **out);
int sk_sign(uint32_t alg, const uint8_t *data, size_t len, const char *application,
    const uint8_t *key_handle, size_t key_handle_len, uint8_t flags, const char *pin,
    struct sk_option **options, struct sk_sign_response **out);
int sk_load_resident_keys(
    const char *pin, struct sk_option **options, struct sk_resident_key ***keys, size_t *n);

uint32_t sk_api_version(void)
{
	return API_VERSION;
}

/* The caller frees it with free(). */
static uint8_t *copy(const uint8_t *bytes, size_t len)
{
	uint8_t *out = malloc(len ? len : 1);

	if (out)
		memcpy(out, bytes, len);
	return out;
}

/* The group's point for a scalar, uncompressed. */
static int ecdsa_public(const uint8_t *secret, uint8_t *out)
{
	EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	BIGNUM *scalar = BN_bin2bn(secret, SECRET_LEN, NULL);
	EC_POINT *point = group ? EC_POINT_new(group) : NULL;
	size_t len = 0;

	if (point && scalar && EC_POINT_mul(group, point, scalar, NULL, NULL, NULL))
		len = EC_POINT_point2oct(
		    group, point, POINT_CONVERSION_UNCOMPRESSED, out, PUBLIC_MAX, NULL);
	EC_POINT_free(point);
	BN_free(scalar);
	EC_GROUP_free(group);
	return len == PUBLIC_MAX ? 0 : ERR_GENERAL;
}

/* A new key: its secret and public parts; 0 or an error. */
static int make_key(uint32_t alg, uint8_t *secret, uint8_t *public, size_t *public_len)
{
	EVP_PKEY *key;
	int rc = ERR_GENERAL;

	*public_len = PUBLIC_MAX;
	if (alg == ALG_ED25519) {
		size_t len = SECRET_LEN;

		key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
		if (key && EVP_PKEY_get_raw_private_key(key, secret, &len) > 0 &&
		    EVP_PKEY_get_raw_public_key(key, public, public_len) > 0)
			rc = 0;
	} else {
		BIGNUM *scalar = NULL;

		key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
		if (key && EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &scalar) > 0 &&
		    BN_bn2binpad(scalar, secret, SECRET_LEN) == SECRET_LEN)
			rc = ecdsa_public(secret, public);
		BN_clear_free(scalar);
	}
	EVP_PKEY_free(key);
	return rc;
}

int sk_enroll(uint32_t alg, const uint8_t *challenge, size_t challenge_len, const char *application,
    uint8_t flags, const char *pin, struct sk_option **options, struct sk_enroll_response **out)
{
	uint8_t secret[SECRET_LEN], public[PUBLIC_MAX];
	struct sk_enroll_response *response;
	size_t public_len;

	if (alg != ALG_ECDSA && alg != ALG_ED25519)
		return ERR_UNSUPPORTED;
	if (make_key(alg, secret, public, &public_len))
		return ERR_GENERAL;
	response = calloc(1, sizeof(*response));
	if (!response)
		return ERR_GENERAL;
	response->flags = flags;
	response->public_key = copy(public, response->public_key_len = public_len);
	response->key_handle = copy(secret, response->key_handle_len = sizeof(secret));
	/* OpenSSH wants an attestation, and looks at none */
	response->signature = copy(secret, 0);
	*out = response;
	return 0;
}

static EVP_PKEY *ecdsa_key(const uint8_t *secret)
{
	uint8_t public[PUBLIC_MAX], scalar[SECRET_LEN];
	OSSL_PARAM params[4];
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *key = NULL;
	char group[] = "P-256";

	/* in the machine's byte order */
	for (int i = 0; i < SECRET_LEN; i++)
		scalar[i] = secret[SECRET_LEN - 1 - i];
	params[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0);
	params[1] =
	    OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, public, sizeof(public));
	params[2] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, scalar, sizeof(scalar));
	params[3] = OSSL_PARAM_construct_end();
	if (!context || ecdsa_public(secret, public) || EVP_PKEY_fromdata_init(context) <= 0 ||
	    EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, params) <= 0)
		key = NULL;
	EVP_PKEY_CTX_free(context);
	return key;
}

/* r and s apart, as the interface wants them. */
static int split_ecdsa(const uint8_t *der, size_t len, struct sk_sign_response *out)
{
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);

	if (!sig)
		return ERR_GENERAL;
	out->sig_r_len = (size_t)BN_num_bytes(ECDSA_SIG_get0_r(sig));
	out->sig_s_len = (size_t)BN_num_bytes(ECDSA_SIG_get0_s(sig));
	out->sig_r = malloc(out->sig_r_len);
	out->sig_s = malloc(out->sig_s_len);
	if (out->sig_r && out->sig_s) {
		BN_bn2bin(ECDSA_SIG_get0_r(sig), out->sig_r);
		BN_bn2bin(ECDSA_SIG_get0_s(sig), out->sig_s);
	}
	ECDSA_SIG_free(sig);
	return out->sig_r && out->sig_s ? 0 : ERR_GENERAL;
}

static int sign(uint32_t alg, const uint8_t *secret, const uint8_t *blob, size_t len,
    struct sk_sign_response *out)
{
	EVP_PKEY *key = alg == ALG_ED25519 ? EVP_PKEY_new_raw_private_key(
						 EVP_PKEY_ED25519, NULL, secret, SECRET_LEN)
					   : ecdsa_key(secret);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	uint8_t sig[128];
	size_t sig_len = sizeof(sig);
	int rc = ERR_GENERAL;

	if (key && context &&
	    EVP_DigestSignInit(context, NULL, alg == ALG_ED25519 ? NULL : EVP_sha256(), NULL, key) >
		0 &&
	    EVP_DigestSign(context, sig, &sig_len, blob, len) > 0) {
		if (alg == ALG_ED25519)
			rc = (out->sig_r = copy(sig, out->sig_r_len = sig_len)) ? 0 : ERR_GENERAL;
		else
			rc = split_ecdsa(sig, sig_len, out);
	}
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
	return rc;
}

static void count_touch(void)
{
	const char *path = getenv("SK_TOUCHES");
	int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (fd < 0)
		return;
	if (write(fd, ".", 1) != 1)
		abort();
	close(fd);
}

/* What a token signs: SHA256(application), flags, counter, SHA256(message). */
int sk_sign(uint32_t alg, const uint8_t *data, size_t len, const char *application,
    const uint8_t *key_handle, size_t key_handle_len, uint8_t flags, const char *pin,
    struct sk_option **options, struct sk_sign_response **out)
{
	struct sk_sign_response *response;
	uint8_t blob[SHA256_DIGEST_LENGTH + 5 + SHA256_DIGEST_LENGTH];
	uint8_t *at = blob + SHA256_DIGEST_LENGTH;

	if ((alg != ALG_ECDSA && alg != ALG_ED25519) || key_handle_len != SECRET_LEN)
		return ERR_UNSUPPORTED;
	response = calloc(1, sizeof(*response));
	if (!response)
		return ERR_GENERAL;
	response->flags = flags;
	response->counter = (uint32_t)time(NULL);
	SHA256((const uint8_t *)application, strlen(application), blob);
	*at++ = flags;
	for (int shift = 24; shift >= 0; shift -= 8)
		*at++ = (uint8_t)(response->counter >> shift);
	SHA256(data, len, at);
	if (sign(alg, key_handle, blob, sizeof(blob), response)) {
		free(response->sig_r);
		free(response->sig_s);
		free(response);
		return ERR_GENERAL;
	}
	count_touch();
	*out = response;
	return 0;
}

/* Nothing lies on the token. */
int sk_load_resident_keys(
    const char *pin, struct sk_option **options, struct sk_resident_key ***keys, size_t *n)
{
	*keys = NULL;
	*n = 0;
	return 0;
}

/* Private keys: each format read, each passphrase checked, each damage noticed, and signatures that
 * the public half takes. The keys were made by puttygen and ssh-keygen for this test alone. */
#include "transport/privkey.h"
#include <errno.h>
#include <openssl/ecdsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECRET "geheim wort"

static const char plain_3[] =
    "PuTTY-User-Key-File-3: ssh-ed25519\n"
    "Encryption: none\n"
    "Comment: a comment ed25519\n"
    "Public-Lines: 2\n"
    "AAAAC3NzaC1lZDI1NTE5AAAAIBnd/0MENqcYAB8JAnmOKCJbFWtXHy4qf6KYV5Ia\n"
    "8MiM\n"
    "Private-Lines: 1\n"
    "AAAAIBov45xrOh9VgBJ3nB82D4e4ly4me9H/LjWQPX1nrRwD\n"
    "Private-MAC: 8e4a8134fe6dd6e75886e828abad13438501a76136db5b771989de01b1870c7a\n";

static const char id_3[] =
    "PuTTY-User-Key-File-3: ssh-ed25519\n"
    "Encryption: aes256-cbc\n"
    "Comment: a comment ed25519\n"
    "Public-Lines: 2\n"
    "AAAAC3NzaC1lZDI1NTE5AAAAIBnd/0MENqcYAB8JAnmOKCJbFWtXHy4qf6KYV5Ia\n"
    "8MiM\n"
    "Key-Derivation: Argon2id\n"
    "Argon2-Memory: 64\n"
    "Argon2-Passes: 1\n"
    "Argon2-Parallelism: 2\n"
    "Argon2-Salt: cff155f4817355a84455b01fac52bcfc\n"
    "Private-Lines: 1\n"
    "W1aQdKUDQ9KJ+wpCmU569SKej1qbolE/dgZZI7wxy6K+BU4kVahO+TNZ0SLkvzz9\n"
    "Private-MAC: 58fb72093021cee74617ac3c9ba3bf96f01cd8fbef7f38548cef23981d320b90\n";

static const char i_3[] =
    "PuTTY-User-Key-File-3: ecdsa-sha2-nistp256\n"
    "Encryption: aes256-cbc\n"
    "Comment: a comment ecdsab256\n"
    "Public-Lines: 3\n"
    "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBKDwIjKxga16\n"
    "jqifK6U1cr3wV/XJbqZ/jApfmsGDyVoyDUTF5etZ6bFY3behQjWouKpvJMOWo6xc\n"
    "mafW7735Ql8=\n"
    "Key-Derivation: Argon2i\n"
    "Argon2-Memory: 64\n"
    "Argon2-Passes: 1\n"
    "Argon2-Parallelism: 1\n"
    "Argon2-Salt: f2b4aae2af474f08c085c5cb1d4f92d3\n"
    "Private-Lines: 1\n"
    "ZJsEIyLJQbyQlpOTyCBmhz2BLDCAKAWqwB292/yS79wfWAq/m1w9Erw16Pph2FOC\n"
    "Private-MAC: a70aaf23609aa24c04c8089ad0510f62e89017bc32ba89d7e0145487c9342500\n";

static const char d_3[] =
    "PuTTY-User-Key-File-3: ecdsa-sha2-nistp384\n"
    "Encryption: aes256-cbc\n"
    "Comment: a comment ecdsab384\n"
    "Public-Lines: 3\n"
    "AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBPdleg5hSJn4\n"
    "Iu+x9z4icuJB/NJ/l5/xtUJfUx+/JOthRnDk3n7KImGlf+GW/RAZcCyssZP5w74b\n"
    "I2co8TNKBljMo5b+nmVrxrJ4KrgXY0GSsOL9k01FhX3IdlKgvG3PvA==\n"
    "Key-Derivation: Argon2d\n"
    "Argon2-Memory: 64\n"
    "Argon2-Passes: 1\n"
    "Argon2-Parallelism: 1\n"
    "Argon2-Salt: 58ea9601a599edb33f36cf61d652dbb8\n"
    "Private-Lines: 2\n"
    "ummWua++dzPsGjSLRvXCxfNtKWX70jrgsOdkeggtAHrx8rxUvy/S1RhbyrmlblmQ\n"
    "5giy2UfLylLrQi887NzZ9Q==\n"
    "Private-MAC: 235567023eeaa2bcc3a8d34942cabd8a7a193e6a96c984758811e140a75be7c0\n";

static const char rsa_2[] = "PuTTY-User-Key-File-2: ssh-rsa\n"
			    "Encryption: aes256-cbc\n"
			    "Comment: eine RSA\n"
			    "Public-Lines: 4\n"
			    "AAAAB3NzaC1yc2EAAAADAQABAAAAgQDQiB2EqPf7xbm1mkkWbVhGPebslwCsGpJl\n"
			    "Tuk+xC5DpWLfZBliJYYGk59BHY95tHor7s2QF7igieaopMQFCo51R/xANf1Sk+R2\n"
			    "/+LlzZG/bX0q9jMOV96/YjhRcFKaDP2C7AO1OWwCTZjGM/4h9xZEJ6paO2H6Mn9l\n"
			    "W06Ir1YISQ==\n"
			    "Private-Lines: 8\n"
			    "nfWl/FJlSKD1Zp4iavvKTkn2UdrepqRA4Sxp8NLU2B43zO+1o6nP7aJTvv4HgQk2\n"
			    "maqqcKdMENrHpEBhDT7DKtyV0p1xzbTfRh43LehtMZppskTNmCdb7eHVDo9vPzXY\n"
			    "2exg/tWCjtkctaTTZTR7k+pAurPWlEi5lqBIuNSeHJwLWSdCyfLgdmD5e0TKrL/M\n"
			    "UrYxvQNH3s++9ClPTb/9c2u/uWG3p7cRJS6qs5j0moCIIOIFG2EnIzGOzXoDe8Qe\n"
			    "LPG/LFjbBp2TazFzx6gLuk9vAOJvguIznI567BN8SN3owor3HL72uC10tuYPW6L/\n"
			    "Skn7/RNgAuna2Oj8yV8N8TES4P+7IdZmH0dKSVHKX39bnFBn5ZD9m9b2BINHA6J0\n"
			    "NZ4K7vWNtjWXiCkX6ecHh7XwzjHRIYRFLWJQ7j3zrc9pyDPNS79BENf5azTVZpwo\n"
			    "8ArkS/1NgmThbLPAQ4SkKg==\n"
			    "Private-MAC: 4998a226a6832a71b7fcf2612863e961eecdeff2\n";

static const char plain_2[] = "PuTTY-User-Key-File-2: ecdsa-sha2-nistp521\n"
			      "Encryption: none\n"
			      "Comment: a comment ecdsab521\n"
			      "Public-Lines: 4\n"
			      "AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBADYsGHbObkK\n"
			      "CbCswslpfH3hDFmQrFpKb2Vrgb30i7ni2v5SkhZsEIIU5t4hgXXtjxG4pSwPy6lm\n"
			      "LgG2cDtCWToV2AEDNRupzE1xbPSo4kFWxGG1SAYJxoSVB9pp/Sxy1o5UKsisVdFi\n"
			      "tJZj4IjHhSEEI8/PV0eWoN3L0+7uf5Hp5nojGQ==\n"
			      "Private-Lines: 2\n"
			      "AAAAQgHyXokfuvZ53/f0aOTWtWg1SQSrQWlfq1g2wBLyNWVj4zRaQuJDh4pWn5X8\n"
			      "SW490SoEywsXkTy5HHDox3KfV15Hng==\n"
			      "Private-MAC: 5677eb2d4a42516fd420bc0315df9edbbdcba6e6\n";

static const char openssh_ctr[] =
    "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    "b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABDT4hBBfY\n"
    "yd1WNEAkIvih8DAAAAAQAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIBnd/0MENqcYAB8J\n"
    "AnmOKCJbFWtXHy4qf6KYV5Ia8MiMAAAAoNBSAOC9lq4qBaK33VsoR0WX+BKVCOuU+UFOfw\n"
    "7IqH4ZpPCW8jevOjXX9wTRP86e87OgyTjJfZhwNZ4MPXKAvwznhvhjacU4FeANnnplP3x2\n"
    "9pFoMBnNbwgDEbrOM926i+pfNljihqsNGOh/6HAa8zYSiJ57uFSihA0er8hrkQfFEw64LI\n"
    "m54DPLDGVVRBRGOYy1krVG7i3i3Idxl1ZLFsk=\n"
    "-----END OPENSSH PRIVATE KEY-----\n";

static const char openssh_gcm[] =
    "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    "b3BlbnNzaC1rZXktdjEAAAAAFmFlczI1Ni1nY21Ab3BlbnNzaC5jb20AAAAGYmNyeXB0AA\n"
    "AAGAAAABAbQcchEwxjNzDDEiFbPyOFAAAAAgAAAAEAAACXAAAAB3NzaC1yc2EAAAADAQAB\n"
    "AAAAgQDQiB2EqPf7xbm1mkkWbVhGPebslwCsGpJlTuk+xC5DpWLfZBliJYYGk59BHY95tH\n"
    "or7s2QF7igieaopMQFCo51R/xANf1Sk+R2/+LlzZG/bX0q9jMOV96/YjhRcFKaDP2C7AO1\n"
    "OWwCTZjGM/4h9xZEJ6paO2H6Mn9lW06Ir1YISQAAAgDQHRzchgsnn9oJPKf8WZL1FfUl2B\n"
    "K08l+tUtnIuPtdAumAGs/I6eX+u/UZb786j/JaczSY+uaETHl5Cx0vpa3byZ1HExyPYJbp\n"
    "C2Rnu0lq3g08u+qzTObpbPLxDqDkneDTHYry/ow31CIjrM7O2bobklBLdOcR04goDvx+ES\n"
    "qlepUJxV4mzTWmD+o/WzcxN7JrSTN/yQZbZpgiqcc2PGbgRXDaWDRMcxbLRMscp+PGO6k5\n"
    "8HTzzAfuRvMw21AnACVz8Ft5bk9hniiHvGKNTWb6kUfV2XgAiZLEoOuDgGpm0h8Mr18n0V\n"
    "PuaV+SSC+LEU/hmgio48iE3HuXBqmH3OZq6B9fYne/qN3wE9nzkiJILv8Ij4ZvQie0l5/m\n"
    "joBwdwhocSyfkS03GNz0tGZMZH9mI2iqGmnRN2pTP3Z89ZXdzh6bV8NYbSCN76SOE9bqJQ\n"
    "mW5EBiZaOL8A1pACD0E7W13mUVUXWG3B9MvafI1HYtv88LFEBbowU9eYDIvA4JZ/ilyz2S\n"
    "36fF1pLbmqObnVdpDSi8ZFmRVv/UBV/GKkGWw74GYaVm7ccDw2AnS4Bc4yUjam2WhDwgju\n"
    "ewUbgmGxUPYHf9ESBkNrJDtuIUEIMIcLdXR1nzBi9QUJr0BAvLSwH9ywXDKtCbRsTXS9JI\n"
    "FiUhDeAJmdZ6yMMf76tT8J6QKPIjdD1qXGi9F/s2bN9ccxc=\n"
    "-----END OPENSSH PRIVATE KEY-----\n";

static const char pem_rsa[] = "-----BEGIN RSA PRIVATE KEY-----\n"
			      "Proc-Type: 4,ENCRYPTED\n"
			      "DEK-Info: DES-EDE3-CBC,B276C3F40A9EF0DA\n"
			      "\n"
			      "3g17avidcA8c15Zn2BKuHqgq1pqCknJf8jUgOeDOYCcAwKyv+Pb+h+m/hZIVUedN\n"
			      "2rkqHElzwDUpcei4QzhPZnh4U7ivx44pr/n1UXMggl0s1fIuUwXW4k5JJYkvawQB\n"
			      "1J2X1XoRfPqul75g343LHyOzhOrqTqrwFcygYJcE/3e0U7CGQ96VB0B3N2sG5zwi\n"
			      "Y13isTf1kE+yRa5D2m8nsbulMHTYuSbWs6C1xoRrHNI35c7RQF8prkM6k+dH97ht\n"
			      "XsRuIA8tcuyav+N+lyRhXHtrYBXOy9BKxgjyLJq/QzwLb2jx9Jbi9XCciri6hr6Q\n"
			      "wOCnKgGhfNvstDfzBB5Xxxg4zyysWJWCKfp3jI70S88kewsj3AFtx7r25tLSFOYa\n"
			      "CUyP25Xa9mkO5V0KpB2DEVi4Wjn3jdfSL/09nG7UTR3uLdBstO2rp7jgOF0fMYWE\n"
			      "cjp50rUlb9MBOAAeg8fGatGEaUWpT+GE1QYubBe58jFPvjUey/Q2j87dfRSaQVrg\n"
			      "4aziFpHmwGaCQtIeLASQce3iQn2d6t3Hh1qAk2EHjJROgYvFsDV9X/z2i9NLhMOV\n"
			      "YoMoZlas9/8iuSRj2Lwxv0ZuKyRRfuXhS8k21rya6V/hT4bQCID4qJokyfFU4Ueb\n"
			      "pgb02HvVLK/9Djf9O6d334noBNmX0B/sl4umNjHtinzqaaoxxTktRJdjFSJAXBhU\n"
			      "SCpWL65VTZ456jQqOp2JzavmHvQn0JiFUSlAfJDvBFLvzhAhCnPMarEkjd9dsayg\n"
			      "+wjzTJjJlGCgBAK2tavshNNn/SGfei7cO67M0+XYEGWbL42kUF3UgA==\n"
			      "-----END RSA PRIVATE KEY-----\n";

static char why[PRIVKEY_WHY_MAX];

static int parse(const char *text, const char *secret, struct privkey **key)
{
	return privkey_parse(text, strlen(text), secret, key, why);
}

/* --- reading ------------------------------------------------------------------------------------
 */

static const struct form {
	const char *text, *type;
	bool encrypted;
} forms[] = {
    {plain_3, "ssh-ed25519", false},
    {id_3, "ssh-ed25519", true},
    {i_3, "ecdsa-sha2-nistp256", true},
    {d_3, "ecdsa-sha2-nistp384", true},
    {rsa_2, "ssh-rsa", true},
    {plain_2, "ecdsa-sha2-nistp521", false},
    {openssh_ctr, "ssh-ed25519", true},
    {openssh_gcm, "ssh-rsa", true},
    {pem_rsa, "ssh-rsa", true},
};

#define N_FORMS (sizeof(forms) / sizeof(*forms))

/* The signature is one of the key's own, over the data, by the algorithm. */
static void check_signature(const struct privkey *key, const char *algorithm, const char *digest)
{
	static const uint8_t data[] = "some data";
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t *sig = NULL, *der = NULL;
	size_t len;

	assert_int_equal(privkey_sign(key, algorithm, data, sizeof(data), &sig, &len), 0);
	if (!strncmp(algorithm, "ecdsa", 5)) {
		struct span rest = {sig, len}, r = {0}, s = {0};
		ECDSA_SIG *both = ECDSA_SIG_new();

		assert_true(wire_get_string(&rest, &r) && wire_get_string(&rest, &s));
		assert_int_equal(rest.len, 0);
		assert_int_equal(r.data[0] & 0x80, 0);
		assert_int_equal(s.data[0] & 0x80, 0);
		assert_int_equal(ECDSA_SIG_set0(both, BN_bin2bn(r.data, (int)r.len, NULL),
				     BN_bin2bn(s.data, (int)s.len, NULL)),
		    1);
		len = (size_t)i2d_ECDSA_SIG(both, &der);
		ECDSA_SIG_free(both);
	}
	assert_int_equal(
	    EVP_DigestVerifyInit_ex(ctx, NULL, digest, NULL, NULL, key->pkey, NULL), 1);
	assert_int_equal(EVP_DigestVerify(ctx, der ? der : sig, len, data, sizeof(data)), 1);
	EVP_MD_CTX_free(ctx);
	OPENSSL_free(der);
	free(sig);
}

static void reads_each_form(void **state)
{
	for (size_t i = 0; i < N_FORMS; i++) {
		struct privkey *key;

		assert_int_equal(parse(forms[i].text, forms[i].encrypted ? SECRET : NULL, &key), 0);
		assert_string_equal(key->type, forms[i].type);
		if (!strcmp(key->type, "ssh-rsa")) {
			check_signature(key, "rsa-sha2-512", "SHA512");
			check_signature(key, "rsa-sha2-256", "SHA256");
		} else {
			check_signature(key, key->type,
			    strstr(key->type, "256")   ? "SHA256"
			    : strstr(key->type, "384") ? "SHA384"
			    : strstr(key->type, "521") ? "SHA512"
						       : NULL);
		}
		privkey_free(key);
	}
}

/* One key in three forms. */
static void forms_agree(void **state)
{
	struct privkey *a, *b;

	assert_int_equal(parse(plain_3, NULL, &a), 0);
	assert_int_equal(parse(openssh_ctr, SECRET, &b), 0);
	assert_int_equal(a->blob_len, b->blob_len);
	assert_memory_equal(a->blob, b->blob, a->blob_len);
	privkey_free(b);
	privkey_free(a);
	assert_int_equal(parse(rsa_2, SECRET, &a), 0);
	assert_int_equal(parse(pem_rsa, SECRET, &b), 0);
	assert_int_equal(a->blob_len, b->blob_len);
	assert_memory_equal(a->blob, b->blob, a->blob_len);
	privkey_free(b);
	assert_int_equal(parse(openssh_gcm, SECRET, &b), 0);
	assert_memory_equal(a->blob, b->blob, a->blob_len);
	privkey_free(b);
	privkey_free(a);
}

static void other_algorithms(void **state)
{
	const uint8_t data[1] = {0};
	struct privkey *key;
	uint8_t *sig;
	size_t len;

	assert_int_equal(parse(rsa_2, SECRET, &key), 0);
	assert_int_equal(privkey_sign(key, "ssh-rsa", data, 1, &sig, &len), -ENOTSUP);
	assert_int_equal(privkey_sign(key, "ssh-ed25519", data, 1, &sig, &len), -ENOTSUP);
	privkey_free(key);
}

static void passphrases(void **state)
{
	for (size_t i = 0; i < N_FORMS; i++) {
		struct privkey *key;

		if (!forms[i].encrypted)
			continue;
		assert_int_equal(parse(forms[i].text, NULL, &key), -ENOKEY);
		assert_null(key);
		assert_non_null(strstr(why, "passphrase"));
		assert_int_equal(parse(forms[i].text, "geheim", &key), -EKEYREJECTED);
		assert_null(key);
		assert_non_null(strstr(why, "does not open"));
		assert_int_equal(parse(forms[i].text, "", &key), -EKEYREJECTED);
	}
}

static void line_ends(void **state)
{
	static const char *const ends[] = {"\r\n", "\r"};
	char text[2048];

	for (size_t i = 0; i < 2; i++) {
		struct privkey *key;
		char *to = text;

		for (const char *at = id_3; *at; at++) {
			if (*at == '\n')
				to = stpcpy(to, ends[i]);
			else
				*to++ = *at;
		}
		*to = '\0';
		assert_int_equal(parse(text, SECRET, &key), 0);
		privkey_free(key);
	}
}

/* --- damage -------------------------------------------------------------------------------------
 */

/* Whatever byte is another, or wherever the file ends: no key, or the very same one. */
static void each_damage(const char *text)
{
	size_t len = strlen(text);
	char *copy = strdup(text);
	struct privkey *good, *key;

	assert_int_equal(parse(text, NULL, &good), 0);
	for (size_t i = 0; i < len; i++) {
		static const char others[] = {'A', '=', '\n', ' ', '9', ':', '\x80'};

		for (size_t j = 0; j < sizeof(others); j++) {
			copy[i] = others[j];
			if (!parse(copy, NULL, &key)) {
				assert_int_equal(key->blob_len, good->blob_len);
				assert_memory_equal(key->blob, good->blob, good->blob_len);
				privkey_free(key);
			} else {
				assert_null(key);
				assert_int_not_equal(why[0], '\0');
			}
		}
		copy[i] = text[i];
		if (!privkey_parse(text, i, NULL, &key, why))
			privkey_free(key);
	}
	privkey_free(good);
	free(copy);
}

static void damaged_putty(void **state)
{
	each_damage(plain_3);
	each_damage(plain_2);
}

static char *replaced(const char *text, const char *old, const char *new)
{
	const char *at = strstr(text, old);
	char *out = NULL;

	assert_non_null(at);
	assert_true(asprintf(&out, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old)) > 0);
	return out;
}

static void putty_messages(void **state)
{
	static const struct {
		const char *text, *old, *new;
		int err;
		const char *word;
	} cases[] = {
	    {plain_3, "File-3", "File-4", -ENOTSUP, "version"},
	    {plain_3, "Private-MAC: ", "Private-MAC: 00", -EBADMSG, "Private-MAC"},
	    {plain_3, "a comment", "A comment", -EBADMSG, "MAC does not match"},
	    {plain_3, "Public-Lines: 2", "Public-Lines: 1", -EBADMSG, "is damaged"},
	    {plain_3, "Private-Lines: 1", "Private-Lines: 999999999", -EBADMSG, "private part"},
	    {plain_3, "Encryption: none", "Encryption: rot13", -ENOTSUP, "encryption"},
	    {id_3, "Argon2id", "Argon3", -ENOTSUP, "puttygen"},
	    {id_3, "Argon2-Memory: 64", "Argon2-Memory: 99999999", -ENOTSUP, "1 GiB"},
	    {id_3, "Argon2-Memory: 64", "Argon2-Memory: 1", -EBADMSG, "is damaged"},
	    {id_3, "Argon2-Passes: 1", "Argon2-Passes: 0", -EBADMSG, "is damaged"},
	    {id_3, "Argon2-Passes: 1", "Argon2-Passes: x", -EBADMSG, "Argon2"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *text = replaced(cases[i].text, cases[i].old, cases[i].new);
		struct privkey *key;

		assert_int_equal(parse(text, SECRET, &key), cases[i].err);
		assert_non_null(strstr(why, cases[i].word));
		free(text);
	}
}

static void not_keys(void **state)
{
	static const char *const texts[] = {"", "hello\n", "ssh-ed25519 AAAA me\n",
	    "-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----\n",
	    "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
	    "-----BEGIN PRIVATE KEY-----\nMHc=\n-----END PRIVATE KEY-----\n",
	    "PuTTY-User-Key-File-3: ssh-ed25519", "PuTTY-User-Key-File-"};
	struct privkey *key;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		assert_true(parse(texts[i], NULL, &key) < 0);
		assert_null(key);
		assert_int_not_equal(why[0], '\0');
	}
	assert_int_equal(privkey_load("/nonexistent/key", NULL, &key, why), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_each_form),
	    cmocka_unit_test(forms_agree),
	    cmocka_unit_test(other_algorithms),
	    cmocka_unit_test(passphrases),
	    cmocka_unit_test(line_ends),
	    cmocka_unit_test(damaged_putty),
	    cmocka_unit_test(putty_messages),
	    cmocka_unit_test(not_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

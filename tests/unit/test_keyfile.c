/* Key files: told apart, refused in one clear line, or left to ssh-agent. */
#include "conf/keyfile.h"
#include "tests/unit/profile_fixture.h"

/* The same with "aes256-ctr" and "bcrypt". */
static const char key_encrypted[] =
    "-----BEGIN OPENSSH PRIVATE KEY-----\r\n"
    "b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAAAAAAAEAAAAzAA\r\n"
    "AAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n"
    "-----END OPENSSH PRIVATE KEY-----\r\n";
/* The same as the first with the type "sk-ssh-ed25519@openssh.com". */
static const char key_hardware[] =
    "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAHgAAABpzay1zc2\n"
    "gtZWQyNTUxOUBvcGVuc3NoLmNvbQ==\n"
    "-----END OPENSSH PRIVATE KEY-----\n";

static void test_key_content(void **state)
{
	static const struct {
		const char *text;
		enum keyfile_state state;
	} cases[] = {
	    {key_plain, KEYFILE_USABLE},
	    {key_encrypted, KEYFILE_ENCRYPTED},
	    {key_hardware, KEYFILE_HARDWARE},
	    {"-----BEGIN EC PRIVATE KEY-----\nMHc=\n", KEYFILE_USABLE},
	    {"-----BEGIN PRIVATE KEY-----\nMHc=\n", KEYFILE_USABLE},
	    {"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", KEYFILE_ENCRYPTED},
	    {"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMHc=\n", KEYFILE_ENCRYPTED},
	    {"-----BEGIN PUBLIC KEY-----\nMHc=\n", KEYFILE_PUBLIC},
	    {"---- BEGIN SSH2 PUBLIC KEY ----\n", KEYFILE_PUBLIC},
	    {"ssh-ed25519 AAAA me\n", KEYFILE_PUBLIC},
	    {"ecdsa-sha2-nistp256 AAAA me\n", KEYFILE_PUBLIC},
	    {"PuTTY-User-Key-File-3: ssh-ed25519\r\n", KEYFILE_PUTTY},
	    {"", KEYFILE_UNKNOWN},
	    {"hello\n", KEYFILE_UNKNOWN},
	    {"-----BEGIN CERTIFICATE-----\n", KEYFILE_UNKNOWN},
	    {"-----BEGIN OPENSSH PRIVATE KEY-----\n", KEYFILE_UNKNOWN},
	    {"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA/////w==", KEYFILE_UNKNOWN},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(
		    keyfile_inspect_text(cases[i].text, strlen(cases[i].text)), cases[i].state);
	/* Cut anywhere, it is never read past its end. */
	for (size_t n = 0; n < strlen(key_encrypted); n++) {
		char *copy = malloc(n + 1);

		memcpy(copy, key_encrypted, n);
		keyfile_inspect_text(copy, n);
		free(copy);
	}
}

static void test_bad_given_keys(void **state)
{
	static const char ini[] = "[x]\nhost=h\nkey=~/k1\n";

	bad(ini, "x", "", "my.ini:3:|k1|does not exist");
	bad("", "r@h", "key=~/k1", "-o key=~/k1:|does not exist");
	put_file("k1", key_plain, 0640);
	bad(ini, "x", "", "my.ini:3:|chmod 600|k1");
	put_file("k1", key_plain, 0602);
	bad("", "r@h", "key=~/k1", "-o key=~/k1:|chmod 600");
	put_file("k1", "ssh-ed25519 AAAA me\n", 0644);
	bad(ini, "x", "", "my.ini:3:|public");
	put_file("k1", "garbage", 0600);
	bad(ini, "x", "", "my.ini:3:|not a private key");
	bad("", "r@h", "key=~/.ssh", "-o key=~/.ssh:|not a file");
	/* The good ones before a bad one are freed. */
	put_file("k2", key_plain, 0600);
	bad("", "r@h", "key=~/k2|key=~/k1|key=~/k2", "-o key=~/k1:");
}

/* A passphrase can be asked for, a security key be touched: that is seen when they are used. */
static void test_keys_that_ask(void **state)
{
	struct profile *p;

	put_file("k1", key_encrypted, 0600);
	put_file("k2", key_plain, 0600);
	put_file("k3", key_hardware, 0600);
	p = good("", "r@h", "key=~/k1|key=~/k2|key=~/k3");
	assert_true(p->keys_given);
	assert_int_equal(p->n_keys, 3);
	assert_false(p->putty_keys);
	profile_free(p);
	put_file("k2", "PuTTY-User-Key-File-2: ssh-rsa\n", 0600);
	p = good("", "r@h", "key=~/k1|key=~/k2");
	assert_int_equal(p->n_keys, 2);
	assert_true(p->putty_keys);
	profile_free(p);
	put_file("k1", key_encrypted, 0640);
	bad("", "r@h", "key=~/k1", "chmod 600");
}

static void note(void *arg, const char *line, long long when)
{
	snprintf((char *)arg + strlen(arg), 1000 - strlen(arg), "%s\n", line);
}

static void test_default_keys(void **state)
{
	struct profile *p;
	char lines[1000] = "";

	/* The warning itself is looked at below, not shown. */
	log_set_level(LOG_LEVEL_ERROR);
	put_file(".ssh/id_ed25519", key_encrypted, 0600);
	put_file(".ssh/id_ecdsa", key_plain, 0644);
	put_file(".ssh/id_rsa", key_plain, 0600);
	p = good("", "r@h", "");
	assert_false(p->keys_given);
	assert_int_equal(p->n_keys, 2);
	assert_string_equal(p->keys[0], in_home(".ssh/id_ed25519"));
	assert_string_equal(p->keys[1], in_home(".ssh/id_rsa"));
	profile_free(p);
	log_recent(note, lines);
	assert_non_null(strstr(lines, "id_ecdsa"));
	assert_non_null(strstr(lines, "chmod 600"));
	assert_null(strstr(lines, "id_ed25519"));
	put_file(".ssh/id_ed25519", key_plain, 0600);
	put_file(".ssh/id_ecdsa", key_plain, 0600);
	p = good("", "r@h", "");
	assert_int_equal(p->n_keys, 3);
	assert_string_equal(p->keys[0], in_home(".ssh/id_ed25519"));
	assert_string_equal(p->keys[1], in_home(".ssh/id_ecdsa"));
	profile_free(p);
	/* last, as it wants a touch */
	put_file(".ssh/id_ecdsa_sk", key_hardware, 0600);
	p = good("", "r@h", "");
	assert_int_equal(p->n_keys, 4);
	assert_string_equal(p->keys[3], in_home(".ssh/id_ecdsa_sk"));
	profile_free(p);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_key_content),
	    TEST(test_bad_given_keys),
	    TEST(test_keys_that_ask),
	    TEST(test_default_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

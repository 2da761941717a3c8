/* The known_hosts policy: which keys are trusted, asked for, refused, and what gets written down.
 * No network. */
#include "transport/known_hosts.h"
#include "transport/ssh_hostkey.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT 20544
#define WHERE "[10.1.2.3]:20544"

struct key {
	uint8_t bytes[64];
	size_t len;
	char text[128]; /* "type base64" */
};

struct rig {
	char dir[64], file[96];
	struct profile profile;
	struct ssh_target target;
	struct ssh_error error;
	bool answer;
	unsigned asked;
	char question[2048];
	struct key ed, ed2, ecdsa;
};

/* A key of a type with a body of one repeated byte: the policy never looks inside. */
static struct key make_key(const char *type, int fill)
{
	struct key key = {.len = 4 + strlen(type) + 4 + 16};
	char base64[96];

	key.bytes[3] = (uint8_t)strlen(type);
	memcpy(key.bytes + 4, type, strlen(type));
	key.bytes[4 + strlen(type) + 3] = 16;
	memset(key.bytes + key.len - 16, fill, 16);
	assert_int_equal(known_hosts_base64(key.bytes, key.len, base64, sizeof(base64)), 0);
	snprintf(key.text, sizeof(key.text), "%s %s", type, base64);
	return key;
}

static bool on_ask(void *arg, const char *question, const char *fingerprint)
{
	struct rig *rig = arg;

	rig->asked++;
	snprintf(rig->question, sizeof(rig->question), "%s", question);
	assert_non_null(strstr(question, fingerprint));
	return rig->answer;
}

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	snprintf(rig->dir, sizeof(rig->dir), "/tmp/vastfs-hostkey-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	snprintf(rig->file, sizeof(rig->file), "%s/ssh/known_hosts", rig->dir);
	rig->profile = (struct profile){.id = strdup("4711"),
	    .host = strdup("10.1.2.3"),
	    .port = PORT,
	    .user = strdup("root"),
	    .known_hosts = rig->file,
	    .host_key = HOST_KEY_ASK};
	rig->target = (struct ssh_target){.profile = &rig->profile, .ask = on_ask, .ask_arg = rig};
	rig->ed = make_key("ssh-ed25519", 1);
	rig->ed2 = make_key("ssh-ed25519", 2);
	rig->ecdsa = make_key("ecdsa-sha2-nistp256", 3);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	unlink(rig->file);
	*strrchr(rig->file, '/') = '\0';
	rmdir(rig->file);
	assert_int_equal(rmdir(rig->dir), 0);
	free(rig->profile.id);
	free(rig->profile.host);
	free(rig->profile.user);
	free(rig);
	return 0;
}

static void put(struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct rig *rig, const char *format, ...)
{
	char text[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	assert_int_equal(known_hosts_append(rig->file, text), 0);
}

/* The kind of failure, SSH_OK for a trusted key. */
static enum ssh_failure check(struct rig *rig, const struct key *key)
{
	struct hostkey_query query = {
	    .target = &rig->target, .address = "10.1.2.3", .key = key->bytes, .key_len = key->len};
	int err;

	rig->error = (struct ssh_error){.kind = SSH_OK};
	err = ssh_hostkey_check(&query, &rig->error);
	assert_int_equal(err == 0, rig->error.kind == SSH_OK);
	return rig->error.kind;
}

static char *content(struct rig *rig)
{
	static char text[4096];
	FILE *in = fopen(rig->file, "re");
	size_t n = in ? fread(text, 1, sizeof(text) - 1, in) : 0;

	text[n] = '\0';
	if (in)
		fclose(in);
	return text;
}

static void put_hashed(struct rig *rig, const char *name, const struct key *key)
{
	uint8_t salt[20], mac[EVP_MAX_MD_SIZE];
	char salt64[64], mac64[64];
	unsigned len;

	memset(salt, 0x5a, sizeof(salt));
	HMAC(EVP_sha1(), salt, sizeof(salt), (const uint8_t *)name, strlen(name), mac, &len);
	assert_int_equal(known_hosts_base64(salt, sizeof(salt), salt64, sizeof(salt64)), 0);
	assert_int_equal(known_hosts_base64(mac, len, mac64, sizeof(mac64)), 0);
	put(rig, "|1|%s|%s %s\n", salt64, mac64, key->text);
}

/* --- asking ------------------------------------------------------------------------------ */

static void unknown_is_asked_in_openssh_words(void **state)
{
	struct rig *rig = *state;
	char expected[512], fingerprint[80];

	assert_int_equal(check(rig, &rig->ed), SSH_HOST_KEY_UNKNOWN);
	assert_int_equal(rig->asked, 1);
	ssh_hostkey_fingerprint(rig->ed.bytes, rig->ed.len, fingerprint, sizeof(fingerprint));
	snprintf(expected, sizeof(expected),
	    "The authenticity of host '" WHERE " (" WHERE ")' can't be established.\n"
	    "ED25519 key fingerprint is %s.\n"
	    "This key is not known by any other names.\n"
	    "Are you sure you want to continue connecting (yes/no/[fingerprint])? ",
	    fingerprint);
	assert_string_equal(rig->question, expected);
	assert_string_equal(content(rig), ""); /* "no" writes nothing */
}

static void yes_is_remembered_under_both_names(void **state)
{
	struct rig *rig = *state;
	char expected[512];
	struct stat st;

	rig->answer = true;
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_int_equal(rig->asked, 1);
	snprintf(
	    expected, sizeof(expected), WHERE " %s\nvastfs-4711 %s\n", rig->ed.text, rig->ed.text);
	assert_string_equal(content(rig), expected);
	assert_int_equal(stat(rig->file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	*strrchr(rig->file, '/') = '\0';
	assert_int_equal(stat(rig->file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	rig->file[strlen(rig->file)] = '/';
}

static void other_names_are_shown(void **state)
{
	struct rig *rig = *state;

	put(rig, "example.org %s\n", rig->ed.text);
	put_hashed(rig, "elsewhere", &rig->ed);
	assert_int_equal(check(rig, &rig->ed), SSH_HOST_KEY_UNKNOWN);
	assert_non_null(
	    strstr(rig->question, "known by the following other names/addresses:\n    /"));
	assert_non_null(strstr(rig->question, "known_hosts:1: example.org\n"));
	assert_non_null(strstr(rig->question, "known_hosts:2: [hashed name]\n"));
}

static void no_terminal_means_strict(void **state)
{
	struct rig *rig = *state;

	rig->target.ask = NULL;
	assert_int_equal(check(rig, &rig->ed), SSH_HOST_KEY_UNKNOWN);
	assert_non_null(strstr(rig->error.text, "no terminal"));
	assert_non_null(strstr(rig->error.text, "SHA256:"));
	assert_string_equal(content(rig), "");
}

static void strict_never_asks_nor_writes(void **state)
{
	struct rig *rig = *state;

	rig->profile.host_key = HOST_KEY_STRICT;
	assert_int_equal(check(rig, &rig->ed), SSH_HOST_KEY_UNKNOWN);
	assert_int_equal(rig->asked, 0);
	put(rig, WHERE " %s\n", rig->ed.text);
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_null(strstr(content(rig), "vastfs-"));
}

static void accept_new_takes_new_ones_only(void **state)
{
	struct rig *rig = *state;

	rig->profile.host_key = HOST_KEY_ACCEPT_NEW;
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_int_equal(rig->asked, 0);
	assert_int_equal(check(rig, &rig->ed2), SSH_HOST_KEY_CHANGED);
	/* A known server that suddenly shows another type is no new one. */
	assert_int_equal(check(rig, &rig->ecdsa), SSH_HOST_KEY_CHANGED);
}

/* --- knowing ----------------------------------------------------------------------------- */

static void known_by_address_is_pinned_by_id(void **state)
{
	struct rig *rig = *state;

	put(rig, WHERE " %s\n", rig->ed.text);
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_int_equal(rig->asked, 0);
	/* The instance moves: its pin goes with it. */
	rig->profile.port = PORT + 1;
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_int_equal(rig->asked, 0);
	assert_null(strstr(content(rig), "20545"));
}

static void hashed_names_and_odd_lines(void **state)
{
	struct rig *rig = *state;

	put(rig,
	    "# a comment\n\n   \nnonsense\nname ssh-ed25519\nname ssh-ed25519 ****\n|1|x|y %s\n",
	    rig->ed2.text);
	put(rig, "@unknown-marker " WHERE " %s\n", rig->ed2.text);
	put(rig, "@cert-authority * %s\n", rig->ed2.text);
	put_hashed(rig, WHERE, &rig->ed);
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	rig->profile.id[0] = '5'; /* another instance there */
	assert_int_equal(check(rig, &rig->ed2), SSH_HOST_KEY_CHANGED);
}

static void patterns(void **state)
{
	assert_true(known_hosts_match("a,b,c", "b"));
	assert_true(known_hosts_match("*.example.org", "X.Example.ORG"));
	assert_false(known_hosts_match("*.example.org,!bad.example.org", "bad.example.org"));
	assert_true(known_hosts_match("[10.1.2.?]:*", WHERE));
	assert_false(known_hosts_match("10.1.2.3", WHERE));
	assert_false(known_hosts_match("", "x"));
	assert_false(known_hosts_match("|1|", "x"));
	assert_false(known_hosts_match("|1|abc", "x"));
}

static void changed_at_the_address(void **state)
{
	struct rig *rig = *state;

	rig->answer = true;
	put(rig, "\n" WHERE " %s\n", rig->ed.text);
	assert_int_equal(check(rig, &rig->ed2), SSH_HOST_KEY_CHANGED);
	assert_int_equal(rig->asked, 0);
	assert_non_null(strstr(rig->error.text, "reused"));
	assert_non_null(strstr(rig->error.text, "known_hosts:2"));
	assert_non_null(strstr(rig->error.text, "ssh-keygen -R '" WHERE "' -f '"));
	assert_null(strstr(content(rig), "vastfs-"));
}

static void changed_for_the_instance(void **state)
{
	struct rig *rig = *state;

	rig->answer = true;
	put(rig, "vastfs-4711 %s\n" WHERE " %s\n", rig->ed.text, rig->ed2.text);
	/* The pin decides, whatever the address was used for. */
	assert_int_equal(check(rig, &rig->ed2), SSH_HOST_KEY_CHANGED);
	assert_non_null(strstr(rig->error.text, "ssh-keygen -R 'vastfs-4711'"));
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_int_equal(check(rig, &rig->ecdsa), SSH_HOST_KEY_CHANGED);
}

static void revoked_beats_everything(void **state)
{
	struct rig *rig = *state;

	put(rig, WHERE " %s\nvastfs-4711 %s\n@revoked * %s\n", rig->ed.text, rig->ed.text,
	    rig->ed.text);
	assert_int_equal(check(rig, &rig->ed), SSH_HOST_KEY_CHANGED);
	assert_non_null(strstr(rig->error.text, "revoked"));
	rig->answer = true;
	assert_int_equal(check(rig, &rig->ed2), SSH_HOST_KEY_CHANGED);
	assert_null(strstr(rig->error.text, "revoked"));
}

static void name_without_port_counts_when_it_matches(void **state)
{
	struct rig *rig = *state;

	put(rig, "10.1.2.3 %s\n", rig->ed.text);
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_int_equal(rig->asked, 0);
	rig->profile.id[0] = '5';
	/* Another key there is unknown, not changed: the entry speaks of port 22. */
	assert_int_equal(check(rig, &rig->ed2), SSH_HOST_KEY_UNKNOWN);
	assert_int_equal(rig->asked, 1);
}

static void several_keys_of_one_name(void **state)
{
	struct rig *rig = *state;

	put(rig, WHERE " %s\n" WHERE " %s\n" WHERE " %s\n", rig->ed.text, rig->ecdsa.text,
	    rig->ed2.text);
	assert_int_equal(check(rig, &rig->ed2), SSH_OK);
}

/* --- names and proposals ------------------------------------------------------------------ */

static void without_a_section_there_is_no_alias(void **state)
{
	struct rig *rig = *state;
	char name[320];

	free(rig->profile.id);
	rig->profile.id = strdup("root@10.1.2.3:20544");
	ssh_hostkey_alias(&rig->profile, name, sizeof(name));
	assert_string_equal(name, "");
	rig->answer = true;
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_null(strstr(content(rig), "vastfs-"));
}

static void odd_ids_make_safe_names(void **state)
{
	struct rig *rig = *state;
	char name[320];

	free(rig->profile.id);
	rig->profile.id = strdup("my box,*!\n|");
	ssh_hostkey_alias(&rig->profile, name, sizeof(name));
	assert_string_equal(name, "vastfs-my%20box%2c%2a%21%0a%7c");
	rig->answer = true;
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_int_equal(rig->asked, 1);
}

static void known_types_are_proposed_first(void **state)
{
	struct rig *rig = *state;
	char list[256];

	ssh_hostkey_preference(&rig->profile, list, sizeof(list));
	assert_memory_equal(list, "ssh-ed25519,", 12);
	put(rig, WHERE " %s\n", rig->ecdsa.text);
	ssh_hostkey_preference(&rig->profile, list, sizeof(list));
	assert_memory_equal(list, "ecdsa-sha2-nistp256,ssh-ed25519,", 32);
	put(rig, "vastfs-4711 %s\n", rig->ed.text);
	ssh_hostkey_preference(&rig->profile, list, sizeof(list));
	assert_memory_equal(list, "ssh-ed25519,ecdsa-sha2-nistp256,", 32);
}

static void appends_behind_a_line_without_its_end(void **state)
{
	struct rig *rig = *state;

	put(rig, "example.org %s", rig->ed2.text);
	rig->answer = true;
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_int_equal(rig->asked, 1);
	assert_non_null(strstr(content(rig), "\n" WHERE " "));
}

static void malformed_keys_are_refused(void **state)
{
	struct rig *rig = *state;
	struct key key = rig->ed;

	rig->answer = true;
	key.bytes[0] = 0xff;
	assert_int_equal(check(rig, &key), SSH_LOST);
	key.len = 2;
	assert_int_equal(check(rig, &key), SSH_LOST);
	assert_int_equal(rig->asked, 0);
}

static void an_unreadable_file_trusts_nobody(void **state)
{
	struct rig *rig = *state;

	rig->answer = true;
	rig->profile.known_hosts = rig->dir; /* a folder */
	assert_int_equal(check(rig, &rig->ed), SSH_HOST_KEY_UNKNOWN);
	assert_non_null(strstr(rig->error.text, "can't read"));
	rig->profile.known_hosts = rig->file;
}

static void a_fifo_is_refused_at_once(void **state)
{
	struct rig *rig = *state;
	char list[256];

	put(rig, "# for the folder\n");
	assert_int_equal(unlink(rig->file), 0);
	assert_int_equal(mkfifo(rig->file, 0600), 0);
	rig->answer = true;
	alarm(30);
	assert_int_equal(check(rig, &rig->ed), SSH_HOST_KEY_UNKNOWN);
	ssh_hostkey_preference(&rig->profile, list, sizeof(list));
	alarm(0);
	assert_int_equal(rig->asked, 0);
	assert_non_null(strstr(rig->error.text, "no regular file"));
	assert_non_null(strstr(rig->error.text, rig->file));
}

static void dev_null_knows_nobody(void **state)
{
	struct rig *rig = *state;

	rig->answer = true;
	rig->profile.known_hosts = "/dev/null";
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_int_equal(check(rig, &rig->ed), SSH_OK);
	assert_int_equal(rig->asked, 2);
	rig->profile.known_hosts = rig->file;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(unknown_is_asked_in_openssh_words),
	    TEST(yes_is_remembered_under_both_names),
	    TEST(other_names_are_shown),
	    TEST(no_terminal_means_strict),
	    TEST(strict_never_asks_nor_writes),
	    TEST(accept_new_takes_new_ones_only),
	    TEST(known_by_address_is_pinned_by_id),
	    TEST(hashed_names_and_odd_lines),
	    TEST(patterns),
	    TEST(changed_at_the_address),
	    TEST(changed_for_the_instance),
	    TEST(revoked_beats_everything),
	    TEST(name_without_port_counts_when_it_matches),
	    TEST(several_keys_of_one_name),
	    TEST(without_a_section_there_is_no_alias),
	    TEST(odd_ids_make_safe_names),
	    TEST(known_types_are_proposed_first),
	    TEST(appends_behind_a_line_without_its_end),
	    TEST(malformed_keys_are_refused),
	    TEST(an_unreadable_file_trusts_nobody),
	    TEST(a_fifo_is_refused_at_once),
	    TEST(dev_null_knows_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

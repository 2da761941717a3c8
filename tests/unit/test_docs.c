/*
 * The man pages against the table of keys: every key is there, with its range, its choices and its
 * default, and nothing is there that does not exist. Then vastfs(1) against the sources: each
 * command and each field of the status. Runs from the top of the tree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/profile.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char file_page[64 * 1024], mount_page[64 * 1024], vastfs_page[64 * 1024];
static char readme[64 * 1024], commands[64 * 1024], fields[64 * 1024];

static void read_page(const char *name, char *buf, size_t size)
{
	FILE *f = fopen(name, "r");
	size_t n;

	if (!f)
		fail_msg("no %s; run this from the top of the tree", name);
	n = fread(buf, 1, size - 1, f);
	assert_true(n > 0 && n < size - 1);
	buf[n] = '\0';
	fclose(f);
}

static int setup(void **state)
{
	read_page("doc/vastfs.ini.5", file_page, sizeof(file_page));
	read_page("doc/mount.vastfs.8", mount_page, sizeof(mount_page));
	read_page("doc/vastfs.1", vastfs_page, sizeof(vastfs_page));
	read_page("README.md", readme, sizeof(readme));
	read_page("fs/cmd/main_vastfs.c", commands, sizeof(commands));
	read_page("fs/status.c", fields, sizeof(fields));
	return 0;
}

/* The text from ".It Cm name" to the item or end of list after it; false when there is no such
 * item. */
static bool find_item(const char *page, const struct profile_key *key, char *buf, size_t size)
{
	char head[64];
	const char *at = page, *end, *item, *list;
	size_t len = (size_t)snprintf(head, sizeof(head), "\n.It Cm %s", key->name);

	while ((at = strstr(at, head)) && at[len] != ' ' && at[len] != '\n')
		at++;
	if (!at)
		return false;
	item = strstr(at + 1, "\n.It");
	list = strstr(at + 1, "\n.El");
	end = item && (!list || item < list) ? item : list;
	len = end ? (size_t)(end - at) : strlen(at);
	assert_true(len < size);
	memcpy(buf, at, len);
	buf[len] = '\0';
	return true;
}

/* The word stands in the text by itself: "1" is not in "16". */
static bool has_word(const char *text, const char *word)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
	size_t len = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at++) {
		if ((at == text || !strchr(letters, at[-1])) &&
		    (at[len] == '\0' || !strchr(letters, at[len])))
			return true;
	}
	return false;
}

static void need_word(const struct profile_key *key, const char *item, const char *word)
{
	if (!has_word(item, word))
		fail_msg("%s: \"%s\" is not in:%s", key->name, word, item);
}

/* Ranges, choices and defaults that are a plain word. */
static void check_item(const struct profile_key *key, const char *item)
{
	char word[64];

	if (key->type == KEY_NUMBER && key->max <= 65535) {
		snprintf(word, sizeof(word), strcmp(key->name, "umask") ? "%u" : "%o", key->max);
		need_word(key, item, word);
		snprintf(word, sizeof(word), "%u", key->min);
		need_word(key, item, word);
	}
	for (const char *p = key->choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL) {
		snprintf(word, sizeof(word), "Cm %.*s", (int)strcspn(p, "|"), p);
		need_word(key, item, word);
	}
	if (key->default_text && key->in_file) {
		snprintf(word, sizeof(word), "%.*s", (int)strcspn(key->default_text, " ,;"),
		    key->default_text);
		need_word(key, item, word);
	}
	if (key->repeats)
		need_word(key, item, "repeat");
}

static void test_file_keys(void **state)
{
	for (const struct profile_key *key = profile_keys(); key->name; key++) {
		char item[8192];
		bool there = find_item(file_page, key, item, sizeof(item));

		if (there != key->in_file)
			fail_msg("%s: %s doc/vastfs.ini.5", key->name,
			    there ? "can't stand in the file, but is in" : "is not in");
		if (!there)
			continue;
		check_item(key, item);
		if (key->default_text || key->type == KEY_FORWARD)
			need_word(key, item, "Default");
	}
}

static void test_options(void **state)
{
	for (const struct profile_key *key = profile_keys(); key->name; key++) {
		char item[8192];

		if (!find_item(mount_page, key, item, sizeof(item)))
			fail_msg("%s: is not in doc/mount.vastfs.8", key->name);
		if (key->type != KEY_FLAG && !strstr(item, " Ns = Ns "))
			fail_msg("%s: takes a value, which is not shown:%s", key->name, item);
		if (key->type == KEY_NUMBER)
			check_item(key, item);
	}
}

/* What the pages say exists does. */
static void check_no_others(const char *page)
{
	static const char head[] = "\n.It Cm ";

	for (const char *at = page; (at = strstr(at, head)); at++) {
		const char *name = at + sizeof(head) - 1;
		size_t len = strcspn(name, " \n");
		const struct profile_key *key = profile_keys();

		while (key->name && (strlen(key->name) != len || memcmp(key->name, name, len)))
			key++;
		if (!key->name)
			fail_msg("%.*s is documented, but does not exist", (int)len, name);
	}
}

static void test_nothing_else_is_documented(void **state)
{
	check_no_others(file_page);
	check_no_others(mount_page);
}

static void test_flags_and_exit_codes(void **state)
{
	static const char *const items[] = {"\n.It Fl L", "\n.It Fl o", "\n.It Fl f\n",
	    "\n.It Fl v\n", "\n.It Fl d\n", "\n.It Fl s\n", "\n.It Fl n ,", "Fl N Ar", "Fl t Ar",
	    "\n.It Fl V ,", "\n.It Fl h ,", "\n.It 0\n", "\n.It 1\n", "\n.It 2\n", "\n.It 8\n",
	    "\n.It 32\n", "VASTFS_CONFIG", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK"};

	for (size_t i = 0; i < sizeof(items) / sizeof(*items); i++) {
		if (!strstr(mount_page, items[i]))
			fail_msg("doc/mount.vastfs.8 lacks \"%s\"", items[i]);
	}
}

/* Every key of the file has a row in the README's table, with its default. */
static void test_readme(void **state)
{
	for (const struct profile_key *key = profile_keys(); key->name; key++) {
		char head[64], row[512];
		const char *at;

		if (!key->in_file)
			continue;
		snprintf(head, sizeof(head), "\n| `%s` |", key->name);
		at = strstr(readme, head);
		if (!at)
			fail_msg("%s: is not in README.md", key->name);
		snprintf(row, sizeof(row), "%.*s", (int)strcspn(at + 1, "\n"), at + 1);
		if (key->type == KEY_NUMBER && key->default_text)
			need_word(key, row, key->default_text);
		for (const char *p = key->choices; p;
		     p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL) {
			snprintf(head, sizeof(head), "`%.*s`", (int)strcspn(p, "|"), p);
			need_word(key, row, head);
		}
	}
}

/* The word that begins at text, if it ends with a quote and has small letters and '_' only. */
static bool quoted_word(const char *text, char *buf, size_t size)
{
	size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz_");

	if (len == 0 || text[len] != '"')
		return false;
	assert_true(len < size);
	memcpy(buf, text, len);
	buf[len] = '\0';
	return true;
}

static void test_commands(void **state)
{
	static const char call[] = "\n    {\"";
	char word[64], head[80];
	int found = 0;

	for (const char *at = commands; (at = strstr(at, call)); at++) {
		if (!quoted_word(at + sizeof(call) - 1, word, sizeof(word)))
			continue;
		found++;
		snprintf(head, sizeof(head), "\n.It Cm %s ", word);
		if (!strstr(vastfs_page, head))
			fail_msg("the command %s is not in doc/vastfs.1", word);
		snprintf(head, sizeof(head), "\n.Cm %s\n", word);
		if (!strstr(vastfs_page, head))
			fail_msg("the command %s is not in the synopsis of doc/vastfs.1", word);
	}
	assert_true(found >= 3);
}

/* The words in quotes of fs/status.c are the names of the fields. */
static void test_status_fields(void **state)
{
	const char *status = strstr(vastfs_page, "\n.Sh STATUS");
	char word[64];
	int found = 0;

	assert_non_null(status);
	for (const char *at = fields; (at = strchr(at, '"')); at++) {
		if (!quoted_word(at + 1, word, sizeof(word)))
			continue;
		found++;
		if (!has_word(status, word))
			fail_msg("the field %s is not in doc/vastfs.1", word);
	}
	assert_true(found > 40);
}

/* The test itself can fail. */
static void test_has_word(void **state)
{
	assert_true(has_word("from 1 to 16.", "1"));
	assert_true(has_word("16", "16"));
	assert_false(has_word("from 16 to 21", "1"));
	assert_false(has_word("", "1"));
}

static void test_quoted_word(void **state)
{
	char word[8];

	assert_true(quoted_word("rtt_ms\", session", word, sizeof(word)));
	assert_string_equal(word, "rtt_ms");
	assert_false(quoted_word("s:i}\"", word, sizeof(word)));
	assert_false(quoted_word("\"", word, sizeof(word)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_file_keys),
	    cmocka_unit_test(test_options),
	    cmocka_unit_test(test_nothing_else_is_documented),
	    cmocka_unit_test(test_flags_and_exit_codes),
	    cmocka_unit_test(test_readme),
	    cmocka_unit_test(test_commands),
	    cmocka_unit_test(test_status_fields),
	    cmocka_unit_test(test_has_word),
	    cmocka_unit_test(test_quoted_word),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}

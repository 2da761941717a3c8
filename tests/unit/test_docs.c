/*
 * The man pages against the table of keys: every key is there, with its range, its choices and its
 * default, and nothing is there that does not exist. Runs from the top of the tree.
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

static char file_page[64 * 1024], mount_page[64 * 1024];

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

/* The test itself can fail. */
static void test_has_word(void **state)
{
	assert_true(has_word("from 1 to 16.", "1"));
	assert_true(has_word("16", "16"));
	assert_false(has_word("from 16 to 21", "1"));
	assert_false(has_word("", "1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_file_keys),
	    cmocka_unit_test(test_options),
	    cmocka_unit_test(test_nothing_else_is_documented),
	    cmocka_unit_test(test_flags_and_exit_codes),
	    cmocka_unit_test(test_has_word),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}

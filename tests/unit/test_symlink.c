/* Where symlinks may lead: nothing that the instance says takes a program out of the mount. */
#include "fs/symlink.h"
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DENIED NULL

struct example {
	const char *target, *root;
	int depth;
	const char *seen;
};

static const struct example examples[] = {
    /* relative, staying inside: as it is */
    {"a", "/workspace", 0, "a"},
    {"a/b//c/", "/workspace", 0, "a/b//c/"},
    {"./a", "/workspace", 0, "./a"},
    {"../a", "/workspace", 1, "../a"},
    {"../../a", "/workspace", 2, "../../a"},
    {".././../a", "/workspace", 2, ".././../a"},
    {"", "/workspace", 0, ""}, /* the kernel says ENOENT */
    {".", "/workspace", 0, "."},
    {"..", "/workspace", 1, ".."},
    {"...", "/workspace", 0, "..."},
    {"..a/.b", "/workspace", 0, "..a/.b"},
    /* relative, leading out */
    {"..", "/workspace", 0, DENIED},
    {"../", "/workspace", 0, DENIED},
    {"./../", "/workspace", 0, DENIED},
    {"../../etc/passwd", "/workspace", 1, DENIED},
    {".//..//../x", "/workspace", 1, DENIED},
    {"../workspace/a", "/workspace", 0, DENIED},
    /* ".." behind a name, which may be a link itself: by the text */
    {"a/..", "/workspace", 0, "."},
    {"a/../b", "/workspace", 0, "b"},
    {"a/b/../../c", "/workspace", 0, "c"},
    {"../a/../b", "/workspace", 1, "../b"},
    {"a/../..", "/workspace", 1, ".."},
    {"a/../..", "/workspace", 0, DENIED},
    {"a/../../b", "/workspace", 0, DENIED},
    {"a/../b/../../..", "/workspace", 1, DENIED},
    {"a/./../../b/", "/workspace", 1, "../b"},
    /* absolute, below the root */
    {"/workspace/a", "/workspace", 0, "a"},
    {"/workspace/a/b", "/workspace", 2, "../../a/b"},
    {"/workspace", "/workspace", 0, "."},
    {"/workspace/", "/workspace", 0, "."},
    {"/workspace", "/workspace", 1, ".."},
    {"/workspace//", "/workspace", 2, "../.."},
    {"/workspace//a///b//", "/workspace", 0, "a/b"},
    {"/workspace/a/../b", "/workspace", 1, "../b"},
    {"/workspace/./a/.", "/workspace", 0, "a"},
    /* absolute, elsewhere */
    {"/etc/passwd", "/workspace", 0, DENIED},
    {"/", "/workspace", 0, DENIED},
    {"/workspac", "/workspace", 0, DENIED},
    {"/workspaces", "/workspace", 0, DENIED},
    {"/workspace2/a", "/workspace", 3, DENIED},
    {"/workspace", "/work", 0, DENIED},
    {"/workspace/a", "/work", 5, DENIED},
    {"/work/space", "/work", 0, "space"},
    {"/workspace/..", "/workspace", 0, DENIED},
    {"/workspace/../etc", "/workspace", 3, DENIED},
    {"/workspace/a/../../etc", "/workspace", 3, DENIED},
    {"/workspace/../workspace/a", "/workspace", 3, DENIED},
    {"/../workspace/a", "/workspace", 0, DENIED},
    /* the whole instance is mounted */
    {"/etc/passwd", "/", 0, "etc/passwd"},
    {"/etc/passwd", "", 1, "../etc/passwd"},
    {"/", "/", 2, "../.."},
    {"/", "", 0, "."},
    {"//a", "/", 0, "a"},
    {"/..", "/", 1, DENIED},
    {"/a/../b", "", 0, "b"},
};

static void test_examples(void **state)
{
	char buf[PATH_MAX];
	size_t i;

	for (i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		const struct example *example = &examples[i];
		int err = symlink_contain(
		    example->target, example->root, example->depth, buf, sizeof(buf));
		bool right = example->seen ? !err && !strcmp(buf, example->seen) : err == -EACCES;

		if (!right)
			fail_msg("'%s' in '%s' at %d: %d, '%s'", example->target, example->root,
			    example->depth, err, err ? "" : buf);
	}
}

/* --- targets by the mountpoint's own path --- */

static const struct example entering[] = {
    {"/home/u/gpu/a", "/home/u/gpu", 0, "/home/u/gpu/a"},
    {"/home/u/gpu", "/home/u/gpu", 0, "/home/u/gpu"},
    {"/home/u/gpu/", "/home/u/gpu", 0, "/home/u/gpu/"},
    {"/home/u/gpu/./a//b", "/home/u/gpu", 0, "/home/u/gpu/./a//b"},
    {"/home/u/gpu/a/../b", "/home/u/gpu", 0, "/home/u/gpu/b"},
    {"/home/u/gpu/a/..", "/home/u/gpu", 0, "/home/u/gpu/."},
    {"/home/u/gpu/..", "/home/u/gpu", 0, DENIED},
    {"/home/u/gpu/../.ssh/id", "/home/u/gpu", 0, DENIED},
    {"/home/u/gpu/a/../../.ssh/id", "/home/u/gpu", 0, DENIED},
    {"/home/u/gpu2/a", "/home/u/gpu", 0, DENIED},
    {"/home/u/gp", "/home/u/gpu", 0, DENIED},
    {"/home/u/../u/gpu/a", "/home/u/gpu", 0, DENIED},
    {"home/u/gpu/a", "/home/u/gpu", 0, DENIED},
    {"", "/home/u/gpu", 0, DENIED},
};

static void test_entering(void **state)
{
	char buf[PATH_MAX];
	size_t i;

	for (i = 0; i < sizeof(entering) / sizeof(entering[0]); i++) {
		const struct example *example = &entering[i];
		int err = symlink_enter(example->target, example->root, buf, sizeof(buf));
		bool right = example->seen ? !err && !strcmp(buf, example->seen) : err == -EACCES;

		if (!right)
			fail_msg("'%s' by '%s': %d, '%s'", example->target, example->root, err,
			    err ? "" : buf);
	}
	assert_int_equal(symlink_enter("/m/abc", "/m", buf, 6), -ENAMETOOLONG);
	assert_int_equal(symlink_enter("/m/abc", "/m", buf, 7), 0);
	assert_int_equal(symlink_enter("/m/x/../abc", "/m", buf, 6), -ENAMETOOLONG);
	assert_int_equal(symlink_enter("/m/x/../abc", "/m", buf, 7), 0);
}

/* buf is of exactly the size said, so that a byte too many is noticed. */
static int contain_in(const char *target, const char *root, int depth, size_t size)
{
	char *buf = malloc(size);
	int err;

	assert_non_null(buf);
	err = symlink_contain(target, root, depth, buf, size);
	if (!err)
		assert_true(strlen(buf) < size);
	free(buf);
	return err;
}

static void test_room(void **state)
{
	assert_int_equal(contain_in("abc", "/r", 0, 4), 0);
	assert_int_equal(contain_in("abc", "/r", 0, 3), -ENAMETOOLONG);
	assert_int_equal(contain_in("/r/abc", "/r", 1, 7), 0);
	assert_int_equal(contain_in("/r/abc", "/r", 1, 6), -ENAMETOOLONG);
	assert_int_equal(contain_in("x/../abc", "/r", 0, 4), 0);
	assert_int_equal(contain_in("x/../abc", "/r", 0, 3), -ENAMETOOLONG);
	assert_int_equal(contain_in("x/..", "/r", 0, 2), 0);
}

static void test_very_long(void **state)
{
	size_t len = 20000, i;
	char *target = malloc(len + 1);

	assert_non_null(target);
	memset(target, 'a', len);
	target[len] = '\0';
	assert_int_equal(contain_in(target, "/r", 0, PATH_MAX), -ENAMETOOLONG);
	memcpy(target, "/r/", 3);
	assert_int_equal(contain_in(target, "/r", 0, PATH_MAX), -ENAMETOOLONG);
	memcpy(target, "x/../", 5);
	assert_int_equal(contain_in(target, "/r", 0, PATH_MAX), -ENAMETOOLONG);
	for (i = 0; i < len; i++)
		target[i] = i % 3 == 2 ? '/' : '.';
	assert_int_equal(contain_in(target, "/r", 100, PATH_MAX), -EACCES);
	assert_int_equal(contain_in(target, "/r", INT_MAX, PATH_MAX), -ENAMETOOLONG);
	assert_int_equal(contain_in("/r/a", "/r", 5000, PATH_MAX), -ENAMETOOLONG);
	memset(target, '/', len);
	assert_int_equal(contain_in(target, "/", 0, PATH_MAX), 0);
	free(target);
}

/* --- random targets against a walk by the text --- */

/* Where a walk of path ends: the names passed, below the root. False when it leaves the root. */
static bool walk(char at[64][8], int *depth, const char *path)
{
	while (*path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && !memcmp(path, "..", 2)) {
			if (--*depth < 0)
				return false;
		} else if (len && !(len == 1 && *path == '.')) {
			snprintf(at[(*depth)++], 8, "%.*s", (int)len, path);
		}
		path += len;
		path += strspn(path, "/");
	}
	return true;
}

static bool dotdot_behind_name(const char *path)
{
	bool named = false;

	while (*path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && !memcmp(path, "..", 2)) {
			if (named)
				return true;
		} else if (len && !(len == 1 && *path == '.')) {
			named = true;
		}
		path += len;
		path += strspn(path, "/");
	}
	return false;
}

static void test_random(void **state)
{
	static const char *const pieces[] = {
	    "..", "..", "..", ".", "", "a", "b", "r", "work", "workx", "...", "wor"};
	static const char *const roots[] = {"", "/", "/work", "/r/work", "/a"};
	unsigned seed = 1, n, allowed = 0;

	for (n = 0; n < 300000; n++) {
		char target[256] = "", seen[256], wanted[64][8], got[64][8];
		const char *root = roots[rand_r(&seed) % 5], *rest = target;
		int depth = rand_r(&seed) % 4, pieces_left = rand_r(&seed) % 8, i, err;
		int wanted_depth = 0, got_depth = depth;
		bool inside = true;

		if (rand_r(&seed) % 3 == 0)
			strcpy(target, root);
		while (pieces_left--) {
			if (*target || rand_r(&seed) % 2)
				strcat(target, "/");
			strcat(target, pieces[rand_r(&seed) % 12]);
		}
		if (target[0] == '/') { /* the text must begin with the root */
			size_t len = strcmp(root, "/") ? strlen(root) : 0;

			inside =
			    !strncmp(target, root, len) && (!target[len] || target[len] == '/');
			rest = target + len;
		} else {
			wanted_depth = depth;
		}
		for (i = 0; i < depth; i++) {
			snprintf(got[i], 8, "d%d", i);
			snprintf(wanted[i], 8, "d%d", i);
		}
		inside = inside && walk(wanted, &wanted_depth, rest);
		err = symlink_contain(target, root, depth, seen, sizeof(seen));
		if (err != (inside ? 0 : -EACCES))
			fail_msg("'%s' in '%s' at %d: %d", target, root, depth, err);
		if (err)
			continue;
		allowed++;
		assert_int_not_equal(seen[0], '/');
		assert_false(dotdot_behind_name(seen));
		assert_true(walk(got, &got_depth, seen));
		assert_int_equal(got_depth, wanted_depth);
		for (i = 0; i < got_depth; i++)
			assert_string_equal(got[i], wanted[i]);
	}
	assert_true(allowed > 30000 && allowed < 270000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_examples),
	    cmocka_unit_test(test_entering),
	    cmocka_unit_test(test_room),
	    cmocka_unit_test(test_very_long),
	    cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

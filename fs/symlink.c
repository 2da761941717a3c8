#include "fs/symlink.h"
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The part of an absolute target below root, or NULL when it lies elsewhere. */
static const char *below(const char *target, const char *root)
{
	size_t len = strcmp(root, "/") ? strlen(root) : 0;

	if (strncmp(target, root, len))
		return NULL;
	if (target[len] && target[len] != '/')
		return NULL;
	while (target[len] == '/')
		len++;
	return target + len;
}

static size_t component_len(const char *at)
{
	return strcspn(at, "/");
}

static bool is_dotdot(const char *at, size_t len)
{
	return len == 2 && at[0] == '.' && at[1] == '.';
}

/* Stays the path inside when walked from `depth`, and has it no ".." behind a name? */
static bool is_plain_inside(const char *path, int depth)
{
	bool named = false;

	while (*path) {
		size_t len = component_len(path);

		if (is_dotdot(path, len)) {
			if (named || --depth < 0)
				return false;
		} else if (len && !(len == 1 && path[0] == '.')) {
			named = true;
		}
		path += len;
		path += strspn(path, "/");
	}
	return true;
}

struct text {
	char *buf;
	size_t size, len;
};

static bool put(struct text *text, const char *piece, size_t len)
{
	size_t slash = text->len ? 1 : 0;

	if (text->len + slash + len + 1 > text->size)
		return false;
	if (slash)
		text->buf[text->len++] = '/';
	memcpy(text->buf + text->len, piece, len);
	text->len += len;
	text->buf[text->len] = '\0';
	return true;
}

static void cut_last(struct text *text)
{
	while (text->len && text->buf[text->len - 1] != '/')
		text->len--;
	if (text->len)
		text->len--;
	text->buf[text->len] = '\0';
}

/* Resolves "." and ".." by the text, starting `ups` above with `depth` folders left to climb. */
static int normalise(const char *path, int depth, struct text *text)
{
	int names = 0;

	while (*path) {
		size_t len = component_len(path);
		bool fits = true;

		if (is_dotdot(path, len) && names) {
			cut_last(text);
			names--;
		} else if (is_dotdot(path, len)) {
			if (--depth < 0)
				return -EACCES;
			fits = put(text, "..", 2);
		} else if (len && !(len == 1 && path[0] == '.')) {
			fits = put(text, path, len);
			names++;
		}
		if (!fits)
			return -ENAMETOOLONG;
		path += len;
		path += strspn(path, "/");
	}
	return text->len || put(text, ".", 1) ? 0 : -ENAMETOOLONG;
}

int symlink_contain(const char *target, const char *root, int depth, char *buf, size_t size)
{
	struct text text = {.buf = buf, .size = size};
	char rebased[PATH_MAX * 2];
	struct text up = {.buf = rebased, .size = sizeof(rebased)};
	const char *rest;
	int i;

	if (target[0] != '/') {
		if (!is_plain_inside(target, depth))
			return normalise(target, depth, &text);
		if (strlen(target) >= size)
			return -ENAMETOOLONG;
		memcpy(buf, target, strlen(target) + 1);
		return 0;
	}
	rest = below(target, root);
	if (!rest)
		return -EACCES;
	rebased[0] = '\0';
	for (i = 0; i < depth; i++) {
		if (!put(&up, "..", 2))
			return -ENAMETOOLONG;
	}
	if (!put(&up, rest, strlen(rest)))
		return -ENAMETOOLONG;
	return normalise(rebased, depth, &text);
}

int symlink_enter(const char *target, const char *mountpoint, char *buf, size_t size)
{
	const char *rest = target[0] == '/' ? below(target, mountpoint) : NULL;
	char inside[PATH_MAX];
	struct text text = {.buf = inside, .size = sizeof(inside)};
	int err, len;

	if (!rest)
		return -EACCES;
	if (is_plain_inside(rest, 0)) {
		len = snprintf(buf, size, "%s", target);
	} else {
		err = normalise(rest, 0, &text);
		if (err)
			return err;
		len = snprintf(buf, size, "%s/%s", mountpoint, inside);
	}
	return len < (int)size ? 0 : -ENAMETOOLONG;
}

/*
 * One clear line for the user.
 *
 * Whoever refuses an input says in one line where it stands (file:line, option, host), what is
 * wrong and what to do about it, and returns a negative errno. Leaf; any thread; owns nothing.
 */
#ifndef VASTFS_CONF_ERROR_H
#define VASTFS_CONF_ERROR_H

struct conf_error {
	char text[1024]; /* no newline at the end; "" when nothing was said */
};

/* Writes the line, with control characters replaced, and returns -err (err positive), so that
 * callers say `return conf_fail(e, EINVAL, "…")`. error may be NULL. */
int conf_fail(struct conf_error *error, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif

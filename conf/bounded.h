/*
 * Looks at paths that may lie in a mount that answers nothing: its daemon is stopped or hangs, or
 * it is another file system's, with its server away. Whoever touches such a path waits for ever,
 * and not even SIGKILL ends that; so a child process looks, and is left behind when it takes too
 * long.
 *
 * Leaf; for the command line, whose programs have one thread when they call this.
 */
#ifndef VASTFS_CONF_BOUNDED_H
#define VASTFS_CONF_BOUNDED_H

/* How long the programs wait for one look, in milliseconds. */
#define BOUNDED_LOOK_MS 3000

/* stat(2) of the path: 0 or its negative errno; -ETIMEDOUT when there was no answer in time. */
int bounded_stat(const char *path, unsigned limit_ms);

/* realpath(3): owned by the caller; NULL with errno, which is ETIMEDOUT when there was no answer in
 * time. */
char *bounded_realpath(const char *path, unsigned limit_ms);

#endif

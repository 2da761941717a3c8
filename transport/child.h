/*
 * Child processes, of ssh(1), of a thread.
 *
 * One is started with vfork(2), so that a daemon with much memory does not copy its page tables. It
 * gets no descriptor but its three. Ctrl-C and a hang-up of the terminal that the mount was made on
 * are not its business: they stay ignored in it. No shell is involved.
 *
 * Any thread.
 */
#ifndef VASTFS_TRANSPORT_CHILD_H
#define VASTFS_TRANSPORT_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

/* Where ssh is: in $PATH, or where every distribution has it (systemd mounts without PATH). Owned
 * by the caller; NULL when there is none. */
char *child_find_ssh(void);

/* Runs the file with fds as its 0, 1 and 2 (borrowed), and that environment (NULL: our own).
 * with_thread: it is ended with the calling thread. *pid_fd polls readable when it has ended. 0 or
 * a negative errno; *pid may be set then too. */
int child_start(const char *file, char **args, char **env, const int fds[3], bool with_thread,
    pid_t *pid, int *pid_fd);

/* Ends it if it runs still, waits for it, and closes *pid_fd. */
void child_end(pid_t *pid, int *pid_fd);

#endif

/*
 * Programs on the instance, as seen from here: `vastfs run` and `vastfs ssh`. Talks to the mount's
 * daemon in the frames of transport/commands.h, and stands in for the program: its terminal,
 * signals and exit status. Blocking; one at a time.
 */
#ifndef VASTFS_FS_CMD_FAR_H
#define VASTFS_FS_CMD_FAR_H

#include "conf/profile.h"
#include <jansson.h>
#include <stdbool.h>

/* The folder of the instance that path (which lies in the mount) shows, owned; NULL: no memory, or
 * it does not lie there. */
char *far_folder(const json_t *status, const char *path);

/* What the login shell there has to read to run the words (NULL-terminated) in the folder; without
 * words, a login shell. Owned; NULL when memory is out. pid: prints its process id first. */
char *far_line(const char *folder, char *const *words, bool pid);

/* Runs it. The exit status of the program as a shell would give it, 255 with the reason, or
 * FAR_BY_SSH: the daemon can't, ssh(1) may. */
#define FAR_BY_SSH (-1)
int far_run(const char *socket, const char *line, bool pty, struct conf_error *error);

/* Becomes ssh(1), which runs the line there (NULL: a login shell). port 0: as ssh knows it. Returns
 * only when that fails, with the reason. */
void far_become_ssh(const struct profile *profile, const char *host, unsigned port, bool pty,
    const char *line, struct conf_error *error);
/* The same for the mount's instance, where its status says that it is; profile by its ID. */
void far_mount_by_ssh(const json_t *status, const char *line, bool pty, struct conf_error *error);

#endif

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

/* What is to be run; all borrowed. */
struct far_program {
	const char *folder; /* there */
	char *const *words; /* NULL-terminated; NULL: a login shell */
	bool pty;
};

/* Runs it. The exit status of the program as a shell would give it, or 255 with the reason. */
int far_run(const char *socket, const struct far_program *program, struct conf_error *error);

/* Becomes ssh(1) with a login shell there. port 0: as ssh knows it. Returns only when that fails,
 * with the reason. */
void far_become_ssh(const struct profile *profile, const char *host, unsigned port, bool pty,
    struct conf_error *error);

#endif

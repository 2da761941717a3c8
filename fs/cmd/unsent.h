/*
 * What is not on the instance yet, for `vastfs sync` and `umount`: the wait for it, with progress,
 * and what could not be sent. Blocking; for the command line.
 */
#ifndef VASTFS_FS_CMD_UNSENT_H
#define VASTFS_FS_CMD_UNSENT_H

#include "fs/cmd/client.h"
#include <stdbool.h>

/* Waits until all is on the instance; progress: says meanwhile how far it is, as a bar on a
 * terminal, as lines elsewhere. 0, or a negative errno with the reason. */
int unsent_sync(const struct client_mount *mount, bool progress, struct conf_error *error);
/* Names on standard error the files that are not on the instance, why, and where their data lies.
 */
void unsent_print(const struct client_mount *mount);

#endif

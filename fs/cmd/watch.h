/*
 * `vastfs status --watch`: the mounts live on the terminal, drawn anew each second, until q or
 * Ctrl-C. Blocking.
 */
#ifndef VASTFS_FS_CMD_WATCH_H
#define VASTFS_FS_CMD_WATCH_H

#include "conf/error.h"

/* which: a mountpoint or an ID; NULL: all mounts. 0, or a negative errno with the reason. */
int watch_run(const char *which, struct conf_error *error);

#endif

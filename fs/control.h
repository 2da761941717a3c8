/*
 * The control socket of a mount: how `vastfs status`, `sync` and `umount` talk to the daemon.
 *
 * A Unix socket, 0600, `<pid>.sock` in the user's runtime folder (conf/paths.h). One request for
 * each connection, a line of JSON: {"command": "status"}; one answer, a line of JSON: {"ok": true,
 * …} or {"ok": false, "error": "…"}; then the daemon closes. Commands: status, sync, drop (forgets
 * clean cached data; for benchmarks). "forward"
 * (op: add or remove, text). After "run" the connection speaks as in transport/commands.h instead.
 * Core only.
 */
#ifndef VASTFS_FS_CONTROL_H
#define VASTFS_FS_CONTROL_H

#include "fs/fs.h"
#include <jansson.h>

/* 0 or a negative errno; what is wrong with the runtime folder was logged. */
int control_start(struct fs *fs);
void control_stop(struct fs *fs);

/* status.c: all that `vastfs status` shows; owned by the caller. */
json_t *status_json(struct fs *fs);
/* JSON is UTF-8, but names of files are not always, nor is what a server says. */
json_t *status_string(const char *bytes);

#endif

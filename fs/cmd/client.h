/*
 * The other end of the control sockets: finds the running mounts of this user and talks to one.
 *
 * Blocking; for the command line. JSON values are owned by the caller.
 */
#ifndef VASTFS_FS_CMD_CLIENT_H
#define VASTFS_FS_CMD_CLIENT_H

#include "conf/error.h"
#include <jansson.h>

/* A running mount: its socket and what it says of itself. */
struct client_mount {
	char *socket;
	json_t *status;
};

/* All mounts that answer, sorted by mountpoint; sockets of dead daemons are removed. Returns their
 * number, or a negative errno. */
int client_mounts(struct client_mount **out, struct conf_error *error);
void client_mounts_free(struct client_mount *mounts, int n);

/* Was there a daemon that did not answer, when the mounts were looked for last? Then -ETIMEDOUT
 * with which, and what to do; else 0. */
int client_silent(struct conf_error *error);

/* The one mount at (or above) the path, or of the id. NULL with the reason. Points into mounts. */
struct client_mount *client_choose(
    struct client_mount *mounts, int n, const char *which, struct conf_error *error);

/* A connection to the socket, or a negative errno. */
int client_connect(const char *socket);

/* Sends {"command": command} and waits for the answer. 0 with *answer (NULL allowed), or a negative
 * errno with the reason: -ENODATA when the daemon ended before answering. */
int client_call(const char *socket, const char *command, json_t **answer, struct conf_error *error);

/* The same with any request, an object, which is taken. */
int client_ask(const char *socket, json_t *request, json_t **answer, struct conf_error *error);

/* Waits until the daemon has ended (its socket is closed) for at most timeout_ms: 0 or -ETIMEDOUT.
 */
int client_wait_end(int pid, unsigned timeout_ms);

#endif

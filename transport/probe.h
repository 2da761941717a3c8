/*
 * What a connection can tell about the instance, for `vastfs doctor`: one thing after the other,
 * blocking, on the thread that owns the connection. Each has a time limit of its own. Returns 0 or
 * a negative errno; after an error the connection may still be used unless it is lost.
 */
#ifndef VASTFS_TRANSPORT_PROBE_H
#define VASTFS_TRANSPORT_PROBE_H

#include "transport/ssh.h"
#include <stddef.h>
#include <stdint.h>

struct sshproc;

/* The way there: a connection of the library's, or a process of ssh(1). All borrowed. */
struct probe_way {
	struct ssh_connection *connection; /* NULL: the process */
	struct sshproc *process;
	struct ssh_cancel *cancel; /* of both */
};

/* Runs a command (which no user's string may be in unquoted); out gets the beginning of what it
 * prints, NUL-terminated. -ENOSYS when the server runs none, or it does not succeed. */
int probe_exec(const struct probe_way *way, const char *command, char *out, size_t size);

struct probe_sftp {
	unsigned version;
	char extensions[1024]; /* "limits@openssh.com posix-rename@openssh.com …", printable */
	unsigned rtt_us;       /* the least of a few round trips */
	char noise[160];       /* what came instead of SFTP, printable, or "" */
	enum { FOLDER_UNKNOWN, FOLDER_THERE, FOLDER_NONE } folder;
};
/* Looks also whether there is a folder of this path (NULL: at none). -EPROTO with noise; -ENOSYS:
 * the server has no SFTP. */
int probe_sftp(const struct probe_way *way, const char *folder, struct probe_sftp *out);

/* Bytes in a second, measured for at most two, to us and from us. */
int probe_speed(const struct probe_way *way, uint64_t *down, uint64_t *up);

struct probe_login {
	char cipher[48];
	char key[160]; /* "FILE TYPE SHA256:…", or "" when ssh does not tell */
};
/* Logs in with ssh(1). Borrows target and cancel; *out is owned by the
 * caller, who ends it with probe_ssh_end (NULL is allowed). 0 or a negative errno with *error. */
int probe_ssh(const struct ssh_target *target, struct ssh_cancel *cancel, struct sshproc **out,
    struct probe_login *login, struct ssh_error *error);
void probe_ssh_end(struct sshproc *process);

#endif

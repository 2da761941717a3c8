/*
 * What ssh(1) asks for, answered by us: it is started with this very program as its $SSH_ASKPASS,
 * which hands the question to the daemon over a Unix socket in the runtime folder and prints the
 * answer for ssh.
 *
 *	daemon ── starts ──> ssh ── starts ──> helper (ourselves) "Enter passphrase for key …"
 *	   ^                                      │
 *	   └────────────── socket ────────────────┘
 *
 * So a passphrase that was asked for once serves all later connections (ssh_secret.h keeps it),
 * also when there is no terminal any more. It is never in an argument, an environment or a file.
 * The socket answers processes of this user that descend from the daemon alone.
 *
 * A thread of its own, from the first ssh on. Any thread may call.
 */
#ifndef VASTFS_TRANSPORT_ASKPASS_H
#define VASTFS_TRANSPORT_ASKPASS_H

#include "transport/ssh.h"

/* From now on ssh is started this way. The program's main calls askpass_helper first. ask: for
 * questions about host keys (NULL: nobody). */
void askpass_use(ssh_ask *ask);

/* The environment for an ssh that may_ask a person, or only what is known. NULL: askpass_use was
 * not called, or it does not work here: ssh asks by itself. Freed with askpass_env_free. */
char **askpass_env(bool may_ask);
void askpass_env_free(char **env);

/* At the beginning of main: if this is such a helper, the exit status, else -1. */
int askpass_helper(int argc, char **argv);

#endif

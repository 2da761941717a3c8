/*
 * Passphrases of key files: asked for once, then kept in memory that is never swapped, so that lost
 * connections can be made again. Process-wide; any thread. While one thread asks, the others wait.
 */
#ifndef VASTFS_TRANSPORT_SSH_SECRET_H
#define VASTFS_TRANSPORT_SSH_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#define SSH_SECRET_MAX 256

/* Shows the prompt and fills buf with the answer; false when nobody answers. */
typedef bool ssh_secret_ask(const char *prompt, char *buf, size_t size);

/* Who asks; NULL, the beginning: nobody. Before the first connection. */
void ssh_secret_source(ssh_secret_ask *ask);

/* The passphrase of the file, as it was kept, or else asked for if may_ask. wrong: the one that was
 * given out last did not do. False when there is none. The caller cleanses buf (SSH_SECRET_MAX). */
bool ssh_secret_get(const char *file, bool may_ask, bool wrong, char *buf);

/* Asks for something that is not kept. As above. */
bool ssh_secret_once(const char *prompt, char *buf);

#endif

/*
 * Questions on the user's terminal, while mount.vastfs is still in the foreground. May be called
 * from any thread.
 */
#ifndef VASTFS_FS_CMD_ASK_H
#define VASTFS_FS_CMD_ASK_H

#include <stdbool.h>
#include <stddef.h>

/* Is there a terminal to ask on? */
bool ask_possible(void);
/* Is there anybody to be asked for a passphrase: a terminal, or $SSH_ASKPASS? */
bool ask_secret_possible(void);
/* An ssh_ask: prints the question and waits for yes, no or the fingerprint. No answer (end of file)
 * means no. */
bool ask_host_key(void *arg, const char *question, const char *fingerprint);
/* An ssh_secret_ask: on the terminal, without showing what is typed; without one by the program of
 * $SSH_ASKPASS. */
bool ask_secret(const char *prompt, char *buf, size_t size);
/* The terminal is given up: every later question is answered with no. */
void ask_no_more(void);

#endif

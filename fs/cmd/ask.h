/*
 * Questions on the user's terminal, while mount.vastfs is still in the foreground. May be called
 * from any thread.
 */
#ifndef VASTFS_FS_CMD_ASK_H
#define VASTFS_FS_CMD_ASK_H

#include <stdbool.h>

/* Is there a terminal to ask on? */
bool ask_possible(void);
/* An ssh_ask: prints the question and waits for yes, no or the fingerprint. No answer (end of file)
 * means no. */
bool ask_host_key(void *arg, const char *question, const char *fingerprint);
/* The terminal is given up: every later question is answered with no. */
void ask_no_more(void);

#endif

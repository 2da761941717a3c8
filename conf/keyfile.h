/*
 * What can be told of a private key file without using it: whether it is there, is the user's alone
 * (S3), is a private key at all, and needs a passphrase.
 *
 * Leaf; any thread; nothing is kept. Nothing of the key itself is returned.
 */
#ifndef VASTFS_CONF_KEYFILE_H
#define VASTFS_CONF_KEYFILE_H

#include "conf/error.h"
#include <stdbool.h>
#include <stddef.h>

enum keyfile_state {
	KEYFILE_USABLE,
	KEYFILE_MISSING,
	KEYFILE_UNREADABLE, /* errno says why */
	KEYFILE_NOT_A_FILE,
	KEYFILE_OPEN_TO_OTHERS,
	KEYFILE_ENCRYPTED,
	KEYFILE_HARDWARE, /* the secret is in a security key; only ssh-agent can use it */
	KEYFILE_PUBLIC,
	KEYFILE_PUTTY,	 /* .ppk, with a passphrase or without; ssh(1) can't read it */
	KEYFILE_UNKNOWN, /* no private key in a known format */
};

enum keyfile_state keyfile_inspect(const char *path);

/* The same for the content alone (its first bytes suffice). */
enum keyfile_state keyfile_inspect_text(const char *text, size_t len);

/* Does the file need a passphrase, whatever its format? */
bool keyfile_needs_secret(const char *path);

/* Says why the file can't be used and what to do; `where` begins the line. Returns a negative
 * errno. */
int keyfile_explain(
    enum keyfile_state state, const char *path, const char *where, struct conf_error *error);

/* An agent listens on $SSH_AUTH_SOCK. */
bool keyfile_agent_present(void);

#endif

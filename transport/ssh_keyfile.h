/*
 * A look at a private key file before it is handed to libssh2, which says no more than "failed":
 * what is it, and what can be done about it? Never keeps private parts. Any thread.
 */
#ifndef VASTFS_TRANSPORT_SSH_KEYFILE_H
#define VASTFS_TRANSPORT_SSH_KEYFILE_H

#include <stdbool.h>
#include <stddef.h>

enum keyfile_state {
	KEYFILE_USABLE,
	KEYFILE_MISSING,
	KEYFILE_UNREADABLE, /* err says why */
	KEYFILE_OPEN,	    /* others can read it */
	KEYFILE_ENCRYPTED,
	KEYFILE_PUBLIC, /* the .pub file was named */
	KEYFILE_TOKEN,	/* on a FIDO token */
	KEYFILE_OTHER,	/* not a key that we know */
};

struct keyfile {
	enum keyfile_state state;
	int err;
	unsigned mode;
	bool rsa;
	bool putty;	      /* PuTTY's format: libssh2 and ssh can't read it */
	char word[24];	      /* "ED25519", "RSA"…, "" when not known */
	char fingerprint[80]; /* "" when not known */
};

void ssh_keyfile_look(const char *path, struct keyfile *out);

/* One sentence for people: what is wrong with it and the cure. "" when it is usable. */
void ssh_keyfile_advice(const char *path, const struct keyfile *key, char *buf, size_t size);

#endif

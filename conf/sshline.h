/*
 * What the user copies from the provider's console into words that a profile holds:
 *
 *	ssh -p 20544 root@142.214.185.187 -L 8080:localhost:8080
 *	sftp -P 20544 root@142.214.185.187         ssh://root@142.214.185.187:20544
 *	root@142.214.185.187 -p 20544              gpu     (an alias of ~/.ssh/config)
 *
 * Options stand in any order, also behind the host, as ssh(1) takes them. Nothing is run and no
 * shell is asked: quotes and backslashes are taken off here. Leaf; any thread.
 */
#ifndef VASTFS_CONF_SSHLINE_H
#define VASTFS_CONF_SSHLINE_H

#include "conf/error.h"
#include <stdbool.h>
#include <stddef.h>

/* Owns its strings; NULL and 0: not said. */
struct sshline {
	char *user, *host, *path; /* host without brackets; path of a URL */
	unsigned port;
	bool plain;  /* the host alone was said: it may be an alias of ~/.ssh/config */
	char **keys; /* as written */
	size_t n_keys;
	char **forwards; /* checked, as after -L */
	size_t n_forwards;
	char **ssh_options; /* "ProxyJump=jump", for the key of that name */
	size_t n_ssh_options;
	char *known_hosts;
	char *host_key; /* a choice of the key of that name */
	char **ignored; /* words without a meaning here, for a note; n_ignored */
	size_t n_ignored;
};

/* The words of one text (n = 1, cut as a shell would) or of an argument list (n > 1, as they are).
 * 0, or -EINVAL with one line. The caller frees with sshline_fini in both cases. */
int sshline_parse(size_t n, char *const *words, struct sshline *out, struct conf_error *error);
void sshline_fini(struct sshline *line);

/*
 * Puts the answer of `ssh -G host` into what was not said: hostname, port, user, identityfile
 * (where it is not one of ssh's defaults), localforward. The text is the command's output. 0 or a
 * negative errno.
 */
int sshline_complete(struct sshline *line, const char *answer, struct conf_error *error);

#endif

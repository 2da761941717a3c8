/*
 * What ~/.ssh/config says of a host, as `ssh -G` tells it, put into a profile: where the profile
 * says nothing itself. So the order is -o, section, [defaults], ~/.ssh/config, built-in defaults.
 *
 * Leaf; any thread. Running ssh is the caller's (fs/cmd/ask_ssh.h), before anything else uses the
 * profile.
 */
#ifndef VASTFS_CONF_SSHCONFIG_H
#define VASTFS_CONF_SSHCONFIG_H

#include "conf/profile.h"

/* The configuration that ssh must be told of, because it looks into the password database's home
 * folder and not into $HOME. Owned by the caller; NULL: none. */
char *sshconfig_file(void);

/* Takes HostName, Port, User, IdentityFile, UserKnownHostsFile, LocalForward and ProxyJump out of
 * the answer, and notes what only ssh can do. 0, or -ENOMEM. */
int sshconfig_apply(struct profile *profile, const char *answer);

#endif

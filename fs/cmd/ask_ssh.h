/* Asking ssh(1) what its configuration says of a host. For one thread, before others start. */
#ifndef VASTFS_FS_CMD_ASK_SSH_H
#define VASTFS_FS_CMD_ASK_SSH_H

#include "conf/profile.h"

/* The output of `ssh -G -- host`, owned; NULL when it can't be had within five seconds. profile
 * (may be NULL) adds the port, the login and the ssh options that it gives. Match exec lines of the
 * user's configuration are run by it. *why: what ssh did instead, in words that follow its name;
 * NULL when it answered, and when there is no ssh, so that nobody reads that file. */
char *ask_ssh(const char *host, const struct profile *profile, const char **why);

/* Puts what ~/.ssh/config says into the profile (conf/sshconfig.h), if its host is known by name or
 * address and there is an ssh. 0 or -ENOMEM. */
int ask_ssh_complete(struct profile *profile);

#endif

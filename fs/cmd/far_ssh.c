/* For instances that are not mounted: ssh(1) in our place. */
#include "fs/cmd/far.h"
#include "transport/ssh_hostkey.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 128

__attribute__((format(printf, 3, 4))) static void add(char **words, int *n, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (*n < WORDS_MAX - 1 && vasprintf(&words[*n], format, args) >= 0)
		++*n;
	va_end(args);
}

void far_become_ssh(const struct profile *profile, const char *host, unsigned port, bool pty,
    struct conf_error *error)
{
	char *words[WORDS_MAX] = {NULL}, alias[1024];
	int n = 0;

	ssh_hostkey_alias(profile, alias, sizeof(alias));
	add(words, &n, "ssh");
	add(words, &n, pty ? "-t" : "-T");
	if (port)
		add(words, &n, "-p%u", port);
	add(words, &n, "-l%s", profile->user);
	add(words, &n, "-oUserKnownHostsFile=\"%s\"", profile->known_hosts);
	if (alias[0])
		add(words, &n, "-oHostKeyAlias=%s", alias);
	for (size_t i = 0; i < profile->n_keys && profile->keys_given; i++)
		add(words, &n, "-i%s", profile->keys[i]);
	add(words, &n, "--");
	add(words, &n, "%s", host);
	fflush(NULL);
	execvp("ssh", words);
	conf_fail(error, errno, "ssh: %s; install the package openssh-client", strerror(errno));
	for (int i = 0; i < n; i++)
		free(words[i]);
}

/*
 * Behind jump hosts (ProxyJump): the connection is one end of a socket pair, whose other is the
 * standard input and output of `ssh -W host:port jump`. What that says, and asks during the first
 * connection, is on the terminal. It ends with the pair, whichever thread has it then.
 */
#include "conf/log.h"
#include "conf/sshconfig.h"
#include "transport/askpass.h"
#include "transport/child.h"
#include "transport/ssh_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORDS_MAX 32

struct words {
	char *list[WORDS_MAX];
	size_t n;
	bool no_memory;
};

static void add(struct words *words, char *word)
{
	if (!word || words->n + 1 == WORDS_MAX) {
		words->no_memory = true;
		free(word);
		return;
	}
	words->list[words->n++] = word;
}

/* The last host of the list is connected to, by way of those before it. */
static void add_jumps(struct words *words, const char *jumps)
{
	const char *last = strrchr(jumps, ',');
	char *url = NULL;

	if (last) {
		add(words, strdup("-J"));
		add(words, strndup(jumps, (size_t)(last - jumps)));
	}
	last = last ? last + 1 : jumps;
	if (asprintf(&url, strstr(last, "://") ? "%s" : "ssh://%s", last) < 0)
		url = NULL;
	add(words, strdup("--"));
	add(words, url);
}

/* answered: what it asks for is answered by us, as far as it is known. */
static void compose(struct ssh_connection *c, struct words *words, bool answered)
{
	static const char *const options[] = {"ClearAllForwardings=yes", "ControlMaster=no",
	    "ControlPath=none", "PermitLocalCommand=no", "RemoteCommand=none", "RequestTTY=no",
	    "ServerAliveInterval=5", "ServerAliveCountMax=2"};
	char *config = sshconfig_file();

	add(words, strdup("ssh"));
	if (config) {
		add(words, strdup("-F"));
		add(words, config);
	}
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
		char *word = NULL;

		add(words, asprintf(&word, "-o%s", options[i]) < 0 ? NULL : word);
	}
	if (!c->target->ask && !answered)
		add(words, strdup("-oBatchMode=yes"));
	/* what can't be answered is not tried, or the jump host counts it */
	if (!c->target->ask && answered) {
		add(words, strdup("-oPasswordAuthentication=no"));
		add(words, strdup("-oKbdInteractiveAuthentication=no"));
	}
	add(words, strdup("-W"));
	add(words, strdup(c->where));
	add_jumps(words, c->target->profile->proxy_jump);
}

int ssh_proxy_dial(struct ssh_connection *c, struct ssh_error *error)
{
	char *file = child_find_ssh();
	struct words words = {.n = 0};
	int pair[2] = {-1, -1}, err;
	char **env;

	if (!file)
		return ssh_fail(error, SSH_CONFIG, ENOENT,
		    "%s: there is no ssh command to go through %s with: install openssh-client",
		    c->where, c->target->profile->proxy_jump);
	env = askpass_env(c->target->ask != NULL);
	compose(c, &words, env != NULL);
	err = words.no_memory ? -ENOMEM : 0;
	if (!err && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		err = -errno;
	if (!err) {
		const int fds[3] = {pair[1], pair[1], STDERR_FILENO};

		log_verbose("%s: connecting through %s", c->where, c->target->profile->proxy_jump);
		err = child_start(file, words.list, env, fds, false, &c->proxy_pid, &c->proxy_fd);
	}
	if (!err && fcntl(pair[0], F_SETFL, O_NONBLOCK))
		err = -errno;
	if (!err) {
		c->fd = pair[0];
		pair[0] = -1;
		c->heard_ms = ssh_now();
		snprintf(c->address, sizeof(c->address), "through %.60s",
		    c->target->profile->proxy_jump);
	}
	for (int i = 0; i < 2; i++) {
		if (pair[i] >= 0)
			close(pair[i]);
	}
	for (size_t i = 0; i < words.n; i++)
		free(words.list[i]);
	free(file);
	askpass_env_free(env);
	if (err)
		return ssh_fail(
		    error, SSH_LOST, -err, "%s: can't start ssh: %s", c->where, strerror(-err));
	return 0;
}

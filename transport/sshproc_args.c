/*
 * ssh's command line. What the profile says goes before ~/.ssh/config, which goes before ssh's own
 * defaults; what would break an SFTP stream is switched off whatever the config says.
 */
#include "conf/keyfile.h"
#include "conf/sshconfig.h"
#include "transport/ssh_hostkey.h"
#include "transport/sshproc.h"
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGS_MAX 96
#define CONNECT_SECONDS 15

/* Fastest by far where the processor knows AES; ssh's own first choice is not. */
#define FAST_CIPHER "^aes128-gcm@openssh.com"

struct args {
	char **list;
	size_t n;
	bool no_memory;
};

static void add(struct args *args, char *word)
{
	if (!word || args->n + 1 >= ARGS_MAX) {
		free(word);
		args->no_memory = true;
		return;
	}
	args->list[args->n++] = word;
}

static void add_word(struct args *args, const char *word)
{
	add(args, strdup(word));
}

static void __attribute__((format(printf, 2, 3)))
add_option(struct args *args, const char *format, ...)
{
	va_list list;
	char *word = NULL;

	add_word(args, "-o");
	va_start(list, format);
	if (vasprintf(&word, format, list) < 0)
		word = NULL;
	va_end(list);
	add(args, word);
}

/* A file's name as ssh's parser takes it: in quotes, with its escapes and %% for its tokens. The
 * caller frees. */
static char *quoted(const char *path)
{
	char *out = malloc(2 * strlen(path) + 3), *at = out;

	if (!out)
		return NULL;
	*at++ = '"';
	for (; *path; path++) {
		if (*path == '"' || *path == '\\')
			*at++ = '\\';
		else if (*path == '%')
			*at++ = '%';
		*at++ = *path;
	}
	*at++ = '"';
	*at = '\0';
	return out;
}

static void add_file_option(struct args *args, const char *name, const char *path)
{
	char *file = quoted(path);

	if (file)
		add_option(args, "%s=%s", name, file);
	else
		args->no_memory = true;
	free(file);
}

/* What no SFTP stream, and no process in the background, can live with. */
static void add_fixed(struct args *args)
{
	static const char *const options[] = {"LogLevel=DEBUG1", "ClearAllForwardings=yes",
	    "ForwardAgent=no", "ForwardX11=no", "PermitLocalCommand=no", "RemoteCommand=none",
	    "RequestTTY=no", "StdinNull=no", "ForkAfterAuthentication=no", "EscapeChar=none",
	    "FingerprintHash=sha256", "VisualHostKey=no", "TCPKeepAlive=yes",
	    "ServerAliveInterval=5", "ServerAliveCountMax=2", "ControlPersist=no"};

	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
		add_option(args, "%s", options[i]);
}

static bool has_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_cpu_supports("aes");
#else
	return true;
#endif
}

/* S1. Under the alias nothing but the pinned key will do. */
static void add_host_key(
    struct args *args, const struct ssh_target *target, bool may_ask, bool pinned, bool by_address)
{
	const struct profile *profile = target->profile;
	const char *strict = "yes";
	char alias[320];

	add_file_option(args, "UserKnownHostsFile", profile->known_hosts);
	ssh_hostkey_alias(profile, alias, sizeof(alias));
	/* What is known of an address that the provider has just given is an earlier instance's. */
	if (pinned || (target->vouched && alias[0] && !by_address))
		add_option(args, "HostKeyAlias=%s", alias);
	/* The address is ssh's to write as the user likes it; the alias hides nothing. */
	if (!pinned && target->vouched && alias[0] && !by_address)
		add_option(args, "HashKnownHosts=no");
	if (pinned || by_address) {
		strict = "yes";
	} else if (profile->host_key == HOST_KEY_ACCEPT_NEW) {
		strict = "accept-new";
	} else if (profile->host_key == HOST_KEY_ASK && may_ask && target->ask) {
		strict = "ask";
	}
	add_option(args, "StrictHostKeyChecking=%s", strict);
}

/* With a $HOME of its own, the keys in it are not those that ssh looks for by itself. */
static void add_home(struct args *args, const struct profile *profile)
{
	const char *home = getenv("HOME");
	char *config = sshconfig_file(), room[4096];
	struct passwd entry, *found = NULL;

	if (config) {
		add_word(args, "-F");
		add_word(args, config);
	}
	free(config);
	if (!home || *home != '/' || getpwuid_r(getuid(), &entry, room, sizeof(room), &found) ||
	    !found || !strcmp(found->pw_dir, home))
		return;
	for (size_t i = 0; !profile->keys_given && i < profile->n_keys; i++)
		add_file_option(args, "IdentityFile", profile->keys[i]);
}

static void add_login(struct args *args, const struct profile *profile)
{
	size_t n = 0;

	add_option(args, "Port=%u", profile->port);
	add_word(args, "-l");
	add_word(args, profile->user);
	if (!profile->keys_given)
		return;
	for (size_t i = 0; i < profile->n_keys; i++) {
		if (keyfile_inspect(profile->keys[i]) == KEYFILE_PUTTY)
			continue;
		add_file_option(args, "IdentityFile", profile->keys[i]);
		n++;
	}
	/* Else an agent with many keys uses up the server's patience before the file's turn. */
	if (n)
		add_option(args, "IdentitiesOnly=yes");
}

const char *sshproc_unreadable(const struct profile *profile)
{
	if (!profile->keys_given || keyfile_agent_present())
		return NULL;
	for (size_t i = 0; i < profile->n_keys; i++) {
		if (keyfile_inspect(profile->keys[i]) != KEYFILE_PUTTY)
			return NULL;
	}
	return profile->n_keys ? profile->keys[0] : NULL;
}

char **sshproc_args(const struct sshproc *process, bool may_ask, bool answered, bool pinned)
{
	const struct ssh_target *target = &process->view.target;
	struct args args = {.list = calloc(ARGS_MAX, sizeof(char *))};

	if (!args.list)
		return NULL;
	add_word(&args, "ssh");
	add_home(&args, target->profile);
	add_fixed(&args);
	add_option(&args, "BatchMode=%s", may_ask || answered ? "no" : "yes");
	if (!may_ask && answered) {
		/* only passphrases are known; each guess counts for the server */
		add_option(&args, "PasswordAuthentication=no");
		add_option(&args, "KbdInteractiveAuthentication=no");
	}
	if (process->control[0]) {
		add_option(&args, "ControlMaster=yes");
		add_file_option(&args, "ControlPath", process->control);
	} else {
		add_option(&args, "ControlMaster=no");
		add_option(&args, "ControlPath=none");
	}
	add_host_key(&args, target, may_ask, pinned, process->by_address);
	/* ssh takes the first value that it meets: these can't undo the above. */
	for (size_t i = target->profile->n_ssh_options; i-- > 0;)
		add_option(&args, "%s", target->profile->ssh_options[i]);
	add_option(&args, "ConnectTimeout=%u",
	    target->connect_timeout ? target->connect_timeout : CONNECT_SECONDS);
	if (has_aes() && !target->profile->ssh_ciphers)
		add_option(&args, "Ciphers=%s", FAST_CIPHER);
	add_login(&args, target->profile);
	add_word(&args, process->session ? "-s" : "-N");
	add_word(&args, "--");
	add_word(
	    &args, target->profile->ssh_name ? target->profile->ssh_name : target->profile->host);
	if (process->session)
		add_word(&args, "sftp");
	if (args.no_memory) {
		sshproc_args_free(args.list);
		return NULL;
	}
	return args.list;
}

void sshproc_args_free(char **args)
{
	for (size_t i = 0; args && args[i]; i++)
		free(args[i]);
	free(args);
}

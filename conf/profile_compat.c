/*
 * Options in the words of sshfs and ssh, as they stand in people's fstab, into ours. Names are
 * compared without regard to case, as ssh does.
 *
 *	renamed      IdentityFile=F → key=F, max_conns=4 → connections=4 …
 *	ssh's own    Ciphers=…, ProxyJump=… → ssh_option=Ciphers=…
 *	passed over  what is always so here (reconnect), or has nothing to act on; some with a note
 */
#include "conf/log.h"
#include "conf/profile_impl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const renamed[][2] = {{"IdentityFile", "key"},
    {"UserKnownHostsFile", "known_hosts"}, {"Port", "port"}, {"User", "user"}, {"HostName", "host"},
    {"dcache_timeout", "attr_timeout"}, {"dcache_stat_timeout", "attr_timeout"},
    {"cache_timeout", "attr_timeout"}, {"cache_stat_timeout", "attr_timeout"},
    {"entry_timeout", "attr_timeout"}};

static const char *const for_ssh[] = {"AddressFamily", "BindAddress", "BindInterface",
    "CASignatureAlgorithms", "CertificateFile", "Ciphers", "Compression", "ConnectTimeout",
    "ConnectionAttempts", "GSSAPIAuthentication", "GSSAPIDelegateCredentials",
    "GlobalKnownHostsFile", "HashKnownHosts", "HostKeyAlgorithms", "HostKeyAlias", "IPQoS",
    "IdentitiesOnly", "IdentityAgent", "KbdInteractiveAuthentication", "KexAlgorithms",
    "KnownHostsCommand", "MACs", "PKCS11Provider", "PasswordAuthentication",
    "PreferredAuthentications", "ProxyCommand", "ProxyJump", "ProxyUseFdpass",
    "PubkeyAcceptedAlgorithms", "PubkeyAcceptedKeyTypes", "PubkeyAuthentication", "RekeyLimit",
    "RequiredRSASize", "SecurityKeyProvider", "UpdateHostKeys", "VerifyHostKeyDNS"};

/* Without a note: so it is here in any case. */
static const char *const passed_over[] = {"reconnect", "delay_connect", "no_readahead",
    "sync_readdir", "sync_read", "async_read", "workaround", "auto_cache", "noauto_cache",
    "kernel_cache", "ac_attr_timeout", "big_writes", "large_read", "hard_remove", "use_ino",
    "readdir_ino", "intr", "intr_signal", "max_read", "max_write", "max_readahead",
    "max_background", "congestion_threshold", "splice_read", "splice_write", "splice_move",
    "no_check_root", "dir_cache", "dcache_max_size", "dcache_clean_interval",
    "dcache_min_clean_interval", "dcache_dir_timeout", "dcache_link_timeout", "cache_max_size",
    "cache_clean_interval", "cache_min_clean_interval", "cache_dir_timeout", "cache_link_timeout",
    "negative_timeout", "transform_symlinks", "ssh_protocol", "sshfs_debug", "TCPKeepAlive",
    "BatchMode", "ControlMaster", "ControlPath", "ControlPersist", "LogLevel", "ForwardAgent",
    "ForwardX11", "RequestTTY", "VisualHostKey", "CheckHostIP", "auto_unmount"};

static const char *const noted[][2] = {
    {"ServerAliveInterval", "a dead link is noticed within 15 seconds in any case"},
    {"ServerAliveCountMax", "a dead link is noticed within 15 seconds in any case"},
    {"follow_symlinks", "links are shown as links; those that stay inside the mount work"},
    {"direct_io", "contents are cached, and checked at each open"},
    {"cache", "names and attributes are cached; attr_timeout says for how long"},
    {"disable_hardlink", "hard links work where the server has them"},
    {"nomap", "idmap=none shows the instance's numbers"},
    {"uidfile", "idmap=user maps the login user alone"},
    {"gidfile", "idmap=user maps the login user alone"},
    {"ssh_command", "the ssh in PATH is used"},
    {"sftp_server", "the server's sftp subsystem is used"},
};

static bool among(const char *const *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcasecmp(list[i], name) == 0)
			return true;
	}
	return false;
}
#define AMONG(list, name) among(list, sizeof(list) / sizeof(*(list)), name)

static int make(char **out, const char *key, const char *value)
{
	if (asprintf(out, "%s=%s", key, value ? value : "") >= 0)
		return 1;
	*out = NULL;
	return -ENOMEM;
}

/* A key that changed is refused all the same. */
static const char *host_key_choice(const char *value)
{
	if (!strcasecmp(value, "yes"))
		return "strict";
	return strcasecmp(value, "ask") ? "accept-new" : "ask";
}

/* sshfs takes any number of connections. */
static int translate_conns(char **out, const char *value)
{
	long n = strtol(value, NULL, 10);

	return make(out, "connections", n > 16 ? "16" : value);
}

/* ssh's form is "8080 host:80", which mount(8) hands on with its blank. */
static int translate_forward(char **out, const char *value)
{
	int rc = make(out, "forward", value);
	char *blank = rc > 0 ? strpbrk(*out, " \t") : NULL;

	if (blank)
		*blank = ':';
	return rc;
}

static int translate(char **out, const char *name, const char *value)
{
	for (size_t i = 0; value && i < sizeof(renamed) / sizeof(*renamed); i++) {
		if (!strcasecmp(renamed[i][0], name))
			return make(out, renamed[i][1], value);
	}
	if (value && !strcasecmp(name, "StrictHostKeyChecking"))
		return make(out, "host_key", host_key_choice(value));
	if (value && !strcasecmp(name, "max_conns"))
		return translate_conns(out, value);
	if (value && !strcasecmp(name, "LocalForward"))
		return translate_forward(out, value);
	if (!strcasecmp(name, "sshfs_sync"))
		return (*out = strdup("sync")) ? 1 : -ENOMEM;
	if (value && AMONG(for_ssh, name)) {
		char *text;
		int rc = make(&text, name, value);

		if (rc > 0)
			rc = make(out, "ssh_option", text);
		free(text);
		return rc;
	}
	return 0;
}

int profile_compat(const char *option, char **out)
{
	const char *equals = strchr(option, '=');
	char *name = strndup(option, equals ? (size_t)(equals - option) : strlen(option));
	int rc;

	*out = NULL;
	if (!name)
		return -ENOMEM;
	rc = translate(out, name, equals ? equals + 1 : NULL);
	if (!rc && AMONG(passed_over, name))
		rc = 1;
	for (size_t i = 0; !rc && i < sizeof(noted) / sizeof(*noted); i++) {
		if (strcasecmp(noted[i][0], name))
			continue;
		log_info("-o %s is passed over: %s", option, noted[i][1]);
		rc = 1;
	}
	free(name);
	return rc;
}

/* --- the key that was meant ---------------------------------------------------------- */

/* The number of letters to add, drop, change or swap between two words; words of 32 or more differ
 * a lot. */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][32];
	unsigned *before = rows[0], *above = rows[1], *row = rows[2], *spare;
	size_t na = strlen(a), nb = strlen(b);

	if (na >= 32 || nb >= 32)
		return 32;
	for (size_t j = 0; j <= nb; j++)
		above[j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);

			if (above[j] + 1 < best)
				best = above[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
		spare = before;
		before = above;
		above = row;
		row = spare;
	}
	return above[nb];
}

const char *profile_key_suggest(const char *name)
{
	static const char *const words[][2] = {{"HostName", "host"}, {"address", "host"},
	    {"ip", "host"}, {"ssh_port", "port"}, {"username", "user"}, {"login", "user"},
	    {"IdentityFile", "key"}, {"identity", "key"}, {"ssh_key", "key"},
	    {"private_key", "key"}, {"keyfile", "key"}, {"dir", "path"}, {"directory", "path"},
	    {"remote", "path"}, {"LocalForward", "forward"}, {"UserKnownHostsFile", "known_hosts"},
	    {"StrictHostKeyChecking", "host_key"}, {"max_conns", "connections"},
	    {"ConnectTimeout", "timeout"}, {"entry_timeout", "attr_timeout"},
	    {"cache_timeout", "attr_timeout"}, {"dcache_timeout", "attr_timeout"},
	    {"transform_symlinks", "symlinks"}, {"follow_symlinks", "symlinks"}};
	const char *best = NULL;
	unsigned best_distance = strlen(name) < 4 ? 2 : 3;

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (strcasecmp(words[i][0], name) == 0)
			return words[i][1];
	}
	for (const struct profile_key *key = profile_keys(); key->name; key++) {
		unsigned d = strcasecmp(key->name, name) == 0 ? 0 : distance(name, key->name);

		if (d < best_distance && d < strlen(key->name)) {
			best = key->name;
			best_distance = d;
		}
	}
	return best;
}

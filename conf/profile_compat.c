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

static const char *const flags[][2] = {{"sshfs_sync", "sync"}, {"dirsync", "lag=0"},
    {"no_contain_symlinks", "symlinks=raw"}, {"follow_symlinks", "symlinks=follow"}};

static const char *const for_ssh[] = {"AddressFamily", "BindAddress", "BindInterface",
    "CASignatureAlgorithms", "CertificateFile", "Ciphers", "Compression", "ConnectTimeout",
    "ConnectionAttempts", "GSSAPIAuthentication", "GSSAPIDelegateCredentials",
    "GlobalKnownHostsFile", "HashKnownHosts", "HostbasedAcceptedAlgorithms",
    "HostbasedAuthentication", "HostKeyAlgorithms", "HostKeyAlias", "IPQoS", "IdentitiesOnly",
    "IdentityAgent", "KbdInteractiveAuthentication", "KexAlgorithms", "KnownHostsCommand", "MACs",
    "PKCS11Provider", "PasswordAuthentication", "PreferredAuthentications", "ProxyCommand",
    "ProxyJump", "ProxyUseFdpass", "PubkeyAcceptedAlgorithms", "PubkeyAcceptedKeyTypes",
    "PubkeyAuthentication", "RekeyLimit", "RequiredRSASize", "RevokedHostKeys",
    "SecurityKeyProvider", "UpdateHostKeys", "VerifyHostKeyDNS"};

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
    "ForwardX11", "RequestTTY", "VisualHostKey", "CheckHostIP", "auto_unmount", "no_remote_lock",
    "no_remote_flock", "no_remote_posix_lock", "noforget", "remember", "clone_fd", "max_threads",
    "max_idle_threads", "no_rofd_flush", "contain_symlinks", "rellinks", "norellinks", "blksize",
    "sshfs_verbose", "noappledouble", "noapplexattr", "nolocalcaches", "defer_permissions",
    "volname", "iosize", "NumberOfPasswordPrompts", "ChallengeResponseAuthentication",
    "KbdInteractiveDevices", "CompressionLevel", "FingerprintHash", "LocalCommand",
    "PermitLocalCommand", "UsePrivilegedPort", "NoHostAuthenticationForLocalhost",
    "RSAAuthentication", "RhostsRSAAuthentication", "SmartcardDevice"};

static const char *const noted[][2] = {
    {"ServerAliveInterval", "a dead link is noticed within 15 seconds in any case"},
    {"ServerAliveCountMax", "a dead link is noticed within 15 seconds in any case"},
    {"direct_io", "contents are cached, and checked at each open"},
    {"cache", "names and attributes are cached; attr_timeout says for how long"},
    {"disable_hardlink", "hard links work where the server has them"},
    {"nomap", "idmap=none shows the instance's numbers"},
    {"uidfile", "idmap=user maps the login user alone"},
    {"gidfile", "idmap=user maps the login user alone"},
    {"ssh_command", "the ssh in PATH is used"},
    {"password_stdin", "no password is read; keys log in (vastfs key new makes one)"},
    {"sftp_server", "the server's sftp subsystem is used"},
    {"context", "the kernel labels FUSE mounts by its own rules"},
    {"fscontext", "the kernel labels FUSE mounts by its own rules"},
    {"defcontext", "the kernel labels FUSE mounts by its own rules"},
    {"rootcontext", "the kernel labels FUSE mounts by its own rules"},
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
	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		if (!value && !strcasecmp(flags[i][0], name))
			return (*out = strdup(flags[i][1])) ? 1 : -ENOMEM;
	}
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

/*
 * The profile: all that the user said about one instance, from three places, the first that
 * speaks winning: the command line (-o key=value, user@host:/path, -L), the section of the
 * instance in the ini file, its [defaults] section; then the built-in defaults.
 *
 * Keys are described once, in the table behind profile_keys(): the parser, the -o options, the
 * man pages' test and `mount.vastfs -h` all read it.
 *
 * Leaf; any thread (no globals). A profile owns its strings; errors are one line in conf_error
 * that names file:line or the option.
 */
#ifndef VASTFS_CONF_PROFILE_H
#define VASTFS_CONF_PROFILE_H

#include "conf/error.h"
#include "conf/forward.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum host_key_policy { HOST_KEY_ASK, HOST_KEY_ACCEPT_NEW, HOST_KEY_STRICT };
/* Who speaks SSH: the library, or processes of ssh(1). */
enum transport_kind { TRANSPORT_AUTO, TRANSPORT_LIBSSH2, TRANSPORT_SSH };
/* SYMLINKS_FOLLOW: the instance follows them; here are no links, but what they lead to. */
enum symlink_policy { SYMLINKS_INSIDE, SYMLINKS_RAW, SYMLINKS_FOLLOW };

/* Whose files are whose. IDMAP_USER: the login user's files appear as the mounting
 * user's and the other way round; IDMAP_NONE: numbers as the server sends them. */
enum resolve_policy { RESOLVE_AUTO, RESOLVE_DIRECT, RESOLVE_PROXY, RESOLVE_OFF };
enum yes_no { SAID_YES, SAID_NO };
enum watch_policy { WATCH_AUTO, WATCH_NO };
enum idmap_policy { IDMAP_USER, IDMAP_NONE };

struct profile {
	char *id;	   /* section name, or user@host:port when there is no section */
	char *host;	   /* name or address, without brackets; the id while !host_known */
	bool host_known;   /* false: the provider has to be asked */
	bool host_in_file; /* it and the port come from the section or [defaults] */
	enum resolve_policy resolve;
	char *api_url; /* of the provider; never NULL */
	unsigned wait; /* seconds to wait for an instance that is starting; 0: none */
	unsigned port;
	char *user;
	bool port_given, user_given, known_hosts_given; /* else the built-in default */
	/* Private key files to try in turn, absolute; n_keys. Only those that can be used: default
	 * keys that are missing and encrypted ones (left to ssh-agent) are not in it, so it may be
	 * empty. */
	char **keys;
	size_t n_keys;
	bool keys_given; /* false: keys are the defaults, ~/.ssh/id_ed25519 and its like */
	bool putty_keys; /* one of them is PuTTY's, which only libssh2 gets to use */
	char *path;	 /* remote folder; NULL: /workspace if it exists, else the login folder */
	struct forward_spec *forwards;
	size_t n_forwards;
	char *known_hosts; /* absolute path */
	enum host_key_policy host_key;
	bool host_key_given;
	enum transport_kind transport;
	/* What ~/.ssh/config says (conf/sshconfig.h). */
	char *ssh_name;	    /* the host's name there, where it is another; or NULL */
	char *proxy_jump;   /* hosts to go through, parted by commas; or NULL */
	bool proxied;	    /* the host is reached through others (ProxyJump, ProxyCommand) */
	bool needs_ssh;	    /* it asks for what only ssh(1) can do */
	bool ssh_ciphers;   /* it chooses ciphers */
	char **ssh_options; /* "Name=value" for ssh(1), the later ones win; n_ssh_options */
	size_t n_ssh_options;
	unsigned connections;  /* SSH sessions, 1 to 16 */
	unsigned timeout;      /* seconds, 1 to 3600 */
	unsigned attr_timeout; /* seconds, 0 to 3600 */
	unsigned lag;	       /* seconds that changes may be behind, 0 to 60 */
	char *cache_dir;       /* absolute, of all instances' disk caches; NULL: the usual one */
	uint64_t cache_size;   /* bytes, 0: no disk cache; UINT64_MAX: by the free space */
	unsigned spool_size;   /* MiB, 0: no spool; unless spool_size_given, a default */
	bool spool_size_given;
	enum symlink_policy symlinks;
	enum idmap_policy idmap;
	enum yes_no readahead_dirs;
	enum watch_policy watch;

	/* -o options of mount(8) and FUSE; not allowed in the ini file unless the table says so.
	 * nosuid and nodev are true unless the user said suid or dev: the server is not trusted. */
	bool read_only, allow_other, default_permissions, nosuid, nodev, noexec, noatime, sync;
	bool uid_given, gid_given, umask_given;
	unsigned uid, gid, umask;
	char *fsname;  /* for findmnt and df; the spec as written unless -o fsname; never NULL */
	bool offline;  /* mount what the disk cache knows when the instance can't be reached */
	char *config;  /* the ini file that was read, or NULL */
	bool nonempty; /* the mountpoint may hold files */
};

enum profile_key_type {
	KEY_STRING,
	KEY_NUMBER,
	KEY_SIZE,
	KEY_CHOICE,
	KEY_PATH,
	KEY_FORWARD,
	KEY_FLAG
};

/* One key: where it may stand, its range or choices, its default, and a line for people. */
struct profile_key {
	const char *name;
	enum profile_key_type type;
	unsigned min, max;	  /* KEY_NUMBER */
	const char *choices;	  /* KEY_CHOICE: "ask|accept-new|strict" */
	const char *default_text; /* as documented */
	const char *help;	  /* one line */
	bool in_file;		  /* may stand in the ini file too */
	bool repeats;
};

/* The table, ended by an entry whose name is NULL. */
const struct profile_key *profile_keys(void);

/* What the command line said, before any file is read. Owns its strings. */
struct profile_request {
	char *spec;	/* ID[:/path], or [user@]host[:/path] */
	char **options; /* each "key=value" or "flag", in order; n_options */
	size_t n_options;
	char **forwards; /* of -L; n_forwards */
	size_t n_forwards;
	bool sloppy;	 /* -s: unknown options are passed over */
	bool unattended; /* nobody can be asked for a passphrase: keys that need one won't do */
	bool no_memory;	 /* an addition failed; profile_load will say so */
};

void profile_request_add_option(struct profile_request *request, const char *option, size_t len);
void profile_request_add_forward(struct profile_request *request, const char *forward);
void profile_request_fini(struct profile_request *request);

/*
 * Makes the profile. Reads -o config=FILE, else $VASTFS_CONFIG, else $XDG_CONFIG_HOME (~/.config)
 * /vastfs/config.ini; a missing default file is an empty one. Checks everything that can be checked
 * without touching the network or the mountpoint: unknown keys (file:line), numbers, ranges,
 * forwards, key files that are missing, readable by others (S3) or, unattended and without an
 * agent, encrypted, and the section's existence.
 *
 * 0, or a negative errno with one line in *error. *out is owned by the caller (profile_free).
 */
int profile_load(
    const struct profile_request *request, struct profile **out, struct conf_error *error);
void profile_free(struct profile *profile);

/* The file's word for host (owned by the caller) and port now, of a profile with host_in_file: it
 * may have been edited since. 0 or a negative errno. Any thread. */
int profile_reload_address(
    const struct profile *profile, char **host, unsigned *port, struct conf_error *error);

#endif

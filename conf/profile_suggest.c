/* Which key may have been meant by a word that is none. */
#include "conf/profile_impl.h"
#include <errno.h>
#include <string.h>
#include <strings.h>

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

/* What others have and we do not, with what to do instead: sshfs's and mount(8)'s. */
static const char *instead_of(const char *name)
{
	static const char *const words[][2] = {
	    {"directport",
		"vastfs always speaks SSH; take it away, and name sshd's port with port="},
	    {"vsock", "vastfs always speaks SSH; take it away, or reach the host with "
		      "ProxyCommand= and socat"},
	    {"passive", "vastfs dials itself; take it away, and name the host"},
	    {"slave", "vastfs dials itself; take it away, and name the host"},
	    {"allow_root", "root can't be let in alone; write allow_other, or take it away"},
	    {"blkdev", "this is no block device; take it away"},
	    {"debug", "write -d before the instance"},
	    {"loglevel", "write -v, -v -v or -d before the instance"},
	    {"modules",
		"libfuse's modules are not loaded; to mount a folder below, write ID:/path"},
	    {"subdir", "write ID:/path to mount that folder"},
	    {"from_code", "names are bytes here and stay as they are; take it away"},
	    {"to_code", "names are bytes here and stay as they are; take it away"},
	    {"remount", "a mount can't be changed; vastfs umount it, and mount it anew"},
	    {"bind", "mount it by its ID, and bind that folder with mount(8)"},
	    {"loop", "this is no image; take it away"},
	    {"nosymfollow", "symlinks=inside keeps links "
			    "within the mount"},
	    {"ssh_config", "ssh reads ~/.ssh/config; put the lines there"},
	    {"cipher", "write Ciphers=NAME"},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (strcasecmp(words[i][0], name) == 0)
			return words[i][1];
	}
	return NULL;
}

int profile_option_unknown(const char *option, const char *name, struct conf_error *error)
{
	const char *instead = instead_of(name), *better = profile_key_suggest(name);

	if (instead)
		return conf_fail(
		    error, EINVAL, "-o %s: there is no such option here: %s", option, instead);
	if (better)
		return conf_fail(error, EINVAL,
		    "-o %s: unknown option \"%s\" (did you mean \"%s\"?)", option, name, better);
	return conf_fail(error, EINVAL,
	    "-o %s: unknown option \"%s\"; mount.vastfs -h lists them, and -s passes over unknown "
	    "ones",
	    option, name);
}

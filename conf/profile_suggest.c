/* Which key may have been meant by a word that is none. */
#include "conf/profile_impl.h"
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

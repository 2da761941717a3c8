#include "transport/ssh_hostkey.h"
#include "conf/log.h"
#include "transport/known_hosts.h"
#include "transport/ssh_internal.h"
#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAME_MAX_BYTES 320
#define OTHER_NAMES 4

/* Held from the look at the file to the end of the question and the writing. */
static pthread_mutex_t check_lock = PTHREAD_MUTEX_INITIALIZER;

/* --- keys as text ---------------------------------------------------------------------- */

void ssh_key_type(const uint8_t *key, size_t key_len, char *buf, size_t size)
{
	size_t len;

	buf[0] = '\0';
	if (key_len < 4)
		return;
	len = (size_t)key[0] << 24 | (size_t)key[1] << 16 | (size_t)key[2] << 8 | key[3];
	if (len <= key_len - 4 && len < size)
		log_printable(buf, size, (const char *)key + 4, len);
}

const char *ssh_key_type_word(const char *type)
{
	if (!strcmp(type, "ssh-ed25519"))
		return "ED25519";
	if (!strncmp(type, "ecdsa-sha2-", 11))
		return "ECDSA";
	if (!strcmp(type, "ssh-rsa"))
		return "RSA";
	if (!strcmp(type, "sk-ssh-ed25519@openssh.com"))
		return "ED25519-SK";
	if (!strncmp(type, "sk-ecdsa-", 9))
		return "ECDSA-SK";
	return type;
}

void ssh_hostkey_fingerprint(const uint8_t *key, size_t key_len, char *buf, size_t size)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	char text[64];

	SHA256(key, key_len, digest);
	EVP_EncodeBlock((unsigned char *)text, digest, sizeof(digest));
	text[strcspn(text, "=")] = '\0';
	snprintf(buf, size, "SHA256:%s", text);
}

/* --- names ----------------------------------------------------------------------------- */

/* user@host:port, which conf makes up where there is no section. */
static bool is_section(const struct profile *profile)
{
	char plain[NAME_MAX_BYTES], bracketed[NAME_MAX_BYTES];

	snprintf(plain, sizeof(plain), "%s@%s:%u", profile->user, profile->host, profile->port);
	snprintf(bracketed, sizeof(bracketed), "%s@[%s]:%u", profile->user, profile->host,
	    profile->port);
	return profile->id && *profile->id && strcmp(profile->id, plain) &&
	       strcmp(profile->id, bracketed);
}

void ssh_hostkey_alias(const struct profile *profile, char *buf, size_t size)
{
	size_t at;

	buf[0] = '\0';
	if (!is_section(profile) || strlen(profile->id) * 3 + 8 > size)
		return;
	at = (size_t)snprintf(buf, size, "vastfs-");
	/* A section's name may hold what means something in the file: commas, spaces, wildcards. */
	for (const char *id = profile->id; *id; id++) {
		if (isalnum((unsigned char)*id) || strchr("._-", *id))
			buf[at++] = *id;
		else
			at += (size_t)snprintf(buf + at, size - at, "%%%02x", (unsigned char)*id);
	}
	buf[at] = '\0';
}

void ssh_hostkey_address(const struct profile *profile, char *buf, size_t size)
{
	if (profile->port == 22)
		snprintf(buf, size, "%s", profile->host);
	else
		snprintf(buf, size, "[%s]:%u", profile->host, profile->port);
	for (char *at = buf; *at; at++)
		*at = (char)tolower((unsigned char)*at);
}

/* --- looking up ------------------------------------------------------------------------ */

struct search {
	const char *name;
	const uint8_t *key;
	size_t key_len;
	char type[64];
	enum hostkey_verdict verdict;
	unsigned line;
};

static bool search_line(void *arg, const struct known_line *line)
{
	struct search *search = arg;
	bool same =
	    line->key_len == search->key_len && !memcmp(line->key, search->key, search->key_len);
	enum hostkey_verdict verdict = HOSTKEY_OTHER_TYPE;

	/* Certificates are not spoken here: an authority's key says nothing about a plain one. */
	if (line->marker == KNOWN_AUTHORITY || !known_hosts_match(line->names, search->name))
		return true;
	if (line->marker == KNOWN_REVOKED) {
		if (!same)
			return true;
		search->verdict = HOSTKEY_REVOKED;
		search->line = line->number;
		return false;
	}
	if (same)
		verdict = HOSTKEY_MATCH;
	else if (!strcmp(line->type, search->type))
		verdict = HOSTKEY_CHANGED;
	/* One match among several keys of a name is enough; a later line may still revoke it. */
	if (search->verdict == HOSTKEY_MATCH ||
	    (search->verdict == HOSTKEY_CHANGED && verdict == HOSTKEY_OTHER_TYPE) ||
	    search->verdict == verdict)
		return true;
	search->verdict = verdict;
	search->line = line->number;
	return true;
}

int ssh_hostkey_lookup(const char *file, const char *name, const uint8_t *key, size_t key_len,
    enum hostkey_verdict *out, unsigned *line)
{
	struct search search = {.name = name, .key = key, .key_len = key_len};
	int err;

	ssh_key_type(key, key_len, search.type, sizeof(search.type));
	err = known_hosts_read(file, search_line, &search);
	*out = search.verdict;
	if (line)
		*line = search.line;
	return err;
}

/* --- proposing ------------------------------------------------------------------------- */

static const struct {
	const char *type;	/* in the file */
	const char *algorithms; /* on the wire */
} families[] = {
    {"ssh-ed25519", "ssh-ed25519"},
    {"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"},
    {"ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"},
    {"ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"},
    {"ssh-rsa", "rsa-sha2-512,rsa-sha2-256,ssh-rsa"},
};
#define FAMILIES (sizeof(families) / sizeof(families[0]))

struct known_types {
	const char *name;
	bool known[FAMILIES];
	bool any;
};

static bool note_type(void *arg, const struct known_line *line)
{
	struct known_types *types = arg;

	if (line->marker != KNOWN_PLAIN || !known_hosts_match(line->names, types->name))
		return true;
	for (size_t i = 0; i < FAMILIES; i++) {
		if (!strcmp(line->type, families[i].type))
			types->known[i] = types->any = true;
	}
	return true;
}

void ssh_hostkey_preference(const struct profile *profile, char *buf, size_t size)
{
	char alias[NAME_MAX_BYTES], address[NAME_MAX_BYTES];
	struct known_types types = {.name = alias};
	size_t at = 0;

	ssh_hostkey_alias(profile, alias, sizeof(alias));
	ssh_hostkey_address(profile, address, sizeof(address));
	/* An unreadable file is reported by the check itself. */
	if (alias[0])
		(void)known_hosts_read(profile->known_hosts, note_type, &types);
	if (!types.any) {
		types.name = address;
		(void)known_hosts_read(profile->known_hosts, note_type, &types);
	}
	if (!types.any && profile->port != 22) {
		types.name = profile->host;
		(void)known_hosts_read(profile->known_hosts, note_type, &types);
	}
	buf[0] = '\0';
	for (int known = 1; known >= 0; known--) {
		for (size_t i = 0; i < FAMILIES; i++) {
			if (types.known[i] == (bool)known && at < size)
				at += (size_t)snprintf(buf + at, size - at, "%s%s", at ? "," : "",
				    families[i].algorithms);
		}
	}
}

/* --- deciding -------------------------------------------------------------------------- */

/* Everything that one check knows. */
struct check {
	const struct hostkey_query *query;
	const struct profile *profile;
	const char *file;
	char alias[NAME_MAX_BYTES], address[NAME_MAX_BYTES];
	char type[64], fingerprint[80];
	char others[512]; /* the names under which the key is known, each on a line, or "" */
	unsigned n_others;
};

static int refuse_changed(
    struct check *check, const char *name, unsigned line, struct ssh_error *error)
{
	bool by_alias = !strcmp(name, check->alias);

	return ssh_fail(error, SSH_HOST_KEY_CHANGED, EACCES,
	    "%s: REMOTE HOST IDENTIFICATION HAS CHANGED: the %s host key is now %s, another one "
	    "than in %s:%u. %s "
	    "If you are sure, remove the old key with: ssh-keygen -R '%s' -f '%s'",
	    check->address, ssh_key_type_word(check->type), check->fingerprint, check->file, line,
	    by_alias ? "This instance's key was pinned before: it was rebuilt, the profile points "
		       "to another "
		       "instance, or somebody intercepts the connection."
		     : "Rented addresses and ports are reused by other people's instances, so the "
		       "entry may be an "
		       "earlier instance's; but it may also be that somebody intercepts the "
		       "connection. Compare the "
		       "fingerprint with the instance's (ssh-keygen -lf "
		       "/etc/ssh/ssh_host_ed25519_key.pub there).",
	    name, check->file);
}

static int refuse_revoked(struct check *check, unsigned line, struct ssh_error *error)
{
	return ssh_fail(error, SSH_HOST_KEY_CHANGED, EACCES,
	    "%s: the server's %s host key %s is marked as revoked in %s:%u. It must not be used "
	    "any more",
	    check->address, ssh_key_type_word(check->type), check->fingerprint, check->file, line);
}

static bool note_other(void *arg, const struct known_line *line)
{
	struct check *check = arg;
	size_t at = strlen(check->others);
	char names[128];

	if (line->marker != KNOWN_PLAIN || line->key_len != check->query->key_len ||
	    memcmp(line->key, check->query->key, line->key_len))
		return true;
	if (++check->n_others > OTHER_NAMES)
		return true;
	log_printable(names, sizeof(names), line->names, strlen(line->names));
	snprintf(check->others + at, sizeof(check->others) - at, "    %s:%u: %s\n", check->file,
	    line->number, !strncmp(line->names, "|1|", 3) ? "[hashed name]" : names);
	return true;
}

/* Writes the key down under the address (when new there) and the alias, if any. */
static void pin(struct check *check, bool address, const char *why)
{
	char base64[8192], text[2 * (sizeof(base64) + NAME_MAX_BYTES + 80)];
	size_t at = 0;
	int err;

	if (known_hosts_base64(check->query->key, check->query->key_len, base64, sizeof(base64))) {
		log_warning("%s: the host key is too long to be written down", check->address);
		return;
	}
	text[0] = '\0';
	/* Two lines, so that `ssh-keygen -R '[host]:port'` leaves the instance's pin alone. */
	if (address)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s %s %s\n", check->address,
		    check->type, base64);
	if (check->alias[0])
		snprintf(
		    text + at, sizeof(text) - at, "%s %s %s\n", check->alias, check->type, base64);
	if (!text[0])
		return;
	err = known_hosts_append(check->file, text);
	if (err)
		log_warning("%s: can't add the host key: %s. It will be asked for again",
		    check->file, strerror(-err));
	else if (address)
		log_warning("Permanently added '%s' (%s) to the list of known hosts (%s)%s",
		    check->address, ssh_key_type_word(check->type), check->file, why);
	else
		log_info("%s: pinned the host key of '%s' as %s", check->file, check->address,
		    check->alias);
}

static int refuse_unknown(struct check *check, bool said_no, struct ssh_error *error)
{
	if (said_no)
		return ssh_fail(error, SSH_HOST_KEY_UNKNOWN, EACCES,
		    "%s: the host key was not accepted, so nothing was sent. Host key verification "
		    "failed",
		    check->address);
	return ssh_fail(error, SSH_HOST_KEY_UNKNOWN, EACCES,
	    "%s: the %s host key %s is not in %s, and %s. Connect once from a terminal to be "
	    "asked, or "
	    "with -o host_key=accept-new, or add the key to that file",
	    check->address, ssh_key_type_word(check->type), check->fingerprint, check->file,
	    check->profile->host_key == HOST_KEY_STRICT ? "host_key=strict forbids to add it"
							: "there is no terminal to ask on");
}

/*
 * The provider has just said that the instance is at this address, so that what was known of the
 * address is some earlier instance's; it is not overwritten, and this one's key goes to the alias
 * alone.
 */
static bool is_vouched(const struct check *check)
{
	return check->query->target->vouched && check->alias[0];
}

static int ask(struct check *check, enum hostkey_verdict verdict, struct ssh_error *error)
{
	const struct ssh_target *target = check->query->target;
	const char *ip = check->query->address;
	char question[2048], shown[128];

	(void)known_hosts_read(check->file, note_other, check);
	if (!ip || !*ip)
		ip = check->profile->host;
	snprintf(shown, sizeof(shown), check->profile->port == 22 ? "%s" : "[%s]:%u", ip,
	    check->profile->port);
	snprintf(question, sizeof(question),
	    "The authenticity of host '%s (%s)' can't be established%s.\n"
	    "%s key fingerprint is %s.\n"
	    "%s%s"
	    "Are you sure you want to continue connecting (yes/no/[fingerprint])? ",
	    check->address, shown,
	    verdict == HOSTKEY_OTHER_TYPE
		? "\nbut keys of different type are already known for this host"
		: "",
	    ssh_key_type_word(check->type), check->fingerprint,
	    check->n_others ? "This host key is known by the following other names/addresses:\n"
			    : "This key is not known by any other names.\n",
	    check->others);
	if (target->progress)
		target->progress(target->progress_arg, NULL);
	if (!target->ask(target->ask_arg, question, check->fingerprint))
		return refuse_unknown(check, true, error);
	pin(check, !is_vouched(check), "");
	return 0;
}

/* The key is known under neither name. */
static int decide_new(
    struct check *check, enum hostkey_verdict verdict, unsigned line, struct ssh_error *error)
{
	switch (check->profile->host_key) {
	case HOST_KEY_ACCEPT_NEW:
		/* A server that is known by another type of key did not come to be a new one. */
		if (verdict == HOSTKEY_OTHER_TYPE)
			return refuse_changed(check, check->address, line, error);
		pin(check, !is_vouched(check), "");
		return 0;
	case HOST_KEY_ASK:
		if (check->query->target->ask)
			return ask(check, verdict, error);
		break;
	case HOST_KEY_STRICT:
		break;
	}
	return refuse_unknown(check, false, error);
}

static int lookup(struct check *check, const char *name, enum hostkey_verdict *verdict,
    unsigned *line, struct ssh_error *error)
{
	int err = ssh_hostkey_lookup(
	    check->file, name, check->query->key, check->query->key_len, verdict, line);

	if (err)
		return ssh_fail(error, SSH_HOST_KEY_UNKNOWN, -err,
		    "%s: can't read the known hosts: %s. Without them the server can't be told "
		    "from an "
		    "impostor",
		    check->file, err == -EINVAL ? "it is no regular file" : strerror(-err));
	return *verdict == HOSTKEY_REVOKED ? refuse_revoked(check, *line, error) : 0;
}

static int decide(struct check *check, struct ssh_error *error)
{
	enum hostkey_verdict alias = HOSTKEY_UNKNOWN, address, bare = HOSTKEY_UNKNOWN;
	unsigned alias_line = 0, address_line, bare_line;
	int err = lookup(check, check->address, &address, &address_line, error);

	if (!err && check->alias[0])
		err = lookup(check, check->alias, &alias, &alias_line, error);
	if (!err && check->profile->port != 22)
		err = lookup(check, check->profile->host, &bare, &bare_line, error);
	if (err)
		return err;
	/* The instance's own pin goes before whatever its present address was used for. */
	if (alias == HOSTKEY_MATCH)
		return 0;
	if (alias == HOSTKEY_CHANGED || alias == HOSTKEY_OTHER_TYPE)
		return refuse_changed(check, check->alias, alias_line, error);
	/* As ssh does: an entry without the port counts when it matches, and only then. */
	if (address == HOSTKEY_MATCH || (address == HOSTKEY_UNKNOWN && bare == HOSTKEY_MATCH)) {
		if (check->profile->host_key != HOST_KEY_STRICT)
			pin(check, false, "");
		return 0;
	}
	if (is_vouched(check))
		return decide_new(check, HOSTKEY_UNKNOWN, 0, error);
	if (address == HOSTKEY_CHANGED)
		return refuse_changed(check, check->address, address_line, error);
	return decide_new(check, address, address_line, error);
}

/* Another session may be asking the user. */
static int lock_check(const struct hostkey_query *query, struct ssh_error *error)
{
	for (;;) {
		struct timespec until;

		if (query->cancel && atomic_load(&query->cancel->cancelled))
			return ssh_fail(error, SSH_CANCELLED, ECANCELED, "cancelled");
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 100000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		if (!pthread_mutex_timedlock(&check_lock, &until))
			return 0;
	}
}

int ssh_hostkey_check(const struct hostkey_query *query, struct ssh_error *error)
{
	struct check check = {.query = query, .profile = query->target->profile};
	int err;

	check.file = check.profile->known_hosts;
	ssh_hostkey_alias(check.profile, check.alias, sizeof(check.alias));
	ssh_hostkey_address(check.profile, check.address, sizeof(check.address));
	ssh_key_type(query->key, query->key_len, check.type, sizeof(check.type));
	ssh_hostkey_fingerprint(
	    query->key, query->key_len, check.fingerprint, sizeof(check.fingerprint));
	if (!check.type[0])
		return ssh_fail(error, SSH_LOST, EPROTO, "%s: the server's host key is malformed",
		    check.address);
	log_verbose(
	    "%s: %s host key %s", check.address, ssh_key_type_word(check.type), check.fingerprint);
	err = lock_check(query, error);
	if (err)
		return err;
	err = decide(&check, error);
	pthread_mutex_unlock(&check_lock);
	return err;
}

/* The table of keys, and one value put into a profile. */
#include "conf/paths.h"
#include "conf/profile_impl.h"
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define NOWHERE SIZE_MAX

/*
 * A key and where its value goes: the offset in struct profile of a char *, an unsigned
 * (KEY_NUMBER), a uint64_t (KEY_SIZE), an enum (whose values count the choices from 0) or a bool;
 * of the bool that says that it was given; for a flag, what it sets. NOWHERE: it is accepted, and
 * nothing has to be kept.
 */
#define AT(member) offsetof(struct profile, member)
struct slot {
	size_t at, given;
	bool value;
};

#define FILE_KEY(name_, type_, min_, max_, choices_, default_, help_)                              \
	{                                                                                          \
		.name = name_, .type = type_, .min = min_, .max = max_, .choices = choices_,       \
		.default_text = default_, .help = help_, .in_file = true                           \
	}
#define OPTION(name_, type_, max_, default_, help_)                                                \
	{                                                                                          \
		.name = name_, .type = type_, .max = max_, .default_text = default_, .help = help_ \
	}

static const struct profile_key keys[] = {
    FILE_KEY("host", KEY_STRING, 0, 0, NULL, NULL, "address or name of the instance"),
    FILE_KEY("port", KEY_NUMBER, 1, 65535, NULL, "22", "SSH port of the instance"),
    FILE_KEY("user", KEY_STRING, 0, 0, NULL, "root", "login name on the instance"),
    {.name = "key",
	.type = KEY_PATH,
	.default_text = "~/.ssh/id_ed25519, id_ecdsa, id_rsa in turn",
	.help = "private key file; may repeat",
	.in_file = true,
	.repeats = true},
    FILE_KEY("path", KEY_STRING, 0, 0, NULL, "/workspace if it exists, else the login folder",
	"folder of the instance to mount"),
    {.name = "forward",
	.type = KEY_FORWARD,
	.help = "port to forward, as after ssh -L; may repeat",
	.in_file = true,
	.repeats = true},
    FILE_KEY("known_hosts", KEY_PATH, 0, 0, NULL, "~/.ssh/known_hosts", "file of known host keys"),
    FILE_KEY("host_key", KEY_CHOICE, 0, 0, "ask|accept-new|strict",
	"ask; strict without a terminal", "what to do about an unknown host key"),
    FILE_KEY("transport", KEY_CHOICE, 0, 0, "auto|libssh2|ssh", "auto",
	"who speaks SSH: the library, or the ssh command with all of ~/.ssh/config"),
    {.name = "ssh_option",
	.type = KEY_STRING,
	.help = "Name=value for the ssh command, as after ssh -o; may repeat",
	.in_file = true,
	.repeats = true},
    FILE_KEY("connections", KEY_NUMBER, 1, 16, NULL, "4", "SSH connections to use"),
    FILE_KEY("timeout", KEY_NUMBER, 1, 3600, NULL, "60", "seconds after which a request fails"),
    FILE_KEY("attr_timeout", KEY_NUMBER, 0, 3600, NULL, "30",
	"most seconds for which names and attributes are trusted"),
    FILE_KEY("lag", KEY_NUMBER, 0, 60, NULL, "2",
	"seconds that changes in a row may be behind; 0: each waits"),
    FILE_KEY("cache_dir", KEY_PATH, 0, 0, NULL, "~/.cache/vastfs",
	"folder of the disk caches, one for each instance"),
    FILE_KEY("cache_size", KEY_SIZE, 0, 0, NULL,
	"10G, or a tenth of the free space if that is less",
	"most that the disk cache may take, 0 for none"),
    FILE_KEY("spool_size", KEY_NUMBER, 0, 16777216, NULL, "4096, or a tenth of the free space",
	"MiB of local disk for what is not yet on the instance"),
    FILE_KEY("symlinks", KEY_CHOICE, 0, 0, "inside|raw|follow", "inside",
	"links may not leave the mount; all as they are; or what they lead to there"),
    FILE_KEY("idmap", KEY_CHOICE, 0, 0, "user|none", "user",
	"show the login user's files as yours, or the instance's numbers"),
    FILE_KEY("readahead_dirs", KEY_CHOICE, 0, 0, "yes|no", "yes",
	"list folders before a program that walks a tree asks for them"),
    FILE_KEY("watch", KEY_CHOICE, 0, 0, "auto|no", "auto",
	"let the instance tell what changes there, where it can"),
    FILE_KEY("resolve", KEY_CHOICE, 0, 0, "auto|direct|proxy|off", "auto",
	"ask the provider where the instance is: if need be, always, never"),
    FILE_KEY("api_url", KEY_STRING, 0, 0, NULL, "https://console.vast.ai", "the provider's API"),
    OPTION("config", KEY_PATH, 0, "~/.config/vastfs/config.ini", "the ini file to read"),
    OPTION("ro", KEY_FLAG, 0, NULL, "mount read-only"),
    OPTION("rw", KEY_FLAG, 0, "rw", "mount for reading and writing"),
    OPTION("offline", KEY_FLAG, 0, "off",
	"mount from the disk cache if the instance can't be reached"),
    OPTION("allow_other", KEY_FLAG, 0, "off", "let other local users in"),
    OPTION("default_permissions", KEY_FLAG, 0, "off", "let the kernel check permissions too"),
    OPTION("nonempty", KEY_FLAG, 0, "off", "mount over a folder that holds files"),
    OPTION("nosuid", KEY_FLAG, 0, "nosuid", "ignore set-user-ID bits"),
    OPTION("suid", KEY_FLAG, 0, NULL, "honour set-user-ID bits (root only)"),
    OPTION("nodev", KEY_FLAG, 0, "nodev", "ignore device files"),
    OPTION("dev", KEY_FLAG, 0, NULL, "honour device files (root only)"),
    OPTION("noexec", KEY_FLAG, 0, NULL, "let no program be run"),
    OPTION("exec", KEY_FLAG, 0, "exec", "let programs be run"),
    OPTION("noatime", KEY_FLAG, 0, NULL, "do not keep times of access"),
    OPTION("atime", KEY_FLAG, 0, NULL, "keep times of access as the kernel does by default"),
    OPTION("relatime", KEY_FLAG, 0, NULL, "the same as atime"),
    OPTION("strictatime", KEY_FLAG, 0, NULL, "the same as atime"),
    OPTION("diratime", KEY_FLAG, 0, NULL, "accepted for fstab, without effect"),
    OPTION("nodiratime", KEY_FLAG, 0, NULL, "accepted for fstab, without effect"),
    OPTION("sync", KEY_FLAG, 0, NULL, "let each write wait for the instance"),
    OPTION("async", KEY_FLAG, 0, "async", "buffer writes until close or fsync"),
    OPTION("uid", KEY_NUMBER, UINT32_MAX - 1, NULL, "show all files as this user's (number)"),
    OPTION("gid", KEY_NUMBER, UINT32_MAX - 1, NULL, "show all files as this group's (number)"),
    OPTION("umask", KEY_NUMBER, 0777, NULL, "permissions to take away, octal, 0 to 777"),
    OPTION("fsname", KEY_STRING, 0, "the ID as written", "source shown by findmnt and df"),
    OPTION("wait", KEY_NUMBER, 86400, "0", "seconds to wait for an instance that is starting"),
    OPTION("subtype", KEY_STRING, 0, "vastfs", "accepted for mount.fuse, without effect"),
    {.name = NULL},
};

#define VALUE(member)                                                                              \
	{                                                                                          \
		AT(member), NOWHERE, false                                                         \
	}
#define GIVEN(member)                                                                              \
	{                                                                                          \
		AT(member), AT(member##_given), false                                              \
	}
#define SETS(member, value)                                                                        \
	{                                                                                          \
		AT(member), NOWHERE, value                                                         \
	}
#define NOTHING                                                                                    \
	{                                                                                          \
		NOWHERE, NOWHERE, false                                                            \
	}

/* One for each key, in the order of the table above. */
static const struct slot slots[] = {VALUE(host), GIVEN(port), GIVEN(user), NOTHING /* key */,
    VALUE(path), NOTHING /* forward */, GIVEN(known_hosts), GIVEN(host_key), VALUE(transport),
    NOTHING /* ssh_option */, VALUE(connections), VALUE(timeout), VALUE(attr_timeout), VALUE(lag),
    VALUE(cache_dir), VALUE(cache_size), GIVEN(spool_size), VALUE(symlinks), VALUE(idmap),
    VALUE(readahead_dirs), VALUE(watch), VALUE(resolve), VALUE(api_url), NOTHING /* config */,
    SETS(read_only, true), SETS(read_only, false), SETS(offline, true), SETS(allow_other, true),
    SETS(default_permissions, true), SETS(nonempty, true), SETS(nosuid, true), SETS(nosuid, false),
    SETS(nodev, true), SETS(nodev, false), SETS(noexec, true), SETS(noexec, false),
    SETS(noatime, true), SETS(noatime, false), SETS(noatime, false), SETS(noatime, false), NOTHING,
    NOTHING, SETS(sync, true), SETS(sync, false), GIVEN(uid), GIVEN(gid), GIVEN(umask),
    VALUE(fsname), VALUE(wait), NOTHING /* subtype */, NOTHING};
_Static_assert(
    sizeof(slots) / sizeof(*slots) == sizeof(keys) / sizeof(*keys), "a slot for each key");
_Static_assert(
    sizeof(enum host_key_policy) == sizeof(int) && sizeof(enum symlink_policy) == sizeof(int) &&
	sizeof(enum transport_kind) == sizeof(int) && sizeof(enum idmap_policy) == sizeof(int) &&
	sizeof(enum resolve_policy) == sizeof(int) && sizeof(enum yes_no) == sizeof(int) &&
	sizeof(enum watch_policy) == sizeof(int),
    "set_choice writes enums as int");

const struct profile_key *profile_keys(void)
{
	return keys;
}

const struct profile_key *profile_key_find(const char *name)
{
	for (const struct profile_key *key = keys; key->name; key++) {
		if (strcmp(key->name, name) == 0)
			return key;
	}
	return NULL;
}

char *profile_absolute(const char *path, const char *dir)
{
	char *expanded = paths_expand(path), *cwd = NULL, *out = NULL;

	if (!expanded || expanded[0] == '/')
		return expanded;
	if (!dir)
		dir = cwd = getcwd(NULL, 0);
	if (dir && asprintf(&out, "%s/%s", dir, expanded) < 0)
		out = NULL;
	free(cwd);
	free(expanded);
	return out;
}

static int no_memory(struct conf_error *error)
{
	return conf_fail(error, ENOMEM, "out of memory");
}

/* What no name may hold: white space and control characters. */
static bool is_plain_word(const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p <= ' ' || *p == 0x7f)
			return false;
	}
	return true;
}

static int replace(char **slot, char *value, struct conf_error *error)
{
	if (!value)
		return no_memory(error);
	free(*slot);
	*slot = value;
	return 0;
}

/* "[::1]" loses its brackets; what is plainly something else than a host gets its own advice. */
static int set_host(char **slot, const char *value, const char *where, struct conf_error *error)
{
	const char *colon = strchr(value, ':');
	size_t len = strlen(value);

	if (value[0] == '[' && len > 2 && value[len - 1] == ']')
		return replace(slot, strndup(value + 1, len - 2), error);
	if (strchr(value, '/'))
		return conf_fail(error, EINVAL,
		    "%s: host \"%s\" is not a name or an address; write the address alone", where,
		    value);
	if (strchr(value, '@'))
		return conf_fail(error, EINVAL,
		    "%s: host \"%s\" holds a user; write host=%s and user=%.*s", where, value,
		    strchr(value, '@') + 1, (int)strcspn(value, "@"), value);
	if (colon && !strchr(colon + 1, ':'))
		return conf_fail(error, EINVAL,
		    "%s: host \"%s\" holds a port; write host=%.*s and port=%s", where, value,
		    (int)(colon - value), value, colon + 1);
	if (value[0] == '-' || len > 255 || !is_plain_word(value) || strpbrk(value, "[],\"'"))
		return conf_fail(error, EINVAL,
		    "%s: host \"%s\" is not a name or an address; write a name, an IPv4 or an IPv6 "
		    "address",
		    where, value);
	return replace(slot, strdup(value), error);
}

static int set_string(struct profile *p, const struct profile_key *key, char **slot,
    const char *value, const char *where, struct conf_error *error)
{
	if (slot == &p->host)
		return set_host(slot, value, where, error);
	if (slot == &p->user && (!is_plain_word(value) || strlen(value) > 255))
		return conf_fail(error, EINVAL,
		    "%s: user \"%s\" is not a login name; write it without spaces", where, value);
	if (slot == &p->path && strlen(value) >= 4096)
		return conf_fail(error, ENAMETOOLONG,
		    "%s: path is longer than 4095 bytes; mount a folder above it", where);
	return replace(slot, strdup(value), error);
}

static int set_number(const struct profile_key *key, unsigned *slot, const char *value,
    const char *where, struct conf_error *error)
{
	unsigned base = strcmp(key->name, "umask") == 0 ? 8 : 10;
	unsigned long long n = 0;
	const char *p = value;

	for (; *p >= '0' && *p < (char)('0' + base) && n <= UINT32_MAX; p++)
		n = n * base + (unsigned)(*p - '0');
	if (*p || p == value || n < key->min || n > key->max) {
		if (base == 8)
			return conf_fail(error, EINVAL,
			    "%s: umask must be an octal number from 0 to 777, not \"%s\"; write "
			    "umask=022",
			    where, value);
		return conf_fail(error, EINVAL,
		    "%s: %s must be a number from %u to %u, not \"%s\"; write %s=%s", where,
		    key->name, key->min, key->max, value, key->name,
		    key->default_text ? key->default_text : "1000");
	}
	*slot = (unsigned)n;
	return 0;
}

/* "20G": bytes, or KiB, MiB, GiB, TiB by a letter. */
static int set_size(const struct profile_key *key, uint64_t *slot, const char *value,
    const char *where, struct conf_error *error)
{
	static const char units[] = "KMGT";
	unsigned long long n = 0;
	const char *p = value, *unit;
	int shift = 0;

	for (; *p >= '0' && *p <= '9' && n < UINT64_C(1) << 50; p++)
		n = n * 10 + (unsigned)(*p - '0');
	if (p > value && *p && (unit = strchr(units, *p & ~0x20))) {
		shift = (int)(unit - units + 1) * 10;
		p++;
	}
	if (*p || p == value || n > (UINT64_C(1) << 50) >> shift)
		return conf_fail(error, EINVAL,
		    "%s: %s must be a number of bytes, or one with K, M, G or T, not \"%s\"; write "
		    "%s=10G",
		    where, key->name, value, key->name);
	*slot = (uint64_t)n << shift;
	return 0;
}

static int set_choice(const struct profile_key *key, void *slot, const char *value,
    const char *where, struct conf_error *error)
{
	size_t len = strlen(value);
	int index = 0;

	for (const char *p = key->choices; p; index++) {
		size_t n = strcspn(p, "|");

		if (n == len && memcmp(p, value, n) == 0) {
			memcpy(slot, &index, sizeof(index));
			return 0;
		}
		p = p[n] ? p + n + 1 : NULL;
	}
	return conf_fail(error, EINVAL, "%s: %s can't be \"%s\"; write one of %s", where, key->name,
	    value, key->choices);
}

static int absolute(
    char **out, const char *value, const struct origin *origin, struct conf_error *error)
{
	if (value[0] == '~' && value[1] && value[1] != '/')
		return conf_fail(error, EINVAL,
		    "%s: another user's home folder (\"%s\") can't be looked up; write the whole "
		    "path",
		    origin->where, value);
	*out = profile_absolute(value, origin->dir);
	if (*out)
		return 0;
	return conf_fail(error, ENOENT,
	    "%s: can't make \"%s\" an absolute path: no home folder; set HOME or write the whole "
	    "path",
	    origin->where, value);
}

static int add_key(
    struct draft *draft, const char *value, const struct origin *origin, struct conf_error *error)
{
	struct profile *p = draft->profile;
	char **paths, **from;
	char *path, *where;
	int rc = absolute(&path, value, origin, error);

	if (rc)
		return rc;
	where = strdup(origin->where);
	paths = realloc(p->keys, (p->n_keys + 1) * sizeof(*paths));
	if (paths)
		p->keys = paths;
	from = realloc(draft->key_from, (p->n_keys + 1) * sizeof(*from));
	if (from)
		draft->key_from = from;
	if (!where || !paths || !from) {
		free(path);
		free(where);
		return no_memory(error);
	}
	paths[p->n_keys] = path;
	from[p->n_keys++] = where;
	p->keys_given = true;
	return 0;
}

static int add_ssh_option(
    struct profile *p, const char *value, const struct origin *origin, struct conf_error *error)
{
	size_t name =
	    strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
	char **list = realloc(p->ssh_options, (p->n_ssh_options + 1) * sizeof(*list));

	if (!list)
		return no_memory(error);
	p->ssh_options = list;
	if (!name || value[name] != '=' || strpbrk(value, "\n\r"))
		return conf_fail(error, EINVAL,
		    "%s: ssh_option must be Name=value, as after ssh -o, not \"%s\"", origin->where,
		    value);
	list[p->n_ssh_options] = strdup(value);
	if (!list[p->n_ssh_options])
		return no_memory(error);
	p->n_ssh_options++;
	return 0;
}

static int add_forward(
    struct draft *draft, const char *value, const struct origin *origin, struct conf_error *error)
{
	struct profile *p = draft->profile;
	struct forward_spec *list = realloc(p->forwards, (p->n_forwards + 1) * sizeof(*list));
	struct conf_error why = {""};
	int rc;

	if (!list)
		return no_memory(error);
	p->forwards = list;
	rc = forward_spec_parse(value, &list[p->n_forwards], &why);
	if (rc)
		return conf_fail(error, -rc, "%s: %s", origin->where, why.text);
	p->n_forwards++;
	return 0;
}

int profile_key_set(struct draft *draft, const struct profile_key *key, const char *value,
    const struct origin *origin, struct conf_error *error)
{
	const struct slot *slot = &slots[key - keys];
	char *base = (char *)draft->profile;
	char *path;
	int rc = 0;

	if (key->type != KEY_FLAG && (!value || !*value))
		return conf_fail(error, EINVAL, "%s: %s has no value; write %s=VALUE",
		    origin->where, key->name, key->name);
	if (key->type == KEY_FLAG && value)
		return conf_fail(error, EINVAL, "%s: %s takes no value; write %s alone",
		    origin->where, key->name, key->name);
	if (strcmp(key->name, "key") == 0)
		return add_key(draft, value, origin, error);
	if (strcmp(key->name, "ssh_option") == 0)
		return add_ssh_option(draft->profile, value, origin, error);
	if (key->type == KEY_FORWARD)
		return add_forward(draft, value, origin, error);
	if (slot->at == NOWHERE)
		return 0;
	switch (key->type) {
	case KEY_STRING:
		rc = set_string(draft->profile, key, (char **)(void *)(base + slot->at), value,
		    origin->where, error);
		break;
	case KEY_PATH:
		rc = absolute(&path, value, origin, error);
		if (!rc)
			rc = replace((char **)(void *)(base + slot->at), path, error);
		break;
	case KEY_NUMBER:
		rc = set_number(
		    key, (unsigned *)(void *)(base + slot->at), value, origin->where, error);
		break;
	case KEY_SIZE:
		rc = set_size(
		    key, (uint64_t *)(void *)(base + slot->at), value, origin->where, error);
		break;
	case KEY_CHOICE:
		rc = set_choice(key, base + slot->at, value, origin->where, error);
		break;
	default:
		*(bool *)(base + slot->at) = slot->value;
	}
	if (!rc && slot->given != NOWHERE)
		*(bool *)(base + slot->given) = true;
	return rc;
}

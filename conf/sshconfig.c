#include "conf/sshconfig.h"
#include "conf/keyfile.h"
#include "conf/log.h"
#include "conf/profile_impl.h"
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The user's entry in the password database; its strings lie in room. */
static bool own_entry(struct passwd *entry, char *room, size_t size)
{
	struct passwd *found = NULL;

	return !getpwuid_r(getuid(), entry, room, size, &found) && found;
}

char *sshconfig_file(void)
{
	const char *home = getenv("HOME");
	struct passwd entry;
	char room[4096], *file;

	if (!home || *home != '/' || !own_entry(&entry, room, sizeof(room)) ||
	    !strcmp(entry.pw_dir, home) || asprintf(&file, "%s/.ssh/config", home) < 0)
		return NULL;
	if (!access(file, R_OK))
		return file;
	free(file);
	return NULL;
}

/* --- one line of the answer ---------------------------------------------------------- */

static int replace(char **slot, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*slot);
	*slot = copy;
	return 0;
}

/* The name stays ssh's to match its Host lines with. */
static int take_hostname(struct profile *p, const char *value)
{
	if (!strcmp(value, p->host))
		return 0;
	free(p->ssh_name);
	p->ssh_name = p->host;
	p->host = strdup(value);
	/* The file's word is a name for ssh alone: it is not to be read again and dialled. */
	p->host_in_file = false;
	return p->host ? 0 : -ENOMEM;
}

/* Without a User line ssh answers with the local name, which nobody has asked for. */
static int take_user(struct profile *p, const char *value)
{
	struct passwd entry;
	char room[4096];

	if (p->user_given ||
	    (own_entry(&entry, room, sizeof(room)) && !strcmp(entry.pw_name, value)))
		return 0;
	return replace(&p->user, value);
}

static bool is_default_key(const char *value)
{
	static const char *const names[] = {"id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk",
	    "id_ed25519", "id_ed25519_sk", "id_xmss"};
	const char *name = strrchr(value, '/');

	if (strncmp(value, "~/.ssh/", 7) || name != value + 6)
		return false;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!strcmp(name + 1, names[i]))
			return true;
	}
	return false;
}

/* Those of the config go before the default ones. */
static int take_key(struct profile *p, const char *value, size_t *taken)
{
	char *path, **list;

	if (p->keys_given || is_default_key(value))
		return 0;
	path = profile_absolute(value, NULL);
	if (!path)
		return -ENOMEM;
	if (keyfile_inspect(path) == KEYFILE_MISSING) {
		free(path);
		return 0;
	}
	list = realloc(p->keys, (p->n_keys + 1) * sizeof(*list));
	if (!list) {
		free(path);
		return -ENOMEM;
	}
	p->keys = list;
	memmove(list + *taken + 1, list + *taken, (p->n_keys - *taken) * sizeof(*list));
	list[(*taken)++] = path;
	p->n_keys++;
	return 0;
}

static int take_known_hosts(struct profile *p, const char *value)
{
	char first[4096], *usual;
	int rc = 0;

	if (p->known_hosts_given)
		return 0;
	snprintf(first, sizeof(first), "%.*s", (int)strcspn(value, " "), value);
	usual = profile_absolute("~/.ssh/known_hosts", NULL);
	if (usual && first[0] == '/' && !strstr(first, "/.ssh/known_hosts"))
		rc = replace(&p->known_hosts, first);
	free(usual);
	return rc;
}

/* "8080 [localhost]:80" */
static int take_forward(struct profile *p, const char *value)
{
	struct forward_spec *list = realloc(p->forwards, (p->n_forwards + 1) * sizeof(*list));
	struct conf_error why = {.text = ""};
	char text[600];

	if (!list)
		return -ENOMEM;
	p->forwards = list;
	snprintf(text, sizeof(text), "%s", value);
	if (strchr(text, ' '))
		*strchr(text, ' ') = ':';
	if (forward_spec_parse(text, &list[p->n_forwards], &why))
		log_warning("~/.ssh/config: LocalForward %s is left out: %s", value, why.text);
	else
		p->n_forwards++;
	return 0;
}

/* Today's and yesterday's default lists begin with it; the user's own may too, but not as long. */
static bool is_default_ciphers(const char *value)
{
	return !strncmp(value, "chacha20-poly1305@openssh.com,", 30) && strlen(value) > 100;
}

struct state {
	struct profile *profile;
	size_t keys;
	bool forwards; /* the profile has none of its own */
};

static int take(struct state *state, const char *name, const char *value)
{
	struct profile *p = state->profile;

	if (!strncmp(name, "proxy", 5) && strcmp(name, "proxyusefdpass") && strcmp(value, "none"))
		p->proxied = true;
	if (!strcmp(name, "hostname"))
		return take_hostname(p, value);
	if (!strcmp(name, "user"))
		return take_user(p, value);
	if (!strcmp(name, "port") && !p->port_given && atoi(value) > 0 && atoi(value) < 65536)
		p->port = (unsigned)atoi(value);
	else if (!strcmp(name, "identityfile"))
		return take_key(p, value, &state->keys);
	else if (!strcmp(name, "userknownhostsfile"))
		return take_known_hosts(p, value);
	else if (!strcmp(name, "localforward") && state->forwards)
		return take_forward(p, value);
	else if (!strcmp(name, "proxyjump") && strcmp(value, "none"))
		return replace(&p->proxy_jump, value);
	else if (!strcmp(name, "ciphers"))
		p->ssh_ciphers = !is_default_ciphers(value);
	else if ((!strcmp(name, "proxycommand") || !strcmp(name, "pkcs11provider") ||
		     !strcmp(name, "certificatefile")) &&
		 strcmp(value, "none"))
		p->needs_ssh = true;
	else if (!strcmp(name, "identityagent") && strcmp(value, "SSH_AUTH_SOCK"))
		p->needs_ssh = true;
	return 0;
}

int sshconfig_apply(struct profile *profile, const char *answer)
{
	struct state state = {.profile = profile, .forwards = !profile->n_forwards};
	int rc = 0;

	while (!rc && *answer) {
		size_t len = strcspn(answer, "\n"), word = strcspn(answer, " \n");
		char *line = strndup(answer, len);

		if (!line)
			return -ENOMEM;
		if (word < len) {
			line[word] = '\0';
			rc = take(&state, line, line + word + 1);
		}
		free(line);
		answer += len + (answer[len] == '\n');
	}
	return rc;
}

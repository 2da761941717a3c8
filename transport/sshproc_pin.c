/*
 * The host key with an ssh process. ssh checks it; we tell it under which name. Once the instance's
 * alias (ssh_hostkey.h) is in the file, ssh is told to look under that alone and strictly, so that
 * the pin follows the instance to any address; until then it looks under the address, as it would
 * for the user, and what it accepted is pinned afterwards.
 */
#include "conf/log.h"
#include "transport/known_hosts.h"
#include "transport/ssh_hostkey.h"
#include "transport/sshproc.h"
#include <stdio.h>
#include <string.h>

struct find {
	const char *names[2];	 /* under one of these, NULL: none */
	const char *fingerprint; /* and this key; NULL: any */
	bool found;
	char type[64];
	char base64[8192];
};

static bool find_line(void *arg, const struct known_line *line)
{
	struct find *find = arg;
	char fingerprint[80];

	if (line->marker == KNOWN_AUTHORITY)
		return true;
	if (!(find->names[0] && known_hosts_match(line->names, find->names[0])) &&
	    !(find->names[1] && known_hosts_match(line->names, find->names[1])))
		return true;
	if (!find->fingerprint) {
		find->found = true;
		return false;
	}
	ssh_hostkey_fingerprint(line->key, line->key_len, fingerprint, sizeof(fingerprint));
	if (line->marker != KNOWN_PLAIN || strcmp(fingerprint, find->fingerprint) ||
	    known_hosts_base64(line->key, line->key_len, find->base64, sizeof(find->base64)))
		return true;
	snprintf(find->type, sizeof(find->type), "%s", line->type);
	find->found = true;
	return false;
}

bool sshproc_is_pinned(const struct profile *profile)
{
	char alias[320];
	struct find find = {.names = {alias, NULL}};

	ssh_hostkey_alias(profile, alias, sizeof(alias));
	/* A file that can't be read: ssh will say so. */
	if (alias[0])
		(void)known_hosts_read(profile->known_hosts, find_line, &find);
	return find.found;
}

bool sshproc_knows_address(const struct profile *profile)
{
	char address[320];
	struct find find = {.names = {address, profile->host}};

	ssh_hostkey_address(profile, address, sizeof(address));
	(void)known_hosts_read(profile->known_hosts, find_line, &find);
	return find.found;
}

void sshproc_pin(const struct profile *profile, const char *fingerprint)
{
	char alias[320], address[320], text[sizeof(((struct find *)0)->base64) + 400];
	struct find find = {.names = {address, profile->host}, .fingerprint = fingerprint};
	int err;

	ssh_hostkey_alias(profile, alias, sizeof(alias));
	ssh_hostkey_address(profile, address, sizeof(address));
	if (!alias[0] || !fingerprint[0] || profile->host_key == HOST_KEY_STRICT ||
	    sshproc_is_pinned(profile))
		return;
	/* Not there: a certificate, or the system's own list; those keep on being asked. */
	if (known_hosts_read(profile->known_hosts, find_line, &find) || !find.found)
		return;
	snprintf(text, sizeof(text), "%s %s %s\n", alias, find.type, find.base64);
	err = known_hosts_append(profile->known_hosts, text);
	if (err)
		log_warning("%s: can't pin the host key: %s", profile->known_hosts, strerror(-err));
	else
		log_info(
		    "%s: pinned the host key of '%s' as %s", profile->known_hosts, address, alias);
}

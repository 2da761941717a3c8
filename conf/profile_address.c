/* Where an instance is: the profile's word for it, read again when the file has changed. */
#include "conf/profile_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int take(struct draft *draft, char **host, unsigned *port, struct conf_error *error)
{
	if (!draft->profile->host)
		return conf_fail(error, ENOENT, "the section has no host any more");
	*host = draft->profile->host;
	*port = draft->profile->port;
	draft->profile->host = NULL;
	return 0;
}

int profile_reload_address(
    const struct profile *profile, char **host, unsigned *port, struct conf_error *error)
{
	const struct ini_section *defaults, *section;
	struct ini_file file;
	struct draft draft;
	int rc;

	*host = NULL;
	if (!profile->host_in_file || !profile->config)
		return conf_fail(error, ENOENT, "the address does not come from a file");
	rc = ini_file_read(&file, profile->config, error);
	if (!rc)
		rc = draft_init(&draft, error);
	if (rc) {
		ini_file_fini(&file);
		return rc;
	}
	defaults = ini_file_find(&file, "defaults");
	section = ini_file_find(&file, profile->id);
	if (!section)
		rc = conf_fail(error, ENOENT, "the section is not there any more");
	if (!rc && defaults)
		rc = ini_file_apply(&file, defaults, &draft, error);
	if (!rc)
		rc = ini_file_apply(&file, section, &draft, error);
	if (!rc)
		rc = take(&draft, host, port, error);
	draft_fini(&draft);
	ini_file_fini(&file);
	return rc;
}

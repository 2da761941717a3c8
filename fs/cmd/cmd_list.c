/* vastfs list: the instances of the profile, and where they are mounted. */
#include "conf/profile_edit.h"
#include "fs/cmd/client.h"
#include "fs/cmd/commands.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *value_of(const struct ini_file *file, size_t section, const char *key)
{
	const char *found = NULL;

	for (size_t i = 0; i < file->n_entries; i++) {
		if (file->entries[i].section == section && !strcmp(file->entries[i].key->name, key))
			found = file->entries[i].value;
	}
	return found;
}

/* The section's own value, else that of [defaults], else the built-in one. */
static const char *value(
    const struct ini_file *file, size_t section, const char *key, const char *builtin)
{
	const struct ini_section *defaults = ini_file_find(file, "defaults");
	const char *found = value_of(file, section, key);

	if (!found && defaults)
		found = value_of(file, (size_t)(defaults - file->sections), key);
	return found ? found : builtin;
}

static const char *text(const json_t *status, const char *key)
{
	const char *found = json_string_value(json_object_get(status, key));

	return found ? found : "";
}

static void print_row(
    const struct ini_file *file, size_t section, const struct client_mount *mounts, int n)
{
	const char *id = file->sections[section].name;
	const char *host = value(file, section, "host", NULL);
	char where[512];
	int found = 0;

	if (host)
		snprintf(where, sizeof(where), "%s@%s:%s", value(file, section, "user", "root"),
		    host, value(file, section, "port", "22"));
	else
		snprintf(where, sizeof(where), "(asked of the provider)");
	printf("%-16s %-40s", id, where);
	for (int i = 0; i < n; i++) {
		if (!strcmp(text(mounts[i].status, "id"), id))
			printf("%s%s", found++ ? ", " : " ", text(mounts[i].status, "mountpoint"));
	}
	puts(found ? "" : " -");
}

int cmd_list(int argc, char **argv)
{
	struct conf_error error = {.text = ""};
	const char *config = command_config(&argc, &argv);
	bool ids = argc == 1 && !strcmp(argv[0], "--ids");
	struct client_mount *mounts = NULL;
	struct profile_edit *edit;
	const struct ini_file *file;
	int n = 0;

	if (argc > 0 && !ids)
		return command_usage("list");
	if (profile_edit_open(&edit, config, PROFILE_EDIT_LOOK, &error))
		return command_fail("list", &error);
	file = profile_edit_file(edit);
	if (!ids)
		n = client_mounts(&mounts, &error);
	for (size_t i = 0; i < file->n_sections; i++) {
		if (!strcmp(file->sections[i].name, "defaults"))
			continue;
		if (ids)
			puts(file->sections[i].name);
		else
			print_row(file, i, mounts, n > 0 ? n : 0);
	}
	if (!ids && !file->n_sections)
		printf("No instance in %s; add one: vastfs add ID 'ssh -p PORT root@ADDRESS'\n",
		    profile_edit_name(edit));
	client_mounts_free(mounts, n > 0 ? n : 0);
	profile_edit_free(edit);
	return 0;
}

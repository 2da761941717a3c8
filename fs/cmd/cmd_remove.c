/* vastfs remove: an instance leaves the profile. */
#include "conf/profile_edit.h"
#include "fs/cmd/commands.h"
#include <stdio.h>

int cmd_remove(int argc, char **argv)
{
	struct conf_error error = {.text = ""};
	const char *config = command_config(&argc, &argv);
	struct profile_edit *edit;
	int rc;

	if (argc != 1 || argv[0][0] == '-')
		return command_usage("remove");
	rc = profile_edit_open(&edit, config, PROFILE_EDIT_CHANGE, &error);
	if (rc)
		return command_fail("remove", &error);
	rc = profile_edit_remove(edit, argv[0], &error);
	if (!rc)
		rc = profile_edit_save(edit, &error);
	if (!rc)
		printf("Removed [%s] from %s.\n", argv[0], profile_edit_name(edit));
	profile_edit_free(edit);
	return rc ? command_fail("remove", &error) : 0;
}

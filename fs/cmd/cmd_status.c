/* vastfs status: how the mounts are doing. */
#include "fs/cmd/client.h"
#include "fs/cmd/commands.h"
#include "fs/cmd/status_text.h"
#include "fs/cmd/watch.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void print_json(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
}

/* One mount's status is an object; all mounts' an array. */
static int status_all(struct client_mount *mounts, int n, bool json)
{
	struct conf_error silent;
	json_t *list = json_array();
	int i;

	for (i = 0; i < n; i++) {
		if (json)
			json_array_append(list, mounts[i].status);
		else
			status_text_print(mounts[i].status);
	}
	if (json)
		print_json(list);
	else if (!n && !client_silent(&silent))
		puts("No vastfs is mounted.");
	json_decref(list);
	return client_silent(&silent) ? command_fail("status", &silent) : 0;
}

int cmd_status(int argc, char **argv)
{
	struct conf_error error = {.text = ""};
	struct client_mount *mounts, *mount;
	const char *which = NULL;
	bool json = false, watch = false;
	int i, n, code = 0;

	for (i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--json")) {
			json = true;
		} else if (!strcmp(argv[i], "--watch")) {
			watch = true;
		} else if (argv[i][0] != '-' && !which) {
			which = argv[i];
		} else {
			fprintf(stderr, "vastfs status: %s is not understood; see vastfs --help\n",
			    argv[i]);
			return 1;
		}
	}
	if (watch)
		return watch_run(which, &error) ? command_fail("status", &error) : 0;
	n = client_mounts(&mounts, &error);
	if (n < 0)
		return command_fail("status", &error);
	if (!which) {
		code = status_all(mounts, n, json);
	} else if (!(mount = client_choose(mounts, n, which, &error))) {
		code = command_fail("status", &error);
	} else if (json) {
		print_json(mount->status);
	} else {
		status_text_print(mount->status);
	}
	client_mounts_free(mounts, n);
	return code;
}

/* vastfs forward: port forwards of a running mount. */
#include "conf/profile_edit.h"
#include "fs/cmd/client.h"
#include "fs/cmd/commands.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void list(const json_t *status)
{
	const json_t *forwards = json_object_get(status, "forwards"), *each;
	size_t i;

	json_array_foreach(forwards, i, each)
	{
		const char *error = json_string_value(json_object_get(each, "last_error"));
		bool listening = json_is_true(json_object_get(each, "listening"));

		printf("%-44s %-13s %lld open, %lld so far\n",
		    json_string_value(json_object_get(each, "forward")),
		    listening ? "listening" : "not listening",
		    (long long)json_integer_value(json_object_get(each, "connections")),
		    (long long)json_integer_value(json_object_get(each, "accepted")));
		if (error && *error)
			printf("    %s\n", error);
	}
	if (!json_array_size(forwards))
		puts("No forwards.");
}

/* "-D 1080" may come as one word or as two. */
static char *join(int argc, char **argv)
{
	char *text;

	if (argc == 1)
		return strdup(argv[0]);
	return asprintf(&text, "%s %s", argv[0], argv[1]) < 0 ? NULL : text;
}

static int order(const struct client_mount *mount, const char *op, int argc, char **argv,
    struct conf_error *error)
{
	char *text = join(argc, argv);
	int rc =
	    text ? client_ask(mount->socket,
		       json_pack("{s:s, s:s, s:s}", "command", "forward", "op", op, "text", text),
		       NULL, error)
		 : conf_fail(error, ENOMEM, "out of memory");

	free(text);
	return rc;
}

/* The same in the profile, for the next mount. It is looked for before anything is done. */
static int save(const char *id, bool add, int argc, char **argv, const struct client_mount *mount,
    struct conf_error *error)
{
	struct profile_edit *edit = NULL;
	char *text = join(argc, argv);
	int rc = text ? profile_edit_open(&edit, NULL, PROFILE_EDIT_CHANGE, error)
		      : conf_fail(error, ENOMEM, "out of memory");

	if (!rc)
		rc = profile_edit_forward(edit, id, add, text, error);
	if (!rc)
		rc = order(mount, add ? "add" : "remove", argc, argv, error);
	if (!rc)
		rc = profile_edit_save(edit, error);
	if (edit)
		profile_edit_free(edit);
	free(text);
	return rc;
}

int cmd_forward(int argc, char **argv)
{
	struct conf_error error = {.text = ""};
	struct client_mount *mounts, *mount;
	const char *op = argc > 1 ? argv[1] : "";
	bool saves = argc > 2 && !strcmp(argv[2], "--save");
	int at = saves ? 3 : 2, n, rc = 0;
	bool lists = argc == 2 && !strcmp(op, "list"), adds = !strcmp(op, "add");
	bool orders = (argc - at == 1 || argc - at == 2) && (adds || !strcmp(op, "remove"));

	if (!lists && !orders)
		return command_usage("forward");
	n = client_mounts(&mounts, &error);
	if (n < 0)
		return command_fail("forward", &error);
	mount = client_choose(mounts, n, argv[0], &error);
	if (!mount)
		rc = 1;
	else if (lists)
		list(mount->status);
	else if (saves)
		rc = save(json_string_value(json_object_get(mount->status, "id")), adds, argc - at,
		    argv + at, mount, &error);
	else
		rc = order(mount, op, argc - at, argv + at, &error);
	client_mounts_free(mounts, n);
	return rc ? command_fail("forward", &error) : 0;
}

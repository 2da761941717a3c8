/* vastfs spool: what could not be sent; send it again, or give it up. */
#include "fs/cmd/client.h"
#include "fs/cmd/commands.h"
#include "fs/cmd/unsent.h"
#include <stdio.h>
#include <string.h>

static int list(const json_t *status)
{
	const json_t *spool = json_object_get(status, "spool"), *file;
	size_t i;

	if (!json_is_object(spool)) {
		puts("This mount has no spool.");
		return 0;
	}
	printf("%lld changes, %lld bytes in %s\n",
	    (long long)json_integer_value(json_object_get(spool, "changes")),
	    (long long)json_integer_value(json_object_get(spool, "bytes")),
	    json_string_value(json_object_get(spool, "path")));
	json_array_foreach(json_object_get(spool, "failed"), i, file)
	    printf("failed    %s: %s\n", json_string_value(json_object_get(file, "path")),
		json_string_value(json_object_get(file, "error")));
	json_array_foreach(json_object_get(spool, "conflicts"), i, file)
	    printf("conflict  %s: yours is %s\n", json_string_value(json_object_get(file, "path")),
		json_string_value(json_object_get(file, "kept_as")));
	return 0;
}

/* Is there something of that path, or, for NULL, anything, that could not be sent? */
static bool has_failed(const json_t *status, const char *path)
{
	const json_t *failed = json_object_get(json_object_get(status, "spool"), "failed"), *file;
	size_t i;

	json_array_foreach(failed, i, file)
	{
		if (!path || !strcmp(json_string_value(json_object_get(file, "path")), path))
			return true;
	}
	return false;
}

static int on_mount(struct client_mount *mount, const char *what, const char *path)
{
	struct conf_error error = {.text = ""};
	json_t *request;

	if (!strcmp(what, "list"))
		return list(mount->status);
	if (!has_failed(mount->status, path)) {
		if (!path)
			puts("Nothing is kept back.");
		else
			fprintf(stderr,
			    "vastfs spool: %s is not among what could not be sent; `vastfs spool "
			    "%s` lists that\n",
			    path, json_string_value(json_object_get(mount->status, "id")));
		return path != NULL;
	}
	request = json_pack("{s:s, s:s}", "command", !strcmp(what, "retry") ? "retry" : "discard",
	    "path", path ? path : "");
	if (!client_ask(mount->socket, request, NULL, &error))
		return 0;
	command_fail("spool", &error);
	if (!strcmp(what, "retry"))
		unsent_print(mount);
	return 1;
}

int cmd_spool(int argc, char **argv)
{
	struct conf_error error = {.text = ""};
	const char *what = argc > 1 ? argv[1] : "list";
	struct client_mount *mounts, *mount;
	int n, code;

	if (argc < 1 || argc > 3 || argv[0][0] == '-' ||
	    (strcmp(what, "list") && strcmp(what, "retry") && strcmp(what, "discard")) ||
	    (argc == 3) != !strcmp(what, "discard"))
		return command_usage("spool");
	n = client_mounts(&mounts, &error);
	if (n < 0)
		return command_fail("spool", &error);
	mount = client_choose(mounts, n, argv[0], &error);
	code = mount ? on_mount(mount, what, argc == 3 ? argv[2] : NULL)
		     : command_fail("spool", &error);
	client_mounts_free(mounts, n);
	return code;
}

/* vastfs edit: the profile in the user's editor; what can't be read is not put in its place. */
#include "conf/profile_edit.h"
#include "fs/cmd/commands.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char template[] = "# Instances for mount.vastfs(8); the keys are in vastfs.ini(5).\n"
			       "#\n"
			       "# [12345678]\n"
			       "# host = 142.214.185.187\n"
			       "# port = 20544\n"
			       "# forward = 8080\n";

static const char *editor(void)
{
	const char *visual = getenv("VISUAL"), *plain = getenv("EDITOR");

	if (visual && *visual)
		return visual;
	return plain && *plain ? plain : "sensible-editor";
}

/* $EDITOR may hold options ("code --wait"), so that a shell reads it, as git does; the name of the
 * file goes to it as an argument. */
static int run_editor(const char *file, struct conf_error *error)
{
	int status = 0;
	char *script;
	pid_t child;

	if (asprintf(&script, "%s \"$@\"", editor()) < 0)
		return conf_fail(error, ENOMEM, "out of memory");
	child = fork();
	if (child == 0) {
		execl("/bin/sh", "sh", "-c", script, "editor", file, (char *)NULL);
		_exit(127);
	}
	signal(SIGINT, SIG_IGN);
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	signal(SIGINT, SIG_DFL);
	free(script);
	if (child < 0 || status)
		return conf_fail(error, EIO,
		    "the editor (%s) failed; nothing is changed. Set EDITOR to the one you like",
		    editor());
	return 0;
}

static int write_copy(const char *name, const char *text, struct conf_error *error)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	FILE *to = fd < 0 ? NULL : fdopen(fd, "w");

	if (!to || fputs(text, to) < 0 || fclose(to))
		return conf_fail(error, errno, "%s: can't write it: %s", name, strerror(errno));
	return 0;
}

static char *read_copy(const char *name)
{
	size_t size = 1024 * 1024 + 1, len = 0;
	char *text = calloc(1, size + 1);
	FILE *from = fopen(name, "re");

	if (text && from)
		len = fread(text, 1, size, from);
	if (from)
		fclose(from);
	if (text && (!from || len == size || strlen(text) != len)) {
		free(text);
		return NULL;
	}
	return text;
}

/* Asks on the terminal whether to go back into the editor. */
static bool again(const struct conf_error *error)
{
	char line[16];

	fprintf(stderr, "vastfs edit: %s\n", error->text);
	if (!isatty(STDIN_FILENO))
		return false;
	fprintf(stderr, "Edit again? [Y/n] ");
	return fgets(line, sizeof(line), stdin) && line[0] != 'n' && line[0] != 'N';
}

/* 0, or a negative errno with the reason, which was said if *said. */
static int edit_copy(
    struct profile_edit *edit, const char *copy, bool *said, struct conf_error *error)
{
	for (;;) {
		int rc = run_editor(copy, error);
		char *text = rc ? NULL : read_copy(copy);

		if (rc)
			return rc;
		if (!text)
			return conf_fail(
			    error, EINVAL, "%s: what the editor left is no text", copy);
		if (!strcmp(text, profile_edit_text(edit)) || !strcmp(text, template)) {
			free(text);
			puts("Nothing is changed.");
			return 0;
		}
		profile_edit_replace(edit, text);
		rc = profile_edit_save(edit, error);
		if (!rc)
			printf("Saved %s.\n", profile_edit_name(edit));
		if (!rc || !again(error)) {
			*said = rc != 0;
			return rc;
		}
	}
}

int cmd_edit(int argc, char **argv)
{
	struct conf_error error = {.text = ""};
	const char *config = command_config(&argc, &argv);
	struct profile_edit *edit;
	char *copy = NULL;
	bool said = false;
	int rc;

	if (argc > 1 || (argc == 1 && argv[0][0] == '-'))
		return command_usage("edit");
	rc = profile_edit_open(&edit, config, PROFILE_EDIT_MEND, &error);
	if (rc)
		return command_fail("edit", &error);
	if (argc == 1 && !ini_file_find(profile_edit_file(edit), argv[0]))
		rc = conf_fail(&error, ENOENT,
		    "no section [%s] in %s; add it: vastfs add %s 'ssh …'", argv[0],
		    profile_edit_name(edit), argv[0]);
	if (!rc && asprintf(&copy, "%s.edit.%d.ini", profile_edit_name(edit), (int)getpid()) < 0)
		rc = conf_fail(&error, ENOMEM, "out of memory");
	if (!rc)
		rc = write_copy(
		    copy, profile_edit_text(edit)[0] ? profile_edit_text(edit) : template, &error);
	if (!rc)
		rc = edit_copy(edit, copy, &said, &error);
	if (copy && !rc)
		unlink(copy);
	else if (copy && said)
		fprintf(stderr, "What you wrote is in %s.\n", copy);
	free(copy);
	profile_edit_free(edit);
	return rc && !said ? command_fail("edit", &error) : rc != 0;
}

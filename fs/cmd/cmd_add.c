/* vastfs add: the console's connection string becomes a section of the profile. */
#include "conf/profile_edit.h"
#include "conf/sshline.h"
#include "fs/cmd/ask_ssh.h"
#include "fs/cmd/commands.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int no_memory(struct conf_error *error)
{
	return conf_fail(error, ENOMEM, "out of memory");
}

/* --- an alias of ~/.ssh/config ------------------------------------------------------ */

/* "gpu" alone may be an alias of ~/.ssh/config: ssh knows what it stands for. In "root@gpu" it
 * stays one, but for its port, as a profile's port is said in each section. Where ssh does not say
 * it, none is written, and each mount asks again. */
static int complete(struct sshline *line, struct conf_error *error)
{
	const char *why = NULL;
	char *answer = line->port ? NULL : ask_ssh(line->host, NULL, &why);
	/* The way behind a jump host is in that file alone: the alias stays. */
	bool direct =
	    answer && !strstr(answer, "\nproxyjump ") && !strstr(answer, "\nproxycommand ");
	int rc = direct && line->plain ? sshline_complete(line, answer, error) : 0;
	const char *port = answer ? strstr(answer, "\nport ") : NULL;

	if (port && !line->port)
		line->port = (unsigned)strtoul(port + strlen("\nport "), NULL, 10);
	if (!line->port && !why)
		line->port = 22;
	if (why)
		printf("No port is written, as ssh -G %s %s: each mount asks ssh for it again. "
		       "Better mend ~/.ssh/config, or say it: ssh -p PORT …\n",
		    line->host, why);
	free(answer);
	return rc;
}

/* --- the section ----------------------------------------------------------------------- */

static int put_line(FILE *to, const char *key, const char *value, struct conf_error *error)
{
	/* inih takes " ;" for a comment, quotes or not. */
	if (strstr(value, " ;") || strpbrk(value, "\n\r\"") || strstr(value, "\t;"))
		return conf_fail(error, EINVAL,
		    "%s \"%s\" can't be written to the profile: it holds a quote, a newline or "
		    "\" ;\"",
		    key, value);
	fprintf(to, strpbrk(value, " \t#") ? "%s = \"%s\"\n" : "%s = %s\n", key, value);
	return 0;
}

static int put_lines(FILE *to, const struct sshline *line, struct conf_error *error)
{
	int rc = put_line(to, "host", line->host, error);

	if (line->port)
		fprintf(to, "port = %u\n", line->port);
	if (!rc && line->user)
		rc = put_line(to, "user", line->user, error);
	for (size_t i = 0; !rc && i < line->n_keys; i++) {
		char *path = profile_absolute(line->keys[i], NULL);

		rc = path ? put_line(
				to, "key", line->keys[i][0] == '~' ? line->keys[i] : path, error)
			  : no_memory(error);
		free(path);
	}
	if (!rc && line->path)
		rc = put_line(to, "path", line->path, error);
	if (!rc && line->known_hosts)
		rc = put_line(to, "known_hosts", line->known_hosts, error);
	if (!rc && line->host_key)
		rc = put_line(to, "host_key", line->host_key, error);
	for (size_t i = 0; !rc && i < line->n_ssh_options; i++)
		rc = put_line(to, "ssh_option", line->ssh_options[i], error);
	for (size_t i = 0; !rc && i < line->n_forwards; i++)
		rc = put_line(to, "forward", line->forwards[i], error);
	return rc;
}

static int make_lines(const struct sshline *line, char **out, struct conf_error *error)
{
	size_t size;
	FILE *to = open_memstream(out, &size);
	int rc;

	if (!to)
		return no_memory(error);
	rc = put_lines(to, line, error);
	if (fclose(to) && !rc)
		rc = no_memory(error);
	if (rc) {
		free(*out);
		*out = NULL;
	}
	return rc;
}

static void show_lines(const char *lines)
{
	size_t len;

	for (; *lines; lines += len) {
		len = strcspn(lines, "\n");
		printf("    ");
		fwrite(lines, 1, len, stdout);
		putchar('\n');
		len += lines[len] == '\n';
	}
}

static int store(
    const char *config, const char *id, const char *lines, bool force, struct conf_error *error)
{
	const struct ini_section *there;
	struct profile_edit *edit;
	int rc = profile_edit_open(&edit, config, PROFILE_EDIT_CHANGE, error);

	if (rc)
		return rc;
	there = ini_file_find(profile_edit_file(edit), id);
	if (there && !force)
		rc = conf_fail(error, EEXIST,
		    "[%s] is at line %u of %s already; --force changes it, or take another name",
		    id, there->line, profile_edit_name(edit));
	if (!rc)
		rc = profile_edit_put(edit, id, lines, error);
	if (!rc)
		rc = profile_edit_save(edit, error);
	if (!rc) {
		printf(
		    "%s [%s] in %s:\n", there ? "Changed" : "Added", id, profile_edit_name(edit));
		show_lines(lines);
	}
	profile_edit_free(edit);
	return rc;
}

static void say_next(const char *id, const struct sshline *line)
{
	for (size_t i = 0; i < line->n_ignored; i++)
		printf("Not used: %s\n", line->ignored[i]);
	printf("Mount it with:\n    mkdir -p ~/gpu && mount.vastfs %s ~/gpu\n", id);
}

static int add(const char *config, bool force, const char *id, size_t n, char **words,
    struct conf_error *error)
{
	struct sshline line;
	char *lines = NULL;
	int rc = profile_edit_check_id(id, error);

	if (rc)
		return rc;
	rc = sshline_parse(n, words, &line, error);
	if (!rc)
		rc = complete(&line, error);
	if (!rc)
		rc = make_lines(&line, &lines, error);
	if (!rc)
		rc = store(config, id, lines, force, error);
	if (!rc)
		say_next(id, &line);
	free(lines);
	sshline_fini(&line);
	return rc;
}

int cmd_add(int argc, char **argv)
{
	struct conf_error error = {.text = ""};
	const char *config = command_config(&argc, &argv);
	bool force = false;

	while (argc > 0 && (!strcmp(argv[0], "--force") || !strcmp(argv[0], "-f"))) {
		force = true;
		argc--;
		argv++;
	}
	if (argc < 2 || argv[0][0] == '-')
		return command_usage("add");
	if (add(config, force, argv[0], (size_t)argc - 1, argv + 1, &error))
		return command_fail("add", &error);
	return 0;
}

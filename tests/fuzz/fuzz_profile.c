/*
 * The profile, from whatever the command line and the ini file hold.
 *
 * The input: a line with the spec, a line with the -o options, then the ini file. Whatever they
 * are, there is either a profile within its limits or an error of one line.
 */
#include "conf/cmdline.h"
#include "conf/profile_impl.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	/* No key of the user who runs this may have a part in it. */
	setenv("HOME", "/nonexistent", 1);
	unsetenv("SSH_AUTH_SOCK");
	return 0;
}

/* The line at *data as a string; moves behind it. */
static char *take_line(const char **data, size_t *size)
{
	const char *newline = memchr(*data, '\n', *size);
	size_t len = newline ? (size_t)(newline - *data) : *size;
	char *line = strndup(*data, len);

	*data += len + (newline != NULL);
	*size -= len + (newline != NULL);
	return line;
}

static void need(int condition)
{
	if (!condition)
		abort();
}

static void check_error(const struct conf_error *error)
{
	need(error->text[0] != '\0');
	for (const char *p = error->text; *p; p++)
		need((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static void check_profile(const struct profile *p)
{
	char buf[64];

	need(p->id && p->host && p->user && p->known_hosts && p->fsname);
	need(p->id[0] && p->host[0] && p->user[0] && p->host[0] != '-');
	need(p->port >= 1 && p->port <= 65535);
	need(p->connections >= 1 && p->connections <= 16);
	need(p->timeout >= 1 && p->timeout <= 3600 && p->attr_timeout <= 3600);
	need((unsigned)p->host_key <= HOST_KEY_STRICT && (unsigned)p->symlinks <= SYMLINKS_RAW &&
	     (unsigned)p->idmap <= IDMAP_NONE && p->umask <= 0777);
	need(p->known_hosts[0] == '/' && (!p->path || p->path[0]));
	for (size_t i = 0; i < p->n_keys; i++)
		need(p->keys[i][0] == '/');
	for (size_t i = 0; i < p->n_forwards; i++) {
		const struct forward_spec *f = &p->forwards[i];

		need(f->listen_host && f->listen_port && (!f->host != !f->socket_path));
		need((f->port != 0) == (f->host != NULL));
		need(strlen(forward_spec_print(f, buf, sizeof(buf))) < sizeof(buf));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	char *spec = take_line(&text, &size), *options = take_line(&text, &size);
	char program[] = "mount.vastfs", flag[] = "-o", end[] = "--", mountpoint[] = "/m";
	char *argv[] = {program, flag, options, end, spec, mountpoint, NULL};
	struct conf_error error = {""};
	struct cmdline cmdline;
	struct profile *profile = NULL;

	need(spec && options);
	if (cmdline_parse(6, argv, &cmdline, &error)) {
		check_error(&error);
	} else if (profile_load_text(
		       &cmdline.request, "/etc/config.ini", text, size, &profile, &error)) {
		need(!profile);
		check_error(&error);
	} else {
		check_profile(profile);
		profile_free(profile);
	}
	cmdline_fini(&cmdline);
	free(spec);
	free(options);
	return 0;
}

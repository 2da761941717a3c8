/*
 * Text that comes from people and files: forward specifications, ssh's command lines and the answer
 * of `ssh -G`, known_hosts, the table of mounts.
 *
 * The first byte says which; the rest is the text. Whatever it is, there is either a result that
 * holds what the header promises, or an error of one line.
 */
#include "conf/forward.h"
#include "conf/mountpoint.h"
#include "conf/sshline.h"
#include "transport/known_hosts.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

static void forward(const char *text)
{
	struct forward_spec spec = {0};
	struct conf_error error = {""};
	char buf[300];

	if (forward_spec_parse(text, &spec, &error)) {
		check_error(&error);
		return;
	}
	need(spec.listen_host && spec.listen_port);
	need(spec.kind == FORWARD_SOCKS || !spec.host != !spec.socket_path);
	need((spec.port != 0) == (spec.host != NULL));
	need(strlen(forward_spec_print(&spec, buf, sizeof(buf))) < sizeof(buf));
	forward_spec_fini(&spec);
}

static void command_line(char *text)
{
	struct sshline line = {0};
	struct conf_error error = {""};

	if (sshline_parse(1, &text, &line, &error)) {
		check_error(&error);
	} else {
		/* what a host may be called is for the profile to say */
		need(line.port <= 65535 && line.host);
		for (size_t i = 0; i < line.n_forwards; i++)
			forward(line.forwards[i]);
	}
	sshline_fini(&line);
}

static void answer(const char *text)
{
	struct sshline line = {.host = strdup("gpu"), .plain = true};
	struct conf_error error = {""};

	if (sshline_complete(&line, text, &error))
		check_error(&error);
	need(line.host != NULL && line.port <= 65535);
	sshline_fini(&line);
}

static bool on_line(void *arg, const struct known_line *line)
{
	unsigned *last = arg;
	volatile uint8_t seen;

	need(line->number > *last && line->names && line->type && (line->key || !line->key_len));
	*last = line->number;
	for (size_t i = 0; i < line->key_len; i++)
		seen = line->key[i];
	(void)seen;
	(void)known_hosts_match(line->names, "[10.1.2.3]:2222");
	return true;
}

/* Writes the text to a file that has only a number. */
static int file_of(const void *data, size_t size)
{
	int fd = memfd_create("text", MFD_CLOEXEC);

	need(fd >= 0 && write(fd, data, size) == (ssize_t)size && !lseek(fd, 0, SEEK_SET));
	return fd;
}

static void known_hosts(const void *data, size_t size)
{
	int fd = file_of(data, size);
	unsigned last = 0;
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	(void)known_hosts_read(path, on_line, &last);
	close(fd);
}

static void mounts(const void *data, size_t size)
{
	struct mount_entry entry;
	FILE *table = fdopen(file_of(data, size), "r");

	need(table != NULL);
	if (mountinfo_find(table, "/mnt", &entry) == 1) {
		need(!strcmp(entry.path, "/mnt") && entry.type && entry.source);
		mount_entry_fini(&entry);
	}
	fclose(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (!size || size > 4096)
		return 0;
	text = strndup((const char *)data + 1, size - 1);
	need(text != NULL);
	switch (data[0]) {
	case 'f':
		forward(text);
		break;
	case 's':
		command_line(text);
		break;
	case 'g':
		answer(text);
		break;
	case 'k':
		known_hosts(data + 1, size - 1);
		break;
	case 'm':
		mounts(data + 1, size - 1);
		break;
	default:
		break;
	}
	free(text);
	return 0;
}

#include "fs/cmd/ask.h"
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static _Atomic bool over;

static int open_terminal(void)
{
	return open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
}

bool ask_possible(void)
{
	int fd = open_terminal();

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

void ask_no_more(void)
{
	over = true;
}

/* The line without its end; false at end of file. */
static bool read_line(int fd, char *line, size_t size)
{
	ssize_t got = read(fd, line, size - 1);

	if (got <= 0)
		return false;
	line[got] = '\0';
	line[strcspn(line, "\r\n")] = '\0';
	return true;
}

bool ask_host_key(void *arg, const char *question, const char *fingerprint)
{
	static const char again[] = "Please type 'yes', 'no' or the fingerprint: ";
	int fd = over ? -1 : open_terminal();
	char line[256];
	bool yes = false;

	(void)arg;
	if (fd < 0)
		return false;
	dprintf(fd, "%s", question);
	while (!over && read_line(fd, line, sizeof(line))) {
		yes = !strcasecmp(line, "yes") || (fingerprint && !strcmp(line, fingerprint));
		if (yes || !strcasecmp(line, "no"))
			break;
		dprintf(fd, "%s", again);
	}
	close(fd);
	return yes;
}

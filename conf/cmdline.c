#include "conf/cmdline.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Cuts "a,b=c\,d" at its commas; "\," and "\\" stand for a comma and a backslash, as in libfuse. */
static int add_options(struct profile_request *request, const char *list, struct conf_error *error)
{
	char *buf = malloc(strlen(list) + 1);
	size_t len = 0;

	if (!buf)
		return conf_fail(error, ENOMEM, "out of memory");
	for (const char *p = list;; p++) {
		if (p[0] == '\\' && (p[1] == ',' || p[1] == '\\')) {
			buf[len++] = *++p;
			continue;
		}
		if (*p && *p != ',') {
			buf[len++] = *p;
			continue;
		}
		if (len > 0)
			profile_request_add_option(request, buf, len);
		len = 0;
		if (!*p)
			break;
	}
	free(buf);
	return 0;
}

static int add_value(
    struct profile_request *request, const char *name, const char *value, struct conf_error *error)
{
	char *option;

	if (asprintf(&option, "%s=%s", name, value) < 0)
		return conf_fail(error, ENOMEM, "out of memory");
	profile_request_add_option(request, option, strlen(option));
	free(option);
	return 0;
}

/* -R and -D, as the profile writes them. */
static int add_forward(struct profile_request *request, int letter, struct conf_error *error)
{
	char *text;

	if (asprintf(&text, "-%c %s", letter, optarg) < 0)
		return conf_fail(error, ENOMEM, "out of memory");
	profile_request_add_forward(request, text);
	free(text);
	return 0;
}

static int take_operand(struct cmdline *out, const char *arg, struct conf_error *error)
{
	char **slot = !out->request.spec ? &out->request.spec : &out->mountpoint;

	if (*slot)
		return conf_fail(error, EINVAL,
		    "\"%s\": one word too many; write mount.vastfs [options] ID MOUNTPOINT", arg);
	*slot = strdup(arg);
	return *slot ? 0 : conf_fail(error, ENOMEM, "out of memory");
}

static int refuse_flag(const char *arg, int letter, bool wants_value, struct conf_error *error)
{
	if (wants_value)
		return conf_fail(error, EINVAL,
		    "-%c: it wants a value after it; mount.vastfs -h shows all", letter);
	if (letter == 'F')
		return conf_fail(error, EINVAL,
		    "-F: ssh reads ~/.ssh/config, no other file; put the lines there");
	if (letter == 'i')
		return conf_fail(error, EINVAL, "-i: write -o key=FILE");
	if (letter)
		return conf_fail(
		    error, EINVAL, "-%c: unknown flag; mount.vastfs -h lists them", letter);
	return conf_fail(error, EINVAL, "%s: unknown flag; mount.vastfs -h lists them", arg);
}

static int take_flag(int flag, struct cmdline *out, struct conf_error *error)
{
	switch (flag) {
	case 'f':
		out->foreground = true;
		return 0;
	case 'd':
		out->debug = out->foreground = true;
		return 0;
	case 'v':
		out->verbose++;
		return 0;
	case 's':
		out->sloppy = out->request.sloppy = true;
		return 0;
	case 'V':
		out->version = true;
		return 0;
	case 'h':
		out->help = true;
		return 0;
	case 'w':
		return add_value(&out->request, "wait", optarg ? optarg : "600", error);
	case 'p':
		return add_value(&out->request, "port", optarg, error);
	case 'C':
		return add_value(&out->request, "Compression", "yes", error);
	case 'L':
		profile_request_add_forward(&out->request, optarg);
		return 0;
	case 'R':
	case 'D':
		return add_forward(&out->request, flag, error);
	case 'o':
		return add_options(&out->request, optarg, error);
	case 1: /* an operand */
		return take_operand(out, optarg, error);
	default: /* -n, -N and -t, which mount(8) hands on: nothing to do */
		return 0;
	}
}

static int check_operands(const struct cmdline *out, struct conf_error *error)
{
	if (out->version || out->help)
		return 0;
	if (!out->request.spec)
		return conf_fail(error, EINVAL,
		    "no instance is named; write mount.vastfs [options] ID MOUNTPOINT (-h shows "
		    "the options)");
	if (!out->mountpoint)
		return conf_fail(error, EINVAL,
		    "no mountpoint after \"%s\"; write mount.vastfs %s FOLDER", out->request.spec,
		    out->request.spec);
	return 0;
}

int cmdline_parse(int argc, char **argv, struct cmdline *out, struct conf_error *error)
{
	static const struct option long_options[] = {{"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'}, {"wait", optional_argument, NULL, 'w'},
	    {NULL, 0, NULL, 0}};
	int flag, rc = 0;

	memset(out, 0, sizeof(*out));
	/* The '-' hands operands over in their place, whatever POSIXLY_CORRECT says; ':' keeps
	 * getopt quiet and tells a missing value from an unknown flag. optind = 0 makes glibc start
	 * afresh. */
	optind = 0;
	while (!rc && (flag = getopt_long(
			   argc, argv, "-:fdvnsVhCN:p:t:L:R:D:o:", long_options, NULL)) != -1) {
		if (flag == '?' || flag == ':')
			rc = refuse_flag(argv[optind - 1], optopt, flag == ':', error);
		else
			rc = take_flag(flag, out, error);
	}
	while (!rc && optind < argc)
		rc = take_operand(out, argv[optind++], error);
	return rc ? rc : check_operands(out, error);
}

void cmdline_fini(struct cmdline *cmdline)
{
	profile_request_fini(&cmdline->request);
	free(cmdline->mountpoint);
	memset(cmdline, 0, sizeof(*cmdline));
}

/* "port=1-65535", "host_key=ask|strict", "ro". */
static void print_key(const struct profile_key *key)
{
	char left[64];

	switch (key->type) {
	case KEY_NUMBER:
		if (strcmp(key->name, "umask") == 0)
			snprintf(left, sizeof(left), "umask=OCTAL");
		else if (key->max > 65535)
			snprintf(left, sizeof(left), "%s=NUMBER", key->name);
		else
			snprintf(left, sizeof(left), "%s=%u-%u", key->name, key->min, key->max);
		break;
	case KEY_SIZE:
		snprintf(left, sizeof(left), "%s=BYTES[KMGT]", key->name);
		break;
	case KEY_CHOICE:
		snprintf(left, sizeof(left), "%s=%s", key->name, key->choices);
		break;
	case KEY_FLAG:
		snprintf(left, sizeof(left), "%s", key->name);
		break;
	default:
		snprintf(left, sizeof(left), "%s=%s", key->name,
		    key->type == KEY_PATH      ? "FILE"
		    : key->type == KEY_FORWARD ? "FORWARD"
					       : "TEXT");
	}
	printf("    %-32s %s", left, key->help);
	if (key->default_text && key->type != KEY_FLAG)
		printf(" (%s)", key->default_text);
	putchar('\n');
}

void cmdline_print_help(const char *program)
{
	printf(
	    "usage: %s [-fdvnsVh] [-L forward]... [-o option[,option]...] ID[:/path] MOUNTPOINT\n"
	    "\n"
	    "Mounts the files of the GPU instance ID over SSH. ID is a section of the ini file;\n"
	    "user@host:/path and ssh://user@host:port/path work without one.\n"
	    "\n"
	    "    -f            stay in the foreground\n"
	    "    -d            log each request, in the foreground\n"
	    "    -v, -vv       say what the connection does\n"
	    "    -L FORWARD    forward a port too: 8080, or 8080:localhost:8080; may repeat\n"
	    "    -R, -D FORWARD  a port of the instance to one here; a SOCKS port here\n"
	    "    -p PORT, -C   the same as -o port=PORT, -o Compression=yes\n"
	    "    -s            pass over unknown -o options\n"
	    "    -n, -N, -t    accepted from mount(8), without effect\n"
	    "    --wait[=SECONDS]  wait for an instance that is starting (600)\n"
	    "    -V, -h        print the version; this help\n"
	    "\n"
	    "Keys of the ini file, and -o options:\n",
	    program);
	for (const struct profile_key *key = profile_keys(); key->name; key++) {
		if (key->in_file)
			print_key(key);
	}
	printf("\n-o options only:\n");
	for (const struct profile_key *key = profile_keys(); key->name; key++) {
		if (!key->in_file)
			print_key(key);
	}
	printf("\nSee mount.vastfs(8) and vastfs.ini(5).\n");
}

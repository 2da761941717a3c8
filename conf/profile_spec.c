/* What stands before the mountpoint, into its parts. */
#include "conf/profile_impl.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int bad(struct conf_error *error, const char *text, const char *why)
{
	return conf_fail(error, EINVAL, "\"%s\": %s", text, why);
}

static int copy(char **out, const char *s, size_t len, struct conf_error *error)
{
	*out = strndup(s, len);
	return *out ? 0 : conf_fail(error, ENOMEM, "out of memory");
}

static bool all_digits(const char *s)
{
	return *s && s[strspn(s, "0123456789")] == '\0';
}

/* "host" or "[v6]" at *p, which moves behind it. */
static int take_name(
    const char *text, const char **p, const char *stops, struct spec *out, struct conf_error *error)
{
	size_t len;
	int rc;

	if (**p == '[') {
		len = strcspn(++*p, "]");
		if ((*p)[len] != ']')
			return bad(error, text, "a '[' without its ']'");
		out->bracketed = true;
	} else {
		len = strcspn(*p, stops);
	}
	if (len == 0)
		return bad(error, text, "no instance is named; write ID or user@host before the :");
	rc = copy(&out->name, *p, len, error);
	*p += len + out->bracketed;
	return rc;
}

/* ":20544" of a URL, at *p. */
static int take_url_port(
    const char *text, const char **p, struct spec *out, struct conf_error *error)
{
	unsigned port = 0;

	if (**p != ':')
		return 0;
	++*p;
	while (**p >= '0' && **p <= '9' && port <= 65535)
		port = port * 10 + (unsigned)(*(*p)++ - '0');
	if (port < 1 || port > 65535)
		return bad(error, text, "its port must be a number from 1 to 65535");
	out->port = port;
	return 0;
}

/* What follows the "://" of ours; NULL: it is no URL. */
static const char *behind_scheme(const char *text)
{
	static const char *const schemes[] = {"ssh://", "sftp://", "scp://"};

	for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
		if (!strncasecmp(text, schemes[i], strlen(schemes[i])))
			return text + strlen(schemes[i]);
	}
	return NULL;
}

/* ssh://[user@]host[:port][/path], as the provider's tools print it; text is all of it. */
static int parse_url(const char *text, const char *p, struct spec *out, struct conf_error *error)
{
	const char *at = memchr(p, '@', strcspn(p, "/"));
	int rc = 0;

	out->url = true;
	if (at && memchr(p, ':', (size_t)(at - p)))
		return conf_fail(error, EINVAL,
		    "a password stands in the address; passwords are not supported: leave it out, "
		    "and use a key (vastfs key new)");
	if (at) {
		rc = copy(&out->user, p, (size_t)(at - p), error);
		p = at + 1;
	}
	if (!rc)
		rc = take_name(text, &p, ":/", out, error);
	if (!rc)
		rc = take_url_port(text, &p, out, error);
	if (rc)
		return rc;
	if (*p && *p != '/')
		return bad(error, text, "not understood; write ssh://user@host:port/path");
	return p[0] && p[1] ? copy(&out->path, p, strlen(p), error) : 0;
}

static int parse_path(
    const char *text, const char *path, struct spec *out, struct conf_error *error)
{
	if (!*path)
		return 0;
	if (all_digits(path))
		return conf_fail(error, EINVAL,
		    "\"%s\": a folder stands after the ':', not a port; write -o port=%s", text,
		    path);
	if (strlen(path) >= 4096)
		return bad(error, text, "the path is longer than 4095 bytes");
	return copy(&out->path, path, strlen(path), error);
}

static int parse(const char *text, struct spec *out, struct conf_error *error)
{
	struct in6_addr v6;
	const char *p = text, *at, *url = behind_scheme(text);
	int rc = 0;

	if (!*text)
		return conf_fail(
		    error, EINVAL, "the instance's ID is empty; write ID or user@host");
	if (url)
		return parse_url(text, url, out, error);
	if (text[strcspn(text, ":/@")] == ':' && !strncmp(strchr(text, ':'), "://", 3))
		return bad(
		    error, text, "no such URL is understood; write ssh://user@host:port/path");
	if (!strncmp(text, "ssh ", 4))
		return bad(error, text, "this is an ssh command; vastfs add ID 'ssh …' takes it");
	at = memchr(p, '@', strcspn(p, *p == '[' ? "]" : ":/"));
	if (at == p)
		return bad(error, text, "no user before the '@'; write user@host");
	if (at) {
		rc = copy(&out->user, p, (size_t)(at - p), error);
		p = at + 1;
	}
	if (!rc && inet_pton(AF_INET6, p, &v6) == 1)
		return bad(error, text, "put an IPv6 address in brackets: root@[::1]:/path");
	if (!rc)
		rc = take_name(text, &p, ":", out, error);
	if (rc)
		return rc;
	if (*p && *p != ':')
		return bad(error, text, "not understood; write ID:/path or user@host:/path");
	out->colon = *p == ':';
	return out->colon ? parse_path(text, p + 1, out, error) : 0;
}

int spec_parse(const char *text, struct spec *out, struct conf_error *error)
{
	int rc;

	memset(out, 0, sizeof(*out));
	rc = parse(text, out, error);
	if (rc)
		spec_fini(out);
	return rc;
}

void spec_fini(struct spec *spec)
{
	free(spec->user);
	free(spec->name);
	free(spec->path);
	memset(spec, 0, sizeof(*spec));
}

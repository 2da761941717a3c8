#include "conf/forward.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FIELDS 4
#define MAX_HOST 255
/* sun_path holds 108 bytes with the NUL, on the instance as here. */
#define MAX_SOCKET_PATH 107

/* One of the parts between colons; it points into the text. */
struct field {
	const char *s;
	size_t len;
	bool bracketed;
};

static int bad(struct conf_error *error, const char *text, const char *why)
{
	return conf_fail(error, EINVAL, "forward \"%s\": %s", text, why);
}

/*
 * Cuts "a:[b]:c:/d" into its parts. A part that begins with '/' takes the rest of the text, since a
 * path may hold colons. Returns the number of parts, or -EINVAL.
 */
static int split(const char *text, struct field *fields, struct conf_error *error)
{
	const char *p = text;
	int n = 0;

	for (;;) {
		struct field *f = &fields[n];

		if (n == MAX_FIELDS)
			return bad(error, text,
			    "too many colons; write 8080:localhost:8080, and IPv6 addresses in "
			    "[brackets]");
		f->bracketed = *p == '[';
		if (f->bracketed) {
			f->s = ++p;
			f->len = strcspn(p, "]");
			p += f->len;
			if (*p != ']')
				return bad(error, text, "a '[' without its ']'");
			p++;
			if (*p && *p != ':')
				return bad(error, text, "after ']' comes a ':'");
		} else {
			f->s = p;
			f->len = *p == '/' ? strlen(p) : strcspn(p, ":");
			p += f->len;
		}
		n++;
		if (!*p)
			return n;
		p++;
	}
}

static int parse_port(
    const char *text, const struct field *f, uint16_t *port, struct conf_error *error)
{
	unsigned value = 0;

	if (f->bracketed || f->len == 0 || f->len > 5)
		goto bad;
	for (size_t i = 0; i < f->len; i++) {
		if (f->s[i] < '0' || f->s[i] > '9')
			goto bad;
		value = value * 10 + (unsigned)(f->s[i] - '0');
	}
	if (value < 1 || value > 65535)
		goto bad;
	*port = (uint16_t)value;
	return 0;
bad:
	return conf_fail(error, EINVAL,
	    "forward \"%s\": \"%.*s\" is not a port; write a number from 1 to 65535", text,
	    (int)(f->len > 64 ? 64 : f->len), f->s);
}

static int take_host(const char *text, const struct field *f, char **out, struct conf_error *error)
{
	if (f->len == 0)
		return bad(error, text, "an address is empty; write localhost or 127.0.0.1");
	if (f->len > MAX_HOST)
		return bad(error, text, "a host name is longer than 255 characters");
	for (size_t i = 0; i < f->len; i++) {
		unsigned char c = (unsigned char)f->s[i];

		if (c <= ' ' || c == 0x7f || strchr("/[]@,", c))
			return bad(error, text, "a host name holds a character it can't have");
	}
	*out = strndup(f->s, f->len);
	return *out ? 0 : conf_fail(error, ENOMEM, "out of memory");
}

static int take_socket(
    const char *text, const struct field *f, char **out, struct conf_error *error)
{
	if (f->len > MAX_SOCKET_PATH)
		return bad(error, text, "the socket's path is longer than 107 bytes");
	*out = strndup(f->s, f->len);
	return *out ? 0 : conf_fail(error, ENOMEM, "out of memory");
}

static bool is_path(const struct field *f)
{
	return !f->bracketed && f->len > 0 && f->s[0] == '/';
}

/* The far side: "host:port" or "/socket", from n parts. */
static int parse_target(const char *text, const struct field *f, int n, struct forward_spec *out,
    struct conf_error *error)
{
	int rc;

	if (n == 1 && is_path(f))
		return take_socket(text, f, &out->socket_path, error);
	if (n != 2)
		return bad(error, text, "write 8080, 8080:localhost:8080 or 8080:/path/of/socket");
	if (is_path(&f[1]))
		return bad(error, text, "a Unix socket has no host; write 8080:/path");
	rc = take_host(text, f, &out->host, error);
	return rc ? rc : parse_port(text, &f[1], &out->port, error);
}

/* "[address:]port" of -D. */
static int parse_socks(const char *text, const struct field *f, int n, struct forward_spec *out,
    struct conf_error *error)
{
	int rc = 0;

	if (n > 2)
		return bad(error, text, "after -D comes a port, or address:port");
	if (n == 2)
		rc = take_host(text, f++, &out->listen_host, error);
	else if (!(out->listen_host = strdup("127.0.0.1")))
		rc = conf_fail(error, ENOMEM, "out of memory");
	return rc ? rc : parse_port(text, f, &out->listen_port, error);
}

static int parse_fields(const char *text, const struct field *f, int n, struct forward_spec *out,
    struct conf_error *error)
{
	/* The listening address is there when what follows it is too: it and a target make
	 * 4 parts, or 3 with a socket. */
	bool named = n == 4 || (n == 3 && is_path(&f[2]));
	int rc;

	if (out->kind == FORWARD_SOCKS)
		return parse_socks(text, f, n, out, error);
	if (is_path(&f[0]))
		return bad(
		    error, text, "listening on a Unix socket is not supported; write a port first");
	if (named) {
		rc = take_host(text, f, &out->listen_host, error);
		if (rc)
			return rc;
		f++;
		n--;
	} else {
		out->listen_host = strdup(out->kind == FORWARD_REMOTE ? "localhost" : "127.0.0.1");
		if (!out->listen_host)
			return conf_fail(error, ENOMEM, "out of memory");
	}
	rc = parse_port(text, f, &out->listen_port, error);
	if (rc)
		return rc;
	if (n > 1)
		return parse_target(text, f + 1, n - 1, out, error);
	out->port = out->listen_port;
	out->host = strdup("localhost");
	return out->host ? 0 : conf_fail(error, ENOMEM, "out of memory");
}

/* "-L", "-R" or "-D" before it. */
static const char *take_kind(const char *text, enum forward_kind *kind)
{
	*kind = FORWARD_LOCAL;
	if (text[0] != '-' || !text[1] || !strchr("LRD", text[1]))
		return text;
	*kind = text[1] == 'R' ? FORWARD_REMOTE : text[1] == 'D' ? FORWARD_SOCKS : FORWARD_LOCAL;
	return text + 2 + strspn(text + 2, " \t");
}

int forward_spec_parse(const char *text, struct forward_spec *out, struct conf_error *error)
{
	struct field fields[MAX_FIELDS];
	int n, rc;

	memset(out, 0, sizeof(*out));
	text = take_kind(text, &out->kind);
	if (!*text)
		return bad(error, text, "it is empty; write 8080 or 8080:localhost:8080");
	n = split(text, fields, error);
	if (n < 0)
		return n;
	rc = parse_fields(text, fields, n, out, error);
	if (rc)
		forward_spec_fini(out);
	return rc;
}

void forward_spec_fini(struct forward_spec *spec)
{
	free(spec->listen_host);
	free(spec->host);
	free(spec->socket_path);
	memset(spec, 0, sizeof(*spec));
}

const char *forward_spec_print(const struct forward_spec *spec, char *buf, size_t size)
{
	const char *lb = strchr(spec->listen_host, ':') ? "[" : "";
	const char *rb = *lb ? "]" : "";
	const char *hb, *he;

	if (spec->kind == FORWARD_SOCKS) {
		snprintf(
		    buf, size, "%s%s%s:%u -> SOCKS", lb, spec->listen_host, rb, spec->listen_port);
		return buf;
	}
	if (spec->socket_path) {
		snprintf(buf, size, "%s%s%s:%u %s %s%s", lb, spec->listen_host, rb,
		    spec->listen_port, spec->kind == FORWARD_REMOTE ? "there ->" : "->",
		    spec->socket_path, spec->kind == FORWARD_REMOTE ? " here" : "");
		return buf;
	}
	hb = strchr(spec->host, ':') ? "[" : "";
	he = *hb ? "]" : "";
	snprintf(buf, size, "%s%s%s:%u %s %s%s%s:%u%s", lb, spec->listen_host, rb,
	    spec->listen_port, spec->kind == FORWARD_REMOTE ? "there ->" : "->", hb, spec->host, he,
	    spec->port, spec->kind == FORWARD_REMOTE ? " here" : "");
	return buf;
}

bool forward_spec_is(const struct forward_spec *spec, const char *text)
{
	struct forward_spec other;
	struct conf_error ignored;
	char a[256], b[256];
	bool same = !strcmp(forward_spec_print(spec, a, sizeof(a)), text);

	if (same || forward_spec_parse(text, &other, &ignored))
		return same;
	same = !strcmp(a, forward_spec_print(&other, b, sizeof(b)));
	forward_spec_fini(&other);
	return same;
}

bool forward_spec_is_meant(const struct forward_spec *spec, const char *text)
{
	enum forward_kind kind;
	const char *listens = take_kind(text, &kind);
	char port[8];

	snprintf(port, sizeof(port), "%u", spec->listen_port);
	if (!strcmp(port, listens) && (listens == text || kind == spec->kind))
		return true;
	return forward_spec_is(spec, text);
}

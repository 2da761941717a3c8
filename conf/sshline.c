#include "conf/sshline.h"
#include "conf/forward.h"
#include "conf/profile_impl.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The words of a command line, owned. */
struct words {
	char **list;
	size_t n, at;
};

static int no_memory(struct conf_error *error)
{
	return conf_fail(error, ENOMEM, "out of memory");
}

/* Takes the word. */
static int add(char ***list, size_t *n, char *word, struct conf_error *error)
{
	char **grown = word ? realloc(*list, (*n + 1) * sizeof(*grown)) : NULL;

	if (!grown) {
		free(word);
		return no_memory(error);
	}
	*list = grown;
	grown[(*n)++] = word;
	return 0;
}

static void free_list(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

static int set(char **slot, const char *value, struct conf_error *error)
{
	free(*slot);
	*slot = strdup(value);
	return *slot ? 0 : no_memory(error);
}

/* --- words ------------------------------------------------------------------ */

/* One word from *p to buf, without its quotes; *p moves behind it. False: a quote is open. */
static bool take_word(const char **p, char *buf)
{
	char quote = 0;

	for (; **p; ++*p) {
		char c = **p;

		if (!quote && strchr(" \t\r\n", c))
			break;
		if (!quote && (c == '\'' || c == '"')) {
			quote = c;
		} else if (c == quote) {
			quote = 0;
		} else {
			if (c == '\\' && quote != '\'' && (*p)[1])
				c = *++*p;
			*buf++ = c;
		}
	}
	*buf = '\0';
	return !quote;
}

/* Web pages and chats show a blank that does not break, and make a dash of a hyphen. In place. */
static void straighten(char *text)
{
	char *out = text;

	for (const char *p = text; *p;) {
		bool begins = out == text || strchr(" \t\r\n", out[-1]);
		bool dash = !strncmp(p, "\u2010", 3) || !strncmp(p, "\u2011", 3) ||
			    !strncmp(p, "\u2012", 3) || !strncmp(p, "\u2013", 3) ||
			    !strncmp(p, "\u2212", 3);

		if (!strncmp(p, "\u00a0", 2)) {
			*out++ = ' ';
			p += 2;
		} else if (dash && begins) {
			*out++ = '-';
			p += 3;
		} else {
			*out++ = *p++;
		}
	}
	*out = '\0';
}

static int split(const char *text, struct words *words, struct conf_error *error)
{
	char *buf = malloc(strlen(text) + 1), *straight = strdup(text);
	int rc = buf && straight ? 0 : no_memory(error);

	if (!rc)
		straighten(straight);
	text = straight;
	while (!rc) {
		text += strspn(text, " \t\r\n");
		if (!*text)
			break;
		if (!take_word(&text, buf))
			rc = conf_fail(error, EINVAL, "a quote in it is not closed");
		else
			rc = add(&words->list, &words->n, strdup(buf), error);
	}
	free(straight);
	free(buf);
	return rc;
}

/* --- options ------------------------------------------------------------------ */

/* Of several, the first counts, as with ssh. */
static int set_first(char **slot, const char *value, struct conf_error *error)
{
	return *slot ? 0 : set(slot, value, error);
}

static int set_port(struct sshline *out, const char *value, struct conf_error *error)
{
	unsigned n = 0;
	const char *p = value;

	for (; *p >= '0' && *p <= '9' && n <= 65535; p++)
		n = n * 10 + (unsigned)(*p - '0');
	if (*p || n < 1 || n > 65535)
		return conf_fail(
		    error, EINVAL, "the port must be a number from 1 to 65535, not \"%s\"", value);
	if (!out->port)
		out->port = n;
	return 0;
}

static int add_forward(struct sshline *out, const char *value, struct conf_error *error)
{
	struct forward_spec spec;
	int rc = forward_spec_parse(value, &spec, error);

	if (rc)
		return rc;
	forward_spec_fini(&spec);
	return add(&out->forwards, &out->n_forwards, strdup(value), error);
}

/* "LocalForward 8080 localhost:8080" is written with a space. */
static int add_config_forward(struct sshline *out, const char *value, struct conf_error *error)
{
	size_t n = strcspn(value, " \t");
	char *text = strdup(value);
	int rc;

	if (!text)
		return no_memory(error);
	if (text[n]) {
		text[n] = ':';
		memmove(text + n + 1, value + n + strspn(value + n, " \t"),
		    strlen(value + n + strspn(value + n, " \t")) + 1);
	}
	rc = add_forward(out, text, error);
	free(text);
	return rc;
}

static int ignore(struct sshline *out, const char *word, struct conf_error *error)
{
	return add(&out->ignored, &out->n_ignored, strdup(word), error);
}

static const char *host_key_choice(const char *value)
{
	if (!strcasecmp(value, "yes"))
		return "strict";
	if (!strcasecmp(value, "ask"))
		return "ask";
	return "accept-new"; /* no and off too: a key that changed is refused all the same */
}

/* What ssh alone can follow is left to it; the rest has no meaning here, and compression is no
 * reason to do without the library. */
static int take_other(struct sshline *out, const char *name, const char *value, const char *text,
    struct conf_error *error)
{
	static const char key[] = "ssh_option=";
	char *option = NULL, *ours = NULL;
	int rc = asprintf(&option, "%s=%s", name, value) < 0 ? -1 : profile_compat(option, &ours);

	if (rc < 0)
		rc = no_memory(error);
	else if (ours && !strncmp(ours, key, sizeof(key) - 1) && strcasecmp(name, "Compression"))
		rc = add(
		    &out->ssh_options, &out->n_ssh_options, strdup(ours + sizeof(key) - 1), error);
	else
		rc = ignore(out, text, error);
	free(option);
	free(ours);
	return rc;
}

/* -o Name=value or "Name value". */
static int take_config(struct sshline *out, const char *text, struct conf_error *error)
{
	size_t len = strcspn(text, "= \t");
	const char *value = text + len + strspn(text + len, "= \t");
	char *name = strndup(text, len);
	int rc;

	if (!name)
		return no_memory(error);
	if (!strcasecmp(name, "Port"))
		rc = set_port(out, value, error);
	else if (!strcasecmp(name, "User"))
		rc = set_first(&out->user, value, error);
	else if (!strcasecmp(name, "HostName"))
		rc = set(&out->host, value, error);
	else if (!strcasecmp(name, "IdentityFile"))
		rc = add(&out->keys, &out->n_keys, strdup(value), error);
	else if (!strcasecmp(name, "LocalForward"))
		rc = add_config_forward(out, value, error);
	else if (!strcasecmp(name, "UserKnownHostsFile") && strcmp(value, "/dev/null") != 0)
		rc = set(&out->known_hosts, value, error);
	else if (!strcasecmp(name, "StrictHostKeyChecking"))
		rc = set(&out->host_key, host_key_choice(value), error);
	else
		rc = take_other(out, name, value, text, error);
	free(name);
	return rc;
}

/* ssh takes [user@]ADDRESS of IPv6 as it is, where a mount wants brackets. Owned by the caller. */
static char *bracket_v6(const char *word)
{
	const char *at = strrchr(word, '@'), *host = at ? at + 1 : word;
	struct in6_addr v6;
	char *text = NULL;

	if (inet_pton(AF_INET6, host, &v6) != 1)
		return strdup(word);
	return asprintf(&text, "%.*s[%s]", (int)(host - word), word, host) < 0 ? NULL : text;
}

/* [user@]host, ssh://[user@]host[:port][/path], sftp://… */
static int take_host(struct sshline *out, const char *word, struct conf_error *error)
{
	struct spec spec;
	char *bracketed = bracket_v6(word);
	int rc = bracketed ? spec_parse(bracketed, &spec, error) : no_memory(error);

	free(bracketed);
	if (rc)
		return rc;
	if (!out->port)
		out->port = spec.port;
	out->plain = !spec.user && !spec.url && !spec.bracketed && !out->port;
	if (!rc && !out->host)
		rc = set(&out->host, spec.name, error);
	if (!rc && spec.user && !out->user)
		rc = set(&out->user, spec.user, error);
	if (!rc && spec.path && strcmp(spec.path, "/") != 0)
		rc = set(&out->path, spec.path, error);
	spec_fini(&spec);
	return rc;
}

/* What ssh(1) and sftp(1) have: those letters that take a value, and those that do not. */
#define WITH_VALUE "BbcDEeFIiJLlmOoPpQRSWw"
#define ALONE "1246AaCfGgKkMNnqrsTtVvXxYy"

static int take_value(struct sshline *out, char letter, const char *value, struct conf_error *error)
{
	char text[4096];

	switch (letter) {
	case 'p':
	case 'P':
		return set_port(out, value, error);
	case 'l':
		return set_first(&out->user, value, error);
	case 'i':
		return add(&out->keys, &out->n_keys, strdup(value), error);
	case 'L':
		return add_forward(out, value, error);
	case 'R':
	case 'D':
		snprintf(text, sizeof(text), "-%c %s", letter, value);
		return add_forward(out, text, error);
	case 'o':
		return take_config(out, value, error);
	case 'J':
		return take_other(out, "ProxyJump", value, value, error);
	default:
		snprintf(text, sizeof(text), "-%c %s", letter, value);
		return ignore(out, text, error);
	}
}

/* "-Np22", "-p", "22", "-L8080:localhost:80". */
static int take_option(struct words *words, struct sshline *out, struct conf_error *error)
{
	for (const char *p = words->list[words->at++] + 1; *p; p++) {
		if (strchr(ALONE, *p))
			continue;
		if (!strchr(WITH_VALUE, *p))
			return conf_fail(error, EINVAL, "-%c is no option of ssh", *p);
		if (p[1])
			return take_value(out, *p, p + 1, error);
		if (words->at == words->n)
			return conf_fail(error, EINVAL, "-%c wants a value after it", *p);
		return take_value(out, *p, words->list[words->at++], error);
	}
	return 0;
}

static bool is_program(const char *word)
{
	const char *slash = strrchr(word, '/'), *name = slash ? slash + 1 : word;

	return !strcmp(name, "ssh") || !strcmp(name, "sftp") || !strcmp(name, "sshfs") ||
	       !strcmp(name, "scp") || !strcmp(name, "mosh") || !strcmp(name, "ssh.exe");
}

/* What stands before the program: "TERM=xterm sudo ssh …". */
static bool is_prefix(const char *word)
{
	return !strcmp(word, "sudo") || !strcmp(word, "env") || !strcmp(word, "exec") ||
	       (word[0] != '-' && strchr(word, '=') && !strchr(word, '@'));
}

static int take_all(struct words *words, struct sshline *out, struct conf_error *error)
{
	bool host = false;
	int rc = 0;

	/* a prompt was copied with it */
	if (words->n > 1 && strlen(words->list[0]) == 1 && strchr("$#%>", words->list[0][0]))
		words->at++;
	while (words->at + 1 < words->n && is_prefix(words->list[words->at]))
		words->at++;
	if (words->n > words->at && is_program(words->list[words->at]))
		words->at++;
	while (!rc && words->at < words->n) {
		const char *word = words->list[words->at];

		if (!strcmp(word, "--")) {
			words->at++;
		} else if (word[0] == '-' && word[1]) {
			rc = take_option(words, out, error);
		} else if (!host) {
			host = true;
			words->at++;
			rc = take_host(out, word, error);
		} else { /* the command to run there, up to the end */
			while (!rc && words->at < words->n)
				rc = ignore(out, words->list[words->at++], error);
		}
	}
	if (!rc && !out->host)
		rc = conf_fail(
		    error, EINVAL, "it names no host; paste all of it: ssh -p PORT root@ADDRESS");
	return rc;
}

int sshline_parse(size_t n, char *const *list, struct sshline *out, struct conf_error *error)
{
	struct words words = {0};
	int rc = 0;

	memset(out, 0, sizeof(*out));
	if (n == 1)
		rc = split(list[0], &words, error);
	for (size_t i = 0; n > 1 && !rc && i < n; i++) {
		rc = add(&words.list, &words.n, strdup(list[i]), error);
		if (!rc)
			straighten(words.list[i]);
	}
	if (!rc)
		rc = take_all(&words, out, error);
	if (rc || out->user || out->port)
		out->plain = false;
	free_list(words.list, words.n);
	return rc;
}

void sshline_fini(struct sshline *line)
{
	free_list(line->keys, line->n_keys);
	free_list(line->forwards, line->n_forwards);
	free_list(line->ssh_options, line->n_ssh_options);
	free_list(line->ignored, line->n_ignored);
	free(line->user);
	free(line->host);
	free(line->path);
	free(line->known_hosts);
	free(line->host_key);
	memset(line, 0, sizeof(*line));
}

/* --- an alias ----------------------------------------------------------------- */

/* One of the files that ssh tries without being told. */
static bool is_default_key(const char *path)
{
	return !strncmp(path, "~/.ssh/id_", 10);
}

static int take_answer(
    struct sshline *line, const char *name, const char *value, struct conf_error *error)
{
	if (!strcmp(name, "hostname"))
		return set(&line->host, value, error);
	if (!strcmp(name, "port") && !line->port)
		return set_port(line, value, error);
	if (!strcmp(name, "user") && !line->user)
		return set(&line->user, value, error);
	if (!strcmp(name, "identityfile") && !is_default_key(value))
		return add(&line->keys, &line->n_keys, strdup(value), error);
	if (!strcmp(name, "localforward"))
		return add_config_forward(line, value, error);
	return 0;
}

int sshline_complete(struct sshline *line, const char *answer, struct conf_error *error)
{
	int rc = 0;

	while (!rc && *answer) {
		size_t len = strcspn(answer, "\n"), word = strcspn(answer, " \n");
		char *text = strndup(answer, len);

		if (!text)
			return no_memory(error);
		if (word < len) {
			text[word] = '\0';
			rc = take_answer(line, text, text + word + 1, error);
		}
		free(text);
		answer += len + (answer[len] == '\n');
	}
	return rc;
}

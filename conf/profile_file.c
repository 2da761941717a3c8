/* The ini file into sections and entries, with their lines. */
#include "conf/profile_impl.h"
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX_BYTES (1024 * 1024)
#define MAX_SECTIONS 4096

/*
 * inih hands over names and values without their lines, passes over empty sections, cuts long lines
 * in two, and takes an indented line for more of the value above it. So it gets its lines from
 * next_line() below, one at a time and without their indentation, which counts them, notes the
 * sections and refuses long ones.
 */
struct parser {
	struct ini_file *file;
	const char *p, *end; /* what is left of the text */
	unsigned line;
	int rc; /* the first refusal; its line is in error */
	struct conf_error *error;
	struct draft scratch; /* values are checked by putting them here */
};

static int refuse_memory(struct parser *parser)
{
	return parser->rc = conf_fail(parser->error, ENOMEM, "out of memory");
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static int add_section(struct parser *parser, const char *name, size_t len)
{
	struct ini_file *file = parser->file;
	struct ini_section *list;
	const struct ini_section *same;
	char *copy;

	for (; len > 0 && is_blank(*name); len--)
		name++;
	while (len > 0 && is_blank(name[len - 1]))
		len--;
	if (len == 0)
		return parser->rc = conf_fail(parser->error, EINVAL,
			   "%s:%u: a section has no name; write [ID] or [defaults]", file->name,
			   parser->line);
	if (file->n_sections == MAX_SECTIONS)
		return parser->rc = conf_fail(parser->error, EINVAL,
			   "%s:%u: more than %d sections; split the file", file->name, parser->line,
			   MAX_SECTIONS);
	copy = strndup(name, len);
	if (!copy)
		return refuse_memory(parser);
	same = ini_file_find(file, copy);
	if (same) {
		parser->rc = conf_fail(parser->error, EINVAL,
		    "%s:%u: section [%s] is already at line %u; make one of the two", file->name,
		    parser->line, copy, same->line);
		free(copy);
		return parser->rc;
	}
	list = realloc(file->sections, (file->n_sections + 1) * sizeof(*list));
	if (!list) {
		free(copy);
		return refuse_memory(parser);
	}
	file->sections = list;
	list[file->n_sections].name = copy;
	list[file->n_sections++].line = parser->line;
	return 0;
}

/* What this file's format asks of a line, beyond inih's rules. */
static int check_line(struct parser *parser, const char *s, size_t len, size_t room)
{
	const char *name = parser->file->name, *close;

	if (memchr(s, '\0', len))
		return parser->rc = conf_fail(parser->error, EINVAL,
			   "%s:%u: not a text file; save it as plain text (UTF-8)", name,
			   parser->line);
	if (len == 0 || *s == '#' || *s == ';')
		return 0;
	if (len > room)
		return parser->rc = conf_fail(parser->error, EINVAL,
			   "%s:%u: the line is longer than %zu characters; shorten it", name,
			   parser->line, room);
	if (*s != '[')
		return 0;
	close = memchr(s, ']', len);
	return close ? add_section(parser, s + 1, (size_t)(close - s - 1)) : 0;
}

/* inih's fgets. */
static char *next_line(char *buf, int size, void *arg)
{
	struct parser *parser = arg;
	const char *s = parser->p, *newline;
	size_t len;

	if (parser->rc || s == parser->end || size < 3)
		return NULL;
	newline = memchr(s, '\n', (size_t)(parser->end - s));
	len = (size_t)((newline ? newline : parser->end) - s);
	parser->p = newline ? newline + 1 : parser->end;
	if (parser->line++ == 0 && len >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0) {
		s += 3;
		len -= 3;
	}
	for (; len > 0 && is_blank(*s); len--)
		s++;
	while (len > 0 && is_blank(s[len - 1]))
		len--;
	if (check_line(parser, s, len, (size_t)size - 2))
		return NULL;
	/* A long comment, which check_line let through, is no use to inih. */
	if (len > (size_t)size - 2)
		len = 0;
	memcpy(buf, s, len);
	buf[len] = '\n';
	buf[len + 1] = '\0';
	return buf;
}

static int refuse_key(struct parser *parser, const char *name)
{
	const char *better = profile_key_suggest(name);
	const struct profile_key *key = better ? profile_key_find(better) : NULL;

	if (key && key->in_file)
		return conf_fail(parser->error, EINVAL,
		    "%s:%u: unknown key \"%s\" (did you mean \"%s\"?)", parser->file->name,
		    parser->line, name, better);
	return conf_fail(parser->error, EINVAL,
	    "%s:%u: unknown key \"%s\"; the keys are listed in vastfs.ini(5)", parser->file->name,
	    parser->line, name);
}

/* "a value" loses its quotes; outside of them, " #" is a slip that would become part of the value.
 */
static char *take_value(struct parser *parser, const char *name, const char *value)
{
	size_t len = strlen(value);
	char *copy;

	if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
		value++;
		len -= 2;
	} else if (value[0] == '"') {
		parser->rc = conf_fail(parser->error, EINVAL,
		    "%s:%u: %s begins with a '\"' that is not closed; put one at its end",
		    parser->file->name, parser->line, name);
		return NULL;
	} else if (strstr(value, " #") || strstr(value, "\t#")) {
		parser->rc = conf_fail(parser->error, EINVAL,
		    "%s:%u: a comment beside a value begins with ';', not '#'; or put the value "
		    "in \"quotes\"",
		    parser->file->name, parser->line);
		return NULL;
	}
	copy = strndup(value, len);
	if (!copy)
		refuse_memory(parser);
	return copy;
}

static int check_place(struct parser *parser, const struct profile_key *key)
{
	const struct ini_file *file = parser->file;

	if (!key->in_file)
		return conf_fail(parser->error, EINVAL,
		    "%s:%u: %s is an option of the mount, not a key of this file; write -o %s",
		    file->name, parser->line, key->name, key->name);
	if (file->n_sections == 0)
		return conf_fail(parser->error, EINVAL,
		    "%s:%u: %s stands before any section; put [defaults] or [ID] above it",
		    file->name, parser->line, key->name);
	for (size_t i = file->n_entries; !key->repeats && i > 0; i--) {
		const struct ini_entry *entry = &file->entries[i - 1];

		if (entry->section != file->n_sections - 1)
			break;
		if (entry->key == key)
			return conf_fail(parser->error, EINVAL,
			    "%s:%u: %s is already at line %u; remove one of the two", file->name,
			    parser->line, key->name, entry->line);
	}
	return 0;
}

static int put(const struct ini_file *file, const struct ini_entry *entry, struct draft *draft,
    struct conf_error *error)
{
	struct origin origin = {NULL, file->dir};
	char *where;
	int rc;

	if (asprintf(&where, "%s:%u", file->name, entry->line) < 0)
		return conf_fail(error, ENOMEM, "out of memory");
	origin.where = where;
	rc = profile_key_set(draft, entry->key, entry->value, &origin, error);
	free(where);
	return rc;
}

static int add_entry(struct parser *parser, const char *name, const char *value)
{
	const struct profile_key *key = profile_key_find(name);
	struct ini_file *file = parser->file;
	struct ini_entry entry = {.key = key, .line = parser->line}, *list;

	parser->rc = key ? check_place(parser, key) : refuse_key(parser, name);
	if (parser->rc)
		return parser->rc;
	entry.section = file->n_sections - 1;
	entry.value = take_value(parser, name, value);
	if (!entry.value)
		return parser->rc;
	list = realloc(file->entries, (file->n_entries + 1) * sizeof(*list));
	if (!list) {
		free(entry.value);
		return refuse_memory(parser);
	}
	file->entries = list;
	list[file->n_entries++] = entry;
	parser->rc = put(file, &entry, &parser->scratch, parser->error);
	return parser->rc;
}

#if INI_HANDLER_LINENO
static int on_entry(void *arg, const char *section, const char *name, const char *value, int line)
#else
static int on_entry(void *arg, const char *section, const char *name, const char *value)
#endif
{
	struct parser *parser = arg;

	if (parser->rc)
		return 0;
	/* Where inih is built so, a new section comes without a name, and a missing value as NULL.
	 */
	if (!name)
		return 1;
	return add_entry(parser, name, value ? value : "") == 0;
}

int ini_file_parse(
    struct ini_file *file, const char *name, const char *text, size_t len, struct conf_error *error)
{
	struct parser parser = {.file = file, .p = text, .end = text + len, .error = error};
	const char *slash = strrchr(name, '/');
	int bad_line;

	memset(file, 0, sizeof(*file));
	file->name = strdup(name);
	file->dir = slash ? strndup(name, slash == name ? 1 : (size_t)(slash - name)) : NULL;
	if (!file->name || (slash && !file->dir))
		return conf_fail(error, ENOMEM, "out of memory");
	parser.rc = draft_init(&parser.scratch, error);
	if (parser.rc)
		return parser.rc;
	bad_line = ini_parse_stream(next_line, &parser, on_entry, &parser);
	draft_fini(&parser.scratch);
	/* Its own complaint counts when it comes before ours. */
	if (bad_line > 0 && (!parser.rc || (unsigned)bad_line < parser.line))
		return conf_fail(error, EINVAL,
		    "%s:%d: not understood; write key = value, [section], or a comment after #",
		    name, bad_line);
	if (bad_line < 0 && !parser.rc)
		return conf_fail(error, ENOMEM, "out of memory");
	return parser.rc;
}

static int slurp(FILE *f, const char *name, char **text, size_t *len, struct conf_error *error)
{
	struct stat st;

	if (fstat(fileno(f), &st) == 0 && S_ISDIR(st.st_mode))
		return conf_fail(error, EISDIR,
		    "%s: the configuration is a folder, not a file; name the file in it", name);
	*text = malloc(FILE_MAX_BYTES + 1);
	if (!*text)
		return conf_fail(error, ENOMEM, "out of memory");
	*len = fread(*text, 1, FILE_MAX_BYTES + 1, f);
	if (ferror(f))
		return conf_fail(error, EIO, "%s: can't read the configuration: %s; check the disk",
		    name, strerror(errno));
	if (*len > FILE_MAX_BYTES)
		return conf_fail(error, EFBIG,
		    "%s: the configuration is larger than 1 MiB; is it the right file?", name);
	return 0;
}

int ini_file_read(struct ini_file *file, const char *name, struct conf_error *error)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f;
	int rc;

	memset(file, 0, sizeof(*file));
	f = fopen(name, "re");
	if (!f && errno == ENOENT)
		return conf_fail(error, ENOENT,
		    "%s: the configuration does not exist; make it, or name another with -o "
		    "config=FILE",
		    name);
	if (!f)
		return conf_fail(error, errno,
		    "%s: can't read the configuration: %s; check whose it is (ls -l), or name "
		    "another with -o config=FILE",
		    name, strerror(errno));
	rc = slurp(f, name, &text, &len, error);
	fclose(f);
	if (!rc)
		rc = ini_file_parse(file, name, text, len, error);
	free(text);
	return rc;
}

void ini_file_fini(struct ini_file *file)
{
	for (size_t i = 0; i < file->n_sections; i++)
		free(file->sections[i].name);
	for (size_t i = 0; i < file->n_entries; i++)
		free(file->entries[i].value);
	free(file->sections);
	free(file->entries);
	free(file->name);
	free(file->dir);
	memset(file, 0, sizeof(*file));
}

const struct ini_section *ini_file_find(const struct ini_file *file, const char *name)
{
	for (size_t i = 0; i < file->n_sections; i++) {
		if (strcmp(file->sections[i].name, name) == 0)
			return &file->sections[i];
	}
	return NULL;
}

int ini_file_apply(const struct ini_file *file, const struct ini_section *section,
    struct draft *draft, struct conf_error *error)
{
	size_t index = (size_t)(section - file->sections);
	bool keys = false, forwards = false;

	for (size_t i = 0; i < file->n_entries; i++) {
		const struct ini_entry *entry = &file->entries[i];
		int rc;

		if (entry->section != index)
			continue;
		if (entry->key->type == KEY_FORWARD && !forwards) {
			draft_drop_forwards(draft);
			forwards = true;
		} else if (strcmp(entry->key->name, "key") == 0 && !keys) {
			draft_drop_keys(draft);
			keys = true;
		}
		rc = put(file, entry, draft, error);
		if (rc)
			return rc;
	}
	return 0;
}

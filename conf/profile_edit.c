#include "conf/profile_edit.h"
#include "conf/paths.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_TRIES 60 /* of 50 ms */

struct profile_edit {
	char *name; /* the file itself: symbolic links are followed, not replaced */
	char *text;
	struct ini_file file;
	int lock; /* the folder */
};

static int no_memory(struct conf_error *error)
{
	return conf_fail(error, ENOMEM, "out of memory");
}

/* --- opening -------------------------------------------------------------------- */

static int make_folders(char *path, struct conf_error *error)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		int rc;

		*slash = '\0';
		rc = mkdir(path, 0700) && errno != EEXIST ? errno : 0;
		if (rc)
			conf_fail(error, rc, "%s: can't make this folder: %s", path, strerror(rc));
		*slash = '/';
		if (rc)
			return -rc;
	}
	return 0;
}

static int lock_folder(struct profile_edit *edit, struct conf_error *error)
{
	char *slash = strrchr(edit->name, '/');
	int rc = make_folders(edit->name, error);

	if (rc)
		return rc;
	*slash = '\0';
	edit->lock =
	    open(slash == edit->name ? "/" : edit->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*slash = '/';
	if (edit->lock < 0)
		return conf_fail(
		    error, errno, "%s: can't open its folder: %s", edit->name, strerror(errno));
	for (int tries = 0; flock(edit->lock, LOCK_EX | LOCK_NB); tries++) {
		if (errno != EWOULDBLOCK || tries == LOCK_TRIES)
			return conf_fail(error, errno == EWOULDBLOCK ? EBUSY : errno,
			    "%s: another command is changing it (a vastfs edit?); end that first",
			    edit->name);
		usleep(50000);
	}
	return 0;
}

/* The text of the file; "" when it is missing. */
static int read_text(struct profile_edit *edit, struct conf_error *error)
{
	FILE *f = fopen(edit->name, "re");
	size_t len = 0, size = 1024 * 1024 + 1;

	edit->text = calloc(1, size + 1);
	if (!edit->text) {
		if (f)
			fclose(f);
		return no_memory(error);
	}
	if (!f)
		return errno == ENOENT ? 0
				       : conf_fail(error, errno, "%s: can't read it: %s",
					     edit->name, strerror(errno));
	len = fread(edit->text, 1, size, f);
	fclose(f);
	if (len == size)
		return conf_fail(
		    error, EFBIG, "%s: larger than 1 MiB; is it the right file?", edit->name);
	if (memchr(edit->text, '\0', len))
		return conf_fail(error, EINVAL,
		    "%s: not a text file; save it as plain text (UTF-8)", edit->name);
	return 0;
}

static int parse(struct profile_edit *edit, struct conf_error *error)
{
	return ini_file_parse(&edit->file, edit->name, edit->text, strlen(edit->text), error);
}

static char *file_name(const char *config)
{
	const char *env = getenv("VASTFS_CONFIG");
	char *name, *real;

	if (config)
		name = profile_absolute(config, NULL);
	else if (env && *env)
		name = profile_absolute(env, NULL);
	else
		name = paths_config_file();
	real = name ? realpath(name, NULL) : NULL;
	if (real) {
		free(name);
		return real;
	}
	return name;
}

int profile_edit_open(struct profile_edit **out, const char *config, enum profile_edit_for purpose,
    struct conf_error *error)
{
	struct profile_edit *edit = calloc(1, sizeof(*edit));
	int rc = 0;

	*out = NULL;
	if (!edit)
		return no_memory(error);
	edit->lock = -1;
	edit->name = file_name(config);
	if (!edit->name)
		rc = conf_fail(error, ENOENT,
		    "no home folder to look for the configuration in; set HOME or VASTFS_CONFIG");
	if (!rc && purpose != PROFILE_EDIT_LOOK)
		rc = lock_folder(edit, error);
	if (!rc)
		rc = read_text(edit, error);
	if (!rc)
		rc = parse(edit, error);
	if (rc == -EINVAL && purpose == PROFILE_EDIT_MEND && edit->text)
		rc = 0;
	if (rc)
		profile_edit_free(edit);
	else
		*out = edit;
	return rc;
}

void profile_edit_free(struct profile_edit *edit)
{
	if (!edit)
		return;
	ini_file_fini(&edit->file);
	if (edit->lock >= 0)
		close(edit->lock);
	free(edit->name);
	free(edit->text);
	free(edit);
}

const struct ini_file *profile_edit_file(const struct profile_edit *edit)
{
	return &edit->file;
}

const char *profile_edit_name(const struct profile_edit *edit)
{
	return edit->name;
}

const char *profile_edit_text(const struct profile_edit *edit)
{
	return edit->text;
}

/* --- changing --------------------------------------------------------------------- */

int profile_edit_check_id(const char *id, struct conf_error *error)
{
	struct spec spec;
	bool good;
	int rc = spec_parse(id, &spec, error);

	if (rc)
		return rc;
	good = !spec.user && !spec.path && !spec.url && !spec.bracketed && !spec.colon &&
	       strcmp(id, "defaults") != 0 && !strpbrk(id, " \t\r\n[]/;#=\"'") && id[0] != '-' &&
	       strlen(id) < 128;
	for (const unsigned char *p = (const unsigned char *)id; *p; p++)
		good = good && *p > ' ' && *p != 0x7f;
	spec_fini(&spec);
	return good ? 0
		    : conf_fail(error, EINVAL,
			  "\"%s\" can't be an ID; take the instance's number or a plain word", id);
}

/* Where a line (from 1) begins; the end of the text for those behind the last one. */
static char *line_at(char *text, unsigned line)
{
	while (line > 1 && *text) {
		text += strcspn(text, "\n");
		text += *text == '\n';
		line--;
	}
	return text;
}

/* The last line of a section that holds a key, or its header. */
static unsigned last_line(const struct ini_file *file, const struct ini_section *section)
{
	unsigned line = section->line;

	for (size_t i = 0; i < file->n_entries; i++) {
		if (file->entries[i].section == (size_t)(section - file->sections))
			line = file->entries[i].line;
	}
	return line;
}

/* Takes the lines first … last away and puts others in their place; the file's parts move. */
static int replace_lines(struct profile_edit *edit, unsigned first, unsigned last,
    const char *lines, struct conf_error *error)
{
	char *from = line_at(edit->text, first), *to = line_at(edit->text, last + 1), *text;
	bool glue = from > edit->text && from[-1] != '\n' && *lines; /* no newline at the end */

	if (asprintf(&text, "%.*s%s%s%s", (int)(from - edit->text), edit->text, glue ? "\n" : "",
		lines, to) < 0)
		return no_memory(error);
	free(edit->text);
	edit->text = text;
	ini_file_fini(&edit->file);
	return parse(edit, error);
}

static int append(
    struct profile_edit *edit, const char *id, const char *lines, struct conf_error *error)
{
	size_t len = strlen(edit->text);
	bool blank = len == 0 || (len > 1 && !strcmp(edit->text + len - 2, "\n\n"));
	char *section;
	int rc;

	if (asprintf(&section, "%s[%s]\n%s", blank ? "" : "\n", id, lines) < 0)
		return no_memory(error);
	rc = replace_lines(edit, UINT32_MAX - 1, UINT32_MAX - 1, section, error);
	free(section);
	return rc;
}

/* Does one of the lines "key = value" set this key? */
static bool sets(const char *lines, const char *key)
{
	size_t len = strlen(key);

	for (; *lines; lines += strcspn(lines, "\n"), lines += *lines == '\n') {
		if (!strncmp(lines, key, len) && !strncmp(lines + len, " =", 2))
			return true;
	}
	return false;
}

int profile_edit_put(
    struct profile_edit *edit, const char *id, const char *lines, struct conf_error *error)
{
	const struct ini_section *section = ini_file_find(&edit->file, id);
	size_t index = section ? (size_t)(section - edit->file.sections) : 0;
	int rc = 0;

	if (!section)
		return append(edit, id, lines, error);
	for (size_t i = edit->file.n_entries; !rc && i-- > 0;) {
		const struct ini_entry *entry = &edit->file.entries[i];

		if (entry->section == index && sets(lines, entry->key->name))
			rc = replace_lines(edit, entry->line, entry->line, "", error);
	}
	if (!rc) { /* behind the header */
		unsigned line = edit->file.sections[index].line + 1;

		rc = replace_lines(edit, line, line - 1, lines, error);
	}
	return rc;
}

/* --- forwards ----------------------------------------------------------------------- */

static bool is_forward(const struct ini_file *file, size_t i, const struct ini_section *section)
{
	return section && file->entries[i].section == (size_t)(section - file->sections) &&
	       !strcmp(file->entries[i].key->name, "forward");
}

/* An added one is there when it is the same; one to be removed may be named by its port. */
static bool is_same(const char *value, bool add, const char *text)
{
	struct forward_spec spec;
	struct conf_error ignored;
	bool same;

	if (forward_spec_parse(value, &spec, &ignored))
		return false;
	same = add ? forward_spec_is(&spec, text) : forward_spec_is_meant(&spec, text);
	forward_spec_fini(&spec);
	return same;
}

/* The lines to add: those of [defaults] if the section has none of its own, and the new one. NULL
 * when memory is out. */
static char *new_lines(
    const struct ini_file *file, const struct ini_section *section, const char *text)
{
	const struct ini_section *defaults = ini_file_find(file, "defaults");
	char *lines = strdup(""), *more;
	bool own = false;

	for (size_t i = 0; i < file->n_entries; i++)
		own = own || is_forward(file, i, section);
	for (size_t i = 0; lines && !own && i < file->n_entries; i++) {
		if (!is_forward(file, i, defaults))
			continue;
		if (asprintf(&more, "%sforward = %s\n", lines, file->entries[i].value) < 0)
			more = NULL;
		free(lines);
		lines = more;
	}
	if (!lines || asprintf(&more, "%sforward = %s\n", lines, text) < 0)
		more = NULL;
	free(lines);
	return more;
}

int profile_edit_forward(
    struct profile_edit *edit, const char *id, bool add, const char *text, struct conf_error *error)
{
	const struct ini_file *file = &edit->file;
	const struct ini_section *section = ini_file_find(file, id);
	unsigned line;
	char *lines;
	int rc;

	if (!section)
		return conf_fail(error, ENOENT,
		    "no section [%s] in %s to save it in; `vastfs add` makes one", id, edit->name);
	for (size_t i = 0; i < file->n_entries; i++) {
		if (!is_forward(file, i, section) || !is_same(file->entries[i].value, add, text))
			continue;
		line = file->entries[i].line;
		return add ? 0 : replace_lines(edit, line, line, "", error);
	}
	if (!add)
		return 0;
	lines = new_lines(file, section, text);
	if (!lines)
		return no_memory(error);
	line = last_line(file, section) + 1;
	rc = replace_lines(edit, line, line - 1, lines, error);
	free(lines);
	return rc;
}

int profile_edit_remove(struct profile_edit *edit, const char *id, struct conf_error *error)
{
	const struct ini_section *section = ini_file_find(&edit->file, id);
	unsigned first, last;

	if (!section || !strcmp(id, "defaults"))
		return conf_fail(error, ENOENT, "no section [%s] in %s; `vastfs list` shows them",
		    id, edit->name);
	first = section->line;
	last = last_line(&edit->file, section);
	/* The empty line that stood between it and the next one goes with it. */
	if (*line_at(edit->text, last + 1) == '\n')
		last++;
	return replace_lines(edit, first, last, "", error);
}

void profile_edit_replace(struct profile_edit *edit, char *text)
{
	free(edit->text);
	edit->text = text;
}

/* --- saving ------------------------------------------------------------------------- */

static int write_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	size_t len = strlen(text), done = 0;
	int err = fd < 0 ? errno : 0;

	while (!err && done < len) {
		ssize_t n = write(fd, text + done, len - done);

		if (n >= 0)
			done += (size_t)n;
		else if (errno != EINTR)
			err = errno;
	}
	if (!err && (fchmod(fd, 0600) || fsync(fd)))
		err = errno;
	if (fd >= 0 && close(fd) && !err)
		err = errno;
	return err;
}

int profile_edit_save(struct profile_edit *edit, struct conf_error *error)
{
	char *fresh;
	int rc, err;

	ini_file_fini(&edit->file);
	rc = parse(edit, error);
	if (rc)
		return rc;
	if (asprintf(&fresh, "%s.new.%d", edit->name, (int)getpid()) < 0)
		return no_memory(error);
	unlink(fresh); /* of a dead process with our number */
	err = write_file(fresh, edit->text);
	if (!err && rename(fresh, edit->name))
		err = errno;
	if (err)
		unlink(fresh);
	else if (fsync(edit->lock) && errno != EINVAL)
		err = errno;
	free(fresh);
	return err ? conf_fail(error, err, "%s: can't write it: %s", edit->name, strerror(err)) : 0;
}

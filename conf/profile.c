/* The precedence of what was said: command line, section, [defaults], the built-in defaults. */
#include "conf/apikey.h"
#include "conf/paths.h"
#include "conf/profile_impl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(struct conf_error *error)
{
	return conf_fail(error, ENOMEM, "out of memory");
}

/* --- a profile in the making --------------------------------------------- */

int draft_init(struct draft *draft, struct conf_error *error)
{
	struct profile *p = calloc(1, sizeof(*p));

	memset(draft, 0, sizeof(*draft));
	if (p) {
		p->user = strdup("root");
		p->api_url = strdup("https://console.vast.ai");
	}
	if (!p || !p->user || !p->api_url) {
		profile_free(p);
		return no_memory(error);
	}
	p->port = 22;
	p->host_key = HOST_KEY_ASK;
	p->connections = 4;
	p->timeout = 60;
	p->attr_timeout = 30;
	p->lag = 2;
	p->cache_size = UINT64_MAX;
	p->symlinks = SYMLINKS_INSIDE;
	p->idmap = IDMAP_USER;
	p->nosuid = p->nodev = true;
	draft->profile = p;
	return 0;
}

void draft_drop_keys(struct draft *draft)
{
	struct profile *p = draft->profile;

	for (size_t i = 0; p && i < p->n_keys; i++) {
		free(p->keys[i]);
		free(draft->key_from[i]);
	}
	if (p)
		p->n_keys = 0;
}

void draft_drop_forwards(struct draft *draft)
{
	struct profile *p = draft->profile;

	for (size_t i = 0; p && i < p->n_forwards; i++)
		forward_spec_fini(&p->forwards[i]);
	if (p)
		p->n_forwards = 0;
}

void draft_fini(struct draft *draft)
{
	draft_drop_keys(draft);
	free(draft->key_from);
	profile_free(draft->profile);
	memset(draft, 0, sizeof(*draft));
}

void profile_free(struct profile *profile)
{
	if (!profile)
		return;
	for (size_t i = 0; i < profile->n_keys; i++)
		free(profile->keys[i]);
	for (size_t i = 0; i < profile->n_forwards; i++)
		forward_spec_fini(&profile->forwards[i]);
	for (size_t i = 0; i < profile->n_ssh_options; i++)
		free(profile->ssh_options[i]);
	free(profile->ssh_options);
	free(profile->ssh_name);
	free(profile->proxy_jump);
	free(profile->keys);
	free(profile->forwards);
	free(profile->id);
	free(profile->host);
	free(profile->user);
	free(profile->path);
	free(profile->known_hosts);
	free(profile->cache_dir);
	free(profile->fsname);
	free(profile->api_url);
	free(profile->config);
	free(profile);
}

/* --- the -o options ------------------------------------------------------- */

/* What mount(8) and fstab(5) write for themselves and hand on. */
static bool is_for_mount(const char *option)
{
	static const char *const words[] = {"user", "users", "nouser", "owner", "group", "_netdev",
	    "nofail", "auto", "noauto", "defaults", "loud", "silent", "comment", "iversion",
	    "noiversion", "lazytime", "nolazytime", "mand", "nomand", "norelatime", "nostrictatime",
	    "symfollow"};
	static const char *const starts[] = {"x-", "X-", "comment=", "uhelper=", "helper="};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (strcmp(option, words[i]) == 0)
			return true;
	}
	for (size_t i = 0; i < sizeof(starts) / sizeof(*starts); i++) {
		if (strncmp(option, starts[i], strlen(starts[i])) == 0)
			return true;
	}
	return false;
}

/* Finds the key of "key=value" or "flag"; *value points behind the '=' or is NULL. *key may be
 * NULL: skip it. */
static int split_option(const struct profile_request *request, const char *option,
    const struct profile_key **key, const char **value, struct conf_error *error)
{
	const char *equals = strchr(option, '=');
	char *name;
	int rc = 0;

	*key = NULL;
	*value = equals ? equals + 1 : NULL;
	if (!*option || is_for_mount(option))
		return 0;
	name = strndup(option, equals ? (size_t)(equals - option) : strlen(option));
	if (!name)
		return no_memory(error);
	*key = profile_key_find(name);
	if (!*key && !request->sloppy)
		rc = profile_option_unknown(option, name, error);
	free(name);
	return rc;
}

/* The last value of an option before the profile is made, or NULL. Unknown options are refused
 * later. */
static const char *peek_option(const struct profile_request *request, const char *name)
{
	const char *found = NULL;
	size_t len = strlen(name);

	for (size_t i = 0; i < request->n_options; i++) {
		if (strncmp(request->options[i], name, len) == 0 && request->options[i][len] == '=')
			found = request->options[i] + len + 1;
	}
	return found;
}

static int apply_ours(struct draft *draft, const struct profile_request *request,
    const char *option, const char *as_written, bool *keys, struct conf_error *error)
{
	struct origin origin = {NULL, NULL};
	const struct profile_key *key;
	const char *value;
	char *where;
	int rc = split_option(request, option, &key, &value, error);

	if (rc || !key)
		return rc;
	/* The first key of the command line takes the place of the file's, the next ones add. */
	if (strcmp(key->name, "key") == 0 && !*keys) {
		draft_drop_keys(draft);
		*keys = true;
	}
	if (asprintf(&where, "-o %s", as_written) < 0)
		return no_memory(error);
	origin.where = where;
	rc = profile_key_set(draft, key, value, &origin, error);
	free(where);
	return rc;
}

static int apply_option(struct draft *draft, const struct profile_request *request,
    const char *option, bool *keys, struct conf_error *error)
{
	const struct profile_key *key;
	struct conf_error ignored;
	const char *value;
	char *ours = NULL;
	int rc = 0;

	if (split_option(request, option, &key, &value, &ignored) || !key)
		rc = profile_compat(option, &ours);
	if (rc < 0)
		return no_memory(error);
	if (!rc || ours)
		rc = apply_ours(draft, request, ours ? ours : option, option, keys, error);
	else
		rc = 0;
	free(ours);
	return rc;
}

static int apply_options(
    struct draft *draft, const struct profile_request *request, struct conf_error *error)
{
	const struct profile_key *forward = profile_key_find("forward");
	bool keys = false;
	int rc = 0;

	for (size_t i = 0; !rc && i < request->n_options; i++)
		rc = apply_option(draft, request, request->options[i], &keys, error);
	for (size_t i = 0; !rc && i < request->n_forwards; i++) {
		struct origin origin = {"-L", NULL};

		rc = profile_key_set(draft, forward, request->forwards[i], &origin, error);
	}
	return rc;
}

/* --- which section -------------------------------------------------------- */

static bool is_number(const char *name)
{
	return *name && name[strspn(name, "0123456789")] == '\0';
}

static int no_section(const struct ini_file *file, const char *name, struct conf_error *error)
{
	const char *config = file->name ? file->name : "the configuration";
	size_t len = strlen(name);

	for (size_t i = 0; i < file->n_sections; i++) {
		const char *other = file->sections[i].name;

		if (strcasecmp(other, name) == 0 ||
		    (len >= 3 && strncmp(other, name, len) == 0 && strcmp(other, "defaults") != 0))
			return conf_fail(error, EINVAL,
			    "no section [%s] in %s, and no -o host= (did you mean \"%s\", line "
			    "%u?)",
			    name, config, other, file->sections[i].line);
	}
	return conf_fail(error, EINVAL,
	    "no section [%s] in %s%s, and no -o host=; write: vastfs add %s 'ssh -p PORT "
	    "root@ADDRESS', or mount root@ADDRESS -o port=PORT%s",
	    name, config, file->n_sections ? "" : " (it is missing or empty)", name,
	    is_number(name) ? ", or put the provider's API key into ~/.vast_api_key" : "");
}

/*
 * The section that the spec means, or NULL when it names a host itself. A name may be a host
 * without a section when it looks like one (user@host, host:/path, [::1], a URL) or -o host= says
 * where to go; a bare number is always an ID, since the resolver would take it for an IPv4 address.
 * Of a number that has no section the provider knows where it is, if there is an API key.
 */
static int find_section(const struct ini_file *file, const struct profile_request *request,
    const struct spec *spec, const struct ini_section **out, struct conf_error *error)
{
	bool number = is_number(spec->name);
	bool like_host = spec->user || spec->url || spec->bracketed || (spec->colon && !number);

	*out = NULL;
	if (spec->url || spec->bracketed)
		return 0;
	if (!spec->user && strcmp(spec->name, "defaults") == 0)
		return conf_fail(error, EINVAL,
		    "[defaults] is no instance; name the section of one, or write user@host");
	if (strcmp(spec->name, "defaults") != 0)
		*out = ini_file_find(file, spec->name);
	if (*out || like_host || peek_option(request, "host"))
		return 0;
	if (number && apikey_present())
		return 0;
	return no_section(file, spec->name, error);
}

/* --- the checks and defaults that need the whole ------------------------------ */

static char *host_id(const struct profile *p)
{
	bool v6 = strchr(p->host, ':') != NULL;
	char *id;

	return asprintf(
		   &id, "%s@%s%s%s:%u", p->user, v6 ? "[" : "", p->host, v6 ? "]" : "", p->port) < 0
		   ? NULL
		   : id;
}

static int set_defaults(
    struct profile *p, const struct profile_request *request, struct conf_error *error)
{
	if (!p->known_hosts) {
		p->known_hosts = paths_expand("~/.ssh/known_hosts");
		if (!p->known_hosts)
			return conf_fail(error, ENOENT,
			    "no home folder for ~/.ssh/known_hosts; set HOME, or write -o "
			    "known_hosts=FILE");
	}
	if (!p->fsname) {
		p->fsname = strdup(request->spec);
		if (!p->fsname)
			return no_memory(error);
	}
	/* Two names of one file can be kept in step by the instance alone. */
	if (p->symlinks == SYMLINKS_FOLLOW) {
		p->lag = 0;
		p->watch = WATCH_NO;
	}
	return 0;
}

/* --- the whole ---------------------------------------------------------------- */

/* What the spec says beside the name: it is on the command line and more to the point than -o. */
static int apply_spec(struct draft *draft, const struct spec *spec, const char *text, bool is_host,
    struct conf_error *error)
{
	struct profile *p = draft->profile;
	struct origin origin = {text, NULL};
	int rc = 0;

	if (is_host)
		rc = profile_key_set(draft, profile_key_find("host"), spec->name, &origin, error);
	if (!rc && spec->user)
		rc = profile_key_set(draft, profile_key_find("user"), spec->user, &origin, error);
	if (!rc && spec->path)
		rc = profile_key_set(draft, profile_key_find("path"), spec->path, &origin, error);
	if (!rc && spec->port) {
		p->port = spec->port;
		p->port_given = true;
	}
	return rc;
}

/* The id, and where it is: said, or to be asked of the provider. */
static int set_place(struct draft *draft, const struct ini_file *file,
    const struct ini_section *section, const char *name, struct conf_error *error)
{
	struct profile *p = draft->profile;

	p->host_known = p->host != NULL;
	if (!p->host && (!is_number(name) || p->resolve == RESOLVE_OFF))
		return conf_fail(error, EINVAL,
		    "%s:%u: section [%s] has no host; add host = ADDRESS to it", file->name,
		    section ? section->line : 0, name);
	if (!p->host)
		p->host = strdup(name);
	p->id = !p->host	? NULL
		: section	? strdup(section->name)
		: p->host_known ? host_id(p)
				: strdup(name);
	return p->id ? 0 : no_memory(error);
}

static int fill(struct draft *draft, const struct ini_file *file,
    const struct profile_request *request, const struct spec *spec, struct conf_error *error)
{
	const struct ini_section *defaults = ini_file_find(file, "defaults"), *section;
	struct profile *p = draft->profile;
	bool is_host;
	int rc = find_section(file, request, spec, &section, error);

	if (!rc && defaults)
		rc = ini_file_apply(file, defaults, draft, error);
	if (!rc && section)
		rc = ini_file_apply(file, section, draft, error);
	p->host_in_file = section && p->host && !peek_option(request, "host") &&
			  !peek_option(request, "port") && !spec->port;
	if (!rc)
		rc = apply_options(draft, request, error);
	is_host = !section && !peek_option(request, "host") &&
		  (!is_number(spec->name) || spec->user || spec->url || spec->bracketed);
	if (!rc)
		rc = apply_spec(draft, spec, request->spec, is_host, error);
	if (!rc)
		rc = set_place(draft, file, section, spec->name, error);
	if (!rc)
		rc = set_defaults(p, request, error);
	if (rc)
		return rc;
	if (p->n_keys > 0)
		return draft_check_keys(draft, request->unattended, error);
	return draft_add_default_keys(draft, error);
}

/* Makes the profile from the file, which may be an empty one. */
static int build(const struct profile_request *request, const struct ini_file *file,
    struct profile **out, struct conf_error *error)
{
	struct draft draft;
	struct spec spec;
	int rc;

	rc = spec_parse(request->spec, &spec, error);
	if (rc)
		return rc;
	rc = draft_init(&draft, error);
	if (!rc)
		rc = fill(&draft, file, request, &spec, error);
	if (!rc) {
		for (size_t i = 0; i < draft.profile->n_keys; i++)
			free(draft.key_from[i]);
		free(draft.key_from);
		*out = draft.profile;
	} else {
		draft_fini(&draft);
	}
	spec_fini(&spec);
	return rc;
}

/* The file to read; *named: the user named it, so it has to be there. */
static int config_name(
    const struct profile_request *request, char **name, bool *named, struct conf_error *error)
{
	const char *option = peek_option(request, "config"), *env = getenv("VASTFS_CONFIG");

	*named = true;
	if (option && !*option)
		return conf_fail(
		    error, EINVAL, "-o config=: config has no value; write config=FILE");
	if (option)
		*name = profile_absolute(option, NULL);
	else if (env && *env)
		*name = profile_absolute(env, NULL);
	else
		*name = paths_config_file();
	*named = option || (env && *env);
	if (!*name)
		return conf_fail(error, ENOENT,
		    "no home folder to look for the configuration in; set HOME, or write -o "
		    "config=FILE");
	return 0;
}

static int check_request(const struct profile_request *request, struct conf_error *error)
{
	if (request->no_memory)
		return no_memory(error);
	if (!request->spec)
		return conf_fail(error, EINVAL, "no instance is named; write its ID or user@host");
	return 0;
}

int profile_load(
    const struct profile_request *request, struct profile **out, struct conf_error *error)
{
	struct ini_file file;
	char *name = NULL;
	bool named;
	int rc = check_request(request, error);

	*out = NULL;
	if (!rc)
		rc = config_name(request, &name, &named, error);
	if (rc)
		return rc;
	rc = ini_file_read(&file, name, error);
	if (rc == -ENOENT && !named && !file.name) {
		/* As if it were empty; its name serves the messages. */
		ini_file_fini(&file);
		rc = ini_file_parse(&file, name, "", 0, error);
		free(name);
		name = NULL;
	}
	if (!rc)
		rc = build(request, &file, out, error);
	if (!rc) {
		(*out)->config = name;
		name = NULL;
	}
	ini_file_fini(&file);
	free(name);
	return rc;
}

int profile_load_text(const struct profile_request *request, const char *name, const char *text,
    size_t len, struct profile **out, struct conf_error *error)
{
	struct ini_file file;
	int rc = check_request(request, error);

	*out = NULL;
	if (rc)
		return rc;
	rc = ini_file_parse(&file, name, text, len, error);
	if (!rc)
		rc = build(request, &file, out, error);
	ini_file_fini(&file);
	return rc;
}

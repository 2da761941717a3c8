/*
 * Between the files of conf/ that make a profile; nobody else includes it (but the tests).
 *
 *	profile_keys.c   the table of keys; one value, said somewhere, into a profile
 *	profile_file.c   the ini file into sections and entries, with their lines
 *	profile_spec.c   "user@host:/path" into its parts
 *	profile_auth.c   which key files can be used
 *	profile_address.c  the address again, when the file has changed
 *	profile.c        the precedence of all these
 *
 * Leaf; any thread (no globals). Errors as in profile.h: a negative errno with one line.
 */
#ifndef VASTFS_CONF_PROFILE_IMPL_H
#define VASTFS_CONF_PROFILE_IMPL_H

#include "conf/profile.h"

/* A profile in the making, with the place where each of its key files was named. */
struct draft {
	struct profile *profile; /* owned until it is handed out */
	char **key_from;	 /* owned; as many as profile->n_keys; "config.ini:7" */
};

int draft_init(struct draft *draft, struct conf_error *error); /* with the built-in defaults */
void draft_fini(struct draft *draft);
void draft_drop_keys(struct draft *draft);
void draft_drop_forwards(struct draft *draft);

/* Refuses key files that the user named and that can't be used. Those that need a passphrase are
 * left to ssh-agent where there is one. */
int draft_check_keys(struct draft *draft, bool unattended, struct conf_error *error);

/* Takes those of the default keys that can be used, and logs why not of the others that are there.
 */
int draft_add_default_keys(struct draft *draft, struct conf_error *error);

/* Where a value was said. Borrowed. */
struct origin {
	const char *where; /* begins the error's line: "config.ini:7" or "-o port=x" */
	const char *dir;   /* what a relative path starts from; NULL: the current folder */
};

/* The key of that name, or NULL. */
const struct profile_key *profile_key_find(const char *name);

/* The key that the user may have meant: sshfs's or ssh_config's word for it, or a slip; or NULL. */
const char *profile_key_suggest(const char *name);

/* Says what to do in place of an option that there is not. name: it without its value. */
int profile_option_unknown(const char *option, const char *name, struct conf_error *error);

/*
 * An -o option in the words of sshfs or ssh. 1: it is one, *out is the same in ours ("key=F", owned
 * by the caller) or NULL when there is nothing to do; 0: it is none; -ENOMEM.
 */
int profile_compat(const char *option, char **out);

/* Checks value and puts it into the draft. For a KEY_FLAG value is NULL. */
int profile_key_set(struct draft *draft, const struct profile_key *key, const char *value,
    const struct origin *origin, struct conf_error *error);

/* path made absolute, with ~ expanded; owned by the caller; NULL: no memory or no home folder. */
char *profile_absolute(const char *path, const char *dir);

struct ini_section {
	char *name;
	unsigned line;
};

struct ini_entry {
	const struct profile_key *key;
	char *value;
	size_t section; /* index */
	unsigned line;
};

struct ini_file {
	char *name; /* its path, or what to call it; NULL when there is no file */
	char *dir;  /* the folder it is in, or NULL */
	struct ini_section *sections;
	size_t n_sections;
	struct ini_entry *entries;
	size_t n_entries;
};

/*
 * Reads the file of that name, or the text. Each value is checked, whichever section it is in.
 * -ENOENT when the file is missing. The caller frees with ini_file_fini in both cases; *file is
 * filled from scratch.
 */
int ini_file_read(struct ini_file *file, const char *name, struct conf_error *error);
int ini_file_parse(struct ini_file *file, const char *name, const char *text, size_t len,
    struct conf_error *error);
void ini_file_fini(struct ini_file *file);

/* The section of that name, or NULL. */
const struct ini_section *ini_file_find(const struct ini_file *file, const char *name);

/* Puts the values of one section into the draft; its keys and forwards replace those before it. */
int ini_file_apply(const struct ini_file *file, const struct ini_section *section,
    struct draft *draft, struct conf_error *error);

/* The parts of what stands before the mountpoint; all owned, NULL when not said. */
struct spec {
	char *user;
	char *name; /* an ID, an alias or a host, without brackets */
	char *path;
	unsigned port;	/* 0: not said */
	bool bracketed; /* "[::1]" */
	bool colon;	/* something like ":/path" or ":" followed */
	bool url;	/* ssh://… */
};

/*
 *	ID  ID:/path  [user@]host[:path]  [user@][v6][:path]  ssh://[user@]host[:port][/path]
 */
int spec_parse(const char *text, struct spec *out, struct conf_error *error);
void spec_fini(struct spec *spec);

/* profile_load with the ini file in memory: for the tests and the fuzzer. */
int profile_load_text(const struct profile_request *request, const char *name, const char *text,
    size_t len, struct profile **out, struct conf_error *error);

#endif

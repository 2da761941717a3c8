/*
 * Changing the ini file for the user: sections come and go, comments and the order of everything
 * else stay.
 *
 *	profile_edit_open    locks the file's folder, reads and checks it (a missing one is empty)
 *	profile_edit_…       change the text in memory
 *	profile_edit_save    checks the new text as a mount would, writes it beside the old one
 *	                     (mode 0600), and renames it into place
 *
 * The lock is held until profile_edit_free, so that two commands at once do not undo each other.
 * Leaf; any thread. Errors: a negative errno with one line.
 */
#ifndef VASTFS_CONF_PROFILE_EDIT_H
#define VASTFS_CONF_PROFILE_EDIT_H

#include "conf/profile_impl.h"

struct profile_edit;

enum profile_edit_for {
	PROFILE_EDIT_LOOK,   /* no lock, no save */
	PROFILE_EDIT_CHANGE, /* by a command */
	PROFILE_EDIT_MEND,   /* by the user: a file that can't be understood is no obstacle */
};

/* config: the file, or NULL for $VASTFS_CONFIG and the usual place. -EBUSY after a few seconds
 * while another command has the lock. */
int profile_edit_open(struct profile_edit **out, const char *config, enum profile_edit_for purpose,
    struct conf_error *error);
void profile_edit_free(struct profile_edit *edit);

/* The file as it was read, its name, and its text as it is now; borrowed. */
const struct ini_file *profile_edit_file(const struct profile_edit *edit);
const char *profile_edit_name(const struct profile_edit *edit);
const char *profile_edit_text(const struct profile_edit *edit);

/* The id can be a section's name and is no host or URL. 0 or -EINVAL. */
int profile_edit_check_id(const char *id, struct conf_error *error);

/* Appends a section with these lines ("host = …\n"), or, when it is there, puts them in the place
 * of its lines for the same keys; other keys and comments stay. */
int profile_edit_put(
    struct profile_edit *edit, const char *id, const char *lines, struct conf_error *error);
/* Takes a section with its keys away; the comments above its header stay. -ENOENT. */
int profile_edit_remove(struct profile_edit *edit, const char *id, struct conf_error *error);
/* Adds a forward, as it is written after ssh's -L, behind the section's others (those of [defaults]
 * go into it first, as a section's own replace them), or takes it away (its port or its text). One
 * that is there already, or is not, is no error. -ENOENT without the section. */
int profile_edit_forward(struct profile_edit *edit, const char *id, bool add, const char *text,
    struct conf_error *error);
/* Takes the text (owned) in the place of all. */
void profile_edit_replace(struct profile_edit *edit, char *text);

int profile_edit_save(struct profile_edit *edit, struct conf_error *error);

#endif

/*
 * Where things lie: the XDG folders with their fallbacks.
 *
 * Leaf; any thread. Returned strings are owned by the caller; NULL only when memory is out or no
 * home folder can be found (HOME unset and the user unknown to getpwuid).
 */
#ifndef VASTFS_CONF_PATHS_H
#define VASTFS_CONF_PATHS_H

#include "conf/error.h"

/* The user's home folder: $HOME, else the password database (systemd mount units have no HOME). */
char *paths_home(void);

/* "~/x" and "~" with the home folder put in; anything else is copied. */
char *paths_expand(const char *path);

/* $XDG_CONFIG_HOME/vastfs/config.ini, else ~/.config/vastfs/config.ini. */
char *paths_config_file(void);

/* $XDG_CACHE_HOME/vastfs, else ~/.cache/vastfs. */
char *paths_cache_dir(void);

/* A name of an instance as the name of a folder: what is not a letter, a digit or one of "@._-",
 * and a leading dot, becomes %XX; a very long one becomes its begin and a number. */
char *paths_safe_name(const char *id);

/*
 * The folder of the control sockets: $XDG_RUNTIME_DIR/vastfs, else /run/user/<uid>/vastfs where
 * that folder exists, else /run/vastfs for root, else /tmp/vastfs-<uid>. Created 0700 when missing;
 * refused (with the reason) when it belongs to someone else, is a symlink or is open to others.
 */
int paths_runtime_dir(char **out, struct conf_error *error);

#endif

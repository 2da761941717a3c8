/*
 * The provider's API key, from where its own command line keeps it: $VAST_API_KEY,
 * $XDG_CONFIG_HOME/vastai/vast_api_key (~/.config), ~/.vast_api_key; the first that holds one.
 *
 * Leaf; any thread. The key must never be logged, shown or handed to a program.
 */
#ifndef VASTFS_CONF_APIKEY_H
#define VASTFS_CONF_APIKEY_H

#include <stdbool.h>

/* The key, owned by the caller (apikey_free), or NULL when there is none. What can't stand in an
 * HTTP header (control characters, spaces) is no key. */
char *apikey_find(void);
/* Wipes it. NULL is allowed. */
void apikey_free(char *key);
bool apikey_present(void);

#endif

/*
 * A word for the shell on the instance: the only way in which a string of the user's gets near one.
 * Leaf; any thread.
 */
#ifndef VASTFS_CONF_SHQUOTE_H
#define VASTFS_CONF_SHQUOTE_H

#include <stdio.h>

/* Writes the text so that a POSIX shell reads it as one word, whatever it holds: 'it'\''s'. */
void shquote(FILE *to, const char *text);

#endif

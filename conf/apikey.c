#include "conf/apikey.h"
#include "conf/paths.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 1024

/* A copy of the text without white space at its ends; NULL when it is no key. */
static char *clean(const char *text)
{
	size_t len;

	text += strspn(text, " \t\r\n");
	len = strlen(text);
	while (len > 0 && strchr(" \t\r\n", text[len - 1]))
		len--;
	if (len == 0 || len > KEY_MAX)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		if (text[i] <= ' ' || text[i] >= 0x7f)
			return NULL;
	}
	return strndup(text, len);
}

/* Takes path. */
static char *from_file(char *path)
{
	char text[KEY_MAX + 64];
	FILE *file = path ? fopen(path, "re") : NULL;
	char *key = NULL;
	size_t n;

	if (file) {
		n = fread(text, 1, sizeof(text) - 1, file);
		text[n] = '\0';
		key = clean(text);
		explicit_bzero(text, sizeof(text));
		fclose(file);
	}
	free(path);
	return key;
}

char *apikey_find(void)
{
	const char *env = getenv("VAST_API_KEY"), *xdg = getenv("XDG_CONFIG_HOME");
	char *key = env ? clean(env) : NULL, *path;

	if (!key && xdg && xdg[0] == '/')
		key = from_file(asprintf(&path, "%s/vastai/vast_api_key", xdg) < 0 ? NULL : path);
	if (!key)
		key = from_file(paths_expand("~/.config/vastai/vast_api_key"));
	if (!key)
		key = from_file(paths_expand("~/.vast_api_key"));
	return key;
}

void apikey_free(char *key)
{
	if (key)
		explicit_bzero(key, strlen(key));
	free(key);
}

bool apikey_present(void)
{
	char *key = apikey_find();
	bool found = key != NULL;

	apikey_free(key);
	return found;
}

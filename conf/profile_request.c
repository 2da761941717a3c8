/* What the command line said, before any file is read. */
#include "conf/profile.h"
#include <stdlib.h>
#include <string.h>

static void add_string(struct profile_request *request, char ***list, size_t *n, char *string)
{
	char **grown = string ? realloc(*list, (*n + 1) * sizeof(*grown)) : NULL;

	if (!grown) {
		free(string);
		request->no_memory = true;
		return;
	}
	*list = grown;
	grown[(*n)++] = string;
}

void profile_request_add_option(struct profile_request *request, const char *option, size_t len)
{
	add_string(request, &request->options, &request->n_options, strndup(option, len));
}

void profile_request_add_forward(struct profile_request *request, const char *forward)
{
	add_string(request, &request->forwards, &request->n_forwards, strdup(forward));
}

void profile_request_fini(struct profile_request *request)
{
	for (size_t i = 0; i < request->n_options; i++)
		free(request->options[i]);
	for (size_t i = 0; i < request->n_forwards; i++)
		free(request->forwards[i]);
	free(request->options);
	free(request->forwards);
	free(request->spec);
	memset(request, 0, sizeof(*request));
}

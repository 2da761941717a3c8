#include "fs/failures.h"
#include "conf/log.h"
#include "fs/owed.h"
#include <stdlib.h>
#include <string.h>

#define KEPT_MOST 1000
/* One cause fails many: the log needs only the first. */
#define LOGGED_MOST 20

void failures_add(struct fs *fs, const char *what, const char *path, int err)
{
	struct failure *failure = malloc(sizeof(*failure) + strlen(path) + 1);
	char text[1024];

	fs->failed++;
	fs->failures_untold++;
	if (!fs->failure)
		fs->failure = err;
	if (fs->failures_untold <= LOGGED_MOST)
		log_error("%s of %s failed after it was answered: %s", what,
		    log_printable(text, sizeof(text), path, strlen(path)), strerror(-err));
	else if (fs->failures_untold == LOGGED_MOST + 1)
		log_error("more changes failed; `vastfs status --json` names them");
	if (!failure)
		return;
	failure->when = time(NULL);
	failure->err = err;
	failure->what = what;
	strcpy(failure->path, path);
	TAILQ_INSERT_HEAD(&fs->failures, failure, link);
	if (++fs->n_failures > KEPT_MOST) {
		failure = TAILQ_LAST(&fs->failures, failure_list);
		TAILQ_REMOVE(&fs->failures, failure, link);
		free(failure);
		fs->n_failures--;
	}
}

int failures_tell(struct fs *fs)
{
	int err = fs->failure;

	fs->failure = 0;
	fs->failures_untold = 0;
	if (err)
		owed_told(fs);
	return err;
}

void failures_free(struct fs *fs)
{
	struct failure *failure;

	while ((failure = TAILQ_FIRST(&fs->failures))) {
		TAILQ_REMOVE(&fs->failures, failure, link);
		free(failure);
	}
	fs->n_failures = 0;
	owed_told(fs);
}

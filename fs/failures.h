/*
 * Changes that were answered and then could not be done (contract W5): named by `vastfs status`
 * until the mount ends, and reported by the next sync. Core only.
 */
#ifndef VASTFS_FS_FAILURES_H
#define VASTFS_FS_FAILURES_H

#include "fs/fs.h"

struct failure {
	TAILQ_ENTRY(failure) link;
	time_t when;
	int err;	  /* negative errno */
	const char *what; /* "mkdir"; static */
	char path[];
};

/* path: on the instance. Says so in the log too. */
void failures_add(struct fs *fs, const char *what, const char *path, int err);
/* The first error that nobody was told of yet, or 0; now somebody is. */
int failures_tell(struct fs *fs);
void failures_free(struct fs *fs);

#endif

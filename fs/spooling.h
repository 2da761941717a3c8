/*
 * The mount's spool: opened before the mount, kept alive, shown in the status, closed at the end.
 *
 * Core only.
 */
#ifndef VASTFS_FS_SPOOLING_H
#define VASTFS_FS_SPOOLING_H

#include "cache/spool.h"
#include "fs/fs.h"
#include <jansson.h>

/* fs->spool, from the profile; NULL with spool_size=0. -ENOMEM. */
int spooling_start(struct fs *fs);
/* The contents have gone. */
void spooling_stop(struct fs *fs);
/* Sends what earlier mounts left, then done. On a terminal with progress. */
int spooling_replay(struct fs *fs, void (*done)(void *arg), void *arg);
/* Sends what failed once more, then done (later). -EBUSY: that is under way already. */
int spooling_retry(struct fs *fs, void (*done)(void *arg), void *arg);
/* What failed of a path (on the instance, or below the mountpoint) is given up; how many files. */
unsigned spooling_discard(struct fs *fs, const char *path);
/* Files whose changes could not be made. */
unsigned spooling_failed(const struct fs *fs);
/* A file that was changed here and there: what is ours lies at place. */
void spooling_note_conflict(struct fs *fs, const char *path, const char *place);
/* The handles on the loop; before the loop ends. */
void spooling_quiet(struct fs *fs);
/* For the status: what waits, what failed, the conflicts. */
json_t *spooling_json(const struct fs *fs);
/* The names of files that are not there, or not all of them: {files: [path…], more: how many}. */
json_t *spooling_waiting(const struct fs *fs);
/* Of what is not on the instance: for the log, when the mount goes away. */
void spooling_tell(struct fs *fs);

#endif

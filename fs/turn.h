/*
 * A change that waits for the instance's answer takes its turn: behind what is still in the outbox
 * and touches the same names, or, when its own name looks like a lock, behind everything (but not
 * when it makes the lock of one file). Core only.
 */
#ifndef VASTFS_FS_TURN_H
#define VASTFS_FS_TURN_H

#include "fs/behind.h"
#include <limits.h>

struct turn {
	struct request *request;
	enum outbox_kind kind; /* OUTBOX_ALONE, _BENEATH, or _READ for what only asks */
	/* A name in a folder, or the inode itself (name NULL); the second may be missing. */
	struct inode *inode, *to_inode;
	const char *name, *to_name;
	/* What the name leads to by a change that the instance does not have yet, pinned by the
	 * caller; or NULL. If that fails the turn does too: something else may stand there. */
	struct inode *unsettled;
	bool waited; /* as a lock does */
	/* It makes a new file. When that is the lock of another one it may go out behind what is on
	 * its way (outbox_may_follow): a round trip less. joined: so it has to, on the outbox's
	 * channel. */
	bool joins, joined;
	/* err: of the paths (-ESTALE: no name leads there any more), or -EINTR when the request was
	 * answered meanwhile (a signal, the timeout): then nothing is to be done. */
	void (*go)(struct request *request, int err);
	char path[PATH_MAX], to_path[PATH_MAX]; /* as they are when it is its turn */
	/* While the instance is asked for the change: what reports about do not count (names_fly).
	 */
	bool flies;
	struct inode *flying, *to_flying;
};

/* Calls go, now or later. */
void turn_take(struct turn *turn);
/* The instance is no longer asked for the change. For request.c, when the request has ended and
 * what came of it is known, and for who goes on with something else. */
void turn_land(struct turn *turn);

#endif

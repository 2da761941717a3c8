/*
 * What was written here is not trusted when it is opened again soon (R2: another program could have
 * changed it within the same second), and is read from the instance. As a rule all of it is wanted
 * then, in whatever order, as git reads the pack that it has just received. So each read of such a
 * file brings more of it from its beginning on, twice as much as the one before: a few reads in
 * mid-file cost little, and those behind them find it here. Core only.
 */
#ifndef VASTFS_FS_REGAIN_H
#define VASTFS_FS_REGAIN_H

#include "fs/openfile.h"

/* A program reads through the handle: after what it asked for itself. */
void regain_more(struct handle *handle);

#endif

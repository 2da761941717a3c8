/*
 * What was written to a file, is not sent, and is wanted no more: its last name is removed here (or
 * given to another file), and no program has it open. It could not be sent either, once the
 * instance has let go of the name and a lost link of the handle.
 *
 *	the removal goes out:  nameless_hold    nothing of it is sent until the answer
 *	it is done:            nameless_ended   what is left is dropped
 *	it failed:             nameless_ended   it goes on
 *	closed after that:     nameless_closed  what is left is dropped
 *
 * Core only.
 */
#ifndef VASTFS_FS_NAMELESS_H
#define VASTFS_FS_NAMELESS_H

#include "fs/openfile.h"

/* gone: the name is gone here already. Is something held? Then nameless_ended has to follow; the
 * inode stays pinned until it has returned. */
bool nameless_hold(struct inode *inode, bool gone);
/* The answer, after names followed it. held: what nameless_hold said. */
void nameless_ended(struct inode *inode, bool held, int err);
/* A program has closed the handle, which is still held by the caller. */
void nameless_closed(struct handle *handle);

#endif

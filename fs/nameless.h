/*
 * A file whose last name is removed here, or given to another file.
 *
 * What was written to it and is not sent is wanted no more, when no program has it open. It could
 * not be sent either, once the instance has let go of the name and a lost link of the handle.
 *
 *	the removal goes out:  nameless_hold    nothing of it is sent until the answer
 *	it is done:            nameless_ended   what is left is dropped
 *	it failed:             nameless_ended   it goes on
 *	closed after that:     nameless_closed  what is left is dropped
 *
 * Who has it open, and opened it without asking, needs a file on the instance from now on: without
 * the name it is not to be found any more.
 *
 *	before the removal:    nameless_ask     opens it, then go
 *	in front of one sent:  nameless_open    the same on its channel, where it needs no answer
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
/* go is called when all that have it open have a file on the instance, or can't have one; false: it
 * will not be, as that is so, or as the name is not the last. */
bool nameless_ask(struct inode *inode, void (*go)(void *arg), void *arg);
/* path: its name there. What is sent through the channel next takes that away. */
void nameless_open(struct inode *inode, struct pool_channel *channel, const char *path);
/* A program has closed the handle, which is still held by the caller. */
void nameless_closed(struct handle *handle);

#endif

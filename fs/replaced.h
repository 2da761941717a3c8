/*
 * A file that is open here while the instance gets another one of its name (an editor's save,
 * `mv`): who has it open must go on with the old bytes, and who opens the name gets the new ones.
 *
 * When a file's version is seen to change, its open handles are in doubt. An FSTAT through each
 * decides: the version that it had before means that it is on the old file, anything else that the
 * file was changed in place. In the first case the inode loses its name, as if the file had been
 * removed here while open, and the new file gets an inode of its own with the next look-up. What is
 * read through a handle in doubt waits for the answer, as the new size may not be that of its file;
 * so does who asks for the name or the attributes.
 *
 * Who opened it without asking, a moment ago, has nothing on the instance that shows its file: an
 * FSTAT would open what has the name now. All of the old version is here then, and he keeps that,
 * unless the file may just have grown.
 *
 * After a lost link there may be no handle to ask: whoever has the file open read-only keeps what
 * is here of the old version, and gets ESTALE for the rest. A log that has grown is the exception,
 * if it was open on the instance before; who opened it without a link is told that it is outdated.
 *
 * Core only.
 */
#ifndef VASTFS_FS_REPLACED_H
#define VASTFS_FS_REPLACED_H

#include "fs/openfile.h"

/* The instance reports another version. Is it to be taken for another file, as no open handle can
 * tell, for want of a link or because it was not asked for? */
bool replaced_meanwhile(struct inode *inode, const struct attr_report *report);
/* Is it open only by handles that were opened without asking, and all of it here? */
bool replaced_keeps(const struct inode *inode);
/* The version is about to be told to the handle, and is another one. */
void replaced_doubt(struct handle *handle);
/* A read of the content cache through a handle in doubt; as content_source.read. */
void replaced_read(struct handle *handle, uint64_t offset, uint32_t len, bool bulk,
    handle_read_done *done, void *arg);

/* Asks which file the handle is on; done comes when it is known, or can't be (err). */
void replaced_ask(struct handle *handle, void (*done)(void *arg, int err), void *arg);

/* An open handle of it is in doubt, and was asked: neither its attributes nor its name may be told.
 */
bool replaced_asking(const struct inode *inode);
/* go is called when that is settled; false: it will not be, as it is not so. */
bool replaced_wait(struct inode *inode, void (*go)(void *arg), void *arg);

#endif

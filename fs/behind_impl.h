/* What behind*.c share: behind.c the sink and its waits, behind_names.c changes of names,
 * behind_file.c new files, data and attributes, behind_truncate.c sizes and
 * files that are there. */
#ifndef VASTFS_FS_BEHIND_IMPL_H
#define VASTFS_FS_BEHIND_IMPL_H

#include "fs/behind.h"
#include "fs/burst.h"
#include "fs/failures.h"

struct behind {
	struct outbox_item item;
	struct fs *fs;
	/* Pinned, and pending under these names; NULL: none. */
	struct inode *folder, *to_folder, *inode;
	/* What loses its name by it: pinned, or NULL; and whether its data is held (nameless.h). */
	struct inode *there;
	bool held;
	struct handle *handle; /* counted: of OUTBOX_CREATE and OUTBOX_FILE */
	char *target;	       /* of a symlink; owned */

	/* What is to be made, or set (OUTBOX_FILE, OUTBOX_SETATTR). */
	struct sftp_attr attr;
	bool exclusive;		     /* a create: nothing may stand there */
	bool give;		     /* uid and gid of attr are to be the new one's */
	bool keeps;		     /* a rename: what stands there */
	bool pipelined;		     /* a file: the attributes went out with the data */
	bool existed;		     /* a create, a mkdir: something stood there, and was taken */
	bool opens;		     /* nothing but a file that is there: nothing is pending */
	bool empties;		     /* a create: of a file that is there, to be written anew */
	TAILQ_ENTRY(behind) put_off; /* while is_put_off: fs->put_off */
	bool is_put_off;
	uint64_t refused_ms; /* when the instance first refused it, perhaps for want of handles */

	/* What came back. */
	unsigned replies;
	int err, attr_err, set_err;
	struct sftp_attr seen;
	uint64_t tick, sent_ms; /* of sending */
	bool current;		/* the inode was not changed here since */

#define BEHIND_SEQUENCES 8u
	unsigned n_sequences; /* its records in the spool */
	uint64_t sequences[BEHIND_SEQUENCES];

	const char *name, *to_name;
	char names[];
};

/* --- behind.c --- */
/* Pins folder, to_folder and inode (each may be NULL). NULL: memory is out. */
struct behind *behind_new(struct fs *fs, struct inode *folder, const char *name,
    struct inode *to_folder, const char *to_name, struct inode *inode);
/* Lets go of all; not of what is pending. */
void behind_free(struct behind *behind);
/* Into the outbox, with its names and inode pending. On an error it was freed. */
int behind_add(struct behind *behind, enum outbox_kind kind, const char *path, const char *to);
void behind_answered(struct behind *behind, int err);
/* remote_done: mode and owner of what was made are as they should be, or that failed; it is made.
 */
void behind_mended(void *arg, int err);

/* --- behind_spool.c --- */
/* Into the spool, before anything is changed here. there: what stands under the name that is
 * removed, or replaced; or NULL. */
void behind_spool_take(struct behind *behind, enum outbox_kind kind, const char *path,
    const char *to, const struct inode *there);
/* A truncation, with what the instance has of the file before. */
void behind_spool_truncate(
    struct behind *behind, const char *path, uint64_t size, const struct openfile *open);
/* Attributes that joined a change of a file, in one record with those before them. */
int behind_spool_attr(struct behind *behind);
void behind_spool_sent(const struct behind *behind);
/* It is done, or can't be: then it stays. */
void behind_spool_ended(struct behind *behind, int err);
/* It was not taken over. */
void behind_spool_drop(struct behind *behind);

/* --- behind_names.c, behind_file.c, behind_truncate.c --- */
void behind_send_names(struct behind *behind);
void behind_send_create(struct behind *behind, bool exclusive);
void behind_send_open(struct behind *behind);
void behind_ended_open(struct behind *behind, int err);
/* The file that it has open can't be used. The error is kept for who has it open, and named as a
 * failure: what the writer says of the same data is no news. */
void behind_fail_file(struct behind *behind, int err);
void behind_send_file(struct behind *behind);
void behind_send_truncate(struct behind *behind);
void behind_ended_names(struct behind *behind, int err);
void behind_ended_create(struct behind *behind, int err);
void behind_ended_file(struct behind *behind, int err);
void behind_ended_truncate(struct behind *behind, int err);

/* --- behind_scarce.c --- */
/* A create or open failed; true: it is tried again when handles may have come free. */
bool behind_put_off(struct behind *behind, int err);
void behind_forget_put_off(struct behind *behind);
/* A change has ended, and handles with it. */
void behind_one_less(struct fs *fs);
/* behind.c: a create that was put off. */
void behind_send_again(struct behind *behind);

#endif

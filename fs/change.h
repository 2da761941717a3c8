/*
 * A change of names that a program asks for: what name_ops.c and rename_ops.c share. It waits for
 * the instance's answer, unless it is part of a burst (W3). Core only.
 */
#ifndef VASTFS_FS_CHANGE_H
#define VASTFS_FS_CHANGE_H

#include "fs/burst.h"
#include "fs/turn.h"

/* One change of names. */
struct change {
	struct request request;
	struct inode *folder, *to_folder, *inode; /* pinned */
	/* What loses its name: pinned, or NULL; and whether its data is held (fs/nameless.h). */
	struct inode *there;
	bool held;
	uint64_t moves;	       /* its record in the spool: a folder is renamed; 0: none */
	struct sftp_attr attr; /* of what was made */
	mode_t mode;
	bool has_mode; /* mode is to be set exactly */
	bool rmdir;
	int pending; /* answers to wait for */
	int err, attr_err;
	unsigned flags;
	void (*go)(struct change *change); /* when it is its turn */
	char name[256], to_name[256];
	char *target; /* of a symlink; owned */
	struct turn turn;
};

/* NULL: answered already. */
struct change *change_new(
    fuse_req_t req, fuse_ino_t parent, const char *name, const char *operation);
/* It waits for its turn, and goes then. beneath: what it is about may be a folder, and what is in
 * it matters. */
void change_alone(struct change *change, void (*go)(struct change *change), bool beneath);
/* The name is about to be removed, or given to something else. */
void change_pin_there(struct change *change, struct inode *folder, const char *name);
/* If it has other names: what was written to it is sent, else who has it open gets a file on the
 * instance; then go. */
void change_there_first(struct change *change, void (*go)(struct change *change));
/* A link was made here, which would perhaps be shown otherwise than it was made. */
void change_note_target(struct fs *fs, const struct inode *inode, const char *target);

#endif

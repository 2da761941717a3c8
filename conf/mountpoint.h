/*
 * What the kernel says is mounted where: /proc/self/mountinfo.
 *
 * Leaf; any thread; reads the table anew each time.
 */
#ifndef VASTFS_CONF_MOUNTPOINT_H
#define VASTFS_CONF_MOUNTPOINT_H

#include <stdbool.h>
#include <stdio.h>

struct mount_entry {
	char *path;	/* the mountpoint, decoded */
	char *type;	/* "fuse.vastfs" */
	char *source;	/* "12345:/workspace", decoded */
	unsigned minor; /* of its device: for a FUSE mount the number of its connection */
};

/*
 * The topmost mount at path (absolute, resolved) in a table in mountinfo's format. 1: found, and
 * the caller frees *out with mount_entry_fini; 0: nothing is mounted there; -ENOMEM. Lines that
 * don't parse are skipped.
 */
int mountinfo_find(FILE *table, const char *path, struct mount_entry *out);
void mount_entry_fini(struct mount_entry *entry);

/* The path with its parent resolved but its last part not touched: a dead mount there answers
 * nothing. Owned by the caller; NULL when it has no last part, or no parent. */
char *mountpoint_resolve(const char *path);

/* The same in /proc/self/mountinfo; a table that can't be read is an empty one. */
int mountpoint_lookup(const char *path, struct mount_entry *out);

#endif

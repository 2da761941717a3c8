/*
 * Inside of names: the struct and its two hash tables (dentries by folder and name, inodes by
 * number). Chained, power-of-two sized, grown at load 1. Used by names*.c only.
 */
#ifndef VASTFS_CACHE_NAMES_TABLE_H
#define VASTFS_CACHE_NAMES_TABLE_H

#include "cache/names.h"

struct names {
	TAILQ_HEAD(inode_queue, inode) lru; /* all inodes, the coldest first */
	struct inode *root;
	char *root_path; /* "" for "/" */
	uint64_t tick;
	uint64_t moved_tick; /* when a folder was last renamed here */
	uint64_t max_names;
	uint32_t disks;	      /* the last number given for a file system there */
	unsigned evict_pause; /* names_evict.c */
	uint64_t seed;	      /* of the hashes; another one in each mount */
	uint64_t n_dentries, n_inodes;
	struct dentry **dentries;
	struct inode **inodes;
	size_t dentry_mask, inode_mask;
	struct names_events events;
	void *arg;
};

int table_init(struct names *names);
void table_fini(struct names *names);
void table_add_dentry(struct names *names, struct dentry *dentry);
void table_remove_dentry(struct names *names, struct dentry *dentry);
struct dentry *table_find_dentry(struct names *names, struct inode *folder, const char *name);
/* Changes inode->ino when the number is taken (or 0). */
void table_add_inode(struct names *names, struct inode *inode);
void table_remove_inode(struct names *names, struct inode *inode);
/* The last of the inode's names: the oldest stays the first, by which it is known there. */
void table_add_name(struct inode *inode, struct dentry *dentry);

/* --- names.c --- */

/* A name in the folder, negative; NULL when memory is out. */
struct dentry *dentry_new(struct names *names, struct inode *folder, const char *name);
/* Gives it an inode, or takes it away: then it is negative, and an inode that was held by nothing
 * else is gone. */
void dentry_bind(struct names *names, struct dentry *dentry, struct inode *inode);
void dentry_unbind(struct names *names, struct dentry *dentry);
/* Gives it a new inode, as reported. NULL when memory is out: the name is gone then too. */
struct inode *bind_new(
    struct names *names, struct dentry *dentry, const struct attr_report *report, uint64_t sent_ms);
/* It was used. */
void names_touch(struct names *names, struct inode *inode);
/* Takes a name away for good. */
void dentry_free(struct names *names, struct dentry *dentry);
/* Makes room for one more name in folder when there are too many (names_evict.c). */
void make_room(struct names *names, const struct inode *folder);
/* The kernel has let go of it: it is the first to be forgotten if there are too many. */
void evict_next(struct names *names, struct inode *inode);

#endif

/*
 * The order in which the names of a folder are given out, and a place in it that holds without
 * anybody remembering who reads.
 *
 * The order is by inode number: cp and tar sort names so, other programs take them as they come,
 * and what is read ahead (fs/ahead_order.c) is what all of them want next. A place is a number made
 * from the inode's and, for the second name of an inode, from the name's own hash; it stays the
 * same while other names come and go, also when the folder was forgotten and listed again. So a
 * reader that goes on behind a place misses no name that was there all the time, and meets none
 * twice.
 *
 * The sorted names are kept in folder->order until the reader is at the end. Core only.
 */
#ifndef VASTFS_CACHE_NAMES_ORDER_H
#define VASTFS_CACHE_NAMES_ORDER_H

#include "cache/names.h"

/* Smaller places are the caller's: "." and "..". */
#define NAMES_ORDER_FIRST 16u

/* Sorts the names if need be; anew: with those that came since they were last sorted. 0, or
 * -ENOMEM. */
int names_order_begin(struct inode *folder, bool anew);
/* The first name at `place` or behind it; *place becomes the next name's place at the least. NULL
 * at the end. Needs names_order_begin since folder->order was last dropped. */
struct dentry *names_order_next(const struct inode *folder, uint64_t *place);
/* Forgets the order. */
void names_order_drop(struct inode *folder);

#endif

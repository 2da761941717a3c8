/*
 * Listings as the disk cache keeps them: a checksum and then an entry for each name.
 *
 *	XXH3 of all that follows: 8
 *	size: 8 | mode 4 | uid 4 | gid 4 | links 4 | mtime 4 | atime 4 | length 1 | name
 *
 * The target of a symbolic link has the place of a listing, with the link's path:
 *
 *	XXH3 of all that follows: 8
 *	all ones: 8 (no size of a listing's first entry) | mtime 4 | target
 *
 * Little endian.
 *
 * What is read back is checked as if a server had sent it: a disk can lie too. Any thread.
 */
#ifndef VASTFS_CACHE_STORE_NAMES_H
#define VASTFS_CACHE_STORE_NAMES_H

#include "cache/attr.h"
#include <stddef.h>

struct store_entry {
	struct attr_report report;
	char name[256];
};

/* In the making. Zeroed to begin with; free bytes. */
struct store_entries {
	uint8_t *bytes;
	size_t len, room;
};
/* 0 or -ENOMEM, -ENAMETOOLONG. */
int store_entries_add(
    struct store_entries *entries, const char *name, const struct attr_report *report);
/* Puts the checksum in; it is returned too. 0: memory is out. */
uint64_t store_entries_seal(struct store_entries *entries);

/* Is it whole? */
bool store_entries_check(const uint8_t *bytes, size_t len);
/* The entry at *at (0 to begin with), which moves on: 1; 0 at the end; -EBADMSG. */
int store_entries_next(const uint8_t *bytes, size_t len, size_t *at, struct store_entry *out);

/* A link's target. 0 or -ENOMEM; bytes is to be freed. */
int store_target_make(struct store_entries *record, uint32_t mtime, const char *target);
/* Into buf: 0; -ENOENT: it is none, or that of another version; -EBADMSG. */
int store_target_read(const uint8_t *bytes, size_t len, uint32_t mtime, char *buf, size_t size);

#endif

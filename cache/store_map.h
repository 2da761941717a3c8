/*
 * Which blocks of one file are kept, in memory: a hash table by block number, 24 bytes for each.
 * Core only.
 */
#ifndef VASTFS_CACHE_STORE_MAP_H
#define VASTFS_CACHE_STORE_MAP_H

#include "cache/store_files.h"

/* Zeroed: empty. */
struct store_map {
	struct store_block *slots; /* free: pages is 0 and so is sum */
	size_t n, mask;		   /* blocks; slots - 1 */
	uint64_t bytes;		   /* of pages kept */
};

void store_map_fini(struct store_map *map);
/* NULL when nothing of the block is kept; valid until the next store_map_set. */
const struct store_block *store_map_find(const struct store_map *map, uint64_t number);
/* pages 0: no longer kept. -ENOMEM: not noted. */
int store_map_set(struct store_map *map, const struct store_block *block);

#endif

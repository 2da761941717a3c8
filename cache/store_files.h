/*
 * The block files of the disk cache: one sparse file for each version of a remote file, its bytes
 * at the offsets they have there.
 *
 *	DIR/0a/1b0a        the file numbered 0x1b0a; in a folder named by the number's last byte
 *	|....[block 3: pages 0-31]....[block 9: page 2]        holes where nothing is kept
 *
 * A block is kept as whole pages, the last one of a file filled up with zeros. Its checksum (XXH3)
 * covers the pages that are kept, and is seeded with the file's number, the block's and which pages
 * they are: bytes of another file, place or version do not pass for it, nor does a hole.
 *
 * What needs no order among threads may be called by any of them; blocks on local disk, but for
 * store_files_read with nowait. Errors: negative errnos.
 */
#ifndef VASTFS_CACHE_STORE_FILES_H
#define VASTFS_CACHE_STORE_FILES_H

#include "cache/blocks.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One block, as the index knows it. */
struct store_block {
	uint64_t number;
	uint64_t sum;
	uint32_t pages; /* kept */
};

/* block: BLOCKS_SIZE bytes, of which those of pages count. */
uint64_t store_files_sum(uint64_t id, uint64_t number, uint32_t pages, const uint8_t *block);

/* A descriptor, or a negative errno. dir: of DIR. make: for writing, made when missing. direct:
 * past the page cache, where the file system can (else as usual). */
int store_files_open(int dir, uint64_t id, bool make, bool direct);
/* 0 when it is gone. */
int store_files_unlink(int dir, uint64_t id);

/* Reads the pages of a block to where they belong in buf (BLOCKS_SIZE bytes; what lies between them
 * is overwritten) and checks them. -EBADMSG: not what was written. nowait: -EAGAIN when that would
 * have to wait for the disk. */
int store_files_read(
    int fd, uint64_t id, const struct store_block *block, uint8_t *buf, bool nowait);
/* Writes pages of a block from where they are in buf. */
int store_files_write(int fd, uint64_t number, uint32_t pages, const uint8_t *buf);

/* Calls each for every block file found; it may unlink it. */
int store_files_each(int dir, void (*each)(void *arg, int dir, uint64_t id), void *arg);
/* The same for one of the folders, 0 to 255. */
int store_files_in(
    int dir, unsigned folder, void (*each)(void *arg, int dir, uint64_t id), void *arg);
/* Empties DIR. */
void store_files_clear(int dir);

#endif

/*
 * What was accepted from write(2) and then refused by the instance (a full disk, a quota), as long
 * as the file is open and its writer has not been told (W5): who reads goes on seeing it (W1). The
 * bytes are read back from the spool, where they stay as what failed; without a spool they are
 * gone, and reading them fails.
 *
 *	accepted --> refused --> told: dropped, the instance's bytes are seen again
 *	                \------> accepted anew, cut off: that part alone is dropped
 *
 * Ranges do not overlap. Core only; for content.c, fetch.c and the writer.
 */
#ifndef VASTFS_CACHE_REFUSED_H
#define VASTFS_CACHE_REFUSED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct content;
struct extent;
struct refused;
TAILQ_HEAD(refused_list, refused);

/* The extent was refused; its records are in the spool still, and go on being there. False: memory
 * is out. */
bool refused_add(struct content *content, const struct extent *extent);
/* [from, to) is something else now. */
void refused_cut(struct content *content, uint64_t from, uint64_t to);
void refused_clear(struct content *content);
/* Where the last of it ends; 0: there is none. */
uint64_t refused_end(const struct content *content);
/*
 * Puts it over len bytes at offset, as they came from the instance, of which want were asked for:
 * fewer when its file ends there. *patched is NULL when none of it lies there; else the data, *len
 * bytes (zeros in between), to be freed. 0, -EIO (it can't be read back) or -ENOMEM.
 */
int refused_patch(const struct content *content, uint64_t offset, uint32_t want,
    const uint8_t *data, uint32_t *len, uint8_t **patched);

#endif

#include "fs/regain.h"

#define FILE_MOST (64u << 20)
#define SOON_MS 30000
#define FIRST (1u << 20)
#define PIECE_MOST (16u << 20)

void regain_more(struct handle *handle)
{
	const struct openfile *open = handle->open;
	uint64_t size = content_size(open->content), piece;

	if (!open->own || fs_age_ms(open->fs, open->inode->version_ms) > SOON_MS ||
	    handle->writable || size > FILE_MOST || handle->regained >= size ||
	    openfile_dirty(open->inode))
		return;
	piece = handle->regained + FIRST;
	if (piece > PIECE_MOST)
		piece = PIECE_MOST;
	content_prefetch(open->content, handle, handle->regained, piece);
	handle->regained += piece;
}

/* Files opened in no order all over a tree (a data loader that shuffles the images of many
 * classes): each time the program has to wait for one, some of its neighbours are fetched with it,
 * the more of them the longer that has been going on. */
#include "fs/ahead_impl.h"
#include "fs/openfile.h"

#define ENDS_MS 2000 /* without an open */
#define BEGINS 16u   /* opens before anything is fetched */
#define FIRST 4u     /* neighbours, then four times as many as often as the opens double */
#define MOST 64u
#define LOOK_AT 256u /* names, at one open */
/* Fetched, and not opened yet. */
#define WAITING_MOST 4096u
#define BYTES_MOST (64u << 20)

static void begin(struct ahead *ahead, uint64_t now)
{
	ahead->scatter = (struct ahead_scatter){.mark = ahead_new_mark(ahead), .used_ms = now};
}

static unsigned neighbours(unsigned strays)
{
	unsigned n = FIRST;

	for (; strays >= 2 * BEGINS && n < MOST; strays /= 2)
		n *= 4;
	return n < MOST ? n : MOST;
}

/* Whether it was started. */
static bool fetch(struct fs *fs, struct ahead_scatter *scatter, struct inode *inode)
{
	if (!S_ISREG(inode->attr.mode) || inode->ahead == scatter->mark ||
	    openfile_is_whole(inode) || ahead_fetch_serial(inode) || !ahead_may_fetch(fs, inode) ||
	    !ahead_fetch(fs, inode))
		return false;
	inode->ahead = scatter->mark;
	scatter->waiting++;
	scatter->bytes += inode->attr.size;
	fs->ahead->figures.files++;
	return true;
}

void ahead_scattered(struct fs *fs, struct inode *folder, struct inode *inode)
{
	struct ahead_scatter *scatter = &fs->ahead->scatter;
	uint64_t now = fs_now_ms(fs);
	struct dentry *first = LIST_FIRST(&inode->names), *at = first;
	unsigned looks, n;

	if (!scatter->mark || now - scatter->used_ms > ENDS_MS)
		begin(fs->ahead, now);
	scatter->used_ms = now;
	if (++scatter->strays < BEGINS || first->parent != folder)
		return;
	n = neighbours(scatter->strays);
	for (looks = 0; looks < LOOK_AT && n; looks++) {
		at = TAILQ_NEXT(at, sibling);
		if (!at)
			at = TAILQ_FIRST(&folder->folder->children);
		if (at == first || scatter->waiting >= WAITING_MOST ||
		    scatter->bytes >= BYTES_MOST || fs->ahead->underway >= AHEAD_UNDERWAY_MAX)
			break;
		n -= at->inode && fetch(fs, scatter, at->inode);
	}
}

bool ahead_scatter_opened(struct fs *fs, struct inode *inode)
{
	struct ahead_scatter *scatter = &fs->ahead->scatter;
	uint64_t size = inode->attr.size;

	if (!inode->ahead || inode->ahead != scatter->mark)
		return false;
	scatter->used_ms = fs_now_ms(fs);
	scatter->waiting--;
	scatter->bytes -= size < scatter->bytes ? size : scatter->bytes;
	inode->ahead = 0;
	return true;
}

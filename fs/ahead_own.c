/* Files that were written here lately, and are read back in whatever order. */
#include "fs/ahead_impl.h"
#include "fs/openfile.h"

#define OWN_MOST 20000u
#define MISSES 3u /* opens that had to ask, within MISSES_MS, that say what is going on */
#define MISSES_MS 1000
#define ENDS_MS 1000	 /* without an open */
#define CHECK_AGE_MS 500 /* a check that old is renewed */
#define LOOK_AT 128u	 /* files, at one open */
#define UNWANTED 10u	 /* checks in a row that nobody wanted */

void ahead_own_remove(struct fs *fs, struct openfile *open)
{
	struct ahead_own *own = &fs->ahead->own;

	if (!open->own_listed)
		return;
	if (own->next == open)
		own->next = TAILQ_NEXT(open, own_link);
	TAILQ_REMOVE(&own->files, open, own_link);
	own->n--;
	open->own_listed = false;
}

void ahead_own_add(struct fs *fs, struct openfile *open)
{
	struct ahead_own *own = &fs->ahead->own;

	if (open->own_listed || open->inode->attr.size > AHEAD_FILE_MAX)
		return;
	if (own->n == OWN_MOST)
		ahead_own_remove(fs, TAILQ_FIRST(&own->files));
	TAILQ_INSERT_TAIL(&own->files, open, own_link);
	own->n++;
	open->own_listed = true;
	open->own_unwanted = 0;
}

static void check_some(struct fs *fs)
{
	struct ahead_own *own = &fs->ahead->own;
	unsigned i;

	for (i = 0; i < LOOK_AT && fs->ahead->underway < AHEAD_UNDERWAY_MAX; i++) {
		struct openfile *open = own->next ? own->next : TAILQ_FIRST(&own->files);
		struct inode *inode;

		if (!open)
			break;
		own->next = TAILQ_NEXT(open, own_link);
		inode = open->inode;
		if (!open->own || open->own_unwanted > UNWANTED)
			ahead_own_remove(fs, open);
		else if (fs_age_ms(fs, inode->checked_ms) > CHECK_AGE_MS &&
			 ahead_may_fetch(fs, inode) && ahead_fetch(fs, inode))
			open->own_unwanted++;
	}
}

void ahead_own_opened(struct fs *fs, struct openfile *open, bool found)
{
	struct ahead_own *own = &fs->ahead->own;
	uint64_t now = fs_now_ms(fs);

	open->own_unwanted = 0;
	if (!found) {
		if (now - own->missed_ms > MISSES_MS) {
			own->missed_ms = now;
			own->misses = 0;
		}
		own->misses++;
	}
	if (own->misses >= MISSES && now - own->missed_ms <= MISSES_MS)
		own->active_ms = now;
	if (!own->active_ms || now - own->active_ms > ENDS_MS)
		return;
	own->active_ms = now;
	check_some(fs);
}

void ahead_own_missed(struct fs *fs, struct inode *inode)
{
	struct openfile *open = inode->open;

	if (open && open->own_listed)
		ahead_own_opened(fs, open, false);
}

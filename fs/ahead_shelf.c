/*
 * Shelves: a folder of many folders with a few files each, of which a program opens now one and now
 * another (git's loose objects, a data set spread by hash). No folder of them is read through, so
 * what comes next is in none of the orders of ahead.c, and beside the file there is little to fetch
 * (ahead_scatter.c): but there is in the other folders.
 *
 * Counted for the folder above the file's and the one above that, as some are two levels deep.
 * After a few opens all files below are fetched, no faster than the program opens files there: if
 * the guess is wrong, it is never more than the program's own traffic. Each that was right makes
 * room for more, once enough were.
 */
#include "fs/ahead_impl.h"
#include "fs/openfile.h"
#include "fs/walk.h"
#include <string.h>

#define ENDS_MS 2000	   /* without an open */
#define BEGINS 8u	   /* opens before anything is fetched */
#define FEW 16u		   /* names in a folder: of a larger one, its own files are more likely */
#define PROVEN 8u	   /* one right guess to so many opens that had to wait: */
#define FOR_EACH 16u	   /* so many more for each */
#define LOOK_AT 256u	   /* files, at one open */
#define WAITING_MOST 4096u /* fetched, and not opened yet */
#define BYTES_MOST (64u << 20)
#define BYTES_LEAST (64u << 10)

static void clear(struct fs *fs, struct ahead_shelf *shelf)
{
	ahead_place_clear(fs, &shelf->place);
	if (shelf->above)
		names_unpin(fs->names, shelf->above);
	memset(shelf, 0, sizeof(*shelf));
}

void ahead_shelves_clear(struct fs *fs, bool all)
{
	uint64_t now = fs_now_ms(fs);
	unsigned i;

	for (i = 0; i < AHEAD_SHELVES; i++) {
		struct ahead_shelf *shelf = &fs->ahead->shelves[i];

		if (shelf->above && (all || now - shelf->used_ms >= ENDS_MS))
			clear(fs, shelf);
	}
}

/* That of the folder; else the one not used for longest, anew. */
static struct ahead_shelf *shelf_of(struct fs *fs, struct inode *above)
{
	struct ahead_shelf *oldest = &fs->ahead->shelves[0];
	unsigned i;

	for (i = 0; i < AHEAD_SHELVES; i++) {
		struct ahead_shelf *shelf = &fs->ahead->shelves[i];

		if (shelf->above == above)
			return shelf;
		if (shelf->used_ms < oldest->used_ms)
			oldest = shelf;
	}
	clear(fs, oldest);
	oldest->above = above;
	names_pin(above);
	return oldest;
}

static void note(struct fs *fs, struct ahead_shelf *shelf, const struct inode *inode)
{
	shelf->used_ms = fs_now_ms(fs);
	shelf->opened_bytes += inode->attr.size;
}

/* --- fetching --- */

static unsigned most_waiting(const struct ahead_shelf *shelf)
{
	unsigned most = shelf->strays + shelf->used;

	if (shelf->used * PROVEN >= shelf->strays)
		most += shelf->used * FOR_EACH;
	return most < WAITING_MOST ? most : WAITING_MOST;
}

/* As many bytes as that many files had of those that were opened. */
static uint64_t most_bytes(const struct ahead_shelf *shelf)
{
	uint64_t average = shelf->opened_bytes / (shelf->strays + shelf->used);
	uint64_t most = BYTES_LEAST + average * most_waiting(shelf);

	return most < BYTES_MOST ? most : BYTES_MOST;
}

static void fetch(struct fs *fs, struct ahead_shelf *shelf, struct inode *inode)
{
	if (openfile_is_whole(inode) || ahead_fetch_serial(inode) || !ahead_may_fetch(fs, inode) ||
	    !ahead_fetch(fs, inode))
		return;
	inode->ahead = shelf->mark;
	shelf->waiting++;
	shelf->bytes += inode->attr.size;
	fs->ahead->figures.files++;
}

static void go(struct fs *fs, struct ahead_shelf *shelf)
{
	struct inode *inode;
	unsigned looks;

	for (looks = 0;
	     looks < LOOK_AT && shelf->waiting < most_waiting(shelf) &&
	     shelf->bytes < most_bytes(shelf) && fs->ahead->underway < AHEAD_UNDERWAY_MAX &&
	     (inode = ahead_place_next(fs, &shelf->place, 1));
	     looks++)
		fetch(fs, shelf, inode);
}

/* --- what an open says --- */

static bool has_begun(struct fs *fs, struct ahead_shelf *shelf)
{
	if (shelf->mark)
		return true;
	if (shelf->strays < BEGINS || !shelf->above->folder->complete)
		return false;
	shelf->place.within = true;
	if (!ahead_place_set(fs, &shelf->place, shelf->above, NULL))
		return false;
	shelf->mark = ahead_new_mark(fs->ahead);
	return true;
}

bool ahead_shelf_stray(struct fs *fs, struct inode *folder, struct inode *inode)
{
	struct inode *above = names_parent(folder);
	unsigned height;

	if (fs->profile->readahead_dirs != SAID_YES || folder->folder->n_children > FEW)
		return false;
	for (height = 0; above && height < 2; above = names_parent(above), height++) {
		struct ahead_shelf *shelf = shelf_of(fs, above);

		note(fs, shelf, inode);
		shelf->strays++;
		if (has_begun(fs, shelf)) {
			go(fs, shelf);
			return true;
		}
	}
	return false;
}

bool ahead_shelf_opened(struct fs *fs, struct inode *inode)
{
	uint64_t size = inode->attr.size;
	unsigned i;

	for (i = 0; inode->ahead && i < AHEAD_SHELVES; i++) {
		struct ahead_shelf *shelf = &fs->ahead->shelves[i];

		if (inode->ahead != shelf->mark)
			continue;
		inode->ahead = 0;
		note(fs, shelf, inode);
		shelf->used++;
		shelf->waiting--;
		shelf->bytes -= size < shelf->bytes ? size : shelf->bytes;
		go(fs, shelf);
		return true;
	}
	return false;
}

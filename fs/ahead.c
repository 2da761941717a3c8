#include "fs/ahead.h"
#include "fs/ahead_impl.h"
#include "fs/listing.h"
#include "fs/openfile.h"
#include "fs/walk.h"
#include <stdlib.h>
#include <string.h>

#define WINDOW_FIRST 4u
#define WINDOW_MAX 512u
/* Bytes that a window stands for. */
#define FILE_BYTES (64u << 10)
#define BYTES_FIRST (256u << 10)
#define BYTES_MOST (32u << 20)
#define STREAM_ENDS_MS 2000 /* without an open */
#define CHECK_AHEAD_MS 400  /* a check that old will not last until the open */
/* A folder read in no order is fetched as a whole up to this size; its checks are renewed by
 * listing it, that often. */
#define FOLDER_BYTES (64u << 20)
#define FOLDER_FILES 20000u
#define LARGE_FOLDER_BYTES (1u << 30)
#define LIST_MS 500
#define PASSED_MOST 16u /* files that can't be fetched are passed over, at one open */
#define NEAR 8u		/* files left out in an order that is still one */
#define ASTRAY 16u	/* opens in no order: there is none */
#define FACTOR_MOST 8u	/* files fetched for each of them, before it is the whole folder */
#define STRAYS 4u	/* after that many, what looks like an order is chance, */
#define SURE 3u		/* unless it looks so that many times in a row */
#define BAD_ENOUGH 2u
#define SWEPT_ENOUGH 2u /* folders read through, one after the other: a walk */

struct ahead *ahead_new(struct fs *fs)
{
	struct ahead *ahead = calloc(1, sizeof(*ahead));

	if (!ahead)
		return NULL;
	ahead->fs = fs;
	TAILQ_INIT(&ahead->own.files);
	return ahead;
}

void ahead_figures(const struct ahead *ahead, struct ahead_figures *out)
{
	*out = ahead->figures;
	out->underway = ahead->underway;
}

/* --- streams --- */

uint32_t ahead_new_mark(struct ahead *ahead)
{
	if (!++ahead->marks)
		ahead->marks = 1;
	return ahead->marks;
}

/* What it fetched and nobody opened is not waited for any more. */
static void new_mark(struct ahead *ahead, struct ahead_stream *stream)
{
	stream->mark = ahead_new_mark(ahead);
	stream->waiting = 0;
	stream->waiting_bytes = 0;
	stream->used = 0;
}

static void set_last(struct fs *fs, struct ahead_stream *stream, struct inode *inode)
{
	if (inode)
		names_pin(inode);
	if (stream->last)
		names_unpin(fs->names, stream->last);
	stream->last = inode;
	stream->last_size = inode ? inode->attr.size : 0;
}

static void stream_clear(struct fs *fs, struct ahead_stream *stream)
{
	ahead_place_clear(fs, &stream->place);
	set_last(fs, stream, NULL);
	memset(stream, 0, sizeof(*stream));
}

void ahead_free(struct ahead *ahead)
{
	int i;

	if (!ahead)
		return;
	for (i = 0; i < AHEAD_STREAMS; i++)
		stream_clear(ahead->fs, &ahead->streams[i]);
	ahead_shelves_clear(ahead->fs, true);
	while (!TAILQ_EMPTY(&ahead->own.files))
		ahead_own_remove(ahead->fs, TAILQ_FIRST(&ahead->own.files));
	free(ahead);
}

static bool is_live(const struct fs *fs, const struct ahead_stream *stream)
{
	return stream->used_ms && fs_now_ms(fs) - stream->used_ms < STREAM_ENDS_MS;
}

/* Streams that have ended hold nothing. */
static void clear_ended(struct fs *fs)
{
	int i;

	for (i = 0; i < AHEAD_STREAMS; i++) {
		struct ahead_stream *stream = &fs->ahead->streams[i];

		if (stream->used_ms && !is_live(fs, stream))
			stream_clear(fs, stream);
	}
	ahead_shelves_clear(fs, false);
}

static struct ahead_stream *by_mark(struct ahead *ahead, uint32_t mark)
{
	int i;

	for (i = 0; mark && i < AHEAD_STREAMS; i++) {
		if (ahead->streams[i].used_ms && ahead->streams[i].mark == mark)
			return &ahead->streams[i];
	}
	return NULL;
}

/* The stream that goes through this folder, or of this thread; else the least recently used one,
 * anew. */
static struct ahead_stream *stream_for(struct ahead *ahead, const struct inode *folder, pid_t pid)
{
	struct ahead_stream *of_thread = NULL, *oldest = &ahead->streams[0];
	int i;

	for (i = 0; i < AHEAD_STREAMS; i++) {
		struct ahead_stream *stream = &ahead->streams[i];

		if (stream->used_ms && (ahead_place_find(&stream->place, folder) >= 0 ||
					   names_parent(stream->last) == folder))
			return stream;
		if (stream->used_ms && stream->pid == pid)
			of_thread = stream;
		if (stream->used_ms < oldest->used_ms)
			oldest = stream;
	}
	if (of_thread)
		return of_thread;
	stream_clear(ahead->fs, oldest);
	new_mark(ahead, oldest);
	return oldest;
}

/* --- going ahead --- */

static uint64_t most_bytes(const struct ahead_stream *stream)
{
	uint64_t bytes = (uint64_t)stream->window * FILE_BYTES;

	if (stream->astray >= ASTRAY)
		return FOLDER_BYTES;
	if (bytes < BYTES_FIRST)
		bytes = BYTES_FIRST;
	if (bytes < 2 * stream->last_size)
		bytes = 2 * stream->last_size;
	return bytes < BYTES_MOST ? bytes : BYTES_MOST;
}

/* False when it can't be fetched now (it changed just now, or is open). */
static bool plan(struct fs *fs, struct ahead_stream *stream, struct inode *inode)
{
	struct ahead *ahead = fs->ahead;

	if (inode == stream->last || inode->ahead == stream->mark)
		return true;
	/* In no order it may be wanted much later: listings renew the checks. */
	if (stream->astray >= ASTRAY && openfile_is_whole(inode))
		return true;
	inode->ahead = 0;
	if (!ahead_may_fetch(fs, inode) ||
	    (!openfile_is_current(fs, inode, CHECK_AHEAD_MS) && !ahead_fetch_serial(inode) &&
		!ahead_fetch(fs, inode)))
		return false;
	inode->ahead = stream->mark;
	stream->waiting++;
	stream->waiting_bytes += inode->attr.size;
	ahead->figures.files++;
	return true;
}

static void go(struct fs *fs, struct ahead_stream *stream)
{
	unsigned listings = walk_active(fs) && fs->profile->readahead_dirs == SAID_YES
				? 1 + stream->window / 16
				: 0;
	struct inode *inode;
	unsigned passed = 0;

	while (passed < PASSED_MOST && stream->waiting < stream->window &&
	       stream->waiting_bytes < most_bytes(stream) &&
	       fs->ahead->underway < AHEAD_UNDERWAY_MAX &&
	       (inode = ahead_place_next(fs, &stream->place, listings)))
		passed += !plan(fs, stream, inode);
}

void ahead_listed(struct fs *fs)
{
	int i;

	for (i = 0; i < AHEAD_STREAMS; i++) {
		struct ahead_stream *stream = &fs->ahead->streams[i];

		if (stream->place.tried && is_live(fs, stream))
			go(fs, stream);
	}
}

/* --- what an open says --- */

static void grow(struct ahead_stream *stream, unsigned by)
{
	stream->window = stream->window + by < WINDOW_MAX ? stream->window + by : WINDOW_MAX;
}

/* It was fetched ahead. */
static void guessed(
    struct fs *fs, struct ahead_stream *stream, struct inode *inode, enum ahead_found found)
{
	uint64_t size = inode->attr.size, serial = ahead_fetch_serial(inode);

	stream->waiting--;
	stream->waiting_bytes -= size < stream->waiting_bytes ? size : stream->waiting_bytes;
	if (found == AHEAD_ABSENT) {
		/* Its check has become too old before it was opened: that far is too far, and what
		 * follows must be checked again. */
		if (openfile_is_whole(inode) && names_parent(inode) && stream->astray < ASTRAY) {
			if (stream->window > WINDOW_FIRST)
				stream->window -= stream->window / 4;
			new_mark(fs->ahead, stream);
			ahead_place_set(fs, &stream->place, names_parent(inode), inode);
		}
		return;
	}
	fs->ahead->figures.used++;
	stream->used++;
	stream->bad = 0;
	if (found == AHEAD_UNDERWAY && serial > stream->grown) {
		if (!stream->astray)
			grow(stream, stream->window);
		stream->grown = fs->ahead->serial;
	}
}

/* In no order: the whole folder, if it is small enough. At first as fast as the program reads it
 * itself; who has read a few dozen files in it will most likely read the others too. Of a larger
 * one never faster: which files come next nobody knows, but what was fetched does come. */
static void in_no_order(struct fs *fs, struct ahead_stream *stream, struct ahead_level *level)
{
	uint64_t now = fs_now_ms(fs);
	unsigned factor = 1, n = ++stream->astray;

	for (; n >= ASTRAY && factor < FACTOR_MOST; n /= 2)
		factor *= 2;
	if (level->bytes > LARGE_FOLDER_BYTES || level->n > FOLDER_FILES) {
		if (stream->astray >= ASTRAY)
			stream->window = 0;
		return;
	}
	if (level->bytes > FOLDER_BYTES)
		stream->window = stream->astray;
	else
		stream->window =
		    factor < FACTOR_MOST ? WINDOW_FIRST + stream->astray * factor : FOLDER_FILES;
	if (stream->astray < ASTRAY)
		return;
	if (stream->astray == ASTRAY) {
		new_mark(fs->ahead, stream);
		level->next = 0;
	}
	if (now - stream->listed_ms > LIST_MS) {
		stream->listed_ms = now;
		listing_ahead(fs, level->folder);
	}
}

/* The order in which `inode` follows closely on what was opened before it; -1: none. */
static int find_order(const struct ahead_stream *stream, struct inode *folder, struct inode *inode)
{
	size_t least = NEAR + 1, between;
	int found = -1;
	unsigned i, order;

	for (i = 0; i < AHEAD_ORDERS; i++) {
		order = (stream->place.order + i) % AHEAD_ORDERS;
		between = ahead_between(folder, stream->last, inode, order, least);
		if (between < least) {
			least = between;
			found = (int)order;
		}
	}
	return found;
}

/* A file that was not foreseen, in a folder that the place leads through. */
static void correct(struct fs *fs, struct ahead_stream *stream, int at, struct inode *inode)
{
	struct ahead_level *level = &stream->place.levels[at];
	struct inode *folder = level->folder;
	size_t index = ahead_level_index(level, inode);
	int order = find_order(stream, folder, inode);

	if (index == level->n && ahead_level_is_old(level) &&
	    ahead_place_set(fs, &stream->place, folder, inode)) {
		level = &stream->place.levels[at = 0];
		index = ahead_level_index(level, inode);
	}
	if (index == level->n)
		return;
	stream->ordered = order >= 0 ? stream->ordered + 1 : 0;
	if (stream->astray >= STRAYS && stream->ordered < SURE) {
		in_no_order(fs, stream, level);
		return;
	}
	if (order >= 0 && (unsigned)order != stream->place.order) {
		new_mark(fs->ahead, stream);
		stream->place.order = (unsigned)order;
		ahead_place_set(fs, &stream->place, level->folder, inode);
	} else if (order >= 0 || index <= NEAR) {
		/* some were left out; or it is read once more */
		if (index < level->next || stream->waiting >= stream->window)
			new_mark(fs->ahead, stream);
		ahead_place_back(fs, &stream->place, at, index);
	} else {
		in_no_order(fs, stream, level);
		return;
	}
	stream->astray = 0;
	if (stream->window < WINDOW_FIRST)
		stream->window = WINDOW_FIRST;
	if (stream->window > WINDOW_MAX)
		stream->window = WINDOW_MAX;
}

/* A file in a folder that the place does not lead through. */
static void start(
    struct fs *fs, struct ahead_stream *stream, struct inode *folder, struct inode *inode)
{
	bool second = stream->last && names_parent(stream->last) == folder;

	if (stream->place.depth && stream->waiting > stream->used) {
		stream->bad++;
		stream->window /= 2;
	}
	bool shelved = !second && stream->last && ahead_shelf_stray(fs, folder, inode);
	if (!second && (shelved || !walk_active(fs) || stream->bad >= BAD_ENOUGH)) {
		ahead_place_clear(fs, &stream->place);
		if (stream->last && !shelved) /* else it is a program's first file */
			ahead_scattered(fs, folder, inode);
		return;
	}
	new_mark(fs->ahead, stream);
	if (second)
		stream->window = stream->bad ? 1 : WINDOW_FIRST;
	else if (stream->window < WINDOW_FIRST)
		stream->window = WINDOW_FIRST;
	ahead_place_set(fs, &stream->place, folder, inode);
}

/* Were most of its small files opened? */
static bool is_swept(const struct inode *folder, unsigned opened)
{
	const struct dentry *dentry;
	unsigned n = 0;

	TAILQ_FOREACH (dentry, &folder->folder->children, sibling) {
		const struct inode *inode = dentry->inode;

		if (inode && S_ISREG(inode->attr.mode) && inode->attr.size <= AHEAD_FILE_MAX &&
		    ++n > 2 * opened)
			return false;
	}
	return true;
}

/* Does it go from folder to folder? (The kernel need not tell of folders that it has read before.)
 */
static void note_folder(struct fs *fs, struct ahead_stream *stream, struct inode *folder)
{
	struct inode *from = stream->last ? names_parent(stream->last) : NULL;

	if (!from || from == folder) {
		stream->here++;
		return;
	}
	stream->swept = is_swept(from, stream->here) ? stream->swept + 1 : 0;
	stream->here = 1;
	if (stream->swept >= SWEPT_ENOUGH)
		walk_read(fs, from, folder);
}

enum ahead_found ahead_opened(struct fs *fs, struct inode *inode, pid_t pid)
{
	struct inode *folder = names_parent(inode);
	struct openfile *open = inode->open;
	enum ahead_found found = AHEAD_ABSENT;
	struct ahead_stream *stream;
	int level;

	if (openfile_is_current(fs, inode, OPENFILE_CHECKED_MS))
		found = AHEAD_HERE;
	else if (ahead_fetch_serial(inode))
		found = AHEAD_UNDERWAY;
	if (inode->attr.size > AHEAD_FILE_MAX || !folder)
		return found;
	if (open && open->own_listed) {
		ahead_own_opened(fs, open, found != AHEAD_ABSENT);
		return found;
	}
	if (ahead_scatter_opened(fs, inode) || ahead_shelf_opened(fs, inode)) {
		fs->ahead->figures.used += found != AHEAD_ABSENT;
		return found;
	}
	clear_ended(fs);
	stream = by_mark(fs->ahead, inode->ahead);
	if (stream) {
		note_folder(fs, stream, folder);
		guessed(fs, stream, inode, found);
	} else {
		stream = stream_for(fs->ahead, folder, pid);
		note_folder(fs, stream, folder);
		level = ahead_place_find(&stream->place, folder);
		if (level >= 0)
			correct(fs, stream, level, inode);
		else
			start(fs, stream, folder, inode);
	}
	inode->ahead = 0;
	set_last(fs, stream, inode);
	stream->pid = pid;
	stream->used_ms = fs_now_ms(fs);
	go(fs, stream);
	return found;
}

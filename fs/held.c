#include "fs/held.h"
#include "fs/listing.h"
#include "fs/notify.h"
#include <stdlib.h>

/* A wheel of ticks: a folder stands where its time is over; what lasts longer than the wheel is
 * looked at when it comes round. */
#define SLOTS 256u
#define AGAIN_MS 1000
/* Of how many names in a folder the attributes may be forgotten before it is better read anew: an
 * eighth, and a few. */
#define FORGOTTEN(names) ((names) / 8 + 2)

struct held {
	struct fs *fs;
	uint64_t tick; /* that was looked at last */
	unsigned folders;
	TAILQ_HEAD(folder_queue, folder) wheel[SLOTS];
};

struct held *held_new(struct fs *fs)
{
	struct held *held = calloc(1, sizeof(*held));
	unsigned i;

	if (!held)
		return NULL;
	held->fs = fs;
	held->tick = fs_now_ms(fs) / HELD_TICK_MS;
	for (i = 0; i < SLOTS; i++)
		TAILQ_INIT(&held->wheel[i]);
	return held;
}

void held_free(struct held *held)
{
	free(held);
}

static void leave(struct held *held, struct folder *folder)
{
	if (!folder->held)
		return;
	TAILQ_REMOVE(&held->wheel[folder->held_in], folder, holding);
	folder->held = false;
	held->folders--;
}

/* Rounded down: a listing is taken back early rather than late. */
static void enter(struct held *held, struct folder *folder, uint64_t until_ms)
{
	uint64_t tick = until_ms / HELD_TICK_MS - 1, now = fs_now_ms(held->fs) / HELD_TICK_MS;

	if (!held->folders)
		held->tick = now;
	if (tick <= held->tick)
		tick = held->tick + 1;
	if (tick > held->tick + SLOTS - 1)
		tick = held->tick + SLOTS - 1;
	folder->held = true;
	folder->held_in = (uint8_t)(tick % SLOTS);
	TAILQ_INSERT_TAIL(&held->wheel[folder->held_in], folder, holding);
	held->folders++;
}

static uint64_t fresh_until(const struct fs *fs, const struct inode *folder)
{
	return folder->folder->listed_ms +
	       names_lifetime_ms(folder, fs_clock_there(fs), fs_attr_max_ms(fs));
}

void held_given(struct held *held, struct inode *folder)
{
	struct folder *dir = folder->folder;

	if (dir->held && dir->held_old)
		return; /* what was wrong before may still be in the kernel's pages */
	leave(held, dir);
	dir->held_old = false;
	dir->held_reads = false;
	dir->held_read = 0;
	dir->held_ms = fs_now_ms(held->fs);
	enter(held, dir, fresh_until(held->fs, folder));
}

void held_read(struct held *held, const struct inode *inode)
{
	const struct inode *parent = names_parent(inode);
	struct folder *dir = parent ? parent->folder : NULL;

	if (!dir || !dir->held || dir->held_old || dir->held_reads ||
	    ++dir->held_read < FORGOTTEN(dir->n_children))
		return;
	dir->held_reads = true;
	notify_listing(held->fs, parent);
}

void held_changed(struct held *held, struct inode *folder)
{
	struct folder *dir = folder->folder;

	if (dir->held_old)
		return;
	notify_listing(held->fs, folder);
	leave(held, dir);
	dir->held_old = true;
	enter(held, dir, fs_now_ms(held->fs) + AGAIN_MS);
}

void held_forget(struct held *held, struct inode *inode)
{
	if (inode->folder)
		leave(held, inode->folder);
}

/* Do the attributes that the kernel was given with the names last? */
static bool lasts(const struct fs *fs, const struct folder *dir, uint64_t now)
{
	return now - dir->held_ms <
	       names_lifetime_ms(dir->inode, fs_clock_there(fs), fs_attr_max_ms(fs));
}

static void look_at(struct held *held, struct folder *dir)
{
	uint64_t now = fs_now_ms(held->fs);
	uint64_t soon = now + AGAIN_MS, until = fresh_until(held->fs, dir->inode);

	leave(held, dir);
	if (!dir->held_old && listing_is_fresh(held->fs, dir->inode) && lasts(held->fs, dir, now)) {
		enter(held, dir, until > soon ? until : soon);
		return;
	}
	dir->held_old = false;
	notify_listing(held->fs, dir->inode);
}

bool held_tick(struct held *held)
{
	uint64_t now = fs_now_ms(held->fs) / HELD_TICK_MS;
	struct folder *dir, *last;
	unsigned slot;

	while (held->folders && held->tick < now) {
		slot = ++held->tick % SLOTS;
		last = TAILQ_LAST(&held->wheel[slot], folder_queue);
		while (last && (dir = TAILQ_FIRST(&held->wheel[slot]))) {
			look_at(held, dir);
			if (dir == last)
				break;
		}
	}
	return held->folders;
}

bool held_any(const struct held *held)
{
	return held->folders;
}

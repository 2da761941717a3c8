#include "fs/held.h"
#include "fs/listing.h"
#include "fs/notify.h"
#include <stdlib.h>

/* A wheel of ticks: a folder stands where its time is over; what lasts longer than the wheel is
 * looked at when it comes round. */
#define SLOTS 256u
#define AGAIN_MS 1000

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
	return folder->folder->listed_ms + names_lifetime_ms(folder, fs_wall(), fs_attr_max_ms(fs));
}

void held_given(struct held *held, struct inode *folder)
{
	struct folder *dir = folder->folder;

	if (dir->held && dir->held_old)
		return; /* what was wrong before may still be in the kernel's pages */
	leave(held, dir);
	dir->held_old = false;
	enter(held, dir, fresh_until(held->fs, folder));
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

static void look_at(struct held *held, struct folder *dir)
{
	uint64_t soon = fs_now_ms(held->fs) + AGAIN_MS, until = fresh_until(held->fs, dir->inode);

	leave(held, dir);
	if (!dir->held_old && listing_is_fresh(held->fs, dir->inode)) {
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

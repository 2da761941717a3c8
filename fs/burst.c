#include "fs/burst.h"
#include "cache/outbox.h"
#include "fs/behind.h"
#include "fs/listing.h"
#include <ctype.h>
#include <string.h>

#define BURST_FROM 4
#define BURST_PAUSE_MS 1000
/* Changes that the instance has not acknowledged. */
#define BACKLOG_MOST 4096
/* Changes that wait for each other's answers: how many any burst may have, and how many none, as a
 * link may get slower at any time. */
#define ROW_LEAST 8
#define ROW_MOST 256
/* How old what is known of a folder may be in which names are changed. */
#define KNOWN_MS 10000
#define ROOM_ASK_MS 1000
#define ROOM_KNOWN_MS 10000
/* What has to be left free on the instance besides what is on its way. */
#define ROOM_BYTES (64ull << 20)
#define ROOM_FILES 8192

static struct burst *burst_of(struct fs *fs, pid_t pid)
{
	return &fs->bursts[(unsigned)pid % (sizeof(fs->bursts) / sizeof(fs->bursts[0]))];
}

static bool is_alive(struct fs *fs, const struct burst *burst, pid_t pid)
{
	return burst->pid == pid && fs_now_ms(fs) - burst->last_ms <= BURST_PAUSE_MS;
}

void burst_note(struct fs *fs, pid_t pid, bool names)
{
	struct burst *burst = burst_of(fs, pid);

	if (!is_alive(fs, burst, pid)) {
		if (!names)
			return;
		*burst = (struct burst){.pid = pid};
	}
	burst->last_ms = fs_now_ms(fs);
	burst->changes += names;
	if (names)
		burst->sets = 0;
	if (burst->changes == BURST_FROM / 2)
		burst_room(fs); /* to know it when it counts */
}

void burst_sets(struct fs *fs, pid_t pid, const struct inode *inode)
{
	struct burst *burst = burst_of(fs, pid);

	if (!is_alive(fs, burst, pid))
		*burst = (struct burst){.pid = pid, .last_ms = fs_now_ms(fs)};
	burst->sets += burst->set_ino != inode->ino;
	burst->set_ino = inode->ino;
	burst_note(fs, pid, false);
}

void burst_wrote(struct fs *fs, pid_t pid)
{
	burst_note(fs, pid, false);
}

/* What was waited for is no pause of the program's. */
void burst_waited(struct fs *fs, pid_t pid, uint64_t started_ms)
{
	struct burst *burst = burst_of(fs, pid);

	if (burst->pid == pid && burst->last_ms >= started_ms)
		burst->last_ms = fs_now_ms(fs);
}

void burst_over(struct fs *fs, pid_t pid)
{
	struct burst *burst = burst_of(fs, pid);

	if (burst->pid == pid)
		burst->changes = burst->sets = 0, burst->lock_ino = 0;
}

/* Would another change that waits for the answers of those before it be done too late? */
static bool is_too_deep(const struct fs *fs)
{
	unsigned depth = outbox_depth(fs->outbox);
	uint64_t rtt_us = fs->outbox_channel ? pool_channel_rtt_us(fs->outbox_channel) : 0;

	return depth > ROW_MOST ||
	       (depth > ROW_LEAST && depth * rtt_us > fs->profile->lag * 1000000ull);
}

static bool is_row(const struct burst *burst)
{
	return burst->changes >= BURST_FROM || burst->sets >= BURST_FROM;
}

static bool is_within_bounds(const struct fs *fs)
{
	return fs->profile->lag && outbox_count(fs->outbox) < BACKLOG_MOST &&
	       outbox_age_ms(fs->outbox, fs_now_ms(fs)) < fs->profile->lag * 1000ull &&
	       !is_too_deep(fs) && behind_spool_takes(fs);
}

bool burst_on(struct fs *fs, pid_t pid)
{
	const struct burst *burst = burst_of(fs, pid);

	return is_alive(fs, burst, pid) && is_row(burst) && is_within_bounds(fs);
}

void burst_locked(struct fs *fs, pid_t pid, const struct inode *inode)
{
	struct burst *burst = burst_of(fs, pid);

	if (is_alive(fs, burst, pid))
		burst->lock_ino = inode->ino;
}

bool burst_unlocks(struct fs *fs, pid_t pid, const struct inode *inode)
{
	const struct burst *burst = burst_of(fs, pid);

	return is_alive(fs, burst, pid) && burst->lock_ino == inode->ino && is_within_bounds(fs);
}

/* The word in it, as in "LOCK", "write-lock", "lock.exclusive", "lockdir", "SingletonLock"; not in
 * "block1" or "clock.c". */
static bool says_lock(const char *name)
{
	const char *at = name;

	while ((at = strcasestr(at, "lock"))) {
		const char *behind = at + strlen("lock");
		bool begins = at == name || !isalpha((unsigned char)at[-1]) ||
			      (islower((unsigned char)at[-1]) && *at == 'L');

		if (begins && (!isalpha((unsigned char)*behind) || !strncasecmp(behind, "dir", 3) ||
				  !strncasecmp(behind, "file", 4)))
			return true;
		at = behind;
	}
	return !strcmp(name, "wlock");
}

/* How long the one is that the name ends with; 0: with none. */
static size_t ending_of(const char *name, const char *const *endings)
{
	size_t len = strlen(name);

	for (; *endings; endings++) {
		size_t ending = strlen(*endings);

		if (len >= ending && !strcmp(name + len - ending, *endings))
			return ending;
	}
	return 0;
}

bool burst_is_lock(const char *name)
{
	static const char *const endings[] = {".pid", ".swp", ".swx", ".lck", NULL};

	return !strncmp(name, ".#", 2) || says_lock(name) || ending_of(name, endings);
}

size_t burst_locked_name(const char *lock)
{
	static const char *const endings[] = {".lock", ".lck", NULL};
	size_t ending = ending_of(lock, endings);

	return ending ? strlen(lock) - ending : 0;
}

bool burst_knows(struct fs *fs, const struct inode *folder)
{
	const struct folder *dir = folder->folder;

	if (!dir->complete)
		return false;
	return folder->pending || dir->ours || fs_now_ms(fs) - dir->listed_ms < KNOWN_MS ||
	       listing_is_fresh(fs, folder);
}

/* Others than root and the owner not where names are protected from others than their owners. */
static bool may_write(const struct fs *fs, const struct inode *folder)
{
	uint32_t uid = remote_uid(fs->remote);

	return fs_login_may(fs, folder, 3) &&
	       (!uid || uid == folder->attr.uid || !(folder->attr.mode & S_ISVTX));
}

bool burst_ground(struct fs *fs, struct inode *folder, const char *name)
{
	return !burst_is_lock(name) && burst_ground_removed(fs, folder);
}

bool burst_ground_removed(struct fs *fs, struct inode *folder)
{
	if (fs->profile->read_only || !may_write(fs, folder))
		return false;
	if (burst_knows(fs, folder))
		return true;
	/* The next ones will know more. */
	listing_ahead(fs, folder);
	return false;
}

static void on_statvfs(void *arg, int err, const struct statvfs *st)
{
	struct fs *fs = arg;
	struct room *room = &fs->room;

	room->asking = false;
	if (err) {
		room->known_ms = 0;
		return;
	}
	room->known_ms = room->asked_ms;
	room->bytes = (uint64_t)st->f_bavail * (st->f_frsize ? st->f_frsize : 512);
	room->files = st->f_files ? st->f_favail : UINT64_MAX;
	room->read_only = st->f_flag & ST_RDONLY;
}

bool burst_room(struct fs *fs)
{
	struct room *room = &fs->room;
	struct content_figures figures;
	uint64_t now = fs_now_ms(fs);

	if (!room->asking && now - room->asked_ms > ROOM_ASK_MS) {
		room->asking = true;
		room->asked_ms = now;
		remote_statvfs(fs->remote, remote_root(fs->remote), on_statvfs, fs);
	}
	if (!room->known_ms || now - room->known_ms > ROOM_KNOWN_MS || room->read_only)
		return false;
	content_pool_figures(fs->contents, &figures);
	return room->bytes > ROOM_BYTES + figures.dirty_bytes &&
	       room->files > ROOM_FILES + outbox_count(fs->outbox);
}

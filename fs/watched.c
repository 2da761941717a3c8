/* Which folders are watched, and what that is worth. */
#include "conf/log.h"
#include "fs/watched_impl.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#define WATCHES_MAX 8192
#define IDLE_MS 60000 /* a watch not wanted for that long gives way */
#define LINK_MS 15000 /* a dead link is noticed by then (N2) */
#define HOLD_MS 600000
#define LOOKS_MAX 100000 /* names gone through when it has come up */
#define DOUBT_MS 2000
#define TICK_MS 400
#define PROFITS_MS 2000 /* pings go on for that long after somebody profited */
#define IDLE_PING_MS 5000
#define FRESH_MS 1000
#define BEHIND 16 /* ADDs not answered, and how long that takes */
#define BEHIND_MS 1500
#define RECALL_MS 3000 /* how long a digest is waited for */

/* --- the watches --- */

struct watch *watched_find(struct watched *watched, uint32_t number)
{
	struct watch *watch = watched->buckets[number % WATCH_BUCKETS];

	while (watch && watch->number != number)
		watch = watch->next;
	return watch;
}

void watched_remove(struct watched *watched, struct watch *watch)
{
	struct watch **at = &watched->buckets[watch->number % WATCH_BUCKETS];

	while (*at != watch)
		at = &(*at)->next;
	*at = watch->next;
	TAILQ_REMOVE(&watched->lru, watch, lru);
	watched->n--;
	watched->on -= watch->state == WATCH_ON;
	if (watch->recall)
		watch->recall->watch = NULL;
	watch->folder->folder->watch = NULL;
	free(watch);
}

/* Room for one more? Makes it, where a watch is of no use any more. */
static bool make_room(struct watched *watched, uint64_t now)
{
	struct watch *oldest = TAILQ_FIRST(&watched->lru);

	if (watched->n < watched->most)
		return true;
	if (!oldest || now - oldest->used_ms < IDLE_MS)
		return false;
	watcher_drop(watched->watcher, oldest->number);
	watched_remove(watched, oldest);
	return true;
}

static struct watch *add(struct fs *fs, struct inode *folder)
{
	struct watched *watched = fs->watched;
	struct watch *watch;
	char path[PATH_MAX];

	if (!make_room(watched, fs_now_ms(fs)) || names_path(fs->names, folder, path, sizeof(path)))
		return NULL;
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return NULL;
	watch->folder = folder;
	watch->number = ++watched->last_number;
	watch->asked_ms = fs_now_ms(fs);
	watch->asked_tick = names_tick(fs->names);
	watch->next = watched->buckets[watch->number % WATCH_BUCKETS];
	watched->buckets[watch->number % WATCH_BUCKETS] = watch;
	TAILQ_INSERT_TAIL(&watched->lru, watch, lru);
	watched->n++;
	folder->folder->watch = watch;
	watcher_add(watched->watcher, watch->number, true, path);
	return watch;
}

/* Where its path leads there may still be another one, or none. */
static bool is_on_its_way(const struct inode *folder)
{
	const struct dentry *dentry = LIST_FIRST(&folder->names);

	return folder->pending || (dentry && dentry->pending);
}

/* The folders above come first, and are wanted as lately as those below. Whether it is watched, or
 * may come to be. */
static bool want(struct fs *fs, struct inode *folder, uint64_t now)
{
	struct watched *watched = fs->watched;
	struct watch *watch = folder->folder->watch;
	struct inode *above = names_parent(folder);

	if (folder != names_root(fs->names) && (!above || !want(fs, above, now)))
		return false;
	if (watch && watch->state == WATCH_REFUSED && now - watch->asked_ms >= watch->rest_ms) {
		watched_remove(watched, watch);
		watch = NULL;
	}
	if (!watch && is_on_its_way(folder))
		watched_want_again(fs, AGAIN_MS);
	else if (!watch)
		watch = add(fs, folder);
	if (!watch || watch->state == WATCH_REFUSED)
		return false;
	watch->used_ms = now;
	TAILQ_REMOVE(&watched->lru, watch, lru);
	TAILQ_INSERT_TAIL(&watched->lru, watch, lru);
	return true;
}

void watched_want(struct fs *fs, struct inode *folder)
{
	if (fs->watched && watcher_state(fs->watched->watcher) == WATCHER_UP)
		want(fs, folder, fs_now_ms(fs));
}

void watched_listed(struct fs *fs, struct inode *folder)
{
	struct watch *watch = folder->folder->watch;

	if (!watch)
		watched_want(fs, folder); /* one above it may have been refused when it began */
	else if (watch->state == WATCH_ON && watch->digested)
		watched_verify(fs, watch);
}

void watched_forget(struct fs *fs, struct inode *inode)
{
	struct watch *watch = inode->folder ? inode->folder->watch : NULL;

	if (!watch)
		return;
	watcher_drop(fs->watched->watcher, watch->number);
	watched_remove(fs->watched, watch);
}

/* --- what that is worth --- */

static void ping(struct fs *fs)
{
	struct watched *watched = fs->watched;

	if (watched->flying || !watched->n || watcher_state(watched->watcher) != WATCHER_UP)
		return;
	watched->flying = true;
	watched->ping_ms = fs_now_ms(fs);
	watched->ping_tick = names_tick(fs->names);
	watcher_ping(watched->watcher, ++watched->ping);
}

/* The answer to a ping that was sent at most ms ago. */
static bool is_proven(struct fs *fs, uint64_t ms)
{
	const struct watched *watched = fs->watched;

	return watched && watched->proof_ms && fs->profile->attr_timeout &&
	       fs_now_ms(fs) - watched->proof_ms < ms;
}

/* The answer to a change of ours counts as seen when it came, though it may have been made just
 * before what the doubt is about. */
static bool is_doubted(const struct inode *inode)
{
	return inode->doubted_ms && inode->checked_ms <= inode->doubted_ms + DOUBT_MS;
}

/* Is it, and all above it, watched? Reports about a folder that were put aside do not matter for
 * what is in it: one that leads elsewhere loses its watch. */
static struct watch *watch_of(struct fs *fs, const struct inode *folder)
{
	struct watch *watch = folder->folder->watch, *above = watch;

	while (above && above->state == WATCH_ON) {
		if (folder == names_root(fs->names))
			return watch;
		folder = names_parent(folder);
		above = folder ? folder->folder->watch : NULL;
	}
	return NULL;
}

static bool is_held(struct fs *fs, uint64_t seen_ms, uint64_t since_ms)
{
	return seen_ms && seen_ms >= since_ms && fs_now_ms(fs) - seen_ms < HOLD_MS;
}

/* Of a folder its own watch tells, too, of what happens in it. */
static bool is_vouched(struct fs *fs, const struct inode *inode)
{
	const struct dentry *dentry = LIST_FIRST(&inode->names);
	struct watch *watch;

	if (is_doubted(inode))
		return false;
	if (inode->folder) {
		watch = watch_of(fs, inode);
		return watch && is_held(fs, inode->checked_ms, watch->since_ms);
	}
	if (!dentry || names_shared(inode) ||
	    (S_ISREG(inode->attr.mode) && inode->attr.nlink != 1)) {
		return false;
	}
	watch = dentry ? watch_of(fs, dentry->parent) : NULL;
	return watch && is_held(fs, inode->checked_ms, watch->since_ms);
}

bool watched_now(struct fs *fs, const struct inode *inode, uint64_t ms)
{
	if (!fs->watched)
		return false;
	fs->watched->used_ms = fs_now_ms(fs);
	if (is_proven(fs, ms))
		return is_vouched(fs, inode);
	if (!fs->watched->closed && fs->profile->attr_timeout)
		ping(fs); /* whoever comes next need not ask */
	return false;
}

bool watched_attr(struct fs *fs, const struct inode *inode)
{
	return watched_now(fs, inode, LINK_MS);
}

bool watched_names(struct fs *fs, const struct inode *folder)
{
	const struct watch *watch;

	if (!is_proven(fs, LINK_MS) || !folder->folder->complete)
		return false;
	watch = watch_of(fs, folder);
	return watch && is_held(fs, folder->folder->listed_ms, watch->names_ms);
}

/* --- what an earlier mount has seen --- */

/* What the instance has said of the folder just now, or vouches for still. */
static bool is_of_use(struct fs *fs, const struct watch *watch)
{
	return watch->state == WATCH_ON &&
	       (fs_now_ms(fs) - watch->asked_ms < FRESH_MS || is_proven(fs, LINK_MS));
}

/* It reads folders more slowly than they can be listed, and has enough to do? */
static bool is_behind(const struct watched *watched)
{
	return watched->n - watched->on > BEHIND && watched->lag_ms > BEHIND_MS;
}

int watched_recall(struct fs *fs, struct inode *folder, watched_recalled *done, void *arg)
{
	struct watched *watched = fs->watched;
	struct recall *recall;
	struct watch *watch;

	if (!watched || watcher_state(watched->watcher) != WATCHER_UP ||
	    !watcher_digests(watched->watcher) || !fs->profile->attr_timeout ||
	    !want(fs, folder, fs_now_ms(fs)))
		return -EOPNOTSUPP;
	watch = folder->folder->watch;
	if (is_of_use(fs, watch))
		return watched_holds(watch) ? 1 : -ESTALE;
	if (watch->state != WATCH_ASKED || watch->recall || is_behind(watched))
		return -EOPNOTSUPP;
	recall = calloc(1, sizeof(*recall));
	if (!recall)
		return -ENOMEM;
	*recall =
	    (struct recall){.watch = watch, .since_ms = fs_now_ms(fs), .done = done, .arg = arg};
	watch->recall = recall;
	TAILQ_INSERT_TAIL(&watched->recalls, recall, link);
	return 0;
}

static void end_recall(struct fs *fs, struct recall *recall, bool holds)
{
	TAILQ_REMOVE(&fs->watched->recalls, recall, link);
	if (recall->watch)
		recall->watch->recall = NULL;
	recall->done(recall->arg, holds);
	free(recall);
}

void watched_end_recall(struct fs *fs, struct watch *watch, bool holds)
{
	if (watch->recall)
		end_recall(fs, watch->recall, holds);
}

/* Those whose watch is gone, or slow. */
static void end_lost_recalls(struct fs *fs, bool all)
{
	struct recall *recall, *next;

	for (recall = TAILQ_FIRST(&fs->watched->recalls); recall; recall = next) {
		next = TAILQ_NEXT(recall, link);
		if (all || !recall->watch || fs_now_ms(fs) - recall->since_ms > RECALL_MS)
			end_recall(fs, recall, false);
	}
}

/* --- the watcher's life --- */

/* What was looked at before it ran: the kernel may go on with it without asking for long. */
static void want_below(struct fs *fs, struct inode *folder, unsigned *looks)
{
	struct dentry *dentry;

	if (folder->folder->complete && !want(fs, folder, fs_now_ms(fs)))
		return;
	TAILQ_FOREACH (dentry, &folder->folder->children, sibling) {
		if (!*looks)
			return;
		--*looks;
		if (dentry->inode && dentry->inode->folder)
			want_below(fs, dentry->inode, looks);
	}
}

void watched_want_known(struct fs *fs)
{
	unsigned looks = LOOKS_MAX;

	want_below(fs, names_root(fs->names), &looks);
}

void watched_want_again(struct fs *fs, uint64_t ms)
{
	uint64_t *at = &fs->watched->again_ms, then = fs_now_ms(fs) + ms;

	if (!*at || then < *at)
		*at = then;
}

static void on_up(void *arg, uint32_t limit)
{
	struct fs *fs = arg;
	struct watched *watched = fs->watched;

	watched->most = limit / 2 < WATCHES_MAX ? limit / 2 : WATCHES_MAX;
	watched->flying = false;
	watched->proof_ms = 0;
	log_verbose("%s watches the instance's folders, at most %u", watcher_by(watched->watcher),
	    watched->most);
	watched_want_known(fs);
}

static void on_down(void *arg)
{
	struct fs *fs = arg;
	struct watch *watch;

	fs->watched->proof_ms = 0;
	while ((watch = TAILQ_FIRST(&fs->watched->lru)))
		watched_remove(fs->watched, watch);
}

static void on_message(void *arg, const struct watcher_message *message)
{
	watched_message(arg, message);
}

static const struct watcher_events events = {.up = on_up, .down = on_down, .message = on_message};

static void on_tick(uv_timer_t *timer)
{
	struct fs *fs = timer->data;
	struct watched *watched = fs->watched;
	uint64_t now = fs_now_ms(fs);
	bool busy = now - watched->used_ms < PROFITS_MS;

	watcher_tick(watched->watcher);
	end_lost_recalls(fs, false);
	if (watcher_state(watched->watcher) != WATCHER_UP)
		return;
	if (watched->again_ms && now >= watched->again_ms) {
		watched->again_ms = 0;
		watched_want_known(fs);
	}
	if (now - watched->ping_ms >= (busy ? TICK_MS / 2 : IDLE_PING_MS))
		ping(fs);
}

int watched_start(struct fs *fs)
{
	struct watched *watched;
	int err;

	if (fs->profile->watch == WATCH_NO || fs->watched)
		return 0;
	watched = calloc(1, sizeof(*watched));
	if (!watched)
		return -ENOMEM;
	TAILQ_INIT(&watched->lru);
	TAILQ_INIT(&watched->recalls);
	err = watcher_new(&watched->watcher, fs->loop, remote_pool(fs->remote), &events, fs);
	if (err) {
		free(watched);
		return err;
	}
	fs->watched = watched;
	uv_timer_init(fs->loop, &watched->timer);
	watched->timer.data = fs;
	uv_timer_start(&watched->timer, on_tick, TICK_MS, TICK_MS);
	return 0;
}

void watched_stop(struct fs *fs)
{
	struct watched *watched = fs->watched;

	if (!watched || watched->closed)
		return;
	watched->closed = true;
	watched->proof_ms = 0;
	uv_close((uv_handle_t *)&watched->timer, NULL);
	while (!TAILQ_EMPTY(&watched->lru))
		watched_remove(watched, TAILQ_FIRST(&watched->lru));
	end_lost_recalls(fs, true);
	watcher_free(watched->watcher);
	watched->watcher = NULL;
}

void watched_free(struct fs *fs)
{
	free(fs->watched);
	fs->watched = NULL;
}

json_t *watched_json(struct fs *fs)
{
	struct watched *watched = fs->watched;
	const char *states[] = {"no", "starting", NULL};

	if (!watched)
		return json_pack("{s:s, s:s}", "state", "no", "why", "watch=no");
	states[WATCHER_UP] = watcher_by(watched->watcher);
	return json_pack("{s:s, s:s, s:i, s:i, s:I, s:I, s:I}", "state",
	    states[watcher_state(watched->watcher)], "why", watcher_why(watched->watcher),
	    "folders", (int)watched->on, "limit", (int)watched->most, "events",
	    (json_int_t)watched->events, "put_aside", (json_int_t)watched->aside, "pings",
	    (json_int_t)watched->ping);
}

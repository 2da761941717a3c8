#include "cache/outbox_impl.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_change(const struct outbox_item *item)
{
	return item->kind < OUTBOX_READ;
}

static bool is_file(const struct outbox_item *item)
{
	return item->kind == OUTBOX_CREATE || item->kind == OUTBOX_OPEN ||
	       item->kind == OUTBOX_FILE;
}

static void consider(struct outbox *outbox, struct outbox_item *item);

/* --- those that wait --- */

static void wake(struct outbox *outbox, struct outbox_item *blocker)
{
	struct outbox_items woken = TAILQ_HEAD_INITIALIZER(woken);
	struct outbox_item *item;

	TAILQ_CONCAT(&woken, &blocker->waiters, next);
	while ((item = TAILQ_FIRST(&woken))) {
		TAILQ_REMOVE(&woken, item, next);
		item->blocker = NULL;
		consider(outbox, item);
	}
}

/* By sequence; nearly always the last. */
static void into_ready(struct outbox *outbox, struct outbox_item *item)
{
	struct outbox_item *before = TAILQ_LAST(&outbox->ready, outbox_items);

	item->state = OUTBOX_READY;
	while (before && before->sequence > item->sequence)
		before = TAILQ_PREV(before, outbox_items, next);
	if (before)
		TAILQ_INSERT_AFTER(&outbox->ready, before, item, next);
	else
		TAILQ_INSERT_HEAD(&outbox->ready, item, next);
}

static void free_paths(struct outbox_item *item)
{
	free(item->path);
	free(item->to);
	item->path = item->to = NULL;
}

static void end_wait(struct outbox_item *item, int err)
{
	void (*done)(void *arg, int err) = item->done;
	void *arg = item->arg;

	free_paths(item);
	free(item);
	done(arg, err);
}

/* What stands in its way now? */
static void consider(struct outbox *outbox, struct outbox_item *item)
{
	item->blocker = outbox_index_blocker(outbox, item);
	if (item->blocker)
		TAILQ_INSERT_TAIL(&item->blocker->waiters, item, next);
	else if (is_change(item))
		into_ready(outbox, item);
	else
		end_wait(item, 0);
}

/* --- sending --- */

static bool has_room(const struct outbox *outbox, const struct outbox_item *item)
{
	if (outbox->lost || outbox->sent >= OUTBOX_SENT_MOST)
		return false;
	return !is_file(item) || outbox->files < OUTBOX_FILES_MOST;
}

static void pump(struct outbox *outbox)
{
	struct outbox_item *item;

	while ((item = TAILQ_FIRST(&outbox->ready)) && has_room(outbox, item)) {
		TAILQ_REMOVE(&outbox->ready, item, next);
		item->state = OUTBOX_SENT;
		outbox->sent++;
		outbox->files += is_file(item);
		outbox->ordered += item->kind != OUTBOX_FILE;
		outbox->sink->send(outbox->arg, item);
		wake(outbox, item); /* those now ready are sent by the next rounds */
	}
}

static unsigned depth_of(const struct outbox_item *item)
{
	unsigned depth = 1;

	for (; item->blocker; item = item->blocker)
		depth += outbox_needs_answer(item, item->blocker);
	return depth;
}

unsigned outbox_depth(const struct outbox *outbox)
{
	return outbox->deep ? depth_of(outbox->deep) : 0;
}

int outbox_add(struct outbox *outbox, struct outbox_item *item, enum outbox_kind kind,
    const char *path, const char *to, uint64_t now_ms)
{
	item->kind = kind;
	item->path = strdup(path);
	item->to = to ? strdup(to) : NULL;
	item->sequence = ++outbox->sequence;
	item->accepted_ms = now_ms;
	TAILQ_INIT(&item->waiters);
	if (!item->path || (to && !item->to) || outbox_index_add(outbox, item)) {
		free_paths(item);
		return -ENOMEM;
	}
	TAILQ_INSERT_TAIL(&outbox->items, item, link);
	outbox->count++;
	consider(outbox, item);
	if (depth_of(item) >= outbox_depth(outbox))
		outbox->deep = item;
	pump(outbox);
	return 0;
}

/* --- the end of changes --- */

/* Out of everything but for its waiters. */
static void take_out(struct outbox *outbox, struct outbox_item *item)
{
	if (item->blocker)
		TAILQ_REMOVE(&item->blocker->waiters, item, next);
	else if (item->state == OUTBOX_READY)
		TAILQ_REMOVE(&outbox->ready, item, next);
	item->blocker = NULL;
	if (outbox->deep == item)
		outbox->deep = NULL;
	outbox->doubts -= item->doubt;
	outbox_index_remove(outbox, item);
	TAILQ_REMOVE(&outbox->items, item, link);
	outbox->count--;
}

/* Those that are of no use without this one, the nearest first, behind it in the list. */
static void take_dependents(
    struct outbox *outbox, const struct outbox_item *failed, struct outbox_items *ends)
{
	struct outbox_item *item, *next;

	for (item = TAILQ_FIRST(&outbox->items); item; item = next) {
		next = TAILQ_NEXT(item, link);
		if (item->sequence <= failed->sequence || item->state == OUTBOX_SENT ||
		    !outbox_depends(item, failed))
			continue;
		take_out(outbox, item);
		TAILQ_INSERT_TAIL(ends, item, link);
	}
}

/* The owner hears of all of them before anybody goes on: what he knows is right again then. */
static void end(struct outbox *outbox, struct outbox_item *item, int err)
{
	struct outbox_items ends = TAILQ_HEAD_INITIALIZER(ends);
	struct outbox_items woken = TAILQ_HEAD_INITIALIZER(woken);
	struct outbox_item *waiter;

	take_out(outbox, item);
	TAILQ_INSERT_TAIL(&ends, item, link);
	if (err)
		TAILQ_FOREACH (item, &ends, link)
			take_dependents(outbox, item, &ends);
	TAILQ_FOREACH (item, &ends, link) {
		TAILQ_FOREACH (waiter, &item->waiters, next)
			waiter->blocker = NULL;
		TAILQ_CONCAT(&woken, &item->waiters, next);
	}
	while ((item = TAILQ_FIRST(&ends))) {
		TAILQ_REMOVE(&ends, item, link);
		outbox->sink->ended(outbox->arg, item, err);
	}
	while ((waiter = TAILQ_FIRST(&woken))) {
		TAILQ_REMOVE(&woken, waiter, next);
		consider(outbox, waiter);
	}
}

void outbox_answered(struct outbox *outbox, struct outbox_item *item, int err)
{
	outbox->sent--;
	outbox->files -= is_file(item);
	outbox->ordered -= item->kind != OUTBOX_FILE;
	item->state = OUTBOX_WAITING;
	if (err == -ENOTCONN && !outbox->closed) {
		outbox->doubts += !item->doubt;
		item->doubt = outbox->lost = true;
	} else {
		end(outbox, item, err);
	}
	/* All that was on its way has come back: those that are in doubt know their order. */
	if (outbox->lost && !outbox->ordered)
		outbox->sink->want_link(outbox->arg);
	else
		pump(outbox);
}

/* Each finds its place anew, since what was sent before may have to be sent again. */
void outbox_up(struct outbox *outbox)
{
	struct outbox_items waiting = TAILQ_HEAD_INITIALIZER(waiting);
	struct outbox_item *item, *waiter;

	if (!outbox->lost || outbox->ordered)
		return;
	outbox->lost = false;
	TAILQ_INIT(&outbox->ready);
	TAILQ_FOREACH (item, &outbox->items, link) {
		TAILQ_FOREACH (waiter, &item->waiters, next)
			waiter->blocker = NULL;
		/* Those that wait for more than a change are not in the list of changes. */
		while ((waiter = TAILQ_FIRST(&item->waiters))) {
			TAILQ_REMOVE(&item->waiters, waiter, next);
			if (!is_change(waiter))
				TAILQ_INSERT_TAIL(&waiting, waiter, next);
		}
	}
	TAILQ_FOREACH (item, &outbox->items, link) {
		if (item->state != OUTBOX_SENT) {
			item->state = OUTBOX_WAITING;
			consider(outbox, item);
		}
	}
	pump(outbox);
	while ((waiter = TAILQ_FIRST(&waiting))) {
		TAILQ_REMOVE(&waiting, waiter, next);
		consider(outbox, waiter);
	}
}

/* --- asking --- */

bool outbox_may_follow(const struct outbox *outbox, const char *path)
{
	struct outbox_item probe = {
	    .kind = OUTBOX_ALONE, .path = (char *)path, .sequence = UINT64_MAX};

	if (outbox->lost || !outbox_index_blocker(outbox, &probe))
		return false;
	probe.kind = OUTBOX_BEHIND;
	return !outbox_index_blocker(outbox, &probe);
}

int outbox_wait(struct outbox *outbox, enum outbox_kind kind, const char *path, const char *to,
    void (*done)(void *arg, int err), void *arg)
{
	struct outbox_item probe = {
	    .kind = kind, .path = (char *)path, .to = (char *)to, .sequence = UINT64_MAX};
	struct outbox_item *item;

	if (!outbox->count || !outbox_index_blocker(outbox, &probe))
		return 1;
	item = calloc(1, sizeof(*item));
	if (!item)
		return -ENOMEM;
	item->kind = kind;
	item->done = done;
	item->arg = arg;
	item->sequence = outbox->sequence + 1;
	TAILQ_INIT(&item->waiters);
	item->path = path ? strdup(path) : NULL;
	item->to = to ? strdup(to) : NULL;
	if ((path && !item->path) || (to && !item->to)) {
		free_paths(item);
		free(item);
		return -ENOMEM;
	}
	consider(outbox, item);
	return 0;
}

size_t outbox_count(const struct outbox *outbox)
{
	return outbox->count;
}

void outbox_each(
    const struct outbox *outbox, void (*each)(void *arg, const struct outbox_item *item), void *arg)
{
	const struct outbox_item *item;

	TAILQ_FOREACH (item, &outbox->items, link)
		each(arg, item);
}

uint64_t outbox_age_ms(const struct outbox *outbox, uint64_t now_ms)
{
	const struct outbox_item *first = TAILQ_FIRST(&outbox->items);

	return first && now_ms > first->accepted_ms ? now_ms - first->accepted_ms : 0;
}

bool outbox_path_there(const struct outbox *outbox, const char *path, const struct outbox_item *of,
    char *buf, size_t size)
{
	const struct outbox_item *item;
	char old[PATH_MAX];

	if (strlen(path) >= size || strlen(path) >= sizeof(old))
		return false;
	strcpy(buf, path);
	TAILQ_FOREACH_REVERSE(item, &outbox->items, outbox_items, link)
	{
		if (item->kind != OUTBOX_RENAME || (of && item->sequence > of->sequence) ||
		    (strcmp(buf, item->to) != 0 && !outbox_is_beneath(buf, item->to)))
			continue;
		strcpy(old, buf);
		if ((size_t)snprintf(buf, size, "%s%s", item->path, old + strlen(item->to)) >= size)
			return false;
	}
	return true;
}

/* --- life --- */

struct outbox *outbox_new(const struct outbox_sink *sink, void *arg)
{
	struct outbox *outbox = calloc(1, sizeof(*outbox));

	if (!outbox)
		return NULL;
	TAILQ_INIT(&outbox->items);
	TAILQ_INIT(&outbox->ready);
	outbox->sink = sink;
	outbox->arg = arg;
	return outbox;
}

void outbox_free(struct outbox *outbox)
{
	struct outbox_item *item, *waiter;

	if (!outbox)
		return;
	outbox->closed = outbox->lost = true;
	while ((item = TAILQ_FIRST(&outbox->items))) {
		take_out(outbox, item);
		while ((waiter = TAILQ_FIRST(&item->waiters))) {
			TAILQ_REMOVE(&item->waiters, waiter, next);
			waiter->blocker = NULL;
			if (is_change(waiter))
				waiter->state = OUTBOX_WAITING;
			else
				end_wait(waiter, -ENOTCONN);
		}
		outbox->sink->ended(outbox->arg, item, -ENOTCONN);
	}
	free(outbox);
}

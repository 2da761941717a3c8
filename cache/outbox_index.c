#include "cache/outbox_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* --- nodes --- */

static struct outbox_node **slot_of(
    const struct outbox *outbox, const char *path, size_t len, uint64_t hash)
{
	struct outbox_node *const *slot = &outbox->nodes[hash % OUTBOX_BUCKETS];

	while (*slot && ((*slot)->hash != hash || (*slot)->len != len ||
			    memcmp((*slot)->path, path, len) != 0))
		slot = &(*slot)->next;
	return (struct outbox_node **)slot;
}

static struct outbox_node *find(const struct outbox *outbox, const char *path, size_t len)
{
	return *slot_of(outbox, path, len, XXH3_64bits(path, len));
}

static struct outbox_node *make(struct outbox *outbox, const char *path, size_t len)
{
	uint64_t hash = XXH3_64bits(path, len);
	struct outbox_node **slot = slot_of(outbox, path, len, hash), *node = *slot;

	if (node)
		return node;
	node = calloc(1, sizeof(*node) + len + 1);
	if (!node)
		return NULL;
	TAILQ_INIT(&node->touches);
	node->hash = hash;
	node->len = len;
	memcpy(node->path, path, len);
	*slot = node;
	return node;
}

static void free_if_unused(struct outbox *outbox, struct outbox_node *node)
{
	struct outbox_node **slot;

	if (node->beneath || !TAILQ_EMPTY(&node->touches))
		return;
	slot = slot_of(outbox, node->path, node->len, node->hash);
	*slot = node->next;
	free(node);
}

/* The length of the folder above path's first len bytes; 0: there is none. */
static size_t above(const char *path, size_t len)
{
	while (len && path[len - 1] != '/')
		len--;
	return len ? len - 1 : 0;
}

static void leave_folders(struct outbox *outbox, const char *path, size_t from)
{
	size_t len;

	for (len = from; len; len = above(path, len)) {
		struct outbox_node *node = find(outbox, path, len);

		node->beneath--;
		free_if_unused(outbox, node);
	}
}

/* --- in and out --- */

static void untouch(struct outbox *outbox, struct outbox_touch *touch, const char *path)
{
	struct outbox_node *node = touch->node;

	if (!node)
		return;
	touch->node = NULL;
	TAILQ_REMOVE(&node->touches, touch, link);
	leave_folders(outbox, path, above(path, strlen(path)));
	free_if_unused(outbox, node);
}

static int touch_path(
    struct outbox *outbox, struct outbox_item *item, struct outbox_touch *touch, const char *path)
{
	size_t full = strlen(path), len;
	struct outbox_node *node = make(outbox, path, full);

	if (!node)
		return -ENOMEM;
	touch->item = item;
	touch->node = node;
	TAILQ_INSERT_TAIL(&node->touches, touch, link);
	for (len = above(path, full); len; len = above(path, len)) {
		node = make(outbox, path, len);
		if (!node)
			break;
		node->beneath++;
	}
	if (!len)
		return 0;
	/* Undo the part that was done: the folders below the one that could not be made. */
	for (full = above(path, full); full > len; full = above(path, full)) {
		node = find(outbox, path, full);
		node->beneath--;
		free_if_unused(outbox, node);
	}
	node = touch->node;
	touch->node = NULL;
	TAILQ_REMOVE(&node->touches, touch, link);
	free_if_unused(outbox, node);
	return -ENOMEM;
}

int outbox_index_add(struct outbox *outbox, struct outbox_item *item)
{
	int err = touch_path(outbox, item, &item->touches[0], item->path);

	if (!err && item->to) {
		err = touch_path(outbox, item, &item->touches[1], item->to);
		if (err)
			untouch(outbox, &item->touches[0], item->path);
	}
	return err;
}

void outbox_index_remove(struct outbox *outbox, struct outbox_item *item)
{
	untouch(outbox, &item->touches[0], item->path);
	if (item->to)
		untouch(outbox, &item->touches[1], item->to);
}

/* --- what stands in the way --- */

bool outbox_is_beneath(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	return !strncmp(path, folder, len) && path[len] == '/';
}

static bool is_names(enum outbox_kind kind)
{
	return kind != OUTBOX_OPEN && kind != OUTBOX_FILE && kind != OUTBOX_SETATTR;
}

/* Which of the two is later. */
static struct outbox_item *later(struct outbox_item *a, struct outbox_item *b)
{
	return !a || (b && b->sequence > a->sequence) ? b : a;
}

/* On its way, and the order with it. */
static bool is_sent(const struct outbox *outbox, const struct outbox_item *earlier)
{
	return earlier->state == OUTBOX_SENT && !outbox->doubts;
}

/* Is it enough that the earlier one was sent? */
static bool sent_will_do(
    const struct outbox *outbox, const struct outbox_item *item, const struct outbox_item *earlier)
{
	return is_sent(outbox, earlier) &&
	       (item->kind < OUTBOX_READ || item->kind == OUTBOX_BEHIND) &&
	       earlier->kind != OUTBOX_RENAME && earlier->kind != OUTBOX_FILE;
}

/* Does a rename on its way make room for the new file of that name? */
static bool makes_room(const struct outbox *outbox, const struct outbox_item *item,
    const struct outbox_item *earlier, const char *path)
{
	return item->kind == OUTBOX_BEHIND && earlier->kind == OUTBOX_RENAME && earlier->distinct &&
	       is_sent(outbox, earlier) && !strcmp(earlier->path, path);
}

/* Of those that name the path itself. */
static struct outbox_item *by_name(
    const struct outbox *outbox, const struct outbox_item *item, const char *path)
{
	const struct outbox_node *node = find(outbox, path, strlen(path));
	struct outbox_touch *touch;
	struct outbox_item *found = NULL;

	if (!node)
		return NULL;
	TAILQ_FOREACH (touch, &node->touches, link) {
		if (touch->item->sequence >= item->sequence)
			break;
		if ((item->kind != OUTBOX_READ || is_names(touch->item->kind)) &&
		    !makes_room(outbox, item, touch->item, path))
			found = touch->item;
	}
	return found;
}

/* Of those that name a folder above it. */
static struct outbox_item *by_folder(
    const struct outbox *outbox, const struct outbox_item *item, const char *path)
{
	struct outbox_item *found = NULL;
	size_t len;

	for (len = above(path, strlen(path)); len; len = above(path, len)) {
		const struct outbox_node *node = find(outbox, path, len);
		struct outbox_touch *touch;

		if (!node)
			continue;
		TAILQ_FOREACH (touch, &node->touches, link) {
			if (touch->item->sequence >= item->sequence)
				break;
			if (!sent_will_do(outbox, item, touch->item) &&
			    (item->kind != OUTBOX_READ || is_names(touch->item->kind)))
				found = later(found, touch->item);
		}
	}
	return found;
}

static bool touches_beneath(const struct outbox_item *item, const char *folder)
{
	return outbox_is_beneath(item->path, folder) ||
	       (item->to && outbox_is_beneath(item->to, folder));
}

/* Of those beneath it; only some kinds mind. */
static struct outbox_item *by_content(
    const struct outbox *outbox, const struct outbox_item *item, const char *path)
{
	const struct outbox_node *node;
	struct outbox_item *earlier;
	bool change = item->kind == OUTBOX_RMDIR || item->kind == OUTBOX_SETATTR;

	if (!change && item->kind != OUTBOX_BENEATH && !item->moves_folder)
		return NULL;
	node = find(outbox, path, strlen(path));
	if (!node || !node->beneath)
		return NULL;
	TAILQ_FOREACH_REVERSE(earlier, &outbox->items, outbox_items, link)
	{
		if (earlier->sequence >= item->sequence || !touches_beneath(earlier, path))
			continue;
		/* The data of a file and its folder's times have nothing to do with each other. */
		if (change && (earlier->kind == OUTBOX_FILE || is_sent(outbox, earlier)))
			continue;
		return earlier;
	}
	return NULL;
}

static struct outbox_item *by_path(
    const struct outbox *outbox, const struct outbox_item *item, const char *path)
{
	struct outbox_item *found = by_name(outbox, item, path);

	found = later(found, by_folder(outbox, item, path));
	return later(found, by_content(outbox, item, path));
}

struct outbox_item *outbox_index_blocker(
    const struct outbox *outbox, const struct outbox_item *item)
{
	struct outbox_item *found;

	if (item->kind == OUTBOX_ALL || item->after_all) {
		found = TAILQ_FIRST(&outbox->items);
		return found && found->sequence < item->sequence ? found : NULL;
	}
	found = by_path(outbox, item, item->path);
	return item->to ? later(found, by_path(outbox, item, item->to)) : found;
}

static bool named(const struct outbox_item *item, const char *path, bool or_beneath)
{
	return !strcmp(item->path, path) || (item->to && !strcmp(item->to, path)) ||
	       (or_beneath && touches_beneath(item, path));
}

bool outbox_needs_answer(const struct outbox_item *item, const struct outbox_item *earlier)
{
	return item->after_all || earlier->kind == OUTBOX_RENAME || earlier->kind == OUTBOX_FILE ||
	       named(item, earlier->path, false) ||
	       (earlier->to && named(item, earlier->to, false));
}

static bool takes_away(const struct outbox_item *item, const char *path)
{
	return (item->kind == OUTBOX_UNLINK && !strcmp(item->path, path)) ||
	       (item->kind == OUTBOX_RENAME && !strcmp(item->to, path));
}

bool outbox_depends(const struct outbox_item *item, const struct outbox_item *earlier)
{
	bool makes = is_names(earlier->kind);

	if (earlier->kind == OUTBOX_OPEN)
		return item->kind == OUTBOX_FILE && !strcmp(item->path, earlier->path);
	if (earlier->kind == OUTBOX_LINK)
		return named(item, earlier->to, false) || takes_away(item, earlier->path);
	/* What is removed needs no data. */
	if (earlier->kind == OUTBOX_SETATTR ||
	    ((earlier->kind == OUTBOX_FILE || earlier->kind == OUTBOX_TRUNCATE) &&
		item->kind == OUTBOX_UNLINK))
		return false;
	return named(item, earlier->path, makes) ||
	       (earlier->to && named(item, earlier->to, makes));
}

/* cache/outbox: order, what waits for what, failures, lost links; and a random history against a
 * model of a server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/outbox.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANGES 2000

struct change {
	struct outbox_item item;
	bool ended;
	int err;
	unsigned sends;
};

static struct {
	struct outbox *outbox;
	struct outbox_item *channel[CHANGES * 2]; /* sent, not answered, in order */
	unsigned first, last;
	unsigned ended, failed, wants;
	struct change changes[CHANGES];
	unsigned n;
	char log[4096]; /* what was sent, as letters of the kinds */
} t;

static void on_send(void *arg, struct outbox_item *item)
{
	struct change *change = (struct change *)item;

	(void)arg;
	change->sends++;
	assert_true(t.last < CHANGES * 2);
	t.channel[t.last++] = item;
}

static void on_ended(void *arg, struct outbox_item *item, int err)
{
	struct change *change = (struct change *)item;

	(void)arg;
	assert_false(change->ended);
	change->ended = true;
	change->err = err;
	t.ended++;
	t.failed += err != 0;
	free(item->path);
	free(item->to);
}

static void on_want_link(void *arg)
{
	(void)arg;
	t.wants++;
}

static const struct outbox_sink sink = {
    .send = on_send, .ended = on_ended, .want_link = on_want_link};

static int setup(void **state)
{
	(void)state;
	memset(&t, 0, sizeof(t));
	t.outbox = outbox_new(&sink, NULL);
	return t.outbox ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	outbox_free(t.outbox);
	assert_int_equal(t.ended, t.n);
	return 0;
}

static struct change *add(enum outbox_kind kind, const char *path, const char *to)
{
	struct change *change = &t.changes[t.n++];

	assert_true(t.n <= CHANGES);
	assert_int_equal(outbox_add(t.outbox, &change->item, kind, path, to, t.n), 0);
	return change;
}

static unsigned out(void)
{
	return t.last - t.first;
}

static bool is_out(const struct change *change)
{
	unsigned i;

	for (i = t.first; i < t.last; i++) {
		if (t.channel[i] == &change->item)
			return true;
	}
	return false;
}

/* The answer to the first on the way. */
static struct change *answer(int err)
{
	struct outbox_item *item = t.channel[t.first++];

	outbox_answered(t.outbox, item, err);
	return (struct change *)item;
}

static void answer_all(void)
{
	while (out())
		answer(0);
}

static void lose_link(void)
{
	unsigned last = t.last;

	while (t.first < last)
		answer(-ENOTCONN);
}

static void on_waited(void *arg, int err)
{
	int *result = arg;

	*result = err;
}

/* --- order --- */

static void data_of_a_file_waits_for_its_times(void **state)
{
	struct change *times, *data;

	(void)state;
	times = add(OUTBOX_FILE, "/f", NULL);
	data = add(OUTBOX_FILE, "/f", NULL);
	assert_true(is_out(times));
	assert_false(is_out(data));
	answer(0);
	assert_true(is_out(data));
	answer_all();
}

static void a_lock_is_given_back_after_all(void **state)
{
	struct change *folder, *file, *unlock = &t.changes[2];

	(void)state;
	folder = add(OUTBOX_MKDIR, "/d", NULL);
	file = add(OUTBOX_CREATE, "/e", NULL);
	unlock->item.after_all = true;
	assert_ptr_equal(add(OUTBOX_UNLINK, "/x.lock", NULL), unlock);
	assert_true(is_out(folder) && is_out(file));
	assert_false(is_out(unlock));
	/* what comes later waits for nobody */
	assert_true(is_out(add(OUTBOX_MKDIR, "/f", NULL)));
	answer(0);
	assert_false(is_out(unlock));
	answer(-ENOSPC); /* a lock is given back whatever became of the rest */
	assert_true(is_out(unlock));
	answer_all();
	assert_true(unlock->ended && !unlock->err);
}

static void children_follow_at_once(void **state)
{
	struct change *a, *b, *c;

	(void)state;
	a = add(OUTBOX_MKDIR, "/r/a", NULL);
	b = add(OUTBOX_MKDIR, "/r/a/b", NULL);
	c = add(OUTBOX_CREATE, "/r/a/b/c", NULL);
	assert_int_equal(out(), 3);
	assert_ptr_equal(answer(0), a);
	assert_ptr_equal(answer(0), b);
	assert_ptr_equal(answer(0), c);
	assert_int_equal(outbox_count(t.outbox), 0);
}

static void same_name_waits_for_the_answer(void **state)
{
	struct change *second;

	(void)state;
	add(OUTBOX_UNLINK, "/r/x", NULL);
	second = add(OUTBOX_CREATE, "/r/x", NULL);
	add(OUTBOX_CREATE, "/r/y", NULL);
	assert_int_equal(out(), 2);
	assert_false(is_out(second));
	answer(0);
	assert_true(is_out(second));
}

static void folder_goes_after_its_content(void **state)
{
	struct change *blocked, *folder;

	(void)state;
	add(OUTBOX_UNLINK, "/r/d/1", NULL);
	add(OUTBOX_UNLINK, "/r/d/2", NULL);
	assert_true(is_out(add(OUTBOX_RMDIR, "/r/d", NULL)));
	answer_all();
	/* One that is not sent yet holds the folder up. */
	add(OUTBOX_CREATE, "/r/e/1", NULL);
	blocked = add(OUTBOX_UNLINK, "/r/e/1", NULL);
	folder = add(OUTBOX_RMDIR, "/r/e", NULL);
	assert_false(is_out(folder));
	answer(0);
	assert_true(is_out(blocked));
	assert_true(is_out(folder));
	assert_ptr_equal(answer(0), blocked);
}

static void folder_is_renamed_after_all_in_it(void **state)
{
	struct change *file, *rename = &t.changes[3], *inside, *again;

	(void)state;
	add(OUTBOX_MKDIR, "/r/d", NULL);
	add(OUTBOX_CREATE, "/r/d/f", NULL);
	file = add(OUTBOX_FILE, "/r/d/f", NULL);
	rename->item.moves_folder = true;
	assert_ptr_equal(add(OUTBOX_RENAME, "/r/d", "/r/e"), rename);
	inside = add(OUTBOX_UNLINK, "/r/e/f", NULL);
	again = add(OUTBOX_CREATE, "/r/d/f", NULL);
	answer(0);
	answer(0);
	assert_true(is_out(file) && !is_out(rename));
	answer(0);
	assert_true(is_out(rename) && !is_out(inside) && !is_out(again));
	answer(0);
	assert_true(is_out(inside) && is_out(again));
	answer_all();
}

static void failed_folder_rename_takes_what_is_in_it_along(void **state)
{
	struct change *rename = &t.changes[0], *inside;

	(void)state;
	rename->item.moves_folder = true;
	add(OUTBOX_RENAME, "/r/d", "/r/e");
	inside = add(OUTBOX_CREATE, "/r/e/f", NULL);
	answer(-ENOTEMPTY);
	assert_int_equal(inside->err, -ENOTEMPTY);
	assert_int_equal(outbox_count(t.outbox), 0);
}

static void data_waits_for_the_truncation(void **state)
{
	struct change *cut, *data, *gone;

	(void)state;
	cut = add(OUTBOX_TRUNCATE, "/r/f", NULL);
	data = add(OUTBOX_FILE, "/r/f", NULL);
	gone = add(OUTBOX_UNLINK, "/r/f", NULL);
	assert_true(is_out(cut) && !is_out(data));
	answer(-EFBIG); /* what is removed needs neither */
	assert_int_equal(data->err, -EFBIG);
	assert_true(is_out(gone));
	answer_all();
	assert_true(gone->ended && !gone->err);
}

static void rename_waits_for_the_data(void **state)
{
	struct change *file, *rename, *again;

	(void)state;
	add(OUTBOX_CREATE, "/r/tmp", NULL);
	file = add(OUTBOX_FILE, "/r/tmp", NULL);
	rename = add(OUTBOX_RENAME, "/r/tmp", "/r/final");
	again = add(OUTBOX_CREATE, "/r/tmp", NULL);
	assert_int_equal(out(), 1);
	answer(0);
	assert_true(is_out(file) && !is_out(rename));
	answer(0);
	assert_true(is_out(rename) && !is_out(again));
	answer(0);
	assert_true(is_out(again));
}

static void siblings_do_not_wait(void **state)
{
	char path[64];
	int i;

	(void)state;
	for (i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "/r/d%d", i);
		add(OUTBOX_MKDIR, path, NULL);
	}
	/* /r/d1 is no folder above /r/d10 */
	assert_int_equal(out(), 100);
}

static void only_so_many_at_once(void **state)
{
	char path[64];
	int i;

	(void)state;
	for (i = 0; i < 1000; i++) {
		snprintf(path, sizeof(path), "/r/%d", i);
		add(i % 2 ? OUTBOX_CREATE : OUTBOX_UNLINK, path, NULL);
	}
	assert_in_range(out(), 100, 512);
	for (i = 0; i < 1000; i++)
		assert_ptr_equal(answer(0), &t.changes[i]);
}

/* --- failures --- */

static void failure_takes_dependents(void **state)
{
	struct change *create, *file, *rename, *beneath, *other, *set;

	(void)state;
	create = add(OUTBOX_CREATE, "/r/a", NULL);
	file = add(OUTBOX_FILE, "/r/a", NULL);
	rename = add(OUTBOX_RENAME, "/r/a", "/r/b");
	beneath = add(OUTBOX_SETATTR, "/r/b", NULL);
	other = add(OUTBOX_CREATE, "/r/c", NULL);
	set = add(OUTBOX_SETATTR, "/r/c", NULL);
	answer(-EACCES);
	assert_int_equal(create->err, -EACCES);
	assert_int_equal(file->err, -EACCES);
	assert_int_equal(rename->err, -EACCES);
	assert_int_equal(beneath->err, -EACCES);
	assert_int_equal(file->sends, 0);
	assert_false(other->ended);
	answer_all();
	assert_int_equal(other->err, 0);
	assert_int_equal(set->err, 0);
}

static void a_link_follows_its_file(void **state)
{
	struct change *file, *link, *first, *second, *beside;

	(void)state;
	add(OUTBOX_CREATE, "/r/tmp", NULL);
	file = add(OUTBOX_FILE, "/r/tmp", NULL);
	link = add(OUTBOX_LINK, "/r/tmp", "/r/object");
	first = add(OUTBOX_UNLINK, "/r/tmp", NULL);
	second = add(OUTBOX_SETATTR, "/r/object", NULL);
	beside = add(OUTBOX_CREATE, "/r/other", NULL);
	answer(0);
	assert_ptr_equal(answer(0), beside);
	assert_true(is_out(file) && !is_out(link));
	answer(0);
	assert_true(is_out(link) && !is_out(first) && !is_out(second));
	answer(0);
	assert_true(is_out(first) && is_out(second));
}

static void a_file_without_its_link_stays(void **state)
{
	struct change *link, *file, *renamed, *second, *first;

	(void)state;
	link = add(OUTBOX_LINK, "/r/tmp", "/r/object");
	second = add(OUTBOX_SETATTR, "/r/object", NULL);
	file = add(OUTBOX_FILE, "/r/tmp", NULL);
	renamed = add(OUTBOX_RENAME, "/r/other", "/r/tmp");
	first = add(OUTBOX_UNLINK, "/r/tmp", NULL);
	answer(-EEXIST);
	assert_int_equal(link->err, -EEXIST);
	assert_int_equal(second->err, -EEXIST);
	assert_int_equal(renamed->err, -EEXIST);
	assert_int_equal(first->err, -EEXIST);
	assert_true(is_out(file));
	answer(0);
	assert_int_equal(file->err, 0);
}

static void an_open_takes_only_what_is_written(void **state)
{
	struct change *open, *file, *opened, *rename;
	int waited;

	(void)state;
	open = add(OUTBOX_OPEN, "/r/a", NULL);
	file = add(OUTBOX_FILE, "/r/a", NULL);
	opened = add(OUTBOX_OPEN, "/r/b", NULL);
	/* to ask about it does not wait for it */
	assert_int_equal(outbox_wait(t.outbox, OUTBOX_READ, "/r/b", NULL, on_waited, &waited), 1);
	rename = add(OUTBOX_RENAME, "/r/b", "/r/c");
	answer(-EACCES);
	assert_int_equal(open->err, -EACCES);
	assert_int_equal(file->err, -EACCES);
	assert_false(is_out(rename));
	answer(-EACCES);
	assert_int_equal(opened->err, -EACCES);
	assert_true(is_out(rename));
	answer_all();
	assert_int_equal(rename->err, 0);
}

static void attributes_take_nothing_with_them(void **state)
{
	struct change *rename;

	(void)state;
	add(OUTBOX_SETATTR, "/r/a", NULL);
	rename = add(OUTBOX_RENAME, "/r/a", "/r/b");
	answer(-EPERM);
	answer(0);
	assert_int_equal(rename->err, 0);
	assert_int_equal(t.failed, 1);
}

/* --- lost links --- */

static void lost_link_asks_in_order(void **state)
{
	struct change *a, *b, *c;

	(void)state;
	a = add(OUTBOX_MKDIR, "/r/a", NULL);
	b = add(OUTBOX_CREATE, "/r/a/b", NULL);
	c = add(OUTBOX_UNLINK, "/r/c", NULL);
	lose_link();
	assert_int_equal(t.wants, 1);
	assert_int_equal(out(), 0);
	add(OUTBOX_CREATE, "/r/later", NULL);
	assert_int_equal(out(), 0);
	outbox_up(t.outbox);
	assert_true(is_out(a) && is_out(c) && !is_out(b));
	assert_true(a->item.doubt);
	answer(0);
	assert_true(is_out(b));
	answer_all();
	assert_int_equal(t.failed, 0);
	/* In order again. */
	add(OUTBOX_MKDIR, "/r/e", NULL);
	add(OUTBOX_MKDIR, "/r/e/f", NULL);
	assert_int_equal(out(), 2);
}

/* --- waiting --- */

static void readers_wait_for_names(void **state)
{
	int beneath = 1, self = 1, all = 1, alone = 1;

	(void)state;
	add(OUTBOX_MKDIR, "/r/a", NULL);
	add(OUTBOX_SETATTR, "/r/f", NULL);
	assert_int_equal(
	    outbox_wait(t.outbox, OUTBOX_READ, "/r/a/x", NULL, on_waited, &beneath), 0);
	assert_int_equal(outbox_wait(t.outbox, OUTBOX_READ, "/r/a", NULL, on_waited, &self), 0);
	assert_int_equal(outbox_wait(t.outbox, OUTBOX_READ, "/r/f", NULL, on_waited, &self), 1);
	assert_int_equal(outbox_wait(t.outbox, OUTBOX_READ, "/r", NULL, on_waited, &self), 1);
	assert_int_equal(outbox_wait(t.outbox, OUTBOX_ALONE, "/r/f", NULL, on_waited, &alone), 0);
	assert_int_equal(outbox_wait(t.outbox, OUTBOX_ALL, NULL, NULL, on_waited, &all), 0);
	answer(0);
	assert_int_equal(beneath, 0);
	assert_int_equal(self, 0);
	assert_int_equal(all, 1);
	add(OUTBOX_MKDIR, "/r/not-waited-for", NULL);
	answer(0);
	assert_int_equal(alone, 0);
	assert_int_equal(all, 0);
}

static void on_followed(void *arg, int err)
{
	bool *followed = arg;

	assert_int_equal(err, 0);
	*followed = is_out(&t.changes[t.n - 1]);
}

static void a_new_file_may_follow_what_is_sent(void **state)
{
	bool followed = false;
	int other = 1;

	(void)state;
	add(OUTBOX_FILE, "/r/lock", NULL);
	t.changes[t.n].item.distinct = true;
	add(OUTBOX_RENAME, "/r/lock", "/r/f");
	assert_false(outbox_may_follow(t.outbox, "/r/lock"));
	assert_int_equal(
	    outbox_wait(t.outbox, OUTBOX_BEHIND, "/r/lock", NULL, on_followed, &followed), 0);
	answer(0);
	assert_true(followed);
	assert_true(outbox_may_follow(t.outbox, "/r/lock"));
	assert_false(outbox_may_follow(t.outbox, "/r/lock2")); /* there is nothing to follow */
	assert_false(outbox_may_follow(t.outbox, "/r/f"));
	assert_false(outbox_may_follow(t.outbox, "/r/f/below"));
	lose_link();
	assert_false(outbox_may_follow(t.outbox, "/r/lock"));
	outbox_up(t.outbox);
	assert_false(outbox_may_follow(t.outbox, "/r/lock"));
	answer_all();
	assert_false(outbox_may_follow(t.outbox, "/r/lock"));
	/* What could be taken for the new one after a lost link, or takes it away. */
	add(OUTBOX_RENAME, "/r/empty", "/r/g");
	assert_false(outbox_may_follow(t.outbox, "/r/empty"));
	add(OUTBOX_UNLINK, "/r/gone", NULL);
	assert_false(outbox_may_follow(t.outbox, "/r/gone"));
	assert_int_equal(
	    outbox_wait(t.outbox, OUTBOX_BEHIND, "/r/gone", NULL, on_waited, &other), 0);
	answer_all();
	assert_int_equal(other, 0);
}

static void a_new_file_follows_its_folder_alone(void **state)
{
	bool waited = false;

	(void)state;
	add(OUTBOX_MKDIR, "/r/d", NULL);
	add(OUTBOX_FILE, "/r/big", NULL);
	assert_true(outbox_may_follow(t.outbox, "/r/d/lock"));
	/* Nothing is in its way: it need not go through the same channel. */
	assert_false(outbox_may_follow(t.outbox, "/r/lock"));
	assert_int_equal(
	    outbox_wait(t.outbox, OUTBOX_BEHIND, "/r/lock", NULL, on_followed, &waited), 1);
	answer_all();
	t.changes[t.n].item.moves_folder = true;
	add(OUTBOX_RENAME, "/r/d", "/r/e");
	assert_false(outbox_may_follow(t.outbox, "/r/e/lock"));
	answer_all();
}

static void folder_waits_for_all_beneath(void **state)
{
	int waited = 1;

	(void)state;
	add(OUTBOX_CREATE, "/r/a/b/c", NULL);
	add(OUTBOX_FILE, "/r/a/b/c", NULL);
	assert_int_equal(
	    outbox_wait(t.outbox, OUTBOX_BENEATH, "/r/a", "/r/z", on_waited, &waited), 0);
	answer(0);
	assert_int_equal(waited, 1);
	answer(0);
	assert_int_equal(waited, 0);
}

static void those_who_wait_are_told_of_the_end(void **state)
{
	int waited = 1;

	(void)state;
	add(OUTBOX_MKDIR, "/r/a", NULL);
	assert_int_equal(outbox_wait(t.outbox, OUTBOX_ALL, NULL, NULL, on_waited, &waited), 0);
	outbox_free(t.outbox);
	assert_int_equal(waited, -ENOTCONN);
	assert_int_equal(t.changes[0].err, -ENOTCONN);
	t.outbox = NULL;
}

static void paths_there(void **state)
{
	char buf[64];

	(void)state;
	add(OUTBOX_RENAME, "/r/a", "/r/b");
	add(OUTBOX_RENAME, "/r/b", "/r/c");
	assert_true(outbox_path_there(t.outbox, "/r/c", NULL, buf, sizeof(buf)));
	assert_string_equal(buf, "/r/a");
	answer(0);
	assert_true(outbox_path_there(t.outbox, "/r/c", NULL, buf, sizeof(buf)));
	assert_string_equal(buf, "/r/b");
	assert_true(outbox_path_there(t.outbox, "/r/cc", NULL, buf, sizeof(buf)));
	assert_string_equal(buf, "/r/cc");
	/* what is to be sent before another file takes the name is not that file's */
	add(OUTBOX_FILE, "/r/d", NULL);
	add(OUTBOX_RENAME, "/r/e", "/r/d");
	assert_true(outbox_path_there(t.outbox, "/r/d", NULL, buf, sizeof(buf)));
	assert_string_equal(buf, "/r/e");
	assert_true(outbox_path_there(t.outbox, "/r/d", &t.changes[2].item, buf, sizeof(buf)));
	assert_string_equal(buf, "/r/d");
}

static void age(void **state)
{
	(void)state;
	assert_int_equal(outbox_age_ms(t.outbox, 100), 0);
	add(OUTBOX_MKDIR, "/r/a", NULL);
	add(OUTBOX_MKDIR, "/r/b", NULL);
	assert_int_equal(outbox_age_ms(t.outbox, 100), 99);
	answer(0);
	assert_int_equal(outbox_age_ms(t.outbox, 100), 98);
}

/* --- a random history --- */

/*
 * Six names in each folder, three deep. Two trees: as programs here see it, where each change is
 * done when it is accepted, and the server's, which does what comes through the channel in turn. A
 * lost link drops what it had not done yet; none of the answers arrive. Every change must succeed
 * on the server, and in the end both are the same.
 */
enum { NOTHING, FOLDER, FILE_EMPTY, FILE_FULL };
#define NAMES 6
#define SLOTS (NAMES + NAMES * NAMES + NAMES * NAMES * NAMES)

struct tree {
	char at[SLOTS];
};

static struct tree here, there;
static unsigned executed;

static void slot_path(int slot, char *buf, size_t size)
{
	if (slot < NAMES)
		snprintf(buf, size, "/%c", 'a' + slot);
	else if (slot < NAMES + NAMES * NAMES)
		snprintf(buf, size, "/%c/%c", 'a' + (slot - NAMES) / NAMES, 'a' + slot % NAMES);
	else {
		int n = slot - NAMES - NAMES * NAMES;

		snprintf(buf, size, "/%c/%c/%c", 'a' + n / NAMES / NAMES, 'a' + n / NAMES % NAMES,
		    'a' + n % NAMES);
	}
}

static int path_slot(const char *path)
{
	size_t len = strlen(path);

	if (len == 2)
		return path[1] - 'a';
	if (len == 4)
		return NAMES + (path[1] - 'a') * NAMES + path[3] - 'a';
	assert_int_equal(len, 6);
	return NAMES + NAMES * NAMES + ((path[1] - 'a') * NAMES + path[3] - 'a') * NAMES + path[5] -
	       'a';
}

static bool parent_is_there(const struct tree *tree, int slot)
{
	char path[8];

	slot_path(slot, path, sizeof(path));
	if (strlen(path) == 2)
		return true;
	path[strlen(path) - 2] = '\0';
	return tree->at[path_slot(path)] == FOLDER;
}

static bool is_empty(const struct tree *tree, int slot)
{
	char folder[8], path[8];
	int i;

	slot_path(slot, folder, sizeof(folder));
	for (i = 0; i < SLOTS; i++) {
		slot_path(i, path, sizeof(path));
		if (tree->at[i] && strlen(path) > strlen(folder) &&
		    !strncmp(path, folder, strlen(folder)))
			return false;
	}
	return true;
}

/* 0 or an errno; changes the tree. */
static int apply(struct tree *tree, enum outbox_kind kind, int slot, int to)
{
	if (!parent_is_there(tree, slot) || (to >= 0 && !parent_is_there(tree, to)))
		return -ENOENT;
	switch (kind) {
	case OUTBOX_MKDIR:
	case OUTBOX_CREATE:
		if (tree->at[slot])
			return -EEXIST;
		tree->at[slot] = kind == OUTBOX_MKDIR ? FOLDER : FILE_EMPTY;
		return 0;
	case OUTBOX_RMDIR:
		if (tree->at[slot] != FOLDER)
			return -ENOTDIR;
		if (!is_empty(tree, slot))
			return -ENOTEMPTY;
		tree->at[slot] = NOTHING;
		return 0;
	case OUTBOX_UNLINK:
		if (tree->at[slot] < FILE_EMPTY)
			return -ENOENT;
		tree->at[slot] = NOTHING;
		return 0;
	case OUTBOX_FILE:
		if (tree->at[slot] < FILE_EMPTY)
			return -ENOENT;
		tree->at[slot] = FILE_FULL;
		return 0;
	case OUTBOX_RENAME:
		if (tree->at[slot] < FILE_EMPTY || tree->at[to] == FOLDER || to == slot)
			return -ENOENT;
		tree->at[to] = tree->at[slot];
		tree->at[slot] = NOTHING;
		return 0;
	default:
		return -EINVAL;
	}
}

/* Looks whether it was done, as the transport does. */
static bool was_done(const struct outbox_item *item)
{
	int slot = path_slot(item->path);

	switch (item->kind) {
	case OUTBOX_MKDIR:
		return there.at[slot] == FOLDER;
	case OUTBOX_CREATE:
		return there.at[slot] == FILE_EMPTY;
	case OUTBOX_RMDIR:
	case OUTBOX_UNLINK:
		return there.at[slot] == NOTHING;
	case OUTBOX_RENAME:
		return there.at[slot] == NOTHING && there.at[path_slot(item->to)] >= FILE_EMPTY;
	default:
		return false;
	}
}

static void server_does(struct outbox_item *item)
{
	int err;

	if (item->doubt && was_done(item))
		return;
	err = apply(&there, item->kind, path_slot(item->path), item->to ? path_slot(item->to) : -1);
	if (err)
		print_error(
		    "%d %s %s: %d\n", item->kind, item->path, item->to ? item->to : "", err);
	assert_int_equal(err, 0);
}

static void server_goes_on(unsigned n)
{
	for (; n && executed < t.last; n--)
		server_does(t.channel[executed++]);
}

static void random_change(void)
{
	static const enum outbox_kind kinds[] = {OUTBOX_MKDIR, OUTBOX_CREATE, OUTBOX_CREATE,
	    OUTBOX_FILE, OUTBOX_RENAME, OUTBOX_UNLINK, OUTBOX_RMDIR};
	enum outbox_kind kind = kinds[rand() % 7];
	int slot = rand() % SLOTS, to = kind == OUTBOX_RENAME ? rand() % SLOTS : -1;
	char path[8], other[8];

	if (apply(&here, kind, slot, to))
		return;
	slot_path(slot, path, sizeof(path));
	if (to >= 0)
		slot_path(to, other, sizeof(other));
	add(kind, path, to >= 0 ? other : NULL);
}

static void random_history(unsigned seed, bool losses)
{
	int steps = 30000;

	srand(seed);
	memset(&here, 0, sizeof(here));
	memset(&there, 0, sizeof(there));
	executed = 0;
	while ((steps-- > 0 || out() || outbox_count(t.outbox)) && t.last < CHANGES * 2 - 600) {
		int dice = rand() % 100;

		if (dice < 50 && t.n < CHANGES - 10 && steps > 0) {
			random_change();
		} else if (dice < 75) {
			server_goes_on((unsigned)rand() % 8);
		} else if (dice < 98 || !losses) {
			if (t.first < executed)
				answer(0);
		} else if (out()) {
			server_goes_on((unsigned)rand() % 4);
			lose_link();
			executed = t.last; /* what it had not done is gone */
			outbox_up(t.outbox);
		}
	}
	server_goes_on(UINT32_MAX);
	while (out()) {
		server_goes_on(UINT32_MAX);
		answer(0);
	}
	assert_int_equal(t.failed, 0);
	assert_int_equal(outbox_count(t.outbox), 0);
	assert_memory_equal(&here, &there, sizeof(here));
}

static void random_histories(void **state)
{
	unsigned seed;

	for (seed = 1; seed <= 40; seed++) {
		random_history(seed, false);
		teardown(state);
		setup(state);
	}
}

static void random_histories_with_losses(void **state)
{
	unsigned seed;

	for (seed = 1; seed <= 40; seed++) {
		random_history(seed, true);
		teardown(state);
		setup(state);
	}
}

static void depth_counts_answers_waited_for(void **state)
{
	char path[32];

	(void)state;
	assert_int_equal(outbox_depth(t.outbox), 0);
	/* a tree: its files follow at once, and their data one answer later */
	add(OUTBOX_MKDIR, "/tree", NULL);
	for (int i = 0; i < 20; i++) {
		snprintf(path, sizeof(path), "/tree/%d", i);
		add(OUTBOX_CREATE, path, NULL);
		add(OUTBOX_FILE, path, NULL);
	}
	assert_int_equal(outbox_depth(t.outbox), 2);
	answer_all();
	assert_int_equal(outbox_depth(t.outbox), 0);
	/* a name that is there and gone */
	for (int i = 0; i < 10; i++) {
		add(OUTBOX_MKDIR, "/a", NULL);
		add(OUTBOX_RENAME, "/a", "/b");
		add(OUTBOX_RMDIR, "/b", NULL);
	}
	/* the next mkdir does not wait for the rmdir */
	assert_int_equal(outbox_depth(t.outbox), 21);
	add(OUTBOX_MKDIR, "/other", NULL);
	assert_int_equal(outbox_depth(t.outbox), 21);
	answer(0);
	assert_int_equal(outbox_depth(t.outbox), 20);
	answer_all();
	assert_int_equal(outbox_depth(t.outbox), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_lock_is_given_back_after_all),
	    TEST(data_of_a_file_waits_for_its_times),
	    TEST(children_follow_at_once),
	    TEST(same_name_waits_for_the_answer),
	    TEST(folder_goes_after_its_content),
	    TEST(folder_is_renamed_after_all_in_it),
	    TEST(failed_folder_rename_takes_what_is_in_it_along),
	    TEST(data_waits_for_the_truncation),
	    TEST(rename_waits_for_the_data),
	    TEST(siblings_do_not_wait),
	    TEST(only_so_many_at_once),
	    TEST(failure_takes_dependents),
	    TEST(an_open_takes_only_what_is_written),
	    TEST(a_link_follows_its_file),
	    TEST(a_file_without_its_link_stays),
	    TEST(attributes_take_nothing_with_them),
	    TEST(lost_link_asks_in_order),
	    TEST(readers_wait_for_names),
	    TEST(a_new_file_may_follow_what_is_sent),
	    TEST(a_new_file_follows_its_folder_alone),
	    TEST(folder_waits_for_all_beneath),
	    TEST(those_who_wait_are_told_of_the_end),
	    TEST(paths_there),
	    TEST(age),
	    TEST(depth_counts_answers_waited_for),
	    TEST(random_histories),
	    TEST(random_histories_with_losses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

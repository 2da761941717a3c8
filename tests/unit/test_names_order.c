/* The order that names are given out in: whoever goes on behind a place meets every name that was
 * there all the time once, whatever happens meanwhile. */
#include "cache/names_order.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NAMES 500

struct rig {
	struct names *names;
	struct inode *root;
	unsigned changed;
};

static void on_any(void *arg, struct inode *inode)
{
	(void)arg;
	(void)inode;
}

static void on_gone(void *arg, struct inode *parent, const char *name, struct inode *inode)
{
	(void)arg;
	(void)parent;
	(void)name;
	(void)inode;
}

static void on_changed(void *arg, struct inode *folder)
{
	struct rig *rig = arg;

	assert_ptr_equal(folder, rig->root);
	rig->changed++;
}

static const struct names_events events = {.version_changed = on_any,
    .name_gone = on_gone,
    .listing_changed = on_changed,
    .freed = on_any};
static const struct attr_report file = {.mode = S_IFREG | 0644, .mtime = 100, .nlink = 1};
static const struct attr_report folder = {.mode = S_IFDIR | 0755, .mtime = 100};

static const char *name_of(unsigned i)
{
	static char name[32];

	snprintf(name, sizeof(name), "name-%u", i);
	return name;
}

/* Lists names [from, to) as if the instance had no others. */
static void list(struct rig *rig, unsigned from, unsigned to)
{
	uint64_t tick = names_tick(rig->names);

	names_listing_begin(rig->names, rig->root);
	for (; from < to; from++)
		names_report(rig->names, rig->root, name_of(from), &file, tick, 1000);
	names_listing_end(rig->names, rig->root, tick, 1000);
}

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	*state = rig;
	rig->names = names_new("/w", &folder, 1000000, &events, rig);
	rig->root = names_root(rig->names);
	list(rig, 0, NAMES);
	assert_int_equal(names_order_begin(rig->root, true), 0);
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	names_free(rig->names);
	free(rig);
	return 0;
}

/* Reads up to `most` names from *place on, and marks what it meets. */
static unsigned read_on(struct rig *rig, uint64_t *place, unsigned most, uint8_t *met)
{
	struct dentry *dentry;
	unsigned i, n = 0;
	uint64_t before;

	while (n < most) {
		before = *place;
		if (!(dentry = names_order_next(rig->root, place)))
			break;
		assert_true(*place > before && *place <= INT64_MAX);
		assert_int_equal(sscanf(dentry->name, "name-%u", &i), 1);
		met[i]++;
		n++;
	}
	return n;
}

static void each_once(void **state)
{
	struct rig *rig = *state;
	uint8_t met[NAMES] = {0};
	uint64_t place = 2;
	unsigned i;

	while (read_on(rig, &place, 7, met))
		;
	for (i = 0; i < NAMES; i++)
		assert_int_equal(met[i], 1);
	place = 2;
	assert_int_equal(read_on(rig, &place, NAMES + 1, met), NAMES);
}

static void in_order_of_numbers(void **state)
{
	struct rig *rig = *state;
	struct dentry *dentry;
	uint64_t place = 2, last = 0;

	while ((dentry = names_order_next(rig->root, &place))) {
		assert_true(dentry->inode->ino > last);
		last = dentry->inode->ino;
	}
}

static void removed_meanwhile(void **state)
{
	struct rig *rig = *state;
	uint8_t met[NAMES] = {0}, before[NAMES];
	uint64_t place = 2;
	unsigned i;

	read_on(rig, &place, NAMES / 2, met);
	memcpy(before, met, sizeof(met));
	for (i = 0; i < NAMES; i += 3)
		names_removed(rig->names, rig->root, name_of(i), 2000);
	while (read_on(rig, &place, 7, met))
		;
	for (i = 0; i < NAMES; i++)
		assert_int_equal(met[i], i % 3 ? 1 : before[i]);
}

/* Listed again with most of it gone, and forgotten in between. */
static void listed_meanwhile(void **state)
{
	struct rig *rig = *state;
	uint8_t met[NAMES + 100] = {0}, before[NAMES];
	uint64_t place = 2;
	unsigned i;

	read_on(rig, &place, NAMES / 2, met);
	memcpy(before, met, sizeof(before));
	list(rig, 50, NAMES + 100);
	names_order_drop(rig->root);
	assert_int_equal(names_order_begin(rig->root, false), 0);
	while (read_on(rig, &place, 7, met))
		;
	for (i = 0; i < 50; i++)
		assert_int_equal(met[i], before[i]);
	for (; i < NAMES; i++)
		assert_int_equal(met[i], 1);
}

static void new_ones_with_the_next_reader(void **state)
{
	struct rig *rig = *state;
	uint8_t met[NAMES + 1] = {0};
	uint64_t place = 2;

	names_created(rig->names, rig->root, name_of(NAMES), &file, 2000);
	assert_int_equal(names_order_begin(rig->root, false), 0);
	assert_int_equal(read_on(rig, &place, NAMES + 1, met), NAMES);
	assert_int_equal(names_order_begin(rig->root, true), 0);
	place = 2;
	assert_int_equal(read_on(rig, &place, NAMES + 1, met), NAMES + 1);
}

/* All names of one file have its number. */
static void hard_links(void **state)
{
	struct rig *rig = *state;
	struct inode *inode = names_find(rig->names, rig->root, name_of(0))->inode;
	uint8_t met[NAMES + 40] = {0};
	uint64_t place = 2;
	unsigned i;

	for (i = NAMES; i < NAMES + 40; i++)
		names_linked(rig->names, inode, rig->root, name_of(i));
	assert_int_equal(names_order_begin(rig->root, true), 0);
	while (read_on(rig, &place, 1, met)) {
		if (met[0]) /* what was read already does not move the others */
			names_removed(rig->names, rig->root, name_of(0), 2000);
		names_order_drop(rig->root);
		assert_int_equal(names_order_begin(rig->root, false), 0);
	}
	for (i = 0; i < NAMES + 40; i++)
		assert_int_equal(met[i], 1);
}

static void changes_are_told(void **state)
{
	struct rig *rig = *state;

	list(rig, 1, NAMES);
	rig->root->folder->held = true;
	list(rig, 1, NAMES);
	rig->changed = 0;
	list(rig, 1, NAMES);
	assert_int_equal(rig->changed, 0);
	list(rig, 0, NAMES);
	assert_int_equal(rig->changed, 1);
	list(rig, 0, NAMES - 1);
	assert_int_equal(rig->changed, 2);
	names_created(rig->names, rig->root, "a", &file, 2000);
	assert_int_equal(rig->changed, 3);
	names_renamed(rig->names, rig->root, name_of(0), rig->root, "b", 2000);
	assert_true(rig->changed > 3);
	rig->root->folder->held = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(each_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(in_order_of_numbers, setup, teardown),
	    cmocka_unit_test_setup_teardown(removed_meanwhile, setup, teardown),
	    cmocka_unit_test_setup_teardown(listed_meanwhile, setup, teardown),
	    cmocka_unit_test_setup_teardown(new_ones_with_the_next_reader, setup, teardown),
	    cmocka_unit_test_setup_teardown(hard_links, setup, teardown),
	    cmocka_unit_test_setup_teardown(changes_are_told, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

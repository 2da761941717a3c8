/* Names and inodes: what reports, listings and local changes leave behind, and who is freed when.
 */
#include "tests/unit/names_rig.h"

static bool is_negative(struct rig *rig, struct inode *in, const char *name)
{
	struct dentry *dentry = names_find(rig->names, in, name);

	return dentry && !dentry->inode;
}

static void list(struct rig *rig, struct inode *in, uint64_t tick, uint64_t ms, ...)
{
	const char *name;
	va_list names;

	names_listing_begin(rig->names, in);
	va_start(names, ms);
	while ((name = va_arg(names, const char *)))
		names_report(rig->names, in, name, &file, tick, ms);
	va_end(names);
	names_listing_end(rig->names, in, tick, ms);
}

/* --- reports --- */

static void test_report_makes_and_updates(void **state)
{
	struct rig *rig = *state;
	struct attr_report report = file;
	struct inode *inode = seen(rig, rig->root, "a", &report, 10);

	assert_non_null(inode);
	assert_ptr_equal(inode_at(rig, rig->root, "a"), inode);
	assert_int_equal(inode->attr.size, 5);
	assert_int_equal(inode->checked_ms, 10);
	assert_int_equal(inode->version_ms, 10);
	assert_int_equal(names_count(rig->names), 1);
	assert_ptr_equal(seen(rig, rig->root, "a", &report, 20), inode);
	assert_int_equal(inode->checked_ms, 20);
	assert_int_equal(inode->version_ms, 10);
	assert_int_equal(rig->versions, 0);
	report.size = 6;
	assert_ptr_equal(seen(rig, rig->root, "a", &report, 30), inode);
	assert_int_equal(rig->versions, 1);
	assert_int_equal(inode->version_ms, 30);
	assert_int_equal(names_count(rig->names), 1);
}

static void test_report_below_a_file(void **state)
{
	struct rig *rig = *state;
	struct inode *inode = seen(rig, rig->root, "a", &file, 10);

	assert_null(seen(rig, inode, "b", &file, 20));
	names_report_missing(rig->names, inode, "b", names_tick(rig->names), 20);
	assert_int_equal(names_count(rig->names), 1);
}

static void test_report_older_than_a_change(void **state)
{
	struct rig *rig = *state;
	struct attr_report report = file;
	struct inode *inode = seen(rig, rig->root, "a", &report, 10);
	uint64_t sent = names_tick(rig->names);

	inode->attr.size = 77;
	names_changed(rig->names, inode);
	assert_ptr_equal(names_report(rig->names, rig->root, "a", &report, sent, 20), inode);
	names_report_inode(rig->names, inode, &report, sent, 20);
	assert_int_equal(inode->attr.size, 77);
	assert_int_equal(inode->checked_ms, 10);
	seen(rig, rig->root, "a", &report, 30);
	assert_int_equal(inode->attr.size, 5);
	assert_int_equal(inode->checked_ms, 30);
}

static void test_reports_out_of_order(void **state)
{
	struct rig *rig = *state;
	struct attr_report older = report_of(S_IFREG | 0644, 10, 100);
	struct attr_report newer = report_of(S_IFREG | 0644, 20, 101);
	struct inode *inode = seen(rig, rig->root, "a", &older, 10);
	uint64_t sent = names_tick(rig->names);

	seen(rig, rig->root, "a", &newer, 30);
	assert_int_equal(rig->versions, 1);
	/* a listing asked for before, whose answer took longer */
	assert_ptr_equal(names_report(rig->names, rig->root, "a", &older, sent, 20), inode);
	names_report_inode(rig->names, inode, &older, sent, 20);
	assert_int_equal(inode->attr.size, 20);
	assert_int_equal(inode->checked_ms, 30);
	assert_int_equal(rig->versions, 1);
	names_report_missing(rig->names, rig->root, "a", sent, 20);
	assert_ptr_equal(inode_at(rig, rig->root, "a"), inode);
	/* and the other way round */
	names_report_missing(rig->names, rig->root, "b", names_tick(rig->names), 30);
	assert_null(names_report(rig->names, rig->root, "b", &older, sent, 20));
	assert_true(is_negative(rig, rig->root, "b"));
	assert_non_null(seen(rig, rig->root, "b", &older, 40));
}

static void test_reports_that_cross(void **state)
{
	struct rig *rig = *state;
	struct attr_report first = report_of(S_IFREG | 0644, 800, 100);
	struct attr_report older = report_of(S_IFREG | 0644, 400, 101);
	struct attr_report newer = report_of(S_IFREG | 0644, 400, 102);
	struct inode *inode = seen(rig, rig->root, "a", &first, 10);
	uint64_t sent = names_tick(rig->names), after = names_tick(rig->names);

	/* asked for after each other, over two channels: which of the two is what the file is now?
	 */
	names_report_inode(rig->names, inode, &newer, sent, 20);
	assert_int_equal(inode->attr.mtime_there, 102);
	assert_int_equal(inode->checked_ms, 20);
	assert_true(names_crossed(inode, &older, after));
	names_report(rig->names, rig->root, "a", &older, after, 20);
	assert_int_equal(inode->attr.mtime_there, 102);
	assert_int_equal(inode->checked_ms, 0);
	assert_int_equal(rig->versions, 1);
	/* an open file's is what is read: it counts, and is not believed for long */
	names_report_inode(rig->names, inode, &older, after, 20);
	assert_int_equal(inode->attr.mtime_there, 101);
	assert_int_equal(inode->checked_ms, 0);
	/* what is asked for now decides */
	seen(rig, rig->root, "a", &newer, 21);
	assert_int_equal(inode->attr.mtime_there, 102);
	assert_int_equal(inode->checked_ms, 21);
	/* and two that say the same leave no doubt */
	sent = names_tick(rig->names);
	seen(rig, rig->root, "a", &older, 30);
	names_report(rig->names, rig->root, "a", &older, sent, 30);
	assert_int_equal(inode->checked_ms, 30);
}

static void test_report_of_a_removed_name(void **state)
{
	struct rig *rig = *state;
	uint64_t sent;

	seen(rig, rig->root, "a", &file, 10);
	sent = names_tick(rig->names);
	names_removed(rig->names, rig->root, "a", 20);
	assert_int_equal(rig->freed, 1);
	assert_null(names_report(rig->names, rig->root, "a", &file, sent, 15));
	assert_null(names_report(rig->names, rig->root, "a", &file, sent, 25));
	assert_true(is_negative(rig, rig->root, "a"));
	assert_non_null(seen(rig, rig->root, "a", &file, 30));
}

static void test_missing_report_of_a_made_name(void **state)
{
	struct rig *rig = *state;
	uint64_t sent = names_tick(rig->names);
	struct inode *inode = names_created(rig->names, rig->root, "a", &file, 10);

	names_report_missing(rig->names, rig->root, "a", sent, 20);
	assert_ptr_equal(inode_at(rig, rig->root, "a"), inode);
	assert_int_equal(rig->gone, 0);
	names_report_missing(rig->names, rig->root, "a", names_tick(rig->names), 30);
	assert_true(is_negative(rig, rig->root, "a"));
	assert_int_equal(rig->gone, 1);
	assert_string_equal(rig->gone_name, "a");
	assert_int_equal(rig->freed, 1);
}

/* A rename was sent and not answered: what was asked later may be answered before it. */
static void test_reports_of_a_name_on_its_way(void **state)
{
	struct rig *rig = *state;
	struct inode *inode = seen(rig, rig->root, "a", &file, 10), *flying;

	flying = names_fly(rig->names, rig->root, "a");
	assert_ptr_equal(flying, inode);
	assert_null(names_fly(rig->names, rig->root, "b"));
	names_report_missing(rig->names, rig->root, "a", names_tick(rig->names), 20);
	names_listing_begin(rig->names, rig->root);
	names_listing_end(rig->names, rig->root, names_tick(rig->names), 30);
	assert_ptr_equal(inode_at(rig, rig->root, "a"), inode);
	names_renamed(rig->names, rig->root, "a", rig->root, "b", 40);
	names_land(rig->names, rig->root, "b", NULL);
	names_land(rig->names, rig->root, "a", flying);
	assert_ptr_equal(inode_at(rig, rig->root, "b"), inode);
	assert_int_equal(inode->flying, 0);
	names_report_missing(rig->names, rig->root, "b", names_tick(rig->names), 50);
	assert_true(is_negative(rig, rig->root, "b"));
}

/* mkdir(2) was sent and not answered: a count told meanwhile may have the new folder in it. */
static void test_links_told_while_names_are_on_their_way(void **state)
{
	struct rig *rig = *state;
	struct attr_report two = folder, three = folder;
	struct inode *dir;
	uint64_t before;

	two.nlink = 2;
	three.nlink = 3;
	dir = seen(rig, rig->root, "d", &two, 10);
	names_fly(rig->names, dir, "new");
	seen(rig, rig->root, "d", &three, 20);
	assert_int_equal(dir->attr.nlink, 2);
	before = names_tick(rig->names);
	names_created(rig->names, dir, "new", &folder, 30);
	names_land(rig->names, dir, "new", NULL);
	assert_int_equal(dir->attr.nlink, 3);
	names_report(rig->names, rig->root, "d", &two, before, 40);
	assert_int_equal(dir->attr.nlink, 3);
	seen(rig, rig->root, "d", &two, 50);
	assert_int_equal(dir->attr.nlink, 2);
}

/* The same of a file that gets another name, and of a burst. */
static void test_links_told_while_links_are_made(void **state)
{
	struct rig *rig = *state;
	struct attr_report one = file, two = file;
	struct inode *inode, *dir;

	one.nlink = 1;
	two.nlink = 2;
	inode = seen(rig, rig->root, "a", &one, 10);
	names_fly_inode(inode);
	seen(rig, rig->root, "a", &two, 20);
	names_linked(rig->names, inode, rig->root, "b");
	names_land_inode(rig->names, inode);
	assert_int_equal(inode->attr.nlink, 2);

	one = two = folder;
	one.nlink = 2;
	dir = seen(rig, rig->root, "d", &one, 10);
	names_created(rig->names, dir, "new", &folder, 30);
	names_pend(rig->names, dir, "new", inode_at(rig, dir, "new"));
	seen(rig, rig->root, "d", &one, 40);
	assert_int_equal(dir->attr.nlink, 3);
	names_settle(rig->names, dir, "new", inode_at(rig, dir, "new"));
	assert_int_equal(dir->attr.nlink, 3);
}

static void test_other_type_under_the_name(void **state)
{
	struct rig *rig = *state;
	struct inode *inode = seen(rig, rig->root, "a", &folder, 10), *below, *other;
	uint64_t ino = inode->ino;

	below = seen(rig, inode, "b", &file, 10);
	inode->lookups++;
	below->lookups++;
	other = seen(rig, rig->root, "a", &file, 20);
	assert_non_null(other);
	assert_ptr_not_equal(other, inode);
	assert_int_not_equal(other->ino, ino);
	assert_null(other->folder);
	assert_int_equal(rig->gone, 1);
	assert_ptr_equal(rig->last_gone, inode);
	assert_int_equal(rig->freed, 0); /* the kernel still holds both */
	assert_true(LIST_EMPTY(&below->names));
	assert_int_equal(below->attr.nlink, 0);
	names_forget(rig->names, inode, 1);
	names_forget(rig->names, below, 1);
	assert_int_equal(rig->freed, 2);
	/* an inode is never turned into another type */
	names_report_inode(rig->names, other, &folder, names_tick(rig->names), 30);
	assert_true(S_ISREG(other->attr.mode));
}

static void test_replaced_while_open(void **state)
{
	struct rig *rig = *state;
	struct attr_report other = report_of(S_IFREG | 0644, 20, 101);
	struct inode *old, *fresh;

	list(rig, rig->root, names_tick(rig->names), 10, "a", "b", NULL);
	old = inode_at(rig, rig->root, "a");
	names_pin(old);
	names_replaced(rig->names, old);
	assert_int_equal(rig->gone, 1);
	assert_true(LIST_EMPTY(&old->names));
	/* not known to be missing, just not known */
	assert_null(names_find(rig->names, rig->root, "a"));
	assert_false(rig->root->folder->complete);
	fresh = seen(rig, rig->root, "a", &other, 20);
	assert_ptr_not_equal(fresh, old);
	assert_int_not_equal(fresh->ino, old->ino);
	assert_int_equal(old->attr.size, file.size);
	names_unpin(rig->names, old);
	assert_ptr_equal(inode_at(rig, rig->root, "a"), fresh);
}

/* Somebody has the old version open, and no other will do. */
static void test_old_version_stays(void **state)
{
	struct rig *rig = *state;
	struct attr_report other = report_of(S_IFREG | 0644, 20, 101);
	struct inode *a, *b;

	list(rig, rig->root, names_tick(rig->names), 10, "a", "b", NULL);
	a = inode_at(rig, rig->root, "a");
	b = inode_at(rig, rig->root, "b");
	names_pin(a);
	names_pin(b);
	a->open = b->open = rig;
	/* the same version, and one that is wanted */
	assert_ptr_equal(seen(rig, rig->root, "a", &file, 20), a);
	assert_ptr_equal(seen(rig, rig->root, "a", &other, 20), a);
	assert_int_equal(rig->versions, 1);
	rig->old_stays = true;
	assert_ptr_not_equal(seen(rig, rig->root, "a", &file, 30), a);
	assert_int_equal(a->attr.size, other.size);
	assert_true(LIST_EMPTY(&a->names));
	/* by the inode itself */
	names_report_inode(rig->names, b, &other, names_tick(rig->names), 30);
	assert_int_equal(b->attr.size, file.size);
	assert_true(LIST_EMPTY(&b->names));
	assert_null(names_find(rig->names, rig->root, "b"));
	assert_int_equal(rig->gone, 2);
	assert_int_equal(rig->versions, 1);
	names_unpin(rig->names, a);
	names_unpin(rig->names, b);
	assert_int_equal(rig->freed, 2);
}

/* --- listings --- */

static void test_listing_drops_what_vanished(void **state)
{
	struct rig *rig = *state;

	list(rig, rig->root, names_tick(rig->names), 10, "a", "b", "c", NULL);
	assert_true(rig->root->folder->complete);
	assert_int_equal(rig->root->folder->listed_ms, 10);
	names_report_missing(rig->names, rig->root, "x", names_tick(rig->names), 15);
	list(rig, rig->root, names_tick(rig->names), 20, "a", "c", NULL);
	assert_null(names_find(rig->names, rig->root, "b"));
	assert_null(names_find(rig->names, rig->root, "x"));
	assert_int_equal(rig->gone, 1);
	assert_string_equal(rig->gone_name, "b");
	assert_int_equal(rig->freed, 1);
	assert_int_equal(rig->root->folder->n_children, 2);
	assert_int_equal(names_count(rig->names), 2);
}

static void test_listing_and_later_changes(void **state)
{
	struct rig *rig = *state;
	struct inode *made, *moved;
	uint64_t sent;

	list(rig, rig->root, names_tick(rig->names), 10, "gone", "old", NULL);
	moved = inode_at(rig, rig->root, "old");
	sent = names_tick(rig->names);
	made = names_created(rig->names, rig->root, "made", &file, 20);
	names_removed(rig->names, rig->root, "gone", 20);
	names_renamed(rig->names, rig->root, "old", rig->root, "new", 20);
	list(rig, rig->root, sent, 15, "gone", "old", "other", NULL);
	assert_true(rig->root->folder->complete);
	assert_ptr_equal(inode_at(rig, rig->root, "made"), made);
	assert_ptr_equal(inode_at(rig, rig->root, "new"), moved);
	assert_non_null(inode_at(rig, rig->root, "other"));
	assert_null(inode_at(rig, rig->root, "gone"));
	assert_null(inode_at(rig, rig->root, "old"));
	assert_int_equal(rig->gone, 0);
	/* the next one knows of all that */
	list(rig, rig->root, names_tick(rig->names), 30, "made", "new", NULL);
	assert_int_equal(names_count(rig->names), 2);
	assert_int_equal(rig->gone, 1);
	assert_string_equal(rig->gone_name, "other");
	/* and what was sent before it can't bring a removed name back */
	assert_null(names_report(rig->names, rig->root, "gone", &file, sent, 15));
	assert_null(names_find(rig->names, rig->root, "gone"));
}

static void test_look_up_during_a_listing(void **state)
{
	struct rig *rig = *state;
	uint64_t sent = names_tick(rig->names);

	names_listing_begin(rig->names, rig->root);
	names_report(rig->names, rig->root, "a", &file, sent, 10);
	seen(rig, rig->root, "late", &file, 12);
	names_listing_end(rig->names, rig->root, sent, 10);
	assert_non_null(inode_at(rig, rig->root, "late"));
}

/* The listing may be the older news, though it comes later. */
static void test_look_up_before_an_older_listing(void **state)
{
	struct rig *rig = *state;
	uint64_t sent = names_tick(rig->names);
	unsigned gone = rig->gone;

	seen(rig, rig->root, "late", &file, 12);
	list(rig, rig->root, sent, 10, "a", NULL);
	assert_non_null(inode_at(rig, rig->root, "late"));
	assert_int_equal(rig->gone, gone);
	list(rig, rig->root, sent, 13, "a", NULL);
	assert_null(names_find(rig->names, rig->root, "late"));
	assert_int_equal(rig->gone, gone + 1);
}

static void test_fresh(void **state)
{
	struct rig *rig = *state;
	struct inode *inode = seen(rig, rig->root, "a", &file, 10);

	assert_int_equal(names_lifetime_ms(inode, 120, 30000), 2000);
	assert_true(names_attr_fresh(inode, 2009, 120, 30000));
	assert_false(names_attr_fresh(inode, 2010, 120, 30000));
	inode->checked_ms = 0;
	assert_false(names_attr_fresh(inode, 11, 120, 30000));
	assert_false(names_listing_fresh(rig->root, 11, 120, 30000));
	list(rig, rig->root, names_tick(rig->names), 10, "a", NULL);
	assert_true(names_listing_fresh(rig->root, 11, 120, 30000));
	assert_true(names_listing_fresh(rig->root, 2009, 120, 30000));
	assert_false(names_listing_fresh(rig->root, 2010, 120, 30000));
}

/* --- changes made here --- */

static void test_created(void **state)
{
	struct rig *rig = *state;
	struct inode *dir, *made;

	rig->root->attr.nlink = 2;
	rig->root->checked_ms = 5;
	made = names_created(rig->names, rig->root, "f", &file, 10);
	assert_int_equal(made->attr.nlink, 1);
	assert_int_equal(made->checked_ms, 10);
	assert_int_equal(rig->root->checked_ms, 0); /* its time has moved */
	assert_int_equal(rig->root->attr.nlink, 2);
	dir = names_created(rig->names, rig->root, "d", &folder, 20);
	assert_int_equal(dir->attr.nlink, 2);
	assert_int_equal(rig->root->attr.nlink, 3);
	assert_true(dir->folder->complete);
	assert_true(names_listing_fresh(dir, 21, 100, 30000));
	names_removed(rig->names, rig->root, "d", 30);
	assert_int_equal(rig->root->attr.nlink, 2);
	assert_int_equal(rig->freed, 1);
	/* the count told may be out of date: what is known of all names is not */
	seen(rig, rig->root, "x", &folder, 31);
	assert_int_equal(names_links(rig->names, rig->root, true), 2);
	rig->root->folder->complete = true;
	assert_int_equal(names_links(rig->names, rig->root, true), 3);
	rig->root->attr.nlink = 1; /* some file systems count no folders */
	assert_int_equal(names_links(rig->names, rig->root, true), 1);
	rig->root->folder->complete = false;
	names_removed(rig->names, rig->root, "x", 35);
	assert_int_equal(rig->freed, 2);
	/* over a negative name, and over one that should not have been there */
	assert_non_null(names_created(rig->names, rig->root, "d", &file, 40));
	assert_non_null(names_created(rig->names, rig->root, "d", &file, 50));
	assert_int_equal(rig->freed, 3);
	assert_int_equal(names_count(rig->names), 3);
}

static void test_renamed(void **state)
{
	struct rig *rig = *state;
	struct inode *from = names_created(rig->names, rig->root, "from", &folder, 10);
	struct inode *to = names_created(rig->names, rig->root, "to", &folder, 10);
	struct inode *dir = names_created(rig->names, from, "dir", &folder, 10);
	struct inode *inner = names_created(rig->names, dir, "inner", &file, 10);
	struct inode *victim = names_created(rig->names, to, "x", &file, 10);
	uint64_t ino = dir->ino, inner_ino = inner->ino;
	char path[PATH_MAX];

	assert_int_equal(from->attr.nlink, 3);
	victim->lookups++;
	names_removed(rig->names, to, "x", 15);
	assert_int_equal(victim->attr.nlink, 0);
	names_renamed(rig->names, from, "dir", to, "x", 20);
	assert_ptr_equal(inode_at(rig, to, "x"), dir);
	assert_true(is_negative(rig, from, "dir"));
	assert_int_equal(dir->ino, ino);
	assert_ptr_equal(inode_at(rig, dir, "inner"), inner);
	assert_int_equal(inner->ino, inner_ino);
	assert_int_equal(from->attr.nlink, 2);
	assert_int_equal(to->attr.nlink, 3);
	assert_int_equal(names_path(rig->names, inner, path, sizeof(path)), 0);
	assert_string_equal(path, "/workspace/to/x/inner");
	names_forget(rig->names, victim, 1);
	assert_int_equal(rig->freed, 1);
	/* the old name, taken again, is another file with another number */
	dir = names_created(rig->names, from, "dir", &folder, 30);
	assert_int_not_equal(dir->ino, ino);
}

static void test_renamed_over(void **state)
{
	struct rig *rig = *state;
	struct inode *a = names_created(rig->names, rig->root, "a", &file, 10);
	struct inode *b = names_created(rig->names, rig->root, "b", &file, 10);
	uint64_t sent = names_tick(rig->names);

	b->lookups++; /* somebody has it open */
	names_renamed(rig->names, rig->root, "a", rig->root, "b", 20);
	assert_ptr_equal(inode_at(rig, rig->root, "b"), a);
	assert_true(is_negative(rig, rig->root, "a"));
	assert_int_equal(b->attr.nlink, 0);
	assert_int_equal(rig->gone, 0); /* the kernel knows of its own changes */
	names_report_missing(rig->names, rig->root, "b", sent, 30);
	assert_ptr_equal(inode_at(rig, rig->root, "b"), a);
	names_report(rig->names, rig->root, "a", &file, sent, 30);
	assert_true(is_negative(rig, rig->root, "a"));
	names_forget(rig->names, b, 1);
	assert_int_equal(rig->freed, 1);
}

static void test_rename_of_the_unknown(void **state)
{
	struct rig *rig = *state;

	list(rig, rig->root, names_tick(rig->names), 10, "target", NULL);
	assert_true(rig->root->folder->complete);
	names_renamed(rig->names, rig->root, "unknown", rig->root, "target", 20);
	/* what is there now is not what was known */
	assert_null(names_find(rig->names, rig->root, "target"));
	assert_false(rig->root->folder->complete);
	assert_int_equal(rig->freed, 1);
	assert_non_null(seen(rig, rig->root, "target", &file, 30));
}

static void test_rename_below_itself(void **state)
{
	struct rig *rig = *state;
	struct inode *a = names_created(rig->names, rig->root, "a", &folder, 10);
	struct inode *b = names_created(rig->names, a, "b", &folder, 10);

	names_renamed(rig->names, rig->root, "a", b, "c", 20); /* an instance that makes no sense */
	assert_int_not_equal(names_depth(rig->names, rig->root), -ESTALE);
	assert_null(names_find(rig->names, rig->root, "a"));
	assert_int_equal(rig->freed, 2);
}

static void test_report_after_the_folder_moved(void **state)
{
	struct rig *rig = *state;
	struct inode *dir = names_created(rig->names, rig->root, "dir", &folder, 10);
	struct inode *inner = names_created(rig->names, dir, "inner", &file, 10);
	uint64_t sent = names_tick(rig->names);

	names_renamed(rig->names, rig->root, "dir", rig->root, "other", 20);
	names_report_missing(rig->names, dir, "inner", sent, 15); /* asked as dir/inner */
	assert_ptr_equal(inode_at(rig, dir, "inner"), inner);
}

/* --- folders that go away --- */

static void test_dropped_folder(void **state)
{
	struct rig *rig = *state;
	struct inode *dir = seen(rig, rig->root, "dir", &folder, 10);
	struct inode *sub = seen(rig, dir, "sub", &folder, 10);
	struct inode *held = seen(rig, sub, "held", &file, 10);
	char path[PATH_MAX];
	uint64_t sent = names_tick(rig->names);

	seen(rig, sub, "free", &file, 10);
	dir->lookups = 2;
	held->lookups = 3;
	names_report_missing(rig->names, rig->root, "dir", names_tick(rig->names), 20);
	assert_int_equal(rig->freed, 2); /* sub and free */
	assert_int_equal(names_path(rig->names, held, path, sizeof(path)), -ESTALE);
	assert_int_equal(names_child_path(rig->names, dir, "x", path, sizeof(path)), -ESTALE);
	assert_int_equal(names_depth(rig->names, dir), -ESTALE);
	assert_null(names_parent(held));
	/* what is reported of it now finds no place */
	assert_null(names_report(rig->names, dir, "late", &file, sent, 30));
	assert_null(seen(rig, dir, "later", &file, 30));
	names_report_missing(rig->names, dir, "late", names_tick(rig->names), 30);
	assert_int_equal(dir->folder->n_children, 0);
	names_forget(rig->names, held, 1);
	names_forget(rig->names, dir, 2);
	assert_int_equal(rig->freed, 3);
	names_forget(rig->names, held, 2);
	assert_int_equal(rig->freed, 4);
	assert_int_equal(names_count(rig->names), 1);
}

/* A request under way made something in a folder that was found missing meanwhile. */
static void test_made_in_a_dropped_folder(void **state)
{
	struct rig *rig = *state;
	struct inode *dir = seen(rig, rig->root, "dir", &folder, 10), *made;
	char path[PATH_MAX];

	dir->lookups = 1;
	names_report_missing(rig->names, rig->root, "dir", names_tick(rig->names), 20);
	made = names_created(rig->names, dir, "made", &file, 30);
	assert_non_null(made);
	made->lookups = 1;
	assert_int_equal(names_path(rig->names, made, path, sizeof(path)), -ESTALE);
	names_forget(rig->names, dir, 1);
	assert_int_equal(rig->freed, 1);
	assert_int_equal(names_path(rig->names, made, path, sizeof(path)), -ESTALE);
	names_forget(rig->names, made, 1);
	assert_int_equal(rig->freed, 2);
	assert_int_equal(names_count(rig->names), 1);
}

static void test_references(void **state)
{
	struct rig *rig = *state;
	struct inode *inode = seen(rig, rig->root, "a", &file, 10);

	names_pin(inode);
	inode->lookups = 1;
	names_forget(rig->names, inode, 5); /* more than it has: no wrap */
	assert_int_equal(inode->lookups, 0);
	names_removed(rig->names, rig->root, "a", 20);
	assert_int_equal(rig->freed, 0);
	names_unpin(rig->names, inode);
	assert_int_equal(rig->freed, 1);
	names_pin(rig->root);
	names_unpin(rig->names, rig->root);
	names_forget(rig->names, rig->root, 9);
	assert_int_equal(rig->freed, 1);
}

/* --- numbers and paths --- */

static void test_numbers(void **state)
{
	struct rig other, *rig = *state;
	struct inode *a = seen(rig, rig->root, "a", &folder, 10);
	struct inode *b = seen(rig, a, "b", &file, 10);
	uint64_t ino = b->ino;
	int i;

	rig_make(&other, "/workspace", 100); /* a later mount finds other names first */
	seen(&other, other.root, "z", &file, 10);
	a = seen(&other, other.root, "a", &folder, 10);
	assert_int_equal(seen(&other, a, "b", &file, 10)->ino, ino);
	assert_int_equal(other.root->ino, 1);
	names_free(other.names);

	names_removed(rig->names, names_parent(b), "b", 20);
	b = seen(rig, inode_at(rig, rig->root, "a"), "b", &file, 30);
	assert_int_equal(b->ino, ino);

	/* one temporary name, renamed to thousands of others */
	for (i = 0; i < 3000; i++) {
		char name[32];
		struct inode *temp = names_created(rig->names, rig->root, "temp", &file, 40);

		snprintf(name, sizeof(name), "part-%d", i);
		names_renamed(rig->names, rig->root, "temp", rig->root, name, 40);
		assert_ptr_equal(inode_at(rig, rig->root, name), temp);
		assert_true(temp->ino > 1 && temp->ino <= INT64_MAX);
	}
}

static void test_paths(void **state)
{
	static const char *const roots[][2] = {{"/", ""}, {"/workspace", "/workspace"}};
	char path[PATH_MAX], wanted[PATH_MAX], name[257];
	struct inode *deep, *at;
	struct rig rig;
	int i, depth;

	(void)state;
	for (i = 0; i < 2; i++) {
		rig_make(&rig, roots[i][0], 1000);
		assert_int_equal(names_path(rig.names, rig.root, path, sizeof(path)), 0);
		assert_string_equal(path, roots[i][0]);
		assert_int_equal(names_depth(rig.names, rig.root), 0);
		assert_null(names_parent(rig.root));
		at = seen(&rig, rig.root, "a", &folder, 10);
		at = seen(&rig, at, "b c\n", &folder, 10);
		assert_int_equal(names_depth(rig.names, at), 2);
		assert_int_equal(names_child_path(rig.names, at, "d", path, sizeof(path)), 0);
		snprintf(wanted, sizeof(wanted), "%s/a/b c\n/d", roots[i][1]);
		assert_string_equal(path, wanted);
		assert_int_equal(
		    names_child_path(rig.names, at, "d", path, strlen(wanted)), -ENAMETOOLONG);
		assert_int_equal(names_child_path(rig.names, at, "d", path, strlen(wanted) + 1), 0);
		assert_int_equal(
		    names_path(rig.names, at, path, strlen(wanted) - 2), -ENAMETOOLONG);
		assert_int_equal(names_path(rig.names, at, path, strlen(wanted) - 1), 0);

		memset(name, 'n', 256);
		name[256] = '\0';
		assert_int_equal(
		    names_child_path(rig.names, at, name, path, sizeof(path)), -ENAMETOOLONG);
		name[255] = '\0';
		assert_int_equal(names_child_path(rig.names, at, name, path, sizeof(path)), 0);
		deep = rig.root;
		for (depth = 0; depth < 20; depth++) { /* deeper than a path can say */
			deep = names_created(rig.names, deep, name, &folder, 10);
			assert_non_null(deep);
		}
		assert_int_equal(names_depth(rig.names, deep), 20);
		assert_int_equal(names_path(rig.names, deep, path, sizeof(path)), -ENAMETOOLONG);
		names_free(rig.names);
	}
}

/* --- eviction --- */

static void test_eviction(void **state)
{
	struct inode *held, *pinned;
	struct rig rig;
	unsigned i;

	(void)state;
	rig_make(&rig, "/", 100);
	held = seen(&rig, rig.root, "held", &file, 10);
	held->lookups = 1;
	pinned = seen(&rig, rig.root, "pinned", &file, 10);
	names_pin(pinned);
	list(&rig, rig.root, names_tick(rig.names), 10, "held", "pinned", NULL);
	assert_true(rig.root->folder->complete);
	for (i = 0; i < 1000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "f%u", i);
		assert_non_null(seen(&rig, rig.root, name, &file, 20));
		assert_true(names_count(rig.names) <= 101);
		if (i > 200) /* the coldest went, the last hundred are here */
			assert_false(rig.root->folder->complete);
	}
	assert_ptr_equal(inode_at(&rig, rig.root, "held"), held);
	assert_ptr_equal(inode_at(&rig, rig.root, "pinned"), pinned);
	assert_non_null(inode_at(&rig, rig.root, "f999"));
	assert_null(names_find(rig.names, rig.root, "f0"));
	assert_int_equal(names_count(rig.names) + rig.freed, 1002);
	names_unpin(rig.names, pinned);
	names_free(rig.names);
}

/* What the kernel holds it is asked to let go, and what it has let go goes first. */
static void test_eviction_of_what_the_kernel_holds(void **state)
{
	struct inode *open, *folded, *let_go;
	struct rig rig;
	unsigned i;

	(void)state;
	rig_make(&rig, "/", 100);
	folded = seen(&rig, rig.root, "folder", &folder, 10);
	open = seen(&rig, rig.root, "open", &file, 10);
	names_pin(open);
	folded->lookups = open->lookups = 1;
	for (i = 0; i < 98; i++) {
		char name[32];

		snprintf(name, sizeof(name), "f%u", i);
		seen(&rig, rig.root, name, &file, 20)->lookups = 1;
	}
	assert_int_equal(rig.crowded, 0);
	seen(&rig, rig.root, "over", &file, 20)->lookups = 1;
	seen(&rig, rig.root, "over2", &file, 20)->lookups = 1;
	assert_true(rig.crowded >= 98);
	assert_string_not_equal(rig.crowded_name, "open");
	assert_string_not_equal(rig.crowded_name, "folder");
	let_go = inode_at(&rig, rig.root, "f50");
	names_forget(rig.names, let_go, 1);
	assert_non_null(inode_at(&rig, rig.root, "f50"));
	for (i = 0; i < 2000 && inode_at(&rig, rig.root, "f50"); i++) {
		char name[32];

		snprintf(name, sizeof(name), "new%u", i);
		seen(&rig, rig.root, name, &file, 20);
	}
	assert_null(inode_at(&rig, rig.root, "f50"));
	assert_non_null(inode_at(&rig, rig.root, "f51"));
	names_unpin(rig.names, open);
	names_free(rig.names);
}

static void test_listing_larger_than_the_limit(void **state)
{
	struct rig rig;
	uint64_t sent;
	unsigned i;

	(void)state;
	rig_make(&rig, "/", 100);
	sent = names_tick(rig.names);
	names_listing_begin(rig.names, rig.root);
	for (i = 0; i < 500; i++) {
		char name[32];

		snprintf(name, sizeof(name), "f%u", i);
		names_report(rig.names, rig.root, name, &file, sent, 10);
	}
	names_listing_end(rig.names, rig.root, sent, 10);
	assert_false(rig.root->folder->complete);
	assert_int_equal(rig.root->folder->n_children, 101);
	list(&rig, rig.root, names_tick(rig.names), 20, "f1", "f2", NULL);
	assert_true(rig.root->folder->complete);
	assert_int_equal(names_count(rig.names), 2);
	names_free(rig.names);
}

/* Somebody reads the folder: what he is to see stays until he is done. */
static void test_open_folder_larger_than_the_limit(void **state)
{
	struct rig rig;
	uint64_t sent;
	unsigned i;

	(void)state;
	rig_make(&rig, "/", 100);
	names_pin(rig.root);
	sent = names_tick(rig.names);
	names_listing_begin(rig.names, rig.root);
	for (i = 0; i < 50000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "f%u", i);
		names_report(rig.names, rig.root, name, &file, sent, 10);
	}
	names_listing_end(rig.names, rig.root, sent, 10);
	assert_true(rig.root->folder->complete);
	assert_int_equal(rig.root->folder->n_children, 50000);
	names_unpin(rig.names, rig.root);
	for (i = 0; i < 20000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "g%u", i);
		seen(&rig, rig.root, name, &file, 20);
	}
	assert_int_equal(names_count(rig.names), 101);
	assert_false(rig.root->folder->complete);
	names_free(rig.names);
}

static void test_eviction_of_negatives(void **state)
{
	struct rig rig;
	unsigned i;

	(void)state;
	rig_make(&rig, "/", 100);
	list(&rig, rig.root, names_tick(rig.names), 10, "a", NULL);
	inode_at(&rig, rig.root, "a")->lookups = 1;
	for (i = 0; i < 1000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "f%u", i);
		names_report_missing(rig.names, rig.root, name, names_tick(rig.names), 20);
		assert_true(names_count(rig.names) <= 101);
	}
	assert_true(rig.root->folder->complete); /* what leads nowhere is no loss */
	assert_int_equal(rig.freed, 0);
	names_free(rig.names);
}

/* Folders go only when nothing is left in them, and the one being filled never. */
static void test_eviction_of_folders(void **state)
{
	struct rig rig;
	unsigned i;

	(void)state;
	rig_make(&rig, "/", 50);
	for (i = 0; i < 400; i++) {
		char name[32];
		struct inode *dir;

		snprintf(name, sizeof(name), "d%u", i);
		dir = seen(&rig, rig.root, name, &folder, 10);
		assert_non_null(dir);
		assert_non_null(seen(&rig, dir, "x", &file, 10));
		assert_non_null(inode_at(&rig, dir, "x"));
		assert_ptr_equal(inode_at(&rig, rig.root, name), dir);
	}
	assert_true(names_count(rig.names) <= 51);
	names_free(rig.names);

	rig_make(&rig, "/", 0); /* no room for anything */
	for (i = 0; i < 10; i++) {
		struct inode *dir = seen(&rig, rig.root, "d", &folder, 10);

		assert_non_null(dir);
		assert_non_null(seen(&rig, dir, "x", &file, 10));
		assert_non_null(names_created(rig.names, dir, "y", &folder, 10));
		assert_ptr_equal(inode_at(&rig, rig.root, "d"), dir);
	}
	names_free(rig.names);
}

/* A change made here and forgotten since is still stronger than a report sent before it. */
static void test_eviction_and_older_reports(void **state)
{
	struct rig rig;
	uint64_t sent;
	unsigned i;

	(void)state;
	rig_make(&rig, "/", 4);
	seen(&rig, rig.root, "removed", &file, 5);
	sent = names_tick(rig.names);
	names_created(rig.names, rig.root, "made", &file, 10);
	names_removed(rig.names, rig.root, "removed", 10);
	for (i = 0; i < 20; i++) {
		char name[32];

		snprintf(name, sizeof(name), "f%u", i);
		seen(&rig, rig.root, name, &file, 20);
	}
	assert_null(names_find(rig.names, rig.root, "made"));
	assert_null(names_find(rig.names, rig.root, "removed"));
	names_report_missing(rig.names, rig.root, "made", sent, 30);
	assert_false(is_negative(&rig, rig.root, "made"));
	assert_null(names_report(rig.names, rig.root, "removed", &file, sent, 30));
	assert_null(names_find(rig.names, rig.root, "removed"));
	list(&rig, rig.root, sent, 30, "f18", "f19", "removed", NULL);
	assert_null(inode_at(&rig, rig.root, "removed"));
	assert_false(rig.root->folder->complete); /* "made" is missing in it */
	list(&rig, rig.root, names_tick(rig.names), 40, "f19", "made", NULL);
	assert_true(rig.root->folder->complete);
	names_free(rig.names);
}

static void test_freed_once(void **state)
{
	struct rig rig;
	unsigned i, j, made = 0;

	(void)state;
	rig_make(&rig, "/", 200);
	for (i = 0; i < 30; i++) {
		char name[32];
		struct inode *dir;

		snprintf(name, sizeof(name), "d%u", i);
		dir = names_created(rig.names, rig.root, name, &folder, 10);
		made++;
		for (j = 0; j < 20; j++) {
			snprintf(name, sizeof(name), "f%u", j);
			names_created(rig.names, dir, name, &file, 10);
			made++;
		}
		if (i % 3 == 0)
			dir->lookups++;
	}
	names_free(rig.names);
	assert_int_equal(rig.freed, made + 1); /* and the root */
	for (i = 0; i < rig.freed; i++) {
		for (j = 0; j < i; j++)
			assert_int_not_equal(rig.freed_ino[i], rig.freed_ino[j]);
	}
}

/* A million names and all else of the daemon have 400 MB. */
static void test_memory(void **state)
{
	struct rig *rig = *state;
	size_t before = mallinfo2().uordblks;
	unsigned i, n = 60000;
	char name[32];

	if (!before)
		skip(); /* a sanitizer's malloc */
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "image-%09u.jpg", i);
		seen(rig, rig->root, name, &file, 1);
	}
	assert_in_range((mallinfo2().uordblks - before) / n, 1, 340);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_report_makes_and_updates),
	    TEST(test_report_below_a_file),
	    TEST(test_report_older_than_a_change),
	    TEST(test_reports_out_of_order),
	    TEST(test_reports_that_cross),
	    TEST(test_report_of_a_removed_name),
	    TEST(test_missing_report_of_a_made_name),
	    TEST(test_reports_of_a_name_on_its_way),
	    TEST(test_links_told_while_names_are_on_their_way),
	    TEST(test_links_told_while_links_are_made),
	    TEST(test_replaced_while_open),
	    TEST(test_old_version_stays),
	    TEST(test_other_type_under_the_name),
	    TEST(test_listing_drops_what_vanished),
	    TEST(test_listing_and_later_changes),
	    TEST(test_look_up_during_a_listing),
	    TEST(test_look_up_before_an_older_listing),
	    TEST(test_fresh),
	    TEST(test_created),
	    TEST(test_renamed),
	    TEST(test_renamed_over),
	    TEST(test_rename_of_the_unknown),
	    TEST(test_rename_below_itself),
	    TEST(test_report_after_the_folder_moved),
	    TEST(test_dropped_folder),
	    TEST(test_made_in_a_dropped_folder),
	    TEST(test_references),
	    TEST(test_numbers),
	    TEST(test_memory),
	    cmocka_unit_test(test_paths),
	    cmocka_unit_test(test_eviction),
	    cmocka_unit_test(test_eviction_of_what_the_kernel_holds),
	    cmocka_unit_test(test_listing_larger_than_the_limit),
	    cmocka_unit_test(test_open_folder_larger_than_the_limit),
	    cmocka_unit_test(test_eviction_of_negatives),
	    cmocka_unit_test(test_eviction_of_folders),
	    cmocka_unit_test(test_eviction_and_older_reports),
	    cmocka_unit_test(test_freed_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

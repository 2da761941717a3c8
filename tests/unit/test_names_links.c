/* Files with several names: which lead to the same file, and how many there are. */
#include "tests/unit/names_rig.h"

static void test_links(void **state)
{
	struct rig *rig = *state;
	struct inode *inode = names_created(rig->names, rig->root, "a", &file, 10);
	struct inode *dir = names_created(rig->names, rig->root, "d", &folder, 10);

	names_linked(rig->names, inode, dir, "b");
	assert_int_equal(inode->attr.nlink, 2);
	assert_ptr_equal(inode_at(rig, dir, "b"), inode);
	names_removed(rig->names, rig->root, "a", 20);
	assert_int_equal(inode->attr.nlink, 1);
	assert_int_equal(rig->freed, 0);
	assert_ptr_equal(inode_at(rig, dir, "b"), inode);
	names_linked(rig->names, inode, rig->root, "a");
	assert_int_equal(inode->attr.nlink, 2);
	names_renamed(
	    rig->names, rig->root, "a", dir, "b", 30); /* the same file: nothing happens */
	assert_ptr_equal(inode_at(rig, rig->root, "a"), inode);
	assert_ptr_equal(inode_at(rig, dir, "b"), inode);
	inode->lookups++;
	names_removed(rig->names, rig->root, "a", 40);
	names_removed(rig->names, dir, "b", 40);
	assert_int_equal(inode->attr.nlink, 0);
	assert_int_equal(rig->freed, 0);
	names_forget(rig->names, inode, 1);
	assert_int_equal(rig->freed, 1);

	inode = seen(rig, rig->root, "unheard", &file, 10); /* LSTAT tells no count */
	assert_int_equal(inode->attr.nlink, 0);
	names_linked(rig->names, inode, rig->root, "again");
	assert_int_equal(inode->attr.nlink, 2);
}

/* Made here, one of them then replaced there. */
static void test_names_of_one_inode_part(void **state)
{
	struct rig *rig = *state;
	struct attr_report other = file;
	struct inode *inode = seen(rig, rig->root, "a", &file, 10);

	names_linked(rig->names, inode, rig->root, "b");
	inode->checked_ms = 0; /* as after every change made here */
	assert_true(names_shared(inode));
	/* it has changed, that is all */
	other.size++;
	assert_ptr_equal(seen(rig, rig->root, "b", &other, 20), inode);
	assert_ptr_equal(seen(rig, rig->root, "a", &other, 21), inode);
	other.size++;
	assert_ptr_equal(seen(rig, rig->root, "a", &other, 22), inode);
	assert_ptr_not_equal(seen(rig, rig->root, "b", &file, 23), inode);
	assert_string_equal(rig->gone_name, "b");
	assert_int_equal(inode->attr.size, other.size);
	assert_false(names_shared(inode));
	assert_ptr_equal(inode_at(rig, rig->root, "a"), inode);
}

/* A change of the file was sent by one of its names: a listing may tell by the other what that has
 * made, before the answer is there. */
static void test_names_of_one_inode_stay_together(void **state)
{
	struct rig *rig = *state;
	struct attr_report set = file, older = file;
	struct inode *inode = seen(rig, rig->root, "a", &file, 10);
	uint64_t sent;

	names_linked(rig->names, inode, rig->root, "b");
	seen(rig, rig->root, "b", &file, 20);
	seen(rig, rig->root, "a", &file, 21);
	set.mtime += 7;
	names_fly_inode(inode);
	assert_ptr_equal(seen(rig, rig->root, "b", &set, 30), inode);
	assert_ptr_equal(seen(rig, rig->root, "b", &set, 31), inode);
	assert_int_equal(inode->attr.mtime_there, file.mtime);
	assert_int_equal(inode->checked_ms, 0);
	names_land_inode(rig->names, inode);
	assert_int_equal(rig->gone, 0);
	/* two answers that cross */
	seen(rig, rig->root, "a", &file, 40);
	sent = names_tick(rig->names);
	seen(rig, rig->root, "a", &set, 50);
	assert_ptr_equal(names_report(rig->names, rig->root, "b", &older, sent, 51), inode);
	assert_int_equal(inode->checked_ms, 0);
	assert_int_equal(rig->gone, 0);
}

/* It has changed there, by what an open file tells: each name is asked for, and has not moved. */
static void test_names_of_one_inode_change_together(void **state)
{
	struct rig *rig = *state;
	struct attr_report other = file;
	struct inode *inode = seen(rig, rig->root, "a", &file, 10);

	names_linked(rig->names, inode, rig->root, "b");
	seen(rig, rig->root, "b", &file, 20);
	seen(rig, rig->root, "a", &file, 21);
	other.size++;
	names_report_inode(rig->names, inode, &other, names_tick(rig->names), 30);
	assert_int_equal(rig->gone, 1);
	assert_string_equal(rig->gone_name, "b"); /* for the kernel */
	assert_int_equal(names_find(rig->names, rig->root, "b")->checked_ms, 0);
	assert_ptr_equal(seen(rig, rig->root, "b", &other, 40), inode);
	assert_true(names_shared(inode));
	/* but if one of them was replaced there, they part */
	other.size++;
	names_report_inode(rig->names, inode, &other, names_tick(rig->names), 50);
	assert_ptr_not_equal(seen(rig, rig->root, "a", &file, 60), inode);
	assert_ptr_equal(inode_at(rig, rig->root, "b"), inode);
}

/* The last name known here goes, and there is another one there. */
static void test_links_of_an_open_file(void **state)
{
	struct rig *rig = *state;
	struct attr_report two = file;
	struct inode *inode;

	two.nlink = 2;
	inode = seen(rig, rig->root, "a", &two, 10);
	names_pin(inode);
	names_removed(rig->names, rig->root, "a", 20);
	assert_int_equal(names_links(rig->names, inode, true), 1);
	names_unpin(rig->names, inode);
	inode = seen(rig, rig->root, "b", &two, 30);
	names_pin(inode);
	names_created(rig->names, rig->root, "c", &file, 40);
	names_renamed(rig->names, rig->root, "c", rig->root, "b", 50);
	assert_int_equal(names_links(rig->names, inode, true), 1);
	names_unpin(rig->names, inode);
	inode = seen(rig, rig->root, "d", &two, 60);
	names_pin(inode);
	names_report_missing(rig->names, rig->root, "d", names_tick(rig->names), 70);
	assert_int_equal(names_links(rig->names, inode, true), 1);
	names_unpin(rig->names, inode);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_links),
	    TEST(test_links_of_an_open_file),
	    TEST(test_names_of_one_inode_part),
	    TEST(test_names_of_one_inode_stay_together),
	    TEST(test_names_of_one_inode_change_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

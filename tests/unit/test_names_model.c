/*
 * Names against a model: a small tree on a pretended instance, changed at random from here (and, in
 * some runs, from there), while look-ups and listings of it are under way and arrive late and out
 * of order.
 *
 * Without changes from there the cache must never be wrong: what it says is there is there, and is
 * that very file; what it says is missing is missing. With them it must come out right once
 * everything has been listed anew. Also measures the memory of a million names.
 */
#include "cache/names.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define NAMES 6
#define DEPTH_MAX 5
#define PENDING 12

/* A file or folder on the instance; its number shows as its size. */
struct object {
	unsigned id, links; /* links: names that lead to it */
	bool dir;
	struct object *parent; /* of folders */
	struct object *child[NAMES];
};

struct seen {
	unsigned id; /* 0: nothing there */
	bool dir;
};

/* A question under way, with what the instance said. */
struct question {
	struct inode *folder; /* pinned; NULL: free */
	bool listing;
	int name;
	uint64_t tick, ms;
	struct seen seen[NAMES];
};

struct model {
	struct names *names;
	struct object *root;
	struct question pending[PENDING];
	struct inode *held[16]; /* by the kernel */
	unsigned seed, next_id, live;
	uint64_t ms;
	bool from_there; /* changes are made there too */
};

static const char *const names_of[NAMES] = {"a", "b", "c", "d", "e", "f"};

static unsigned roll(struct model *model, unsigned n)
{
	return (unsigned)rand_r(&model->seed) % n;
}

static void on_version(void *arg, struct inode *inode)
{
	(void)arg;
	(void)inode;
}

static void on_gone(void *arg, struct inode *parent, const char *name, struct inode *inode)
{
	(void)arg;
	assert_non_null(parent->folder);
	assert_non_null(name);
	assert_non_null(inode);
}

static void on_freed(void *arg, struct inode *inode)
{
	struct model *model = arg;
	size_t i;

	for (i = 0; model->root && i < 16; i++)
		assert_ptr_not_equal(model->held[i], inode);
	assert_ptr_equal(inode->open, NULL);
	inode->open = inode; /* a second time would be noticed */
}

static const struct names_events events = {
    .version_changed = on_version, .name_gone = on_gone, .freed = on_freed};

/* --- the instance --- */

static struct object *object_new(struct model *model, struct object *parent, int name, bool dir)
{
	struct object *object = calloc(1, sizeof(*object));

	assert_non_null(object);
	object->id = ++model->next_id;
	object->dir = dir;
	object->parent = parent;
	object->links = 1;
	if (parent)
		parent->child[name] = object;
	model->live++;
	return object;
}

static void object_drop(struct model *model, struct object *parent, int name)
{
	struct object *object = parent->child[name];
	int i;

	parent->child[name] = NULL;
	if (--object->links)
		return;
	for (i = 0; i < NAMES; i++) {
		if (object->child[i])
			object_drop(model, object, i);
	}
	free(object);
	model->live--;
}

static int depth_of(const struct object *object)
{
	int depth = 0;

	for (; object->parent; object = object->parent)
		depth++;
	return depth;
}

static bool is_empty(const struct object *object)
{
	int i;

	for (i = 0; i < NAMES; i++) {
		if (object->child[i])
			return false;
	}
	return true;
}

static struct object *random_dir(struct model *model)
{
	struct object *dir = model->root, *next;

	while (roll(model, 3)) {
		next = dir->child[roll(model, NAMES)];
		if (next && next->dir)
			dir = next;
	}
	return dir;
}

static struct seen look(const struct object *object)
{
	return object ? (struct seen){object->id, object->dir} : (struct seen){0};
}

static struct attr_report report_of(struct seen seen)
{
	return (struct attr_report){
	    .mode = seen.dir ? S_IFDIR | 0755 : S_IFREG | 0644,
	    .size = seen.id,
	    .mtime = 1000 + seen.id,
	};
}

/* --- questions and answers --- */

static void deliver(struct model *model, struct question *question)
{
	struct names *names = model->names;
	struct inode *folder = question->folder;
	struct attr_report report;
	int i;

	if (question->listing)
		names_listing_begin(names, folder);
	for (i = 0; i < NAMES; i++) {
		report = report_of(question->seen[i]);
		if (!question->listing && i != question->name)
			continue;
		if (question->seen[i].id)
			names_report(
			    names, folder, names_of[i], &report, question->tick, question->ms);
		else if (!question->listing)
			names_report_missing(
			    names, folder, names_of[i], question->tick, question->ms);
	}
	if (question->listing)
		names_listing_end(names, folder, question->tick, question->ms);
	question->folder = NULL;
	names_unpin(names, folder);
}

static struct question ask(
    struct model *model, struct inode *folder, const struct object *dir, int name, bool listing)
{
	struct question question = {.folder = folder, .listing = listing, .name = name};
	int i;

	names_pin(folder);
	question.tick = names_tick(model->names);
	question.ms = ++model->ms;
	for (i = 0; i < NAMES; i++)
		question.seen[i] = look(dir->child[i]);
	return question;
}

/* The folder's inode, as the kernel gets to it: name by name, asking where needed. NULL: something
 * else is there by now. */
static struct inode *inode_of(struct model *model, const struct object *dir)
{
	const struct object *parent = dir->parent;
	struct inode *folder;
	struct dentry *dentry;
	int name = 0;

	if (!parent)
		return names_root(model->names);
	folder = inode_of(model, parent);
	if (!folder)
		return NULL;
	while (parent->child[name] != dir)
		name++;
	dentry = names_find(model->names, folder, names_of[name]);
	if (!dentry || !dentry->inode || !dentry->inode->folder) {
		struct question question = ask(model, folder, parent, name, false);

		deliver(model, &question);
		dentry = names_find(model->names, folder, names_of[name]);
	}
	return dentry && dentry->inode && dentry->inode->folder ? dentry->inode : NULL;
}

/* --- steps --- */

static void step_create(struct model *model)
{
	struct object *dir = random_dir(model), *made;
	int name = (int)roll(model, NAMES);
	struct inode *folder = inode_of(model, dir);
	struct attr_report report;

	if (!folder || dir->child[name] || depth_of(dir) >= DEPTH_MAX)
		return;
	made = object_new(model, dir, name, roll(model, 2));
	if (!made->dir)
		made->parent = NULL;
	report = report_of(look(made));
	assert_non_null(names_created(model->names, folder, names_of[name], &report, ++model->ms));
}

static void step_remove(struct model *model)
{
	struct object *dir = random_dir(model);
	int name = (int)roll(model, NAMES);
	struct inode *folder = inode_of(model, dir);
	struct object *object = dir->child[name];

	if (!folder || !object || (object->dir && !is_empty(object)))
		return;
	object_drop(model, dir, name);
	names_removed(model->names, folder, names_of[name], ++model->ms);
}

static void step_link(struct model *model)
{
	struct object *dir = random_dir(model), *to = random_dir(model);
	int name = (int)roll(model, NAMES), to_name = (int)roll(model, NAMES);
	struct object *object = dir->child[name];
	struct inode *folder = inode_of(model, dir), *to_folder;
	struct dentry *dentry = folder ? names_find(model->names, folder, names_of[name]) : NULL;
	struct inode *inode = dentry ? dentry->inode : NULL;

	if (!object || object->dir || to->child[to_name] || !inode || inode->folder)
		return;
	names_pin(inode);
	to_folder = inode_of(model, to);
	if (to_folder) {
		to->child[to_name] = object;
		object->links++;
		names_linked(model->names, inode, to_folder, names_of[to_name]);
	}
	names_unpin(model->names, inode);
}

static bool may_rename(const struct object *object, const struct object *to, int to_name)
{
	const struct object *over = to->child[to_name], *at;

	if (!object || over == object)
		return false;
	if (over && (over->dir != object->dir || (over->dir && !is_empty(over))))
		return false;
	for (at = to; at; at = at->parent) {
		if (at == object)
			return false;
	}
	return !object->dir || depth_of(to) < DEPTH_MAX - 1;
}

static void step_rename(struct model *model)
{
	struct object *dir = random_dir(model), *to = random_dir(model);
	int name = (int)roll(model, NAMES), to_name = (int)roll(model, NAMES);
	struct object *object = dir->child[name];
	struct inode *folder = inode_of(model, dir), *to_folder;

	if (!folder || !may_rename(object, to, to_name))
		return;
	names_pin(folder);
	to_folder = inode_of(model, to);
	if (to_folder) {
		if (to->child[to_name])
			object_drop(model, to, to_name);
		dir->child[name] = NULL;
		to->child[to_name] = object;
		if (object->dir)
			object->parent = to;
		names_renamed(model->names, folder, names_of[name], to_folder, names_of[to_name],
		    ++model->ms);
	}
	names_unpin(model->names, folder);
}

static void step_ask(struct model *model, bool listing)
{
	struct object *dir = random_dir(model);
	struct inode *folder = inode_of(model, dir);
	struct question *question = &model->pending[roll(model, PENDING)];

	if (folder && !question->folder)
		*question = ask(model, folder, dir, (int)roll(model, NAMES), listing);
}

static void step_deliver(struct model *model)
{
	struct question *question = &model->pending[roll(model, PENDING)];

	if (question->folder)
		deliver(model, question);
}

static void step_hold(struct model *model)
{
	unsigned at = roll(model, 16);
	struct inode *inode = model->held[at], *folder;
	struct dentry *dentry;

	model->held[at] = NULL;
	if (inode) {
		names_forget(model->names, inode, 1);
		return;
	}
	folder = inode_of(model, random_dir(model));
	dentry = folder ? names_find(model->names, folder, names_of[roll(model, NAMES)]) : NULL;
	if (dentry && dentry->inode) {
		model->held[at] = dentry->inode;
		dentry->inode->lookups++;
	}
}

static void step_there(struct model *model)
{
	struct object *dir = random_dir(model);
	int name = (int)roll(model, NAMES);

	if (dir->child[name])
		object_drop(model, dir, name);
	else if (depth_of(dir) < DEPTH_MAX)
		object_new(model, dir, name, roll(model, 2));
	if (dir->child[name] && !dir->child[name]->dir)
		dir->child[name]->parent = NULL;
}

static void step(struct model *model)
{
	switch (roll(model, model->from_there ? 20 : 18)) {
	case 0:
	case 1:
	case 2:
		step_create(model);
		break;
	case 3:
	case 4:
		step_remove(model);
		break;
	case 5:
		step_link(model);
		break;
	case 6:
	case 7:
		step_rename(model);
		break;
	case 8:
	case 9:
	case 10:
		step_ask(model, false);
		break;
	case 11:
	case 12:
		step_ask(model, true);
		break;
	case 13:
	case 14:
	case 15:
		step_deliver(model);
		break;
	case 16:
	case 17:
		step_hold(model);
		break;
	default:
		step_there(model);
	}
}

/* --- is it right? --- */

static unsigned check_folder(
    struct model *model, struct inode *folder, const struct object *dir, bool all)
{
	unsigned known = 0;
	int i;

	if (all)
		assert_true(folder->folder->complete);
	for (i = 0; i < NAMES; i++) {
		const struct object *object = dir->child[i];
		struct dentry *dentry = names_find(model->names, folder, names_of[i]);

		known += dentry != NULL;
		if (!dentry) {
			if (folder->folder->complete)
				assert_null(object);
			continue;
		}
		if (!dentry->inode) {
			assert_null(object);
			continue;
		}
		assert_non_null(object);
		assert_int_equal(dentry->inode->attr.size, object->id);
		assert_int_equal(dentry->inode->folder != NULL, object->dir);
		if (object->dir)
			known += check_folder(model, dentry->inode, object, all);
	}
	return known;
}

static void list_all(struct model *model, struct inode *folder, const struct object *dir)
{
	struct question question = ask(model, folder, dir, 0, true);
	struct dentry *dentry;
	int i;

	deliver(model, &question);
	for (i = 0; i < NAMES; i++) {
		dentry = names_find(model->names, folder, names_of[i]);
		if (dentry && dentry->inode && dir->child[i] && dir->child[i]->dir)
			list_all(model, dentry->inode, dir->child[i]);
	}
}

static void run(unsigned seed, bool from_there, uint64_t max_names, unsigned steps)
{
	struct model model = {.seed = seed, .from_there = from_there, .ms = 1};
	struct attr_report report;
	unsigned i, known;

	model.root = object_new(&model, NULL, 0, true);
	report = report_of(look(model.root));
	model.names = names_new("/", &report, max_names, &events, &model);
	assert_non_null(model.names);
	for (i = 0; i < steps; i++) {
		step(&model);
		if (!from_there)
			check_folder(&model, names_root(model.names), model.root, false);
	}
	for (i = 0; i < PENDING; i++) {
		if (model.pending[i].folder)
			deliver(&model, &model.pending[i]);
	}
	if (max_names > 1000000) {
		list_all(&model, names_root(model.names), model.root);
		known = check_folder(&model, names_root(model.names), model.root, true);
		assert_int_equal(known, names_count(model.names));
	}
	for (i = 0; i < 16; i++) {
		struct inode *inode = model.held[i];

		model.held[i] = NULL;
		if (inode)
			names_forget(model.names, inode, 1);
	}
	names_free(model.names);
	for (i = 0; i < NAMES; i++) {
		if (model.root->child[i])
			object_drop(&model, model.root, (int)i);
	}
	free(model.root);
	assert_int_equal(model.live, 1);
}

static void test_changes_from_here(void **state)
{
	unsigned seed;

	(void)state;
	for (seed = 1; seed <= 150; seed++)
		run(seed, false, UINT64_MAX, 2000);
}

static void test_changes_from_here_with_little_room(void **state)
{
	unsigned seed;

	(void)state;
	for (seed = 1; seed <= 150; seed++)
		run(seed, false, seed % 40, 2000);
}

static void test_changes_from_both_sides(void **state)
{
	unsigned seed;

	(void)state;
	for (seed = 1; seed <= 300; seed++)
		run(seed, true, seed % 3 ? UINT64_MAX : seed % 40, 1000);
}

/* --- a million names --- */

#define FOLDERS 1000
#define IN_EACH 1000

static void ignore_freed(void *arg, struct inode *inode)
{
	(void)arg;
	(void)inode;
}

static size_t resident(void)
{
	unsigned long total, pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu", &total, &pages), 2);
	fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void test_memory(void **state)
{
	static const struct names_events quiet = {
	    .version_changed = on_version, .name_gone = on_gone, .freed = ignore_freed};
	struct attr_report dir = {.mode = S_IFDIR | 0755, .mtime = 5},
			   file = {.mode = S_IFREG | 0644, .size = 10240, .mtime = 7, .nlink = 1};
	size_t before = resident(), grown;
	struct names *names = names_new("/workspace", &dir, 2000000, &quiet, NULL);
	unsigned i, j;

	(void)state;
	assert_non_null(names);
	for (i = 0; i < FOLDERS; i++) {
		char name[64];
		struct inode *folder;
		uint64_t tick = names_tick(names);

		snprintf(name, sizeof(name), "n%08u", i);
		folder = names_report(names, names_root(names), name, &dir, tick, 10);
		assert_non_null(folder);
		names_listing_begin(names, folder);
		for (j = 0; j < IN_EACH; j++) {
			snprintf(name, sizeof(name), "n%08u_%u.JPEG", i, j);
			assert_non_null(names_report(names, folder, name, &file, tick, 10));
		}
		names_listing_end(names, folder, tick, 10);
	}
	assert_int_equal(names_count(names), FOLDERS * IN_EACH + FOLDERS);
	grown = resident() - before;
	printf("# memory of %u names: %zu MB, %zu bytes each\n", FOLDERS * IN_EACH, grown >> 20,
	    grown / (FOLDERS * IN_EACH));
	names_free(names);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_changes_from_here),
	    cmocka_unit_test(test_changes_from_here_with_little_room),
	    cmocka_unit_test(test_changes_from_both_sides),
	    cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

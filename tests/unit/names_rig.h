/* For unit tests of cache/names.h: names below /workspace, and what their events told. */
#ifndef VASTFS_TESTS_NAMES_RIG_H
#define VASTFS_TESTS_NAMES_RIG_H

#include "cache/names.h"
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FREED_MAX 4096

struct rig {
	struct names *names;
	struct inode *root;
	unsigned versions, gone, freed, crowded;
	struct inode *last_gone;
	char gone_name[256], crowded_name[256];
	uint64_t freed_ino[FREED_MAX];
	bool old_stays;
};

static bool on_stays_old(void *arg, struct inode *inode, const struct attr_report *report)
{
	assert_non_null(inode->open);
	assert_true(attr_is_other(&inode->attr, report));
	return ((struct rig *)arg)->old_stays;
}

static void on_version(void *arg, struct inode *inode)
{
	((struct rig *)arg)->versions++;
}

static void on_gone(void *arg, struct inode *parent, const char *name, struct inode *inode)
{
	struct rig *rig = arg;

	assert_non_null(parent->folder);
	rig->gone++;
	rig->last_gone = inode;
	snprintf(rig->gone_name, sizeof(rig->gone_name), "%s", name);
}

static void on_freed(void *arg, struct inode *inode)
{
	struct rig *rig = arg;

	if (rig->freed < FREED_MAX)
		rig->freed_ino[rig->freed] = inode->ino;
	rig->freed++;
}

static void on_crowded(void *arg, const struct inode *parent, const char *name)
{
	struct rig *rig = arg;

	assert_non_null(parent->folder);
	rig->crowded++;
	snprintf(rig->crowded_name, sizeof(rig->crowded_name), "%s", name);
}

static const struct names_events events = {.stays_old = on_stays_old,
    .version_changed = on_version,
    .name_gone = on_gone,
    .crowded = on_crowded,
    .freed = on_freed};

static inline struct attr_report report_of(mode_t mode, uint64_t size, uint32_t mtime)
{
	return (struct attr_report){.mode = mode, .size = size, .mtime = mtime, .nlink = 1};
}

static const struct attr_report file = {.mode = S_IFREG | 0644, .size = 5, .mtime = 100};
static const struct attr_report folder = {.mode = S_IFDIR | 0755, .size = 4096, .mtime = 100};

static inline void rig_make(struct rig *rig, const char *root, uint64_t max)
{
	memset(rig, 0, sizeof(*rig));
	rig->names = names_new(root, &folder, max, &events, rig);
	assert_non_null(rig->names);
	rig->root = names_root(rig->names);
}

static inline int setup(void **state)
{
	struct rig *rig = malloc(sizeof(*rig));

	*state = rig;
	rig_make(rig, "/workspace", 1000000);
	return 0;
}

static inline int teardown(void **state)
{
	struct rig *rig = *state;

	names_free(rig->names);
	free(rig);
	return 0;
}

static inline struct inode *seen(struct rig *rig, struct inode *in, const char *name,
    const struct attr_report *report, uint64_t ms)
{
	return names_report(rig->names, in, name, report, names_tick(rig->names), ms);
}

static inline struct inode *inode_at(struct rig *rig, struct inode *in, const char *name)
{
	struct dentry *dentry = names_find(rig->names, in, name);

	return dentry ? dentry->inode : NULL;
}

#endif

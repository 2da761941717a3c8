#include "cache/extents.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

size_t extents_first(const struct extents *extents, uint64_t offset)
{
	size_t low = 0, high = extents->n, mid;

	/* Writers mostly go forward. */
	if (high && extent_end(extents->at[high - 1]) <= offset)
		return high;
	while (low < high) {
		mid = low + (high - low) / 2;
		if (extent_end(extents->at[mid]) <= offset)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool extents_overlap(const struct extents *extents, uint64_t from, uint64_t to)
{
	size_t i = extents_first(extents, from);

	return i < extents->n && extents->at[i]->offset < to;
}

int extents_reserve(struct extents *extents)
{
	size_t room = extents->room ? extents->room * 2 : 8;
	struct extent **at;

	if (extents->n < extents->room)
		return 0;
	at = realloc(extents->at, room * sizeof(*at));
	if (!at)
		return -ENOMEM;
	extents->at = at;
	extents->room = room;
	return 0;
}

static int insert_at(struct extents *extents, size_t i, struct extent *extent)
{
	if (extents_reserve(extents) < 0)
		return -ENOMEM;
	memmove(&extents->at[i + 1], &extents->at[i], (extents->n - i) * sizeof(*extents->at));
	extents->at[i] = extent;
	extents->n++;
	return 0;
}

int extents_insert(struct extents *extents, struct extent *extent)
{
	return insert_at(extents, extents_first(extents, extent->offset), extent);
}

int extents_append(struct extents *extents, struct extent *extent)
{
	return insert_at(extents, extents->n, extent);
}

void extents_remove(struct extents *extents, const struct extent *extent)
{
	size_t i = extents_first(extents, extent->offset);

	if (i >= extents->n || extents->at[i] != extent) {
		for (i = 0; i < extents->n && extents->at[i] != extent; i++)
			;
		if (i == extents->n)
			return;
	}
	extents->n--;
	memmove(&extents->at[i], &extents->at[i + 1], (extents->n - i) * sizeof(*extents->at));
	/* An idle file keeps no array. */
	if (!extents->n)
		extents_fini(extents);
}

void extents_fini(struct extents *extents)
{
	free(extents->at);
	memset(extents, 0, sizeof(*extents));
}

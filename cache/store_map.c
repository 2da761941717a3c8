#include "cache/store_map.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t slot_of(const struct store_map *map, uint64_t number)
{
	return (size_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & map->mask;
}

/* A slot once used stays used (with pages 0), so that chains do not break. */
static bool is_free(const struct store_block *slot)
{
	return !slot->pages && !slot->sum;
}

static struct store_block *look(const struct store_map *map, uint64_t number)
{
	size_t i = slot_of(map, number);

	while (!is_free(&map->slots[i]) && map->slots[i].number != number)
		i = (i + 1) & map->mask;
	return &map->slots[i];
}

void store_map_fini(struct store_map *map)
{
	free(map->slots);
	memset(map, 0, sizeof(*map));
}

const struct store_block *store_map_find(const struct store_map *map, uint64_t number)
{
	const struct store_block *slot = map->slots ? look(map, number) : NULL;

	return slot && slot->pages ? slot : NULL;
}

static int grow(struct store_map *map)
{
	struct store_map bigger = {.mask = map->slots ? map->mask * 2 + 1 : 3};
	size_t i;

	bigger.slots = calloc(bigger.mask + 1, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (i = 0; map->slots && i <= map->mask; i++) {
		if (!map->slots[i].pages)
			continue;
		*look(&bigger, map->slots[i].number) = map->slots[i];
		bigger.n++;
	}
	bigger.bytes = map->bytes;
	free(map->slots);
	*map = bigger;
	return 0;
}

int store_map_set(struct store_map *map, const struct store_block *block)
{
	struct store_block *slot;

	if (!block->pages && !map->slots)
		return 0;
	if ((!map->slots || map->n * 4 >= map->mask * 3) && grow(map))
		return -ENOMEM;
	slot = look(map, block->number);
	if (is_free(slot)) {
		if (!block->pages)
			return 0;
		map->n++;
	}
	map->bytes -= (uint64_t)__builtin_popcount(slot->pages) * BLOCKS_PAGE;
	map->bytes += (uint64_t)__builtin_popcount(block->pages) * BLOCKS_PAGE;
	*slot = *block;
	if (!slot->pages)
		slot->sum = 1;
	return 0;
}

#include "transport/sftp_table.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLAB_SLOTS 64
#define BUCKETS_MIN 64

struct sftp_slab {
	struct sftp_slab *next;
	struct sftp_request slots[SLAB_SLOTS];
};

int sftp_table_init(struct sftp_table *table)
{
	memset(table, 0, sizeof(*table));
	TAILQ_INIT(&table->waiting);
	TAILQ_INIT(&table->free);
	table->buckets = calloc(BUCKETS_MIN, sizeof(*table->buckets));
	table->size = BUCKETS_MIN;
	return table->buckets ? 0 : -ENOMEM;
}

void sftp_table_fini(struct sftp_table *table)
{
	struct sftp_slab *slab;

	while ((slab = table->slabs)) {
		table->slabs = slab->next;
		free(slab);
	}
	free(table->buckets);
	free(table->foresee.free);
	memset(table, 0, sizeof(*table));
}

/* Ids count up, so that their low bits spread them evenly. */
static struct sftp_request **bucket(const struct sftp_table *table, uint32_t id)
{
	return &table->buckets[id & (table->size - 1)];
}

/* Twice the buckets; without memory the chains just get longer. */
static void grow(struct sftp_table *table)
{
	struct sftp_request **old = table->buckets, *request, *next;
	struct sftp_request **buckets = calloc(table->size * 2, sizeof(*buckets));
	size_t old_size = table->size;

	if (!buckets)
		return;
	table->buckets = buckets;
	table->size = old_size * 2;
	for (size_t i = 0; i < old_size; i++) {
		for (request = old[i]; request; request = next) {
			next = request->chain;
			request->chain = *bucket(table, request->id);
			*bucket(table, request->id) = request;
		}
	}
	free(old);
}

static bool refill(struct sftp_table *table)
{
	struct sftp_slab *slab = malloc(sizeof(*slab));

	if (!slab)
		return false;
	slab->next = table->slabs;
	table->slabs = slab;
	for (size_t i = 0; i < SLAB_SLOTS; i++)
		TAILQ_INSERT_TAIL(&table->free, &slab->slots[i], order);
	return true;
}

struct sftp_request *sftp_table_add(struct sftp_table *table)
{
	struct sftp_request *request;

	if (TAILQ_EMPTY(&table->free) && !refill(table))
		return NULL;
	if (table->count >= table->size)
		grow(table);
	/* The last one used: it is still in the processor's cache. */
	request = TAILQ_FIRST(&table->free);
	TAILQ_REMOVE(&table->free, request, order);
	memset(request, 0, sizeof(*request));
	while (sftp_table_find(table, table->next_id))
		table->next_id++;
	request->id = table->next_id++;
	request->chain = *bucket(table, request->id);
	*bucket(table, request->id) = request;
	table->count++;
	TAILQ_INSERT_TAIL(&table->waiting, request, order);
	return request;
}

struct sftp_request *sftp_table_find(const struct sftp_table *table, uint32_t id)
{
	struct sftp_request *request = *bucket(table, id);

	while (request && request->id != id)
		request = request->chain;
	return request;
}

void sftp_table_replied(
    struct sftp_table *table, const struct sftp_request *request, uint64_t in_turn_ms)
{
	table->replied_sent_ns = request->sent_ns;
	table->replied_ns = uv_hrtime();
	table->stuck_ns = 0;
	table->in_turn_ms = in_turn_ms;
}

/* Its time is over. */
static void note_stuck(struct sftp_table *table, const struct sftp_request *request)
{
	if (!table->stuck_ns && table->replied_sent_ns <= request->sent_ns)
		table->stuck_ns = request->sent_ns;
}

struct sftp_quiet sftp_table_quiet(const struct sftp_table *table, uint64_t now_ns, unsigned moves)
{
	const struct sftp_request *first = TAILQ_FIRST(&table->waiting);
	uint64_t since = table->stuck_ns;
	struct sftp_quiet quiet = {
	    .slow = !since && first && first->slow, .moves = moves, .sent = table->next_id};

	if (!since && !first)
		return quiet;
	if (!since)
		since = first->sent_ns;
	if (since < table->replied_ns)
		since = table->replied_ns;
	quiet.ms = (now_ns - since) / 1000000;
	return quiet;
}

uint64_t sftp_table_deadline(const struct sftp_table *table, const struct sftp_request *request)
{
	return table->replied_sent_ns < request->sent_ns && table->in_turn_ms > request->deadline_ms
		   ? table->in_turn_ms
		   : request->deadline_ms;
}

bool sftp_table_goes_on(struct sftp_table *table, struct sftp_request *request, uint64_t until_ms)
{
	if (!request->patient || table->replied_sent_ns > request->sent_ns)
		return false;
	note_stuck(table, request);
	TAILQ_REMOVE(&table->waiting, request, order);
	request->deadline_ms = until_ms;
	TAILQ_INSERT_TAIL(&table->waiting, request, order);
	return true;
}

void sftp_table_abandon(struct sftp_table *table, struct sftp_request *request)
{
	note_stuck(table, request);
	TAILQ_REMOVE(&table->waiting, request, order);
	table->foresee.off = true; /* what becomes of a handle in it is not followed */
	request->abandoned = true;
	table->abandoned++;
}

void sftp_table_detach(struct sftp_table *table, struct sftp_request *request)
{
	struct sftp_request **at = bucket(table, request->id);

	while (*at != request)
		at = &(*at)->chain;
	*at = request->chain;
	table->count--;
	if (request->abandoned)
		table->abandoned--;
	else
		TAILQ_REMOVE(&table->waiting, request, order);
}

void sftp_table_release(struct sftp_table *table, struct sftp_request *request)
{
	TAILQ_INSERT_HEAD(&table->free, request, order);
}

/*
 * The requests of one SFTP conversation that the server still owes an answer, by id and by age.
 *
 *     free --add--> waiting --detach--> (caller) --release--> free
 *                     +--abandon--> abandoned --detach--> (caller) --release--> free
 *
 * Ids count up and wrap; one that is still owed an answer is passed over, so that each is unique.
 * The waiting ones stand in the order of their deadlines, which is that of sending, but for those
 * that were waited for beyond it (sftp_table_goes_on). An
 * abandoned one (timed out) is only remembered, so that its late answer is known for what it is.
 *
 * Core only; owned by the conversation. Slots come in slabs that are kept until fini.
 */
#ifndef VASTFS_TRANSPORT_SFTP_TABLE_H
#define VASTFS_TRANSPORT_SFTP_TABLE_H

#include "transport/sftp.h"
#include <sys/queue.h>

struct sftp_request {
	TAILQ_ENTRY(sftp_request) order; /* in waiting, or in the free list */
	struct sftp_request *chain;	 /* in its bucket */
	sftp_done *done;
	void *arg;
	size_t cost;
	uint64_t sent_ns;     /* uv_hrtime */
	uint64_t deadline_ms; /* uv_now */
	uint32_t id;
	uint32_t len;	  /* READ: bytes asked for */
	uint32_t handle;  /* CLOSE: its number, where it is one */
	uint8_t type;	  /* SSH_FXP_ of the request */
	uint8_t expected; /* SSH_FXP_ of the answer to a success; STATUS when nothing was asked */
	bool one_name;	  /* a NAME in answer must have one entry */
	bool quick;	  /* the server answers at once, so that the time taken is the link's */
	bool slow;	  /* it may take its time without anything being wrong: fsync, copy-data */
	bool abandoned;
	bool patient;
};
TAILQ_HEAD(sftp_request_list, sftp_request);

/* sftp_foresee.h */
struct sftp_foresee {
	bool off;	     /* it can't be told */
	bool seen;	     /* it has been right */
	uint32_t ever;	     /* handles that there ever were, by the answers that came */
	uint32_t *free;	     /* those of them that were given back, the last one on top */
	size_t n_free, room; /* of it */
};

struct sftp_table {
	struct sftp_request_list waiting;
	unsigned abandoned; /* how many */
	uint32_t next_id;
	struct sftp_foresee foresee;

	/* private */
	uint64_t replied_sent_ns; /* when the request was sent that was answered last */
	uint64_t replied_ns;	  /* and when that was; uv_hrtime */
	uint64_t stuck_ns;	  /* when the first one was sent whose time was over with nothing
				     answered since, or 0 */
	uint64_t in_turn_ms;	  /* deadline of those behind it */
	struct sftp_request_list free;
	struct sftp_request **buckets;
	size_t size, count; /* buckets (a power of two), requests in them */
	struct sftp_slab *slabs;
};

/* 0 or -ENOMEM. */
int sftp_table_init(struct sftp_table *table);
/* Forgets whatever is in it. */
void sftp_table_fini(struct sftp_table *table);

/* A zeroed request with an id, at the end of waiting. NULL when memory is out. */
struct sftp_request *sftp_table_add(struct sftp_table *table);
/* Waiting or abandoned; NULL for an id that is owed nothing. */
struct sftp_request *sftp_table_find(const struct sftp_table *table, uint32_t id);
void sftp_table_abandon(struct sftp_table *table, struct sftp_request *request);
/*
 * Servers answer in turn: with megabytes in front of it on a slow link, a request may wait for long
 * until it is its turn. So the time of those that are behind the last one answered begins anew with
 * its answer: they have until in_turn_ms. One that is passed over keeps its deadline. (This leaves
 * the order of the deadlines the order of sending.)
 */
void sftp_table_replied(
    struct sftp_table *table, const struct sftp_request *request, uint64_t in_turn_ms);
uint64_t sftp_table_deadline(const struct sftp_table *table, const struct sftp_request *request);
/* Its time is over. Is it waited for all the same? Then it has until then: it is patient and was
 * not passed over. */
bool sftp_table_goes_on(struct sftp_table *table, struct sftp_request *request, uint64_t until_ms);
/* moves: the stream's. */
struct sftp_quiet sftp_table_quiet(const struct sftp_table *table, uint64_t now_ns, unsigned moves);
/* Out of the table; the caller reads what it needs and releases it. */
void sftp_table_detach(struct sftp_table *table, struct sftp_request *request);
void sftp_table_release(struct sftp_table *table, struct sftp_request *request);

#endif

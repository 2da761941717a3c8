/*
 * Write-behind: the bytes accepted from write(2) and not yet acknowledged by the instance. The
 * writing half of struct content; only content.c, content_pool.c and fetch.c call it.
 *
 *	extent   a run of dirty bytes that will be, or is, one WRITE; at most a chunk (max_write in
 *	         whole pages) long.
 *
 *	write(2) --> pending --full, flush, a second--> ready --nothing overlapping--> sent --> gone
 *	               ^                                  |     is in flight           answered
 *	               +--- overwritten, prolonged -------+
 *
 * pending and sent are each sorted by offset and free of overlaps, so finding is a binary search; a
 * pending extent may overlap sent ones, and then waits for them: a second generation. The data of a
 * sent extent is the source's; only its range is kept. It is gathered in memory of the source's, so
 * that it is copied once.
 *
 * Appending. All unacknowledged extents of a content are of one class, appending or not. Appending
 * ones are kept and sent in the order of the calls, all through the file of the first of them (two
 * files could overtake each other). A write of the other class waits until the content is clean.
 *
 * Back-pressure. The pool accepts up to a limit of unacknowledged bytes, about two seconds' worth
 * at the measured rate. Writes beyond it are copied and wait: in order within a content, contents
 * in turn.
 *
 * The spool. Each piece of a write is a record of the spool (spool.h) from before it is accepted
 * until it is acknowledged; an extent knows its records. While the link is down nothing is sent,
 * the limit is the spool's, and data beyond 64 MiB is left to the spool and read back to be sent;
 * what was under way when the link was lost for longer than the timeout waits among the sent ones
 * (stalled) and is sent again; appends in their order, and the source finds out what of them is
 * there. What the spool does not take is accepted when the instance has
 * acknowledged it.
 *
 * Errors. A failed write's bytes stay in the spool, named in the status, until a program is told:
 * the first error of a content stays due until a write or a flush returns it; pool-wide syncs hear
 * of it besides.
 *
 * Core only. No function here calls a program's completion: they are queued with pool_call.
 */
#ifndef VASTFS_CACHE_WRITER_H
#define VASTFS_CACHE_WRITER_H

#include "cache/extents.h"

struct content;
struct content_pool;
struct write_wait;
struct flush_wait;
struct sync_wait;

#define WRITER_LIMIT_FIRST (8u << 20)
#define WRITER_LIMIT_LEAST (2u << 20)
#define WRITER_LIMIT_MOST (64u << 20)
#define WRITER_SENT_NEAR (768u << 10) /* under way at once, over loopback */

struct writer {
	struct extents pending;
	struct extents sent;
	TAILQ_HEAD(writer_unacked, extent) unacked; /* pending and sent, oldest first */
	bool appending;				    /* the class of them */
	uint64_t
	    append_from; /* appending: the lowest offset among them; and the highest end sent */
	uint64_t append_end;
	/* Where the last of them will end on the instance, whatever the kernel's offsets say: it
	 * does not know what failed, nor what others append. */
	uint64_t append_to;
	uint64_t remote_size; /* the instance has at least this much of the file */
	uint64_t dirty;	      /* bytes in them */
	bool own;	      /* something was sent since the base (struct spool_record) */
	int error;	      /* W5: the first one not yet reported */
	unsigned stalled;     /* among the sent ones */
	unsigned again;	      /* among the sent ones, of appends */
	unsigned held;	      /* so often content_hold; nothing is sent meanwhile */
	bool dropped;	      /* nobody wants what was written */
	char *failed_path;    /* owned: under which the spool keeps what failed; or NULL */
	TAILQ_HEAD(, write_wait) waiting;
	TAILQ_HEAD(, flush_wait) flushes;
	bool in_ring;
	TAILQ_ENTRY(content) ring;	 /* has writes that may go on when there is room */
	TAILQ_ENTRY(content) dirty_link; /* unacked is not empty */
};

struct writer_pool {
	TAILQ_HEAD(, extent) unacked;
	TAILQ_HEAD(, content) ring;
	TAILQ_HEAD(writer_contents, content) dirty_contents; /* the next to send first */
	uint64_t dirty_files;				     /* how many these are */
	TAILQ_HEAD(, sync_wait) syncs;
	uint64_t next_id;
	uint64_t dirty, sent; /* bytes */
	uint64_t in_flight;   /* WRITEs */
	uint64_t acked;	      /* bytes acknowledged so far */
	uint64_t limit;
	uint64_t rate_since, rate_bytes; /* the sample being taken, ns; from then on */
	bool rate_limited;		 /* a write had to wait during it */
	uint64_t rate;			 /* bytes acknowledged in a second; 0: not known */
	uint64_t memory;		 /* bytes of buffers */
	bool down;			 /* there is no link: what the spool has is not sent */
	bool throttled;			 /* more than may be in flight at once is ready */
	bool must_wait;			 /* the spool did not take what is being accepted */
	uint64_t backlog; /* from when there was no link: writers go on at half the link's rate */
	uint64_t lost_files;
	int lost_error; /* for the next sync */
};

void writer_pool_init(struct writer_pool *pool);
/* Sends all that is pending in all contents. */
void writer_pool_push(struct content_pool *pool);
/* Lets waiting writes go on while there is room. */
void writer_pool_admit(struct content_pool *pool);
void writer_pool_sync(struct content_pool *pool, void (*done)(void *arg, int err), void *arg);
void writer_pool_link(struct content_pool *pool, bool up);

void writer_init(struct writer *writer, uint64_t size);
/* Cancels what waits, drops what is pending. */
void writer_fini(struct content *content);
/* As content_write. */
int writer_write(struct content *content, void *file, uint64_t offset, const void *data, size_t len,
    void (*done)(void *arg, int err), void *arg);
/* As content_withdraw. */
bool writer_withdraw(struct content *content, const void *arg);
void writer_flush(struct content *content, void (*done)(void *arg, int err), void *arg);
/* All of it lies in the spool, and nothing waits to be accepted. */
bool writer_spooled(const struct content *content);
/* The file has no name any more: what is not sent need not outlive the mount. */
void writer_unspool(struct content *content);
/* Sends all that is pending; what overlaps bytes in flight follows them. */
void writer_push(struct content *content);
/* Must a fetch of [from, to) wait for acknowledgements? The instance does not have these bytes yet.
 */
bool writer_holds(const struct content *content, uint64_t from, uint64_t to);
/* Where the last unacknowledged, or refused, byte ends; 0: clean. */
uint64_t writer_end(const struct content *content);
/* Writes that waited for something other than room may go on. */
void writer_kick(struct content *content);

/* --- between writer.c (accepting, sending) and writer_wait.c (waiting) --- */
/* Takes as much as there is memory for; the count. */
size_t writer_accept(
    struct content *content, void *file, uint64_t offset, const uint8_t *data, size_t len);
/* An extent has gone, acknowledged or not. */
void writer_wait_ended(struct content *content);
/* content may be NULL (freed). */
void writer_wait_failed(struct content_pool *pool, struct content *content, uint64_t id, int err);
void writer_wait_syncs(struct content_pool *pool);
void writer_wait_cancel(struct content *content);

#endif

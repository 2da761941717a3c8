/*
 * The content of files: what has been read (blocks), what will be (read-ahead) and what was written
 * and is not yet on the instance (the writer). One struct content for each inode with an open file.
 *
 *	blocks     128 KiB each, with a bitmap of the 4 KiB pages present and of those
 *	           being fetched; in memory, bounded by the pool's limit, least recently used
 *	           first. (The disk cache takes their place later: nothing outside blocks.c
 *	           knows where the bytes lie.)
 *	readahead  per open file: recognises several interleaved streams, forward, backward,
 *	           by strides or in pieces; the
 *	           window grows while readers find their data still under way, up to the
 *	           bandwidth-delay product; a random reader gets the pages it asks for and
 *	           no more.
 *	writer     the bytes accepted from write(2), merged into runs, sent pipelined as
 *	           they fill a request, the rest at flush or after a second; until they are
 *	           acknowledged they lie in the spool too. Bounded: a writer that is ahead of
 *	           the link waits.
 *
 * Core only, never blocks. The network is reached through struct content_source, which fs
 * implements and tests fake. Completions are called exactly once, later, never from inside the call
 * that started them; what can be answered at once is said by the return value instead.
 *
 * Errors: 0 or a count, or a negative errno.
 */
#ifndef VASTFS_CACHE_CONTENT_H
#define VASTFS_CACHE_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <uv.h>

struct spool;
struct spool_record;

/* How content reaches the instance. `file` is an open file of the source's; counted by it. Each
 * call completes exactly once, later. data: borrowed for the callback. */
struct content_source {
	/* len 1 to max_read. A shorter answer means the file ends there. bulk: part of a large
	 * transfer, not what a program is waiting for with a few KiB. */
	void (*read)(void *file, uint64_t offset, uint32_t len, bool bulk,
	    void (*done)(void *arg, int err, const uint8_t *data, uint32_t len), void *arg);
	/* Memory of the source's for what will be written: room for size bytes at *data, or NULL;
	 * freed by data_free or handed to write. */
	void *(*data_new)(uint32_t size, uint8_t **data);
	void (*data_free)(void *buffer);
	/* The first len bytes, 1 to max_write, of a buffer of data_new, which is taken. Calls with
	 * the same file and overlapping ranges are never in flight together. */
	void (*write)(void *file, uint64_t offset, void *buffer, uint32_t len, bool bulk,
	    void (*done)(void *arg, int err), void *arg);
	void (*get)(void *file);
	void (*put)(void *file);
	/* Appending files: the server puts each write at the end of the file. Their writes are
	 * called in order, several in flight together; the source keeps that order. */
	bool (*appends)(void *file);
	/* The same for one of them that is given again, with the same bytes, when it ended with
	 * -ETIMEDOUT or -ENOTCONN: before any other, in the order of the first calls (again). Of
	 * those the source finds out what arrived. */
	void (*append)(void *file, void *buffer, uint32_t len, bool bulk, bool again,
	    void (*done)(void *arg, int err), void *arg);
	/* Where the last one that was acknowledged ends; false: that is not known. */
	bool (*append_end)(void *file, uint64_t *end);
	uint32_t (*max_read)(void *file);  /* at least 4096 */
	uint32_t (*max_write)(void *file); /* at least 4096 */
	/* For the spool: where the file lies on the instance, into path, and what the instance has
	 * of it without our unsent changes (base_*, flags). False: it has no name any more. NULL
	 * when there is no spool. */
	bool (*place)(void *file, char *path, size_t size, struct spool_record *record);
	/* Least round-trip time seen, in microseconds; 0 unknown. */
	uint32_t (*rtt_us)(void *file);
};

/* What all contents of a mount share: the memory limit, the budget of bytes in flight, counters. */
struct content_pool;
struct content_figures {
	uint64_t hit_bytes, miss_bytes;	     /* asked by programs, found present or not */
	uint64_t fetched_bytes;		     /* read from the instance */
	uint64_t wasted_bytes;		     /* of these, dropped without having been asked for */
	uint64_t present_bytes, limit_bytes; /* blocks held now */
	uint64_t dirty_bytes, dirty_limit_bytes; /* accepted, not yet acknowledged */
	uint64_t dirty_files;			 /* that these are of */
	uint64_t acked_bytes;			 /* acknowledged so far */
	uint64_t reads_in_flight, writes_in_flight;
	uint64_t skipped_bytes; /* dropped before the disk cache could keep them */
	uint64_t lost_files;	/* freed with data, or an error, that nobody was told of */
};
struct content_pool *content_pool_new(
    uv_loop_t *loop, const struct content_source *source, uint64_t limit_bytes);
/* All contents must have been freed. The memory goes when what is in flight has completed and the
 * loop has closed the pool's handles, so the loop must still turn. */
void content_pool_free(struct content_pool *pool);
void content_pool_figures(const struct content_pool *pool, struct content_figures *out);
/* The contents that are dirty, the one that is so for longest first: through which file the oldest
 * of that is written, and how many bytes are to go of a size. each must change none; false: enough.
 */
void content_pool_each_dirty(const struct content_pool *pool,
    bool (*each)(void *arg, void *file, uint64_t dirty, uint64_t size), void *arg);
/* What is accepted from now on lies in the spool (borrowed) until it is acknowledged. */
void content_pool_set_spool(struct content_pool *pool, struct spool *spool);
/* The link to the instance came or went: without it nothing is sent, and what is written goes into
 * the spool, up to its size. */
void content_pool_link(struct content_pool *pool, bool up);
/* The writes that follow are (not) the kernel's own, of mapped pages: no program would hear of an
 * error, so one that is due stays due and they are accepted. */
void content_pool_write_back(struct content_pool *pool, bool on);
/* Waits until all that was accepted before has been acknowledged; err: the first error among them
 * (which stays due to its file as well). For `vastfs sync` and a clean unmount. */
void content_pool_sync(struct content_pool *pool, void (*done)(void *arg, int err), void *arg);
/* Drops all clean blocks (tests, `echo 3 > drop_caches`-like benchmarks). */
void content_pool_drop(struct content_pool *pool);

/* Keeps what is read in the disk cache too, and reads it from there. Once, before any content is
 * made; the store outlives the pool's contents. */
struct store;
void content_pool_set_store(struct content_pool *pool, struct store *store);
/* What waits to be kept is kept now (before leaving). */
void content_pool_keep_now(struct content_pool *pool);

struct content;

/* The file's last name was removed here: what was written to it goes with it when the daemon ends.
 */
void content_unspool(struct content *content);
/* And nobody has it open: what was written and not sent is not wanted any more, nor its errors. */
void content_drop(struct content *content);

/* Per open file: the read-ahead's memory. Embedded in the open file's struct; zeroed at open. */
struct readahead_stream {
	uint64_t next;	  /* offset that would continue the stream */
	uint64_t ahead;	  /* end of what was asked for ahead; going backward: its beginning */
	uint32_t window;  /* bytes kept ahead; 0: not (yet) sequential */
	uint32_t wanted;  /* what it becomes once enough was consumed for that; or less */
	uint32_t hits;	  /* reads in sequence so far */
	uint64_t used;	  /* when last used, for replacing the least recent stream */
	uint64_t begun;	  /* where it started */
	uint32_t skipped; /* bytes jumped over and not filled in since */
	uint32_t back;	  /* reads in a row that each ended where the one before began */
	uint32_t wasted;  /* what of readahead's is its, should it go on after all */
};
struct readahead {
	struct readahead_stream streams[8];
	uint64_t clock;
	/* Pieces: how long the last streams were, how many in a row were that long, and how many in
	 * a row had more asked for than was wanted. */
	uint64_t piece;
	uint32_t alike, abandoned;
	/* In mid-file, lately: bytes read, bytes asked for ahead and not wanted, the longest
	 * stream. */
	uint64_t consumed, wasted, longest;
	/* Strides: the last read and its length, its distance from the one before, how often in a
	 * row that was the same, and how many steps have been asked for ahead. */
	uint64_t last;
	uint32_t last_len;
	int64_t step;
	uint32_t steps, steps_ahead;
};

/* size in bytes, as programs here see it. NULL when memory is out. */
struct content *content_new(struct content_pool *pool, uint64_t size);
/* Gives it up. Fetches under way end on their own; dirty data must have been flushed (it is dropped
 * and counted as an error). Reads, writes and flushes that still wait are completed with
 * -ECANCELED. */
void content_free(struct content *content);

/* The file's size changed by truncation (here or there) or growth (there): pages beyond the new
 * size are dropped, a partial page is cut. The caller has flushed before truncating: bytes accepted
 * and not acknowledged keep the size at their end. */
void content_resize(struct content *content, uint64_t size);
/* The remote file is another version: present pages are dropped, fetches under way are forgotten
 * when they arrive (and asked again if somebody waits for them). Dirty data stays. */
void content_invalidate(struct content *content);
uint64_t content_size(const struct content *content);
/* Where what was just accepted, up to that offset, ends on the instance: appends go to its end of
 * the file, wherever the kernel believes that to be. */
uint64_t content_end_there(const struct content *content, uint64_t end);
/* The content is that of this version of the file at path: the disk cache may be asked for it, and
 * given what is fetched from the instance from settled_ns (uv_hrtime) on, when no other version can
 * pass for this one (R2). Does nothing when the size is not the content's, without a disk cache, or
 * when it was said before. */
void content_keep(struct content *content, const char *path, uint32_t mtime, uint64_t settled_ns);
bool content_is_kept(const struct content *content);
bool content_keeps(const struct content *content, uint32_t mtime);
/* It has another version, or is about to: what the disk cache has of it is dropped. Changes of the
 * size and writes imply it. */
void content_unkeep(struct content *content);

/* Pieces of a read, borrowed until the next call on any content of the pool: 1 MiB spans at most 9
 * blocks. */
struct content_view {
	struct iovec iov[12];
	int n;
	size_t len; /* total; less than asked only at the end of the file */
};
typedef void content_read_done(void *arg, int err, const struct content_view *view);

/*
 * Reads len bytes (1 to 1 MiB) at offset. Sees all that was written before (W1). 1: *view holds the
 * data now; 0: done will be called; negative errno. May start read-ahead through the same file,
 * steered by *ra (NULL: none).
 */
int content_read(struct content *content, void *file, struct readahead *ra, uint64_t offset,
    size_t len, struct content_view *view, content_read_done *done, void *arg);
/* Starts fetching [offset, offset + len), nobody waiting, as far as there is room for that. */
void content_prefetch(struct content *content, void *file, uint64_t offset, size_t len);

/* Is all of it in memory? (Meant for small files: it looks at each block.) */
bool content_whole(const struct content *content);
/* Brings all of a small file from the disk cache into memory, if it is there, and calls done,
 * later. False: it is not there. The content stays until done is called. */
bool content_load(struct content *content, void (*done)(void *arg), void *arg);
/* Has the disk cache all of a file, in this version? done is called once, later, unless that can't
 * be found out now (false). The content stays until then. */
bool content_look_kept(struct content *content, void (*done)(void *arg, bool whole), void *arg);
/* All len bytes of the file, read by somebody who knows that they are of the present version; what
 * is there or under way already stays as it is. settled: when they were asked for, no other version
 * could pass for it any more; else they are not kept on disk. 0, -ESTALE when the size is another
 * one or something was written, -ENOMEM. */
int content_fill(struct content *content, const uint8_t *data, size_t len, bool settled);

/*
 * Accepts len bytes at offset; the size grows to cover them. data is borrowed for the call (copied
 * when the write has to wait). 1: accepted now; 0: done will be called when it has been accepted,
 * which waits for room (back-pressure); negative errno: an earlier write-behind error of this file
 * (W5: returned once, then cleared), -EFBIG, or -ENOMEM (some of it may have been accepted). After
 * a write-behind error the size is what was accepted, not what the instance holds: the caller looks
 * and calls content_resize.
 */
int content_write(struct content *content, void *file, uint64_t offset, const void *data,
    size_t len, void (*done)(void *arg, int err), void *arg);

/* Withdraws the write with this arg that still waits (content_write gave 0): nothing of it is
 * accepted, done will be called with -ECANCELED. False: it has been accepted, or done is on its
 * way. */
bool content_withdraw(struct content *content, const void *arg);
/* The write with this arg was accepted, but not into the spool, and waits for the instance: it
 * waits no longer (done: -ECANCELED), though it may still be written. False: it does not wait for
 * that. */
bool content_leave(struct content *content, const void *arg);

/* A program was told of the error: what could not be written is not kept in the spool, and no
 * longer seen. */
void content_told(struct content *content);
/* The file was cut to nothing: what could not be written before that is not wanted any more. */
void content_overwritten(struct content *content);
/* All that is not acknowledged lies in the spool, and no error is due. */
bool content_spooled(const struct content *content);
/* The version that the source's `place` tells is the instance's now: nothing of ours has changed it
 * yet. */
void content_based(struct content *content);
/* Or something of ours may: it was truncated. */
void content_unbased(struct content *content);
/* May something of ours have changed it since? */
bool content_is_changed(const struct content *content);
/* What was accepted and not sent can't be: as if the instance had refused it. */
void content_fail(struct content *content, int err);
/* What is accepted is not sent until it is let go again (what is under way goes on); counted. */
void content_hold(struct content *content, bool on);
/* Was anything accepted that the instance refused, which nobody was told of? It is seen by who
 * reads; the size covers it, whatever the instance says. */
bool content_refused(const struct content *content);
/* The file is closed: what the instance has is seen again, and the spool keeps what it refused. */
void content_forget_refused(struct content *content);
/* These bytes of the file came from something else than a write: a truncation, a copy there. */
void content_replaced(struct content *content, uint64_t from, uint64_t to);
/* It can't be fetched again: what is here now is not evicted as long as content lives. */
void content_stays(struct content *content);
/* Is anything accepted and not yet acknowledged? */
bool content_dirty(const struct content *content);
/* How many bytes? */
uint64_t content_dirty_bytes(const struct content *content);
/* A small file, all of which has been sent, through that file if it is not acknowledged: what
 * follows through the same file on the instance comes behind it (appends: rfile_follows_appends).
 */
bool content_is_sent(const struct content *content, const void *file);
/* All that is not acknowledged (and something is) has been sent, through that file. */
bool content_is_sent_through(const struct content *content, const void *file);
/* Does the flush that was asked for with this arg still wait, for all that was accepted so far? */
bool content_flush_covers(const struct content *content, const void *arg);
/*
 * Sends what is left and waits for every write accepted before. err: the first error since the last
 * flush that reported one (W5), 0 when all is on the instance. (Without memory for the waiting,
 * done is called at once with -ENOMEM.)
 */
void content_flush(struct content *content, void (*done)(void *arg, int err), void *arg);

#endif

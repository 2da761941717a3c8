/*
 * When to read ahead, and how far: the policy on struct readahead of content.h. No memory, no I/O,
 * no clock.
 *
 * A stream is a place in the file where a reader goes forward. It gets a window, the bytes to keep
 * asked for ahead of it, with its second read in a row, or at once when it starts at offset 0. The
 * window doubles each time the reader finds its data still under way, up to the caller's limit and
 * to what the stream has consumed (half of it up to 8 MiB, and not at all while it is short, as
 * many read a piece of a megabyte and no more); from offset 0 it becomes four times as large, as
 * soon as a quarter of that was consumed. So looking at a header or at a piece in the middle costs
 * little. It is halved when data that was read ahead was dropped before it was asked for. It is
 * refilled when half of it is consumed, or an eighth of a deep one, so that requests stay large and
 * the link full.
 *
 *	     begun          next                      ahead
 *	  -----|==============|#########################|----------> file
 *	        consumed        asked for (<= window)
 *
 * The kernel sends several requests at once, which may overtake each other: within READAHEAD_SLACK
 * of next a stream stays itself. What it jumps over is counted, and what is filled in later is
 * forgiven, so a reader that skips soon has no stream. A reader at random never gets a window.
 *
 * What was fetched for nobody is counted against what was read in mid-file: beyond a sixteenth of
 * it only a stream that has clearly outgrown those before gets a window.
 *
 * Other ways to read:
 *	backward  each read ends where the one before began: a window in front of it
 *	strided   the third step of the same size: the next few pieces at that distance
 *	pieces    streams that all end after the same length (records, tensors): the next one gets
 *	          that much at its first read and no more; when a stream ends with data ahead that
 *	          nobody wanted, the next ones in mid-file get smaller windows; behind one that was
 *	          not short, the next gets nothing beyond its length before it has gone on
 *	the end   an open file's first read touches the file's end (parquet, zip): what is in front
 *	          of it, where the table of contents lies
 */
#ifndef VASTFS_CACHE_READAHEAD_H
#define VASTFS_CACHE_READAHEAD_H

#include "cache/content.h"

#define READAHEAD_SLACK (1u << 20)
/* Windows: what to start with in mid-file, the most to start with backward, and from offset 0. */
#define READAHEAD_LEAST (64u << 10)
#define READAHEAD_FIRST (256u << 10)
#define READAHEAD_ZERO_LEAST (128u << 10)
#define READAHEAD_ZERO (512u << 10)
/* What is fetched with a first read at the end of a file. */
#define READAHEAD_TAIL (256u << 10)
#define READAHEAD_PIECE_MAX (8u << 20)
/* A stream in mid-file is short until then: a megabyte, and what the kernel itself reads ahead. */
#define READAHEAD_SHORT ((1u << 20) + (256u << 10))
#define READAHEAD_STEPS 3

/* What a read found. */
enum readahead_found {
	READAHEAD_HIT,	    /* all there */
	READAHEAD_UNDERWAY, /* some of it was asked for and has not arrived */
	READAHEAD_ABSENT,   /* some of it was not asked for, or has been dropped */
};

struct readahead_plan {
	uint64_t from, to;		 /* to ask for now; from == to: nothing */
	bool streaming;			 /* the read belongs to a stream with a window */
	struct readahead_stream *stream; /* whose `ahead` follows what was asked for; or NULL */
	/* That many more ranges as long as the first, each that much behind the one before. */
	uint32_t more;
	int64_t step;
};

/* Notes a read of len bytes at offset in a file of size bytes. The caller sets plan->stream->ahead
 * lower when it asks for less than planned. */
void readahead_plan(struct readahead *ra, uint64_t offset, uint32_t len, uint64_t size,
    enum readahead_found found, uint32_t max_window, struct readahead_plan *plan);

#endif

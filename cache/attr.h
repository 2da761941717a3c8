/*
 * The attributes of a file as programs here see them, and how long they may be believed (contract
 * R1).
 *
 * SFTP version 3 carries whole seconds, no inode number, no link count outside of listings and no
 * change time. What is missing is kept from what was done here: the nanoseconds of a time until the
 * server's second changes, the link count, the change time. Pure functions; any thread.
 */
#ifndef VASTFS_CACHE_ATTR_H
#define VASTFS_CACHE_ATTR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

/* As short as the wire's: a million of them may be in memory. */
struct attr_time {
	uint32_t tv_sec, tv_nsec;
};

struct attr {
	uint64_t size;
	struct attr_time atime, mtime, ctime;
	uint32_t mode;	     /* with the type bits */
	uint32_t uid, gid;   /* the instance's numbers */
	uint32_t nlink : 31; /* 0: never heard */
	bool own_times : 1;  /* a folder: its times are those of a change of names made here */
	uint32_t
	    mtime_there; /* the second that the instance says; with size it is the file's version */
	uint32_t atime_there;
};

/* What one answer of the instance says of a file. */
struct attr_report {
	uint64_t size;
	uint32_t mode, uid, gid, nlink; /* nlink 0: not said */
	uint32_t atime, mtime;
};

/* Times are 32-bit seconds on the wire: clamps (0 to 2^32-1). */
uint32_t attr_clamp_time(int64_t seconds);
struct attr_time attr_time(struct timespec time);
struct timespec attr_timespec(struct attr_time time);

/* A file seen for the first time. */
void attr_init(struct attr *attr, const struct attr_report *report);

/* Is the report about another version (mtime or size) than is known? */
bool attr_is_other(const struct attr *attr, const struct attr_report *report);

/* Takes a later report over. True when it is another version (mtime or size) than was known. */
bool attr_update(struct attr *attr, const struct attr_report *report);

/*
 * Takes over a report made after our own change of the content: the times shown stay those of the
 * local change as long as the instance's clock is within two seconds of them, so that a program
 * that looks before and after close() sees one time.
 */
void attr_update_after_write(struct attr *attr, const struct attr_report *report);

/* Takes over what the instance says of the times of what was made here: those shown stay, as above.
 */
void attr_made(struct attr *attr, uint32_t atime, uint32_t mtime);
/* The same for what the instance made at `now`, with what it said of it: else an empty file would
 * be older than one written just before it in the same second. */
void attr_made_at(struct attr *attr, struct timespec now);

/* A local change: content (mtime and ctime) or attributes (ctime only) changed at `now`. */
void attr_touch_content(struct attr *attr, struct timespec now);
void attr_touch_change(struct attr *attr, struct timespec now);
/* A name in the folder changed here at `now`. The next report's mtime, when it is within two
 * seconds of it, is taken for the same change, so that the times do not step back to the whole
 * second. */
void attr_touch_names(struct attr *attr, struct timespec now);

/*
 * For how many milliseconds a report may be believed: a tenth of the file's age when it was
 * reported, at least a second, at most max_ms. age in seconds (negative with clocks apart: as 0).
 */
uint32_t attr_lifetime_ms(int64_t age, uint32_t max_ms);

/*
 * May content read now be kept for this version? Not when the file changed within two seconds: a
 * second change would not show in a whole-second mtime. clock: the second that the instance's clock
 * has reached at least; known_ms: for how long this version has been seen.
 */
bool attr_settled(const struct attr *attr, int64_t clock, uint64_t known_ms);

#endif

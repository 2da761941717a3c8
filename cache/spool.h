/*
 * The spool: the changes that were accepted from programs and are not yet acknowledged by the
 * instance, on the local disk. What is in it survives a kill -9 of the daemon (the kernel's page
 * cache has it when spool_append returns) and, as far as the local file system keeps what was not
 * fsynced, a power cut. The next mount reads it back (spool_next, spool_read) and sends it
 * (fs/replay.c).
 *
 *	append ──> due ──sent──> sent ──done──> gone
 *	            ^              |
 *	            |              +──failed──> failed: stays, named by spool_failures; the next
 *	            +───────────────────────────        mount (or `vastfs spool retry`) tries again
 *
 * A journal is a folder, $XDG_STATE_HOME/vastfs/<instance>/<number>/ (0700), with a file `lock` and
 * segments, files of records in the order of acceptance; little endian:
 *
 *	segment   head 64 | done bits 2048 | sent bits 2048 | records …
 *	head      "VASTSPL1" | first sequence 8 | salt 8 | 32 zeros | checksum 8
 *	record    magic 4 | payload length 4 | sequence 8 | type 2 | flags 2 | mark 4 | checksum 8
 *	payload   offset 8 | base size 8 | base mtime 4 | attr flags 4 | mode 4 | uid 4 | gid 4 |
 *	          atime 4 | mtime 4 | path length 2 | second path's 2 | path NUL | second path NUL |
 *	          data
 *
 * The mark is what has become of the record since it was written, and is no part of the checksum:
 *0, or the second since 1970 in which it failed first; 1: a RENAME that was done, see spool_done.
 *
 * A record's number within its segment is its sequence less the first; its bits say whether it may
 * have been sent, and whether it was acknowledged. The checksums (XXH3) are seeded with the salt,
 * which is new each time a segment is used again, so that older bytes never pass for records. A
 * segment whose records are all done is used again at once, in the same pages: what streams through
 * faster than the kernel writes back costs no disk I/O. It is removed when the spool has been idle.
 *
 * Two mounts of an instance have a journal each. One that nobody holds the lock of is what a mount
 * left: spool_open takes the first for its own, and what is in the others with it. Sequences are
 * those of the file in a mount's own segments; what was left is numbered anew below them.
 *
 * The time of a segment's last change says until when its mount was alive (spool_tick sees to it),
 * and is kept as it is when bits are set in what an earlier mount left.
 *
 * Reading back: a torn last record was never accepted and is passed over; a broken one in between
 * that was still to be done is reported and skipped, as are segments with a broken head. What comes
 * behind such a gap is known as that (spool_record.gap): a rename then may lack the data that it
 * was to put in the place of something good.
 *
 * What survives. A kill -9, a full disk, a daemon that crashes: everything that was accepted.
 * A power cut: nothing is fsynced here (what a program fsynced is on the instance, and fsync waits
 * for that alone), so only what the kernel had written back by itself: usually all that is older
 * than half a minute (vm.dirty_expire_centisecs), and of what is newer the older part, since each
 * segment is written from its beginning. Records that did not reach the disk are missing at the
 * end, or torn, or zeros; the checksums tell, and the others are sent. The bits that say what is
 * done are put on their way to the disk within a second, so that only what was acknowledged in the
 * last moments is done once more, with the checks of every replay; and a segment's head at once
 * when it is used again, so that what was in it before is not taken for new.
 *
 * Core only. Never blocks, but for the local disk. Errors: 0 or a count, or a negative errno.
 */
#ifndef VASTFS_CACHE_SPOOL_H
#define VASTFS_CACHE_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum spool_type {
	SPOOL_WRITE = 1, /* path, offset, data */
	SPOOL_APPEND,	 /* the same; offset: where the end of the file was, as far as was known */
	SPOOL_TRUNCATE,	 /* path, offset: the new size */
	SPOOL_CREATE,	 /* path, attr.mode: a regular file, exclusively */
	SPOOL_MKDIR,	 /* path, attr.mode */
	SPOOL_SYMLINK,	 /* path, to: what it points to */
	SPOOL_LINK,	 /* path: the file; to: its new name */
	SPOOL_RENAME,	 /* path, to; replaces unless SPOOL_NOREPLACE */
	SPOOL_UNLINK,	 /* path */
	SPOOL_RMDIR,	 /* path */
	SPOOL_SETATTR,	 /* path, attr: what attr.flags names */
	SPOOL_CHECKED,	 /* path: a replay found it unchanged and has begun to change it */
	SPOOL_TYPES
};

/* attr.flags, as in SFTP. */
enum {
	SPOOL_ATTR_UIDGID = 2,
	SPOOL_ATTR_MODE = 4,
	SPOOL_ATTR_TIMES = 8,
};

/* record.flags */
enum {
	SPOOL_BASE =
	    1, /* base_size and base_mtime: the version that the instance had of the file
		  (RENAME: of `to`) before; it must not have changed when this is replayed */
	SPOOL_NOREPLACE = 2,
	SPOOL_NOFOLLOW = 4, /* SETATTR of a symlink itself */
	SPOOL_OWN = 8,	   /* changes of ours may have been made since the base, whether or not this
			      one was sent */
	SPOOL_SOURCE = 16, /* RENAME: offset and attr.mtime are what the file had that is renamed */
	SPOOL_FLAGS = 31,
};

#define SPOOL_PATH_MAX 4096u
#define SPOOL_DATA_MAX (4u << 20)

/* Paths are absolute on the instance. Borrowed, both ways. */
struct spool_record {
	enum spool_type type;
	uint32_t flags;
	const char *path;
	const char *to; /* NULL: none */
	uint64_t offset;
	uint64_t base_size;
	uint32_t base_mtime;
	struct spool_attr {
		uint32_t flags, mode, uid, gid, atime, mtime;
	} attr;
	const void *data;
	uint32_t len;
	/* Set when read back. */
	uint64_t sequence;
	bool sent;    /* it may have been done */
	bool renamed; /* RENAME: it was done, and is here for the paths of what is older alone */
	int64_t
	    failed;    /* when it could not be done, for the first time (as alive); 0: it has not */
	bool gap;      /* something before it could not be read back */
	int64_t alive; /* who took it was alive until then, at least (seconds since 1970, this
			  machine's clock); 0: it was taken by this mount */
};

struct spool;

/*
 * The spool of an instance, by the profile's id; limit: bytes on the disk. Never fails but for
 * memory (NULL): a spool whose folder can't be used logs why, and spool_append fails. root: the
 * folder of all instances' spools, for tests; NULL: the user's.
 */
struct spool *spool_open(const char *root, const char *instance, uint64_t limit);
/* What is not done stays on the disk. */
void spool_close(struct spool *spool);
/* $XDG_STATE_HOME/vastfs, else ~/.local/state/vastfs; owned by the caller, NULL without a home. */
char *spool_root(void);
/* Where it lies, for messages. */
const char *spool_path(const struct spool *spool);

/* A tenth of the free space there, at most 4 GiB. */
uint64_t spool_limit_default(const char *root);

/* Takes a change. Its sequence (> 0), or: -ENOSPC (full, the spool or the disk), -EIO and others
 * (the disk fails), -ENAMETOOLONG, -EINVAL. After an error the change is not in the spool: the
 * caller lets the program wait for the instance. */
int64_t spool_append(struct spool *spool, const struct spool_record *record);
/* Will it take the next few changes without data, whatever else happens to the disk's free space?
 * Programs are answered before the instance only then. */
bool spool_ready(struct spool *spool);
/* Why it did not take the last one; 0: it did. Tried anew every second (spool_tick). */
int spool_error(const struct spool *spool);
/* How many more bytes of data it takes, about. */
uint64_t spool_room(const struct spool *spool);

/* Sequences [first, first + n), which may be done already. Marks them as on their way: what was
 * never sent needs no second look by a replay. */
void spool_sent(struct spool *spool, uint64_t first, uint32_t n);
/* The instance has acknowledged them, or they are not wanted any more. A rename stays until all
 * that was accepted before it is done, as the paths of that are the old ones; its record then says
 * that it was done (spool_record.renamed), since its old name may have been given to something
 * else. */
void spool_done(struct spool *spool, uint64_t first, uint32_t n);
/* It is not wanted any more, though the instance has not done it. */
void spool_drop(struct spool *spool, uint64_t sequence);
/* They could not be done and nobody can be told: they stay. path: as programs see it best. When
 * that was first is known from then on, to the next mounts too: what is changed later is not ours
 * to overwrite with them. */
void spool_failed(struct spool *spool, uint64_t first, uint32_t n, int err, const char *path);
/* The failed changes of a path (NULL: of all) are not wanted any more; how many files. */
unsigned spool_discard(struct spool *spool, const char *path);
/* The same of its contents alone: all of them were overwritten. */
void spool_discard_data(struct spool *spool, const char *path);

/* The name was made, given to something else, or removed since: what failed and was to make it, or
 * was about what had it then, is not to be done any more. */
void spool_supersede(struct spool *spool, const char *path);
bool spool_any_failed(const struct spool *spool);
bool spool_has_failed(const struct spool *spool, uint64_t sequence);
/* What it is about was found as it was left, and is being changed: only its next failing counts. */
void spool_failed_anew(struct spool *spool, uint64_t sequence);
/* The sequences of all that failed lie in [from, to); false: none did. */
bool spool_failed_range(const struct spool *spool, uint64_t *from, uint64_t *to);
/* They are about to be tried again. */
void spool_forget_failed(struct spool *spool);

/* Reads a record back into buf, which is grown (start with {0}, free buf.at). 0, -ENOENT when it
 * is done, -EIO when it can't be read. */
struct spool_buf {
	uint8_t *at;
	size_t room;
};
int spool_read(
    struct spool *spool, uint64_t sequence, struct spool_buf *buf, struct spool_record *out);
/* Bytes of a record. */
uint32_t spool_length(const struct spool *spool, uint64_t sequence);
/* 0: there is none. */
enum spool_type spool_type_of(const struct spool *spool, uint64_t sequence);
/* The first sequence from `from` on that is not done; 0: none. */
uint64_t spool_next(const struct spool *spool, uint64_t from);
/* What earlier mounts left is below this sequence. */
uint64_t spool_recovered_end(const struct spool *spool);

/* The files that changes which are not done are of: the first hundred by each, the oldest first;
 * and how many more there are. Reads all of their heads. */
uint64_t spool_paths(struct spool *spool, void (*each)(void *arg, const char *path), void *arg);

/* Once a second: notes that the daemon is alive, gives disk space back when idle. */
void spool_tick(struct spool *spool);

struct spool_figures {
	uint64_t records, bytes; /* not done */
	uint64_t disk_bytes, limit_bytes;
	uint64_t appended_bytes; /* so far */
	unsigned failed_files;
	unsigned broken; /* records that could not be read back */
	int error;	 /* of the last append; 0 when it succeeded */
};
void spool_figures(const struct spool *spool, struct spool_figures *out);
/* The files whose changes failed. */
void spool_failures(const struct spool *spool,
    void (*each)(void *arg, const char *path, int err, uint64_t changes), void *arg);

#endif

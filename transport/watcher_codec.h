/*
 * The watcher's messages (watcher.h): packets as SFTP's, of a type and a number at least.
 *
 *	to it    ADD     number, u8 1: with a digest, path
 *	         DROP    number
 *	         PING    number
 *	from it  HELLO   "vastfs-watch", u32 version, u32 watches allowed (0: no inotify)
 *	         ADDED   number, u32 errno; if that is 0: u64 names + 1 (0: no
 *	                 digest), u64 digest, attributes
 *	         CHANGED number, u8 bits, attributes (zeros unless it is there),
 *	                 name ("": the folder)
 *	         GONE    number: it is not watched any more
 *	         LOST    0: nothing is (its queue ran over)
 *	         PING    number: all that had happened before was told
 *
 * Attributes: u32 mode, uid, gid, u64 size, u32 mtime, links. What comes is checked like all that a
 * server sends. Pure functions; any thread.
 */
#ifndef VASTFS_TRANSPORT_WATCHER_CODEC_H
#define VASTFS_TRANSPORT_WATCHER_CODEC_H

#include "transport/sftp_codec.h"

enum watcher_type {
	WATCHER_ADD = 1,
	WATCHER_HELLO,
	WATCHER_DROP,
	WATCHER_PING,
	WATCHER_ADDED,
	WATCHER_CHANGED,
	WATCHER_GONE,
	WATCHER_LOST,
};

/* Bits of CHANGED. */
enum {
	WATCHER_CONTENT = 1,
	WATCHER_NAME = 2,
	WATCHER_EXISTS = 4,
	WATCHER_MORE = 8, /* it is being written: it may be out of date already */
};

#define WATCHER_VERSION 1

struct watcher_message {
	enum watcher_type type;
	uint32_t number;
	uint32_t limit; /* HELLO */
	int err;	/* ADDED: 0 or a negative errno */
	bool digested;
	uint64_t names, digest;
	uint32_t bits; /* CHANGED */
	struct sftp_attr attr;
	uint32_t links;
	char name[256];
};

/* 0, or -EPROTO for what makes no sense. */
int watcher_read(const struct packet *packet, struct watcher_message *out);

/* NULL when memory is out. The same as lines, for watcher.sh: "A NUMBER PATH" (no path that it
 * can't have: it refuses that), "D NUMBER", "P NUMBER"; "G" begins with all that were added. */
struct packet *watcher_line(char order, uint32_t number, const char *path);
struct packet *watcher_msg(enum watcher_type type, uint32_t number);
struct packet *watcher_msg_add(uint32_t number, bool digest, const char *path);

/* What a name with these attributes adds to the digest of its folder. The size of a folder, and the
 * count of its links, do not count; of others a count that is not known (0) is one. */
uint64_t watcher_digest(const char *name, const struct sftp_attr *attr, uint32_t links);

#endif

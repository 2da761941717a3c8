/*
 * A FUSE request that waits for the instance.
 *
 * Exactly one reply: by the handler that finishes it, or before that by an interrupt (Ctrl-C) or
 * the timeout (N1); the handler then still runs to its end and its reply is dropped. Handlers embed
 * the struct as the first member of their own; each ends with exactly one request_end_* call, which
 * frees it.
 *
 * Core only.
 */
#ifndef VASTFS_FS_REQUEST_H
#define VASTFS_FS_REQUEST_H

#include "fs/fs.h"

struct request {
	TAILQ_ENTRY(request) waiting_link;
	TAILQ_ENTRY(request) signal_link;
	struct fs *fs;
	fuse_req_t fuse; /* NULL once answered */
	struct inode *pinned[4];
	pid_t pid;
	uid_t uid;
	gid_t gid;
	uint64_t started_ms;   /* when it came: the timeout */
	uint64_t sent_ms;      /* when it was sent to the instance */
	uint64_t tick;	       /* of names, when the request was sent to the instance */
	const char *operation; /* for the log */
	bool sends; /* waits for written data to go out: its time begins anew while that moves */
	/* NULL, or asked before an interrupt or the timeout answers: takes back what was asked, so
	 * that nothing happens after the error. False: it is done already, and its answer at hand;
	 * over (the timeout): what can't be taken back is left to itself. */
	bool (*withdraw)(struct request *request, bool over);
	/* NULL, or asked when a link has been waited for in vain for a while: an answer (a negative
	 * errno) that what is cached gives instead; 0: none. */
	int (*without_link)(struct request *request);
	struct turn *turn; /* of the handler's: it lands with the request (fs/turn.h); or NULL */
	enum { SIGNAL_NONE, SIGNAL_NEW, SIGNAL_IGNORED } signal;
};

/* size: of the handler's struct, zeroed. NULL: memory is out, and ENOMEM was answered. */
void *request_new(fuse_req_t fuse, size_t size, const char *operation);
/* Keeps an inode until the request has ended (at most four). */
void request_pin(struct request *request, struct inode *inode);
/* Notes the time and the tick of sending. */
void request_sent(struct request *request);
/* The wall clock, for times that a local change sets. */
struct timespec request_clock(void);

/* err: 0 or a negative errno. */
void request_end(struct request *request, int err);
/* Counts the kernel's reference when the answer arrived. */
void request_end_entry(struct request *request, struct inode *inode);
void request_end_attr(struct request *request, struct inode *inode);
/* False when nobody takes the open file: the caller closes it. */
bool request_end_open(struct request *request, const struct fuse_file_info *fi);
bool request_end_create(
    struct request *request, struct inode *inode, const struct fuse_file_info *fi);
void request_end_view(struct request *request, const struct content_view *view);
void request_end_buf(struct request *request, const void *data, size_t len);
void request_end_count(struct request *request, size_t count);
void request_end_statfs(struct request *request, const struct statvfs *st);
void request_end_readlink(struct request *request, const char *target);

/* After a batch of requests: answers those that a signal ends. Every second: those that time out.
 */
void requests_handle_interrupts(struct fs *fs);
void requests_handle_timeouts(struct fs *fs);
/* When the instance last acknowledged something of what was accepted; looks whether it has. */
uint64_t requests_moved_ms(struct fs *fs);
/* For how long something that has waited since then may wait. */
uint64_t request_patience_ms(const struct fs *fs, uint64_t since_ms);
/* It has waited in vain: if the link is lost, what comes next waits less. */
void requests_gave_up(struct fs *fs);
/* The mount is going away: answers all that wait with ENOTCONN. */
void requests_refuse(struct fs *fs);

#endif

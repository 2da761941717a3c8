/*
 * The way from the session threads to the core: a locked queue and a uv_async_t.
 *
 * Any thread posts; run() happens on the loop's thread, in the order of posting. A post after
 * mailbox_close, or still queued then, gets drop() instead of run(), on the closing or posting
 * thread.
 */
#ifndef VASTFS_TRANSPORT_MAILBOX_H
#define VASTFS_TRANSPORT_MAILBOX_H

#include <sys/queue.h>
#include <uv.h>

struct mail {
	STAILQ_ENTRY(mail) link;
	void (*run)(struct mail *mail);	 /* takes the mail */
	void (*drop)(struct mail *mail); /* takes the mail */
};

struct mailbox;

/* 0 or a negative errno. The loop must outlive the mailbox. */
int mailbox_new(struct mailbox **out, uv_loop_t *loop);
/* Takes the mail. */
void mailbox_post(struct mailbox *mailbox, struct mail *mail);
/* On the loop's thread. Frees the mailbox once libuv has closed its handle and the last reference
 * (mailbox_get by each session thread) is put. */
void mailbox_close(struct mailbox *mailbox);
struct mailbox *mailbox_get(struct mailbox *mailbox);
void mailbox_put(struct mailbox *mailbox);

#endif

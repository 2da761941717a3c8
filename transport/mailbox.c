#include "transport/mailbox.h"
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

STAILQ_HEAD(mail_queue, mail);

struct mailbox {
	uv_async_t async;
	pthread_mutex_t lock;	 /* of the fields below */
	struct mail_queue queue; /* posted, not yet run */
	bool closed;
	unsigned refs; /* the owner's until mailbox_close, libuv's handle, each mailbox_get */
};

/* Runs or drops each of the queue's mails, in order; one may close the mailbox for those behind it.
 */
static void mailbox_deliver(struct mailbox *mailbox, struct mail_queue *queue)
{
	struct mail *mail;

	while ((mail = STAILQ_FIRST(queue))) {
		STAILQ_REMOVE_HEAD(queue, link);
		/* Only this thread writes closed, so that it reads it without the lock. */
		if (mailbox->closed)
			mail->drop(mail);
		else
			mail->run(mail);
	}
}

static void on_async(uv_async_t *async)
{
	struct mailbox *mailbox = async->data;
	struct mail_queue queue = STAILQ_HEAD_INITIALIZER(queue);

	pthread_mutex_lock(&mailbox->lock);
	STAILQ_CONCAT(&queue, &mailbox->queue);
	pthread_mutex_unlock(&mailbox->lock);
	/* libuv's own reference holds the mailbox: its closing callback can't come before we
	 * return. */
	mailbox_deliver(mailbox, &queue);
}

static void on_closed(uv_handle_t *handle)
{
	mailbox_put(handle->data);
}

int mailbox_new(struct mailbox **out, uv_loop_t *loop)
{
	struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
	int err;

	if (!mailbox)
		return -ENOMEM;
	err = uv_async_init(loop, &mailbox->async, on_async);
	if (err) {
		free(mailbox);
		return err;
	}
	mailbox->async.data = mailbox;
	STAILQ_INIT(&mailbox->queue);
	pthread_mutex_init(&mailbox->lock, NULL);
	mailbox->refs = 2;
	*out = mailbox;
	return 0;
}

void mailbox_post(struct mailbox *mailbox, struct mail *mail)
{
	bool closed;

	pthread_mutex_lock(&mailbox->lock);
	closed = mailbox->closed;
	if (!closed) {
		/* A queue that is not empty has its wake-up under way already. */
		if (STAILQ_EMPTY(&mailbox->queue))
			uv_async_send(&mailbox->async);
		STAILQ_INSERT_TAIL(&mailbox->queue, mail, link);
	}
	pthread_mutex_unlock(&mailbox->lock);
	if (closed)
		mail->drop(mail);
}

void mailbox_close(struct mailbox *mailbox)
{
	struct mail_queue queue = STAILQ_HEAD_INITIALIZER(queue);

	pthread_mutex_lock(&mailbox->lock);
	mailbox->closed = true;
	STAILQ_CONCAT(&queue, &mailbox->queue);
	pthread_mutex_unlock(&mailbox->lock);
	mailbox_deliver(mailbox, &queue);
	uv_close((uv_handle_t *)&mailbox->async, on_closed);
	mailbox_put(mailbox);
}

struct mailbox *mailbox_get(struct mailbox *mailbox)
{
	pthread_mutex_lock(&mailbox->lock);
	mailbox->refs++;
	pthread_mutex_unlock(&mailbox->lock);
	return mailbox;
}

void mailbox_put(struct mailbox *mailbox)
{
	bool last;

	pthread_mutex_lock(&mailbox->lock);
	last = --mailbox->refs == 0;
	pthread_mutex_unlock(&mailbox->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&mailbox->lock);
	free(mailbox);
}

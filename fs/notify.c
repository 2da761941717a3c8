#include "fs/notify.h"
#include "fs/fuse_loop.h"
#include "fs/request.h"
#include "transport/mailbox.h"
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Beyond this the kernel's own timeouts have to do. */
#define QUEUE_MAX 10000
#define FORGET_MAX 2000
#define JOIN_MS 50
/* Beyond this they are told at once. */
#define HELD_MAX 64

struct notice {
	STAILQ_ENTRY(notice) link;
	fuse_ino_t node;
	bool pages; /* without a name: the node's pages too, not only its attributes */
	bool gone;  /* with one: it is no more */
	int fd;	    /* nothing to tell: who asked is answered; or -1 */
	/* Nothing to tell: done is called by the core; or NULL. */
	void (*done)(void *arg);
	void *arg;
	struct mail mail;
	uint64_t number;
	char name[]; /* empty: the node itself */
};

/* Of the last so many inodes it is known which notice was about them. */
#define RECENT 64
struct recent {
	fuse_ino_t node;
	uint64_t number;
};

struct notifier {
	/* The core's: names, until the requests in their folder are answered, and who asked behind
	 * them. */
	STAILQ_HEAD(, notice) held;
	unsigned n_held; /* names */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	STAILQ_HEAD(, notice) queue;  /* under lock */
	unsigned queued;	      /* under lock */
	bool stop;		      /* under lock */
	uint64_t number, told;	      /* under lock: of the last that was queued, and told */
	struct recent recent[RECENT]; /* the core's */
	unsigned n_recent;
	struct mailbox *mailbox;
	struct fuse_session *session;
};

static void notice_free(struct notice *notice)
{
	if (notice && notice->done)
		notice->done(notice->arg);
	if (notice && notice->fd >= 0)
		close(notice->fd);
	free(notice);
}

static void on_mail(struct mail *mail)
{
	notice_free((struct notice *)((char *)mail - offsetof(struct notice, mail)));
}

/* The kernel looks the name up again before it believes it. A name that is dropped instead leaves a
 * program that works in that folder without a path (getcwd(3) fails) until somebody looks it up;
 * before Linux 6.2 there is no other way. */
static int expire(struct fuse_session *session, const struct notice *notice)
{
	size_t len = strlen(notice->name);

#if FUSE_VERSION >= 316
	return fuse_lowlevel_notify_expire_entry(session, notice->node, notice->name, len);
#else
	return fuse_lowlevel_notify_expire_entry(
	    session, notice->node, notice->name, len, FUSE_LL_EXPIRE_ONLY);
#endif
}

static void tell(struct notifier *notifier, const struct notice *notice)
{
	static const char answer[] = "{\"ok\":true}\n";

	if (notice->fd >= 0) {
		(void)!write(notice->fd, answer, sizeof(answer) - 1);
		return;
	}
	/* An error means that the kernel does not know the node or the name (any more). */
	if (notice->name[0] && (notice->gone || expire(notifier->session, notice) == -ENOSYS))
		fuse_lowlevel_notify_inval_entry(
		    notifier->session, notice->node, notice->name, strlen(notice->name));
	else if (!notice->name[0])
		fuse_lowlevel_notify_inval_inode(
		    notifier->session, notice->node, notice->pages ? 0 : -1, 0);
}

static void *run(void *arg)
{
	struct notifier *notifier = arg;
	struct notice *notice;
	uint64_t number;

	pthread_mutex_lock(&notifier->lock);
	for (;;) {
		while (!(notice = STAILQ_FIRST(&notifier->queue)) && !notifier->stop)
			pthread_cond_wait(&notifier->wake, &notifier->lock);
		if (notifier->stop)
			break;
		STAILQ_REMOVE_HEAD(&notifier->queue, link);
		notifier->queued--;
		pthread_mutex_unlock(&notifier->lock);
		number = notice->number;
		if (notice->done) {
			mailbox_post(notifier->mailbox, &notice->mail);
		} else {
			tell(notifier, notice);
			notice_free(notice);
		}
		pthread_mutex_lock(&notifier->lock);
		notifier->told = number;
	}
	pthread_mutex_unlock(&notifier->lock);
	return NULL;
}

int notifier_start(struct fs *fs)
{
	struct notifier *notifier = calloc(1, sizeof(*notifier));
	int err;

	if (!notifier)
		return -ENOMEM;
	pthread_mutex_init(&notifier->lock, NULL);
	pthread_cond_init(&notifier->wake, NULL);
	STAILQ_INIT(&notifier->queue);
	STAILQ_INIT(&notifier->held);
	notifier->session = fs->session;
	err = mailbox_new(&notifier->mailbox, fs->loop);
	if (err) {
		free(notifier);
		return err;
	}
	err = pthread_create(&notifier->thread, NULL, run, notifier);
	if (err) {
		mailbox_close(notifier->mailbox);
		free(notifier);
		return -err;
	}
	fs->notifier = notifier;
	return 0;
}

static bool joined(struct notifier *notifier)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += JOIN_MS * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	return pthread_timedjoin_np(notifier->thread, NULL, &until) != ETIMEDOUT;
}

void notifier_stop(struct fs *fs)
{
	struct notifier *notifier = fs->notifier;
	struct notice *notice;

	if (!notifier)
		return;
	fs->notifier = NULL;
	pthread_mutex_lock(&notifier->lock);
	notifier->stop = true;
	pthread_cond_signal(&notifier->wake);
	pthread_mutex_unlock(&notifier->lock);
	while (!joined(notifier))
		fuse_loop_refuse(fs);
	mailbox_close(notifier->mailbox);
	STAILQ_CONCAT(&notifier->queue, &notifier->held);
	while ((notice = STAILQ_FIRST(&notifier->queue))) {
		STAILQ_REMOVE_HEAD(&notifier->queue, link);
		notice_free(notice);
	}
	pthread_mutex_destroy(&notifier->lock);
	pthread_cond_destroy(&notifier->wake);
	free(notifier);
}

/* NULL when memory is out. */
static struct notice *notice_new(fuse_ino_t node, const char *name, bool pages)
{
	struct notice *notice = malloc(sizeof(*notice) + strlen(name) + 1);

	if (!notice)
		return NULL;
	notice->node = node;
	notice->pages = pages;
	notice->gone = false;
	notice->fd = -1;
	notice->done = NULL;
	notice->mail = (struct mail){.run = on_mail, .drop = on_mail};
	strcpy(notice->name, name);
	return notice;
}

/* Takes the notice. */
static void queue(struct fs *fs, struct notice *notice, bool must)
{
	struct notifier *notifier = fs->notifier;

	if (!notice || !notifier) {
		notice_free(notice);
		return;
	}
	pthread_mutex_lock(&notifier->lock);
	if (must || notifier->queued < QUEUE_MAX) {
		notifier->queued++;
		notice->number = ++notifier->number;
		STAILQ_INSERT_TAIL(&notifier->queue, notice, link);
		notice = NULL;
		pthread_cond_signal(&notifier->wake);
	}
	pthread_mutex_unlock(&notifier->lock);
	notice_free(notice);
}

/* The kernel waits for the folder while somebody waits for an answer about a name in it, and with
 * it would all other notices. If the daemon were killed then, neither would ever end. */
static bool is_waited_for(struct fs *fs, fuse_ino_t folder)
{
	const struct request *request;
	int i;

	TAILQ_FOREACH (request, &fs->waiting, waiting_link) {
		for (i = 0; i < 3 && request->pinned[i]; i++) {
			if (fs_node(fs, request->pinned[i]) == folder)
				return true;
		}
	}
	return false;
}

/* Who asked is answered after all that was before. */
static bool must_wait(struct fs *fs, const struct notice *notice)
{
	const struct notifier *notifier = fs->notifier;

	if (notice->fd >= 0)
		return !STAILQ_EMPTY(&notifier->held);
	return notice->name[0] && notifier->n_held < HELD_MAX && is_waited_for(fs, notice->node);
}

/* Takes the notice (NULL: memory was out). must: the kernel has no time limit of its own for it. */
static void post(struct fs *fs, struct notice *notice, bool must)
{
	struct notifier *notifier = fs->notifier;

	if (notice && notifier && must_wait(fs, notice)) {
		STAILQ_INSERT_TAIL(&notifier->held, notice, link);
		notifier->n_held += notice->fd < 0;
	} else {
		queue(fs, notice, must);
	}
}

void notify_answered(struct fs *fs)
{
	struct notifier *notifier = fs->notifier;
	STAILQ_HEAD(, notice) held = STAILQ_HEAD_INITIALIZER(held);
	struct notice *notice;

	if (!notifier || !notifier->n_held)
		return;
	STAILQ_CONCAT(&held, &notifier->held);
	notifier->n_held = 0;
	while ((notice = STAILQ_FIRST(&held))) {
		STAILQ_REMOVE_HEAD(&held, link);
		post(fs, notice, notice->fd >= 0);
	}
}

void notify_done(struct fs *fs, int fd)
{
	struct notice *notice = notice_new(0, "", false);

	if (notice)
		notice->fd = fd;
	else
		close(fd);
	post(fs, notice, true);
}

static void post_inode(struct fs *fs, const struct inode *inode, bool pages)
{
	struct notifier *notifier = fs->notifier;
	fuse_ino_t node = fs_node(fs, inode);

	post(fs, notice_new(node, "", pages), false);
	if (notifier) /* the core alone counts */
		notifier->recent[notifier->n_recent++ % RECENT] =
		    (struct recent){.node = node, .number = notifier->number};
}

void notify_content(struct fs *fs, const struct inode *inode)
{
	if (inode->lookups)
		post_inode(fs, inode, true);
}

void notify_attr(struct fs *fs, const struct inode *inode)
{
	if (inode->lookups || inode == names_root(fs->names))
		post_inode(fs, inode, false);
}

static bool is_told(struct notifier *notifier, fuse_ino_t node)
{
	uint64_t number = 0;
	unsigned i;
	bool told;

	for (i = 0; i < RECENT; i++) {
		if (notifier->recent[i].node == node && notifier->recent[i].number > number)
			number = notifier->recent[i].number;
	}
	if (!number)
		return true;
	pthread_mutex_lock(&notifier->lock);
	told = notifier->told >= number;
	pthread_mutex_unlock(&notifier->lock);
	return told;
}

bool notify_after(struct fs *fs, const struct inode *inode, void (*done)(void *arg), void *arg)
{
	struct notice *notice;

	if (!fs->notifier || is_told(fs->notifier, fs_node(fs, inode)) ||
	    !(notice = notice_new(0, "", false)))
		return false;
	notice->done = done;
	notice->arg = arg;
	queue(fs, notice, true);
	return true;
}

void notify_listing(struct fs *fs, const struct inode *folder)
{
	if (folder->lookups || folder == names_root(fs->names))
		post(fs, notice_new(fs_node(fs, folder), "", true), true);
}

static void post_name(struct fs *fs, const struct inode *folder, const char *name, bool gone)
{
	struct notice *notice;

	if (!folder->lookups && folder != names_root(fs->names))
		return;
	notice = notice_new(fs_node(fs, folder), name, false);
	if (notice)
		notice->gone = gone;
	post(fs, notice, false);
}

void notify_name(struct fs *fs, const struct inode *folder, const char *name)
{
	post_name(fs, folder, name, false);
}

void notify_gone(struct fs *fs, const struct inode *folder, const char *name)
{
	post_name(fs, folder, name, true);
}

void notify_forget(struct fs *fs, const struct inode *folder, const char *name)
{
	struct notifier *notifier = fs->notifier;
	bool busy = true;

	if (notifier) {
		pthread_mutex_lock(&notifier->lock);
		busy = notifier->queued > FORGET_MAX;
		pthread_mutex_unlock(&notifier->lock);
	}
	if (!busy)
		post_name(fs, folder, name, true);
}

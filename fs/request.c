#include "fs/request.h"
#include "conf/log.h"
#include "fs/burst.h"
#include "fs/notify.h"
#include "fs/turn.h"
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WANT_LINK_MS 1000 /* as long as it takes until the next look */
/* How long a request waits for a link that others have waited for in vain: enough for a dial. */
#define GIVEN_UP_MS 5000
/* A request that took that long was waited for. */
#define WAITED_MS 4

/* Called by libfuse with locks held: only notes it. */
static void on_interrupt(fuse_req_t fuse, void *arg)
{
	struct request *request = arg;

	(void)fuse;
	if (request->signal != SIGNAL_NONE || !request->fuse)
		return;
	request->signal = SIGNAL_NEW;
	TAILQ_INSERT_TAIL(&request->fs->interrupted, request, signal_link);
}

void *request_new(fuse_req_t fuse, size_t size, const char *operation)
{
	struct fs *fs = fuse_req_userdata(fuse);
	const struct fuse_ctx *ctx = fuse_req_ctx(fuse);
	struct request *request = calloc(1, size);

	if (!request) {
		fuse_reply_err(fuse, ENOMEM);
		return NULL;
	}
	request->fs = fs;
	request->fuse = fuse;
	request->pid = ctx->pid;
	request->uid = ctx->uid;
	request->gid = ctx->gid;
	request->operation = operation;
	request->started_ms = fs_now_ms(fs);
	TAILQ_INSERT_TAIL(&fs->waiting, request, waiting_link);
	fs->requests_waiting++;
	fs->requests_alive++;
	fuse_req_interrupt_func(fuse, on_interrupt, request);
	return request;
}

void request_pin(struct request *request, struct inode *inode)
{
	int i = 0;

	while (request->pinned[i])
		i++;
	request->pinned[i] = inode;
	names_pin(inode);
}

void request_sent(struct request *request)
{
	request->tick = names_tick(request->fs->names);
	request->sent_ms = fs_now_ms(request->fs);
}

struct timespec request_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now;
}

/* Only what the instance had to be asked for takes as long as a turn of the loop. */
static void note_wait(struct request *request)
{
	struct fs *fs = request->fs;
	uint64_t waited = fs_now_ms(fs) - request->started_ms;
	char path[PATH_MAX] = "";

	if (waited < WAITED_MS)
		return;
	burst_waited(fs, request->pid, request->started_ms);
	fs->requests_waited++;
	if (!log_enabled(LOG_LEVEL_DEBUG))
		return;
	if (request->pinned[0])
		names_path(fs->names, request->pinned[0], path, sizeof(path));
	log_debug("%s waited %u ms (process %d) %s", request->operation, (unsigned)waited,
	    (int)request->pid, path);
}

/* Leaves the lists of those who wait; what remains is the handler's. */
static fuse_req_t request_take(struct request *request)
{
	fuse_req_t fuse = request->fuse;
	struct fs *fs = request->fs;

	if (!fuse)
		return NULL;
	request->fuse = NULL;
	TAILQ_REMOVE(&fs->waiting, request, waiting_link);
	if (request->signal == SIGNAL_NEW)
		TAILQ_REMOVE(&fs->interrupted, request, signal_link);
	else if (request->signal == SIGNAL_IGNORED)
		TAILQ_REMOVE(&fs->signalled, request, signal_link);
	request->signal = SIGNAL_NONE;
	fs->requests_waiting--;
	fs->requests_answered++;
	note_wait(request);
	return fuse;
}

static void request_free(struct request *request)
{
	struct names *names = request->fs->names;
	int i;

	if (request->turn)
		turn_land(request->turn);
	notify_answered(request->fs);
	request->fs->requests_alive--;
	for (i = 0; i < 4 && request->pinned[i]; i++)
		names_unpin(names, request->pinned[i]);
	free(request);
}

void requests_gave_up(struct fs *fs)
{
	if (!fs->given_up_ms && fs_offline(fs))
		fs->given_up_ms = fs_now_ms(fs);
}

void request_end(struct request *request, int err)
{
	fuse_req_t fuse = request_take(request);

	if (fuse && err == -ETIMEDOUT)
		requests_gave_up(request->fs);
	if (fuse)
		fuse_reply_err(fuse, -err);
	request_free(request);
}

void request_end_entry(struct request *request, struct inode *inode)
{
	fuse_req_t fuse = request_take(request);
	struct fuse_entry_param entry;

	if (fuse) {
		entry = fs_entry(request->fs, inode);
		inode->lookups++;
		if (fuse_reply_entry(fuse, &entry))
			names_forget(request->fs->names, inode, 1);
	}
	request_free(request);
}

void request_end_attr(struct request *request, struct inode *inode)
{
	fuse_req_t fuse = request_take(request);
	struct stat st;

	if (fuse) {
		fs_stat(request->fs, inode, &st);
		fuse_reply_attr(fuse, &st, fs_lifetime(request->fs, inode));
	}
	request_free(request);
}

bool request_end_open(struct request *request, const struct fuse_file_info *fi)
{
	fuse_req_t fuse = request_take(request);
	bool taken = fuse && !fuse_reply_open(fuse, fi);

	request_free(request);
	return taken;
}

bool request_end_create(
    struct request *request, struct inode *inode, const struct fuse_file_info *fi)
{
	fuse_req_t fuse = request_take(request);
	struct fuse_entry_param entry;
	bool taken = false;

	if (fuse) {
		entry = fs_entry(request->fs, inode);
		inode->lookups++;
		taken = !fuse_reply_create(fuse, &entry, fi);
		if (!taken)
			names_forget(request->fs->names, inode, 1);
	}
	request_free(request);
	return taken;
}

void request_end_view(struct request *request, const struct content_view *view)
{
	fuse_req_t fuse = request_take(request);

	if (fuse)
		fuse_reply_iov(fuse, view->iov, view->n);
	request_free(request);
}

void request_end_buf(struct request *request, const void *data, size_t len)
{
	fuse_req_t fuse = request_take(request);

	if (fuse)
		fuse_reply_buf(fuse, data, len);
	request_free(request);
}

void request_end_count(struct request *request, size_t count)
{
	fuse_req_t fuse = request_take(request);

	if (fuse)
		fuse_reply_write(fuse, count);
	request_free(request);
}

void request_end_statfs(struct request *request, const struct statvfs *st)
{
	fuse_req_t fuse = request_take(request);

	if (fuse)
		fuse_reply_statfs(fuse, st);
	request_free(request);
}

void request_end_readlink(struct request *request, const char *target)
{
	fuse_req_t fuse = request_take(request);

	if (fuse)
		fuse_reply_readlink(fuse, target);
	request_free(request);
}

/*
 * The kernel sends an interrupt for any signal that reaches a waiting process, also for those that
 * never end a file operation on a local disk: git's progress timer (SIGALRM) or a child's end. Only
 * signals that people mean by "stop" end a request; /proc tells which are pending. 0 when the
 * process is gone or can't be seen: then nothing is lost by ending it.
 */
static bool stop_is_pending(pid_t pid)
{
	static const int stops[] = {SIGKILL, SIGINT, SIGTERM, SIGQUIT, SIGHUP};
	char path[64], line[256];
	uint64_t pending = 0, blocked = 0, value;
	bool seen = false;
	FILE *file;
	size_t i;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return true;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "SigPnd: %lx", &value) == 1 ||
		    sscanf(line, "ShdPnd: %lx", &value) == 1) {
			pending |= value;
			seen = true;
		} else if (sscanf(line, "SigBlk: %lx", &value) == 1) {
			blocked = value;
		}
	}
	fclose(file);
	pending &= ~blocked;
	for (i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
		if (pending & (1ull << (stops[i] - 1)))
			return true;
	}
	return !seen;
}

static bool withdrawn(struct request *request, bool over)
{
	return !request->withdraw || request->withdraw(request, over);
}

static void interrupt(struct request *request)
{
	fuse_req_t fuse;

	log_debug("%s interrupted (process %d)", request->operation, (int)request->pid);
	request->fs->requests_interrupted++;
	fuse = request_take(request);
	fuse_reply_err(fuse, EINTR);
}

void requests_handle_interrupts(struct fs *fs)
{
	struct request *request, *next;

	while ((request = TAILQ_FIRST(&fs->interrupted))) {
		if (stop_is_pending(request->pid) && withdrawn(request, false)) {
			interrupt(request);
			continue;
		}
		TAILQ_REMOVE(&fs->interrupted, request, signal_link);
		TAILQ_INSERT_TAIL(&fs->signalled, request, signal_link);
		request->signal = SIGNAL_IGNORED;
	}
	/* The kernel interrupts a request only once: watch those whose first signal was no stop. */
	for (request = TAILQ_FIRST(&fs->signalled); request; request = next) {
		next = TAILQ_NEXT(request, signal_link);
		if (stop_is_pending(request->pid) && withdrawn(request, false))
			interrupt(request);
	}
}

/* What was accepted is on its way as long as the instance acknowledges some of it. */
uint64_t requests_moved_ms(struct fs *fs)
{
	struct content_figures figures;
	uint64_t acked;

	content_pool_figures(fs->contents, &figures);
	acked = figures.acked_bytes + fs->changes_ended;
	if (acked != fs->acked)
		fs->moved_ms = fs_now_ms(fs);
	fs->acked = acked;
	return fs->moved_ms;
}

uint64_t request_patience_ms(const struct fs *fs, uint64_t since_ms)
{
	uint64_t limit = fs->profile->timeout * 1000ull;

	/* A program makes many requests: on a dead mount it must not wait the whole time for each.
	 */
	return fs->given_up_ms && since_ms >= fs->given_up_ms && limit > GIVEN_UP_MS ? GIVEN_UP_MS
										     : limit;
}

static bool is_over(const struct fs *fs, const struct request *request)
{
	uint64_t since = request->started_ms;

	if (request->sends && fs->moved_ms > since)
		since = fs->moved_ms;
	return fs_now_ms(fs) - since >= request_patience_ms(fs, since);
}

static void on_link(void *arg, int err)
{
	(void)arg;
	(void)err;
}

/* What waits for data that is only sent once there is a link (fsync, close) asks for none itself.
 */
static void want_link(struct fs *fs)
{
	if (fs_offline(fs) && !TAILQ_EMPTY(&fs->waiting))
		pool_wait(remote_pool(fs->remote), LANE_NAMES, WANT_LINK_MS, on_link, NULL);
}

static void answer_without_link(struct fs *fs, struct request *request)
{
	int err = fs_now_ms(fs) - request->started_ms >= GIVEN_UP_MS && request->without_link
		      ? request->without_link(request)
		      : 0;

	if (!err)
		return;
	fs->absent_ms = fs_now_ms(fs);
	fuse_reply_err(request_take(request), -err);
}

void requests_handle_timeouts(struct fs *fs)
{
	struct request *request, *next;
	fuse_req_t fuse;

	requests_moved_ms(fs);
	want_link(fs);
	if (!fs_offline(fs))
		fs->given_up_ms = fs->absent_ms = 0;
	for (request = TAILQ_FIRST(&fs->waiting); request && fs_offline(fs); request = next) {
		next = TAILQ_NEXT(request, waiting_link);
		answer_without_link(fs, request);
	}
	for (request = TAILQ_FIRST(&fs->waiting); request; request = next) {
		next = TAILQ_NEXT(request, waiting_link);
		if (!is_over(fs, request) || !withdrawn(request, true))
			continue;
		requests_gave_up(fs);
		log_warning(
		    "%s got no answer within %u seconds", request->operation, fs->profile->timeout);
		fs->requests_timed_out++;
		fuse = request_take(request);
		fuse_reply_err(fuse, ETIMEDOUT);
	}
}

void requests_refuse(struct fs *fs)
{
	struct request *request;

	while ((request = TAILQ_FIRST(&fs->waiting)))
		fuse_reply_err(request_take(request), ENOTCONN);
}

#include "fs/statfs.h"
#include "cache/outbox.h"
#include "fs/request.h"
#include <errno.h>
#include <stdlib.h>

#define FRESH_MS 1000
#define KNOWN_MS 30000
/* However much is changed: programs that walk a tree (fts: grep, rm, chmod) ask in each folder. */
#define ENOUGH_MS 100

void statfs_forget(struct fs *fs)
{
	fs->space.changes++;
}

/* Has nothing been changed here since the instance was asked, and is nothing on its way? */
static bool is_known(const struct fs *fs)
{
	const struct space *space = &fs->space;
	uint64_t most = fs_attr_max_ms(fs) < KNOWN_MS ? fs_attr_max_ms(fs) : KNOWN_MS;
	uint64_t age = fs_now_ms(fs) - space->known_ms;
	struct content_figures figures;

	if (fs_offline(fs) || (space->known_ms && age < ENOUGH_MS))
		return true;
	content_pool_figures(fs->contents, &figures);
	return space->known_ms && age < most && space->known_changes == space->changes &&
	       space->known_acked == figures.acked_bytes && !figures.dirty_bytes &&
	       !outbox_count(fs->outbox);
}

struct question {
	struct fs *fs;
	struct request *request; /* who waits for it, or NULL */
	uint64_t changes, acked; /* when it was asked */
};

static void on_statvfs(void *arg, int err, const struct statvfs *st)
{
	struct question *question = arg;
	struct space *space = &question->fs->space;

	space->asking = false;
	if (!err) {
		space->st = *st;
		space->known_ms = fs_now_ms(question->fs);
		space->known_changes = question->changes;
		space->known_acked = question->acked;
	}
	if (question->request && err)
		request_end(question->request, err);
	else if (question->request)
		request_end_statfs(question->request, st);
	free(question);
}

static void ask(struct fs *fs, struct request *request)
{
	struct question *question = malloc(sizeof(*question));
	struct content_figures figures;

	if (!question) {
		if (request)
			request_end(request, -ENOMEM);
		return;
	}
	content_pool_figures(fs->contents, &figures);
	*question = (struct question){.fs = fs,
	    .request = request,
	    .changes = fs->space.changes,
	    .acked = figures.acked_bytes};
	fs->space.asking = true;
	remote_statvfs(fs->remote, remote_root(fs->remote), on_statvfs, question);
}

void fs_statfs(fuse_req_t req, fuse_ino_t node)
{
	struct fs *fs = fuse_req_userdata(req);
	const struct statvfs nothing = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = 255};
	struct space *space = &fs->space;
	struct request *request;

	(void)node;
	if (is_known(fs)) {
		/* Never known, and no link (R5): a walk must not wait for that in each folder. */
		fuse_reply_statfs(req, space->known_ms ? &space->st : &nothing);
		if (!space->asking && !fs_offline(fs) && fs_now_ms(fs) - space->known_ms > FRESH_MS)
			ask(fs, NULL);
		return;
	}
	request = request_new(req, sizeof(*request), "statfs");
	if (request)
		ask(fs, request);
}

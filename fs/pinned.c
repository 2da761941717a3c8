#include "fs/pinned.h"
#include "cache/outbox.h"
#include "cache/store.h"
#include "conf/log.h"
#include "fs/disk.h"
#include "fs/listing.h"
#include "fs/openfile.h"
#include "fs/refresh.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_MS 3000
#define ROUND_MS 30000
#define SOON_MS 1000
#define AT_ONCE 8u
#define PIECE (1u << 20)

struct pinned {
	struct fs *fs;
	uint64_t next_ms; /* when the next round is due */
	bool running, stopped;
	bool any; /* the last round had pins */
	bool going;
	char **paths;
	size_t n_paths, next_path;
	/* The path that is looked for: what is left of it, behind this folder. */
	const char *way;
	struct inode *at;    /* pinned; NULL: no path is looked for */
	struct inode **todo; /* folders and files still to be looked at; pinned */
	size_t n, room;
	unsigned flying; /* files being looked at, and one for what the walk itself waits for */
	bool waiting;	 /* for that */
	uint32_t anew;	 /* mixed into what was kept, so that none of it counts after a change */
};

struct job {
	struct pinned *pinned;
	struct inode *inode; /* pinned */
	struct handle *handle;
	uint64_t offset, tick, sent_ms, size;
	uint32_t mtime;
};

static void go(struct pinned *pinned);

static struct pinned *pinned_of(struct fs *fs)
{
	if (!fs->pinned && (fs->pinned = calloc(1, sizeof(*fs->pinned)))) {
		fs->pinned->fs = fs;
		fs->pinned->next_ms = fs_now_ms(fs) + FIRST_MS;
	}
	return fs->pinned;
}

/* --- one file --- */

static uint32_t version(const struct pinned *pinned, const struct inode *inode)
{
	uint32_t of = inode->attr.mtime_there * 2654435761u ^ (uint32_t)inode->attr.size ^
		      pinned->anew * 40503u;

	return of ? of : 1;
}

static bool is_wanted(const struct pinned *pinned, const struct inode *inode)
{
	return S_ISREG(inode->attr.mode) && inode->kept_version != version(pinned, inode);
}

static void job_end(struct job *job, bool kept)
{
	struct pinned *pinned = job->pinned;
	struct inode *inode = job->inode;

	if (kept && inode->attr.mtime_there == job->mtime && inode->attr.size == job->size)
		inode->kept_version = version(pinned, inode);
	if (job->handle)
		handle_put(job->handle);
	names_unpin(pinned->fs->names, inode);
	free(job);
	pinned->flying--;
	go(pinned);
}

static void read_on(struct job *job);

static void on_read(void *arg, int err, const struct content_view *view)
{
	struct job *job = arg;

	if (err || !view->len || job->pinned->stopped) {
		job_end(job, false);
		return;
	}
	job->offset += view->len;
	read_on(job);
}

static void read_on(struct job *job)
{
	struct content *content = job->handle->open->content;
	struct content_view view;
	int got = 1;

	while (job->offset < job->size && got > 0) {
		got = content_size(content) == job->size
			  ? content_read(content, job->handle, &job->handle->ahead, job->offset,
				PIECE, &view, on_read, job)
			  : -ESTALE;
		if (got > 0 && !view.len)
			got = -ESTALE;
		if (got > 0)
			job->offset += view.len;
	}
	if (got)
		job_end(job, got > 0);
}

static void on_opened(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	struct job *job = arg;
	struct fs *fs = job->pinned->fs;
	struct openfile *open = job->inode->open;

	if (!err) {
		if (attr->flags)
			fs_take_report(fs, job->inode, attr, job->tick, job->sent_ms);
		job->handle = handle_new(fs, job->inode, file, O_RDONLY);
	}
	if (!job->handle || job->pinned->stopped || open->suspect || openfile_dirty(job->inode) ||
	    job->inode->attr.mtime_there != job->mtime || job->inode->attr.size != job->size) {
		job_end(job, false);
		return;
	}
	handle_tell_version(job->handle);
	disk_keep(fs, job->inode);
	/* What was written here is in memory, and only what is fetched goes to the disk cache. */
	if (!LIST_NEXT(LIST_FIRST(&open->handles), link))
		content_invalidate(open->content);
	read_on(job);
}

static void on_looked(void *arg, bool whole)
{
	struct job *job = arg;
	struct fs *fs = job->pinned->fs;
	struct rfile_owner owner = openfile_owner(fs, job->inode);
	char path[PATH_MAX];

	/* While folders are renamed, its path may lead elsewhere. */
	if (whole || job->pinned->stopped || fs_offline(fs) || !owner.arg ||
	    outbox_count(fs->outbox) || names_path(fs->names, job->inode, path, sizeof(path))) {
		job_end(job, whole);
		return;
	}
	log_verbose("fetching %s, which is pinned and has changed", path);
	job->tick = names_tick(fs->names);
	job->sent_ms = fs_now_ms(fs);
	rfile_open(fs->remote, path, openfile_sftp_flags(O_RDONLY), 0, &owner, on_opened, job);
}

/* Takes the inode's pin. */
static void bring(struct pinned *pinned, struct inode *inode)
{
	struct fs *fs = pinned->fs;
	struct openfile *open = NULL;
	struct job *job = NULL;

	if (is_wanted(pinned, inode) && !inode->pending && !LIST_EMPTY(&inode->names) &&
	    !openfile_dirty(inode) && fs_settled(fs, inode))
		open = openfile_of(fs, inode);
	if (open && LIST_EMPTY(&open->handles))
		openfile_drop_suspect(open);
	if (open && !open->suspect)
		job = calloc(1, sizeof(*job));
	if (!job) {
		names_unpin(fs->names, inode);
		return;
	}
	*job = (struct job){.pinned = pinned,
	    .inode = inode,
	    .mtime = inode->attr.mtime_there,
	    .size = inode->attr.size};
	pinned->flying++;
	disk_keep(fs, inode);
	if (!content_look_kept(open->content, on_looked, job))
		job_end(job, false);
}

/* --- the walk --- */

static bool add(struct pinned *pinned, struct inode *inode)
{
	struct inode **todo = pinned->todo;

	if (pinned->n == pinned->room) {
		pinned->room = pinned->room ? 2 * pinned->room : 64;
		todo = realloc(todo, pinned->room * sizeof(*todo));
		if (!todo) {
			pinned->room = pinned->n;
			return false;
		}
		pinned->todo = todo;
	}
	names_pin(inode);
	todo[pinned->n++] = inode;
	return true;
}

static void expand(struct pinned *pinned, const struct inode *folder)
{
	struct dentry *dentry;

	TAILQ_FOREACH (dentry, &folder->folder->children, sibling) {
		struct inode *inode = dentry->inode;

		if (inode && (inode->folder || is_wanted(pinned, inode)) && !add(pinned, inode))
			return;
	}
}

static void wait_is_over(struct pinned *pinned)
{
	pinned->waiting = false;
	pinned->flying--;
	go(pinned);
}

/* The folder is still the last of todo. */
static void on_listed(void *arg, int err)
{
	struct pinned *pinned = arg;
	struct inode *folder = pinned->todo[--pinned->n];

	if (!err && !pinned->stopped)
		expand(pinned, folder);
	names_unpin(pinned->fs->names, folder);
	wait_is_over(pinned);
}

static void on_name(void *arg, int err)
{
	wait_is_over(arg);
}

static void begin_wait(struct pinned *pinned)
{
	pinned->waiting = true;
	pinned->flying++;
}

static void leave_way(struct pinned *pinned)
{
	names_unpin(pinned->fs->names, pinned->at);
	pinned->at = NULL;
}

/* One name on the way to a pinned path. way: it begins there, behind slashes. asked: it was asked
 * for just now. */
static void on_the_way(struct pinned *pinned, bool asked)
{
	struct fs *fs = pinned->fs;
	struct inode *at = pinned->at;
	struct dentry *dentry;
	char name[256];
	size_t len;

	pinned->way += strspn(pinned->way, "/");
	len = strcspn(pinned->way, "/");
	if (!len)
		add(pinned, at);
	if (!len || len >= sizeof(name) || !at->folder) {
		leave_way(pinned);
		return;
	}
	memcpy(name, pinned->way, len);
	name[len] = '\0';
	dentry = names_find(fs->names, at, name);
	if (!asked && !(dentry && dentry->inode && fs_attr_believed(fs, dentry->inode)) &&
	    !refresh_name(fs, at, name, on_name, pinned)) {
		begin_wait(pinned);
		return;
	}
	if (!dentry || !dentry->inode) {
		leave_way(pinned);
		return;
	}
	names_pin(dentry->inode);
	leave_way(pinned);
	pinned->at = dentry->inode;
	pinned->way += len;
}

/* The next pin; one above the mounted folder means all of that. */
static void set_out(struct pinned *pinned)
{
	const char *root = remote_root(pinned->fs->remote);
	const char *path = pinned->paths[pinned->next_path++];
	size_t len = strcmp(root, "/") ? strlen(root) : 0, n = strlen(path);

	if (!strncmp(path, root, len) && (path[len] == '/' || !path[len]))
		pinned->way = path + len;
	else if (!strncmp(path, root, n) && (root[n] == '/' || !n))
		pinned->way = "";
	else
		return;
	pinned->at = names_root(pinned->fs->names);
	names_pin(pinned->at);
}

static void end_round(struct pinned *pinned)
{
	pinned->running = false;
	if (!pinned->next_ms)
		pinned->next_ms = fs_now_ms(pinned->fs) + ROUND_MS;
	while (pinned->n_paths)
		free(pinned->paths[--pinned->n_paths]);
	free(pinned->paths);
	free(pinned->todo);
	pinned->paths = NULL;
	pinned->todo = NULL;
	pinned->room = 0;
}

/* No more of this round. */
static void cut_short(struct pinned *pinned)
{
	while (pinned->n)
		names_unpin(pinned->fs->names, pinned->todo[--pinned->n]);
	if (pinned->at)
		leave_way(pinned);
	pinned->next_path = pinned->n_paths;
}

/* False: there is nothing more to be done now. */
static bool step(struct pinned *pinned, bool asked)
{
	struct fs *fs = pinned->fs;
	struct inode *inode = pinned->n ? pinned->todo[pinned->n - 1] : NULL;

	if (pinned->stopped || fs_offline(fs))
		cut_short(pinned);
	if (pinned->at) {
		on_the_way(pinned, asked);
	} else if (!pinned->n) {
		if (pinned->next_path == pinned->n_paths)
			return false;
		set_out(pinned);
	} else if (inode->folder && !listing_is_fresh(fs, inode) &&
		   !listing_wait(fs, inode, on_listed, pinned)) {
		begin_wait(pinned);
	} else if (inode->folder) {
		pinned->n--;
		expand(pinned, inode);
		names_unpin(fs->names, inode);
	} else {
		pinned->n--;
		bring(pinned, inode);
	}
	return true;
}

/* Goes on until something has to be waited for. */
static void go(struct pinned *pinned)
{
	bool asked = pinned->at != NULL;

	if (pinned->going)
		return;
	pinned->going = true;
	while (!pinned->waiting && pinned->flying < AT_ONCE && step(pinned, asked))
		asked = false;
	pinned->going = false;
	if (!pinned->flying && !pinned->n && !pinned->at)
		end_round(pinned);
}

/* --- from outside --- */

static void on_pins(void *arg, int err, char *const *paths, size_t n)
{
	struct pinned *pinned = arg;
	size_t i;

	pinned->any = !err && n;
	pinned->next_path = 0;
	pinned->paths = err ? NULL : calloc(n + 1, sizeof(*pinned->paths));
	for (i = 0; pinned->paths && i < n; i++) {
		pinned->paths[i] = strdup(paths[i]);
		if (!pinned->paths[i])
			break;
		pinned->n_paths++;
	}
	go(pinned);
}

void pinned_tick(struct fs *fs)
{
	/* a tree whose links are followed may have no end */
	bool may = fs->store && !fs->frozen && fs->profile->symlinks != SYMLINKS_FOLLOW;
	struct pinned *pinned = may ? pinned_of(fs) : NULL;

	if (!pinned || pinned->running || pinned->stopped || fs_offline(fs) ||
	    fs_now_ms(fs) < pinned->next_ms)
		return;
	pinned->running = true;
	pinned->next_ms = 0;
	store_pins(fs->store, STORE_PINS, "", on_pins, pinned);
}

void pinned_soon(struct fs *fs)
{
	struct pinned *pinned = fs->pinned;
	uint64_t soon = fs_now_ms(fs) + SOON_MS;

	if (pinned && pinned->any && (!pinned->next_ms || pinned->next_ms > soon))
		pinned->next_ms = soon;
}

void pinned_anew(struct fs *fs)
{
	if (!fs->pinned)
		return;
	fs->pinned->anew++;
	pinned_soon(fs);
}

void pinned_stop(struct fs *fs)
{
	struct pinned *pinned = fs->pinned;

	if (!pinned)
		return;
	pinned->stopped = true;
	if (pinned->running && pinned->paths)
		go(pinned);
}

void pinned_free(struct fs *fs)
{
	free(fs->pinned);
	fs->pinned = NULL;
}

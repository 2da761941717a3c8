/* What earlier mounts left. */
#include "cache/spool_impl.h"
#include "conf/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOURNALS_MOST 100
#define PIECE ((size_t)64 << 10) /* of a segment, read at once */

/* --- folders --- */

/* Makes the folder, and those above it that are missing. */
static int make_folder(const char *path)
{
	struct stat st;
	char *copy, *slash;

	if (!stat(path, &st))
		return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
	copy = strdup(path);
	slash = copy ? strrchr(copy, '/') : NULL;
	if (slash && slash != copy) {
		*slash = '\0';
		make_folder(copy);
	}
	free(copy);
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* A folder of the user's alone. */
static int make_private(const char *path)
{
	struct stat st;
	int err = make_folder(path);

	if (err)
		return err;
	if (lstat(path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (st.st_uid != geteuid())
		return -EPERM;
	if ((st.st_mode & 077) && chmod(path, 0700) < 0)
		return -errno;
	return 0;
}

/* The instance's name as a file's: whatever else there is in it becomes %XX. */
static char *folder_of(const char *root, const char *instance)
{
	size_t len = strlen(root);
	char *out = malloc(len + 1 + 3 * strlen(instance) + 1), *at;

	if (!out)
		return NULL;
	memcpy(out, root, len);
	at = out + len;
	*at++ = '/';
	for (; *instance; instance++) {
		unsigned char c = (unsigned char)*instance;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			     (c >= '0' && c <= '9') || strchr("_-@:", c) ||
			     (c == '.' && at[-1] != '/');

		at += sprintf(at, plain ? "%c" : "%%%02X", c);
	}
	*at = '\0';
	return out;
}

/* --- segments --- */

static int by_first(const void *a, const void *b)
{
	const struct segment *const *x = a, *const *y = b;

	return (*x)->file_first < (*y)->file_first   ? -1
	       : (*x)->file_first > (*y)->file_first ? 1
						     : strcmp((*x)->path, (*y)->path);
}

/* A file that can't be understood, or not read in whole, is kept under another name: false when
 * that can't be. What can be read of it is still used by its own name. */
static bool put_aside(const char *path)
{
	char *aside;
	bool done;

	log_error("%s: this part of the spool is broken and can't be read", path);
	if (asprintf(&aside, "%s.broken", path) < 0)
		return false;
	done = !link(path, aside);
	if (!done)
		log_error("%s: %s", aside, strerror(errno));
	free(aside);
	return done;
}

/* What a failing disk does not give is zeros, which no checksum passes; then *unread is set. Not by
 * mmap(2): there its errors are signals. */
static int scan_file(struct segment *segment, int fd, size_t size, bool *unread)
{
	uint8_t *bytes = calloc(1, size);
	ssize_t got;
	int broken;

	if (!bytes)
		return -ENOMEM;
	for (size_t at = 0; at < size; at += PIECE) {
		got = pread(fd, bytes + at, size - at < PIECE ? size - at : PIECE, (off_t)at);
		if (got < 0 && !*unread)
			log_error("%s: at byte %zu: %s", segment->path, at, strerror(errno));
		*unread |= got < 0;
	}
	broken = segment_scan(segment, bytes, size);
	free(bytes);
	return broken;
}

/* NULL: nothing is left in it (and it was removed), or it can't be used: *gap is set then, as any
 * other may have come behind it. */
static struct segment *load(struct spool *spool, const char *folder, uint32_t number, bool *gap)
{
	struct segment *segment = segment_new(folder, number);
	struct stat st;
	int fd = segment ? open(segment->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;
	bool unread = false, removable = fd >= 0;
	int broken;

	if (!segment)
		return NULL;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		log_error("%s: %s", segment->path, strerror(errno));
		broken = 0;
		*gap = true;
	} else {
		broken = st.st_size ? scan_file(segment, fd, (size_t)st.st_size, &unread) : 0;
		segment->changed = st.st_mtim;
	}
	if (fd >= 0)
		close(fd);
	if (broken < 0) {
		/* A head is written before the first record: without one nothing was accepted,
		 * unless the machine stopped. */
		unread |= st.st_size >= (off_t)SPOOL_RECORDS_AT;
	} else if (broken > 0) {
		spool->broken += (unsigned)broken;
		log_error(
		    "%s: %d changes in the spool can't be read any more", segment->path, broken);
	}
	if (unread) {
		removable = put_aside(segment->path);
		spool->broken++;
		if (segment->gap_from > segment->n)
			segment->gap_from = segment->n;
	}
	if (broken < 0 || !segment->live) {
		*gap |= unread;
		segment_free(spool, segment, removable);
		return NULL;
	}
	segment->recovered = true;
	return segment;
}

/* The segments of one journal, in order, behind those that are there. */
static int load_journal(struct spool *spool, const char *folder, uint64_t *highest)
{
	struct segment **found = NULL, **grown, *segment;
	size_t n = 0, i;
	struct dirent *entry;
	unsigned number;
	bool gap = false;
	int end, err = 0;
	DIR *dir = opendir(folder);

	if (!dir)
		return -errno;
	while (!err && (entry = readdir(dir))) {
		end = 0;
		if (sscanf(entry->d_name, "%8x%n", &number, &end) != 1 || end != 8 ||
		    entry->d_name[8])
			continue;
		if (number >= spool->next_file)
			spool->next_file = number + 1;
		segment = load(spool, folder, number, &gap);
		if (!segment)
			continue;
		grown = realloc(found, (n + 1) * sizeof(*found));
		if (!grown) {
			segment_free(spool, segment, false);
			err = -ENOMEM;
			break;
		}
		found = grown;
		found[n++] = segment;
	}
	closedir(dir);
	if (n)
		qsort(found, n, sizeof(*found), by_first);
	for (i = 0; i < n; i++) {
		segment = found[i];
		if (gap)
			segment->gap_from = 0;
		gap = gap || segment->gap_from != UINT32_MAX;
		if (segment->file_first + segment->n > *highest)
			*highest = segment->file_first + segment->n;
		segment->first = spool->next;
		spool->next += segment->n;
		spool->records += segment->live;
		spool->bytes += segment->live_bytes;
		spool->disk_bytes += segment->used;
		TAILQ_INSERT_TAIL(&spool->segments, segment, link);
	}
	free(found);
	return err;
}

/* --- journals --- */

/* The journal's lock; -EWOULDBLOCK when another mount has it, -ENOENT when there is none. */
static int lock_journal(const char *folder, bool create)
{
	char *path;
	int fd;

	if (create && make_private(folder))
		return -EACCES;
	if (asprintf(&path, "%s/lock", folder) < 0)
		return -ENOMEM;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0), 0600);
	free(path);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		return -EWOULDBLOCK;
	}
	return fd;
}

static int keep_lock(struct spool *spool, int fd)
{
	int *grown = realloc(spool->locks, (spool->n_locks + 1) * sizeof(*grown));

	if (!grown) {
		close(fd);
		return -ENOMEM;
	}
	spool->locks = grown;
	spool->locks[spool->n_locks++] = fd;
	return 0;
}

/* Takes a journal if nobody else has it. The first is ours, the others are emptied. */
static int take_journal(struct spool *spool, unsigned number, uint64_t *highest)
{
	char *folder;
	int fd, err;

	if (asprintf(&folder, "%s/%u", spool->dir, number) < 0)
		return -ENOMEM;
	fd = lock_journal(folder, !spool->home);
	err = fd < 0 ? fd : keep_lock(spool, fd);
	if (!err)
		err = load_journal(spool, folder, highest);
	if (!err && !spool->home)
		spool->home = folder;
	else
		free(folder);
	return err == -EWOULDBLOCK || err == -ENOENT ? 0 : err;
}

int spool_recover(struct spool *spool, const char *root, const char *instance)
{
	uint64_t highest = 1;
	unsigned number;
	int err = make_folder(root);

	spool->dir = folder_of(root, instance);
	if (!spool->dir)
		return -ENOMEM;
	if (!err)
		err = make_private(spool->dir);
	for (number = 0; !err && number < JOURNALS_MOST; number++)
		err = take_journal(spool, number, &highest);
	if (!err && !spool->home)
		err = -EBUSY;
	spool->recovered_end = spool->next;
	if (spool->next < highest)
		spool->next = highest;
	return err;
}

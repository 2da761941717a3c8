#include "cache/store_files.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

/* The next run of pages at or after *from: its first page and its length; false: no more. */
static bool next_run(uint32_t pages, unsigned *from, unsigned *len)
{
	unsigned end;

	if (*from >= BLOCKS_PAGES || !(pages >> *from))
		return false;
	*from += (unsigned)__builtin_ctz(pages >> *from);
	for (end = *from; end < BLOCKS_PAGES && pages & UINT32_C(1) << end; end++)
		;
	*len = end - *from;
	return true;
}

uint64_t store_files_sum(uint64_t id, uint64_t number, uint32_t pages, const uint8_t *block)
{
	uint64_t what[3] = {id, number, pages}, sum = XXH3_64bits(what, sizeof(what));
	unsigned from = 0, len;

	for (; next_run(pages, &from, &len); from += len)
		sum = XXH3_64bits_withSeed(
		    block + (size_t)from * BLOCKS_PAGE, (size_t)len * BLOCKS_PAGE, sum);
	return sum;
}

static void file_name(char *buf, size_t size, uint64_t id)
{
	snprintf(buf, size, "%02x/%llx", (unsigned)(id & 0xff), (unsigned long long)id);
}

int store_files_open(int dir, uint64_t id, bool make, bool direct)
{
	int flags = O_CLOEXEC | O_NOFOLLOW | (make ? O_RDWR | O_CREAT : O_RDONLY), fd;
	char name[32];

	file_name(name, sizeof(name), id);
	fd = openat(dir, name, flags | (direct ? O_DIRECT : 0), 0600);
	if (fd < 0 && errno == ENOENT && make) {
		name[2] = '\0';
		if (mkdirat(dir, name, 0700) && errno != EEXIST)
			return -errno;
		name[2] = '/';
		fd = openat(dir, name, flags | (direct ? O_DIRECT : 0), 0600);
	}
	if (fd < 0 && errno == EINVAL && direct)
		return store_files_open(dir, id, make, false);
	return fd < 0 ? -errno : fd;
}

int store_files_unlink(int dir, uint64_t id)
{
	char name[32];

	file_name(name, sizeof(name), id);
	return unlinkat(dir, name, 0) && errno != ENOENT ? -errno : 0;
}

/* All of it, or an error. */
static int read_all(int fd, uint8_t *buf, size_t len, uint64_t at, bool nowait)
{
	struct iovec iov = {buf, len};
	ssize_t got;

	while (iov.iov_len) {
		got = nowait ? preadv2(fd, &iov, 1, (off_t)at, RWF_NOWAIT)
			     : preadv(fd, &iov, 1, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && nowait) /* EOPNOTSUPP: this file system always waits */
			return errno == EAGAIN || errno == EOPNOTSUPP ? -EAGAIN : -errno;
		if (got < 0)
			return -errno;
		if (!got)
			return -EBADMSG;
		/* Part of it is in memory: the rest is for those who may wait. */
		if (nowait && (size_t)got < iov.iov_len)
			return -EAGAIN;
		iov.iov_base = (uint8_t *)iov.iov_base + got;
		iov.iov_len -= (size_t)got;
		at += (uint64_t)got;
	}
	return 0;
}

int store_files_read(
    int fd, uint64_t id, const struct store_block *block, uint8_t *buf, bool nowait)
{
	unsigned first, last;
	size_t at;
	int err;

	if (!block->pages || block->number > INT64_MAX / BLOCKS_SIZE - 1)
		return -EBADMSG;
	first = (unsigned)__builtin_ctz(block->pages);
	last = 31 - (unsigned)__builtin_clz(block->pages);
	at = (size_t)first * BLOCKS_PAGE;
	err = read_all(fd, buf + at, (size_t)(last + 1 - first) * BLOCKS_PAGE,
	    block->number * BLOCKS_SIZE + at, nowait);
	if (!err && store_files_sum(id, block->number, block->pages, buf) != block->sum)
		err = -EBADMSG;
	return err;
}

int store_files_write(int fd, uint64_t number, uint32_t pages, const uint8_t *buf)
{
	unsigned from = 0, len;
	size_t at, left;
	ssize_t put;

	if (number > INT64_MAX / BLOCKS_SIZE - 1)
		return -EFBIG;
	for (; next_run(pages, &from, &len); from += len) {
		at = (size_t)from * BLOCKS_PAGE;
		for (left = (size_t)len * BLOCKS_PAGE; left; left -= (size_t)put) {
			put = pwrite(fd, buf + at, left, (off_t)(number * BLOCKS_SIZE + at));
			if (put < 0 && errno == EINTR)
				put = 0;
			else if (put <= 0)
				return put ? -errno : -EIO;
			at += (size_t)put;
		}
	}
	return 0;
}

/* --- all of them --- */

static void each_in(int dir, void (*each)(void *arg, int dir, uint64_t id), int top, void *arg)
{
	DIR *stream = fdopendir(dir);
	struct dirent *entry;
	unsigned long long id;
	char *end;

	if (!stream) {
		close(dir);
		return;
	}
	while ((entry = readdir(stream))) {
		id = strtoull(entry->d_name, &end, 16);
		if (end != entry->d_name && !*end)
			each(arg, top, id);
	}
	closedir(stream);
}

int store_files_in(
    int dir, unsigned folder, void (*each)(void *arg, int dir, uint64_t id), void *arg)
{
	char name[16];
	int sub;

	snprintf(name, sizeof(name), "%02x", folder);
	sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (sub < 0)
		return errno == ENOENT ? 0 : -errno;
	each_in(sub, each, dir, arg);
	return 0;
}

int store_files_each(int dir, void (*each)(void *arg, int dir, uint64_t id), void *arg)
{
	unsigned i;
	int err = 0;

	for (i = 0; i < 256 && !err; i++)
		err = store_files_in(dir, i, each, arg);
	return err;
}

static void unlink_one(void *arg, int dir, uint64_t id)
{
	(void)arg;
	store_files_unlink(dir, id);
}

void store_files_clear(int dir)
{
	store_files_each(dir, unlink_one, NULL);
}

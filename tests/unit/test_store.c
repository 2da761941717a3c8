/* The disk cache: what is kept is found again, and nothing else is (cache/store*.c). */
#include "cache/store_impl.h"
#include "cache/store_names.h"
#include "tests/fake/fake_source.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#define KIB 1024u
#define MIB (1024u * KIB)
#define ALL UINT32_MAX

static uv_loop_t loop;
static struct store *store;
static char top[64], dir[96];
static struct conf_error error;

/* --- helpers ------------------------------------------------------------------- */

static void open_store(uint64_t limit)
{
	assert_int_equal(store_open(&store, &loop, dir, limit, &error), 0);
}

static void settle(void)
{
	while (store_busy(store))
		uv_run(&loop, UV_RUN_ONCE);
}

static void close_store(void)
{
	settle();
	store_free(store);
	store = NULL;
}

static void run_in_shell(const char *format, const char *arg)
{
	char command[256];

	snprintf(command, sizeof(command), format, arg);
	assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
	strcpy(top, "/tmp/vastfs-store.XXXXXX");
	assert_non_null(mkdtemp(top));
	snprintf(dir, sizeof(dir), "%s/a/gpu", top);
	assert_int_equal(uv_loop_init(&loop), 0);
	return 0;
}

static int teardown(void **state)
{
	if (store)
		close_store();
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	run_in_shell("rm -rf '%s'", top);
	return 0;
}

static void was_loaded(void *arg)
{
	*(bool *)arg = true;
}

static struct store_file *get(const char *path, uint32_t mtime, uint64_t size)
{
	bool loaded = false;
	struct store_file *file = store_file_new(store, path, mtime, size, was_loaded, &loaded);

	assert_non_null(file);
	assert_false(loaded);
	while (!loaded)
		uv_run(&loop, UV_RUN_ONCE);
	return file;
}

static uint8_t *pattern(uint64_t number, unsigned seed)
{
	static uint8_t data[BLOCKS_SIZE];

	fake_pattern(data, BLOCKS_SIZE, number * BLOCKS_SIZE, seed);
	return data;
}

/* Pages of one block, on their way to be kept. */
static void send_block(struct store_file *file, uint64_t number, uint32_t pages, unsigned seed)
{
	struct store_batch *batch = store_batch_new(store);

	assert_non_null(batch);
	assert_int_equal(store_batch_add(batch, file, number, pages, pattern(number, seed)), 1);
	store_batch_send(batch);
}

/* The same, and waits until it is done. */
static void keep(struct store_file *file, uint64_t number, uint32_t pages, unsigned seed)
{
	send_block(file, number, pages, seed);
	settle();
}

struct result {
	bool done;
	int err;
	uint8_t *data;
	uint32_t pages;
};

static void was_read(void *arg, int err, uint8_t *data, uint32_t pages)
{
	struct result *result = arg;

	assert_false(result->done);
	*result = (struct result){true, err, data, pages};
}

/* Reads a block in the background. Free the data. */
static struct result read_block(struct store_file *file, uint64_t number)
{
	struct result result = {false};

	assert_int_equal(store_file_read(file, number, was_read, &result), 0);
	assert_false(result.done);
	while (!result.done)
		uv_run(&loop, UV_RUN_ONCE);
	return result;
}

static void assert_kept(struct store_file *file, uint64_t number, uint32_t pages, unsigned seed)
{
	struct result result;
	unsigned page;

	assert_int_equal(store_file_pages(file, number), pages);
	result = read_block(file, number);
	assert_int_equal(result.err, 0);
	assert_int_equal(result.pages, pages);
	for (page = 0; page < BLOCKS_PAGES; page++)
		if (pages & UINT32_C(1) << page)
			assert_memory_equal(result.data + page * BLOCKS_PAGE,
			    pattern(number, seed) + page * BLOCKS_PAGE, BLOCKS_PAGE);
	free(result.data);
}

static struct store_figures figures(void)
{
	struct store_figures out;

	store_figures(store, &out);
	return out;
}

static void count_one(void *arg, int files, uint64_t id)
{
	++*(int *)arg;
}

static int block_files(void)
{
	char path[128];
	int n = 0, fd;

	snprintf(path, sizeof(path), "%s/files", dir);
	fd = open(path, O_RDONLY | O_DIRECTORY);
	assert_true(fd >= 0);
	assert_int_equal(store_files_each(fd, count_one, &n), 0);
	close(fd);
	return n;
}

/* Writes over a byte of the only block file. */
static void damage(uint64_t id, off_t at)
{
	char path[160], byte = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/files/%02x/%llx", dir, (unsigned)(id & 0xff),
	    (unsigned long long)id);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x40;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

/* --- what is kept ------------------------------------------------------------------ */

static void test_kept_over_a_remount(void **state)
{
	struct store_file *file;

	open_store(64 * MIB);
	file = get("/w/a", 100, 10 * MIB);
	assert_int_equal(store_file_pages(file, 0), 0);
	keep(file, 0, ALL, 1);
	keep(file, 7, 0xf0000003u, 1);
	keep(file, 8, 1, 1);
	assert_kept(file, 0, ALL, 1);
	assert_kept(file, 7, 0xf0000003u, 1);
	store_file_put(file);
	close_store();

	open_store(64 * MIB);
	assert_int_equal(figures().bytes, (32 + 6 + 1) * 4096);
	assert_int_equal(figures().files, 1);
	file = get("/w/a", 100, 10 * MIB);
	assert_kept(file, 0, ALL, 1);
	assert_kept(file, 7, 0xf0000003u, 1);
	assert_kept(file, 8, 1, 1);
	assert_int_equal(store_file_pages(file, 1), 0);
	assert_int_equal(figures().checksum_failures, 0);
	store_file_put(file);
}

static void test_private(void **state)
{
	static const char *const names[] = {"", "/index", "/lock", "/files"};
	struct stat st;
	char path[160];
	size_t i;

	umask(0);
	open_store(MIB);
	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s%s", dir, names[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 077, 0);
	}
	umask(022);
}

static void test_pages_are_added(void **state)
{
	struct store_file *file;

	open_store(64 * MIB);
	file = get("/w/a", 100, MIB);
	keep(file, 2, 0x0f, 1);
	keep(file, 2, 0xf00, 1);
	keep(file, 2, 0x18, 1); /* one of them known */
	assert_kept(file, 2, 0xf1f, 1);
	store_file_put(file);
	assert_int_equal(figures().bytes, 9 * 4096);
}

/* tmpfs, for one, always lets a reader wait. */
static bool reads_at_once_here(void)
{
	uint8_t byte = 0;
	struct iovec iov = {&byte, 1};
	int fd = open(top, O_TMPFILE | O_RDWR, 0600);
	bool can;

	if (fd < 0)
		return false;
	assert_int_equal(write(fd, &byte, 1), 1);
	can = preadv2(fd, &iov, 1, 0, RWF_NOWAIT) == 1;
	close(fd);
	return can;
}

static void test_read_at_once(void **state)
{
	static uint8_t buf[BLOCKS_SIZE];
	struct store_file *file;

	if (!reads_at_once_here())
		skip();
	open_store(64 * MIB);
	file = get("/w/a", 100, MIB);
	assert_int_equal(store_file_read_now(file, 0, buf), -ENOENT);
	keep(file, 0, 7, 1);
	assert_int_equal(store_file_read_now(file, 0, buf), -EAGAIN); /* not open yet */
	assert_kept(file, 0, 7, 1);
	assert_int_equal(store_file_read_now(file, 0, buf), 0);
	assert_memory_equal(buf, pattern(0, 1), 3 * 4096);
	assert_int_equal(figures().hit_bytes, 6 * 4096);
	store_file_put(file);
}

static void test_other_versions(void **state)
{
	static const struct {
		uint32_t mtime;
		uint64_t size;
	} others[] = {{101, MIB}, {100, MIB + 1}, {99, MIB}};
	struct store_file *file;
	size_t i;

	open_store(64 * MIB);
	for (i = 0; i < 3; i++) {
		file = get("/w/a", 100, MIB);
		assert_int_equal(store_file_pages(file, 0), 0);
		keep(file, 0, ALL, 1);
		store_file_put(file);
		file = get("/w/a", others[i].mtime, others[i].size);
		assert_int_equal(store_file_pages(file, 0), 0);
		store_file_put(file);
		settle();
		assert_int_equal(figures().files, 0);
		assert_int_equal(figures().bytes, 0);
		assert_int_equal(block_files(), 0);
		/* and it does not come back */
		file = get("/w/a", 100, MIB);
		assert_int_equal(store_file_pages(file, 0), 0);
		store_file_put(file);
	}
}

static void test_dropped(void **state)
{
	struct store_file *file;

	open_store(64 * MIB);
	file = get("/w/a", 100, MIB);
	keep(file, 0, ALL, 1);
	store_file_drop(file);
	file = get("/w/a", 100, MIB);
	assert_int_equal(store_file_pages(file, 0), 0);
	store_file_put(file);
	settle();
	assert_int_equal(block_files(), 0);
}

static void test_dropped_before_it_was_found(void **state)
{
	struct store_file *file;
	bool loaded = false;

	open_store(64 * MIB);
	file = get("/w/a", 100, MIB);
	keep(file, 0, ALL, 1);
	store_file_put(file);
	file = store_file_new(store, "/w/a", 100, MIB, was_loaded, &loaded);
	store_file_drop(file);
	settle();
	assert_false(loaded);
	file = get("/w/a", 100, MIB);
	assert_int_equal(store_file_pages(file, 0), 0);
	store_file_put(file);
}

/* Dropped while a batch of it is being written. */
static void test_dropped_while_written(void **state)
{
	struct store_file *file;

	open_store(64 * MIB);
	file = get("/w/a", 100, MIB);
	send_block(file, 0, ALL, 1);
	store_file_drop(file);
	settle();
	file = get("/w/a", 100, MIB);
	assert_int_equal(store_file_pages(file, 0), 0);
	store_file_put(file);
	assert_int_equal(block_files(), 0);
}

/* Pages of a block that come while others of it are being written are kept with them. */
static void test_parts_at_once(void **state)
{
	uint32_t half = ALL >> BLOCKS_PAGES / 2;
	struct store_batch *batch;
	struct store_file *file;

	open_store(64 * MIB);
	file = get("/w/a", 100, MIB);
	send_block(file, 0, half, 1);
	batch = store_batch_new(store);
	assert_int_equal(store_batch_add(batch, file, 1, ALL, pattern(1, 1)), 1);
	assert_int_equal(store_batch_add(batch, file, 0, ~half, pattern(0, 1)), -EAGAIN);
	store_batch_send(batch);
	settle();
	keep(file, 0, ~half, 1);
	assert_kept(file, 0, ALL, 1);
	assert_kept(file, 1, ALL, 1);
	store_file_put(file);
}

static void test_paths(void **state)
{
	static const char *const paths[] = {"/w/a", "/w/d/x", "/w/d/y/z", "/w/d0", "/w/d.x"};
	struct store_file *file;
	size_t i;

	open_store(64 * MIB);
	for (i = 0; i < 5; i++) {
		file = get(paths[i], 100, MIB);
		keep(file, 0, 1, (unsigned)i + 1);
		store_file_put(file);
	}
	store_rename(store, "/w/d", "/w/e");
	store_rename(store, "/w/a", "/w/d.x");
	store_forget(store, "/w/d"); /* nothing there now */
	file = get("/w/e/x", 100, MIB);
	assert_kept(file, 0, 1, 2);
	store_file_put(file);
	file = get("/w/e/y/z", 100, MIB);
	assert_kept(file, 0, 1, 3);
	store_file_put(file);
	file = get("/w/d0", 100, MIB);
	assert_kept(file, 0, 1, 4);
	store_file_put(file);
	file = get("/w/d.x", 100, MIB);
	assert_kept(file, 0, 1, 1);
	store_file_put(file);
	file = get("/w/d/x", 100, MIB);
	assert_int_equal(store_file_pages(file, 0), 0);
	store_file_put(file);
	store_forget(store, "/w/e");
	file = get("/w/e/y/z", 100, MIB);
	assert_int_equal(store_file_pages(file, 0), 0);
	store_file_put(file);
	settle();
	assert_int_equal(figures().files, 2);
	assert_int_equal(block_files(), 2);
}

/* A file that is in use is kept under its new name. */
static void test_renamed_in_use(void **state)
{
	struct store_file *file;

	open_store(64 * MIB);
	file = get("/w/a", 100, MIB);
	store_rename(store, "/w/a", "/w/b");
	keep(file, 0, 1, 1);
	store_file_put(file);
	file = get("/w/b", 100, MIB);
	assert_kept(file, 0, 1, 1);
	store_file_put(file);
}

static int give(struct store_file *file, uint64_t number)
{
	struct store_batch *batch = store_batch_new(store);
	int rc = store_batch_add(batch, file, number, 1, pattern(number, 1));

	store_batch_send(batch);
	settle();
	return rc;
}

/* One whose name was taken by another, or removed, is no version of that other one, though it has
 * the same size and second. */
static void test_lost_name_in_use(void **state)
{
	struct store_file *old, *file;

	open_store(64 * MIB);
	old = get("/w/a", 100, MIB);
	file = get("/w/b", 100, MIB);
	store_rename(store, "/w/b", "/w/a");
	assert_int_equal(give(old, 0), 0);
	keep(file, 1, 1, 2);
	store_file_put(file);
	store_file_put(old);
	old = get("/w/a", 100, MIB);
	assert_int_equal(store_file_pages(old, 0), 0);
	assert_kept(old, 1, 1, 2);
	store_forget(store, "/w/a");
	file = get("/w/a", 100, MIB);
	assert_int_equal(give(old, 0), 0);
	store_file_put(file);
	store_file_put(old);
	file = get("/w/a", 100, MIB);
	assert_int_equal(store_file_pages(file, 0), 0);
	store_file_put(file);
	settle();
	assert_int_equal(block_files(), 0);
}

/* --- damage -------------------------------------------------------------------------- */

static void test_damaged_block(void **state)
{
	struct store_file *file;
	struct result result;
	uint64_t id;

	open_store(64 * MIB);
	file = get("/w/a", 100, MIB);
	keep(file, 0, ALL, 1);
	keep(file, 3, ALL, 1);
	id = file->id;
	store_file_put(file);
	close_store();
	damage(id, 5000);
	open_store(64 * MIB);
	file = get("/w/a", 100, MIB);
	result = read_block(file, 0);
	assert_int_equal(result.err, -EBADMSG);
	assert_null(result.data);
	assert_int_equal(figures().checksum_failures, 1);
	assert_int_equal(store_file_pages(file, 0), 0);
	assert_kept(file, 3, ALL, 1);
	keep(file, 0, ALL, 1);
	assert_kept(file, 0, ALL, 1);
	store_file_put(file);
	settle();
	assert_int_equal(figures().bytes, 2 * BLOCKS_SIZE);
}

/* Blocks are not taken for each other, and a hole is none. */
static void test_wrong_place(void **state)
{
	static uint8_t buf[BLOCKS_SIZE];
	struct store_block block = {.number = 0, .pages = ALL};
	char name[] = "/tmp/vastfs-blocks.XXXXXX";
	int fd = mkstemp(name);

	unlink(name);
	assert_int_equal(store_files_write(fd, 0, ALL, pattern(0, 1)), 0);
	assert_int_equal(store_files_write(fd, 1, ALL, pattern(0, 1)), 0);
	block.sum = store_files_sum(9, 0, ALL, pattern(0, 1));
	assert_int_equal(store_files_read(fd, 9, &block, buf, false), 0);
	assert_int_equal(store_files_read(fd, 8, &block, buf, false), -EBADMSG);
	block.number = 1;
	assert_int_equal(store_files_read(fd, 9, &block, buf, false), -EBADMSG);
	block.number = 2;
	assert_int_equal(store_files_read(fd, 9, &block, buf, false), -EBADMSG);
	block.number = UINT64_MAX;
	assert_int_equal(store_files_read(fd, 9, &block, buf, false), -EBADMSG);
	block.number = 0;
	block.pages = 1;
	assert_int_equal(store_files_read(fd, 9, &block, buf, false), -EBADMSG);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(store_files_write(fd, 5, 1, buf), 0);
	block = (struct store_block){5, 0, 1};
	assert_int_equal(store_files_read(fd, 9, &block, buf, false), -EBADMSG);
	close(fd);
}

static void test_lost_block_file(void **state)
{
	struct store_file *file;

	open_store(64 * MIB);
	file = get("/w/a", 100, MIB);
	keep(file, 0, ALL, 1);
	store_file_put(file);
	close_store();
	run_in_shell("rm -r '%s'/files/*", dir);
	open_store(64 * MIB);
	file = get("/w/a", 100, MIB);
	assert_int_not_equal(read_block(file, 0).err, 0);
	assert_int_equal(store_file_pages(file, 0), 0);
	keep(file, 0, ALL, 2);
	assert_kept(file, 0, ALL, 2);
	store_file_put(file);
}

static void fill(unsigned files)
{
	struct store_file *file;
	char path[32];
	unsigned i;

	for (i = 0; i < files; i++) {
		snprintf(path, sizeof(path), "/w/f%u", i);
		file = get(path, 100, MIB);
		keep(file, 0, 1, i);
		store_file_put(file);
	}
}

/* Written, and then the daemon was killed. */
static void test_orphans(void **state)
{
	struct store_file *file;

	open_store(64 * MIB);
	file = get("/kept", 1000, BLOCKS_SIZE);
	keep(file, 0, ALL, 1);
	store_file_put(file);
	close_store();
	run_in_shell("cd '%s' && f=$(find . -path '*/files/*' -type f | head -n 1) && "
		     "mkdir -p files/09 && cp \"$f\" files/09/209",
	    dir);
	run_in_shell("[ $(find '%s' -path '*/files/*' -type f | wc -l) = 2 ]", dir);
	open_store(64 * MIB);
	settle();
	run_in_shell("[ $(find '%s' -path '*/files/*' -type f | wc -l) = 1 ]", dir);
	file = get("/kept", 1000, BLOCKS_SIZE);
	assert_kept(file, 0, ALL, 1);
	store_file_put(file);
}

/* Each part of the index is overwritten or cut off in turn: it begins afresh, or what it says is
 * true. */
static void test_damaged_index(void **state)
{
	static const char *const ways[] = {"truncate -s 100 '%s/index'",
	    "truncate -s 5000 '%s/index'", "echo no database >'%s/index'",
	    "dd if=/dev/urandom of='%s/index' bs=4096 count=1 conv=notrunc status=none",
	    "dd if=/dev/urandom of='%s/index' bs=4096 seek=1 count=9 conv=notrunc status=none",
	    ": >'%s/index'"};
	struct store_file *file;
	size_t i;

	for (i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		open_store(64 * MIB);
		fill(40);
		close_store();
		run_in_shell(ways[i], dir);
		open_store(64 * MIB);
		file = get("/w/f3", 100, MIB);
		if (store_file_pages(file, 0))
			assert_kept(file, 0, 1, 3);
		store_file_put(file);
		fill(40);
		file = get("/w/f4", 100, MIB);
		assert_kept(file, 0, 1, 4);
		store_file_put(file);
		assert_string_equal(figures().state, "on");
		close_store();
	}
}

static void test_index_of_another_version(void **state)
{
	char path[128];
	sqlite3 *db;

	open_store(64 * MIB);
	fill(3);
	close_store();
	snprintf(path, sizeof(path), "%s/index", dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 77", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	open_store(64 * MIB);
	assert_int_equal(figures().files, 0);
	settle();
	assert_int_equal(block_files(), 0);
}

/* --- room ----------------------------------------------------------------------------- */

static void test_eviction(void **state)
{
	struct store_file *file;
	char path[32];
	unsigned i;

	open_store(4 * MIB);
	for (i = 0; i < 60; i++) {
		snprintf(path, sizeof(path), "/w/f%u", i);
		file = get(path, 100, MIB);
		keep(file, 0, ALL, i);
		store_file_put(file);
		settle();
		assert_true(figures().bytes <= 4 * MIB + 2 * BLOCKS_SIZE);
	}
	assert_true(figures().bytes >= 3 * MIB);
	assert_true(figures().evicted_files >= 25);
	assert_int_equal(block_files(), figures().files);
}

/* What is in use now stays; a file that is larger than all does not push out the others. */
static void test_large_file(void **state)
{
	struct store_batch *batch;
	struct store_file *file;
	unsigned i, kept = 0;

	open_store(4 * MIB);
	fill(3);
	file = get("/w/large", 100, 100 * MIB);
	for (i = 0; i < 100; i++) {
		batch = store_batch_new(store);
		kept += (unsigned)store_batch_add(batch, file, i, ALL, pattern(i, 1));
		store_batch_send(batch);
		settle();
	}
	assert_in_range(kept, 20, 24);
	assert_kept(file, 0, ALL, 1);
	store_file_put(file);
	file = get("/w/f1", 100, MIB);
	assert_kept(file, 0, 1, 1);
	store_file_put(file);
}

static void test_smaller_limit(void **state)
{
	open_store(64 * MIB);
	fill(100);
	assert_int_equal(figures().files, 100);
	close_store();
	open_store(40 * 4096);
	settle();
	assert_in_range(figures().files, 30, 40);
	assert_int_equal(block_files(), figures().files);
}

static void test_second_mount(void **state)
{
	struct store *second;

	open_store(MIB);
	assert_int_equal(store_open(&second, &loop, dir, MIB, &error), -EBUSY);
	assert_null(second);
	assert_non_null(strstr(error.text, "in use by another mount"));
	close_store();
	open_store(MIB);
}

static void test_full_disk(void **state)
{
	struct store_batch *batch;
	struct store_file *file;
	char path[96];
	unsigned i;

	if (geteuid())
		skip();
	snprintf(path, sizeof(path), "%s/a", top);
	mkdir(path, 0700);
	assert_int_equal(mount("none", path, "tmpfs", 0, "size=2m"), 0);
	open_store(64 * MIB);
	file = get("/w/a", 100, 64 * MIB);
	for (i = 0; i < 40 && (batch = store_batch_new(store)); i++) {
		store_batch_add(batch, file, i, ALL, pattern(i, 1));
		store_batch_send(batch);
		settle();
	}
	assert_in_range(i, 4, 16);
	assert_string_equal(figures().state, "full");
	assert_false(store_takes(store));
	if (store_file_pages(file, 0))
		assert_kept(file, 0, ALL, 1);
	/* room again, later */
	store_file_drop(file);
	file = get("/w/a", 100, MIB);
	settle();
	store->full_until = 0;
	keep(file, 1, 1, 2);
	assert_string_equal(figures().state, "on");
	assert_kept(file, 1, 1, 2);
	store_file_put(file);
	close_store();
	assert_int_equal(umount2(path, 0), 0);
}

static void was_cleared(void *arg, int err)
{
	*(int *)arg = err;
}

static void test_clear(void **state)
{
	struct store_file *file;
	int err = 1;

	open_store(64 * MIB);
	fill(20);
	file = get("/w/f2", 100, MIB);
	store_clear(store, was_cleared, &err);
	settle();
	assert_int_equal(err, 0);
	assert_int_equal(store_file_pages(file, 0), 0);
	assert_int_equal(figures().files, 0);
	assert_int_equal(figures().bytes, 0);
	assert_int_equal(block_files(), 0);
	keep(file, 0, 3, 7);
	assert_kept(file, 0, 3, 7);
	store_file_put(file);
}

struct listing {
	bool done;
	unsigned n; /* entries; 0 also when there was none */
	char first[256];
};

static void was_listed(void *arg, const uint8_t *bytes, size_t len)
{
	struct listing *listing = arg;
	struct store_entry entry;
	size_t at = 0;

	listing->done = true;
	while (bytes && store_entries_next(bytes, len, &at, &entry) == 1) {
		assert_int_equal(entry.report.size, listing->n + 5);
		if (!listing->n++)
			strcpy(listing->first, entry.name);
	}
}

static struct listing list(const char *path)
{
	struct listing listing = {false};

	assert_int_equal(store_find_folder(store, path, was_listed, &listing), 0);
	assert_false(listing.done);
	settle();
	assert_true(listing.done);
	return listing;
}

static void save(const char *path, unsigned n)
{
	struct store_entries entries = {NULL, 0, 0};
	char name[32];
	unsigned i;

	for (i = 0; i < n; i++) {
		struct attr_report report = {.size = i + 5, .mode = S_IFREG | 0644};

		snprintf(name, sizeof(name), "%s%u", strrchr(path, '/') + 1, i);
		assert_int_equal(store_entries_add(&entries, name, &report), 0);
	}
	assert_int_not_equal(store_entries_seal(&entries), 0);
	store_save_folder(store, path, entries.bytes, entries.len);
}

static void test_listings(void **state)
{
	open_store(64 * MIB);
	assert_int_equal(list("/w/d").n, 0);
	save("/w/d", 1000);
	save("/w/d/e", 3);
	save("/w/d", 7);
	assert_int_equal(list("/w/d").n, 7);
	store_note(store, "hello");
	assert_null(store_noted(store));
	close_store();
	open_store(64 * MIB);
	assert_string_equal(store_noted(store), "hello");
	assert_int_equal(list("/w/d").n, 7);
	assert_string_equal(list("/w/d").first, "d0");
	store_rename(store, "/w/d", "/w/x");
	assert_int_equal(list("/w/d/e").n, 0);
	assert_int_equal(list("/w/x/e").n, 3);
	store_forget(store, "/w/x");
	assert_int_equal(list("/w/x/e").n, 0);
}

static void took_pins(void *arg, int err, char *const *paths, size_t n)
{
	assert_int_equal(err, 0);
	*(size_t *)arg = n;
	if (n)
		assert_string_equal(paths[0], "/w/p");
}

static void test_pins(void **state)
{
	struct store_file *file;
	size_t n = 9;
	unsigned i;

	open_store(80 * 4096);
	file = get("/w/p/q", 100, MIB);
	keep(file, 0, 0xff, 1);
	store_file_put(file);
	store_pins(store, STORE_PIN, "/w/p", took_pins, &n);
	settle();
	assert_int_equal(n, 1);
	for (i = 0; i < 3; i++) {
		fill(100);
		store_forget(store, "/w/f3");
	}
	settle();
	assert_in_range(figures().evicted_files, 1, 1000);
	close_store();
	open_store(80 * 4096);
	store_pins(store, STORE_PINS, "", took_pins, &n);
	file = get("/w/p/q", 100, MIB);
	assert_kept(file, 0, 0xff, 1);
	store_file_put(file);
	assert_int_equal(n, 1);
	store_pins(store, STORE_UNPIN, "/w/p", took_pins, &n);
	settle();
	assert_int_equal(n, 0);
}

static void test_map(void **state)
{
	struct store_map map = {NULL};
	struct store_block block;
	uint64_t i;

	assert_null(store_map_find(&map, 1));
	for (i = 0; i < 5000; i++) {
		block = (struct store_block){i * 4096, i, (uint32_t)i + 1};
		assert_int_equal(store_map_set(&map, &block), 0);
	}
	for (i = 0; i < 5000; i += 2) {
		block = (struct store_block){i * 4096, 0, 0};
		assert_int_equal(store_map_set(&map, &block), 0);
	}
	for (i = 0; i < 5000; i++) {
		const struct store_block *found = store_map_find(&map, i * 4096);

		if (i % 2)
			assert_int_equal(found->pages, i + 1);
		else
			assert_null(found);
	}
	store_map_fini(&map);
	assert_int_equal(map.bytes, 0);
}

static void target_of_a_link(void **state)
{
	struct store_entries record = {NULL, 0, 0};
	struct store_entry entry;
	char text[16];
	size_t at = 0;

	(void)state;
	assert_int_equal(store_target_make(&record, 1700000000, "../a b"), 0);
	assert_true(store_entries_check(record.bytes, record.len));
	assert_int_equal(
	    store_target_read(record.bytes, record.len, 1700000000, text, sizeof(text)), 0);
	assert_string_equal(text, "../a b");
	/* of another version; too long; no listing; cut */
	assert_int_equal(
	    store_target_read(record.bytes, record.len, 1700000001, text, sizeof(text)), -ENOENT);
	assert_int_equal(
	    store_target_read(record.bytes, record.len, 1700000000, text, 6), -EBADMSG);
	assert_int_equal(store_entries_next(record.bytes, record.len, &at, &entry), -EBADMSG);
	assert_int_equal(store_target_read(record.bytes, 19, 1700000000, text, 16), -ENOENT);
	free(record.bytes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(target_of_a_link),
	    TEST(test_kept_over_a_remount),
	    TEST(test_private),
	    TEST(test_pages_are_added),
	    TEST(test_read_at_once),
	    TEST(test_other_versions),
	    TEST(test_dropped),
	    TEST(test_dropped_before_it_was_found),
	    TEST(test_dropped_while_written),
	    TEST(test_parts_at_once),
	    TEST(test_paths),
	    TEST(test_renamed_in_use),
	    TEST(test_lost_name_in_use),
	    TEST(test_damaged_block),
	    TEST(test_wrong_place),
	    TEST(test_lost_block_file),
	    TEST(test_orphans),
	    TEST(test_damaged_index),
	    TEST(test_index_of_another_version),
	    TEST(test_eviction),
	    TEST(test_large_file),
	    TEST(test_smaller_limit),
	    TEST(test_second_mount),
	    TEST(test_full_disk),
	    TEST(test_clear),
	    TEST(test_map),
	    TEST(test_listings),
	    TEST(test_pins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

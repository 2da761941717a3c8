/* The spool: what is accepted is read back, whatever happens to the daemon and to the files. */
#include "cache/spool_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1u << 20)

static char root[64];

static int make_root(void **state)
{
	strcpy(root, "/tmp/vastfs-spool.XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

static void fill(uint8_t *data, size_t len, unsigned seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 31 + seed + i / 251);
}

static int64_t append(struct spool *spool, unsigned seed, uint32_t len)
{
	static uint8_t data[2 * MIB];
	char path[64];
	struct spool_record record = {.type = SPOOL_WRITE,
	    .flags = SPOOL_BASE,
	    .path = path,
	    .offset = seed * 1000ull,
	    .base_size = seed,
	    .base_mtime = seed + 1,
	    .data = data,
	    .len = len};

	snprintf(path, sizeof(path), "/workspace/file %u", seed);
	fill(data, len, seed);
	return spool_append(spool, &record);
}

static void assert_record(struct spool *spool, uint64_t sequence, unsigned seed, uint32_t len)
{
	struct spool_buf buf = {0};
	struct spool_record record;
	uint8_t *data = malloc(len + 1);
	char path[64];

	assert_int_equal(spool_read(spool, sequence, &buf, &record), 0);
	snprintf(path, sizeof(path), "/workspace/file %u", seed);
	assert_string_equal(record.path, path);
	assert_null(record.to);
	assert_int_equal(record.type, SPOOL_WRITE);
	assert_int_equal(record.flags, SPOOL_BASE);
	assert_int_equal(record.offset, seed * 1000ull);
	assert_int_equal(record.base_size, seed);
	assert_int_equal(record.base_mtime, seed + 1);
	assert_int_equal(record.len, len);
	fill(data, len, seed);
	assert_memory_equal(record.data, data, len);
	free(data);
	free(buf.at);
}

static unsigned count(struct spool *spool)
{
	uint64_t sequence = 0;
	unsigned n = 0;

	while ((sequence = spool_next(spool, sequence + 1)))
		n++;
	return n;
}

/* In a process that is gone afterwards, as after a kill -9. */
static void killed(void (*work)(struct spool *spool))
{
	pid_t child = fork();
	int status;

	if (!child) {
		work(spool_open(root, "gpu", 64 * MIB));
		_exit(0);
	}
	waitpid(child, &status, 0);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

static unsigned files_in(const char *folder)
{
	char command[128];
	unsigned n = 0;
	FILE *pipe;

	snprintf(command, sizeof(command), "find %s/%s -type f ! -name lock | wc -l", root, folder);
	pipe = popen(command, "r");
	assert_int_equal(fscanf(pipe, "%u", &n), 1);
	pclose(pipe);
	return n;
}

static void test_appends_and_reads(void **state)
{
	struct spool *spool = spool_open(root, "gpu", 64 * MIB);
	struct spool_figures figures;
	struct stat st;
	char path[128];
	int64_t first = append(spool, 1, 80);

	assert_true(first > 0);
	assert_int_equal(append(spool, 2, 300000), first + 1);
	assert_int_equal(append(spool, 3, 0), first + 2);
	assert_record(spool, (uint64_t)first, 1, 80);
	assert_record(spool, (uint64_t)first + 1, 2, 300000);
	assert_record(spool, (uint64_t)first + 2, 3, 0);
	assert_int_equal(count(spool), 3);
	snprintf(path, sizeof(path), "%s/gpu/0", root);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	snprintf(path, sizeof(path), "%s/gpu/0/00000000", root);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	spool_done(spool, (uint64_t)first, 2);
	assert_int_equal(count(spool), 1);
	spool_done(spool, (uint64_t)first + 2, 1);
	spool_figures(spool, &figures);
	assert_int_equal(figures.records, 0);
	assert_int_equal(figures.bytes, 0);
	spool_close(spool);
	assert_int_equal(files_in("gpu"), 0);
}

static void leave_some(struct spool *spool)
{
	int64_t first = append(spool, 1, 1000);

	append(spool, 2, 2000);
	append(spool, 3, 3000);
	append(spool, 4, 4000);
	spool_done(spool, (uint64_t)first + 1, 1);
	spool_sent(spool, (uint64_t)first + 2, 1);
}

static void test_survives_a_kill(void **state)
{
	struct spool_buf buf = {0};
	struct spool_record record;
	struct spool *spool;
	uint64_t at;

	killed(leave_some);
	spool = spool_open(root, "gpu", 64 * MIB);
	assert_int_equal(count(spool), 3);
	at = spool_next(spool, 0);
	assert_record(spool, at, 1, 1000);
	assert_int_equal(spool_read(spool, at, &buf, &record), 0);
	assert_false(record.sent);
	assert_in_range(record.alive, time(NULL) - 60, time(NULL));
	at = spool_next(spool, at + 1);
	assert_record(spool, at, 3, 3000);
	assert_int_equal(spool_read(spool, at, &buf, &record), 0);
	assert_true(record.sent);
	at = spool_next(spool, at + 1);
	assert_record(spool, at, 4, 4000);
	assert_int_equal(spool_next(spool, at + 1), 0);
	assert_int_equal(spool_recovered_end(spool), at + 1);
	/* What comes now is behind it. */
	assert_true(append(spool, 9, 10) > (int64_t)at);
	assert_record(spool, at, 4, 4000);
	free(buf.at);
	spool_close(spool);
	/* It is not lost by a mount that doesn't get round to it. */
	spool = spool_open(root, "gpu", 64 * MIB);
	assert_int_equal(count(spool), 4);
	for (at = 0; (at = spool_next(spool, at + 1));)
		spool_done(spool, at, 1);
	spool_close(spool);
	assert_int_equal(files_in("gpu"), 0);
}

static void test_two_mounts(void **state)
{
	struct spool *one, *two;
	pid_t child;
	int pipes[2], status;
	char byte;

	one = spool_open(root, "gpu", 64 * MIB);
	append(one, 1, 100);
	assert_int_equal(pipe(pipes), 0);
	child = fork();
	if (!child) {
		two = spool_open(root, "gpu", 64 * MIB);
		byte = (char)count(two);
		append(two, 2, 200);
		_exit(write(pipes[1], &byte, 1) != 1);
	}
	waitpid(child, &status, 0);
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	assert_int_equal(byte, 0);
	close(pipes[0]);
	close(pipes[1]);
	spool_close(one);
	/* Both journals are taken by the next one. */
	one = spool_open(root, "gpu", 64 * MIB);
	assert_int_equal(count(one), 2);
	assert_record(one, 1, 1, 100);
	assert_record(one, 2, 2, 200);
	spool_close(one);
}

static void test_instances_have_folders(void **state)
{
	struct spool *spool = spool_open(root, "../a b/root@h:22", MIB * 8);
	char path[128];

	append(spool, 1, 1);
	snprintf(path, sizeof(path), "%s/%%2E.%%2Fa%%20b%%2Froot@h:22/0/lock", root);
	assert_int_equal(access(path, F_OK), 0);
	spool_close(spool);
}

static char *segment_path(void)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/gpu/0/00000000", root);
	return path;
}

static size_t slurp(uint8_t **out)
{
	FILE *file = fopen(segment_path(), "r");
	size_t n;

	assert_non_null(file);
	*out = malloc(MIB);
	n = fread(*out, 1, MIB, file);
	fclose(file);
	return n;
}

static void spit(const uint8_t *bytes, size_t len)
{
	FILE *file = fopen(segment_path(), "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	fclose(file);
}

static void leave_three(struct spool *spool)
{
	append(spool, 1, 50);
	append(spool, 2, 60);
	append(spool, 3, 70);
}

/* What is whole before the cut is there, and no more. */
static void test_torn_at_every_byte(void **state)
{
	size_t one = SPOOL_RECORD_HEAD + SPOOL_PAYLOAD_HEAD + sizeof("/workspace/file 1"), len, cut;
	size_t ends[3] = {SPOOL_RECORDS_AT + one + 50, SPOOL_RECORDS_AT + 2 * one + 110,
	    SPOOL_RECORDS_AT + 3 * one + 180};
	struct spool *spool;
	unsigned expected;
	uint8_t *bytes;

	killed(leave_three);
	len = slurp(&bytes);
	assert_int_equal(len, ends[2]);
	for (cut = 0; cut <= len; cut += cut < SPOOL_RECORDS_AT - 100 ? 97 : 1) {
		spit(bytes, cut);
		spool = spool_open(root, "gpu", 64 * MIB);
		expected = (unsigned)(cut >= ends[0]) + (cut >= ends[1]) + (cut >= ends[2]);
		assert_int_equal(count(spool), expected);
		if (expected > 1)
			assert_record(spool, 2, 2, 60);
		assert_int_equal(spool->broken, 0);
		/* It can go on. */
		assert_record(spool, (uint64_t)append(spool, 8, 100), 8, 100);
		spool_discard(spool, NULL);
		spool_done(spool, 1, 100);
		spool_close(spool);
	}
	free(bytes);
}

/* Any byte may be wrong: the other records are there, and no wrong one is. */
/* Is it in a record's mark, in a file of leave_three? */
static bool in_mark(size_t at)
{
	size_t record = SPOOL_RECORDS_AT, data;

	for (data = 50; data <= 70; data += 10) {
		if (at - record >= SPOOL_RECORD_MARK && at - record < SPOOL_RECORD_MARK + 4)
			return true;
		record +=
		    SPOOL_RECORD_HEAD + SPOOL_PAYLOAD_HEAD + sizeof("/workspace/file 1") + data;
	}
	return false;
}

static void test_wrong_at_every_byte(void **state)
{
	struct spool *spool;
	uint64_t sequence;
	size_t len, at, last;
	uint8_t *bytes;
	struct spool_buf buf = {0};
	struct spool_record record;
	unsigned n;

	killed(leave_three);
	len = slurp(&bytes);
	last = len - SPOOL_RECORDS_AT - SPOOL_RECORD_HEAD - SPOOL_PAYLOAD_HEAD -
	       sizeof("/workspace/file 1") - 70;
	for (at = 0; at < len; at += at < SPOOL_HEAD || at >= SPOOL_RECORDS_AT - 1 ? 1 : 61) {
		bytes[at] ^= 0x5a;
		spit(bytes, len);
		bytes[at] ^= 0x5a;
		spool = spool_open(root, "gpu", 64 * MIB);
		n = 0;
		for (sequence = 0; (sequence = spool_next(spool, sequence + 1)); n++) {
			assert_int_equal(spool_read(spool, sequence, &buf, &record), 0);
			assert_record(spool, sequence, (unsigned)(record.offset / 1000),
			    40 + 10 * (unsigned)(record.offset / 1000));
		}
		/* The bits and marks have no checksum: a change may be done twice, or not at all.
		 */
		if (in_mark(at)) {
			assert_int_equal(n, 3);
		} else if (at < SPOOL_HEAD || at >= SPOOL_RECORDS_AT) {
			assert_int_equal(n, at < SPOOL_HEAD ? 0 : 2);
			/* The last one may have been torn; else it is told. */
			assert_int_equal(spool->broken > 0, at < SPOOL_RECORDS_AT + last);
		}
		spool_done(spool, 1, 100);
		spool_close(spool);
		remove_root(NULL);
		assert_int_equal(mkdir(root, 0700), 0);
		spool_close(spool_open(root, "gpu", 64 * MIB));
	}
	free(bytes);
	free(buf.at);
}

static void test_streams_through_few_segments(void **state)
{
	struct spool *spool = spool_open(root, "gpu", 64 * MIB);
	uint64_t first = 0;
	unsigned i;

	for (i = 0; i < 2000; i++) {
		int64_t sequence = append(spool, i, 250000);

		assert_true(sequence > 0);
		if (!first)
			first = (uint64_t)sequence;
		if (i >= 8)
			spool_done(spool, (uint64_t)sequence - 8, 1);
	}
	assert_in_range(files_in("gpu"), 1, 8);
	for (i = 0; i < 8; i++)
		assert_record(spool, spool_next(spool, 0) + i, 1992 + i, 250000);
	spool_done(spool, first, 2000);
	spool_tick(spool);
	spool_tick(spool);
	assert_int_equal(files_in("gpu"), 0);
	assert_true(append(spool, 1, 1) > 0);
	spool_close(spool);
}

static void leave_stale(struct spool *spool)
{
	int64_t sequence = 0;
	unsigned i;

	/* Old records lie behind the new ones in the same file. */
	for (i = 0; i < 30; i++) {
		sequence = append(spool, i, 20000);
		spool_done(spool, (uint64_t)sequence, 1);
	}
	append(spool, 100, 10);
}

static void test_old_bytes_are_no_records(void **state)
{
	struct spool *spool;

	killed(leave_stale);
	spool = spool_open(root, "gpu", 64 * MIB);
	assert_int_equal(count(spool), 1);
	assert_record(spool, spool_next(spool, 0), 100, 10);
	spool_close(spool);
}

static void test_full(void **state)
{
	struct spool *spool = spool_open(root, "gpu", 4 * MIB);
	int64_t sequence, n = 0;

	while ((sequence = append(spool, 1, 100000)) > 0)
		n++;
	assert_int_equal(sequence, -ENOSPC);
	assert_in_range(n, 35, 42);
	assert_true(spool_room(spool) < 110000);
	spool_done(spool, 1, (uint32_t)n);
	assert_true(append(spool, 1, 100000) > 0);
	spool_close(spool);
}

static void test_failing_disk(void **state)
{
	struct rlimit old, limit;
	struct spool *spool = spool_open(root, "gpu", 64 * MIB);
	int64_t first = append(spool, 1, 1000);

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	limit = (struct rlimit){.rlim_cur = 50000, .rlim_max = old.rlim_max};
	setrlimit(RLIMIT_FSIZE, &limit);
	assert_int_equal(append(spool, 2, 100000), -ENOSPC); /* a part of it was written */
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(append(spool, 3, 5000), first + 1);
	assert_record(spool, (uint64_t)first, 1, 1000);
	assert_record(spool, (uint64_t)first + 1, 3, 5000);
	spool_close(spool);
	spool = spool_open(root, "gpu", 64 * MIB);
	assert_int_equal(count(spool), 2);
	assert_int_equal(spool->broken, 0);
	spool_close(spool);
}

/* What it is ready for has its place, whatever becomes of the disk. */
static void test_ready(void **state)
{
	struct rlimit old, limit;
	struct spool *spool = spool_open(root, "gpu", 8 * MIB);
	uint64_t first;
	struct stat st;
	unsigned i;

	assert_true(spool_ready(spool));
	for (i = 0; i < SPOOL_RECORDS_MAX - 2; i++)
		assert_true(append(spool, i, 0) > 0);
	assert_int_equal(TAILQ_FIRST(&spool->segments), spool->active);
	/* the rest of the segment is not enough for a change */
	assert_true(spool_ready(spool));
	assert_int_not_equal(TAILQ_FIRST(&spool->segments), spool->active);
	assert_int_equal(fstat(spool->active->fd, &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 >= SPOOL_RECORDS_AT + 4 * SPOOL_META_MAX);
	first = spool->next;
	assert_true(append(spool, 1, 0) > 0);
	assert_record(spool, first, 1, 0);
	/* the limit, with some room */
	while (spool_room(spool) > 3 * MIB / 2)
		assert_true(append(spool, 1, 100000) > 0);
	assert_true(spool_ready(spool));
	while (spool_room(spool) > MIB)
		assert_true(append(spool, 1, 100000) > 0);
	assert_false(spool_ready(spool));
	assert_true(append(spool, 1, 100000) > 0);
	spool_done(spool, 1, (uint32_t)spool->next - 1);
	assert_true(spool_ready(spool));
	/* a disk that takes no more */
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	limit = (struct rlimit){.rlim_cur = spool->active->used, .rlim_max = old.rlim_max};
	setrlimit(RLIMIT_FSIZE, &limit);
	assert_true(append(spool, 1, 0) < 0);
	assert_false(spool_ready(spool));
	setrlimit(RLIMIT_FSIZE, &old);
	spool_tick(spool);
	assert_true(spool_ready(spool));
	spool_close(spool);
}

static void test_no_folder(void **state)
{
	struct spool *spool = spool_open("/proc/nowhere", "gpu", 0);

	assert_non_null(spool);
	assert_true(append(spool, 1, 1) < 0);
	assert_int_equal(spool_next(spool, 0), 0);
	spool_tick(spool);
	spool_close(spool);
}

static void count_path(void *arg, const char *path)
{
	(void)path;
	++*(unsigned *)arg;
}

static void test_renames_wait_for_what_is_older(void **state)
{
	struct spool *spool = spool_open(root, "gpu", 64 * MIB);
	struct spool_record rename = {
	    .type = SPOOL_RENAME, .path = "/workspace", .to = "/workspace2"};
	struct spool_record record;
	struct spool_buf buf = {0};
	uint64_t first = (uint64_t)append(spool, 1, 10), second, third;
	unsigned named = 0;

	second = (uint64_t)spool_append(spool, &rename);
	third = (uint64_t)append(spool, 2, 10);
	assert_int_equal(spool_read(spool, second, &buf, &record), 0);
	assert_false(record.renamed);
	spool_paths(spool, count_path, &named);
	assert_int_equal(named, 3);
	spool_done(spool, second, 1);
	assert_int_equal(spool_read(spool, second, &buf, &record), 0);
	assert_string_equal(record.to, "/workspace2");
	/* also for who finds it after a kill -9 */
	assert_true(record.renamed);
	named = 0;
	spool_paths(spool, count_path, &named);
	assert_int_equal(named, 2);
	spool_done(spool, third, 1);
	assert_int_equal(spool_next(spool, first + 1), second);
	spool_done(spool, first, 1);
	assert_int_equal(spool_next(spool, 0), 0);
	free(buf.at);
	spool_close(spool);
}

/* What comes behind a broken record is known as that. */
static void test_gap(void **state)
{
	struct spool_record record;
	struct spool_buf buf = {0};
	struct spool *spool;
	uint8_t *bytes;
	size_t len;

	killed(leave_three);
	len = slurp(&bytes);
	bytes[len - 200] ^= 1; /* in the second */
	spit(bytes, len);
	spool = spool_open(root, "gpu", 64 * MIB);
	assert_int_equal(count(spool), 2);
	assert_int_equal(spool_read(spool, 1, &buf, &record), 0);
	assert_false(record.gap);
	assert_int_equal(spool_read(spool, 3, &buf, &record), 0);
	assert_true(record.gap);
	assert_record(spool, (uint64_t)append(spool, 8, 100), 8, 100);
	assert_int_equal(spool_read(spool, spool->next - 1, &buf, &record), 0);
	assert_false(record.gap);
	spool_close(spool);
	free(buf.at);
	free(bytes);
}

static void note_path(void *arg, const char *path)
{
	unsigned *n = arg;
	char expected[64];

	snprintf(expected, sizeof(expected), "/workspace/file %u", ++*n);
	assert_string_equal(path, expected);
}

static void test_names_what_waits(void **state)
{
	struct spool *spool = spool_open(root, "gpu", 64 * MIB);
	unsigned i, n = 0;

	for (i = 1; i <= 50; i++) {
		append(spool, i, 10);
		append(spool, 1 + i / 2, 5000);
	}
	assert_int_equal(spool_paths(spool, note_path, &n), 0);
	assert_int_equal(n, 50);
	for (; i <= 300; i++) {
		append(spool, i, 10);
		append(spool, i, 10);
	}
	n = 0;
	assert_int_equal(spool_paths(spool, note_path, &n), 200);
	assert_int_equal(n, 100);
	spool_done(spool, 1, 700);
	assert_int_equal(spool_paths(spool, note_path, &n), 0);
	spool_close(spool);
}

static void note(void *arg, const char *path, int err, uint64_t changes)
{
	snprintf(arg, 200, "%s %d %u", path, err, (unsigned)changes);
}

static void test_failures(void **state)
{
	struct spool *spool = spool_open(root, "gpu", 64 * MIB);
	uint64_t first = (uint64_t)append(spool, 1, 10);
	struct spool_figures figures;
	char text[200] = "";

	append(spool, 1, 10);
	append(spool, 1, 10);
	spool_failed(spool, first, 2, -ENOSPC, "/workspace/file 1");
	spool_figures(spool, &figures);
	assert_int_equal(figures.failed_files, 1);
	spool_failures(spool, note, text);
	assert_string_equal(text, "/workspace/file 1 -28 2");
	assert_int_equal(count(spool), 3);
	assert_int_equal(spool_discard(spool, "/other"), 0);
	assert_int_equal(spool_discard(spool, "/workspace/file 1"), 1);
	assert_int_equal(count(spool), 1);
	spool_close(spool);
}

static void leave_failed(struct spool *spool)
{
	struct spool_record rename = {
	    .type = SPOOL_RENAME, .path = "/workspace/a", .to = "/workspace/b"};

	append(spool, 1, 10);
	append(spool, 2, 10);
	spool_append(spool, &rename);
	spool_failed(spool, 1, 1, -ENOSPC, "/workspace/file 1");
	spool_done(spool, 3, 1);
}

/* When a change failed is known to the next mount, and a second failing changes nothing of it,
 * unless what it is about was looked at. */
static void test_time_of_failing(void **state)
{
	struct spool *spool;
	struct spool_record record;
	struct spool_buf buf = {0};
	int64_t now = time(NULL);

	killed(leave_failed);
	spool = spool_open(root, "gpu", 64 * MIB);
	assert_int_equal(spool_read(spool, 1, &buf, &record), 0);
	assert_in_range(record.failed, now, time(NULL));
	assert_int_equal(spool_read(spool, 2, &buf, &record), 0);
	assert_int_equal(record.failed, 0);
	assert_false(record.renamed);
	assert_int_equal(spool_read(spool, 3, &buf, &record), 0);
	assert_int_equal(record.failed, 0);
	assert_true(record.renamed);
	spool_mark(spool, 1, 1000, false);
	spool_failed(spool, 1, 1, -ENOSPC, "/workspace/file 1");
	assert_int_equal(spool_read(spool, 1, &buf, &record), 0);
	assert_int_equal(record.failed, 1000);
	spool_failed_anew(spool, 1);
	spool_failed(spool, 1, 1, -ENOSPC, "/workspace/file 1");
	assert_int_equal(spool_read(spool, 1, &buf, &record), 0);
	assert_in_range(record.failed, now, time(NULL));
	spool_close(spool);
	free(buf.at);
}

/* Its contents were written over: they are not wanted any more, its mode is. */
static void test_discard_data(void **state)
{
	struct spool *spool = spool_open(root, "gpu", 64 * MIB);
	struct spool_record mode = {.type = SPOOL_SETATTR,
	    .path = "/workspace/file 1",
	    .attr = {.flags = SPOOL_ATTR_MODE, .mode = 0600}};
	uint64_t first = (uint64_t)append(spool, 1, 10);
	char text[200] = "";

	assert_int_equal(spool_append(spool, &mode), first + 1);
	append(spool, 1, 10);
	append(spool, 2, 10);
	spool_failed(spool, first, 3, -ENOSPC, "/workspace/file 1");
	spool_discard_data(spool, "/other");
	assert_int_equal(count(spool), 4);
	spool_discard_data(spool, "/workspace/file 1");
	assert_int_equal(count(spool), 2);
	spool_failures(spool, note, text);
	assert_string_equal(text, "/workspace/file 1 -28 1");
	spool_failed(spool, first + 3, 1, -ENOSPC, "/workspace/file 2");
	spool_discard_data(spool, "/workspace/file 2");
	assert_int_equal(count(spool), 1);
	assert_false(spool_has_failed(spool, first + 3));
	assert_true(spool_has_failed(spool, first + 1));
	spool_close(spool);
}

/* Something else has got the name since, or it was removed: what would make it is not wanted. */
static void test_supersede(void **state)
{
	struct spool *spool = spool_open(root, "gpu", 64 * MIB);
	struct spool_record rename = {
	    .type = SPOOL_RENAME, .path = "/workspace/a", .to = "/workspace/file 1"};
	uint64_t first = (uint64_t)append(spool, 1, 10);
	struct spool_figures figures;
	char text[200] = "";

	assert_false(spool_any_failed(spool));
	assert_int_equal(spool_append(spool, &rename), first + 1);
	append(spool, 2, 10);
	append(spool, 1, 10); /* has not failed */
	spool_failed(spool, first, 1, -ENOSPC, "/workspace/file 1");
	spool_failed(spool, first + 1, 2, -EISDIR, "/workspace/a");
	assert_true(spool_any_failed(spool));
	spool_supersede(spool, "/workspace/a");
	assert_int_equal(count(spool), 4);
	spool_supersede(spool, "/workspace/file 1");
	assert_int_equal(count(spool), 2);
	assert_false(spool_has_failed(spool, first + 1));
	spool_figures(spool, &figures);
	assert_int_equal(figures.failed_files, 1);
	spool_failures(spool, note, text);
	assert_string_equal(text, "/workspace/a -21 1");
	spool_close(spool);
}

static void test_refuses_what_is_too_long(void **state)
{
	struct spool *spool = spool_open(root, "gpu", 64 * MIB);
	char path[5000];
	struct spool_record record = {.type = SPOOL_UNLINK, .path = path};

	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[4096] = '\0';
	assert_int_equal(spool_append(spool, &record), -ENAMETOOLONG);
	path[4095] = '\0';
	assert_true(spool_append(spool, &record) > 0);
	record.type = SPOOL_TYPES;
	assert_int_equal(spool_append(spool, &record), -EINVAL);
	spool_close(spool);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)
	const struct CMUnitTest tests[] = {
	    TEST(test_appends_and_reads),
	    TEST(test_survives_a_kill),
	    TEST(test_two_mounts),
	    TEST(test_instances_have_folders),
	    TEST(test_torn_at_every_byte),
	    TEST(test_wrong_at_every_byte),
	    TEST(test_streams_through_few_segments),
	    TEST(test_old_bytes_are_no_records),
	    TEST(test_full),
	    TEST(test_failing_disk),
	    TEST(test_ready),
	    TEST(test_no_folder),
	    TEST(test_renames_wait_for_what_is_older),
	    TEST(test_gap),
	    TEST(test_names_what_waits),
	    TEST(test_failures),
	    TEST(test_supersede),
	    TEST(test_time_of_failing),
	    TEST(test_discard_data),
	    TEST(test_refuses_what_is_too_long),
	};

	/* What is logged of broken spools is of no interest here. */
	if (!freopen("/dev/null", "w", stderr))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Open files on a real sshd, over the real pool: what was written is there, also when all
 * connections die halfway. */
#include "conf/log.h"
#include "tests/fake/sshd.h"
#include "transport/rfile.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1024u * 1024)
#define RW (SSH_FXF_READ | SSH_FXF_WRITE)
#define PIECE_MAX 261120u

static struct test_sshd sshd;
static struct ssh_target target;
static uv_loop_t loop;
static struct remote *remote;
static bool ready;
static char path[PATH_MAX]; /* of the file under test */

/* --- the link --- */

static void on_ready(void *arg, const struct ssh_error *error)
{
	if (error)
		fail_msg("%s", error->text);
	ready = true;
}

static void on_link(void *arg, const struct ssh_error *error)
{
}

static const struct remote_events events = {.ready = on_ready, .link = on_link};

static int start_server(void **state)
{
	if (test_sshd_available())
		test_sshd_start(&sshd, "MaxStartups 100\n");
	return 0;
}

static int stop_server(void **state)
{
	if (sshd.pid)
		test_sshd_stop(&sshd);
	return 0;
}

/* A pool of its own for each test: one that lost its connections often waits long before it dials.
 */
static int start(void **state)
{
	if (!sshd.pid)
		return 0;
	sshd.profile.connections = 3;
	sshd.profile.path = sshd.dir;
	target = (struct ssh_target){.profile = &sshd.profile, .connect_timeout = 20};
	ready = false;
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(remote_new(&remote, &loop, &target, &events, NULL), 0);
	/* The bulk lane has its own channel once the second connection stands. */
	struct pool *pool = remote_pool(remote);
	while (
	    !ready || pool_channel(pool, LANE_BULK, false) == pool_channel(pool, LANE_FILES, false))
		uv_run(&loop, UV_RUN_ONCE);
	return 0;
}

/* Calls each for pid's descendants, deepest first. */
static void descendants(pid_t pid, void (*each)(pid_t pid))
{
	char name[64];
	FILE *in;
	int child;

	snprintf(name, sizeof(name), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	in = fopen(name, "re");
	if (!in)
		return;
	while (fscanf(in, "%d", &child) == 1) {
		descendants(child, each);
		each(child);
	}
	fclose(in);
}

static void kill_one(pid_t pid)
{
	kill(pid, SIGKILL);
}

/* All connections die; the listener stays. */
static void cut(void)
{
	descendants(sshd.pid, kill_one);
}

static unsigned open_there;

static void count_files(pid_t pid)
{
	char name[320], to[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	snprintf(name, sizeof(name), "/proc/%d/fd", (int)pid);
	dir = opendir(name);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		snprintf(name, sizeof(name), "/proc/%d/fd/%s", (int)pid, entry->d_name);
		ssize_t len = readlink(name, to, sizeof(to) - 1);
		to[len > 0 ? len : 0] = '\0';
		open_there += strstr(to, "/file-") != NULL;
	}
	closedir(dir);
}

/* How many handles sftp-servers hold on our files. */
static unsigned handles_there(void)
{
	open_there = 0;
	descendants(sshd.pid, count_files);
	return open_there;
}

/* --- operations --- */

struct job {
	unsigned left;
	int err; /* the first error */
	struct rfile *file;
	struct sftp_attr attr;
	int last; /* what the last one said */
};

static bool give_path(void *arg, char *buf, size_t size)
{
	snprintf(buf, size, "%s", path);
	return path[0];
}

static const struct rfile_owner owner = {.path = give_path};

static void on_done(void *arg, int err)
{
	struct job *job = arg;

	job->left--;
	job->last = err;
	if (err < 0 && !job->err)
		job->err = err;
}

static void on_open(void *arg, int err, struct rfile *file, const struct sftp_attr *attr)
{
	struct job *job = arg;

	on_done(arg, err);
	job->file = file;
	job->attr = *attr;
}

static void wait_for(struct job *job)
{
	while (job->left)
		uv_run(&loop, UV_RUN_ONCE);
}

static int open_at(const char *at, uint32_t flags, struct rfile **file)
{
	struct job job = {.left = 1};

	rfile_open(remote, at, flags, 0644, &owner, on_open, &job);
	wait_for(&job);
	*file = job.file;
	return job.err;
}

static struct rfile *open_new(const char *name, uint32_t flags)
{
	struct rfile *file;

	snprintf(path, sizeof(path), "%s/file-%s", sshd.dir, name);
	assert_int_equal(open_at(path, flags, &file), 0);
	return file;
}

static uint8_t *pattern(size_t len)
{
	uint8_t *data = malloc(len);
	uint64_t x = len * 2654435761u + 1;

	assert_non_null(data);
	for (size_t i = 0; i < len; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		data[i] = (uint8_t)(x >> 56);
	}
	return data;
}

/* What is on the disk there is exactly this. */
static void assert_content(const char *at, const uint8_t *data, size_t len)
{
	struct stat st;
	uint8_t *got = malloc(len + 1);
	int fd = open(at, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t n;

	assert_non_null(got);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, len);
	while ((n = read(fd, got + have, len + 1 - have)) > 0)
		have += (size_t)n;
	assert_int_equal(have, len);
	assert_true(!memcmp(got, data, len));
	close(fd);
	free(got);
}

/*
 * A transfer of pieces of random sizes, `window` of them under way, in an order with holes: every
 * second piece first. After each `cut_every` bytes all connections are cut.
 */
struct transfer {
	struct rfile *file;
	bool up;
	uint8_t *data;
	struct piece {
		struct transfer *transfer;
		size_t at;
		uint32_t len;
	} * pieces;
	unsigned count, next, under_way;
	size_t moved, cut_every, next_cut;
	int err;
	unsigned cuts;
};

static void transfer_more(struct transfer *transfer);

static void piece_done(void *arg, int err)
{
	struct piece *piece = arg;
	struct transfer *transfer = piece->transfer;

	transfer->under_way--;
	transfer->moved += piece->len;
	if (err && !transfer->err)
		transfer->err = err;
	if (transfer->cut_every && transfer->moved >= transfer->next_cut) {
		transfer->next_cut += transfer->cut_every;
		transfer->cuts++;
		cut();
	}
	transfer_more(transfer);
}

static void piece_read(void *arg, int err, const uint8_t *data, uint32_t len)
{
	struct piece *piece = arg;

	if (!err && len != piece->len)
		err = -EIO;
	if (!err)
		memcpy(piece->transfer->data + piece->at, data, len);
	piece_done(arg, err);
}

static void transfer_more(struct transfer *transfer)
{
	while (transfer->next < transfer->count && transfer->under_way < 64) {
		unsigned i = transfer->next++, half = (transfer->count + 1) / 2;
		struct piece *piece = &transfer->pieces[i < half ? 2 * i : 2 * (i - half) + 1];
		enum rfile_lane lane = i % 7 ? RFILE_BULK : RFILE_SMALL;

		transfer->under_way++;
		if (transfer->up)
			rfile_write(transfer->file, piece->at, transfer->data + piece->at,
			    piece->len, lane, piece_done, piece);
		else
			rfile_read(transfer->file, piece->at, piece->len, lane, piece_read, piece);
	}
}

static void run_transfer(struct rfile *file, bool up, uint8_t *data, size_t len, size_t cut_every)
{
	struct transfer transfer = {
	    .file = file, .up = up, .data = data, .cut_every = cut_every, .next_cut = cut_every};

	transfer.pieces = calloc(len / 1000 + 2, sizeof(*transfer.pieces));
	assert_non_null(transfer.pieces);
	for (size_t at = 0; at < len;) {
		struct piece *piece = &transfer.pieces[transfer.count++];
		piece->transfer = &transfer;
		piece->at = at;
		piece->len = 1000 + (uint32_t)rand() % (PIECE_MAX - 1000);
		if (piece->len > len - at)
			piece->len = (uint32_t)(len - at);
		at += piece->len;
	}
	transfer_more(&transfer);
	while (transfer.under_way)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(transfer.err, 0);
	if (cut_every)
		assert_true(transfer.cuts > 0);
	free(transfer.pieces);
}

static void skip_without_sshd(void)
{
	if (!remote)
		skip();
}

/* Every handle was closed, though nobody waited for it; then all goes. */
static int stop(void **state)
{
	unsigned left = 0;

	if (!remote)
		return 0;
	for (int i = 0; i < 400 && (left = handles_there()); i++) {
		usleep(5000);
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	remote_free(remote);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_equal(session_join_all(10000), 0);
	remote = NULL;
	assert_int_equal(left, 0);
	return 0;
}

/* --- tests --- */

static void test_transfer(void **state)
{
	skip_without_sshd();
	size_t len = 40 * MIB + 12345;
	uint8_t *data = pattern(len), *got = malloc(len);
	struct rfile *file = open_new("transfer", RW | SSH_FXF_CREAT | SSH_FXF_EXCL);
	struct job job = {.left = 1};

	assert_non_null(got);
	run_transfer(file, true, data, len, 0);
	rfile_fsync(file, on_done, &job);
	wait_for(&job);
	assert_int_equal(job.err, 0);
	assert_content(path, data, len);
	run_transfer(file, false, got, len, 0);
	assert_true(!memcmp(got, data, len));
	/* It is striped once the other connections are there. */
	for (int i = 0; i < 100 && handles_there() < 2; i++)
		run_transfer(file, false, got, len, 0);
	assert_true(handles_there() > 1);
	rfile_put(file);
	free(data);
	free(got);
}

static void test_write_and_read_over_lost_connections(void **state)
{
	skip_without_sshd();
	size_t len = 100 * MIB + 1;
	uint8_t *data = pattern(len), *got = malloc(len);
	struct rfile *file = open_new("cut", RW | SSH_FXF_CREAT | SSH_FXF_EXCL);
	struct stat st;

	assert_non_null(got);
	run_transfer(file, true, data, len, 60 * MIB);
	assert_content(path, data, len);
	assert_int_equal(stat(path, &st), 0);
	rfile_set_version(file, (uint32_t)st.st_mtime, (uint64_t)st.st_size);
	run_transfer(file, false, got, len, 60 * MIB);
	assert_true(!memcmp(got, data, len));
	rfile_put(file);
	free(data);
	free(got);
}

static void write_local(const char *at, const char *text)
{
	FILE *out = fopen(at, "we");

	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

static void on_read(void *arg, int err, const uint8_t *data, uint32_t len)
{
	on_done(arg, err ? err : (int)len);
}

static int read_some(struct rfile *file)
{
	struct job job = {.left = 1};

	rfile_read(file, 0, 100, RFILE_SMALL, on_read, &job);
	wait_for(&job);
	return job.last;
}

static void test_replaced_and_unlinked(void **state)
{
	skip_without_sshd();
	struct rfile *file;
	char other[PATH_MAX + 8];

	snprintf(path, sizeof(path), "%s/file-replaced", sshd.dir);
	snprintf(other, sizeof(other), "%s.new", path);
	write_local(path, "the first");
	assert_int_equal(open_at(path, SSH_FXF_READ, &file), 0);
	assert_int_equal(read_some(file), 9);
	cut();
	assert_int_equal(read_some(file), 9);
	write_local(other, "the second");
	assert_int_equal(rename(other, path), 0);
	assert_int_equal(read_some(file), 9); /* still the first */
	cut();
	assert_int_equal(read_some(file), -ESTALE);
	rfile_put(file);

	assert_int_equal(open_at(path, SSH_FXF_READ, &file), 0);
	assert_int_equal(unlink(path), 0);
	path[0] = '\0';
	assert_int_equal(read_some(file), 10);
	rfile_put(file);
}

static void test_exclusive_create(void **state)
{
	skip_without_sshd();
	struct rfile *file = open_new("excl", RW | SSH_FXF_CREAT | SSH_FXF_EXCL), *again;

	assert_int_equal(open_at(path, RW | SSH_FXF_CREAT | SSH_FXF_EXCL, &again), -EEXIST);
	assert_int_equal(open_at(sshd.dir, SSH_FXF_WRITE, &again), -EISDIR);
	assert_int_equal(open_at("/nowhere/at/all", RW | SSH_FXF_CREAT, &again), -ENOENT);
	rfile_put(file);
}

static void test_append_over_lost_connections(void **state)
{
	skip_without_sshd();
	enum { LINES = 3000, LINE = 700 };
	uint8_t *data = pattern((size_t)LINES * LINE);
	struct rfile *file = open_new("append", SSH_FXF_WRITE | SSH_FXF_APPEND | SSH_FXF_CREAT);
	struct job job = {0};

	for (unsigned i = 0; i < LINES; i++) {
		while (job.left > 100)
			uv_run(&loop, UV_RUN_ONCE);
		job.left++;
		rfile_write(file, 0, data + (size_t)i * LINE, LINE,
		    i & 1 ? RFILE_BULK : RFILE_SMALL, on_done, &job);
		if (i % 1400 == 700)
			cut();
	}
	wait_for(&job);
	assert_int_equal(job.err, 0);
	assert_content(path, data, (size_t)LINES * LINE);
	rfile_put(file);
	free(data);
}

static bool fixed_path(void *arg, char *buf, size_t size)
{
	snprintf(buf, size, "%s", (const char *)arg);
	return true;
}

static void test_copy(void **state)
{
	skip_without_sshd();
	size_t len = 9 * MIB + 5;
	uint8_t *data = pattern(len);
	char from_path[PATH_MAX];
	struct rfile_owner from_owner = {.path = fixed_path, .arg = from_path};
	struct rfile *from = open_new("from", RW | SSH_FXF_CREAT), *to;
	struct job job = {0};

	memcpy(from_path, path, sizeof(path));
	rfile_set_owner(from, &from_owner);
	run_transfer(from, true, data, len, 0);
	to = open_new("to", SSH_FXF_WRITE | SSH_FXF_CREAT);
	for (size_t at = 0; at < len; at += (size_t)job.last) {
		job.left = 1;
		rfile_copy(from, at, to, at, 4 * MIB, on_done, &job);
		wait_for(&job);
		assert_int_equal(job.last, len - at < 4 * MIB ? len - at : 4 * MIB);
		if (!at)
			cut();
	}
	assert_content(path, data, len);
	rfile_put(from);
	rfile_put(to);
	free(data);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_transfer),
	    TEST(test_write_and_read_over_lost_connections),
	    TEST(test_replaced_and_unlinked),
	    TEST(test_exclusive_create),
	    TEST(test_append_over_lost_connections),
	    TEST(test_copy),
	};

	signal(SIGPIPE, SIG_IGN);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	if (argc > 2)
		log_set_level(LOG_LEVEL_DEBUG);
	return cmocka_run_group_tests(tests, start_server, stop_server);
}

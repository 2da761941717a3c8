/*
 * What a lost link leaves in doubt, and servers that are odd: a remote on fake sessions, whose far
 * end is a small tree of names in memory. The link breaks at a chosen request, before it is done or
 * before it is answered.
 */
#include "transport/remote.h"
#include "transport/remote_errno.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "tests/unit/fake_session.h"
#include <cmocka.h>

/* --- the far end ------------------------------------------------------------------ */

#define NODES 32

struct node {
	char path[128]; /* "": free */
	uint32_t mode, uid;
	char target[64];
	unsigned inode;
	uint64_t size;
};

enum loss { NONE, BEFORE, AFTER };

static struct {
	struct node nodes[NODES];
	unsigned inodes;
	/* The nth request of that type (or extension) is where the link breaks. */
	uint8_t type;
	const char *extension;
	enum loss loss;
	unsigned nth;
	bool whole_session;
	unsigned requests, lists;
	char first[64], second[64]; /* of the last SYMLINK, as on the wire */
	unsigned handles;
	bool late_handle; /* OPENDIR's answer is held back */
	struct fake_channel *held;
	uint32_t held_id;
	unsigned names;	  /* names a READDIR gives; 0: the tree's */
	unsigned replies; /* READDIRs until EOF */
	bool same_names, dots;
	bool anew; /* an empty file takes the old name after a rename, at once */
} far;

static struct node *find(const char *path)
{
	for (unsigned i = 0; i < NODES; i++)
		if (far.nodes[i].path[0] && !strcmp(far.nodes[i].path, path))
			return &far.nodes[i];
	return NULL;
}

static struct node *add(const char *path, uint32_t mode)
{
	struct node *node = far.nodes;

	while (node->path[0])
		node++;
	memset(node, 0, sizeof(*node));
	snprintf(node->path, sizeof(node->path), "%s", path);
	node->mode = mode;
	node->inode = ++far.inodes;
	return node;
}

static bool has_children(const char *path)
{
	size_t len = strlen(path);

	for (unsigned i = 0; i < NODES; i++)
		if (!strncmp(far.nodes[i].path, path, len) && far.nodes[i].path[len] == '/')
			return true;
	return false;
}

static void take(struct sftp_reader *reader, char *buf, size_t size)
{
	struct sftp_string text;

	assert_int_equal(sftp_read_string(reader, &text), 0);
	snprintf(buf, size, "%.*s", (int)text.len, (const char *)text.data);
}

static uint32_t make_node(const char *path, uint32_t mode, const char *target)
{
	struct node *node;

	if (find(path))
		return SSH_FX_FAILURE;
	node = add(path, mode);
	snprintf(node->target, sizeof(node->target), "%s", target);
	return SSH_FX_OK;
}

static uint32_t remove_node(const char *path, bool folder)
{
	struct node *node = find(path);

	if (!node)
		return SSH_FX_NO_SUCH_FILE;
	if (S_ISDIR(node->mode) != folder || has_children(path))
		return SSH_FX_FAILURE;
	node->path[0] = '\0';
	return SSH_FX_OK;
}

static uint32_t rename_node(const char *from, const char *to, bool replace)
{
	struct node *node = find(from), *there = find(to);

	if (!node)
		return SSH_FX_NO_SUCH_FILE;
	if (there && !replace)
		return SSH_FX_FAILURE;
	if (there)
		there->path[0] = '\0';
	snprintf(node->path, sizeof(node->path), "%s", to);
	if (far.anew)
		add(from, S_IFREG | 0600);
	return SSH_FX_OK;
}

static uint32_t link_node(const char *from, const char *to)
{
	struct node *node = find(from), *other;

	if (!node)
		return SSH_FX_NO_SUCH_FILE;
	if (find(to))
		return SSH_FX_FAILURE;
	other = add(to, node->mode);
	other->inode = node->inode;
	return SSH_FX_OK;
}

/* The status of a request that changes something. */
static uint32_t change(uint8_t type, const char *extension, char *a, char *b)
{
	switch (type) {
	case SSH_FXP_MKDIR:
		return make_node(a, S_IFDIR | 0755, "");
	case SSH_FXP_RMDIR:
		return remove_node(a, true);
	case SSH_FXP_REMOVE:
		return remove_node(a, false);
	case SSH_FXP_SYMLINK:
		snprintf(far.first, sizeof(far.first), "%s", a);
		snprintf(far.second, sizeof(far.second), "%s", b);
		return make_node(b, S_IFLNK | 0777, a);
	case SSH_FXP_RENAME:
		return rename_node(a, b, false);
	case SSH_FXP_EXTENDED:
		return !strncmp(extension, "posix", 5) ? rename_node(a, b, true) : link_node(a, b);
	default:
		return SSH_FX_OP_UNSUPPORTED;
	}
}

static void reply_name(struct fake_stream *stream, uint32_t id, const char *text)
{
	struct fake_bytes bytes = {0};

	fake_u32(&bytes, id);
	fake_u32(&bytes, 1);
	fake_text(&bytes, text);
	fake_text(&bytes, "");
	fake_u32(&bytes, 0);
	fake_stream_deliver(stream, fake_packet(SSH_FXP_NAME, &bytes));
}

static void reply_attr(struct fake_stream *stream, uint32_t id, const struct node *node)
{
	struct sftp_attr attr = {.flags = SSH_FILEXFER_ATTR_PERMISSIONS | SSH_FILEXFER_ATTR_UIDGID |
					  SSH_FILEXFER_ATTR_ACMODTIME};

	if (!node) {
		fake_reply_status(stream, id, SSH_FX_NO_SUCH_FILE);
		return;
	}
	attr.mode = node->mode;
	attr.uid = node->uid;
	attr.mtime = node->inode;
	attr.flags |= SSH_FILEXFER_ATTR_SIZE;
	attr.size = node->size;
	fake_reply_attrs(stream, id, &attr);
}

static void reply_listing(struct fake_stream *stream, uint32_t id)
{
	struct sftp_attr attr = {.flags = SSH_FILEXFER_ATTR_SIZE};
	struct fake_bytes bytes = {0};
	char name[32];

	if (far.lists++ >= far.replies) {
		fake_reply_status(stream, id, SSH_FX_EOF);
		return;
	}
	fake_u32(&bytes, id);
	fake_u32(&bytes, far.names);
	for (unsigned i = 0; i < far.names; i++) {
		snprintf(name, sizeof(name), "n%u", far.same_names ? i : far.lists * 1000 + i);
		fake_text(&bytes, far.dots ? ".." : name);
		fake_text(&bytes, "");
		fake_attr(&bytes, &attr);
	}
	fake_stream_deliver(stream, fake_packet(SSH_FXP_NAME, &bytes));
}

static void look(struct fake_channel *channel, struct fake_request *request, char *a)
{
	struct fake_stream *stream = &channel->stream;
	struct node *node = find(a);

	switch (request->type) {
	case SSH_FXP_REALPATH:
		reply_name(stream, request->id, "/home");
		break;
	case SSH_FXP_LSTAT:
	case SSH_FXP_STAT:
		reply_attr(stream, request->id, node);
		break;
	case SSH_FXP_READLINK:
		if (node)
			reply_name(stream, request->id, node->target);
		else
			fake_reply_status(stream, request->id, SSH_FX_NO_SUCH_FILE);
		break;
	case SSH_FXP_OPENDIR:
		far.handles++;
		far.lists = 0;
		if (far.late_handle) {
			far.held = channel;
			far.held_id = request->id;
			break;
		}
		fake_reply_handle(stream, request->id, "h");
		break;
	case SSH_FXP_READDIR:
		reply_listing(stream, request->id);
		break;
	case SSH_FXP_CLOSE:
		far.handles--;
		fake_reply_status(stream, request->id, SSH_FX_OK);
		break;
	default:
		fake_reply_status(stream, request->id, SSH_FX_OP_UNSUPPORTED);
	}
}

static void break_link(struct fake_channel *channel)
{
	far.loss = NONE;
	if (far.whole_session)
		fake_lose_session(channel->session);
	else
		fake_lose_channel(channel);
}

static bool changes(uint8_t type)
{
	return type == SSH_FXP_MKDIR || type == SSH_FXP_RMDIR || type == SSH_FXP_REMOVE ||
	       type == SSH_FXP_SYMLINK || type == SSH_FXP_RENAME || type == SSH_FXP_EXTENDED;
}

static void serve(struct fake_channel *channel, struct fake_request *request)
{
	char extension[64] = "", a[128] = "", b[128] = "";
	bool here, two = request->type == SSH_FXP_SYMLINK || request->type == SSH_FXP_RENAME ||
			 request->type == SSH_FXP_EXTENDED;
	uint32_t status;

	far.requests++;
	if (request->type == SSH_FXP_EXTENDED)
		take(&request->reader, extension, sizeof(extension));
	take(&request->reader, a, sizeof(a));
	if (two)
		take(&request->reader, b, sizeof(b));
	here = far.loss && request->type == far.type && !far.nth--;
	if (here && far.loss == BEFORE) {
		break_link(channel);
	} else if (!changes(request->type)) {
		look(channel, request, a);
	} else {
		status = change(request->type, extension, a, b);
		if (here)
			break_link(channel);
		else
			fake_reply_status(&channel->stream, request->id, status);
	}
	packet_free(request->packet);
}

/* --- the near end ---------------------------------------------------------------------- */

static struct {
	uv_loop_t loop;
	struct profile profile;
	struct ssh_target target;
	struct remote *remote;
	bool ready, done;
	int err;
	unsigned entries;
	struct ssh_error error;
} t;

static const char *const rich[] = {
    "posix-rename@openssh.com", "1", "hardlink@openssh.com", "1", NULL};
static const char *const poor[] = {NULL};

static void on_ready(void *arg, const struct ssh_error *error)
{
	t.ready = true;
	if (error)
		t.error = *error;
}

static const struct remote_events events = {.ready = on_ready};

static void run_until(const bool *done)
{
	uint64_t end = fake_now_ms() + 30000;

	while (!*done) {
		fake_run(&t.loop);
		uv_sleep(1);
		assert_true(fake_now_ms() < end);
	}
}

static void setup_with(const char *const *extensions, const char *peer)
{
	memset(&t, 0, sizeof(t));
	fake_init();
	memset(&far, 0, sizeof(far));
	fake.serve = serve;
	fake.extensions = extensions;
	fake.peer = peer;
	add("/home", S_IFDIR | 0755);
	add("/workspace", S_IFDIR | 0755);
	uv_loop_init(&t.loop);
	t.profile.host = (char *)(uintptr_t) "gpu";
	t.profile.connections = 1;
	t.profile.timeout = 10;
	t.target.profile = &t.profile;
	assert_int_equal(remote_new(&t.remote, &t.loop, &t.target, &events, NULL), 0);
	run_until(&t.ready);
	assert_int_equal(t.error.kind, SSH_OK);
	assert_string_equal(remote_root(t.remote), "/workspace");
}

static void teardown(void)
{
	remote_free(t.remote);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&t.loop), 0);
	fake_fini();
}

static void on_done(void *arg, int err)
{
	assert_false(t.done);
	t.done = true;
	t.err = err;
}

static void break_at(uint8_t type, enum loss loss, unsigned nth)
{
	far.type = type;
	far.loss = loss;
	far.nth = nth;
}

#define CALL(call)                                                                                 \
	do {                                                                                       \
		t.done = false;                                                                    \
		call;                                                                              \
		assert_false(t.done);                                                              \
		run_until(&t.done);                                                                \
	} while (0)

/* --- in doubt ------------------------------------------------------------------------------ */

/* Every change, with the link broken before it is done and before it is answered: it succeeds,
 * once. */
static void test_each_change(void **unused)
{
	for (enum loss loss = NONE; loss <= AFTER; loss++) {
		setup_with(rich, NULL);
		break_at(SSH_FXP_MKDIR, loss, 0);
		CALL(remote_mkdir(t.remote, "/d", 0755, on_done, NULL));
		assert_int_equal(t.err, 0);
		assert_non_null(find("/d"));
		break_at(SSH_FXP_SYMLINK, loss, 0);
		CALL(remote_symlink(t.remote, "to", "/l", on_done, NULL));
		assert_int_equal(t.err, 0);
		assert_string_equal(find("/l")->target, "to");
		add("/f", S_IFREG | 0644);
		break_at(SSH_FXP_EXTENDED, loss, 0);
		CALL(remote_link(t.remote, "/f", "/g", on_done, NULL));
		assert_int_equal(t.err, 0);
		assert_int_equal(find("/g")->inode, find("/f")->inode);
		add("/old", S_IFREG | 0644);
		break_at(SSH_FXP_EXTENDED, loss, 0);
		CALL(remote_rename(t.remote, "/f", "/old", true, on_done, NULL));
		assert_int_equal(t.err, 0);
		assert_null(find("/f"));
		assert_int_equal(find("/old")->inode, find("/g")->inode);
		break_at(SSH_FXP_RENAME, loss, 0);
		CALL(remote_rename(t.remote, "/old", "/new", false, on_done, NULL));
		assert_int_equal(t.err, 0);
		assert_non_null(find("/new"));
		break_at(SSH_FXP_REMOVE, loss, 0);
		CALL(remote_unlink(t.remote, "/new", on_done, NULL));
		assert_int_equal(t.err, 0);
		assert_null(find("/new"));
		break_at(SSH_FXP_RMDIR, loss, 0);
		CALL(remote_rmdir(t.remote, "/d", on_done, NULL));
		assert_int_equal(t.err, 0);
		assert_null(find("/d"));
		assert_int_equal(far.loss, NONE);
		teardown();
	}
}

static void test_whole_session(void **unused)
{
	setup_with(rich, NULL);
	far.whole_session = true;
	break_at(SSH_FXP_MKDIR, AFTER, 0);
	CALL(remote_mkdir(t.remote, "/d", 0755, on_done, NULL));
	assert_int_equal(t.err, 0);
	assert_int_equal(fake.n_sessions, 2);
	teardown();
}

/* What stands there is not ours: the errors that a first try would have met. */
static void test_not_ours(void **unused)
{
	setup_with(rich, NULL);
	add("/d", S_IFDIR | 0755)->uid = 77;
	break_at(SSH_FXP_MKDIR, BEFORE, 0);
	CALL(remote_mkdir(t.remote, "/d", 0755, on_done, NULL));
	assert_int_equal(t.err, -EEXIST);
	snprintf(add("/l", S_IFLNK | 0777)->target, 64, "elsewhere");
	break_at(SSH_FXP_SYMLINK, BEFORE, 0);
	CALL(remote_symlink(t.remote, "to", "/l", on_done, NULL));
	assert_int_equal(t.err, -EEXIST);
	add("/f", S_IFREG | 0644);
	add("/g", S_IFREG | 0644);
	break_at(SSH_FXP_EXTENDED, BEFORE, 0);
	CALL(remote_link(t.remote, "/f", "/g", on_done, NULL));
	assert_int_equal(t.err, -EEXIST);
	break_at(SSH_FXP_EXTENDED, BEFORE, 0);
	CALL(remote_rename(t.remote, "/none", "/nowhere", true, on_done, NULL));
	assert_int_equal(t.err, -ENOENT);
	teardown();
}

/* The next lock, made behind the rename of the last one before the link broke, is not that one. */
static void test_rename_of_what_was_made_anew(void **unused)
{
	setup_with(rich, NULL);
	add("/lock", S_IFREG | 0644)->size = 7;
	add("/f", S_IFREG | 0644)->size = 5;
	far.anew = true;
	break_at(SSH_FXP_EXTENDED, AFTER, 0);
	CALL(remote_rename_sized(t.remote, "/lock", "/f", 7, on_done, NULL));
	assert_int_equal(t.err, 0);
	assert_int_equal(find("/f")->size, 7);
	assert_int_equal(find("/lock")->size, 0);
	teardown();
}

/* --- servers without posix-rename@ ---------------------------------------------------------------
 */

/* In the middle of the three steps, at each of them. */
static void test_poor_rename(void **unused)
{
	static const uint8_t types[] = {
	    SSH_FXP_RENAME, SSH_FXP_RENAME, SSH_FXP_RENAME, SSH_FXP_REMOVE};

	for (enum loss loss = NONE; loss <= AFTER; loss++)
		for (unsigned i = 0; i < 4; i++) {
			unsigned inode, left = 0;

			setup_with(poor, NULL);
			inode = add("/f", S_IFREG | 0644)->inode;
			add("/g", S_IFREG | 0644);
			break_at(types[i], loss, i < 3 ? i : 0);
			CALL(remote_rename(t.remote, "/f", "/g", true, on_done, NULL));
			assert_int_equal(t.err, 0);
			assert_int_equal(find("/g")->inode, inode);
			for (unsigned j = 0; j < NODES; j++)
				left += far.nodes[j].path[0] != '\0';
			assert_int_equal(left, 3);
			teardown();
		}
}

/* The server refuses to rename that one file. */
static void refuse_f(struct fake_channel *channel, struct fake_request *request)
{
	struct sftp_reader reader = request->reader;
	struct sftp_string from;

	if (request->type == SSH_FXP_RENAME && !sftp_read_string(&reader, &from) && from.len == 2 &&
	    !memcmp(from.data, "/f", 2)) {
		fake_reply_status(&channel->stream, request->id, SSH_FX_FAILURE);
		packet_free(request->packet);
		return;
	}
	serve(channel, request);
}

static void test_poor_rename_is_put_back(void **unused)
{
	unsigned inode;

	setup_with(poor, NULL);
	add("/f", S_IFREG | 0644);
	inode = add("/g", S_IFREG | 0644)->inode;
	fake.serve = refuse_f;
	CALL(remote_rename(t.remote, "/f", "/g", true, on_done, NULL));
	assert_int_equal(t.err, -EIO);
	assert_int_equal(find("/g")->inode, inode);
	assert_non_null(find("/f"));
	find("/g")->mode = S_IFDIR | 0750;
	find("/f")->mode = S_IFDIR | 0700;
	CALL(remote_rename(t.remote, "/f", "/g", true, on_done, NULL));
	assert_int_equal(t.err, -EIO);
	assert_true(S_ISDIR(find("/g")->mode));
	assert_non_null(find("/f"));
	teardown();
}

/* --- what stood in the way and is gone ----------------------------------------------------------
 */

static unsigned refusals;

/* Refuses changes, and has nothing there that would explain it. */
static void refuse_changes(struct fake_channel *channel, struct fake_request *request)
{
	if (refusals && (request->type == SSH_FXP_MKDIR || request->type == SSH_FXP_RMDIR ||
			    request->type == SSH_FXP_SYMLINK || request->type == SSH_FXP_REMOVE)) {
		refusals--;
		fake_reply_status(&channel->stream, request->id, SSH_FX_FAILURE);
		packet_free(request->packet);
		return;
	}
	serve(channel, request);
}

static void ask_change(unsigned which, unsigned refused)
{
	refusals = refused;
	if (which == 0)
		CALL(remote_mkdir(t.remote, "/new", 0700, on_done, NULL));
	else if (which == 1)
		CALL(remote_symlink(t.remote, "to", "/new", on_done, NULL));
	else if (which == 2)
		CALL(remote_rmdir(t.remote, "/folder", on_done, NULL));
	else
		CALL(remote_unlink(t.remote, "/file", on_done, NULL));
}

static void test_what_stood_in_the_way(void **unused)
{
	for (unsigned which = 0; which < 4; which++) {
		setup_with(rich, NULL);
		fake.serve = refuse_changes;
		add("/folder", S_IFDIR | 0700);
		add("/file", S_IFREG | 0600);
		ask_change(which, 5);
		assert_int_equal(t.err, which == 2 ? -EBUSY : -EIO);
		ask_change(which, 3);
		assert_int_equal(t.err, 0);
		assert_int_equal(refusals, 0);
		teardown();
	}
}

/* --- whose SYMLINK ------------------------------------------------------------------------------
 */

static void test_symlink_order(void **unused)
{
	static const struct {
		const char *peer;
		bool swapped;
	} peers[] = {{"SSH-2.0-OpenSSH_8.2p1 Ubuntu-4", true}, {"SSH-2.0-dropbear_2022.83", true},
	    {"SSH-2.0-mod_sftp", true}, {"SSH-2.0-6.1.3.1337 SSH Tectia Server", false}};

	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		setup_with(rich, peers[i].peer);
		CALL(remote_symlink(t.remote, "to", "/l", on_done, NULL));
		assert_string_equal(far.first, peers[i].swapped ? "to" : "/l");
		assert_string_equal(far.second, peers[i].swapped ? "/l" : "to");
		teardown();
	}
}

/* --- listings
 * ---------------------------------------------------------------------------------------- */

static void on_entry(void *arg, const char *name, const struct sftp_attr *attr, uint32_t links)
{
	t.entries++;
}

static void on_list(void *arg, int err, const struct sftp_attr *self)
{
	on_done(arg, err);
}

static const struct remote_listing listing = {on_entry, on_list};

static void list(void)
{
	t.entries = 0;
	CALL(remote_list(t.remote, "/home", 1, &listing, NULL));
}

static void test_listings(void **unused)
{
	setup_with(rich, NULL);
	far.names = 100;
	far.replies = 30;
	list();
	assert_int_equal(t.err, 0);
	assert_int_equal(t.entries, 3000);
	/* The same names again and again are dropped. */
	far.same_names = true;
	list();
	assert_int_equal(t.err, 0);
	assert_int_equal(t.entries, 100);
	/* The link breaks in the middle: each name still once. */
	far.same_names = false;
	break_at(SSH_FXP_READDIR, AFTER, 7);
	list();
	assert_int_equal(t.err, 0);
	assert_int_equal(t.entries, 3000);
	far.handles = 0; /* the lost one went with its channel */
	/* Nothing but names that are none. */
	far.dots = true;
	far.replies = 1000000;
	list();
	assert_int_equal(t.err, -EPROTO);
	assert_int_equal(t.entries, 0);
	for (int i = 0; i < 10; i++)
		fake_run(&t.loop);
	assert_int_equal(far.handles, 0);
	teardown();
}

/* A handle that comes after the time was up is closed all the same. */
static void test_late_handle(void **unused)
{
	setup_with(rich, NULL);
	t.profile.timeout = 1;
	far.late_handle = true;
	list();
	assert_int_equal(t.err, -ETIMEDOUT);
	assert_int_equal(far.handles, 1);
	assert_false(far.held->dead);
	fake_reply_handle(&far.held->stream, far.held_id, "h");
	for (int i = 0; i < 10; i++)
		fake_run(&t.loop);
	assert_int_equal(far.handles, 0);
	teardown();
}

/* --- what is judged without a server
 * ------------------------------------------------------------------- */

static void test_errno_of_size(void **unused)
{
	assert_int_equal(remote_errno_of_size(-EIO, 1), -EIO);
	assert_int_equal(remote_errno_of_size(-EIO, (1ull << 44) - 4096), -EIO);
	assert_int_equal(remote_errno_of_size(-EIO, (1ull << 44)), -EFBIG);
	assert_int_equal(remote_errno_of_size(-EINVAL, INT64_MAX), -EFBIG);
	assert_int_equal(remote_errno_of_size(-EACCES, INT64_MAX), -EACCES);
	assert_int_equal(remote_errno_of_size(0, INT64_MAX), 0);
}

static void test_guess(void **unused)
{
	struct remote_looks looks = {0};

	/* Nothing could be seen: nothing is claimed. */
	for (int asked = ASKED_LOOKUP; asked <= ASKED_WRITE; asked++) {
		assert_int_equal(remote_errno_guess(asked, -EIO, &looks, 0), -EIO);
		assert_int_equal(remote_errno_guess(asked, -ENOENT, &looks, 0), -ENOENT);
		assert_int_equal(remote_errno_guess(asked, -EACCES, &looks, 1), -EACCES);
		assert_int_equal(remote_errno_guess(asked, -EPROTO, &looks, 0), -EPROTO);
		assert_false(remote_errno_is_vague(asked, -EPROTO));
	}
	/* Attributes without a mode say nothing about kinds. */
	looks.path.asked = looks.parent.asked = true;
	assert_int_equal(remote_errno_guess(ASKED_UNLINK, -EIO, &looks, 0), -EIO);
	assert_int_equal(remote_errno_guess(ASKED_CREATE, -ENOENT, &looks, 0), -ENOENT);
	assert_int_equal(remote_errno_guess(ASKED_MKDIR, -EIO, &looks, 0), -EEXIST);
	/* A file system that tells no sizes is not full. */
	looks.fs.asked = true;
	assert_int_equal(remote_errno_guess(ASKED_WRITE, -EIO, &looks, 0), -EIO);
	looks.fs.st.f_blocks = looks.fs.st.f_frsize = 4096;
	assert_int_equal(remote_errno_guess(ASKED_WRITE, -EIO, &looks, 0), -ENOSPC);
}

static void test_check_path(void **unused)
{
	char path[5000];

	assert_int_equal(remote_check_path("/"), 0);
	assert_int_equal(remote_check_path("/a/b"), 0);
	assert_int_equal(remote_check_path("a"), -EINVAL);
	assert_int_equal(remote_check_path(""), -EINVAL);
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[256] = '\0';
	assert_int_equal(remote_check_path(path), 0);
	path[256] = 'x';
	path[257] = '\0';
	assert_int_equal(remote_check_path(path), -ENAMETOOLONG);
	for (int i = 0; i < 4096; i += 2)
		memcpy(path + i, "/x", 2);
	path[4096] = '\0';
	assert_int_equal(remote_check_path(path), -ENAMETOOLONG);
	path[4095] = '\0';
	assert_int_equal(remote_check_path(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_change),
	    cmocka_unit_test(test_whole_session),
	    cmocka_unit_test(test_not_ours),
	    cmocka_unit_test(test_rename_of_what_was_made_anew),
	    cmocka_unit_test(test_poor_rename),
	    cmocka_unit_test(test_poor_rename_is_put_back),
	    cmocka_unit_test(test_what_stood_in_the_way),
	    cmocka_unit_test(test_symlink_order),
	    cmocka_unit_test(test_listings),
	    cmocka_unit_test(test_late_handle),
	    cmocka_unit_test(test_guess),
	    cmocka_unit_test(test_errno_of_size),
	    cmocka_unit_test(test_check_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Listings.
 *
 *	OPENDIR → HANDLE     READDIR READDIR …  → NAME NAME … EOF      CLOSE
 *	                     (a window: two, more while full replies come)
 *
 * With symlinks=follow then the links among them, a window at a time: STAT STAT … → ATTRS ATTRS …
 *
 * Names are gathered and handed over at the end, so that a lost link just starts again. CLOSE goes
 * out behind the end of file without being waited for; whatever ends the listing early closes the
 * handle too, as soon as there is one.
 *
 * An expected listing is one whose OPENDIR went out beside the look-up of its folder. It waits for
 * remote_list to take it over, or ends by itself.
 */
#include "transport/remote_internal.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define WINDOW_START 2
#define WINDOW_MAX REMOTE_SLOTS
/* A reply with fewer names is probably the last one. OpenSSH sends 100. */
#define FULL 16
#define NAMES_MAX 10000000u
#define TEXT_MAX (2048ull * 1024 * 1024)
/* Replies without a single new name that a server may send in a row. */
#define EMPTY_MAX 100
#define EXPECTED_MOST 4
/* With its handle: the look-up that was asked before has been answered too. */
#define EXPECTED_OPEN_MS 100
/* So many in a row that nobody wanted: from then on only one of so many. */
#define IN_VAIN_MOST 8

struct entry {
	uint64_t text; /* offset of the name, ended by NUL */
	struct sftp_attr attr;
	uint32_t links;
};

struct list_op {
	struct remote_op op;
	TAILQ_ENTRY(list_op) link; /* while expected */
	struct sftp_handle handle;
	bool open, has_self, expected;
	uint64_t look_up;
	unsigned window, in_flight, replies, empty;
	bool following; /* the names are all there */
	size_t next;	/* then: the entry to look at */
	struct sftp_attr self;
	struct entry *entries;
	size_t n_entries, room_entries;
	char *text;
	size_t n_text, room_text;
};

static struct list_op *list_of(struct remote_op *op)
{
	return (struct list_op *)op;
}

static void forget(struct list_op *list)
{
	free(list->entries);
	free(list->text);
	list->entries = NULL;
	list->text = NULL;
	list->n_entries = list->room_entries = list->n_text = list->room_text = 0;
}

static void list_fini(struct remote_op *op)
{
	if (!op->hollow)
		forget(list_of(op));
}

/* --- the names ------------------------------------------------------------- */

static int grow(void **array, size_t *room, size_t need, size_t unit)
{
	size_t more = *room ? *room : 64;
	void *grown;

	if (need <= *room)
		return 0;
	while (more < need)
		more *= 2;
	grown = realloc(*array, more * unit);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*room = more;
	return 0;
}

static int add_name(struct list_op *list, const struct sftp_name *name)
{
	struct entry *entry;

	if (list->n_entries >= NAMES_MAX || list->n_text + name->name.len >= TEXT_MAX)
		return -EPROTO;
	if (grow((void **)&list->entries, &list->room_entries, list->n_entries + 1,
		sizeof(*entry)) ||
	    grow((void **)&list->text, &list->room_text, list->n_text + name->name.len + 1, 1))
		return -ENOMEM;
	entry = &list->entries[list->n_entries++];
	entry->text = list->n_text;
	entry->attr = name->attr;
	entry->links = sftp_longname_links(name->longname);
	memcpy(list->text + list->n_text, name->name.data, name->name.len);
	list->n_text += name->name.len;
	list->text[list->n_text++] = '\0';
	return 0;
}

bool remote_is_aside(const struct remote *remote, const void *name, size_t len)
{
	const char *at = name;
	char prefix[64];
	size_t n;

	if (at[0] != '.' || remote->aside_left)
		return false;
	n = (size_t)snprintf(prefix, sizeof(prefix), REMOTE_ASIDE, (int)getpid());
	return len > n && !memcmp(at, prefix, n);
}

/* The count of names, or a negative errno. */
static int add_names(struct list_op *list, struct sftp_names names)
{
	struct sftp_name name;
	int count = 0, err = 0;

	while (!err && sftp_names_next(&names, &name)) {
		count++;
		if (name.name.len == 1 && name.name.data[0] == '.') {
			list->self = name.attr;
			list->has_self = true;
		} else if (sftp_name_is_valid(name.name) &&
			   !remote_is_aside(list->op.remote, name.name.data, name.name.len)) {
			err = add_name(list, &name);
		}
	}
	return err ? err : count;
}

/* Marks those that came twice: a folder that changes meanwhile may be listed like that. */
static int drop_duplicates(struct list_op *list)
{
	size_t size = 64;
	uint32_t *slots;

	/* Within one reply a server has no reason to. */
	if (list->replies < 2)
		return 0;
	while (size < list->n_entries * 2)
		size *= 2;
	slots = calloc(size, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < list->n_entries; i++) {
		const char *name = list->text + list->entries[i].text;
		size_t at = XXH3_64bits(name, strlen(name)) & (size - 1);

		while (slots[at] && strcmp(list->text + list->entries[slots[at] - 1].text, name))
			at = (at + 1) & (size - 1);
		if (slots[at])
			list->entries[i].text = UINT64_MAX;
		else
			slots[at] = (uint32_t)i + 1;
	}
	free(slots);
	return 0;
}

/* --- the conversation -------------------------------------------------------- */

static void ignore(void *arg, const struct sftp_reply *reply)
{
}

static void close_handle(struct list_op *list)
{
	struct packet *message;

	if (!list->open)
		return;
	list->open = false;
	if (!list->op.channel || !pool_channel_alive(list->op.channel))
		return;
	message = sftp_msg_handle(SSH_FXP_CLOSE, &list->handle);
	if (message)
		sftp_send(pool_channel_sftp(list->op.channel), message, 0, ignore, NULL);
}

/* Whoever took it over, or nobody. */
static void leave_expected(struct list_op *list)
{
	struct remote *remote = list->op.remote;

	if (!list->expected)
		return;
	list->expected = false;
	TAILQ_REMOVE(&remote->expected, list, link);
	remote->n_expected--;
}

static void complete_list(struct remote_op *op, int err)
{
	struct list_op *list = op->hollow ? NULL : list_of(op);

	if (list) {
		op->remote->in_vain += list->expected;
		leave_expected(list);
		close_handle(list);
	}
	for (size_t i = 0; !err && i < list->n_entries; i++) {
		const struct entry *entry = &list->entries[i];

		if (entry->text != UINT64_MAX)
			op->user.listing.entry(
			    op->arg, list->text + entry->text, &entry->attr, entry->links);
	}
	op->user.listing.done(op->arg, err, !err && list->has_self ? &list->self : NULL);
	if (list)
		forget(list);
}

/* --- what links lead to ------------------------------------------------------ */

static void follow(struct remote_op *op);

/* One that leads nowhere stays a link. */
static void take_followed(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	struct list_op *list = list_of(op);
	struct sftp_attr attr;

	list->in_flight--;
	if (op->done)
		return;
	if (!sftp_take_attr(reply, &attr)) {
		attr.flags |= SFTP_ATTR_FOLLOWED;
		list->entries[tag].attr = attr;
		list->entries[tag].links = 0;
	}
	follow(op);
}

static void follow_one(struct remote_op *op, size_t index)
{
	struct list_op *list = list_of(op);
	char path[PATH_MAX];
	int len = snprintf(path, sizeof(path), "%s/%s", strcmp(op->path, "/") ? op->path : "",
	    list->text + list->entries[index].text);

	if (len < 0 || (size_t)len >= sizeof(path))
		return;
	list->in_flight++;
	remote_ask(op, sftp_msg_path(SSH_FXP_STAT, path), take_followed, (unsigned)index);
}

static void follow(struct remote_op *op)
{
	struct list_op *list = list_of(op);

	while (list->next < list->n_entries && list->in_flight < WINDOW_MAX && !op->lost) {
		const struct entry *entry = &list->entries[list->next];

		if (entry->text != UINT64_MAX && S_ISLNK(entry->attr.mode))
			follow_one(op, list->next);
		list->next++;
	}
	if (!list->in_flight && !op->lost)
		remote_finish(op, 0);
}

static void end(struct remote_op *op, int err)
{
	struct list_op *list = list_of(op);

	if (!err)
		err = drop_duplicates(list);
	if (err || !remote_follows_links(op->remote)) {
		remote_finish(op, err);
		return;
	}
	list->following = true;
	if (!list->in_flight) /* the READDIRs behind the end have their answers first */
		follow(op);
}

static void take_names(struct remote_op *op, unsigned tag, const struct sftp_reply *reply);

static void ask_names(struct remote_op *op)
{
	struct list_op *list = list_of(op);

	while (list->in_flight < list->window && !op->done && !op->lost) {
		list->in_flight++;
		remote_ask(op, sftp_msg_handle(SSH_FXP_READDIR, &list->handle), take_names, 0);
	}
}

static void take_names(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	struct list_op *list = list_of(op);
	size_t before = list->n_entries;
	int count;

	list->in_flight--;
	if (op->done)
		return;
	if (list->following) {
		if (!list->in_flight)
			follow(op);
		return;
	}
	if (reply->err) {
		end(op, reply->status == SSH_FX_EOF ? 0 : reply->err);
		return;
	}
	list->replies++;
	count = add_names(list, reply->names);
	list->empty = list->n_entries > before ? 0 : list->empty + 1;
	if (count < 0 || list->empty > EMPTY_MAX) {
		end(op, count < 0 ? count : -EPROTO);
		return;
	}
	if (count >= FULL && list->window < WINDOW_MAX)
		list->window *= 2;
	if (count >= FULL || !list->in_flight)
		ask_names(op);
}

static void opened(struct remote_op *op, unsigned tag, const struct sftp_reply *reply)
{
	struct list_op *list = list_of(op);

	if (reply->err) {
		if (list->expected)
			remote_finish(op, reply->err);
		else if (!op->done)
			remote_settle(op, reply->err);
		return;
	}
	list->handle.len = reply->handle.len;
	memcpy(list->handle.data, reply->handle.data, reply->handle.len);
	list->open = true;
	if (op->done) {
		close_handle(list); /* the time was up */
		return;
	}
	if (list->expected) {
		remote_set_deadline(op, EXPECTED_OPEN_MS);
		return;
	}
	list->window = WINDOW_START;
	ask_names(op);
}

static void go_list(struct remote_op *op)
{
	struct list_op *list = list_of(op);

	/* The handle of a try before went with its channel. */
	forget(list);
	list->open = list->has_self = false;
	list->in_flight = list->replies = list->empty = 0;
	list->following = false;
	list->next = 0;
	remote_ask(op, sftp_msg_path(SSH_FXP_OPENDIR, op->path), opened, 0);
}

/* --- expected ones ---------------------------------------------------------- */

static void no_entry(void *arg, const char *name, const struct sftp_attr *attr, uint32_t links)
{
}

static void nobody(void *arg, int err, const struct sftp_attr *self)
{
}

/* The OPENDIR that went out last beside a look-up of the path, under way or answered; or NULL. */
static struct list_op *find_expected(struct remote *remote, const char *path)
{
	struct list_op *list;

	TAILQ_FOREACH (list, &remote->expected, link) {
		if (!list->op.done && list->op.path && !strcmp(list->op.path, path))
			break;
	}
	return list;
}

void remote_list_expect(struct remote *remote, const char *path, uint64_t look_up)
{
	struct pool_channel *channel = pool_channel(remote->pool, LANE_NAMES, false);
	struct list_op *before = find_expected(remote, path);
	struct remote_op *op;

	if (before)
		remote_finish(&before->op, -ECANCELED);
	if (!channel || !pool_channel_alive(channel) || remote->n_expected >= EXPECTED_MOST)
		return;
	if (remote->in_vain >= IN_VAIN_MOST && remote->in_vain++ % IN_VAIN_MOST)
		return;
	op = remote_op_new(remote, sizeof(struct list_op), complete_list, NULL);
	if (!op)
		return;
	op->user.listing = (struct remote_listing){no_entry, nobody};
	op->asked = ASKED_LIST;
	op->fini = list_fini;
	op->late_too = true;
	if (!op->only)
		op->only = pool_channel_get(channel);
	if (!op->hollow) {
		list_of(op)->expected = true;
		list_of(op)->look_up = look_up;
		TAILQ_INSERT_TAIL(&remote->expected, list_of(op), link);
		remote->n_expected++;
	}
	remote_submit(op, path, NULL, go_list);
}

void remote_expect_nothing(struct remote *remote)
{
	while (!TAILQ_EMPTY(&remote->expected))
		remote_finish(&TAILQ_FIRST(&remote->expected)->op, -ECANCELED); /* leaves */
}

/* Goes on from there. */
static bool take_over(struct remote *remote, const char *path, uint64_t look_up,
    const struct remote_listing *listing, void *arg)
{
	struct list_op *list = find_expected(remote, path);
	struct remote_op *op;

	if (!list || list->look_up != look_up)
		return false;
	op = &list->op;
	leave_expected(list);
	remote->in_vain = 0;
	op->user.listing = *listing;
	op->arg = arg;
	pool_channel_put(op->only); /* it may begin again */
	op->only = NULL;
	remote_set_deadline(op, pool_timeout_ms(remote->pool));
	if (list->open) {
		list->window = WINDOW_START;
		remote_go_on(op, ask_names);
	}
	return true;
}

void remote_list(struct remote *remote, const char *path, uint64_t look_up,
    const struct remote_listing *listing, void *arg)
{
	struct remote_op *op;

	if (!remote->ordered && take_over(remote, path, look_up, listing, arg))
		return;
	op = remote_op_new(remote, sizeof(struct list_op), complete_list, arg);
	if (!op) {
		listing->done(arg, -ENOMEM, NULL);
		return;
	}
	op->user.listing = *listing;
	op->asked = ASKED_LIST;
	op->fini = list_fini;
	op->late_too = true;
	remote_submit(op, path, NULL, go_list);
}

/*
 * Life, and the way to `ready`:
 *
 *	pool ready → REALPATH "." (the login folder) → its owner is the login user
 *	           → STAT of the folder to mount; where the profile names none /workspace, else the
 *	             login folder
 *	           → REALPATH of it when it is a symlink or has ".." in it: the rest of vastfs
 *	             LSTATs below it
 */
#include "conf/log.h"
#include "transport/remote_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PATH "/workspace"

/* --- the end of the way ------------------------------------------------------- */

static void tell_ready(struct remote *remote, const struct ssh_error *error)
{
	if (remote->told || remote->closed)
		return;
	remote->told = true;
	if (remote->events.ready)
		remote->events.ready(remote->arg, error);
}

static void fail(struct remote *remote, enum ssh_failure kind, int err, const char *what)
{
	struct ssh_error error = {.kind = kind, .err = -err};
	const struct profile *profile = remote->target->profile;

	snprintf(error.text, sizeof(error.text), "%s: %s: %s", profile->host, what, strerror(-err));
	tell_ready(remote, &error);
}

static void fail_path(struct remote *remote, const char *path, const char *why)
{
	struct ssh_error error = {.kind = SSH_NO_PATH, .err = ENOENT};
	const struct profile *profile = remote->target->profile;
	char text[256];

	snprintf(error.text, sizeof(error.text),
	    "%s: the folder to mount, %s, %s. Name another one (path = … in the profile, -o "
	    "path=…, or %s:/path), "
	    "or make it on the instance first",
	    profile->host, log_printable(text, sizeof(text), path, strlen(path)), why,
	    profile->id ? profile->id : profile->host);
	tell_ready(remote, &error);
}

/* --- which folder --------------------------------------------------------------- */

/* One slash between names, no "." and no slash at the end; in place. */
static void tidy(char *path)
{
	char *to = path, *at = path;

	while (*at) {
		size_t len;

		at += strspn(at, "/");
		len = strcspn(at, "/");
		if (!len || (len == 1 && *at == '.')) {
			at += len;
			continue;
		}
		*to++ = '/';
		memmove(to, at, len);
		to += len;
		at += len;
	}
	if (to == path)
		*to++ = '/';
	*to = '\0';
}

static bool climbs(const char *path)
{
	const char *at = path;

	while ((at = strstr(at, "/.."))) {
		if (at[3] == '/' || !at[3])
			return true;
		at += 3;
	}
	return false;
}

/* The profile's path with the login folder in front of what is relative. Owned by the caller. */
static char *candidate(struct remote *remote)
{
	const char *path = remote->target->profile->path;
	char *out = NULL;

	if (!path)
		return strdup(DEFAULT_PATH);
	if (*path == '/')
		out = strdup(path);
	else if (path[0] == '~' && (path[1] == '/' || !path[1]))
		out = asprintf(&out, "%s/%s", remote->login, path + 1) < 0 ? NULL : out;
	else
		out = asprintf(&out, "%s/%s", remote->login, path) < 0 ? NULL : out;
	if (out)
		tidy(out);
	return out;
}

static void on_resolved(void *arg, int err, const char *text)
{
	struct remote *remote = arg;
	char *root;

	if (!err && *text == '/' && (root = strdup(text))) {
		free(remote->root);
		remote->root = root;
		tidy(root);
		tell_ready(remote, NULL);
	} else if (!err) {
		fail(remote, SSH_NO_SFTP, -EPROTO,
		    "the SFTP server does not resolve the folder to mount");
	} else {
		fail(remote, SSH_NO_PATH, err, "the folder to mount cannot be resolved");
	}
	remote_put(remote);
}

/* It is a folder. */
static void settle_root(struct remote *remote, bool resolve)
{
	log_verbose("the folder to mount is %s", remote->root);
	if (!resolve && !climbs(remote->root))
		tell_ready(remote, NULL);
	else
		remote_realpath(remote, remote->root, on_resolved, remote_get(remote));
}

static void on_root_lstat(void *arg, int err, const struct sftp_attr *attr)
{
	struct remote *remote = arg;

	settle_root(remote, err || remote_is_link(attr));
	remote_put(remote);
}

static void use_login(struct remote *remote)
{
	free(remote->root);
	remote->root = strdup(remote->login);
	if (remote->root)
		settle_root(remote, false);
	else
		fail(remote, SSH_LOST, -ENOMEM, "mounting");
}

static void on_root_stat(void *arg, int err, const struct sftp_attr *attr)
{
	struct remote *remote = arg;
	bool given = remote->target->profile->path != NULL;

	if (!err && remote_is_folder(attr))
		remote_lstat(remote, remote->root, on_root_lstat, remote_get(remote));
	else if (err == -ENOTCONN || err == -ETIMEDOUT || err == -EPROTO)
		fail(remote, err == -ETIMEDOUT ? SSH_TIMEOUT : SSH_LOST, err,
		    "looking for the folder to mount");
	else if (!given)
		use_login(remote);
	else if (!err)
		fail_path(remote, remote->root, "is not a folder");
	else if (err == -ENOENT)
		fail_path(remote, remote->root, "does not exist");
	else
		fail_path(remote, remote->root,
		    err == -EACCES ? "may not be entered by this user" : "cannot be looked at");
	remote_put(remote);
}

static void on_login_attr(void *arg, int err, const struct sftp_attr *attr)
{
	struct remote *remote = arg;

	if (!err && (attr->flags & SSH_FILEXFER_ATTR_UIDGID)) {
		remote->uid = attr->uid;
		remote->gid = attr->gid;
	}
	free(remote->root);
	remote->root = candidate(remote);
	if (!remote->root)
		fail(remote, SSH_LOST, -ENOMEM, "mounting");
	else
		remote_stat(remote, remote->root, on_root_stat, remote_get(remote));
	remote_put(remote);
}

static void on_login(void *arg, int err, const char *text)
{
	struct remote *remote = arg;

	if (!err && *text == '/') {
		free(remote->login);
		remote->login = strdup(text);
	}
	if (remote->login) {
		tidy(remote->login);
		log_verbose("the login folder is %s", remote->login);
		remote_lstat(remote, remote->login, on_login_attr, remote_get(remote));
	} else {
		fail(remote, err == -ETIMEDOUT ? SSH_TIMEOUT : SSH_NO_SFTP, err ? err : -EPROTO,
		    "the SFTP server does not say where the login folder is");
	}
	remote_put(remote);
}

/* --- the pool's events ----------------------------------------------------------- */

static void on_pool_ready(void *arg, const struct ssh_error *error)
{
	struct remote *remote = arg;

	if (error)
		tell_ready(remote, error);
	else
		remote_realpath(remote, NULL, on_login, remote_get(remote));
}

static void on_pool_link(void *arg, const struct ssh_error *error)
{
	struct remote *remote = arg;

	if (remote->told && !remote->closed && remote->events.link)
		remote->events.link(remote->arg, error);
}

static void on_pool_unreachable(void *arg, const struct ssh_error *error)
{
	struct remote *remote = arg;

	if (!remote->told && !remote->closed)
		remote->events.unreachable(remote->arg, error);
}

static const struct pool_events pool_events = {
    .ready = on_pool_ready, .link = on_pool_link, .unreachable = on_pool_unreachable};

/* --- life -------------------------------------------------------------------------- */

int remote_new(struct remote **out, uv_loop_t *loop, const struct ssh_target *target,
    const struct remote_events *events, void *arg)
{
	struct remote *remote = calloc(1, sizeof(*remote));
	int err;

	if (!remote)
		return -ENOMEM;
	remote->refs = 1;
	remote->loop = loop;
	remote->target = target;
	remote->events = *events;
	remote->arg = arg;
	err = remote_ops_init(remote);
	if (!err)
		err = pool_new(&remote->pool, loop, target, &pool_events, remote);
	if (err) {
		remote_ops_fini(remote);
		free(remote);
		return err;
	}
	pool_get(remote->pool);
	uv_timer_init(loop, &remote->timer);
	remote->timer.data = remote;
	*out = remote;
	return 0;
}

int remote_assume(struct remote *remote, const char *root, uint32_t uid, uint32_t gid)
{
	free(remote->root);
	remote->root = strdup(root);
	remote->uid = uid;
	remote->gid = gid;
	return remote->root ? 0 : -ENOMEM;
}

void remote_free(struct remote *remote)
{
	if (!remote || remote->closed)
		return;
	remote->closed = true;
	pool_free(remote->pool);
	remote_put(remote);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct remote *remote = handle->data;

	remote_ops_fini(remote);
	free(remote->login);
	free(remote->root);
	free(remote);
}

struct remote *remote_get(struct remote *remote)
{
	remote->refs++;
	return remote;
}

void remote_put(struct remote *remote)
{
	if (!remote || --remote->refs)
		return;
	pool_put(remote->pool);
	uv_close((uv_handle_t *)&remote->timer, on_timer_closed);
}

struct pool *remote_pool(struct remote *remote)
{
	return remote->pool;
}

const char *remote_root(const struct remote *remote)
{
	return remote->root ? remote->root : "/";
}

bool remote_follows_links(const struct remote *remote)
{
	return remote->target->profile->symlinks == SYMLINKS_FOLLOW;
}

uint32_t remote_uid(const struct remote *remote)
{
	return remote->uid;
}

uint32_t remote_gid(const struct remote *remote)
{
	return remote->gid;
}

const struct sftp_features *remote_features(const struct remote *remote)
{
	return pool_features(remote->pool);
}

/*
 * nullfs SOURCE MOUNTPOINT: a FUSE file system that holds a small tree in memory, never changes and
 * lets the kernel keep all: what is left then of a second find or grep is what FUSE itself costs
 * (tests/bench, row "floor"). It goes to the background and ends with the mount.
 */
#define FUSE_USE_VERSION 314
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOR_EVER 1e6

struct node {
	struct stat st;
	char *name, *data;
	struct node **children;
	size_t n;
};

static struct node *root;

static void read_file(struct node *node, const char *path)
{
	int fd = open(path, O_RDONLY);

	node->data = malloc((size_t)node->st.st_size + 1);
	if (fd < 0 || !node->data ||
	    read(fd, node->data, (size_t)node->st.st_size) != node->st.st_size)
		err(1, "%s", path);
	close(fd);
}

static struct node *load(const char *path, const char *name)
{
	struct node *node = calloc(1, sizeof(*node));
	struct dirent *entry;
	char below[PATH_MAX];
	DIR *dir;

	if (!node || lstat(path, &node->st) || !(node->name = strdup(name)))
		err(1, "%s", path);
	if (S_ISREG(node->st.st_mode))
		read_file(node, path);
	if (!S_ISDIR(node->st.st_mode))
		return node;
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
		node->children = realloc(node->children, (node->n + 1) * sizeof(*node->children));
		if (!node->children)
			err(1, "%s", path);
		node->children[node->n++] = load(below, entry->d_name);
	}
	closedir(dir);
	return node;
}

static struct node *node_of(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? root : (struct node *)ino;
}

static struct fuse_entry_param entry_of(struct node *node)
{
	return (struct fuse_entry_param){.ino = (fuse_ino_t)node,
	    .attr = node->st,
	    .attr_timeout = FOR_EVER,
	    .entry_timeout = FOR_EVER};
}

static void null_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry = {.entry_timeout = FOR_EVER};
	struct node *folder = node_of(parent);
	size_t i;

	for (i = 0; i < folder->n; i++) {
		if (!strcmp(folder->children[i]->name, name))
			entry = entry_of(folder->children[i]);
	}
	fuse_reply_entry(req, &entry);
}

static void null_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	fuse_reply_attr(req, &node_of(ino)->st, FOR_EVER);
}

static void null_readdirplus(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct node *folder = node_of(ino);
	char *buf = malloc(size);
	size_t used = 0, i, len;

	(void)fi;
	for (i = (size_t)offset; buf && i < folder->n; i++, used += len) {
		struct fuse_entry_param entry = entry_of(folder->children[i]);

		len = fuse_add_direntry_plus(
		    req, buf + used, size - used, folder->children[i]->name, &entry, (off_t)i + 1);
		if (len > size - used)
			break;
	}
	fuse_reply_buf(req, buf, used);
	free(buf);
}

static void null_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->keep_cache = 1;
	fi->noflush = 1;
	fuse_reply_open(req, fi);
}

static void null_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, 0);
}

static void null_read(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	const struct node *node = node_of(ino);
	size_t all = (size_t)node->st.st_size, from = (size_t)offset;

	(void)fi;
	if (from > all)
		from = all;
	fuse_reply_buf(req, node->data + from, size < all - from ? size : all - from);
}

static void null_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->want &= ~(unsigned)(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS_AUTO |
				  FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE);
	conn->want |= conn->capable & (FUSE_CAP_READDIRPLUS | FUSE_CAP_NO_OPENDIR_SUPPORT);
}

static const struct fuse_lowlevel_ops ops = {.init = null_init,
    .lookup = null_lookup,
    .getattr = null_getattr,
    .readdirplus = null_readdirplus,
    .open = null_open,
    .release = null_release,
    .read = null_read};

int main(int argc, char **argv)
{
	char *options[] = {"nullfs", "-o", "fsname=nullfs"};
	struct fuse_args args = FUSE_ARGS_INIT(3, options);
	struct fuse_session *session;

	if (argc != 3)
		errx(2, "usage: nullfs SOURCE MOUNTPOINT");
	root = load(argv[1], "");
	session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!session || fuse_session_mount(session, argv[2]))
		return 1;
	fuse_daemonize(0);
	fuse_session_loop(session);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	return 0;
}

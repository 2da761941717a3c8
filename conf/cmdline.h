/*
 * The command line of mount.vastfs(8), as a user or mount(8) writes it:
 *
 *	mount.vastfs [-f] [-d] [-v] [-n] [-s] [-V] [-h] [-N ns] [-t type] [-L forward]…
 *		[-o opt,opt] SPEC MOUNTPOINT
 *
 * Options may stand before, between or after the two operands (mount(8) puts them last). Leaf.
 */
#ifndef VASTFS_CONF_CMDLINE_H
#define VASTFS_CONF_CMDLINE_H

#include "conf/profile.h"

struct cmdline {
	bool foreground; /* -f */
	bool debug;	 /* -d: each request; stays in the foreground */
	int verbose;	 /* number of -v */
	bool sloppy;	 /* -s: unknown -o options are passed over */
	bool version, help;
	struct profile_request request;
	char *mountpoint; /* as given */
};

/* 0 or -EINVAL with one line. The caller frees with cmdline_fini in both cases. */
int cmdline_parse(int argc, char **argv, struct cmdline *out, struct conf_error *error);
void cmdline_fini(struct cmdline *cmdline);

/* The text of -h, from the table of keys; to standard output. */
void cmdline_print_help(const char *program);

/*
 * Checks the mountpoint: exists, is a folder, is empty (unless nonempty: -o nonempty), nothing is
 * mounted there (/proc/self/mountinfo; an automount point is no obstacle). A stale FUSE mount
 * (ENOTCONN: its daemon is dead) is said to be so with the command that removes it. *out is the
 * absolute, resolved path, owned by the caller. 0 or a negative errno.
 */
int cmdline_check_mountpoint(
    const char *mountpoint, bool nonempty, char **out, struct conf_error *error);

#endif

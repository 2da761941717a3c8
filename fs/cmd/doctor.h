/*
 * Between the files of `vastfs doctor`: cmd_doctor.c has the order and what needs the connection,
 * doctor_local.c this machine and the way to the port. Blocking; one thread.
 */
#ifndef VASTFS_FS_CMD_DOCTOR_H
#define VASTFS_FS_CMD_DOCTOR_H

#include "transport/locate.h"
#include "transport/probe.h"
#include <stdbool.h>

struct doctor {
	const struct profile *profile;
	struct ssh_target target;
	struct ssh_cancel cancel;
	struct location location;
	struct probe_way way; /* owned */
	unsigned failures;
};

void doctor_ok(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Something that is no failure, but worth knowing. */
void doctor_note(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));
void doctor_fail(struct doctor *doctor, const char *what, const char *cause, const char *cure);
/* A text of the transport or of conf: the cause, then ". " or "; ", then the cure. */
void doctor_fail_text(struct doctor *doctor, const char *what, const char *text);

/* Where it is, and that its name can be looked up, unless it is reached through others. */
bool doctor_address(struct doctor *doctor);
/* Somebody listens there and speaks SSH; true where that can't be seen from here. */
bool doctor_port(struct doctor *doctor);
/* /dev/fuse, fusermount3, user_allow_other. */
void doctor_local(struct doctor *doctor);

#endif

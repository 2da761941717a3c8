/*
 * A real sshd on loopback for tests: own keys, own folder, a mount namespace of its own (so that a
 * mount under test can't lead back into it), a random port. Test threads only; asserts by cmocka
 * when something that must work does not.
 */
#ifndef VASTFS_TESTS_FAKE_SSHD_H
#define VASTFS_TESTS_FAKE_SSHD_H

#include "conf/profile.h"
#include <stdbool.h>
#include <sys/types.h>

struct test_sshd {
	char dir[64];	       /* removed by test_sshd_stop */
	char key[128];	       /* the private key that it accepts */
	char known_hosts[128]; /* holds its host key */
	char log[128];
	unsigned port;
	pid_t pid; /* 0: stopped */
	char *keys[1];
	struct profile profile; /* leads to it */
};

/* Whether this machine has what is needed: /usr/sbin/sshd, ssh-keygen, root. Tests skip()
 * otherwise. */
bool test_sshd_available(void);

/* config: more lines for sshd_config (before the usual ones, so that they win; the usual
 * Subsystem line is left out if one says "Subsystem"), or "". */
void test_sshd_start(struct test_sshd *sshd, const char *config);
/* Kills the listener and its children (what the connections run on). */
void test_sshd_kill(struct test_sshd *sshd);
void test_sshd_stop(struct test_sshd *sshd);

/* A TCP port of 127.0.0.1 where nobody listens. */
unsigned test_free_port(void);
/* Runs a program, asserts that it succeeds; NULL-terminated arguments. */
void test_run(const char *program, ...);

#endif

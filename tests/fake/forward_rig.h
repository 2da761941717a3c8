/*
 * Port forwards under test: an sshd, a set of forwards to it, and clients. The test's thread only,
 * but for rig_echoes and rig_now_ms.
 */
#ifndef VASTFS_TESTS_FAKE_FORWARD_RIG_H
#define VASTFS_TESTS_FAKE_FORWARD_RIG_H

#include "tests/fake/peers.h"
#include "tests/fake/sshd.h"
#include "transport/forwards.h"

#define MIB (1024u * 1024)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

struct rig {
	struct profile profile;
	struct ssh_target target;
	struct forward_spec specs[8];
	unsigned ports[8];
	struct forwards *forwards;
};

/* Polls until the condition holds, at most so many milliseconds. */
#define RIG_WAIT(condition, ms)                                                                    \
	do {                                                                                       \
		uint64_t until_ = rig_now_ms() + (ms);                                             \
		while (!(condition)) {                                                             \
			assert_true(rig_now_ms() < until_);                                        \
			rig_pause();                                                               \
		}                                                                                  \
	} while (0)

uint64_t rig_now_ms(void);
/* A few milliseconds. */
void rig_pause(void);

void rig_init(struct rig *rig, const struct test_sshd *sshd);
/* listen: "127.0.0.1" or as in a forward; to: "localhost:80", "/a/socket". Returns the local port.
 */
unsigned rig_add_port(struct rig *rig, const char *listen, unsigned port, const char *to);
unsigned rig_add(struct rig *rig, const char *listen, const char *to);
unsigned rig_add_peer(struct rig *rig, const struct peer *peer);
void rig_start(struct rig *rig);
/* Asserts that it takes less than two seconds. */
void rig_stop(struct rig *rig);
struct forward_figures rig_figures(struct rig *rig, unsigned index);
/* How many of the last warnings hold both texts (b may be NULL). */
unsigned rig_warned(const char *a, const char *b);

/* Connects, sends, ends, and reads the echo meanwhile; whether all was right. */
bool rig_echoes(unsigned port, bool v6, uint64_t bytes);

#endif

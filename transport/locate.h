/*
 * Where the instance is now: by the profile, or by the provider's API (resolve=…).
 *
 *	profile says host     that, as long as it answers; then the file is read again, and
 *	                      where the ID is a number and there is an API key, the provider
 *	                      is asked
 *	it says none          the provider is asked: the direct endpoint first, its proxy second
 *
 * One for a mount; its sessions share what was found. A lookup is made anew when a dial has failed
 * for a reason that a moved instance would give, at most every few seconds, whoever asks; the
 * others wait for it meanwhile. Any thread but the core's: blocking, ended by the cancel.
 */
#ifndef VASTFS_TRANSPORT_LOCATE_H
#define VASTFS_TRANSPORT_LOCATE_H

#include "transport/provider.h"

struct locator;

enum locate_source { LOCATE_PROFILE, LOCATE_DIRECT, LOCATE_PROXY };

struct location {
	unsigned n; /* 1 or 2, in the order to try them */
	struct endpoint endpoints[2];
	enum locate_source sources[2];
};

/* The profile is borrowed. NULL when memory is out. */
struct locator *locator_new(const struct profile *profile);
/* When no thread uses it any more. NULL is allowed. */
void locator_free(struct locator *locator);

/* Where to dial. fresh: what was found before did not do; look again if that can help. With
 * profile->wait it waits for an instance that is starting, and says so to target->progress.
 * 0, or a negative errno with *error; -EAGAIN when a fresh look brings nothing new. */
int locator_get(struct locator *locator, const struct ssh_target *target, bool fresh,
    struct ssh_cancel *cancel, struct location *out, struct ssh_error *error);

/* The instance is mounted: --wait has had its turn. */
void locator_settle(struct locator *locator);

/* This one answered: it is tried first from now on. */
void locator_works(struct locator *locator, const struct endpoint *endpoint);

/* Is it a failure that another address may mend? */
bool locate_may_mend(enum ssh_failure kind);

/* What was last found, for the status; "" and 0 before. Any thread. */
void locator_current(struct locator *locator, struct endpoint *out, enum locate_source *source);

#endif

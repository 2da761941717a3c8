/*
 * The instance's clock, as far as it was seen: how old its files are is counted by that one, as
 * ours may be hours away from it. Core only.
 */
#ifndef VASTFS_TRANSPORT_REMOTE_CLOCK_H
#define VASTFS_TRANSPORT_REMOTE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct remote;

/* It had reached the second `there` when the loop's clock was `ms`; ms 0: not known. */
struct remote_clock {
	int64_t there;
	uint64_t ms;
};

/* Asks for it (a file of /proc is as old as the first look at it). */
void remote_learn_clock(struct remote *remote);
const struct remote_clock *remote_clock(const struct remote *remote);

/* The second that it has reached at least, at a time of the loop's clock. Only when it is known. */
static inline int64_t remote_clock_at(const struct remote_clock *clock, uint64_t ms)
{
	return clock->there + (int64_t)(ms - clock->ms) / 1000;
}

/* Slack between the clocks of the instance and of its disk (NFS), in seconds. */
#define REMOTE_CLOCK_SLACK 5
/* How far it may be from ours as long as it is not known, in seconds. */
#define REMOTE_CLOCK_APART 300

/* May a file of that mtime have been made since that time of the loop's clock? */
static inline bool remote_clock_since(
    const struct remote_clock *clock, int64_t mtime, uint64_t since_ms)
{
	int64_t age = (int64_t)time(NULL) - mtime;

	if (clock->ms)
		return mtime >= remote_clock_at(clock, since_ms) - REMOTE_CLOCK_SLACK;
	return age < REMOTE_CLOCK_APART && age > -REMOTE_CLOCK_APART;
}

#endif

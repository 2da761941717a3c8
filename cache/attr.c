#include "cache/attr.h"

uint32_t attr_clamp_time(int64_t seconds)
{
	if (seconds < 0)
		return 0;
	return seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}

struct attr_time attr_time(struct timespec time)
{
	return (struct attr_time){attr_clamp_time(time.tv_sec), (uint32_t)time.tv_nsec};
}

struct timespec attr_timespec(struct attr_time time)
{
	return (struct timespec){time.tv_sec, time.tv_nsec};
}

static bool before(struct attr_time a, struct attr_time b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

/* Can both be the time of one change, told by two clocks? */
static bool near(uint32_t there, struct attr_time here)
{
	int64_t apart = (int64_t)there - (int64_t)here.tv_sec;

	return apart >= -2 && apart <= 2;
}

static struct attr_time whole(uint32_t seconds)
{
	return (struct attr_time){.tv_sec = seconds};
}

static void take_plain(struct attr *attr, const struct attr_report *report)
{
	attr->size = report->size;
	attr->mode = report->mode;
	attr->uid = report->uid;
	attr->gid = report->gid;
	if (report->nlink)
		attr->nlink = report->nlink;
	if (attr->atime_there != report->atime) {
		attr->atime_there = report->atime;
		attr->atime = whole(report->atime);
	}
}

void attr_init(struct attr *attr, const struct attr_report *report)
{
	*attr = (struct attr){.mtime_there = report->mtime, .atime_there = ~report->atime};
	attr->mtime = whole(report->mtime);
	attr->ctime = attr->mtime;
	take_plain(attr, report);
}

bool attr_is_other(const struct attr *attr, const struct attr_report *report)
{
	return attr->mtime_there != report->mtime ||
	       (S_ISREG(report->mode) && attr->size != report->size);
}

bool attr_update(struct attr *attr, const struct attr_report *report)
{
	bool other = attr_is_other(attr, report);
	bool changed = other || attr->mode != report->mode || attr->uid != report->uid ||
		       attr->gid != report->gid;

	take_plain(attr, report);
	if (attr->mtime_there != report->mtime) {
		if (!attr->own_times || !near(report->mtime, attr->mtime))
			attr->mtime = whole(report->mtime);
		attr->mtime_there = report->mtime;
	}
	attr->own_times = false;
	if (changed && before(attr->ctime, attr->mtime))
		attr->ctime = attr->mtime;
	return other;
}

void attr_update_after_write(struct attr *attr, const struct attr_report *report)
{
	if (near(report->mtime, attr->mtime))
		attr->mtime_there = report->mtime;
	attr_update(attr, report);
}

void attr_made(struct attr *attr, uint32_t atime, uint32_t mtime)
{
	attr->atime_there = atime;
	attr->mtime_there = mtime;
	if (!near(atime, attr->atime))
		attr->atime = whole(atime);
	if (!near(mtime, attr->mtime))
		attr->mtime = whole(mtime);
}

void attr_made_at(struct attr *attr, struct timespec now)
{
	struct attr_time here = attr_time(now);

	if (near(attr->atime_there, here))
		attr->atime = here;
	if (near(attr->mtime_there, here))
		attr->mtime = attr->ctime = here;
}

void attr_touch_content(struct attr *attr, struct timespec now)
{
	attr->mtime = attr->ctime = attr_time(now);
}

void attr_touch_change(struct attr *attr, struct timespec now)
{
	attr->ctime = attr_time(now);
}

void attr_touch_names(struct attr *attr, struct timespec now)
{
	attr_touch_content(attr, now);
	attr->own_times = true;
}

uint32_t attr_lifetime_ms(int64_t age, uint32_t max_ms)
{
	uint64_t ms = age <= 0 ? 0 : (uint64_t)age * 100;

	if (ms < 1000)
		ms = 1000;
	return ms > max_ms ? max_ms : (uint32_t)ms;
}

bool attr_settled(const struct attr *attr, int64_t clock, uint64_t known_ms)
{
	return known_ms > 2000 || clock - (int64_t)attr->mtime_there > 2;
}

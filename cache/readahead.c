#include "cache/readahead.h"
#include <string.h>

#define ALIGN (128u << 10)

static uint64_t min64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t clamp64(uint64_t value, uint64_t least, uint64_t most)
{
	return value < least ? least : value > most ? most : value;
}

/* The stream that a read continues: exactly, else the nearest one with a window. NULL: a new one.
 */
static struct readahead_stream *match(struct readahead *ra, uint64_t offset, uint64_t end)
{
	struct readahead_stream *s, *best = NULL;
	uint64_t distance, least = UINT64_MAX;
	size_t i;

	for (i = 0; i < sizeof(ra->streams) / sizeof(*ra->streams); i++) {
		s = &ra->streams[i];
		if (!s->used)
			continue;
		if (offset == s->next) {
			/* Of two that are at one place, the one that already has a window. */
			if (!least && best->window >= s->window)
				continue;
			least = 0;
			best = s;
			continue;
		}
		if (!s->window || end + READAHEAD_SLACK < s->next || offset < s->begun)
			continue;
		distance = offset > s->next ? offset - s->next : s->next - offset;
		if (offset > s->next && distance > READAHEAD_SLACK)
			continue;
		if (distance < least) {
			least = distance;
			best = s;
		}
	}
	return best;
}

static struct readahead_stream *replace(struct readahead *ra)
{
	struct readahead_stream *oldest = &ra->streams[0];
	size_t i;

	for (i = 1; i < sizeof(ra->streams) / sizeof(*ra->streams); i++)
		if (ra->streams[i].used < oldest->used)
			oldest = &ra->streams[i];
	return oldest;
}

static void begin(struct readahead_stream *s, uint64_t offset, uint64_t end)
{
	memset(s, 0, sizeof(*s));
	s->begun = offset;
	s->next = end;
	s->ahead = end;
}

static void resize(
    struct readahead_stream *s, uint64_t offset, enum readahead_found found, uint32_t max_window)
{
	uint64_t most;

	if (found == READAHEAD_ABSENT && offset < s->ahead) {
		/* It was asked for ahead and is gone: memory is tight, or the file changed. */
		s->window /= 2;
		if (s->window < READAHEAD_LEAST)
			s->window = READAHEAD_LEAST;
		s->ahead = s->next;
	} else if (found != READAHEAD_HIT) {
		/* From the beginning, most read on to the end; in the middle, many want a piece. */
		most = min64(max_window, (s->begun ? 1 : 4) * (s->next - s->begun));
		if (most > s->window)
			s->window = (uint32_t)min64(most, 2 * (uint64_t)s->window);
	}
}

/* The stream goes on with [offset, end). */
static void follow(struct readahead_stream *s, uint64_t offset, uint64_t end,
    enum readahead_found found, uint32_t max_window)
{
	bool had_window = s->window;

	if (offset == s->next) {
		s->hits++;
		s->skipped -= (uint32_t)min64(s->skipped, (end - offset) / 4);
	} else if (offset > s->next) {
		s->skipped += (uint32_t)(offset - s->next);
	} else {
		s->skipped -= (uint32_t)min64(s->skipped, min64(end, s->next) - offset);
	}
	if (end > s->next)
		s->next = end;
	if (s->skipped > READAHEAD_SLACK) {
		begin(s, offset, s->next);
	} else if (had_window) {
		resize(s, offset, found, max_window);
	} else {
		s->window = (uint32_t)clamp64(8 * (end - offset), READAHEAD_LEAST, READAHEAD_FIRST);
		s->ahead = s->next;
	}
}

void readahead_plan(struct readahead *ra, uint64_t offset, uint32_t len, uint64_t size,
    enum readahead_found found, uint32_t max_window, struct readahead_plan *plan)
{
	uint64_t end = offset + len, base;
	struct readahead_stream *s = match(ra, offset, end);

	if (s) {
		follow(s, offset, end, found, max_window);
	} else {
		s = replace(ra);
		begin(s, offset, end);
		if (!offset)
			s->window = (uint32_t)clamp64(size, READAHEAD_ZERO_LEAST, READAHEAD_ZERO);
	}
	s->used = ++ra->clock;
	if (s->window > max_window)
		s->window = max_window;
	plan->stream = s;
	plan->streaming = s->window;
	plan->from = plan->to = 0;

	base = s->ahead > s->next ? s->ahead : s->next;
	if (!s->window || base - s->next > s->window / 2 || base >= size)
		return;
	plan->from = base;
	plan->to = min64(size, (s->next + s->window + ALIGN - 1) / ALIGN * ALIGN);
	if (plan->to < base)
		plan->to = base;
	s->ahead = plan->to;
}

#include "cache/readahead.h"
#include <string.h>

#define ALIGN (128u << 10)
#define PAGE 4096
#define STEPS_MOST 64
/* A window is filled up when half of it was consumed, or this and an eighth. */
#define REFILL (1u << 20)

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

/* --- what guesses have cost --- */

/* In mid-file: bytes of wrong guesses are at most a part of what was read, after the first ones;
 * beyond that only a stream that has become longer than others gets a window. */
#define WASTE_PART 16
#define WASTE_FREE (128u << 10)
#define LONGEST_MOST (8u << 20)
#define LATELY (64u << 20)

static void note_read(struct readahead *ra, const struct readahead_stream *s, uint32_t len)
{
	if (!s->begun)
		return;
	ra->consumed += len;
	if (ra->consumed <= LATELY)
		return;
	ra->consumed /= 2;
	ra->wasted /= 2;
	ra->longest /= 2;
}

static void note_end(struct readahead *ra, struct readahead_stream *s)
{
	uint64_t length = s->next - s->begun;

	if (!s->begun || s->wasted)
		return;
	if (length > ra->longest)
		ra->longest = min64(length, LONGEST_MOST);
	if (s->window && s->ahead > s->next) {
		s->wasted = (uint32_t)(s->ahead - s->next);
		ra->wasted += s->wasted;
	}
}

static void note_goes_on(struct readahead *ra, struct readahead_stream *s)
{
	ra->wasted -= min64(ra->wasted, s->wasted);
	s->wasted = 0;
}

static bool may_guess(const struct readahead *ra, const struct readahead_stream *s)
{
	return !s->begun || ra->wasted <= WASTE_FREE + ra->consumed / WASTE_PART ||
	       s->next - s->begun > ra->longest + ra->longest / 4;
}

/* --- forward --- */

/* From the beginning, most read on to the end; in the middle, many want a piece: the more so, the
 * more was fetched for nobody before. */
static uint64_t forward_most(const struct readahead *ra, const struct readahead_stream *s)
{
	uint64_t length = s->next - s->begun;

	if (!s->begun)
		return 4 * length;
	if (length < READAHEAD_SHORT)
		return READAHEAD_LEAST;
	if (length < READAHEAD_PIECE_MAX)
		return length >> (min64(ra->abandoned, 3) + 1);
	return length;
}

static void resize(struct readahead *ra, struct readahead_stream *s, uint64_t end,
    enum readahead_found found, uint32_t max_window)
{
	uint64_t times = s->begun ? 2 : 4, most;

	if (found == READAHEAD_ABSENT && end <= s->ahead) {
		/* It was asked for ahead and is gone: memory is tight, or the file changed. */
		s->window /= 2;
		if (s->window < READAHEAD_LEAST)
			s->window = READAHEAD_LEAST;
		s->wanted = 0;
		s->ahead = s->next;
	} else if (found != READAHEAD_HIT && may_guess(ra, s)) {
		s->wanted = (uint32_t)min64(max_window, times * s->window);
	}
	/* A reader from the beginning on has waited once for what came at once then: the rest of
	 * that counts for its window as well. */
	most = min64(s->wanted, forward_most(ra, s));
	if (most > s->window)
		s->window = (uint32_t)most;
	if (s->begun)
		s->wanted = 0;
}

/* The stream goes on with [offset, end). */
static void follow(struct readahead *ra, struct readahead_stream *s, uint64_t offset, uint64_t end,
    enum readahead_found found, uint32_t max_window)
{
	bool had_window = s->window;

	note_goes_on(ra, s);
	s->back = 0;
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
		ra->alike = 0;
		begin(s, offset, s->next);
	} else if (had_window) {
		resize(ra, s, end, found, max_window);
	} else if (may_guess(ra, s)) {
		s->window = READAHEAD_LEAST;
		s->ahead = s->next;
	}
}

/* --- pieces --- */

/* The stream used last is taken to have ended: what was it like? */
static void learn(struct readahead *ra)
{
	struct readahead_stream *last = NULL;
	uint64_t length;
	size_t i;

	for (i = 0; i < sizeof(ra->streams) / sizeof(*ra->streams); i++)
		if (ra->streams[i].used && ra->streams[i].used == ra->clock)
			last = &ra->streams[i];
	if (!last || last->back)
		return;
	note_end(ra, last);
	length = last->next - last->begun;
	if (ra->piece && length <= ra->piece + ra->piece / 8 &&
	    length >= ra->piece - ra->piece / 8) {
		ra->alike++;
	} else {
		ra->alike = 1;
		ra->piece = length;
	}
	if (last->window && last->ahead > last->next)
		ra->abandoned++;
	else
		ra->abandoned /= 2;
}

/* A new stream, like those before it? */
static bool is_piece(const struct readahead *ra, const struct readahead_stream *s)
{
	return ra->alike >= 3 && ra->piece <= READAHEAD_PIECE_MAX && s->begun &&
	       s->next - s->begun <= ra->piece;
}

/* In mid-file, the next stream is likely to end where the last one did: nothing is asked for beyond
 * that before it has gone on. */
static uint64_t likely_end(const struct readahead *ra, const struct readahead_stream *s)
{
	uint64_t end = s->begun + ra->piece;

	return s->begun && ra->piece > READAHEAD_SHORT && s->next <= end ? end : UINT64_MAX;
}

/* --- backward --- */

static struct readahead_stream *match_backward(struct readahead *ra, uint64_t end)
{
	size_t i;

	for (i = 0; i < sizeof(ra->streams) / sizeof(*ra->streams); i++) {
		struct readahead_stream *s = &ra->streams[i];

		if (s->used && s->begun == end && (s->back || !s->hits))
			return s;
	}
	return NULL;
}

static void plan_backward(struct readahead *ra, struct readahead_stream *s, uint64_t offset,
    uint32_t len, enum readahead_found found, uint32_t max_window, struct readahead_plan *plan)
{
	if (!s->back++)
		s->ahead = offset;
	ra->alike = 0;
	s->begun = s->next = offset;
	s->used = ++ra->clock;
	plan->stream = NULL;
	if (s->back < 2)
		return;
	if (!s->window)
		s->window = (uint32_t)clamp64(8 * (uint64_t)len, READAHEAD_LEAST, READAHEAD_FIRST);
	else if (found != READAHEAD_HIT && s->window <= (uint64_t)s->back * len / 4)
		s->window = (uint32_t)min64(max_window, 2 * (uint64_t)s->window);
	if (s->ahead > offset)
		s->ahead = offset;
	if (offset - s->ahead > s->window / 2 || !s->ahead)
		return;
	plan->to = s->ahead;
	plan->from = offset > s->window ? (offset - s->window) / ALIGN * ALIGN : 0;
	s->ahead = plan->from;
}

/* --- strides --- */

static void note_step(struct readahead *ra, uint64_t offset, uint32_t len)
{
	int64_t step = (int64_t)(offset - ra->last);

	/* What follows at once is no step, though the last piece of it may be shorter. */
	if (ra->clock && step == ra->step && step != (int64_t)ra->last_len) {
		ra->steps++;
		if (ra->steps_ahead)
			ra->steps_ahead--;
	} else {
		ra->steps = ra->steps_ahead = 0;
	}
	ra->step = step;
	ra->last = offset;
	ra->last_len = len;
}

static bool is_stride(const struct readahead *ra, uint32_t len)
{
	int64_t step = ra->step < 0 ? -ra->step : ra->step;

	return ra->steps >= READAHEAD_STEPS && step > (int64_t)len + PAGE &&
	       step < INT64_MAX / 1024;
}

static void plan_stride(struct readahead *ra, uint64_t offset, uint32_t len, uint64_t size,
    uint32_t max_window, struct readahead_plan *plan)
{
	uint64_t room = max_window / 4 / len;
	uint32_t want = (uint32_t)min64(min64(room, STEPS_MOST), 2 * (uint64_t)ra->steps);
	int64_t first = (int64_t)offset + ra->step * (int64_t)(ra->steps_ahead + 1);

	if (ra->steps_ahead > want / 2)
		return;
	want -= ra->steps_ahead;
	while (want && (first + ra->step * (int64_t)(want - 1) < 0 ||
			   first + ra->step * (int64_t)(want - 1) + len > (int64_t)size))
		want--;
	if (!want)
		return;
	plan->from = (uint64_t)first;
	plan->to = plan->from + len;
	plan->more = want - 1;
	plan->step = ra->step;
	ra->steps_ahead += want;
}

/* --- all of them --- */

/* Nothing more is asked for while that much is. Of a deep window an eighth is filled up at a time:
 * half of it would not always last for a round trip. */
static uint64_t enough_ahead(const struct readahead_stream *s)
{
	uint64_t part = s->window / 8 > REFILL ? s->window / 8 : REFILL;

	return s->window - min64(part, s->window / 2);
}

static void plan_forward(struct readahead *ra, struct readahead_stream *s, uint64_t size,
    uint32_t max_window, struct readahead_plan *plan)
{
	bool piece = is_piece(ra, s);
	uint64_t base, to, align = ALIGN;

	if (piece)
		s->window = (uint32_t)(s->begun + ra->piece - s->next);
	if (s->window > max_window)
		s->window = max_window;
	plan->stream = s;
	plan->streaming = s->window;
	base = s->ahead > s->next ? s->ahead : s->next;
	if (!s->window || (!piece && base - s->next > enough_ahead(s)) || base >= size)
		return;
	to = s->next + s->window;
	if (s->window < 2 * ALIGN && s->begun) /* little is to be lost by a wrong guess */
		align = PAGE;
	plan->from = base;
	plan->to = min64(size, piece ? to : (to + align - 1) / align * align);
	plan->to = min64(plan->to, likely_end(ra, s));
	if (plan->to < base)
		plan->to = base;
	s->ahead = plan->to;
}

void readahead_plan(struct readahead *ra, uint64_t offset, uint32_t len, uint64_t size,
    enum readahead_found found, uint32_t max_window, struct readahead_plan *plan)
{
	uint64_t end = offset + len;
	struct readahead_stream *s;
	bool first = !ra->clock;

	memset(plan, 0, sizeof(*plan));
	note_step(ra, offset, len);
	s = match(ra, offset, end);
	if (!s && (s = match_backward(ra, end))) {
		plan_backward(ra, s, offset, len, found, max_window, plan);
		return;
	}
	if (s) {
		follow(ra, s, offset, end, found, max_window);
	} else {
		learn(ra);
		s = replace(ra);
		begin(s, offset, end);
		if (!offset)
			s->window = (uint32_t)clamp64(size, READAHEAD_ZERO_LEAST, READAHEAD_ZERO);
	}
	s->used = ++ra->clock;
	note_read(ra, s, len);
	plan_forward(ra, s, size, max_window, plan);
	if (plan->from < plan->to || s->window)
		return;
	if (is_stride(ra, len)) {
		plan_stride(ra, offset, len, size, max_window, plan);
		plan->stream = NULL;
	} else if (first && offset && end == size && len < READAHEAD_TAIL) {
		plan->to = offset;
		plan->from =
		    (offset > READAHEAD_TAIL ? offset - READAHEAD_TAIL : 0) / ALIGN * ALIGN;
		plan->stream = NULL;
	}
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * A link that is much slower than the others makes the whole slower than without it: what it was
 * given last arrives last, and all that follows waits for that. It costs most where it brings
 * least, so it is weighed by its share of what all of them can carry: its own rate in a second in
 * which it was asked for all it has, and the most that was seen of the others. It was asked for all
 * when bytes wait before it, when it carries most of what was ever seen of it, or when the best of
 * the others is that busy; the rate of the whole says nothing, since a harmful link may have
 * brought it down to a fraction. A link that brings less than NEAR of the sum, or less than FAR
 * when its round trip is FAR_TIMES that of the best link, has a second against it; ENOUGH of those
 * without one that speaks for it put it aside. The first second of a transfer is not looked at.
 *
 * Aside, it carries nothing by which it could be judged. So when there has been much to carry for a
 * while (LASTING) it is tried again: after a rest, which doubles with each failure (REST_MS to
 * REST_MAX_MS), and at once when the others carry far more than when it was judged: what was too
 * little then may have been all there was to carry. A trial gives it time to get up to speed and
 * then asks FEWER seconds only. One that stands TRIAL seconds is over; a link that was good for
 * LONG_MS begins with a short rest again.
 *
 * The verdict is a comparison. When better links go it is made anew from the rates that were
 * measured: what was a burden to a link of 20 Mbit/s may be most of what is left. */
#include "weigh.h"

#define LEAST 125000 /* bytes a second: below 1 Mbit/s nobody waits for links */
#define NEAR 90	     /* per mille */
#define FAR 120
#define FAR_TIMES 4
#define FAR_US 50000
#define QUEUE_US 25000
#define LITTLE 10000 /* bytes a second */
#define ENOUGH 3
#define FEWER 2
#define TRIAL 6
#define GET_UP 2 /* seconds of a trial that do not count, and four round trips */
#define REST_MS 60000
#define REST_MAX_MS 900000
#define LONG_MS 600000
#define SOON_MS 10000
#define LASTING                                                                                    \
	2 /* seconds: a trial costs a transfer a second or two, which is much for a short one, but \
	     so is a good line that is not used */

static uint64_t sum_of(const struct weigh_second *link, size_t n, int way)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += link[i].bytes[way];
	return sum;
}

/* The link that can carry most, of those that are in use. */
static size_t weigh_best_of(const struct weigh *w, size_t n, const struct weigh_second *link,
			    int way)
{
	size_t best = n;

	for (size_t i = 0; i < n; i++)
		if (link[i].in && !w->link[i].aside && (best == n || w->link[i].peak[way] > w->link[best].peak[way]))
			best = i;
	return best < n ? best : 0;
}

static uint32_t limit_of(const struct weigh_second *link, const struct weigh_second *best)
{
	bool far = best->rtt_us && link->rtt_us >= FAR_TIMES * (uint64_t)best->rtt_us && link->rtt_us - best->rtt_us >= FAR_US;

	return far ? FAR : NEAR;
}

static void weigh_remember(struct weigh *w, const struct weigh_second *link, size_t n, int way)
{
	for (size_t i = 0; i < n; i++) {
		struct weigh_link *l = &w->link[i];

		l->peak[way] -= l->peak[way] / 1024;
		if (link[i].bytes[way] > l->peak[way])
			l->peak[way] = link[i].bytes[way];
	}
}

/* It carries most of what it can. */
static bool weigh_is_full(const struct weigh_link *l, const struct weigh_second *link, int way)
{
	return link->queue_us > QUEUE_US || (link->bytes[way] >= LITTLE && link->bytes[way] >= l->peak[way] / 10 * 6);
}

/* What the others can carry. */
static uint64_t beside(const struct weigh *w, const struct weigh_second *link, size_t n, size_t not, int way)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		if (i != not && link[i].in && !w->link[i].aside)
			sum += w->link[i].peak[way];
	return sum;
}

static void put_aside(struct weigh_link *l, uint64_t now_ms)
{
	bool again = l->trial || (l->rest_ms && now_ms - l->since_ms < LONG_MS);

	l->rest_ms = !again ? REST_MS : l->rest_ms >= REST_MAX_MS / 2 ? REST_MAX_MS : 2 * l->rest_ms;
	l->aside = true;
	l->trial = false;
	l->against = 0;
	l->since_ms = now_ms;
	l->retry_ms = now_ms + l->rest_ms;
}

static bool weigh_judge(struct weigh_link *l, const struct weigh_second *link, uint64_t others,
			uint32_t limit, int way, uint64_t now_ms)
{
	unsigned get_up = GET_UP + 4 * link->rtt_us / 1000000;

	if (l->trial && ++l->tried <= get_up)
		return false;
	l->rate = link->bytes[way];
	l->level = l->rate + others;
	l->share = (uint32_t)(l->rate * 1000 / l->level);
	l->limit = limit;
	l->way = way;
	if (l->share >= limit + limit / 4)
		l->against = 0;
	else if (l->share < limit && ++l->against >= (l->trial ? FEWER : ENOUGH)) {
		put_aside(l, now_ms);
		return true;
	}
	if (l->trial && l->tried >= get_up + TRIAL) {
		l->trial = false;
		l->since_ms = now_ms;
	}
	return false;
}

static bool try_again(struct weigh_link *l, uint64_t sum, unsigned busy, uint64_t now_ms)
{
	bool soon = now_ms - l->since_ms < SOON_MS, more = !soon && sum > l->level + l->level / 10 * 6;

	if (soon && sum > l->level) /* the others were not up to speed yet */
		l->level = sum;
	if (!more && (now_ms < l->retry_ms || busy < LASTING))
		return false;
	l->aside = false;
	l->trial = true;
	l->tried = l->against = 0;
	l->since_ms = now_ms;
	return true;
}

static bool brings_much_the_other_way(const struct weigh_second *link, size_t n, size_t i, int way, uint32_t limit)
{
	uint64_t sum = sum_of(link, n, !way);

	/* more than the acknowledgements of what goes this way */
	return sum >= LEAST && sum >= sum_of(link, n, way) / 16 && link[i].bytes[!way] * 1000 / sum >= limit;
}

static bool weigh_one(struct weigh *w, const struct weigh_second *link, size_t n, size_t i, size_t best, int way, uint64_t now_ms)
{
	struct weigh_link *l = &w->link[i];
	uint32_t limit = limit_of(&link[i], &link[best]);

	if (l->aside)
		return try_again(l, sum_of(link, n, way), w->busy, now_ms);
	if (brings_much_the_other_way(link, n, i, way, limit))
		return false;
	if (!weigh_is_full(l, &link[i], way) && !weigh_is_full(&w->link[best], &link[best], way))
		return false;
	return weigh_judge(l, &link[i], beside(w, link, n, i, way), limit, way, now_ms);
}

void weigh_forget(struct weigh *w, size_t link)
{
	w->link[link] = (struct weigh_link){ 0 };
}

void weigh_hint(struct weigh *w, size_t link, uint64_t down, uint64_t up)
{
	w->link[link].peak[0] = down;
	w->link[link].peak[1] = up;
}

bool weigh_second(struct weigh *w, const struct weigh_second *link, size_t n, uint64_t now_ms)
{
	int way = sum_of(link, n, 1) > sum_of(link, n, 0);
	size_t best;
	bool changed = false;

	weigh_remember(w, link, n, way);
	best = weigh_best_of(w, n, link, way);
	w->busy = sum_of(link, n, way) >= LEAST ? w->busy + 1 : 0;
	for (size_t i = 0; i < n && w->busy >= 2; i++)
		if (i != best && link[i].in)
			changed |= weigh_one(w, link, n, i, best, way, now_ms);
	return changed;
}

bool weigh_present(struct weigh *w, const bool *present, size_t n)
{
	struct weigh_second link[WEIGH_LINKS] = { 0 };
	bool changed = false;

	for (size_t i = 0; i < n; i++)
		link[i].in = present[i];
	for (size_t i = 0; i < n; i++) {
		struct weigh_link *l = &w->link[i];
		uint64_t others = beside(w, link, n, i, l->way);

		/* alone, or beside what nothing is known of, it is used as a backup anyway */
		if (!l->aside || !present[i] || !others || l->rate * 1000 < (l->rate + others) * (l->limit + l->limit / 4))
			continue;
		l->aside = false;
		changed = true;
	}
	return changed;
}

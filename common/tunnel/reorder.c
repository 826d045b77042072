/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Numbers are those of a class, not of a flow, so a missing number may be anybody's. A flow that
 * keeps to one path comes in order by itself and never waits: one slow path cannot delay the flows
 * of the others. A flow whose packets came on two paths lately is `spread`, and its packets wait
 * until every lower number has come, or has been missing for hold_us since a later one came. What
 * is missing on another's account costs it no more than the slower path costs it anyway.
 *
 * How long to wait follows from the paths' delays, and from how late numbers came that had been
 * given up.
 *
 * Few are held at a time (what the faster path brings while the slower one is behind), so the list
 * is an array in order of number, filled from its end. Nothing is ever dropped here: a full list
 * hands out its first. */
#include "reorder.h"

#include <string.h>

#define FADE_US 100000	  /* what was late counts a millisecond less after that */
#define LATE_MAX_US 80000
#define SPREAD_US 300000 /* a flow is spread so long after it last changed paths */

uint32_t reorder_hold_us(struct reorder *r, uint32_t least, uint32_t most, uint64_t now_us)
{
	uint32_t hold;

	if (!least)
		return 0;
	while (r->late_us && now_us - r->late_at_us > FADE_US) {
		r->late_us -= r->late_us > 1000 ? 1000 : r->late_us;
		r->late_at_us += FADE_US;
	}
	hold = r->late_us > least ? r->late_us : least;
	return hold > most ? most : hold;
}

/* Number n came after all: so much longer it should have been waited for. */
static void note_late(struct reorder *r, const struct gaps *g, uint64_t n, uint64_t now)
{
	uint64_t next = n + 1;
	uint32_t late;

	while (next < g->top && !gaps_has(g, next))
		next++;
	late = (uint32_t)now - g->stamp[next % GAPS_NUMBERS] + 1000;
	if (late <= r->late_us || late > LATE_MAX_US)
		return;
	r->late_us = late;
	r->late_at_us = now;
}

static bool is_spread(struct reorder *r, uint32_t key, unsigned path, uint64_t now)
{
	unsigned i = key % REORDER_FLOWS;

	if (r->flow[i].key != key) {
		r->flow[i].key = key;
		r->flow[i].path = (uint8_t)path;
		r->flow[i].spread = false;
		return false;
	}
	if (r->flow[i].path != path) {
		r->flow[i].path = (uint8_t)path;
		r->flow[i].changed_us = now;
		r->flow[i].spread = true;
	}
	if (now - r->flow[i].changed_us > SPREAD_US)
		r->flow[i].spread = false;
	return r->flow[i].spread;
}

/* Has number n, which is missing, been missing for long enough? */
static bool is_given_up(const struct gaps *g, uint64_t n, uint32_t hold, uint64_t now)
{
	uint64_t next = n + 1;

	while (next < g->top && !gaps_has(g, next))
		next++;
	return (uint32_t)now - g->stamp[next % GAPS_NUMBERS] >= hold;
}

static void reorder_advance(struct reorder *r, const struct gaps *g, uint32_t hold, uint64_t now)
{
	if (r->base > g->top + 1 || g->top - r->base >= GAPS_NUMBERS)
		r->base = g->top < GAPS_NUMBERS ? 0 : g->top - GAPS_NUMBERS + 1;
	while (r->base <= g->top && (gaps_has(g, r->base) || is_given_up(g, r->base, hold, now)))
		r->base++;
}

bool reorder_must_hold(struct reorder *r, const struct gaps *g, uint64_t seq, uint32_t flow, unsigned path, uint32_t hold_us, uint64_t now_us)
{
	if (!is_spread(r, flow, path, now_us) || !hold_us)
		return false;
	if (seq < r->base && g->top - seq < GAPS_NUMBERS && seq < g->top)
		note_late(r, g, seq, now_us);
	reorder_advance(r, g, hold_us, now_us);
	return r->n || seq >= r->base; /* with others waiting, it finds its place among them */
}

void reorder_hold(struct reorder *r, struct packet *p, reorder_cb out, void *arg)
{
	uint32_t i;

	r->holds++;
	if (r->n == REORDER_HELD) {
		r->overflows++;
		out(arg, r->held[0]);
		memmove(r->held, r->held + 1, --r->n * sizeof(*r->held));
	}
	for (i = r->n++; i > 0 && r->held[i - 1]->seq > p->seq; i--)
		r->held[i] = r->held[i - 1];
	r->held[i] = p;
}

void reorder_release(struct reorder *r, const struct gaps *g, uint32_t hold_us, uint64_t now_us, reorder_cb out, void *arg)
{
	uint32_t n = 0;

	if (!r->n)
		return;
	reorder_advance(r, g, hold_us, now_us);
	while (n < r->n && r->held[n]->seq < r->base)
		out(arg, r->held[n++]);
	if (n)
		memmove(r->held, r->held + n, (r->n - n) * sizeof(*r->held));
	r->n -= n;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * The receiver remembers which of the newest numbers of a class arrived, and says so in ACK frames:
 * the highest number, and a map of the 256 below it. It does not judge what is lost: only the
 * sender knows on which path a number went, and so whether it is overdue.
 *
 * An acknowledgement leaves at once when the last one is long enough ago; while numbers are missing
 * that could still be of use, every few milliseconds. Each says all that changed since the last but
 * one, so that one may be lost. Where paths differ much, changes lie further back than one map
 * reaches; then more frames follow, each beginning at a lower number that arrived.
 *
 * A number far below the highest is `late`; one that leaves the window without having arrived is
 * `lost`. A leap of more than the window (the sender began anew, or was away) begins a new window
 * and counts nothing as lost. */
#include "gaps.h"

#include <string.h>

#define MAP_BITS (WIRE_ACK_MAP * 8)
#define BATCH 128 /* arrivals that are acknowledged whatever the time */
#define EAGER_US 2000

static uint64_t bit(uint64_t n)
{
	return (uint64_t)1 << (n % 64);
}

static uint64_t *gaps_word(struct gaps *g, uint64_t n)
{
	return &g->bits[n / 64 % (GAPS_NUMBERS / 64)];
}

static void restart(struct gaps *g, uint64_t seq)
{
	memset(g->bits, 0xff, sizeof(g->bits)); /* nothing before it is missed */
	g->any = true;
	g->top = g->low = g->low_before = seq;
	g->missing = g->owed = 0;
	g->gap = false;
}

/* The first of all: what was numbered before it is still to come, unless we join late. */
static void gaps_begin(struct gaps *g, uint64_t seq, uint64_t now)
{
	bool early = !g->any && seq < 64;

	restart(g, early ? 0 : seq);
	if (!early || !seq)
		return;
	*gaps_word(g, 0) &= ~bit(0);
	g->missing = (uint32_t)seq;
	for (uint64_t n = 1; n < seq; n++)
		*gaps_word(g, n) &= ~bit(n);
	g->top = seq;
	g->gap = true;
	g->gap_us = now;
	g->behind = 0;
}

void gaps_restart(struct gaps *g)
{
	g->any = g->gap = false;
	g->owed = g->missing = 0;
	g->top = 0;
}

bool gaps_has(const struct gaps *g, uint64_t seq)
{
	if (seq > g->top)
		return false;
	return g->top - seq >= GAPS_NUMBERS || g->bits[seq / 64 % (GAPS_NUMBERS / 64)] & bit(seq);
}

/* The window moves up to seq, which is above the highest. */
static void gaps_advance(struct gaps *g, uint64_t seq, uint64_t now)
{
	for (uint64_t n = g->top + 1; n <= seq; n++) {
		if (!(*gaps_word(g, n) & bit(n))) { /* what stood there before was never seen */
			g->lost++;
			g->missing--;
		}
		*gaps_word(g, n) &= ~bit(n);
	}
	if (seq - g->top > 1) {
		g->missing += (uint32_t)(seq - g->top - 1);
		g->gap = true;
		g->gap_us = now;
		g->behind = 0;
	}
	g->top = seq;
}

bool gaps_take(struct gaps *g, uint64_t seq, uint64_t now_us)
{
	bool restarts = !g->any || (seq > g->top && seq - g->top >= GAPS_NUMBERS) || g->top >= seq + 16 * GAPS_NUMBERS;

	g->received++;
	if (restarts) {
		gaps_begin(g, seq, now_us);
	} else if (seq > g->top) {
		gaps_advance(g, seq, now_us);
	} else if (g->top - seq >= GAPS_NUMBERS) {
		g->late++;
		return false;
	} else if (!(*gaps_word(g, seq) & bit(seq))) {
		g->filled++;
		g->missing--;
		g->gap = g->missing;
	}
	*gaps_word(g, seq) |= bit(seq);
	g->stamp[seq % GAPS_NUMBERS] = (uint32_t)now_us;
	if (!g->owed || seq < g->low)
		g->low = seq;
	g->owed++;
	g->behind++;
	return true;
}

static bool gap_is_young(const struct gaps *g, const struct gaps_pace *p, uint64_t now)
{
	return g->gap && now - g->gap_us < p->young_us;
}

bool gaps_due(const struct gaps *g, const struct gaps_pace *p, uint64_t now_us)
{
	uint64_t past = now_us - g->acked_us;

	if (!g->any)
		return false;
	if (g->owed >= BATCH)
		return true;
	if (gap_is_young(g, p, now_us))
		return past >= p->gap_us || (p->eager && g->behind == 2 && g->owed && past >= EAGER_US);
	return g->owed && past >= p->calm_us;
}

/* The lowest number that the sender should be told about. */
static uint64_t reach(const struct gaps *g, const struct gaps_pace *p, uint64_t now)
{
	uint64_t low = g->owed && g->low < g->low_before ? g->low : g->low_before;
	uint64_t floor = g->top >= GAPS_NUMBERS - 1 ? g->top - (GAPS_NUMBERS - 1) : 0;

	if (low > g->top || low < floor)
		low = low > g->top ? g->top : floor;
	if (gap_is_young(g, p, now) && g->top >= MAP_BITS && low > g->top - MAP_BITS)
		low = g->top - MAP_BITS;
	else if (gap_is_young(g, p, now) && g->top < MAP_BITS)
		low = 0;
	return low;
}

static void make_frame(const struct gaps *g, struct wire_ack *a, uint64_t top, uint64_t low)
{
	uint64_t below = top - low;

	memset(a->map, 0, sizeof(a->map));
	a->top = top;
	if (below > MAP_BITS)
		below = MAP_BITS;
	a->n = (uint8_t)((below + 7) / 8);
	for (unsigned i = 0; i < a->n * 8u && i < top; i++)
		if (gaps_has(g, top - 1 - i))
			a->map[i / 8] |= (uint8_t)(1 << i % 8);
}

unsigned gaps_ack(struct gaps *g, const struct gaps_pace *p, enum wire_class class, struct wire_ack out[GAPS_FRAMES], uint64_t now_us)
{
	uint64_t low = reach(g, p, now_us), top = g->top;
	unsigned n = 0;

	while (n < GAPS_FRAMES) {
		out[n].type = WIRE_DG_DATA;
		out[n].class = (uint8_t)class;
		make_frame(g, &out[n++], top, low);
		if (top < low + MAP_BITS + 1)
			break;
		for (top -= MAP_BITS + 1; top > low && !gaps_has(g, top); top--)
			;
		if (!gaps_has(g, top))
			break;
	}
	g->low_before = g->owed ? g->low : g->top;
	g->owed = 0;
	g->acked_us = now_us;
	if (g->gap && !gap_is_young(g, p, now_us))
		g->gap = false; /* too old to matter */
	return n;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* pmtu: how large a datagram may be on each path.
 *
 * Theory of operation. ICMP is not believed and fragments are not sent, so nobody tells us what a
 * line takes: we try. When a path has come up, all sizes of STEPS are sent at once, the largest
 * first, each an MTU_PROBE in a datagram padded to it (a ladder). The peer answers each that
 * arrives, on every path, and the largest answer is the size: known after one round trip, as a
 * rule. What is above the best answer is sent twice more, because a line may also lose a probe. A
 * size that our own kernel refuses is not waited for. The size that was found only ever covers what
 * was answered; before that it is PMTU_BASE, which every line takes.
 *
 * A path may become smaller without a word: a route changes, and what is long vanishes while what
 * is short arrives (a black hole). Two things tell. Whoever resends says what was lost: three long
 * datagrams in a row are an alarm. And while long datagrams go out, one probe of the current size
 * goes with them (each CONFIRM_MANY_MS when there are many, else more rarely); a probe that remains
 * unanswered is sent twice more before it counts. Then the path is in doubt: its size is PMTU_BASE
 * at once, and a ladder, with the current size in it three times, gives the verdict one round trip
 * later. An alarm soon after a false one asks with the three probes first, so a lossy line is not
 * doubted again and again. While nothing at all is heard on a path, nothing is concluded from
 * silence: that is for health to judge. Each RAISE_MS in which the path was used the sizes above
 * are tried again, and a new address starts from nothing.
 *
 * The inner MTU is what the smallest known path takes, less the header, the tag and what repairs
 * need, and never below PMTU_INNER_FLOOR: the tunnel cuts in two what does not fit a path, be it
 * because the path is smaller than that or in doubt. A path whose size is not known (yet) has no
 * say, or each return of a line would shrink the LAN's packets for a moment: hosts remember that
 * for minutes. With no path left the MTU stays.
 *
 * All that costs bytes, so it is not done for nobody. Asleep, nothing is asked, answers are given.
 * The local is awake if it has a use for the tunnel, the remote from the first sign that the local
 * has (its first question, or the first packet either way). And a peer that answers none of a whole
 * ladder is asked with a single short probe from then on, ever more rarely, until it answers
 * one. */
#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "pmtu.h"
#include "timer.h"

#define ROUNDS 3
#define ALARM_ROW 3
#define ALARM_AGAIN_MS 10000 /* so long after a false alarm the next one is taken with care */
#define PATIENCE_MIN_MS 60
#define PATIENCE_UNKNOWN_MS 500
#define PATIENCE_MAX_MS 1500
#define MANY 40
#define CONFIRM_MANY_MS 250
#define CONFIRM_FEW_MS 2000
#define CONFIRM_SHORT_MS 30000 /* only short ones go out */
#define RAISE_MS 600000
#define MUTE_MS 1000 /* until a path that answered no probe is asked again; doubles, so many times: */
#define MUTE_MOST 10
#define NEVER UINT64_MAX

/* 1500 1492 1480 1460 1440 1428 1420 1400 1380 1340 1300 1280 over IPv4 and over IPv6, those over
 * IPv6 that are near another left out. */
static const uint16_t STEPS[] = { 1472, 1464, 1452, 1444, 1432, 1412, 1400, 1392, 1380, 1372, 1352, 1332, 1312, 1292, 1272, 1252, PMTU_BASE };
#define N_STEPS (sizeof(STEPS) / sizeof(STEPS[0]))

enum phase { RESTING, LADDER, CONFIRMING };

struct path_mtu {
	bool here;  /* the path is usable */
	bool known; /* size was answered */
	bool used;  /* since the last ladder */
	bool doubt;
	enum phase phase;
	uint8_t run; /* which question an answer belongs to */
	uint8_t round, mute;
	unsigned size, best, top; /* top: largest that was sent in this ladder */
	uint64_t due_ms, raise_ms, confirmed_ms, false_ms;
	unsigned longs, shorts; /* sent since confirmed_ms */
	unsigned lost_row;
};

struct pmtu {
	struct assoc *assoc;
	unsigned reserve, inner;
	pmtu_cb changed;
	void *arg;
	bool timed, awake;
	uint64_t next_ms;
	struct event timer;
	struct path_mtu of[ASSOC_PATHS];
};

static unsigned at_least(unsigned a, unsigned b)
{
	return a > b ? a : b;
}

static void wake(struct pmtu *p, uint64_t at_ms, uint64_t now_ms)
{
	uint64_t ms = at_ms > now_ms ? at_ms - now_ms : 0;

	if (at_ms >= p->next_ms)
		return;
	p->next_ms = at_ms;
	if (p->timed)
		timer_in_ms(&p->timer, ms);
}

/* How long an answer to so many bytes may take. */
static uint64_t pmtu_patience(const struct pmtu *p, unsigned path, size_t bytes)
{
	const struct health *h = assoc_health(p->assoc, path);
	uint64_t us;

	if (!h || !h->srtt_us)
		return PATIENCE_UNKNOWN_MS;
	us = h->srtt_us + 4 * (uint64_t)h->rttvar_us + 30000;
	us += h->side[HEALTH_TX].rate ? bytes * 1000000u / h->side[HEALTH_TX].rate : 200000 * bytes / 20000;
	if (us > PATIENCE_MAX_MS * 1000)
		us = PATIENCE_MAX_MS * 1000;
	return at_least((unsigned)(us / 1000), PATIENCE_MIN_MS);
}

static int probe(struct pmtu *p, unsigned path, unsigned size)
{
	uint8_t value[3] = { p->of[path].run, (uint8_t)(size >> 8), (uint8_t)size };

	return assoc_control_sized(p->assoc, path, WIRE_CTL_MTU_PROBE, value, sizeof(value), size);
}

/* Is this size worth a probe? Of a mute path only whether it answers at all. */
static bool is_asked(const struct path_mtu *r, unsigned size)
{
	return size > r->best && (!r->mute || size == PMTU_BASE);
}

/* Every size above the best answer so far. */
static void ladder_round(struct pmtu *p, unsigned path, uint64_t now_ms)
{
	struct path_mtu *r = &p->of[path];
	size_t bytes = 0;

	r->round++;
	r->top = r->best;
	for (unsigned i = 0; i < N_STEPS; i++) {
		unsigned copies = !is_asked(r, STEPS[i]) ? 0 : r->doubt && STEPS[i] == r->size ? ROUNDS : 1;

		while (copies && copies-- && probe(p, path, STEPS[i]) != EMSGSIZE) {
			r->top = at_least(r->top, STEPS[i]);
			bytes += STEPS[i];
		}
	}
	r->due_ms = now_ms + pmtu_patience(p, path, bytes);
	wake(p, r->due_ms, now_ms);
}

static void ladder_begin(struct pmtu *p, unsigned path, unsigned above, uint64_t now_ms)
{
	struct path_mtu *r = &p->of[path];

	r->phase = LADDER;
	r->run++;
	r->round = r->mute ? ROUNDS - 1 : 0;
	r->best = above;
	r->lost_row = 0;
	r->used = false;
	r->raise_ms = now_ms + RAISE_MS;
	ladder_round(p, path, now_ms);
}

/* When the sizes above are worth another try; NEVER while nothing goes out. */
static uint64_t raise_at(const struct path_mtu *r)
{
	return r->used || r->mute ? r->raise_ms : NEVER;
}

static void pmtu_rest(struct pmtu *p, struct path_mtu *r, uint64_t now_ms)
{
	r->phase = RESTING;
	r->due_ms = NEVER;
	r->confirmed_ms = now_ms;
	r->longs = r->shorts = r->lost_row = 0;
	wake(p, raise_at(r), now_ms);
}

static void confirm(struct pmtu *p, unsigned path, unsigned copies, uint64_t now_ms)
{
	struct path_mtu *r = &p->of[path];

	r->phase = CONFIRMING;
	r->round = copies > 1 ? ROUNDS : 1;
	r->due_ms = now_ms + pmtu_patience(p, path, copies * r->size);
	wake(p, r->due_ms, now_ms);
	while (copies--)
		probe(p, path, r->size);
}

static void pmtu_doubt(struct pmtu *p, unsigned path, uint64_t now_ms)
{
	p->of[path].doubt = true;
	ladder_begin(p, path, 0, now_ms);
}

static bool is_silent(const struct pmtu *p, unsigned path)
{
	const struct health *h = assoc_health(p->assoc, path);

	return h && h->state == HEALTH_SUSPECT;
}

/* Three rounds without one answer, though the path is said to work: the least that can be, and
 * again later. */
static void mute(struct pmtu *p, struct path_mtu *r, uint64_t now_ms)
{
	r->doubt = false;
	r->size = PMTU_BASE;
	r->raise_ms = now_ms + ((uint64_t)MUTE_MS << r->mute);
	if (r->mute < MUTE_MOST)
		r->mute++;
	pmtu_rest(p, r, now_ms);
}

/* The answers to a round have had their time. */
static void ladder_due(struct pmtu *p, unsigned path, uint64_t now_ms)
{
	struct path_mtu *r = &p->of[path];

	if (r->best && r->doubt) {
		r->size = r->best;
		r->doubt = false;
	}
	if (r->round < ROUNDS && r->best < r->top) {
		ladder_round(p, path, now_ms);
		return;
	}
	if (!r->best) {
		mute(p, r, now_ms);
	} else if (r->mute) { /* it answers again */
		r->mute = 0;
		ladder_begin(p, path, r->best, now_ms);
	} else {
		pmtu_rest(p, r, now_ms);
	}
}

static void route_due(struct pmtu *p, unsigned path, uint64_t now_ms)
{
	struct path_mtu *r = &p->of[path];

	if (is_silent(p, path) && (r->doubt || r->phase == CONFIRMING))
		r->due_ms = now_ms + PATIENCE_MIN_MS;
	else if (r->phase == LADDER)
		ladder_due(p, path, now_ms);
	else if (r->round < ROUNDS)
		confirm(p, path, ROUNDS - 1, now_ms);
	else
		pmtu_doubt(p, path, now_ms);
}

/* When the current size wants to be confirmed; NEVER while nothing goes out. */
static uint64_t confirm_at(const struct path_mtu *r)
{
	if (r->phase != RESTING || !r->known)
		return NEVER;
	if (r->longs)
		return r->confirmed_ms + (r->longs >= MANY ? CONFIRM_MANY_MS : CONFIRM_FEW_MS);
	return r->shorts ? r->confirmed_ms + CONFIRM_SHORT_MS : NEVER;
}

static uint64_t route_tick(struct pmtu *p, unsigned path, uint64_t now_ms)
{
	struct path_mtu *r = &p->of[path];

	if (!r->here || !p->awake)
		return NEVER;
	if (r->phase != RESTING && now_ms >= r->due_ms)
		route_due(p, path, now_ms);
	else if (r->phase == RESTING && now_ms >= raise_at(r))
		ladder_begin(p, path, r->known && !r->mute ? r->size : 0, now_ms);
	else if (now_ms >= confirm_at(r))
		confirm(p, path, 1, now_ms);
	if (r->phase != RESTING)
		return r->due_ms;
	return confirm_at(r) < raise_at(r) ? confirm_at(r) : raise_at(r);
}

static void pmtu_tell(struct pmtu *p)
{
	unsigned least = UINT16_MAX;

	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		if (p->of[i].here && p->of[i].known && p->of[i].size < least)
			least = p->of[i].size;
	if (least == UINT16_MAX)
		return;
	least = at_least(least - WIRE_DG_OVERHEAD - p->reserve, PMTU_INNER_FLOOR);
	if (least == p->inner)
		return;
	p->inner = least;
	p->changed(p->arg, least);
}

uint64_t pmtu_tick(struct pmtu *p, uint64_t now_ms)
{
	uint64_t next = NEVER;

	p->next_ms = 0; /* what is due here sets it by itself */
	for (unsigned i = 0; i < ASSOC_PATHS; i++) {
		uint64_t t = route_tick(p, i, now_ms);

		next = t < next ? t : next;
	}
	pmtu_tell(p);
	p->next_ms = NEVER;
	if (next != NEVER)
		wake(p, next, now_ms);
	return next;
}

static void pmtu_timer_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	pmtu_tick(arg, clock_ms());
}

struct pmtu *pmtu_new(struct event_base *base, struct assoc *a, unsigned reserve, pmtu_cb changed, void *arg)
{
	struct pmtu *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->assoc = a;
	p->reserve = reserve;
	p->inner = PMTU_INNER_FLOOR;
	p->changed = changed;
	p->arg = arg;
	p->next_ms = NEVER;
	p->timed = base;
	p->awake = true;
	if (base)
		evtimer_assign(&p->timer, base, pmtu_timer_due, p);
	return p;
}

void pmtu_free(struct pmtu *p)
{
	if (p && p->timed)
		event_del(&p->timer);
	free(p);
}

static bool is_here(const struct pmtu *p, unsigned path)
{
	const struct health *h = assoc_has_path(p->assoc, path) ? assoc_health(p->assoc, path) : NULL;

	return h && h->state != HEALTH_PROBING && h->state != HEALTH_DOWN && assoc_use(p->assoc, path) != WIRE_USE_NOT;
}

void pmtu_path(struct pmtu *p, unsigned path, uint64_t now_ms)
{
	struct path_mtu *r = &p->of[path];
	bool was = r->here;

	r->here = is_here(p, path);
	if (r->here && !was) {
		*r = (struct path_mtu){
			.here = true, .run = r->run, .size = PMTU_BASE, .raise_ms = NEVER
		};
		if (p->awake)
			ladder_begin(p, path, 0, now_ms);
	} else if (was && !r->here) {
		r->phase = RESTING;
		wake(p, now_ms, now_ms); /* the others may take more */
	}
}

void pmtu_awake(struct pmtu *p, bool awake, uint64_t now_ms)
{
	bool was = p->awake;

	p->awake = awake;
	for (unsigned i = 0; awake && !was && i < ASSOC_PATHS; i++)
		if (p->of[i].here && !p->of[i].known)
			ladder_begin(p, i, 0, now_ms);
}

/* It is of use to who asked on whichever path comes through. */
static void pmtu_answer(struct pmtu *p, unsigned path, const uint8_t *question)
{
	uint8_t value[4] = { (uint8_t)path, question[0], question[1], question[2] };

	if (path < ASSOC_PATHS)
		assoc_control(p->assoc, ASSOC_ALL, WIRE_CTL_MTU_ACK, value, sizeof(value));
}

static void answered(struct pmtu *p, struct path_mtu *r, unsigned size, uint64_t now_ms)
{
	if (r->phase == CONFIRMING && size >= r->size) {
		pmtu_rest(p, r, now_ms);
		return;
	}
	if (r->phase != LADDER || size > r->top)
		return;
	r->best = at_least(r->best, size);
	if (r->doubt && size >= r->size) {
		r->doubt = false;
		r->false_ms = now_ms;
	}
	if (!r->doubt && size >= r->size) {
		r->size = size;
		r->known = true;
	}
	if (r->best == r->top)
		r->due_ms = now_ms;
	wake(p, now_ms, now_ms);
}

bool pmtu_frame(struct pmtu *p, unsigned path, uint8_t type, const uint8_t *value, size_t len, uint64_t now_ms)
{
	if (type != WIRE_CTL_MTU_PROBE && type != WIRE_CTL_MTU_ACK)
		return false;
	if (type == WIRE_CTL_MTU_PROBE && len == 3)
		pmtu_answer(p, path, value);
	if (type == WIRE_CTL_MTU_ACK && len == 4 && value[0] < ASSOC_PATHS) {
		struct path_mtu *r = &p->of[value[0]];
		unsigned size = (unsigned)value[2] << 8 | value[3];

		if (r->here && value[1] == r->run && size >= PMTU_BASE)
			answered(p, r, size, now_ms);
	}
	return true;
}

unsigned pmtu_size(const struct pmtu *p, unsigned path)
{
	const struct path_mtu *r = &p->of[path];

	return r->known && !r->doubt ? r->size : PMTU_BASE;
}

unsigned pmtu_inner(const struct pmtu *p)
{
	return p->inner;
}

void pmtu_sent(struct pmtu *p, unsigned path, size_t len, uint64_t now_ms)
{
	struct path_mtu *r = &p->of[path];

	if (len > PMTU_BASE)
		r->longs++;
	else
		r->shorts++;
	r->used = true;
	if (r->here)
		wake(p, confirm_at(r) < raise_at(r) ? confirm_at(r) : raise_at(r), now_ms);
}

/* The hint proves nothing: it says when to ask. */
void pmtu_lost(struct pmtu *p, unsigned path, size_t len, uint64_t now_ms)
{
	struct path_mtu *r = &p->of[path];

	if (!r->here || len <= PMTU_BASE || ++r->lost_row < ALARM_ROW || r->doubt || !r->known)
		return;
	r->lost_row = 0;
	if (!r->false_ms || now_ms - r->false_ms > ALARM_AGAIN_MS)
		pmtu_doubt(p, path, now_ms);
	else if (r->phase != CONFIRMING)
		confirm(p, path, ROUNDS, now_ms);
}

void pmtu_acked(struct pmtu *p, unsigned path, size_t len)
{
	if (len > PMTU_BASE)
		p->of[path].lost_row = 0;
}

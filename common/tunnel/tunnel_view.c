/* SPDX-License-Identifier: BSD-2-Clause */
/* Which paths are good for what, from their health and from what the local wants of them.
 *
 * Urgent packets go on every path that shows life: FULL and metered ones, BACKUP only when no FULL
 * one lives. Bulk goes on the best kind there is: FULL before BACKUP before metered, well before
 * lossy before suspect. If nothing is known to work, everything goes on whatever has an address,
 * even what is thought dead: all dying at once is rare, and coming back is learnt late. So urgent
 * packets are sent there as well as soon as all that lives is suspect. And a FULL path that was
 * found dead and answers again gets a copy of the small ones while it proves itself, which takes
 * seconds if it did so before: the next to die may be the one that is relied on. */
#include "tunnel_room.h"

#define UNKNOWN_RTT_US 100000
#define HOLD_MORE_US 10000
#define STAY_US 5000 /* a flow moves only for more than this */
#define FULL_LOAD_US 100000
#define LOOK_US 2000
#define DOUBT_MS 400
#define HOPE_US 1000000

enum { TRY_TIER = 8, DEAD_TIER = 9, NO_TIER = 10 };

/* Of our direction; what makes the other one suspicious is probably soon known of ours. */
static enum health_state tx_state(const struct tunnel *t, unsigned i)
{
	const struct health *h = assoc_health(t->assoc, i);

	if (h->state == HEALTH_SUSPECT && health_usable(h->side[HEALTH_TX].state) && t->now / 1000 - h->changed_ms < DOUBT_MS)
		return HEALTH_SUSPECT;
	return h->side[HEALTH_TX].state;
}

static bool lives(const struct tunnel *t, unsigned i)
{
	enum health_state s = tx_state(t, i);

	return s == HEALTH_UP || s == HEALTH_LOSSY || s == HEALTH_SUSPECT;
}

/* The lower the better. */
static unsigned tier(const struct tunnel *t, unsigned i)
{
	static const unsigned tiers[3][3] = { { 0, 1, 4 }, { 6, 6, 7 }, { 2, 3, 5 } }; /* [use][UP, LOSSY, SUSPECT] */
	enum health_state s = tx_state(t, i);
	enum wire_use use = assoc_use(t->assoc, i);

	if (!assoc_has_path(t->assoc, i) || use == WIRE_USE_NOT)
		return NO_TIER;
	if (!lives(t, i))
		return s == HEALTH_PROBING ? TRY_TIER : DEAD_TIER;
	return tiers[use][s == HEALTH_UP ? 0 : s == HEALTH_LOSSY ? 1 : 2];
}

static void measure(struct tunnel *t, unsigned i, unsigned tier_of)
{
	const struct health *h = assoc_health(t->assoc, i);
	uint32_t rtt = h->srtt_us ? h->srtt_us : UNKNOWN_RTT_US;

	t->view.paths.srtt_us[i] = rtt;
	t->view.paths.var_us[i] = h->rttvar_us;
	t->view.cost_us[i] = rtt / 2 + h->side[HEALTH_TX].queue_us + tier_of * 1000000;
}

static void put_in_order(struct view *v, unsigned i)
{
	unsigned at = v->n++;

	for (; at > 0 && v->cost_us[v->order[at - 1]] > v->cost_us[i]; at--)
		v->order[at] = v->order[at - 1];
	v->order[at] = (uint8_t)i;
}

/* How far apart packets may arrive that left together. */
static uint32_t tunnel_view_hold(const struct tunnel *t)
{
	uint32_t least = UINT32_MAX, most = 0, n = 0;

	for (unsigned i = 0; i < ASSOC_PATHS; i++) {
		const struct health *h = assoc_health(t->assoc, i);
		uint32_t way = h->srtt_us / 2 + h->side[HEALTH_RX].queue_us;

		if (!assoc_has_path(t->assoc, i) || !health_usable(h->side[HEALTH_RX].state))
			continue;
		n++;
		least = way < least ? way : least;
		most = way > most ? way : most;
	}
	if (n < 2)
		return 0;
	return most - least > HOLD_MAX_US - HOLD_MORE_US ? HOLD_MAX_US : most - least + HOLD_MORE_US;
}

static void tunnel_view_choose(struct tunnel *t, const unsigned tiers[ASSOC_PATHS])
{
	struct view *v = &t->view;
	unsigned best = NO_TIER;
	bool full = false, sure = false;

	for (unsigned i = 0; i < ASSOC_PATHS; i++) {
		best = tiers[i] < best ? tiers[i] : best;
		full = full || tiers[i] == 0 || tiers[i] == 1 || tiers[i] == 4;
		sure = sure || (tiers[i] < TRY_TIER && tiers[i] != 4 && tiers[i] != 5 && tiers[i] != 7);
	}
	for (unsigned i = 0; i < ASSOC_PATHS; i++) {
		bool backup = tiers[i] == 2 || tiers[i] == 3 || tiers[i] == 5;

		if (tiers[i] == NO_TIER || (tiers[i] >= TRY_TIER && tiers[i] != best && sure))
			continue;
		if (!backup || !full)
			v->urgent |= (uint8_t)(1 << i);
		if (tiers[i] == best)
			v->bulk |= (uint8_t)(1 << i);
	}
}

bool tunnel_answers_again(const struct tunnel *t, unsigned i, uint64_t now_us)
{
	const struct health *h = assoc_health(t->assoc, i);

	return assoc_has_path(t->assoc, i) && h->state == HEALTH_PROBING && health_heard_us(h) && now_us < health_heard_us(h) + HOPE_US;
}

static uint8_t returning(const struct tunnel *t)
{
	uint8_t paths = 0;

	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		paths |= (uint8_t)((assoc_use(t->assoc, i) == WIRE_USE_FULL && tunnel_answers_again(t, i, t->now)) << i);
	return paths;
}

static void note_silence(struct tunnel *t)
{
	for (unsigned i = 0; i < ASSOC_PATHS; i++) {
		bool silent = assoc_has_path(t->assoc, i) && (tx_state(t, i) == HEALTH_SUSPECT || tx_state(t, i) == HEALTH_DOWN);

		if (silent && !t->path[i].silent)
			t->deserted |= (uint8_t)(1 << i);
		t->path[i].silent = silent;
	}
}

static void choose_wide(struct tunnel *t)
{
	unsigned most = 0;

	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		if (t->view.bulk >> i & 1 && pmtu_size(t->pmtu, i) > most)
			most = pmtu_size(t->pmtu, i);
	if (most > pmtu_inner(t->pmtu) + WIRE_DG_OVERHEAD)
		most = pmtu_inner(t->pmtu) + WIRE_DG_OVERHEAD;
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		if (t->view.bulk >> i & 1 && pmtu_size(t->pmtu, i) >= most)
			t->view.wide |= (uint8_t)(1 << i);
}

void tunnel_look(struct tunnel *t)
{
	unsigned tiers[ASSOC_PATHS];
	uint8_t was = t->view.bulk, was_wide = t->view.wide;

	if (t->look_us && t->now - t->look_us < LOOK_US)
		return;
	t->look_us = t->now;
	t->view = (struct view){ 0 };
	for (unsigned i = 0; i < ASSOC_PATHS; i++) {
		tiers[i] = tier(t, i);
		if (tiers[i] != NO_TIER)
			measure(t, i, tiers[i]);
	}
	tunnel_view_choose(t, tiers);
	for (unsigned i = 0; i < ASSOC_PATHS; i++)
		if ((t->view.urgent | t->view.bulk) >> i & 1)
			put_in_order(&t->view, i);
	t->view.paths.usable = t->view.urgent | t->view.bulk;
	t->view.returning = returning(t) & (uint8_t)~t->view.paths.usable;
	t->view.hold_us = tunnel_view_hold(t);
	choose_wide(t);
	note_silence(t);
	t->rehome = t->rehome || was != t->view.bulk || was_wide != t->view.wide;
}

static uint64_t score(const struct tunnel *t, unsigned i)
{
	const struct pace *p = &t->path[i].pace;
	uint64_t permille = p->load * 1000 / p->rate;

	return t->view.cost_us[i] + FULL_LOAD_US * permille / 1000 * permille / 1000;
}

uint8_t tunnel_home(const struct tunnel *t, uint8_t now, uint32_t len)
{
	uint8_t best = QUEUE_NO_PATH;
	bool fits = false;

	for (unsigned n = 0; n < t->view.n; n++) {
		uint8_t i = t->view.order[n];
		bool room = len + WIRE_DG_OVERHEAD <= pmtu_size(t->pmtu, i);

		if (!(t->view.bulk >> i & 1) || (fits && !room))
			continue;
		if (best == QUEUE_NO_PATH || (room && !fits) || score(t, i) < score(t, best))
			best = i;
		fits = fits || room;
	}
	if (now < ASSOC_PATHS && t->view.bulk >> now & 1 && score(t, now) < score(t, best) + STAY_US &&
	    (!fits || len + WIRE_DG_OVERHEAD <= pmtu_size(t->pmtu, now)))
		return now;
	return best;
}

uint8_t tunnel_room_for(const struct tunnel *t, uint8_t home, uint32_t rate)
{
	for (unsigned n = 0; n < t->view.n; n++) {
		uint8_t i = t->view.order[n];
		const struct pace *p = &t->path[i].pace;

		if (i != home && t->view.wide >> i & 1 && p->load + rate < p->rate / 20 * 19)
			return i;
	}
	return QUEUE_NO_PATH;
}

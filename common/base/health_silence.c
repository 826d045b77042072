/* SPDX-License-Identifier: BSD-2-Clause */
/* Silence and loss, as time passes; see health.c for the theory. */
#include "health_room.h"

#define DOUBT_US 250000 /* at rest nobody waits, and each doubt is a second of fast probes on all links */
#define BRISK_US 450000 /* a fast probe of a metered path (4 * 100 ms) and its jitter: slower is at rest */
#define HELD_US 10000 /* by either end, which looks so often, before an answer leaves */
#define MANY_PPM 100000 /* lossy: even what is sent again is lost once in a hundred; well at half of it */
#define FEW_PPM 20000 /* another that loses five times less; when it loses twice this, nothing is gained */

/* Probes that may be missing in a row on a link that loses so much, without being news: by chance
 * they are once in ten thousand (1 % lost), in 8,000 (5 %), 10,000 (10 %), 16,000 (20 %). */
static uint32_t health_patience(uint32_t loss_ppm)
{
	return loss_ppm < 10000 ? 2 : loss_ppm < 50000 ? 3 : loss_ppm < 100000 ? 4 : loss_ppm < 200000 ? 6 : 8;
}

/* The peer has sent `need` probes elsewhere, and what it sent here at that time is overdue. */
static bool lead_is_far(struct health *h, const struct health_view *v, uint32_t need, uint64_t now)
{
	struct health_own *in = &h->own;
	int32_t ahead = (int32_t)(v->lead->time_us - in->peer_time), slower = (int32_t)(in->owd - v->lead->owd_us);

	if (!v->lead->heard || !in->peer || ahead <= (int64_t)need * in->pace || ahead <= SUSPECT_US / 2)
		return false;
	if (!in->ahead_us)
		in->ahead_us = v->lead->at_us;
	return now > in->ahead_us + (slower > 0 ? (uint32_t)slower : 0) + 4 * h->side[HEALTH_RX].jitter_us + HELD_US;
}

/* Our probes that the peer does not know of, though it knows of one that left `allow` later by
 * another path. */
static uint32_t health_missing(const struct health_own *in, uint32_t acked_us, uint32_t allow)
{
	uint32_t n = 0, s = in->seq - in->acked >= HEALTH_RING ? in->seq - HEALTH_RING + 1 : in->acked + 1;

	while (s != in->seq + 1 && (int32_t)(acked_us - in->ring[s % HEALTH_RING].time_us) > (int32_t)allow) {
		n++;
		s++;
	}
	return n;
}

static void silence_tx(struct health *h, const struct health_view *v, uint64_t now)
{
	const struct health_own *in = &h->own;
	uint32_t rtt = h->srtt_us ? h->srtt_us : UNKNOWN_RTT_US,
		 need = health_patience(h->side[HEALTH_TX].loss_ppm);
	uint32_t allow = 4 * h->rttvar_us + HELD_US + (rtt > v->lead->rtt_us ? (rtt - v->lead->rtt_us) / 2 : 0);
	int32_t lag = (int32_t)(v->lead->acked_us - in->acked_time);

	if (!in->acked || in->seq == in->acked)
		return;
	if (!v->lead->told || lag <= SUSPECT_US ||
	    health_missing(in, v->lead->acked_us, allow) < need)
		lag = 0;
	/* Without a lead: what left long before the last report came. */
	if (lag > DOWN_US ||
	    health_missing(in, (uint32_t)in->told_us, DOWN_US + rtt + v->lead->rtt_us) > need)
		health_fall_silent(h, HEALTH_TX, true, now);
	else if (lag)
		health_fall_silent(h, HEALTH_TX, false, now);
}

/* Since our first probe that was not answered; but who asked at rest, long before, has to wait for
 * the others' answers as well. */
static uint64_t asked_for(const struct health_own *in, const struct health_view *v, uint32_t need, uint64_t now)
{
	uint64_t first = now - in->asked_us, last;

	if (in->asked < need || in->asked >= HEALTH_RING)
		return first;
	last = (uint32_t)now - in->ring[(in->seq - in->asked + need) % HEALTH_RING].time_us;
	last += (uint64_t)need * v->interval_us;
	return last < first ? last : first;
}

static void silence_rx(struct health *h, const struct health_view *v, uint64_t now)
{
	const struct health_own *in = &h->own;
	uint32_t need = health_patience(h->side[HEALTH_RX].loss_ppm), limit,
		 pace = in->pace > v->interval_us ? in->pace : v->interval_us;
	bool asked = v->asks && (!v->brisk || !in->heard); /* silent since it was asked */
	uint64_t silent = asked ? asked_for(in, v, need, now) : now - in->heard_us;
	bool far = lead_is_far(h, v, need, now);

	if (!v->asks && (!far || !in->pace || in->pace > 4 * SUSPECT_US || v->lead->pace_us > BRISK_US))
		return; /* the remote is not owed anything, but beside other paths, and not when the local falls asleep on one before the others */
	if (v->asks && (!in->asked_us || in->asked < need))
		return;
	limit = asked ? need * v->interval_us + (h->srtt_us ? h->srtt_us + 4 * h->rttvar_us : UNKNOWN_RTT_US)
				     : need * pace + 4 * h->side[HEALTH_RX].jitter_us + HELD_US;
	if (limit < SUSPECT_US)
		limit = SUSPECT_US;
	if (silent > DOWN_US && silent > 2 * (uint64_t)limit)
		health_fall_silent(h, HEALTH_RX, true, now);
	else if (silent > limit && far)
		health_fall_silent(h, HEALTH_RX, false, now);
}

static void watch_loss(struct health *h, const struct health_view *v, enum health_dir d, uint64_t now)
{
	const struct health_side *s = &h->side[d];

	if (s->state == HEALTH_UP && !v->alone && s->loss_ppm > MANY_PPM && v->best_loss_ppm < FEW_PPM)
		health_set_lossy(h, d, true, now);
	else if (s->state == HEALTH_LOSSY && (v->alone || s->loss_ppm < MANY_PPM / 2 || v->best_loss_ppm > 2 * FEW_PPM))
		health_set_lossy(h, d, false, now);
}

bool health_tick(struct health *h, const struct health_view *view, uint64_t now_us)
{
	enum health_state was = h->state;

	silence_tx(h, view, now_us);
	silence_rx(h, view, now_us);
	for (int d = 0; d < 2 && health_usable(h->state); d++)
		watch_loss(h, view, d, now_us);
	return h->state != was;
}

/* Our last probe should have been answered by now. */
static bool is_late(const struct health *h, uint64_t now)
{
	const struct health_own *in = &h->own;
	uint32_t usual = h->srtt_us ? h->srtt_us + 4 * h->rttvar_us : UNKNOWN_RTT_US;
	uint32_t took = (uint32_t)now - in->ring[in->seq % HEALTH_RING].time_us;

	if (!in->asked_us || h->state == HEALTH_DOWN || h->state == HEALTH_PROBING)
		return false;
	return took > (usual > DOUBT_US ? usual : DOUBT_US);
}

bool health_late(const struct health *h, uint64_t now_us)
{
	return h->own.asked == 1 && is_late(h, now_us);
}

bool health_doubtful(const struct health *h, uint64_t now_us)
{
	return h->own.asked > 1 && is_late(h, now_us);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Both ends send probes on each path and report what came of the other's. Both directions are
 * looked at apart, since a link can be deaf or dumb alone; `state` is the worse of the two.
 *
 * What is measured. A PROBE tells how many datagrams its sender has sent on the path: compared with
 * what arrived between two probes that is the loss, exactly. Its time, taken from ours, is the
 * one-way delay plus an unknown constant: what it is above its least of ten seconds is the queue,
 * and how it varies is the jitter. A REPORT that comes back on the same path gives the round trip,
 * less the time it lay waiting; less both queues, too, the least of ten seconds is how far the link
 * goes.
 *
 * Silence. A path is compared with the others, by the sender's clock: probes leave on all paths
 * together. RX is silent when the peer has sent later probes elsewhere (the `lead`) and what it
 * sent here at that time is overdue. TX is silent when the peer knows of later probes of ours
 * elsewhere and not of those we sent here. So neither end that stalls, nor a moment in which
 * everything stalls, makes anybody SUSPECT. Without other paths only DOWN is said: by the local,
 * which is answered, when nothing comes; by both, when reports come and say that nothing arrives.
 *
 *   PROBING -> UP        GOOD answers over SETTLE_US or more; doubled for each time it went down soon
 *                        after (FLAP_US), to 3.2 s at most
 *   UP -> SUSPECT        silent for SUSPECT_US, some probes and the usual variation. How many probes: 2
 *                        on a clean link; on one that loses, as many as never get lost in a row
 *   SUSPECT -> UP        CALM more probes arrived
 *   SUSPECT -> DOWN      silent for DOWN_US, or longer on links of long delay
 *   any -> DOWN          the kernel says so
 *   DOWN -> PROBING      a probe is answered again
 *   UP <-> LOSSY         above 10 % while another path is below 2 %; back below 5 % or when the others
 *                        lose too
 *
 * All times are differences of 32-bit microseconds of one clock, or of two clocks in the same
 * order; who sleeps for ten minutes wakes up with a fresh silence, since it begins with the first
 * probe that was not answered. */
#include "health.h"

#include <string.h>

#include "health_room.h"

#define GOOD 3 /* one answer may be the last of a dying link */
#define SETTLE_US 200000 /* what three of the slower fast probes (100 ms) take anyway */
#define FLAP_US 5000000u /* who falls again so soon comes and goes; who held longer has a new fault */
#define FLAPS_MAX 4 /* 3.2 s: longer would keep a link out whose fault is over */
#define CALM 2 /* a single probe can have been on its way since before the silence */
#define RATE_US 100000 /* shorter, and one burst of a queue is the rate */

const char *health_name(enum health_state s)
{
	static const char *const names[] = { "probing", "up", "lossy", "suspect", "down" };

	return names[s];
}

void health_init(struct health *h, uint64_t now_us)
{
	memset(h, 0, sizeof(*h));
	h->state = h->side[0].state = h->side[1].state = HEALTH_PROBING;
	h->changed_ms = now_us / 1000;
	h->why = "nothing heard yet";
}

void health_again(struct health *h, uint64_t now_us)
{
	uint32_t seq = h->own.seq;

	health_init(h, now_us);
	h->own.seq = h->own.before = seq;
}

void health_rebase(struct health *h)
{
	h->own.base_tx = h->own.base_rx = false;
	memset(h->own.loss, 0, sizeof(h->own.loss));
}

/* queue: what of it was waiting; the link may have been full since before its first round trip. */
static void take_rtt(struct health *h, uint32_t rtt, uint32_t queue, uint64_t now)
{
	uint32_t off;

	if (!h->srtt_us) {
		h->srtt_us = rtt ? rtt : 1;
		h->rttvar_us = rtt / 2;
	} else {
		off = rtt > h->srtt_us ? rtt - h->srtt_us : h->srtt_us - rtt;
		h->rttvar_us += (uint32_t)(((int64_t)off - h->rttvar_us) / 4);
		h->srtt_us += (uint32_t)(((int64_t)rtt - h->srtt_us) / 8);
	}
	h->min_rtt_us = gauge_least(&h->own.rtt_least, rtt > queue ? rtt - queue : rtt, now);
}

/* The fastest stretch of 100 ms or more in the last ten seconds. */
static void take_rate(struct health *h, uint64_t now)
{
	struct health_own *in = &h->own;
	struct health_side *rx = &h->side[HEALTH_RX];
	uint64_t took = now - in->rate_us, rate;

	if (took < RATE_US)
		return;
	rate = took < 20 * RATE_US ? (rx->bytes - in->rate_bytes) * 1000000 / took : 0;
	in->rate_us = now;
	in->rate_bytes = rx->bytes;
	in->rate = rate > UINT32_MAX ? UINT32_MAX : (uint32_t)rate;
	rx->rate = gauge_most(&in->rates[HEALTH_RX], in->rate, now);
}

/* --- states --- */

static unsigned badness(enum health_state s)
{
	static const unsigned order[] = { [HEALTH_UP] = 0, [HEALTH_LOSSY] = 1, [HEALTH_SUSPECT] = 2, [HEALTH_PROBING] = 3,
					  [HEALTH_DOWN] = 4 };

	return order[s];
}

static uint32_t settle_us(const struct health_own *in)
{
	return (uint32_t)SETTLE_US << in->flaps;
}

static void fall(struct health *h, uint64_t now)
{
	struct health_own *in = &h->own;

	if (in->up_us && now - in->up_us < FLAP_US && in->flaps < FLAPS_MAX)
		in->flaps++;
	else if (in->up_us && now - in->up_us >= FLAP_US)
		in->flaps = 0;
	in->up_us = 0;
	in->good = 0;
	in->fell = in->seq;
}

/* The state of both is the worse one. `why` belongs to the direction that changed. */
static bool health_settle(struct health *h, const char *why, uint64_t now)
{
	enum health_state tx = h->side[HEALTH_TX].state, rx = h->side[HEALTH_RX].state;
	enum health_state s = badness(tx) >= badness(rx) ? tx : rx;

	if (s == h->state)
		return false;
	if (s == HEALTH_DOWN && h->state != HEALTH_DOWN)
		fall(h, now);
	h->state = s;
	h->changed_ms = now / 1000;
	h->why = why;
	return true;
}

static void set_both(struct health *h, enum health_state s, const char *why, uint64_t now)
{
	h->side[HEALTH_TX].state = h->side[HEALTH_RX].state = s;
	health_settle(h, why, now);
}

static const char *silence_why(const struct health *h, enum health_dir d, enum health_state s)
{
	if (!h->own.heard)
		return "no answer";
	if (s == HEALTH_SUSPECT)
		return d == HEALTH_TX ? "our probes stopped arriving" : "nothing heard for a moment";
	return d == HEALTH_TX ? "nothing we send arrives" : "nothing arrives here";
}

void health_fall_silent(struct health *h, enum health_dir d, bool down, uint64_t now)
{
	enum health_state is = h->side[d].state, s = down ? HEALTH_DOWN : HEALTH_SUSPECT;

	if (is == HEALTH_DOWN || is == s || (is == HEALTH_PROBING && !down))
		return;
	h->side[d].state = s;
	h->own.calm[d] = 0;
	health_settle(h, silence_why(h, d, s), now);
}

void health_set_lossy(struct health *h, enum health_dir d, bool lossy, uint64_t now)
{
	h->side[d].state = lossy ? HEALTH_LOSSY : HEALTH_UP;
	health_settle(h, lossy ? "it loses over a tenth" : "it loses less again", now);
}

/* A probe arrived in this direction. */
static void calm_down(struct health *h, enum health_dir d, uint64_t now)
{
	struct health_own *in = &h->own;

	if (h->side[d].state != HEALTH_SUSPECT || ++in->calm[d] < CALM)
		return;
	h->side[d].state = HEALTH_UP;
	health_settle(h, "it answers again", now);
}

/* A probe went there and its report came back on the same path: both directions work. */
static void round_trip(struct health *h, uint64_t now)
{
	struct health_own *in = &h->own;

	if (h->state == HEALTH_DOWN) {
		in->good = 0;
		health_rebase(h); /* what was lost while it was dead tells nothing of the link */
		h->side[HEALTH_TX].loss_ppm = h->side[HEALTH_RX].loss_ppm = 0;
		set_both(h, HEALTH_PROBING, "it answers again", now);
	}
	if (h->state != HEALTH_PROBING)
		return;
	if (!in->good++)
		in->good_us = now;
	if (in->good < GOOD || now - in->good_us < settle_us(in))
		return;
	in->up_us = now;
	set_both(h, HEALTH_UP, "it answers", now);
}

/* --- heard --- */

void health_heard(struct health *h, size_t len, uint64_t now_us)
{
	struct health_own *in = &h->own;

	health_copy(h, len);
	in->heard = true;
	in->heard_us = now_us;
	in->asked_us = 0;
	in->asked = 0;
	take_rate(h, now_us);
}

static void take_owd(struct health *h, uint32_t owd, bool first, uint64_t now)
{
	struct health_own *in = &h->own;
	struct health_side *rx = &h->side[HEALTH_RX];
	int32_t off = (int32_t)(owd - in->owd);

	if (!first)
		rx->jitter_us += (uint32_t)(((int64_t)(off < 0 ? -(int64_t)off : off) - rx->jitter_us) / 16);
	in->owd = owd;
	rx->queue_us = owd - gauge_least(&in->owd_least, owd, now);
}

bool health_got_probe(struct health *h, const struct wire_probe *p, uint64_t now_us)
{
	struct health_own *in = &h->own;
	uint32_t steps = p->seq - in->peer_seq;

	if (in->peer && (int32_t)steps <= 0)
		return false;
	if (in->peer && in->base_rx)
		gauge_loss(&in->loss[HEALTH_RX], &h->side[HEALTH_RX].loss_ppm, p->packets - in->peer_packets,
			  h->side[HEALTH_RX].packets - in->rx_packets);
	if (in->peer)
		in->pace = (p->time_us - in->peer_time) / steps;
	take_owd(h, (uint32_t)now_us - p->time_us, !in->peer, now_us);
	in->peer = in->news = in->base_rx = true;
	in->peer_seq = p->seq;
	in->peer_time = p->time_us;
	in->peer_packets = p->packets;
	in->rx_packets = h->side[HEALTH_RX].packets;
	in->rx_bytes = h->side[HEALTH_RX].bytes;
	in->probe_us = now_us;
	in->ahead_us = 0;
	calm_down(h, HEALTH_RX, now_us);
	return true;
}

bool health_has_news(const struct health *h)
{
	return h->own.news;
}

void health_make_report(struct health *h, struct wire_report *r, uint64_t now_us)
{
	struct health_own *in = &h->own;

	r->flags = in->news ? WIRE_REPORT_HEARD : 0;
	r->seq = in->peer_seq;
	r->time_us = in->peer_time;
	r->hold_us = (uint32_t)(now_us - in->probe_us);
	r->packets = in->rx_packets;
	r->bytes = in->rx_bytes;
	r->queue_us = h->side[HEALTH_RX].queue_us;
	r->rate = in->rate;
	in->news = false;
}

void health_make_probe(struct health *h, struct wire_probe *p, uint64_t now_us)
{
	struct health_own *in = &h->own;

	p->seq = ++in->seq;
	p->time_us = (uint32_t)now_us;
	p->packets = h->side[HEALTH_TX].packets + 1;
	p->bytes = h->side[HEALTH_TX].bytes;
	in->ring[p->seq % HEALTH_RING].time_us = p->time_us;
	in->ring[p->seq % HEALTH_RING].packets = p->packets;
	in->asked++;
	if (!in->asked_us)
		in->asked_us = now_us;
}

/* --- told --- */

static void take_ack(struct health *h, const struct wire_report *r, uint64_t now)
{
	struct health_own *in = &h->own;
	struct health_side *tx = &h->side[HEALTH_TX];
	uint32_t sent = in->ring[r->seq % HEALTH_RING].packets;

	if (in->base_tx && in->seq - r->seq < HEALTH_RING)
		gauge_loss(&in->loss[HEALTH_TX], &tx->loss_ppm, sent - in->acked_tx, r->packets - in->acked_rx);
	in->base_tx = in->seq - r->seq < HEALTH_RING;
	in->acked_tx = sent;
	in->acked_rx = r->packets;
	in->acked = r->seq;
	in->acked_time = r->time_us;
	tx->jitter_us += (uint32_t)(((int64_t)(r->queue_us > tx->queue_us ? r->queue_us - tx->queue_us
									   : tx->queue_us - r->queue_us) -
				     tx->jitter_us) /
				    16);
	tx->queue_us = r->queue_us;
	tx->rate_now = r->rate;
	tx->rate = gauge_most(&in->rates[HEALTH_TX], r->rate, now);
	calm_down(h, HEALTH_TX, now);
}

void health_got_report(struct health *h, const struct wire_report *r, bool own, uint64_t now_us)
{
	struct health_own *in = &h->own;
	bool newer = (int32_t)(r->seq - in->acked) > 0;

	if ((int32_t)(r->seq - in->before) <= 0 || (int32_t)(in->seq - r->seq) < 0)
		return; /* nothing heard yet, of another life, or nonsense */
	if (newer)
		take_ack(h, r, now_us);
	if (r->seq == in->acked) /* not overtaken by news that came another way */
		in->told_us = now_us;
	if (own && (int32_t)(r->seq - in->rtt_seq) > 0) {
		uint32_t took = (uint32_t)now_us - r->time_us;
		uint32_t back = in->probe_us == now_us ? h->side[HEALTH_RX].queue_us : 0; /* of the probe beside this report */

		in->rtt_seq = r->seq;
		if (took >= r->hold_us && took < 60000000u)
			take_rtt(h, took - r->hold_us, r->queue_us + back, now_us);
		if (h->state != HEALTH_DOWN || (int32_t)(r->seq - in->fell) > 0) /* not one that was answered before it died */
			round_trip(h, now_us);
	}
}

void health_lead(const struct health *h, struct health_lead *lead)
{
	const struct health_own *in = &h->own;

	if (in->peer && (!lead->heard || (int32_t)(in->peer_time - lead->time_us) > 0)) {
		lead->heard = true;
		lead->time_us = in->peer_time;
		lead->owd_us = in->owd;
		lead->pace_us = in->pace;
		lead->at_us = in->probe_us;
	}
	if (in->acked && (!lead->told || (int32_t)(in->acked_time - lead->acked_us) > 0)) {
		lead->told = true;
		lead->acked_us = in->acked_time;
		lead->rtt_us = h->srtt_us;
	}
}

void health_dead(struct health *h, const char *why, uint64_t now_us)
{
	if (h->state == HEALTH_DOWN)
		h->why = why;
	set_both(h, HEALTH_DOWN, why, now_us);
}

uint32_t health_pace_us(const struct health *h)
{
	return h->own.pace;
}

uint64_t health_heard_us(const struct health *h)
{
	return h->own.heard_us;
}

uint32_t health_unanswered(const struct health *h)
{
	return h->own.asked;
}

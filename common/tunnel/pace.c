/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * A modem's queue is where latency is made, so the queue must be ours: a path is sent on no faster
 * than it delivers. What it delivers is found out as one finds out how fast a road is: by driving
 * faster as long as nothing speaks against it. `starting`: the rate grows by half each round trip,
 * but only while something waits for it, and while what arrives keeps up. The first sign of a queue
 * in the modem (one-way delay above its least) ends that; what was delivered until then is the
 * first `base`, our belief of what the path carries.
 *
 * From then on the rate is steered so that the modem's queue stays near TARGET_US: base, and a
 * little more while the queue is shorter, less in proportion to what it is longer. The answer to a
 * change comes a round trip and a report later, so the gain is low enough not to swing. base itself
 * follows slowly: up by a fiftieth a round while the queue is empty and somebody waits (by an
 * eighth, to what arrived lately), not beyond what is seen to arrive; down by a twentieth when the
 * queue has been long for HIGH_US in spite of steering, and does not shrink: the path has become
 * slower, or somebody else (TCP beside us) fills it. A quarter of what was delivered lately we
 * keep: a share is ours, too. A queue while we send less than half of our rate, and all of it
 * arrives, is not our doing and says nothing. Nor does what the line delays packets by without any
 * queue (see jitter.c).
 *
 * tokens: a bucket of 5 ms; when something waited since it was filled last and the loop came late,
 * of as much as that: meanwhile the modem has had nothing to do. spare: another, filled by nine
 * tenths of the rate less the load of first copies; redundancy is paid from it. share: a third, of
 * 30 %, for copies of what is urgent when there is no spare room. */
#include "pace.h"

#define FIRST_RATE (8000000 / 8)
#define LEAST_RATE (128000 / 8)
#define MOST_RATE (10000000000 / 8)
#define BURST_US 5000
#define LATE_US 40000
#define BURST_LEAST 3200
#define SPARE_US 20000
#define LOAD_US 100000
#define TARGET_US 5000
#define GAIN_US 120000
#define QUEUE_CUT_US 15000
#define HIGH_US 500000
#define JUDGE_LEAST_US 25000

static uint64_t in(uint64_t rate, uint64_t us)
{
	return rate * us / 1000000;
}

static int64_t pace_least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void pace_init(struct pace *p, uint64_t now_us)
{
	*p = (struct pace){ .rate = FIRST_RATE, .base = FIRST_RATE, .tokens = BURST_LEAST, .filled_us = now_us, .judged_us = now_us,
			    .load_us = now_us, .starting = true };
}

/* Up at once, down slowly. */
static uint64_t smooth(uint64_t old, uint64_t rate, uint64_t past)
{
	return past > 4 * LOAD_US || rate > old ? rate : (old * 3 + rate) / 4;
}

static void measure_load(struct pace *p, uint64_t now)
{
	uint64_t past = now - p->load_us;

	if (past < LOAD_US)
		return;
	p->load = smooth(p->load, p->load_bytes * 1000000 / past, past);
	p->sent = smooth(p->sent, p->sent_bytes * 1000000 / past, past);
	p->load_bytes = p->sent_bytes = 0;
	p->load_us = now;
}

void pace_fill(struct pace *p, uint64_t now_us)
{
	uint64_t past = now_us - p->filled_us, burst = in(p->rate, p->backlog ? LATE_US : BURST_US), idle = p->rate / 10 * 9;

	measure_load(p, now_us);
	p->filled_us = now_us;
	if (past > 1000000)
		past = 1000000;
	p->tokens = pace_least(p->tokens + (int64_t)in(p->rate, past),
			       (int64_t)(burst > BURST_LEAST ? burst : BURST_LEAST));
	idle = idle > p->load ? idle - p->load : 0;
	p->share = pace_least(p->share + (int64_t)in(p->rate / 10 * 3, past),
			      (int64_t)in(p->rate, SPARE_US));
	p->spare = pace_least(p->spare + (int64_t)in(idle, past), (int64_t)in(idle, SPARE_US));
}

static void learn_jitter(struct pace *p, const struct pace_seen *s, uint64_t now)
{
	struct jitter_seen seen = { s->queue_us, s->srtt_us, p->sent, s->arrives };

	if (p->sent <= LEAST_RATE && p->sent_bytes <= in(LEAST_RATE, LOAD_US))
		jitter_idle(&p->jitter, s->queue_us, now);
	else if (!p->starting)
		jitter_busy(&p->jitter, &seen, now);
}

/* Is it we who fill the queue? Reports of what arrives lag behind what we send, so that alone
 * proves nothing at once. */
static bool pace_is_ours(const struct pace *p, uint64_t now)
{
	return p->sent >= p->rate / 2 || (p->over_us && now - p->over_us > HIGH_US);
}

/* Without a queue that would tell, the path shows its limit by delivering no more. */
static void pace_start(struct pace *p, const struct pace_seen *s, uint64_t now)
{
	if (s->queue_us > TARGET_US && !pace_is_ours(p, now))
		return;
	if (s->queue_us > TARGET_US || (p->stuck_us && now - p->stuck_us > HIGH_US)) {
		p->base = s->delivered && s->delivered < p->rate ? s->delivered : p->rate;
		if (p->base < p->rate / 4) /* too low to be true: what arrives is told of late */
			p->base = p->rate / 4;
		p->starting = false;
	} else if (p->limited && (!s->delivered || p->rate * 5 < s->delivered * 6 || !p->stuck_us)) {
		p->rate += p->rate / 2;
		p->stuck_us = now;
	} else if (!p->limited && p->stuck_us) {
		p->stuck_us = now;
	}
}

static void believe(struct pace *p, const struct pace_seen *s, uint64_t now)
{
	if (s->queue_us <= QUEUE_CUT_US)
		p->high_us = 0;
	else if (!p->high_us)
		p->high_us = now;
	else if (now - p->high_us > HIGH_US + s->srtt_us && s->queue_us >= p->queue_us && p->base / 20 * 19 > s->delivered / 4)
		p->base = p->base / 20 * 19;
	p->queue_us = s->queue_us;
	if (s->queue_us > 2 * TARGET_US)
		p->base -= p->base / 200;
	if (p->limited && s->queue_us < TARGET_US && (!s->delivered || p->base < s->delivered / 20 * 21))
		p->base += p->base < s->delivered / 10 * 9 ? p->base / 8 : p->base / 50;
	if (p->base < LEAST_RATE)
		p->base = LEAST_RATE;
	if (p->base > MOST_RATE)
		p->base = MOST_RATE;
}

static void steer(struct pace *p, const struct pace_seen *s)
{
	int64_t off = (int64_t)TARGET_US - (int64_t)s->queue_us, slow = GAIN_US + 2 * (int64_t)s->srtt_us;
	int64_t base = (int64_t)p->base, rate;

	if (s->queue_us > QUEUE_CUT_US) /* away with what starting left there */
		off -= (int64_t)s->queue_us - QUEUE_CUT_US;
	rate = base + base / 1000 * (off * 1000 / slow);

	if (jitter_tries(&p->jitter))
		rate = rate / 4 * 3;
	p->rate = (uint64_t)(rate < base / 2 ? base / 2 : rate);
}

void pace_judge(struct pace *p, const struct pace_seen *seen, uint64_t now_us)
{
	uint64_t least_us = p->starting ? 2 * JUDGE_LEAST_US : JUDGE_LEAST_US;
	struct pace_seen less = *seen, *s = &less;

	learn_jitter(p, seen, now_us);
	less.queue_us = jitter_queue_us(&p->jitter, seen->queue_us);
	if (now_us - p->judged_us < (s->srtt_us > least_us ? s->srtt_us : least_us))
		return;
	p->judged_us = now_us;
	if (!s->delivered || p->sent <= s->delivered / 20 * 21)
		p->over_us = 0;
	else if (!p->over_us)
		p->over_us = now_us;
	if (p->starting)
		pace_start(p, s, now_us);
	if (!p->starting && (s->queue_us < QUEUE_CUT_US || pace_is_ours(p, now_us))) {
		believe(p, s, now_us);
		steer(p, s);
	}
	p->limited = false;
}

void pace_spend(struct pace *p, uint64_t len, bool copy)
{
	p->tokens -= (int64_t)len;
	p->sent_bytes += len;
	if (copy)
		p->spare -= (int64_t)len;
	else
		p->load_bytes += len;
}

/* Theory of operation
 *
 * A modem's queue is where latency is made, so the queue must be ours: a path is sent on no faster than it delivers. What it delivers is
 * found out as one finds out how fast a road is: by driving faster as long as nothing speaks against it. `starting`: the rate grows by half
 * a round trip, but only while something waited for it. The first sign of a queue in the modem (one-way delay above its least) ends that; from
 * then on the rate is cut to 0.85 when the queue is above 15 ms, kept while it is above 8, and grows by 1.05 else; below what was delivered lately,
 * which is known to be possible, it grows faster.
 *
 * A cut shows its effect only when the queue has drained, so several in a row would cut far too deep: in the first HIGH_US of a
 * long queue the rate does not fall below 0.7 of what was delivered. A queue that stays long is not ours (TCP beside us), or the path has
 * become slower: then down to a quarter, where we stay: a share of the path is ours too.
 *
 * A queue while we send less than half of our rate is not ours either, and says nothing about it.
 *
 * tokens: a bucket of 5 ms, since a timer of the loop is that coarse. spare: another, filled by nine tenths of the rate less the load of
 * first copies; redundancy is paid from it.
 * share: a third, of 30 %, for copies of what is urgent when there is no spare room. */
#include "pace.h"

#define FIRST_RATE (10000000 / 8)
#define LEAST_RATE (128000 / 8)
#define MOST_RATE (10000000000 / 8)
#define BURST_US 5000
#define BURST_LEAST 3200
#define SPARE_US 20000
#define LOAD_US 100000
#define QUEUE_CUT_US 15000
#define QUEUE_KEEP_US 8000
#define HIGH_US 500000
#define JUDGE_LEAST_US 25000

static uint64_t in(uint64_t rate, uint64_t us)
{
	return rate * us / 1000000;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void pace_init(struct pace *p, uint64_t now_us)
{
	*p = (struct pace){ .rate = FIRST_RATE, .tokens = BURST_LEAST, .filled_us = now_us, .judged_us = now_us,
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
	uint64_t past = now_us - p->filled_us, burst = in(p->rate, BURST_US), idle = p->rate / 10 * 9;

	measure_load(p, now_us);
	p->filled_us = now_us;
	if (past > 1000000)
		past = 1000000;
	p->tokens = least(p->tokens + (int64_t)in(p->rate, past), (int64_t)(burst > BURST_LEAST ? burst : BURST_LEAST));
	idle = idle > p->load ? idle - p->load : 0;
	p->share = least(p->share + (int64_t)in(p->rate / 10 * 3, past), (int64_t)in(p->rate, SPARE_US));
	p->spare = least(p->spare + (int64_t)in(idle, past), (int64_t)in(idle, SPARE_US));
}

static void cut(struct pace *p, const struct pace_seen *s, uint64_t now)
{
	uint64_t floor = s->delivered / 10 * 7, was = p->rate;

	if (!p->high_us)
		p->high_us = now;
	else if (now - p->high_us > HIGH_US)
		floor = s->delivered / 4;
	p->rate = was / 100 * 85;
	if (s->delivered && p->rate > s->delivered / 100 * 95) /* what starting overshot, at once */
		p->rate = s->delivered / 100 * 95;
	if (p->rate < floor)
		p->rate = floor < was ? floor : was;
	if (p->rate < LEAST_RATE)
		p->rate = LEAST_RATE;
	p->starting = false;
}

/* Without a queue that would tell, the path shows its limit by delivering no more. */
static void grow_at_first(struct pace *p, const struct pace_seen *s, uint64_t now)
{
	if (!s->delivered || p->rate < 3 * s->delivered) {
		p->rate += p->rate / 2;
		p->stuck_us = now;
	} else if (now - p->stuck_us > HIGH_US) {
		p->rate = s->delivered / 20 * 23;
		p->starting = false;
	}
}

static void grow(struct pace *p, const struct pace_seen *s, uint64_t now)
{
	uint64_t most = s->delivered ? s->delivered / 20 * 23 : UINT64_MAX; /* more would fill a queue too short to be seen */

	if (p->starting)
		grow_at_first(p, s, now);
	else if (p->rate < s->delivered / 100 * 95)
		p->rate += p->rate / 7;
	else if (p->rate < most)
		p->rate += p->rate / 20;
	if (p->rate > MOST_RATE)
		p->rate = MOST_RATE;
}

void pace_judge(struct pace *p, const struct pace_seen *s, uint64_t now_us)
{
	uint64_t least_us = p->starting ? 2 * JUDGE_LEAST_US : JUDGE_LEAST_US;
	uint64_t round = s->srtt_us > least_us ? s->srtt_us : least_us;

	if (now_us - p->judged_us < round)
		return;
	p->judged_us = now_us;
	if (s->queue_us > QUEUE_CUT_US && p->sent < p->rate / 2) {
		p->starting = false; /* not our queue: nothing to learn */
	} else if (s->queue_us > QUEUE_CUT_US) {
		cut(p, s, now_us);
	} else {
		p->high_us = 0;
		if (p->limited && s->queue_us < QUEUE_KEEP_US)
			grow(p, s, now_us);
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

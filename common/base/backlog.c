/* SPDX-License-Identifier: BSD-2-Clause */
/* backlog: see backlog.h. */
#include "backlog.h"

#define SLACK_US 10000 /* between two looks of who keeps the limit, and their delay */
#define LEAST 65536
#define BURST 65536u /* what the scheduler gives to one line in one go */
#define BURST_MAX_US 600000u
#define MOST (1u << 30)
#define TURN 100 /* looks: 5 s */
#define CALM 16	 /* looks: 0.8 s, in which what is found out counts by two thirds */

/* Those who pace go a quarter faster or slower now and then to see whether they can, and nearly
 * three times as fast at the beginning; before anything was measured they guess. */
static uint64_t rate_of(const struct backlog_path *p)
{
	uint64_t pacing = p->pacing < MOST ? p->pacing : MOST, delivery = p->delivery < MOST ? p->delivery : MOST;
	uint64_t rate = delivery < pacing ? delivery : pacing;

	if (rate < pacing / 5 * 4)
		rate = pacing / 5 * 4;
	return rate < 2 * delivery ? rate : 2 * delivery;
}

/* By the better of both rates: the pace of a line that has just died falls to nothing, and that is
 * no slow line. */
static uint32_t burst_of(const struct backlog_path *p)
{
	uint64_t pacing = p->pacing < MOST ? p->pacing / 5 * 4 : MOST, rate = p->delivery > pacing ? p->delivery : pacing;
	uint64_t us = rate ? (uint64_t)BURST * 1000000 / rate : 0;

	return us < BURST_MAX_US ? (uint32_t)us : BURST_MAX_US;
}

/* That a packet is missing is known a quarter of a round trip after those behind it came (RFC 8985,
 * section 6.2), and a whole one later it is there. What was lost because the queue was full is no
 * property of the line. */
static uint32_t repair_of(const struct backlog_path *p)
{
	bool queues = p->rtt_us > p->least_us / 2 * 3;

	return p->repairs && !queues ? p->least_us / 4 * 5 : 0;
}

static uint32_t nearer(uint32_t was, uint32_t is, int32_t slowness)
{
	return (uint32_t)(was + ((int64_t)is - was) / slowness);
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
	return a && a < b ? a : b;
}

void backlog_learn(struct backlog *b, const struct backlog_path *path, size_t n)
{
	uint64_t rate = 0;
	uint32_t rtt = 0, burst = 0, repair = 0;

	b->age = n > b->paths ? 0 : b->age + 1;
	b->floor_us = 0;
	b->paths = n;
	for (size_t i = 0; i < n; i++) {
		uint32_t own = burst_of(&path[i]), own_repair = repair_of(&path[i]);

		rate += rate_of(&path[i]);
		burst = own > burst ? own : burst;
		repair = own_repair > repair ? own_repair : repair;
		rtt = path[i].rtt_us > rtt ? path[i].rtt_us : rtt;
		b->floor_us = path[i].least_us > b->floor_us ? path[i].least_us : b->floor_us;
	}
	b->burst_us = b->burst_us ? nearer(b->burst_us, burst, 4) : burst;
	b->repair_us = nearer(b->repair_us, repair, CALM);
	b->rate[b->looks % BACKLOG_LOOKS] = rate;
	if (b->looks++ % TURN == 0) {
		b->rtt_us[1] = b->rtt_us[0];
		b->rtt_us[0] = 0;
	}
	b->rtt_now_us = rtt;
	if (n)
		b->rtt_us[0] = smaller(b->rtt_us[0], rtt);
}

/* How long what is on its way may take, in us. */
static uint64_t time_allowed(const struct backlog *b)
{
	uint64_t rtt = smaller(b->rtt_us[1], b->rtt_us[0]), usual, over = (uint64_t)b->age * BACKLOG_LOOK_MS * 1000 / 3;

	rtt = b->fills ? b->rtt_now_us : rtt > b->floor_us ? rtt : b->floor_us;
	usual = rtt + (b->burst_us > rtt / 2 ? b->burst_us : rtt / 4) + b->repair_us + SLACK_US;
	return over < 3 * usual ? 4 * usual - over : usual;
}

uint64_t backlog_limit(const struct backlog *b)
{
	uint64_t rate = 0, limit;

	if (b->paths < 2)
		return BACKLOG_NONE;
	for (size_t i = 0; i < BACKLOG_LOOKS; i++)
		rate = b->rate[i] > rate ? b->rate[i] : rate;
	limit = rate * time_allowed(b) / 1000000;
	return limit > LEAST ? limit : LEAST;
}

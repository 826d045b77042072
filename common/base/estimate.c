/* SPDX-License-Identifier: BSD-2-Clause */
/* estimate: see estimate.h. */
#include "estimate.h"

#define FALL 8
#define SURELY_FULL (1u << 20) /* packets: beyond any answer, and no sum overflows */

static uint32_t sample_packets(const struct estimate_sample *s)
{
	uint64_t bytes;

	if (!s->mss || __builtin_mul_overflow(s->rate, (uint64_t)s->rtt_us, &bytes))
		return s->mss ? SURELY_FULL : 0;
	bytes /= 1000000u;
	return bytes / s->mss > SURELY_FULL ? SURELY_FULL : (uint32_t)(bytes / s->mss);
}

void estimate_observe(struct estimate *e, const struct estimate_sample *s)
{
	uint32_t packets = sample_packets(s);

	if (!s->rate || !s->rtt_us || !s->mss || (s->app_limited && packets < e->packets))
		return;
	if (packets > ESTIMATE_MAX) /* more would only take longer to fall */
		packets = ESTIMATE_MAX;
	if (packets < 1)
		packets = 1;
	if (packets >= e->packets)
		e->packets = packets;
	else
		e->packets -= (e->packets - packets + FALL - 1) / FALL;
}

uint32_t estimate_packets(const struct estimate *e)
{
	return e->packets && e->packets < ESTIMATE_MIN ? ESTIMATE_MIN : e->packets;
}

static uint32_t or_kernels(uint32_t packets)
{
	return packets ? packets : ESTIMATE_MIN;
}

static uint32_t wanted(const struct estimate *e)
{
	uint32_t packets = estimate_packets(e);

	return packets < ESTIMATE_MOST ? packets : ESTIMATE_MOST;
}

bool estimate_changed(const struct estimate *e)
{
	uint32_t is = or_kernels(e->installed), want = wanted(e);
	uint32_t apart = want > is ? want - is : is - want;

	return want && apart >= 4 && apart > is / 4;
}

bool estimate_install(struct estimate *e)
{
	uint32_t was = or_kernels(e->stock), is;

	e->installed = wanted(e);
	is = or_kernels(e->installed);
	if (is < 2 * was && 2 * is > was)
		return false;
	e->stock = e->installed;
	return true;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* gauge: a value of late is the best of two buckets of time, the present one and the one before. */
#include "gauge.h"

#define LOSS_BLOCK 16

uint32_t gauge_least(struct gauge_least *l, uint32_t v, uint64_t now)
{
	if (!l->known) {
		l->known = true;
		l->now = l->before = v;
		l->since = now;
	} else if (now - l->since > GAUGE_US) {
		l->before = l->now;
		l->now = v;
		l->since = now;
	} else if ((int32_t)(v - l->now) < 0) {
		l->now = v;
	}
	return (int32_t)(l->before - l->now) < 0 ? l->before : l->now;
}

uint64_t gauge_most(struct gauge_most *m, uint64_t v, uint64_t now)
{
	if (now - m->since > GAUGE_US) {
		m->before = now - m->since > 2 * GAUGE_US ? 0 : m->now;
		m->now = v;
		m->since = now;
	} else if (v > m->now) {
		m->now = v;
	}
	return m->before > m->now ? m->before : m->now;
}

void gauge_loss(struct gauge_loss *l, uint32_t *ppm, uint32_t sent, uint32_t arrived)
{
	int64_t sample;

	l->sent += sent;
	l->lost += sent > arrived ? sent - arrived : 0;
	if (l->sent < LOSS_BLOCK)
		return;
	sample = (int64_t)l->lost * 1000000 / l->sent;
	*ppm = (uint32_t)(*ppm + (sample - (int64_t)*ppm) / 8);
	*l = (struct gauge_loss){ 0, 0 };
}

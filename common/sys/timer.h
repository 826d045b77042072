/* SPDX-License-Identifier: BSD-2-Clause */
/* timer: libevent's timers, set by a plain number. Like event_add(): an event that waits already
 * waits anew, 0 means at the loop's next turn, and -1 means no memory. */
#ifndef PLAIT_TIMER_H
#define PLAIT_TIMER_H

#include <event2/event.h>
#include <stdint.h>

static inline int timer_in_us(struct event *ev, uint64_t us)
{
	const struct timeval tv = { (time_t)(us / 1000000), (suseconds_t)(us % 1000000) };

	return event_add(ev, &tv);
}

static inline int timer_in_ms(struct event *ev, uint64_t ms)
{
	return timer_in_us(ev, ms * 1000);
}

static inline int timer_in_s(struct event *ev, unsigned s)
{
	return timer_in_us(ev, s * 1000000ULL);
}

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* clock: time since boot, sleep included; never stepped. The only clock of plait. */
#ifndef PLAIT_CLOCK_H
#define PLAIT_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static inline uint64_t clock_ms(void)
{
	return clock_us() / 1000;
}

/* For how many ms `now_ms` included something has been `so`, as far as was looked. *since_ms: 0 at
 * first, kept from look to look. */
static inline uint64_t clock_held_ms(uint64_t *since_ms, bool so, uint64_t now_ms)
{
	if (!so)
		*since_ms = 0;
	else if (!*since_ms)
		*since_ms = now_ms;
	return so ? now_ms - *since_ms : 0;
}

#endif

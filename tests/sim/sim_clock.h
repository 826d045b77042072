/* SPDX-License-Identifier: BSD-2-Clause */
/* sim_clock: the time of a simulated world, and what is to happen at some moment of it. */
#ifndef SIM_CLOCK_H
#define SIM_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MS 1000ull
#define SECOND 1000000ull
#define NEVER UINT64_MAX

struct alarm {
	uint64_t at_us;
	uint64_t order; /* those of one moment ring in the order in which they were set */
	void (*ring)(void *arg);
	void *arg;
	size_t place; /* in the heap, from 1 on; 0: it is not set */
};

void clock_begin(void);	     /* the beginning of a world: nothing is to happen */
uint64_t clock_now(void);    /* us since then, with an hour on top so that nothing is 0 */
void clock_set(uint64_t us); /* forwards only */

void alarm_init(struct alarm *a, void (*ring)(void *arg), void *arg);
void alarm_in(struct alarm *a, uint64_t us); /* set anew if it was set */
void alarm_clear(struct alarm *a);
uint64_t alarm_next(void); /* when the first of all rings; NEVER */
bool alarm_ring_due(void); /* rings one that is due; false: none is */

/* One that nobody needs to keep. */
void alarm_once(uint64_t in_us, void (*ring)(void *arg), void *arg);

/* Chance, the same for the same seed: of the household and what happens to it. */
void chance_begin(uint64_t seed);
uint64_t chance_below(uint64_t n);			/* 0 .. n - 1 */
uint64_t chance_between(uint64_t least, uint64_t most); /* both may come */

/* And of what the daemons and the lines make of it, by itself: a household remains what it is when
 * a daemon rolls its dice once more than it did. */
uint64_t noise(void);
uint16_t noise_port(void); /* network order */
bool noise_ppm(uint64_t ppm);

#endif

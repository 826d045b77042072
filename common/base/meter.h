/* SPDX-License-Identifier: BSD-2-Clause */
/* meter: bytes of a device counted into months, over restarts, reboots and clocks that are wrong. A
 * value: see meter.c. */
#ifndef PLAIT_METER_H
#define PLAIT_METER_H

#include <stdbool.h>
#include <stdint.h>

struct meter {
	uint32_t period;      /* the month in which it began, from year 0; 0: the date was never known */
	uint64_t used;	      /* bytes in it */
	uint64_t age_ms;      /* for so long it has been the present one */
	uint32_t before;      /* the period before this one, 0: none */
	uint64_t before_used;
	uint32_t ahead;	      /* the clock was in this later period before it went back, 0: it did not */
	uint64_t folded;      /* what was added to `used` when it went back */
	int device;	      /* counted last, 0: none yet */
	uint64_t seen;	      /* what its counter stood at */
};

#define METER_YEAR 2024 /* a clock that shows an earlier year is wrong */

/* The period that the day is in, when one begins on day `begins` (1..31, or the month's last) of
 * each month. 0: the clock is wrong. */
uint32_t meter_period(int year, int month, int day, unsigned begins); /* month 1..12 */
/* The day on which the period after this one begins. */
void meter_next(uint32_t period, unsigned begins, int *year, int *month, int *day);

/* The clock says that it is `now` (0: it is wrong), and so much time has passed since it was last
 * asked. True: a new period began. */
bool meter_turn(struct meter *m, uint32_t now, uint64_t elapsed_ms);

/* The device's counter stands at `total`. */
void meter_count(struct meter *m, int device, uint64_t total);
/* The machine was started anew: counters began at zero. */
void meter_rebooted(struct meter *m);

#endif

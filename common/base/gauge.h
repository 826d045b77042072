/* SPDX-License-Identifier: BSD-2-Clause */
/* gauge: the smallest, the largest and the lost of late: values, all zero at first. `now` in
 * microseconds. */
#ifndef PLAIT_GAUGE_H
#define PLAIT_GAUGE_H

#include <stdbool.h>
#include <stdint.h>

#define GAUGE_US 5000000u /* half of the time that is remembered */

struct gauge_least { /* values may wrap: they are compared as differences */
	uint32_t now, before;
	uint64_t since;
	bool known;
};
/* Takes v; the smallest of the last 5 to 10 s, v included. */
uint32_t gauge_least(struct gauge_least *g, uint32_t v, uint64_t now);

struct gauge_most {
	uint64_t now, before, since;
};
/* Takes v; the largest of the last 5 to 10 s. */
uint64_t gauge_most(struct gauge_most *g, uint64_t v, uint64_t now);

struct gauge_loss {
	uint32_t sent, lost;
};
/* Of `sent` more, so many arrived: moves *ppm, the smoothed share that is lost, by an eighth for
 * every 16. */
void gauge_loss(struct gauge_loss *g, uint32_t *ppm, uint32_t sent, uint32_t arrived);

#endif

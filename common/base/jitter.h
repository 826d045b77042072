/* SPDX-License-Identifier: BSD-2-Clause */
/* jitter: what a line delays packets by although nothing is queued before it. A value, all zero at
 * first; `now` in microseconds. See jitter.c. */
#ifndef PLAIT_JITTER_H
#define PLAIT_JITTER_H

#include <stdbool.h>
#include <stdint.h>

#include "gauge.h"

struct jitter {
	uint32_t us; /* 0 .. 30,000 */
	struct gauge_most most;
	uint64_t since_us; /* of the sums */
	uint64_t sum[2];   /* of delays; of the first and the second half of a trial's */
	unsigned n[2];
	uint64_t sent, arrived; /* sums of a trial's */
	unsigned late;		/* times in a row that the mean was above what is steered to */
	uint64_t trial_us;	/* it began then; 0: none */
	uint64_t tried_us, rest_us; /* the last ended then; the next may begin so much later */
};

struct jitter_seen {
	uint32_t queue_us; /* a one-way delay above its least */
	uint32_t srtt_us;
	uint64_t sent, arrived; /* bytes a second */
};

/* While next to nothing is sent. */
void jitter_idle(struct jitter *j, uint32_t queue_us, uint64_t now);
/* While we may be what fills the queue. */
void jitter_busy(struct jitter *j, const struct jitter_seen *s, uint64_t now);
/* A trial: a quarter less is to be sent. */
static inline bool jitter_tries(const struct jitter *j) { return j->trial_us != 0; }

/* What of such a delay is queue. */
static inline uint32_t jitter_queue_us(const struct jitter *j, uint32_t queue_us)
{
	return queue_us > j->us ? queue_us - j->us : 0;
}

#endif

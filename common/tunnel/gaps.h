/* SPDX-License-Identifier: BSD-2-Clause */
/* gaps: what has arrived of one class, and what the sender is to be told of it. Pass now in. See
 * gaps.c. */
#ifndef PLAIT_GAPS_H
#define PLAIT_GAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "wire_udp.h"

#define GAPS_NUMBERS 2048
#define GAPS_FRAMES 4 /* of an acknowledgement, at most */

struct gaps {
	bool any;
	uint64_t top;			    /* the highest number that arrived */
	uint64_t bits[GAPS_NUMBERS / 64];   /* of the newest GAPS_NUMBERS numbers: arrived? */
	uint32_t stamp[GAPS_NUMBERS];	    /* ... and when, low bits of microseconds */
	uint64_t low, low_before;	    /* the lowest that arrived since the last acknowledgement; before that one */
	uint32_t owed;			    /* arrived since then */
	uint32_t missing;		    /* of the window, not arrived */
	uint32_t behind;		    /* arrived since the newest gap was noticed */
	uint64_t gap_us;		    /* when that was */
	bool gap;			    /* there may be one worth telling about */
	uint64_t acked_us;		    /* when the last acknowledgement was made */
	uint64_t received, filled, lost, late; /* for status. filled: came after a higher number had */
};

struct gaps_pace { /* how eagerly to acknowledge */
	uint32_t gap_us;   /* while there is a gap younger than... */
	uint32_t young_us; /* ... this, */
	uint32_t calm_us;  /* and while there is none */
	bool eager;	   /* tell of a new gap as soon as two later numbers are there */
};

void gaps_restart(struct gaps *g); /* numbers begin anew */
/* False: too old to be told apart. (Duplicates do not come here.) */
bool gaps_take(struct gaps *g, uint64_t seq, uint64_t now_us);
bool gaps_has(const struct gaps *g, uint64_t seq); /* of the window; older ones: true */
bool gaps_due(const struct gaps *g, const struct gaps_pace *p, uint64_t now_us);
static inline bool gaps_idle(const struct gaps *g) { return !g->owed && !g->gap; }
/* Makes the frames; returns how many. */
unsigned gaps_ack(struct gaps *g, const struct gaps_pace *p, enum wire_class class, struct wire_ack out[GAPS_FRAMES], uint64_t now_us);

#endif

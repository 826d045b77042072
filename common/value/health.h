/* health: what one path is like, in both directions, from what was sent, heard and reported. A value: no clock, no socket. See
 * health.c for the theory (states, thresholds, hysteresis). */
#ifndef PLAIT_HEALTH_H
#define PLAIT_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "wire_udp.h"

enum health_state {
	HEALTH_PROBING, /* not known to work (again) yet: 3 good probes over at least 200 ms make it UP */
	HEALTH_UP,
	HEALTH_LOSSY,	/* works, but loses over a tenth where another loses little: copies only */
	HEALTH_SUSPECT, /* nothing heard for max(2 reports, srtt + 4 var, 60 ms): whatever is unacknowledged goes elsewhere too */
	HEALTH_DOWN,	/* nothing for 400 ms, or the kernel said so */
};
const char *health_name(enum health_state s); /* "up", "suspect", ... */
static inline bool health_usable(enum health_state s) { return s == HEALTH_UP || s == HEALTH_LOSSY; }

enum health_dir { HEALTH_TX, HEALTH_RX };

struct health_side { /* one direction */
	enum health_state state;
	uint32_t packets; /* sent (TX) or received (RX), datagrams */
	uint64_t bytes;
	uint32_t loss_ppm;  /* smoothed */
	uint32_t queue_us;  /* one-way delay above its least */
	uint32_t jitter_us; /* smoothed difference of one-way delays */
	uint64_t rate;	    /* bytes a second, the most delivered in the last 10 s; 0: not known */
};

struct health {
	enum health_state state; /* the worse of the two directions */
	struct health_side side[2];
	uint32_t srtt_us, rttvar_us, min_rtt_us; /* 0: not known */
	uint64_t changed_ms;			 /* of state */
	const char *why;			 /* one clause for people; static text */
	/* ... and what health.c needs to get there */
	uint64_t private_words[64];
};

#endif

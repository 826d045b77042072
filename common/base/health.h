/* SPDX-License-Identifier: BSD-2-Clause */
/* health: what one path is like, in both directions, from what was sent, heard and reported. A
 * value: no clock, no socket. See health.c for the theory (states, thresholds, hysteresis). */
#ifndef PLAIT_HEALTH_H
#define PLAIT_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gauge.h"
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
	uint32_t rate_now;  /* bytes a second, delivered; TX only */
	uint64_t rate;	    /* bytes a second, the most delivered in the last 10 s; 0: not known */
};

#define HEALTH_RING 32 /* probes of ours that are remembered: 0.8 s at the fastest, twice DOWN_US */

/* What health.c and health_silence.c need to get there; nobody else looks in. Sequence numbers are
 * of probes; what begins with peer_ is of the peer's newest probe, acked_ of ours that it knows. */
struct health_own {
	struct {
		uint32_t time_us, packets;
	} ring[HEALTH_RING]; /* our probes, by seq */
	uint32_t seq, before, acked, acked_time, acked_tx, acked_rx, rtt_seq; /* before: the last of another life */
	uint32_t fell;	   /* our last probe before it was found dead */
	uint64_t told_us;  /* when a report came last, by any path */
	uint64_t asked_us; /* the first probe since something was heard; 0: none */
	uint32_t asked;	   /* how many */
	uint32_t peer_seq, peer_time, peer_packets, rx_packets;
	uint64_t rx_bytes, probe_us, heard_us;
	uint64_t ahead_us; /* when the lead was first seen to be far ahead; 0: it is not */
	uint32_t owd, pace;
	struct gauge_least owd_least, rtt_least;
	struct gauge_loss loss[2];
	uint64_t rate_us, rate_bytes; /* where the present stretch began */
	struct gauge_most rates[2];
	uint32_t rate; /* of the last stretch */
	uint64_t good_us, up_us;
	uint32_t good, calm[2];
	uint32_t flaps;
	bool peer, news, heard, base_tx, base_rx;
};

struct health {
	enum health_state state; /* the worse of the two directions */
	struct health_side side[2];
	uint32_t srtt_us, rttvar_us, min_rtt_us; /* 0: not known. The least is without what waited before the link */
	uint64_t changed_ms;			 /* of state */
	const char *why;			 /* one clause for people; static text */
	struct health_own own;
};

/* `now` is in microseconds, of any clock that is never stepped; the low half of it goes out in
 * probes. */
void health_init(struct health *h, uint64_t now_us);
/* Nothing of it is known any more, but the numbers of our probes go on: the peer ignores those that
 * it has had. */
void health_again(struct health *h, uint64_t now_us);
/* The path goes another way (a new address of the peer, or of ours behind a NAT): what was lost
 * meanwhile was not this path's. */
void health_rebase(struct health *h);

static inline void health_sent(struct health *h, size_t len)
{
	h->side[HEALTH_TX].packets++;
	h->side[HEALTH_TX].bytes += len;
}
/* A copy of something that came before: delivered, but no sign of life, since anybody can repeat
 * it. */
static inline void health_copy(struct health *h, size_t len)
{
	h->side[HEALTH_RX].packets++;
	h->side[HEALTH_RX].bytes += len;
}
void health_heard(struct health *h, size_t len, uint64_t now_us); /* it authenticated */

/* Fills in the probe that leaves now, but for its path and use. */
void health_make_probe(struct health *h, struct wire_probe *p, uint64_t now_us);
/* False: older than the newest. */
bool health_got_probe(struct health *h, const struct wire_probe *p, uint64_t now_us);
bool health_has_news(const struct health *h); /* since the last report */
void health_make_report(struct health *h, struct wire_report *r, uint64_t now_us);
/* own: it came by this very path. */
void health_got_report(struct health *h, const struct wire_report *r, bool own, uint64_t now_us);

/* The newest probes of all paths. */
struct health_lead {
	bool heard, told;
	uint32_t time_us, owd_us; /* of the peer: its clock, and how long it took */
	uint32_t pace_us;	  /* between the peer's probes on that path */
	uint64_t at_us;		  /* when that came */
	uint32_t acked_us;	  /* of ours: when the newest that the peer told of left */
	uint32_t rtt_us;	  /* of that path */
};
void health_lead(const struct health *h, struct health_lead *lead); /* takes what is newer on h */

struct health_view {
	const struct health_lead *lead;
	uint32_t interval_us;	/* between our probes */
	bool asks;		/* local: the peer answers every probe, on this path */
	bool brisk;		/* probing has been fast for long enough that the peer's is, too */
	bool alone;		/* no other path works */
	uint32_t best_loss_ppm; /* of the others */
};
/* Time passes. True: the state is another one. */
bool health_tick(struct health *h, const struct health_view *view, uint64_t now_us);
/* The kernel knows: no carrier, no address, no route. */
void health_dead(struct health *h, const char *why, uint64_t now_us);

uint32_t health_pace_us(const struct health *h);	/* between the peer's probes; 0: not known */
uint64_t health_heard_us(const struct health *h);	/* 0: never */
uint32_t health_unanswered(const struct health *h);	/* probes of ours since anything was heard */
bool health_late(const struct health *h, uint64_t now_us);     /* a single probe of ours should have been answered by now */
bool health_doubtful(const struct health *h, uint64_t now_us); /* and neither was the next one */

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* health_room: what the files of health share, and nobody else may see. */
#ifndef PLAIT_HEALTH_ROOM_H
#define PLAIT_HEALTH_ROOM_H

#include "gauge.h"
#include "health.h"

#define RING 32
#define SUSPECT_US 60000
#define DOWN_US 400000
#define UNKNOWN_RTT_US 200000

struct inner { /* in private_words */
	struct {
		uint32_t time_us, packets;
	} ring[RING]; /* our probes, by seq */
	uint32_t seq, before, acked, acked_time, acked_tx, acked_rx, rtt_seq; /* before: the last of another life */
	uint32_t fell;	  /* our last probe before it was found dead */
	uint64_t told_us; /* when a report came last, by any path */
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

_Static_assert(sizeof(struct inner) <= sizeof(((struct health *)0)->private_words), "health.h has too few words");

static inline struct inner *inner(struct health *h)
{
	return (struct inner *)(void *)h->private_words;
}

static inline const struct inner *peek(const struct health *h)
{
	return (const struct inner *)(const void *)h->private_words;
}

/* health.c: the only one who changes states. */
void health_fall_silent(struct health *h, enum health_dir d, bool down, uint64_t now_us);
void health_set_lossy(struct health *h, enum health_dir d, bool lossy, uint64_t now_us);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* reorder: puts the packets of a flow that travels on several paths in order again, at the
 * receiver. Pass now in. See reorder.c. */
#ifndef PLAIT_REORDER_H
#define PLAIT_REORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "gaps.h"
#include "slab.h"

#define REORDER_HELD 512
#define REORDER_FLOWS 256

struct reorder {
	uint64_t base; /* every number below has come, or is not waited for any more */
	uint32_t n;
	struct packet *held[REORDER_HELD]; /* by number */
	struct {
		uint32_t key;
		uint8_t path;	     /* its last packet came on it */
		bool spread;
		uint64_t changed_us; /* when it came on another than the one before */
	} flow[REORDER_FLOWS];
	uint32_t late_us; /* how long after it was given up for lost a number still came, lately */
	uint64_t late_at_us;
	uint64_t holds, overflows; /* for status */
};

/* What hold_us should be: at least `least` (0: order does not matter), and what was late lately;
 * never more than `most`. */
uint32_t reorder_hold_us(struct reorder *r, uint32_t least, uint32_t most, uint64_t now_us);
/* Must this packet, which g has taken already, wait? Then reorder_hold() a copy of it, and
 * reorder_release(); else deliver it now. hold_us: how long a number is waited for after a later
 * one came. */
bool reorder_must_hold(struct reorder *r, const struct gaps *g, uint64_t seq, uint32_t flow, unsigned path, uint32_t hold_us, uint64_t now_us);

/* The reference goes over. Full: the first is handed out to make room. */
typedef void (*reorder_cb)(void *arg, struct packet *p); /* takes the reference */
void reorder_hold(struct reorder *r, struct packet *p, reorder_cb out, void *arg);
/* Hands out, in order, what need not wait any longer. */
void reorder_release(struct reorder *r, const struct gaps *g, uint32_t hold_us, uint64_t now_us, reorder_cb out, void *arg);

#endif

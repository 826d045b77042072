/* SPDX-License-Identifier: BSD-2-Clause */
/* direction: one way over one emulated line. */
#ifndef EMULATOR_DIRECTION_H
#define EMULATOR_DIRECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MAX 2048

struct frame {
	struct frame *next;
	uint64_t when; /* ns: leaves the wire now, or may be delivered then */
	uint64_t order;
	size_t len;
	uint8_t data[];
};

struct direction_counters {
	uint64_t in_frames, in_bytes;
	uint64_t out_frames, out_bytes;
	uint64_t tail_drops, losses, hole_drops;
	uint64_t duplicates, reordered, corrupted, stripped, mtu_drops;
};

struct direction {
	/* The line's character, changed while it runs. */
	uint64_t rate;		      /* bit/s, 0: as fast as it comes */
	uint64_t delay, jitter;	      /* ns */
	uint64_t queue_bytes;	      /* used when queue_ms is 0 */
	double queue_ms;
	double loss, duplicate, reorder, corrupt; /* percent */
	uint64_t outage;			  /* ns: mean length of a loss; 0: single frames */
	size_t mtu;				  /* longest IP packet; 0: any */
	bool strip; /* of MPTCP options: see strip.h */
	bool hole;

	/* What is on it. */
	struct frame *head, *tail; /* waiting; the head is being sent until head->when */
	uint64_t waiting;	   /* bytes from head to tail */
	bool out;		   /* of order, until turn */
	uint64_t turn;
	uint64_t last;		   /* delivery time of the last frame that kept its place */
	struct frame **flying;	   /* min-heap by (when, order) */
	size_t n_flying, room;
	uint64_t order, random, random_outage; /* its own: outages follow from the seed and the time, whatever passes */
	struct direction_counters count;
};

void direction_init(struct direction *d, uint64_t seed);
void direction_clear(struct direction *d);

/* Sets one property from text. 0, or -1 when key or value make no sense. */
int direction_set(struct direction *d, const char *key, const char *value, uint64_t now);

/* A frame enters the line: copied, or dropped and counted. */
void direction_put(struct direction *d, const uint8_t *data, size_t len, uint64_t now);

/* The next frame due at now, owned by the caller (free), or NULL. */
struct frame *direction_take(struct direction *d, uint64_t now);

/* When direction_take() should be asked again; UINT64_MAX when nothing is on the line. */
uint64_t direction_next(const struct direction *d);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* tunnel_queue: inner packets of classes F and B that wait until a path has room for them. Pass now
 * in. See tunnel_queue.c. */
#ifndef PLAIT_TUNNEL_QUEUE_H
#define PLAIT_TUNNEL_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "slab.h"

#define QUEUE_BUCKETS 64 /* a band */
enum { QUEUE_F, QUEUE_B, QUEUE_BANDS };
#define QUEUE_NO_PATH 0xff

struct queue_bucket { /* flows of one hash; nearly always one flow */
	struct packet *head, *tail;
	struct queue_bucket *prev, *next; /* among those that have packets */
	uint32_t bytes;
	int32_t deficit;
	uint8_t home;	     /* the path it is sent on */
	bool spread;	     /* ... or all of `wide` */
	uint64_t last_us;    /* something came or left */
	uint32_t rate;	     /* bytes a second of its flow, as far as it is known: the caller's */
	uint64_t above_us;   /* the wait has been too long since; 0: it is not */
	uint64_t drop_us;    /* next drop; 0: not dropping */
	uint32_t drops;	     /* in this bout */
	uint64_t low_us;     /* spread: its home alone would do since */
};

struct queue {
	struct slab *slab;
	struct queue_bucket bucket[QUEUE_BANDS][QUEUE_BUCKETS];
	struct queue_bucket *active[QUEUE_BANDS];
	uint32_t packets, bytes;
	bool aggregate;
	uint64_t patient_us; /* until then waiting is forgiven: a path has died and the others take its load, or one is not known yet */
	uint64_t dropped[QUEUE_BANDS]; /* for status */
};

void queue_init(struct queue *q, struct slab *slab, bool aggregate);

/* The flow's bucket: set its home before (or after) putting. */
struct queue_bucket *queue_bucket(struct queue *q, unsigned band, uint32_t flow);
void queue_put(struct queue *q, unsigned band, struct packet *p, uint64_t now_us); /* takes the reference */

/* The next packet for this path, the best band first; NULL: nothing for it. `wide`: paths that a
 * spread flow may use. Gives the reference. */
struct packet *queue_take(struct queue *q, unsigned path, uint8_t wide, uint64_t now_us);
/* Drops what has waited so long that it is worth nothing. */
void queue_expire(struct queue *q, uint64_t now_us);
/* A flow that has waited too long at its home for a while, and is not spread; NULL: none. Sending
 * it elsewhere is up to the caller. */
struct queue_bucket *queue_crowded(struct queue *q, uint64_t now_us);
bool queue_has(const struct queue *q, unsigned path, uint8_t wide); /* anything for this path? */

#endif

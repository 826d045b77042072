/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Two bands, F before B; what is more urgent does not come here. In a band every flow has a bucket
 * of its own (by hash), and the buckets take turns with the same number of bytes each (deficit
 * round robin), so a flow that floods delays itself.
 *
 * A bucket belongs to a path, its home, and only that path takes from it: a flow stays in order by
 * staying where it is. A flow that is faster than its home is `spread`: every path that has room
 * takes the next of its packets, so it is shared by what the paths really carry, and the numbers,
 * which are given when a packet leaves here, are in the flow's order for the far end to restore.
 * With `aggregate` that happens as soon as its packets wait SPREAD_US; without, only when it has
 * gone on for STUBBORN_US in spite of being dropped from, so that what listens to drops keeps to
 * one path. When its home alone has been enough for a while, it goes home.
 *
 * Waiting is bounded by time, not by length: above TARGET_US for INTERVAL_US packets are dropped
 * from the head, ever faster (CoDel), and nothing leaves that waited MOST_US. More is forgiven,
 * PATIENT_US and no dropping before, when a path has just died and its load comes upon the others
 * all at once, and while nobody knows yet how fast a path is: a burst (one long datagram is 45
 * packets) then waits for an estimate, not for the line, which will be found faster within a few
 * round trips. */
#include "tunnel_queue.h"

#include <string.h>

#define QUANTUM 1500
#define TARGET_US 10000
#define INTERVAL_US 60000
#define MOST_US 50000
#define PATIENT_US 250000
#define SPREAD_US 4000
#define OTHER_US 2000 /* a path that is not home takes only what has waited so long */
#define CROWDED_US 30000
#define STUBBORN_US 300000
#define HOME_AGAIN_US 500000
#define PACKETS_MAX 2048

void queue_init(struct queue *q, struct slab *slab, bool aggregate)
{
	memset(q, 0, sizeof(*q));
	q->slab = slab;
	q->aggregate = aggregate;
	for (unsigned i = 0; i < QUEUE_BANDS * QUEUE_BUCKETS; i++)
		q->bucket[i / QUEUE_BUCKETS][i % QUEUE_BUCKETS].home = QUEUE_NO_PATH;
}

struct queue_bucket *queue_bucket(struct queue *q, unsigned band, uint32_t flow)
{
	return &q->bucket[band][(flow ^ flow >> 16) % QUEUE_BUCKETS];
}

static void activate(struct queue *q, unsigned band, struct queue_bucket *b)
{
	struct queue_bucket *first = q->active[band];

	b->deficit = QUANTUM;
	if (!first) {
		q->active[band] = b->next = b->prev = b;
		return;
	}
	b->next = first;
	b->prev = first->prev;
	first->prev->next = b;
	first->prev = b;
}

static void deactivate(struct queue *q, unsigned band, struct queue_bucket *b)
{
	b->prev->next = b->next;
	b->next->prev = b->prev;
	if (q->active[band] == b)
		q->active[band] = b->next == b ? NULL : b->next;
	b->above_us = 0;
}

static struct packet *pop(struct queue *q, unsigned band, struct queue_bucket *b, uint64_t now)
{
	struct packet *p = b->head;

	b->head = p->next;
	b->bytes -= p->len;
	b->last_us = now;
	q->bytes -= p->len;
	q->packets--;
	if (!b->head)
		deactivate(q, band, b);
	return p;
}

static void drop_head(struct queue *q, unsigned band, struct queue_bucket *b, uint64_t now)
{
	packet_put(q->slab, pop(q, band, b, now));
	q->dropped[band]++;
}

/* All is full: who has most loses. */
static void tunnel_queue_make_room(struct queue *q, uint64_t now)
{
	struct queue_bucket *longest = NULL, *b;
	unsigned band = q->active[QUEUE_B] ? QUEUE_B : QUEUE_F;

	b = q->active[band];
	do {
		if (!longest || b->bytes > longest->bytes)
			longest = b;
		b = b->next;
	} while (b != q->active[band]);
	drop_head(q, band, longest, now);
}

void queue_put(struct queue *q, unsigned band, struct packet *p, uint64_t now_us)
{
	struct queue_bucket *b = queue_bucket(q, band, p->flow);

	if (q->packets >= PACKETS_MAX)
		tunnel_queue_make_room(q, now_us);
	p->next = NULL;
	if (b->head)
		b->tail->next = p;
	else
		b->head = p;
	b->tail = p;
	b->bytes += p->len;
	b->last_us = now_us;
	q->bytes += p->len;
	if (q->packets++, b->head == p)
		activate(q, band, b);
}

static uint64_t waited(const struct packet *p, uint64_t now)
{
	return now - p->born_us;
}

static uint64_t most(const struct queue *q, uint64_t now)
{
	return now < q->patient_us ? PATIENT_US : MOST_US;
}

static uint64_t interval(uint32_t drops)
{
	uint32_t root = 1;

	while ((root + 1) * (root + 1) <= drops)
		root++;
	return INTERVAL_US / root;
}

/* CoDel's question about the head of this bucket: is it to be dropped? */
static bool is_to_drop(const struct queue *q, struct queue_bucket *b, uint64_t now)
{
	uint64_t w = waited(b->head, now);

	if (w < TARGET_US || b->head == b->tail) {
		b->above_us = b->drop_us = 0;
		b->drops = 0;
		return false;
	}
	if (!b->above_us)
		b->above_us = now;
	if (w > most(q, now))
		return true;
	if (now < q->patient_us || now - b->above_us < INTERVAL_US || now < b->drop_us)
		return false;
	b->drops++;
	b->drop_us = now + interval(b->drops);
	return true;
}

static void judge_spread(struct queue *q, struct queue_bucket *b, uint64_t now)
{
	uint64_t w = waited(b->head, now);

	if (!b->spread) {
		b->spread = q->aggregate ? w > SPREAD_US : b->above_us && now - b->above_us > STUBBORN_US;
		b->low_us = now;
		return;
	}
	if (w > OTHER_US)
		b->low_us = now;
	else if (now - b->low_us > HOME_AGAIN_US)
		b->spread = false;
}

static bool may_take(struct queue *q, struct queue_bucket *b, unsigned path, uint8_t wide, uint64_t now)
{
	judge_spread(q, b, now);
	if (b->home == path)
		return true;
	return b->spread && wide >> path & 1 && waited(b->head, now) > OTHER_US;
}

static struct packet *take_band(struct queue *q, unsigned band, unsigned path, uint8_t wide, uint64_t now)
{
	struct queue_bucket *b, *none = NULL; /* none: since this one, nobody had anything for the path */

	while ((b = q->active[band]) && b != none) {
		if (!may_take(q, b, path, wide, now)) {
			none = none ? none : b;
			q->active[band] = b->next;
			continue;
		}
		none = NULL;
		if (b->deficit <= 0) { /* the next one's turn */
			b->deficit += QUANTUM;
			q->active[band] = b->next;
		} else if (is_to_drop(q, b, now)) {
			drop_head(q, band, b, now);
		} else {
			b->deficit -= b->head->len;
			return pop(q, band, b, now);
		}
	}
	return NULL;
}

struct packet *queue_take(struct queue *q, unsigned path, uint8_t wide, uint64_t now_us)
{
	struct packet *p = take_band(q, QUEUE_F, path, wide, now_us);

	return p ? p : take_band(q, QUEUE_B, path, wide, now_us);
}

static void expire(struct queue *q, unsigned band, uint64_t now)
{
	struct queue_bucket *b = q->active[band], *last = b ? b->prev : NULL, *next;

	for (bool more = b; more; b = next) {
		more = b != last;
		next = b->next; /* b itself may leave the ring */
		while (b->head && waited(b->head, now) > most(q, now))
			drop_head(q, band, b, now);
	}
}

void queue_expire(struct queue *q, uint64_t now_us)
{
	for (unsigned band = 0; band < QUEUE_BANDS; band++)
		expire(q, band, now_us);
}

struct queue_bucket *queue_crowded(struct queue *q, uint64_t now_us)
{
	for (unsigned band = 0; band < QUEUE_BANDS; band++) {
		struct queue_bucket *b = q->active[band];

		for (bool more = b; more; b = b->next) {
			more = b->next != q->active[band];
			if (!b->spread && b->above_us && now_us - b->above_us > CROWDED_US)
				return b;
		}
	}
	return NULL;
}

static bool band_has(const struct queue *q, unsigned band, unsigned path, uint8_t wide)
{
	const struct queue_bucket *b = q->active[band];

	do {
		if (b && (b->home == path || (b->spread && wide >> path & 1)))
			return true;
	} while (b && (b = b->next) != q->active[band]);
	return false;
}

bool queue_has(const struct queue *q, unsigned path, uint8_t wide)
{
	return band_has(q, QUEUE_F, path, wide) || band_has(q, QUEUE_B, path, wide);
}

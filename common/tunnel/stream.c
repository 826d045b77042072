/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * A stream delivers all, in order, and late: whatever is handed to it delays what comes after. So
 * little is handed over at a time (control.c sees to that), and what has to wait waits here, where
 * it can still be overtaken or dropped: R leaves before F, F before B. When there are too many, the
 * oldest of the bulkiest class goes; whatever has waited STREAM_US goes, too. */
#include "stream.h"

#include <stddef.h>
#include <string.h>

void stream_init(struct stream *s, struct slab *slab)
{
	memset(s, 0, sizeof(*s));
	s->slab = slab;
}

static struct packet *stream_take(struct stream *s, unsigned class)
{
	struct packet *p = s->band[class].head;

	s->band[class].head = p->next;
	s->packets--;
	return p;
}

static void drop_one(struct stream *s)
{
	unsigned class = WIRE_CLASSES - 1;

	while (!s->band[class].head)
		class--;
	packet_put(s->slab, stream_take(s, class));
	s->dropped++;
}

void stream_put(struct stream *s, struct packet *p, uint64_t now_us)
{
	p->next = NULL;
	p->born_us = now_us;
	if (s->band[p->class].head)
		s->band[p->class].tail->next = p;
	else
		s->band[p->class].head = p;
	s->band[p->class].tail = p;
	if (++s->packets > STREAM_PACKETS)
		drop_one(s);
}

struct packet *stream_head(struct stream *s, uint64_t now_us)
{
	for (unsigned class = 0; class < WIRE_CLASSES; class++) {
		while (s->band[class].head && now_us - s->band[class].head->born_us >= STREAM_US) {
			packet_put(s->slab, stream_take(s, class));
			s->expired++;
		}
		if (s->band[class].head)
			return s->band[class].head;
	}
	return NULL;
}

void stream_pop(struct stream *s)
{
	unsigned class = 0;

	while (!s->band[class].head)
		class++;
	packet_put(s->slab, stream_take(s, class));
	s->sent++;
}

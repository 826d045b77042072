/* SPDX-License-Identifier: BSD-2-Clause */
/* slab: see slab.h. Boxes are made in chunks, which slab_trim() gives back when none is in use. */
#include "slab.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK 32 /* packets: 50 KB */

struct chunk {
	struct chunk *next;
	struct packet packet[CHUNK];
};

void slab_init(struct slab *s, unsigned max)
{
	*s = (struct slab){ .max = max };
}

void slab_end(struct slab *s)
{
	struct chunk *c = s->chunks, *next;

	for (; c; c = next) {
		next = c->next;
		free(c);
	}
	*s = (struct slab){ .max = s->max };
}

void slab_trim(struct slab *s)
{
	if (!s->used)
		slab_end(s);
}

static bool grow(struct slab *s)
{
	struct chunk *c = s->made + CHUNK > s->max ? NULL : malloc(sizeof(*c));

	if (!c)
		return false;
	c->next = s->chunks;
	s->chunks = c;
	for (unsigned i = 0; i < CHUNK; i++) {
		c->packet[i].next = s->free;
		s->free = &c->packet[i];
	}
	s->made += CHUNK;
	return true;
}

struct packet *slab_take(struct slab *s)
{
	struct packet *p;

	if (!s->free && !grow(s))
		return NULL;
	p = s->free;
	s->free = p->next;
	s->used++;
	memset(p, 0, offsetof(struct packet, space));
	p->refs = 1;
	return p;
}

void packet_put(struct slab *s, struct packet *p)
{
	if (!p || --p->refs)
		return;
	p->next = s->free;
	s->free = p;
	s->used--;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* fragment: see fragment.h. Whichever piece comes first waits for the other, for a short time. */
#include "fragment.h"

#include <string.h>

int fragment_cut(struct packet *out[2], uint16_t id, const uint8_t *packet, size_t len, size_t room)
{
	size_t half = (len + 1) / 2;

	if (room <= WIRE_FRAGMENT_HDR || half > room - WIRE_FRAGMENT_HDR || half + WIRE_FRAGMENT_HDR > PACKET_INNER_MAX)
		return -1;
	for (unsigned i = 0; i < 2; i++) {
		struct wire_fragment h = { .id = id, .offset = (uint16_t)(i * half), .more = !i };
		size_t n = i ? len - half : half;
		size_t at = wire_put_fragment(packet_inner(out[i]), &h);

		memcpy(packet_inner(out[i]) + at, packet + h.offset, n);
		out[i]->len = (uint16_t)(at + n);
		out[i]->type = WIRE_DG_FRAGMENT;
	}
	return 0;
}

static void fragment_release(struct fragments *f, struct slab *slab, unsigned i)
{
	packet_put(slab, f->slot[i].p);
	memset(&f->slot[i], 0, sizeof(f->slot[i]));
}

void fragments_expire(struct fragments *f, struct slab *slab, uint64_t now_us)
{
	for (unsigned i = 0; i < FRAGMENT_SLOTS; i++) {
		if (!f->slot[i].p || now_us - f->slot[i].p->born_us < FRAGMENT_US)
			continue;
		f->given_up++;
		fragment_release(f, slab, i);
	}
}

/* The slot of this packet, or a new one; the oldest makes room. FRAGMENT_SLOTS: no memory. */
static unsigned fragment_find(struct fragments *f, struct slab *slab, uint8_t class, uint16_t id,
			      uint64_t now)
{
	unsigned i;

	for (i = 0; i < FRAGMENT_SLOTS; i++)
		if (f->slot[i].p && f->slot[i].id == id && f->slot[i].p->class == class && now - f->slot[i].p->born_us < FRAGMENT_US)
			return i;
	i = f->next++ % FRAGMENT_SLOTS;
	if (f->slot[i].p) {
		f->given_up++;
		fragment_release(f, slab, i);
	}
	f->slot[i].p = slab_take(slab);
	if (!f->slot[i].p)
		return FRAGMENT_SLOTS;
	f->slot[i].id = id;
	f->slot[i].p->class = class;
	f->slot[i].p->born_us = now;
	return i;
}

struct packet *fragments_take(struct fragments *f, struct slab *slab, uint8_t class, const uint8_t *in, size_t len, uint64_t now_us)
{
	struct wire_fragment h;
	ssize_t at = wire_get_fragment(&h, in, len);
	size_t n = at < 0 ? 0 : len - (size_t)at;
	struct packet *p;
	unsigned i;

	if (at < 0 || !n || !h.offset != !!h.more || h.offset + n > PACKET_INNER_MAX)
		return NULL;
	i = fragment_find(f, slab, class, h.id, now_us);
	if (i == FRAGMENT_SLOTS)
		return NULL;
	p = f->slot[i].p;
	memcpy(packet_inner(p) + h.offset, in + at, n);
	if (h.more) {
		f->slot[i].first = (uint16_t)n;
	} else {
		f->slot[i].offset = h.offset;
		f->slot[i].total = (uint16_t)(h.offset + n);
	}
	if (!f->slot[i].first || f->slot[i].first != f->slot[i].offset)
		return NULL;
	p->len = f->slot[i].total;
	f->whole++;
	memset(&f->slot[i], 0, sizeof(f->slot[i]));
	return p;
}

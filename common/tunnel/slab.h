/* SPDX-License-Identifier: BSD-2-Clause */
/* slab: the tunnel's packets in memory: equal boxes, taken and given back without the heap; counted
 * references, since one sealed packet may wait on several paths and be kept for a resend at
 * once. */
#ifndef PLAIT_SLAB_H
#define PLAIT_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire_udp.h"

#define SLAB_FRONT 16 /* in front of every inner packet: a datagram's header, or what the TUN device wants there */

struct packet {
	struct packet *next;
	uint64_t seq;
	uint64_t born_us; /* when it came */
	uint64_t sent_us; /* when it was first sent */
	uint64_t last_us; /* and last */
	uint32_t flow;
	uint16_t len;	  /* of the inner packet; sealed: of the datagram */
	uint16_t refs;
	uint8_t class, tos;
	uint8_t paths; /* bits: it was last sent there */
	uint8_t tries; /* resends */
	uint8_t first; /* bits: where it was sent before any resend */
	uint8_t type;  /* enum wire_dgram_type */
	uint8_t space[SLAB_FRONT - WIRE_DG_HDR + WIRE_DG_MAX + 4];
};

static inline uint8_t *packet_inner(struct packet *p) { return p->space + SLAB_FRONT; }
static inline uint8_t *packet_dgram(struct packet *p) { return p->space + SLAB_FRONT - WIRE_DG_HDR; }
#define PACKET_INNER_MAX (WIRE_DG_MAX - WIRE_DG_OVERHEAD)

struct slab {
	struct packet *free;
	void *chunks;
	unsigned used, made, max;
};

void slab_init(struct slab *s, unsigned max); /* makes nothing yet */
void slab_end(struct slab *s);
struct packet *slab_take(struct slab *s); /* with one reference, header zeroed; NULL: full */
static inline struct packet *packet_get(struct packet *p)
{
	p->refs++;
	return p;
}
void packet_put(struct slab *s, struct packet *p); /* NULL is fine */
void slab_trim(struct slab *s); /* gives the memory back if nothing is in use */

#endif

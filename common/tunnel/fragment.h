/* SPDX-License-Identifier: BSD-2-Clause */
/* fragment: an inner packet too long for a path, in two pieces, and together again. Only while a
 * path's MTU has just shrunk, or is not known yet. The caller owns struct fragments; pass now
 * in. */
#ifndef PLAIT_FRAGMENT_H
#define PLAIT_FRAGMENT_H

#include <stdint.h>

#include "slab.h"

#define FRAGMENT_SLOTS 64
#define FRAGMENT_US 100000 /* the second piece comes so soon, or never */

struct fragments {
	struct {
		struct packet *p; /* NULL: free */
		uint16_t id, first, total; /* bytes of the first piece; of the whole; 0: not known */
		uint16_t offset;	   /* of the second */
	} slot[FRAGMENT_SLOTS];
	unsigned next;
	uint64_t whole, given_up; /* for status */
};

/* Fills out[0] and out[1] (their classes and so on are the caller's) from the packet; `room` bytes
 * of plaintext fit. -1: two do not suffice. */
int fragment_cut(struct packet *out[2], uint16_t id, const uint8_t *packet, size_t len, size_t room);
/* A piece came; the whole packet, with a reference, or NULL. */
struct packet *fragments_take(struct fragments *f, struct slab *slab, uint8_t class, const uint8_t *in, size_t len, uint64_t now_us);
void fragments_expire(struct fragments *f, struct slab *slab, uint64_t now_us); /* UINT64_MAX: all */

#endif

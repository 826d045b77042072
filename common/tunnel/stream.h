/* SPDX-License-Identifier: BSD-2-Clause */
/* stream: inner packets that wait for the control connection, which carries them where datagrams do
 * not get through. Pass now in. See stream.c. */
#ifndef PLAIT_STREAM_H
#define PLAIT_STREAM_H

#include <stdint.h>

#include "slab.h"

#define STREAM_PACKETS 128
#define STREAM_US 500000 /* what has waited so long is worth nothing */

struct stream {
	struct slab *slab;
	struct {
		struct packet *head, *tail;
	} band[WIRE_CLASSES]; /* by class */
	unsigned packets;
	uint64_t sent, received, dropped, expired; /* for status */
};

void stream_init(struct stream *s, struct slab *slab);
void stream_put(struct stream *s, struct packet *p, uint64_t now_us); /* takes the reference */
/* The next one to leave, which stays; NULL: none. */
struct packet *stream_head(struct stream *s, uint64_t now_us);
void stream_pop(struct stream *s); /* it has left */

#endif

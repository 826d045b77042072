/* SPDX-License-Identifier: BSD-2-Clause */
/* resend: the sealed packets of one class that were sent and not yet acknowledged. Pass now in. See
 * resend.c. */
#ifndef PLAIT_RESEND_H
#define PLAIT_RESEND_H

#include <stdbool.h>
#include <stdint.h>

#include "slab.h"
#include "wire_udp.h"

#define RESEND_PATHS 8

struct resend_paths { /* what the sender knows of the paths now */
	uint8_t usable; /* bits */
	uint32_t srtt_us[RESEND_PATHS], var_us[RESEND_PATHS];
};

struct resend_how {
	uint32_t deadline_us; /* a resend must arrive so long after the first sending */
	bool strict;	      /* ... else: or four round trips and 50 ms, if that is more */
	uint8_t tries;
	uint32_t keep_us;     /* what is not acknowledged is forgotten after that */
};

struct resend {
	struct slab *slab;
	struct packet **slot; /* size entries; made when used */
	uint32_t size;	      /* a power of two */
	uint32_t bytes, max_bytes;
	uint64_t low, next;   /* live numbers are in [low, next) */
	uint64_t top;	      /* highest acknowledged, + 1 */
	uint64_t passed[RESEND_PATHS][2]; /* by path: the two highest acknowledged, + 1, of those sent there and nowhere else */
	struct resend_how how;
	uint64_t acked, resent, expired; /* for status */
};

/* What is to be done with a packet: send it again. It stays in the ring. */
typedef void (*resend_cb)(void *arg, struct packet *p);
/* It was acknowledged after its first sending on one path alone: what that path delivered. May be
 * NULL. */
typedef void (*resend_acked_cb)(void *arg, const struct packet *p);

void resend_init(struct resend *r, struct slab *slab, uint32_t size, uint32_t max_bytes, const struct resend_how *how);
void resend_flush(struct resend *r); /* forgets all, frees the ring */
void resend_trim(struct resend *r);  /* frees the ring if it is empty */

/* Takes a reference of p, which is sealed and was sent (sent_us, last_us, paths). No memory: not
 * kept. */
void resend_keep(struct resend *r, struct packet *p);

void resend_ack(struct resend *r, const struct wire_ack *a, unsigned from_path, const struct resend_paths *paths, uint64_t now_us,
		resend_cb again, resend_acked_cb acked, void *arg);
/* What nobody told of: the last ones before a pause. */
void resend_tick(struct resend *r, const struct resend_paths *paths, uint64_t now_us, resend_cb again, void *arg);
/* A path went quiet: what went out there, and on no path that is still good, at once. */
void resend_desert(struct resend *r, const struct resend_paths *paths, unsigned path, uint64_t now_us, resend_cb again, void *arg);

static inline bool resend_waits(const struct resend *r) { return r->low < r->next; }

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* assoc: the UDP association of one local with one remote: the keys of the session, up to eight
 * paths, their probes and their health. See assoc.c for the theory. Both daemons use it; `links`
 * lives on its health, `tunnel` sends its packets over it. */
#ifndef PLAIT_ASSOC_H
#define PLAIT_ASSOC_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "health.h"
#include "seal.h"
#include "session.h"
#include "udp.h"
#include "wire_udp.h"

#define ASSOC_PATHS 8
#define ASSOC_ALL 0xff /* every path that may carry control */

struct assoc;

enum assoc_side { ASSOC_LOCAL, ASSOC_REMOTE };

/* A datagram that authenticated, once: type DATA, REPAIR or FRAGMENT. `plain` may be written to,
 * with 16 bytes in front. */
struct assoc_got {
	struct wire_dgram hdr;
	uint64_t seq;
	unsigned path; /* ASSOC_PATHS: from an address that belongs to none */
	uint8_t tos;   /* of the outer packet */
	uint8_t *plain;
	size_t len;
	bool more; /* another one follows in this batch: put off what may be done for many at once */
};

struct assoc_ops { /* all optional; none is called from inside an assoc_ function other than assoc_input() */
	void (*path)(void *arg, unsigned path, enum health_state was); /* its state changed */
	void (*got)(void *arg, const struct assoc_got *got);
	/* A copy of a datagram that was here before: what the path delivered, dropped before
	 * decryption. */
	void (*copy)(void *arg, unsigned path, const struct wire_dgram *hdr, uint64_t seq);
	/* A control frame that assoc does not know (ACK, MTU_...). */
	void (*frame)(void *arg, unsigned path, uint8_t type, const uint8_t *value, size_t len);
	/* The remote does not know our index (a hint, at most one a second): time to talk over the
	 * control connection. Local only. */
	void (*unknown)(void *arg);
	void (*batch_end)(void *arg); /* after the last got() of an input batch */
};

struct assoc *assoc_new(struct event_base *base, struct seal *seal, enum assoc_side side, const struct assoc_ops *ops, void *arg);
void assoc_free(struct assoc *a);

/* New keys: we send under them from now on (local), or once the peer has used them (remote); what
 * comes under the ones before is taken for 60 s more. Takes a reference. The paths and all that is
 * known of them stay. Fine with a session that was used before. */
void assoc_rekey(struct assoc *a, struct session *s, uint32_t index);
/* The peer is another one: what comes under the keys of before is not taken any more, and all paths
 * are PROBING again. Before assoc_rekey(). */
void assoc_restart(struct assoc *a);
bool assoc_keyed(const struct assoc *a);

struct assoc_path {
	struct udp *udp;      /* the caller's; must outlive the path. assoc_input() is to be fed with what it receives */
	struct addr to, from; /* remote: where to and from which of our addresses */
	enum wire_use use;
	uint32_t keepalive_s; /* longest silence when idle: 25, or more on metered lines */
};
/* Local: a line has an address. id 0..7; again for the same id: the address changed, health begins
 * anew. */
void assoc_set_path(struct assoc *a, unsigned id, const struct assoc_path *p);
void assoc_del_path(struct assoc *a, unsigned id);
void assoc_set_use(struct assoc *a, unsigned id, enum wire_use use); /* the peer is told at once */
bool assoc_has_path(const struct assoc *a, unsigned id);
const struct health *assoc_health(const struct assoc *a, unsigned id);
enum wire_use assoc_use(const struct assoc *a, unsigned id);

/* Something moves, here or in TCP: probe fast for the next 2 s. Cheap, call it often. */
void assoc_busy(struct assoc *a);

/* A datagram for this index came (the caller has looked the index up). On the remote, paths are
 * made by this. `got->data` is used up. */
void assoc_input(struct assoc *a, struct udp *udp, const struct udp_got *got);
/* `more` was somebody else's: the batch is over, and what was got from it may be overwritten from
 * now on. */
void assoc_batch_end(struct assoc *a);

/* Seals `len` bytes of plaintext that stand WIRE_DG_HDR bytes into buf, in place, to a datagram of
 * WIRE_DG_OVERHEAD + len bytes at buf; its number is returned in *seq. -1: no keys, or they are
 * spent. The same bytes may go out on any path, any number of times. */
int assoc_seal(struct assoc *a, enum wire_dgram_type type, uint8_t class, uint8_t *buf, size_t len, uint64_t *seq);
/* Queues it on one path; `dgram` must stay until assoc_flush(). False: that path has no address to
 * send to. */
bool assoc_send(struct assoc *a, unsigned path, uint8_t tos, const uint8_t *dgram, size_t len);
void assoc_flush(struct assoc *a);

/* Puts a frame into the next control datagram of this path (ASSOC_ALL: of each), which leaves at
 * the end of this turn of the loop. */
void assoc_control(struct assoc *a, unsigned path, enum wire_ctl type, const void *value, size_t len);
/* A control datagram of exactly this size (of the UDP payload), at once, with this frame in it: for
 * MTU probes. 0 or an errno. */
int assoc_control_sized(struct assoc *a, unsigned path, enum wire_ctl type, const void *value, size_t len, size_t size);

#endif

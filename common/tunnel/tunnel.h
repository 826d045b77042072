/* SPDX-License-Identifier: BSD-2-Clause */
/* tunnel: inner packets over an association: sealed once, sent on as many paths as they deserve,
 * resent while it helps, delivered once. See tunnel.c for the theory. */
#ifndef PLAIT_TUNNEL_H
#define PLAIT_TUNNEL_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "assoc.h"

struct tunnel;

enum tunnel_redundancy { TUNNEL_AUTO, TUNNEL_ALWAYS, TUNNEL_NEVER };
enum tunnel_fec { TUNNEL_FEC_OFF, TUNNEL_FEC_AUTO };
enum tunnel_dscp { TUNNEL_DSCP_COPY, TUNNEL_DSCP_CLASS, TUNNEL_DSCP_ZERO };

struct tunnel_config {
	enum tunnel_redundancy redundancy;
	enum tunnel_fec fec;
	enum tunnel_dscp dscp;
	uint32_t deadline_ms; /* what is sent again has to arrive so long after it was first sent;
				 not asked when a path falls silent */
	bool aggregate;	      /* one bulk flow may use several paths, put in order again at the far end */
};

struct tunnel_ops {
	/* An inner packet, to be given to the kernel (after the caller's own checks); 16 writable
	 * bytes in front. May be kept until `flush`. */
	void (*deliver)(void *arg, uint8_t *packet, size_t len);
	void (*flush)(void *arg);	      /* nothing more for now */
	void (*mtu)(void *arg, unsigned mtu); /* inner packets may be this long from now on */
};

/* Makes its own association, or uses nothing of the caller's but the seal. */
struct tunnel *tunnel_new(struct event_base *base, struct seal *seal, enum assoc_side side, const struct tunnel_config *config,
			  const struct tunnel_ops *ops, void *arg);
void tunnel_free(struct tunnel *t);
/* The local's, which sends nothing: then nothing is found out for it either, and the remote, which
 * sees that, does not ask. */
void tunnel_unused(struct tunnel *t);
void tunnel_set_redundancy(struct tunnel *t, enum tunnel_redundancy redundancy); /* from now on */

/* The association that it sends over: give it keys, paths and input. Its path() and unknown() come
 * from here, so that others can follow them. */
struct assoc *tunnel_assoc(struct tunnel *t);
typedef void (*tunnel_path_cb)(void *arg, unsigned path, enum health_state was);
void tunnel_watch(struct tunnel *t, tunnel_path_cb path, void (*unknown)(void *arg), void *arg);

/* One inner packet, with WIRE_DG_HDR writable bytes in front and WIRE_DG_TAG behind. It is copied
 * when it must be kept. Dropped, and counted, when there is no path, no room in the queues, or it
 * is not a packet. */
void tunnel_send(struct tunnel *t, uint8_t *packet, size_t len);
void tunnel_send_end(struct tunnel *t); /* of a batch */

unsigned tunnel_mtu(const struct tunnel *t);

/* Another way, for times when no datagram gets through: a stream, which takes packets as they are.
 * False: not now, tunnel_stream_room() will tell. */
typedef bool (*tunnel_offer_cb)(void *arg, const uint8_t *packet, size_t len);
void tunnel_stream_way(struct tunnel *t, tunnel_offer_cb offer, void *arg);
void tunnel_stream_room(struct tunnel *t);
/* What came by it: at most WIRE_PACKET_MAX bytes, of an authenticated peer. Goes on like what came
 * by datagrams. */
void tunnel_stream_got(struct tunnel *t, const uint8_t *packet, size_t len);
uint64_t tunnel_stream_moved(const struct tunnel *t); /* packets, both ways */

/* Which of the two is taken is the caller's decision. */
void tunnel_carry(struct tunnel *t, bool by_stream);
bool tunnel_by_stream(const struct tunnel *t);
bool tunnel_has_path(const struct tunnel *t);	 /* one that is not known to be dead */
bool tunnel_has_hope(const struct tunnel *t);	 /* one that was, and is heard of again */
const char *tunnel_carrier(const struct tunnel *t); /* "udp", "stream", or "none": nothing would arrive */

/* {mtu, redundancy, classes: {R: {packets, copies, duplicates, repaired, lost, late, ...}}, paths:
 * [{...}]} */
json_t *tunnel_status(const struct tunnel *t);
/* Of one path, with {path, class, packets, copies, lost, received, duplicates, repaired, late} for
 * each class in `lines`; NULL: there is none. */
json_t *tunnel_path_status(const struct tunnel *t, unsigned path);

#endif

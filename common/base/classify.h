/* SPDX-License-Identifier: BSD-2-Clause */
/* classify: what an inner IP packet is, to whom it belongs, and how it deserves to travel. No
 * clock: pass now in. See classify.c. */
#ifndef PLAIT_CLASSIFY_H
#define PLAIT_CLASSIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "wire_udp.h"

/* The headers of an inner packet, every length checked. */
struct inner {
	struct addr src, dst; /* with ports where the protocol has them and this is the first fragment */
	uint8_t proto;	      /* of the upper layer, behind all extension headers */
	uint8_t tos;	      /* DSCP and ECN */
	bool fragment;	      /* not the first piece of a packet */
	uint32_t flow;	      /* hash of addresses, protocol and ports; never 0. All pieces of a packet have the same */
};
/* 0, or -1: bad version, lengths that do not fit, or a chain of more than 8 extension headers. */
int inner_parse(struct inner *in, const uint8_t *packet, size_t len);
void inner_set_tos(uint8_t *packet, uint8_t tos); /* and mends the IPv4 checksum */

/* Congestion marks at the tunnel's exit, after RFC 6040: gives the inner packet the mark that its
 * outer one came with. False: marked on the way, but its sender would not understand: to be
 * dropped, as a router would have. */
bool inner_take_ecn(uint8_t *packet, uint8_t outer_tos);

/* Flows seen lately, so that a packet's class follows from its flow. The caller owns it. */
#define CLASSIFY_FLOWS 4096
struct classify_flow {
	uint32_t key; /* of struct inner's flow; 0: free */
	uint32_t packets; /* since the flow began, saturating */
	uint32_t bytes, count; /* since since_ms */
	uint64_t since_ms, seen_ms;
	uint32_t rate, pps; /* of the last whole interval: bytes, packets a second */
};
struct classify {
	struct classify_flow flow[CLASSIFY_FLOWS];
};

/* R, F or B (section "classes" of classify.c); *flow is the entry, never NULL. */
enum wire_class classify_packet(struct classify *c, const struct inner *in, size_t len, uint64_t now_ms, struct classify_flow **flow);

#endif

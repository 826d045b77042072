/* SPDX-License-Identifier: BSD-2-Clause */
/* offload: super-packets, as Linux hands them over with a virtio header: many segments of one flow
 * under one set of headers. Cutting them up, putting them together, and the Internet checksum. See
 * offload.c for the theory. */
#ifndef PLAIT_OFFLOAD_H
#define PLAIT_OFFLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the 10 bytes in front of a packet say. */
#define OFFLOAD_HDR 10
enum offload_kind { OFFLOAD_NONE, OFFLOAD_UDP, OFFLOAD_TCP, OFFLOAD_OTHER };
struct offload {
	enum offload_kind kind;
	bool v6;	       /* of the kind; OFFLOAD_UDP does not say */
	bool checksum;	       /* to be completed: from `start` to the end, into `start` + `offset` */
	uint16_t segment;      /* payload bytes of each segment but the last */
	uint16_t start, offset;
};
void offload_get(struct offload *o, const uint8_t hdr[OFFLOAD_HDR]);
void offload_put(uint8_t hdr[OFFLOAD_HDR], const struct offload *o, uint16_t headers);

/* Cuts a packet into what may go out alone, with complete checksums. 0, or -1: malformed, or of a
 * kind that nobody asked for. A packet that is no super-packet is one segment. `packet` must
 * stay. */
struct offload_split {
	const uint8_t *packet;
	size_t len, headers, at; /* `at`: how much of the payload is out */
	struct offload how;
	unsigned n;
};
int offload_split(struct offload_split *s, const struct offload *how, const uint8_t *packet, size_t len);
/* The next segment into out; its length, 0 when there is none left or it does not fit. */
size_t offload_split_next(struct offload_split *s, uint8_t *out, size_t room);
/* The same in place, for what is no super-packet: completes the checksum if need be. 0 or -1. */
int offload_complete(const struct offload *how, uint8_t *packet, size_t len);

/* Puts datagrams of one UDP flow together: equal in all their headers but lengths, checksum and
 * number, each with a right checksum, equally long (the last may be shorter). */
#define OFFLOAD_RUN 64
struct offload_run {
	uint8_t *head;	      /* the first packet, whose headers will stand for all */
	uint16_t headers, id; /* id: what the next one's IPv4 number should be */
	size_t segment, total; /* payload bytes: of the first, of all */
	unsigned n;
	bool ended;	      /* the last one was shorter */
	const uint8_t *payload[OFFLOAD_RUN];
	size_t len[OFFLOAD_RUN];
};
/* Is this a whole UDP datagram, so that it has a flow of its own order? */
bool offload_is_udp(const uint8_t *packet, size_t len);
bool offload_same_flow(const struct offload_run *r, const uint8_t *packet, size_t len); /* of one that is UDP */
/* False: it cannot be begun with, or joined by, this packet. */
bool offload_run_start(struct offload_run *r, uint8_t *packet, size_t len);
bool offload_run_add(struct offload_run *r, uint8_t *packet, size_t len);
/* Makes the headers of the first stand for all, if there is more than one, and tells what the
 * virtio header is to say. The packet is then head[0 .. headers) and the payloads. */
void offload_run_end(struct offload_run *r, struct offload *how);

/* The Internet checksum of these bytes on top of `sum`, folded and not inverted. */
uint32_t offload_sum(const uint8_t *data, size_t len, uint32_t sum);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* udp: one UDP socket that sends and receives in batches. See udp.c for the theory (UDP_SEGMENT,
 * UDP_GRO and what happens without).
 *
 * ICMP is not believed: path MTU is discovered by our own probes (IP_PMTUDISC_PROBE, DF set, no
 * fragments). ENOBUFS and EAGAIN lose what they refuse, counted; one socket never waits, so it
 * cannot delay another. */
#ifndef PLAIT_UDP_H
#define PLAIT_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

struct udp;

/* What a batch may use, found out by trying; tests take some away with PLAIT_WITHOUT=gso,gro,mmsg
 * in the environment. */
struct udp_caps {
	bool gso, gro, mmsg;
};

/* from: the line's address (port 0: any); to: the peer, the socket is connected then. The local's.
 * -1 as NULL with errno. */
struct udp *udp_connect(const struct addr *from, const struct addr *to, uint32_t mark);
/* The remote's: one socket for all gateways, dual-stack when `at` is ::. */
struct udp *udp_bind(const struct addr *at, uint32_t mark);
void udp_close(struct udp *u); /* NULL is fine; drops what is queued */
int udp_fd(const struct udp *u);
const struct udp_caps *udp_caps(const struct udp *u);

/* Queues a datagram: `data` must stay as it is until udp_flush(). A full queue flushes itself. `to`
 * NULL: where it is connected. tos: DSCP and ECN of the outer packet. */
#define UDP_BATCH 64
void udp_send(struct udp *u, const struct addr *to, uint8_t tos, const void *data, size_t len);
/* The same from this address of ours (struct udp_got's `to`); NULL: the kernel's choice. */
void udp_send_from(struct udp *u, const struct addr *from, const struct addr *to, uint8_t tos, const void *data, size_t len);

/* Sends what is queued; returns 0, or the errno of the last refusal (EMSGSIZE, ENETUNREACH, EPERM,
 * ...): each refused datagram is lost and counted. */
int udp_flush(struct udp *u);

struct udp_got {
	struct addr from;
	struct addr to;	 /* our address it came to, port 0: so that the remote answers from there */
	uint8_t tos;
	uint8_t *data;	 /* may be written to; with at least 16 bytes in front that may be, too */
	size_t len;
	bool more;	 /* another one follows in this batch */
};
typedef void (*udp_cb)(void *arg, const struct udp_got *got);

/* Reads until the socket is empty or UDP_ROUNDS batches are through. Returns datagrams read; 0 with
 * errno when there was none (ECONNREFUSED and friends are errors that ICMP reported, and are not
 * believed). */
#define UDP_ROUNDS 8
unsigned udp_receive(struct udp *u, udp_cb cb, void *arg);

struct udp_count { /* of this socket, for status */
	uint64_t sent, received, refused;
};
const struct udp_count *udp_count(const struct udp *u);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* tun: a TUN device of our own: inner IP packets in and out, in super-packets where the kernel can.
 * See tun.c for the theory. */
#ifndef PLAIT_TUN_H
#define PLAIT_TUN_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "netlink.h"

struct tun;

/* Tests take some away with PLAIT_WITHOUT=vnet,uso,tso in the environment. */
struct tun_caps {
	bool vnet_hdr, uso, tso;
};

#define TUN_HEADROOM 64 /* bytes in front of each packet that tun_read tells of, writable */
#define TUN_TAILROOM 64 /* and behind it */
#define TUN_PACKETS 64	/* at most, of one tun_read */

/* Makes the device (it vanishes with the fd), up, with this MTU. NULL with errno; ENOENT: a kernel
 * without TUN. */
struct tun *tun_open(const char *name, unsigned mtu);
void tun_close(struct tun *t); /* NULL is fine */
int tun_fd(const struct tun *t);
int tun_index(const struct tun *t);
const struct tun_caps *tun_caps(const struct tun *t);
int tun_set_mtu(struct tun *t, unsigned mtu);
int tun_add_address(struct tun *t, const struct prefix *p); /* 0 or a negative errno */
int tun_del_address(struct tun *t, const struct prefix *p);

struct tun_packet {
	uint8_t *data; /* an IP packet, checksums complete */
	size_t len;
};
/* Reads once: one packet, or the segments of one super-packet, at most `max` (TUN_PACKETS). They
 * stay good until the next tun_read. 0: nothing there. */
unsigned tun_read(struct tun *t, struct tun_packet *out, unsigned max);

/* Takes a packet for the kernel; runs of one UDP flow are put together until tun_flush(), so `data`
 * must stay until then. 16 bytes in front of it may be overwritten. */
void tun_write(struct tun *t, uint8_t *data, size_t len);
void tun_flush(struct tun *t);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* udp_cmsg: what stands beside a datagram: TOS, our own address, and the sizes of a run. The only
 * place that knows that IPv4 and IPv6 say these differently, also on one dual-stack socket. */
#ifndef PLAIT_UDP_CMSG_H
#define PLAIT_UDP_CMSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "addr.h"

#define UDP_CMSG_ROOM 128

/* What to say of a message: v4 is the destination's family, from may be NULL, segment 0 for a
 * single datagram. */
struct udp_cmsg_out {
	bool v4;
	uint8_t tos;
	const struct addr *from;
	uint16_t segment;
};
/* Fills msg->msg_control, which has UDP_CMSG_ROOM bytes, and sets msg_controllen. */
void udp_cmsg_put(struct msghdr *msg, const struct udp_cmsg_out *out);

struct udp_cmsg_in {
	uint8_t tos;
	bool has_to;
	struct addr to;
	size_t segment; /* of each datagram but the last; 0: it is a single one */
};
void udp_cmsg_get(struct udp_cmsg_in *in, struct msghdr *msg);

/* Asks a socket of this family to tell these things. The run's size (UDP_GRO) is not among them. */
void udp_cmsg_ask(int fd, int family);

#endif

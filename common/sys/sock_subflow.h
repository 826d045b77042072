/* SPDX-License-Identifier: BSD-2-Clause */
/* sock_subflow: what TCP measured on each path of a connection. */
#ifndef PLAIT_SOCK_SUBFLOW_H
#define PLAIT_SOCK_SUBFLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

#define SOCK_SUBFLOWS 16 /* the most that are told */

struct sock_subflow {
	struct addr local, peer;
	uint64_t delivery_rate; /* bytes a second, towards the peer */
	uint32_t min_rtt_us, mss;
	uint64_t bytes_acked;
	bool app_limited; /* the rate is that of the application, the path may be faster */
};

/* The subflows of an MPTCP connection, or the one path of a TCP connection: how many were filled
 * in, at most max; 0 also when the kernel does not tell, or when a subflow came or went while it
 * was asked. */
size_t sock_subflows(int fd, struct sock_subflow *out, size_t max);

/* How fast each established subflow of an MPTCP connection sends; cheaper than the above. 0 when
 * the kernel does not tell. */
struct sock_pace {
	uint64_t pacing; /* bytes a second at which packets leave, at most */
	uint64_t delivery_rate;
	uint32_t rtt_us, min_rtt_us;
	bool busy;    /* something new was sent on it within the last second */
	bool repairs; /* sends again what its peer has found missing (the kernel's state Recovery; a line that is silent is not in it) */
};
size_t sock_paces(int fd, struct sock_pace *out, size_t max);

/* True when every subflow of an MPTCP connection is gone, which its socket tells only after a
 * minute. */
bool sock_severed(int fd);

#endif

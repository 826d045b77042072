/* SPDX-License-Identifier: BSD-2-Clause */
/* gateway_links: what was learnt of the lines of gateways, each by the address that it shows to the
 * VPS. A plain value, all zero is empty. */
#ifndef PLAIT_GATEWAY_LINKS_H
#define PLAIT_GATEWAY_LINKS_H

#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "estimate.h"

#define GATEWAY_LINKS_MAX 256

struct gateway_link {
	struct addr addr;
	struct estimate down;
	uint64_t turn; /* when it was learnt of last */
};

struct gateway_links {
	struct gateway_link peer[GATEWAY_LINKS_MAX];
	size_t n;
	uint64_t turn;
};

/* The peer with this address, new if need be: with no place left it takes that of the one least
 * recently learnt. */
struct gateway_link *gateway_links_at(struct gateway_links *all, const struct addr *addr);

#endif

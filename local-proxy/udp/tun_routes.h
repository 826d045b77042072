/* SPDX-License-Identifier: BSD-2-Clause */
/* tun_routes: the routes and rules that lead what is not TCP into the tunnel's device. See
 * tun_routes.c for the theory. */
#ifndef PLAIT_TUN_ROUTES_H
#define PLAIT_TUN_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "addr.h"
#include "config.h"
#include "netlink.h"

struct tun_routes {
	const struct config *config;
	int index;		      /* of the device */
	bool in[2];		      /* [v6]; false: none, and what was there goes */
	const struct addr *source[2]; /* the inner addresses, or NULL */
	const struct addr *vps;   /* never sent into the tunnel */
	size_t n_vps;
};

/* Makes the kernel's state be this. As rtnl_sync(). */
int tun_routes_sync(struct netlink *nl, const struct tun_routes *want);

#endif

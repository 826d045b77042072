/* SPDX-License-Identifier: BSD-2-Clause */
/* link_routes: the table and the rule of each link. */
#ifndef PLAIT_LINK_ROUTES_H
#define PLAIT_LINK_ROUTES_H

#include "netlink.h"
#include "snapshot.h"

/* Makes them in the kernel what they should be: the number of refusals, or a negative errno. */
int link_routes_sync(const struct snapshot *k, struct netlink *nl);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* rtnl_stats: what a device has carried since it was made, as the kernel counts it. */
#ifndef PLAIT_RTNL_STATS_H
#define PLAIT_RTNL_STATS_H

#include <stdint.h>

#include "netlink.h"

struct rtnl_stats {
	int index;	 /* of the device: another one is another device, though it have the same name */
	uint64_t rx, tx; /* bytes */
};

/* 0 or a negative errno (-ENODEV: no such device now). */
int rtnl_stats(struct netlink *nl, const char *device, struct rtnl_stats *out);

#endif

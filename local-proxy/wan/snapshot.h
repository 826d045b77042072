/* SPDX-License-Identifier: BSD-2-Clause */
/* snapshot: one look at the kernel, from which everything about the links is derived. */
#ifndef PLAIT_SNAPSHOT_H
#define PLAIT_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "link.h"
#include "netlink.h"
#include "rtnl_own.h"

struct snapshot {
	const struct config *config;
	struct link link[CONFIG_LINKS];
	uint32_t initcwnd[CONFIG_LINKS]; /* to be filled in by the caller, as they are wanted */
	size_t n;
	int lan[CONFIG_LAN_DEVICES]; /* their indexes, 0: not there */
	struct rtnl_set house;	     /* copies of the house's own routes, table 0 yet */
};

/* Reads devices, addresses and routes. 0 or a negative errno; snapshot_clear() in any case. */
int snapshot_take(struct snapshot *k, struct netlink *nl, const struct config *config);
void snapshot_clear(struct snapshot *k);

#endif

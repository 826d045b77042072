/* look: one look at the kernel, from which everything about the lines is derived. */
#ifndef PLAIT_LOOK_H
#define PLAIT_LOOK_H

#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "line.h"
#include "netlink.h"
#include "rtnl_own.h"

struct look {
	const struct config *config;
	struct line line[CONFIG_LINKS];
	uint32_t initcwnd[CONFIG_LINKS]; /* to be filled in by the caller, as they are wanted */
	size_t n;
	int lan[CONFIG_LAN_DEVICES]; /* their indexes, 0: not there */
	struct rtnl_set house;	     /* copies of the house's own routes, table 0 yet */
};

/* Reads devices, addresses and routes. 0 or a negative errno; look_clear() in any case. */
int look_take(struct look *k, struct netlink *nl, const struct config *config);
void look_clear(struct look *k);

/* Makes the lines' tables and rules in the kernel what they should be: the number of refusals, or a negative errno. */
int look_sync_routes(const struct look *k, struct netlink *nl);

#endif

/* tunroutes: the routes and rules that lead what is not TCP into the tunnel's device. See tunroutes.c for the theory. */
#ifndef PLAIT_TUNROUTES_H
#define PLAIT_TUNROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "addr.h"
#include "config.h"
#include "netlink.h"

struct tunroutes {
	const struct config *config;
	int index;		      /* of the device */
	bool in[2];		      /* [v6]; false: none, and what was there goes */
	const struct addr *source[2]; /* the inner addresses, or NULL */
	const struct addr *remotes;   /* never sent into the tunnel */
	size_t n_remotes;
};

/* Makes the kernel's state be this. As rtnl_sync(). */
int tunroutes_sync(struct netlink *nl, const struct tunroutes *want);

#endif

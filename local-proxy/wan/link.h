/* SPDX-License-Identifier: BSD-2-Clause */
/* link: one [link] of the config as the kernel's state makes it: a value, computed anew from a
 * snapshot. */
#ifndef PLAIT_LINK_H
#define PLAIT_LINK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "rtnl.h"

enum { LINK_V4, LINK_V6, LINK_SIDES };

struct link_side { /* one address family of a link */
	bool has_addr, has_route;
	struct rtnl_addr addr;
	bool has_gateway; /* false and has_route: point-to-point */
	struct addr gateway;
	unsigned endpoint; /* MPTCP endpoint id, 0: none */
	bool foreign;	   /* the endpoint is somebody else's */
	int score;	   /* of addr */
	uint32_t priority; /* of the default route found */
	bool clash;	   /* another link has this address too */
};

struct link {
	char name[32];
	char device[IFNAMSIZ];
	int index; /* 0: no such device now */
	bool up, carrier;
	struct link_side side[LINK_SIDES];
};

void link_init(struct link *l, const struct config_link *config);

/* The three kinds of news, in this order. Those of other devices leave the link as it is. */
void link_hear_device(struct link *l, const struct rtnl_link *link);
void link_hear_addr(struct link *l, const struct rtnl_addr *addr);
void link_hear_route(struct link *l, const struct rtnl_route *route);

/* Fit to carry connections of this family. */
bool link_side_up(const struct link *l, int side);
bool link_up(const struct link *l);

/* Why the link is not up, one clause; "" when it is. */
const char *link_why(const struct link *l);

bool link_side_differs(const struct link *a, const struct link *b, int side);

/* Tells what is new, or all of it the first time. */
void link_log(const struct link *is, const struct link *was, bool first);

/* Puts its addresses, gateways and endpoints into the object. */
void link_status(const struct link *l, json_t *o);

#endif

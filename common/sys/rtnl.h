/* SPDX-License-Identifier: BSD-2-Clause */
/* rtnl: the network of this host as the kernel tells it: devices, addresses, routes. Reading only;
 * what plait puts in is in rtnl_own.h. */
#ifndef PLAIT_RTNL_H
#define PLAIT_RTNL_H

#include <event2/event.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "netlink.h"

struct rtnl_link {
	int index;
	char name[IFNAMSIZ];
	bool up;      /* switched on */
	bool carrier; /* and able to carry */
	bool pointopoint;
	bool loopback;
};

struct rtnl_addr {
	int index;
	struct addr addr;
	uint8_t bits;	/* of its network, as in struct prefix */
	bool peer;	/* point-to-point: `net` is the other end, not ours */
	struct addr net; /* the network's address, or the peer's */
	uint8_t scope;	/* RT_SCOPE_* */
	uint32_t flags; /* IFA_F_* */
};

struct rtnl_route {
	uint32_t table;
	uint32_t priority;
	uint8_t type, protocol; /* RTN_*, RTPROT_* */
	struct prefix dst;
	bool v6;
	bool has_gateway;
	struct addr gateway;
	int index; /* 0: several next hops or none */
	const struct nlmsghdr *raw; /* only while in rtnl_routes' callback */
};

/* Parsers of single messages, for the dumps and for tests. -1: malformed, or of a family that is
 * not ours. */
int rtnl_parse_link(struct rtnl_link *l, const struct nlmsghdr *msg);
int rtnl_parse_addr(struct rtnl_addr *a, const struct nlmsghdr *msg);
int rtnl_parse_route(struct rtnl_route *r, const struct nlmsghdr *msg);

/* Dumps; the callback cannot stop them. A route with several next hops is told once with index 0
 * and then once for each hop with raw NULL. 0 or a negative errno. The callback may hear a thing
 * twice when the kernel's tables changed meanwhile: `begin` is called (if not NULL) at the start of
 * each try. */
struct rtnl_dump_ops {
	void (*begin)(void *arg);
	void (*link)(void *arg, const struct rtnl_link *l);
	void (*addr)(void *arg, const struct rtnl_addr *a);
	void (*route)(void *arg, const struct rtnl_route *r);
};
int rtnl_dump(struct netlink *nl, const struct rtnl_dump_ops *ops, void *arg); /* what has a callback, in that order */

/* The type (RTN_LOCAL, RTN_UNICAST, ...) of the route that a packet to `to` would take now; a
 * negative errno when the kernel has none (-ENETUNREACH, -EHOSTUNREACH) or cannot be asked. */
int rtnl_route_type(struct netlink *nl, const struct addr *to);

/* Calls `changed` from the loop `delay_ms` after the first of a burst of changes of what is chosen,
 * also when the kernel's messages overran: read everything anew. Our own routes and rules are no
 * news. */
enum rtnl_topic { RTNL_LINKS = 1, RTNL_ADDRS = 2, RTNL_ROUTES = 4, RTNL_RULES = 8 };
struct rtnl_monitor;
struct rtnl_monitor *rtnl_monitor_new(struct event_base *base, unsigned topics, unsigned delay_ms,
				      void (*changed)(void *arg), void *arg); /* NULL with errno */
void rtnl_monitor_free(struct rtnl_monitor *m);

#endif

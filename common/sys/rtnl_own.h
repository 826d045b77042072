/* SPDX-License-Identifier: BSD-2-Clause */
/* rtnl_own: the routes and rules that plait puts into the kernel. Each bears plait's protocol
 * number and lies in plait's range of tables and priorities; nothing else is ever touched.
 *
 * There is one operation: say what should be there. The kernel is asked what is there, and only the
 * difference is taken out and put in; an empty set takes everything out, also what a killed run
 * left. */
#ifndef PLAIT_RTNL_OWN_H
#define PLAIT_RTNL_OWN_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "netlink.h"

#define RTNL_PROTOCOL 250

/* Who owns what: tables and rule priorities, first to last. */
struct rtnl_range {
	uint32_t table, table_end;
	uint32_t priority, priority_end;
};
extern const struct rtnl_range rtnl_range_links;  /* 25000..25049, 25000..25099: the gateway's lines */
extern const struct rtnl_range rtnl_range_return_routes; /* 25050..25099, 25100..25199: the VPS's way back */
extern const struct rtnl_range rtnl_range_tunnel; /* 25100..25109, 25200..25209: what the gateway sends through the tunnel */
extern const struct rtnl_range rtnl_range_nat;	  /* 25110..25119, 25210..25219: the way to the inner addresses, on the VPS */

struct rtnl_metrics {
	uint32_t initcwnd, initrwnd; /* 0: the kernel's */
	const char *congestion;	     /* NULL: the socket's. Nothing to a socket that was given one
					(sock_congestion()), as relays are */
	uint32_t mtu;		     /* 0: the device's */
};

struct rtnl_new_route {
	uint32_t table;
	bool throws; /* no way: the next rule is asked */
	struct prefix dst; /* bits 0 (IPv6) or 96 (IPv4): default */
	bool v6;
	bool has_gateway; /* taken as on-link: the gateway's subnet needs no route of its own */
	struct addr gateway;
	int index;
	bool has_source; /* preferred source address */
	struct addr source;
	struct rtnl_metrics metrics;
};

struct rtnl_new_rule {
	bool v6;
	uint32_t priority, table; /* table 0: does nothing, as a mark to jump to */
	uint32_t jump;		  /* instead of a table: go on at this priority */
	bool no_default;	  /* of what the table says, its default route does not count */
	uint8_t proto;		  /* 0: any */
	uint16_t port;		  /* of the destination, with proto; 0: any */
	char iif[IFNAMSIZ];	  /* "": any; "lo": this machine's own */
	bool has_from;
	struct addr from;
	uint32_t mark, mask; /* mask 0: any */
	char oif[IFNAMSIZ];  /* "": any */
};

struct rtnl_set {
	struct nlmsghdr **item;
	size_t n, room;
};

/* 0 or -ENOMEM. */
int rtnl_set_route(struct rtnl_set *s, const struct rtnl_new_route *r);
int rtnl_set_rule(struct rtnl_set *s, const struct rtnl_new_rule *r);
/* The same route as this one of the kernel's, in another table and with these metrics on top of its
 * own. */
int rtnl_set_copy(struct rtnl_set *s, const struct nlmsghdr *route, uint32_t table, const struct rtnl_metrics *m);
/* The same for one host of that route's. */
int rtnl_set_copy_host(struct rtnl_set *s, const struct nlmsghdr *route, const struct addr *host, uint32_t table,
		       const struct rtnl_metrics *m);
void rtnl_set_clear(struct rtnl_set *s);

/* Makes what is in the kernel under our protocol and in this range equal to `want`. What vanishes
 * meanwhile with its device is no error; other refusals are logged and the rest is still done: the
 * number of refusals, or a negative errno. */
int rtnl_sync(struct netlink *nl, const struct rtnl_set *want, const struct rtnl_range *range);

#endif

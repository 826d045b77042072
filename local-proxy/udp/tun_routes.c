/* SPDX-License-Identifier: BSD-2-Clause */
/* Theory of operation
 *
 * Rules of ours, asked before the main table, lead what the LAN sends (and with `own` the gateway's
 * own) into a table of ours whose default route is the device. In this order:
 *   - what the main table knows better than by its default route goes there: the LAN itself, other private networks, hosts;
 *   - TCP jumps over the rest: plait relays it, and what it does not relay is to go out directly; of the gateway's own, plait's
 *     sockets, names (finding the VPS must not need the VPS) and DHCP jump too;
 *   - our table: no way (so the main table is asked after all) to the VPS, to what the config bypasses, and to what is not the
 *     public Internet; the device for all else. */
#include "tun_routes.h"

#include <stdio.h>
#include <string.h>

#include "rtnl_own.h"
#include "sock.h"
#include "special.h"

#define TABLE_MAIN 254
#define SELF_MASK 0xffff000f /* as in common.sh */

enum { PRIORITY_NEAR, PRIORITY_SPARE, PRIORITY_TUNNEL, PRIORITY_END = 9 }; /* from the first of our range */
enum { PROTO_TCP = 6, PROTO_UDP = 17 };

static int add_rule(struct rtnl_set *s, int v6, unsigned priority, struct rtnl_new_rule r)
{
	r.v6 = v6;
	r.priority = rtnl_range_tunnel.priority + priority;
	return rtnl_set_rule(s, &r);
}

static int add_device(struct rtnl_set *s, int v6, const char *device)
{
	const uint32_t end = rtnl_range_tunnel.priority + PRIORITY_END;
	struct rtnl_new_rule near = { .table = TABLE_MAIN, .no_default = true };
	struct rtnl_new_rule tcp = { .jump = end, .proto = PROTO_TCP }, tunnel = { .table = rtnl_range_tunnel.table };

	snprintf(near.iif, sizeof(near.iif), "%s", device);
	memcpy(tcp.iif, near.iif, sizeof(near.iif));
	memcpy(tunnel.iif, near.iif, sizeof(near.iif));
	return add_rule(s, v6, PRIORITY_NEAR, near) | add_rule(s, v6, PRIORITY_SPARE, tcp) | add_rule(s, v6, PRIORITY_TUNNEL, tunnel);
}

/* The gateway's own: names and DHCP find their way by themselves, and so do our sockets. */
static int add_own(struct rtnl_set *s, int v6)
{
	const uint32_t end = rtnl_range_tunnel.priority + PRIORITY_END;
	struct rtnl_new_rule self = { .jump = end, .mark = SOCK_SELF_MARK & SELF_MASK, .mask = SELF_MASK, .iif = "lo" };
	struct rtnl_new_rule names = { .jump = end, .proto = PROTO_UDP, .port = 53, .iif = "lo" };
	struct rtnl_new_rule dhcp = { .jump = end, .proto = PROTO_UDP, .port = v6 ? 547 : 67, .iif = "lo" };

	return add_rule(s, v6, PRIORITY_SPARE, self) | add_rule(s, v6, PRIORITY_SPARE, names) | add_rule(s, v6, PRIORITY_SPARE, dhcp) |
	       add_device(s, v6, "lo");
}

static int add_throw(struct rtnl_set *s, int v6, const struct prefix *p)
{
	struct rtnl_new_route r = { .table = rtnl_range_tunnel.table, .dst = *p, .throws = true, .v6 = v6 };
	struct addr a = { .port = 0 };

	memcpy(a.ip, p->ip, sizeof(a.ip));
	return addr_is_v4(&a) == !v6 ? rtnl_set_route(s, &r) : 0;
}

static int add_routes(const struct tun_routes *t, struct rtnl_set *s, int v6)
{
	static const struct prefix nat64 = { { 0x00, 0x64, 0xff, 0x9b }, 96 }; /* one near the gateway, which the VPS does not have */
	struct rtnl_new_route all = { .table = rtnl_range_tunnel.table, .v6 = v6, .index = t->index, .has_source = t->source[v6] != NULL };
	int err = add_throw(s, v6, &nat64);

	for (size_t i = 0; i < SPECIAL_NETS; i++)
		err |= add_throw(s, v6, &special_nets[i]);
	for (size_t i = 0; i < t->config->n_bypass; i++)
		err |= add_throw(s, v6, &t->config->bypass[i]);
	for (size_t i = 0; i < t->n_vps; i++) {
		struct prefix host = { .bits = 128 };

		memcpy(host.ip, t->vps[i].ip, sizeof(host.ip));
		err |= add_throw(s, v6, &host);
	}
	if (t->source[v6])
		all.source = *t->source[v6];
	all.dst.bits = v6 ? 0 : 96;
	if (!v6)
		all.dst.ip[10] = all.dst.ip[11] = 0xff;
	return err | rtnl_set_route(s, &all);
}

int tun_routes_sync(struct netlink *nl, const struct tun_routes *want)
{
	const struct config *c = want->config;
	struct rtnl_set set = { 0 };
	int err = 0;

	for (int v6 = 0; v6 < 2; v6++) {
		if (!want->in[v6])
			continue;
		err |= add_routes(want, &set, v6);
		for (size_t i = 0; i < c->n_lan_devices; i++)
			err |= add_device(&set, v6, c->lan_devices[i]);
		if (c->own)
			err |= add_own(&set, v6);
		err |= add_rule(&set, v6, PRIORITY_END, (struct rtnl_new_rule){ .table = 0 });
	}
	if (!err)
		err = rtnl_sync(nl, &set, &rtnl_range_tunnel);
	rtnl_set_clear(&set);
	return err;
}

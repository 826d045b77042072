/* SPDX-License-Identifier: BSD-2-Clause */
/* Link number i owns table 25000 + i: the subnets that the house itself reaches without a gateway,
 * the link's own subnet, and a default route through its gateway with what the link's connections
 * begin with (initcwnd). The rule "from ADDRESS lookup TABLE" makes a socket that is bound to the
 * link's address leave by that link, whatever the main table prefers; gateways are taken as on-link,
 * so two links may have the same subnet and even the same gateway. A strict rp_filter asks for the
 * way back with the same rule and is content. */
#include "link_routes.h"

#include <linux/rtnetlink.h>

#include "rtnl_own.h"

static struct prefix default_of(int side)
{
	struct prefix p = {.bits = 0};

	if (side == LINK_V4) {
		p.ip[10] = p.ip[11] = 0xff;
		p.bits = 96;
	}
	return p;
}

static struct prefix subnet_of(const struct rtnl_addr *a)
{
	struct prefix p = {.bits = a->peer ? 128 : a->bits};

	for (unsigned i = 0; i < p.bits / 8u; i++)
		p.ip[i] = a->net.ip[i];
	if (p.bits % 8)
		p.ip[p.bits / 8] = a->net.ip[p.bits / 8] & (uint8_t)(0xff << (8 - p.bits % 8));
	return p;
}

static int want_house(struct rtnl_set *set, const struct rtnl_set *house, bool v6, uint32_t table)
{
	const struct rtnl_metrics none = {.mtu = 0};
	int err = 0;

	for (size_t i = 0; i < house->n && !err; i++) {
		const struct rtmsg *rtm = mnl_nlmsg_get_payload(house->item[i]);

		if ((rtm->rtm_family == AF_INET6) == v6)
			err = rtnl_set_copy(set, house->item[i], table, &none);
	}
	return err;
}

static int want_side(struct rtnl_set *set, const struct snapshot *k, size_t i, int side)
{
	const struct link *link = &k->link[i];
	const struct link_side *s = &link->side[side];
	uint32_t table = rtnl_range_links.table + (uint32_t)i;
	struct rtnl_new_route r = {.table = table, .v6 = side == LINK_V6, .index = link->index};
	struct rtnl_new_rule rule = {
		.v6 = side == LINK_V6,
		.priority = rtnl_range_links.priority + (uint32_t)i,
		.table = table,
		.has_from = true,
		.from = s->addr.addr,
	};
	int err = want_house(set, &k->house, r.v6, table);

	r.dst = subnet_of(&s->addr);
	r.has_source = side == LINK_V4;
	r.source = s->addr.addr;
	if (!err && r.dst.bits < 128)
		err = rtnl_set_route(set, &r);
	r.dst = default_of(side);
	r.has_gateway = s->has_gateway;
	r.gateway = s->gateway;
	r.metrics.initcwnd = k->initcwnd[i];
	if (!err)
		err = rtnl_set_route(set, &r);
	return err ? err : rtnl_set_rule(set, &rule);
}

int link_routes_sync(const struct snapshot *k, struct netlink *nl)
{
	struct rtnl_set want = {0};
	int err = 0;

	for (size_t i = 0; i < k->n && !err; i++)
		for (int s = 0; s < LINK_SIDES && !err; s++)
			if (link_side_up(&k->link[i], s))
				err = want_side(&want, k, i, s);
	if (!err)
		err = rtnl_sync(nl, &want, &rtnl_range_links);
	rtnl_set_clear(&want);
	return err;
}

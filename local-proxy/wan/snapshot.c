/* SPDX-License-Identifier: BSD-2-Clause */
/* Link number i owns table 25000 + i: the subnets that the house itself reaches without a gateway,
 * the link's own subnet, and a default route through its gateway with the link's initcwnd. The rule
 * "from ADDRESS lookup TABLE" makes a socket that is bound to the link's address leave by that
 * link, whatever the main table prefers; gateways are taken as on-link, so two links may have the
 * same subnet and even the same gateway. A strict rp_filter asks for the way back with the same
 * rule and is content. */
#include "snapshot.h"

#include <linux/rtnetlink.h>
#include <string.h>

#include "rtnl.h"

#define HOUSE_ROUTES 64 /* routes of the house that are copied into each link's table */

static void snapshot_begin(void *arg)
{
	struct snapshot *k = arg;

	rtnl_set_clear(&k->house);
	memset(k->lan, 0, sizeof(k->lan));
	for (size_t i = 0; i < k->n; i++)
		link_init(&k->link[i], &k->config->links[i]);
}

static void snapshot_link(void *arg, const struct rtnl_link *link)
{
	struct snapshot *k = arg;

	for (size_t i = 0; i < k->n; i++)
		link_hear_device(&k->link[i], link);
	for (size_t i = 0; i < k->config->n_lan_devices; i++)
		if (strcmp(k->config->lan_devices[i], link->name) == 0)
			k->lan[i] = link->index;
}

static void snapshot_addr(void *arg, const struct rtnl_addr *addr)
{
	struct snapshot *k = arg;

	for (size_t i = 0; i < k->n; i++)
		link_hear_addr(&k->link[i], addr);
}

static bool snapshot_is_link(const struct snapshot *k, int index)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->link[i].index == index)
			return true;
	return false;
}

static bool snapshot_is_lan(const struct snapshot *k, int index)
{
	for (size_t i = 0; i < k->config->n_lan_devices; i++)
		if (k->lan[i] && k->lan[i] == index)
			return true;
	return false;
}

/* The gateway also answers the house from a link's address: those packets must not leave by the
 * link. Whatever lies behind a LAN device is the house, and so is the subnet of any device that is
 * not a link. */
static bool snapshot_is_house(const struct snapshot *k, const struct rtnl_route *r)
{
	if (!r->raw || r->table != RT_TABLE_MAIN || r->type != RTN_UNICAST || !r->index)
		return false;
	if (r->dst.bits == (r->v6 ? 0 : 96) || snapshot_is_link(k, r->index))
		return false;
	if (r->v6 && r->dst.ip[0] == 0xfe && (r->dst.ip[1] & 0xc0) == 0x80)
		return false;
	return snapshot_is_lan(k, r->index) || r->protocol == RTPROT_KERNEL;
}

static void snapshot_route(void *arg, const struct rtnl_route *r)
{
	struct snapshot *k = arg;
	const struct rtnl_metrics none = {.mtu = 0};

	if (r->protocol == RTNL_PROTOCOL)
		return;
	for (size_t i = 0; i < k->n; i++)
		link_hear_route(&k->link[i], r);
	if (snapshot_is_house(k, r) && k->house.n < HOUSE_ROUTES)
		rtnl_set_copy(&k->house, r->raw, 0, &none);
}

static void snapshot_clashes(struct snapshot *k)
{
	for (size_t i = 0; i < k->n; i++)
		for (size_t j = 0; j < i; j++)
			for (int s = 0; s < LINK_SIDES; s++)
				if (link_side_up(&k->link[i], s) && link_side_up(&k->link[j], s) &&
				    addr_same_ip(&k->link[i].side[s].addr.addr, &k->link[j].side[s].addr.addr))
					k->link[i].side[s].clash = true;
}

int snapshot_take(struct snapshot *k, struct netlink *nl, const struct config *config)
{
	const struct rtnl_dump_ops ops = {snapshot_begin, snapshot_link, snapshot_addr, snapshot_route};
	int err;

	memset(k, 0, sizeof(*k));
	k->config = config;
	k->n = config->n_links;
	err = rtnl_dump(nl, &ops, k);
	if (!err)
		snapshot_clashes(k);
	return err;
}

void snapshot_clear(struct snapshot *k)
{
	rtnl_set_clear(&k->house);
}

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

int snapshot_sync_routes(const struct snapshot *k, struct netlink *nl)
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

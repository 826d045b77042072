/* SPDX-License-Identifier: BSD-2-Clause */
/* What concerns a link is handed to each link (link.c), which takes what is its own; routes of the
 * house itself are kept aside, since each link's table needs them too. */
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

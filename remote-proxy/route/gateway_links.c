/* SPDX-License-Identifier: BSD-2-Clause */
/* gateway_links: see gateway_links.h. The table is small; who was learnt of least lately goes. */
#include "gateway_links.h"

#include <string.h>

static struct gateway_link *gateway_links_find(struct gateway_links *all, const struct addr *addr)
{
	for (size_t i = 0; i < all->n; i++)
		if (addr_same_ip(&all->peer[i].addr, addr))
			return &all->peer[i];
	return NULL;
}

static struct gateway_link *gateway_links_place(struct gateway_links *all)
{
	struct gateway_link *oldest = &all->peer[0];

	if (all->n < GATEWAY_LINKS_MAX)
		return &all->peer[all->n++];
	for (size_t i = 1; i < all->n; i++)
		if (all->peer[i].turn < oldest->turn)
			oldest = &all->peer[i];
	return oldest;
}

struct gateway_link *gateway_links_at(struct gateway_links *all, const struct addr *addr)
{
	struct gateway_link *p = gateway_links_find(all, addr);

	if (!p) {
		p = gateway_links_place(all);
		memset(p, 0, sizeof(*p));
		memcpy(p->addr.ip, addr->ip, sizeof(p->addr.ip));
	}
	p->turn = ++all->turn;
	return p;
}

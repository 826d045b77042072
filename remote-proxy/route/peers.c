#include "peers.h"

#include <string.h>

static struct peer *peers_find(struct peers *all, const struct addr *addr)
{
	for (size_t i = 0; i < all->n; i++)
		if (addr_same_ip(&all->peer[i].addr, addr))
			return &all->peer[i];
	return NULL;
}

static struct peer *peers_place(struct peers *all)
{
	struct peer *oldest = &all->peer[0];

	if (all->n < PEERS_MAX)
		return &all->peer[all->n++];
	for (size_t i = 1; i < all->n; i++)
		if (all->peer[i].turn < oldest->turn)
			oldest = &all->peer[i];
	return oldest;
}

struct peer *peers_at(struct peers *all, const struct addr *addr)
{
	struct peer *p = peers_find(all, addr);

	if (!p) {
		p = peers_place(all);
		memset(p, 0, sizeof(*p));
		memcpy(p->addr.ip, addr->ip, sizeof(p->addr.ip));
	}
	p->turn = ++all->turn;
	return p;
}

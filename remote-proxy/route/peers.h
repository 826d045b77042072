/* peers: what was learnt of the lines of gateways, each by the address that it shows to the VPS. A plain value, all zero is empty. */
#ifndef PLAIT_PEERS_H
#define PLAIT_PEERS_H

#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "estimate.h"

#define PEERS_MAX 256

struct peer {
	struct addr addr;
	struct estimate down;
	uint64_t turn; /* when it was learnt of last */
};

struct peers {
	struct peer peer[PEERS_MAX];
	size_t n;
	uint64_t turn;
};

/* The peer with this address, new if need be: with no place left it takes that of the one least recently learnt. */
struct peer *peers_at(struct peers *all, const struct addr *addr);

#endif
